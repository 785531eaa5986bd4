"""Checksums and totals of columns, the same whatever batches the values come in.

A checksum covers which values are NULL, how long texts are, and every byte of every value, in the order of the rows. A
total is what PostgreSQL can compute on its own, so that the two can be held against each other: the sum of numbers and
times, the number of true values, the length of texts.
"""

import decimal
import hashlib
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from chainstrata.retention.archive.columns import WIDEST, ArchivedColumn

# Its functions are made when it is imported, so no checker knows them.
pc: Any = pyarrow.compute


class ColumnDigest:
    """The running checksum and total of one column."""

    def __init__(self, column: ArchivedColumn) -> None:
        self._column = column
        self._valid = hashlib.sha256()
        self._lengths = hashlib.sha256()
        self._values = hashlib.sha256()
        self.count = 0
        self.total: int | None = None if pa.types.is_floating(column.arrow) else 0

    def update(self, values: pa.Array) -> None:
        """Take in the next values."""
        self._valid.update(np.asarray(pc.is_valid(values).cast(pa.uint8())).tobytes())
        self.count += len(values) - values.null_count
        if pa.types.is_string(values.type):
            self._update_text(values)
        else:
            self._update_fixed(values)

    def _update_text(self, values: pa.Array) -> None:
        filled = values.fill_null("")
        lengths = np.asarray(pc.binary_length(filled))
        self._lengths.update(lengths.astype("<i4").tobytes())
        self._values.update(_text_bytes(filled))
        self.total = (self.total or 0) + int(lengths.sum(dtype=np.int64))

    def _update_fixed(self, values: pa.Array) -> None:
        kind = values.type
        if pa.types.is_boolean(kind):
            flags = np.asarray(values.fill_null(False).cast(pa.uint8()))
            self._values.update(flags.tobytes())
            self.total = (self.total or 0) + int(flags.sum(dtype=np.int64))
            return
        if pa.types.is_temporal(kind):
            kind = pa.int32() if pa.types.is_date32(kind) else pa.int64()
            values = values.view(kind)
        filled = values.fill_null(pa.scalar(decimal.Decimal(0) if pa.types.is_decimal(kind) else 0, kind)) if values.null_count else values
        width = kind.bit_width // 8
        start = filled.offset * width
        self._values.update(memoryview(filled.buffers()[1])[start : start + len(filled) * width])
        if self.total is not None:
            self.total += _sum(filled)

    @property
    def checksum(self) -> str:
        """SHA-256 over the three."""
        return hashlib.sha256(self._valid.digest() + self._lengths.digest() + self._values.digest()).hexdigest()


def _text_bytes(values: pa.Array) -> memoryview:
    """Return the characters of a text array, one after the other."""
    _, offsets, data = values.buffers()
    if data is None:
        return memoryview(b"")
    ends = np.frombuffer(offsets, dtype=np.int32, count=len(values) + 1, offset=values.offset * 4)
    return memoryview(data)[int(ends[0]) : int(ends[-1])]


_EXACT: Final = pa.decimal128(38, 0)


def _sum(values: pa.Array) -> int:
    """Return the exact sum: of decimals in units of their last place, of times in microseconds, of dates in days."""
    kind = values.type
    if pa.types.is_decimal(kind):
        summed = pc.sum(values.cast(pa.decimal256(WIDEST, kind.scale))).as_py()
        return 0 if summed is None else int(summed.scaleb(kind.scale, _CONTEXT))
    summed = pc.sum(values.cast(pa.int64()).cast(_EXACT)).as_py()
    return 0 if summed is None else int(summed)


_CONTEXT: Final = decimal.Context(prec=200)
