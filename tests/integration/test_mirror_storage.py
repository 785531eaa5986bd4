"""What a mirror takes on disk beside its source, for rows as their sources would send them."""

import logging
from datetime import datetime, timedelta

import psycopg
import pytest

from chainstrata import partitions
from chainstrata.cdc import Mirrors
from chainstrata.engines.clickhouse import Columnar
from chainstrata.engines.postgres import Database
from chainstrata.ingest import Ingest
from chainstrata.model.columnar import mirror_table
from chainstrata.packs import load_catalog
from chainstrata.rollups import Rollups
from chainstrata.simulate import Options, Simulation
from tests.fixtures.capture import drop_slot
from tests.fixtures.mirrored import QUICK, following

LOGGER = logging.getLogger(__name__)
STORED = """
SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(to_regclass(%(table)s)) WHERE isleaf AND pg_relation_size(relid) > 0
"""


@pytest.mark.conforms("S1-57")
@pytest.mark.parametrize(("pack", "dataset", "least"), [("validators", "validators.snapshots", 0.8), ("prices", "prices.minute", 0.5)])
async def test_a_mirror_takes_a_fraction_of_what_its_source_does(
    packs: Database, columnar: Columnar, pack: str, dataset: str, least: float
) -> None:
    catalog = load_catalog([pack])

    async def ensure(name: str, lo: datetime, hi: datetime) -> None:
        await partitions.ensure_named(packs, catalog, name, lo, hi)

    ingest = Ingest(packs, catalog, Rollups(packs, catalog, ensure)).ingest
    await Simulation(catalog, ingest, ensure).run(pack, Options(rate=20_000, speed=600, span=timedelta(seconds=1)))
    source = catalog.dataset(dataset)
    table = f"{source.schema}.{source.table.name}"
    await packs.execute(f"VACUUM ANALYZE {table}")
    mirrors = Mirrors(packs, catalog, columnar, QUICK)
    try:
        async with following(mirrors):
            await mirrors.wait([dataset], within=60)
            [found] = await mirrors.reconcile([dataset])
            assert found.agrees
            assert found.mirror_rows > 10_000
    finally:
        async with await psycopg.AsyncConnection.connect(packs.conninfo, autocommit=True) as connection:
            for (name,) in await (
                await connection.execute("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()")
            ).fetchall():
                await drop_slot(connection, name)
    name = mirror_table(source).table.name
    await columnar.execute(f"OPTIMIZE TABLE {name} FINAL")
    taken = int(await packs.fetch_value(STORED, {"table": table}))
    query = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() AND table = {table:String}"
    kept = int(await columnar.fetch_value(query, {"table": name}))
    LOGGER.warning(
        "%s: %d rows, %d bytes in PostgreSQL, %d in the mirror: %.3f saved", dataset, found.mirror_rows, taken, kept, 1 - kept / taken
    )
    assert 1 - kept / taken >= least
