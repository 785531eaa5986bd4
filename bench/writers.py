"""Many callers with a row each: shared transactions beside one transaction for every row.

Sixty-four callers at once, each sending its next row when the one before is committed. The table is that of the ingest
benchmark: a primary key, an index on time, daily partitions. The reference inserts each row in a transaction of its own, over a pool of
as many connections as a process has. The pipeline has one caller, who sends 64 rows before it waits for their common commit.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import psycopg

from bench.harness import Benchmark, Prepared
from bench.ingest import START, Tables, snapshot_pack
from bench.postgres import describe_server, fresh_server
from chainstrata.engines.postgres import Database
from chainstrata.ingest import Gate, Ingest, Spool
from chainstrata.model import Catalog
from chainstrata.packs.strata import pack as strata

CALLERS = 64
ROWS, QUICK_ROWS = 12_800, 640
COLUMNS = ("validator_index", "ts", "slot", "balance", "effective_balance", "effectiveness", "missed", "finalized")
INSERT = (
    "INSERT INTO {}.snapshot (validator_index, ts, slot, balance, effective_balance, effectiveness, missed, finalized)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
)


def make_rows(count: int) -> list[tuple[Any, ...]]:
    moments = [(START + timedelta(seconds=12 * number)).astimezone(UTC) for number in range(count // 100 + 1)]
    return [(n % 100, moments[n // 100], n // 100, 32_000_000_000 + n, 32_000_000_000, 0.5, n % 2, True) for n in range(count)]


@asynccontextmanager
async def prepare(quick: bool) -> AsyncIterator[Prepared]:
    """Make a table for each case."""
    rows = make_rows(QUICK_ROWS if quick else ROWS)
    async with fresh_server() as (server, config), Database(server.conninfo, config) as database:
        tables = Tables(database, server.conninfo, config, Catalog([strata, *map(snapshot_pack, ("ours", "single", "pipeline"))]))
        await tables.create()
        with tempfile.TemporaryDirectory(prefix="chainstrata-bench-") as directory:
            gate = Gate(Ingest(database, tables.catalog), database, tables.catalog, Spool(Path(directory), 1024**3))
            given: list[dict[str, Any]] = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
            cases = {
                "one_transaction_each": _timed(tables, "single", len(rows), lambda: _each(database, rows)),
                "ours_coalesced": _timed(tables, "ours", len(rows), lambda: _ours(gate, given)),
                "psycopg_pipeline": _timed(tables, "pipeline", len(rows), lambda: _pipeline(server.conninfo, rows)),
            }
            yield Prepared(cases, {}, describe_server(database))
            await gate.close()


def _timed(tables: Tables, schema: str, rows: int, work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        await tables.empty(schema)
        began = time.perf_counter()
        await work()
        return rows / (time.perf_counter() - began)

    return run


async def _call(rows: list[Any], send: Callable[[Any], Awaitable[Any]]) -> None:
    queue = list(reversed(rows))

    async def caller() -> None:
        while queue:
            await send(queue.pop())

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def _ours(gate: Gate, rows: list[dict[str, Any]]) -> None:
    await _call(rows, lambda row: gate.ingest("ours.snapshots", [row]))


async def _each(database: Database, rows: list[tuple[Any, ...]]) -> None:
    statement = INSERT.format("single")
    await _call(rows, lambda row: database.execute(statement, row))


async def _pipeline(conninfo: str, rows: list[tuple[Any, ...]]) -> None:
    statement = INSERT.format("pipeline")
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        for first in range(0, len(rows), CALLERS):
            async with connection.pipeline():
                for row in rows[first : first + CALLERS]:
                    await connection.execute(statement, row, prepare=True)
                await connection.commit()


BENCHMARK = Benchmark(
    doc="64 callers that send a row at a time, each told of its commit: rows per second.",
    unit="rows/s",
    better="higher",
    reference="one_transaction_each",
    prepare=prepare,
    rounds=5,
    quick_rounds=1,
)
