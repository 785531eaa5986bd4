"""From the stream's messages to batches of whole transactions. No connection, no clock.

A transaction comes in one piece once it is committed, or, if it is large and the server can, in pieces while it runs, between
those of others. Pieces are kept aside, in memory and beyond a size in a file, until the transaction commits; those of a part of it that
was rolled back are left out. A batch ends wherever it is cut: in the middle of a large transaction too, which goes on in the next.
"""

import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

from chainstrata.cdc import wire
from chainstrata.cdc.errors import StreamBroken
from chainstrata.cdc.model import TRUNCATE, Batch, Relation, Transaction

HEARTBEAT: Final = "chainstrata.heartbeat"
_IN_MEMORY: Final = 16 * 1024 * 1024
_SIZE: Final = 8
_DATA: Final = wire.HEADER


class _Spool:
    """The pieces of a transaction under way: each message with the number of the part of the transaction it belongs to."""

    def __init__(self, directory: str | None) -> None:
        self._file: IO[Any] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=directory)  # noqa: SIM115  # closed by close()
        self._undone: set[int] = set()

    def add(self, message: bytes) -> None:
        """Keep a message as it came, its part's number in bytes 1 to 5."""
        self._file.write(len(message).to_bytes(4) + message)

    def undo(self, part: int) -> None:
        self._undone.add(part)

    def replay(self) -> Iterator[bytes]:
        """Yield what is left of the transaction, without numbers of parts."""
        self._file.seek(0)
        while head := self._file.read(4):
            message = self._file.read(int.from_bytes(head))
            part = int.from_bytes(message[1:5])
            # What a table looks like is announced once, also if the part that came upon it is undone.
            if part in self._undone and message[0] != wire.RELATION:
                continue
            yield message[:1] + message[5:]

    def close(self) -> None:
        self._file.close()


class Assembler:
    """Takes the stream's data, piece by piece, and gives batches."""

    def __init__(self, *, most_bytes: int, spool_directory: str | None = None) -> None:
        self._most_bytes = most_bytes
        self._spool_directory = spool_directory
        self._relations: dict[int, Relation] = {}
        self._spools: dict[int, _Spool] = {}
        self._streaming: int | None = None
        self._begun: Transaction | None = None
        self._finished: list[Batch] = []
        self._batch = Batch(self._relations)
        self._bytes = 0

    @property
    def settled(self) -> bool:
        """Whether every transaction that was committed so far is in a batch that was taken."""
        return self._begun is None and not self._finished and not self._batch and not self._batch.marks

    @property
    def idle(self) -> bool:
        """Whether nothing is under way at all, uncommitted pieces included."""
        return self.settled and not self._spools

    @property
    def waiting(self) -> int:
        """How many batches have grown full."""
        return len(self._finished)

    def feed(self, pieces: Iterable[bytes]) -> None:
        """Take pieces of the stream, each with its header."""
        for piece in pieces:
            kind = piece[_DATA]
            if kind in wire.ROWS and self._streaming is None:
                message = piece[_DATA:]
                self._batch.messages.append(message)
                self._bytes += len(message)
                if self._bytes >= self._most_bytes:
                    self._cut()
            elif self._streaming is not None and kind != wire.STREAM_STOP:
                self._spools[self._streaming].add(piece[_DATA:])
            else:
                self._steer(kind, piece[_DATA:])

    def take(self) -> list[Batch]:
        """Return what is there, in order, whole or not."""
        self._cut()
        taken, self._finished = self._finished, []
        return taken

    def close(self) -> None:
        """Let go of what was kept aside."""
        for xid in list(self._spools):
            self._drop(xid)

    def _steer(self, kind: int, message: bytes) -> None:
        if kind == wire.BEGIN:
            begin = wire.read_begin(message)
            self._begin(Transaction(begin.xid, begin.commit_lsn, begin.committed_at, len(self._batch.messages)))
        elif kind == wire.COMMIT:
            self._commit(wire.read_commit(message).end_lsn)
        elif kind == wire.RELATION:
            self._relate(wire.read_relation(message))
        elif kind == TRUNCATE:
            self._batch.messages.append(message)
            self._bytes += len(message)
        elif kind == wire.MESSAGE:
            lsn, prefix, content = wire.read_message(message)
            if prefix == HEARTBEAT:
                self._batch.marks.append((lsn, content))
        elif kind in (wire.TYPE, wire.ORIGIN):
            pass
        else:
            self._steer_stream(kind, message)

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
        elif kind == wire.STREAM_COMMIT:
            self._commit_streamed(message)
        else:
            raise StreamBroken(f"a message of kind {chr(kind)!r} came, which this version does not know")

    def _commit_streamed(self, message: bytes) -> None:
        xid, commit = wire.read_stream_commit(message)
        self._begin(Transaction(xid, commit.commit_lsn, commit.committed_at, len(self._batch.messages)))
        spool = self._spools.get(xid)
        if spool is not None:
            head = b"\0" * _DATA
            self.feed(head + piece for piece in spool.replay())
            self._drop(xid)
        self._commit(commit.end_lsn)

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
        if batch.transactions[-1].first == len(batch.messages):
            # Nothing of it is ours.
            batch.transactions.pop()

    def _relate(self, relation: Relation) -> None:
        known = self._relations.get(relation.oid)
        if known == relation:
            return
        if known is not None and self._batch.messages:
            self._cut()
        # Batches already cut keep what they were read with.
        self._relations = {**self._relations, relation.oid: relation}
        self._batch.relations = self._relations

    def _cut(self) -> None:
        """End the batch here and begin the next, with the rest of a transaction under way."""
        batch = self._batch
        if not batch and not batch.end_lsn and not batch.marks:
            return
        begun = self._begun
        self._batch = Batch(self._relations)
        self._bytes = 0
        if begun is not None:
            if begun.first == len(batch.messages):
                batch.transactions.pop()
            self._begun = Transaction(begun.xid, begun.commit_lsn, begun.committed_at, 0)
            self._batch.transactions.append(self._begun)
        self._finished.append(batch)
