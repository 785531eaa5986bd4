"""Copies a table while it is written to, follows the changes, and proves in the end that nothing is missing.

Writers never wait for the copy: a trigger notes the keys of what they change in their own transaction, and whoever copies then
fetches those rows anew. A row may be copied before its change is noted or after; the last fetch has it as it is.
"""

from collections.abc import Awaitable, Callable
from typing import Any, LiteralString

from psycopg import IsolationLevel, sql

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.errors import NoPartition
from chainstrata.engines.postgres.maintenance import Patience, change
from chainstrata.engines.postgres.partitioning import Span, ddl, list_partitions, names_in_use
from chainstrata.partitions import planner
from chainstrata.partitions.adoption.ddl import listed, matched, trusted
from chainstrata.partitions.adoption.model import CannotAdopt, Facts
from chainstrata.partitions.adoption.names import Names
from chainstrata.partitions.model import Action

_KEYS = sql.Identifier("strata_adopt_keys")


class Copying:
    """The copy of one table on its way."""

    def __init__(self, connection: Connection, names: Names, facts: Facts, patience: Patience, batch_rows: int) -> None:
        self._connection = connection
        self._names = names
        self._facts = facts
        self._patience = patience
        self._batch_rows = batch_rows
        stored = [column.name for column in facts.columns if not column.generated]
        self._parts: dict[str, sql.Composable] = {
            "plain": names.plain,
            "copy": names.copy,
            "log": names.log,
            "notes": names.notes,
            "keys": _KEYS,
            "stored": listed(stored),
            "stored_o": listed(stored, "o"),
            "key": listed(names.table.key),
            "walk": listed(facts.walk),
            "time": sql.Identifier(names.table.column),
            "limit": sql.Literal(batch_rows),
        }

    async def copy_batch(self) -> int | None:
        """Copy the next rows in the order of a key; return how many, None when there are no more."""
        reached = await self._connection.fetch_value(self._sql("SELECT reached FROM {notes}"))
        after = self._after(reached)

        async def work() -> int | None:
            last = await self._connection.fetch_one(
                self._sql(
                    "SELECT array_agg(part.value ORDER BY part.place) AS reached FROM ("
                    "SELECT {walk} FROM {plain} o WHERE {after} ORDER BY {walk} OFFSET {limit} - 1 LIMIT 1) b,"
                    " unnest(ARRAY[{texts}]) WITH ORDINALITY AS part (value, place)",
                    after=after,
                    texts=sql.SQL(", ").join(sql.SQL("b.{}::text").format(sql.Identifier(name)) for name in self._facts.walk),
                )
            )
            until = last.reached
            ending = sql.SQL("true") if until is None else sql.SQL("NOT ({})").format(self._after(until))
            copied = await self._connection.execute(
                self._sql(
                    "INSERT INTO {copy} ({stored}) OVERRIDING SYSTEM VALUE SELECT {stored} FROM {plain} o WHERE {after} AND {ending}"
                    " ON CONFLICT DO NOTHING",
                    after=after,
                    ending=ending,
                )
            )
            await self._connection.execute(
                self._sql("UPDATE {notes} SET copied = copied + {copied}, reached = {until}, complete = {complete}",
                    copied=sql.Literal(copied), until=sql.Literal(until if until is not None else reached), complete=sql.Literal(until is None))
            )  # fmt: skip
            return None if until is None else copied

        def missing(covered: sql.Composable) -> sql.Composed:
            part = (
                "SELECT min({time}) FROM (SELECT {time} FROM {plain} o WHERE {after} ORDER BY {walk} LIMIT {limit}) b WHERE NOT ({covered})"
            )
            return self._sql(part, after=after, covered=covered)

        copied: int | None = await self._with_partitions(lambda: change(self._connection, work, self._patience), missing)
        return copied

    async def follow(self) -> int:
        """Fetch the rows anew whose changes were noted, up to a batch of them; return how many notes were dealt with."""
        connection = self._connection
        await connection.execute(self._sql("CREATE TEMP TABLE IF NOT EXISTS {keys} AS SELECT {key} FROM {copy} WITH NO DATA"))

        def missing(covered: sql.Composable) -> sql.Composed:
            return self._sql("SELECT min({time}) FROM {log} b WHERE NOT emptied AND NOT ({covered})", covered=covered)

        followed: int = await self._with_partitions(lambda: change(connection, self.follow_now, self._patience), missing)
        return followed

    async def follow_now(self) -> int:
        """Do the same in the transaction that is open. Partitions have to be there."""
        connection = self._connection
        await connection.execute(self._sql("TRUNCATE {keys}"))
        emptied = await connection.fetch_value(self._sql("SELECT max(id) FROM {log} WHERE emptied"))
        if emptied is not None:
            # Nobody else wrote while the table was emptied, so what was noted before that is of no account.
            await connection.execute(self._sql("DELETE FROM {log} WHERE id <= {emptied}", emptied=sql.Literal(emptied)))
            await connection.execute(self._sql("TRUNCATE {copy}"))
        noted = await connection.execute(
            self._sql(
                "WITH noted AS (DELETE FROM {log} WHERE id IN (SELECT id FROM {log} ORDER BY id LIMIT {limit}) RETURNING {key})"
                " INSERT INTO {keys} SELECT {key} FROM noted"
            )
        )
        if noted:
            same = matched(self._names.table.key, "c", "k")
            await connection.execute(self._sql("DELETE FROM {copy} c USING {keys} k WHERE {same}", same=same))
            await connection.execute(
                self._sql(
                    "INSERT INTO {copy} ({stored}) OVERRIDING SYSTEM VALUE SELECT {stored_o} FROM {plain} o"
                    " JOIN (SELECT DISTINCT {key} FROM {keys}) k ON {same}",
                    same=matched(self._names.table.key, "o", "k"),
                )
            )
        if noted:
            await connection.execute(self._sql("UPDATE {notes} SET followed = followed + {n}", n=sql.Literal(noted)))
        return noted + (emptied is not None)

    async def compare(self) -> int:
        """Hold every row of the table against the copy, in one snapshot, and return how many differ that no note explains."""
        names = [column.name for column in self._facts.columns]
        statement = self._sql(
            "SELECT count(*) FROM {plain} o FULL JOIN {copy} c ON {same} WHERE ROW({left})::text IS DISTINCT FROM ROW({right})::text"
            " AND NOT EXISTS (SELECT FROM {log} l WHERE l.emptied OR ({noted}))",
            same=matched(self._names.table.key, "o", "c"),
            left=listed(names, "o"),
            right=listed(names, "c"),
            noted=sql.SQL(" AND ").join(
                sql.SQL("l.{0} = coalesce(o.{0}, c.{0})").format(sql.Identifier(name)) for name in self._names.table.key
            ),
        )
        async with self._connection.begin(isolation=IsolationLevel.REPEATABLE_READ, read_only=True):
            await self._connection.execute("SELECT set_config('work_mem', current_setting('maintenance_work_mem'), true)")
            found: int = await self._connection.fetch_value(statement)
        return found

    async def add_partitions(self, missing: "Missing") -> int:
        """Make the partitions for the rows that a query names the earliest of, and return how many."""
        table = self._names.table
        made = 0
        while True:
            covered = self._covered([one.span for one in await self._partitions()])
            found = await self._connection.fetch_value(missing(covered))
            if found is None:
                return made
            start = table.interval.floor(found)
            made += await self.make_partitions(Span(start, table.interval.shift(start)))

    async def make_partitions(self, span: Span) -> int:
        """Make the partitions of the copy that a span lacks. Their names are those they will bear."""
        connection, table = self._connection, self._names.table
        taken = await names_in_use(connection, table.schema, table.table[:20])
        steps = planner.plan_range(table, await self._partitions(), span, taken=taken)
        for step in steps:
            if step.action is Action.CREATE:
                for statement in ddl.create(self._names.copy, step.partition):
                    await connection.execute(statement)
        return len(steps)

    async def _partitions(self) -> list[Any]:
        return list(await list_partitions(self._connection, self._names.table.schema, self._names.sibling("adopt")))

    async def _with_partitions(self, work: Callable[[], Awaitable[Any]], missing: "Missing") -> Any:
        while True:
            try:
                return await work()
            except NoPartition:
                if not await change(self._connection, lambda: self.add_partitions(missing), self._patience):
                    raise CannotAdopt(self._names.table, ["it has rows at a time no partition can hold, such as infinity"]) from None

    def _covered(self, spans: list[Span]) -> sql.Composed:
        inside = [
            sql.SQL("(b.{time} >= {lo} AND b.{time} < {hi})").format(
                time=self._parts["time"], lo=sql.Literal(span.start.isoformat()), hi=sql.Literal(span.end.isoformat())
            )
            for span in spans
        ]
        return sql.SQL(" OR ").join([sql.SQL("false"), sql.SQL("NOT isfinite(b.{})").format(self._parts["time"]), *inside])

    def _after(self, reached: list[str] | None) -> sql.Composable:
        """Return the condition that a row comes after what was reached."""
        if reached is None:
            return sql.SQL("true")
        types = {column.name: column.type for column in self._facts.columns}
        values = sql.SQL(", ").join(
            sql.SQL("{}::{}").format(sql.Literal(value), trusted(types[name]))
            for name, value in zip(self._facts.walk, reached, strict=True)
        )
        return sql.SQL("({}) > ({})").format(listed(self._facts.walk, "o"), values)

    def _sql(self, text: LiteralString, **more: sql.Composable) -> sql.Composed:
        return sql.SQL(text).format(**self._parts, **more)


Missing = Callable[[sql.Composable], sql.Composed]
"""Given the condition that a row has a partition, the query for the earliest time that has none."""
