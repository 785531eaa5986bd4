"""The mirror table of every dataset that declares one: the engine takes its DDL, its values stay exact, the newest version shows."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from chainstrata.engines.clickhouse import Columnar
from chainstrata.engines.clickhouse.arrow import arrow_column, arrow_rows
from chainstrata.engines.clickhouse.errors import ColumnarBadValue
from chainstrata.model import Catalog
from chainstrata.model.columnar import DELETED, VERSION, create, drop, mirror_table
from chainstrata.packs import load_catalog

MIRRORED = [dataset.full_name for dataset in load_catalog() if dataset.mirror]


@pytest.fixture(scope="module")
def everything() -> Catalog:
    return load_catalog()


@pytest.mark.parametrize("name", MIRRORED)
async def test_the_engine_takes_every_mirror_and_lets_it_go(columnar: Columnar, everything: Catalog, name: str) -> None:
    dataset = everything.dataset(name)
    mirror = mirror_table(dataset)
    for statement in mirror.create(columnar.database):
        await columnar.execute(statement)
    found = await columnar.query_rows("SELECT name, sorting_key, engine FROM system.tables WHERE database = currentDatabase()")
    tables = {row.name: row for row in found}
    assert tables[mirror.view.name].engine == "View"
    assert set(tables[mirror.table.name].sorting_key.replace("`", "").split(", ")) == set(dataset.key)
    described = await columnar.query_rows(
        "SELECT name, type, comment FROM system.columns WHERE table = {name:String}", {"name": mirror.view.name}
    )
    assert [row.name for row in described] == list(mirror.columns)
    assert await columnar.query_rows(f"SELECT * FROM `{mirror.view.name}`") == []
    for statement in mirror.drop(columnar.database):
        await columnar.execute(statement)
    assert await columnar.fetch_value("SELECT count() FROM system.tables WHERE database = currentDatabase()") == 0


async def test_the_newest_version_shows_and_every_value_is_exact(columnar: Columnar, everything: Catalog) -> None:
    dataset = everything.dataset("portfolio.holdings")
    mirror = mirror_table(dataset)
    for statement in mirror.create(columnar.database):
        await columnar.execute(statement)
    seen = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    row = {
        "user_id": UUID(int=2**127 + 1),
        "chain": "ethereum",
        "wallet_address": "0xab",
        "asset_id": "ethereum:native",
        "protocol_id": "wallet",
        "position_type": "wallet",
        "amount": 2**256 - 1,
        "decimals": 18,
        "quantity": "115792089237316195423570985008687907853269984665640564039457.584007913129639935",
        "price_usd": Decimal("1.00000000000000000000000000000000000001"),
        "value_usd": None,
        "cost_basis_usd": None,
        "block_number": 2**63 - 1,
        "block_hash": "0x00",
        "observed_at": seen,
        "final": True,
        "metadata": '{"a": 1}',
        "created_at": seen,
        "updated_at": seen,
    }
    newer = {**row, "block_number": 7, "final": False}

    async def write(version: int, deleted: int, values: dict[str, object]) -> None:
        whole = {**values, VERSION: version, DELETED: deleted}
        columns = [(column.name, column.type) for column in mirror.table.columns]
        await columnar.insert_arrow(mirror.table.name, arrow_rows(columns, [whole]))

    await write(10, 0, row)
    assert (await columnar.query_rows(f"SELECT * FROM {mirror.view.name}"))[0]._asdict() == row
    await write(12, 0, newer)
    await write(11, 1, row)
    await write(12, 0, newer)
    assert [found._asdict() for found in await columnar.query_rows(f"SELECT * FROM {mirror.view.name}")] == [newer]
    await write(13, 1, newer)
    assert await columnar.query_rows(f"SELECT * FROM {mirror.view.name}") == []


@pytest.mark.conforms("S1-79")
def test_a_cluster_gets_replicated_tables_behind_distributed_ones(everything: Catalog) -> None:
    mirror = mirror_table(everything.dataset("prices.minute"))
    local, spread = create(mirror.table, "chainstrata", "main")
    assert local.startswith("CREATE TABLE IF NOT EXISTS `chainstrata`.`prices__minute__rows__local` ON CLUSTER `main` (")
    engine = "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}', _version, _deleted)"
    assert engine in local
    assert "replicated_deduplication_window = 10000" in local
    assert "non_replicated" not in local
    assert spread.startswith(
        "CREATE TABLE IF NOT EXISTS `chainstrata`.`prices__minute__rows` ON CLUSTER `main` AS `chainstrata`.`prices__minute__rows__local`"
    )
    assert "ENGINE = Distributed('main', 'chainstrata', 'prices__minute__rows__local', cityHash64(`coin_id`, `minute_ts`))" in spread
    assert drop(mirror.table, "chainstrata", "main") == (
        "DROP TABLE IF EXISTS `chainstrata`.`prices__minute__rows` ON CLUSTER `main` SYNC",
        "DROP TABLE IF EXISTS `chainstrata`.`prices__minute__rows__local` ON CLUSTER `main` SYNC",
    )
    assert create(mirror.view, "chainstrata", "main")[0].startswith(
        "CREATE VIEW IF NOT EXISTS `chainstrata`.`prices__minute` ON CLUSTER `main` AS"
    )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("Decimal(76, 38)", Decimal("1e-39")),
        ("Decimal(38, 18)", Decimal("1.0000000000000000001")),
        ("Decimal(38, 18)", Decimal(10) ** 20),
        ("Decimal(38, 18)", Decimal("NaN")),
        ("Decimal(38, 18)", 0.1),
        ("UInt64", 2**64),
        ("UInt64", -1),
        ("UInt256", 2**256),
        ("UInt256", -1),
        ("UUID", "not one"),
        ("DateTime64(6, 'UTC')", "yesterday"),
    ],
)
def test_what_does_not_fit_is_refused_and_never_bent(kind: str, value: object) -> None:
    with pytest.raises(ColumnarBadValue, match="amount"):
        arrow_column("amount", kind, [value])
