"""Ages the rows of plain tables: archive, read back, delete, a batch at a time, only rows that are done.

A batch is one transaction. Its rows are locked first, so that what is archived is what is deleted; the archive answers for
them from the moment they are gone.
"""

import asyncio
from datetime import datetime, timedelta

from psycopg import sql

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.maintenance import change
from chainstrata.engines.postgres.partitioning import BEGINNING, Span
from chainstrata.model import TimedTable
from chainstrata.retention.archive.make import Begun, Subject, begin, clean_up, complete, look, make_archive
from chainstrata.retention.archive.registry import list_holds
from chainstrata.retention.archive.source import QUERIES, Rows
from chainstrata.retention.departure import Tools
from chainstrata.retention.errors import ArchiveMismatch, Kept
from chainstrata.retention.gate import find_blockers
from chainstrata.retention.model import AgedRows, ArchiveState, Blocker, Departed, Leaving

_PICKED = sql.Identifier("strata_aged")


class Aging:
    """The rows of one plain table that are older than they are kept."""

    def __init__(self, connection: Connection, table: TimedTable, limit: datetime, tools: Tools, batch_rows: int) -> None:
        self._connection = connection
        self._table = table
        self._limit = limit
        self._tools = tools
        self._batch_rows = batch_rows
        self._source = sql.Identifier(table.schema, table.table)
        self._time = sql.Identifier(table.column)
        self._free: sql.Composable = sql.SQL("true")
        self._concerned = [one for one in tools.dependants if one.concerns(table.name)]

    async def look(self) -> AgedRows:
        """Return what would leave, and who keeps it."""
        await self._read_conditions()
        end = await self._end()
        statement = sql.SQL("SELECT count(*) AS rows, min({time}) AS oldest FROM {source} t WHERE {due}").format(
            time=self._time, source=self._source, due=self._due(end)
        )
        found = await self._connection.fetch_one(statement)
        blockers = await self._blockers(end) if found.rows else []
        return AgedRows(self._table, self._limit, found.rows, found.oldest, tuple(blockers))

    async def go(self) -> list[Departed]:
        """Take everything that is due out, batch after batch, and return what left."""
        departed = []
        await clean_up(self._connection, self._tools.storage, self._table.name)
        while (batch := await self._batch()) is not None:
            departed.append(batch)
        return departed

    async def _batch(self) -> Departed | None:
        begun = await self._begin()

        async def work() -> Departed | None:
            return await self._move(begun)

        try:
            departed = await change(self._connection, work, self._tools.patience)
        except Kept:
            await self._forget(begun)
            raise
        if departed is None or departed.archive is None:
            await self._forget(begun)
        return departed

    async def _begin(self) -> Begun | None:
        if not self._table.lifecycle.archive:
            return None
        return await begin(self._connection, self._tools.storage, self._subject(Span(self._limit, self._limit), 0))

    async def _forget(self, begun: Begun | None) -> None:
        if begun is not None:
            await self._connection.execute(QUERIES.forget_archive, {"id": begun.id})

    async def _move(self, begun: Begun | None) -> Departed | None:
        """Archive and delete one batch in the transaction that is open."""
        connection = self._connection
        picked = await self._pick()
        if picked is None:
            return None
        span, oid = picked
        rows = Rows(self._source, oid, self._is_picked())
        expected = await look(connection, rows)
        made = None
        if begun is not None:
            # A try that met a lock may have left its files.
            await asyncio.to_thread(self._tools.storage.delete, begun.directory)
            made = await make_archive(connection, self._tools.storage, begun.directory, self._subject(span, oid), expected)
            await complete(connection, begun, made, ArchiveState.SERVING)
        deleted = await connection.execute(sql.SQL("DELETE FROM {} WHERE {}").format(self._source, self._is_picked()))
        if deleted != expected.rows:
            raise ArchiveMismatch(self._table.qualified, [f"{deleted} rows deleted, {expected.rows} archived"])
        return Departed(self._table.name, f"{self._table.qualified} {span}", deleted, begun.directory if begun and made else None)

    async def _pick(self) -> tuple[Span, int] | None:
        """Lock the rows of the next batch and note their keys; return what time they cover and the table's number."""
        connection = self._connection
        if self._concerned:
            # Nobody may write rows that roll-ups let go of, and only a partition can be sealed.
            await connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(self._source))
        await self._read_conditions()
        end = await self._end()
        blockers = await self._blockers(end)
        if blockers:
            raise Kept(self._table.qualified, blockers)
        if self._concerned:
            end = await self._edge(end)
        keys = sql.SQL(", ").join(map(sql.Identifier, self._table.key))
        limit = sql.SQL("") if self._concerned else sql.SQL("LIMIT {}").format(sql.Literal(self._batch_rows))
        await connection.execute(sql.SQL("DROP TABLE IF EXISTS pg_temp.{}").format(_PICKED))
        await connection.execute(
            sql.SQL(
                "CREATE TEMP TABLE {picked} ON COMMIT DROP AS SELECT {keys}, {time} AS strata_time FROM {source} t"
                " WHERE {due} ORDER BY {time} {limit} FOR UPDATE OF t"
            ).format(picked=_PICKED, keys=keys, time=self._time, source=self._source, due=self._due(end), limit=limit)
        )
        found = await connection.fetch_one(
            sql.SQL(
                "SELECT count(*) AS rows, min(strata_time) AS first, max(strata_time) AS last, {source}::regclass::oid::bigint AS oid FROM {picked}"
            ).format(source=sql.Literal(self._source.as_string()), picked=_PICKED)
        )
        if not found.rows:
            return None
        if self._concerned:
            for dependant in self._concerned:
                await dependant.let_go(connection, Leaving(self._table.name, Span(BEGINNING, end)))
        return Span(found.first, found.last + timedelta(microseconds=1)), found.oid

    async def _end(self) -> datetime:
        """Return the instant before which rows may leave.

        Roll-ups note up to when rows are gone. So with one of them, nothing passes a row that stays.
        """
        if not self._concerned:
            return self._limit
        statement = sql.SQL("SELECT min({time}) FROM {source} t WHERE {time} < {limit} AND NOT coalesce({free}, false)").format(
            time=self._time, source=self._source, limit=sql.Literal(self._limit), free=self._free
        )
        oldest = await self._connection.fetch_value(statement)
        return self._limit if oldest is None else oldest

    async def _edge(self, end: datetime) -> datetime:
        """Return where a batch ends that leaves no two rows of one instant on both sides."""
        due = self._due(end)
        statement = sql.SQL("SELECT {time} FROM {source} t WHERE {due} ORDER BY {time} OFFSET {skip} LIMIT 1").format(
            time=self._time, source=self._source, due=due, skip=sql.Literal(self._batch_rows)
        )
        edge = await self._connection.fetch_value(statement)
        if edge is None:
            return end
        statement = sql.SQL(
            "SELECT min({time}) FILTER (WHERE {time} > {edge}) AS next, min({time}) AS first FROM {source} t WHERE {due}"
        ).format(time=self._time, source=self._source, due=due, edge=sql.Literal(edge))
        found = await self._connection.fetch_one(statement)
        return edge if found.first < edge else found.next or end

    def _due(self, end: datetime) -> sql.Composed:
        """Return the condition of rows that are old, and free to leave."""
        return sql.SQL("{} < {} AND {}").format(self._time, sql.Literal(end), self._free)

    async def _read_conditions(self) -> None:
        """Note which rows are free to leave: done, held by nobody, and referred to by no other table."""
        parts: list[sql.Composable] = [sql.SQL("true")]
        if self._table.lifecycle.terminal:
            # A condition of the declaration, which is code.
            parts.append(sql.SQL("({})").format(sql.SQL(self._table.lifecycle.terminal)))  # pyright: ignore[reportArgumentType]
        for hold in await list_holds(self._connection, [self._table.name]):
            inside = sql.SQL("NOT ({time} >= {start} AND {time} < {end})")
            parts.append(inside.format(time=self._time, start=sql.Literal(hold.span.start), end=sql.Literal(hold.span.end)))
        params = {"schema": self._table.schema, "table": self._table.table}
        for key in await self._connection.fetch_all(QUERIES.list_references, params):
            matching = sql.SQL(" AND ").join(
                sql.SQL("r.{} = t.{}").format(sql.Identifier(own), sql.Identifier(theirs))
                for own, theirs in zip(key.columns, key.targets, strict=True)
            )
            parts.append(sql.SQL("NOT EXISTS (SELECT FROM {} r WHERE {})").format(sql.Identifier(key.schema, key.table), matching))
        self._free = sql.SQL("({})").format(sql.SQL(" AND ").join(parts))

    def _is_picked(self) -> sql.Composed:
        keys = sql.SQL(", ").join(map(sql.Identifier, self._table.key))
        return sql.SQL("({keys}) IN (SELECT {keys} FROM pg_temp.{picked})").format(keys=keys, picked=_PICKED)

    async def _blockers(self, end: datetime) -> list[Blocker]:
        leaving = Leaving(self._table.name, Span(BEGINNING, end))
        return await find_blockers(self._connection, self._table, leaving, self._tools.dependants, ())

    def _subject(self, span: Span, oid: int) -> Subject:
        rows = Rows(self._source, oid, self._is_picked())
        return Subject(self._table, self._table.schema, self._table.table, span, rows)
