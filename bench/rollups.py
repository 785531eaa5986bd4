"""Roll-ups kept up while rows come in: minute prices of many coins, folded into hours.

Every case writes the same prepared blocks of binary COPY into a table with a primary key and a block range index on time,
partitioned by day, and is done when the hours are right. Ours marks and refreshes as the node does: the writer marks in its
transaction, the refresh runs beside it on a connection of its own. The triggers do their work in the writer's transaction;
the materialized view is refreshed once at the end, the cheapest it can be. Where the server has TimescaleDB, a continuous aggregate is
refreshed beside the writer each hour.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import sqlalchemy as sa
from psycopg import sql

from bench.declared import create_pack
from bench.harness import Benchmark, Prepared
from bench.postgres import describe_server, fresh_server
from bench.timescale import ABSENT, SCHEMA, Hours, has_timescale
from chainstrata.engines.postgres import Connection, Database
from chainstrata.model import (
    INSTANT,
    PRICE,
    Catalog,
    Dataset,
    Lifecycle,
    Pack,
    Rollup,
    column,
    days,
    hours,
    index,
    last,
    metadata,
    ohlc,
)
from chainstrata.packs.strata import pack as strata
from chainstrata.rollups import Rollups

COINS = 1000
BATCH = 10_000
MINUTES, QUICK_MINUTES = 1000, 20
START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTES_IN_A_BATCH = BATCH // COINS
BATCHES_IN_AN_HOUR = 60 // MINUTES_IN_A_BATCH

GENERATE = """
COPY (
    SELECT 'coin-' || lpad(c::text, 4, '0'), ts, round((100 + 50 * sin(c + extract(epoch FROM ts) / 5000))::numeric, 8),
           round((1e9 + c * 1e6 + extract(minute FROM ts) * 1e4)::numeric, 2), round((1e7 + c * 1e3)::numeric, 2), c
    FROM generate_series({}::timestamptz, {}::timestamptz, interval '1 minute') AS ts, generate_series(1, {}) AS c
) TO STDOUT (FORMAT binary)
"""


def price_pack(name: str) -> Pack:
    """Return a pack with one table of minute prices and its hours."""
    meta = metadata(name)
    table = sa.Table(
        "price",
        meta,
        column("coin_id", sa.Text, doc="Coin."),
        column("ts", INSTANT, doc="Minute."),
        column("price", PRICE, doc="Price."),
        column("market_cap", PRICE, doc="Market capitalisation."),
        column("volume_24h", PRICE, rolling=hours(24), doc="Volume of 24 hours."),
        column("coin_rank", sa.Integer, doc="Rank."),
        sa.PrimaryKeyConstraint("coin_id", "ts", name="price_pkey"),
        index("idx_price_time", "ts", postgresql_using="brin", postgresql_with={"pages_per_range": 16}, why="All coins of an hour."),
        comment="One price of one coin in one minute.",
        postgresql_partition_by="RANGE (ts)",
    )
    measures = [ohlc("price"), last("market_cap"), last("volume_24h"), last("coin_rank")]
    dataset = Dataset(
        table,
        name="price",
        time="ts",
        entity=["coin_id"],
        lifecycle=Lifecycle(partition=days(1)),
        rollups=[Rollup("hourly", hours(1), ["coin_id"], measures)],
    )
    return Pack(name, "bench", "Prices.", meta, [dataset], requires=("strata",))


FOLD = """
SELECT coin_id, date_trunc('hour', ts) AS bucket, count(*) AS samples, min(ts) AS first_at, max(ts) AS last_at,
       (array_agg(price ORDER BY ts))[1] AS price_open, max(price) AS price_high, min(price) AS price_low,
       (array_agg(price ORDER BY ts DESC))[1] AS price_close, (array_agg(market_cap ORDER BY ts DESC))[1] AS market_cap_last,
       (array_agg(volume_24h ORDER BY ts DESC))[1] AS volume_24h_last, (array_agg(coin_rank ORDER BY ts DESC))[1] AS coin_rank_last
"""
KEEP = """
ON CONFLICT (coin_id, bucket) DO UPDATE SET samples = excluded.samples, first_at = excluded.first_at, last_at = excluded.last_at,
    price_open = excluded.price_open, price_high = excluded.price_high, price_low = excluded.price_low,
    price_close = excluded.price_close, market_cap_last = excluded.market_cap_last, volume_24h_last = excluded.volume_24h_last,
    coin_rank_last = excluded.coin_rank_last
"""
COLUMNS = (
    "coin_id, bucket, samples, first_at, last_at, price_open, price_high, price_low, price_close, market_cap_last,"
    " volume_24h_last, coin_rank_last"
)
ROW_TRIGGER = f"""
CREATE FUNCTION row_trigger.aggregate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO row_trigger.price_hourly ({COLUMNS})
    {FOLD} FROM row_trigger.price
    WHERE coin_id = NEW.coin_id AND ts >= date_trunc('hour', NEW.ts) AND ts < date_trunc('hour', NEW.ts) + interval '1 hour'
    GROUP BY 1, 2 {KEEP};
    RETURN NULL;
END $$;
CREATE TRIGGER aggregate AFTER INSERT ON row_trigger.price FOR EACH ROW EXECUTE FUNCTION row_trigger.aggregate();
"""
STATEMENT_TRIGGER = f"""
CREATE FUNCTION statement_trigger.aggregate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO statement_trigger.price_hourly ({COLUMNS})
    {FOLD} FROM statement_trigger.price AS p
    WHERE ts >= (SELECT date_trunc('hour', min(ts)) FROM new_rows) AND ts < (SELECT date_trunc('hour', max(ts)) + interval '1 hour' FROM new_rows)
      AND (coin_id, date_trunc('hour', ts)) IN (SELECT coin_id, date_trunc('hour', ts) FROM new_rows)
    GROUP BY 1, 2 ORDER BY 1, 2 {KEEP};
    RETURN NULL;
END $$;
CREATE TRIGGER aggregate AFTER INSERT ON statement_trigger.price REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION statement_trigger.aggregate();
"""
CONTINUOUS = """
SELECT coin_id, time_bucket('1 hour', ts) AS bucket, count(*) AS samples, min(ts) AS first_at, max(ts) AS last_at,
       first(price, ts) AS price_open, max(price) AS price_high, min(price) AS price_low, last(price, ts) AS price_close,
       last(market_cap, ts) AS market_cap_last, last(volume_24h, ts) AS volume_24h_last, last(coin_rank, ts) AS coin_rank_last
"""
FULL_REFRESH = f"CREATE MATERIALIZED VIEW full_refresh.hours AS {FOLD} FROM full_refresh.price GROUP BY 1, 2 WITH NO DATA"


class Writer:
    """Writes the blocks into one schema's table, batch by batch, each in a transaction of its own."""

    def __init__(self, database: Database, schema: str, blocks: list[bytes]) -> None:
        self._database = database
        self._schema = schema
        self.blocks = blocks
        self._table = sql.Identifier(schema, "price")
        self._dirty = sql.Identifier(schema, "price__dirty")

    async def empty(self) -> None:
        async with self._database.connection() as connection:
            await connection.execute(sql.SQL("TRUNCATE {}, {}").format(self._table, sql.Identifier(self._schema, "price_hourly")))
            await connection.execute(sql.SQL("TRUNCATE {}").format(self._dirty))
            await connection.execute("CHECKPOINT")

    async def write(self, *, mark: bool = False, after: Callable[[int], Awaitable[None]] | None = None) -> None:
        for number, block in enumerate(self.blocks):
            async with self._database.transaction() as connection:
                await self._copy(connection, number, block, mark=mark)
            if after:
                await after(number)

    async def _copy(self, connection: Connection, number: int, block: bytes, *, mark: bool) -> None:
        # Straight into the partition, as ingest does: what fires on the parent's statements is for others.
        at = START + timedelta(minutes=number * MINUTES_IN_A_BATCH)
        table = sql.Identifier(self._schema, f"price_{(at - START).days}") if mark else self._table
        async with connection.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(table)) as copy:
            await copy.write(block)
        if mark:
            hour = at.replace(minute=0)
            statement = sql.SQL("INSERT INTO {} (lo, hi) VALUES (%s, %s)").format(self._dirty)
            await connection.execute(statement, (hour, hour + timedelta(hours=1)))


class Chunks(Writer):
    """The same into a hypertable, whose hours TimescaleDB keeps."""

    def __init__(self, database: Database, blocks: list[bytes]) -> None:
        super().__init__(database, SCHEMA, blocks)
        self.hours = Hours(database, sql.Identifier("ingest_only", "price"), "price", CONTINUOUS)

    async def empty(self) -> None:
        await self.hours.empty()


class Beside:
    """Runs refreshes beside the writer: one at a time, asked for as often as one likes."""

    def __init__(self, refresh: Callable[[], Awaitable[object]]) -> None:
        self._refresh = refresh
        self._wanted = asyncio.Event()
        self._ended = False
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            ended = self._ended
            await self._refresh()
            if ended:
                return

    def ask(self) -> None:
        self._wanted.set()

    async def finish(self) -> None:
        self._ended = True
        self.ask()
        await self._task


@asynccontextmanager
async def prepare(quick: bool) -> AsyncIterator[Prepared]:
    """Make the blocks, and a schema for each case."""
    minutes = QUICK_MINUTES if quick else MINUTES
    async with fresh_server() as (server, config), Database(server.conninfo, config) as database:
        blocks = await _make_blocks(server.conninfo, minutes)
        names = ["ingest_only", "ours", "row_trigger", "statement_trigger", "full_refresh"]
        packs = [price_pack(name) for name in names]
        catalog = Catalog([strata, *packs])
        async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as connection:
            timescale = await has_timescale(connection)
            for pack in catalog.packs:
                await create_pack(connection, pack, marking=pack.name == "ours")
            for name in names:
                await _partition(connection, name)
            for text in (ROW_TRIGGER, STATEMENT_TRIGGER, FULL_REFRESH):
                await connection.execute(text.encode())
        writers = {name: Writer(database, name, blocks) for name in names}
        few = Writer(database, "row_trigger", blocks[: max(1, len(blocks) // 10)])
        rollups = Rollups(database, catalog)
        rows = minutes * COINS
        cases = {
            "ingest_only": _timed(writers["ingest_only"], rows, writers["ingest_only"].write),
            "ours_end": _beside(writers["ours"], rollups.refresh, rows, len(blocks), mark=True),
            "ours_hourly": _beside(writers["ours"], rollups.refresh, rows, BATCHES_IN_AN_HOUR, mark=True),
            "ours_batch": _beside(writers["ours"], rollups.refresh, rows, 1, mark=True),
            # So slow that a tenth of the rows has to do.
            "row_trigger": _timed(few, len(few.blocks) * BATCH, few.write),
            "statement_trigger": _timed(writers["statement_trigger"], rows, writers["statement_trigger"].write),
            "full_refresh": _full_refresh(database, writers["full_refresh"], rows),
        }
        skipped = {}
        if timescale:
            chunks = Chunks(database, blocks)
            await chunks.hours.create()
            cases["timescale_hourly"] = _beside(chunks, chunks.hours.refresh, rows, BATCHES_IN_AN_HOUR, mark=False)
        else:
            skipped["timescale_hourly"] = ABSENT
        yield Prepared(cases, skipped, describe_server(database))


async def _make_blocks(conninfo: str, minutes: int) -> list[bytes]:
    """Return the batches as binary COPY, in the order of time."""
    blocks = []
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        for first in range(0, minutes, MINUTES_IN_A_BATCH):
            lo = START + timedelta(minutes=first)
            span = (sql.Literal(lo.isoformat()), sql.Literal((lo + timedelta(minutes=MINUTES_IN_A_BATCH - 1)).isoformat()))
            async with connection.cursor().copy(sql.SQL(GENERATE).format(*span, sql.Literal(COINS))) as copy:
                blocks.append(b"".join([bytes(part) async for part in copy]))
    return blocks


async def _partition(connection: psycopg.AsyncConnection, schema: str) -> None:
    for day in range(2):
        lo = START + timedelta(days=day)
        await connection.execute(
            sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
                sql.Identifier(schema, f"price_{day}"),
                sql.Identifier(schema, "price"),
                sql.Literal(lo.isoformat()),
                sql.Literal((lo + timedelta(days=1)).isoformat()),
            )
        )


def _timed(writer: Writer, rows: int, work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        await writer.empty()
        began = time.perf_counter()
        await work()
        seconds = time.perf_counter() - began
        # Left there, a million new rows would be vacuumed while the next case runs.
        await writer.empty()
        return rows / seconds

    return run


def _beside(
    writer: Writer, refresh: Callable[[], Awaitable[object]], rows: int, every: int, *, mark: bool
) -> Callable[[], Awaitable[float]]:
    async def work() -> None:
        beside = Beside(refresh)

        async def after(number: int) -> None:
            if (number + 1) % every == 0:
                beside.ask()

        await writer.write(mark=mark, after=after)
        await beside.finish()

    return _timed(writer, rows, work)


def _full_refresh(database: Database, writer: Writer, rows: int) -> Callable[[], Awaitable[float]]:
    async def work() -> None:
        await writer.write()
        await database.execute("REFRESH MATERIALIZED VIEW full_refresh.hours")

    return _timed(writer, rows, work)


BENCHMARK = Benchmark(
    doc="Minute prices of 1,000 coins written in batches of 10,000, and their hours kept up: rows per second, both together.",
    unit="rows/s",
    better="higher",
    reference="ingest_only",
    prepare=prepare,
    rounds=5,
    quick_rounds=1,
)
