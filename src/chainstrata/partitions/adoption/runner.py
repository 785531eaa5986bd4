"""Gives an existing plain table partitions while it is read and written.

A partitioned copy is made beside the table and filled in batches; a trigger notes the keys of what changes meanwhile, and
those rows are fetched anew. When the copy is proved equal the two are exchanged in one short transaction. Each step is a
transaction, and the catalog says which come next: an adoption that was cut short anywhere is simply run again.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from time import monotonic

from psycopg import sql

from chainstrata.engines.postgres import Connection, Database
from chainstrata.engines.postgres.errors import NoPartition
from chainstrata.engines.postgres.maintenance import change, exclusive, maintenance
from chainstrata.errors import UsageError
from chainstrata.model import Catalog, TimedTable, partitioned_tables
from chainstrata.partitions import planner
from chainstrata.partitions.adoption import ddl
from chainstrata.partitions.adoption.copying import Copying
from chainstrata.partitions.adoption.facts import QUERIES, read_facts
from chainstrata.partitions.adoption.model import Adopted, AdoptionDiffers, AdoptionPlan, CannotAdopt, Facts, Phase, Progress
from chainstrata.partitions.adoption.names import OWN_TRIGGERS, Names, extend
from chainstrata.partitions.runner import Options, lock_name

BATCH_ROWS = 10_000
_FEW = 500
"""Changes that may be left for the moment in which the table is locked."""


async def plan_adoption(database: Database, catalog: Catalog, name: str) -> AdoptionPlan:
    """Return what `adopt` would do, or go on with, and why it would refuse. Changes nothing."""
    async with database.connection() as connection:
        adoption = await _open(connection, catalog, name, Options(), BATCH_ROWS)
        return adoption.plan()


async def adopt(
    database: Database,
    catalog: Catalog,
    name: str,
    *,
    options: Options | None = None,
    batch_rows: int = BATCH_ROWS,
    progress: Progress | None = None,
) -> Adopted:
    """Give the dataset's existing plain table the partitions it is declared with, and return what that has cost.

    Readers and writers go on; they wait for a moment when it begins and when the tables are exchanged. Raises `CannotAdopt`.
    """
    async with _at_work(database, catalog, name, options, batch_rows) as adoption:
        return await adoption.go(progress or _tell_nobody)


async def cancel_adoption(database: Database, catalog: Catalog, name: str, *, options: Options | None = None) -> bool:
    """Remove the copy of an adoption that is not to be ended; return whether there was one. Too late once they are exchanged."""
    async with _at_work(database, catalog, name, options, BATCH_ROWS) as adoption:
        return await adoption.cancel()


def _tell_nobody(step: str, done: int, total: int) -> None:
    """Show no progress."""


@asynccontextmanager
async def _at_work(database: Database, catalog: Catalog, name: str, options: Options | None, batch_rows: int) -> "AsyncIterator[Adoption]":
    async with maintenance(database) as connection:
        table = _named(catalog, name)
        async with exclusive(connection, lock_name(table)):
            yield await _open(connection, catalog, name, options or Options(), batch_rows)


async def _open(connection: Connection, catalog: Catalog, name: str, options: Options, batch_rows: int) -> "Adoption":
    table = _named(catalog, name)
    names = Names(table)

    async def kind(identifier: sql.Identifier) -> str | None:
        found: str | None = await connection.fetch_value(QUERIES.table_exists, {"table": identifier.as_string()})
        return found

    notes, copy, plain = await kind(names.notes), await kind(names.copy), await kind(names.plain)
    if plain is None:
        raise CannotAdopt(table, ["it does not exist"])
    phase = _phase(plain, copy, notes)
    facts = await read_facts(connection, table, names.sibling("before") if phase is Phase.SWAPPED else table.table)
    if facts is None:
        raise CannotAdopt(table, ["what it was before is gone"])
    return Adoption(connection, names, phase, facts, options, batch_rows)


def _phase(plain: str, copy: str | None, notes: str | None) -> Phase:
    if notes is None:
        return Phase.DONE if plain == "p" else Phase.PLAIN
    return Phase.SWAPPED if copy is None else Phase.COPYING


def _named(catalog: Catalog, name: str) -> TimedTable:
    for table in partitioned_tables(catalog, [name]):
        if table.name == name:
            return table
    raise UsageError(f"{name} is declared without partitions", hint="Declare them first: Lifecycle(partition=days(1)).")


class Adoption:
    """One table on its way to partitions. The connection holds the table's advisory lock."""

    def __init__(self, connection: Connection, names: Names, phase: Phase, facts: Facts, options: Options, batch_rows: int) -> None:
        self._connection = connection
        self._names = names
        self._table = names.table
        self._phase = phase
        self._facts = facts
        self._patience = options.patience
        self._copying = Copying(connection, names, facts, options.patience, batch_rows)

    def plan(self) -> AdoptionPlan:
        """Return the steps that are left."""
        facts, table = self._facts, self._table
        others = [index.name for index in facts.indexes if not index.primary]
        copying = [
            f"copy about {facts.rows_estimate} rows in the order of ({', '.join(facts.walk)}), fetching anew what changes meanwhile",
            *(f"make index {name}" for name in others),
            "hold every row of the table against the copy",
            f"exchange the two: {table.qualified} is locked for a moment",
        ]
        ending = [*(f"validate foreign key {name}" for name, _ in facts.references), f"drop the plain table, {facts.size_bytes} bytes"]
        begin = [
            f"make an empty copy of {table.qualified} with partitions of {table.interval} by {table.column}, and key ({', '.join(table.key)})",
            f"note the keys of rows that change: writers of {table.qualified} wait for a moment",
        ]
        steps = {Phase.PLAIN: [*begin, *copying, *ending], Phase.COPYING: [*copying, *ending], Phase.SWAPPED: ending, Phase.DONE: []}
        refusals = facts.refusals if self._phase is Phase.PLAIN else ()
        return AdoptionPlan(table, self._phase, tuple(steps[self._phase]), facts.rows_estimate, facts.size_bytes, refusals)

    async def go(self, progress: Progress) -> Adopted:
        """Do what is left."""
        began = monotonic()
        if self._phase is Phase.DONE:
            return Adopted(self._table.name, 0, 0, 0, 0.0, 0.0, 0)
        if self._phase is Phase.PLAIN:
            if self._facts.refusals:
                raise CannotAdopt(self._table, self._facts.refusals)
            await change(self._connection, self._begin, self._patience)
            self._phase = Phase.COPYING
        if self._phase is Phase.COPYING:
            await self._copy(progress)
            progress("exchanging", 0, 0)
            await self._exchange()
        progress("ending", 0, 0)
        notes = await self._connection.fetch_one(sql.SQL("SELECT copied, followed, locked FROM {}").format(self._names.notes))
        partitions = await self._end()
        seconds = monotonic() - began
        return Adopted(self._table.name, notes.copied, notes.followed, partitions, seconds, notes.locked, self._facts.size_bytes)

    async def cancel(self) -> bool:
        """Remove the copy and all that follows changes."""
        if self._phase is Phase.SWAPPED:
            raise UsageError(f"{self._table.name} has its partitions already", hint="`partitions adopt` ends what is left to do.")
        if self._phase is not Phase.COPYING:
            return False

        async def work() -> None:
            for statement in ddl.remove_helpers(self._names):
                await self._connection.execute(statement)
            await self._connection.execute(sql.SQL("DROP TABLE {}, {}").format(self._names.copy, self._names.notes))

        await change(self._connection, work, self._patience)
        return True

    # Step by step --------------------------------------------------------------------------------------------------
    async def _begin(self) -> None:
        for statement in (*ddl.make_copy(self._names, self._facts), *ddl.make_log(self._names, self._facts.columns)):
            await self._connection.execute(statement)
        target = {"oid": self._facts.oid, "target": self._names.copy.as_string()}
        for row in await self._connection.fetch_all(QUERIES.list_grants, target):
            await self._connection.execute(ddl.trusted(row.statement))

    async def _copy(self, progress: Progress) -> None:
        notes = await self._connection.fetch_one(sql.SQL("SELECT copied, complete FROM {}").format(self._names.notes))
        done, total, complete = notes.copied, self._facts.rows_estimate, notes.complete
        while not complete:
            copied = await self._copying.copy_batch()
            complete = copied is None
            done += copied or 0
            progress("copying", done, max(total, done))
            await self._copying.follow()
        for index in self._facts.indexes:
            if not index.primary:
                progress(f"index {index.name}", done, max(total, done))
                await self._make_index(index.name)
        progress("comparing", done, max(total, done))
        await self._catch_up()
        span = planner.wanted_span(self._table, datetime.now(UTC))
        await change(self._connection, lambda: self._copying.make_partitions(span), self._patience)
        differing = await self._copying.compare()
        if differing:
            raise AdoptionDiffers(self._table, differing)

    async def _make_index(self, name: str) -> None:
        index = next(one for one in self._facts.indexes if one.name == name)
        made = self._names.identify(extend(name, "__adopt")).as_string()
        if await self._connection.fetch_value(QUERIES.table_exists, {"table": made}) is not None:
            return

        async def work() -> None:
            for statement in ddl.make_index(self._names, index):
                await self._connection.execute(statement)

        await change(self._connection, work, self._patience)

    async def _catch_up(self) -> None:
        while await self._copying.follow() > _FEW:
            pass

    async def _exchange(self) -> None:
        while True:
            await self._catch_up()
            # Rows at a time without a partition may come at the last moment: catching up makes it.
            with suppress(NoPartition):
                if await change(self._connection, self._exchange_now, self._patience):
                    return

    async def _exchange_now(self) -> bool:
        """Exchange the two in the open transaction; False when too much has changed to follow it while everybody waits."""
        connection, names = self._connection, self._names
        await connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names.plain))
        began = monotonic()
        if await connection.fetch_value(sql.SQL("SELECT count(*) FROM (SELECT FROM {} LIMIT {}) AS few").format(
            names.log, sql.Literal(_FEW + 1))) > _FEW:  # fmt: skip
            return False
        while await self._copying.follow_now():
            pass
        params = {"oid": self._facts.oid}
        triggers = await connection.fetch_all(QUERIES.list_triggers, {**params, "own": OWN_TRIGGERS})
        views = await connection.fetch_all(QUERIES.list_views, params)
        for column in self._facts.columns:
            if column.identity and column.sequence:
                await self._carry_on(column.name, column.sequence)
        for statement in ddl.exchange(names, self._facts):
            await connection.execute(statement)
        for trigger in triggers:
            await connection.execute(ddl.trusted(trigger.definition))
            if (state := ddl.enable(names, trigger.name, trigger.enabled)) is not None:
                await connection.execute(state)
        for view in views:
            options = sql.SQL(" WITH ({})").format(ddl.trusted(view.options)) if view.options else sql.SQL("")
            name = sql.Identifier(view.schema, view.name)
            await connection.execute(sql.SQL("CREATE OR REPLACE VIEW {}{} AS {}").format(name, options, ddl.trusted(view.definition)))
        await self._promise_references()
        note = sql.SQL("UPDATE {} SET locked = {}, promises = {}::jsonb").format(
            names.notes, sql.Literal(monotonic() - began), sql.Literal(json.dumps(self._facts.references))
        )
        await connection.execute(note)
        return True

    async def _carry_on(self, column: str, sequence: str) -> None:
        """Let the copy's identity go on where the table's is."""
        other = await self._connection.fetch_value(
            "SELECT pg_get_serial_sequence(%(table)s, %(column)s)", {"table": self._names.copy.as_string(), "column": column}
        )
        await self._connection.execute(
            sql.SQL("SELECT setval({}, last_value, is_called) FROM {}").format(sql.Literal(other), ddl.trusted(sequence))
        )
        name = await self._connection.fetch_value("SELECT relname FROM pg_class WHERE oid = to_regclass(%(name)s)", {"name": sequence})
        for one, to in ((sequence, extend(name, "__before")), (other, name)):
            await self._connection.execute(sql.SQL("ALTER SEQUENCE {} RENAME TO {}").format(ddl.trusted(one), sql.Identifier(to)))

    async def _promise_references(self) -> None:
        """Have every partition hold to the foreign keys for what is written from now on; what is there held to them before.

        Not on the copy while it is one: it would refuse that a row it still has goes from the table referred to.
        """
        for partition in await self._list_partitions():
            for name, definition in self._facts.references:
                await self._connection.execute(
                    sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {} NOT VALID").format(
                        partition, sql.Identifier(name), ddl.trusted(definition)
                    )
                )

    async def _list_partitions(self) -> list[sql.Identifier]:
        rows = await self._connection.fetch_all(QUERIES.list_partition_names, {"table": self._names.plain.as_string()})
        return [sql.Identifier(row.schema, row.name) for row in rows]

    async def _end(self) -> int:
        """Validate the foreign keys, partition by partition, let the table have them as a whole, and drop what was before."""
        connection, names = self._connection, self._names
        promised = await connection.fetch_value(sql.SQL("SELECT promises FROM {}").format(names.notes))
        partitions = await self._list_partitions()
        for name, definition in promised:
            if await connection.fetch_value(QUERIES.has_constraint, {"table": names.plain.as_string(), "name": name}):
                continue
            for partition in partitions:
                validate = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(partition, sql.Identifier(name))
                if await connection.fetch_value(QUERIES.has_constraint, {"table": partition.as_string(), "name": name}):
                    await self._change(validate)
            add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(names.plain, sql.Identifier(name), ddl.trusted(definition))
            await self._change(add)

        async def drop() -> None:
            # One after the other: nothing that still hangs on the old table is torn off.
            await connection.execute(sql.SQL("DROP TABLE {}").format(names.before))
            await connection.execute(sql.SQL("DROP TABLE {}").format(names.notes))

        await change(connection, drop, self._patience)
        return len(partitions)

    async def _change(self, statement: sql.Composed) -> None:
        async def work() -> None:
            await self._connection.execute(statement)

        await change(self._connection, work, self._patience)
