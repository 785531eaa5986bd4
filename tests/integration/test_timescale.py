"""What is TimescaleDB's own: hypertables by a setting, chunks by declaration alone, and what is refused."""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import LiteralString

import pytest
import sqlalchemy as sa

from chainstrata import partitions
from chainstrata.cdc.errors import CannotCapture
from chainstrata.cdc.slot import publish
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.errors import CheckViolation, NoPartition
from chainstrata.engines.postgres.partitioning import Span
from chainstrata.engines.storage import LocalStorage
from chainstrata.errors import UnknownName
from chainstrata.ingest import Ingest
from chainstrata.migrate import up, verify
from chainstrata.migrate.errors import TimescaleMissing
from chainstrata.migrate.hypertables import hypertables
from chainstrata.migrate.model import Site
from chainstrata.migrate.snapshot import snapshot
from chainstrata.model import INSTANT, Catalog, Dataset, Mirror, column, days, metadata
from chainstrata.packs import load_catalog
from chainstrata.partitions import Action
from chainstrata.retention import Retention
from chainstrata.retention.archives import Archives
from chainstrata.rollups import Rollups
from tests.fixtures.demo import create_demo, demo_catalog, with_lifecycle
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


# Compression ---------------------------------------------------------------------------------------------------------
LATER = NOW + timedelta(days=3)


@pytest.fixture
async def compressed(timescale: Database) -> Catalog:
    """Give a catalog whose days are compressed when they are a day old, with two such days and their roll-up."""
    declared = with_lifecycle(demo_catalog(), compress=days(1), keep=days(4))
    await create_demo(timescale, declared, timescale=True)
    await partitions.apply(timescale, declared, now=NOW)
    await timescale.execute("INSERT INTO demo.coins SELECT 'coin' || i FROM generate_series(1, 5) i")
    await timescale.execute(
        "INSERT INTO demo.prices SELECT 'coin' || i, ts, i FROM generate_series(1, 5) i,"
        " generate_series('2026-03-09'::timestamptz, '2026-03-12 23:59', interval '1 minute') ts"
    )
    await Rollups(timescale, declared).refresh()
    return declared


async def actions(database: Database, catalog: Catalog, now: datetime) -> list[tuple[str, str]]:
    steps = await partitions.apply(database, catalog, ["demo.prices"], now=now)
    return [(step.action.value, step.partition.name[-2:]) for step in steps if step.action is not Action.CREATE]


async def test_what_is_old_enough_is_compressed_and_again_when_rows_came_late(timescale: Database, compressed: Catalog) -> None:
    rollups = Rollups(timescale, compressed, partial(partitions.ensure_named, timescale, compressed))
    before = await timescale.fetch_all("SELECT * FROM demo.prices ORDER BY coin_id, ts")
    planned = await partitions.plan(timescale, compressed, ["demo.prices"], now=LATER)
    assert "prepare demo.prices for compression" in [str(step) for step in planned]
    assert await actions(timescale, compressed, LATER) == [("prepare", "es"), *(("compress", day) for day in ("09", "10", "11"))]
    assert await actions(timescale, compressed, LATER) == []
    assert await timescale.fetch_all("SELECT * FROM demo.prices ORDER BY coin_id, ts") == before
    # Late, corrected, deleted: of one row, and of all of a coin, which TimescaleDB could drop unseen.
    await timescale.execute("INSERT INTO demo.prices VALUES ('coin1', '2026-03-10 05:00:30+00', 100)")
    await timescale.execute("UPDATE demo.prices SET price = 50 WHERE coin_id = 'coin2' AND ts = '2026-03-10 06:59+00'")
    await timescale.execute("DELETE FROM demo.prices WHERE coin_id = 'coin3' AND ts < '2026-03-10+00'")
    await timescale.execute("DELETE FROM demo.prices WHERE coin_id = 'coin4' AND ts = '2026-03-11 07:59+00'")
    assert await rollups.verify() == []
    hours = await rollups.read("demo.prices.hourly", NOW - timedelta(days=2), LATER, live=False)
    kept = {(row.coin_id, row.bucket): (row.price_last, row.rows) for row in hours}
    assert kept["coin1", datetime(2026, 3, 10, 5, tzinfo=UTC)][1] == 61
    assert kept["coin2", datetime(2026, 3, 10, 6, tzinfo=UTC)][0] == 50
    assert ("coin3", datetime(2026, 3, 9, 5, tzinfo=UTC)) not in kept
    assert kept["coin4", datetime(2026, 3, 11, 7, tzinfo=UTC)][1] == 59
    assert await actions(timescale, compressed, LATER) == [("compress", day) for day in ("09", "10", "11")]
    assert await rollups.verify() == []


async def test_a_compressed_chunk_leaves_for_the_archive_and_comes_back(timescale: Database, compressed: Catalog, tmp_path: Path) -> None:
    await actions(timescale, compressed, LATER)
    day = Span(datetime(2026, 3, 9, tzinfo=UTC), datetime(2026, 3, 10, tzinfo=UTC))
    text: LiteralString = "SELECT * FROM demo.prices WHERE ts < '2026-03-10+00' ORDER BY coin_id, ts"
    before = await timescale.fetch_all(text)
    outcome = await Retention(timescale, compressed, LocalStorage(tmp_path)).run(["demo.prices"], now=LATER + timedelta(days=1))
    assert [(departed.rows, departed.name[-2:]) for departed in outcome.departed] == [(5 * 1440, "09")]
    assert await timescale.fetch_all(text) == []
    archives = Archives(timescale, compressed, LocalStorage(tmp_path))
    await archives.restore("demo.prices", day)
    assert await timescale.fetch_all(text) == before
    with pytest.raises(CheckViolation, match="sealed"):
        await timescale.execute("DELETE FROM demo.prices WHERE coin_id = 'coin1'")
    assert ("compress", "09") in await actions(timescale, compressed, LATER)
    assert await timescale.fetch_all(text) == before
    with pytest.raises(CheckViolation, match="sealed"):
        await timescale.execute("DELETE FROM demo.prices WHERE coin_id = 'coin1'")


async def test_compression_changes_nothing_that_is_declared(timescale: Database, compressed: Catalog, conninfo: str) -> None:
    async with timescale.connection() as connection:
        before = await snapshot(connection.driver, ["demo", "strata"])
        await actions(timescale, compressed, LATER)
        assert dict(await snapshot(connection.driver, ["demo", "strata"])) == dict(before)
