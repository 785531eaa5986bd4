"""Rows of a batch, from bytes to columns, a whole column at a time.

All messages of a relation lie behind each other in one buffer. For each column the positions of its values in all rows are
computed at once, which costs a few array operations a column instead of a few dozen Python operations a value. Nothing is copied
until a column is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from chainstrata.cdc.errors import StreamBroken
from chainstrata.cdc.model import DELETE, Changes

Array = npt.NDArray[Any]
# Its functions are made when it is imported, so type checkers see none of them.
pc: Any = pyarrow.compute
NULL, UNCHANGED, TEXT, BINARY = b"nutb"
_KEY, _OLD, _NEW = b"KON"
# Reading a length where there is none must stay within the buffer; what is read is not used.
_PADDING: Final = b"\0" * 8
_TAG: Final = 5


@dataclass(frozen=True, slots=True)
class Field:
    """One column of some rows: where in the buffer each value is. A value that is null or unchanged has length 0."""

    buffer: Array
    kind: Array
    start: Array
    length: Array

    @property
    def null(self) -> Array:
        return np.asarray(self.kind == NULL)

    @property
    def unchanged(self) -> Array:
        """Values kept out of line that an update did not touch: the server does not send them again."""
        return np.asarray(self.kind == UNCHANGED)

    def take(self, rows: Array) -> "Field":
        """Return the same of some of the rows, by ascending number or by mask."""
        return Field(self.buffer, self.kind[rows], self.start[rows], self.length[rows])

    def numbers(self, dtype: str) -> Array:
        """Return values that all have one width, 0 where there is none."""
        width = np.dtype(dtype).itemsize
        there = self.length > 0
        if not np.array_equal(self.length, np.where(there, width, 0)):
            raise StreamBroken(f"a value of a column of {width} bytes has another width")
        if there.all():
            return self._gather(self.start, width).view(dtype)[:, 0]
        found = np.zeros(len(there), dtype=dtype)
        if there.any():
            found[there] = self._gather(self.start[there], width).view(dtype)[:, 0]
        return found

    def fixed(self, width: int) -> Array:
        """Return values of one width as a matrix of bytes, zeros where there is none."""
        found = np.zeros((len(self.start), width), dtype=np.uint8)
        there = self.length == width
        found[there] = self._gather(self.start[there], width)
        return found

    def binary(self, skip: int = 0) -> Any:
        """Return the values as an Arrow array of bytes, null where there is none, without their first `skip` bytes."""
        rows = len(self.start)
        bounds = np.empty(2 * rows, dtype=np.int64)
        there = (self.kind == BINARY) | (self.kind == TEXT)
        bounds[0::2] = np.where(there, self.start + skip, self.start)
        bounds[1::2] = self.start + self.length
        # Values of a column stand in the buffer in the order of the rows, with other things between: every second piece is one.
        offsets = pa.py_buffer(bounds)
        pieces = pa.LargeBinaryArray.from_buffers(pa.large_binary(), max(2 * rows - 1, 0), [None, offsets, pa.py_buffer(self.buffer)])
        values = pieces.take(pa.array(np.arange(0, 2 * rows, 2))) if rows else pa.array([], pa.large_binary())
        if there.all():
            return values
        mask = pa.array(~there)
        return pc.if_else(mask, pa.scalar(None, pa.large_binary()), values)

    def value(self, row: int) -> bytes | None:
        """Return one value's bytes."""
        if not self.length[row] and self.kind[row] in (NULL, UNCHANGED):
            return None
        start = int(self.start[row])
        return self.buffer[start : start + int(self.length[row])].tobytes()

    def _gather(self, start: Array, width: int) -> Array:
        return self.buffer[start[:, None] + np.arange(width)]


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a relation, column by column. `at` are their numbers among all changes."""

    at: Array
    columns: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Decoded:
    """The changes of a relation. `new` has a row for each insert and update, `old` for each change that tells what was."""

    operation: Array
    new: Rows
    old: Rows
    old_whole: Array
    """For each row of `old`: whether it is the whole row; else only its key has values."""


def decode(changes: Changes) -> Decoded:
    """Return inserts, updates and deletes of one relation as columns. Truncates must not be among them."""
    count = len(changes.relation.columns)
    buffer, first, lengths = changes.messages.data, changes.messages.start, changes.messages.length
    operation = buffer[first]
    tag = buffer[first + _TAG]
    at = first + _TAG + 1
    has_old = tag != _NEW
    old_rows = np.flatnonzero(has_old)
    old_columns, ends = split(buffer, at[old_rows], count)
    keeps = operation[old_rows] != DELETE
    if (buffer[ends[keeps]] != _NEW).any():
        raise StreamBroken(f"an update of {changes.relation.qualified} has no new row where it should")
    at[old_rows] = ends + 1
    new_rows = np.flatnonzero(operation != DELETE)
    new_columns, ends = split(buffer, at[new_rows], count)
    wanted = (first + lengths)[new_rows]
    if not np.array_equal(ends, wanted):
        raise StreamBroken(f"a row of {changes.relation.qualified} is longer or shorter than its message")
    whole = tag[old_rows] == _OLD
    return Decoded(operation, Rows(new_rows, new_columns), Rows(old_rows, old_columns), whole)


def split(buffer: Array, at: Array, count: int) -> tuple[tuple[Field, ...], Array]:
    """Return the columns of the rows that begin at these positions, and where each row ends."""
    found = []
    if (_number(buffer, at, 2) != count).any():
        raise StreamBroken(f"a row has not the {count} columns that were announced")
    at = at + 2
    for _ in range(count):
        kind = buffer[at]
        valued = (kind == BINARY) | (kind == TEXT)
        if valued.all():
            length = _number(buffer, at + 1, 4)
            start = at + 5
        elif ((kind == NULL) | (kind == UNCHANGED) | valued).all():
            length = np.where(valued, _number(buffer, at + 1, 4), 0)
            start = np.where(valued, at + 5, at + 1)
        else:
            raise StreamBroken("a value is of a kind that does not exist")
        if length.size and (length.min() < 0 or (start + length).max() >= len(buffer)):
            raise StreamBroken("a value ends beyond its message")
        found.append(Field(buffer, kind, start, length))
        at = start + length
    return tuple(found), at


def _number(buffer: Array, at: Array, width: int) -> Array:
    value = np.zeros(len(at), dtype=np.int64)
    for byte in range(width):
        value = value << 8 | buffer[at + byte]
    return value


def rows_of_copy(data: Sequence[bytes], count: int) -> tuple[Field, ...]:
    """Return the columns of rows as COPY in binary sends them, each row one piece."""
    buffer = np.frombuffer(b"".join(data) + _PADDING, dtype=np.uint8)
    lengths = np.fromiter(map(len, data), dtype=np.int64, count=len(data))
    at = np.cumsum(lengths) - lengths
    if (_number(buffer, at, 2) != count).any():
        raise StreamBroken(f"a copied row has not the {count} columns that were asked for")
    at = at + 2
    found = []
    for _ in range(count):
        length = _number(buffer, at, 4)
        null = length == 0xFFFFFFFF
        length = np.where(null, 0, length)
        kind = np.where(null, np.uint8(NULL), np.uint8(BINARY))
        found.append(Field(buffer, kind, at + 4, length))
        at = at + 4 + length
    return tuple(found)
