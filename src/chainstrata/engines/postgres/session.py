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
