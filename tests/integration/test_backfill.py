"""Backfills on a real server: all of it, once, by several workers; paused, resumed, cancelled, retried; how far and how long."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from chainstrata.backfill import BackfillRefused, Backfills, BackfillWorkers, ChunkLost, UnknownBackfill, WorkerOptions
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.errors import CheckViolation, ExclusionViolation
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import UnknownName
from chainstrata.ingest import Ingest
from chainstrata.model import Backfill, Catalog, Chunk
from chainstrata.packs.insights.model import JobStatus
from tests.fixtures.backfill_pack import fetch_heights, past_catalog
from tests.fixtures.demo import create_demo

QUICK = WorkerOptions(at_once=3, lease=timedelta(seconds=5), look_every=0.05)


class Fetch:
    """Fetches heights, counting which chunks it was asked for; fails for those it is told to, waits while it is told to."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()
        self.failing: set[int] = set()
        self.go = asyncio.Event()
        self.go.set()
        self.under_way = 0
        self.most = 0
        self.lost: list[int] = []

    async def __call__(self, chunk: Chunk) -> None:
        self.asked[chunk.start] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.go.wait()
            if chunk.start in self.failing:
                raise ValueError(f"no answer for {chunk.start}")
            await fetch_heights(chunk)
        except asyncio.CancelledError:
            self.lost.append(chunk.start)
            with pytest.raises(ChunkLost):
                await chunk.ingest("past.heights", [{"height": chunk.start, "attempt": 99}], part="late")
            raise
        finally:
            self.under_way -= 1


@pytest.fixture
def fetch() -> Fetch:
    return Fetch()


@pytest.fixture
async def catalog(database: Database, fetch: Fetch) -> Catalog:
    declared = past_catalog(Backfill("heights", fetch, "Heights.", chunk=10, attempts=2))
    await create_demo(database, declared)
    return declared


@pytest.fixture
def backfills(database: Database, catalog: Catalog) -> Backfills:
    return Backfills(database, catalog)


def workers(backfills: Backfills, catalog: Catalog, options: WorkerOptions = QUICK) -> BackfillWorkers:
    return BackfillWorkers(backfills, Ingest(backfills.database, catalog).ingest, options=options)


async def heights(database: Database) -> list[int]:
    return [row.height for row in await database.fetch_all("SELECT height FROM past.heights ORDER BY height")]


async def hurry(database: Database) -> None:
    """Let what rests before its next attempt be tried at once."""
    await database.execute("UPDATE insights.backfill_ranges SET not_before = NULL WHERE status = 'pending'")


@pytest.mark.conforms("S4-23", "S4-26", "S4-27")
async def test_everything_is_fetched_once_by_several_workers(
    database: Database, backfills: Backfills, catalog: Catalog, fetch: Fetch
) -> None:
    job = await backfills.start("heights", 5, 205, created_by="ada")
    begun = await backfills.show(job)
    assert (begun.status, begun.current, begun.chunks.total, begun.created_by) == (JobStatus.PENDING, 5, 21, "ada")
    both = [workers(backfills, catalog), workers(Backfills(database, catalog), catalog)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(one.work(job) for one in both))
    done = await backfills.show(job)
    assert (done.status, done.current, done.positions_done, done.rows, done.share) == (JobStatus.COMPLETED, 205, 200, 200, 1.0)
    assert done.completed_at is not None
    assert await heights(database) == list(range(5, 205))
    assert set(fetch.asked.values()) == {1}
    assert 1 < fetch.most <= 6
    assert await backfills.list(status=JobStatus.COMPLETED, kind="heights") == (done,)
    assert await database.fetch_value("SELECT progress_percentage FROM insights.backfill_jobs") == 100


async def test_a_paused_backfill_finishes_what_is_in_hand_and_goes_on_when_resumed(
    database: Database, backfills: Backfills, catalog: Catalog, fetch: Fetch
) -> None:
    fetch.go.clear()
    job = await backfills.start("heights", 0, 100)
    working = asyncio.create_task(workers(backfills, catalog).work(job))
    async with asyncio.timeout(20):
        while fetch.under_way < 3:
            await happened(asyncio.Event(), 0.02)
    assert (await backfills.pause(job)).status is JobStatus.PAUSED
    fetch.go.set()
    async with asyncio.timeout(20):
        paused = await working
    assert (paused.status, paused.chunks.done, paused.chunks.running, paused.current) == (JobStatus.PAUSED, 3, 0, 30)
    assert await backfills.claim("other", QUICK.lease) is None
    assert (await backfills.pause(job)).status is JobStatus.PAUSED
    assert (await backfills.resume(job)).status is JobStatus.RUNNING
    async with asyncio.timeout(20):
        assert (await workers(backfills, catalog).work(job)).status is JobStatus.COMPLETED
    assert await heights(database) == list(range(100))
    assert set(fetch.asked.values()) == {1}


async def test_a_cancelled_backfill_stops_in_the_middle_of_its_chunks_and_can_be_resumed(
    database: Database, backfills: Backfills, catalog: Catalog, fetch: Fetch
) -> None:
    fetch.go.clear()
    job = await backfills.start("heights", 0, 50)
    working = asyncio.create_task(workers(backfills, catalog).work(job))
    async with asyncio.timeout(20):
        while fetch.under_way < 3:
            await happened(asyncio.Event(), 0.02)
        cancelled = await backfills.cancel(job)
        # Nobody is at it any more when it returns, and nothing is written afterwards.
        assert (cancelled.status, cancelled.chunks.running, fetch.under_way, sorted(fetch.lost)) == (JobStatus.CANCELLED, 0, 0, [0, 10, 20])
        assert (await working).status is JobStatus.CANCELLED
    assert await heights(database) == []
    assert cancelled.completed_at is not None
    fetch.go.set()
    assert (await backfills.resume(job)).status is JobStatus.RUNNING
    async with asyncio.timeout(20):
        assert (await workers(backfills, catalog).work(job)).status is JobStatus.COMPLETED
    assert await heights(database) == list(range(50))


@pytest.mark.conforms("S4-28")
async def test_what_fails_is_tried_again_and_then_only_that_is_retried(
    database: Database, backfills: Backfills, catalog: Catalog, fetch: Fetch
) -> None:
    fetch.failing = {10, 30}
    job = await backfills.start("heights", 0, 50)
    stop = asyncio.Event()
    working = asyncio.create_task(workers(backfills, catalog).work(job, stop=stop))
    async with asyncio.timeout(30):
        while not working.done():
            await hurry(database)
            await asyncio.wait({working}, timeout=0.05)
    failed = working.result()
    assert (failed.status, failed.chunks.failed, failed.chunks.done) == (JobStatus.FAILED, 2, 3)
    assert failed.current == 10
    assert "ValueError: no answer for" in failed.error
    assert (fetch.asked[10], fetch.asked[30], fetch.asked[0]) == (2, 2, 1)
    assert [(row.start, row.status, row.attempts) for row in await backfills.failures(job)] == [(10, "failed", 2), (30, "failed", 2)]
    [listed] = await backfills.list(status=JobStatus.FAILED)
    assert listed.completed_at is not None, "which is what failures of the last day are found by"
    with pytest.raises(BackfillRefused, match="is failed, it cannot be resumed") as caught:
        await backfills.resume(job)
    assert "retry" in caught.value.hint
    fetch.failing = set()
    assert (await backfills.retry(job)).chunks.pending == 2
    async with asyncio.timeout(20):
        assert (await workers(backfills, catalog).work(job)).status is JobStatus.COMPLETED
    assert fetch.asked == {0: 1, 10: 3, 20: 1, 30: 3, 40: 1}
    assert await heights(database) == list(range(50))
    with pytest.raises(BackfillRefused, match="is completed"):
        await backfills.retry(job)


async def test_a_worker_that_lost_its_chunk_changes_nothing_any_more(database: Database, backfills: Backfills) -> None:
    job = await backfills.start("heights", 0, 20)
    lease = timedelta(seconds=30)
    old = await backfills.claim("old", lease)
    assert old is not None
    assert await backfills.keep(old, lease)
    await database.execute("UPDATE insights.backfill_ranges SET leased_until = now() - interval '1 second' WHERE leased_by = 'old'")
    new = await backfills.claim("new", lease)
    assert new is not None
    assert (new.start, new.attempt) == (old.start, 2)
    assert not await backfills.keep(old, lease)
    assert not await backfills.finish(old, 10)
    await backfills.fail(old, "too late")
    await backfills.give_back(old)
    assert (await backfills.show(job)).chunks.running == 1
    assert await backfills.finish(new, 10)
    assert not await backfills.finish(new, 10), "a chunk is done once"
    assert (await backfills.show(job)).rows == 10


async def test_a_worker_that_is_interrupted_gives_back_what_it_has_in_hand(backfills: Backfills, catalog: Catalog, fetch: Fetch) -> None:
    fetch.go.clear()
    job = await backfills.start("heights", 0, 50)
    working = asyncio.create_task(workers(backfills, catalog).work(job))
    async with asyncio.timeout(20):
        while fetch.under_way < 3:
            await happened(asyncio.Event(), 0.02)
        # As Ctrl-C does.
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    left = await backfills.show(job)
    assert (left.status, left.chunks.pending, left.chunks.running) == (JobStatus.RUNNING, 5, 0)
    chunk = await backfills.claim("other", QUICK.lease)
    assert chunk is not None
    assert (chunk.start, chunk.attempt) == (0, 1), "what was not tried to its end does not count"


async def test_pauses_cancellations_and_workers_at_once_lose_nothing(
    database: Database, backfills: Backfills, catalog: Catalog, fetch: Fetch
) -> None:
    job = await backfills.start("heights", 0, 400)
    stop = asyncio.Event()
    services = [asyncio.create_task(workers(Backfills(database, catalog), catalog).run(stop)) for _ in range(2)]
    async with asyncio.timeout(60):
        for number in range(6):
            progress = await backfills.show(job)
            if progress.status.ended and progress.status is not JobStatus.CANCELLED:
                break
            await (backfills.pause(job) if number % 2 else backfills.cancel(job))
            stopped = await backfills.show(job)
            assert number % 2 or stopped.chunks.running == 0
            assert stopped.chunks.total == 40
            await backfills.resume(job)
            await happened(asyncio.Event(), 0.05)
        while (await backfills.show(job)).status is not JobStatus.COMPLETED:
            await happened(asyncio.Event(), 0.05)
    stop.set()
    await asyncio.gather(*services)
    assert await heights(database) == list(range(400))
    assert (await backfills.show(job)).rows == 400


@pytest.mark.conforms("S4-16")
async def test_when_it_will_be_done_follows_from_what_was_measured(database: Database, backfills: Backfills) -> None:
    job = await backfills.start("heights", 0, 100)
    assert (await backfills.show(job)).expected_at is None
    lease = timedelta(seconds=30)
    for _ in range(4):
        chunk = await backfills.claim("one", lease)
        assert chunk is not None
        await database.execute(
            "UPDATE insights.backfill_ranges SET started_at = now() - interval '20 seconds' WHERE from_block = %(start)s",
            {"start": chunk.start},
        )
        backfills.forget_expected()
        assert await backfills.finish(chunk, 10)
    progress = await backfills.show(job)
    assert progress.rate is not None
    assert 1.5 < progress.rate <= 2.0, "forty in twenty seconds"
    assert progress.expected_at is not None
    left = progress.expected_at - datetime.now(UTC)
    assert timedelta(seconds=25) < left < timedelta(seconds=45)


async def test_two_backfills_of_one_kind_never_overlap_while_under_way(backfills: Backfills) -> None:
    job = await backfills.start("heights", 0, 100)
    with pytest.raises(BackfillRefused, match="is under way over some of the same"):
        await backfills.start("heights", 99, 200)
    await backfills.start("heights", 100, 200)
    await backfills.cancel(job)
    await backfills.start("heights", 50, 100)


@pytest.mark.parametrize(("start", "end"), [(5, 5), (10, 5), (-5, 5)])
async def test_an_empty_backfill_is_refused(backfills: Backfills, start: int, end: int) -> None:
    with pytest.raises(BackfillRefused, match="there is nothing from"):
        await backfills.start("heights", start, end)


async def test_what_is_not_known_is_said(backfills: Backfills) -> None:
    with pytest.raises(UnknownName, match="unknown kind of backfill 'hights'"):
        await backfills.start("hights", 0, 10)
    for call in (backfills.show, backfills.pause, backfills.resume, backfills.cancel, backfills.retry, backfills.failures):
        with pytest.raises(UnknownBackfill):
            await call(uuid4())


@pytest.mark.parametrize(
    ("chunk", "error", "rule"),
    [
        pytest.param((5, 15), ExclusionViolation, "backfill_ranges_apart", id="over the one before"),
        pytest.param((15, 25), ExclusionViolation, "backfill_ranges_apart", id="over the one after"),
        pytest.param((12, 40), ExclusionViolation, "backfill_ranges_apart", id="around another"),
        pytest.param((90, 101), CheckViolation, "backfill_ranges_within_job", id="past the end"),
    ],
)
async def test_chunks_of_a_job_never_lie_over_each_other(
    database: Database, backfills: Backfills, chunk: tuple[int, int], error: type[Exception], rule: str
) -> None:
    job: UUID = await backfills.start("heights", 0, 100, chunk=100)
    await database.execute("DELETE FROM insights.backfill_ranges")
    insert = "INSERT INTO insights.backfill_ranges (job_id, from_block, to_block) VALUES (%(job)s, %(from)s, %(to)s)"
    for lower, upper in ((0, 10), (20, 30)):
        await database.execute(insert, {"job": job, "from": lower, "to": upper})
    with pytest.raises(error) as caught:
        await database.execute(insert, {"job": job, "from": chunk[0], "to": chunk[1]})
    assert caught.value.constraint == rule  # type: ignore[attr-defined]
    await database.execute(insert, {"job": job, "from": 10, "to": 20})
