"""What was seen without a row leaves once the rows it tells about are gone.

A sighting says something of a row before it and of nothing else. So one that is older than everything there is room for tells nothing
any more; where a period was put back from the archive there is room for it. What takes sightings back goes when none is left that it
could take back: it overrules those of lower numbers, before its end.
"""

from datetime import datetime
from typing import Final

from psycopg import sql

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.partitioning import list_partitions
from chainstrata.model import Dataset
from chainstrata.model.latest import state_parts

AT_ONCE: Final = 20_000


async def forget_sightings(connection: Connection, dataset: Dataset) -> int:
    """Delete the sightings of a dataset that no row is left for, some at a time, and return how many records that were."""
    partitions = await list_partitions(connection, dataset.schema, dataset.table.name)
    if dataset.change_only is None or not partitions:
        return 0
    cut = min(partition.span.start for partition in partitions)
    return await _delete(connection, dataset, _TOLD, cut) + await _delete(connection, dataset, _TAKEN_BACK, cut)


async def _delete(connection: Connection, dataset: Dataset, which: sql.SQL, cut: datetime) -> int:
    statement = _DELETE.format(which=which.format(**state_parts(dataset)), **state_parts(dataset))
    deleted = 0
    while found := await connection.execute(statement, {"cut": cut, "most": AT_ONCE}):
        deleted += found
    return deleted


_DELETE: Final = sql.SQL("DELETE FROM {seen} WHERE id = ANY (ARRAY({which} LIMIT %(most)s))")
_TOLD: Final = sql.SQL("SELECT s.id FROM {seen} AS s WHERE s.until IS NULL AND s.ts < %(cut)s")
_TAKEN_BACK: Final = sql.SQL(
    "SELECT v.id FROM {seen} AS v WHERE v.until IS NOT NULL AND (v.until <= %(cut)s"
    " OR NOT EXISTS (SELECT FROM {seen} AS s WHERE s.until IS NULL AND s.id < v.id))"
)
