"""PostgreSQL's binary values taken apart a column at a time, whether COPY brought them or the log did.

A block holds whole rows behind each other. Where a row starts is known, so the first column's length is looked up for all rows at
once, then its values, then the next column's. No row is touched alone. A value that Arrow cannot hold, such as a time at infinity, is
null in what comes out, and reported.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from chainstrata.engines.postgres.arrow.errors import Malformed

Array = npt.NDArray[Any]
EPOCH_DAYS: Final = 10_957
EPOCH_MICROSECONDS: Final = EPOCH_DAYS * 86_400_000_000
PADDING: Final = bytes(16)
"""What has to follow the bytes of a block: a number may be looked up at any place, and what is beyond the end is not used."""
_FAR: Final = 1 << 31
_ARRAY_HEAD: Final = 20


class Block:
    """Bytes that can be read as numbers from any place, many places at a time. They end with `PADDING`."""

    def __init__(self, data: bytes | Array) -> None:
        self.data = data

    def take(self, kind: str, at: Array) -> Array:
        """Return the number that starts at each place."""
        width = np.dtype(kind).itemsize
        window = np.ndarray((len(self.data) - width + 1,), dtype=kind, buffer=self.data, strides=(1,))
        found: Array = window[at]
        return found

    def take_bytes(self, at: Array, length: Array) -> Any:
        """Return the bytes at each place as an Arrow array; the copying is Arrow's. The places ascend."""
        if not len(at):
            return pa.array([], pa.binary())
        kind, number = (pa.binary(), np.int32) if len(self.data) < _FAR else (pa.large_binary(), np.int64)
        # Values of a column stand in the order of the rows, with other things between: every second piece is one.
        edges = np.empty(2 * len(at), dtype=number)
        edges[0::2], edges[1::2] = at, at + length
        spans = pa.Array.from_buffers(kind, 2 * len(at) - 1, [None, pa.py_buffer(edges), pa.py_buffer(self.data)])
        return spans.take(pa.array(np.arange(0, 2 * len(at), 2))).cast(pa.binary())


@dataclass(frozen=True, slots=True)
class Field:
    """Where a column's values stand: the first byte and the length for each row. `null` where one is missing, of length 0, or None."""

    block: Block
    at: Array
    length: Array
    null: Array | None = None
    printed: bool = False
    """Some came as the server prints them: their type has no binary form."""

    def numbers(self, kind: str) -> Array:
        """Return values of one width; what stands for a missing one is no matter."""
        self.check(np.dtype(kind).itemsize)
        return self.block.take(kind, self.at)

    def check(self, width: int) -> None:
        fits = self.length == width
        if not fits.all() and (self.null is None or not (fits | self.null).all()):
            raise Malformed(f"a value of a column of {width} bytes has another width")

    def take(self, rows: Array) -> "Field":
        """Return the same of some of the rows, by ascending number or by mask."""
        return Field(self.block, self.at[rows], self.length[rows], None if self.null is None else self.null[rows], self.printed)

    def value(self, row: int) -> bytes | None:
        """Return one value's bytes."""
        if self.null is not None and self.null[row]:
            return None
        start = int(self.at[row])
        return bytes(self.block.data[start : start + int(self.length[row])])

    def contents(self, skip: int = 0) -> Any:
        """Return the values' bytes as Arrow, without their first `skip` bytes."""
        length = self.length if not skip else np.maximum(self.length - skip, 0)
        values = self.block.take_bytes(self.at + np.minimum(self.length, skip) if skip else self.at, length)
        if self.null is None:
            return values
        _, offsets, data = values.buffers()
        return pa.Array.from_buffers(values.type, len(values), [_bits(~self.null), offsets, data])


@dataclass(frozen=True, slots=True)
class Column:
    """A column as Arrow, and which rows had a value it cannot hold, if any."""

    values: Any
    unfit: Array | None = None
    problem: str = ""


Decoder = Callable[[Field], Column]


def split_rows(block: Block, starts: Array, count: int) -> list[Field]:
    """Return the columns of rows as COPY sends them, which start at these places. NULL has the length -1 and no bytes."""
    if (block.take(">i2", starts) != count).any():
        raise Malformed(f"a copied row has not the {count} columns that were asked for")
    at = starts + 2
    found = []
    for _ in range(count):
        field = _behind_length(block, at)
        found.append(field)
        at = field.at + field.length
    return found


def _behind_length(block: Block, at: Array) -> Field:
    length = block.take(">i4", at).astype(np.int64)
    null = length < 0
    if not null.any():
        return Field(block, at + 4, length)
    length[null] = 0
    return Field(block, at + 4, length, null)


def _bits(flags: Array) -> Any:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def built(kind: Any, values: Any, field: Field, unfit: Array | None = None, problem: str = "") -> Column:
    """Return values of one width, laid out as Arrow has them, without those that are missing and those that do not fit."""
    missing = field.null
    if unfit is not None and not unfit.any():
        unfit = None
    elif unfit is not None:
        missing = unfit if missing is None else unfit | missing
    valid = None if missing is None else _bits(~missing)
    return Column(pa.Array.from_buffers(kind, len(field.at), [valid, pa.py_buffer(values)]), unfit, problem)


def fixed(wire: str, kind: Any) -> Decoder:
    """Return the decoder of numbers of one width."""
    native = np.dtype(wire).newbyteorder("<")
    return lambda field: built(kind, field.numbers(wire).astype(native), field)


def boolean(field: Field) -> Column:
    return built(pa.bool_(), np.packbits(field.numbers("u1") != 0, bitorder="little"), field)


def counted(wire: str, kind: Any, epoch: int) -> Decoder:
    """Return the decoder of times and days, counted from 2000 on the wire and from 1970 in Arrow."""
    native = np.dtype(wire).newbyteorder("<")
    limits = np.iinfo(native)

    def decode(field: Field) -> Column:
        ticks = field.numbers(wire).astype(native)
        # Both infinities, and those that overflow when counted from 1970.
        unfit = (ticks == limits.min) | (ticks > limits.max - epoch)
        if field.null is not None:
            unfit &= ~field.null
        return built(kind, ticks + native.type(epoch), field, unfit, "a time at infinity, or beyond what can be counted")

    return decode


def interval(field: Field) -> Column:
    microseconds, days, months = spans(field)
    most = np.iinfo(np.int64).max // 1000
    far = (microseconds > most) | (microseconds < -most)
    if field.null is not None:
        far &= ~field.null
    out = np.empty(len(field.at), dtype=[("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])
    out["months"], out["days"], out["nanoseconds"] = months, days, microseconds * 1000
    return built(pa.month_day_nano_interval(), out, field, far, "an interval longer than can be counted")


def spans(field: Field) -> tuple[Array, Array, Array]:
    """Return the microseconds, days and months of intervals."""
    field.check(16)
    take = field.block.take
    return take(">i8", field.at).astype(np.int64), take(">i4", field.at + 8), take(">i4", field.at + 12)


def binary(field: Field) -> Column:
    return Column(field.contents())


def text(field: Field) -> Column:
    return Column(field.contents().cast(pa.string()))


def jsonb(field: Field) -> Column:
    """A byte that says which version, then the text."""
    return Column(field.contents(skip=1).cast(pa.string()))


def uuid(field: Field) -> Column:
    return built(pa.binary(16), _sixteen(field), field)


def _sixteen(field: Field) -> Array:
    field.check(16)
    # As this machine counts, so that the bytes stay in their order.
    return np.stack([field.block.take("=u8", field.at), field.block.take("=u8", field.at + 8)], axis=1).view(np.uint8)


_HEX: Final = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_UUID_PLACES: Final = np.array([place for place in range(36) if place not in {8, 13, 18, 23}])


def uuid_text(field: Field) -> Column:
    raw = _sixteen(field)
    out = np.full((len(field.at), 36), ord("-"), dtype=np.uint8)
    digits = np.empty((len(field.at), 32), dtype=np.uint8)
    digits[:, 0::2], digits[:, 1::2] = _HEX[raw >> 4], _HEX[raw & 15]
    out[:, _UUID_PLACES] = digits
    offsets = np.arange(0, 36 * len(field.at) + 1, 36, dtype=np.int32)
    valid = None if field.null is None else _bits(~field.null)
    return Column(pa.Array.from_buffers(pa.string(), len(field.at), [valid, pa.py_buffer(offsets), pa.py_buffer(out)]))


def array(decoder: Decoder) -> Decoder:
    """Return the decoder of arrays of one dimension: a header, then every element behind its length."""

    def decode(field: Field) -> Column:
        block = field.block
        dimensions = block.take(">i4", field.at).astype(np.int64)
        if field.null is not None:
            dimensions[field.null] = 0
        unfit = dimensions > 1
        # An array without elements ends before the place of their count.
        counts = np.where(dimensions == 1, block.take(">i4", np.where(dimensions == 1, field.at + 12, 0)), 0).astype(np.int64)
        items = decoder(_behind_length(block, _element_places(block, field.at + _ARRAY_HEAD, counts)))
        if items.unfit is not None:
            unfit[np.repeat(np.arange(len(counts)), counts)[items.unfit]] = True
        offsets = np.zeros(len(counts) + 1, dtype=np.int32)
        np.cumsum(counts, out=offsets[1:])
        valid = None if field.null is None else _bits(~field.null)
        kind = pa.list_(items.values.type)
        values = pa.Array.from_buffers(kind, len(counts), [valid, pa.py_buffer(offsets)], children=[items.values])
        return Column(values, unfit, "an array of several dimensions, or of a value that does not fit") if unfit.any() else Column(values)

    return decode


def _element_places(block: Block, first: Array, counts: Array) -> Array:
    """Return where the length of every element stands, list after list. A step for each place in the longest list."""
    starts = np.cumsum(counts) - counts
    places = np.empty(int(counts.sum()), dtype=np.int64)
    at = first.copy()
    for step in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(counts > step)
        places[starts[rows] + step] = at[rows]
        at[rows] += 4 + np.maximum(block.take(">i4", at[rows]).astype(np.int64), 0)
    return places
