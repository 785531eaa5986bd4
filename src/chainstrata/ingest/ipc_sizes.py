"""What an Arrow stream says it holds, added up message by message before any of it is decoded.

Arrow trusts the sizes that a message declares. So they are read here first, out of the message's own description (a
flatbuffer), where a few bytes may stand for gigabytes: buffers that are compressed, that lie over each other, or that are
not there at all, such as a billion values of no type.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from chainstrata.ingest.errors import PayloadTooLarge
from chainstrata.ingest.payload import Limits

VALUE_BYTES: Final = 8
"""What a value is counted for that takes no bytes of its own."""
LARGEST_SCHEMA: Final = 4 * 1024 * 1024
END: Final = b"\xff\xff\xff\xff\0\0\0\0"


class Malformed(ValueError):
    """A message whose description does not hold together."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The rows of one message, and the bytes all its values take once they are decoded."""

    rows: int
    size: int


def check_stream(whole: Any, limits: Limits) -> None:
    """Read through all messages of a stream in a buffer; raise `PayloadTooLarge`, or what Arrow raises when one is cut short.

    A stream without its end mark is refused: it may have been cut between two batches.
    """
    rows = size = 0
    stream = pa.BufferReader(whole)
    for message in pyarrow.ipc.MessageReader.open_stream(stream):
        if message.type == "schema" and message.metadata.size > LARGEST_SCHEMA:
            raise PayloadTooLarge(f"a schema of {message.metadata.size} bytes, at most {LARGEST_SCHEMA} are taken")
        for declared in _read_message(message):
            rows += declared.rows if message.type == "record batch" else 0
            size += declared.size
        if rows > limits.rows:
            raise PayloadTooLarge(f"{rows} rows, at most {limits.rows} are taken at once")
        if size > limits.unpacked:
            raise PayloadTooLarge(f"{size} bytes unpacked, at most {limits.unpacked} are taken")
    if bytes(memoryview(whole)[: stream.tell()][-len(END) :]) != END:
        raise Malformed("it has no end mark, so it may be cut short")


def _read_message(message: Any) -> Iterator[Declared]:
    if message.type not in ("record batch", "dictionary"):
        return
    try:
        header = _Table.root(memoryview(message.metadata).cast("B")).table(2)
        yield _read_batch(header.table(1) if message.type == "dictionary" else header, memoryview(message.body).cast("B"))
    except (struct.error, IndexError, OverflowError) as error:
        raise Malformed("a message does not describe itself") from error


def _read_batch(batch: "_Table", body: memoryview) -> Declared:
    rows = batch.int64(0)
    # Nodes are pairs of a length and a count of NULLs, buffers of a place and a length.
    values = sum(int(length) for length in batch.pairs(1)[:, 0])
    if rows < 0 or values < 0:
        raise Malformed("a message declares less than nothing")
    is_compressed = batch.has(3)
    size = 0
    for place, length in batch.pairs(2).tolist():
        if length < 0 or place < 0 or place + length > len(body):
            raise Malformed("a message declares bytes that are not there")
        unpacked = struct.unpack_from("<q", body, place)[0] if is_compressed and length >= 8 else length
        size += unpacked if unpacked >= 0 else length - 8
    return Declared(rows, max(size, VALUE_BYTES * values))


class _Table:
    """A table of a flatbuffer: its fields by number."""

    def __init__(self, buffer: memoryview, place: int) -> None:
        self._buffer = buffer
        self._place = place
        self._fields = place - struct.unpack_from("<i", buffer, place)[0]

    @classmethod
    def root(cls, buffer: memoryview) -> "_Table":
        return cls(buffer, struct.unpack_from("<I", buffer, 0)[0])

    def has(self, number: int) -> bool:
        return self._find(number) is not None

    def int64(self, number: int) -> int:
        place = self._find(number)
        return 0 if place is None else int(struct.unpack_from("<q", self._buffer, place)[0])

    def table(self, number: int) -> "_Table":
        place = self._find(number)
        if place is None:
            raise IndexError(number)
        return _Table(self._buffer, place + struct.unpack_from("<I", self._buffer, place)[0])

    def pairs(self, number: int) -> Any:
        """Return a vector of structs of two whole numbers, a row for each."""
        place = self._find(number)
        if place is None:
            return np.empty((0, 2), dtype=np.int64)
        place += struct.unpack_from("<I", self._buffer, place)[0]
        count = struct.unpack_from("<I", self._buffer, place)[0]
        if place + 4 + count * 16 > len(self._buffer):
            raise IndexError(number)
        return np.frombuffer(self._buffer, dtype="<i8", count=count * 2, offset=place + 4).reshape(-1, 2)

    def _find(self, number: int) -> int | None:
        if self._fields < 0:
            raise IndexError(number)
        size = struct.unpack_from("<H", self._buffer, self._fields)[0]
        at = 4 + 2 * number
        offset = struct.unpack_from("<H", self._buffer, self._fields + at)[0] if at + 2 <= size else 0
        return self._place + offset if offset else None
