"""What is TimescaleDB's own: hypertables by a setting, chunks by declaration alone, and what is refused."""

from datetime import UTC, datetime, timedelta
from typing import LiteralString

import pytest
import sqlalchemy as sa

from chainstrata import partitions
from chainstrata.cdc.errors import CannotCapture
from chainstrata.cdc.slot import publish
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.errors import CheckViolation, NoPartition
from chainstrata.errors import UnknownName
from chainstrata.ingest import Ingest
from chainstrata.migrate import up, verify
from chainstrata.migrate.errors import TimescaleMissing
from chainstrata.migrate.hypertables import hypertables
from chainstrata.migrate.model import Site
from chainstrata.model import INSTANT, Catalog, Dataset, Mirror, column, metadata
from chainstrata.packs import load_catalog
from chainstrata.rollups import Rollups
from tests.fixtures.demo import create_demo, demo_catalog
from tests.fixtures.postgres import MakeConfig
from tests.fixtures.timescale import ABSENT

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)


@pytest.fixture
async def timescale(database: Database, has_timescale: bool) -> Database:
    """Give a database that has TimescaleDB."""
    if not has_timescale:
        pytest.skip(ABSENT)
    await database.execute("CREATE EXTENSION timescaledb")
    return database


@pytest.fixture
async def prices(timescale: Database) -> Catalog:
    """Give a catalog whose tables are hypertables, with chunks around the present and one coin."""
    declared = demo_catalog()
    await create_demo(timescale, declared, timescale=True)
    await partitions.apply(timescale, declared, now=NOW)
    await timescale.execute("INSERT INTO demo.coins VALUES ('btc')")
    return declared


async def test_the_setting_makes_hypertables_of_the_same_revisions(timescale: Database, conninfo: str, make_config: MakeConfig) -> None:
    """Every pack that comes along; the schema is as declared, and partitions are kept as everywhere."""
    site = Site(conninfo, load_catalog(), make_config(partitions__timescale=["all"]))
    await up(site)
    assert (await verify(site)).ok
    made = {
        row.name
        for row in await timescale.fetch_all(
            "SELECT hypertable_schema || '.' || hypertable_name AS name FROM timescaledb_information.hypertables"
        )
    }
    assert made == set(hypertables(site.catalog)) != set()
    await partitions.apply(timescale, site.catalog, now=NOW)
    assert await partitions.verify(timescale, site.catalog, now=NOW) == []
    assert (await verify(site)).ok


async def test_hypertables_are_not_had_without_the_extension(conninfo: str, make_config: MakeConfig) -> None:
    with pytest.raises(TimescaleMissing, match="the database has no extension timescaledb") as caught:
        await up(Site(conninfo, load_catalog(["prices"]), make_config(partitions__timescale=["prices"])))
    assert "CREATE EXTENSION timescaledb" in caught.value.hint


def test_the_setting_names_packs_and_datasets() -> None:
    catalog = demo_catalog()
    everything = {"demo.prices", "demo.prices_hourly"}
    assert set(hypertables(catalog, ["demo"])) == set(hypertables(catalog, ["demo.prices"])) == set(hypertables(catalog)) == everything
    assert hypertables(catalog, []) == hypertables(catalog, ["demo.coins"]) == {}
    with pytest.raises(UnknownName, match="prise"):
        hypertables(catalog, ["demo.prise"])


async def test_a_hypertable_is_not_mirrored(timescale: Database) -> None:
    """Logical replication would tell of its chunks under names nobody declared."""
    await timescale.execute("CREATE SCHEMA demo")
    await timescale.execute("CREATE TABLE demo.rows (ts timestamptz PRIMARY KEY)")
    await timescale.execute("SELECT FROM create_hypertable('demo.rows', 'ts')")
    table = sa.Table(
        "rows", metadata("demo"), column("ts", INSTANT, doc="When."), sa.PrimaryKeyConstraint("ts", name="rows_pkey"), comment="Rows."
    )
    async with timescale.connection() as connection:
        with pytest.raises(CannotCapture, match=r"demo\.rows is a hypertable"):
            await publish(connection, [Dataset(table, "rows", time="ts", mirror=Mirror())], version=180000)


STRAYS: dict[str, LiteralString] = {
    "far ahead": "INSERT INTO demo.prices VALUES ('btc', '2150-01-01+00', 1)",
    "long ago": "INSERT INTO demo.prices SELECT 'btc', ts, 1 FROM unnest(ARRAY['2026-03-10 13:00+00', '1999-01-01+00']::timestamptz[]) ts",
    "in a gap": "INSERT INTO demo.prices VALUES ('btc', '2026-03-08 23:59:59+00', 1)",
}


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_row_that_no_declared_partition_takes_is_refused(timescale: Database, prices: Catalog, stray: str) -> None:
    """TimescaleDB would make a chunk for it: a row too late would open a roll-up anew, one in the far future stay for ever."""
    before = await partitions.list_all(timescale, prices, ["demo.prices"])
    with pytest.raises(NoPartition, match="no partition of relation prices found for row"):
        await timescale.execute(STRAYS[stray])
    assert await timescale.fetch_value("SELECT count(*) FROM demo.prices") == 0
    assert [len(found) for _, found in await partitions.list_all(timescale, prices, ["demo.prices"])] == [len(found) for _, found in before]


async def test_ingest_puts_such_rows_into_quarantine(timescale: Database, prices: Catalog) -> None:
    ingest = Ingest(timescale, prices, Rollups(timescale, prices))
    rows = [{"coin_id": "btc", "ts": NOW + timedelta(days=day), "price": 1} for day in (0, 400)]
    answer = await ingest.ingest("demo.prices", rows)
    assert (answer.accepted, answer.quarantined) == (1, 1)
    assert await timescale.fetch_value("SELECT count(*) FROM demo.prices") == 1


async def test_a_row_does_not_move_to_another_chunk(timescale: Database, prices: Catalog) -> None:
    await timescale.execute("INSERT INTO demo.prices VALUES ('btc', %(now)s, 1)", {"now": NOW})
    with pytest.raises(CheckViolation):
        await timescale.execute("UPDATE demo.prices SET ts = ts + interval '1 day'")
    await timescale.execute("UPDATE demo.prices SET ts = ts + interval '1 minute'")
