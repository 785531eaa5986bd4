"""A million rows of ten columns read from a table into Arrow: our reader beside other ways to the same rows.

Every case reads all rows by one query on one connection. The limit is binary COPY whose bytes are thrown away. ADBC keeps NUMERIC
as text; the others give exact decimals.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString

import psycopg
import pyarrow as pa
from adbc_driver_postgresql import dbapi
from psycopg import sql

from bench.harness import Benchmark, Prepared
from bench.postgres import describe_server, fresh_server
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.arrow import fetch_arrow
from chainstrata.engines.postgres.copying import copying

ROWS, QUICK_ROWS = 1_000_000, 30_000
CREATE: Final = """
    CREATE UNLOGGED TABLE snapshot (
        validator_index bigint, ts timestamptz, slot bigint, balance bigint, effective_balance bigint, effectiveness float8,
        missed int, finalized boolean, reward numeric(20,0), status text
    )
"""
FILL: Final = """
    INSERT INTO snapshot
    SELECT n % 10000, '2026-03-01 00:00+00'::timestamptz + n / 10000 * interval '12 seconds', n / 10000, 32000000000 + n % 99991,
        32000000000, CASE WHEN n % 50 > 0 THEN 0.99 + n % 97 / 10000.0 END, n % 2, n % 3 > 0, n * 1000003 % 18446744073709551557,
        CASE WHEN n % 100 = 0 THEN 'pending_queued' ELSE 'active_ongoing' END
    FROM generate_series(1, {rows}::numeric) AS s (x), LATERAL (SELECT x::bigint AS n) AS whole
"""
QUERY: LiteralString = "SELECT * FROM snapshot"
KINDS: Final = [
    pa.int64(), pa.timestamp("us", tz="UTC"), pa.int64(), pa.int64(), pa.int64(), pa.float64(), pa.int32(), pa.bool_(), pa.decimal128(20, 0),
    pa.string(),
]  # fmt: skip


@asynccontextmanager
async def prepare(quick: bool) -> AsyncIterator[Prepared]:
    """Fill one table, and open a connection for each case."""
    rows = QUICK_ROWS if quick else ROWS
    async with (
        fresh_server() as (server, config),
        Database(server.conninfo, config) as database,
        await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as driver,
    ):
        await driver.execute(CREATE)
        await driver.execute(FILL.replace("{rows}", str(rows)).encode())
        await driver.execute("VACUUM ANALYZE snapshot")
        with dbapi.connect(server.conninfo) as adbc:
            cases = {
                "psycopg_rows": _timed(rows, lambda: _psycopg(driver)),
                "ours_arrow": _timed(rows, lambda: fetch_arrow(database, QUERY)),
                "adbc": _timed(rows, lambda: _adbc(adbc)),
                "copy_limit": _timed(rows, lambda: _copy(database)),
            }
            yield Prepared(cases, versions=describe_server(database))


def _timed(rows: int, read: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        began = time.perf_counter()
        table = await read()
        seconds = time.perf_counter() - began
        if table is not None and table.num_rows != rows:
            raise AssertionError(f"{table.num_rows} rows")
        return rows / seconds

    return run


async def _psycopg(driver: psycopg.AsyncConnection[Any]) -> Any:
    cursor = await driver.execute(QUERY)
    found = await cursor.fetchall()
    names = [column.name for column in cursor.description or ()]
    columns = zip(*found, strict=True)
    return pa.table([pa.array(values, kind) for values, kind in zip(columns, KINDS, strict=True)], names=names)


async def _adbc(connection: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(QUERY)
        return cursor.fetch_arrow_table()


async def _copy(database: Database) -> None:
    async with database.connection() as connection, copying(connection, sql.SQL("COPY snapshot TO STDOUT (FORMAT binary)")) as blocks:
        async for _ in blocks:
            pass


BENCHMARK = Benchmark(
    doc="All rows of a table of ten columns into Arrow: rows per second. The reference is psycopg's fetchall, made into Arrow.",
    unit="rows/s",
    better="higher",
    reference="psycopg_rows",
    prepare=prepare,
    rounds=5,
    quick_rounds=1,
)
