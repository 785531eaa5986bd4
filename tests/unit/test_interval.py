from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainstrata.model import Interval, Unit, days, hours, minutes, months, parse_interval, quarters, seconds, weeks, years
from chainstrata.model.interval import read_interval

INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(2400, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
INTERVALS = st.builds(Interval, st.integers(1, 12), st.sampled_from(Unit))


@given(INTERVALS, INSTANTS)
def test_a_span_holds_its_instants_and_starts_where_the_one_before_ends(interval: Interval, instant: datetime) -> None:
    start = interval.floor(instant)
    assert start <= instant < interval.shift(start)
    assert interval.floor(start) == start
    assert interval.floor(interval.shift(start) - timedelta(microseconds=1)) == start
    assert interval.floor(interval.shift(start)) == interval.shift(start)


@given(INTERVALS)
def test_an_interval_is_read_back_as_written(interval: Interval) -> None:
    assert parse_interval(str(interval)) == interval


@given(INTERVALS, INTERVALS, INSTANTS)
def test_an_interval_that_divides_another_has_an_edge_at_each_of_its_edges(small: Interval, large: Interval, instant: datetime) -> None:
    if small.divides(large):
        edge = large.floor(instant)
        assert small.floor(edge) == edge


@pytest.mark.parametrize(
    ("interval", "instant", "start"),
    [
        (weeks(1), datetime(2025, 3, 1, 5, tzinfo=UTC), datetime(2025, 2, 24, tzinfo=UTC)),
        (months(1), datetime(2024, 2, 29, 23, 59, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)),
        (quarters(1), datetime(2024, 12, 31, tzinfo=UTC), datetime(2024, 10, 1, tzinfo=UTC)),
        (years(1), datetime(2024, 12, 31, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
        (minutes(15), datetime(2024, 1, 1, 0, 44, 59, tzinfo=UTC), datetime(2024, 1, 1, 0, 30, tzinfo=UTC)),
    ],
)
def test_spans_start_where_the_calendar_says(interval: Interval, instant: datetime, start: datetime) -> None:
    assert interval.floor(instant) == start


def test_another_zone_changes_nothing_but_the_clock_on_the_wall() -> None:
    from zoneinfo import ZoneInfo

    instant = datetime(2026, 11, 1, 1, 30, tzinfo=ZoneInfo("America/New_York"))
    assert days(1).floor(instant) == datetime(2026, 11, 1, tzinfo=UTC)


def test_the_end_of_a_long_month_moves_to_the_end_of_a_short_one() -> None:
    assert months(1).shift(datetime(2024, 1, 31, tzinfo=UTC)) == datetime(2024, 2, 29, tzinfo=UTC)
    assert years(1).before(datetime(2024, 2, 29, tzinfo=UTC)) == datetime(2023, 2, 28, tzinfo=UTC)


def test_weeks_and_months_do_not_meet() -> None:
    assert not weeks(1).divides(months(1))
    assert days(1).divides(months(1))
    assert hours(1).divides(days(1))
    assert months(1).divides(quarters(1))
    assert not hours(5).divides(days(1))


def test_intervals_are_ordered_by_length() -> None:
    assert sorted([months(1), days(30), days(31), years(1), seconds(1)]) == [seconds(1), days(30), months(1), days(31), years(1)]


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("15m", minutes(15)),
        ("1h", hours(1)),
        ("7 days", days(7)),
        ("month", months(1)),
        ("2mo", months(2)),
        ("10s", seconds(10)),
        ("1w", weeks(1)),
    ],
)
def test_what_people_write_is_read(text: str, interval: Interval) -> None:
    assert read_interval(text) == interval


@pytest.mark.parametrize("text", ["", "soon", "0h", "-1h", "1.5h", "1 fortnight", "h1", "1000000000h"])
def test_what_is_no_span_is_refused_with_what_it_may_be(text: str) -> None:
    with pytest.raises(ValueError, match="write it as 15m, 1h, 1d"):
        read_interval(text)


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        days(0)
