"""The embedded server and its node, killed at any moment: what was acknowledged is there, and the next start needs no help."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest

from chainstrata.engines.postgres import Database, EmbeddedPostgres, PoolOptions, ServerState, errors
from chainstrata.engines.postgres.address import take_port
from chainstrata.engines.postgres.processes import list_servers, wait_gone
from tests.fixtures.postgres import URL, MakeConfig

pytestmark = pytest.mark.skipif(bool(URL), reason="a server was given: nothing embedded is tested")
ROUNDS = 5
REPOSITORY = Path(__file__).parents[2]


class NodeProcess:
    """A node in a process of its own, which this test may kill."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.acknowledged: list[int] = []

    async def read(self) -> dict[str, Any]:
        """Return the next line it prints; an empty one when it has ended."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else {}

    async def read_acknowledged(self, count: int) -> None:
        while len(self.acknowledged) < count and (line := await self.read()):
            self.acknowledged.append(line["acknowledged"])

    async def kill(self) -> None:
        """Kill it, and read what it still acknowledged."""
        self.process.kill()
        while line := await self.read():
            self.acknowledged.append(line["acknowledged"])
        await self.process.wait()


@asynccontextmanager
async def node(home: Path, mode: str = "hold") -> AsyncIterator[NodeProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fixtures.node_process", str(home), mode, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    try:
        yield NodeProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(condition: Callable[[], bool], within: float = 60.0) -> None:
    """Wait until the condition holds; the files and processes it looks at send no events."""
    deadline, never = monotonic() + within, asyncio.Event()
    while not condition():
        assert monotonic() < deadline
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.002):
                await never.wait()


async def check_all_there(make_config: MakeConfig, acknowledged: set[int]) -> None:
    async with EmbeddedPostgres(make_config()) as server, Database(server.conninfo, options=PoolOptions(min_size=1)) as db:
        rows = await db.fetch_all("SELECT n FROM written")
    missing = acknowledged - {row.n for row in rows}
    assert not missing


@pytest.mark.parametrize("server_dies_too", [False, True], ids=["node", "node and server"])
async def test_a_killed_node_loses_no_acknowledged_row(begun: Path, make_config: MakeConfig, server_dies_too: bool) -> None:
    acknowledged: set[int] = set()
    for _ in range(ROUNDS):
        async with node(begun, "write") as running:
            up = await running.read()
            assert up.get("up"), up
            await running.read_acknowledged(100)
            if server_dies_too:
                os.kill(up["postgres"], signal.SIGKILL)
            await running.kill()
            assert len(running.acknowledged) >= 100
            acknowledged.update(running.acknowledged)
        # The next round starts at once, whether or not the server has noticed.
    await check_all_there(make_config, acknowledged)


async def test_the_server_does_not_outlive_a_killed_node(begun: Path) -> None:
    async with node(begun) as running:
        up = await running.read()
        await running.kill()
        assert await wait_gone([up["postgres"]], 20) == []


async def test_a_killed_server_is_back_and_loses_no_acknowledged_row(begun: Path, make_config: MakeConfig) -> None:
    async with node(begun, "write") as running:
        up = await running.read()
        pid = up["postgres"]
        # One less than the deaths within a minute after which a server is given up: a start that fails counts as one.
        for number in range(1, ROUNDS):
            await running.read_acknowledged(50 * number)
            os.kill(pid, signal.SIGKILL)
            await until(lambda: running.process.returncode is not None or postmaster(begun / "postgres") not in (0, pid))  # noqa: B023
            assert running.process.returncode is None, await running.read()
            pid = postmaster(begun / "postgres")
        await running.read_acknowledged(50 * ROUNDS)
        await running.kill()
        acknowledged = set(running.acknowledged)
    await check_all_there(make_config, acknowledged)


def postmaster(data: Path) -> int:
    for file in data.glob("*/postmaster.pid"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            lines = file.read_text(encoding="utf-8").splitlines()
            return int(lines[0]) if lines[7].strip() == "ready" else 0
    return 0


async def test_nobody_else_gets_the_port_while_a_killed_server_is_down(make_config: MakeConfig) -> None:
    async with EmbeddedPostgres(make_config()) as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        offered: list[int] = []

        def is_back() -> bool:
            # By a home that had it the last time, as a copy of this one does.
            other = take_port(0, server.port)
            offered.append(other.port)
            other.release()
            with pytest.raises(errors.PortTaken):
                take_port(server.port, 0)
            return server.restarts == 1

        await until(is_back)
        assert len(offered) > 10
        assert server.port not in offered
    again = take_port(0, server.port)
    again.release()
    assert again.port == server.port


async def test_the_pool_is_whole_again_after_the_server_was_killed(begun: Path, make_config: MakeConfig) -> None:
    async with (
        EmbeddedPostgres(make_config()) as server,
        Database(server.conninfo, options=PoolOptions(min_size=5, max_size=5)) as db,
    ):
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: server.restarts == 1)
        assert server.state is ServerState.RUNNING
        # Every connection of the pool was dead; nobody who asks now notices.
        assert await asyncio.gather(*(db.fetch_value("SELECT 1") for _ in range(20))) == [1] * 20
        assert db.stats().connections_lost == 5


async def test_a_killed_backend_takes_no_start_of_ours(begun: Path, make_config: MakeConfig) -> None:
    async with (
        EmbeddedPostgres(make_config()) as server,
        Database(server.conninfo, options=PoolOptions(min_size=1, max_size=2)) as db,
    ):
        pid = server.pid
        backend = await db.fetch_value("SELECT pg_backend_pid()")
        os.kill(backend, signal.SIGKILL)
        assert await wait_gone([backend], 10) == []
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await db.fetch_value("SELECT 1") == 1
                    break
                except (errors.ConnectionLost, errors.CannotConnect):
                    continue
        assert (server.pid, server.restarts) == (pid, 0)


async def test_a_server_that_keeps_dying_is_given_up(begun: Path, make_config: MakeConfig) -> None:
    async with EmbeddedPostgres(make_config()) as server:
        failed = asyncio.ensure_future(server.wait_failed())
        conf = server.cluster.data / "postgresql.auto.conf"
        conf.write_text("no_such_parameter = 1\n", encoding="ascii")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            error = await failed
        assert isinstance(error, errors.RestartLimit)
        assert "no_such_parameter" in error.message
        assert server.state is ServerState.FAILED
    assert server.state is ServerState.STOPPED
    conf.write_text("", encoding="ascii")
    async with EmbeddedPostgres(make_config()) as server:
        assert server.state is ServerState.RUNNING


STAGES = {
    "before anything": lambda home: (home / "node.lock").exists(),
    "directory made": lambda home: any(home.glob("postgres/.new-*")),
    "initdb begun": lambda home: any(home.glob("postgres/.new-*/data/PG_VERSION")),
    "initdb half way": lambda home: any(home.glob("postgres/.new-*/data/global/pg_control")),
    "recorded": lambda home: (home / "postgres.json").exists(),
    "renamed": lambda home: any(home.glob("postgres/[0-9]*/PG_VERSION")),
    "server started": lambda home: any(home.glob("postgres/[0-9]*/postmaster.pid")),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_a_first_start_killed_at_any_stage_is_made_good(home: Path, make_config: MakeConfig, stage: str) -> None:
    async with node(home) as running:
        await until(lambda: STAGES[stage](home))
        await running.kill()
    async with EmbeddedPostgres(make_config()) as server, Database(server.conninfo, options=PoolOptions(min_size=1)) as db:
        assert await db.fetch_value("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'") <= 1
    assert [path.name for path in (home / "postgres").iterdir()] == [str(server.cluster.binaries.major)]


# What a killed node may leave --------------------------------------------------------------------------------------


async def stopped_server(make_config: MakeConfig) -> EmbeddedPostgres:
    async with EmbeddedPostgres(make_config()) as server:
        return server


async def run_by_hand(server: EmbeddedPostgres) -> asyncio.subprocess.Process:
    """Start a server in the directory that nobody watches, as one would be whose node was killed without it."""
    process = await asyncio.create_subprocess_exec(
        str(server.cluster.binaries.tool("postgres")),
        "-D",
        str(server.cluster.data),
        "-c",
        f"unix_socket_directories={server.cluster.home / 'run'}",
        "-c",
        f"port={server.port}",
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
        **server.cluster.account.spawn_options,
    )
    await until(lambda: postmaster(server.cluster.data.parent) == process.pid)
    return process


@pytest.mark.usefixtures("begun")
async def test_a_server_left_running_is_stopped_cleanly_and_started(make_config: MakeConfig) -> None:
    server = await stopped_server(make_config)
    left = await run_by_hand(server)
    steps: list[str] = []
    async with EmbeddedPostgres(make_config(), progress=lambda step: steps.append(step.detail)) as server:
        assert left.returncode == 0 or await left.wait() == 0
        assert any("earlier run" in detail for detail in steps)
        assert server.state is ServerState.RUNNING


@pytest.mark.usefixtures("begun")
async def test_backends_left_without_their_server_are_ended(make_config: MakeConfig) -> None:
    server = await stopped_server(make_config)
    left = await run_by_hand(server)
    async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as connection:
        # Busy in a loop that takes no look at whether the postmaster lives.
        busy = asyncio.ensure_future(connection.execute("SELECT count(*) FROM generate_series(1, 1000000000)"))
        await until(lambda: len(list_servers(server.cluster.data)) > 1)
        left.kill()
        await left.wait()
        async with EmbeddedPostgres(make_config()) as again:
            assert again.state is ServerState.RUNNING
        with pytest.raises(psycopg.OperationalError):
            await busy
    assert list_servers(server.cluster.data) == []


PID_FILE = "{pid}\n{data}\n1700000000\n5480\n{data}\n127.0.0.1\n 5432001    32768\nready   \n"


def leave_pid_file(server: EmbeddedPostgres, pid: int) -> None:
    data = server.cluster.data
    (data / "postmaster.pid").write_text(PID_FILE.format(pid=pid, data=data), encoding="utf-8")
    shutil.chown(data / "postmaster.pid", server.cluster.account.uid, server.cluster.account.gid)


@pytest.mark.usefixtures("begun")
async def test_a_stale_pid_file_is_no_hindrance(make_config: MakeConfig) -> None:
    server = await stopped_server(make_config)
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    leave_pid_file(server, ended.pid)
    assert (await stopped_server(make_config)).error is None


@pytest.mark.usefixtures("begun")
async def test_a_pid_that_a_stranger_got_is_no_hindrance_and_no_harm(make_config: MakeConfig) -> None:
    server = await stopped_server(make_config)
    stranger = await asyncio.create_subprocess_exec("sleep", "600", **server.cluster.account.spawn_options)
    leave_pid_file(server, stranger.pid)
    assert (await stopped_server(make_config)).error is None
    assert stranger.returncode is None
    stranger.terminate()
    assert await stranger.wait() == -signal.SIGTERM


@pytest.mark.usefixtures("begun")
async def test_a_zombie_is_not_taken_for_a_server(make_config: MakeConfig) -> None:
    server = await stopped_server(make_config)
    zombie = subprocess.Popen(["true"], **server.cluster.account.spawn_options)  # noqa: ASYNC220
    await until(lambda: Path(f"/proc/{zombie.pid}/stat").read_text(encoding="ascii").split()[2] == "Z")
    leave_pid_file(server, zombie.pid)
    assert (await stopped_server(make_config)).error is None
    zombie.wait()
