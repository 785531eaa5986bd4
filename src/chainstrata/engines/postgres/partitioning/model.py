"""What the catalog says about partitions. Bounds are instants in UTC, the start inside and the end outside.

They come from the server's catalog or from an interval. A partition's name is for people and is never read.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

BEGINNING = datetime(2, 1, 1, tzinfo=UTC)
"""Stands for MINVALUE, -infinity and all that lies before; a year after Python's first, so that no zone can shift it out."""
END = datetime(9999, 1, 1, tzinfo=UTC)
"""Stands for MAXVALUE, infinity and all that lies after."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of time from `start`, inside, to `end`, outside."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"{show_instant(self.start)} to {show_instant(self.end)}"

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end

    def overlaps(self, other: "Span") -> bool:
        return self.start < other.end and other.start < self.end


def show_instant(instant: datetime) -> str:
    """Return an instant as people read it: no finer than it needs to be, in UTC."""
    if instant == BEGINNING:
        return "the beginning"
    if instant == END:
        return "the end"
    text = instant.astimezone(UTC).isoformat(sep=" ").removesuffix("+00:00")
    return text.removesuffix(":00").removesuffix(" 00:00")


class State(StrEnum):
    """Where a partition stands. It is `DETACHING` when a concurrent detach is under way or was cut short."""

    ATTACHED = "attached"
    DETACHING = "detaching"


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of a table. `default` holds what no other does; `oid` is 0 while it is only planned.

    `chunked_by` is set for what TimescaleDB calls a chunk of a hypertable: the time column of that. A `compressed` one is stored by
    columns, all of it.
    """

    schema: str
    name: str
    span: Span
    state: State = State.ATTACHED
    default: bool = False
    oid: int = 0
    size_bytes: int = 0
    rows_estimate: int = 0
    chunked_by: str = ""
    compressed: bool = False

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a table is in the server. `column` and `column_type` are its partition key, empty unless it is RANGE over one column.

    A hypertable is partitioned, too; `compressible` says that it is prepared for compressed chunks.
    """

    oid: int
    partitioned: bool
    column: str
    column_type: str
    hypertable: bool = False
    compressible: bool = False

    @property
    def by_time(self) -> bool:
        return self.column_type in {"timestamptz", "timestamp", "date"}
