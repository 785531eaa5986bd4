"""Which table answers a question about a span of time: the finest that still keeps it whole and gives no more points than asked for."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chainstrata.model import Dataset, minutes


class Timeframe(StrEnum):
    """Widths that prices are kept in, the finest first."""

    MINUTE = "minute"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


@dataclass(frozen=True, slots=True)
class Kept:
    """How wide a point of a timeframe is, and for how long it is kept; None: for ever."""

    timeframe: Timeframe
    width: timedelta
    keep: timedelta | None


def kept(dataset: Dataset) -> list[Kept]:
    """Return what is kept of the prices, as declared, the finest first."""
    found = [Kept(Timeframe.MINUTE, minutes(1).longest, dataset.lifecycle.keep.longest if dataset.lifecycle.keep else None)]
    for rollup in dataset.rollups:
        keep = rollup.lifecycle.keep
        found.append(Kept(Timeframe(rollup.name), rollup.every.longest, keep.longest if keep else None))
    return sorted(found, key=lambda one: one.width)


def choose(choices: list[Kept], since: datetime, until: datetime, *, now: datetime, points: int) -> Timeframe:
    """Return the finest timeframe that reaches back to `since` and needs at most `points` for the span.

    If none does, the one that is kept the longest.
    """
    for one in choices:
        reaches = one.keep is None or since >= now - one.keep
        if reaches and until - since <= one.width * points:
            return one.timeframe
    return choices[-1].timeframe
