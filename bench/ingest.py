"""Snapshots into daily partitions: our ingest beside what reaches the same table by other ways.

Every case writes the same rows of eight columns in batches of ten thousand, each batch its own transaction, into a table with
a primary key and a block range index on time. The limit, `copy_limit`, is psql's `\\copy` of one ready file: one commit, no batches, no
client. `copy_batches` is the same in ready files of a batch each, every one committed before the next is sent: who writes batch by
batch on one connection can reach no more, however little they do themselves, because the disk is waited for at every commit. What
lies between the two is the price of the commits; what lies between `copy_batches` and `ours_1` is ours. Ours takes Arrow batches and
marks the hourly roll-up; the other cases mark nothing. `ours_1` and `ours_2` hand each batch over by itself and wait for its commit, on
one connection and on two; `ours_stream` hands all over as one reader, whose batches are committed some 65,000 rows at a time.
`timescale` is psql's `\\copy` of the one file into a hypertable, where TimescaleDB is installed.

`small_writers` and `insert_each` are another question: a thousand callers write single rows at the same time, each waiting for the
commit of their own, by ingest, which lets them share transactions, and by an INSERT for each over the same pool of connections.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import psycopg
import pyarrow as pa
import sqlalchemy as sa
from psycopg import conninfo as libpq
from psycopg import sql
from sqlalchemy.ext.asyncio import create_async_engine

from bench.declared import create_pack
from bench.harness import Benchmark, Prepared
from bench.postgres import describe_server, fresh_server
from bench.timescale import ABSENT, SCHEMA, create_hypertable, has_timescale
from chainstrata.config import Config
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.locate import locate_binaries
from chainstrata.ingest import Gate, Ingest, Spool
from chainstrata.model import (
    INSTANT,
    Catalog,
    Dataset,
    Lifecycle,
    Pack,
    Rollup,
    append,
    column,
    days,
    hours,
    index,
    last,
    mean,
    metadata,
    newest,
    total,
)
from chainstrata.packs.strata import pack as strata

ROWS, QUICK_ROWS = 5_000_000, 60_000
BATCH = 10_000
VALIDATORS = 10_000
START = datetime(2026, 3, 1, tzinfo=UTC)
STEP = timedelta(minutes=12)
DAYS = 6
DUPLICATES = 10
CALLERS = 1_000
SINGLE_ROWS, QUICK_SINGLE_ROWS = 30_000, 2_000


def snapshot_pack(name: str) -> Pack:
    """Return a pack with one table of snapshots; the one called `upsert` lets the newest slot win."""
    meta = metadata(name)
    table = sa.Table(
        "snapshot",
        meta,
        column("validator_index", sa.BigInteger, doc="Validator."),
        column("ts", INSTANT, doc="When."),
        column("slot", sa.BigInteger, doc="Slot."),
        column("balance", sa.BigInteger, doc="Balance in gwei."),
        column("effective_balance", sa.BigInteger, doc="Effective balance in gwei."),
        column("effectiveness", sa.Double, nullable=True, doc="Effectiveness."),
        column("missed", sa.Integer, doc="Missed attestations."),
        column("finalized", sa.Boolean, doc="Whether it is final."),
        sa.PrimaryKeyConstraint("validator_index", "ts", name="snapshot_pkey"),
        index("idx_snapshot_time", "ts", postgresql_using="brin", why="All validators of a time."),
        comment="One validator at one time.",
        postgresql_partition_by="RANGE (ts)",
    )
    rollup = Rollup("hourly", hours(1), ["validator_index"], [last("balance"), mean("effectiveness"), total("missed")])
    dataset = Dataset(
        table,
        name="snapshots",
        time="ts",
        entity=["validator_index"],
        lifecycle=Lifecycle(partition=days(1)),
        conflict=newest("slot") if name == "upsert" else append(),
        rollups=[rollup],
    )
    return Pack(name, "bench", "Snapshots.", meta, [dataset], requires=("strata",))


def make_batches(rows: int) -> list[Any]:
    """Return the rows as Arrow batches in the order of time."""
    dice = np.random.default_rng(7)
    batches = []
    for number in range(rows // BATCH):
        first = number * BATCH
        place = np.arange(first, first + BATCH)
        tick = place // VALIDATORS
        moment = np.datetime64(START.replace(tzinfo=None), "us") + tick * np.timedelta64(STEP // timedelta(microseconds=1), "us")
        missed = dice.integers(0, 2, BATCH, dtype=np.int32)
        batches.append(
            pa.record_batch(
                {
                    "validator_index": pa.array(place % VALIDATORS),
                    "ts": pa.array(moment).cast(pa.timestamp("us", tz="UTC")),
                    "slot": pa.array(tick),
                    "balance": pa.array(32_000_000_000 + dice.integers(0, 10**9, BATCH)),
                    "effective_balance": pa.array(np.full(BATCH, 32_000_000_000)),
                    "effectiveness": pa.array(dice.random(BATCH)),
                    "missed": pa.array(missed),
                    "finalized": pa.array(missed == 0),
                }
            )
        )
    return batches


def with_duplicates(batches: Sequence[Any]) -> list[Any]:
    """Return the batches with a tenth of each taken again from the one before."""
    mixed = [batches[0]]
    for before, own in pairwise(batches):
        again = before.slice(0, BATCH // DUPLICATES)
        mixed.append(pa.Table.from_batches([own.slice(0, BATCH - again.num_rows), again]))
    return mixed


class Tables:
    """The servers' tables of all cases, one schema each."""

    def __init__(self, database: Database, conninfo: str, config: Config, catalog: Catalog) -> None:
        self.database = database
        self.conninfo = conninfo
        self.config = config
        self.catalog = catalog

    async def create(self) -> bool:
        """Make the tables; return whether there is one of TimescaleDB's."""
        async with await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True) as connection:
            for pack in self.catalog.packs:
                await create_pack(connection, pack, marking=False)
                if pack is not strata:
                    for day in range(DAYS):
                        await connection.execute(_partition(pack.name, day))
            if not await has_timescale(connection):
                return False
        await create_hypertable(self.database, sql.Identifier("copy_limit", "snapshot"), sql.Identifier(SCHEMA, "snapshot"))
        return True

    async def empty(self, schema: str) -> None:
        names = ["snapshot"] if schema == SCHEMA else ["snapshot", "snapshot__dirty"]
        async with self.database.connection() as connection:
            await connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(sql.Identifier(schema, name) for name in names)))
            await connection.execute("CHECKPOINT")


def _partition(schema: str, day: int) -> sql.Composed:
    lo = START + timedelta(days=day)
    return sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
        sql.Identifier(schema, f"snapshot_{day}"),
        sql.Identifier(schema, "snapshot"),
        sql.Literal(lo.isoformat()),
        sql.Literal((lo + timedelta(days=1)).isoformat()),
    )


@asynccontextmanager
async def prepare(quick: bool) -> AsyncIterator[Prepared]:
    """Make the rows once, and a table for each case."""
    rows = QUICK_ROWS if quick else ROWS
    names = ["copy_limit", "ours", "upsert", "asyncpg", "psycopg", "sqlalchemy"]
    batches = make_batches(rows)
    async with fresh_server() as (server, config), Database(server.conninfo, config) as database:
        tables = Tables(database, server.conninfo, config, Catalog([strata, *map(snapshot_pack, names)]))
        timescale = await tables.create()
        with tempfile.TemporaryDirectory(prefix="chainstrata-bench-") as directory:
            ready, parts = Path(directory, "rows.copy"), [Path(directory, f"{number}.copy") for number in range(len(batches))]
            await _write_files(tables, batches, ready, parts)
            small = batches[: max(1, len(batches) // 10)]
            singles = QUICK_SINGLE_ROWS if quick else SINGLE_ROWS
            cases = {
                "copy_limit": _timed(tables, "copy_limit", rows, lambda: _psql(tables, [ready])),
                "copy_batches": _timed(tables, "copy_limit", rows, lambda: _psql(tables, parts)),
                "ours_1": _timed(tables, "ours", rows, lambda: _ours(tables, "ours", batches, 1)),
                "ours_2": _timed(tables, "ours", rows, lambda: _ours(tables, "ours", batches, 2)),
                "ours_stream": _timed(tables, "ours", rows, lambda: _stream(tables, batches)),
                "ours_upsert": _timed(tables, "upsert", rows, lambda: _ours(tables, "upsert", with_duplicates(batches), 1)),
                "asyncpg_records": _timed(tables, "asyncpg", len(small) * BATCH, lambda: _asyncpg(tables, small)),
                "psycopg_rows": _timed(tables, "psycopg", len(small) * BATCH, lambda: _psycopg(tables, small)),
                "sqlalchemy": _timed(tables, "sqlalchemy", len(small) * BATCH, lambda: _sqlalchemy(tables, small)),
                "small_writers": _timed(tables, "ours", singles, lambda: _small_writers(tables, batches, singles, directory)),
                "insert_each": _timed(tables, "ours", singles, lambda: _insert_each(tables, batches, singles)),
            }
            if timescale:
                cases["timescale"] = _timed(tables, SCHEMA, rows, lambda: _psql(tables, [ready], schema=SCHEMA))
            yield Prepared(cases, {} if timescale else {"timescale": ABSENT}, describe_server(database))


def _timed(tables: Tables, schema: str, rows: int, work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        await tables.empty(schema)
        began = time.perf_counter()
        await work()
        seconds = time.perf_counter() - began
        # Left there, millions of new rows would be vacuumed while the next case runs, and that is not the next case's cost.
        await tables.empty(schema)
        return rows / seconds

    return run


async def _write_files(tables: Tables, batches: Sequence[Any], ready: Path, parts: Sequence[Path]) -> None:
    """Write the rows as one file of binary COPY, by way of a table, and as one for each batch."""
    await _ours(tables, "copy_limit", batches, 1)
    async with await psycopg.AsyncConnection.connect(tables.conninfo) as connection:
        rows = sql.SQL("SELECT * FROM copy_limit.snapshot {} ORDER BY ts, validator_index")
        await _write_file(connection, rows.format(sql.SQL("")), ready)
        for number, path in enumerate(parts):
            moment = sql.Literal(START + number * BATCH // VALIDATORS * STEP)
            await _write_file(connection, rows.format(sql.SQL("WHERE ts = {}").format(moment)), path)


async def _write_file(connection: psycopg.AsyncConnection[Any], rows: sql.Composed, path: Path) -> None:
    with path.open("wb") as file:
        async with connection.cursor().copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(rows)) as copy:
            async for block in copy:
                file.write(block)


async def _psql(tables: Tables, files: Sequence[Path], *, schema: str = "copy_limit") -> None:
    """Copy ready files with psql, each committed by itself."""
    psql = shutil.which("psql", path=str(locate_binaries().directory)) or shutil.which("psql")
    if psql is None:
        raise LookupError("psql is not there")
    commands = "".join(f"\\copy {schema}.snapshot from '{path}' (format binary)\n" for path in files)
    process = await asyncio.create_subprocess_exec(
        psql, tables.conninfo, "-qX", "-v", "ON_ERROR_STOP=1", "-f", "-", stdin=asyncio.subprocess.PIPE
    )
    await process.communicate(commands.encode())
    if process.returncode:
        raise LookupError("psql failed")


async def _ours(tables: Tables, schema: str, batches: Sequence[Any], writers: int) -> None:
    queue = list(reversed(batches))

    async def write(ingest: Ingest) -> None:
        while queue:
            await ingest.ingest(f"{schema}.snapshots", queue.pop())

    await asyncio.gather(*(write(Ingest(tables.database, tables.catalog)) for _ in range(writers)))


async def _stream(tables: Tables, batches: Sequence[Any]) -> None:
    await Ingest(tables.database, tables.catalog).ingest("ours.snapshots", pa.RecordBatchReader.from_batches(batches[0].schema, batches))


async def _small_writers(tables: Tables, batches: Sequence[Any], rows: int, directory: str) -> None:
    gate = Gate(Ingest(tables.database, tables.catalog), tables.database, tables.catalog, Spool(Path(directory, "spool"), 2**20))
    await _one_by_one(batches, rows, lambda row: gate.ingest("ours.snapshots", [row]))
    await gate.close()


async def _insert_each(tables: Tables, batches: Sequence[Any], rows: int) -> None:
    names = batches[0].schema.names
    statement = sql.SQL("INSERT INTO ours.snapshot ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, names)), sql.SQL(", ").join(map(sql.Placeholder, names))
    )
    await _one_by_one(batches, rows, lambda row: tables.database.execute(statement, row))


async def _one_by_one(batches: Sequence[Any], rows: int, write: Callable[[dict[str, Any]], Awaitable[object]]) -> None:
    """Write rows one by one, as many at a time as there are callers."""
    waiting = pa.Table.from_batches(batches[: -(-rows // BATCH)]).slice(0, rows).to_pylist()

    async def call() -> None:
        while waiting:
            await write(waiting.pop())

    await asyncio.gather(*(call() for _ in range(CALLERS)))


async def _asyncpg(tables: Tables, batches: Sequence[Any]) -> None:
    given: dict[str, Any] = libpq.conninfo_to_dict(tables.conninfo)
    connection = await asyncpg.connect(
        host=given["host"], port=int(given["port"]), user=given["user"], password=given["password"], database=given["dbname"]
    )
    try:
        for batch in batches:
            await connection.copy_records_to_table("snapshot", schema_name="asyncpg", records=_tuples(batch), columns=batch.schema.names)
    finally:
        await connection.close()


async def _psycopg(tables: Tables, batches: Sequence[Any]) -> None:
    kinds = ["int8", "timestamptz", "int8", "int8", "int8", "float8", "int4", "bool"]
    async with await psycopg.AsyncConnection.connect(tables.conninfo) as connection:
        for batch in batches:
            async with connection.cursor().copy("COPY psycopg.snapshot FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(kinds)
                for row in _tuples(batch):
                    await copy.write_row(row)
            await connection.commit()


async def _sqlalchemy(tables: Tables, batches: Sequence[Any]) -> None:
    given: dict[str, Any] = libpq.conninfo_to_dict(tables.conninfo)
    url = sa.URL.create(
        "postgresql+psycopg", given["user"], given["password"], str(given["host"]), int(given["port"] or 0), str(given["dbname"])
    )
    engine = create_async_engine(url)
    table = tables.catalog.dataset("sqlalchemy.snapshots").table
    try:
        for batch in batches:
            async with engine.begin() as connection:
                await connection.execute(sa.insert(table), batch.to_pylist())
    finally:
        await engine.dispose()


def _tuples(batch: Any) -> list[tuple[Any, ...]]:
    return list(zip(*(values.to_pylist() for values in batch.columns), strict=True))


BENCHMARK = Benchmark(
    doc="Snapshots of eight columns into daily partitions with a primary key, in batches of 10,000 from Arrow: rows per second.",
    unit="rows/s",
    better="higher",
    reference="copy_limit",
    prepare=prepare,
    rounds=3,
    quick_rounds=1,
)
