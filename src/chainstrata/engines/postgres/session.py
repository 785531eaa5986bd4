"""One connection outside the pool: for work that outlives a pool's patience or goes to another database of the server."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import conninfo as libpq
from psycopg import sql

from chainstrata.engines.postgres.pool import session_conninfo
from chainstrata.engines.postgres.translate import translate


@asynccontextmanager
async def open_session(
    conninfo: str,
    *,
    name: str,
    statement_timeout: float,
    database: str = "",
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection in autocommit, closed when the block ends. Driver errors that leave the block become ours.

    `database` names another database of the same server; `settings` are set for the whole session.
    """
    target = libpq.make_conninfo(conninfo, dbname=database) if database else conninfo
    prepared = session_conninfo(target, application_name=name, statement_timeout=statement_timeout)
    try:
        connection = await psycopg.AsyncConnection.connect(prepared, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise translate(error, sent=False) from error
    try:
        async with connection:
            for setting, value in (settings or {}).items():
                await connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(setting), sql.Literal(value)))
            yield connection
    except psycopg.Error as error:
        raise translate(error) from error


@asynccontextmanager
async def open_replication(conninfo: str, *, name: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection that speaks the replication commands, on which changes may be waited for as long as it takes."""
    prepared = session_conninfo(conninfo, application_name=name, statement_timeout=0)
    target = libpq.make_conninfo(prepared, replication="database", application_name=name)
    try:
        driver = await psycopg.AsyncConnection.connect(target, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise translate(error, sent=False) from error
    try:
        yield driver
    except psycopg.Error as error:
        raise translate(error) from error
    finally:
        # Closing is all: the server notices, and a clean end of a stream would wait for it to have sent everything.
        await driver.close()
