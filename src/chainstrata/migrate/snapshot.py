"""Reads a database's catalog into a `Snapshot`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from chainstrata.engines.postgres import Query, load_queries
from chainstrata.migrate import queue
from chainstrata.migrate.schema import (
    ACTIONS,
    Broken,
    Column,
    Constraint,
    ConstraintKind,
    Domain,
    Enum,
    Extension,
    Function,
    Index,
    Item,
    Key,
    Kind,
    Policy,
    Queue,
    Schema,
    Snapshot,
    Table,
    Trigger,
    View,
    canonical_json,
)
from chainstrata.migrate.text import flatten, name, split_list
from chainstrata.model.queue import QUEUE_SCHEMA

QUERIES = load_queries("chainstrata.migrate")


async def snapshot(connection: psycopg.AsyncConnection[Any], schemas: Sequence[str]) -> Snapshot:
    """Return what is in these schemas, all of one moment. Partitions and what belongs to them are left out."""
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return await _Reader(connection, schemas).read()


class _Reader:
    def __init__(self, connection: psycopg.AsyncConnection[Any], schemas: Sequence[str]) -> None:
        self.connection = connection
        self.parameters = {"schemas": list(schemas), "queue": QUEUE_SCHEMA}

    async def read(self) -> Snapshot:
        extensions = [Extension(row.name, row.schema) for row in await self.rows(QUERIES.list_extensions)]
        await self.qualify_names({extension.place for extension in extensions})
        items: list[Item] = [*extensions]
        items += [Queue(queue.read_version(row.comment)) for row in await self.rows(QUERIES.list_queues)]
        items += [Schema(row.name, row.comment) for row in await self.rows(QUERIES.list_schemas)]
        items += [Enum(row.schema, row.name, tuple(row.labels), row.comment) for row in await self.rows(QUERIES.list_enums)]
        items += [_domain(row) for row in await self.rows(QUERIES.list_domains)]
        chunked = await self.hypertables()
        items += [_table(row, chunked) for row in await self.rows(QUERIES.list_tables)]
        items += [_column(row) for row in await self.rows(QUERIES.list_columns)]
        items += [_constraint(row) for row in await self.rows(QUERIES.list_constraints)]
        items += [_index(row) for row in await self.rows(QUERIES.list_indexes)]
        items += [_function(row) for row in await self.rows(QUERIES.list_functions)]
        items += [_view(row) for row in await self.rows(QUERIES.list_views)]
        items += [_trigger(row, chunked) for row in await self.rows(QUERIES.list_triggers)]
        items += await self.policies()
        broken = [
            Broken(f"{row.schema}.{row.table_name}", row.name, row.parent_name) for row in await self.rows(QUERIES.list_broken_indexes)
        ]
        return Snapshot(items, await self.needs(), broken)

    async def rows(self, query: Query) -> list[Any]:
        cursor = self.connection.cursor(row_factory=namedtuple_row)
        await cursor.execute(query.sql.encode(), self.parameters)
        return await cursor.fetchall()

    async def qualify_names(self, extension_schemas: set[str]) -> None:
        # Definitions then name every object with its schema, but for what extensions brought: those may be anywhere.
        path = ["pg_catalog", *sorted(extension_schemas - {"pg_catalog", *self.parameters["schemas"]})]
        await self.connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.SQL(", ").join(map(sql.Identifier, path))))

    async def hypertables(self) -> dict[tuple[str, str], str]:
        """Return the time columns of hypertables: they are declared, and compared, as tables partitioned by these."""
        if not await self.rows(QUERIES.describe_timescale):
            return {}
        return {(row.schema, row.name): row.column_name for row in await self.rows(QUERIES.list_hypertables)}

    async def policies(self) -> list[Policy]:
        if not (await self.rows(QUERIES.has_policies))[0][0]:
            return []
        found = [Policy(row.name, canonical_json(row.policy)) for row in await self.rows(QUERIES.list_policies)]
        return [policy for policy in found if policy.schema in self.parameters["schemas"]]

    async def needs(self) -> dict[Key, frozenset[Key]]:
        found: dict[Key, set[Key]] = {}
        for row in await self.rows(QUERIES.list_dependencies):
            found.setdefault(Key(Kind(row.kind), row.name), set()).add(Key(Kind(row.needed_kind), row.needed_name))
        return {key: frozenset(needed) for key, needed in found.items()}


def _domain(row: Any) -> Domain:
    checks = tuple((name, flatten(condition)) for name, condition in row.checks)
    return Domain(row.schema, row.name, row.base, row.not_null, row.default_value, checks, row.comment)


def _table(row: Any, chunked: Mapping[tuple[str, str], str]) -> Table:
    column = chunked.get((row.schema, row.name))
    partition_by = f"RANGE ({column})" if column else row.partition_by
    return Table(row.schema, row.name, row.comment, partition_by, tuple(sorted(row.options)), row.unlogged)


def _column(row: Any) -> Column:
    return Column(
        row.schema,
        row.table_name,
        row.name,
        row.type,
        row.not_null,
        flatten(row.expression) if row.generated else row.expression,
        row.generated,
        row.identity,
        row.collation,
        row.comment,
    )


def _constraint(row: Any) -> Constraint:
    return Constraint(
        row.schema,
        row.table_name,
        row.name,
        ConstraintKind(row.kind),
        flatten(row.definition) if row.kind == "c" else row.definition,
        row.valid,
        flatten(row.condition),
        tuple(row.columns),
        f"{row.target_schema}.{row.target_table}" if row.target_table else "",
        tuple(row.target_columns),
        ACTIONS[row.on_delete],
        ACTIONS[row.on_update],
        row.deferrable,
        row.deferred,
        row.comment,
    )


def _index(row: Any) -> Index:
    keys, _ = split_list(row.tail)
    return Index(
        row.schema,
        row.table_name,
        row.name,
        row.method,
        tuple(keys),
        row.tail,
        row.is_unique,
        tuple(row.include),
        flatten(row.predicate),
        tuple(sorted(row.options)),
        row.nulls_not_distinct,
        row.valid,
        row.comment,
    )


def _function(row: Any) -> Function:
    return Function(row.schema, row.name, row.arguments, row.result or "", row.definition, row.kind, row.comment)


def _view(row: Any) -> View:
    columns = tuple((name, kind) for name, kind in row.columns)
    return View(row.schema, row.name, row.query, row.materialized, tuple(sorted(row.options)), columns, row.comment)


def _trigger(row: Any, chunked: Mapping[tuple[str, str], str]) -> Trigger:
    definition = row.definition
    if (row.schema, row.table_name) in chunked:
        # Where chunks are compressed this one stands in for the declared one.
        marking = name(row.schema, f"{row.table_name}__mark").as_string()
        declared = f"REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION {marking}()"
        definition = re.sub(r"FOR EACH ROW EXECUTE FUNCTION strata\.mark_deleted\(.*\)$", declared, definition)
    return Trigger(row.schema, row.table_name, row.name, definition, row.enabled, row.comment)


async def run_text(connection: psycopg.AsyncConnection[Any], text: str) -> None:
    """Run one statement that was composed from declarations or read from a revision, or several that belong together."""
    await connection.execute(text.encode(), prepare=False)
