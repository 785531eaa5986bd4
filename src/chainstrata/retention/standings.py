"""Reads where the partitions of a table stand: attached, sealed, archived, released, detached and not yet dropped."""

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.partitioning import Partition, Span, list_partitions
from chainstrata.model import TimedTable
from chainstrata.retention.archive.registry import list_archives
from chainstrata.retention.archive.source import QUERIES
from chainstrata.retention.model import ArchiveState, Standing


async def read_standings(connection: Connection, table: TimedTable) -> list[Standing]:
    """Return every partition of a table, and those that are detached but still on their way out."""
    attached = await list_partitions(connection, table.schema, table.table)
    sealed = {row.name: row for row in await connection.fetch_all(QUERIES.list_sealed, {"schema": table.schema})}
    departures = {row.table_name: row for row in await connection.fetch_all(QUERIES.list_departures, {"dataset": table.name})}
    restored = {one.table_name for one in await list_archives(connection, [table.name], states=[ArchiveState.RESTORED])}
    there = [(one, True) for one in attached]
    there += [
        (_detached(table, row, departures[name]), False)
        for name, row in sealed.items()
        if name in departures and not row.attached and name not in {one.name for one in attached}
    ]
    standings = []
    for partition, is_attached in there:
        departure = departures.get(partition.name)
        standings.append(
            Standing(
                partition,
                attached=is_attached,
                sealed=partition.name in sealed,
                archived=departure is not None and departure.archived,
                released=departure is not None and departure.released and partition.name in sealed,
                restored=partition.name in restored,
                departure=departure.id if departure else 0,
                sealed_lsn=departure.sealed_lsn if departure and partition.name in sealed else None,
            )
        )
    return standings


def _detached(table: TimedTable, row: object, departure: object) -> Partition:
    span = Span(departure.lower_bound, departure.upper_bound)  # type: ignore[attr-defined]  # a row of the query
    return Partition(table.schema, row.name, span, oid=row.oid, size_bytes=row.size_bytes)  # type: ignore[attr-defined]  # as above


async def close_departures(connection: Connection, table: TimedTable) -> None:
    """Close departures whose partition is gone already, dropped by hand: a released one as done, any other as called off."""
    for row in await connection.fetch_all(QUERIES.list_departures, {"dataset": table.name}):
        gone = await connection.fetch_value(
            "SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)) IS NULL",
            {"schema": table.schema, "table": row.table_name},
        )
        if gone:
            query = QUERIES.drop_departure if row.released else QUERIES.abandon_departure
            await connection.execute(query, {"id": row.id})
