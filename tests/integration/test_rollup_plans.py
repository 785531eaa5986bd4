"""How PostgreSQL brings roll-ups up to date: every row is read once, the ends of buckets are looked up, other partitions are not touched."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import sql

from chainstrata.engines.postgres import Connection
from chainstrata.model import Catalog
from chainstrata.rollups.model import Level, Source
from chainstrata.rollups.planner import find_sources
from chainstrata.rollups.statements import refresh_pairs, refresh_range

# A day that has its partition, and so have those before and after it.
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)
HOUR = timedelta(hours=1)
PARTITION = f"validator_snapshots_y{DAY:%Y}m{DAY:%m}d{DAY:%d}"


def snapshots(catalog: Catalog) -> tuple[Source, Level]:
    source = next(one for one in find_sources(catalog) if one.name == "validators.snapshots")
    return source, source.children[0]


async def scans(connection: Connection, statement: sql.Composable, params: Mapping[str, Any]) -> Counter[str]:
    """Return how often the plan of a statement comes to each partition of the snapshots."""
    [plan] = await connection.fetch_value(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(statement), params)
    found = (node.get("Relation Name", "") for node in walk(plan["Plan"]))
    return Counter(name for name in found if name.startswith("validator_snapshots_y"))


def walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from walk(child)


async def test_whole_buckets_are_read_once_and_their_first_and_last_rows_looked_up(rows: Connection, catalog: Catalog) -> None:
    source, level = snapshots(catalog)
    span = {"lo": DAY, "hi": DAY + timedelta(days=1), "gone_before": "-infinity"}
    assert await scans(rows, refresh_range(source, level, carried=False), span) == {PARTITION: 3}


async def test_single_buckets_touch_no_partition_but_theirs(rows: Connection, catalog: Catalog) -> None:
    source, level = snapshots(catalog)
    starts = [DAY + timedelta(hours=hour) for hour in (6, 16)]
    params = {"key_0": [1, 2], "lo": starts, "hi": [start + HOUR for start in starts], "gone_before": "-infinity"}
    params |= {"first_lo": starts[0], "last_hi": starts[-1] + HOUR}
    assert await scans(rows, refresh_pairs(source, level, carried=False), params) == {PARTITION: 3}


def test_nothing_is_looked_up_where_another_index_could_be_taken_for_the_key(catalog: Catalog) -> None:
    """An index on the day alone, in a partition without statistics: each look-up would read the day of all coins."""
    sources = {source.name: source for source in find_sources(catalog)}
    looked_up = {}
    for name in ("prices.minute", "prices.minute.daily", "validators.snapshots"):
        source = sources[name]
        statements = [make(source, level, carried=False) for level in source.children for make in (refresh_range, refresh_pairs)]
        looked_up[name] = {"OFFSET 0" in statement.as_string() for statement in statements}
    assert looked_up == {"prices.minute": {True}, "prices.minute.daily": {False}, "validators.snapshots": {True}}
