"""When jobs are due, when a failed one is tried again, and which deserve attention."""

from datetime import UTC, datetime, time, timedelta

import pytest

from chainstrata.jobs import AskedBy, Daily, Every, JobState, JobStatus, Run, RunState, When, find_trouble
from chainstrata.jobs.planner import LONGEST_PAUSE, retry_pause


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


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (Every(timedelta(hours=1)), "every hour"),
        (Every(timedelta(minutes=15)), "every 15 minutes"),
        (Every(timedelta(seconds=2.5)), "every 2.5 seconds"),
        (Daily(time(2, 0)), "daily at 02:00 UTC"),
        (Daily(time(4, 30), weekday=6), "Sunday at 04:30 UTC"),
    ],
)
def test_a_schedule_says_in_words_when_it_is(when: When, text: str) -> None:
    assert str(when) == text


def test_a_failed_job_is_tried_again_after_longer_and_longer_pauses() -> None:
    pauses = [retry_pause(failures) for failures in range(1, 12)]
    assert [pause.total_seconds() / 60 for pause in pauses[:4]] == [1, 2, 4, 8]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE == retry_pause(10_000)


NOW = at("2026-03-10T12:00")


def status(state: JobState = JobState.WAITING, *, due: str = "2026-03-10T13:00", queued: str = "", last: Run | None = None) -> JobStatus:
    queued_at = at(queued) if queued else None
    due_at = None if state is JobState.PAUSED else at(due)
    return JobStatus("retention", "", "daily", state, due_at, queued_at=queued_at, last=last, failures=2 if last and last.error else 0)


def ended(state: RunState, *, retryable: bool = False) -> Run:
    error = "" if state is RunState.SUCCEEDED else "disk full"
    return Run(1, "retention", AskedBy.SCHEDULE, "host:1", state, NOW, NOW, error=error, retryable=retryable)


@pytest.mark.parametrize(
    ("job", "found"),
    [
        pytest.param(status(), [], id="never ran, not due"),
        pytest.param(status(last=ended(RunState.SUCCEEDED)), [], id="went well"),
        pytest.param(status(last=ended(RunState.FAILED)), [("failed", True)], id="failed"),
        pytest.param(status(last=ended(RunState.FAILED, retryable=True)), [("failed", False)], id="failed, tried again"),
        pytest.param(status(last=ended(RunState.LOST, retryable=True)), [("failed", False)], id="lost"),
        pytest.param(status(due="2026-03-10T11:55"), [], id="a little late"),
        pytest.param(status(due="2026-03-10T11:00"), [("overdue", False)], id="overdue"),
        pytest.param(status(JobState.QUEUED, queued="2026-03-10T11:00"), [("overdue", False)], id="nobody takes it from the queue"),
        pytest.param(status(JobState.RUNNING, due="2026-03-10T11:00"), [], id="runs long"),
        pytest.param(status(JobState.PAUSED), [], id="paused"),
    ],
)
def test_jobs_that_failed_or_never_began_are_found(job: JobStatus, found: list[tuple[str, bool]]) -> None:
    assert [(trouble.code, trouble.urgent) for trouble in find_trouble([job], NOW)] == found
