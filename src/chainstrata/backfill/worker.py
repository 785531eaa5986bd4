"""Works on backfills: takes chunks, has them fetched, keeps their leases, notes what came of each.

A chunk is written by batches named after it, so doing it twice changes nothing; that is what makes it safe to take up the
chunk of a worker that may still live.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from chainstrata.backfill.errors import ChunkLost
from chainstrata.backfill.model import Progress, WorkedChunk, to_time
from chainstrata.backfill.runner import Backfills
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError, EngineError
from chainstrata.packs.insights.model import JobStatus

LOGGER: Final = logging.getLogger("chainstrata.backfill")
# How soon a cancellation is noticed, at the latest, in seconds.
_NOTICE: Final = 2.0


class Ingesting(Protocol):
    """Takes rows into a dataset; a named batch once."""

    async def __call__(self, dataset: str, source: Any, /, *, batch: str, origin: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Chunks `at_once`; how long a lease lasts, and seconds between looks for work while there is none."""

    at_once: int = 2
    lease: timedelta = timedelta(seconds=30)
    look_every: float = 10.0

    @property
    def sign_every(self) -> float:
        return min(self.lease.total_seconds() / 3, _NOTICE)


class _Chunk:
    """A chunk as its handler gets it."""

    def __init__(self, chunk: WorkedChunk, ingest: Ingesting) -> None:
        self._chunk = chunk
        self._ingest = ingest
        self.lost = asyncio.Event()
        self.rows = 0

    @property
    def job(self) -> UUID:
        return self._chunk.job

    @property
    def start(self) -> int:
        return self._chunk.start

    @property
    def end(self) -> int:
        return self._chunk.end

    @property
    def start_time(self) -> datetime:
        return to_time(self._chunk.start)

    @property
    def end_time(self) -> datetime:
        return to_time(self._chunk.end)

    @property
    def attempt(self) -> int:
        return self._chunk.attempt

    async def ingest(self, dataset: str, source: Any, *, part: str = "") -> Any:
        if self.lost.is_set():
            raise ChunkLost(self.start, self.end)
        name = f"{self._chunk.name}/{part}" if part else self._chunk.name
        answer = await self._ingest(dataset, source, batch=name, origin=self._chunk.name)
        # A batch that was taken by an earlier attempt answers as it did then.
        self.rows += answer.accepted + answer.updated
        return answer


class BackfillWorkers:
    """The service that works on backfills. Any number of processes may."""

    name = "backfill"

    def __init__(self, backfills: Backfills, ingest: Ingesting, *, options: WorkerOptions | None = None) -> None:
        self._backfills = backfills
        self._ingest = ingest
        self._options = options or WorkerOptions()
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    async def run(self, stop: asyncio.Event) -> None:
        """Work on whatever there is until `stop` is set, then give back what is in hand."""
        await self._work(stop, None)

    async def work(self, job: UUID, *, stop: asyncio.Event | None = None, watch: Callable[[Progress], None] | None = None) -> Progress:
        """Work on one backfill until it has ended, is paused, or `stop` is set; return how far it is."""
        halt = stop or asyncio.Event()
        watching = asyncio.create_task(self._watch(job, watch, halt)) if watch else None
        try:
            await self._work(halt, job)
        finally:
            if watching:
                watching.cancel()
        progress = await self._backfills.show(job)
        if watch:
            watch(progress)
        return progress

    async def _watch(self, job: UUID, watch: Callable[[Progress], None], stop: asyncio.Event) -> None:
        while not await happened(stop, 0.5):
            watch(await self._backfills.show(job))

    async def _work(self, stop: asyncio.Event, job: UUID | None) -> None:
        tasks: set[asyncio.Task[None]] = set()
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                while len(tasks) < self._options.at_once:
                    chunk = await self._backfills.claim(self._worker, self._options.lease, job=job)
                    if chunk is None:
                        break
                    tasks.add(asyncio.create_task(self._do(chunk)))
                if job is not None and not tasks and await self._is_over(job):
                    return
                look_every = self._options.look_every if job is None else min(self._options.look_every, 0.5)
                idle = len(tasks) < self._options.at_once
                done, _ = await asyncio.wait({*tasks, stopping}, timeout=look_every if idle else None, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {stopping}:
                    tasks.discard(task)
                    task.result()
        finally:
            stopping.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _is_over(self, job: UUID) -> bool:
        progress = await self._backfills.show(job)
        return progress.status not in (JobStatus.PENDING, JobStatus.RUNNING)

    async def _do(self, chunk: WorkedChunk) -> None:
        handle = _Chunk(chunk, self._ingest)
        fetching = asyncio.create_task(_fetch(self._backfills.find_kind(chunk.kind).fetch, handle))
        keeping = asyncio.create_task(self._keep(chunk))
        try:
            await asyncio.wait({fetching, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Also when this worker is told to stop: a chunk is given back then, and done by another.
            handle.lost.set()
            keeping.cancel()
            if not fetching.done():
                fetching.cancel()
                await asyncio.wait({fetching})
                await asyncio.shield(self._backfills.give_back(chunk))
        await self._note(chunk, handle, fetching)

    async def _note(self, chunk: WorkedChunk, handle: _Chunk, fetching: "asyncio.Task[None]") -> None:
        if fetching.cancelled():
            return
        error = fetching.exception()
        if error is None:
            if not await self._backfills.finish(chunk, handle.rows):
                LOGGER.info("%s was taken up by another worker", chunk.name)
            return
        message = error.message if isinstance(error, ChainStrataError) else f"{type(error).__name__}: {error}"
        LOGGER.warning("%s failed at attempt %d: %s", chunk.name, chunk.attempt, message)
        await self._backfills.fail(chunk, message)

    async def _keep(self, chunk: WorkedChunk) -> None:
        """Keep the lease of a chunk; return once it is lost."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._options.lease.total_seconds()
        while not await happened(asyncio.Event(), self._options.sign_every):
            try:
                if not await self._backfills.keep(chunk, self._options.lease):
                    return
                until = loop.time() + self._options.lease.total_seconds()
            except EngineError:
                # PostgreSQL may be back before the lease ends.
                if loop.time() >= until:
                    return


async def _fetch(fetch: Callable[[Any], Awaitable[object]], chunk: _Chunk) -> None:
    await fetch(chunk)
