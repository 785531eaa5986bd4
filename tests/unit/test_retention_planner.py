"""The planner of retention: pure, so every order of events can be tried against a plain account of what may happen."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainstrata.engines.postgres.partitioning import BEGINNING, END, Partition, Span, State
from chainstrata.model import Interval, Lifecycle, TimedTable, days, hours, months
from chainstrata.retention.model import Action, Archive, ArchiveState, Blocker, Standing, Verdict, show_duration
from chainstrata.retention.planner import cutoff, decide, expired, is_due

NOW = datetime(2026, 3, 20, 2, tzinfo=UTC)
BLOCKED = (Blocker("mirror", "is behind"),)


WEEK = days(7)


def table(keep: Interval | None = WEEK, *, archive: bool = True, keep_archived: Interval | None = None) -> TimedTable:
    lifecycle = Lifecycle(partition=days(1), keep=keep, archive=archive, keep_archived=keep_archived)
    return TimedTable("pack.rows", "pack", "rows", "ts", (), ("ts",), lifecycle)


def day(number: int, **changes: object) -> Standing:
    start = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=number - 1)
    partition = Partition("pack", f"p{number:02}", Span(start, start + timedelta(days=1)))
    return replace(Standing(partition), **changes)  # type: ignore[arg-type]  # fields by name


def after(standing: Standing, action: Action) -> Standing | None:
    """What the catalog says after a step; None when the partition is gone."""
    match action:
        case Action.SEAL:
            return replace(standing, sealed=True, departure=1)
        case Action.UNSEAL:
            return replace(standing, sealed=False, archived=False, released=False, departure=0)
        case Action.ARCHIVE:
            return replace(standing, archived=True)
        case Action.RELEASE:
            return replace(standing, released=True)
        case Action.DETACH:
            return replace(standing, attached=False)
        case Action.DROP:
            return None


def test_a_partition_is_due_when_its_last_row_could_be_old_enough() -> None:
    partition = day(13).partition
    assert not is_due(table(), partition, datetime(2026, 3, 20, 23, 59, tzinfo=UTC))
    assert is_due(table(), partition, datetime(2026, 3, 21, tzinfo=UTC))
    assert not is_due(table(keep=None), partition, NOW + timedelta(days=9999))
    assert not is_due(table(), replace(partition, default=True, span=Span(BEGINNING, END)), NOW)
    assert not is_due(table(), replace(partition, span=Span(BEGINNING, END)), NOW)
    assert cutoff(Lifecycle(keep=months(1)), datetime(2026, 3, 31, tzinfo=UTC)) == datetime(2026, 2, 28, tzinfo=UTC)


def test_steps_stand_in_one_order() -> None:
    [decision] = decide(table(), [day(1)], NOW)
    assert decision.steps == (Action.SEAL, Action.ARCHIVE, Action.RELEASE, Action.DETACH, Action.DROP)
    assert str(decision) == "pack.p01 (2026-03-01 to 2026-03-02) leaves: seal, archive, release, detach, drop"


def test_what_was_put_back_stays_sealed_and_leaves_like_any_other() -> None:
    restored = day(1, sealed=True, restored=True)
    [early] = decide(table(), [restored], restored.partition.span.end)
    assert (early.verdict, early.steps) == (Verdict.KEPT, ())
    [late] = decide(table(), [restored], NOW)
    assert late.steps == (Action.SEAL, Action.ARCHIVE, Action.RELEASE, Action.DETACH, Action.DROP)


@given(st.lists(st.integers(1, 28), unique=True, min_size=1), st.integers(0, 40), st.data())
def test_an_interrupted_departure_is_taken_up_where_it_stopped(numbers: list[int], done: int, data: st.DataObject) -> None:
    """Interrupt every plan: after any number of steps, planning again gives the rest."""
    standings = {number: day(number) for number in numbers}
    plan = steps_of(list(standings.values()))
    for name, action in plan[:done]:
        number = int(name[1:])
        moved = after(standings[number], action)
        if moved is None:
            del standings[number]
        else:
            standings[number] = moved
    assert steps_of(list(standings.values())) == plan[done:]


def steps_of(standings: Sequence[Standing]) -> list[tuple[str, Action]]:
    return [(decision.partition.name, action) for decision in decide(table(), standings, NOW) for action in decision.steps]


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.lists(st.booleans(), min_size=12, max_size=12))
def test_nothing_passes_an_older_one_that_stays(blocked: list[bool], restored: list[bool]) -> None:
    standings = [day(number, restored=restored[number - 1]) for number in range(1, len(blocked) + 1)]
    blockers = {standing.partition.name: BLOCKED for standing, is_blocked in zip(standings, blocked, strict=True) if is_blocked}
    decisions = decide(table(), standings, NOW, blockers)
    stays = False
    for decision, is_blocked in zip(decisions, blocked, strict=True):
        if decision.verdict is Verdict.LEAVES:
            assert not is_blocked
            assert decision.standing.restored or not stays
        if decision.verdict is Verdict.BLOCKED and not decision.standing.restored:
            stays = True
        assert bool(decision.blockers) == (decision.verdict is Verdict.BLOCKED)


def test_what_is_released_goes_on_whatever_anybody_says() -> None:
    standing = day(1, sealed=True, archived=True, released=True)
    [decision] = decide(table(), [standing], NOW, {"p01": BLOCKED})
    assert decision.steps == (Action.DETACH, Action.DROP)
    [decision] = decide(table(keep=days(300)), [replace(standing, attached=False)], NOW)
    assert decision.steps == (Action.DROP,)


def test_what_is_to_be_kept_longer_is_unsealed() -> None:
    [decision] = decide(table(keep=days(300)), [day(1, sealed=True, archived=True)], NOW)
    assert (decision.verdict, decision.steps) == (Verdict.KEPT, (Action.UNSEAL,))


def test_what_lost_its_seal_is_archived_anew() -> None:
    [decision] = decide(table(), [day(1, sealed=False, archived=True)], NOW)
    assert decision.steps[:2] == (Action.SEAL, Action.ARCHIVE)


@pytest.mark.parametrize("standing", [day(1, attached=False, sealed=True), day(1, sealed=True)])
def test_what_somebody_detached_is_not_dropped(standing: Standing) -> None:
    if standing.attached:
        standing = replace(standing, partition=replace(standing.partition, state=State.DETACHING))
    [decision] = decide(table(), [standing], NOW)
    assert decision.verdict is Verdict.BLOCKED
    assert decision.blockers[0].who == "detached"


def test_the_delay_is_named() -> None:
    [decision] = decide(table(), [day(1)], NOW, {"p01": BLOCKED})
    assert decision.overdue == timedelta(days=11, hours=2)
    assert str(decision) == "pack.p01 (2026-03-01 to 2026-03-02) stays, overdue by 11 d: mirror: is behind"
    assert [show_duration(timedelta(seconds=one)) for one in (5, 130, 7200, 200_000)] == ["5 s", "2 min", "2 h", "2 d"]


@pytest.mark.conforms("S4-64", "S4-82")
def test_archives_are_kept_so_long_after_they_were_due() -> None:
    """D4-10: kept 90 days, then 365 days in the archive, then deleted at the age of 455 days."""
    lifecycle = Lifecycle(partition=months(1), keep=days(90), keep_archived=days(365))

    def archive(end: datetime, state: ArchiveState = ArchiveState.SERVING) -> Archive:
        return Archive(1, "pack.rows", "pack", "rows", Span(end - timedelta(days=28), end), 1, 1, "", "", "", state, None, None)

    limit = NOW - timedelta(days=455)
    old, young = archive(limit), archive(limit + timedelta(seconds=1))
    others = [archive(limit, state) for state in (ArchiveState.READY, ArchiveState.RESTORED, ArchiveState.WRITING)]
    assert expired([old, young, *others], {"pack.rows": lifecycle}, NOW) == [old]
    assert expired([old], {"pack.rows": replace(lifecycle, keep_archived=None)}, NOW) == []
    assert expired([old], {}, NOW) == []


def test_hours_are_due_by_the_hour() -> None:
    start = datetime(2026, 3, 20, 0, tzinfo=UTC)
    partition = Partition("pack", "h", Span(start, start + timedelta(hours=1)))
    target = replace(table(), lifecycle=Lifecycle(partition=hours(1), keep=hours(1)))
    assert is_due(target, partition, NOW)
    assert not is_due(target, partition, NOW - timedelta(seconds=1))
