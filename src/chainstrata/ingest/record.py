"""Encoded columns side by side: how the values of many columns become one run of bytes for each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from chainstrata.ingest.arrow import pc

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Fixed:
    """Values of one width in network order; `null` is None where there are none."""

    values: Array
    null: Array | None

    @property
    def width(self) -> int:
        return self.values.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Varying:
    """A binary array without nulls, empty where a row is NULL, and the length to send: -1 for NULL."""

    data: Any
    lengths: Array


Field = Fixed | Varying


def binary_array(data: Array, lengths: Array) -> Any:
    """Return bytes that lie one row after the other as an Arrow binary array."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.Array.from_buffers(pa.binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))])


def join_fields(fields: Sequence[Field], rows: int, *, counted: bool = True) -> Any:
    """Return every row's fields, each behind its length, as one binary value; `counted` puts the number of fields first."""
    parts: list[Any] = []
    record = _Record(rows)
    if counted:
        record.add(np.full(rows, len(fields), dtype=">i2"))
    for field in fields:
        if isinstance(field, Fixed):
            record.add_field(field)
        else:
            record.add(field.lengths.astype(">i4"))
            parts += [record.finish(), field.data]
            record = _Record(rows)
    if record.width:
        parts.append(record.finish())
    return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, b"")


class _Record:
    """Values of one width side by side, row by row, without the bytes of those that are NULL."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._columns: list[Array] = []
        self._holes: list[tuple[int, int, Array]] = []
        self.width = 0

    def add(self, values: Array) -> None:
        self._columns.append(values)
        self.width += values.dtype.itemsize

    def add_field(self, field: Fixed) -> None:
        """Add values, each behind its length."""
        if field.null is None:
            self.add(np.full(self._rows, field.width, dtype=">i4"))
        else:
            self.add(np.where(field.null, -1, field.width).astype(">i4"))
            self._holes.append((self.width, field.width, field.null))
        self.add(field.values)

    def finish(self) -> Any:
        """Return the rows as an Arrow binary array."""
        record = np.empty(self._rows, dtype=[(str(number), values.dtype) for number, values in enumerate(self._columns)])
        for number, values in enumerate(self._columns):
            record[str(number)] = values
        flat = record.view(np.uint8).reshape(self._rows, self.width)
        lengths = np.full(self._rows, self.width, dtype=np.int32)
        if not self._holes:
            return binary_array(flat, lengths)
        kept = np.ones((self._rows, self.width), dtype=bool)
        for start, width, null in self._holes:
            kept[null, start : start + width] = False
            lengths -= null * np.int32(width)
        return binary_array(flat[kept], lengths)
