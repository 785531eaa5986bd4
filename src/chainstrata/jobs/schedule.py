"""Puts what is due into the job queue, works on it, and takes up what a worker left behind.

Any number of nodes may do so: a row of the job decides who puts it into the queue, the queue decides who takes it from there.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.jobqueue import QueueWorker, WorkerOptions
from chainstrata.engines.postgres.maintenance import MaintenanceBusy, exclusive
from chainstrata.engines.postgres.waiting import happened
from chainstrata.jobs.errors import JobBusy
from chainstrata.jobs.model import AskedBy, Lease
from chainstrata.jobs.planner import retry_pause
from chainstrata.jobs.runner import LOST, QUERIES, QUEUE, TASK, Jobs, enqueue, lock_name

LOGGER: Final = logging.getLogger("chainstrata.jobs.schedule")
# A job resumed, or asked to be due sooner, by another process is noticed within this many seconds.
_LONGEST_WAIT: Final = 60.0
# A job that ends its worker again and again is not taken up at once any more.
_AT_ONCE: Final = 3
_KEPT: Final = timedelta(days=7)


class Schedule:
    """The service that has jobs run when they are due."""

    name = "schedule"

    def __init__(self, jobs: Jobs, *, lease: Lease | None = None, at_once: int = 2, stop_within: float = 20.0) -> None:
        self._jobs = jobs
        self._lease = lease or Lease()
        self._options = WorkerOptions(at_once, self._lease.sign_every, self._lease.look_every, stop_within)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then let jobs in hand end."""
        await self._jobs.register(self._jobs.jobs.values())
        # Before the worker listens, so that its first look finds what is due already.
        await self.take_up()
        await self.put_due()
        ended = asyncio.Event()
        worker = QueueWorker(self._jobs.database, QUEUE, TASK, self._work, options=self._options)
        both = [asyncio.create_task(self._work_until(worker, stop, ended)), asyncio.create_task(self._keep_time(stop, ended))]
        try:
            await asyncio.gather(*both)
        finally:
            ended.set()
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _work_until(self, worker: QueueWorker, stop: asyncio.Event, ended: asyncio.Event) -> None:
        try:
            await worker.run(stop)
        finally:
            ended.set()

    async def _keep_time(self, stop: asyncio.Event, ended: asyncio.Event) -> None:
        """Look for what is due and for what was left behind, each when it is time, without a look in between."""
        loop = asyncio.get_running_loop()
        look = loop.time() + self._lease.look_every
        while not (stop.is_set() or ended.is_set()):
            if loop.time() >= look:
                await self.take_up()
                look = loop.time() + self._lease.look_every
            wait = min(await self.put_due(), look - loop.time(), _LONGEST_WAIT)
            waiting = [asyncio.create_task(happened(event, max(0.01, wait))) for event in (stop, ended)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()

    async def put_due(self) -> float:
        """Put the jobs that are due into the queue, and return the seconds until the next one is."""
        names = {"names": list(self._jobs.jobs)}
        left = await self._jobs.database.fetch_value(QUERIES.next_due, names)
        if left is None or left > 0:
            return _LONGEST_WAIT if left is None else float(left)

        async def put(connection: Connection) -> None:
            for row in await connection.fetch_all(QUERIES.lock_due, names):
                await connection.execute(QUERIES.set_due, {"name": row.name, "due_at": self._jobs.jobs[row.name].when.after(row.now)})
                await enqueue(connection, row.name, AskedBy.SCHEDULE)

        await self._jobs.database.run(put)
        left = await self._jobs.database.fetch_value(QUERIES.next_due, names)
        return _LONGEST_WAIT if left is None else max(0.0, float(left))

    async def take_up(self) -> list[str]:
        """Put the jobs of workers that are gone back into the queue, and return which.

        Gone is who has been silent for a lease and does not hold the job's lock: one that is only slow has the lock.
        """
        database = self._jobs.database
        silent = await database.fetch_all(QUERIES.list_silent, {"queue": QUEUE, "seconds": self._lease.seconds})
        taken = []
        for row in silent:
            async with database.session() as connection:
                try:
                    async with exclusive(connection, lock_name(row.name), wait=0):
                        await self._take_up(connection, row)
                        taken.append(row.name)
                        LOGGER.warning("job %s lost its worker, it is run again", row.name)
                except MaintenanceBusy:
                    continue
        for row in await database.fetch_all(QUERIES.list_running):
            await self._jobs.settle(row.name)
        return taken

    async def _take_up(self, connection: Connection, row: Any) -> None:
        async with connection.begin():
            known = await connection.fetch_one(QUERIES.lock_job, {"name": row.name})
            if not await connection.execute(QUERIES.remove_queued, {"id": row.id}):
                return
            await connection.execute(QUERIES.lose_runs, {"name": row.name, "lost": LOST})
            failures = await connection.fetch_value(QUERIES.count_failures, {"name": row.name})
            if known is None or (known.paused_at is not None and row.asked_by == AskedBy.SCHEDULE.value):
                return
            if failures < _AT_ONCE:
                await enqueue(connection, row.name, AskedBy.RETRY)
            else:
                await connection.execute(QUERIES.due_sooner, {"name": row.name, "pause": retry_pause(failures)})

    async def _work(self, queue_id: int, arguments: Mapping[str, Any]) -> None:
        name, asked_by = str(arguments["name"]), AskedBy(arguments.get("asked_by", AskedBy.SCHEDULE.value))
        if name not in self._jobs.jobs:
            LOGGER.warning("job %s is not one of this release, it is left out", name)
            return
        try:
            await self._jobs.run(name, asked_by=asked_by, queue_id=queue_id)
        except JobBusy as error:
            LOGGER.info("job %s was due, but %s", name, error.message)


async def forget(jobs: Jobs, *, kept: timedelta = _KEPT) -> str:
    """Remove from the queue what ended long ago, and workers that are long gone; return a line on what was done."""
    ended = await jobs.database.execute(QUERIES.forget_ended, {"age": kept})
    workers = await jobs.database.execute(QUERIES.forget_workers, {"age": kept})
    return f"{ended} ended jobs and {workers} workers forgotten" if ended or workers else "nothing to forget"
