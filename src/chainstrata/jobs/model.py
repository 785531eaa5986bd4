"""What a job is, when it is due, and what came of its runs. Data only."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Final, Protocol

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class When(Protocol):
    """The times at which a job is due. Its text says so to people."""

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

    def __str__(self) -> str:
        return f"every {_show(self.width)}"


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

    def __str__(self) -> str:
        return f"{'daily' if self.weekday is None else _DAYS[self.weekday]} at {self.at:%H:%M} UTC"


def _show(width: timedelta) -> str:
    for unit, size in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if width % size == timedelta(0):
            return unit if width == size else f"{width // size} {unit}s"
    return f"{width.total_seconds():g} seconds"


@dataclass(frozen=True, slots=True)
class Job:
    """Something to run whenever it is due: idempotent, safe to interrupt. `run` returns a line on what it did."""

    name: str
    when: When
    run: Callable[[], Awaitable[str]]
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a worker may be silent, in seconds, before its job is taken up by another.

    A worker that lives gives a sign every third of it, however long its job takes. The job of one that ended is taken up
    within one and a half leases while a node runs.
    """

    seconds: float = 30.0

    @property
    def sign_every(self) -> float:
        return self.seconds / 3

    @property
    def look_every(self) -> float:
        return self.seconds / 2


class AskedBy(StrEnum):
    """What a run is for: its time has come, an earlier one failed, or somebody wants it."""

    SCHEDULE = "schedule"
    RETRY = "retry"
    COMMAND = "command"
    API = "api"


class RunState(StrEnum):
    """`LOST`: its worker ended before it did."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job. `result` is what it did, `error` why it failed; `retryable`, whether that may pass."""

    id: int
    job: str
    asked_by: AskedBy
    worker: str
    state: RunState
    started_at: datetime
    finished_at: datetime | None = None
    seconds: float = 0.0
    result: str = ""
    error: str = ""
    error_code: str = ""
    retryable: bool = False


class JobState(StrEnum):
    """What a job is at. `QUEUED` waits for a worker."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job, when it is due next, and its last run. `failures` is how many runs in a row did not end well."""

    name: str
    doc: str
    schedule: str
    state: JobState
    due_at: datetime | None
    paused_at: datetime | None = None
    queued_at: datetime | None = None
    last: Run | None = None
    failures: int = 0
