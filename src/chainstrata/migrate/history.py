"""What a database remembers of its migrations, and the lock that lets one of them run at a time.

These tables are there before the first revision and stay after the last is undone, so they are made here and not by one.
"""

from collections.abc import Collection
from typing import Any, Final

import psycopg

from chainstrata.engines.postgres import load_queries
from chainstrata.migrate.model import Direction, Record, Run, Status
from chainstrata.migrate.online import fetch, run
from chainstrata.migrate.planner import Revisions, heads

QUERIES: Final = load_queries("chainstrata.migrate", "history.sql")
LOCK_KEY: Final = 0x6368_7374_726D_6967
"""Any number that nobody else uses for an advisory lock of the same database."""

# The first form of these tables; later ones are made by revisions, as of any other table.
HISTORY: Final = (
    "CREATE SCHEMA IF NOT EXISTS strata",
    "CREATE TABLE IF NOT EXISTS strata.alembic_version (version_num text CONSTRAINT alembic_version_pkey PRIMARY KEY)",
    """CREATE TABLE IF NOT EXISTS strata.migration (
    revision text NOT NULL,
    pack text NOT NULL,
    checksum text NOT NULL,
    status text NOT NULL,
    direction text NOT NULL,
    step integer NOT NULL,
    steps integer NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    seconds double precision,
    error text,
    CONSTRAINT migration_pkey PRIMARY KEY (revision),
    CONSTRAINT migration_status_known CHECK (status IN ('running', 'failed', 'applied')),
    CONSTRAINT migration_direction_known CHECK (direction IN ('up', 'down')),
    CONSTRAINT migration_step_within CHECK (step BETWEEN 0 AND steps)
)""",
    "COMMENT ON TABLE strata.migration IS 'One row per revision that was applied, or that stopped on the way.'",
    "COMMENT ON COLUMN strata.migration.revision IS 'Revision, unique over all packs.'",
    "COMMENT ON COLUMN strata.migration.pack IS 'Pack it belongs to.'",
    "COMMENT ON COLUMN strata.migration.checksum IS 'SHA-256 of the revision''s file as it was when it ran.'",
    "COMMENT ON COLUMN strata.migration.status IS 'running, failed or applied.'",
    "COMMENT ON COLUMN strata.migration.direction IS 'up, or down while it is being undone.'",
    "COMMENT ON COLUMN strata.migration.step IS 'Steps that are done; one that has no transaction of its own may be half done beyond that.'",
    "COMMENT ON COLUMN strata.migration.steps IS 'Steps there are.'",
    "COMMENT ON COLUMN strata.migration.started_at IS 'When its last run began.'",
    "COMMENT ON COLUMN strata.migration.finished_at IS 'When its last run ended, well or not.'",
    "COMMENT ON COLUMN strata.migration.seconds IS 'How long its last run took.'",
    "COMMENT ON COLUMN strata.migration.error IS 'Why it failed.'",
)


async def create_history(connection: psycopg.AsyncConnection[Any]) -> None:
    """Make the tables unless they are there. Needs the lock."""
    if (await fetch(connection, QUERIES.has_history))[0][0]:
        return
    async with connection.transaction():
        for statement in HISTORY:
            await run(connection, statement)


async def read_records(connection: psycopg.AsyncConnection[Any]) -> dict[str, Record]:
    """Return what the database knows of revisions; nothing if it never met any."""
    if not (await fetch(connection, QUERIES.has_history))[0][0]:
        return {}
    rows = await fetch(connection, QUERIES.list_records)
    return {
        row.revision: Record(
            row.revision,
            row.pack,
            row.checksum,
            Status(row.status),
            Direction(row.direction),
            row.step,
            row.steps,
            row.started_at,
            row.finished_at,
            row.seconds,
            row.error,
        )
        for row in rows
    }


async def begin(connection: psycopg.AsyncConnection[Any], work: Run) -> None:
    revision = work.revision
    await fetch_nothing(
        connection,
        "begin",
        revision=revision.name,
        pack=revision.pack,
        checksum=revision.checksum,
        direction=work.direction.value,
        step=work.done,
        steps=len(work.steps),
    )


async def advance(connection: psycopg.AsyncConnection[Any], revision: str, step: int) -> None:
    await fetch_nothing(connection, "advance", revision=revision, step=step)


async def fail(connection: psycopg.AsyncConnection[Any], revision: str, error: str) -> None:
    await fetch_nothing(connection, "fail", revision=revision, error=error)


async def finish(connection: psycopg.AsyncConnection[Any], work: Run, revisions: Revisions, applied: Collection[str]) -> None:
    """Note a revision as applied or forget it, and tell Alembic's table. `applied` is what will then be applied."""
    await fetch_nothing(connection, "finish_up" if work.direction is Direction.UP else "finish_down", revision=work.revision.name)
    await fetch_nothing(connection, "clear_heads")
    await fetch_nothing(connection, "add_heads", heads=heads(revisions, applied))


async def fetch_nothing(connection: psycopg.AsyncConnection[Any], query: str, **parameters: Any) -> None:
    await connection.execute(QUERIES[query].sql.encode(), parameters)
