"""What our layer adds to a query: check-out from the pool and a prepared point read, against the bare driver.

Every case reads the same rows by primary key, one after the other, with autocommit and server-side prepared statements, over the unix
socket, where the server's share is smallest and the client's shows most. The reference holds one connection of the bare driver and
never checks out; psycopg's own pool is measured too, to tell what check-out costs without us.
"""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import psycopg_pool
import sqlalchemy as sa

from bench.harness import Benchmark, Prepared
from bench.postgres import describe_server, fresh_server
from chainstrata.engines.postgres import Database, Query

ROWS = 10_000
READS = 250
QUICK_READS = 100

SQL = "SELECT name, amount FROM point WHERE id = %(id)s"
TABLE = """
CREATE TABLE point (id bigint CONSTRAINT point_key PRIMARY KEY, name text NOT NULL, amount numeric NOT NULL);
INSERT INTO point SELECT i, 'name ' || i, i * 1.5 FROM generate_series(1, 10000) i;
VACUUM (ANALYZE) point;
"""
NAMED = Query("point", "One row by its key.", SQL, ("id",))
_POINT = sa.table("point", sa.column("id", sa.BigInteger), sa.column("name", sa.Text), sa.column("amount", sa.Numeric))
CORE = sa.select(_POINT.c.name, _POINT.c.amount).where(_POINT.c.id == sa.bindparam("id"))

Read = Callable[[int], Awaitable[Any]]


@asynccontextmanager
async def prepare(quick: bool) -> AsyncIterator[Prepared]:
    """Start a server, fill the table, open a connection, a bare pool and our own, and yield a case for each."""
    reads = QUICK_READS if quick else READS
    async with fresh_server() as (server, config), Database(server.conninfo, config) as database:
        async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as connection:
            for statement in filter(str.strip, TABLE.split(";")):
                await connection.execute(statement.encode())
        async with await _connect(server.conninfo) as bare, _open_pool(server.conninfo) as pool, database.connection() as held:

            async def read_bare(key: int) -> Any:
                return await (await bare.execute(SQL, {"id": key})).fetchone()

            async def read_bare_pool(key: int) -> Any:
                async with pool.connection() as connection:
                    return await (await connection.execute(SQL, {"id": key})).fetchone()

            async def read_ours(key: int) -> Any:
                return await database.fetch_one(NAMED, {"id": key})

            async def read_ours_core(key: int) -> Any:
                return await database.fetch_one(CORE, {"id": key})

            async def read_ours_held(key: int) -> Any:
                return await held.fetch_one(NAMED, {"id": key})

            cases: dict[str, Read] = {
                "bare psycopg": read_bare,
                "bare psycopg_pool": read_bare_pool,
                "ours": read_ours,
                "ours, Core statement": read_ours_core,
                "ours, connection held": read_ours_held,
            }
            for read in cases.values():
                await _check(read)
            yield Prepared({name: _timed(read, reads) for name, read in cases.items()}, versions=describe_server(database))


async def _connect(conninfo: str) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(conninfo, autocommit=True, prepare_threshold=0)


@asynccontextmanager
async def _open_pool(conninfo: str) -> AsyncIterator[psycopg_pool.AsyncConnectionPool]:
    # Its records of every check-out would be formatted and thrown away; a product switches them off, so they are off for all cases.
    logging.getLogger("psycopg.pool").setLevel(logging.WARNING)
    options = {"autocommit": True, "prepare_threshold": 0}
    pool: psycopg_pool.AsyncConnectionPool = psycopg_pool.AsyncConnectionPool(conninfo, min_size=5, max_size=25, kwargs=options, open=False)
    async with pool:
        await pool.wait()
        yield pool


async def _check(read: Read) -> None:
    row = await read(ROWS)
    if row is None or tuple(row) != (f"name {ROWS}", ROWS * 3 / 2):
        raise AssertionError(f"a case does not read what it should: {row!r}")


def _timed(read: Read, reads: int) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        began = time.perf_counter()
        for key in range(1, reads + 1):
            await read(key)
        return (time.perf_counter() - began) / reads * 1e6

    return run


BENCHMARK = Benchmark(
    doc="A point read by primary key, check-out from the pool included, through our layer and through the bare driver.",
    unit="µs per read",
    better="lower",
    reference="bare psycopg",
    prepare=prepare,
    rounds=121,
    quick_rounds=15,
)
