"""Do all pools of all processes together fit the server? Found out at start, not when the hundredth connection is refused."""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from chainstrata.config import POOL_MAX, POOL_PROCESSES, POOL_RESERVED, Config
from chainstrata.engines.postgres.errors import ConnectionBudgetExceeded

# `reserved_connections` is there from PostgreSQL 16 on.
_LIMITS = """
SELECT current_setting('max_connections')::int AS total,
       current_setting('superuser_reserved_connections')::int
       + coalesce(current_setting('reserved_connections', true)::int, 0) AS kept
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """Connections that may be asked for: each process its pool, and a reserve for people, backups and replication."""

    processes: int
    pool: int
    reserved: int

    @classmethod
    def from_config(cls, config: Config) -> "Budget":
        return cls(config[POOL_PROCESSES], config[POOL_MAX], config[POOL_RESERVED])

    @property
    def needed(self) -> int:
        return self.processes * self.pool + self.reserved

    def check(self, *, limit: int, kept: int) -> None:
        """Raise `ConnectionBudgetExceeded` if `limit` less what is `kept` for superusers is not enough."""
        if self.needed > limit - kept:
            raise ConnectionBudgetExceeded(
                processes=self.processes, pool=self.pool, reserved=self.reserved, needed=self.needed, available=limit - kept, limit=limit
            )


async def check(connection: psycopg.AsyncConnection[Any], budget: Budget) -> None:
    """Check the budget against the server behind the connection."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_LIMITS)
        async for total, kept in cursor:
            budget.check(limit=total, kept=kept)
