"""TimescaleDB beside ours, where the server has it: a hypertable, and a continuous aggregate of its hours."""

from typing import Final, LiteralString

import psycopg
from psycopg import sql

from chainstrata.engines.postgres import Database

ABSENT: Final = "TimescaleDB is not installed here"
SCHEMA: Final = "timescale"


async def has_timescale(connection: psycopg.AsyncConnection) -> bool:
    """Make the extension in the database and return whether it could be had."""
    found = await connection.execute("SELECT FROM pg_available_extensions WHERE name = 'timescaledb'")
    if await found.fetchone() is None:
        return False
    await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    return True


async def create_hypertable(database: Database, like: sql.Identifier, table: sql.Identifier) -> None:
    """Make a hypertable with chunks of a day, with the columns and indexes of another table."""
    for statement in (
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)),
        sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(table, like),
        sql.SQL("SELECT create_hypertable({}, 'ts', chunk_time_interval => interval '1 day', create_default_indexes => false)").format(
            sql.Literal(table.as_string())
        ),
    ):
        await database.execute(statement)


class Hours:
    """A hypertable with chunks of a day, made like another table, and its hours as a continuous aggregate."""

    def __init__(self, database: Database, like: sql.Identifier, table: str, fold: LiteralString) -> None:
        self._database = database
        self._like = like
        self._fold: LiteralString = fold
        self.table = sql.Identifier(SCHEMA, table)
        self._hours = sql.Identifier(SCHEMA, f"{table}_hourly")

    async def create(self) -> None:
        await create_hypertable(self._database, self._like, self.table)
        await self._aggregate()

    async def empty(self) -> None:
        """Begin anew, as if nothing had ever been folded."""
        await self._database.execute(sql.SQL("DROP MATERIALIZED VIEW {}").format(self._hours))
        await self._database.execute(sql.SQL("TRUNCATE {}").format(self.table))
        await self._aggregate()
        await self._database.execute("CHECKPOINT")

    async def refresh(self) -> None:
        """Fold what is new or changed, as far as TimescaleDB knows it."""
        await self._database.execute(
            sql.SQL("CALL refresh_continuous_aggregate({}, NULL, NULL)").format(sql.Literal(self._hours.as_string()))
        )

    async def _aggregate(self) -> None:
        statement = sql.SQL(
            "CREATE MATERIALIZED VIEW {} WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS {} FROM {} GROUP BY 1, 2"
            " WITH NO DATA"
        )
        await self._database.execute(statement.format(self._hours, sql.SQL(self._fold), self.table))
