"""Every foreign key, time and entity of every pack is served by an index, as the server itself says."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg import sql

from chainstrata.engines.postgres import Connection, Database
from chainstrata.model import Dataset
from chainstrata.model.marking import identifier
from chainstrata.packs import load_catalog
from tests.fixtures.packs import OPTIONS

CATALOG = load_catalog()
DATASETS = [dataset for dataset in CATALOG if dataset.schema != "strata"]
TABLES = [table for pack in CATALOG.packs for table in pack.metadata.sorted_tables]
NOT_ALWAYS = {"fk_clearing_operations_chain": "A chain with operations never leaves, and only those that were paid are found by it."}
KEYS = [
    (table, key)
    for table in TABLES
    for key in sorted(table.foreign_key_constraints, key=lambda one: str(one.name))
    if key.name not in NOT_ALWAYS
]
# What is asked for by time, or leaves by it. Others say when their row was seen, and are never looked for by that.
TIMED = [one for one in DATASETS if one.time and (one.schema == "insights" or one.partitioned or one.lifecycle.keep)]
SERIES = [one for one in TIMED if one.entity and {*one.entity, one.time} == {*one.key}]


@pytest.fixture
async def planner(shared_packs: str) -> AsyncIterator[Connection]:
    """Give a connection whose planner passes over a whole table, or sorts, only where it has to: tables of a test are all but empty."""
    async with Database(shared_packs, options=OPTIONS) as database, database.transaction() as connection:
        for name in ("enable_seqscan", "enable_sort", "enable_bitmapscan"):
            await connection.execute(sql.SQL("SET LOCAL {} = off").format(sql.Identifier(name)))
        yield connection


async def plan(connection: Connection, query: sql.Composable) -> list[dict[str, Any]]:
    """Return every node of a query's plan."""
    [root] = await connection.fetch_value(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(query))
    waiting, nodes = [root["Plan"]], []
    while waiting:
        nodes.append(waiting.pop())
        waiting += nodes[-1].get("Plans", [])
    return nodes


def conditions(nodes: Sequence[dict[str, Any]]) -> str:
    return " ".join(str(node[name]) for node in nodes for name in ("Index Cond", "Recheck Cond") if name in node)


def equals(table: sa.Table, columns: Sequence[str]) -> sql.Composed:
    """Return the condition that columns are something, in their types."""
    kinds = [sql.SQL("t.{0} = (SELECT x.{0} FROM {1} AS x LIMIT 1)").format(sql.Identifier(name), identifier(table)) for name in columns]
    return sql.SQL(" AND ").join(kinds)


@pytest.mark.conforms("S4-100")
def test_there_are_foreign_keys_to_look_at() -> None:
    assert len(KEYS) > 20


@pytest.mark.conforms("S4-100")
@pytest.mark.parametrize(("table", "key"), KEYS, ids=[f"{table.fullname}.{key.name}" for table, key in KEYS])
async def test_rows_that_refer_to_another_are_found_by_an_index(planner: Connection, table: sa.Table, key: sa.ForeignKeyConstraint) -> None:
    """What a change of the other row asks, and whoever joins."""
    columns = [column.name for column in key.columns]
    nodes = await plan(planner, sql.SQL("SELECT FROM {} AS t WHERE {}").format(identifier(table), equals(table, columns)))
    found = conditions(nodes)
    assert all(f"{name} =" in found for name in columns), nodes


@pytest.mark.conforms("S4-101")
@pytest.mark.parametrize("dataset", TIMED, ids=[dataset.full_name for dataset in TIMED])
async def test_a_span_of_time_is_found_by_an_index_or_its_partitions(planner: Connection, dataset: Dataset) -> None:
    now = datetime.now(UTC)
    query = sql.SQL("SELECT FROM {} AS t WHERE t.{time} >= {} AND t.{time} < {}").format(
        identifier(dataset.table), sql.Literal(now), sql.Literal(now + timedelta(minutes=1)), time=sql.Identifier(dataset.time)
    )
    await planner.execute("SET LOCAL enable_bitmapscan = on")
    nodes = await plan(planner, query)
    read = {node["Relation Name"] for node in nodes if "Relation Name" in node}
    assert f"{dataset.time} >=" in conditions(nodes) or (dataset.partitioned and len(read) <= 2), nodes


@pytest.mark.conforms("S4-102")
@pytest.mark.parametrize("dataset", SERIES, ids=[dataset.full_name for dataset in SERIES])
async def test_the_last_rows_of_an_entity_are_found_by_one_index_in_order(planner: Connection, dataset: Dataset) -> None:
    query = sql.SQL("SELECT FROM {} AS t WHERE {} ORDER BY t.{} DESC LIMIT 10").format(
        identifier(dataset.table), equals(dataset.table, dataset.entity), sql.Identifier(dataset.time)
    )
    nodes = await plan(planner, query)
    found = conditions(nodes)
    assert all(f"{name} =" in found for name in dataset.entity), nodes
    assert "Sort" not in {node["Node Type"] for node in nodes}, nodes
