"""Whatever is done to the rows, in whatever order, every bucket is what the rows give.

A state machine writes, corrects, deletes, truncates, ages, archives, puts back, sends rows too late, interrupts and
refreshes; a plain-Python oracle keeps every row that was ever counted.
"""

import asyncio
import random
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from psycopg import sql

from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.engines.postgres.errors import CheckViolation, PostgresError
from chainstrata.engines.postgres.maintenance import maintenance
from chainstrata.engines.postgres.partitioning import Partition, Span, describe, list_partitions
from chainstrata.engines.storage import LocalStorage
from chainstrata.ingest import Ingest
from chainstrata.model import hours, tables_of
from chainstrata.node.retention import RollupNeeds
from chainstrata.partitions import Action, Step
from chainstrata.partitions import Options as PartitionOptions
from chainstrata.partitions.runner import carry_out
from chainstrata.retention import Options, Outcome, Retention
from chainstrata.retention.archives import Archives
from chainstrata.rollups import Rollups
from tests.fixtures.prices import (
    PART,
    PARTS,
    START,
    Oracle,
    Row,
    create_partitions,
    create_prices,
    expected_buckets,
    found_bucket,
    price_catalog,
)
from tests.fixtures.timescale import TIMESCALE

T = TypeVar("T")
STEPS_IN_A_RUN = 50

COINS = st.sampled_from(["ada", "btc", "eth"])
PARTS_OF_A_SECOND = 10**6
OFFSETS = st.integers(0, PARTS * 6 * 3600 - 1)
# Before and after all buckets there are.
FIRST = START - timedelta(days=40)
LAST = PART.shift(START, PARTS + 200)
PRICES = st.decimals("0.01", "20", places=2)
VOLUMES = st.none() | st.decimals("0", "9", places=1)
KEEP = hours(6)
CATALOG = price_catalog(keep=KEEP)
DATASET = CATALOG.dataset("demo.price")
LEVELS = [rollup.name for rollup in DATASET.rollups]
KEYED_LEVELS = [rollup.name for rollup in DATASET.rollups if rollup.by]


class World:
    """The database the machine works on, and the loop it is reached through."""

    def __init__(self, runner: asyncio.Runner, conninfo: str, *, timescale: bool) -> None:
        self.runner = runner
        self.timescale = timescale
        self.conninfo = conninfo
        self.database = Database(conninfo, options=PoolOptions(min_size=1, max_size=6))
        self.rollups = Rollups(self.database, CATALOG)
        self.ingest = Ingest(self.database, CATALOG, self.rollups)
        self.archive = Path(tempfile.mkdtemp(prefix="chainstrata-test-"))
        storage = LocalStorage(self.archive)
        self.archives = Archives(self.database, CATALOG, storage)
        needs = [RollupNeeds(self.rollups)]
        self.retention = Retention(self.database, CATALOG, storage, dependants=needs, options=Options(release_wait=5))

    async def retain(self, until: datetime) -> Outcome:
        """Let everything before an instant go, as the platform does it."""
        await self.rollups.refresh()
        return await self.retention.run(["demo.price"], now=KEEP.shift(until))

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)


WORLD: list[World] = []


class RollupMachine(RuleBasedStateMachine):
    """One run of random steps."""

    @initialize()
    def start(self) -> None:
        self.world = WORLD[0]
        self.oracle = Oracle()
        self.gone = START
        self.hours_gone = START
        self.archived: dict[datetime, list[Row]] = {}
        self.restored: set[datetime] = set()
        self.unique = 0
        self.world.do(self._empty())

    async def _empty(self) -> None:
        tables = [table.fullname for pack in CATALOG.packs for table in pack.metadata.tables.values()]
        async with await psycopg.AsyncConnection.connect(self.world.conninfo, autocommit=True) as connection:
            parts = await connection.execute(
                "SELECT c.relname FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE i.inhparent = 'demo.price'::regclass"
            )
            for row in await parts.fetchall():
                await connection.execute(sql.SQL("DROP TABLE demo.{}").format(sql.Identifier(row[0])))
            await connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(sql.Identifier(*name.split(".")) for name in tables)))
            await create_partitions(connection, timescale=self.world.timescale)
            await connection.execute("DELETE FROM demo.price__dirty")

    def _row(self, coin: str, offset: int, price: Decimal, volume: Decimal | None) -> Row:
        # No two rows of a coin share an instant, not even with one that left.
        self.unique += 1
        return Row(coin, START + timedelta(seconds=offset, microseconds=self.unique % PARTS_OF_A_SECOND), price, volume)

    # Writing ---------------------------------------------------------------------------------------------------------

    @rule(rows=st.lists(st.tuples(COINS, OFFSETS, PRICES, VOLUMES), min_size=1, max_size=20))
    def insert(self, rows: list[tuple[str, int, Decimal, Decimal | None]]) -> None:
        made = [row for row in (self._row(*one) for one in rows) if row.ts >= self.gone]
        self.world.do(self._insert(made))
        self.oracle.present |= {(row.coin_id, row.ts): row for row in made}

    async def _insert(self, rows: list[Row]) -> None:
        if rows:
            await self.world.database.execute_many(
                "INSERT INTO demo.price VALUES (%s, %s, %s, %s)", [(row.coin_id, row.ts, row.price, row.volume) for row in rows]
            )

    @rule(seed=st.integers(0, 2**32), coin=COINS)
    def insert_many_in_one_statement(self, seed: int, coin: str) -> None:
        """Enough to be marked by whole buckets."""
        dice = random.Random(seed)
        end = PARTS * 6 * 3600
        rows = [self._row(coin, dice.randrange(end), Decimal(dice.randrange(1, 2000)) / 100, Decimal(dice.randrange(9))) for _ in range(30)]
        made = [row for row in rows if row.ts >= self.gone]
        self.world.do(self._insert_at_once(made))
        self.oracle.present |= {(row.coin_id, row.ts): row for row in made}

    async def _insert_at_once(self, rows: list[Row]) -> None:
        columns = [list(column) for column in zip(*((r.coin_id, r.ts, r.price, r.volume) for r in rows), strict=True)]
        if columns:
            await self.world.database.execute(
                "INSERT INTO demo.price SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::numeric[], %s::numeric[])", columns
            )

    @precondition(lambda self: self.oracle.present)
    @rule(data=st.data(), price=PRICES, volume=VOLUMES)
    def correct(self, data: st.DataObject, price: Decimal, volume: Decimal | None) -> None:
        key = data.draw(st.sampled_from(sorted(self.oracle.present)))
        text = "UPDATE demo.price SET price = %s, volume = %s WHERE coin_id = %s AND ts = %s"
        self.world.do(self.world.database.execute(text, (price, volume, *key)))
        self.oracle.present[key] = Row(*key, price, volume)

    @precondition(lambda self: self.oracle.present)
    @rule(data=st.data(), offset=OFFSETS, coin=COINS)
    def move(self, data: st.DataObject, offset: int, coin: str) -> None:
        """A correction of the key itself: the row leaves one bucket for another, perhaps of another partition."""
        key = data.draw(st.sampled_from(sorted(self.oracle.present)))
        old = self.oracle.present[key]
        new = self._row(coin, offset, old.price, old.volume)
        # TimescaleDB moves no row from one chunk to another by UPDATE; it refuses.
        if new.ts < self.gone or (self.world.timescale and PART.floor(new.ts) != PART.floor(old.ts)):
            return
        text = "UPDATE demo.price SET coin_id = %s, ts = %s WHERE coin_id = %s AND ts = %s"
        self.world.do(self.world.database.execute(text, (new.coin_id, new.ts, *key)))
        del self.oracle.present[key]
        self.oracle.present[new.coin_id, new.ts] = new

    @rule(coin=COINS, offset=OFFSETS, width=st.integers(1, 6 * 3600))
    def delete(self, coin: str, offset: int, width: int) -> None:
        lo = max(START + timedelta(seconds=offset), self.gone)
        hi = lo + timedelta(seconds=width)
        text = "DELETE FROM demo.price WHERE coin_id = %s AND ts >= %s AND ts < %s"
        self.world.do(self.world.database.execute(text, (coin, lo, hi)))
        self.oracle.present = {k: r for k, r in self.oracle.present.items() if not (r.coin_id == coin and lo <= r.ts < hi)}

    @precondition(lambda self: not self.restored)
    @rule()
    def truncate(self) -> None:
        self.world.do(self._truncate())
        self.oracle.present = {}

    async def _truncate(self) -> None:
        await self.world.database.execute("TRUNCATE demo.price")
        if self.world.timescale:
            # There the chunks go along.
            async with await psycopg.AsyncConnection.connect(self.world.conninfo, autocommit=True) as connection:
                await create_partitions(connection, timescale=True, since=self.gone)

    @rule(rows=st.lists(st.tuples(COINS, OFFSETS, PRICES, VOLUMES), min_size=2, max_size=6), first_commits_first=st.booleans())
    def write_from_two_sides(self, rows: list[tuple[str, int, Decimal, Decimal | None]], first_commits_first: bool) -> None:
        """Two transactions overlap; a refresh runs while one has committed and the other has not."""
        made = [row for row in (self._row(*one) for one in rows) if row.ts >= self.gone]
        self.world.do(self._write_from_two_sides(made[::2], made[1::2], first_commits_first))
        self.oracle.present |= {(row.coin_id, row.ts): row for row in made}

    async def _write_from_two_sides(self, left: list[Row], right: list[Row], first_commits_first: bool) -> None:
        connect = psycopg.AsyncConnection.connect
        async with await connect(self.world.conninfo) as one, await connect(self.world.conninfo) as two:
            for connection, rows in ((one, left), (two, right)):
                for row in rows:
                    await connection.execute("INSERT INTO demo.price VALUES (%s, %s, %s, %s)", (row.coin_id, row.ts, row.price, row.volume))
            earlier, later = (one, two) if first_commits_first else (two, one)
            await earlier.commit()
            await self.world.rollups.refresh()
            await later.commit()

    @rule(row=st.tuples(COINS, OFFSETS, PRICES, VOLUMES))
    def write_and_roll_back(self, row: tuple[str, int, Decimal, Decimal | None]) -> None:
        made = self._row(*row)
        if made.ts >= self.gone:
            self.world.do(self._write_and_roll_back(made))

    async def _write_and_roll_back(self, row: Row) -> None:
        async with await psycopg.AsyncConnection.connect(self.world.conninfo) as connection:
            await connection.execute("INSERT INTO demo.price VALUES (%s, %s, %s, %s)", (row.coin_id, row.ts, row.price, row.volume))
            await connection.rollback()

    @precondition(lambda self: self.world.timescale)
    @rule(part=st.integers(0, PARTS - 1))
    def compress(self, part: int) -> None:
        """A chunk is stored by columns, or again because something came later. No row changes."""
        self.world.do(self._compress(Partition("demo", f"price_{part}", Span(PART.shift(START, part), PART.shift(START, part + 1)))))

    async def _compress(self, chunk: Partition) -> None:
        table = next(tables_of(DATASET))
        async with self.world.database.connection() as connection:
            facts = await describe(connection, "demo", "price")
            there = {one.name: one for one in await list_partitions(connection, "demo", "price")}
        steps = [] if facts is None or facts.compressible else [Step(Action.PREPARE, table, chunk)]
        if chunk.name in there and not there[chunk.name].compressed:
            steps.append(Step(Action.COMPRESS, table, there[chunk.name]))
        async with maintenance(self.world.database) as connection:
            await carry_out(connection, steps, PartitionOptions())

    # Ageing ----------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.gone < PART.shift(START, PARTS))
    @rule()
    def age(self) -> None:
        """The oldest partition leaves with its rows, what they gave stays."""
        until = PART.shift(self.gone)
        self.world.do(self._age(until))
        self._note_departure(until)

    async def _age(self, until: datetime) -> None:
        await self.world.rollups.refresh()
        assert await self.world.rollups.blocks("demo.price", until) is None
        async with self.world.database.transaction() as connection:
            await self.world.rollups.let_go(connection, "demo.price", until)
            # The partition itself, so that nothing is marked.
            part = (until - START) // timedelta(hours=6) - 1
            await connection.execute(sql.SQL("DROP TABLE demo.{}").format(sql.Identifier(f"price_{part}")))

    def _note_departure(self, until: datetime) -> list[Row]:
        leaving = [row for row in self.oracle.present.values() if row.ts < until]
        self.oracle.departed += leaving
        self.oracle.present = {key: row for key, row in self.oracle.present.items() if row.ts >= until}
        self.gone = until
        return leaving

    @precondition(lambda self: self.gone < PART.shift(START, PARTS))
    @rule(delay=st.none() | st.integers(0, 200))
    def archive(self, delay: int | None) -> None:
        """The oldest partition leaves for the archive. Perhaps killed on the way and begun again."""
        until = PART.shift(self.gone)
        if delay is not None:
            self.world.do(self._be_killed(self.world.retain(until), delay))
        outcome = self.world.do(self.world.retain(until))
        assert [str(one) for one in outcome.blocked if "put back" not in str(one)] == []
        there = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'demo.price'::regclass"
        parts = PARTS - (until - START) // timedelta(hours=6) + len(self.restored)
        assert self.world.do(self.world.database.fetch_value(there)) == parts
        start = self.gone
        if leaving := self._note_departure(until):
            self.archived[start] = leaving

    @precondition(lambda self: set(self.archived) - self.restored)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        """An archived period comes back as a partition, row for row. Buckets had its rows in all along."""
        start = data.draw(st.sampled_from(sorted(set(self.archived) - self.restored)))
        span = Span(start, PART.shift(start))
        [_] = self.world.do(self.world.archives.restore("demo.price", span)).values()
        self.restored.add(start)
        found = self.world.do(
            self.world.database.fetch_all(
                "SELECT * FROM demo.price WHERE ts >= %(start)s AND ts < %(end)s ORDER BY coin_id, ts",
                {"start": span.start, "end": span.end},
            )
        )
        assert [Row(*row) for row in found] == sorted(self.archived[start], key=lambda row: (row.coin_id, row.ts))

    @precondition(lambda self: self.restored)
    @rule()
    def let_what_was_put_back_leave_again(self) -> None:
        self.world.do(self._lift_holds())
        outcome = self.world.do(self.world.retain(self.gone))
        assert [departed.rows for departed in outcome.departed] == [len(self.archived[start]) for start in sorted(self.restored)]
        self.restored.clear()

    async def _lift_holds(self) -> None:
        for hold in await self.world.archives.holds():
            await self.world.archives.lift(hold.id)

    @precondition(lambda self: self.restored)
    @rule(data=st.data())
    def change_what_was_put_back(self, data: st.DataObject) -> None:
        """Refused: roll-ups have those rows in for good."""
        row = data.draw(st.sampled_from([row for start in sorted(self.restored) for row in self.archived[start]]))
        with pytest.raises(CheckViolation, match="sealed"):
            self.world.do(self.world.database.execute("DELETE FROM demo.price WHERE coin_id = %s AND ts = %s", (row.coin_id, row.ts)))

    @precondition(lambda self: self.hours_gone < self.gone)
    @rule()
    def age_hours(self) -> None:
        """The hours themselves leave, some days before their week or month is over."""
        until = PART.shift(self.hours_gone)
        self.world.do(self._age_hours(until))
        self.hours_gone = until

    async def _age_hours(self, until: datetime) -> None:
        await self.world.rollups.refresh()
        async with self.world.database.transaction() as connection:
            await self.world.rollups.let_go(connection, "demo.price.hourly", until)
            await connection.execute("DELETE FROM demo.hours WHERE hour_ts < %s", (until,))

    @precondition(lambda self: self.gone > START)
    @rule(rows=st.lists(st.tuples(COINS, OFFSETS, PRICES, VOLUMES), min_size=1, max_size=5))
    def come_too_late(self, rows: list[tuple[str, int, Decimal, Decimal | None]]) -> None:
        made = [row for row in (self._row(*one) for one in rows) if row.ts < self.gone]
        if made:
            self.world.do(self._come_too_late(made))
            self.oracle.departed += made

    async def _come_too_late(self, rows: list[Row]) -> None:
        answer = await self.world.ingest.ingest("demo.price", rows)
        assert answer.merged == len(rows)

    # Refreshing and reading ------------------------------------------------------------------------------------------

    @rule()
    def refresh(self) -> None:
        self.world.do(self.world.rollups.refresh())
        for name in LEVELS:
            self._compare(name, live=False)

    @rule(delay=st.integers(0, 20))
    def refresh_and_be_killed(self, delay: int) -> None:
        self.world.do(self._be_killed(self.world.rollups.refresh(), delay))

    async def _be_killed(self, work: Coroutine[Any, Any, object], delay: int) -> None:
        """End the backends that write after some statements of another one."""
        async with await psycopg.AsyncConnection.connect(self.world.conninfo, autocommit=True) as killer:
            task = asyncio.ensure_future(work)
            for _ in range(delay):
                await killer.execute("SELECT 1")
            await killer.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL"
            )
            try:
                await task
            except PostgresError as error:
                assert error.code in {"connection_lost", "postgres_shutdown"}, (error.code, error)  # noqa: PT017
        # The kill may have come after the last statement: no later step is to meet the connection that died of it.
        await self.world.database.refresh()

    @rule()
    def refresh_by_two(self) -> None:
        async def both() -> None:
            await asyncio.gather(self.world.rollups.refresh(), self.world.rollups.refresh(wait=False))

        self.world.do(both())

    @rule(name=st.sampled_from(LEVELS))
    def read(self, name: str) -> None:
        self._compare(name, live=True)

    @rule(
        name=st.sampled_from(KEYED_LEVELS), coins=st.sets(COINS, min_size=1), first=st.integers(-3, PARTS + 3), parts=st.integers(1, PARTS)
    )
    def read_some(self, name: str, coins: set[str], first: int, parts: int) -> None:
        lo = PART.shift(START, first)
        self._compare(name, live=True, coins=coins, lo=lo, hi=PART.shift(lo, parts))

    @rule(name=st.sampled_from(KEYED_LEVELS), coin=COINS, limit=st.integers(1, 3))
    def read_a_page(self, name: str, coin: str, limit: int) -> None:
        """What follows the first bucket of a coin is the rest of all buckets."""
        level = f"demo.price.{name}"
        everything = [row._asdict() for row in self.world.do(self.world.rollups.read(level, FIRST, LAST))]
        place = next((place for place, row in enumerate(everything) if row["coin_id"] == coin), None)
        if place is not None:
            after = (coin, everything[place][DATASET.rollup(name).bucket])
            read = self.world.rollups.read(level, FIRST, LAST, after=after, limit=limit)
            assert [row._asdict() for row in self.world.do(read)] == everything[place + 1 : place + 1 + limit]

    @rule(name=st.sampled_from(LEVELS))
    def verify(self, name: str) -> None:
        assert self.world.do(self.world.rollups.verify([f"demo.price.{name}"])) == []

    def _compare(
        self,
        name: str,
        *,
        live: bool,
        coins: set[str] | None = None,
        lo: datetime = FIRST,
        hi: datetime = LAST,
    ) -> None:
        rollup = DATASET.rollup(name)
        keys = {"coin_id": sorted(coins)} if coins else None
        rows = self.world.do(self.world.rollups.read(f"demo.price.{name}", lo, hi, live=live, keys=keys))
        found = [found_bucket(rollup, row._asdict()) for row in rows]
        since = self.hours_gone if name == "hourly" else None
        expected = [
            one
            for one in expected_buckets(self.oracle, rollup, since=since)
            if (coins is None or one["coin_id"] in coins) and rollup.every.floor(lo) <= one[rollup.bucket] < hi
        ]
        _blur(found, expected)
        assert found == expected


def _blur(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """A distinct count is an estimate, here five times as far off as usual at most. `verify` compares its sketch exactly."""
    for mine, oracle in zip(found, expected, strict=False):
        if "distinct" in mine and "distinct" in oracle and abs(mine["distinct"] - oracle["distinct"]) <= 3 + 0.1 * oracle["distinct"]:
            mine["distinct"] = oracle["distinct"]


@pytest.fixture
def world(new_database: Callable[..., Awaitable[str]], backend: str) -> Iterator[World]:
    timescale = backend == TIMESCALE
    with asyncio.Runner() as runner:
        conninfo = runner.run(new_database())  # type: ignore[arg-type]
        runner.run(create_prices(conninfo, CATALOG, timescale=timescale))
        made = World(runner, conninfo, timescale=timescale)
        runner.run(made.database.open())
        WORLD.append(made)
        yield made
        WORLD.clear()
        shutil.rmtree(made.archive)
        runner.run(made.database.close())


def take_steps(steps: int) -> None:
    run_state_machine_as_test(
        RollupMachine,
        settings=settings(
            max_examples=max(1, steps // STEPS_IN_A_RUN),
            stateful_step_count=STEPS_IN_A_RUN,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )


@pytest.mark.conforms("S0-55", "S3-55", "S3-56", "S3-57")
@pytest.mark.timeout(900)
def test_every_bucket_is_what_its_rows_give(world: World) -> None:
    take_steps(2_000)


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
def test_every_bucket_is_what_its_rows_give_over_a_hundred_thousand_steps(world: World) -> None:
    take_steps(100_000)
