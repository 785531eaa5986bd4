"""A database for a moment, on the same server: what the declarations mean is what PostgreSQL makes of them there."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import sql

from chainstrata.engines.postgres import load_queries
from chainstrata.engines.postgres.errors import PermissionDenied
from chainstrata.migrate.declared import create_declared
from chainstrata.migrate.errors import ScratchDenied
from chainstrata.migrate.model import Site
from chainstrata.migrate.online import fetch
from chainstrata.migrate.runner import open_migration_session
from chainstrata.migrate.schema import Snapshot
from chainstrata.migrate.snapshot import snapshot

QUERIES: Final = load_queries("chainstrata.migrate", "scratch.sql")
PREFIX: Final = "chainstrata_scratch_"
# Whoever made an older one without dropping it was killed.
OLDEST_SECONDS: Final = 3600


@asynccontextmanager
async def scratch_database(site: Site) -> AsyncIterator[str]:
    """Yield the name of an empty database, gone when the block ends. Drops what killed predecessors left behind."""
    async with open_migration_session(site) as connection:
        await _drop_stale(connection)
        name = f"{PREFIX}{int(time.time())}_{os.urandom(4).hex()}"
        try:
            await connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege as error:
            raise ScratchDenied(error.diag.message_primary or str(error)) from error
        try:
            yield name
        finally:
            await _drop(connection, name)


async def _drop_stale(connection: psycopg.AsyncConnection[Any]) -> None:
    for row in await fetch(connection, QUERIES.list_scratch, prefix=PREFIX):
        made = row.name.removeprefix(PREFIX).partition("_")[0]
        if made.isdigit() and time.time() - int(made) > OLDEST_SECONDS:
            await _drop(connection, row.name)


async def _drop(connection: psycopg.AsyncConnection[Any], name: str) -> None:
    await connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


async def declared_snapshot(site: Site) -> Snapshot:
    """Return what the declarations of the packs in use amount to on this server."""
    async with scratch_database(site) as name, open_migration_session(site, database=name) as connection:
        try:
            await create_declared(connection, site.catalog)
        except PermissionDenied as error:
            raise ScratchDenied(error.message) from error
        return await snapshot(connection, [pack.name for pack in site.catalog.packs])


async def live_snapshot(site: Site) -> Snapshot:
    """Return what the schemas of the packs in use hold now."""
    async with open_migration_session(site) as connection:
        return await snapshot(connection, [pack.name for pack in site.catalog.packs])
