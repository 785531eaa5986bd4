"""Late rows: how long the roll-up of a week takes to be right again after rows arrive for hours long past.

Five million rows of a hundred entities over seven days are rolled up by the hour. Then rows arrive that are spread over all
buckets, few or many, and the roll-up is refreshed: as ours decides, always by whole hours, always key by key. The seconds
are those of the refresh; the rows were written before. `full` folds everything again and is the reference. Where the server has
TimescaleDB, `timescale` is a continuous aggregate of the same rows in a hypertable.
"""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Literal

import psycopg
import sqlalchemy as sa
from psycopg import sql

from bench.declared import create_pack
from bench.harness import Benchmark, Prepared
from bench.postgres import describe_server, fresh_server
from bench.timescale import ABSENT, SCHEMA, Hours, has_timescale
from chainstrata.engines.postgres import Database
from chainstrata.model import (
    INSTANT,
    Catalog,
    Dataset,
    Lifecycle,
    Pack,
    Rollup,
    column,
    days,
    highest,
    hours,
    index,
    last,
    lowest,
    mean,
    metadata,
    total,
)
from chainstrata.packs.strata import pack as strata
from chainstrata.rollups import Rollups
from chainstrata.rollups.model import Pairs, Range
from chainstrata.rollups.statements import refresh_pairs, refresh_range

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 7
ENTITIES = 100
STEP, QUICK_STEP = timedelta(seconds=12), timedelta(seconds=120)
DENSITIES = (2, 504, 5_040, 50_400)
QUICK_DAYS = 1
Way = Literal["ours", "hours", "keys"]
CONTINUOUS = """
SELECT entity, time_bucket('1 hour', ts) AS bucket, count(*) AS samples, min(ts) AS first_at, max(ts) AS last_at,
       last(balance, ts) AS balance_last, min(balance) AS balance_lowest, max(balance) AS balance_highest,
       sum(effectiveness) AS effectiveness_sum, count(effectiveness) AS effectiveness_count, sum(missed) AS missed_total
"""


def snapshot_pack() -> Pack:
    """Return a pack with one table of snapshots and its hours."""
    meta = metadata("late")
    table = sa.Table(
        "snapshot",
        meta,
        column("entity", sa.BigInteger, doc="Entity."),
        column("ts", INSTANT, doc="When."),
        column("balance", sa.BigInteger, doc="Balance."),
        column("effectiveness", sa.Double, doc="Effectiveness."),
        column("missed", sa.Integer, doc="Missed duties."),
        sa.PrimaryKeyConstraint("entity", "ts", name="snapshot_pkey"),
        index("idx_snapshot_time", "ts", postgresql_using="brin", postgresql_with={"pages_per_range": 16}, why="All entities of an hour."),
        comment="One entity at one instant.",
        postgresql_partition_by="RANGE (ts)",
    )
    measures = [last("balance"), lowest("balance"), highest("balance"), mean("effectiveness"), total("missed")]
    rollup = Rollup("hourly", hours(1), ["entity"], measures)
    dataset = Dataset(table, name="snapshot", time="ts", entity=["entity"], lifecycle=Lifecycle(partition=days(1)), rollups=[rollup])
    return Pack("late", "bench", "Snapshots.", meta, [dataset], requires=("strata",))


class Week:
    """The table of a week, and the ways to refresh it."""

    schema = "late"

    def __init__(self, database: Database, catalog: Catalog, length: int, step: timedelta) -> None:
        self._database = database
        self._table = sql.Identifier(self.schema, "snapshot")
        self._rollups = Rollups(database, catalog)
        self._source = self._rollups.sources["late.snapshot"]
        self._level = self._source.children[0]
        self._length = length
        self._step = step
        self._dice = random.Random(7)
        self._salt = 0

    async def fill(self) -> None:
        for day in range(self._length):
            lo = START + timedelta(days=day)
            span = (sql.Literal(lo.isoformat()), sql.Literal((lo + timedelta(days=1)).isoformat()))
            await self._database.execute(
                sql.SQL("CREATE TABLE late.{} PARTITION OF late.snapshot FOR VALUES FROM ({}) TO ({})").format(
                    sql.Identifier(f"snapshot_{day}"), *span
                )
            )
            await self._database.execute(
                sql.SQL(
                    "INSERT INTO late.snapshot SELECT e, ts, 32000000000 + (random() * 1e9)::bigint, random(), (random() * 2)::int"
                    " FROM generate_series({}::timestamptz, {}::timestamptz - interval '1 second', {}::interval) AS ts,"
                    " generate_series(1, {}) AS e"
                ).format(*span, sql.Literal(f"{self._step.seconds} seconds"), sql.Literal(ENTITIES))
            )
        await self._database.execute("VACUUM (ANALYZE) late.snapshot")
        await self._rollups.refresh()

    async def arrive(self, count: int) -> list[tuple[int, datetime]]:
        """Write late rows spread over all hours; two of them are the first and last hour of a day."""
        self._salt = self._salt % 11_999_999 + 1
        total_hours = self._length * 24
        chosen = [0, 23] if count == 2 else [place % total_hours for place in range(count)]
        # Off the grid of the rows that are there, and never the same instant twice.
        rows = [
            (
                self._dice.randrange(1, ENTITIES + 1),
                START + timedelta(hours=hour, seconds=12 * self._dice.randrange(300), microseconds=self._salt + i),
            )
            for i, hour in enumerate(chosen)
        ]
        self._salt += count
        await self._database.execute(
            sql.SQL("INSERT INTO {} SELECT e, ts, 31000000000, 0.5, 1 FROM unnest(%s::bigint[], %s::timestamptz[]) AS late (e, ts)").format(
                self._table
            ),
            ([entity for entity, _ in rows], [ts for _, ts in rows]),
        )
        return [(entity, ts.replace(minute=0, second=0, microsecond=0)) for entity, ts in rows]

    async def forget(self) -> None:
        """Take the late rows away again and fold everything as it was, so that every round finds the same table."""
        await self._database.execute(
            sql.SQL("DELETE FROM {} WHERE extract(microseconds FROM ts)::bigint % 1000000 <> 0").format(self._table)
        )
        await self.catch_up()
        await self._database.execute(sql.SQL("VACUUM {}").format(self._table))
        await self._database.execute("CHECKPOINT")

    async def catch_up(self) -> None:
        await self._rollups.refresh()

    async def refresh(self, way: Way, touched: Sequence[tuple[int, datetime]]) -> None:
        if way == "ours":
            await self._rollups.refresh()
            return
        await self._database.execute("TRUNCATE late.snapshot__dirty")
        if way == "hours":
            for item in _runs(sorted({start for _, start in touched})):
                await self._range(item)
            return
        pairs = sorted(set(touched))
        await self._pairs(Pairs([(entity,) for entity, _ in pairs], [start for _, start in pairs]))

    async def fold_all(self) -> None:
        await self._range(Range(START, START + timedelta(days=self._length)))

    async def _range(self, item: Range) -> None:
        statement = refresh_range(self._source, self._level, carried=False)
        await self._database.fetch_all(statement, {"lo": item.lo, "hi": item.hi, "gone_before": "-infinity"})

    async def _pairs(self, pairs: Pairs) -> None:
        statement = refresh_pairs(self._source, self._level, carried=False)
        ends = [start + timedelta(hours=1) for start in pairs.starts]
        params = {"key_0": [key[0] for key in pairs.keys], "lo": list(pairs.starts), "hi": ends, "gone_before": "-infinity"}
        await self._database.fetch_all(statement, {**params, "first_lo": min(pairs.starts), "last_hi": max(ends)})


class ChunkedWeek(Week):
    """The same in a hypertable, with a continuous aggregate."""

    schema = SCHEMA

    def __init__(self, database: Database, catalog: Catalog, length: int, step: timedelta) -> None:
        super().__init__(database, catalog, length, step)
        self._hours = Hours(database, sql.Identifier("late", "snapshot"), "snapshot", CONTINUOUS)

    async def fill(self) -> None:
        await self._hours.create()
        await self._database.execute(sql.SQL("INSERT INTO {} SELECT * FROM late.snapshot").format(self._table))
        await self._database.execute(sql.SQL("VACUUM (ANALYZE) {}").format(self._table))
        await self.catch_up()

    async def catch_up(self) -> None:
        await self._hours.refresh()

    async def refresh(self, way: Way, touched: Sequence[tuple[int, datetime]]) -> None:  # noqa: ARG002  # it knows one way, and what changed
        await self.catch_up()


def _runs(starts: Sequence[datetime]) -> list[Range]:
    """Join hours that follow one another."""
    runs: list[Range] = []
    for start in starts:
        if runs and runs[-1].hi == start:
            runs[-1] = Range(runs[-1].lo, start + timedelta(hours=1))
        else:
            runs.append(Range(start, start + timedelta(hours=1)))
    return runs


@asynccontextmanager
async def prepare(quick: bool) -> AsyncIterator[Prepared]:
    """Fill the table and fold it once."""
    length = QUICK_DAYS if quick else DAYS
    async with fresh_server() as (server, config), Database(server.conninfo, config) as database:
        catalog = Catalog([strata, snapshot_pack()])
        async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as connection:
            timescale = await has_timescale(connection)
            for pack in catalog.packs:
                await create_pack(connection, pack)
        week = Week(database, catalog, length, QUICK_STEP if quick else STEP)
        await week.fill()
        ways: tuple[Way, ...] = ("ours", "hours", "keys")
        cases = {f"{count}_{way}": _case(week, count, way) for count in DENSITIES for way in ways}
        cases["full"] = _full(week)
        skipped = {}
        if timescale:
            chunked = ChunkedWeek(database, catalog, length, QUICK_STEP if quick else STEP)
            await chunked.fill()
            cases |= {f"{count}_timescale": _case(chunked, count, "ours") for count in DENSITIES}
        else:
            skipped["timescale"] = ABSENT
        yield Prepared(cases, skipped, describe_server(database))


def _case(week: Week, count: int, way: Way) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        touched = await week.arrive(count)
        began = time.perf_counter()
        await week.refresh(way, touched)
        taken = time.perf_counter() - began
        await week.forget()
        return taken

    return run


def _full(week: Week) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        began = time.perf_counter()
        await week.fold_all()
        return time.perf_counter() - began

    return run


BENCHMARK = Benchmark(
    doc="A roll-up by hour of five million rows, brought up to date after late rows: as ours decides, by whole hours, key by key.",
    unit="s",
    better="lower",
    reference="full",
    prepare=prepare,
    rounds=3,
    quick_rounds=1,
)
