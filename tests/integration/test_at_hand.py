"""Connections that stay at hand between two callers: nobody may see a difference, but for the time it takes."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import psycopg
import pytest

from chainstrata.engines.postgres import Database, PoolOptions

PID = "SELECT pg_backend_pid()"


async def until(condition: Callable[[], Awaitable[bool]], within: float = 10) -> None:
    deadline = monotonic() + within
    while not await condition():
        assert monotonic() < deadline, "the state awaited did not come"


async def test_one_caller_after_the_other_gets_the_same_connection(database: Database) -> None:
    assert len({await database.fetch_value(PID) for _ in range(20)}) == 1
    stats = database.stats()
    assert (stats.used, stats.acquired) == (0, 20)


async def test_a_connection_in_steady_use_is_still_replaced_when_old(conninfo: str) -> None:
    async with Database(conninfo, options=PoolOptions(min_size=1, max_size=1, max_lifetime=0.4)) as database:
        first = await database.fetch_value(PID)

        async def replaced() -> bool:
            return await database.fetch_value(PID) != first

        await until(replaced)


async def test_spare_connections_are_closed_after_a_burst(conninfo: str) -> None:
    async with Database(conninfo, options=PoolOptions(min_size=1, max_size=5, max_idle=0.3)) as database:
        await asyncio.gather(*(database.fetch_value("SELECT pg_sleep(0.1)::text") for _ in range(5)))
        assert database.stats().size > 1

        async def shrunk() -> bool:
            await database.fetch_value(PID)
            return database.stats().size == 1

        await until(shrunk)


async def test_callers_that_wait_are_served_in_turn(conninfo: str) -> None:
    async with Database(conninfo, options=PoolOptions(min_size=1, max_size=1, acquire_timeout=10)) as database:
        order: list[int] = []

        async def ask(number: int) -> None:
            for _ in range(3):
                async with database.connection() as connection:
                    await connection.fetch_value(PID)
                    order.append(number)

        await asyncio.gather(*(ask(number) for number in range(4)))
        assert [set(order[start : start + 4]) for start in (0, 4, 8)] == [{0, 1, 2, 3}] * 3
        assert database.stats().acquire_timeouts == 0


async def test_one_killed_while_at_hand_is_never_given_out(conninfo: str) -> None:
    async with Database(conninfo, options=PoolOptions(min_size=2, max_size=2)) as database:
        pid = await database.fetch_value(PID)
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as other:
            await other.execute("SELECT pg_terminate_backend(%s)", [pid])

            async def gone() -> bool:
                cursor = await other.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid])
                row = await cursor.fetchone()
                return row is not None and row[0] == 0

            await until(gone)
        assert await database.fetch_value(PID) != pid
        assert database.stats().connections_lost == 1


async def test_one_left_in_a_transaction_comes_back_clean(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("BEGIN")
        await connection.execute("CREATE TABLE never (id int)")
    assert await database.fetch_value("SELECT to_regclass('never')::text") is None


async def test_closing_closes_what_is_at_hand(conninfo: str) -> None:
    async with Database(conninfo, name="chainstrata-closing", options=PoolOptions(min_size=1, max_size=4)) as database:
        await asyncio.gather(*(database.fetch_value(PID) for _ in range(4)))
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as other:

        async def none_left() -> bool:
            cursor = await other.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chainstrata-closing'")
            row = await cursor.fetchone()
            return row is not None and row[0] == 0

        await until(none_left)


async def test_a_cancelled_caller_loses_no_connection(conninfo: str) -> None:
    async with Database(conninfo, options=PoolOptions(min_size=1, max_size=1, acquire_timeout=10)) as database:
        async with database.connection():
            waiting = asyncio.create_task(database.fetch_value(PID))
            await asyncio.wait([waiting], timeout=0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await database.fetch_value(PID)
        assert database.stats().used == 0
