"""Builds a schema straight from declarations, without any migration.

What comes out is what migrating has to arrive at: `verify` and `make` compare with it, and tests start from it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.schema import CreateIndex, CreateTable, SetColumnComment, SetTableComment

from chainstrata.engines.postgres import translate
from chainstrata.engines.postgres.errors import StatementInvalid, UndefinedName
from chainstrata.errors import DeclarationError
from chainstrata.migrate import ddl, queue
from chainstrata.migrate.hypertables import as_hypertable, hypertables
from chainstrata.migrate.policies import policy
from chainstrata.migrate.schema import Key, Kind, canonical_json
from chainstrata.migrate.snapshot import run_text
from chainstrata.migrate.text import DIALECT, compose, name, raw
from chainstrata.model import Catalog, Pack, SqlKind, SqlObject, TimedTable


async def create_declared(connection: psycopg.AsyncConnection[Any], catalog: Catalog, *, timescale: bool = False) -> None:
    """Build everything the packs declare, in one transaction. What is there already makes it fail.

    With `timescale`, tables that can be are hypertables; the database has the extension.
    """
    statement = ""
    try:
        async with connection.transaction():
            # Text literals that look like names with a schema are read in the same way whatever the role has set.
            await connection.execute("SET LOCAL search_path = pg_catalog, public")
            for statement in declared_statements(catalog, hypertables(catalog) if timescale else {}):
                await run_text(connection, statement)
    except psycopg.Error as error:
        ours = translate(error)
        if isinstance(ours, StatementInvalid | UndefinedName):
            # The declaration itself is at fault: something in it names what is not there, or is no SQL.
            first = " ".join(statement.split("\n", 1)[0].split("(", 1)[0].split())
            raise DeclarationError(first, "SQL", ours.message, hint=ours.hint) from error
        raise ours from error


def declared_statements(catalog: Catalog, chunked: Mapping[str, TimedTable] | None = None) -> Iterator[str]:
    """Yield the statements that build everything the packs declare, in an order in which they work."""
    for pack in catalog.packs:
        yield from _pack(pack, chunked or {})
    for pack in catalog.packs:
        for dataset in pack.datasets:
            yield ddl.set_policy(dataset.full_name, canonical_json(policy(dataset)))


def _pack(pack: Pack, chunked: Mapping[str, TimedTable]) -> Iterator[str]:
    yield compose("CREATE SCHEMA IF NOT EXISTS {}", name(pack.name))
    yield ddl.comment_on("SCHEMA", name(pack.name), pack.doc)
    for extension in pack.extensions:
        yield ddl.create_extension(extension)
    if pack.queue:
        yield from queue.create(pack.queue)
    for enum in pack.enums:
        yield ddl.create_enum(type_name(enum), enum.enums)
    for domain in pack.domains:
        yield _domain(domain)
    objects = pack.sql_objects()
    tables = {table.fullname for table in pack.metadata.tables.values()}
    early = [item for item in objects if item.kind is SqlKind.FUNCTION and not _mentions(item, tables)]
    for item in early:
        yield from _sql_object(item)
    yield from _tables(pack.metadata, chunked)
    for item in objects:
        if item not in early:
            yield from _sql_object(item)


def _mentions(item: SqlObject, tables: set[str]) -> bool:
    """Whether a function names a table, which must then be there before it."""
    return bool(tables & set(re.findall(r"\b\w+\.\w+\b", item.sql.replace('"', ""))))


def type_name(kind: pg.ENUM | pg.DOMAIN) -> str:
    return f"{kind.schema}.{kind.name}"


def _domain(domain: pg.DOMAIN) -> str:
    base = domain.data_type.compile(dialect=DIALECT)
    checks = {str(domain.constraint_name): str(domain.check)} if domain.check is not None else {}
    return ddl.create_domain(type_name(domain), base, checks=checks, not_null=bool(domain.not_null), default=str(domain.default or ""))


def _tables(metadata: sa.MetaData, chunked: Mapping[str, TimedTable]) -> Iterator[str]:
    for table in metadata.sorted_tables:
        made = [_compile(CreateTable(table))]
        yield from as_hypertable(made, chunked[table.fullname]) if table.fullname in chunked else made
        if table.comment:
            yield _compile(SetTableComment(table))
        for column in table.c:
            if column.comment:
                yield _compile(SetColumnComment(column))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield _compile(CreateIndex(index))
            if index.info.get("why"):
                yield ddl.comment_on("INDEX", name(str(table.schema), str(index.name)), index.info["why"])


def _compile(statement: sa.schema.ExecutableDDLElement) -> str:
    return str(statement.compile(dialect=DIALECT)).strip()


def _sql_object(item: SqlObject) -> Iterator[str]:
    yield item.sql.rstrip().rstrip(";")
    if item.doc:
        named = name(item.schema, item.name)
        if item.kind is SqlKind.TRIGGER:
            named = raw(compose("{} ON {}", name(item.name), name(item.table)))
        yield ddl.comment_on(ddl.OBJECT_WORDS[item.kind.value], named, item.doc)


_KINDS = {SqlKind.FUNCTION: Kind.FUNCTION, SqlKind.VIEW: Kind.VIEW, SqlKind.MATERIALIZED_VIEW: Kind.VIEW}


def written(pack: Pack) -> dict[Key, str]:
    """Return conditions, expressions and whole objects as the pack wrote them, for revisions to say it in the same words."""
    found = {Key(_KINDS[item.kind], item.full_name): item.sql for item in pack.sql_objects() if item.kind in _KINDS}
    found |= {Key(Kind.TRIGGER, f"{item.table}.{item.name}"): item.sql for item in pack.sql_objects() if item.kind is SqlKind.TRIGGER}
    found |= {Key(Kind.DOMAIN, type_name(domain)): str(domain.check) for domain in pack.domains if domain.check is not None}
    for table in pack.metadata.tables.values():
        for constraint in table.constraints:
            if isinstance(constraint, sa.CheckConstraint):
                found[Key(Kind.CONSTRAINT, f"{table.fullname}.{constraint.name}")] = _expression(constraint.sqltext)
        for column in table.c:
            if column.computed is not None:
                found[Key(Kind.COLUMN, f"{table.fullname}.{column.name}")] = _expression(column.computed.sqltext)
        for index in table.indexes:
            where = index.dialect_options["postgresql"]["where"]
            if where is not None:
                found[Key(Kind.INDEX, f"{table.schema}.{index.name}")] = _expression(where)
    return found


def _expression(element: Any) -> str:
    if isinstance(element, str):
        return element
    return str(element.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True, "include_table": False}))
