"""The oldest day of seven leaves: our retention beside DELETE and VACUUM, and beside a plain DROP.

Five million rows of seven days, a day of them to go, while a reader reads the newest day, a writer writes into it and,
in the cases beside a report, a report of half a second is running in a transaction, as there always is one somewhere.
`ours` is a whole run of retention that needs no archive: sealing, asking who needs the rows, counting, detaching concurrently,
dropping. `ours_archived` archives and reads back as well. `by_hand` is DETACH CONCURRENTLY and DROP alone. DELETE works on a plain
table with the same indexes. The figure is how long it takes; beside it the longest a reader and a writer had to wait.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import sqlalchemy as sa
from psycopg import sql

from bench.declared import create_pack
from bench.harness import Benchmark, Prepared
from bench.postgres import describe_server, fresh_server
from bench.stalls import Watchers
from chainstrata.engines.postgres import Database
from chainstrata.engines.storage import LocalStorage
from chainstrata.model import INSTANT, Catalog, Dataset, Lifecycle, Pack, column, days, index, metadata
from chainstrata.packs.strata import pack as strata
from chainstrata.retention import Retention

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 7
NOW = START + timedelta(days=8, hours=1)
VALIDATORS, QUICK_VALIDATORS = 1000, 50
STEPS = 720
REPORT = "BEGIN; SELECT count(*) FROM {schema}.snapshot WHERE ts >= '{newest}'; SELECT pg_sleep(0.5); COMMIT"
READ = "SELECT sum(balance) FROM {schema}.snapshot WHERE validator_index = 7 AND ts >= '{newest}'"
WRITE = "INSERT INTO {schema}.snapshot SELECT 7, '{newest}'::timestamptz + random() * interval '1 day', 0, 0, 0, 1, 0, true ON CONFLICT DO NOTHING"


def snapshot_pack(name: str, lifecycle: Lifecycle) -> Pack:
    """Return a pack with one table of snapshots."""
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
        postgresql_partition_by="RANGE (ts)" if lifecycle.partition else None,
    )
    dataset = Dataset(table, "snapshots", time="ts", entity=["validator_index"], lifecycle=lifecycle)
    return Pack(name, "bench", "Snapshots.", meta, [dataset], requires=("strata",))


KEPT = Lifecycle(partition=days(1), keep=days(7), archive=False)
PACKS = [snapshot_pack("parts", KEPT), snapshot_pack("archived", replace(KEPT, archive=True)), snapshot_pack("plain", Lifecycle())]
CATALOG = Catalog([strata, *PACKS])


class Week:
    """The tables of a week, and the ways to let its oldest day go."""

    def __init__(self, database: Database, conninfo: str, directory: Path, validators: int) -> None:
        self._database = database
        self._retention = Retention(database, CATALOG, LocalStorage(directory))
        self._validators = validators
        newest = (START + timedelta(days=DAYS)).isoformat()
        self._watchers = {
            (schema, beside): Watchers(
                conninfo,
                {
                    what: text.format(schema=schema, newest=newest)
                    for what, text in {"reader": READ, "writer": WRITE, **({"report": REPORT} if beside else {})}.items()
                },
            )
            for schema, beside in [("parts", False), ("parts", True), ("archived", False), ("plain", False)]
        }

    def close(self) -> None:
        for watchers in self._watchers.values():
            watchers.close()

    async def fill(self) -> None:
        """Fill the first table, and the others from it."""
        for schema in ("parts", "archived"):
            for day in range(DAYS + 1):
                await self._database.execute(_partition(schema, day))
        for day in range(DAYS):
            await self._database.execute(
                sql.SQL(
                    "INSERT INTO parts.snapshot SELECT v, {day}::timestamptz + s * interval '120 s', 10 * s,"
                    " 32000000000 + (random() * 1e6)::bigint, 32000000000, round(random()::numeric, 3), (random() < 0.01)::int, true"
                    " FROM generate_series(0, {steps}) AS s, generate_series(1, {validators}) AS v"
                ).format(
                    day=sql.Literal((START + timedelta(days=day)).isoformat()),
                    steps=sql.Literal(STEPS - 1),
                    validators=sql.Literal(self._validators),
                )
            )
        # Only the plain table has to be large for its DELETE to be what it is; of the other, days are dropped whole.
        await self._database.execute("INSERT INTO plain.snapshot SELECT * FROM parts.snapshot")
        await self._database.execute("CREATE TABLE public.oldest AS SELECT * FROM parts.snapshot_0")
        await self._database.execute("INSERT INTO archived.snapshot SELECT * FROM public.oldest")
        await self._database.execute("VACUUM (ANALYZE)")

    async def put_back(self, schema: str) -> None:
        """Put the oldest day back, for the next round."""
        if schema != "plain":
            await self._database.execute(_partition(schema, 0))
        await self._database.execute(sql.SQL("INSERT INTO {} SELECT * FROM public.oldest").format(sql.Identifier(schema, "snapshot")))
        await self._database.execute("VACUUM (ANALYZE) plain.snapshot" if schema == "plain" else "CHECKPOINT")

    def case(
        self, schema: str, work: Callable[[], Awaitable[object]], *, beside: bool = False
    ) -> Callable[[], Awaitable[Mapping[str, float]]]:
        watchers = self._watchers[schema, beside]

        async def run() -> Mapping[str, float]:
            await asyncio.to_thread(watchers.start)
            began = time.perf_counter()
            await work()
            taken = time.perf_counter() - began
            stalls = await asyncio.to_thread(watchers.stop)
            await self.put_back(schema)
            return {"": 1000 * taken, "longest read": 1000 * stalls["reader"], "longest write": 1000 * stalls["writer"]}

        return run

    # The ways -----------------------------------------------------------------------------------------------------
    async def delete(self) -> None:
        limit = (START + timedelta(days=1)).isoformat()
        await self._database.execute(sql.SQL("DELETE FROM plain.snapshot WHERE ts < {}").format(sql.Literal(limit)))
        await self._database.execute("VACUUM plain.snapshot")

    async def drop(self) -> None:
        await self._database.execute("DROP TABLE parts.snapshot_0")

    async def by_hand(self) -> None:
        await self._database.execute("ALTER TABLE parts.snapshot DETACH PARTITION parts.snapshot_0 CONCURRENTLY")
        await self._database.execute("DROP TABLE parts.snapshot_0")

    async def ours(self) -> None:
        await self._retain("parts")

    async def ours_archived(self) -> None:
        await self._retain("archived")

    async def _retain(self, schema: str) -> None:
        outcome = await self._retention.run([f"{schema}.snapshots"], now=NOW)
        if len(outcome.departed) != 1 or outcome.blocked:
            raise AssertionError(outcome)


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
    """Fill a week, partitioned and plain."""
    with tempfile.TemporaryDirectory(prefix="chainstrata-bench-") as directory:
        async with fresh_server() as (server, config), Database(server.conninfo, config) as database:
            async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as connection:
                for pack in CATALOG.packs:
                    await create_pack(connection, pack)
            week = Week(database, server.conninfo, Path(directory, "archive"), QUICK_VALIDATORS if quick else VALIDATORS)
            try:
                await week.fill()
                cases = {
                    "delete_vacuum": week.case("plain", week.delete),
                    "drop": week.case("parts", week.drop),
                    "by_hand": week.case("parts", week.by_hand),
                    "ours": week.case("parts", week.ours),
                    "ours_archived": week.case("archived", week.ours_archived),
                    "drop_beside_report": week.case("parts", week.drop, beside=True),
                    "ours_beside_report": week.case("parts", week.ours, beside=True),
                }
                skipped = {"drop_chunks": "TimescaleDB is not installed here"}
                yield Prepared(cases, skipped, describe_server(database))
            finally:
                week.close()


BENCHMARK = Benchmark(
    doc="A day of seven of five million rows leaves its table: how long that takes, and the longest a reader and a writer wait meanwhile.",
    unit="ms",
    better="lower",
    reference="delete_vacuum",
    prepare=prepare,
    rounds=5,
    quick_rounds=1,
)
