"""The messages of logical replication that steer: what pgoutput says besides rows, and what we answer. Pure.

Rows themselves are decoded a batch at a time, in `tuples`.
"""

import struct
from dataclasses import dataclass
from typing import Final

from chainstrata.cdc.errors import StreamBroken
from chainstrata.cdc.model import Relation, RelationColumn

HEADER: Final = 25
"""Bytes before the message in each piece of the stream: kind, position, end of the log, clock."""
WAL, KEEPALIVE = b"w"[0], b"k"[0]
(BEGIN, COMMIT, ORIGIN, RELATION, TYPE, MESSAGE) = b"BCORYM"
(STREAM_START, STREAM_STOP, STREAM_COMMIT, STREAM_ABORT) = b"SEcA"
ROWS: Final = frozenset(b"IUD")

_HEADER: Final = struct.Struct(">cQQQ")
_KEEPALIVE: Final = struct.Struct(">cQQB")
_BEGIN: Final = struct.Struct(">cQQI")
_COMMIT: Final = struct.Struct(">cBQQQ")
_STREAM_COMMIT: Final = struct.Struct(">cIBQQQ")
_STATUS: Final = struct.Struct(">cQQQQB")


@dataclass(frozen=True, slots=True)
class Begin:
    """The start of a committed transaction."""

    commit_lsn: int
    committed_at: int
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The end of a transaction."""

    commit_lsn: int
    end_lsn: int
    committed_at: int


def read_keepalive(data: bytes) -> tuple[int, bool]:
    """Return the end of the server's log, and whether it wants an answer at once."""
    _, end, _, reply = _KEEPALIVE.unpack(data[:18])
    return end, bool(reply)


def read_begin(message: bytes) -> Begin:
    _, lsn, when, xid = _BEGIN.unpack(message)
    return Begin(lsn, when, xid)


def read_commit(message: bytes) -> Commit:
    _, _, lsn, end, when = _COMMIT.unpack(message)
    return Commit(lsn, end, when)


def read_stream_commit(message: bytes) -> tuple[int, Commit]:
    """Return the transaction's number and its end."""
    _, xid, _, lsn, end, when = _STREAM_COMMIT.unpack(message)
    return xid, Commit(lsn, end, when)


def read_stream_abort(message: bytes) -> tuple[int, int]:
    """Return the transaction's number and that of the part of it which was undone."""
    return int.from_bytes(message[1:5]), int.from_bytes(message[5:9])


def read_relation(message: bytes) -> Relation:
    """Return a table as announced. `message` bears no transaction number."""
    try:
        oid = int.from_bytes(message[1:5])
        schema, at = _text(message, 5)
        table, at = _text(message, at)
        identity = chr(message[at])
        count = int.from_bytes(message[at + 1 : at + 3])
        at += 3
        columns = []
        for _ in range(count):
            name, after = _text(message, at + 1)
            kind, modifier = struct.unpack_from(">Ii", message, after)
            columns.append(RelationColumn(name, kind, modifier, bool(message[at] & 1)))
            at = after + 8
    except (ValueError, IndexError, struct.error) as error:
        raise StreamBroken(f"a relation message of {len(message)} bytes cannot be read: {error}") from error
    # An empty name is how the protocol spells pg_catalog.
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns))


def read_message(message: bytes) -> tuple[int, str, bytes]:
    """Return position, prefix and content of a message that somebody wrote into the log."""
    lsn = int.from_bytes(message[2:10])
    prefix, at = _text(message, 10)
    size = int.from_bytes(message[at : at + 4])
    return lsn, prefix, message[at + 4 : at + 4 + size]


def status(written: int, flushed: int, clock: int, *, reply: bool = False) -> bytes:
    """Return the answer that tells the server how far we are. It may forget what is before `flushed`."""
    return _STATUS.pack(b"r", written, flushed, flushed, clock, reply)


def _text(message: bytes, at: int) -> tuple[str, int]:
    end = message.index(0, at)
    return message[at:end].decode(), end + 1
