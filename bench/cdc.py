"""Changes carried from PostgreSQL's log into a columnar mirror, beside what the server itself can give and beside a trigger.

The rows have ten columns, two of them exact numbers of any size; they go into ten daily partitions with a primary key. A case first
writes its rows while nobody follows, then follows: the figure is rows per second from then until all are visible in the mirror. Beside it
stand the lags, from a commit to the moment its last row is seen in the mirror by somebody who looks every 50 ms; how fast the rows were
written while they were followed, with all of it sharing the machine's cores; and what a row took of the writer's own time.
`server_limit` is pg_recvlogical with the same options that throws everything away. `trigger_changelog` is what is often built instead: a
trigger on rows writes each as JSON to a table, which is polled by number, batch by batch; it gets fewer rows.
"""

import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from psycopg import conninfo as libpq
from psycopg import sql

from bench.harness import Benchmark, Prepared
from bench.postgres import describe_server, fresh_server
from chainstrata.cdc import Mirrors
from chainstrata.cdc import slot as slots
from chainstrata.cdc.model import show_lsn
from chainstrata.cdc.planner import percentiles
from chainstrata.cdc.stream import options
from chainstrata.config import HOME, load_config
from chainstrata.engines.clickhouse import Columnar, EmbeddedClickHouse
from chainstrata.engines.clickhouse.arrow import arrow_rows
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.locate import locate_binaries
from chainstrata.engines.postgres.waiting import happened
from chainstrata.migrate import create_declared
from chainstrata.model import INSTANT, Catalog, Dataset, Lifecycle, Mirror, Pack, column, days, metadata
from chainstrata.model.columnar import mirror_table
from chainstrata.model.columns import UINT256
from chainstrata.packs.strata import pack as strata

ROWS, QUICK_ROWS = 1_000_000, 20_000
LOGGED, QUICK_LOGGED = 100_000, 5_000
TRANSACTIONS = 100
STEADY, QUICK_STEADY = 120.0, 2.0
RATE, EACH = 10_000, 100
DAYS: Final = 10
START: Final = datetime(2026, 3, 1, tzinfo=UTC)
POLLED: Final = 10_000
LOOK_EVERY: Final = 0.05
WITHIN: Final = 120.0
NEVER: Final = asyncio.Event()
INSERT = sql.SQL(
    "INSERT INTO flow.{table} SELECT n %% 10000, '2026-03-01'::timestamptz + (n / 10000 %% 100) * interval '8640 s'"
    " + n / 1000000 * interval '1 ms', n / 10000, 32000000000 + n %% 12007, 32000000000, 'active_ongoing', n %% 1000 / 1000.0, n %% 7,"
    " 1000 + n::numeric / 1000000, n::numeric * 1000000000000000000 FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n"
)
TRIGGER = (
    """
CREATE TABLE flow.changelog (id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT changelog_pkey PRIMARY KEY, operation text NOT NULL,
    content jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now())""",
    """
CREATE FUNCTION flow.log_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO flow.changelog (operation, content) VALUES (TG_OP, to_jsonb(coalesce(NEW, OLD)));
    RETURN NULL;
END $$""",
    "CREATE TRIGGER log_change AFTER INSERT OR UPDATE OR DELETE ON flow.logged FOR EACH ROW EXECUTE FUNCTION flow.log_change()",
)
POLL = "SELECT id, content::text AS content FROM flow.changelog WHERE id > %(after)s ORDER BY id LIMIT %(most)s"


def _table(meta: sa.MetaData, name: str) -> sa.Table:
    return sa.Table(
        name,
        meta,
        column("entity", sa.BigInteger, doc="Entity."),
        column("ts", INSTANT, doc="When."),
        column("block", sa.BigInteger, doc="Block."),
        column("balance", sa.BigInteger, doc="Balance."),
        column("effective_balance", sa.BigInteger, doc="What counts of it."),
        column("status", sa.Text, doc="Status."),
        column("effectiveness", sa.Double, doc="Effectiveness."),
        column("missed", sa.Integer, doc="Missed duties."),
        column("price", sa.Numeric(38, 18), doc="Price."),
        column("units", UINT256, doc="Raw units."),
        sa.PrimaryKeyConstraint("entity", "ts", name=f"{name}_pkey"),
        comment="One entity at one instant.",
        postgresql_partition_by="RANGE (ts)",
    )


def flow_pack() -> Pack:
    """Return a pack with two tables alike; only the first is followed by its log."""
    meta = metadata("flow")
    followed, logged = _table(meta, "transfer"), _table(meta, "logged")
    lifecycle = Lifecycle(partition=days(1), archive=False)
    datasets = [
        Dataset(followed, "transfer", time="ts", lifecycle=lifecycle, mirror=Mirror(["entity", "ts"])),
        Dataset(logged, "logged", time="ts", lifecycle=lifecycle),
    ]
    return Pack("flow", "bench", "Changes.", meta, datasets, requires=("strata",))


class Flow:
    """The tables, the mirror, and the ways from one to the other."""

    def __init__(self, database: Database, columnar: Columnar, catalog: Catalog, *, quick: bool) -> None:
        self.database = database
        self.columnar = columnar
        self.mirrors = Mirrors(database, catalog, columnar)
        self.mirror = mirror_table(catalog.dataset("flow.transfer"))
        self.rows = QUICK_ROWS if quick else ROWS
        self.logged = QUICK_LOGGED if quick else LOGGED
        self.steady = QUICK_STEADY if quick else STEADY
        self._written = {"transfer": 0, "logged": 0}
        self._warm: set[str] = set()
        self._polled = 0

    async def create(self, catalog: Catalog) -> None:
        async with self.database.session() as connection:
            await create_declared(connection.driver, catalog)
            for table in self._written:
                for day in range(DAYS):
                    bounds = [sql.Literal((START + timedelta(days=day + n)).isoformat()) for n in (0, 1)]
                    statement = sql.SQL("CREATE TABLE flow.{} PARTITION OF flow.{} FOR VALUES FROM ({}) TO ({})")
                    await connection.execute(statement.format(sql.Identifier(f"{table}_{day}"), sql.Identifier(table), *bounds))
            for text in TRIGGER:
                await connection.driver.execute(text.encode())
        place = f"{self.columnar.database}.flow__logged"
        async with self.following():
            await self.mirrors.wait(within=WITHIN)
        await self.columnar.execute(f"CREATE TABLE {place} AS {self.columnar.database}.{self.mirror.table.name}")

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the log while the block runs."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.mirrors.capture().run(stop))
            try:
                yield
            finally:
                stop.set()
                await asyncio.wait([running], timeout=WITHIN)

    def share(self, case: str, amount: int) -> int:
        """Return how many rows a case is about: the first time, which is thrown away, a few."""
        first = case not in self._warm
        self._warm.add(case)
        return min(amount, QUICK_ROWS) if first else amount

    async def write(
        self, rows: int, transactions: int, table: str = "transfer", *, rate: float = 0.0, done: Callable[[int], None] = lambda _: None
    ) -> dict[str, float]:
        """Write rows in so many transactions, no more than `rate` of them a second; return how fast that was, and what it took.

        `done` is told after each transaction how many rows there are.
        """
        each = rows // transactions
        statement = INSERT.format(table=sql.Identifier(table))
        async with self.database.session() as connection:
            await connection.execute("SET statement_timeout = 0")
            writer = int(await connection.fetch_value("SELECT pg_backend_pid()"))
            used, began = _cpu_seconds(writer), time.perf_counter()
            for number in range(transactions):
                if rate:
                    await happened(NEVER, max(0.0, began + number / rate - time.perf_counter()))
                first = self._written[table]
                self._written[table] += each
                await connection.execute(statement, {"first": first, "last": first + each - 1})
                done(self._written[table])
            speed = rows / (time.perf_counter() - began)
            return {"write, rows/s": speed, "writer's CPU, µs a row": (_cpu_seconds(writer) - used) / rows * 1e6}

    async def seen(self, table: str) -> int:
        return int(await self.columnar.fetch_value(f"SELECT count() FROM {table}"))

    async def arrive(self, table: str, expected: int) -> None:
        """Wait until so many rows are visible."""
        async with asyncio.timeout(WITHIN):
            while await self.seen(table) < expected:
                await happened(NEVER, LOOK_EVERY)

    async def catch_up(self, rows: int, transactions: int) -> float:
        """Write rows, then follow, and return rows per second of the latter."""
        await self.write(rows, transactions)
        began = time.perf_counter()
        async with self.following():
            await self.arrive(self.mirror.table.name, self._written["transfer"])
            took = time.perf_counter() - began
        return rows / took

    async def live(self, write: Callable[[Callable[[int], None]], Awaitable[dict[str, float]]]) -> dict[str, float]:
        """Write while the log is followed; return how fast that was, and how long the rows took to the mirror."""
        commits: list[tuple[int, float]] = []
        lags: list[float] = []
        written = asyncio.Event()

        async def look() -> None:
            while not written.is_set() or len(lags) < len(commits):
                there = await self.seen(self.mirror.table.name)
                now = time.perf_counter()
                lags.extend(now - moment for count, moment in commits[len(lags) :] if count <= there)
                await happened(NEVER, LOOK_EVERY)

        async with self.following():
            await self.mirrors.wait(within=WITHIN)
            async with asyncio.timeout(WITHIN + self.steady), asyncio.TaskGroup() as tasks:
                tasks.create_task(look())
                cost = await write(lambda count: commits.append((count, time.perf_counter())))
                written.set()
        shown = zip(("p50", "p95", "p99"), percentiles(lags), strict=True)
        return {**cost, **{f"lag {name}, ms": lag * 1000 for name, lag in shown}}

    # Cases -----------------------------------------------------------------------------------------------------------

    async def ours(self, transactions: int) -> dict[str, float]:
        rows = self.share(f"ours {transactions}", self.rows)
        caught_up = await self.catch_up(rows, transactions)
        return {"": caught_up, **await self.live(lambda done: self.write(rows, transactions, done=done))}

    async def ours_steady(self) -> dict[str, float]:
        rows = self.share("steady", int(self.steady * RATE))
        found = await self.live(lambda done: self.write(rows, rows // EACH, rate=RATE / EACH, done=done))
        return {"": found["write, rows/s"], **found}

    async def server_limit(self) -> dict[str, float]:
        rows = self.share("server", self.rows)
        found: dict[str, float] = {}
        for aspect, transactions in (("", 1), ("in 100 transactions", TRANSACTIONS)):
            async with self.database.session() as connection:
                await slots.create_slot(connection, "limit", version=self.database.server_version)
            found |= await self.write(rows, transactions)
            end = int(await self.database.fetch_value(slots.QUERIES.log_end))
            began = time.perf_counter()
            await asyncio.to_thread(self._receive, end)
            found[aspect] = rows / (time.perf_counter() - began)
            async with self.database.session() as connection:
                await slots.drop_slot(connection, "limit")
        # The mirror gets these rows too, before anybody looks how fast it is.
        async with self.following():
            await self.arrive(self.mirror.table.name, self._written["transfer"])
        return found

    def _receive(self, end: int) -> None:
        wanted = {**options(self.database.server_version), "publication_names": slots.PUBLICATION}
        command = [
            str(locate_binaries().tool("pg_recvlogical")),
            "--dbname",
            self.database.conninfo,
            "--slot",
            "limit",
            "--start",
            "--no-loop",
        ]
        command += ["--file", "/dev/null", "--fsync-interval", "0", "--status-interval", "1", "--endpos", show_lsn(end)]
        for name, value in wanted.items():
            command += ["--option", f"{name}={value}"]
        subprocess.run(command, check=True, capture_output=True, timeout=WITHIN)

    async def trigger_changelog(self) -> dict[str, float]:
        rows = self.share("trigger", self.logged)
        cost = await self.write(rows, TRANSACTIONS, "logged")
        began = time.perf_counter()
        while await self._poll():
            pass
        await self.arrive("flow__logged", self._written["logged"])
        return {"": rows / (time.perf_counter() - began), **cost}

    async def _poll(self) -> int:
        """Carry the next changes over, as a program does that polls."""
        found = await self.database.fetch_all(POLL, {"after": self._polled, "most": POLLED})
        if found:
            shown = [(one.name, one.type) for one in self.mirror.table.columns]
            rows = [_plain(json.loads(row.content, parse_float=Decimal), row.id) for row in found]
            await self.columnar.insert_arrow("flow__logged", arrow_rows(shown, rows))
            self._polled = found[-1].id
            await self.database.execute("DELETE FROM flow.changelog WHERE id <= %(id)s", {"id": self._polled})
        return len(found)


def _cpu_seconds(process: int) -> float:
    """Return the time a process has spent on a core."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _plain(row: dict[str, Any], number: int) -> dict[str, Any]:
    return {**row, "ts": datetime.fromisoformat(row["ts"]), "effectiveness": float(row["effectiveness"]), "_version": number, "_deleted": 0}


@asynccontextmanager
async def prepare(quick: bool) -> AsyncIterator[Prepared]:
    catalog = Catalog([strata, flow_pack()])
    with tempfile.TemporaryDirectory(prefix="chainstrata-bench-", ignore_cleanup_errors=True) as directory:
        settings = load_config({HOME.key: Path(directory, "home")}, environment={}, directory=Path(directory))
        async with (
            fresh_server() as (server, config),
            Database(libpq.make_conninfo(server.conninfo), config) as database,
            EmbeddedClickHouse(settings) as engine,
            Columnar(engine.url) as columnar,
        ):
            flow = Flow(database, columnar, catalog, quick=quick)
            await flow.create(catalog)
            cases = {
                "server_limit": flow.server_limit,
                "ours_one_tx": lambda: flow.ours(1),
                "ours_100_tx": lambda: flow.ours(TRANSACTIONS),
                "ours_steady": flow.ours_steady,
                "trigger_changelog": flow.trigger_changelog,
            }
            yield Prepared(cases, versions={**describe_server(database), "ClickHouse": columnar.version})
            async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as connection:
                await connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")


BENCHMARK = Benchmark(
    "Changes from PostgreSQL into a columnar mirror: rows per second to catch up, lags while rows are written, and what writing then costs.",
    "rows/s",
    "higher",
    "server_limit",
    prepare,
    rounds=1,
    quick_rounds=1,
)
