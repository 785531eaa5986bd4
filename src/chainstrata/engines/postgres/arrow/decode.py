"""Rows of binary COPY taken apart a column at a time.

A block holds whole rows behind each other. Where a row starts is known, so the first column's length is looked up for all rows at
once, then its values, then the next column's. NULL has the length -1 and no bytes. No row is touched alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute

from chainstrata.engines.postgres.arrow.errors import Unrepresentable

# Its functions are made when it is imported, so no checker knows them.
pc: Any = _compute

Array = npt.NDArray[Any]
_EPOCH_DAYS: Final = 10957
_EPOCH_MICROSECONDS: Final = _EPOCH_DAYS * 86_400_000_000
_PADDING: Final = 16
_NEVER: Final = np.iinfo(np.int64).max, np.iinfo(np.int64).min
_NO_DAY: Final = np.iinfo(np.int32).max, np.iinfo(np.int32).min
Decoder = Callable[["Block", "Field"], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """Where a column's values stand: the first byte and the length for each row. `null` where one is missing, or None."""

    name: str
    at: Array
    length: Array
    null: Array | None

    @property
    def validity(self) -> Any:
        """The buffer that says which values there are."""
        return None if self.null is None else pa.py_buffer(np.packbits(~self.null, bitorder="little"))

    @property
    def nulls(self) -> int:
        return 0 if self.null is None else int(self.null.sum())


class Block:
    """Bytes that can be read as numbers from any place, many places at a time."""

    def __init__(self, data: bytes) -> None:
        # So that a number may be looked up at any place; what is beyond the end belongs to NULLs and is not used.
        self.data = data + bytes(_PADDING)

    def take(self, kind: str, at: Array) -> Array:
        """Return the number that starts at each place."""
        width = np.dtype(kind).itemsize
        window = np.ndarray((len(self.data) - width + 1,), dtype=kind, buffer=self.data, strides=(1,))
        found: Array = window[at]
        return found

    def take_bytes(self, at: Array, length: Array) -> Any:
        """Return the bytes at each place as an Arrow array; the copying is Arrow's."""
        if not len(at):
            return pa.array([], pa.binary())
        edges = np.empty(2 * len(at) + 1, dtype=np.int32)
        edges[0:-1:2], edges[1::2] = at, at + length
        edges[-1] = edges[-2]
        spans = pa.Array.from_buffers(pa.binary(), 2 * len(at), [None, pa.py_buffer(edges), pa.py_buffer(self.data)])
        return spans.take(pa.array(np.arange(0, 2 * len(at), 2, dtype=np.int32)))


def split_rows(block: Block, starts: Array, names: list[str], decoders: list[Decoder]) -> list[Any]:
    """Return the columns of the rows that start at these places, as Arrow arrays."""
    at = starts + 2
    arrays = []
    for name, decoder in zip(names, decoders, strict=True):
        length = block.take(">i4", at).astype(np.int64)
        at = at + 4
        null = length < 0
        if null.any():
            length[null] = 0
            arrays.append(decoder(block, Field(name, at, length, null)))
        else:
            arrays.append(decoder(block, Field(name, at, length, None)))
        at = at + length
    return arrays


def _built(kind: Any, values: Array, field: Field) -> Any:
    return pa.Array.from_buffers(kind, len(values), [field.validity, pa.py_buffer(values)], field.nulls)


def fixed(wire: str, kind: Any) -> Decoder:
    """Return the decoder of numbers of one width."""
    native = np.dtype(wire).newbyteorder("<")

    def decode(block: Block, field: Field) -> Any:
        return _built(kind, block.take(wire, field.at).astype(native), field)

    return decode


def boolean(block: Block, field: Field) -> Any:
    values = np.packbits(block.take("u1", field.at) == 1, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(field.at), [field.validity, pa.py_buffer(values)], field.nulls)


def instant(kind: Any) -> Decoder:
    """Return the decoder of times, counted from 2000 on the wire and from 1970 in Arrow."""

    def decode(block: Block, field: Field) -> Any:
        ticks = block.take(">i8", field.at).astype(np.int64)
        _refuse_infinite(ticks, field, _NEVER)
        return _built(kind, ticks + _EPOCH_MICROSECONDS, field)

    return decode


def date(block: Block, field: Field) -> Any:
    days = block.take(">i4", field.at).astype(np.int32)
    _refuse_infinite(days, field, _NO_DAY)
    return _built(pa.date32(), days + np.int32(_EPOCH_DAYS), field)


def _refuse_infinite(values: Array, field: Field, infinite: tuple[int, int]) -> None:
    # Both ends at once, and those that overflow when counted from 1970.
    bad = (values == infinite[1]) | (values > infinite[0] - (_EPOCH_MICROSECONDS if values.dtype.itemsize == 8 else _EPOCH_DAYS))
    if field.null is not None:
        bad &= ~field.null
    if bad.any():
        raise Unrepresentable(field.name, "holds a time that never comes, or beyond what Arrow counts")


def interval(block: Block, field: Field) -> Any:
    out = np.empty(len(field.at), dtype=[("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])
    microseconds = block.take(">i8", field.at).astype(np.int64)
    far = np.abs(microseconds) > _NEVER[0] // 1000
    if field.null is not None:
        far &= ~field.null
    if far.any():
        raise Unrepresentable(field.name, "holds an interval longer than Arrow counts")
    out["nanoseconds"] = microseconds * 1000
    out["days"], out["months"] = block.take(">i4", field.at + 8), block.take(">i4", field.at + 12)
    return _built(pa.month_day_nano_interval(), out, field)


def binary(block: Block, field: Field) -> Any:
    return _with_nulls(block.take_bytes(field.at, field.length), field)


def text(block: Block, field: Field) -> Any:
    return binary(block, field).view(pa.string())


def jsonb(block: Block, field: Field) -> Any:
    """A byte that says which version, then the text."""
    length = np.maximum(field.length - 1, 0)
    return _with_nulls(block.take_bytes(field.at + (field.length > 0), length), field).view(pa.string())


def _with_nulls(values: Any, field: Field) -> Any:
    if field.null is None:
        return values
    _, offsets, data = values.buffers()
    return pa.Array.from_buffers(values.type, len(values), [field.validity, offsets, data], field.nulls)


_HEX: Final = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_UUID_PLACES: Final = np.array([place for place in range(36) if place not in {8, 13, 18, 23}])


def uuid(block: Block, field: Field) -> Any:
    # As this machine counts, so that the bytes stay in their order.
    raw = np.stack([block.take("=u8", field.at), block.take("=u8", field.at + 8)], axis=1).view(np.uint8)
    out = np.full((len(field.at), 36), ord("-"), dtype=np.uint8)
    digits = np.empty((len(field.at), 32), dtype=np.uint8)
    digits[:, 0::2], digits[:, 1::2] = _HEX[raw >> 4], _HEX[raw & 15]
    out[:, _UUID_PLACES] = digits
    offsets = np.arange(0, 36 * len(field.at) + 1, 36, dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(field.at), [field.validity, pa.py_buffer(offsets), pa.py_buffer(out)], field.nulls)


def decimal(name: str, kind: Any) -> Decoder:
    """Return the decoder of numbers sent as text, into a decimal type. What it cannot hold is refused, never rounded."""

    def decode(block: Block, field: Field) -> Any:
        values = text(block, field)
        try:
            return values.cast(kind)
        except pa.ArrowInvalid as error:
            raise Unrepresentable(name, f"holds a number that {kind} does not: {str(error).splitlines()[0]}") from error

    return decode


def measure_digits(values: Any) -> tuple[int, int, bool]:
    """Return the most digits before and after the point of numbers as text, and whether all of them are numbers."""
    known = values.drop_null()
    if pc.any(pc.match_substring_regex(known, "[nN]")).as_py():
        return 0, 0, False
    parts = pc.extract_regex(known, r"^-?(?P<whole>\d+)(?:\.(?P<part>\d+))?$")
    whole, part = (pc.max(pc.utf8_length(pc.struct_field(parts, index))).as_py() or 0 for index in (0, 1))
    return whole, part, True


def array(kind: Any, decoder: Decoder) -> Decoder:
    """Return the decoder of arrays of one dimension: a header of 20 bytes, then every element behind its length."""

    def decode(block: Block, field: Field) -> Any:
        dimensions = block.take(">i4", field.at).astype(np.int64)
        if field.null is not None:
            dimensions[field.null] = 0
        if (dimensions > 1).any():
            raise Unrepresentable(field.name, "holds an array of more than one dimension")
        counts = np.where(dimensions == 1, block.take(">i4", np.where(dimensions == 1, field.at + 12, 0)), 0).astype(np.int64)
        at = _element_places(block, field.at + 20, counts)
        lengths = block.take(">i4", at).astype(np.int64)
        null = lengths < 0
        lengths[null] = 0
        items = decoder(block, Field(field.name, at + 4, lengths, null if null.any() else None))
        offsets = np.zeros(len(counts) + 1, dtype=np.int32)
        np.cumsum(counts, out=offsets[1:])
        return pa.Array.from_buffers(pa.list_(kind), len(counts), [field.validity, pa.py_buffer(offsets)], field.nulls, children=[items])

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
