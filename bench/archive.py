"""A day of snapshots leaves as an archive: our writer beside COPY to a file and beside what a script with pyarrow does.

The day is one of seven of five million rows, as `bench/retention.py` drops it: 720,000 rows of eight columns whose values
are as a chain's are: balances grow by their rewards, effectiveness is mostly whole, duties are rarely missed. `ours` is all
that retention does to a partition before it lets go: counting and adding up in the server, writing sorted by entity and
time, reading every value back, comparing. `ours_read_back` is that part alone, and what `archive verify` does. COPY is
psql's, unsorted, to a file nobody checks; `pyarrow` reads with a server-side cursor and writes with pyarrow's defaults.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from psycopg import IsolationLevel, sql

from bench.declared import create_pack
from bench.harness import Benchmark, Prepared, Run
from bench.postgres import describe_server, fresh_server
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.locate import locate_binaries
from chainstrata.engines.postgres.maintenance import maintenance
from chainstrata.engines.postgres.partitioning import Span
from chainstrata.engines.storage import LocalStorage
from chainstrata.model import INSTANT, Dataset, Lifecycle, Pack, TimedTable, column, days, metadata, tables_of
from chainstrata.packs.strata import pack as strata
from chainstrata.retention.archive.make import Made, Subject, look, make_archive
from chainstrata.retention.archive.reader import read_back, read_manifest
from chainstrata.retention.archive.source import Rows

DAY = datetime(2026, 3, 2, tzinfo=UTC)
VALIDATORS = 1000
STEPS, QUICK_STEPS = 720, 20
FETCH = 10_000
SHARE = "% of the heap"


def snapshot_pack() -> Pack:
    """Return a pack with one table of snapshots."""
    meta = metadata("bench")
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
        comment="One validator at one time.",
    )
    dataset = Dataset(table, "snapshots", time="ts", entity=["validator_index"], lifecycle=Lifecycle(keep=days(7)))
    return Pack("bench", "bench", "Snapshots.", meta, [dataset], requires=("strata",))


SNAPSHOTS = """
INSERT INTO bench.snapshot
SELECT v, {day}::timestamptz + s * interval '120 s', 10 * s,
       32000000000 + (v * 7919) % 900000 + sum((9000 + random() * 4000)::bigint) OVER (PARTITION BY v ORDER BY s),
       32000000000, CASE WHEN random() < 0.9 THEN 1 ELSE round((0.9 + random() / 10)::numeric, 4) END, (random() < 0.01)::int, s < {final}
FROM generate_series(0, {last}) AS s, generate_series(1, {validators}) AS v ORDER BY s, v
"""


class Day:
    """The rows of a day in a table, and the ways to take them out."""

    def __init__(self, database: Database, conninfo: str, table: TimedTable, directory: Path) -> None:
        self._database = database
        self._conninfo = conninfo
        self._table = table
        self._directory = directory
        self._storage = LocalStorage(directory / "archive")
        self._name = sql.Identifier(table.schema, table.table)
        self._made = 0
        self.rows = 0
        self.heap = 0
        self.oid = 0

    async def fill(self, statement: sql.Composable) -> None:
        await self._database.execute(statement)
        await self._database.execute(sql.SQL("VACUUM (ANALYZE) {}").format(self._name))
        found = await self._database.fetch_one(
            sql.SQL("SELECT count(*) AS n, pg_relation_size({name}) AS heap, {name}::regclass::oid::bigint AS oid FROM {table}").format(
                name=sql.Literal(self._table.qualified), table=self._name
            )
        )
        self.rows, self.heap, self.oid = found.n, found.heap, found.oid

    def share(self, size: int) -> float:
        return 100 * size / self.heap

    async def archive(self) -> tuple[str, Made]:
        """Write an archive as retention does, read back and compared; return where it is."""
        self._made += 1
        directory = f"{self._table.name}/{self._made}"
        rows = Rows(self._name, self.oid)
        subject = Subject(self._table, self._table.schema, self._table.table, Span(DAY, DAY + timedelta(days=1)), rows)
        async with (
            maintenance(self._database) as connection,
            connection.begin(isolation=IsolationLevel.REPEATABLE_READ, read_only=True),
        ):
            expected = await look(connection, rows)
            return directory, await make_archive(connection, self._storage, directory, subject, expected)

    async def ours(self) -> Mapping[str, float]:
        began = time.perf_counter()
        directory, made = await self.archive()
        taken = time.perf_counter() - began
        self._storage.delete(directory)
        return {"": self.rows / taken, SHARE: self.share(made.manifest.size_bytes)}

    def reading(self, directory: str) -> Callable[[], float]:
        def run() -> float:
            began = time.perf_counter()
            differences = read_back(self._storage, directory, read_manifest(self._storage, directory))
            if differences:
                raise AssertionError(differences)
            return self.rows / (time.perf_counter() - began)

        return run

    def copying(self, how: str) -> Callable[[], Awaitable[Mapping[str, float]]]:
        """Return a case that copies the table to a file with psql."""
        psql = shutil.which("psql", path=str(locate_binaries().directory)) or shutil.which("psql")
        if psql is None:
            raise LookupError("psql is not there")
        path = self._directory / f"rows.{how}"
        command = f"\\copy {self._table.qualified} to '{path}' (format {how})"

        async def run() -> Mapping[str, float]:
            began = time.perf_counter()
            process = await asyncio.create_subprocess_exec(psql, self._conninfo, "-qX", "-v", "ON_ERROR_STOP=1", "-c", command)
            if await process.wait():
                raise LookupError("psql failed")
            taken = time.perf_counter() - began
            size = path.stat().st_size
            path.unlink()
            return {"": self.rows / taken, SHARE: self.share(size)}

        return run

    def pyarrow(self, schema: pa.Schema) -> Callable[[], Awaitable[Mapping[str, float]]]:
        """Return a case that reads with a cursor and writes as pyarrow does unasked."""
        path = self._directory / "rows.parquet"

        async def run() -> Mapping[str, float]:
            began = time.perf_counter()
            with pq.ParquetWriter(path, schema) as writer:
                async with await psycopg.AsyncConnection.connect(self._conninfo) as connection, connection.cursor("rows") as cursor:
                    await cursor.execute(sql.SQL("SELECT {} FROM {}").format(_listed(schema.names), self._name))
                    while rows := await cursor.fetchmany(FETCH):
                        columns = [pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), schema.types, strict=True)]
                        writer.write_batch(pa.record_batch(columns, schema=schema))
            taken = time.perf_counter() - began
            size = path.stat().st_size
            path.unlink()
            return {"": self.rows / taken, SHARE: self.share(size)}

        return run


def _listed(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


SCHEMA = pa.schema(
    {
        "validator_index": pa.int64(),
        "ts": pa.timestamp("us", tz="UTC"),
        "slot": pa.int64(),
        "balance": pa.int64(),
        "effective_balance": pa.int64(),
        "effectiveness": pa.float64(),
        "missed": pa.int32(),
        "finalized": pa.bool_(),
    }
)


@asynccontextmanager
async def prepare(quick: bool) -> AsyncIterator[Prepared]:
    """Make a day of snapshots."""
    steps = QUICK_STEPS if quick else STEPS
    statement = sql.SQL(SNAPSHOTS).format(
        day=sql.Literal(DAY.isoformat()), last=sql.Literal(steps - 1), final=sql.Literal(steps - 10), validators=sql.Literal(VALIDATORS)
    )
    async with prepared(snapshot_pack(), statement, SCHEMA) as result:
        yield result


@asynccontextmanager
async def prepared(pack: Pack, statement: sql.Composable, schema: pa.Schema) -> AsyncIterator[Prepared]:
    """Fill the pack's one table and yield its cases."""
    with tempfile.TemporaryDirectory(prefix="chainstrata-bench-") as directory:
        async with fresh_server() as (server, config), Database(server.conninfo, config) as database:
            async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as connection:
                for each in (strata, pack):
                    await create_pack(connection, each)
            [table] = tables_of(pack.datasets[0])
            day = Day(database, server.conninfo, table, Path(directory))
            await day.fill(statement)
            kept, _ = await day.archive()
            cases: dict[str, Run] = {
                "copy_text": day.copying("text"),
                "copy_binary": day.copying("binary"),
                "pyarrow": day.pyarrow(schema),
                "ours": day.ours,
                "ours_read_back": day.reading(kept),
            }
            yield Prepared(cases, {}, describe_server(database))


BENCHMARK = Benchmark(
    doc="A day of 720,000 snapshots taken out of its table: rows per second; beside it the size of what was written, where lower is better.",
    unit="rows/s",
    better="higher",
    reference="copy_text",
    prepare=prepare,
    rounds=5,
    quick_rounds=1,
)
