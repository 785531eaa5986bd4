"""`Database`: statements, transactions, streams, retries, and what it says about itself."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg import IsolationLevel, sql
from psycopg.rows import dict_row

from chainstrata.engines.postgres import Connection, Database, PoolOptions, Query, errors
from tests.fixtures.postgres import Statements

METADATA = sa.MetaData()
COIN = sa.Table(
    "coin",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("price", sa.Numeric, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
)
PRICE = Decimal("0.000000001230000000000000000000000000000000000000001")
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
async def coins(database: Database) -> Database:
    await database.execute("CREATE TABLE coin (id int PRIMARY KEY, name text NOT NULL, price numeric NOT NULL, at timestamptz NOT NULL)")
    await database.execute_many(
        sa.insert(COIN), [{"id": number, "name": f"coin {number}", "price": PRICE * number, "at": AT} for number in range(1, 11)]
    )
    return database


async def test_rows_are_named_tuples_with_exact_values(coins: Database) -> None:
    row = await coins.fetch_one(Query("one", "One coin.", "SELECT * FROM coin WHERE id = %(id)s"), {"id": 3})
    assert (row.id, row.name, row.price, row.at) == (3, "coin 3", PRICE * 3, AT)
    assert row.at.utcoffset() == timedelta(0)


async def test_large_integers_stay_exact(database: Database) -> None:
    largest = 2**256 - 1
    assert await database.fetch_value("SELECT %(n)s::numeric", {"n": largest}) == largest


async def test_core_statements_run_with_their_parameters(coins: Database) -> None:
    statement = sa.select(COIN.c.name, COIN.c.price).where(COIN.c.id == sa.bindparam("id"))
    assert await coins.fetch_one(statement, {"id": 2}) == ("coin 2", PRICE * 2)
    assert await coins.fetch_one(statement, {"id": 5}) == ("coin 5", PRICE * 5)


async def test_core_statements_built_anew_with_other_values_do_not_mix(coins: Database) -> None:
    for number in (1, 4, 7):
        assert await coins.fetch_value(sa.select(COIN.c.name).where(COIN.c.id == number)) == f"coin {number}"


async def test_core_in_lists_of_any_length(coins: Database) -> None:
    for wanted in ([1], [2, 3], [4, 5, 6]):
        rows = await coins.fetch_all(sa.select(COIN.c.id).where(COIN.c.id.in_(wanted)).order_by(COIN.c.id))
        assert [row.id for row in rows] == wanted


@pytest.mark.conforms("S2-42", "S2-60", "S4-103")
async def test_a_statement_is_prepared_once_and_then_only_bound(database: Database, statements: Statements) -> None:
    query = Query("sum", "A sum.", "SELECT %(a)s::int + 1")
    for number in range(3):
        assert await database.fetch_value(query, {"a": number}) == number + 1
    assert statements.sent == ["SELECT $1::int + 1"] * 3
    async with database.connection() as connection:
        names = await connection.fetch_all("SELECT statement FROM pg_prepared_statements")
    assert [row.statement for row in names].count("SELECT $1::int + 1") == 1


@pytest.mark.conforms("S2-62")
@pytest.mark.parametrize(
    "endless",
    [
        Query("count", "Counts.", "SELECT generate_series(%(first)s::bigint, 1000000000000) AS n -- up"),
        sql.SQL("SELECT {} AS n").format(sql.SQL("generate_series(%(first)s::bigint, 1000000000000)")),
        sa.select(sa.func.generate_series(sa.bindparam("first", type_=sa.BigInteger), sa.text("1000000000000")).label("n")),
    ],
    ids=["query", "composed", "core"],
)
async def test_no_more_is_looked_for_than_is_wanted_at_most(database: Database, endless: Any) -> None:
    found = await database.at_most(3).fetch_all(endless, {"first": 5})
    assert [row.n for row in found] == [5, 6, 7]
    async with database.connection() as connection:
        assert len(await connection.at_most(2).fetch_all(endless, {"first": 1})) == 2


async def test_a_single_read_is_one_statement_without_a_transaction(database: Database, statements: Statements) -> None:
    await database.fetch_all("SELECT 1")
    assert statements.sent == ["SELECT 1"]


@pytest.mark.conforms("S0-42")
async def test_rows_come_as_asked(coins: Database) -> None:
    assert await coins.fetch_one("SELECT id FROM coin WHERE id = 1", row_factory=dict_row) == {"id": 1}
    assert await coins.fetch_all("SELECT id FROM coin WHERE id < 3 ORDER BY id", row_factory=dict_row) == [{"id": 1}, {"id": 2}]
    assert await coins.fetch_one("SELECT id FROM coin WHERE id = 99") is None
    assert await coins.fetch_value("SELECT id FROM coin WHERE id = 99") is None


@pytest.mark.conforms("S0-42")
async def test_execute_counts_rows(coins: Database) -> None:
    assert await coins.execute("UPDATE coin SET name = 'x' WHERE id <= %s", (4,)) == 4


@pytest.mark.conforms("S0-42")
async def test_a_transaction_is_whole_or_not_at_all(coins: Database) -> None:
    async def delete_then_fail() -> None:
        async with coins.transaction() as connection:
            await connection.execute("DELETE FROM coin WHERE id = 1")
            await connection.execute("INSERT INTO coin VALUES (2, 'twice', 1, now())")

    with pytest.raises(errors.UniqueViolation):
        await delete_then_fail()
    assert await coins.fetch_value("SELECT count(*) FROM coin") == 10
    async with coins.transaction() as connection:
        await connection.execute("DELETE FROM coin WHERE id = 1")
    assert await coins.fetch_value("SELECT count(*) FROM coin") == 9


async def test_a_savepoint_fails_alone(coins: Database) -> None:
    async with coins.transaction() as connection:
        await connection.execute("DELETE FROM coin WHERE id = 1")
        with pytest.raises(errors.UniqueViolation):
            async with connection.savepoint():
                await connection.execute("INSERT INTO coin VALUES (2, 'twice', 1, now())")
    assert await coins.fetch_value("SELECT count(*) FROM coin") == 9


async def test_a_second_transaction_of_the_same_task_is_refused(coins: Database) -> None:
    async with coins.transaction():
        with pytest.raises(errors.NestedTransaction):
            async with coins.transaction():
                pass
        with pytest.raises(errors.NestedTransaction):
            await coins.run(lambda connection: connection.fetch_value("SELECT 1"))
        # Another task has a life of its own.
        assert await asyncio.create_task(coins.run(lambda connection: connection.fetch_value("SELECT 1"))) == 1


async def test_isolation_and_read_only_hold_for_the_one_transaction(coins: Database) -> None:
    level = "SELECT current_setting('transaction_isolation') AS level, current_setting('transaction_read_only') AS read_only"
    async with coins.transaction(isolation=IsolationLevel.SERIALIZABLE, read_only=True) as connection:
        assert await connection.fetch_one(level) == ("serializable", "on")
        with pytest.raises(errors.ReadOnly):
            await connection.execute("DELETE FROM coin")
    async with coins.transaction() as connection:
        assert await connection.fetch_one(level) == ("read committed", "off")


async def test_a_stream_holds_a_batch_at_a_time(database: Database) -> None:
    total = 0
    async with database.stream("SELECT n FROM generate_series(1, %(top)s) n", {"top": 25_000}, batch=1000) as rows:
        async for row in rows:
            total += row.n
    assert total == 25_000 * 25_001 // 2


async def test_copy_in_and_out(coins: Database) -> None:
    async with coins.transaction() as connection, connection.copy("COPY coin FROM STDIN") as copy:
        await copy.write_row((11, "eleven", Decimal(11), AT))
    assert await coins.fetch_value("SELECT name FROM coin WHERE id = 11") == "eleven"


async def increment(connection: Connection, barrier: asyncio.Barrier, tries: list[int]) -> int:
    tries.append(1)
    value: int = await connection.fetch_value("SELECT id FROM counter")
    if len(tries) <= 2:
        await barrier.wait()
    await connection.execute("UPDATE counter SET id = %s", (value + 1,))
    return value + 1


@pytest.mark.conforms("S0-42")
async def test_run_repeats_what_met_another_transaction(database: Database) -> None:
    await database.execute("CREATE TABLE counter (id int)")
    await database.execute("INSERT INTO counter VALUES (0)")
    barrier, tries = asyncio.Barrier(2), []
    work = [
        database.run(lambda connection: increment(connection, barrier, tries), isolation=IsolationLevel.REPEATABLE_READ) for _ in range(2)
    ]
    assert sorted(await asyncio.gather(*work)) == [1, 2]
    assert await database.fetch_value("SELECT id FROM counter") == 2
    assert len(tries) == 3
    assert database.stats().retries == 1


async def test_run_repeats_nothing_else(coins: Database) -> None:
    tries: list[int] = []

    async def work(connection: Connection) -> None:
        tries.append(1)
        await connection.execute("INSERT INTO coin VALUES (1, 'twice', 1, now())")

    with pytest.raises(errors.UniqueViolation):
        await coins.run(work)
    assert len(tries) == 1


async def test_run_gives_up_after_its_attempts(conninfo: str) -> None:
    tries: list[int] = []

    async def work(connection: Connection) -> None:
        tries.append(1)
        await connection.execute("DO $$ BEGIN RAISE EXCEPTION 'made' USING ERRCODE = '40001'; END $$")

    async with Database(conninfo, options=PoolOptions(min_size=1, max_size=1, retry_attempts=3)) as db:
        with pytest.raises(errors.SerializationFailure):
            await db.run(work)
    assert len(tries) == 3


async def test_a_changed_table_does_not_break_prepared_statements(coins: Database) -> None:
    query = Query("all", "All of it.", "SELECT * FROM coin WHERE id = 1")
    assert len(await coins.fetch_one(query)) == 4
    async with coins.connection():
        await coins.execute("ALTER TABLE coin ADD COLUMN rank int")
    for _ in range(3):
        assert len(await coins.fetch_one(query)) == 5


async def test_a_table_changed_before_a_transaction_makes_it_run_again(coins: Database) -> None:
    query = Query("all", "All of it.", "SELECT * FROM coin WHERE id = 1")
    tries: list[int] = []

    async def work(connection: Connection) -> int:
        tries.append(1)
        return len(await connection.fetch_one(query))

    assert await coins.run(work) == 4
    async with coins.connection():
        await coins.execute("ALTER TABLE coin ADD COLUMN rank int")
    assert await coins.run(work) == 5
    assert len(tries) in (2, 3)
