"""Looks at the platform. `status` is what the command line, the API and the page all show; `health` is its cheap sister."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Final

from psycopg.rows import class_row, tuple_row

from chainstrata.engines.postgres import Connection, Database, load_queries
from chainstrata.errors import EngineError
from chainstrata.model import Catalog
from chainstrata.monitor.model import DatasetStatus, EngineStatus, Finding, NodeStatus, SchemaVersion, Severity, Status
from chainstrata.monitor.planner import (
    Leaf,
    Listed,
    Measure,
    Sizes,
    Table,
    choose_counted,
    grow_trees,
    judge_objects,
    judge_schema,
    judge_wear,
    list_declared,
    sum_packs,
    sum_up,
)
from chainstrata.monitor.statements import count_rows

_QUERIES: Final = load_queries("chainstrata.monitor")
POSTGRES: Final = "postgres"
MEASURED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the platform can do its work, and why not."""

    ok: bool
    reason: str = ""


async def health(database: Database, *, within: float = 2.0) -> Health:
    """Ask the server one small question. Never raises, never takes much longer than `within` seconds."""
    try:
        async with asyncio.timeout(within), database.connection(timeout=within) as connection:
            row = await connection.fetch_one(_QUERIES["ask_server"])
    except EngineError as error:
        return Health(False, f"{POSTGRES}: {error.message}")
    except TimeoutError:
        return Health(False, f"{POSTGRES}: no answer within {within:g} s")
    return Health(False, f"{POSTGRES}: takes no writes, it is a standby") if row.in_recovery else Health(True)


async def status(
    database: Database,
    catalog: Catalog,
    *,
    kind: str = "url",
    versions: Sequence[SchemaVersion] = (),
    node: NodeStatus | None = None,
    sizes: Sizes | None = None,
    findings: Sequence[Finding] = (),
    others: Sequence[EngineStatus] = (),
    datasets: Sequence[DatasetStatus] = (),
) -> Status:
    """Look at everything. Does not raise when PostgreSQL is away: that is a finding.

    `kind` says where the server comes from, `versions` how far the schema is, `findings` what is known to be wrong already,
    `others` the engines beside PostgreSQL, `datasets` what is in them.
    A caller that looks again and again keeps `sizes`: without it, or the first time, no more than `MEASURED_AT_ONCE` tables
    are measured and the rest estimated, so that a look never takes long.
    """
    began = perf_counter()
    now = datetime.now(UTC)
    try:
        engine, own, found = await _look(database, catalog, kind, versions, sizes or Sizes())
    except EngineError as error:
        engine = EngineStatus(POSTGRES, kind, "away", detail=error.message)
        finding = Finding(Severity.ERROR, "engine_away", POSTGRES, error.message, error.hint)
        return Status(
            healthy=False, at=now, took_seconds=perf_counter() - began, engines=(engine, *others), findings=(finding, *findings), node=node
        )
    order = [pack.name for pack in catalog.packs]
    everything = sorted([*own, *datasets], key=lambda dataset: order.index(dataset.pack))
    packs = sum_packs(catalog, everything, versions)
    # Errors first. The same may have been found twice, then and now.
    all_findings = sorted(dict.fromkeys([*found, *findings]), key=lambda finding: finding.severity is not Severity.ERROR)
    healthy = not any(finding.severity is Severity.ERROR for finding in all_findings)
    return Status(healthy, now, perf_counter() - began, (engine, *others), tuple(packs), tuple(everything), tuple(all_findings), node)


async def _look(
    database: Database, catalog: Catalog, kind: str, versions: Sequence[SchemaVersion], sizes: Sizes
) -> tuple[EngineStatus, list[DatasetStatus], list[Finding]]:
    declared = list(list_declared(catalog))
    schemas = {"schemas": [pack.name for pack in catalog.packs]}
    async with database.connection() as connection:
        server = await connection.fetch_one(_QUERIES["describe_server"])
        tables = await connection.fetch_all(_QUERIES["list_tables"], schemas, row_factory=class_row(Table))
        await _measure(connection, tables, sizes)
        trees = grow_trees(tables, sizes)
        counts = await _count(connection, trees, declared)
        broken = await connection.fetch_all(_QUERIES["list_broken_indexes"], schemas, row_factory=tuple_row)
        unproven = await connection.fetch_all(_QUERIES["list_unproven_constraints"], schemas, row_factory=tuple_row)
        worn = await connection.fetch_all(_QUERIES["list_worn_sequences"], schemas, row_factory=tuple_row)
    datasets = sum_up(declared, trees, counts)
    findings = list(judge_schema(datasets, trees, versions))
    findings += judge_objects((row[:3] for row in broken), (row[:3] for row in unproven))
    findings += judge_wear(worn, server.oldest_xid_age)
    return _describe(server, kind), datasets, findings


def _describe(server: Any, kind: str) -> EngineStatus:
    return EngineStatus(
        POSTGRES,
        kind,
        "standby" if server.in_recovery else "running",
        version=server.version,
        started=server.started,
        connections=server.connections,
        max_connections=server.max_connections,
        detail=f"database {server.database}",
    )


async def _measure(connection: Connection, tables: Sequence[Table], sizes: Sizes) -> None:
    """Measure what changed since the last look, as far as one look may."""
    unknown = sizes.list_unknown(tables, MEASURED_AT_ONCE)
    rows = await connection.fetch_all(_QUERIES["measure"], {"tables": unknown}) if unknown else []
    # A table dropped since it was listed has no size.
    found = {row.oid: Measure(row.heap_bytes, row.table_bytes, row.index_bytes) for row in rows if row.heap_bytes is not None}
    sizes.remember(tables, found)


async def _count(connection: Connection, trees: Mapping[str, Sequence[Leaf]], declared: Sequence[Listed]) -> dict[tuple[str, str], int]:
    chosen = choose_counted(trees, declared)
    if not chosen:
        return {}
    rows = await connection.fetch_all(count_rows([leaf.key for leaf in chosen]))
    return {(row.schema, row.name): row.rows for row in rows}
