"""Takes a partition out, step by step. Each step is a transaction, or can be taken up where it was cut short.

Sealed first: from then on its rows cannot change, so what is archived is what is dropped, and a roll-up that has taken
them in has taken them in for good. The connection is one of `maintenance()` that holds the table's lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from psycopg import IsolationLevel, sql

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.maintenance import Patience, change, pause
from chainstrata.engines.postgres.partitioning import Partition, ddl, detach
from chainstrata.engines.storage import Storage
from chainstrata.model import TimedTable
from chainstrata.retention.archive.make import Subject, begin, clean_up, complete, look, make_archive
from chainstrata.retention.archive.registry import list_holds
from chainstrata.retention.archive.source import QUERIES, Rows
from chainstrata.retention.ddl import seal, unseal
from chainstrata.retention.errors import Kept
from chainstrata.retention.gate import find_blockers
from chainstrata.retention.model import Action, ArchiveState, Blocker, Departed, Dependant, Leaving, Standing

_PACE = 0.5


@dataclass(frozen=True, slots=True)
class Tools:
    """What a departure works with. `release_wait` is how long dependants are given to catch up, in seconds."""

    storage: Storage
    dependants: Sequence[Dependant]
    patience: Patience
    release_wait: float


class Departure:
    """One partition on its way out."""

    def __init__(self, connection: Connection, table: TimedTable, standing: Standing, tools: Tools) -> None:
        self._connection = connection
        self._table = table
        self._standing = standing
        self._tools = tools
        self._rows = 0
        self._archive: str | None = None

    async def go(self, steps: Sequence[Action]) -> Departed:
        """Take the steps and return what left. Raises `Kept` when something needs the rows after all."""
        for step in steps:
            await self.take(step)
        return Departed(self._table.name, self._partition.name, self._rows, self._archive)

    async def take(self, step: Action) -> None:
        """Take one step."""
        match step:
            case Action.UNSEAL:
                await self._unseal()
            case Action.SEAL:
                await self._seal()
            case Action.ARCHIVE:
                await self._make_archive()
            case Action.RELEASE:
                await self._release()
            case Action.DETACH:
                parent = sql.Identifier(self._table.schema, self._table.table)
                await detach(self._connection, parent, self._partition, self._tools.patience)
            case Action.DROP:
                await self._drop()

    @property
    def _partition(self) -> Partition:
        return self._standing.partition

    @property
    def _identifier(self) -> sql.Identifier:
        return ddl.identifier(self._partition)

    @property
    def _leaving(self) -> Leaving:
        return Leaving(self._table.name, self._partition.span, self._partition.name, self._standing.sealed_lsn)

    async def _seal(self) -> None:
        async def work() -> Any:
            for statement in (*unseal(self._partition), *seal(self._partition)):
                await self._connection.execute(statement)
            span = self._partition.span
            return await self._connection.fetch_one(
                QUERIES.open_departure,
                {
                    "dataset": self._table.name,
                    "schema": self._partition.schema,
                    "table": self._partition.name,
                    "lower": span.start,
                    "upper": span.end,
                    "size_bytes": self._partition.size_bytes,
                },
            )

        opened = await change(self._connection, work, self._tools.patience)
        self._standing = replace(self._standing, sealed=True, departure=opened.id, sealed_lsn=opened.sealed_lsn)

    async def _unseal(self) -> None:
        async def work() -> None:
            for statement in unseal(self._partition):
                await self._connection.execute(statement)
            await self._connection.execute(QUERIES.abandon_departure, {"id": self._standing.departure})

        await change(self._connection, work, self._tools.patience)

    async def _make_archive(self) -> None:
        """Archive the rows in a snapshot of their own. A partition without rows needs none."""
        connection, storage = self._connection, self._tools.storage
        # What a compressed chunk holds is elsewhere, and ONLY would leave it out.
        relation = self._identifier if self._partition.chunked_by else sql.SQL("ONLY {}").format(self._identifier)
        rows = Rows(relation, self._partition.oid)
        subject = Subject(self._table, self._partition.schema, self._partition.name, self._partition.span, rows)
        await clean_up(connection, storage, self._table.name)
        begun = await begin(connection, storage, subject) if self._table.lifecycle.archive else None
        made = None
        async with connection.begin(isolation=IsolationLevel.REPEATABLE_READ, read_only=True):
            if begun is None:
                self._rows = await connection.fetch_value(sql.SQL("SELECT count(*) FROM {}").format(rows.relation))
            else:
                expected = await look(connection, rows)
                self._rows = expected.rows
                if expected.rows:
                    made = await make_archive(connection, storage, begun.directory, subject, expected)
        async with connection.begin():
            noted = {"id": self._standing.departure, "rows": self._rows, "archive": None}
            if begun is not None and made is not None:
                await complete(connection, begun, made, ArchiveState.READY)
                noted["archive"], self._archive = begun.id, begun.directory
            elif begun is not None:
                await connection.execute(QUERIES.forget_archive, {"id": begun.id})
            await connection.execute(QUERIES.archived_departure, noted)

    async def _release(self) -> None:
        """Have every dependant let go, once they all can. They are given some time to catch up with the seal."""
        deadline = monotonic() + self._tools.release_wait
        while blockers := await self._find_blockers():
            if monotonic() >= deadline:
                raise Kept(self._partition.qualified, blockers)
            await pause(_PACE)

        async def work() -> None:
            for dependant in self._tools.dependants:
                if dependant.concerns(self._table.name):
                    await dependant.let_go(self._connection, self._leaving)
            await self._connection.execute(QUERIES.release_departure, {"id": self._standing.departure})

        await change(self._connection, work, self._tools.patience)

    async def _find_blockers(self) -> list[Blocker]:
        holds = await list_holds(self._connection, [self._table.name])
        return await find_blockers(self._connection, self._table, self._leaving, self._tools.dependants, holds)

    async def _drop(self) -> None:
        async def work() -> None:
            await self._connection.execute(ddl.drop(self._partition))
            await self._connection.execute(QUERIES.drop_departure, {"id": self._standing.departure})

        await change(self._connection, work, self._tools.patience)
