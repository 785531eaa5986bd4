"""Writes rows to Parquet as COPY hands them out, in one pass and bounded memory, with checksums as it goes.

Parsing, summing and writing happen in a thread while the next block is read.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from psycopg import sql

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.copying import copying
from chainstrata.engines.storage import Staged
from chainstrata.retention.archive.columns import ArchivedColumn
from chainstrata.retention.archive.digest import ColumnDigest
from chainstrata.retention.archive.encodings import choose, writer_options
from chainstrata.retention.archive.manifest import ArchivedFile, show
from chainstrata.retention.archive.source import Expected, Rows
from chainstrata.retention.errors import ArchiveMismatch

# Its functions are made when it is imported, so no checker knows them.
pc: Any = pyarrow.compute
ROW_GROUP: Final = 131_072
FILE_BYTES: Final = 256 << 20
"""Size after which the next file is begun: a file is read back as a whole."""
_PARSE_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """What went into the files."""

    rows: int
    first_key: tuple[str, ...]
    last_key: tuple[str, ...]
    first_time: str | None
    last_time: str | None
    files: tuple[ArchivedFile, ...]
    digests: tuple[ColumnDigest, ...]


async def write_rows(connection: Connection, rows: Rows, expected: Expected, order: Sequence[str], time: str, staged: Staged) -> Written:
    """Write all rows, sorted, to files of a staged directory. In the transaction that `expected` was found in."""
    writer = _Writer(expected.columns, order, time, staged)
    waiting: asyncio.Task[None] | None = None
    try:
        async with copying(connection, _copy(rows, expected.columns, order)) as blocks:
            parts: list[bytes] = []
            async for block in blocks:
                parts.append(block)
                if sum(map(len, parts)) >= _PARSE_BYTES:
                    if waiting is not None:
                        await waiting
                    waiting = asyncio.create_task(asyncio.to_thread(writer.take, b"".join(parts)))
                    parts = []
        if waiting is not None:
            await waiting
            waiting = None
        return await asyncio.to_thread(writer.finish, b"".join(parts))
    finally:
        if waiting is not None:
            await asyncio.wait([waiting])
        writer.close()


def _copy(rows: Rows, columns: Sequence[ArchivedColumn], order: Sequence[str]) -> sql.Composed:
    names = sql.SQL(", ").join(sql.Identifier(column.source.name) for column in columns)
    by = sql.SQL(", ").join(map(sql.Identifier, order))
    return sql.SQL("COPY (SELECT {} FROM {} WHERE {} ORDER BY {}) TO STDOUT (FORMAT csv)").format(names, rows.relation, rows.where, by)


def _parsed(kind: pa.DataType) -> pa.DataType:
    """Return what a column is read from CSV as; Arrow reads no wide decimals there, but makes them from text exactly."""
    return pa.string() if pa.types.is_decimal256(kind) else kind


class _HashedFile:
    """A file that knows the checksum of what was written to it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._hash.update(view)
        self.size += view.nbytes
        self._file.write(data)
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        return

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def close(self) -> None:
        self._file.close()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


class _Writer:
    """Takes CSV as COPY writes it, and makes Parquet files of it."""

    def __init__(self, columns: Sequence[ArchivedColumn], order: Sequence[str], time: str, staged: Staged) -> None:
        self._schema = pa.schema([column.field for column in columns])
        self._order = tuple(order)
        self._time = time
        self._staged = staged
        self._digests = tuple(ColumnDigest(column) for column in columns)
        self._read_options = pa_csv.ReadOptions(column_names=self._schema.names, block_size=1 << 20)
        self._parse_options = pa_csv.ParseOptions(newlines_in_values=True)
        self._convert_options = pa_csv.ConvertOptions(
            column_types={field.name: _parsed(field.type) for field in self._schema},
            # COPY writes NULL as nothing and an empty text as "".
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        )
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._file: _HashedFile | None = None
        self._parquet: pq.ParquetWriter | None = None
        self._file_rows = 0
        self._files: list[ArchivedFile] = []
        self._rows = 0
        self._first: tuple[str, ...] = ()
        self._last: tuple[str, ...] = ()
        self._times: list[Any] = []

    def take(self, data: bytes) -> None:
        """Take in the next whole lines."""
        if not data:
            return
        try:
            table = pa_csv.read_csv(pa.py_buffer(data), self._read_options, self._parse_options, self._convert_options).cast(self._schema)
        except pa.ArrowException as error:
            raise ArchiveMismatch("being written", [f"rows cannot be read as COPY wrote them: {error}"]) from error
        for digest, column in zip(self._digests, table.columns, strict=True):
            for chunk in column.chunks:
                digest.update(chunk)
        self._first = self._first or self._key(table, 0)
        self._last = self._key(table, table.num_rows - 1)
        self._rows += table.num_rows
        self._note_times(table.column(self._time))
        self._pending.append(table)
        self._pending_rows += table.num_rows
        while self._pending_rows >= ROW_GROUP:
            self._write(ROW_GROUP)

    def finish(self, data: bytes) -> Written:
        """Take in the last lines and complete the files."""
        self.take(data)
        if self._pending_rows:
            self._write(self._pending_rows)
        self._end_file()
        first_time, last_time = (show(self._times[0]), show(self._times[1])) if self._times else (None, None)
        return Written(self._rows, self._first, self._last, first_time, last_time, tuple(self._files), self._digests)

    def close(self) -> None:
        """Let go of a file that was not completed."""
        if self._parquet is not None and self._file is not None:
            self._file.close()

    def _note_times(self, column: pa.ChunkedArray) -> None:
        if not pa.types.is_temporal(column.type):
            return
        found = pc.min_max(column).as_py()
        times = [instant for instant in (*self._times, found["min"], found["max"]) if instant is not None]
        self._times = [min(times), max(times)] if times else []

    def _key(self, table: pa.Table, row: int) -> tuple[str, ...]:
        values = (table.column(name)[row] for name in self._order)
        return tuple("" if not value.is_valid else str(value.cast(pa.string())) for value in values)

    def _write(self, rows: int) -> None:
        table = pa.concat_tables(self._pending)
        if self._parquet is None:
            self._file = _HashedFile(self._staged.create(f"part-{len(self._files):05}.parquet"))
            self._parquet = pq.ParquetWriter(self._file, self._schema, **writer_options(choose(table.slice(0, rows))))
        self._parquet.write_table(table.slice(0, rows), row_group_size=ROW_GROUP)
        self._file_rows += rows
        rest = table.slice(rows)
        self._pending, self._pending_rows = [rest] if rest.num_rows else [], rest.num_rows
        if self._file is not None and self._file.size >= FILE_BYTES:
            self._end_file()

    def _end_file(self) -> None:
        if self._parquet is None or self._file is None:
            return
        self._parquet.close()
        self._file.close()
        name = f"part-{len(self._files):05}.parquet"
        self._files.append(ArchivedFile(name, self._file_rows, self._file.size, self._file.sha256))
        self._parquet, self._file, self._file_rows = None, None, 0
