"""Whatever rows come as, made into Arrow tables, without rounding anything on the way.

Frames and tables are taken as they are. Lines that are no rows are handed on beside the rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from chainstrata.errors import UsageError
from chainstrata.ingest.expanding import expand
from chainstrata.ingest.formats import ROWS_AT_ONCE, read_rows
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
    mappings or dataclasses, a path or binary file of Parquet, CSV, NDJSON or Arrow, or a `Payload` of those that is not trusted.
    """
    if isinstance(source, pa.RecordBatch):
        source = pa.Table.from_batches([source])
    if isinstance(source, pa.Table):
        yield Taken(expand(source, UNBOUNDED.unpacked))
    elif isinstance(source, Payload):
        yield from read_rows(source.open(), source.format, table, source.limits)
    elif isinstance(source, str | Path):
        yield from _take_file(Path(source), table, format)
    elif isinstance(source, bytes | bytearray | memoryview):
        yield from read_rows(BytesIO(source), format, table, UNBOUNDED)
    elif hasattr(source, "read"):
        yield from read_rows(source, format, table, UNBOUNDED)
    elif hasattr(source, "__arrow_c_stream__"):
        yield from _take_frame(source)
    elif isinstance(source, Iterable) and not isinstance(source, Mapping):
        yield from _take_records(source, table)
    else:
        raise UsageError(
            f"cannot read rows from {type(source).__name__}",
            hint="Give an Arrow table, a polars or pandas frame, an iterable of dicts or dataclasses, or a file.",
        )


def _take_frame(source: Any) -> Iterator[Taken]:
    table = pa.table(source)
    index = [name for name in table.schema.names if name.startswith("__index_level_")]
    yield Taken(expand(table.drop_columns(index) if index else table, UNBOUNDED.unpacked))


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
