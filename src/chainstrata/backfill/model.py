"""How far a backfill is. Data only."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from chainstrata.packs.insights.model import JobStatus

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ChunkCounts:
    """Chunks by what they are at. `pending` wait, those to be tried again too."""

    pending: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        return self.pending + self.running + self.done + self.failed


@dataclass(frozen=True, slots=True)
class Progress:
    """A backfill of all positions from `start` up to, not including, `end`.

    `current` is the position below which all is done; `positions_done` counts those done beyond it too. `rate` is positions per
    second, as measured lately; `expected_at` is when it will be done at that rate. Both are None until something was measured.
    """

    job: UUID
    kind: str
    status: JobStatus
    start: int
    end: int
    current: int
    positions_done: int
    chunks: ChunkCounts
    rows: int
    started_at: datetime
    completed_at: datetime | None = None
    created_by: str = ""
    error: str = ""
    rate: float | None = None
    expected_at: datetime | None = None

    @property
    def share(self) -> float:
        """The part that is done, from 0 to 1."""
        return self.positions_done / (self.end - self.start) if self.end > self.start else 1.0


@dataclass(frozen=True, slots=True)
class WorkedChunk:
    """A chunk that a worker has in hand, and until when. `attempt` tells this lease from every other of the same chunk."""

    job: UUID
    kind: str
    start: int
    end: int
    attempt: int
    worker: str

    @property
    def name(self) -> str:
        """What its batches are called."""
        return f"backfill/{self.job}/{self.start}-{self.end}"


def to_time(position: int) -> datetime:
    """Return a position that counts seconds as an instant."""
    return EPOCH + timedelta(seconds=position)


def to_position(instant: datetime) -> int:
    """Return an instant as a position that counts seconds, rounded down."""
    return (instant - EPOCH) // timedelta(seconds=1)
