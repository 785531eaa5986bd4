"""What leaves, what keeps it, and how far it is. Data only, and the Protocol of whoever still needs rows."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.partitioning import Partition, Span
from chainstrata.model import TimedTable


@dataclass(frozen=True, slots=True)
class Leaving:
    """Rows on their way out, as a dependant is asked about them.

    All rows of `table` (a dataset or roll-up by full name) in `span`, or in a plain table all before its end. Once
    `sealed_lsn` is set they cannot change any more, and the log up to there has every change of them.
    """

    table: str
    span: Span
    partition: str = ""
    sealed_lsn: str | None = None


class Dependant(Protocol):
    """Something made of a table's rows: roll-ups, a mirror. Rows leave only when every dependant can do without them."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    def concerns(self, table: str) -> bool:
        """Return whether it is made of rows of this dataset or roll-up."""
        ...

    async def blocks(self, leaving: Leaving) -> str | None:
        """Return why the rows cannot leave yet, in words, or None. Asked before they are sealed and again after."""
        ...

    async def let_go(self, connection: Connection, leaving: Leaving) -> None:
        """Become independent of the rows, in the caller's transaction; they are sealed and still there.

        Raises if that cannot be after all. May come again for the same rows.
        """
        ...


@dataclass(frozen=True, slots=True)
class Blocker:
    """Who keeps rows from leaving, and why."""

    who: str
    reason: str


class Action(StrEnum):
    """The steps of a partition on its way out, in order. `UNSEAL` is the way back."""

    UNSEAL = "unseal"
    SEAL = "seal"
    ARCHIVE = "archive"
    RELEASE = "release"
    DETACH = "detach"
    DROP = "drop"


class Verdict(StrEnum):
    """What becomes of a partition: it is young enough, it leaves, or it should and something keeps it."""

    KEPT = "kept"
    LEAVES = "leaves"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a partition stands. The flags are of a departure under way, and hold only while it is sealed."""

    partition: Partition
    attached: bool = True
    sealed: bool = False
    archived: bool = False
    released: bool = False
    restored: bool = False
    """Put back from its archive: it does not hold up the partitions after it."""
    departure: int = 0
    sealed_lsn: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of a partition, the steps left, and who keeps it. `overdue` is how long ago it was due."""

    table: TimedTable
    standing: Standing
    verdict: Verdict
    steps: tuple[Action, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    overdue: timedelta = timedelta(0)

    @property
    def partition(self) -> Partition:
        return self.standing.partition

    @property
    def leaving(self) -> Leaving:
        return Leaving(self.table.name, self.partition.span, self.partition.name, self.standing.sealed_lsn)

    def __str__(self) -> str:
        what = f"{self.partition.qualified} ({self.partition.span})"
        match self.verdict:
            case Verdict.LEAVES:
                return f"{what} leaves: {', '.join(self.steps)}"
            case Verdict.BLOCKED:
                why = "; ".join(f"{blocker.who}: {blocker.reason}" for blocker in self.blockers)
                return f"{what} stays, overdue by {show_duration(self.overdue)}: {why}"
            case Verdict.KEPT:
                return f"{what} is kept"


@dataclass(frozen=True, slots=True)
class AgedRows:
    """What is to become of the aged rows of a plain table. `rows` is how many are old and done enough to leave."""

    table: TimedTable
    cutoff: datetime
    rows: int
    oldest: datetime | None
    blockers: tuple[Blocker, ...] = ()

    @property
    def verdict(self) -> Verdict:
        if not self.rows:
            return Verdict.KEPT
        return Verdict.BLOCKED if self.blockers else Verdict.LEAVES

    def __str__(self) -> str:
        what = f"{self.rows} rows of {self.table.qualified} before {self.cutoff:%Y-%m-%d %H:%M} UTC"
        if self.blockers:
            return f"{what} stay: " + "; ".join(f"{blocker.who}: {blocker.reason}" for blocker in self.blockers)
        return f"{what} leave" if self.rows else f"no {what}"


class ArchiveState(StrEnum):
    """Where an archive stands; the table `strata.archive` says what each means."""

    WRITING = "writing"
    READY = "ready"
    SERVING = "serving"
    RESTORED = "restored"
    DELETING = "deleting"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive as the database knows it."""

    id: int
    dataset: str
    table_schema: str
    table_name: str
    span: Span
    rows: int | None
    size_bytes: int | None
    url: str
    directory: str
    manifest_sha256: str | None
    state: ArchiveState
    written_at: datetime | None
    verified_at: datetime | None


@dataclass(frozen=True, slots=True)
class Hold:
    """A span of time whose rows are kept, whatever their age."""

    id: int
    dataset: str
    span: Span
    reason: str
    until: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """What retention would do now."""

    partitions: tuple[Decision, ...]
    aged: tuple[AgedRows, ...]
    expired_archives: tuple[Archive, ...]

    @property
    def blocked(self) -> "list[Decision | AgedRows]":
        """What should leave and does not."""
        every: list[Decision | AgedRows] = [*self.partitions, *self.aged]
        return [one for one in every if one.verdict is Verdict.BLOCKED]

    def as_dict(self) -> dict[str, Any]:
        """Return what every edge shows to programs."""
        return {
            "partitions": [
                {"dataset": one.table.name, "partition": one.partition.qualified, "from": one.partition.span.start,
                 "to": one.partition.span.end, "verdict": one.verdict, "steps": one.steps, "blockers": one.blockers,
                 "overdue_seconds": one.overdue.total_seconds()}
                for one in self.partitions
            ],
            "rows": [
                {"dataset": one.table.name, "before": one.cutoff, "rows": one.rows, "verdict": one.verdict, "blockers": one.blockers}
                for one in self.aged
            ],
            "archives": [
                {"id": one.id, "dataset": one.dataset, "from": one.span.start, "to": one.span.end} for one in self.expired_archives
            ],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Departed:
    """What left: a partition, or rows of a plain table."""

    table: str
    name: str
    rows: int
    archive: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did, and what stays though it is due."""

    departed: tuple[Departed, ...] = ()
    blocked: "tuple[Decision | AgedRows, ...]" = ()
    archives_deleted: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return what every edge shows to programs."""
        return {
            "departed": self.departed,
            "archives_deleted": self.archives_deleted,
            "blocked": [{"dataset": one.table.name, "what": str(one), "blockers": one.blockers} for one in self.blocked],
        }


def show_duration(duration: timedelta) -> str:
    """Return a duration in its largest unit that fits, as people say it."""
    seconds = int(duration.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
