"""Questions about insights: what users think of them, how services do, how far jobs are."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from chainstrata.engines.postgres import load_queries
from chainstrata.packs.insights.model import FlagType, JobStatus
from chainstrata.packs.insights.rows import BackfillJob, InsightFeedback, SystemMetric, Tables
from chainstrata.packs.repository import question

QUERIES: Final = load_queries("chainstrata.packs.insights")
_FIVE_MINUTES: Final = 300
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)
_JOBS: Final = "a job is written over as it goes on"
_FEEDBACK: Final = "what a user says of an insight is replaced when it is said again"


@dataclass(frozen=True, slots=True)
class JobProgress:
    id: UUID
    job_type: str
    status: JobStatus
    progress_percentage: Decimal | None
    start_block: int
    current_block: int
    end_block: int
    estimated_completion: datetime | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class InsightStatistics:
    """What users think of one insight. The mean is exact, None where nobody rated it."""

    insight_id: str
    total_ratings: int
    average_rating: Decimal | None
    total_comments: int
    total_flags: int


@dataclass(frozen=True, slots=True)
class RatingCount:
    rating: int
    count: int


@dataclass(frozen=True, slots=True)
class Comment:
    user_id: str
    comment: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class FlaggedInsight:
    insight_id: str
    flag_count: int
    flag_types: list[FlagType]


@dataclass(frozen=True, slots=True)
class MetricValue:
    timestamp: datetime
    instance: str
    metric_value: float
    unit: str


@dataclass(frozen=True, slots=True)
class MetricAt:
    metric_type: str
    instance: str
    timestamp: datetime
    metric_value: float
    unit: str
    metric_metadata: Any


@dataclass(frozen=True, slots=True)
class HourlyMetric:
    hour: datetime
    unit: str
    avg_value: float
    min_value: float
    max_value: float
    samples: int


@dataclass(frozen=True, slots=True)
class ServiceLoad:
    service_name: str
    avg_value: float
    samples: int


class Insights(Tables):
    """The insights pack."""

    @question(now=_JOBS)
    async def running_jobs(self) -> list[BackfillJob]:
        """Return the jobs that run, newest first."""
        return await self._all(QUERIES.list_running_jobs, BackfillJob)

    @question(now=_JOBS, job="00000000-0000-0000-0000-000000000000")
    async def job_progress(self, job: UUID) -> JobProgress | None:
        """Return how far one job is."""
        return await self._one(QUERIES.get_job_progress, JobProgress, id=job)

    @question(now=_JOBS)
    async def failed_jobs(self, since: datetime | None = None) -> list[BackfillJob]:
        """Return the jobs that failed since an instant, by default in the last 24 hours, by when they failed."""
        return await self._all(QUERIES.list_failed_jobs, BackfillJob, since=since or _ago(hours=24))

    @question(now=_JOBS)
    async def job_history(self, job_type: str | None = None, before: datetime | None = None, limit: int = 100) -> list[BackfillJob]:
        """Return jobs of one kind or of all, newest first."""
        return await self._all(QUERIES.list_jobs, BackfillJob, job_type=job_type, before=before or datetime.now(UTC), limit=limit)

    # Feedback --------------------------------------------------------------------------------------------------------

    async def give_feedback(
        self,
        insight_id: str,
        user_id: str,
        *,
        rating: int | None = None,
        comment: str | None = None,
        flag_type: FlagType | None = None,
        flag_reason: str | None = None,
    ) -> InsightFeedback:
        """Note what a user thinks of an insight: a rating from 1 to 5, a comment, a flag. Given again it replaces what was said."""
        given = await self._value(
            QUERIES.give_feedback,
            insight_id=insight_id,
            user_id=user_id,
            rating=rating,
            comment=comment,
            flag_type=flag_type,
            flag_reason=flag_reason,
        )
        return await self.feedback.need(given)

    @question(now=_FEEDBACK, insight_id="insight-0001")
    async def insight_statistics(self, insight_id: str) -> InsightStatistics:
        """Return ratings, their mean, comments and flags of one insight; of one nobody spoke of, none of each."""
        found = await self._one(QUERIES.get_insight_statistics, InsightStatistics, insight_id=insight_id)
        if found is None:
            raise AssertionError("one row always")
        return found

    @question(now=_FEEDBACK, insight_id="insight-0001")
    async def rating_distribution(self, insight_id: str) -> list[RatingCount]:
        """Return how often each rating was given to one insight."""
        return await self._all(QUERIES.list_rating_distribution, RatingCount, insight_id=insight_id)

    @question(now=_FEEDBACK, insight_id="insight-0001")
    async def recent_comments(self, insight_id: str, limit: int = 20) -> list[Comment]:
        """Return the latest comments on one insight."""
        return await self._all(QUERIES.list_recent_comments, Comment, insight_id=insight_id, limit=limit)

    @question(now=_FEEDBACK, at_least=3)
    async def flagged_insights(self, at_least: int = 3) -> list[FlaggedInsight]:
        """Return insights flagged at least so often, with the kinds of flags, the most flagged first."""
        return await self._all(QUERIES.list_flagged_insights, FlaggedInsight, at_least=at_least)

    @question(now=_FEEDBACK, user_id="user-1")
    async def feedback_of_user(self, user_id: str, before: datetime | None = None, limit: int = 100) -> list[InsightFeedback]:
        """Return what one user said, newest first."""
        return await self._all(QUERIES.list_feedback_of_user, InsightFeedback, user_id=user_id, before=before or _END_OF_TIME, limit=limit)

    # Metrics ---------------------------------------------------------------------------------------------------------

    @question(of="metrics", service_name="web-api", metric_type="cpu")
    async def recent_metrics(
        self, service_name: str, metric_type: str, since: datetime | None = None, as_of: datetime | None = None
    ) -> list[MetricValue]:
        """Return one type of metric of one service since an instant, by default of the last hour, newest first."""
        begin, end = since or _ago(as_of, hours=1), as_of or _END_OF_TIME
        return await self._all(
            QUERIES.list_recent_metrics, MetricValue, service_name=service_name, metric_type=metric_type, since=begin, until=end
        )

    @question(of="metrics", service_name="web-api", metric_type="latency")
    async def hourly_metrics(
        self,
        service_name: str,
        metric_type: str,
        since: datetime | None = None,
        until: datetime | None = None,
        as_of: datetime | None = None,
    ) -> list[HourlyMetric]:
        """Return mean, lowest and highest value by hour, by default of the last 24 hours, from the measurements.

        With `as_of`, from those up to then: the hour of that instant is what it was by then.
        """
        end = min(until or datetime.now(UTC), as_of or _END_OF_TIME)
        begin = since or end - timedelta(hours=24)
        return await self._all(
            QUERIES.list_hourly_metrics, HourlyMetric, service_name=service_name, metric_type=metric_type, since=begin, until=end
        )

    @question(of="metrics", service_name="feature-engine", at="2026-11-20T11:31:00Z")
    async def metrics_at(
        self, service_name: str, at: datetime, window_seconds: int = _FIVE_MINUTES, as_of: datetime | None = None
    ) -> list[MetricAt]:
        """Return every metric of one service within a window, by default of five minutes, that starts at an instant."""
        window, end = timedelta(seconds=window_seconds), as_of or _END_OF_TIME
        return await self._all(QUERIES.list_metrics_at, MetricAt, service_name=service_name, at=at, window=window, until=end)

    @question(of="metrics", limit=80)
    async def services_above(
        self,
        limit: float = 80,
        metric_type: str = "cpu",
        unit: str = "percent",
        since: datetime | None = None,
        as_of: datetime | None = None,
    ) -> list[ServiceLoad]:
        """Return services whose mean of one type of metric is above a limit, by default in the last hour, the highest first."""
        begin, end = since or _ago(as_of, hours=1), as_of or _END_OF_TIME
        return await self._all(
            QUERIES.list_services_above, ServiceLoad, metric_type=metric_type, unit=unit, since=begin, until=end, limit=limit
        )

    @question(of="metrics", upto="until", since="2026-11-20T17:00:00Z", until="2026-11-20T17:05:00Z")
    async def metrics_between(self, since: datetime, until: datetime) -> list[SystemMetric]:
        """Return every metric over a span of time."""
        return await self._all(QUERIES.list_metrics_between, SystemMetric, since=since, until=until)


def _ago(moment: datetime | None = None, *, hours: int) -> datetime:
    now = datetime.now(UTC)
    return min(moment or now, now) - timedelta(hours=hours)


REPOSITORY = Insights
