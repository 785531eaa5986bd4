"""A writer who touches more keys of a bucket than are worth a look-up marks it as a whole, once it is known what a bucket holds."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from chainstrata.engines.postgres import Database
from chainstrata.ingest import Ingest
from chainstrata.model import Catalog
from chainstrata.rollups import Rollups
from tests.fixtures.prices import START, create_prices, price_catalog

FILL = """
    INSERT INTO demo.price SELECT 'coin-' || n, %(start)s + at * interval '5 minutes', 1, 1
    FROM generate_series(0, 23) AS at, generate_series(1, 20) AS n
"""
LATE = "INSERT INTO demo.price SELECT 'coin-' || n, %(at)s, 1, 1 FROM generate_series(1, %(coins)s) AS n"
MARKS = "SELECT count(*) FILTER (WHERE coin_id IS NULL) AS whole, count(coin_id) AS single FROM demo.price__dirty"


@pytest.fixture
async def catalog(database: Database, conninfo: str) -> Catalog:
    made = price_catalog()
    await create_prices(conninfo, made)
    await database.execute(FILL, {"start": START})
    await Rollups(database, made).refresh()
    return made


async def write(database: Database, catalog: Catalog, way: str, coins: int, at: datetime) -> None:
    if way == "sql":
        await database.execute(LATE, {"at": at, "coins": coins})
        return
    rows = [{"coin_id": f"coin-{n}", "ts": at, "price": Decimal(1), "volume": Decimal(1)} for n in range(1, coins + 1)]
    assert (await Ingest(database, catalog, Rollups(database, catalog)).ingest("demo.price", rows)).accepted == coins


@pytest.mark.parametrize("way", ["sql", "ingest"])
async def test_many_keys_of_a_bucket_are_one_mark(database: Database, catalog: Catalog, way: str) -> None:
    """Of 20 keys with 12 rows each, seven are looked up, no more."""
    for coins, marks in ((7, (0, 7)), (8, (1, 0))):
        await write(database, catalog, way, coins, START + timedelta(minutes=1, seconds=coins))
        assert tuple(await database.fetch_one(MARKS)) == marks
        await Rollups(database, catalog).refresh()
        assert await Rollups(database, catalog).verify() == []
