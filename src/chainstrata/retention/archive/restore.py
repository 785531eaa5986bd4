"""Puts archived rows back: a partition's as a partition, a plain table's into the table. Held against the manifest again.

A partition is loaded beside its table and attached when it is whole, so nobody waits and a crash leaves nothing half there:
what an earlier try left is found by its comment and begun anew.
"""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any, Final, LiteralString, cast

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pa_csv
from psycopg import sql

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.maintenance import Patience, change
from chainstrata.engines.postgres.partitioning import Partition, TableFacts, ddl, describe, list_partitions, names_in_use
from chainstrata.engines.postgres.partitioning.changes import BOUND_CHECK
from chainstrata.engines.storage import Storage
from chainstrata.model import TimedTable
from chainstrata.retention.archive import reader
from chainstrata.retention.archive.manifest import Manifest
from chainstrata.retention.archive.registry import add_hold
from chainstrata.retention.archive.source import QUERIES, Rows, expect, prepare_session, read_columns
from chainstrata.retention.ddl import seal
from chainstrata.retention.errors import ArchiveInUse, ArchiveMismatch
from chainstrata.retention.model import Archive, ArchiveState

# Its functions are made when it is imported, so no checker knows them.
pc: Any = pyarrow.compute
_MARK: Final = "chainstrata: archive {} is being put back"
_STAGED: Final = sql.Identifier("strata_restored")


class Restore:
    """Puts one archive back. The connection is one of `maintenance()` that holds the table's lock."""

    def __init__(self, connection: Connection, storage: Storage, table: TimedTable, patience: Patience) -> None:
        self._connection = connection
        self._storage = storage
        self._table = table
        self._patience = patience
        self._parent = sql.Identifier(table.schema, table.table)

    async def run(self, archive: Archive, until: datetime | None) -> str:
        """Put the archive back and return the name of the table its rows are in. They are held until then."""
        manifest = await asyncio.to_thread(reader.read_manifest, self._storage, archive.directory, archive.manifest_sha256)
        if self._table.partitioned:
            return await self._as_partition(archive, manifest, until)
        return await self._as_rows(archive, manifest, until)

    # As a partition ------------------------------------------------------------------------------------------------

    async def _as_partition(self, archive: Archive, manifest: Manifest, until: datetime | None) -> str:
        await self._check_free(archive)
        await self._drop_leftover(archive)
        partition = await self._load(archive, manifest)
        await self._add_foreign_keys(partition)
        await self._join(archive, partition, until)
        return partition.qualified

    async def _check_free(self, archive: Archive) -> None:
        for one in await list_partitions(self._connection, self._table.schema, self._table.table):
            if one.span.overlaps(archive.span):
                raise ArchiveInUse(
                    f"{archive.span} of {self._table.name} cannot be put back: {one.qualified} stands there",
                    hint="Rows of that time came in since. `chainstrata archive query` reads the archived ones where they are.",
                )

    async def _drop_leftover(self, archive: Archive) -> None:
        params = {"schema": self._table.schema, "mark": _MARK.format(archive.id)}
        for row in await self._connection.fetch_all(QUERIES.find_restoring, params):
            await self._connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(row.schema, row.name)))

    async def _load(self, archive: Archive, manifest: Manifest) -> Partition:
        """Make the table, fill it and compare it with the manifest, all in one transaction."""
        connection = self._connection
        taken = await names_in_use(connection, self._table.schema, archive.table_name[:20])
        name = next(free for free in _variants(archive.table_name) if free not in taken)
        parent = await self._describe()
        chunked_by = self._table.column if parent.hypertable else ""
        partition = Partition(self._table.schema, name, archive.span, chunked_by=chunked_by)
        identifier = ddl.identifier(partition)
        async with connection.begin():
            await connection.execute(
                sql.SQL(
                    "CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING INDEXES"
                    " INCLUDING STORAGE INCLUDING COMPRESSION)"
                ).format(identifier, self._parent)
            )
            await connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(identifier, sql.Literal(_MARK.format(archive.id))))
            await self._copy(identifier, archive, manifest)
            await connection.execute(ddl.add_bound_check(partition, self._table.column, BOUND_CHECK))
            facts = await describe(connection, partition.schema, partition.name)
            if facts is None:
                raise AssertionError("the table was just made")
            await self._compare(Rows(identifier, facts.oid), archive, manifest)
        return partition

    async def _add_foreign_keys(self, partition: Partition) -> None:
        """Add the table's foreign keys before it is attached: checking them while attaching would lock what they point at."""
        params = {"schema": self._table.schema, "table": self._table.table}
        for key in await self._connection.fetch_all(QUERIES.list_foreign_keys, params):
            names = {"table": ddl.identifier(partition), "name": sql.Identifier(key.name)}
            definition = sql.SQL(cast("LiteralString", key.definition))
            add = sql.SQL("ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID").format(**names, definition=definition)
            validate = sql.SQL("ALTER TABLE {table} VALIDATE CONSTRAINT {name}").format(**names)
            for statement in (add, validate):
                await change(self._connection, partial(self._connection.execute, statement), self._patience)

    async def _join(self, archive: Archive, partition: Partition, until: datetime | None) -> None:
        connection = self._connection

        async def work() -> None:
            await connection.execute(ddl.attach(self._parent, partition))
            await connection.execute(ddl.drop_constraint(partition, BOUND_CHECK))
            if self._table.feeds:
                # Roll-ups have these rows in for good: what changed here now would never reach them.
                for statement in seal(partition):
                    await connection.execute(statement)
            await connection.execute(sql.SQL("COMMENT ON TABLE {} IS NULL").format(ddl.identifier(partition)))
            params = {"id": archive.id, "table": partition.name, "state": ArchiveState.RESTORED.value}
            await connection.execute(QUERIES.restored_archive, params)
            await add_hold(connection, self._table.name, archive.span, f"put back from archive {archive.id}", until)

        await change(connection, work, self._patience)

    # Into a plain table --------------------------------------------------------------------------------------------

    async def _as_rows(self, archive: Archive, manifest: Manifest, until: datetime | None) -> str:
        """Put the rows into the table, all or none. From then on they are there and no longer in the archive."""
        connection = self._connection

        async def work() -> None:
            await connection.execute(sql.SQL("DROP TABLE IF EXISTS pg_temp.{}").format(_STAGED))
            await connection.execute(
                sql.SQL("CREATE TEMP TABLE {} (LIKE {} INCLUDING GENERATED) ON COMMIT DROP").format(_STAGED, self._parent)
            )
            columns = await self._copy(_STAGED, archive, manifest)
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            inserted = await connection.execute(
                sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} ON CONFLICT DO NOTHING").format(
                    self._parent, names, names, _STAGED
                )
            )
            if inserted != manifest.rows:
                raise ArchiveInUse(
                    f"{manifest.rows - inserted} of {manifest.rows} rows of archive {archive.id} have keys that {self._table.qualified} uses",
                    hint="Nothing was put back. `chainstrata archive query` reads the archived rows where they are.",
                )
            params = {"id": archive.id, "table": archive.table_name, "state": ArchiveState.DELETING.value}
            await connection.execute(QUERIES.restored_archive, params)
            await add_hold(connection, self._table.name, archive.span, f"put back from archive {archive.id}", until)

        await change(connection, work, self._patience)
        return self._table.qualified

    # Both ------------------------------------------------------------------------------------------------------------

    async def _copy(self, target: sql.Identifier, archive: Archive, manifest: Manifest) -> list[str]:
        """Copy the rows in and return the columns that were filled: those the table still has and does not compute."""
        facts = await self._describe()
        fillable = {column.name for column in await read_columns(self._connection, facts.oid) if not column.generated}
        columns = [one.name for one in manifest.columns if one.name in fillable]
        trimmed = frozenset(one.name for one in manifest.columns if one.form["base_type"] == "numeric" and one.form["digits"] is None)
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(target, sql.SQL(", ").join(map(sql.Identifier, columns)))
        async with self._connection.copy(statement) as copy:
            batches = reader.read_batches(self._storage, archive.directory, manifest, columns)
            while (text := await asyncio.to_thread(_next_csv, batches, trimmed)) is not None:
                await copy.write(text)
        return columns

    async def _describe(self) -> TableFacts:
        facts = await describe(self._connection, self._table.schema, self._table.table)
        if facts is None:
            raise ArchiveInUse(f"{self._table.qualified} does not exist", hint="Run `chainstrata migrate up` first.")
        return facts

    async def _compare(self, rows: Rows, archive: Archive, manifest: Manifest) -> None:
        """Hold the loaded table against the manifest; columns that the table has no more, or did not have, are left out."""
        await prepare_session(self._connection)
        found = await expect(self._connection, rows)
        differences = reader.compare(manifest, found)
        if differences:
            raise ArchiveMismatch(archive.directory, differences)


def _variants(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name[:58]}_{number}"
        number += 1


def _next_csv(batches: Iterator[pa.RecordBatch], trimmed: frozenset[str]) -> bytes | None:
    batch = next(batches, None)
    if batch is None:
        return None
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(as_text(batch, trimmed), sink, pa_csv.WriteOptions(include_header=False))
    content: bytes = sink.getvalue().to_pybytes()
    return content


def as_text(batch: pa.RecordBatch, trimmed: frozenset[str] = frozenset()) -> pa.RecordBatch:
    """Return a batch that CSV can carry: Arrow writes neither wide decimals nor zones there, but casts them to text.

    Columns named in `trimmed` lose the zeros that only the width of the Parquet type added.
    """
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        text = column.cast(pa.string()) if _needs_text(column.type) else column
        columns.append(_trim(text) if name in trimmed and pa.types.is_decimal(column.type) else text)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _needs_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(kind) or pa.types.is_temporal(kind) or pa.types.is_floating(kind))


def _trim(numbers: pa.Array) -> pa.Array:
    shorter = pc.replace_substring_regex(numbers, pattern=r"(\.\d*?)0+(E|$)", replacement=r"\1\2")
    return pc.replace_substring_regex(shorter, pattern=r"\.(E|$)", replacement=r"\1")
