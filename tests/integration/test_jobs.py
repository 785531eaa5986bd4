"""Jobs on a real server: due, queued, run once whoever asks, paused over restarts, tried again, listed, found wanting."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.engines.postgres.errors import ConnectionLost
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import UnknownName, UsageError
from chainstrata.jobs import AskedBy, Every, Job, JobBusy, Jobs, JobState, Lease, NothingToRetry, RunState, Schedule
from chainstrata.jobs.schedule import forget

HOURLY = Every(timedelta(hours=1))
LEASE = Lease(1.0)
Until = Callable[[], Awaitable[bool]]


async def wait_until(condition: Until, within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while not await condition():
            await happened(asyncio.Event(), 0.02)


class Work:
    """A job's function that counts its runs, and can be told to fail or to wait."""

    def __init__(self) -> None:
        self.runs = 0
        self.error: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> str:
        self.runs += 1
        await happened(self.go, 30)
        if self.error is not None:
            raise self.error
        return f"run {self.runs}"


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def jobs(packs: Database, work: Work) -> Jobs:
    return Jobs(packs, [Job("work", HOURLY, work, "Works.")])


@asynccontextmanager
async def running(*schedules: Schedule) -> AsyncIterator[None]:
    """Run schedules until the block ends, as nodes do."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(schedule.run(stop)) for schedule in schedules]
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await asyncio.gather(*tasks)


async def make_due(database: Database, name: str = "work") -> None:
    await database.execute("UPDATE strata.job SET due_at = now() - interval '1 second' WHERE name = %(name)s", {"name": name})


async def in_queue(database: Database) -> list[str]:
    return [row.status for row in await database.fetch_all("SELECT status FROM procrastinate.procrastinate_jobs ORDER BY id")]


async def test_a_job_that_is_due_runs_once_however_many_nodes_there_are(packs: Database, jobs: Jobs, work: Work) -> None:
    await jobs.register(jobs.jobs.values())
    await make_due(packs)
    async with running(Schedule(jobs, lease=LEASE), Schedule(jobs, lease=LEASE), Schedule(jobs, lease=LEASE)):
        await wait_until(lambda: _state(jobs, JobState.WAITING, 1))
        [status] = await jobs.status()
    assert work.runs == 1
    assert status.last is not None
    assert (status.last.state, status.last.result, status.last.asked_by) == (RunState.SUCCEEDED, "run 1", AskedBy.SCHEDULE)
    assert status.due_at == HOURLY.after(status.last.started_at)
    assert await in_queue(packs) == []


async def _state(jobs: Jobs, state: JobState, runs: int) -> bool:
    [status] = await jobs.status()
    return status.state is state and len(await jobs.runs(status.name)) == runs


async def test_a_job_missed_while_no_node_ran_runs_once_when_one_does(packs: Database, jobs: Jobs, work: Work) -> None:
    await jobs.register(jobs.jobs.values())
    await packs.execute("UPDATE strata.job SET due_at = now() - interval '3 days'")
    async with running(Schedule(jobs, lease=LEASE)):
        await wait_until(lambda: _state(jobs, JobState.WAITING, 1))
    assert work.runs == 1


async def test_a_job_asked_for_is_taken_at_once_and_waits_in_the_queue_once(packs: Database, jobs: Jobs, work: Work) -> None:
    assert await jobs.ask("work")
    assert not await jobs.ask("work")
    [status] = await jobs.status()
    assert (status.state, await in_queue(packs)) == (JobState.QUEUED, ["todo"])
    async with running(Schedule(jobs, lease=Lease(60))):
        await wait_until(lambda: _state(jobs, JobState.WAITING, 1))
        began = asyncio.get_running_loop().time()
        # Told by NOTIFY: the schedule itself looks every half minute.
        await jobs.ask("work")
        await wait_until(lambda: _state(jobs, JobState.WAITING, 2))
        assert asyncio.get_running_loop().time() - began < 10
    assert [run.asked_by for run in await jobs.runs("work")] == [AskedBy.API] * 2


async def test_a_job_never_runs_twice_at_once_and_one_that_outlasts_its_lease_keeps_it(packs: Database, jobs: Jobs, work: Work) -> None:
    work.go.clear()
    async with running(Schedule(jobs, lease=Lease(0.3)), Schedule(jobs, lease=Lease(0.3))):
        await jobs.ask("work")
        await wait_until(lambda: _state(jobs, JobState.RUNNING, 1))
        with pytest.raises(JobBusy, match="runs already on "):
            await jobs.run("work")
        # Asked for again while it runs: it waits its turn.
        await jobs.ask("work")
        await happened(asyncio.Event(), 1.5)
        assert (work.runs, sorted(await in_queue(packs))) == (1, ["doing", "todo"])
        work.go.set()
        await wait_until(lambda: _state(jobs, JobState.WAITING, 2))
    assert work.runs == 2


async def test_a_worker_whose_heart_stopped_but_who_works_is_not_robbed(packs: Database, jobs: Jobs, work: Work) -> None:
    work.go.clear()
    async with running(Schedule(jobs, lease=Lease(60))):
        await jobs.ask("work")
        await wait_until(lambda: _state(jobs, JobState.RUNNING, 1))
        # As if its event loop hung for an hour.
        await packs.execute("UPDATE procrastinate.procrastinate_workers SET last_heartbeat = now() - interval '1 hour'")
        assert await Schedule(jobs, lease=Lease(60)).take_up() == []
        assert await in_queue(packs) == ["doing"]
        work.go.set()
        await wait_until(lambda: _state(jobs, JobState.WAITING, 1))
    assert work.runs == 1


async def test_a_paused_job_stays_so_over_restarts_until_it_is_resumed(packs: Database, jobs: Jobs, work: Work) -> None:
    await jobs.ask("work")
    [paused] = await jobs.pause(["work"])
    assert (paused.state, paused.due_at) == (JobState.PAUSED, None)
    assert await in_queue(packs) == [], "what waits is paused, too"
    await make_due(packs)
    again = Jobs(packs, jobs.jobs.values())
    for _ in range(2):
        async with running(Schedule(again, lease=Lease(0.2))):
            await happened(asyncio.Event(), 0.5)
    assert work.runs == 0
    assert (await again.run("work")).state is RunState.SUCCEEDED, "by hand it runs all the same"
    [resumed] = await again.resume()
    assert resumed.state is JobState.WAITING
    assert resumed.due_at is not None
    assert resumed.last is not None
    assert resumed.due_at > resumed.last.started_at


async def test_a_failure_that_may_pass_is_tried_again_before_its_time(packs: Database, jobs: Jobs, work: Work) -> None:
    work.error = ConnectionLost("server closed the connection", hint="Wait.")
    run = await jobs.run("work")
    assert (run.state, run.error_code, run.retryable) == (RunState.FAILED, "connection_lost", True)
    [status] = await jobs.status()
    assert status.due_at is not None
    assert run.finished_at is not None
    assert timedelta(0) < status.due_at - run.finished_at < timedelta(minutes=2)
    await jobs.run("work")
    [status] = await jobs.status()
    assert status.failures == 2
    work.error = None
    assert (await jobs.retry("work")) is not None
    [status] = await jobs.status()
    assert status.failures == 0
    with pytest.raises(NothingToRetry):
        await jobs.retry("work")


async def test_a_failure_that_will_not_pass_waits_for_its_time_and_takes_no_other_down(packs: Database, work: Work) -> None:
    bug, error, other = Work(), Work(), Work()
    bug.error, error.error = ZeroDivisionError("division by zero"), UsageError("cannot", hint="Do not.")
    jobs = Jobs(packs, [Job("bug", HOURLY, bug), Job("error", HOURLY, error), Job("other", HOURLY, other)])
    async with running(Schedule(jobs, lease=LEASE)):
        for name in jobs.jobs:
            await jobs.ask(name)

        async def ended() -> bool:
            return all(status.last and status.last.finished_at for status in await jobs.status())

        await wait_until(ended)
    found = {status.name: status.last for status in await jobs.status()}
    assert {name: (run.state.value, run.error) for name, run in found.items() if run} == {
        "bug": ("failed", "ZeroDivisionError: division by zero"),
        "error": ("failed", "cannot"),
        "other": ("succeeded", ""),
    }
    assert await in_queue(packs) == []


async def test_a_node_that_stops_lets_its_job_end_or_notes_that_it_did_not(packs: Database, jobs: Jobs, work: Work) -> None:
    work.go.clear()
    async with running(Schedule(jobs, lease=LEASE, stop_within=0.2)):
        await jobs.ask("work")
        await wait_until(lambda: _state(jobs, JobState.RUNNING, 1))
    [status] = await jobs.status()
    assert status.last is not None
    assert (status.last.state, status.last.error, status.state) == (RunState.LOST, "its worker was stopped", JobState.WAITING)
    assert await in_queue(packs) == []
    assert status.due_at is not None
    assert status.last.finished_at is not None
    assert status.due_at - status.last.finished_at < timedelta(minutes=2), "it goes on soon"


async def test_a_job_that_kills_its_worker_again_and_again_is_not_taken_up_at_once_for_ever(packs: Database, jobs: Jobs) -> None:
    schedule = Schedule(jobs, lease=LEASE)
    await jobs.register(jobs.jobs.values())
    for _ in range(3):
        await packs.execute(
            "INSERT INTO procrastinate.procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args, status)"
            " VALUES ('chainstrata', 'chainstrata.job', 'work', 'work', '{\"name\": \"work\"}', 'doing')"
        )
        await packs.execute("INSERT INTO strata.job_run (job, asked_by, worker) VALUES ('work', 'schedule', 'host:1')")
        await packs.execute("DELETE FROM procrastinate.procrastinate_jobs WHERE status = 'todo'")
        assert await schedule.take_up() == ["work"]
    assert await in_queue(packs) == []
    [status] = await jobs.status()
    assert status.failures == 3
    assert status.due_at is not None
    assert status.due_at - await packs.fetch_value("SELECT now()") < timedelta(minutes=5)


async def test_what_ended_long_ago_is_forgotten(packs: Database, jobs: Jobs) -> None:
    await packs.execute(
        "WITH made AS (INSERT INTO procrastinate.procrastinate_jobs (queue_name, task_name, status)"
        " VALUES ('other', 'task', 'failed'), ('other', 'task', 'todo') RETURNING id)"
        " SELECT count(*) FROM made"
    )
    await packs.execute("UPDATE procrastinate.procrastinate_events SET at = now() - interval '8 days'")
    await packs.execute("INSERT INTO procrastinate.procrastinate_workers (last_heartbeat) VALUES (now() - interval '8 days'), (now())")
    assert await forget(jobs) == "1 ended jobs and 1 workers forgotten"
    assert await in_queue(packs) == ["todo"]
    assert await forget(jobs) == "nothing to forget"


async def test_an_idle_schedule_asks_the_server_little(packs: Database, jobs: Jobs, conninfo: str, statements: Any) -> None:
    async with Database(packs.conninfo, options=PoolOptions(min_size=1, max_size=3), on_connect=statements.watch) as database:
        idle = Jobs(database, jobs.jobs.values())
        async with running(Schedule(idle, lease=Lease(30))):
            await wait_until(lambda: _registered(packs))
            await happened(asyncio.Event(), 0.5)
            statements.clear()
            await happened(asyncio.Event(), 2.0)
            assert statements.sent == [], "nothing between two looks, which are a quarter of a minute apart"


async def _registered(database: Database) -> bool:
    return bool(await database.fetch_value("SELECT count(*) FROM procrastinate.procrastinate_workers"))


async def test_unknown_jobs_are_named_with_those_there_are(jobs: Jobs) -> None:
    for call in (jobs.run("wrok"), jobs.ask("wrok"), jobs.runs("wrok"), jobs.pause(["wrok"]), jobs.resume(["wrok"]), jobs.retry("wrok")):
        with pytest.raises(UnknownName, match="unknown job 'wrok'") as caught:
            await call
        assert caught.value.hint == "Did you mean work?"
