"""`chainstrata archive`: what has left its table: listed, checked, put back, asked."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import open_platform, output, settings
from chainstrata.cli.show import show_bytes, show_count
from chainstrata.cli.times import From, To, parse_age, parse_span, show_time
from chainstrata.errors import UnknownName, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

app = App("archive", help="The archive: what has left its table, listed, checked, put back, asked.")

Name = Annotated[str, typer.Argument(help="Dataset or roll-up, as prices.minute.")]
Names = Annotated[list[str] | None, typer.Argument(help="Datasets or roll-ups, as prices.minute. Default: all.")]
_DAMAGED = 1


class Shape(StrEnum):
    """How rows are printed or written."""

    TABLE = "table"
    CSV = "csv"
    PARQUET = "parquet"


@app.command("list")
async def list_archives(names: Names = None, from_: From = None, to: To = None) -> None:
    """List archives, oldest rows first."""
    async with open_platform() as platform:
        archives = await platform.archives.list(names or [], span=parse_span(from_, to))

    def render() -> None:
        rows = [
            [
                one.id,
                one.dataset,
                str(one.span),
                show_count(one.rows or 0),
                show_bytes(one.size_bytes or 0),
                one.state,
                show_time(one.verified_at),
            ]
            for one in archives
        ]
        head = ["id", "dataset", "from, to (UTC)", "rows", "size", "state", "verified (UTC)"]
        output().table(head, rows, right=["id", "rows", "size"])

    output().show(archives, render)


@app.command("show")
async def show(number: Annotated[int, typer.Argument(help="Number of the archive.", metavar="ID")]) -> None:
    """Print the manifest of an archive: rows, keys, times, and the form and checksum of every column and file."""
    async with open_platform() as platform:
        archives = await platform.archives.list()
        found = next((one for one in archives if one.id == number), None)
        if found is None:
            raise UnknownName("archive", str(number), [str(one.id) for one in archives])
        manifest = await platform.archives.show(found)

    def render() -> None:
        output().line(f"{found.url}/{found.directory}")
        output().line(f"{show_count(manifest.rows)} rows of {manifest.source}, {manifest.first_time} to {manifest.last_time}")
        output().line(f"keys {' '.join(manifest.first_key)} to {' '.join(manifest.last_key)}, sorted by {', '.join(manifest.sorted_by)}")
        output().line(
            f"schema {manifest.schema_version or 'without revision'}, {manifest.server}, {manifest.written_by}, {manifest.written_at}"
        )
        rows = [
            [one.name, one.form["type"], one.form["parquet"], one.form["encoding"], one.count, one.checksum[:16]]
            for one in manifest.columns
        ]
        output().table(["column", "type", "in Parquet", "as", "values", "SHA-256"], rows, right=["values"])
        output().table(
            ["file", "rows", "size", "SHA-256"],
            [[one.name, one.rows, show_bytes(one.size_bytes), one.sha256[:16]] for one in manifest.files],
            right=["rows", "size"],
        )

    output().show(manifest, render)


@app.command("verify")
async def verify(names: Names = None, from_: From = None, to: To = None) -> int:
    """Read every value of archives back and say what is not as it was written. Exit code 1 if anything is."""
    async with open_platform() as platform:
        verified = await platform.archives.verify(names or [], span=parse_span(from_, to))
    damaged = [one for one in verified.checked if one.differences]

    def render() -> None:
        for one in damaged:
            output().line(f"archive {one.archive.id} of {one.archive.dataset} ({one.archive.span}): {'; '.join(one.differences)}")
        for directory in verified.unknown:
            output().line(f"{directory}: not on record; its rows are in no answer")
        output().line(f"{len(verified.checked)} archives read back, {len(damaged)} not whole")

    output().show(verified, render)
    return _DAMAGED if damaged else 0


@app.command("restore")
async def restore(
    name: Name,
    from_: From = None,
    to: To = None,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long it stays, as 3d. Default: the setting archive.restored_for.")
    ] = None,
) -> None:
    """Put archives that have rows of a span back as they were. They are held for a while, then leave again."""
    from chainstrata.config import ARCHIVE_RESTORED_FOR

    keep_for = parse_age(for_, "--for") if for_ else settings()[ARCHIVE_RESTORED_FOR]
    async with open_platform() as platform:
        restored = await platform.archives.restore(name, parse_span(from_, to), keep_for=keep_for)

    def render() -> None:
        for number, table in restored.items():
            output().line(f"archive {number} is back in {table}")
        if not restored:
            output().line("no archive has rows of that time")

    output().show([{"archive": number, "table": table} for number, table in restored.items()], render)


@app.command("query")
async def query(
    name: Name,
    from_: From = None,
    to: To = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="COLUMN=VALUE", help="Only rows with this value. The same column again: or that one."),
    ] = None,
    column: Annotated[list[str] | None, typer.Option("--column", help="Only this column. May be given several times.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Rows to print.")] = 100,
    shape: Annotated[
        Shape, typer.Option("--format", help="How rows are printed or written. Written, the name of the file tells.")
    ] = Shape.TABLE,
    to_file: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write all rows to a file.")] = None,
) -> None:
    """Print archived rows of a dataset: those that are not in its table any more."""
    from chainstrata.retention.archive.reading import Question

    question = Question(parse_span(from_, to), tuple(column or ()), _conditions(where or []))
    if to_file is not None and shape is Shape.TABLE:
        shape = Shape.CSV if to_file.suffix == ".csv" else Shape.PARQUET
    if shape is Shape.PARQUET and to_file is None:
        raise UsageError("--format parquet needs --output", hint="Parquet cannot be printed.")
    async with open_platform() as platform:
        schema = await platform.archives.schema(name, question)
        batches: list[Any] = []
        rows = 0
        async for batch in platform.archives.read(name, question):
            batches.append(batch)
            rows += batch.num_rows
            if to_file is None and rows >= most:
                break
    _answer(schema, batches, most, shape, to_file)


def _conditions(given: list[str]) -> dict[str, list[str]]:
    conditions: dict[str, list[str]] = {}
    for text in given:
        column, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--where {text!r} has no value", hint="Write --where column=value.")
        conditions.setdefault(column.strip(), []).append(value)
    return conditions


def _answer(schema: "pa.Schema", batches: list[Any], most: int, shape: Shape, to_file: Path | None) -> None:
    import sys

    import pyarrow as pa

    table = pa.Table.from_batches(batches, schema)
    if to_file is not None:
        _write(table, shape, to_file)
        output().show({"rows": table.num_rows, "file": to_file}, lambda: output().line(f"{show_count(table.num_rows)} rows in {to_file}"))
        return
    rows = table.slice(0, most).to_pylist()

    def render() -> None:
        if shape is Shape.CSV:
            _write(table.slice(0, most), shape, sys.stdout.buffer)
        else:
            output().table(schema.names, [list(row.values()) for row in rows])
        if len(rows) == most:
            output().note(f"{most} rows shown; --most prints more, --output writes all to a file.")

    output().show(rows, render)


def _write(table: "pa.Table", shape: Shape, target: Any) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    from chainstrata.retention.archive.restore import as_text

    if shape is Shape.PARQUET:
        pyarrow.parquet.write_table(table, target, compression="zstd")
        return
    batches = table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
    pyarrow.csv.write_csv(pa.Table.from_batches([as_text(batch) for batch in batches]), target)
