"""A COPY as a transaction of its own, in one message: all of it is there or nothing is, and the connection goes on."""

import asyncio
from collections.abc import Callable, Iterator
from threading import Event
from threading import enumerate as enumerate_threads

import pytest
from psycopg import sql

from chainstrata.engines.postgres import CopyAlone, Database
from chainstrata.engines.postgres.errors import ConnectionLost, NestedTransaction, StatementFailed, StatementInvalid, UniqueViolation

COPY = sql.SQL("COPY number (n) FROM STDIN")
NOTE = sql.SQL("INSERT INTO note VALUES ('written')")
LSN = sql.SQL("SELECT pg_current_wal_insert_lsn()::text")


@pytest.fixture
async def numbers(database: Database) -> Database:
    await database.execute("CREATE TABLE number (n bigint PRIMARY KEY)")
    await database.execute("CREATE TABLE note (what text CHECK (what <> 'never'))")
    return database


async def count(database: Database) -> tuple[int, int]:
    return await database.fetch_value("SELECT count(*) FROM number"), await database.fetch_value("SELECT count(*) FROM note")


def lines(*given: int) -> list[bytes]:
    return [f"{number}\n".encode() for number in given]


async def test_rows_and_what_follows_are_committed_together(numbers: Database) -> None:
    work = CopyAlone(COPY, lines(1, 2, 3), after=[NOTE, NOTE], ask=LSN)
    await numbers.run_alone(work)
    assert await count(numbers) == (3, 2)
    assert await numbers.fetch_value("SELECT pg_current_wal_insert_lsn() >= %s::pg_lsn", [work.told])


async def test_much_more_than_the_connection_holds_at_a_time(numbers: Database) -> None:
    blocks = [b"".join(lines(*range(start, start + 100_000))) for start in range(0, 1_000_000, 100_000)]
    await numbers.run_alone(CopyAlone(COPY, [*blocks, b""]))
    assert await count(numbers) == (1_000_000, 0)


def broken() -> Iterator[bytes]:
    yield b"10\n"
    raise ZeroDivisionError


def broken_at_once() -> Iterator[bytes]:
    raise ZeroDivisionError
    yield b""


WRONG: dict[str, tuple[Callable[[], CopyAlone], type[BaseException]]] = {
    "a row that is there": (lambda: CopyAlone(COPY, lines(4, 1), after=[NOTE], ask=LSN), UniqueViolation),
    "a row that is none": (lambda: CopyAlone(COPY, [b"x\n"] * 100_000, after=[NOTE], ask=LSN), StatementFailed),
    "what follows it": (
        lambda: CopyAlone(COPY, lines(4), after=[NOTE, sql.SQL("INSERT INTO note VALUES ('never')")], ask=LSN),
        StatementFailed,
    ),
    "what is asked": (lambda: CopyAlone(COPY, lines(1), ask=sql.SQL("SELECT 1 / 0")), UniqueViolation),
    "no such table": (lambda: CopyAlone(sql.SQL("COPY nobody (n) FROM STDIN"), lines(4)), StatementFailed),
    "no statement": (lambda: CopyAlone(sql.SQL("COPY of nothing"), lines(4)), StatementInvalid),
    "rows that cannot be made": (lambda: CopyAlone(COPY, broken(), after=[NOTE], ask=LSN), ZeroDivisionError),
    "rows of which none can be made": (lambda: CopyAlone(COPY, broken_at_once(), after=[NOTE], ask=LSN), ZeroDivisionError),
}


@pytest.mark.parametrize("what", WRONG)
async def test_whatever_is_wrong_nothing_is_left_and_the_connection_goes_on(numbers: Database, what: str) -> None:
    await numbers.run_alone(CopyAlone(COPY, lines(1)))
    make, kind = WRONG[what]
    for _ in range(2):
        with pytest.raises(kind):
            await numbers.run_alone(make())
        assert await count(numbers) == (1, 0)
    assert numbers.stats().connections_lost == 0


async def test_one_that_is_cancelled_is_undone(numbers: Database) -> None:
    begun, go_on = asyncio.Event(), Event()
    loop = asyncio.get_running_loop()

    def slow() -> Iterator[bytes]:
        yield b"1\n"
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(20)
        yield b"2\n"

    task = asyncio.create_task(numbers.run_alone(CopyAlone(COPY, slow(), after=[NOTE], ask=LSN)))
    async with asyncio.timeout(20):
        await begun.wait()
        task.cancel()
        # Once the task has heard of it.
        loop.call_soon(go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await count(numbers) == (0, 0)


async def test_a_connection_that_is_cut_off_is_told_as_lost(numbers: Database) -> None:
    def cut() -> Iterator[bytes]:
        yield b"1\n"
        asyncio.run_coroutine_threadsafe(numbers.fetch_value(_CUT), loop).result(20)
        yield b"2\n"

    loop = asyncio.get_running_loop()
    with pytest.raises(ConnectionLost):
        await numbers.run_alone(CopyAlone(COPY, cut(), after=[NOTE], ask=LSN))
    assert await count(numbers) == (0, 0)


_CUT = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE query LIKE 'BEGIN; COPY%%'"


async def test_one_that_waits_takes_no_thread_of_others(numbers: Database) -> None:
    async with numbers.transaction() as holder:
        await holder.execute("LOCK TABLE number")
        async with asyncio.timeout(20):
            waiting = [asyncio.create_task(numbers.run_alone(CopyAlone(COPY, lines(n)))) for n in range(4)]
            while await holder.fetch_value("SELECT count(*) FROM pg_locks WHERE relation = 'number'::regclass AND NOT granted") < 4:
                pass
            assert sum(thread.name.startswith("chainstrata-test-copy") for thread in enumerate_threads()) == 4
    await asyncio.gather(*waiting)
    assert await count(numbers) == (4, 0)


async def test_it_is_no_part_of_another_transaction(numbers: Database) -> None:
    async with numbers.transaction():
        with pytest.raises(NestedTransaction):
            await numbers.run_alone(CopyAlone(COPY, lines(1)))
