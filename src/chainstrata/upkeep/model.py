"""What is kept up, and why. Data only."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ViewVerdict(StrEnum):
    """`CONCURRENTLY`: while it is read. `FIRST`: nobody can read it yet. `BLOCKING`: it has no unique index, so its readers would wait."""

    CONCURRENTLY = "concurrently"
    FIRST = "first"
    BLOCKING = "blocking"


@dataclass(frozen=True, slots=True)
class View:
    """A materialized view, and how it can be refreshed. `needs` are the materialized views it is made of."""

    schema: str
    name: str
    populated: bool
    unique_index: bool
    needs: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def verdict(self) -> ViewVerdict:
        if not self.populated:
            return ViewVerdict.FIRST
        return ViewVerdict.CONCURRENTLY if self.unique_index else ViewVerdict.BLOCKING


@dataclass(frozen=True, slots=True)
class Statistics:
    """A table whose statistics are stale. `changed` rows since it was analyzed; a partitioned table counts those of its partitions."""

    schema: str
    name: str
    partitioned: bool
    rows: int
    changed: int
    analyzed_at: datetime | None
    partitions_analyzed_at: datetime | None = None
    seconds: float = 0.0

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class IndexBloat:
    """A B-tree index and how much of it building it anew would give back.

    `measured`: by reading it (pgstattuple). Else estimated from the planner's statistics, which errs on the side of less.
    """

    schema: str
    name: str
    table: str
    size_bytes: int
    reclaimable_bytes: int
    measured: bool
    seconds: float = 0.0
    size_after: int | None = None

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def bloat(self) -> float:
        """The part of it that is not needed, from 0 to 1."""
        return self.reclaimable_bytes / self.size_bytes if self.size_bytes else 0.0
