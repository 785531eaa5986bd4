"""When a failed job is tried again, and what about jobs deserves attention. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from chainstrata.jobs.model import JobState, JobStatus, RunState

FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = timedelta(hours=1)
LATE: Final = timedelta(minutes=10)
"""How long after its time a job may begin before it counts as overdue."""


def retry_pause(failures: int) -> timedelta:
    """Return how long to wait after so many failures in a row: doubled each time, up to a longest."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(max(failures - 1, 0), 16)))


@dataclass(frozen=True, slots=True)
class Trouble:
    """A job that is not as it should be. `urgent`: it will not mend by itself before its next time."""

    code: str
    job: str
    message: str
    urgent: bool


def find_trouble(jobs: Iterable[JobStatus], now: datetime) -> Iterator[Trouble]:
    """Yield what is wrong: failed runs, lost ones that nobody took up, and jobs whose time passed without a run."""
    for job in jobs:
        last = job.last
        if last is not None and last.state in (RunState.FAILED, RunState.LOST):
            times = f" ({job.failures} times in a row)" if job.failures > 1 else ""
            yield Trouble("failed", job.name, f"its last run failed{times}: {last.error}", not last.retryable)
        late = _late_since(job, now)
        if late is not None:
            yield Trouble("overdue", job.name, f"it should have run at {late:%Y-%m-%d %H:%M} UTC, and no worker took it", False)


def _late_since(job: JobStatus, now: datetime) -> datetime | None:
    if job.state is JobState.QUEUED:
        since = job.queued_at
    elif job.state is JobState.WAITING:
        since = job.due_at
    else:
        return None
    return since if since is not None and now - since > LATE else None
