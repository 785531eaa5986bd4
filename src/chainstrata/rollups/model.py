"""The words of roll-ups: what they are folded from, what is dirty, and the work that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from chainstrata.model import Dataset, Interval, Rollup

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """One roll-up and its tables."""

    name: str
    dataset: Dataset
    rollup: Rollup
    table: sa.Table
    carried: sa.Table
    dirty: sa.Table | None
    """Where its own changes are marked for the roll-ups folded from it."""


@dataclass(frozen=True, slots=True)
class Source:
    """What roll-ups are folded from: the raw rows of a dataset, or another roll-up (`level`)."""

    name: str
    dataset: Dataset
    table: sa.Table
    time: str
    key: tuple[str, ...]
    """Columns that, with the time, name one row."""
    dirty: sa.Table
    width: Interval
    marked: tuple[str, ...]
    """Columns a mark names, in the order of the dirty table."""
    level: Level | None
    children: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A range somebody touched; a None in `key` stands for every value. Open ends are None."""

    key: Key
    lo: datetime | None
    hi: datetime | None


@dataclass(frozen=True, slots=True)
class Range:
    """All keys of the buckets from `lo` to `hi`."""

    lo: datetime
    hi: datetime


@dataclass(frozen=True, slots=True)
class Pairs:
    """Single buckets of single keys."""

    keys: Sequence[Key]
    starts: Sequence[datetime]


Work = Range | Pairs


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh did."""

    marks: int = 0
    written: int = 0
    removed: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Refreshed") -> "Refreshed":
        return Refreshed(self.marks + other.marks, self.written + other.written, self.removed + other.removed, self.seconds + other.seconds)


@dataclass(frozen=True, slots=True)
class Difference:
    """A bucket that is not what its rows give. `kept` or `expected` None: the bucket is there, or missing, without cause."""

    rollup: str
    key: Key
    bucket: datetime
    kept: dict[str, object] | None
    expected: dict[str, object] | None


@dataclass(frozen=True, slots=True)
class Status:
    """How far a roll-up is."""

    rollup: str
    table: str
    every: str
    marks: int
    oldest_mark: datetime | None
    refreshed_at: datetime | None
    refreshed_lsn: str | None
    seconds: float | None
    gone_before: datetime | None
