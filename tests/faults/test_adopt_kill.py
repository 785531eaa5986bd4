"""An adoption killed at its statements, by kill -9 of the worker or of the server: run again, it ends with every row, and no helper is left."""

import asyncio
import contextlib
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo as libpq

from chainstrata.engines.postgres import Database, EmbeddedPostgres, PoolOptions, ServerState
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError
from chainstrata.model import Lifecycle
from tests.faults.test_time_kill import copy_of, kill_worker
from tests.fixtures.adopting import differences, fill_plain, write_both
from tests.fixtures.demo import create_demo, demo_catalog
from tests.fixtures.lethal import LethalProxy
from tests.fixtures.postgres import URL, MakeConfig, NewDatabase
from tests.fixtures.victim import work

START = datetime(2026, 3, 1, tzinfo=UTC)
OPTIONS = PoolOptions(min_size=1, max_size=3)


async def fill(conninfo: str) -> None:
    async with Database(conninfo, options=OPTIONS) as database:
        await create_demo(database, demo_catalog(Lifecycle()))
        await fill_plain(database, START, rows=60)


async def check(conninfo: str, archive: Path, at: int) -> None:
    """Write on in the state the kill left behind, adopt again, and hold the table against the rows it must have."""
    async with Database(conninfo, options=OPTIONS) as database:
        assert await differences(database) == 0, f"cut short at statement {at}"
        await write_both(database)
        assert await differences(database) == 0, f"cut short at statement {at}"
        await work("adoption", conninfo, archive)
        await write_both(database)
        assert await differences(database) == 0, f"cut short at statement {at}"
        left = await database.fetch_all(
            "SELECT relname FROM pg_class WHERE relnamespace = 'demo'::regnamespace AND relname ~ '__(adopt|before)'"
            " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'demo'::regnamespace AND proname ~ '__adopt'"
        )
        assert left == [], f"cut short at statement {at}"
        kind = "SELECT relkind::text FROM pg_class WHERE oid = 'demo.prices'::regclass"
        assert await database.fetch_value(kind) == "p"
        held = "SELECT count(*) FROM pg_constraint WHERE conrelid = 'demo.prices'::regclass AND contype IN ('f', 'p', 'c') AND convalidated"
        assert await database.fetch_value(held) == 3
        triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'demo.prices'::regclass AND NOT tgisinternal"
        assert await database.fetch_value(triggers) == 4


async def count(conninfo: str, archive: Path) -> int:
    async def never() -> None:
        raise AssertionError("nothing was to be struck")

    async with LethalProxy(conninfo, 0, never) as proxy:
        await work("adoption", proxy.conninfo, archive)
        return proxy.seen


async def sweep(conninfo: str, new_database: NewDatabase, path: Path, *, answered: bool, stride: int = 1, kills: int | None = None) -> None:
    ready = await new_database()
    await fill(ready)
    name = str(libpq.conninfo_to_dict(ready)["dbname"])
    total = await count(await copy_of(conninfo, name), path)
    assert total > 60
    stride = total // kills if kills else stride
    for at in range(1 + stride // 2, total + 1, stride):
        own = await copy_of(conninfo, name)
        await kill_worker("adoption", own, path, at, answered)
        await check(own, path, at)


WHEN = pytest.mark.parametrize("answered", [False, True], ids=["unheard", "unanswered"])


async def test_a_worker_killed_at_a_few_statements(conninfo: str, new_database: NewDatabase, tmp_path: Path) -> None:
    await sweep(conninfo, new_database, tmp_path, answered=True, kills=2)


# Every kill is followed by a recovery, which takes seconds: minutes for all of them.
@pytest.mark.long
@WHEN
async def test_a_worker_killed_at_some_statements(conninfo: str, new_database: NewDatabase, tmp_path: Path, answered: bool) -> None:
    await sweep(conninfo, new_database, tmp_path, answered=answered, stride=41)


@pytest.mark.long
@pytest.mark.timeout(3600)
@WHEN
async def test_a_worker_killed_at_any_statement(conninfo: str, new_database: NewDatabase, tmp_path: Path, answered: bool) -> None:
    await sweep(conninfo, new_database, tmp_path, answered=answered, stride=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(bool(URL), reason="a server was given: nothing embedded is killed")
async def test_a_server_killed_at_every_few_statements(make_config: MakeConfig, tmp_path: Path) -> None:
    async with EmbeddedPostgres(make_config()) as server:
        async with await psycopg.AsyncConnection.connect(server.connect_to("postgres"), autocommit=True) as connection:
            await connection.execute("CREATE DATABASE ready TEMPLATE template0")
        await fill(server.connect_to("ready"))
        total = await count(await copy_of(server.connect_to("postgres"), "ready"), tmp_path)
    for at in range(2, total + 1, 3):
        async with EmbeddedPostgres(make_config()) as server:
            own = await copy_of(server.connect_to("postgres"), "ready")

            async def kill(server: EmbeddedPostgres = server) -> None:
                assert server.pid is not None
                os.kill(server.pid, signal.SIGKILL)

            async with LethalProxy(own, at, kill, answered=True) as proxy:
                with contextlib.suppress(ChainStrataError):
                    await work("adoption", proxy.conninfo, tmp_path)
            assert proxy.struck
            while server.restarts == 0 or server.state is not ServerState.RUNNING:
                await happened(asyncio.Event(), 0.01)
            await check(own, tmp_path, at)
