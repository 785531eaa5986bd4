"""Tables that are made as hypertables of TimescaleDB instead of with partitions of PostgreSQL's own.

The declaration and the revision are the same for both; `partitions.timescale` says which it is when the table is made. What
is there stays what it is.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, LiteralString

import psycopg
from alembic.operations import MigrateOperation, ops

from chainstrata.engines.postgres import load_queries
from chainstrata.errors import UnknownName
from chainstrata.migrate.errors import TimescaleMissing
from chainstrata.migrate.model import Run
from chainstrata.migrate.online import fetch
from chainstrata.migrate.statements import Statements, describe, render
from chainstrata.migrate.text import compose, literal, name, raw
from chainstrata.model import Catalog, TimedTable, tables_of
from chainstrata.packs.strata import pack as strata

QUERIES: Final = load_queries("chainstrata.migrate")
ALL: Final = "all"
STRAY: Final = "_stray_"
GUARDS: Final[Sequence[tuple[str, LiteralString, str]]] = (
    ("strata_stray", "AFTER INSERT", "strata.refuse_stray_chunks"),
    ("strata_sealed_truncate", "BEFORE TRUNCATE", "strata.refuse_sealed_chunks"),
)
_PARTITIONED: Final = re.compile(r"\s+PARTITION BY RANGE \(\S+\)\s*$")


async def require_timescale(connection: psycopg.AsyncConnection[Any]) -> None:
    """Raise `TimescaleMissing` unless the database has the extension, all of it."""
    found = await fetch(connection, QUERIES.describe_timescale)
    if not found:
        raise TimescaleMissing("the database has no extension timescaledb")
    if found[0].license != "timescale":
        raise TimescaleMissing(f"timescaledb.license is {found[0].license!r}, which leaves out what makes and attaches chunks")


def hypertables(catalog: Catalog, wanted: Collection[str] = (ALL,)) -> dict[str, TimedTable]:
    """Return the tables that are to be hypertables, by full name: those of the wanted packs and datasets that can.

    Not those other tables refer to, because TimescaleDB lets no chunk of such a table go. Raises `UnknownName`.
    """
    known = {ALL, *(pack.name for pack in catalog.packs), *(dataset.full_name for dataset in catalog)}
    for one in wanted:
        if one not in known:
            raise UnknownName("pack or dataset", one, sorted(known))
    tables = [table for pack in catalog.packs for table in pack.metadata.tables.values()]
    referred = {key.target_fullname.rpartition(".")[0] for table in tables for key in table.foreign_keys}
    chosen = [dataset for dataset in catalog if dataset.schema != strata.name and {ALL, dataset.schema, dataset.full_name} & {*wanted}]
    found = {table.qualified: table for dataset in chosen for table in tables_of(dataset) if table.partitioned}
    return {full_name: table for full_name, table in found.items() if full_name not in referred}


def with_hypertables(run: Run, tables: Mapping[str, TimedTable]) -> Run:
    """Return a revision as it is where these tables become hypertables."""
    steps = [replace(step, operations=tuple(_translate(one, tables) for one in step.operations)) for step in run.steps]
    return replace(run, steps=steps)


def _translate(operation: MigrateOperation, tables: Mapping[str, TimedTable]) -> MigrateOperation:
    if not isinstance(operation, ops.CreateTableOp) or not operation.kw.get("postgresql_partition_by"):
        return operation
    table = tables.get(f"{operation.schema}.{operation.table_name}")
    return operation if table is None else Statements(describe(operation), tuple(as_hypertable(render(operation), table)))


def as_hypertable(statements: Iterable[str], table: TimedTable) -> list[str]:
    """Return the statements that make a partitioned table so that they make a hypertable."""
    made = [_PARTITIONED.sub("", statement) for statement in statements]
    return [*made, _create(table), *_guards(table)]


def _create(table: TimedTable) -> str:
    """Return what makes a table a hypertable. The prefix marks chunks that TimescaleDB makes by itself, which are then refused."""
    return compose(
        "SELECT FROM create_hypertable({}::regclass, {}, associated_table_prefix => {},"
        " chunk_time_interval => {}::interval, create_default_indexes => false)",
        literal(name(table.qualified).as_string()),
        literal(table.column),
        # One of its own for each hypertable.
        literal(STRAY + hashlib.sha256(table.qualified.encode()).hexdigest()[:12]),
        literal(f"{table.interval.mean_length.total_seconds():.0f} seconds"),
    )


def _guards(table: TimedTable) -> list[str]:
    """Return what holds a hypertable to the contract of partitions: no row without one, no sealed one taken along by TRUNCATE."""
    return [
        compose(
            "CREATE TRIGGER {} {} ON {} FOR EACH STATEMENT EXECUTE FUNCTION {}()", name(guard), raw(when), name(table.qualified), name(call)
        )
        for guard, when, call in GUARDS
    ]
