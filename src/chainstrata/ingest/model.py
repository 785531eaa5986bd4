"""What is asked of ingest, and what it answers."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from psycopg import sql

from chainstrata.engines.postgres import Connection
from chainstrata.packs.strata.quarantine import Reason, Refused


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a batch. `repeated`: a batch of this name was taken before, and this one changed nothing.

    Every row is in exactly one of the counts: `accepted` written anew, `updated` over one with its key, `unchanged` because
    nothing new was in it, `merged` into roll-ups because it came too late to be kept, `quarantined` with its reason, `spooled`
    because PostgreSQL was away: safe on disk, and written by itself when it is back. `outside` is how many of the quarantined
    are of times that no partition holds.
    """

    dataset: str
    accepted: int = 0
    updated: int = 0
    unchanged: int = 0
    merged: int = 0
    quarantined: int = 0
    lsn: str = ""
    repeated: bool = False
    spooled: int = 0
    outside: int = 0

    @property
    def hint(self) -> str:
        """Return what puts rows in that only lack a partition; nothing if there are none."""
        if not self.outside:
            return ""
        return (
            f"{self.outside} rows are of times that no partition holds, as history is and what a wrong clock says."
            f" `chainstrata quarantine replay {self.dataset} --make-partitions` makes partitions for them"
            f" and puts them in; `chainstrata partitions ensure {self.dataset} --from … --to …` makes them before more is sent."
        )

    @property
    def rows(self) -> int:
        return self.accepted + self.updated + self.unchanged + self.merged + self.quarantined + self.spooled

    def __add__(self, other: "Answer") -> "Answer":
        return Answer(
            self.dataset,
            self.accepted + other.accepted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.merged + other.merged,
            self.quarantined + other.quarantined,
            other.lsn or self.lsn,
            self.repeated and other.repeated,
            self.spooled + other.spooled,
            self.outside + other.outside,
        )


def count_outside(refusals: Sequence[Refused]) -> int:
    """Return how many rows were refused because no partition holds their time."""
    return sum(one.reason is Reason.NO_PARTITION for one in refusals)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a named batch that is a transaction of its own: the rows from `start` to `end`, of so many."""

    start: int
    end: int
    of: int


Witness = Callable[[Connection, Answer], Awaitable[None]]
"""Records what becomes of rows, in the transaction that writes them."""


class LateRows(Protocol):
    """What takes in rows whose partition has left: the roll-ups. They never meet ingest but here."""

    async def gone_before(self, source_name: str) -> datetime | None:
        """Return the instant before which a dataset's rows have left, or None."""
        ...

    def takes_late(self, dataset_name: str) -> bool:
        """Return whether late rows are merged; else they go to quarantine."""
        ...

    async def fold_in(self, connection: Connection, dataset_name: str, relation: sql.Composable, *, rows: int, apart: bool) -> bool:
        """Add new rows, given as a relation, to their buckets in the caller's transaction; False: they were not, mark them.

        `apart`: no two of them are of one key but for the time.
        """
        ...

    async def merge_late(self, connection: Connection, dataset_name: str, relation: sql.Composable) -> None:
        """Merge rows, given as a relation shaped like the dataset's table, in the caller's transaction."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """Rows for one table of the server: a partition, or the dataset's own table when it has none."""

    schema: str
    table: str
    rows: Any
    newest: int | None = None
    """Time of its newest row in microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What a batch touches of the roll-ups: whole buckets, and single keys of buckets. Times in UTC."""

    whole: Sequence[tuple[datetime, datetime]] = ()
    keys: Sequence[Sequence[Any]] = ()
    """One list for each marked column."""
    starts: Sequence[datetime] = ()
    ends: Sequence[datetime] = ()
