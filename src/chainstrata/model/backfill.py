"""What a kind of backfill is: a name, and the function that fetches a chunk of past blocks or time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID


class Span(StrEnum):
    """What the positions of a backfill count: blocks of a chain, or seconds since 1970 UTC."""

    BLOCKS = "blocks"
    TIME = "time"


class Chunk(Protocol):
    """A part of a backfill, as its handler gets it: all positions from `start` up to, not including, `end`."""

    @property
    def job(self) -> UUID: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def start_time(self) -> datetime:
        """The start as an instant, where positions are seconds."""
        ...

    @property
    def end_time(self) -> datetime: ...
    @property
    def attempt(self) -> int:
        """1 at first, one more each time it is tried again."""
        ...

    async def ingest(self, dataset: str, source: Any, *, part: str = "") -> Any:
        """Take rows into a dataset, once: the batch is named after the chunk, so that the same again changes nothing.

        A handler that gives rows of one dataset in several goes names each `part`. Raises if the chunk was cancelled.
        """
        ...


@dataclass(frozen=True, slots=True)
class Backfill:
    """A kind of backfill. `fetch` gets a chunk and ingests it by `chunk.ingest`; whatever it raises, the chunk is tried again.

    `chunk` is how many positions a chunk has unless said otherwise, `attempts` how often one is tried before it counts as failed.
    """

    name: str
    fetch: Callable[[Chunk], Awaitable[object]]
    doc: str = ""
    span: Span = Span.BLOCKS
    chunk: int = 1000
    attempts: int = 5
