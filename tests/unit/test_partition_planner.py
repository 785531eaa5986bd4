"""The planner of partitions: pure, so it is held against a plain oracle over many calendars."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainstrata.engines.postgres.partitioning import BEGINNING, END, Partition, Span, State, TableFacts
from chainstrata.model import Interval, Lifecycle, TimedTable, Unit, days, hours, minutes, months, quarters, seconds, weeks, years
from chainstrata.partitions.model import Action, ProblemCode, Step
from chainstrata.partitions.names import NAME_LIMIT, free_name, partition_name
from chainstrata.partitions.planner import LARGEST_GAP, check, plan, plan_range, spans_ahead, wanted_span


def test_made_up_examples_may_take_their_time() -> None:
    assert settings().deadline is None


def utc(year: int, month: int = 1, day: int = 1, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def table(interval: Interval, *, premake: int = 4, keep: Interval | None = None, name: str = "prices") -> TimedTable:
    return TimedTable(f"pack.{name}", "pack", name, "ts", (), ("ts",), Lifecycle(partition=interval, premake=premake, keep=keep))


def partition(start: datetime, end: datetime, name: str = "", state: State = State.ATTACHED) -> Partition:
    return Partition("pack", name or f"p_{start:%Y%m%d%H%M}", Span(start, end), state)


def applied(existing: Sequence[Partition], steps: Sequence[Step]) -> list[Partition]:
    """What the catalog says after the steps: the oracle of the runner."""
    now = list(existing)
    for step in steps:
        match step.action:
            case Action.FINALIZE:
                now = [one for one in now if one.name != step.partition.name]
            case Action.CREATE:
                assert not any(one.span.overlaps(step.partition.span) for one in now)
                assert step.partition.name not in {one.name for one in now}
                now.append(step.partition)
    return sorted(now, key=lambda one: one.span)


intervals = st.sampled_from(
    [seconds(30), minutes(1), minutes(15), hours(1), hours(6), days(1), days(7), weeks(1), months(1), quarters(1), years(1)]
)
instants = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("interval", "at", "name"),
    [
        (years(1), utc(2026), "t_y2026"),
        (quarters(1), utc(2026, 4), "t_y2026q2"),
        (months(1), utc(2026, 1), "t_y2026m01"),
        (weeks(1), utc(2026, 1, 26), "t_y2026w05"),
        (weeks(1), utc(2024, 12, 30), "t_y2025w01"),
        (days(1), utc(2026, 1, 31), "t_y2026m01d31"),
        (hours(1), utc(2026, 1, 31, 7), "t_y2026m01d31h07"),
        (minutes(15), utc(2026, 1, 31, 7, 45), "t_y2026m01d31h07m45"),
        (seconds(30), utc(2026, 1, 31, 7, 45) + timedelta(seconds=30), "t_y2026m01d31h07m45s30"),
        (months(1), utc(2026, 1, 31), "t_y2026m01d31"),
        (days(1), utc(2026, 1, 31, 7), "t_y2026m01d31h07"),
    ],
)
@pytest.mark.conforms("S3-11")
def test_a_partition_is_named_after_its_start(interval: Interval, at: datetime, name: str) -> None:
    assert partition_name("t", interval, at) == name


def test_long_names_stay_apart() -> None:
    stem = "a" * 62
    one, other = (partition_name(stem + last, hours(1), utc(2026)) for last in "xy")
    assert one != other
    assert one.endswith("_y2026m01d01h00")
    assert len(one.encode()) == len(other.encode()) == NAME_LIMIT
    wide = partition_name("ü" * 31, hours(1), utc(2026))
    assert len(wide.encode()) <= NAME_LIMIT


def test_a_name_in_use_gets_a_number() -> None:
    assert free_name("a" * NAME_LIMIT, {"a" * NAME_LIMIT}) == "a" * (NAME_LIMIT - 2) + "_2"
    (step,) = plan_range(table(days(1)), [], Span(utc(2026), utc(2026, 1, 2)), taken={"prices_y2026m01d01", "prices_y2026m01d01_2"})
    assert step.partition.name == "prices_y2026m01d01_3"


@pytest.mark.conforms("S1-29", "S3-53")
def test_partitions_are_made_ahead_from_the_one_before() -> None:
    steps = plan(table(months(1), premake=6), [], utc(2026, 11, 20))
    assert [step.partition.name for step in steps] == [
        "prices_y2026m10", "prices_y2026m11", "prices_y2026m12", "prices_y2027m01",
        "prices_y2027m02", "prices_y2027m03", "prices_y2027m04", "prices_y2027m05",
    ]  # fmt: skip


@pytest.mark.conforms("S1-30")
def test_eight_quarters_ahead() -> None:
    steps = plan(table(quarters(1), premake=8), [], utc(2026, 11, 20))
    assert steps[-1].partition.name == "prices_y2028q4"
    assert steps[-1].partition.span == Span(utc(2028, 10), utc(2029))


@given(intervals, instants, st.integers(1, 12))
def test_spans_join_without_gap_or_overlap_in_utc(interval: Interval, now: datetime, premake: int) -> None:
    steps = plan(table(interval, premake=premake), [], now)
    spans = [step.partition.span for step in steps]
    assert len(spans) == premake + 2
    assert all(before.end == after.start for before, after in itertools.pairwise(spans))
    assert now in spans[1]
    assert all(span.start.tzinfo is UTC for span in spans)


@given(intervals, instants, st.integers(1, 6), st.data())
def test_an_interrupted_plan_is_taken_up_where_it_stopped(interval: Interval, now: datetime, premake: int, data: st.DataObject) -> None:
    older = data.draw(intervals)
    start = older.shift(older.floor(now), -data.draw(st.integers(0, 5)))
    existing = []
    for _ in range(data.draw(st.integers(0, 4))):
        end = older.shift(start)
        state = data.draw(st.sampled_from([State.ATTACHED, State.ATTACHED, State.DETACHING]))
        if data.draw(st.booleans()):
            existing.append(partition(start, end, f"old_{start:%Y%m%d%H%M%S}", state))
        start = end
    target = table(interval, premake=premake, keep=data.draw(st.sampled_from([None, years(10)])))
    steps = plan(target, existing, now)
    # A wide interval is cut by many narrow partitions; the property does not need hundreds of prefixes.
    for done in sorted({0, 1, len(steps) // 2, len(steps)}):
        left = plan(target, applied(existing, steps[:done]), now)
        assert left == steps[done:]


@given(intervals, intervals, instants, st.integers(1, 5))
def test_a_changed_interval_leaves_what_is_there(before: Interval, after: Interval, now: datetime, premake: int) -> None:
    old = applied([], plan(table(before, premake=premake), [], now))
    target = table(after, premake=premake)
    if after.mean_length / before.mean_length > 10_000:
        return
    now_there = applied(old, plan(target, old, now))
    assert set(old) <= set(now_there)
    wanted = wanted_span(target, now)
    held = [one.span for one in now_there if one.span.overlaps(wanted)]
    assert held[0].start <= wanted.start
    assert held[-1].end >= wanted.end
    assert all(a.end == b.start for a, b in itertools.pairwise(held))


def test_from_days_to_hours_begins_where_the_days_end() -> None:
    existing = [partition(utc(2026, 1, day), utc(2026, 1, day + 1)) for day in (1, 2)]
    steps = plan(table(hours(1), premake=3), existing, utc(2026, 1, 2, 22, 30))
    assert [step.partition.name for step in steps] == ["prices_y2026m01d03h00", "prices_y2026m01d03h01"]


def test_a_wider_interval_is_cut_to_the_gap() -> None:
    existing = [partition(utc(2026, 1, 30), utc(2026, 1, 31))]
    steps = plan_range(table(months(1)), existing, Span(utc(2026, 1, 5), utc(2026, 1, 6)))
    assert [(step.partition.name, step.partition.span) for step in steps] == [
        ("prices_y2026m01", Span(utc(2026, 1, 1), utc(2026, 1, 30))),
        ("prices_y2026m01d31", Span(utc(2026, 1, 31), utc(2026, 2, 1))),
    ]


def test_a_gap_after_an_outage_is_filled_as_far_as_rows_are_kept() -> None:
    existing = [partition(utc(2026, 1, 1), utc(2026, 1, 2))]
    kept = plan(table(days(1), keep=days(5)), existing, utc(2026, 1, 20))
    assert kept[0].partition.span.start == utc(2026, 1, 15)
    for_ever = plan(table(days(1)), existing, utc(2026, 1, 20))
    assert for_ever[0].partition.span.start == utc(2026, 1, 2)


def test_a_gap_of_years_is_left_to_be_asked_for() -> None:
    existing = [partition(utc(2020, 1, 1), utc(2020, 1, 2))]
    target = table(days(1))
    steps = plan(target, existing, utc(2026, 1, 20))
    assert steps[0].partition.span.start == utc(2026, 1, 19)
    codes = {problem.code for problem in check(target, applied(existing, steps), utc(2026, 1, 20), least_ahead=2)}
    assert codes == {ProblemCode.GAP}
    filled = plan_range(target, existing, Span(utc(2020, 1, 2), utc(2021, 3, 1)))
    assert len(filled) > LARGEST_GAP


def test_what_was_cut_short_is_finished_first() -> None:
    pending = partition(utc(2026, 1, 2), utc(2026, 1, 3), "leaving", State.DETACHING)
    steps = plan(table(days(1), premake=1), [pending], utc(2026, 1, 2))
    assert [str(step) for step in steps][:2] == [
        "finalize pack.leaving (2026-01-02 00:00 to 2026-01-03 00:00)".replace(" 00:00", ""),
        "create pack.prices_y2026m01d01 (2026-01-01 to 2026-01-02)",
    ]
    assert steps[2].partition.span == pending.span


def test_old_chunks_are_compressed_and_partitions_are_not() -> None:
    """A hypertable is prepared first; what rows came to since is compressed again; what is too young, or done, is left."""
    now = utc(2026, 3, 10, 12)
    old = [partition(utc(2026, 3, day), utc(2026, 3, day + 1)) for day in range(5, 15)]
    chunks = [replace(one, chunked_by="ts", compressed=one.span.start == utc(2026, 3, 6)) for one in old]
    aging = replace(table(days(1)), lifecycle=Lifecycle(partition=days(1), premake=4, compress=days(2)))
    facts = TableFacts(1, True, "ts", "timestamptz", hypertable=True)
    steps = plan(aging, chunks, now, facts=facts)
    assert [step.action for step in steps] == [Action.PREPARE, Action.COMPRESS, Action.COMPRESS]
    assert [step.partition.span.start.day for step in steps[1:]] == [5, 7]
    assert str(steps[0]) == "prepare pack.prices for compression"
    assert plan(aging, chunks, now, facts=replace(facts, compressible=True)) == steps[1:]
    assert plan(aging, old, now, facts=replace(facts, hypertable=False)) == []
    assert plan(table(days(1)), chunks, now, facts=facts) == []


@pytest.mark.conforms("S3-62")
@pytest.mark.parametrize("ahead", [0, 1, 2, 3])
def test_too_few_future_partitions_are_urgent(ahead: int) -> None:
    target = table(days(1), premake=3)
    existing = [partition(utc(2026, 1, 1 + day), utc(2026, 1, 2 + day)) for day in range(ahead + 1)]
    assert spans_ahead(target, existing, utc(2026, 1, 1, 5)) == ahead
    problems = check(target, existing, utc(2026, 1, 1, 5), least_ahead=2)
    assert [problem.code for problem in problems if problem.urgent] == ([ProblemCode.FEW_AHEAD] if ahead < 2 else [])


def test_no_partition_for_now_is_urgent() -> None:
    (problem,) = check(table(days(1)), [partition(utc(2025, 1, 1), utc(2025, 1, 2))], utc(2026), least_ahead=2)
    assert problem.code is ProblemCode.FEW_AHEAD
    assert "2026-01-01 to 2026-01-02" in problem.detail
    assert problem.urgent


def test_odd_partitions_are_named() -> None:
    target = table(days(1), premake=1)
    good = [partition(utc(2026, 1, day), utc(2026, 1, day + 1)) for day in (2, 3, 4)]
    odd = [
        partition(BEGINNING, utc(2026, 1, 1), "oldest"),
        replace(partition(BEGINNING, END, "rest"), default=True),
        partition(utc(2026, 1, 1), utc(2026, 1, 2), "half", State.DETACHING),
    ]
    problems = check(target, [*odd, *good], utc(2026, 1, 3), least_ahead=1)
    assert {problem.code for problem in problems} == {
        ProblemCode.DEFAULT_PARTITION, ProblemCode.DETACH_PENDING, ProblemCode.OTHER_WIDTH, ProblemCode.GAP,
    }  # fmt: skip
    assert not any(problem.urgent for problem in problems)


def test_units_are_all_named() -> None:
    for unit in Unit:
        assert partition_name("t", Interval(1, unit), utc(2024, 1, 1)).startswith("t_y2024")
