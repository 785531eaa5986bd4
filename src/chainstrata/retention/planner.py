"""Which partitions are to leave, in which order, and which steps each has left. Pure: no connection, clock or log.

Partitions of a table leave oldest first, and one that is kept keeps those after it: roll-ups note up to when rows are
gone, so there must be no older rows left behind. Only what was put back from the archive stands aside of that.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from chainstrata.engines.postgres.partitioning import Partition, State
from chainstrata.model import Lifecycle, TimedTable
from chainstrata.retention.model import Action, Archive, ArchiveState, Blocker, Decision, Standing, Verdict

NOTHING: Mapping[str, Sequence[Blocker]] = {}


def cutoff(lifecycle: Lifecycle, now: datetime) -> datetime | None:
    """Return the instant before which rows are due to leave; None when they are kept for ever."""
    return lifecycle.keep.before(now) if lifecycle.keep else None


def is_due(table: TimedTable, partition: Partition, now: datetime) -> bool:
    """Return whether every row a partition can hold is older than rows are kept."""
    limit = cutoff(table.lifecycle, now)
    return limit is not None and not partition.default and partition.span.end <= limit


def decide(
    table: TimedTable,
    standings: Collection[Standing],
    now: datetime,
    blockers: Mapping[str, Sequence[Blocker]] = NOTHING,
) -> list[Decision]:
    """Return what is to become of each partition, oldest first. `blockers` are by the partition's name.

    What is already released goes on whatever anybody says: those who needed it have let go.
    """
    decisions = []
    older: Partition | None = None
    for standing in sorted(standings, key=lambda one: (one.partition.span, one.partition.name)):
        decision = _decide(table, standing, now, list(blockers.get(standing.partition.name, ())), older)
        decisions.append(decision)
        if decision.verdict is Verdict.BLOCKED and not standing.restored:
            older = older or standing.partition
    return decisions


def _decide(table: TimedTable, standing: Standing, now: datetime, blockers: list[Blocker], older: Partition | None) -> Decision:
    limit = cutoff(table.lifecycle, now)
    overdue = max(limit - standing.partition.span.end, timedelta(0)) if limit else timedelta(0)
    if standing.released:
        return Decision(table, standing, Verdict.LEAVES, steps_left(standing), (), overdue)
    if not standing.attached or standing.partition.state is State.DETACHING:
        reason = "was detached by hand and is not archived; attach it again, or drop it yourself"
        return Decision(table, standing, Verdict.BLOCKED, (), (Blocker("detached", reason),), overdue)
    if not is_due(table, standing.partition, now):
        # What was put back stays as it was archived, due or not.
        steps = (Action.UNSEAL,) if standing.sealed and not standing.restored else ()
        return Decision(table, standing, Verdict.KEPT, steps)
    if older is not None and not standing.restored:
        blockers.append(Blocker("order", f"{older.name} is older and stays"))
    if blockers:
        return Decision(table, standing, Verdict.BLOCKED, (), tuple(blockers), overdue)
    return Decision(table, standing, Verdict.LEAVES, steps_left(standing), (), overdue)


def steps_left(standing: Standing) -> tuple[Action, ...]:
    """Return the steps of a departure that are not done yet."""
    # A seal without a departure is that of rows put back from the archive: they leave like any others.
    sealed = standing.sealed and bool(standing.departure)
    archived = sealed and standing.archived
    done = {
        Action.SEAL: sealed or standing.released,
        Action.ARCHIVE: archived or standing.released,
        Action.RELEASE: standing.released,
        # A chunk goes in one step: nothing there can be detached beside its readers, and nothing has to be.
        Action.DETACH: not standing.attached or bool(standing.partition.chunked_by),
        Action.DROP: False,
    }
    return tuple(action for action, is_done in done.items() if not is_done)


def expired(archives: Collection[Archive], tables: Mapping[str, Lifecycle], now: datetime) -> list[Archive]:
    """Return the archives that have been kept as long as declared: `keep_archived` after the rows were due to leave.

    Rows kept hot for 90 days and archived for a year are deleted at the age of 90 days and a year.
    """
    return [one for one in archives if _expired(one, tables.get(one.dataset), now)]


def _expired(archive: Archive, lifecycle: Lifecycle | None, now: datetime) -> bool:
    if lifecycle is None or lifecycle.keep is None or lifecycle.keep_archived is None:
        return False
    if archive.state is not ArchiveState.SERVING:
        return False
    return archive.span.end <= lifecycle.keep_archived.before(lifecycle.keep.before(now))
