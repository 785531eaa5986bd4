"""What is worth its cost. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from chainstrata.upkeep.model import IndexBloat, Statistics, View

# As autovacuum has it: so many rows, and such a part of the table.
CHANGED_ROWS: Final = 50
CHANGED_PART: Final = 0.1
# Statistics over all partitions need them all to be looked at.
PARENT_AGE: Final = timedelta(hours=1)


def order_views(views: Iterable[View]) -> list[View]:
    """Return the views, each after those it is made of."""
    waiting = {view.qualified: view for view in sorted(views, key=lambda view: view.qualified)}
    ordered: list[View] = []
    while waiting:
        # PostgreSQL allows no circles, so there is always one.
        ready = next((view for view in waiting.values() if not set(view.needs) & waiting.keys()), next(iter(waiting.values())))
        ordered.append(waiting.pop(ready.qualified))
    return ordered


def choose_stale(tables: Iterable[Statistics], now: datetime) -> list[Statistics]:
    """Return the tables whose statistics are stale; partitions before what they are partitions of."""
    stale = [table for table in tables if (_parent_stale(table, now) if table.partitioned else _stale(table))]
    return sorted(stale, key=lambda table: (table.partitioned, table.qualified))


def _stale(table: Statistics) -> bool:
    if table.analyzed_at is None:
        return table.rows > 0 or table.changed > 0
    return table.changed > CHANGED_ROWS + CHANGED_PART * table.rows


def _parent_stale(table: Statistics, now: datetime) -> bool:
    """Whether the statistics over all partitions, which nobody else makes, are behind those of the partitions."""
    if table.rows <= 0 and table.changed <= 0:
        return False
    if table.analyzed_at is None:
        return True
    newest = table.partitions_analyzed_at
    behind = newest is not None and newest > table.analyzed_at
    return behind and now - table.analyzed_at > PARENT_AGE


def choose_bloated(indexes: Iterable[IndexBloat], *, part: float) -> Sequence[IndexBloat]:
    """Return the indexes of which at least `part` is not needed, the most to gain first."""
    bloated = [index for index in indexes if index.bloat >= part]
    return sorted(bloated, key=lambda index: (-index.reclaimable_bytes, index.qualified))
