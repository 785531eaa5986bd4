"""Arrow tables into tables of PostgreSQL by binary COPY."""

from collections.abc import Iterator
from typing import Any

from psycopg import sql

from chainstrata.engines.postgres.connection import Connection
from chainstrata.ingest.encode import HEADER, TRAILER, Encoder
from chainstrata.ingest.wire import WireTable


async def copy_rows(connection: Connection, table: WireTable, rows: Any) -> int:
    """Write the rows of an Arrow table or record batch, all or none, and return how many; columns are matched by name.

    A row whose key is there already is an error. Raises `UnfitColumn` before the first row is sent when the columns do not
    match, and when a value does not fit; outside a transaction nothing is written then either.
    """
    if not rows.num_rows:
        return 0
    encoder = Encoder(table, rows.schema.names)
    async with connection.copy(copy_statement(encoder)) as copy:
        for block in blocks_of(encoder, rows):
            await copy.write(block)
    written: int = rows.num_rows
    return written


def copy_statement(encoder: Encoder) -> sql.Composed:
    table = sql.Identifier(encoder.table.schema, encoder.table.name)
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in encoder.columns)
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(table, columns)


def blocks_of(encoder: Encoder, rows: Any) -> Iterator[Any]:
    """Yield all that such a COPY is sent."""
    yield HEADER
    yield from encoder.encode(rows)
    yield TRAILER
