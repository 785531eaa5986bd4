"""COPY out of the server in blocks. The driver hands rows out one at a time; that costs as much as reading them does."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from typing import Any, Final, TypeVar

import psycopg
from psycopg import pq, sql, waiting
from psycopg.waiting import Ready, Wait

from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.translate import translate

T = TypeVar("T")
BLOCK: Final = 1 << 20
"""Bytes handed out at a time."""


async def copy_out(connection: Connection, statement: sql.Composable, *, block: int = BLOCK) -> AsyncGenerator[bytes, None]:
    """Yield what a COPY … TO STDOUT sends, whole rows at a time. The statement has no parameters.

    Left before its end, the COPY is cancelled and the connection can be used on.
    """
    async with aclosing(copy_rows_out(connection.driver, statement, block=block)) as blocks:
        async for data, _ in blocks:
            yield data


async def copy_rows_out(
    driver: psycopg.AsyncConnection[Any], statement: sql.Composable, *, block: int = BLOCK
) -> AsyncGenerator[tuple[bytes, list[int]], None]:
    """Yield what `copy_out` does, with how many bytes each row has."""
    text = statement.as_bytes(driver)
    try:
        async with driver.lock:
            await driver.wait(_start(driver.pgconn, text))
            done = False
            try:
                while not done:
                    data, sizes, done = await _in_thread(driver, _take(driver.pgconn, block))
                    if data:
                        yield data, sizes
            finally:
                if not done:
                    driver.pgconn.get_cancel().cancel()
                    await driver.wait(_drain(driver.pgconn))
    except psycopg.Error as error:
        raise translate(error) from error


def copying(connection: Connection, statement: sql.Composable) -> aclosing[AsyncGenerator[bytes, None]]:
    """Return `copy_out` as a context manager, so that leaving it early ends the COPY there and then."""
    return aclosing(copy_out(connection, statement))


Waiting = Generator[Wait, Ready | int, Any]
_CHECK_SECONDS: Final = 1.0


async def _in_thread(driver: psycopg.AsyncConnection[Any], work: Generator[Wait, Ready | int, T]) -> T:
    """Run this in a thread, where waiting for the next bytes costs a tenth of what it does on the loop, and the loop goes on."""
    task = asyncio.ensure_future(asyncio.to_thread(waiting.wait, work, driver.pgconn.socket, _CHECK_SECONDS))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # The thread must be through with the connection before anybody else uses it; cancelled, the server soon stops sending.
        driver.pgconn.get_cancel().cancel()
        await asyncio.wait({task})
        raise


def _start(pgconn: pq.abc.PGconn, text: bytes) -> Waiting:
    pgconn.send_query(text)
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()
    result = yield from _result(pgconn)
    if result is None or result.status != pq.ExecStatus.COPY_OUT:
        yield from _drain(pgconn)
        raise psycopg.errors.error_from_result(result) if result is not None else psycopg.OperationalError("COPY did not start")


def _result(pgconn: pq.abc.PGconn) -> Generator[Wait, Ready | int, pq.abc.PGresult | None]:
    while pgconn.is_busy():
        yield Wait.R
        pgconn.consume_input()
    return pgconn.get_result()


def _take(pgconn: pq.abc.PGconn, block: int) -> Generator[Wait, Ready | int, tuple[bytes, list[int], bool]]:
    """Take rows until a block is full; the last value says that there are no more."""
    # Copied at once: thousands of views kept alive cost several times what the copying does.
    taken = bytearray()
    sizes: list[int] = []
    looked = False
    take, keep = pgconn.get_copy_data, sizes.append
    while len(taken) < block:
        count, data = take(1)
        if count > 0:
            taken += data
            keep(count)
            looked = False
        elif count == 0:
            # Mostly there is more already, and asking for it is much cheaper than waiting to be told.
            if looked:
                yield Wait.R
            looked = True
            pgconn.consume_input()
        else:
            yield from _finish(pgconn)
            return bytes(taken), sizes, True
    return bytes(taken), sizes, False


def _finish(pgconn: pq.abc.PGconn) -> Waiting:
    failed = None
    while (result := (yield from _result(pgconn))) is not None:
        if result.status != pq.ExecStatus.COMMAND_OK and failed is None:
            failed = psycopg.errors.error_from_result(result)
    if failed is not None:
        raise failed


def _drain(pgconn: pq.abc.PGconn) -> Waiting:
    """Read whatever is left of a COPY that was cancelled or never started."""
    while (result := (yield from _result(pgconn))) is not None:
        while result.status == pq.ExecStatus.COPY_OUT:
            count, _ = pgconn.get_copy_data(1)
            if count < 0:
                break
            if count == 0:
                yield Wait.R
                pgconn.consume_input()
