"""A movement is recorded once, whatever its partition, however it is written; and partitions are months and quarters."""

import asyncio
from datetime import UTC, datetime

import pytest
from psycopg import sql

from chainstrata import partitions
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.errors import UniqueViolation
from chainstrata.model import Catalog, months, quarters
from tests.fixtures.portfolio_pack import NOW, add, add_people, hex_hash, movement


@pytest.fixture
async def people(rows: Connection) -> Connection:
    await add_people(rows)
    return rows


@pytest.mark.conforms("S1-27", "S1-28")
async def test_partitions_are_months_and_quarters_made_ahead(packs: Database, catalog: Catalog) -> None:
    transactions, snapshots = catalog.dataset("portfolio.transactions"), catalog.dataset("portfolio.snapshots")
    assert (transactions.lifecycle.partition, transactions.lifecycle.premake, transactions.time) == (months(1), 6, "block_timestamp")
    assert (snapshots.lifecycle.partition, snapshots.lifecycle.premake, snapshots.time) == (quarters(1), 8, "snapshot_date")
    found = {table.name: there for table, there in await partitions.list_all(packs, catalog)}
    now = datetime.now(UTC)
    by_month = [part.name for part in found["portfolio.transactions"]]
    by_quarter = [part.name for part in found["portfolio.snapshots"]]
    for ahead in range(7):
        month = months(1).shift(months(1).floor(now), ahead)
        assert f"transaction_history_y{month:%Y}m{month:%m}" in by_month
    for ahead in range(9):
        quarter = quarters(1).shift(quarters(1).floor(now), ahead)
        assert f"portfolio_snapshots_y{quarter:%Y}q{(quarter.month + 2) // 3}" in by_quarter


@pytest.mark.conforms("S1-27")
async def test_a_movement_is_recorded_once_whatever_its_month(people: Connection) -> None:
    await add(people, "transaction_history", movement())
    later = months(1).shift(NOW)
    for again, constraint in ((movement(), "_pkey"), (movement(block_timestamp=later), "transaction_keys_pkey")):
        with pytest.raises(UniqueViolation) as caught:
            async with people.savepoint():
                await add(people, "transaction_history", again)
        assert caught.value.constraint.endswith(constraint)
    for other in (movement(log_index=5), movement(tx_hash=hex_hash(2)), movement(tx_hash=hex_hash(1)[2:])):
        await add(people, "transaction_history", other)
    assert await people.fetch_value("SELECT count(*) FROM portfolio.transaction_keys") == 4


@pytest.mark.conforms("S1-27")
async def test_a_repeated_batch_is_left_out_and_a_copy_obeys_too(people: Connection) -> None:
    await add(people, "transaction_history", movement())
    columns = (
        "chain, tx_hash, log_index, block_timestamp, block_number, block_hash, user_id, wallet_address, transaction_type, asset_id, amount"
        ", decimals"
    )
    again = sql.SQL(
        f"INSERT INTO portfolio.transaction_history ({columns}) SELECT {columns.replace('log_index', 'log_index + n')} "
        "FROM portfolio.transaction_history, generate_series(0, 2) AS n WHERE log_index = 4 ON CONFLICT DO NOTHING"
    )
    assert await people.execute(again) == 2
    assert await people.execute(again) == 0
    values = movement(block_timestamp=months(1).shift(NOW))
    with pytest.raises(UniqueViolation) as caught:
        async with people.savepoint(), people.copy(sql.SQL(f"COPY portfolio.transaction_history ({columns}) FROM STDIN")) as copy:
            await copy.write_row([values[name] for name in columns.split(", ")])
    assert caught.value.constraint == "transaction_keys_pkey"


@pytest.mark.conforms("S1-27")
async def test_what_a_reorg_takes_back_may_come_again_elsewhere(people: Connection) -> None:
    """The transaction was in one block, the block is gone, and the transaction is in another, in the next month."""
    await add(people, "transaction_history", movement())
    moved = movement(block_timestamp=months(1).shift(NOW), block_number=21_000_001, block_hash=hex_hash(8))
    await people.execute("DELETE FROM portfolio.transaction_history WHERE chain = 'ethereum' AND block_number >= 21000000 AND NOT final")
    await add(people, "transaction_history", moved)
    key = await people.fetch_one("SELECT * FROM portfolio.transaction_keys")
    assert key.block_timestamp == moved["block_timestamp"]


@pytest.mark.conforms("S1-27")
async def test_a_movement_that_is_moved_takes_its_key_along(people: Connection) -> None:
    for place in range(3):
        await add(people, "transaction_history", movement(log_index=place))
    later = months(1).shift(NOW)
    await people.execute("UPDATE portfolio.transaction_history SET block_timestamp = %(later)s WHERE log_index = 1", {"later": later})
    await people.execute("UPDATE portfolio.transaction_history SET final = true")
    same = (
        "SELECT count(*) FROM portfolio.transaction_keys AS k JOIN portfolio.transaction_history AS h "
        "USING (chain, tx_hash, log_index, block_timestamp)"
    )
    assert await people.fetch_value(same) == 3
    assert (
        await people.fetch_value("SELECT count(*) FROM portfolio.transaction_keys WHERE block_timestamp = %(later)s", {"later": later}) == 1
    )
    with pytest.raises(UniqueViolation) as caught:
        async with people.savepoint():
            await people.execute(
                "UPDATE portfolio.transaction_history SET log_index = 2, block_timestamp = block_timestamp + interval '1 s' WHERE log_index = 0"
            )
    assert caught.value.constraint == "transaction_keys_pkey"
    await people.execute("TRUNCATE portfolio.transaction_history")
    assert await people.fetch_value("SELECT count(*) FROM portfolio.transaction_keys") == 0


@pytest.mark.conforms("S1-27")
async def test_what_was_recorded_once_stays_so_after_its_partition_has_left(packs: Database) -> None:
    async with packs.transaction() as connection:
        await add_people(connection)
        await add(connection, "transaction_history", movement())
    partition = await packs.fetch_value("SELECT tableoid::regclass::text FROM portfolio.transaction_history")
    await packs.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(*partition.split("."))))
    with pytest.raises(UniqueViolation) as caught:
        async with packs.transaction() as connection:
            await add(connection, "transaction_history", movement(block_timestamp=months(1).shift(NOW)))
    assert caught.value.constraint == "transaction_keys_pkey"


@pytest.mark.conforms("S1-27")
async def test_two_writers_at_once_record_a_movement_once(packs: Database) -> None:
    """The second waits for the first, and is refused when that one commits; neither sees the other's row."""
    async with packs.transaction() as connection:
        await add_people(connection)

    async def write(when: datetime) -> str:
        async with packs.transaction() as connection:
            await connection.fetch_value("SELECT 1 FROM portfolio.users LIMIT 1")
            await add(connection, "transaction_history", movement(block_timestamp=when))
        return "written"

    outcome = await asyncio.gather(write(NOW), write(months(1).shift(NOW)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in outcome) == ["UniqueViolation", "str"]
    assert await packs.fetch_value("SELECT count(*) FROM portfolio.transaction_history") == 1
