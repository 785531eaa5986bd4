"""The words of change capture: relations, transactions, batches. Data only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

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
    messages: list[bytes] = field(default_factory=list)
    end_lsn: int = 0
    """Everything before this has been read, and is in this batch or in an earlier one."""
    marks: list[tuple[int, bytes]] = field(default_factory=list)
    """Messages written into the log by ourselves, with their positions: heartbeats."""

    def __bool__(self) -> bool:
        return bool(self.messages or self.transactions)


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of one relation in a batch, in order, each with the commit position of its transaction."""

    relation: Relation
    messages: Sequence[bytes]
    commit_lsns: Sequence[int]


def group(batch: Batch) -> list[Changes]:
    """Return the changes of a batch by relation. A truncate of several tables is in each."""
    found: dict[bytes, tuple[list[bytes], list[int]]] = {}
    ends = [transaction.first for transaction in batch.transactions[1:]] + [len(batch.messages)]
    # Without a transaction there is nothing in the batch but how far it goes.
    for transaction, end in zip(batch.transactions, ends, strict=False):
        lsn = transaction.commit_lsn
        for message in batch.messages[transaction.first : end]:
            if message[0] == TRUNCATE:
                count = int.from_bytes(message[1:5])
                targets = [message[6 + 4 * n : 10 + 4 * n] for n in range(count)]
            else:
                targets = [message[1:5]]
            for target in targets:
                if target not in found:
                    found[target] = ([], [])
                messages, lsns = found[target]
                messages.append(message)
                lsns.append(lsn)
    return [Changes(batch.relations[int.from_bytes(oid)], *lists) for oid, lists in found.items()]
