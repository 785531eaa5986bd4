"""Makes the tables of a declaration, for benchmarks that compare what our engine does with what others do on the same tables."""

from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from chainstrata.model import Pack

_DIALECT: sa.Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


async def create_pack(connection: psycopg.AsyncConnection[Any], pack: Pack, *, marking: bool = True) -> None:
    """Create a pack's schema. Without `marking` nothing fires when rows are written."""
    await connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(pack.name)))
    for table in pack.metadata.sorted_tables:
        await connection.execute(str(CreateTable(table).compile(dialect=_DIALECT)).encode())
        for index in table.indexes:
            await connection.execute(str(CreateIndex(index).compile(dialect=_DIALECT)).encode())
    for item in pack.sql_objects():
        if marking or "__mark" not in item.name:
            await connection.execute(item.sql.encode())
