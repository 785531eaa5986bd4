"""How PostgreSQL brings roll-ups up to date: every row is read once, the ends of buckets are looked up, other partitions are not touched."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import sql

from chainstrata import partitions
from chainstrata.engines.postgres import Database
from chainstrata.rollups.model import Level, Source
from chainstrata.rollups.planner import find_sources
from chainstrata.rollups.statements import refresh_pairs, refresh_range
from tests.fixtures.demo import create_demo, demo_catalog

FIRST = datetime(2026, 3, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
async def prices(database: Database) -> Source:
    """Give prices of each minute of three days, of which the planner has no statistics, as of what was just written."""
    catalog = demo_catalog()
    await create_demo(database, catalog)
    await partitions.ensure(database, catalog.dataset("demo.prices"), FIRST, FIRST + timedelta(days=3))
    await database.execute("INSERT INTO demo.coins VALUES ('btc'), ('eth')")
    await database.execute(
        "INSERT INTO demo.prices SELECT id, ts, 1 FROM demo.coins, generate_series(%(first)s, %(last)s, interval '1 min') ts",
        {"first": FIRST, "last": FIRST + timedelta(days=3) - timedelta(minutes=1)},
    )
    [source] = [one for one in find_sources(catalog) if one.name == "demo.prices"]
    return source


async def scans(database: Database, statement: sql.Composable, params: Mapping[str, Any]) -> Counter[str]:
    """Return how often the plan of a statement comes to each partition of the prices."""
    [plan] = await database.fetch_value(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(statement), params)
    found = (node.get("Relation Name", "") for node in walk(plan["Plan"]))
    return Counter(name.removeprefix("prices_") for name in found if name.startswith("prices_y"))


def walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from walk(child)


def level_of(source: Source) -> Level:
    [level] = source.children
    # Only the last price of a bucket is kept, so there is no first row to fetch.
    assert {part.fold.value for part in level.rollup.components} == {"last", "count"}
    return level


async def test_whole_buckets_are_read_once_and_their_last_rows_looked_up(database: Database, prices: Source) -> None:
    statement = refresh_range(prices, level_of(prices), carried=False)
    span = {"lo": FIRST + timedelta(days=1), "hi": FIRST + timedelta(days=2), "gone_before": "-infinity"}
    assert await scans(database, statement, span) == {"y2026m03d11": 2}


async def test_single_buckets_touch_no_partition_but_theirs(database: Database, prices: Source) -> None:
    statement = refresh_pairs(prices, level_of(prices), carried=False)
    starts = [FIRST + timedelta(hours=hour) for hour in (30, 40)]
    params = {"key_0": ["btc", "eth"], "lo": starts, "hi": [start + HOUR for start in starts], "gone_before": "-infinity"}
    params |= {"first_lo": starts[0], "last_hi": starts[-1] + HOUR}
    assert await scans(database, statement, params) == {"y2026m03d11": 2}
