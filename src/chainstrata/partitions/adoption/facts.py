"""Reads what a plain table is and what hangs on it, and says what could not be kept."""

from collections.abc import Iterator, Sequence
from typing import Any

from chainstrata.engines.postgres import Connection, load_queries
from chainstrata.model import TimedTable
from chainstrata.partitions.adoption.model import Column, Facts, Index
from chainstrata.partitions.adoption.names import OWN_TRIGGERS

QUERIES = load_queries(__package__)


async def read_facts(connection: Connection, table: TimedTable, name: str) -> Facts | None:
    """Return what the table of that name in the dataset's schema is; None when there is none."""
    found = await connection.fetch_one(QUERIES.describe_plain, {"schema": table.schema, "table": name})
    if found is None:
        return None
    params = {"oid": found.oid}
    columns = await connection.fetch_all(QUERIES.list_plain_columns, params)
    indexes = await connection.fetch_all(QUERIES.list_indexes, params)
    constraints = await connection.fetch_all(QUERIES.list_references, params)
    hanging = await connection.fetch_all(QUERIES.list_referrers, params)
    triggers = await connection.fetch_all(QUERIES.list_triggers, {**params, "own": OWN_TRIGGERS})
    refusals = [
        *_refuse_kind(found),
        *_refuse_columns(table, columns),
        *_refuse_indexes(table, indexes),
        *(f"constraint {one.name} is not validated" for one in constraints if not one.validated),
        *(f"trigger {one.name} is per row and has transition tables" for one in triggers if one.row_with_tables),
        *(one.reason for one in hanging),
    ]
    walk = _walk(table, columns, indexes)
    if walk is None:
        wanted = ", ".join(table.key)
        refusals.append(f"no unique index says that ({wanted}) names one row; make one with CREATE UNIQUE INDEX CONCURRENTLY")
    return Facts(
        oid=found.oid,
        rows_estimate=found.rows_estimate,
        size_bytes=found.size_bytes,
        owner=found.owner,
        comment=found.comment,
        columns=tuple(Column(one.name, one.type, one.not_null, one.generated, one.identity, one.sequence) for one in columns),
        indexes=tuple(
            Index(
                one.name,
                one.definition,
                tuple(one.columns or ()),
                one.is_primary,
                one.is_unique,
                one.constraint_definition if one.constraint_name else None,
                one.comment,
            )
            for one in indexes
        ),
        walk=walk or table.key,
        references=tuple((one.name, one.definition) for one in constraints if one.kind == "f"),
        refusals=tuple(refusals),
    )


def _refuse_kind(found: Any) -> Iterator[str]:
    if found.persistence != "p":
        yield "it is temporary or unlogged"
    if found.inherits:
        yield "it inherits, or is inherited from"
    if found.row_security:
        yield "it has row security"
    if found.replica_identity != "d":
        yield "it has a replica identity of its own"


def _refuse_columns(table: TimedTable, columns: Sequence[Any]) -> Iterator[str]:
    known = {one.name: one for one in columns}
    for name in table.key:
        if name not in known:
            yield f"it has no column {name}"
        elif not known[name].not_null:
            yield f"column {name} may be NULL"
    if table.column in known and known[table.column].type != "timestamp with time zone":
        yield f"column {table.column} is {known[table.column].type}, not timestamp with time zone"
    yield from (f"column {one.name} has privileges of its own" for one in columns if one.granted)


def _refuse_indexes(table: TimedTable, indexes: Sequence[Any]) -> Iterator[str]:
    for one in indexes:
        if one.excludes:
            yield f"{one.name} is an exclusion constraint"
        elif not one.valid:
            yield f"index {one.name} is not valid"
        elif one.is_unique and not one.is_primary and table.column not in (one.columns or ()):
            yield f"unique index {one.name} is without {table.column}, and no partitioned table can hold to that"


def _walk(table: TimedTable, columns: Sequence[Any], indexes: Sequence[Any]) -> tuple[str, ...] | None:
    """Return the columns of a unique index within the key: rows are unique by the key, and can be read in that order."""
    filled = {one.name for one in columns if one.not_null}
    for one in indexes:
        if one.is_unique and one.valid and not one.partial and one.columns and set(one.columns) <= set(table.key) & filled:
            return tuple(one.columns)
    return None
