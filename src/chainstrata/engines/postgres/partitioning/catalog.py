"""Reads the catalog. Names are matched whole and by schema; bounds are read as the server prints them, never from names."""

from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.partitioning.model import BEGINNING, END, Partition, Span, State, TableFacts
from chainstrata.engines.postgres.queries import load_queries

QUERIES = load_queries(__package__)


async def describe(connection: Connection, schema: str, table: str) -> TableFacts | None:
    """Return what a table is, or None when there is none of that name."""
    params = {"schema": schema, "table": table}
    row = await connection.fetch_one(QUERIES.describe_table, params)
    if row is None:
        return None
    if row.has_timescale and not row.partitioned:
        time = await connection.fetch_one(QUERIES.describe_hypertable, params)
        if time is not None:
            return TableFacts(row.oid, True, time.column_name, time.column_type, hypertable=True, compressible=time.compressible)
    return TableFacts(row.oid, row.partitioned, row.column_name, row.column_type)


async def list_partitions(connection: Connection, schema: str, table: str) -> list[Partition]:
    """Return the partitions of a table that is partitioned by time, or the chunks of a hypertable, oldest first."""
    params = {"schema": schema, "table": table, "beginning": BEGINNING, "end": END}
    rows = await connection.fetch_all(QUERIES.list_partitions, params)
    if not rows and await connection.fetch_value(QUERIES.has_timescale):
        rows = await connection.fetch_all(QUERIES.list_chunks, params)
    return [
        Partition(
            row.schema,
            row.name,
            Span(row.lower_bound, row.upper_bound),
            State.DETACHING if row.detaching else State.ATTACHED,
            row.is_default,
            row.oid,
            row.size_bytes,
            row.rows_estimate,
            row.chunked_by,
            row.compressed,
        )
        for row in rows
    ]


async def names_in_use(connection: Connection, schema: str, prefix: str) -> set[str]:
    """Return the names of all relations in a schema that start like that."""
    rows = await connection.fetch_all(QUERIES.names_in_use, {"schema": schema, "prefix": prefix})
    return {row.name for row in rows}
