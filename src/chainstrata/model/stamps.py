"""When a row was first and last written: true whoever writes it, and by whatever statement.

A table with `updated_at()` gets a trigger that sets it on every update and, where there is `created_at()` too, restores that.
Inserts need none: both columns default to the time of their transaction.
"""

from collections.abc import Mapping

import sqlalchemy as sa
from psycopg import sql

CREATED: Mapping[str, str] = {"stamp": "created"}
UPDATED: Mapping[str, str] = {"stamp": "updated"}


def stamp_name(table: sa.Table) -> str:
    return f"{table.name}__stamp"


def stamp_trigger(table: sa.Table, system_schema: str) -> str:
    """Return the trigger that keeps a row's times true, as CREATE TRIGGER; nothing for a table without `updated_at()`."""
    stamps = {column.info.get("stamp") for column in table.c}
    if "updated" not in stamps:
        return ""
    function = "stamp_row" if "created" in stamps else "touch_updated_at"
    statement = sql.SQL("CREATE TRIGGER {} BEFORE UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {}()")
    return statement.format(
        sql.Identifier(stamp_name(table)),
        sql.Identifier(table.schema or "public", table.name),
        sql.Identifier(system_schema, function),
    ).as_string()
