"""Rows on their way in while everything dies around them: what was acknowledged is there, and once."""

import asyncio
import contextlib
import itertools
import json
import logging
import os
import random
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest

from chainstrata.engines.postgres import Database, EmbeddedPostgres, PoolOptions, Target
from chainstrata.engines.postgres.waiting import happened
from chainstrata.ingest import Gate, GateOptions, Ingest, Spool, TryLater
from chainstrata.node import Platform
from tests.fixtures.cutting import Wire
from tests.fixtures.disks import fill_disk
from tests.fixtures.entries import DATASET, MOMENTS, count_entries, create_entries, entry_catalog, make_rows
from tests.fixtures.ingest_process import settings
from tests.fixtures.postgres import URL, NewDatabase

pytestmark = pytest.mark.skipif(bool(URL), reason="a server was given: nothing embedded is tested")
LOGGER = logging.getLogger(__name__)
REPOSITORY = Path(__file__).parents[2]
SHORT, LONG = 3, 20
KILLS, WITHIN = 4, 65.0
TIMES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=[pytest.mark.long, pytest.mark.timeout(1800)])]


class Running:
    """The process, and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.acknowledged: set[int] = set()
        self.unknown: set[int] = set()
        self.spooled = self.direct = 0
        self.postgres = 0
        self._heard = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        while (line := await self.process.stdout.readline()).endswith(b"\n"):
            said: dict[str, Any] = json.loads(line)
            self.acknowledged.update(said.get("acknowledged", ()))
            self.unknown.update(said.get("unknown", ()))
            self.spooled += said.get("spooled", 0)
            self.direct += len(said.get("acknowledged", ())) - said.get("spooled", 0)
            self.postgres = said.get("postgres", self.postgres)
            self._heard.set()

    async def until(self, holds: Callable[[], bool], within: float = 90.0) -> None:
        deadline = monotonic() + within
        while not holds():
            assert monotonic() < deadline
            assert self.process.returncode is None
            self._heard.clear()
            await happened(self._heard, 1.0)

    async def hear_more(self, rows: int) -> None:
        wanted = len(self.acknowledged) + rows
        await self.until(lambda: len(self.acknowledged) >= wanted)

    async def kill(self) -> None:
        """Kill it, and hear what it had still said."""
        self.process.kill()
        await self.process.wait()
        await self._listening

    async def finish(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert await self.process.wait() == 0
        await self._listening


@asynccontextmanager
async def ingesting(home: Path, first: int) -> AsyncIterator[Running]:
    command = [sys.executable, "-m", "tests.fixtures.ingest_process", str(home), str(first)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY, limit=1024 * 1024
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def check(home: Path, acknowledged: set[int]) -> None:
    """Start once more, let the spool drain, and count one by one."""
    config, catalog = settings(home), entry_catalog()
    async with EmbeddedPostgres(config) as server, Database(server.conninfo, config) as database:
        platform = Platform(config, catalog, database, Target(server.conninfo, "embedded", server))
        deadline = monotonic() + 60
        while platform.gate.spool.list_waiting():
            await platform.gate.replayer.replay()
            assert monotonic() < deadline
            assert not platform.gate.replayer.stuck
        found = await count_entries(database)
        assert platform.gate.spool.list_damaged() == []
        assert await database.fetch_value("SELECT count(*) FROM strata.quarantine") == 0
        await platform.close()
    LOGGER.info("%d rows acknowledged, %d there", len(acknowledged), len(found))
    assert {number: times for number, times in found.items() if times > 1} == {}
    assert acknowledged - found.keys() == set()


@pytest.mark.parametrize("times", TIMES)
async def test_postgresql_killed_under_load(begun: Path, times: int) -> None:
    dice = random.Random(times)
    async with ingesting(begun, 0) as running:
        killed = 0
        kills: deque[float] = deque(maxlen=KILLS)
        for _ in range(times):
            if len(kills) == KILLS:
                # A server that dies more often than that is left down.
                await happened(asyncio.Event(), max(0.0, kills[0] + WITHIN - monotonic()))
            await running.until(lambda: running.postgres not in (0, killed))  # noqa: B023
            await running.hear_more(200)
            await happened(asyncio.Event(), dice.uniform(0, 0.5))
            killed = running.postgres
            # Now, and not when its turn began: on a busy machine that is long before.
            kills.append(monotonic())
            # A server that starts may end by itself, as long as one that was killed is not all gone.
            with contextlib.suppress(ProcessLookupError):
                os.kill(killed, signal.SIGKILL)
        await running.until(lambda: running.postgres != killed)
        # Once the spool has drained rows go straight in again, though callers go on sending.
        direct = running.direct
        await running.until(lambda: running.direct > direct + 100)
        await running.finish()
    LOGGER.info("%d of %d rows were spooled", running.spooled, len(running.acknowledged))
    assert running.spooled > 0
    await check(begun, running.acknowledged)


@pytest.mark.parametrize("times", TIMES)
async def test_the_process_killed_under_load(begun: Path, times: int) -> None:
    dice = random.Random(times)
    acknowledged: set[int] = set()
    spooled = 0
    for number in range(times):
        async with ingesting(begun, number * 10**9) as running:
            await running.until(lambda: running.postgres != 0)
            await running.hear_more(100)
            while number % 2 == 0 and not running.spooled:
                # So that there is something in the spool when the process dies, and the next one finds it.
                killed = running.postgres
                with contextlib.suppress(ProcessLookupError):
                    os.kill(killed, signal.SIGKILL)
                await running.until(lambda: running.spooled > 0 or running.postgres not in (0, killed))  # noqa: B023
            await happened(asyncio.Event(), dice.uniform(0, 0.4))
            await running.kill()
            acknowledged |= running.acknowledged
            spooled += running.spooled
    LOGGER.info("%d of %d rows were spooled", spooled, len(acknowledged))
    assert spooled > 0
    await check(begun, acknowledged)


@pytest.mark.parametrize("dataset", [DATASET, MOMENTS])
async def test_a_batch_in_doubt_is_not_taken_for_another_that_came_after_a_crash(begun: Path, dataset: str) -> None:
    """A server that is killed gives the numbers of transactions whose log was lost with it to others."""
    config, catalog = settings(begun), entry_catalog()
    async with EmbeddedPostgres(config) as server, Database(server.conninfo, config) as database:
        await create_entries(server.conninfo, catalog)
        spool = Spool(begun / "spool", 2**30)
        gate = Gate(Ingest(database, catalog), database, catalog, spool, GateOptions(patience=0.3))
        (spool.directory / dataset).mkdir(parents=True)
        # Nothing of the spool is written before others had their turn.
        with spool.replaying(dataset):
            holder = await psycopg.AsyncConnection.connect(server.conninfo)
            await holder.execute("LOCK TABLE entries.entry, entries.moment IN ACCESS EXCLUSIVE MODE")
            small = asyncio.create_task(gate.ingest(dataset, make_rows(dataset, [1])))
            large = asyncio.create_task(gate.ingest(dataset, make_rows(dataset, range(2, 2_000))))
            await until_value(database, "SELECT count(*) = 2 FROM pg_locks WHERE NOT granted")
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            answers = await asyncio.gather(small, large)
            await holder.close()
            assert [answer.spooled for answer in answers] == [1, 1_998]
            for _ in range(100):
                assert await database.fetch_value("SELECT pg_current_xact_id() IS NOT NULL")
        while spool.list_waiting():
            assert (await gate.replayer.replay()).stuck == {}
        assert await count_entries(database) == dict.fromkeys(range(1, 2_000), 1)
        await gate.close()


async def until_value(database: Database, question: str) -> None:
    async with asyncio.timeout(30):
        while not await database.fetch_value(question):
            await happened(asyncio.Event(), 0.01)


async def test_the_disk_of_the_spool_full(new_database: NewDatabase, make_disk: Callable[[int], Path]) -> None:
    conninfo, catalog, disk = await new_database(), entry_catalog(), make_disk(2)
    await create_entries(conninfo, catalog)
    numbers = itertools.count()
    acknowledged: set[int] = set()
    refused = 0

    async def send(gate: Gate, size: int) -> bool:
        nonlocal refused
        mine = [next(numbers) for _ in range(size)]
        try:
            answer = await gate.ingest(DATASET, [{"number": n} for n in mine])
        except TryLater:
            refused += 1
            return False
        assert answer.rows == size
        acknowledged.update(mine)
        return True

    async with Wire(conninfo) as wire, Database(wire.conninfo, options=PoolOptions(min_size=1, max_size=4)) as database:
        spool = Spool(disk / "spool", 1024**3)
        gate = Gate(Ingest(database, catalog), database, catalog, spool, GateOptions(patience=0.3))
        assert await send(gate, 10)
        wire.cut()
        while await send(gate, 5_000):
            pass
        while await send(gate, 1):
            pass
        waiting = len(spool.list_waiting())
        filler = fill_disk(disk)
        assert not await send(gate, 1)
        assert len(spool.list_waiting()) == waiting
        filler.unlink()
        assert spool.list_damaged() == []
        wire.mend()
        deadline = monotonic() + 60
        while spool.list_waiting():
            assert monotonic() < deadline
            await happened(asyncio.Event(), 0.05)
        assert await send(gate, 10)
        await gate.close()
        found = await count_entries(database)
    assert waiting > 10
    assert refused >= 3
    assert found == dict.fromkeys(acknowledged, 1)
