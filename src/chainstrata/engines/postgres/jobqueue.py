"""A worker of the job queue: takes what is put there, as soon as it is there, and gives a sign of life while it does.

The queue is procrastinate's, in the same database. Putting jobs into it, and taking up those of a worker that is gone, are
statements of whoever owns the jobs; this is the part that needs connections of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import conninfo as libpq

from chainstrata.engines.postgres.database import Database
from chainstrata.engines.postgres.errors import PostgresError
from chainstrata.engines.postgres.translate import translate

_PATH: Final = "-c search_path=procrastinate,pg_catalog"

Handler = Callable[[int, Mapping[str, Any]], Awaitable[None]]
"""Does a job, given its number in the queue and its arguments."""


class QueueFailed(PostgresError):
    """The job queue cannot be worked on."""

    code = "queue_failed"
    retryable = True


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Jobs `at_once`; seconds between signs of life, between looks, and that jobs in hand have to end when the worker stops.

    What is put into the queue is told at once; a look only finds what a message that was lost would have told.
    """

    at_once: int = 2
    sign_every: float = 10.0
    look_every: float = 15.0
    stop_within: float = 20.0


class QueueWorker:
    """Works on one queue: `await QueueWorker(database, queue, task, handler).run(stop)` returns once it has stopped.

    A job leaves the queue when the handler returns or raises. Jobs in hand when it stops have a while to end and are cancelled then.
    """

    def __init__(self, database: Database, queue: str, task: str, handler: Handler, *, options: WorkerOptions | None = None) -> None:
        self._conninfo = _with_path(database.conninfo)
        self._queue = queue
        self._task = task
        self._handler = handler
        self._options = options or WorkerOptions()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Raises `QueueFailed`, or what kept it from connecting."""
        # A large import that only a worker needs.
        from procrastinate.exceptions import ProcrastinateException

        try:
            await self._run(stop)
        except psycopg.Error as error:
            raise translate(error, sent=False) from error
        except ProcrastinateException as error:
            cause = error.__cause__ or error
            raise QueueFailed(
                f"the job queue cannot be worked on: {cause}", hint="It is tried again; see whether PostgreSQL runs."
            ) from error

    async def _run(self, stop: asyncio.Event) -> None:
        from procrastinate import App, JobContext, PsycopgConnector

        app = App(connector=PsycopgConnector(conninfo=self._conninfo, min_size=1, max_size=2, name="jobs"))

        @app.task(name=self._task, pass_context=True)
        async def work(context: JobContext, /, **arguments: Any) -> None:
            await self._handler(int(context.job.id or 0), arguments)

        async with app.open_async():
            working = asyncio.create_task(
                app.run_worker_async(
                    queues=[self._queue],
                    concurrency=self._options.at_once,
                    delete_jobs="always",
                    install_signal_handlers=False,
                    fetch_job_polling_interval=self._options.look_every,
                    abort_job_polling_interval=self._options.look_every,
                    update_heartbeat_interval=self._options.sign_every,
                    # The owner of the jobs takes up what a silent worker had, and only then forgets the worker.
                    stalled_worker_timeout=10 * 365 * 86400.0,
                    shutdown_graceful_timeout=self._options.stop_within,
                ),
                name="jobs",
            )
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                working.cancel()
                with suppress(asyncio.CancelledError):
                    await working


def _with_path(conninfo: str) -> str:
    given = libpq.conninfo_to_dict(conninfo)
    options = f"{given.get('options') or ''} {_PATH}".strip()
    return libpq.make_conninfo("", **{**given, "options": options})
