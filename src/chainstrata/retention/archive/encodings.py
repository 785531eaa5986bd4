"""Which Parquet encoding each column of a file gets: whichever makes its first rows smallest. Every reader knows them all."""

import io
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

DICTIONARY: Final = "DICTIONARY"
"""Stands for a dictionary, which pays where values repeat. It is not an encoding by name to Arrow."""
COMPRESSION: Final[Mapping[str, Any]] = {"compression": "zstd", "compression_level": 3, "write_statistics": True, "version": "2.6"}


def choose(sample: pa.Table) -> dict[str, str]:
    """Return the encoding of each column. Deltas suit times and counters, split bytes floats that do not repeat."""
    return {name: _smallest(sample.select([name])) for name in sample.schema.names}


def writer_options(encodings: Mapping[str, str]) -> dict[str, Any]:
    """Return what a `ParquetWriter` is to be told, compression included."""
    plain = {name: encoding for name, encoding in encodings.items() if encoding != DICTIONARY}
    with_dictionary = [name for name in encodings if name not in plain]
    return {**COMPRESSION, "use_dictionary": with_dictionary, "column_encoding": plain or None}


def _candidates(kind: pa.DataType) -> tuple[str, ...]:
    if pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        return (DICTIONARY, "PLAIN", "DELTA_BINARY_PACKED")
    if pa.types.is_floating(kind):
        return (DICTIONARY, "PLAIN", "BYTE_STREAM_SPLIT")
    if pa.types.is_string(kind):
        return (DICTIONARY, "PLAIN", "DELTA_BYTE_ARRAY")
    # Decimals: the newer encodings of their bytes are not read everywhere yet. A flag has no other than plain.
    return (DICTIONARY, "PLAIN") if pa.types.is_decimal(kind) else ("PLAIN",)


def _smallest(column: pa.Table) -> str:
    [field] = column.schema
    candidates = _candidates(field.type)
    if len(candidates) == 1:
        return candidates[0]
    return min(candidates, key=lambda encoding: _size(column, {field.name: encoding}))


def _size(column: pa.Table, encodings: Mapping[str, str]) -> int:
    sink = io.BytesIO()
    pq.write_table(column, sink, row_group_size=column.num_rows, **writer_options(encodings))
    return sink.tell()
