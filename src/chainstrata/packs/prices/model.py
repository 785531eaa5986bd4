"""The closed lists of the prices pack: one source for the database, the code and the API."""

from enum import StrEnum


class CollectionType(StrEnum):
    """Why the collector ran."""

    COMPLETE = "complete"
    CONTINUOUS = "continuous"
    PRIORITY_REFRESH = "priority_refresh"
    MANUAL = "manual"


class CollectionState(StrEnum):
    """Where a run of the collector stands; all but running are final."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
