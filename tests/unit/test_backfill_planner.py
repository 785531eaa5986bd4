"""How a backfill is cut into chunks: all of it, once, in order; and when it will be done."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainstrata.backfill.errors import BackfillRefused
from chainstrata.backfill.model import to_position, to_time
from chainstrata.backfill.planner import LONGEST_PAUSE, MOST_CHUNKS, count_chunks, expect, retry_pause, split

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
FAR = 2**62


@given(st.integers(0, FAR), st.integers(0, 5000), st.integers(1, 700))
def test_chunks_cover_everything_once_and_in_order(start: int, length: int, size: int) -> None:
    chunks = list(split(start, start + length, size))
    assert [*chunks] == sorted(chunks)
    assert [position for lower, upper in chunks for position in range(lower, upper)] == list(range(start, start + length))
    assert all(0 < upper - lower <= size for lower, upper in chunks)
    assert len(chunks) == count_chunks(start, start + length, size)


@given(st.integers(0, 10**9), st.integers(1, 5000), st.integers(0, 3000), st.integers(1, 700))
def test_the_same_positions_are_in_the_same_chunks_wherever_it_starts(start: int, length: int, later: int, size: int) -> None:
    whole = set(split(start, start + length, size))
    part = list(split(min(start + later, start + length), start + length, size))
    assert set(part[1:]) <= whole


@pytest.mark.parametrize(
    ("start", "end", "size", "problem"),
    [
        (0, 10, 0, "cannot have 0 positions"),
        (10, 5, 1, "nothing from 10 to 5"),
        (-1, 5, 1, "nothing from -1 to 5"),
        (0, FAR, 1000, "more than 1000000 chunks"),
    ],
)
def test_what_cannot_be_cut_is_refused(start: int, end: int, size: int, problem: str) -> None:
    with pytest.raises(BackfillRefused, match=problem):
        split(start, end, size)


def test_the_size_that_is_proposed_is_enough() -> None:
    with pytest.raises(BackfillRefused) as caught:
        split(1, FAR, 1000)
    size = int(caught.value.hint.removeprefix("Take chunks of ").removesuffix(" or more."))
    assert count_chunks(1, FAR, size) <= MOST_CHUNKS


@given(st.integers(1, 10**6), st.floats(0.001, 10**6), st.integers(0, FAR))
def test_the_rest_is_expected_at_the_rate_that_was_measured(done: int, seconds: float, left: int) -> None:
    rate, expected = expect(done, seconds, left, NOW)
    assert rate == done / seconds
    assert expected is None or expected >= NOW


def test_nothing_is_expected_before_something_was_measured() -> None:
    assert expect(0, 10.0, 5, NOW) == (None, None)
    assert expect(5, 0.0, 5, NOW) == (None, None)
    assert expect(10, 5.0, 20, NOW) == (2.0, NOW + timedelta(seconds=10))


def test_a_chunk_rests_longer_after_each_attempt() -> None:
    pauses = [retry_pause(attempt) for attempt in range(1, 20)]
    assert pauses[:3] == [timedelta(seconds=5), timedelta(seconds=10), timedelta(seconds=20)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


@given(st.integers(0, 10**11))
def test_positions_that_count_seconds_are_instants_and_back(position: int) -> None:
    assert to_position(to_time(position)) == position
