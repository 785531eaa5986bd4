"""Spans of calendar time in UTC: partition widths, bucket widths and ages.

Minutes, hours, days and weeks are counted from fixed origins (weeks start on Monday, as ISO weeks do); months, quarters
and years follow the calendar. Everything here is pure and works on aware UTC datetimes only.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import total_ordering


class Unit(StrEnum):
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


_FIXED = {
    Unit.SECOND: timedelta(seconds=1),
    Unit.MINUTE: timedelta(minutes=1),
    Unit.HOUR: timedelta(hours=1),
    Unit.DAY: timedelta(days=1),
    Unit.WEEK: timedelta(weeks=1),
}
_MONTHS = {Unit.MONTH: 1, Unit.QUARTER: 3, Unit.YEAR: 12}
# A Monday, so that weeks start as ISO weeks do; every shorter unit starts there too.
ORIGIN = datetime(1970, 1, 5, tzinfo=UTC)


@total_ordering
@dataclass(frozen=True, slots=True)
class Interval:
    """A number of calendar units, such as `days(7)`. Compared by length, months and longer by their mean."""

    count: int
    unit: Unit

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"an interval must be positive (got {self.count} {self.unit}s)")

    def __str__(self) -> str:
        return f"{self.count} {self.unit}{'s' if self.count > 1 else ''}"

    @property
    def spoken(self) -> str:
        """The span as a sentence has it after `every` or `the`: `day`, or `3 days`."""
        return str(self.unit) if self.count == 1 else str(self)

    def __lt__(self, other: "Interval") -> bool:
        return self.mean_length < other.mean_length

    @property
    def fixed(self) -> bool:
        """Whether every span has the same length."""
        return self.unit in _FIXED

    @property
    def mean_length(self) -> timedelta:
        """The length; for calendar units the mean over 400 years."""
        if self.unit in _FIXED:
            return self.count * _FIXED[self.unit]
        return self.count * _MONTHS[self.unit] * timedelta(days=146097, seconds=0) / 4800

    @property
    def longest(self) -> timedelta:
        """The longest a span can be: what a retention must cover to hold one whole."""
        if self.unit in _FIXED:
            return self.count * _FIXED[self.unit]
        return timedelta(days={Unit.MONTH: 31, Unit.QUARTER: 92, Unit.YEAR: 366}[self.unit] * self.count)

    @property
    def seconds(self) -> float:
        """Length in seconds; only for fixed units."""
        if not self.fixed:
            raise ValueError(f"{self} has no fixed length")
        return self.mean_length.total_seconds()

    def floor(self, instant: datetime) -> datetime:
        """Return the start of the span that holds `instant`."""
        instant = instant.astimezone(UTC)
        if self.unit in _FIXED:
            return instant - (instant - ORIGIN) % self.mean_length
        months = self.count * _MONTHS[self.unit]
        index = instant.year * 12 + instant.month - 1
        return _month(index - index % months)

    def shift(self, instant: datetime, count: int = 1) -> datetime:
        """Return `instant` moved by `count` spans; the day of the month is cut to the month's length."""
        if self.unit in _FIXED:
            return instant + count * self.mean_length
        index = instant.year * 12 + instant.month - 1 + count * self.count * _MONTHS[self.unit]
        first = _month(index)
        last_day = (_month(index + 1) - timedelta(days=1)).day
        return instant.replace(year=first.year, month=first.month, day=min(instant.day, last_day))

    def before(self, instant: datetime) -> datetime:
        """Return the instant one span before: the cutoff of an age."""
        return self.shift(instant, -1)

    def divides(self, other: "Interval") -> bool:
        """Return whether every span of `other` is a whole number of spans of this one, with aligned edges."""
        if self.fixed and other.fixed:
            return other.mean_length % self.mean_length == timedelta(0)
        if self.fixed:
            return timedelta(days=1) % self.mean_length == timedelta(0)
        return not other.fixed and (other.count * _MONTHS[other.unit]) % (self.count * _MONTHS[self.unit]) == 0


def _month(index: int) -> datetime:
    return datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC)


def seconds(count: int) -> Interval:
    return Interval(count, Unit.SECOND)


def minutes(count: int) -> Interval:
    return Interval(count, Unit.MINUTE)


def hours(count: int) -> Interval:
    return Interval(count, Unit.HOUR)


def days(count: int) -> Interval:
    return Interval(count, Unit.DAY)


def weeks(count: int) -> Interval:
    return Interval(count, Unit.WEEK)


def months(count: int) -> Interval:
    return Interval(count, Unit.MONTH)


def quarters(count: int) -> Interval:
    return Interval(count, Unit.QUARTER)


def years(count: int) -> Interval:
    return Interval(count, Unit.YEAR)


_SHORT = {
    "s": Unit.SECOND,
    "m": Unit.MINUTE,
    "h": Unit.HOUR,
    "d": Unit.DAY,
    "w": Unit.WEEK,
    "mo": Unit.MONTH,
    "q": Unit.QUARTER,
    "y": Unit.YEAR,
}


def read_interval(text: str) -> Interval:
    """Return the interval that a person wrote: `15m`, `1h`, `7 days`, `month`. Raises ValueError that says what it may be."""
    found = re.fullmatch(r"(\d{0,6}) ?([a-z]+)", text.strip())
    unit = _SHORT.get(found[2]) or next((unit for unit in Unit if found[2] in (unit, f"{unit}s")), None) if found else None
    if found is None or unit is None or found[1].strip("0") == "" != found[1]:
        raise ValueError(f"{text!r} is no span of time; write it as 15m, 1h, 1d, 1w or 1mo")
    return Interval(int(found[1] or 1), unit)


def parse_interval(text: str) -> Interval:
    """Return the interval that `str(interval)` wrote."""
    count, _, unit = text.partition(" ")
    return Interval(int(count), Unit(unit.removesuffix("s")))
