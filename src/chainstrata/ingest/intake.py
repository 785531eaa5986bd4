"""Whatever rows come as, made into Arrow tables, without rounding anything on the way.

Frames and tables are taken as they are. Text formats are read as text, so that a number keeps every digit it was written with;
what it means is settled by the column it goes to. Lines that are no rows are handed on beside the rows.
"""

import dataclasses
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, Literal
from uuid import UUID

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from chainstrata.errors import UsageError
from chainstrata.ingest.wire import WireTable

ROWS_AT_ONCE: Final = 65_536
Format = Literal["parquet", "csv", "ndjson", "arrow"]
SUFFIXES: Final[Mapping[str, Format]] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".arrow": "arrow",
    ".feather": "arrow",
}


@dataclass(frozen=True, slots=True)
class Taken:
    """Rows that could be read, and lines that could not: the text of each and what is wrong with it."""

    rows: Any
    malformed: Sequence[tuple[str, str]] = field(default=())


def take(source: Any, table: WireTable, *, format: Format | None = None) -> Iterator[Taken]:  # noqa: A002  # as everybody calls it
    """Yield the rows of a source in tables of bounded size.

    A source is an Arrow table, batch or reader, anything that exports an Arrow stream (polars, pandas), an iterable of
    mappings or dataclasses, or a path or binary file of Parquet, CSV, NDJSON or an Arrow stream.
    """
    if isinstance(source, pa.RecordBatch):
        source = pa.Table.from_batches([source])
    if isinstance(source, pa.Table):
        yield Taken(source)
    elif isinstance(source, str | Path):
        yield from _take_file(Path(source), table, format)
    elif isinstance(source, bytes | bytearray | memoryview):
        yield from _take_stream(io.BytesIO(source), table, format)
    elif hasattr(source, "read"):
        yield from _take_stream(source, table, format)
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
    yield Taken(table.drop_columns(index) if index else table)


def _take_file(path: Path, table: WireTable, chosen: Format | None) -> Iterator[Taken]:
    kind = chosen or SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path.name}: cannot tell what format it is", hint=f"Name the format, or end the name in {', '.join(SUFFIXES)}.")
    try:
        with path.open("rb") as file:
            yield from _take_stream(file, table, kind)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error


def _take_stream(file: IO[bytes], table: WireTable, kind: Format | None) -> Iterator[Taken]:
    readers = {"parquet": _take_parquet, "csv": _take_csv, "arrow": _take_arrow}
    try:
        if kind == "ndjson":
            yield from _take_lines(file, table)
        elif kind in readers:
            yield from readers[kind](file)
        else:
            raise UsageError("a stream does not tell what format it is", hint="Name the format: parquet, csv, ndjson or arrow.")
    except pa.ArrowException as error:
        raise UsageError(f"not readable as {kind}: {str(error).splitlines()[0]}") from error


def _take_parquet(file: IO[bytes]) -> Iterator[Taken]:
    for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=ROWS_AT_ONCE):
        yield Taken(pa.Table.from_batches([batch]))


def _take_arrow(file: IO[bytes]) -> Iterator[Taken]:
    with pyarrow.ipc.open_stream(file) as reader:
        for batch in reader:
            yield Taken(pa.Table.from_batches([batch]))


def _take_csv(file: IO[bytes]) -> Iterator[Taken]:
    """Read every column as text; an empty field has no value."""
    names = pyarrow.csv.open_csv(file).schema.names
    file.seek(0)
    options = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""], quoted_strings_can_be_null=False
    )
    with pyarrow.csv.open_csv(file, convert_options=options) as reader:
        for batch in reader:
            yield Taken(pa.Table.from_batches([batch]))


def _take_lines(file: IO[bytes], table: WireTable) -> Iterator[Taken]:
    while lines := list(islice(file, ROWS_AT_ONCE)):
        rows: list[Mapping[str, Any]] = []
        malformed = []
        for line in lines:
            if not line.strip():
                continue
            try:
                # Numbers stay the text they were written as.
                row = json.loads(line, parse_float=str, parse_int=str, parse_constant=_refuse_constant)
            except (ValueError, RecursionError) as error:
                malformed.append((line.decode("utf-8", "replace").rstrip("\r\n"), f"not JSON: {error}"))
                continue
            if isinstance(row, dict):
                rows.append(row)
            else:
                malformed.append((line.decode("utf-8", "replace").rstrip("\r\n"), "not a JSON object"))
        yield Taken(make_table(rows, table), malformed)


def _refuse_constant(name: str) -> str:
    raise ValueError(f"{name} is not JSON")


def _take_records(source: Iterable[Any], table: WireTable) -> Iterator[Taken]:
    rows = iter(source)
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        yield Taken(make_table([_as_mapping(row) for row in chunk], table))


def _as_mapping(row: Any) -> Mapping[str, Any]:
    if isinstance(row, Mapping):
        return row
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return {one.name: getattr(row, one.name) for one in dataclasses.fields(row)}
    raise UsageError(f"a row is {type(row).__name__}, not a mapping or a dataclass")


def make_table(rows: Sequence[Mapping[str, Any]], table: WireTable) -> Any:
    """Return rows of Python values as an Arrow table: one column for each name any of them has."""
    names = dict.fromkeys(name for row in rows for name in row)
    kinds = {column.name: column.type.name for column in table.columns}
    columns = {name: _column([row.get(name) for row in rows], kinds.get(name, "text")) for name in names}
    return pa.table(columns) if columns else pa.table({})


def _column(values: list[Any], kind: str) -> Any:
    if kind == "array":
        return pa.array([None if value is None else [_text(item) for item in value] for value in values])
    if kind in ("json", "jsonb"):
        return pa.array([None if value is None else _json(value) for value in values], pa.string())
    if kind == "bytea":
        return pa.array(values, pa.binary())
    if kind == "interval":
        return pa.array(values)
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    """Return a value as the text that says all of it."""
    if isinstance(value, Enum):
        return _text(value.value)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, int | Decimal | float | UUID | timedelta):
        return str(value)
    return json.dumps(value, default=str)


def _json(value: Any) -> str:
    return value if isinstance(value, str) and value[:1] in '{["' else json.dumps(value, default=_text)
