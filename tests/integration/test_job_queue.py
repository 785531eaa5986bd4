"""The job queue's schema on a real server: as its own project would make it, taken further, found missing, taken away."""

from importlib.resources import files
from typing import Any

import psycopg
import pytest
from psycopg.rows import tuple_row

from chainstrata.config import load_config
from chainstrata.engines.postgres import Database
from chainstrata.migrate import Site, down, queue, up, verify
from chainstrata.model import Catalog
from chainstrata.packs.strata import pack

_OBJECTS = """
SELECT 'function', p.proname, pg_get_function_identity_arguments(p.oid), md5(p.prosrc) FROM pg_proc AS p WHERE p.pronamespace = n.oid
UNION ALL SELECT 'index', c.relname, '', pg_get_indexdef(c.oid) FROM pg_class AS c WHERE c.relnamespace = n.oid AND c.relkind = 'i'
UNION ALL SELECT 'constraint', c.conname, '', pg_get_constraintdef(c.oid) FROM pg_constraint AS c WHERE c.connamespace = n.oid
UNION ALL SELECT 'trigger', t.tgname, '', pg_get_triggerdef(t.oid) FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
    WHERE c.relnamespace = n.oid AND NOT t.tgisinternal
UNION ALL SELECT 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod) || a.attnotnull FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relnamespace = n.oid AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'label', t.typname, e.enumlabel, '' FROM pg_enum AS e JOIN pg_type AS t ON t.oid = e.enumtypid WHERE t.typnamespace = n.oid
"""


async def objects(connection: psycopg.AsyncConnection[Any]) -> list[Any]:
    cursor = connection.cursor(row_factory=tuple_row)
    # Built around the schema, which each part of it names.
    await cursor.execute(
        "SELECT o.* FROM pg_namespace AS n CROSS JOIN LATERAL (" + _OBJECTS + ") AS o WHERE n.nspname = 'procrastinate' ORDER BY 1, 2, 3, 4"
    )
    return await cursor.fetchall()


def site(conninfo: str) -> Site:
    return Site(conninfo, Catalog([pack]), load_config(environment={}))


async def run_all(connection: psycopg.AsyncConnection[Any], statements: list[str]) -> None:
    async with connection.transaction():
        for statement in statements:
            await connection.execute(statement.encode())


async def test_what_the_steps_make_is_what_the_project_would_make(conninfo: str) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await connection.execute("CREATE SCHEMA procrastinate")
        await connection.execute("SET search_path = procrastinate")
        await connection.execute((files("procrastinate") / "sql" / "schema.sql").read_bytes())
        await connection.execute("SET search_path = public")
        theirs = await objects(connection)
        await run_all(connection, queue.drop())
        await run_all(connection, queue.create(pack.queue))
        assert await objects(connection) == theirs
        assert len(theirs) > 50
        # One version further, as an upgrade would go.
        await run_all(connection, queue.drop())
        before = "03.02.00_50_post_batch_defer_jobs"
        await run_all(connection, queue.create(before))
        await run_all(connection, queue.create(pack.queue, since=before))
        assert await objects(connection) == theirs
        path = await (await connection.execute("SHOW search_path")).fetchone()
        assert path == ("public",), "it is put back"


async def test_the_queue_is_made_verified_and_taken_away_with_its_pack(database: Database, conninfo: str) -> None:
    await up(site(conninfo))
    assert (await verify(site(conninfo))).ok
    await database.execute("COMMENT ON SCHEMA procrastinate IS 'Job queue: procrastinate 03.02.00_50_post_batch_defer_jobs'")
    assert [str(one) for one in (await verify(site(conninfo))).differences] == ["different job queue procrastinate"]
    await database.execute("DROP SCHEMA procrastinate CASCADE")
    assert [str(one) for one in (await verify(site(conninfo))).differences] == ["missing job queue procrastinate"]
    await database.execute("CREATE SCHEMA procrastinate")
    await down(site(conninfo), "base", yes=True)
    assert not await database.fetch_value("SELECT to_regnamespace('procrastinate') IS NOT NULL")


@pytest.mark.parametrize("function", ["procrastinate_fetch_job_v2", "procrastinate_defer_jobs_v1"])
async def test_its_functions_work_whatever_the_callers_search_path_is(database: Database, conninfo: str, function: str) -> None:
    await up(site(conninfo))
    settings = await database.fetch_value("SELECT proconfig FROM pg_proc WHERE proname = %(name)s", {"name": function})
    assert settings == ["search_path=procrastinate, pg_catalog"]
