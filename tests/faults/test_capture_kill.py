"""The node, the columnar engine and PostgreSQL killed at random while everything happens to the sources: mirrors end up as they are."""

import asyncio
import os
import random
import signal
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest
from psycopg import conninfo as libpq

from chainstrata.cdc import Mirrors, State
from chainstrata.engines.clickhouse import Columnar, EmbeddedClickHouse, is_installed
from chainstrata.engines.postgres import Database, EmbeddedPostgres, PoolOptions
from chainstrata.engines.postgres.child import ServerState
from chainstrata.engines.postgres.partitioning.catalog import list_partitions
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError
from chainstrata.model.columnar import DELETED, VERSION, mirror_table
from tests.fixtures.capture_victim import OPTIONS, CaptureProcess
from tests.fixtures.mirrored import create_mirrored, mirrored_catalog
from tests.fixtures.postgres import URL, MakeConfig

pytestmark = pytest.mark.skipif(bool(URL), reason="a server was given: nothing embedded is killed")
LONG = "(SELECT string_agg(md5((n * {seed})::text), '') FROM generate_series(1, 150) n)"
DEATHS, WITHIN = 3, 62.0
"""An engine that dies more often than this in so many seconds is given up by those who watch it, and rightly so."""
INSERT = """
INSERT INTO demo.entry (account, id, units, price, booked_at, tags, detail, memo)
SELECT 'a', n, n, n / 8.0, '2026-03-01'::timestamptz + n * interval '1 s', ARRAY['x', n::text], jsonb_build_object('n', n),
    CASE WHEN n %% 5 = 0 THEN {long} ELSE 'memo ' || n END
FROM generate_series(%(first)s::int, %(last)s) AS n
"""


@dataclass
class Work:
    """What happens to the sources, by chance; the same for the same seed as far as its own choices go."""

    database: Database
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    last: int = 0
    columns: int = 0

    async def go_on(self, stop: asyncio.Event) -> None:
        everything: dict[Callable[[], Awaitable[None]], int] = {
            self.insert: 30,
            self.update: 20,
            self.move: 15,
            self.delete: 10,
            self.tick: 20,
            self.several: 10,
            self.large: 2,
            self.truncate: 1,
            self.drop_partition: 2,
            self.widen: 2,
        }
        # Each kind once, also in a short run, and then by chance.
        first = self.chance.sample(list(everything), len(everything))
        while not await happened(stop, 0.01):
            [what] = [first.pop()] if first else self.chance.choices(list(everything), list(everything.values()))
            try:
                await what()
                self.done[what.__name__] += 1
            except ChainStrataError as error:
                # What became of it nobody knows; the mirrors have to come to the same whatever it is.
                self.failed[f"{what.__name__}: {error.code}"] += 1

    async def insert(self) -> None:
        first, self.last = self.last + 1, self.last + self.chance.randint(1, 40)
        await self.database.execute("INSERT INTO demo.account VALUES ('a', 1) ON CONFLICT DO NOTHING")
        await self.database.execute(INSERT.format(long=LONG.format(seed=first)), {"first": first, "last": self.last})

    def _some(self) -> dict[str, int]:
        first = self.chance.randint(0, max(self.last, 1))
        return {"first": first, "last": first + self.chance.randint(0, 60)}

    async def update(self) -> None:
        await self.database.execute("UPDATE demo.entry SET units = units + 1 WHERE id BETWEEN %(first)s AND %(last)s", self._some())

    async def move(self) -> None:
        some = self._some()
        by = self.last + 1 - some["first"]
        self.last += 100
        await self.database.execute("UPDATE demo.entry SET id = id + %(by)s WHERE id BETWEEN %(first)s AND %(last)s", {**some, "by": by})

    async def delete(self) -> None:
        await self.database.execute("DELETE FROM demo.entry WHERE id BETWEEN %(first)s AND %(last)s", self._some())

    async def tick(self) -> None:
        async with self.database.transaction() as connection:
            days = await list_partitions(connection, "demo", "tick")
            await connection.execute(
                "INSERT INTO demo.tick (coin, ts, price) SELECT 'c' || %(coin)s, %(day)s::timestamptz + n * interval '10 min', n"
                " FROM generate_series(0, 143) n ON CONFLICT (coin, ts) DO UPDATE SET price = tick.price + 1",
                {"coin": self.chance.randint(1, 9), "day": self.chance.choice(days).span.start},
            )

    async def several(self) -> None:
        """Several statements in one transaction, some of them undone; a row that moves where another just was."""
        async with self.database.transaction() as connection:
            some = self._some()
            await connection.execute("UPDATE demo.account SET limit_units = coalesce(limit_units, 0) + 1 WHERE name = 'a'")
            await connection.execute("UPDATE demo.entry SET id = -1 WHERE id = %(first)s", some)
            await connection.execute("UPDATE demo.entry SET id = %(first)s WHERE id = %(last)s AND %(last)s <> %(first)s", some)
            await connection.execute("SAVEPOINT undone")
            await connection.execute("DELETE FROM demo.entry WHERE id < %(last)s", some)
            await connection.execute("ROLLBACK TO SAVEPOINT undone")
            await connection.execute("DELETE FROM demo.entry WHERE id = -1")
            await connection.execute(
                "INSERT INTO demo.account (name, limit_units) VALUES ('b' || %(first)s, 1) ON CONFLICT (name) DO UPDATE SET limit_units = 2",
                some,
            )

    async def large(self) -> None:
        """So much in one transaction that the server sends it in pieces while it runs."""
        first, self.last = self.last + 1, self.last + 3000
        async with self.database.transaction() as connection:
            await connection.execute("INSERT INTO demo.account VALUES ('a', 1) ON CONFLICT DO NOTHING")
            await connection.execute(INSERT.format(long="'short'"), {"first": first, "last": self.last})
            await connection.execute("UPDATE demo.entry SET units = 7 WHERE id > %(first)s", {"first": first})

    async def truncate(self) -> None:
        await self.database.execute(self.chance.choice(["TRUNCATE demo.entry", "TRUNCATE demo.account CASCADE", "TRUNCATE demo.tick"]))

    async def drop_partition(self) -> None:
        """Let a day go as retention does, and make the next one; a day that went does not come back."""
        async with self.database.transaction() as connection:
            days = await list_partitions(connection, "demo", "tick")
            following = days[-1].span.end
            await connection.execute(f"DROP TABLE demo.{days[0].name}")
            await connection.execute(
                f"CREATE TABLE demo.tick_{following:%Y%m%d} PARTITION OF demo.tick"
                f" FOR VALUES FROM ('{following.isoformat()}') TO ('{(following + timedelta(days=1)).isoformat()}')"
            )

    async def widen(self) -> None:
        if self.columns < 20:
            self.columns += 1
            table = self.chance.choice(["account", "entry", "tick"])
            await self.database.execute(f"ALTER TABLE demo.{table} ADD COLUMN IF NOT EXISTS added_{self.columns} bigint")
            await self.database.execute(f"UPDATE demo.{table} SET added_{self.columns} = {self.columns} WHERE random() < 0.1")


@dataclass
class Victims:
    """Three processes to be killed, and when each engine died."""

    node: CaptureProcess
    postgres: EmbeddedPostgres
    engine: EmbeddedClickHouse
    killed: Counter[str] = field(default_factory=Counter)
    deaths: dict[str, deque[float]] = field(default_factory=lambda: {"postgres": deque(), "columnar": deque()})

    def may(self, name: str) -> bool:
        deaths = self.deaths.get(name)
        if deaths is None:
            return True
        while deaths and monotonic() - deaths[0] > WITHIN:
            deaths.popleft()
        server = self.postgres if name == "postgres" else self.engine
        return len(deaths) < DEATHS and server.state is ServerState.RUNNING

    def kill(self, name: str) -> None:
        if name == "node":
            self.node.kill()
            self.node.start()
        else:
            pid = self.postgres.pid if name == "postgres" else self.engine.pid
            assert pid is not None
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                # The last kill was a moment ago, and whoever watches the engine has not seen it yet.
                return
            self.deaths[name].append(monotonic())
        self.killed[name] += 1

    async def running(self) -> None:
        async with asyncio.timeout(60):
            while not (self.postgres.state is ServerState.RUNNING and self.engine.state is ServerState.RUNNING):
                await happened(asyncio.Event(), 0.05)


class Positions:
    """Every position a mirror was ever said to have, as far as they were seen."""

    def __init__(self, columnar: Columnar) -> None:
        self._columnar = columnar
        self.seen: dict[str, dict[int, int]] = {}

    async def watch(self, stop: asyncio.Event) -> None:
        while not await happened(stop, 0.2):
            try:
                await self.look()
            except ChainStrataError:
                continue

    async def look(self) -> None:
        for row in await self._columnar.query_rows("SELECT dataset, revision, lsn FROM strata__cdc_position"):
            known = self.seen.setdefault(row.dataset, {}).setdefault(row.revision, row.lsn)
            assert known == row.lsn, "one revision says two positions"

    def check(self) -> None:
        for name, found in self.seen.items():
            lsns = [lsn for _, lsn in sorted(found.items())]
            assert lsns == sorted(lsns), f"{name} went back"


@asynccontextmanager
async def world(config: MakeConfig) -> AsyncIterator[tuple[Victims, Database, Columnar]]:
    async with AsyncExitStack() as stack:
        settings = config(clickhouse__memory_mb=1000)
        postgres = await stack.enter_async_context(EmbeddedPostgres(settings))
        engine = await stack.enter_async_context(EmbeddedClickHouse(settings))
        conninfo = libpq.make_conninfo(postgres.conninfo, options="-c logical_decoding_work_mem=64kB")
        database = await stack.enter_async_context(Database(conninfo, options=PoolOptions(min_size=1, max_size=4)))
        await create_mirrored(database, mirrored_catalog())
        columnar = await stack.enter_async_context(Columnar(engine.url))
        node = CaptureProcess(conninfo, engine.url)
        node.start()
        stack.callback(node.kill)
        yield Victims(node, postgres, engine), database, columnar


async def survive(config: MakeConfig, seed: int, kills: list[str] | int, between: tuple[float, float]) -> None:
    chance = random.Random(seed)
    async with world(config) as (victims, database, columnar):
        work, positions, stop = Work(database, random.Random(seed)), Positions(columnar), asyncio.Event()
        mirrors = Mirrors(database, mirrored_catalog(), columnar, OPTIONS)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(positions.watch(stop))
            working = asyncio.Event()
            tasks.create_task(work.go_on(working))
            wanted = kills if isinstance(kills, list) else [""] * kills
            for name in wanted:
                await happened(stop, chance.uniform(*between))
                await victims.running()
                victims.kill(name or chance.choice([one for one in ("node", "postgres", "columnar") if victims.may(one)]))
            await victims.running()
            await happened(stop, 1.0)
            working.set()
            await settled(mirrors, database)
            stop.set()
        print(f"\nseed {seed}: killed {dict(victims.killed)}, done {dict(work.done)}, failed {dict(work.failed)}")  # noqa: T201
        await positions.look()
        positions.check()
        await check(mirrors, columnar)


async def settled(mirrors: Mirrors, database: Database) -> None:
    """Wait until the mirrors have everything; the engines may just be coming back."""
    async with asyncio.timeout(120):
        while True:
            try:
                await mirrors.wait(within=100)
            except ChainStrataError as error:
                if not error.retryable:
                    raise
                await happened(asyncio.Event(), 0.2)
            else:
                return


async def check(mirrors: Mirrors, columnar: Columnar) -> None:
    assert [(one.detail, one.row_key) for one in await mirrors.list_dead()] == []
    assert {one.state for one in (await mirrors.status()).mirrors} == {State.STREAMING}
    for found in await mirrors.reconcile():
        assert (found.missing, found.extra, found.different, found.unsettled) == (0, 0, 0, 0), found
        assert found.source_rows == found.mirror_rows
    for dataset in mirrors.chosen([]):
        table, keys = mirror_table(dataset).table.name, ", ".join(f"`{name}`" for name in dataset.key)
        # Every row is there once, and whatever was written twice was written alike.
        assert await columnar.fetch_value(f"SELECT count() - uniqExact({keys}) FROM `{table}` FINAL") == 0
        twice = f"SELECT {keys}, {VERSION} FROM `{table}` GROUP BY {keys}, {VERSION} HAVING uniqExact({DELETED}, cityHash64(*)) > 1"
        assert await columnar.query_rows(twice) == []


@pytest.fixture
def engines(absent: Callable[[str], None], begun: Path) -> Path:
    if not is_installed():
        absent("chdb is not installed")
    return begun


@pytest.mark.conforms("S1-149", "S1-152", "S1-157", "S1-159")
@pytest.mark.usefixtures("engines")
async def test_mirrors_survive_some_kills(make_config: MakeConfig) -> None:
    await survive(make_config, 1, ["node", "postgres", "columnar", "node"], (0.5, 1.0))


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("engines")
async def test_mirrors_survive_many_kills_at_any_moment(make_config: MakeConfig) -> None:
    await survive(make_config, int.from_bytes(os.urandom(4)), 50, (0.2, 4.0))
