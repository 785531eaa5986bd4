"""Work that comes round: what runs when, and the service that runs it.

A job is a public function of a feature with a time; it is idempotent and takes the feature's own lock, so that two nodes
with one database may both have it due. A job that fails is tried again at its next time, and says so in the status.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final, Protocol

from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError

LOGGER: Final = logging.getLogger("chainstrata.node.schedule")


class When(Protocol):
    """The times at which a job is due."""

    def after(self, moment: datetime) -> datetime:
        """Return the first time later than `moment`."""
        ...


@dataclass(frozen=True, slots=True)
class Every:
    """At multiples of a width, counted from midnight UTC at the turn of 1970, so restarts do not shift it."""

    width: timedelta

    def after(self, moment: datetime) -> datetime:
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return epoch + ((moment - epoch) // self.width + 1) * self.width


@dataclass(frozen=True, slots=True)
class Daily:
    """Once a day at a time in UTC; with `weekday` only on that day, 0 being Monday."""

    at: time
    weekday: int | None = None

    def after(self, moment: datetime) -> datetime:
        due = datetime.combine(moment.astimezone(UTC).date(), self.at, tzinfo=UTC)
        while due <= moment or self.weekday not in (None, due.weekday()):
            due += timedelta(days=1)
        return due


@dataclass(frozen=True, slots=True)
class Job:
    """Something to run whenever it is due. `run` returns a line on what it did."""

    name: str
    when: When
    run: Callable[[], Awaitable[str]]


class Schedule:
    """The service that runs jobs when they are due, one after the other."""

    name = "schedule"

    def __init__(self, jobs: Iterable[Job], *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._jobs = list(jobs)
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        due = {job.name: job.when.after(self._clock()) for job in self._jobs}
        while not stop.is_set():
            wait = min(due.values()) - self._clock() if due else timedelta(days=1)
            # A clock that is set back or forward is noticed within the hour.
            if await happened(stop, min(max(wait.total_seconds(), 0.0), 3600.0)):
                return
            for job in self._jobs:
                if due[job.name] <= self._clock() and not stop.is_set():
                    due[job.name] = job.when.after(self._clock())
                    await self._run(job)

    async def _run(self, job: Job) -> None:
        try:
            done = await job.run()
        except ChainStrataError as error:
            LOGGER.error("job %s failed: %s; next try at its next time. %s", job.name, error.message, error.hint)  # noqa: TRY400  # a known error
        else:
            LOGGER.info("job %s: %s", job.name, done)
