"""Whatever rows come as, made into Arrow tables, without rounding anything on the way.

Frames and tables are taken as they are. Lines that are no rows are handed on beside the rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from chainstrata.errors import UsageError
from chainstrata.ingest.errors import UnfitColumn
from chainstrata.ingest.expanding import expand
from chainstrata.ingest.formats import ROWS_AT_ONCE, read_rows
from chainstrata.ingest.frames import read_frame
from chainstrata.ingest.payload import UNBOUNDED, Format, Payload
from chainstrata.ingest.python_rows import Taken, as_mapping, take_rows
from chainstrata.ingest.wire import WireTable

SUFFIXES: Final[Mapping[str, Format]] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".arrow": "arrow",
    ".feather": "arrow",
}


def take(source: Any, table: WireTable, *, format: Format | None = None) -> Iterator[Taken]:  # noqa: A002  # as everybody calls it
    """Yield the rows of a source in tables of bounded size.

    A source is an Arrow table, batch or reader, anything that exports an Arrow stream (polars, pandas), an iterable of
    mappings or dataclasses or of tables and batches, a path or binary file of Parquet, CSV, NDJSON or Arrow, or a `Payload` of
    those that is not trusted.
    """
    for taken in _take(source, table, format):
        names = taken.rows.schema.names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UnfitColumn(table.full_name, twice, "is given twice", hint="Name every column once.")
        if taken.rows.num_rows and not names:
            raise UsageError(f"{taken.rows.num_rows} rows without any column", hint=f"{table.full_name} has {_listed(table)}.")
        yield taken


def _listed(table: WireTable) -> str:
    return ", ".join(column.name for column in table.columns)


def _take(source: Any, table: WireTable, format: Format | None) -> Iterator[Taken]:  # noqa: A002  # as everybody calls it
    if isinstance(source, pa.Table | pa.RecordBatch | pa.StructArray):
        yield Taken(expand(_as_table(source), UNBOUNDED.unpacked))
    elif isinstance(source, pa.RecordBatchReader):
        yield from _take_tables(source)
    elif isinstance(source, Payload):
        yield from read_rows(source.open(), source.format, table, source.limits)
    elif isinstance(source, str | Path):
        yield from _take_file(Path(source), table, format)
    elif isinstance(source, bytes | bytearray | memoryview):
        yield from read_rows(BytesIO(source), format, table, UNBOUNDED)
    elif hasattr(source, "read"):
        yield from read_rows(source, format, table, UNBOUNDED)
    elif hasattr(source, "__arrow_c_stream__"):
        yield Taken(expand(read_frame(source), UNBOUNDED.unpacked))
    else:
        yield from _take_many(source, table)


def _as_table(source: Any) -> Any:
    if isinstance(source, pa.StructArray):
        return pa.Table.from_struct_array(source)
    return pa.Table.from_batches([source]) if isinstance(source, pa.RecordBatch) else source


def _take_many(source: Any, table: WireTable) -> Iterator[Taken]:
    """Yield the rows of what gives rows, or tables, one after the other."""
    if not isinstance(source, Iterable) or isinstance(source, Mapping):
        hint = "Give an Arrow table, a polars or pandas frame, an iterable of dicts or dataclasses, or a file."
        if hasattr(source, "collect"):
            hint = "It is not computed yet: give what its `collect()` returns."
        raise UsageError(f"cannot read rows from {type(source).__name__}", hint=hint)
    items = iter(source)
    for first in items:
        rest = chain([first], items)
        yield from _take_tables(rest) if isinstance(first, pa.Table | pa.RecordBatch) else _take_records(rest, table)


def _take_tables(tables: Iterable[Any]) -> Iterator[Taken]:
    """Yield tables or batches of one schema together until they are many rows."""
    waiting: list[Any] = []
    rows = 0
    for given in tables:
        if not isinstance(given, pa.Table | pa.RecordBatch):
            raise UsageError(f"{type(given).__name__} among tables", hint="Give tables and record batches alone, or rows alone.")
        one = _as_table(given)
        if waiting and (rows + one.num_rows > ROWS_AT_ONCE or one.schema != waiting[0].schema):
            yield Taken(expand(pa.concat_tables(waiting), UNBOUNDED.unpacked))
            waiting, rows = [], 0
        waiting.append(one)
        rows += one.num_rows
    if waiting:
        yield Taken(expand(pa.concat_tables(waiting), UNBOUNDED.unpacked))


def _take_file(path: Path, table: WireTable, chosen: Format | None) -> Iterator[Taken]:
    kind = chosen or SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path.name}: cannot tell what format it is", hint=f"Name the format, or end the name in {', '.join(SUFFIXES)}.")
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    with file:
        yield from read_rows(file, kind, table, UNBOUNDED)


def _take_records(source: Iterable[Any], table: WireTable) -> Iterator[Taken]:
    rows = iter(source)
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        yield take_rows([as_mapping(row) for row in chunk], table)
