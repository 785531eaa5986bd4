"""Makes an archive of rows, from first look to the comparison with what the server counts. The rows must not change meanwhile."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from uuid import uuid4

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.partitioning import Span
from chainstrata.engines.storage import Storage, StorageError
from chainstrata.model import TimedTable
from chainstrata.retention.archive import reader
from chainstrata.retention.archive.columns import describe
from chainstrata.retention.archive.manifest import MANIFEST, ColumnFacts, Manifest, checksum, show
from chainstrata.retention.archive.source import QUERIES, Expected, Rows, expect, prepare_session
from chainstrata.retention.archive.writer import Written, write_rows
from chainstrata.retention.errors import ArchiveMismatch
from chainstrata.retention.model import ArchiveState


@dataclass(frozen=True, slots=True)
class Subject:
    """What is archived: rows of a table that are in a span, and where they are read from."""

    table: TimedTable
    source_schema: str
    source_name: str
    span: Span
    rows: Rows


@dataclass(frozen=True, slots=True)
class Made:
    """An archive that was written, read back, and found equal to the rows."""

    manifest: Manifest
    sha256: str


@dataclass(frozen=True, slots=True)
class Begun:
    """An archive that is on record, and not yet whole."""

    id: int
    directory: str


def directory_for(subject: Subject) -> str:
    """Return a directory that no other archive has: what it holds, readable, and something random."""
    start, end = (f"{instant:%Y%m%dT%H%M%SZ}" for instant in (subject.span.start, subject.span.end))
    return f"{subject.table.name}/{start}-{end}-{uuid4().hex[:8]}"


def sort_order(table: TimedTable) -> tuple[str, ...]:
    """Return what an archive is sorted by: entity, time, and the rest of the key, so that equal rows give equal files."""
    return tuple(dict.fromkeys((*table.entity, table.column, *table.key)))


async def begin(connection: Connection, storage: Storage, subject: Subject) -> Begun:
    """Put an archive on record before its first file is written, so that nothing that was cut short is ever forgotten."""
    directory = directory_for(subject)
    params = {
        "dataset": subject.table.name,
        "schema": subject.source_schema,
        "table": subject.source_name,
        "lower": subject.span.start,
        "upper": subject.span.end,
        "url": storage.url,
        "directory": directory,
    }
    return Begun(await connection.fetch_value(QUERIES.begin_archive, params), directory)


async def complete(connection: Connection, begun: Begun, made: "Made", state: ArchiveState) -> None:
    """Note in the caller's transaction that an archive is whole."""
    params = {
        "id": begun.id,
        "state": state.value,
        "rows": made.manifest.rows,
        "size_bytes": made.manifest.size_bytes,
        "sha256": made.sha256,
        "lower": made.manifest.lower_bound,
        "upper": made.manifest.upper_bound,
    }
    await connection.execute(QUERIES.complete_archive, params)


async def clean_up(connection: Connection, storage: Storage, dataset: str | None = None) -> int:
    """Finish deletions and remove files of archives whose writing was cut short; return how many were deleted.

    The caller holds the locks of the tables concerned, so that nobody is writing them right now.
    """
    deleted = 0
    for row in await connection.fetch_all(QUERIES.list_leftovers, {"dataset": dataset}):
        if row.url != storage.url:
            continue
        await asyncio.to_thread(storage.delete, row.directory)
        if row.state == ArchiveState.WRITING:
            await connection.execute(QUERIES.forget_archive, {"id": row.id})
        else:
            params = {"ids": [row.id], "from": [ArchiveState.DELETING.value], "state": ArchiveState.DELETED.value}
            deleted += await connection.execute(QUERIES.settle_archives, params)
    return deleted


async def make_archive(connection: Connection, storage: Storage, directory: str, subject: Subject, expected: Expected) -> Made:
    """Write the rows to a directory, read them back and compare. In the transaction that `expected` was found in.

    Raises `ArchiveMismatch` when what was read is not what the server counted; the directory is then gone again.
    """
    manifest = await _write(connection, storage, directory, subject, expected)
    content = manifest.to_bytes()
    try:
        differences = await asyncio.to_thread(_check, storage, directory, checksum(content), expected)
    except StorageError as error:
        differences = [error.message]
    if differences:
        await asyncio.to_thread(storage.delete, directory)
        raise ArchiveMismatch(directory, differences)
    return Made(manifest, checksum(content))


async def look(connection: Connection, rows: Rows) -> Expected:
    """Set the transaction up for reading and return what must be found in the files."""
    await prepare_session(connection)
    return await expect(connection, rows)


async def _write(connection: Connection, storage: Storage, directory: str, subject: Subject, expected: Expected) -> Manifest:
    facts = await _facts(connection, subject)
    stage = storage.stage(directory)
    staged = await asyncio.to_thread(stage.__enter__)
    try:
        written = await write_rows(connection, subject.rows, expected, sort_order(subject.table), subject.table.column, staged)
        manifest = _manifest(subject, expected, written, facts)
        await asyncio.to_thread(_write_manifest, staged, manifest)
    except BaseException as error:
        await asyncio.to_thread(stage.__exit__, type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(stage.__exit__, None, None, None)
    return manifest


def _write_manifest(staged: Any, manifest: Manifest) -> None:
    with staged.create(MANIFEST) as file:
        file.write(manifest.to_bytes())


def _check(storage: Storage, directory: str, sha256: str, expected: Expected) -> list[str]:
    manifest = reader.read_manifest(storage, directory, sha256)
    return reader.read_back(storage, directory, manifest) or reader.compare(manifest, expected)


async def _facts(connection: Connection, subject: Subject) -> dict[str, str]:
    revision = await connection.fetch_value(QUERIES.schema_version, {"pack": subject.table.schema})
    server = await connection.fetch_value("SHOW server_version")
    return {"schema_version": revision or "", "server": f"PostgreSQL {server}"}


def _manifest(subject: Subject, expected: Expected, written: Written, facts: dict[str, str]) -> Manifest:
    table = subject.table
    columns = tuple(
        ColumnFacts(describe(column), digest.count, digest.total, digest.checksum)
        for column, digest in zip(expected.columns, written.digests, strict=True)
    )
    return Manifest(
        dataset=table.name,
        table=table.qualified,
        source=f"{subject.source_schema}.{subject.source_name}",
        time_column=table.column,
        key=table.key,
        sorted_by=sort_order(table),
        lower_bound=show(subject.span.start),
        upper_bound=show(subject.span.end),
        rows=written.rows,
        first_time=written.first_time,
        last_time=written.last_time,
        first_key=written.first_key,
        last_key=written.last_key,
        columns=columns,
        files=written.files,
        written_at=show(datetime.now(UTC)),
        written_by=f"chainstrata {version('chainstrata')}",
        schema_version=facts["schema_version"],
        server=facts["server"],
    )
