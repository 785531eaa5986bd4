"""Who keeps rows from leaving: holds, rows elsewhere that refer to them, and every dependant."""

from collections.abc import Iterable, Sequence

from psycopg import sql

from chainstrata.engines.postgres import Connection
from chainstrata.model import TimedTable
from chainstrata.retention.archive.source import QUERIES
from chainstrata.retention.model import Blocker, Dependant, Hold, Leaving


async def find_blockers(
    connection: Connection, table: TimedTable, leaving: Leaving, dependants: Iterable[Dependant], holds: Sequence[Hold]
) -> list[Blocker]:
    """Return everyone who keeps these rows, and why."""
    blockers = [_held(hold) for hold in holds if hold.dataset == table.name and hold.span.overlaps(leaving.span)]
    if leaving.partition:
        blockers += await _references(connection, table, leaving.partition)
    for dependant in dependants:
        if dependant.concerns(table.name):
            reason = await dependant.blocks(leaving)
            if reason is not None:
                blockers.append(Blocker(dependant.name, reason))
    return blockers


def _held(hold: Hold) -> Blocker:
    until = f" until {hold.until:%Y-%m-%d %H:%M} UTC" if hold.until else ""
    return Blocker(f"hold {hold.id}", f"{hold.reason}{until}")


async def _references(connection: Connection, table: TimedTable, partition: str) -> list[Blocker]:
    """Return the tables that have rows pointing into a partition: the server would refuse to detach it."""
    blockers = []
    for key in await connection.fetch_all(QUERIES.list_references, {"schema": table.schema, "table": table.table}):
        matching = sql.SQL(" AND ").join(
            sql.SQL("r.{} = p.{}").format(sql.Identifier(own), sql.Identifier(theirs))
            for own, theirs in zip(key.columns, key.targets, strict=True)
        )
        statement = sql.SQL("SELECT EXISTS (SELECT FROM {} p JOIN {} r ON {})").format(
            sql.Identifier(table.schema, partition), sql.Identifier(key.schema, key.table), matching
        )
        if await connection.fetch_value(statement):
            blockers.append(Blocker(f"{key.schema}.{key.table}", f"has rows that refer to it ({key.name})"))
    return blockers
