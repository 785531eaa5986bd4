"""Workers of jobs, killed in the middle: the job runs again, once, and nothing is at work for ever."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.waiting import happened
from chainstrata.jobs import JobState, RunState, Schedule
from tests.fixtures.demo import create_demo, demo_catalog
from tests.fixtures.jobs_victim import LEASE, ScheduleVictim, make_jobs
from tests.fixtures.lethal import LethalProxy


@pytest.fixture
async def packs(database: Database) -> Database:
    """Give a database with the platform's own tables."""
    await create_demo(database, demo_catalog())
    return database


async def wait_until(condition: Callable[[], Awaitable[bool]], within: float = 30.0) -> None:
    async with asyncio.timeout(within):
        while not await condition():
            await happened(asyncio.Event(), 0.02)


async def prepare(database: Database) -> None:
    await database.execute("CREATE TABLE IF NOT EXISTS effect (what text PRIMARY KEY, times int NOT NULL)")
    await database.execute("TRUNCATE effect, strata.job, strata.job_run, procrastinate.procrastinate_jobs CASCADE")
    jobs = make_jobs(database, seconds=0)
    await jobs.register(jobs.jobs.values())
    await database.execute("UPDATE strata.job SET due_at = now() - interval '1 second'")


async def effects(database: Database) -> dict[str, int]:
    return {row.what: row.times for row in await database.fetch_all("SELECT what, times FROM effect")}


async def finish_elsewhere(database: Database) -> list[tuple[str, str]]:
    """Have another node run until all is quiet; return the runs, oldest first, with their workers' errors."""
    jobs = make_jobs(database, seconds=0)

    async def quiet() -> bool:
        [status] = await jobs.status()
        left = await database.fetch_value("SELECT count(*) FROM procrastinate.procrastinate_jobs")
        return status.state is JobState.WAITING and not left and status.last is not None and status.last.state is RunState.SUCCEEDED

    stop = asyncio.Event()
    other = asyncio.create_task(Schedule(jobs, lease=LEASE).run(stop))
    try:
        await wait_until(quiet)
        # Another look of the schedule, after which there would be a second run if there were to be one.
        await happened(asyncio.Event(), LEASE.look_every * 1.5)
    finally:
        stop.set()
        await other
    assert await database.fetch_value("SELECT count(*) FROM strata.job_run WHERE state = 'running'") == 0
    assert await database.fetch_value("SELECT count(*) FROM procrastinate.procrastinate_jobs") == 0
    return [(run.state.value, run.error) for run in reversed(await jobs.runs("work"))]


@pytest.mark.conforms("S2-53")
async def test_a_worker_killed_in_the_middle_of_a_job(packs: Database) -> None:
    await prepare(packs)
    victim = ScheduleVictim(packs.conninfo, seconds=600)
    victim.start()

    async def begun() -> bool:
        return "begun" in await effects(packs)

    await wait_until(begun)
    await victim.kill()
    await victim.wait()
    [status] = await make_jobs(packs, seconds=0).status()
    assert status.last is not None
    assert status.last.state is RunState.LOST, "seen at once, before anybody takes it up"
    assert await finish_elsewhere(packs) == [("lost", "its worker ended before it did"), ("succeeded", "")]
    assert await effects(packs) == {"begun": 2, "done": 1}


async def count_statements(packs: Database) -> int:
    """Return how many statements a worker sends from its start until its job is done."""
    await prepare(packs)

    async def never() -> None:
        raise AssertionError

    async with LethalProxy(packs.conninfo, 0, never) as proxy:
        victim = ScheduleVictim(proxy.conninfo, seconds=0)
        victim.start()

        async def done() -> bool:
            return not await packs.fetch_value("SELECT count(*) FROM procrastinate.procrastinate_jobs") and "done" in await effects(packs)

        await wait_until(done)
        seen = proxy.seen
        await victim.kill()
        await victim.wait()
        return seen


async def sweep(packs: Database, stride: int, answered: bool) -> None:
    total = await count_statements(packs)
    assert total > 10
    for at in range(1 + stride // 2, total + 1, stride):
        await prepare(packs)
        victims: list[ScheduleVictim] = []

        async def strike(victims: list[ScheduleVictim] = victims) -> None:
            await victims[0].kill()

        async with LethalProxy(packs.conninfo, at, strike, answered=answered) as proxy:
            victims.append(ScheduleVictim(proxy.conninfo, seconds=0))
            victims[0].start()
            await victims[0].wait()
        runs = await finish_elsewhere(packs)
        # Killed after the job was done but before that was noted, it runs once more; never more than that.
        assert [state for state, _ in runs].count("succeeded") in (1, 2), f"killed at statement {at}"
        assert len(runs) <= 2, f"killed at statement {at}"
        assert (await effects(packs))["done"] <= 2, f"killed at statement {at}"


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("answered", [False, True], ids=["unheard", "unanswered"])
async def test_a_worker_killed_at_any_statement(packs: Database, answered: bool) -> None:
    await sweep(packs, 1, answered)


@pytest.mark.long
async def test_a_worker_killed_at_some_statements(packs: Database) -> None:
    await sweep(packs, 9, True)
