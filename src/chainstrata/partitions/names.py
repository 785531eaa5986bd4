"""What partitions are called. For people only: no code reads a name back, bounds come from the catalog."""

import hashlib
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Final

from chainstrata.model import Interval, Unit

NAME_LIMIT: Final = 63
"""Bytes PostgreSQL keeps of a name."""


def partition_name(table: str, interval: Interval, start: datetime) -> str:
    """Return `<table>_y2026m01d31` for the partition that starts then: as fine as its interval, or as its start needs."""
    suffix = "_" + _suffix(interval, start.astimezone(UTC))
    if len(f"{table}{suffix}".encode()) <= NAME_LIMIT:
        return table + suffix
    # Cut, and told apart by a hash, because two long names may share their beginning.
    tail = f"_{hashlib.sha256(table.encode()).hexdigest()[:8]}{suffix}"
    return _cut(table, NAME_LIMIT - len(tail)) + tail


def free_name(name: str, taken: Collection[str]) -> str:
    """Return the name, with a number behind it when something else bears it."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        tail = f"_{number}"
        candidate = _cut(name, NAME_LIMIT - len(tail)) + tail
    return candidate


def _cut(name: str, size: int) -> str:
    return name.encode()[:size].decode(errors="ignore")


def _suffix(interval: Interval, start: datetime) -> str:
    if interval.floor(start) == start:
        return _SUFFIXES[interval.unit](start)
    # A piece cut to a gap is named by its start alone.
    finest = next(unit for unit in _FINER if unit is Unit.SECOND or Interval(1, unit).floor(start) == start)
    return _SUFFIXES[finest](start)


def _iso_week(start: datetime) -> str:
    iso = start.isocalendar()
    return f"y{iso.year:04d}w{iso.week:02d}"


_SUFFIXES: Final[dict[Unit, Callable[[datetime], str]]] = {
    Unit.YEAR: lambda start: f"y{start.year:04d}",
    Unit.QUARTER: lambda start: f"y{start.year:04d}q{(start.month + 2) // 3}",
    Unit.MONTH: lambda start: f"y{start.year:04d}m{start:%m}",
    Unit.WEEK: _iso_week,
    Unit.DAY: lambda start: f"y{start.year:04d}m{start:%m}d{start:%d}",
    Unit.HOUR: lambda start: f"y{start.year:04d}m{start:%m}d{start:%d}h{start:%H}",
    Unit.MINUTE: lambda start: f"y{start.year:04d}m{start:%m}d{start:%d}h{start:%H}m{start:%M}",
    Unit.SECOND: lambda start: f"y{start.year:04d}m{start:%m}d{start:%d}h{start:%H}m{start:%M}s{start:%S}",
}
_FINER: Final = (Unit.DAY, Unit.HOUR, Unit.MINUTE, Unit.SECOND)
