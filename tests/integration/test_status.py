"""`status` on a real server: trees summed, exact where small, estimated where large, quick with many partitions, honest."""

from datetime import UTC, datetime, timedelta
from time import perf_counter

import pytest
from psycopg import sql

from chainstrata import monitor, partitions
from chainstrata.engines.postgres import Database
from chainstrata.model import Catalog
from chainstrata.monitor import DatasetStatus, PackStatus, SchemaVersion, Severity, Sizes
from tests.fixtures.demo import create_demo, demo_catalog

NOW = datetime.now(UTC)


@pytest.fixture
async def catalog(database: Database) -> Catalog:
    """Give a pack whose tables and partitions exist."""
    declared = demo_catalog()
    await create_demo(database, declared)
    await partitions.apply(database, declared, now=NOW)
    await database.execute("INSERT INTO demo.coins VALUES ('btc'), ('eth')")
    return declared


async def fill(database: Database, rows: int) -> None:
    await database.execute(
        "INSERT INTO demo.prices (coin_id, ts, price) SELECT 'btc', %(start)s + n * interval '1 ms', 1 FROM generate_series(1, %(rows)s) n",
        {"start": NOW.replace(hour=0, minute=0, second=0, microsecond=0), "rows": rows},
    )
    # The server tells its statistics when a session is idle, at the latest a second after the transaction; asked to, at once.
    await database.fetch_value("SELECT pg_stat_force_next_flush()")


def find(status: monitor.Status, name: str) -> DatasetStatus:
    return next(dataset for dataset in status.datasets if dataset.name == name)


def find_pack(status: monitor.Status, name: str) -> PackStatus:
    return next(pack for pack in status.packs if pack.name == name)


async def test_sizes_are_summed_over_the_partition_tree(database: Database, catalog: Catalog) -> None:
    await fill(database, 2000)
    status = await monitor.status(database, catalog)
    prices = find(status, "demo.prices")
    assert prices.partitions == 5
    assert prices.size_exact
    assert prices.size_bytes == await database.fetch_value(
        "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('demo.prices')"
    )
    assert prices.index_bytes == await database.fetch_value(
        "SELECT sum(pg_indexes_size(relid)) FROM pg_partition_tree('demo.prices') WHERE isleaf"
    )
    assert (prices.rows, prices.rows_exact) == (2000, True)
    pack = find_pack(status, "demo")
    assert pack.rows == 2002
    assert status.rows == sum(pack.rows for pack in status.packs)


async def test_roll_ups_stand_beside_their_dataset(database: Database, catalog: Catalog) -> None:
    hourly = find(await monitor.status(database, catalog), "demo.prices.hourly")
    assert (hourly.rollup_of, hourly.table, hourly.exists, hourly.partitions) == ("demo.prices", "demo.prices_hourly", True, 4)


async def test_a_large_table_is_estimated_and_says_so(database: Database, catalog: Catalog) -> None:
    await fill(database, 30_000)
    prices = find(await monitor.status(database, catalog), "demo.prices")
    assert not prices.rows_exact
    await database.execute("ANALYZE demo.prices")
    prices = find(await monitor.status(database, catalog), "demo.prices")
    assert abs(prices.rows - 30_000) < 300
    assert prices.analyzed is not None


async def test_a_second_look_measures_only_what_changed(database: Database, catalog: Catalog) -> None:
    sizes = Sizes()
    before = await monitor.status(database, catalog, sizes=sizes)
    await fill(database, 5000)
    after = await monitor.status(database, catalog, sizes=sizes)
    assert find(after, "demo.prices").size_bytes > find(before, "demo.prices").size_bytes
    assert find(after, "demo.prices").size_bytes == await database.fetch_value(
        "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('demo.prices')"
    )


async def test_what_is_wrong_with_the_schema_is_found(database: Database, catalog: Catalog) -> None:
    assert (await monitor.status(database, catalog)).findings == ()
    await database.execute("DROP TABLE demo.prices_hourly")
    await database.execute("ALTER TABLE demo.coins ADD CONSTRAINT id_short CHECK (length(id) < 100) NOT VALID")
    await database.execute("CREATE INDEX idx_broken ON ONLY demo.prices (price)")
    status = await monitor.status(database, catalog)
    assert {(finding.severity, finding.code, finding.object) for finding in status.findings} == {
        (Severity.ERROR, "table_missing", "demo.prices_hourly"),
        (Severity.WARNING, "constraint_unproven", "demo.id_short"),
        (Severity.WARNING, "index_invalid", "demo.idx_broken"),
    }
    assert not status.healthy


async def test_migrations_that_are_not_applied_are_found(database: Database, catalog: Catalog) -> None:
    behind = SchemaVersion("demo", "demo_0001", "demo_0002", pending=1)
    status = await monitor.status(database, catalog, versions=[behind])
    assert [finding.code for finding in status.findings] == ["schema_behind"]
    assert find_pack(status, "demo").schema == behind


@pytest.mark.long
async def test_it_stays_quick_with_many_partitions(database: Database, catalog: Catalog) -> None:
    dataset = catalog.dataset("demo.prices")
    await partitions.ensure(database, dataset, NOW - timedelta(days=1000), NOW)
    sizes = Sizes()
    looks = []
    for _ in range(6):
        began = perf_counter()
        status = await monitor.status(database, catalog, sizes=sizes)
        looks.append(perf_counter() - began)
    prices = find(status, "demo.prices")
    assert prices.partitions > 1000
    assert prices.size_exact
    # The best of several: what it takes, not what else this machine had to do meanwhile.
    assert min(looks) < 0.1


async def test_without_postgres_it_says_so_instead_of_failing(database: Database, catalog: Catalog, conninfo: str) -> None:
    await database.fetch_value("SELECT 1")
    name = await database.fetch_value("SELECT current_database()")
    async with Database(conninfo.replace(name, "postgres")) as other:
        await other.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
        await other.fetch_all("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %(name)s", {"name": name})
        health = await monitor.health(database, within=1.0)
        await other.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))
    assert not health.ok
    assert health.reason.startswith("postgres: ")
    assert (await monitor.health(database, within=10.0)).ok
