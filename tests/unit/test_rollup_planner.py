"""What a refresh does follows from marks alone: every bucket a mark touches is refreshed once, and no other unless it is cheaper."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainstrata.model.marking import most_keys
from chainstrata.rollups.model import Mark, Pairs, Range, Work
from chainstrata.rollups.planner import find_sources, plan
from tests.fixtures.prices import price_catalog

CATALOG = price_catalog()
SOURCES = {source.name: source for source in find_sources(CATALOG)}
RAW = SOURCES["demo.price"]
HOURLY = RAW.children[0]
START = datetime(2026, 3, 1, tzinfo=UTC)
SPAN = Range(START, START + timedelta(days=10))
HOUR = timedelta(hours=1)

MARKS = st.lists(
    st.builds(
        lambda key, at, width: Mark((key,), START + timedelta(minutes=at), START + timedelta(minutes=at + width)),
        st.sampled_from(["ada", "btc", None]),
        st.integers(0, 14_000),
        st.integers(1, 300),
    ),
    max_size=30,
)


def done(works: list[Work]) -> set[tuple[object, datetime]]:
    """Return the (key, bucket) pairs that are refreshed; None for every key."""
    pairs: set[tuple[object, datetime]] = set()
    for work in works:
        if isinstance(work, Range):
            at = work.lo
            while at < work.hi:
                pairs.add((None, at))
                at += HOUR
        else:
            pairs |= {(key[0], start) for key, start in zip(work.keys, work.starts, strict=True)}
    return pairs


@given(MARKS, st.none() | st.floats(1, 1000))
def test_every_bucket_a_mark_touches_is_refreshed(marks: list[Mark], most: float | None) -> None:
    refreshed = done(plan(RAW, HOURLY, marks, span=SPAN, most_keys=most))
    for mark in marks:
        assert mark.lo
        assert mark.hi
        at = HOURLY.rollup.every.floor(mark.lo)
        while at < mark.hi:
            assert (mark.key[0], at) in refreshed or (None, at) in refreshed
            at += HOUR


@given(MARKS, st.none() | st.floats(1, 1000))
def test_no_bucket_is_refreshed_twice(marks: list[Mark], most: float | None) -> None:
    works = plan(RAW, HOURLY, marks, span=SPAN, most_keys=most)
    whole = sorted((work for work in works if isinstance(work, Range)), key=lambda work: work.lo)
    assert all(before.hi < after.lo for before, after in pairwise(whole))
    for work in works:
        if isinstance(work, Pairs):
            pairs = list(zip(work.keys, work.starts, strict=True))
            assert len(set(pairs)) == len(pairs)
            assert pairs == sorted(pairs)
            assert not any(one.lo <= start < one.hi for one in whole for start in work.starts)


def test_few_keys_are_looked_up_and_many_are_passed_by() -> None:
    def marks(count: int) -> list[Mark]:
        return [Mark((f"coin-{n:04}",), START, START + HOUR) for n in range(count)]

    assert isinstance(plan(RAW, HOURLY, marks(30), span=SPAN, most_keys=60)[0], Pairs)
    assert plan(RAW, HOURLY, marks(90), span=SPAN, most_keys=60) == [Range(START, START + HOUR)]
    assert isinstance(plan(RAW, HOURLY, marks(256), span=SPAN)[0], Pairs)
    assert plan(RAW, HOURLY, marks(257), span=SPAN) == [Range(START, START + HOUR)]


@pytest.mark.parametrize(("rows_per_key", "measured"), [(12, 2.7), (60, 1.65), (300, 1.1)])
def test_a_look_up_costs_what_was_measured(rows_per_key: float, measured: float) -> None:
    assert 1000 / most_keys(1000, rows_per_key) == pytest.approx(measured, rel=0.07)


def test_an_open_mark_covers_everything_there_is() -> None:
    assert plan(RAW, HOURLY, [Mark((None,), None, None)], span=SPAN) == [SPAN]


def test_what_stands_is_left_alone() -> None:
    floor = START + timedelta(days=1)
    assert plan(RAW, HOURLY, [Mark(("ada",), START, START + HOUR)], span=SPAN, floor=floor) == []
    assert plan(RAW, HOURLY, [Mark((None,), None, None)], span=SPAN, floor=floor) == [Range(floor, SPAN.hi)]


def test_a_roll_up_over_all_keys_is_refreshed_by_buckets() -> None:
    everything = RAW.children[1]
    works = plan(RAW, everything, [Mark(("ada",), START + HOUR, START + 2 * HOUR)], span=SPAN)
    assert works == [Range(START, START + timedelta(days=1))]


@pytest.mark.parametrize("name", ["demo.price.hourly", "demo.price.daily"])
def test_sources_come_before_what_is_folded_from_them(name: str) -> None:
    order = list(SOURCES)
    assert order.index("demo.price") < order.index(name)
