"""The one statement of this feature that is put together at run time."""

from collections.abc import Sequence

from psycopg import sql


def count_rows(tables: Sequence[tuple[str, str]]) -> sql.Composed:
    """Return a statement that counts each table by itself, giving (schema, name, rows)."""
    one = sql.SQL("SELECT {schema} AS schema, {name} AS name, count(*) AS rows FROM ONLY {table}")
    return sql.SQL(" UNION ALL ").join(
        one.format(schema=sql.Literal(schema), name=sql.Literal(name), table=sql.Identifier(schema, name)) for schema, name in tables
    )
