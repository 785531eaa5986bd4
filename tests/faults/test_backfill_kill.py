"""Workers of a backfill, killed in the middle of a chunk: everything is there once in the end, and no chunk is in hand for ever."""

import asyncio

import pytest

from chainstrata.backfill import Backfills, BackfillWorkers, WorkerOptions
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.waiting import happened
from chainstrata.ingest import Ingest
from chainstrata.packs.insights.model import JobStatus
from tests.fixtures.backfill_pack import HEIGHTS, past_catalog
from tests.fixtures.backfill_victim import LEASE, BackfillVictim
from tests.fixtures.demo import create_demo
from tests.fixtures.lethal import LethalProxy

# Every kill is followed by a recovery, which takes seconds: minutes for all of them.
pytestmark = pytest.mark.long

OPTIONS = WorkerOptions(at_once=2, lease=LEASE, look_every=0.05)


@pytest.fixture
async def backfills(database: Database) -> Backfills:
    catalog = past_catalog(HEIGHTS)
    await create_demo(database, catalog)
    return Backfills(database, catalog)


async def finish(backfills: Backfills) -> None:
    """Have another worker finish the one backfill there is, and check that it is whole."""
    [begun] = await backfills.list()
    ingest = Ingest(backfills.database, past_catalog(HEIGHTS)).ingest
    async with asyncio.timeout(60):
        done = await BackfillWorkers(backfills, ingest, options=OPTIONS).work(begun.job)
    assert (done.status, done.chunks.running, done.chunks.pending, done.current) == (JobStatus.COMPLETED, 0, 0, done.end)
    rows = await backfills.database.fetch_all("SELECT height FROM past.heights ORDER BY height")
    assert [row.height for row in rows] == list(range(done.start, done.end))
    assert done.rows == done.end - done.start, "what earlier attempts wrote is counted once"


async def test_a_worker_killed_in_the_middle_of_its_chunks(backfills: Backfills, database: Database) -> None:
    job = await backfills.start("heights", 0, 60)
    victim = BackfillVictim(database.conninfo, slowly=True)
    victim.start()
    async with asyncio.timeout(60):
        # Two chunks half written.
        while await database.fetch_value("SELECT count(*) FROM past.heights") < 10:
            await happened(asyncio.Event(), 0.02)
    await victim.kill()
    await victim.wait()
    assert (await backfills.show(job)).chunks.running == 2
    began = asyncio.get_running_loop().time()
    await finish(backfills)
    assert asyncio.get_running_loop().time() - began < LEASE.total_seconds() + 20
    attempts = {row.height: row.attempt for row in await database.fetch_all("SELECT height, attempt FROM past.heights")}
    # The first halves are those of the first attempt, the second halves of the second: neither was written again.
    assert [attempts[height] for height in (0, 4, 5, 9, 10, 14, 15, 19, 20)] == [1, 1, 2, 2, 1, 1, 2, 2, 1]


async def sweep(backfills: Backfills, stride: int) -> None:
    database = backfills.database

    async def never() -> None:
        raise AssertionError

    await backfills.start("heights", 0, 30)
    async with LethalProxy(database.conninfo, 0, never) as proxy:
        victim = BackfillVictim(proxy.conninfo, slowly=False)
        victim.start()
        async with asyncio.timeout(60):
            while not await backfills.list(status=JobStatus.COMPLETED):
                await happened(asyncio.Event(), 0.02)
        total = proxy.seen
        await victim.kill()
        await victim.wait()
    assert total > 20
    for at in range(1 + stride // 2, total + 1, stride):
        await database.execute("TRUNCATE past.heights, insights.backfill_jobs, strata.ingest_batch CASCADE")
        await backfills.start("heights", 0, 30)
        victims: list[BackfillVictim] = []

        async def strike(victims: list[BackfillVictim] = victims) -> None:
            await victims[0].kill()

        async with LethalProxy(database.conninfo, at, strike, answered=bool(at % 2)) as proxy:
            victims.append(BackfillVictim(proxy.conninfo, slowly=False))
            victims[0].start()
            async with asyncio.timeout(60):
                while not (proxy.struck or await backfills.list(status=JobStatus.COMPLETED)):
                    await happened(asyncio.Event(), 0.02)
            await victims[0].kill()
            await victims[0].wait()
        await finish(backfills)


async def test_a_worker_killed_at_some_statements(backfills: Backfills) -> None:
    await sweep(backfills, 13)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_a_worker_killed_at_any_statement(backfills: Backfills) -> None:
    await sweep(backfills, 1)
