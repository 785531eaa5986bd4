"""`Jobs`: lists, runs, asks for, pauses, resumes and retries jobs. Every edge calls these functions.

The one who runs a job holds an advisory lock for as long, in a session of its own: it ends with the process, so a job that is
on record as running while its lock is free has lost its worker, and one whose lock is held is never begun twice.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from psycopg.types.json import Jsonb

from chainstrata.engines.postgres import Connection, Database, load_queries
from chainstrata.engines.postgres.errors import ConnectionLost, PostgresError
from chainstrata.engines.postgres.maintenance import MaintenanceBusy, exclusive
from chainstrata.errors import ChainStrataError, UnknownName
from chainstrata.jobs.errors import JobBusy, JobError, NothingToRetry
from chainstrata.jobs.model import AskedBy, Job, JobState, JobStatus, Run, RunState
from chainstrata.jobs.planner import retry_pause

LOGGER: Final = logging.getLogger("chainstrata.jobs")
QUERIES: Final = load_queries("chainstrata.jobs")
QUEUE: Final = "chainstrata"
TASK: Final = "chainstrata.job"
LOST: Final = "its worker ended before it did"
LOCK: Final = "chainstrata.job."
# Whoever takes up the job of a lost worker has the lock for a moment.
_WAIT_SECONDS: Final = 2.0


class Jobs:
    """The jobs of one database."""

    def __init__(self, database: Database, jobs: Iterable[Job]) -> None:
        self.database = database
        self.jobs: Mapping[str, Job] = {job.name: job for job in jobs}

    def find(self, name: str) -> Job:
        """Return a job by name; raise `UnknownName`."""
        if name not in self.jobs:
            raise UnknownName("job", name, list(self.jobs))
        return self.jobs[name]

    async def status(self, names: Sequence[str] = ()) -> list[JobStatus]:
        """Return the jobs with their last runs, in the order of their names."""
        chosen = self._choose(names)
        params = {"names": [job.name for job in chosen], "queue": QUEUE, "lock": LOCK}
        rows = await self.database.fetch_all(QUERIES.list_jobs, params)
        if len(rows) < len(chosen):
            await self.register(chosen)
            rows = await self.database.fetch_all(QUERIES.list_jobs, params)
        return [_status(self.jobs[row.name], row) for row in rows]

    async def runs(self, name: str, *, limit: int = 20) -> list[Run]:
        """Return the last runs of a job, newest first."""
        rows = await self.database.fetch_all(QUERIES.list_runs, {"name": self.find(name).name, "limit": limit})
        return [_run(row) for row in rows]

    async def run(self, name: str, *, asked_by: AskedBy = AskedBy.COMMAND, queue_id: int | None = None) -> Run:
        """Run a job here and now, paused or not, and return how it went.

        Raises `JobBusy` if it runs already. A failure of the job itself is in what is returned; if that may pass, the job is due
        again after a pause.
        """
        job = self.find(name)
        await self.register([job])
        async with self.database.session() as connection:
            try:
                async with exclusive(connection, lock_name(name), wait=_WAIT_SECONDS):
                    return await self._run(connection, job, asked_by, queue_id)
            except MaintenanceBusy as error:
                now = await connection.fetch_one(QUERIES.find_running, {"name": name})
                raise JobBusy(name, *(now or ())) from error

    async def ask(self, name: str, *, asked_by: AskedBy = AskedBy.API) -> bool:
        """Have a worker run a job as soon as one can; return False if it waits for one already."""
        job = self.find(name)
        await self.register([job])

        async def put(connection: Connection) -> bool:
            await connection.fetch_one(QUERIES.lock_job, {"name": name})
            return await enqueue(connection, name, asked_by)

        return await self.database.run(put)

    async def pause(self, names: Sequence[str] = ()) -> list[JobStatus]:
        """Keep jobs from running by schedule, until they are resumed; what runs goes on. All jobs without names."""
        chosen = self._choose(names)
        await self.register(chosen)

        async def stop(connection: Connection) -> None:
            for job in chosen:
                await connection.execute(QUERIES.pause_job, {"name": job.name})
                await connection.execute(QUERIES.dequeue, {"name": job.name, "queue": QUEUE})

        await self.database.run(stop)
        return await self.status([job.name for job in chosen])

    async def resume(self, names: Sequence[str] = ()) -> list[JobStatus]:
        """Let jobs run by schedule again, from their next time on. All jobs without names."""
        chosen = self._choose(names)
        await self.register(chosen)

        async def go_on(connection: Connection) -> None:
            for job in chosen:
                row = await connection.fetch_one(QUERIES.lock_job, {"name": job.name})
                await connection.execute(QUERIES.resume_job, {"name": job.name, "due_at": job.when.after(row.now)})

        await self.database.run(go_on)
        return await self.status([job.name for job in chosen])

    async def retry(self, name: str, *, here: bool = True, asked_by: AskedBy = AskedBy.RETRY) -> Run | None:
        """Run a job again whose last run failed or was lost: here, or by a worker as soon as one can.

        Raises `NothingToRetry` if it went well.
        """
        await self.settle(name)
        [status] = await self.status([name])
        if status.last is None or status.last.state not in (RunState.FAILED, RunState.LOST):
            raise NothingToRetry(name)
        if here:
            return await self.run(name, asked_by=asked_by)
        await self.ask(name, asked_by=asked_by)
        return None

    async def register(self, jobs: Iterable[Job]) -> None:
        """Make jobs known, each due at its next time unless it is due sooner."""
        now = await self.database.fetch_value("SELECT now()")
        known = sorted(jobs, key=lambda job: job.name)
        await self.database.execute_many(QUERIES.register, [{"name": job.name, "due_at": job.when.after(now)} for job in known])

    async def settle(self, name: str) -> bool:
        """Give up a run on record whose worker is gone; return whether nobody runs the job."""
        async with self.database.session() as connection:
            try:
                async with exclusive(connection, lock_name(name), wait=0):
                    await connection.execute(QUERIES.lose_runs, {"name": name, "lost": LOST})
            except MaintenanceBusy:
                return False
        return True

    def _choose(self, names: Sequence[str]) -> list[Job]:
        # In one order, so that two who lock several never wait for each other.
        chosen = [self.find(name) for name in names] or list(self.jobs.values())
        return sorted(dict.fromkeys(chosen), key=lambda job: job.name)

    # One run ---------------------------------------------------------------------------------------------------------

    async def _run(self, connection: Connection, job: Job, asked_by: AskedBy, queue_id: int | None) -> Run:
        await connection.execute(QUERIES.lose_runs, {"name": job.name, "lost": LOST})
        begun = {"name": job.name, "asked_by": asked_by.value, "worker": worker_name(), "queue_id": queue_id}
        row = await connection.fetch_one(QUERIES.add_run, begun)
        outcome: dict[str, Any] = {"state": RunState.SUCCEEDED.value, "result": None, "error": None, "code": None, "retryable": False}
        try:
            outcome["result"] = await job.run()
        except ChainStrataError as error:
            outcome |= {"state": RunState.FAILED.value, "error": error.message, "code": error.code, "retryable": _may_pass(error)}
            LOGGER.error("job %s failed: %s. %s", job.name, error.message, error.hint)  # noqa: TRY400  # a known error
        except asyncio.CancelledError:
            outcome |= {"state": RunState.LOST.value, "error": "its worker was stopped", "retryable": True}
            await self._finish(connection, job, row.id, outcome)
            raise
        except Exception as error:
            outcome |= {"state": RunState.FAILED.value, "error": f"{type(error).__name__}: {error}", "code": JobError.code}
            await self._finish(connection, job, row.id, outcome)
            raise
        else:
            LOGGER.info("job %s: %s", job.name, outcome["result"])
        return await self._finish(connection, job, row.id, outcome)

    async def _finish(self, connection: Connection, job: Job, number: int, outcome: Mapping[str, Any]) -> Run:
        """Note how a run ended, by another connection if its own was lost meanwhile."""
        params = {"id": number, **outcome}
        try:
            row = await connection.fetch_one(QUERIES.finish_run, params)
        except PostgresError:
            row = await self.database.fetch_one(QUERIES.finish_run, params)
        if row is None:
            raise JobError(f"the run of job {job.name!r} was given up as lost", hint="Its connection to PostgreSQL was lost meanwhile.")
        if outcome["retryable"]:
            [status] = await self.status([job.name])
            await self.database.execute(QUERIES.due_sooner, {"name": job.name, "pause": retry_pause(status.failures)})
        return _run(row)


async def enqueue(connection: Connection, name: str, asked_by: AskedBy) -> bool:
    """Put a job into the queue unless it waits there, in the caller's transaction, which has the job's row."""
    params = {"queue": QUEUE, "task": TASK, "name": name, "args": Jsonb({"name": name, "asked_by": asked_by.value})}
    return await connection.fetch_value(QUERIES.enqueue, params) is not None


def _may_pass(error: ChainStrataError) -> bool:
    # What a lost connection left undone or done, a job does again without harm.
    return error.retryable or isinstance(error, ConnectionLost)


def lock_name(job: str) -> str:
    """Return the name of the lock that the one who runs a job holds."""
    return f"job.{job}"


def worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _status(job: Job, row: Any) -> JobStatus:
    last = _run(row, job=row.name) if row.id is not None else None
    if last is not None and last.state is RunState.RUNNING and not row.held:
        last = replace(last, state=RunState.LOST, error=LOST, retryable=True)
    if last is not None and last.state is RunState.RUNNING:
        state = JobState.RUNNING
    elif row.queued_at is not None:
        state = JobState.QUEUED
    else:
        state = JobState.PAUSED if row.paused_at is not None else JobState.WAITING
    due_at = None if row.paused_at is not None else row.due_at
    return JobStatus(job.name, job.doc, str(job.when), state, due_at, row.paused_at, row.queued_at, last, row.failures)


def _run(row: Any, *, job: str = "") -> Run:
    seconds = ((row.finished_at or row.now) - row.started_at).total_seconds()
    return Run(
        row.id,
        job or row.job,
        AskedBy(row.asked_by),
        row.worker,
        RunState(row.state),
        row.started_at,
        row.finished_at,
        round(seconds, 3),
        row.result or "",
        row.error or "",
        row.error_code or "",
        row.retryable,
    )
