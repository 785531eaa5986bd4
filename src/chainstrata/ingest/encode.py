"""Arrow tables as the stream of PostgreSQL's binary COPY, whole blocks of rows at a time and no Python for a single one.

All columns of one width are laid out in one numpy record, together with the lengths of the others; bytes of NULLs are cut out of it
by a mask. The pieces are then joined row by row by Arrow, and the buffer behind the result is the stream.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from chainstrata.ingest.arrow import pc
from chainstrata.ingest.errors import UnfitColumn, no_such_column
from chainstrata.ingest.fields import Unfit, encode_field
from chainstrata.ingest.numeric import Inexact, TooWide
from chainstrata.ingest.record import Field, join_fields
from chainstrata.ingest.wire import WireColumn, WireTable

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
BLOCK_ROWS: Final = 4_096
BLOCK_BYTES: Final = 64 * 1024 * 1024
"""A block holds at most so many rows and, as far as Arrow can tell beforehand, so many bytes. The server works on one while the next
is made, so that a batch of ten thousand rows is several."""


class Encoder:
    """Encodes tables of one schema for one table of the server. `columns` is the order in which their values travel.

    Columns of the table that the schema lacks are left to their defaults; one that the table lacks is refused.
    """

    def __init__(self, table: WireTable, names: Sequence[str]) -> None:
        known = {column.name: column for column in table.columns}
        for name in names:
            if name not in known:
                raise no_such_column(table.full_name, name, list(known))
        for column in table.columns:
            if not (column.nullable or column.default or column.identity or column.name in names):
                raise UnfitColumn(table.full_name, column.name, "is missing, and has no default", hint="Give every row a value for it.")
        self.table = table
        self.columns: tuple[WireColumn, ...] = tuple(sorted((known[name] for name in names), key=_place))

    def encode(self, rows: Any) -> Iterator[memoryview]:
        """Yield the rows of a table or record batch as blocks of the stream, between `HEADER` and `TRAILER`."""
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        each = max(1, min(BLOCK_ROWS, BLOCK_BYTES * table.num_rows // max(1, table.nbytes)))
        for start in range(0, table.num_rows, each):
            yield from self._encode_block(table.slice(start, each))

    def _encode_block(self, block: Any) -> Iterator[memoryview]:
        try:
            fields = [self._encode_column(column, block.column(column.name)) for column in self.columns]
        except TooWide:
            half = block.num_rows // 2
            yield from self._encode_block(block.slice(0, half))
            yield from self._encode_block(block.slice(half))
            return
        joined = join_fields(fields, block.num_rows)
        length = np.frombuffer(joined.buffers()[1], dtype=np.int32)[block.num_rows]
        yield memoryview(joined.buffers()[2])[: int(length)]

    def _encode_column(self, column: WireColumn, values: Any) -> Field:
        whole = values.combine_chunks()
        if isinstance(whole, pa.ChunkedArray):
            whole = whole.chunk(0) if whole.num_chunks else pa.array([], whole.type)
        if whole.null_count and not column.nullable:
            row = pc.index(whole.is_null(), True).as_py()
            raise UnfitColumn(self.table.full_name, column.name, f"row {row} has no value, and needs one")
        try:
            return encode_field(whole, column.type)
        except (Unfit, Inexact) as error:
            raise UnfitColumn(self.table.full_name, column.name, str(error)) from error


def _place(column: WireColumn) -> int:
    """Columns of one width first, so that they make one record; then numbers, most of which do, then the rest."""
    narrow = {"bool", "int2", "int4", "int8", "oid", "float4", "float8", "timestamptz", "timestamp", "date", "time", "interval", "uuid"}
    return 0 if column.type.name in narrow else 1 if column.type.name == "numeric" else 2
