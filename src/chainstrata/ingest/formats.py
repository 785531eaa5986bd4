"""Files and streams of Parquet, CSV, NDJSON and Arrow as Arrow tables of bounded size.

Text formats are read as text, so that a number keeps every digit it was written with. Whatever the bytes are, the answer is rows,
lines set aside, or an error that says what is wrong with them.
"""

import io
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from chainstrata.errors import UsageError
from chainstrata.ingest import ipc_sizes, parquet_sizes
from chainstrata.ingest.errors import PayloadTooLarge, PayloadUnreadable
from chainstrata.ingest.expanding import expand
from chainstrata.ingest.payload import Format, Limits, read_whole
from chainstrata.ingest.python_rows import JsonText, Number, Taken, take_rows
from chainstrata.ingest.wire import WireTable

ROWS_AT_ONCE: Final = 65_536
TEXT_AT_ONCE: Final = 16 * 1024 * 1024
_FILE_MAGIC: Final = b"ARROW1"
_THRIFT_ITEMS: Final = 100_000
_CSV_BLOCK: Final = 1024 * 1024
_SHOWN: Final = 2_000
_UNREADABLE: Final = (pa.ArrowException, OSError, MemoryError, EOFError, ValueError, LookupError, struct.error, OverflowError)


def read_rows(file: IO[bytes], kind: Format | None, table: WireTable, limits: Limits) -> Iterator[Taken]:
    """Yield the rows of an open file; raise `PayloadUnreadable` when it is not what it is said to be, or cut short."""
    reader = _READERS.get(kind or "")
    if reader is None:
        raise UsageError("a stream does not tell what format it is", hint="Name the format: parquet, csv, ndjson or arrow.")
    rows = iter(reader(file, table, limits))
    while True:
        try:
            taken = next(rows)
        except StopIteration:
            return
        except _UNREADABLE as error:
            raise PayloadUnreadable(str(kind), _reason(error)) from error
        yield taken


def _reason(error: BaseException) -> str:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return first[:300] or type(error).__name__


def _within(columns: int, limits: Limits) -> None:
    if columns > limits.columns:
        raise PayloadTooLarge(f"{columns} columns, at most {limits.columns} are taken")


def _read_parquet(file: IO[bytes], _: WireTable, limits: Limits) -> Iterator[Taken]:
    whole = read_whole(file, limits)
    texts = parquet_sizes.check_file(memoryview(whole).cast("B"), limits)
    # As dictionaries: one long text that a million rows have is then held once, until it is known how long all would be.
    with pyarrow.parquet.ParquetFile(pa.BufferReader(whole), read_dictionary=texts, thrift_container_size_limit=_THRIFT_ITEMS) as reader:
        for batch in reader.iter_batches(batch_size=ROWS_AT_ONCE):
            yield Taken(_checked(batch, limits))


def _read_arrow(file: IO[bytes], _: WireTable, limits: Limits) -> Iterator[Taken]:
    whole = read_whole(file, limits)
    if bytes(memoryview(whole)[: len(_FILE_MAGIC)]) == _FILE_MAGIC:
        # A file is a stream between two marks.
        whole = whole.slice(8)
    ipc_sizes.check_stream(whole, limits)
    with pyarrow.ipc.open_stream(pa.BufferReader(whole)) as reader:
        _within(len(reader.schema), limits)
        for batch in reader:
            yield Taken(_checked(batch, limits))


def _checked(batch: Any, limits: Limits) -> Any:
    batch.validate(full=True)
    return expand(pa.Table.from_batches([batch]), limits.unpacked)


def _read_csv(file: IO[bytes], _: WireTable, limits: Limits) -> Iterator[Taken]:
    """Read every column as text; an empty field has no value. A line with more or fewer fields is set aside."""
    head = file.readline(limits.line + 1)
    if len(head) > limits.line:
        raise PayloadTooLarge(f"a first line of more than {limits.line} bytes")
    _within(head.count(b",") + 1, limits)
    names = pyarrow.csv.open_csv(io.BytesIO(head)).schema.names
    if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), "")):
        raise PayloadUnreadable("csv", f"its fields are separated by {other!r}, not by commas")
    bad: list[tuple[str, str]] = []

    def set_aside(row: Any) -> str:
        bad.append((str(row.text or "")[:_SHOWN], f"{row.actual_columns} fields, where {row.expected_columns} are needed"))
        return "skip"

    try:
        reader = pyarrow.csv.open_csv(
            file,
            read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=max(_CSV_BLOCK, min(limits.line, TEXT_AT_ONCE))),
            parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=set_aside),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""], quoted_strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        if str(error) != "Empty CSV file":
            raise
        # A file of names alone has no rows, and nothing wrong with it.
        return
    rows = 0
    with reader:
        for batch in reader:
            rows += batch.num_rows
            _count(rows, limits)
            yield Taken(pa.Table.from_batches([batch]), _drained(bad))
    if bad:
        yield Taken(pa.table({}), _drained(bad))


def _drained(bad: list[tuple[str, str]]) -> list[tuple[str, str]]:
    taken = bad[:]
    del bad[: len(taken)]
    return taken


def _count(rows: int, limits: Limits) -> None:
    if rows > limits.rows:
        raise PayloadTooLarge(f"more than {limits.rows} rows")


def _read_lines(file: IO[bytes], table: WireTable, limits: Limits) -> Iterator[Taken]:
    documents = [column.name for column in table.columns if column.type.name in ("json", "jsonb")]
    rows: list[Mapping[str, Any]] = []
    malformed: list[tuple[str, str]] = []
    size = count = 0
    for line, wrong in _lines(file, limits):
        count += 1
        size += len(line)
        if not line:
            _count(count, limits)
            continue
        row, problem = (None, wrong) if wrong else _parse(line, limits)
        if row is None:
            malformed.append((line[:_SHOWN].decode("utf-8", "replace").rstrip("\r\n"), problem))
        else:
            for name in documents:
                if type(row.get(name)) is str:
                    row[name] = JsonText(row[name])
            rows.append(row)
        if len(rows) + len(malformed) >= ROWS_AT_ONCE or size >= TEXT_AT_ONCE:
            _count(count, limits)
            yield _together(rows, malformed, table)
            rows, malformed, size = [], [], 0
    _count(count, limits)
    if rows or malformed:
        yield _together(rows, malformed, table)


def _together(rows: list[Mapping[str, Any]], malformed: list[tuple[str, str]], table: WireTable) -> Taken:
    taken = take_rows(rows, table)
    return Taken(taken.rows, [*malformed, *taken.malformed])


def _lines(file: IO[bytes], limits: Limits) -> Iterator[tuple[bytes, str]]:
    """Yield lines, blank ones empty, and what is wrong with one that is too long, of which only the beginning is kept."""
    mark = b"\xef\xbb\xbf"
    while line := file.readline(limits.line + 1):
        line, mark = line.removeprefix(mark) if mark else line, b""
        if len(line) > limits.line and not line.endswith(b"\n"):
            start = line
            while line and not line.endswith(b"\n"):
                line = file.readline(limits.line)
            yield start[: limits.line], f"a line of more than {limits.line} bytes"
        else:
            yield (line if line.strip() else b""), ""


def _parse(line: bytes, limits: Limits) -> tuple[dict[str, Any] | None, str]:
    """Return a line's row, or what is wrong with it. Numbers stay the digits they were written with."""
    if line.count(b"[") + line.count(b"{") > limits.depth and _depth(line) > limits.depth:
        return None, f"JSON nested deeper than {limits.depth}"
    try:
        row = json.loads(
            line.decode(), parse_float=Number, parse_int=Number, parse_constant=_refuse_constant, object_pairs_hook=_named_once
        )
    except (ValueError, RecursionError) as error:
        return None, f"not JSON: {error}"
    if isinstance(row, list):
        return None, "a JSON list; every line is an object of its own"
    return (row, "") if isinstance(row, dict) else (None, "not a JSON object")


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return row


def _depth(line: bytes) -> int:
    """Return how deep a line nests, brackets inside texts left out."""
    depth = deepest = 0
    in_text = is_escaped = False
    for byte in line:
        if in_text:
            in_text = is_escaped or byte != 0x22
            is_escaped = byte == 0x5C and not is_escaped
        elif byte == 0x22:
            in_text = True
        elif byte in (0x5B, 0x7B):
            depth += 1
            deepest = max(deepest, depth)
        elif byte in (0x5D, 0x7D):
            depth -= 1
    return deepest


def _refuse_constant(name: str) -> str:
    raise ValueError(f"{name} is not JSON")


_READERS: Final[Mapping[str, Callable[[IO[bytes], WireTable, Limits], Iterator[Taken]]]] = {
    "parquet": _read_parquet,
    "csv": _read_csv,
    "ndjson": _read_lines,
    "arrow": _read_arrow,
}
