"""Whatever happens to whatever tables, in whatever transactions, their mirrors end up as they are, however the capture is interrupted."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import conninfo as libpq
from psycopg import sql

from chainstrata.cdc import Mirrors, Options
from chainstrata.engines.clickhouse import Columnar, ColumnarOptions
from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.migrate import create_declared
from chainstrata.model import Catalog, Dataset, Pack, metadata
from chainstrata.model.columnar import mirror_table
from chainstrata.packs.strata import pack as strata
from tests.fixtures.capture import drop_slot
from tests.fixtures.clickhouse import ColumnarServer
from tests.fixtures.histories import SCHEMA, History, Player, histories, make_dataset, mirror_rows, source_rows
from tests.fixtures.postgres import Server

SMALL = 300
"""Bytes of a batch, when transactions are to be cut into many."""


class Laboratory:
    """One database and one columnar engine, in which histories are played and mirrored one after the other."""

    def __init__(self, server: Server, columnar_url: str) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._server = server
        self._name = f"chainstrata_histories_{os.getpid()}"
        self._columnar_url = columnar_url
        self._runner.run(self._open())

    async def _open(self) -> None:
        async with await psycopg.AsyncConnection.connect(self._server.connect_to("postgres"), autocommit=True) as connection:
            await connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(self._name)))
        # So little memory that transactions with a few large values are sent in pieces while they run.
        self.conninfo = libpq.make_conninfo(self._server.connect_to(self._name), options="-c logical_decoding_work_mem=64kB")
        self.database = await self._stack.enter_async_context(Database(self.conninfo, options=PoolOptions(min_size=1, max_size=6)))
        options = ColumnarOptions(self._name, timeout=timedelta(seconds=30), retry_deadline=timedelta(seconds=20))
        self.columnar = await self._stack.enter_async_context(Columnar(self._columnar_url, options, name="chainstrata-test"))
        async with self.database.connection() as connection:
            await create_declared(connection.driver, Catalog([strata]))
        await self.database.execute(f"CREATE SCHEMA {SCHEMA}")
        await self.database.execute(f"CREATE TYPE {SCHEMA}.mood AS ENUM ('calm', 'wild')")

    def close(self) -> None:
        self._runner.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        async with await psycopg.AsyncConnection.connect(self._server.connect_to("postgres"), autocommit=True) as connection:
            slots = await connection.execute("SELECT slot_name FROM pg_replication_slots WHERE database = %s", [self._name])
            for (slot,) in await slots.fetchall():
                await drop_slot(connection, slot)
            await self.columnar.execute(f"DROP DATABASE IF EXISTS `{self._name}` SYNC")
            await self._stack.aclose()
            await connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self._name)))

    def prove(self, given: Sequence[History], *, batch_bytes: int, crashes: bool) -> None:
        self._runner.run(self._prove(given, batch_bytes, crashes))

    async def _prove(self, given: Sequence[History], batch_bytes: int, crashes: bool) -> None:
        meta = metadata(SCHEMA)
        datasets = [make_dataset(history.shape, meta) for history in given]
        catalog = Catalog([strata, Pack(SCHEMA, "tests.fixtures", "For tests.", meta, datasets)])
        options = Options(batch_bytes=batch_bytes, batch_delay=0.01, heartbeat=0.1, copy_rows=5, lock_every=0.02, look_every=0.05)
        mirrors = Mirrors(self.database, catalog, self.columnar, options)
        async with AsyncExitStack() as stack:
            players = []
            for dataset, history in zip(datasets, given, strict=True):
                connect = psycopg.AsyncConnection.connect(self.conninfo, autocommit=True)
                connection = await stack.enter_async_context(await connect)
                await connection.execute("SET timezone = 'UTC'")
                players.append(Player(connection, dataset, history.shape))
                await players[-1].create()
            try:
                await self._play(mirrors, players, given, crashes=crashes)
                await self._check(mirrors, players)
            finally:
                await self._forget(datasets)

    async def _play(self, mirrors: Mirrors, players: Sequence[Player], given: Sequence[History], *, crashes: bool) -> None:
        """Play a third before there is a mirror, a third while it begins, a third while it is followed."""
        thirds = [_thirds(history.transactions) for history in given]
        together = list(zip(players, thirds, strict=True))
        await asyncio.gather(*(player.play(parts[0]) for player, parts in together))
        async with _capturing(mirrors) as running:
            await asyncio.gather(*(player.play(parts[1]) for player, parts in together))
            if not crashes:
                await running.settle()
                await asyncio.gather(*(player.play(parts[2]) for player, parts in together))
                await running.settle()
        if crashes:
            # It was cut off wherever it was.
            async with _capturing(mirrors):
                await asyncio.gather(*(player.play(parts[2]) for player, parts in together))
            async with _capturing(mirrors) as running:
                await running.settle()

    async def _check(self, mirrors: Mirrors, players: Sequence[Player]) -> None:
        assert [(one.detail, one.row_key) for one in await mirrors.list_dead()] == []
        for player in players:
            source, mirror = await source_rows(player), await mirror_rows(player, self.columnar)
            assert Counter(mirror) == Counter(source.values()), await self._explain(player)
        async with _capturing(mirrors):
            for found in await mirrors.reconcile():
                assert found.agrees, found
                assert found.source_rows == found.mirror_rows

    async def _explain(self, player: Player) -> str:
        """Return what is known of a mirror that is not what it should be: every version of its rows, and how it came about."""
        keys = ", ".join(f"`{name}`" for name in player.key)
        rows = await self.columnar.query_rows(
            f"SELECT {keys}, groupArray((_version, _deleted, _part)) FROM `{mirror_table(player.dataset).table.name}` GROUP BY {keys}"
        )
        state = await self.database.fetch_all(
            "SELECT * FROM strata.cdc_dataset WHERE dataset = %(name)s", {"name": player.dataset.full_name}
        )
        positions = await self.columnar.query_rows(
            "SELECT lsn, revision FROM strata__cdc_position WHERE dataset = {name:String} ORDER BY revision",
            {"name": player.dataset.full_name},
        )
        return "\n".join(map(str, [*state, *positions, *rows]))

    async def _forget(self, datasets: Sequence[Dataset]) -> None:
        names = [dataset.full_name for dataset in datasets]
        for table in ("cdc_dataset", "cdc_chunk", "cdc_dead_letter"):
            await self.database.execute(f"DELETE FROM strata.{table} WHERE dataset = ANY (%(names)s)", {"names": names})
        for dataset in datasets:
            await self.database.execute(f"DROP TABLE {dataset.schema}.{dataset.table.name}")
            for statement in mirror_table(dataset).drop(self.columnar.database):
                await self.columnar.execute(statement)


class _Running:
    """A capture under way."""

    def __init__(self, mirrors: Mirrors, task: "asyncio.Task[None]") -> None:
        self._mirrors = mirrors
        self._task = task

    async def settle(self) -> None:
        """Wait until the mirrors have everything, or the capture says why it cannot go on."""
        waiting = asyncio.create_task(self._mirrors.wait(within=150))
        await asyncio.wait([waiting, self._task], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            waiting.cancel()
            await self._task
        await waiting


@asynccontextmanager
async def _capturing(mirrors: Mirrors) -> Any:
    """Capture while the block runs; then it is cut off where it is."""
    task = asyncio.create_task(mirrors.capture().run(asyncio.Event()))
    try:
        yield _Running(mirrors, task)
    finally:
        failed = task.done()
        task.cancel()
        [end] = await asyncio.gather(task, return_exceptions=True)
        if failed and isinstance(end, Exception):
            raise end


def _thirds(transactions: Sequence[Any]) -> list[Sequence[Any]]:
    first, second = len(transactions) // 3, 2 * len(transactions) // 3
    return [transactions[:first], transactions[first:second], transactions[second:]]


@pytest.fixture(scope="module")
def laboratory(server: Server, columnar_server: ColumnarServer) -> Iterator[Laboratory]:
    """Give where histories are played."""
    laboratory = Laboratory(server, columnar_server.url)
    yield laboratory
    laboratory.close()


def prove(laboratory: Laboratory, first: History, second: History, small: bool, crashes: bool) -> None:
    laboratory.prove([first, second], batch_bytes=SMALL if small else 1 << 20, crashes=crashes)


# A history costs a second: one that fails is told as it was found.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
HEALTHY = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


@pytest.mark.conforms("S1-143", "S1-144", "S1-145", "S1-149", "S1-158", "S1-159")
@settings(max_examples=10, deadline=None, phases=PHASES, suppress_health_check=HEALTHY)
@given(first=histories(), second=histories(most=6), small=st.booleans(), crashes=st.booleans())
def test_mirrors_of_random_tables_end_up_as_their_sources(
    laboratory: Laboratory, first: History, second: History, small: bool, crashes: bool
) -> None:
    prove(laboratory, first, second, small, crashes)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=200, deadline=None, phases=PHASES, suppress_health_check=HEALTHY)
@given(first=histories(most=25), second=histories(), small=st.booleans(), crashes=st.booleans())
def test_mirrors_of_many_random_tables_end_up_as_their_sources(
    laboratory: Laboratory, first: History, second: History, small: bool, crashes: bool
) -> None:
    prove(laboratory, first, second, small, crashes)
