"""How a backfill is cut into chunks, when a chunk is tried again, when all will be done. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from chainstrata.backfill.errors import BackfillRefused

MOST_CHUNKS: Final = 1_000_000
FIRST_PAUSE: Final = timedelta(seconds=5)
LONGEST_PAUSE: Final = timedelta(minutes=10)


def split(start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield chunks of at most `size` that cover all from `start` up to `end` once, in order.

    They begin at multiples of `size`, so that the same backfill asked for from another start has the same chunks but the first.
    """
    if size <= 0:
        raise BackfillRefused(f"a chunk cannot have {size} positions", hint="Give --chunk a positive number.")
    if start < 0 or end < start:
        raise BackfillRefused(f"there is nothing from {start} to {end}", hint="The end comes after the start, and neither is negative.")
    if count_chunks(start, end, size) > MOST_CHUNKS:
        enough = -(-(end - start) // (MOST_CHUNKS - 1))
        raise BackfillRefused(
            f"{end - start} positions in chunks of {size} are more than {MOST_CHUNKS} chunks", hint=f"Take chunks of {enough} or more."
        )
    return _split(start, end, size)


def _split(start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    while start < end:
        upper = min(end, (start // size + 1) * size)
        yield start, upper
        start = upper


def count_chunks(start: int, end: int, size: int) -> int:
    """Return how many chunks there will be."""
    return -(-end // size) - start // size if end > start else 0


def retry_pause(attempt: int) -> timedelta:
    """Return how long a chunk rests after so many attempts: twice as long each time, up to a longest."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(max(attempt - 1, 0), 16)))


def expect(done: int, seconds: float, left: int, now: datetime) -> tuple[float | None, datetime | None]:
    """Return positions per second and when the rest will be done, from what was done lately in how long; None while unknown."""
    if done <= 0 or seconds <= 0:
        return None, None
    rate = done / seconds
    try:
        return rate, now + timedelta(seconds=left / rate)
    except OverflowError:
        return rate, None
