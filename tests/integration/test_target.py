"""Which PostgreSQL a command works on."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from chainstrata.config import Config
from chainstrata.engines.clickhouse.embedded import is_installed, make_password
from chainstrata.engines.clickhouse.target import open_columnar_target
from chainstrata.engines.postgres import EmbeddedPostgres, HomeLock, NodeRecord, ServerState, errors, open_target
from chainstrata.engines.postgres.home import password_path
from chainstrata.engines.postgres.waiting import happened
from tests.fixtures.postgres import URL, MakeConfig


async def answer(conninfo: str) -> object:
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        row = await (await connection.execute("SELECT current_setting('port')")).fetchone()
    return row and row[0]


async def test_a_url_is_taken_and_nothing_is_started(make_config: MakeConfig, conninfo: str, home: Path) -> None:
    async with open_target(make_config(postgres__url=conninfo)) as target:
        assert (target.kind, target.conninfo, target.server) == ("url", conninfo, None)
        assert "password" not in repr(target)
    assert not home.exists()


async def test_in_production_nothing_is_started_in_place_of_a_url(make_config: MakeConfig, home: Path) -> None:
    with pytest.raises(errors.CannotConnect, match="no PostgreSQL is configured"):
        async with open_target(make_config(mode="production")):
            pass
    assert not home.exists()


@pytest.mark.skipif(bool(URL), reason="a server was given: nothing embedded is tested")
@pytest.mark.usefixtures("begun")
class TestEmbedded:
    async def test_without_a_node_the_server_runs_for_the_command(self, make_config: MakeConfig) -> None:
        async with open_target(make_config()) as target:
            assert target.kind == "embedded"
            assert target.server is not None
            assert await answer(target.conninfo) == str(target.server.port)
        assert target.server.state is ServerState.STOPPED

    async def test_a_running_nodes_server_is_used(self, make_config: MakeConfig, home: Path) -> None:
        async with EmbeddedPostgres(make_config()) as server:
            NodeRecord.of_this_process({"postgres": server.port, "http": 8640}).write(home)
            async with open_target(make_config()) as target:
                assert (target.kind, target.server) == ("node", None)
                assert await answer(target.conninfo) == str(server.port)
            assert server.state is ServerState.RUNNING

    async def test_what_a_dead_node_left_counts_as_none(self, make_config: MakeConfig, home: Path) -> None:
        ended = await asyncio.create_subprocess_exec("true")
        await ended.wait()
        record = NodeRecord.of_this_process({"postgres": 1})
        for pid, born in ((ended.pid, record.born), (record.pid, record.born - 1)):
            NodeRecord(pid, born, record.ports, record.started).write(home)
            assert NodeRecord.read(home) is None
        async with open_target(make_config()) as target:
            assert target.kind == "embedded"

    async def test_another_command_on_the_home_is_named(self, make_config: MakeConfig, home: Path) -> None:
        with HomeLock(home), pytest.raises(errors.HomeInUse) as caught:
            async with open_target(make_config()):
                pass
        assert "Wait for it" in caught.value.hint

    async def test_a_node_without_its_password_file(self, make_config: MakeConfig, home: Path) -> None:
        NodeRecord.of_this_process({"postgres": 5480}).write(home)
        password_path(home).unlink()
        with pytest.raises(errors.HomeUnusable, match="password file"):
            async with open_target(make_config()):
                pass


async def test_a_columnar_engine_that_the_node_is_just_starting_is_waited_for(
    make_config: MakeConfig, home: Path, absent: Callable[[str], None]
) -> None:
    if not is_installed():
        absent("chdb is not installed")
    place = home / "clickhouse"
    place.mkdir(parents=True)
    with HomeLock(place):
        NodeRecord.of_this_process({"postgres": 1}).write(home)
        waits = asyncio.create_task(enter(make_config(clickhouse__embedded=True)))
        assert not await happened(asyncio.Event(), 0.5)
        assert not waits.done()
        (home / "secrets").mkdir(exist_ok=True)
        make_password(home)
        NodeRecord.of_this_process({"postgres": 1, "clickhouse": 8123}).write(home)
        assert await asyncio.wait_for(waits, 20) == "node"


async def enter(config: Config) -> str:
    async with open_columnar_target(config) as target:
        return target.kind
