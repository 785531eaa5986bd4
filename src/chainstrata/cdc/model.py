"""The words of change capture: relations, transactions, batches. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from chainstrata.cdc.messages import NONE, Messages
from chainstrata.engines.postgres.arrow.decode import Array

POSTGRES_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
INSERT, UPDATE, DELETE, TRUNCATE = b"I"[0], b"U"[0], b"D"[0], b"T"[0]


def show_lsn(lsn: int) -> str:
    """Return a position of the log as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """Return a position of the log as a number, which orders and subtracts."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def instant(microseconds: int) -> datetime:
    """Return a PostgreSQL timestamp as an instant."""
    return POSTGRES_EPOCH + timedelta(microseconds=microseconds)


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """A column as the stream announces it. `key` says that it is part of the replica identity."""

    name: str
    type_oid: int
    modifier: int
    key: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the stream announces it; a partitioned one stands for all its partitions."""

    oid: int
    schema: str
    table: str
    identity: str
    """`d` the primary key, `f` the whole row, `i` an index, `n` nothing."""
    columns: tuple[RelationColumn, ...]

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(slots=True)
class Transaction:
    """A committed transaction, or the part of it that is in a batch.

    `commit_lsn` is where its commit record stands, and versions its rows; a reader that has applied all of it has
    everything before `end_lsn`, which is 0 until the whole transaction is read.
    """

    xid: int
    commit_lsn: int
    committed_at: int
    first: int
    """Where its changes begin in the batch."""
    end_lsn: int = 0


@dataclass(slots=True)
class Batch:
    """Changes in the order of their commits, as they came. Decoding is left to the sink, which knows what it needs.

    `messages` are inserts, updates, deletes and truncates as pgoutput sends them, without transaction numbers.
    """

    relations: Mapping[int, Relation]
    transactions: list[Transaction] = field(default_factory=list)
    messages: Messages = NONE
    end_lsn: int = 0
    """Everything before this has been read, and is in this batch or in an earlier one."""
    marks: list[tuple[int, bytes]] = field(default_factory=list)
    """Messages written into the log by ourselves, with their positions: heartbeats."""

    def __bool__(self) -> bool:
        return bool(len(self.messages) or self.transactions)


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """The changes of one relation in a batch, in order, each with the commit position of its transaction."""

    relation: Relation
    messages: Messages
    commit_lsns: Array

    def __len__(self) -> int:
        return len(self.messages)

    def take(self, places: Array | slice) -> "Changes":
        """Return some of them, by ascending number or by mask."""
        return Changes(self.relation, self.messages.take(places), self.commit_lsns[places])

    def since(self, lsn: int) -> "Changes":
        """Return those of transactions that were committed at a position or after it."""
        first = int(np.searchsorted(self.commit_lsns, np.uint64(lsn)))
        return self.take(slice(first, None)) if first else self


def group(batch: Batch) -> list[Changes]:
    """Return the changes of a batch by relation. A truncate of several tables is in each."""
    messages = batch.messages
    # Without a transaction there is nothing in the batch but how far it goes.
    if not len(messages):
        return []
    counts = np.diff([*(transaction.first for transaction in batch.transactions), len(messages)])
    lsns = np.repeat(np.array([transaction.commit_lsn for transaction in batch.transactions], dtype=np.uint64), counts)
    truncates = np.flatnonzero(messages.kinds == TRUNCATE)
    oids = messages.numbers(1)
    oids[truncates] = 0
    emptied = {int(place): _truncated(messages.one(int(place))) for place in truncates}
    if not emptied and (oids == oids[0]).all():
        return [Changes(batch.relations[int(oids[0])], messages, lsns)]
    found = []
    for oid in sorted({*np.unique(oids).tolist(), *(oid for names in emptied.values() for oid in names)} - {0}):
        members = oids == oid
        members[[place for place, names in emptied.items() if oid in names]] = True
        found.append(Changes(batch.relations[oid], messages, lsns).take(members))
    return found


def _truncated(message: bytes) -> list[int]:
    """Return the relations that a truncate empties."""
    count = int.from_bytes(message[1:5])
    return [int.from_bytes(message[6 + 4 * n : 10 + 4 * n]) for n in range(count)]
