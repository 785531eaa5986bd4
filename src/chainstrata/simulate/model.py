"""What is asked of a stream, and what became of it. Data only."""

from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Protocol

from chainstrata.errors import UsageError


@dataclass(frozen=True, slots=True)
class Options:
    """How a stream runs.

    `rate` is rows a second, `span` how long to go on (None: until stopped), `start` the instant its own clock begins at (None: now).
    At `speed` 60 an hour of its clock passes in a minute: the same rate comes from a smaller world. `late`, `duplicates` and
    `malformed` are shares of the rows, from 0 to 1.
    """

    rate: float = 1_000.0
    span: timedelta | None = None
    seed: int = 1
    start: datetime | None = None
    speed: float = 1.0
    late: float = 0.0
    duplicates: float = 0.0
    malformed: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rate", "speed"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive (got {getattr(self, name):g})")
        for name in ("late", "duplicates", "malformed"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must be a share from 0 to 1 (got {getattr(self, name):g})", hint="0.01 is one row in a hundred.")
        if self.seed < 0:
            raise UsageError(f"seed must not be negative (got {self.seed})")

    @property
    def world_rate(self) -> float:
        """Rows a second of its own clock that the stream is to give, so that all rows sent come to the rate."""
        return self.rate / self.speed / (1 + self.duplicates + self.malformed)


class Answer(Protocol):
    """What became of rows that were sent; as ingest answers."""

    @property
    def accepted(self) -> int: ...
    @property
    def updated(self) -> int: ...
    @property
    def unchanged(self) -> int: ...
    @property
    def merged(self) -> int: ...
    @property
    def quarantined(self) -> int: ...
    @property
    def spooled(self) -> int: ...
    @property
    def repeated(self) -> bool: ...


@dataclass(slots=True)
class Counts:
    """Rows of one dataset. Of those `sent`, some were `late`, `duplicates` or `malformed`; each is in one of the counts after."""

    sent: int = 0
    late: int = 0
    duplicates: int = 0
    malformed: int = 0
    accepted: int = 0
    updated: int = 0
    unchanged: int = 0
    merged: int = 0
    quarantined: int = 0
    spooled: int = 0

    def add(self, answer: Answer, rows: int) -> None:
        """Count what was sent and what became of it."""
        self.sent += rows
        if answer.repeated:
            self.unchanged += rows
            return
        for name in ("accepted", "updated", "unchanged", "merged", "quarantined", "spooled"):
            setattr(self, name, getattr(self, name) + getattr(answer, name))

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(slots=True)
class Report:
    """What was sent: the stream's clock ran from `start` to `until`. `seconds` is how long that took, `behind_seconds` the most it lagged."""

    pack: str
    seed: int
    start: datetime
    until: datetime
    seconds: float = 0.0
    behind_seconds: float = 0.0
    begun: int = 0
    """Rows that the others stand on, sent at once and not part of the rate."""
    datasets: dict[str, Counts] = field(default_factory=dict)

    @property
    def total(self) -> Counts:
        return sum(self.datasets.values(), Counts())

    @property
    def rate(self) -> float:
        """Rows a second, but for those the others stand on."""
        return (self.total.sent - self.begun) / self.seconds if self.seconds else 0.0

    def as_document(self) -> dict[str, Any]:
        """Return the report as one document, totals included."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**own, "rate": self.rate, "total": self.total}
