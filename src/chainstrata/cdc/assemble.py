"""From the stream's messages to batches of whole transactions. No connection, no clock.

A transaction comes in one piece once it is committed, or, if it is large and the server can, in pieces while it runs, between
those of others. Pieces are kept aside, in memory and beyond a size in a file, until the transaction commits; those of a part of it that
was rolled back are left out. A batch ends wherever it is cut: in the middle of a large transaction too, which goes on in the next.

Rows are never looked at one by one: what lies between two messages that steer is added to the batch as it is.
"""

import struct
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

import numpy as np

from chainstrata.cdc import wire
from chainstrata.cdc.errors import StreamBroken
from chainstrata.cdc.messages import Messages, Part, join
from chainstrata.cdc.model import TRUNCATE, Batch, Relation, Transaction

HEARTBEAT: Final = "chainstrata.heartbeat"
AHEAD: Final = 3
"""Full batches that may wait; what comes after them is left as it is until there is room."""
_IN_MEMORY: Final = 16 * 1024 * 1024
_BLOCK: Final = struct.Struct("=QQ")
_PART: Final = 4
"""Bytes of the number that says which part of a transaction a message belongs to."""
_ROW: Final = np.zeros(256, dtype=bool)
_ROW[[*wire.ROWS, TRUNCATE]] = True


class _Spool:
    """The pieces of a transaction under way: each message with the number of the part of the transaction it belongs to."""

    def __init__(self, directory: str | None) -> None:
        self._file: IO[Any] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=directory)  # noqa: SIM115  # closed by close()
        self._undone: set[int] = set()

    def add(self, messages: Messages) -> None:
        """Keep messages as they came, their part's number in bytes 1 to 5."""
        if len(messages):
            begin, end = int(messages.start[0]), int(messages.start[-1] + messages.length[-1])
            self._file.write(_BLOCK.pack(len(messages), end - begin))
            self._file.write((messages.start - begin).tobytes() + messages.length.tobytes())
            self._file.write(messages.data[begin:end].tobytes())

    def undo(self, part: int) -> None:
        self._undone.add(part)

    def replay(self) -> Iterator[Messages]:
        """Yield what is left of the transaction, without numbers of parts."""
        self._file.seek(0)
        while head := self._file.read(_BLOCK.size):
            count, size = _BLOCK.unpack(head)
            start, length = np.frombuffer(self._file.read(16 * count), dtype=np.int64).reshape(2, count)
            messages = Messages(np.frombuffer(bytearray(self._file.read(size)), dtype=np.uint8), start, length)
            kinds = messages.kinds
            if self._undone:
                # What a table looks like is announced once, also if the part that came upon it is undone.
                keep = ~np.isin(messages.numbers(1), list(self._undone)) | (kinds == wire.RELATION)
                messages, kinds = messages.take(keep), kinds[keep]
            messages = messages.skip(_PART)
            messages.data[messages.start] = kinds
            yield messages

    def close(self) -> None:
        self._file.close()


@dataclass(slots=True)
class _Replay:
    """A transaction that is being read back after its commit came."""

    xid: int
    rest: Iterator[Messages]
    end_lsn: int


class Assembler:
    """Takes the stream's messages as they come, and gives batches."""

    def __init__(self, *, most_bytes: int, spool_directory: str | None = None) -> None:
        self._most_bytes = most_bytes
        self._spool_directory = spool_directory
        self._relations: dict[int, Relation] = {}
        self._spools: dict[int, _Spool] = {}
        self._streaming: int | None = None
        self._begun: Transaction | None = None
        self._unread: deque[Messages | _Replay] = deque()
        self._finished: list[Batch] = []
        self._batch = Batch(self._relations)
        self._parts: list[Part] = []
        self._count = 0
        self._bytes = 0

    @property
    def settled(self) -> bool:
        """Whether every transaction that was committed so far is in a batch that was taken."""
        nothing = self._begun is None and not self._unread and not self._finished
        return nothing and not self._count and not self._batch and not self._batch.marks

    @property
    def idle(self) -> bool:
        """Whether nothing is under way at all, uncommitted pieces included."""
        return self.settled and not self._spools

    @property
    def waiting(self) -> int:
        """How many batches have grown full."""
        return len(self._finished)

    @property
    def behind(self) -> bool:
        """Whether something that came was not looked at yet, for want of room."""
        return bool(self._unread)

    def feed(self, messages: Messages) -> None:
        """Take messages of the stream."""
        if len(messages):
            self._unread.append(messages)
        self.go_on()

    def go_on(self) -> None:
        """Look at what came, as long as there is room for batches."""
        while self._unread and len(self._finished) < AHEAD:
            piece = self._unread.popleft()
            if isinstance(piece, Messages):
                self._look_through(piece)
            elif (block := next(piece.rest, None)) is not None:
                self._unread.appendleft(piece)
                self._look_through(block)
            else:
                self._drop(piece.xid)
                self._commit(piece.end_lsn)

    def take(self) -> list[Batch]:
        """Return what is there, in order, whole or not."""
        self._cut()
        taken, self._finished = self._finished, []
        return taken

    def close(self) -> None:
        """Let go of what was kept aside. What came and was not looked at stays unread, so that nothing is taken for done."""
        for xid in list(self._spools):
            self._drop(xid)

    def _look_through(self, messages: Messages) -> None:
        """Follow the messages that steer, and add or put aside what is between them."""
        kinds = messages.kinds
        at = 0
        for place in np.flatnonzero(~_ROW[kinds]).tolist():
            kind = int(kinds[place])
            if self._streaming is not None and kind != wire.STREAM_STOP:
                continue
            self._pass_on(messages, at, place)
            at = place + 1
            replay = self._steer(kind, messages.one(place))
            if replay is not None:
                if at < len(messages):
                    self._unread.appendleft(messages.take(slice(at, None)))
                self._unread.appendleft(replay)
                return
        self._pass_on(messages, at, len(messages))

    def _pass_on(self, messages: Messages, first: int, end: int) -> None:
        """Add rows to the batch, and end it wherever it is full; or put them aside if they are of a transaction under way."""
        if self._streaming is not None:
            self._spools[self._streaming].add(messages.take(slice(first, end)))
            return
        while first < end:
            sizes = np.cumsum(messages.length[first:end])
            fitting = int(np.searchsorted(sizes, self._most_bytes - self._bytes)) + 1
            last = min(first + fitting, end)
            self._parts.append((messages, first, last))
            self._count += last - first
            self._bytes += int(sizes[last - first - 1])
            first = last
            if self._bytes >= self._most_bytes:
                self._cut()

    def _steer(self, kind: int, message: bytes) -> _Replay | None:
        """Follow a message; return the transaction that is to be read back now, if it says so."""
        if kind == wire.BEGIN:
            begin = wire.read_begin(message)
            self._begin(Transaction(begin.xid, begin.commit_lsn, begin.committed_at, self._count))
        elif kind == wire.COMMIT:
            self._commit(wire.read_commit(message).end_lsn)
        elif kind == wire.RELATION:
            self._relate(wire.read_relation(message))
        elif kind == wire.MESSAGE:
            lsn, prefix, content = wire.read_message(message)
            if prefix == HEARTBEAT:
                self._batch.marks.append((lsn, content))
        elif kind in (wire.TYPE, wire.ORIGIN):
            pass
        elif kind == wire.STREAM_COMMIT:
            return self._commit_streamed(message)
        else:
            self._steer_stream(kind, message)
        return None

    def _steer_stream(self, kind: int, message: bytes) -> None:
        if kind == wire.STREAM_START:
            self._streaming = int.from_bytes(message[1:5])
            if self._streaming not in self._spools:
                self._spools[self._streaming] = _Spool(self._spool_directory)
        elif kind == wire.STREAM_STOP:
            self._streaming = None
        elif kind == wire.STREAM_ABORT:
            whole, part = wire.read_stream_abort(message)
            if whole == part:
                self._drop(whole)
            elif whole in self._spools:
                self._spools[whole].undo(part)
        else:
            raise StreamBroken(f"a message of kind {chr(kind)!r} came, which this version does not know")

    def _commit_streamed(self, message: bytes) -> _Replay:
        xid, commit = wire.read_stream_commit(message)
        self._begin(Transaction(xid, commit.commit_lsn, commit.committed_at, self._count))
        spool = self._spools.get(xid)
        return _Replay(xid, spool.replay() if spool is not None else iter(()), commit.end_lsn)

    def _drop(self, xid: int) -> None:
        spool = self._spools.pop(xid, None)
        if spool is not None:
            spool.close()

    def _begin(self, transaction: Transaction) -> None:
        if self._begun is not None:
            raise StreamBroken(f"transaction {transaction.xid} begins within transaction {self._begun.xid}")
        self._begun = transaction
        self._batch.transactions.append(transaction)

    def _commit(self, end_lsn: int) -> None:
        if self._begun is None:
            raise StreamBroken("a transaction ends that did not begin")
        self._begun.end_lsn = end_lsn
        self._begun = None
        batch = self._batch
        batch.end_lsn = end_lsn
        if batch.transactions[-1].first == self._count:
            # Nothing of it is ours.
            batch.transactions.pop()

    def _relate(self, relation: Relation) -> None:
        known = self._relations.get(relation.oid)
        if known == relation:
            return
        if known is not None and self._count:
            self._cut()
        # Batches already cut keep what they were read with.
        self._relations = {**self._relations, relation.oid: relation}
        self._batch.relations = self._relations

    def _cut(self) -> None:
        """End the batch here and begin the next, with the rest of a transaction under way."""
        batch = self._batch
        if not self._count and not batch and not batch.end_lsn and not batch.marks:
            return
        begun, count = self._begun, self._count
        batch.messages = join(self._parts)
        self._batch = Batch(self._relations)
        self._parts = []
        self._count = self._bytes = 0
        if begun is not None:
            if begun.first == count:
                batch.transactions.pop()
            self._begun = Transaction(begun.xid, begun.commit_lsn, begun.committed_at, 0)
            self._batch.transactions.append(self._begun)
        self._finished.append(batch)
