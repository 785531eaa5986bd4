"""Roll-ups as retention sees them: rows leave once every bucket has them in, and the buckets stand without them."""

from chainstrata.engines.postgres import Connection
from chainstrata.retention import Leaving
from chainstrata.rollups import Rollups


class RollupNeeds:
    """What roll-ups still need of rows that are on their way out."""

    name = "roll-ups"

    def __init__(self, rollups: Rollups) -> None:
        self._rollups = rollups

    def concerns(self, table: str) -> bool:
        return table in self._rollups.sources

    async def blocks(self, leaving: Leaving) -> str | None:
        if leaving.sealed_lsn is not None:
            # What came in before the seal, and nothing can come after it.
            await self._rollups.refresh([leaving.table])
        return await self._rollups.blocks(leaving.table, leaving.span.end)

    async def let_go(self, connection: Connection, leaving: Leaving) -> None:
        await self._rollups.let_go(connection, leaving.table, leaving.span.end)
