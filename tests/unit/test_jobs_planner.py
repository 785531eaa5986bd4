"""What comes round: when it is due, and that a failure does not end it."""

import asyncio
from datetime import UTC, datetime, time, timedelta

import pytest

from chainstrata.errors import UsageError
from chainstrata.node.schedule import Daily, Every, Job, Schedule, When


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("when", "moment", "due"),
    [
        (Every(timedelta(hours=1)), "2026-03-10T12:30", "2026-03-10T13:00"),
        (Every(timedelta(hours=1)), "2026-03-10T13:00", "2026-03-10T14:00"),
        (Daily(time(2, 0)), "2026-03-10T01:59", "2026-03-10T02:00"),
        (Daily(time(2, 0)), "2026-03-10T02:00", "2026-03-11T02:00"),
        (Daily(time(2, 0)), "2026-12-31T23:59", "2027-01-01T02:00"),
        (Daily(time(3, 0), weekday=6), "2026-03-10T12:00", "2026-03-15T03:00"),
        (Daily(time(3, 0), weekday=6), "2026-03-15T03:00", "2026-03-22T03:00"),
    ],
)
def test_a_job_is_due_at_the_next_of_its_times(when: When, moment: str, due: str) -> None:
    assert when.after(at(moment)) == at(due)


class Clock:
    """A clock that jumps to the next minute each time a job has run."""

    def __init__(self) -> None:
        self.now = at("2026-03-10T12:00:59.999")

    def __call__(self) -> datetime:
        return self.now


async def test_jobs_run_when_they_are_due_and_a_failure_is_told(caplog: pytest.LogCaptureFixture) -> None:
    clock, stop, ran = Clock(), asyncio.Event(), []

    async def work() -> str:
        ran.append(clock.now)
        clock.now += timedelta(seconds=59.999)
        if len(ran) == 3:
            stop.set()
        return "worked"

    async def fail() -> str:
        raise UsageError("cannot", hint="Do not.")

    minutely = Every(timedelta(minutes=1))
    schedule = Schedule([Job("fail", minutely, fail), Job("work", minutely, work)], clock=clock)

    async def advance() -> None:
        while not stop.is_set():
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)
            clock.now += timedelta(microseconds=200)

    async with asyncio.timeout(20):
        await asyncio.gather(schedule.run(stop), advance())
    assert len(ran) == 3
    assert "job fail failed: cannot" in caplog.text
