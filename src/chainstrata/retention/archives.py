"""Archives as people use them: list, verify, put back, read. The same functions serve the command and the API."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.maintenance import Patience, exclusive, maintenance
from chainstrata.engines.postgres.partitioning import Span
from chainstrata.engines.storage import Storage, StorageError
from chainstrata.errors import UnknownName
from chainstrata.model import Catalog, TimedTable, timed_tables
from chainstrata.retention.archive import reader
from chainstrata.retention.archive.make import clean_up
from chainstrata.retention.archive.manifest import MANIFEST, Manifest
from chainstrata.retention.archive.reading import Question, common_schema, open_archives, read_rows
from chainstrata.retention.archive.registry import ALWAYS, PRESENT, add_hold, list_archives, list_holds, list_serving
from chainstrata.retention.archive.restore import Restore
from chainstrata.retention.archive.source import QUERIES
from chainstrata.retention.errors import ArchiveUnreadable
from chainstrata.retention.model import Archive, ArchiveState, Hold


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of an archive found; nothing when it is whole."""

    archive: Archive
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check of all archives found. `unknown` are directories in the storage that are not on record."""

    checked: tuple[Checked, ...]
    unknown: tuple[str, ...]


class Archives:
    """The archives of one database in one storage."""

    def __init__(self, database: Database, catalog: Catalog, storage: Storage, *, patience: Patience | None = None) -> None:
        self._database = database
        self._catalog = catalog
        self._storage = storage
        self._patience = patience or Patience()

    async def list(self, names: Sequence[str] = (), *, span: Span = ALWAYS, states: Sequence[ArchiveState] = PRESENT) -> list[Archive]:
        """Return archives of datasets and roll-ups, oldest rows first."""
        async with self._database.connection() as connection:
            return await list_archives(connection, self._names(names), states=states, span=span)

    async def show(self, archive: Archive) -> Manifest:
        """Return the manifest of an archive."""
        return await asyncio.to_thread(reader.read_manifest, self._storage, archive.directory, archive.manifest_sha256)

    async def verify(self, names: Sequence[str] = (), *, span: Span = ALWAYS) -> Verified:
        """Read every value of archives back and return what is not as it was written."""
        checked = []
        for archive in await self.list(names, span=span):
            differences = await asyncio.to_thread(self._check, archive)
            checked.append(Checked(archive, tuple(differences)))
            if not differences:
                await self._database.execute(QUERIES.verified_archive, {"id": archive.id})
        return Verified(tuple(checked), tuple(await self._unknown()))

    def _check(self, archive: Archive) -> Sequence[str]:
        try:
            manifest = reader.read_manifest(self._storage, archive.directory, archive.manifest_sha256)
            return reader.read_back(self._storage, archive.directory, manifest)
        except (ArchiveUnreadable, StorageError) as error:
            return [error.message]

    async def _unknown(self) -> Sequence[str]:
        there = await asyncio.to_thread(self._storage.list)
        whole = {path.removesuffix(f"/{MANIFEST}") for path in there if path.endswith(f"/{MANIFEST}")}
        async with self._database.connection() as connection:
            known = {one.directory for one in await list_archives(connection, states=list(ArchiveState))}
        return sorted(whole - known)

    async def restore(self, name: str, span: Span, *, keep_for: timedelta | None = timedelta(days=7)) -> dict[int, str]:
        """Put the archives of a dataset or roll-up that have rows in a span back; return the table of each, by its number.

        They are held for `keep_for` (None: for good), then leave again.
        """
        table = self._table(name)
        until = datetime.now(UTC) + keep_for if keep_for else None
        restored = {}
        async with maintenance(self._database) as connection, exclusive(connection, f"partitions.{table.qualified}"):
            restore = Restore(connection, self._storage, table, self._patience)
            for archive in await list_archives(connection, [name], states=[ArchiveState.SERVING], span=span):
                restored[archive.id] = await restore.run(archive, until)
            await clean_up(connection, self._storage, name)
        return restored

    async def schema(self, name: str, question: Question) -> pa.Schema:
        """Return the schema that `read` answers the question in."""
        return common_schema(await open_archives(self._storage, await self._serving(name, question.span)), question.columns)

    async def read(self, name: str, question: Question) -> AsyncIterator[pa.RecordBatch]:
        """Yield archived rows of a dataset or roll-up that answer a question: those that are not in their table any more."""
        table = self._table(name)
        opened = await open_archives(self._storage, await self._serving(name, question.span))
        async for batch in read_rows(self._storage, opened, table.column, question):
            yield batch

    async def _serving(self, name: str, span: Span) -> Sequence[Archive]:
        self._table(name)
        async with self._database.connection() as connection:
            return await list_serving(connection, name, span)

    # Holds -----------------------------------------------------------------------------------------------------------

    async def holds(self, names: Sequence[str] = ()) -> Sequence[Hold]:
        """Return the holds that are in force."""
        async with self._database.connection() as connection:
            return await list_holds(connection, self._names(names))

    async def hold(self, name: str, span: Span, reason: str, *, until: datetime | None = None) -> int:
        """Keep rows of a span, whatever their age, and return the number of the hold."""
        async with self._database.connection() as connection:
            return await add_hold(connection, self._table(name).name, span, reason, until)

    async def lift(self, hold: int) -> None:
        """End a hold; raise `UnknownName` when there is none of that number in force."""
        if not await self._database.execute(QUERIES.lift_hold, {"id": hold}):
            raise UnknownName("hold", str(hold), [str(one.id) for one in await self.holds()])

    def _names(self, names: Sequence[str]) -> Sequence[str]:
        return [table.name for table in timed_tables(self._catalog, names)] if names else []

    def _table(self, name: str) -> TimedTable:
        for table in timed_tables(self._catalog):
            if table.name == name:
                return table
        raise UnknownName("dataset or roll-up with a time", name, [table.name for table in timed_tables(self._catalog)])
