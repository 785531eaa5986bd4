"""`Backfills`: starts backfills and lists, pauses, resumes, cancels and retries them; takes chunks and notes what came of them.

Whoever changes a job or takes a chunk of it holds the job's row, so a pause or a cancellation is before or after it, never in
between. A chunk belongs to a worker for one attempt: what an earlier one still wants to note finds nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any, Final
from uuid import UUID

from chainstrata.backfill.errors import BackfillRefused, BackfillsMissing, UnknownBackfill
from chainstrata.backfill.model import ChunkCounts, Progress, WorkedChunk
from chainstrata.backfill.planner import expect, retry_pause, split
from chainstrata.engines.postgres import Connection, Database, load_queries
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import UnknownName
from chainstrata.model import Catalog
from chainstrata.model.backfill import Backfill
from chainstrata.packs.insights.model import JobStatus, RangeStatus

QUERIES: Final = load_queries("chainstrata.backfill")
WINDOW: Final = timedelta(minutes=15)
"""How far back the rate is measured."""
_PACE: Final = 0.1
_EXPECT_EVERY: Final = 5.0


class Backfills:
    """The backfills of one database."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self.database = database
        if "insights" not in {pack.name for pack in catalog.packs}:
            raise BackfillsMissing
        self.kinds: Mapping[str, Backfill] = {kind.name: kind for pack in catalog.packs for kind in pack.backfills}
        self._expected: dict[UUID, float] = {}

    def find_kind(self, name: str) -> Backfill:
        """Return a kind by name; raise `UnknownName`."""
        if name not in self.kinds:
            raise UnknownName("kind of backfill", name, list(self.kinds))
        return self.kinds[name]

    # Jobs ------------------------------------------------------------------------------------------------------------

    async def start(self, kind: str, start: int, end: int, *, chunk: int | None = None, created_by: str = "") -> UUID:
        """Start a backfill of all positions from `start` up to `end`, and return its identifier. Workers take it from there.

        Raises `BackfillRefused` if there is nothing to do, or one of this kind is under way over some of the same positions.
        """
        declared = self.find_kind(kind)
        chunks = split(start, end, chunk or declared.chunk)
        if start == end:
            raise BackfillRefused(f"there is nothing from {start} to {end}", hint="The end is the first position that is not fetched.")

        async def add(connection: Connection) -> UUID:
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('chainstrata.backfill', 0))")
            params = {"kind": kind, "start": start, "end": end, "created_by": created_by or None}
            other = await connection.fetch_value(QUERIES.find_overlap, params)
            if other is not None:
                hint = f"Resume, retry or cancel it, or wait for it: chainstrata jobs backfill show {other}"
                raise BackfillRefused(f"backfill {other} of {kind} is under way over some of the same positions", hint=hint)
            job: UUID = await connection.fetch_value(QUERIES.add_job, params)
            async with connection.copy("COPY insights.backfill_ranges (job_id, from_block, to_block) FROM STDIN") as copy:
                for lower, upper in chunks:
                    await copy.write_row((job, lower, upper))
            return job

        async with self.database.transaction() as connection:
            return await add(connection)

    async def list(
        self, *, kind: str | None = None, status: JobStatus | None = None, job: UUID | None = None, limit: int = 50
    ) -> tuple[Progress, ...]:
        """Return backfills with how far they are, newest first."""
        params = {"kind": kind, "status": status.value if status else None, "job": job, "limit": limit, "window": WINDOW}
        return tuple(_progress(row) for row in await self.database.fetch_all(QUERIES.list_progress, params))

    async def show(self, job: UUID) -> Progress:
        """Return how far one is; raise `UnknownBackfill`."""
        found = await self.list(job=job)
        if not found:
            raise UnknownBackfill(job)
        return found[0]

    async def failures(self, job: UUID, *, limit: int = 20) -> Sequence[Any]:
        """Return chunks that failed or are to be tried again, with the reason."""
        await self.show(job)
        return await self.database.fetch_all(QUERIES.list_failures, {"job": job, "limit": limit})

    async def pause(self, job: UUID) -> Progress:
        """Take no further chunks of a backfill. Those in hand are finished."""
        await self._change(job, JobStatus.PAUSED, {JobStatus.PENDING, JobStatus.RUNNING, JobStatus.PAUSED})
        return await self.show(job)

    async def resume(self, job: UUID) -> Progress:
        """Go on with a backfill that is paused or was cancelled. What failed of it stays so: that is for `retry`."""

        async def go_on(connection: Connection) -> None:
            await self._expect_status(
                connection, job, {JobStatus.PAUSED, JobStatus.CANCELLED, JobStatus.PENDING, JobStatus.RUNNING}, "resumed"
            )
            await connection.execute(QUERIES.set_status, {"job": job, "status": JobStatus.RUNNING.value, "error": None})
            await self._settle(connection, job)

        await self.database.run(go_on)
        return await self.show(job)

    async def cancel(self, job: UUID, *, wait: float = 30.0) -> Progress:
        """End a backfill: chunks in hand are taken from their workers, who stop. What is written stays.

        Returns when no worker is at it any more, at the latest after `wait` seconds.
        """

        async def end(connection: Connection) -> None:
            allowed = {JobStatus.PENDING, JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.FAILED, JobStatus.CANCELLED}
            await self._expect_status(connection, job, allowed, "cancelled")
            await connection.execute(QUERIES.set_status, {"job": job, "status": JobStatus.CANCELLED.value, "error": None})

        await self.database.run(end)
        deadline = monotonic() + wait
        while await self.database.fetch_value(QUERIES.count_held, {"job": job}) and monotonic() < deadline:
            await happened(asyncio.Event(), _PACE)

        async def release(connection: Connection) -> None:
            row = await connection.fetch_one(QUERIES.lock_job, {"job": job})
            if row is not None and row.status == JobStatus.CANCELLED.value:
                await connection.execute(QUERIES.release_job, {"job": job})

        await self.database.run(release)
        return await self.show(job)

    async def retry(self, job: UUID) -> Progress:
        """Try the failed chunks of a backfill afresh, and no others; raise `BackfillRefused` if none failed."""

        async def again(connection: Connection) -> None:
            allowed = {JobStatus.FAILED, JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.CANCELLED}
            status = await self._expect_status(connection, job, allowed, "retried")
            if not await connection.execute(QUERIES.retry_failed, {"job": job}):
                raise BackfillRefused(f"nothing of backfill {job} failed", hint="`chainstrata jobs backfill show` says how far it is.")
            if status is not JobStatus.PAUSED:
                await connection.execute(QUERIES.set_status, {"job": job, "status": JobStatus.RUNNING.value, "error": None})

        await self.database.run(again)
        return await self.show(job)

    async def _change(self, job: UUID, status: JobStatus, allowed: set[JobStatus]) -> None:
        async def change(connection: Connection) -> None:
            await self._expect_status(connection, job, allowed, status.value)
            await connection.execute(QUERIES.set_status, {"job": job, "status": status.value, "error": None})

        await self.database.run(change)

    async def _expect_status(self, connection: Connection, job: UUID, allowed: set[JobStatus], word: str) -> JobStatus:
        row = await connection.fetch_one(QUERIES.lock_job, {"job": job})
        if row is None:
            raise UnknownBackfill(job)
        status = JobStatus(row.status)
        if status not in allowed:
            hint = "`chainstrata jobs backfill retry` tries what failed of it again." if status is JobStatus.FAILED else ""
            raise BackfillRefused(f"backfill {job} is {status}, it cannot be {word}", hint=hint)
        return status

    # Chunks ----------------------------------------------------------------------------------------------------------

    async def claim(self, worker: str, lease: timedelta, *, job: UUID | None = None) -> WorkedChunk | None:
        """Take a chunk that waits, or whose worker is gone; None if there is none now."""
        params = {"kinds": list(self.kinds), "job": job}
        for row in await self.database.fetch_all(QUERIES.list_claimable, params):
            chunk = await self._claim(row.id, worker, lease)
            if chunk is not None:
                return chunk
        return None

    async def _claim(self, job: UUID, worker: str, lease: timedelta) -> WorkedChunk | None:
        async def take(connection: Connection) -> WorkedChunk | None:
            held = await connection.fetch_one(QUERIES.lock_job, {"job": job})
            if held is None or held.status not in (JobStatus.PENDING.value, JobStatus.RUNNING.value):
                return None
            row = await connection.fetch_one(QUERIES.claim_chunk, {"job": job, "worker": worker, "lease": lease})
            if row is None:
                return None
            await connection.execute(QUERIES.begin_job, {"job": job})
            return WorkedChunk(row.job, held.job_type, row.start, row.end, row.attempt, worker)

        return await self.database.run(take)

    async def keep(self, chunk: WorkedChunk, lease: timedelta) -> bool:
        """Give a sign of life; return False if the chunk is no longer the worker's, or its backfill was cancelled."""

        async def sign(connection: Connection) -> bool:
            kept = await connection.fetch_value(QUERIES.keep_chunk, {**_key(chunk), "lease": lease})
            status = await connection.fetch_value("SELECT status FROM insights.backfill_jobs WHERE id = %(job)s", {"job": chunk.job})
            return kept is not None and status != JobStatus.CANCELLED.value

        return await self.database.run(sign)

    async def finish(self, chunk: WorkedChunk, rows: int) -> bool:
        """Note that a chunk is done; return False if it was no longer the worker's, and whoever has it now will do it again."""

        async def note(connection: Connection) -> bool:
            await connection.fetch_one(QUERIES.lock_job, {"job": chunk.job})
            if await connection.fetch_value(QUERIES.finish_chunk, {**_key(chunk), "rows": rows}) is None:
                return False
            await connection.execute(QUERIES.advance_job, {"job": chunk.job, "error": None})
            await self._settle(connection, chunk.job)
            return True

        done = await self.database.run(note)
        await self._expect(chunk.job)
        return done

    async def give_back(self, chunk: WorkedChunk) -> None:
        """Give a chunk back untried: its worker stops, or its backfill was cancelled."""
        await self._release(chunk, RangeStatus.PENDING, timedelta(0), None, untried=1)

    async def fail(self, chunk: WorkedChunk, error: str) -> None:
        """Note that an attempt failed: the chunk is tried again after a pause, or has failed if that was the last one."""
        last = chunk.attempt >= self.find_kind(chunk.kind).attempts
        status = RangeStatus.FAILED if last else RangeStatus.PENDING
        await self._release(chunk, status, retry_pause(chunk.attempt), error)

    async def _release(self, chunk: WorkedChunk, status: RangeStatus, pause: timedelta, error: str | None, *, untried: int = 0) -> None:
        params = {**_key(chunk), "status": status.value, "pause": pause, "error": error, "untried": untried}

        async def note(connection: Connection) -> None:
            await connection.fetch_one(QUERIES.lock_job, {"job": chunk.job})
            if await connection.fetch_value(QUERIES.release_chunk, params) is not None:
                said = f"{chunk.start} to {chunk.end}: {error}" if error else None
                await connection.execute(QUERIES.advance_job, {"job": chunk.job, "error": said})
                await self._settle(connection, chunk.job)

        await self.database.run(note)

    async def _settle(self, connection: Connection, job: UUID) -> None:
        """End a running job with whose last chunk nothing is left to do. The caller has the job."""
        row = await connection.fetch_one(QUERIES.lock_job, {"job": job})
        if row.status not in (JobStatus.RUNNING.value, JobStatus.PAUSED.value):
            return
        if await connection.fetch_value(QUERIES.is_open, {"job": job}):
            return
        status = JobStatus.FAILED if await connection.fetch_value(QUERIES.has_failed, {"job": job}) else JobStatus.COMPLETED
        await connection.execute(QUERIES.advance_job, {"job": job, "error": None})
        await connection.execute(QUERIES.set_status, {"job": job, "status": status.value, "error": None})

    def forget_expected(self) -> None:
        """Have the next chunk that is done note anew when its job will be."""
        self._expected.clear()

    async def _expect(self, job: UUID) -> None:
        """Note when a job will be done, at most every few seconds."""
        if monotonic() - self._expected.get(job, 0.0) < _EXPECT_EVERY:
            return
        self._expected[job] = monotonic()
        row = await self.database.fetch_one(QUERIES.measure, {"job": job, "window": WINDOW})
        _, expected_at = expect(row.done, row.seconds, row.left, row.now)
        if expected_at is not None:
            await self.database.execute(QUERIES.set_expected, {"job": job, "expected_at": expected_at})


def _key(chunk: WorkedChunk) -> dict[str, Any]:
    return {"job": chunk.job, "start": chunk.start, "worker": chunk.worker, "attempt": chunk.attempt}


def _progress(row: Any) -> Progress:
    status = JobStatus(row.status)
    # What has ended has no rate any more.
    rate = None if status.ended else expect(row.recent, row.recent_seconds, 0, row.started_at)[0]
    return Progress(
        row.job,
        row.kind,
        status,
        row.start,
        row.end,
        row.current,
        row.positions_done,
        ChunkCounts(row.pending, row.running, row.done, row.failed),
        row.rows,
        row.started_at,
        row.completed_at,
        row.created_by,
        row.error,
        rate,
        row.expected_at,
    )
