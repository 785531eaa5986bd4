"""COPY out of the server in blocks. The driver hands rows out one at a time; that costs as much as reading them does."""

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from typing import Any, Final

import psycopg
from psycopg import pq, sql
from psycopg.waiting import Ready, Wait

from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.translate import translate

BLOCK: Final = 1 << 20
"""Bytes handed out at a time: a few milliseconds of the event loop."""


async def copy_out(connection: Connection, statement: sql.Composable, *, block: int = BLOCK) -> AsyncGenerator[bytes, None]:
    """Yield what a COPY … TO STDOUT sends, whole rows at a time. The statement has no parameters.

    Left before its end, the COPY is cancelled and the connection can be used on.
    """
    driver = connection.driver
    text = statement.as_bytes(driver)
    try:
        async with driver.lock:
            await driver.wait(_start(driver.pgconn, text))
            done = False
            try:
                while not done:
                    data, done = await driver.wait(_take(driver.pgconn, block))
                    if data:
                        yield data
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


def _take(pgconn: pq.abc.PGconn, block: int) -> Generator[Wait, Ready | int, tuple[bytes, bool]]:
    """Take rows until a block is full; the second value says that there are no more."""
    parts: list[memoryview] = []
    size = 0
    looked = False
    take, keep = pgconn.get_copy_data, parts.append
    while size < block:
        count, data = take(1)
        if count > 0:
            keep(data)
            size += count
            looked = False
        elif count == 0:
            # Mostly there is more already, and asking for it is much cheaper than waiting to be told.
            if looked:
                yield Wait.R
            looked = True
            pgconn.consume_input()
        else:
            yield from _finish(pgconn)
            return b"".join(parts), True
    return b"".join(parts), False


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
