"""The closed lists of the insights pack: one source for the database, the code and the API."""

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a backfill job is. A job that failed or was cancelled can be resumed; it then has not ended any more."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}


class RangeStatus(StrEnum):
    """Where one chunk of a backfill job is."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class FlagType(StrEnum):
    INACCURATE = "inaccurate"
    MISLEADING = "misleading"
    SPAM = "spam"
