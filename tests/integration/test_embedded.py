"""The embedded server: a first start, the next one, and all it can meet on the way."""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from chainstrata.config import Config
from chainstrata.engines.postgres import Database, EmbeddedPostgres, PoolOptions, ServerState, Step, errors
from chainstrata.engines.postgres.home import ClusterRecord, password_path
from chainstrata.engines.postgres.locate import Binaries, list_candidates, locate_binaries, probe_binaries
from chainstrata.engines.postgres.processes import list_servers
from chainstrata.errors import ChainStrataError, ConfigError
from tests.fixtures.postgres import BIN, URL, MakeConfig, copy_home, make_test_config

pytestmark = pytest.mark.skipif(bool(URL), reason="a server was given: nothing embedded is tested")
ROOT = os.geteuid() == 0


async def ask(server: EmbeddedPostgres, *statements: str) -> object:
    """Run statements on the server's database and return the first value of the last one's answer."""
    answer: object = None
    async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as connection:
        for statement in statements:
            cursor = await connection.execute(statement)
            row = await cursor.fetchone() if cursor.description else None
            answer = row[0] if row else None
    return answer


async def refuse(config: Config) -> ChainStrataError:
    """Return the error that a start with this configuration gives."""
    server = EmbeddedPostgres(config)
    with pytest.raises(ChainStrataError) as caught:
        await server.start()
    assert server.state is ServerState.STOPPED
    return caught.value


def modes_above(path: Path) -> dict[str, int]:
    return {str(place): stat.S_IMODE(place.stat().st_mode) for place in path.parents}


# First start, next start -----------------------------------------------------------------------------------------


async def test_a_first_start_makes_everything_and_the_next_keeps_it(make_config: MakeConfig) -> None:
    steps: list[Step] = []
    async with EmbeddedPostgres(make_config(), progress=steps.append) as server:
        assert server.state is ServerState.RUNNING
        await ask(server, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (42)")
    assert [step.name for step in steps] == ["initdb", "postgres", "postgres"]
    assert (server.state, server.pid) == (ServerState.STOPPED, None)
    steps.clear()
    async with EmbeddedPostgres(make_config(), progress=steps.append) as server:
        assert await ask(server, "SELECT n FROM kept") == 42
        assert sum(step.seconds for step in steps) < 1.0


@pytest.mark.usefixtures("begun")
async def test_one_object_starts_again_after_a_stop(make_config: MakeConfig) -> None:
    server = EmbeddedPostgres(make_config())
    for _ in range(2):
        async with server:
            assert await ask(server, "SELECT 1") == 1


@pytest.mark.conforms("S2-87", "S2-88", "S2-89", "S2-91")
@pytest.mark.usefixtures("begun")
async def test_the_server_runs_as_it_was_tuned(make_config: MakeConfig) -> None:
    async with (
        EmbeddedPostgres(make_config(postgres__extra={"geqo_threshold": 14})) as server,
        Database(server.conninfo, options=PoolOptions(min_size=1)) as db,
    ):
        rows = await db.fetch_all("SELECT name, setting FROM pg_settings")
        extensions = {row.extname for row in await db.fetch_all("SELECT extname FROM pg_extension")}
    found = {row.name: row.setting for row in rows}
    wanted = {
        "data_checksums": "on",
        "wal_level": "logical",
        "fsync": "on",
        "full_page_writes": "on",
        "max_connections": "100",
        "max_prepared_transactions": "0",
        "checkpoint_completion_target": "0.9",
        "default_statistics_target": "100",
        "listen_addresses": "127.0.0.1",
        "password_encryption": "scram-sha-256",
        "TimeZone": "UTC",
        "log_timezone": "UTC",
        "server_encoding": "UTF8",
        "geqo_threshold": "14",
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert int(found["max_slot_wal_keep_size"]) > 0
    collected = server.cluster.binaries.has_library("pg_stat_statements")
    assert found["shared_preload_libraries"] == ("pg_stat_statements" if collected else "")
    assert ("pg_stat_statements" in extensions) is collected


@pytest.mark.usefixtures("begun")
async def test_text_sorts_by_code_point_whatever_the_machine(make_config: MakeConfig) -> None:
    async with EmbeddedPostgres(make_config()) as server:
        order = await ask(server, "SELECT string_agg(x, '' ORDER BY x) FROM unnest('{b,B,a,Z,ä}'::text[]) x")
        assert order == "BZabä"
        assert await ask(server, "SELECT upper('ä')") == "Ä"
        if server.cluster.binaries.major >= 17:
            assert await ask(server, "SELECT datlocprovider FROM pg_database WHERE datname = current_database()") == "b"


@pytest.mark.usefixtures("begun")
async def test_nobody_gets_in_without_the_password(make_config: MakeConfig, home: Path) -> None:
    async with EmbeddedPostgres(make_config()) as server:
        for conninfo in (server.conninfo, server.tcp_conninfo):
            for password in ("wrong", ""):
                with pytest.raises(psycopg.OperationalError):
                    await psycopg.AsyncConnection.connect(conninfo, password=password, passfile="/dev/null")
        methods = await ask(server, "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules")
        assert methods == "scram-sha-256"
        assert stat.S_IMODE(server.cluster.data.stat().st_mode) == 0o700
    secret = password_path(home)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    assert len(secret.read_text(encoding="ascii").strip()) >= 40


@pytest.mark.usefixtures("begun")
async def test_a_lost_password_is_made_anew_and_a_changed_one_is_set(make_config: MakeConfig, home: Path) -> None:
    async with EmbeddedPostgres(make_config()) as server:
        first = server.conninfo
    password_path(home).unlink()
    async with EmbeddedPostgres(make_config()) as server:
        assert server.conninfo != first
        assert await ask(server, "SELECT 1") == 1
    password_path(home).write_text('it\'s \\ my "own"\n', encoding="ascii")
    async with EmbeddedPostgres(make_config()) as server:
        assert await ask(server, "SELECT 1") == 1
    assert stat.S_IMODE(password_path(home).stat().st_mode) == 0o600


@pytest.mark.skipif(not ROOT, reason="only root has to step down")
@pytest.mark.usefixtures("begun")
async def test_root_steps_down(make_config: MakeConfig) -> None:
    async with EmbeddedPostgres(make_config()) as server:
        status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
        account = server.cluster.account
        assert re.search(rf"^Uid:(\s+{account.uid}){{4}}$", status, re.MULTILINE)
        assert re.search(rf"^Gid:(\s+{account.gid}){{4}}$", status, re.MULTILINE)
        assert re.search(r"^Groups:\s*$", status, re.MULTILINE)
        assert account.name == "nobody"


@pytest.mark.usefixtures("begun")
async def test_the_terminals_interrupt_does_not_reach_the_server(make_config: MakeConfig) -> None:
    async with EmbeddedPostgres(make_config()) as server:
        assert server.pid is not None
        assert os.getpgid(server.pid) != os.getpgid(0)
        assert os.getsid(server.pid) != os.getsid(0)


# Places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["with spaces", 'it\'s "quoted"', "ünï-ⓒ-数据", "comma, and % and $HOME", "back\\slash", "long" * 40],
    ids=["spaces", "quotes", "unicode", "signs", "backslash", "long"],
)
async def test_awkward_paths(pristine: Path, home: Path, name: str) -> None:
    place = copy_home(pristine, home.parent / name / ".chainstrata")
    for _ in range(2):
        async with EmbeddedPostgres(make_test_config(place)) as server:
            assert await ask(server, "SELECT 1") == 1
            async with await psycopg.AsyncConnection.connect(server.tcp_conninfo):
                pass
            directory = Path(psycopg.conninfo.conninfo_to_dict(server.conninfo)["host"])
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert directory.exists() is directory.is_relative_to(place)


async def test_a_home_can_be_moved(begun: Path) -> None:
    async with EmbeddedPostgres(make_test_config(begun)) as server:
        await ask(server, "CREATE TABLE kept (n int)")
    moved = begun.rename(begun.parent / "moved")
    async with EmbeddedPostgres(make_test_config(moved)) as server:
        assert await ask(server, "SELECT count(*) FROM kept") == 0


@pytest.mark.skipif(not ROOT, reason="an ordinary user runs the server as itself and reaches its own directories")
async def test_what_the_servers_user_cannot_reach_is_kept_elsewhere_and_no_mode_changes(home: Path) -> None:
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    place = closed / "project" / ".chainstrata"
    place.parent.mkdir(mode=0o755)
    before = modes_above(place)
    steps: list[Step] = []
    try:
        async with EmbeddedPostgres(make_test_config(place), progress=steps.append) as server:
            data = server.cluster.data
            await ask(server, "CREATE TABLE kept (n int)")
            assert not data.is_relative_to(place)
            assert data.is_relative_to("/var/lib/chainstrata")
        assert modes_above(place) == before
        assert any(str(data.parent) in step.detail for step in steps)
        async with EmbeddedPostgres(make_test_config(place)) as server:
            assert server.cluster.data == data
            assert await ask(server, "SELECT count(*) FROM kept") == 0
            # A copy of the home leads to the same data, which is in use.
            copy = closed / "copy" / ".chainstrata"
            shutil.copytree(place, copy)
            assert isinstance(await refuse(make_test_config(copy)), errors.HomeInUse)
        # The home is gone, what it had elsewhere is not taken for the new home's.
        shutil.rmtree(place)
        async with EmbeddedPostgres(make_test_config(place)) as server:
            assert server.cluster.data != data
            shutil.rmtree(data.parent)
            data = server.cluster.data
    finally:
        shutil.rmtree(data.parent)


@pytest.mark.skipif(not ROOT, reason="an ordinary user runs its own binaries where they are")
async def test_binaries_that_the_servers_user_cannot_reach_are_copied(home: Path) -> None:
    found = locate_binaries(Path(BIN) if BIN else None)
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    if found.source.startswith("system"):
        pytest.skip("system packages find their parts by fixed paths")
    package = found.prefix.parent
    shutil.copytree(found.prefix, closed / package.name / found.prefix.name, symlinks=True)
    if (libraries := package.with_name(f"{package.name}.libs")).is_dir():
        shutil.copytree(libraries, closed / libraries.name)
    directory = closed / package.name / found.prefix.name / "bin"
    async with EmbeddedPostgres(make_test_config(home, postgres__bin=directory)) as server:
        copy = server.cluster.binaries.prefix
        assert copy.is_relative_to("/var/lib/chainstrata/binaries")
        assert await ask(server, "SELECT 1") == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    shutil.rmtree(copy)


@pytest.mark.skipif(not ROOT, reason="this is how an ordinary user runs the whole suite")
async def test_an_ordinary_user_runs_it(home: Path, absent: Callable[[str], NoReturn]) -> None:
    python = next((path for path in (sys.executable, "/usr/bin/python3") if reachable(path)), None)
    if python is None:
        absent("no Python that an ordinary user can run")
    owned = home.parent / "owned"
    owned.mkdir()
    shutil.chown(owned, "nobody")
    process = await asyncio.create_subprocess_exec(
        python,
        "-m",
        "tests.fixtures.node_process",
        str(owned / "home"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user="nobody",
        group=65534,
        extra_groups=[],
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": ":".join(["src", ".", *(path for path in sys.path if path.endswith("site-packages"))]), "PATH": "/usr/bin:/bin"},
    )
    output, _ = await process.communicate(b"")
    assert b'"up": true' in output, output
    assert (owned / "home/postgres").is_dir()


def reachable(path: str) -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run([path, "-c", "import ssl"], user="nobody", group=65534, extra_groups=[], check=False).returncode == 0
    return False


# What stands in the way ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("begun")
async def test_a_second_node_is_told_who_has_the_home(make_config: MakeConfig) -> None:
    async with EmbeddedPostgres(make_config()) as first:
        error = await refuse(make_config())
        assert isinstance(error, errors.HomeInUse)
        assert f"process {os.getpid()}" in error.message
        assert await ask(first, "SELECT 1") == 1


async def test_a_wanted_port_that_is_taken_names_who_has_it(make_config: MakeConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = await refuse(make_config(postgres__port=port))
    assert isinstance(error, errors.PortTaken)
    assert f"port {port}" in error.message
    assert f"process {os.getpid()}" in error.message


@pytest.mark.usefixtures("begun")
async def test_a_picked_port_is_kept_and_gives_way(make_config: MakeConfig) -> None:
    async with EmbeddedPostgres(make_config()) as server:
        first = server.port
    async with EmbeddedPostgres(make_config()) as server:
        assert server.port == first
    with socket.create_server(("127.0.0.1", first)):
        async with EmbeddedPostgres(make_config()) as server:
            second = server.port
            assert second != first
    async with EmbeddedPostgres(make_config()) as server:
        assert server.port == second


async def test_a_directory_full_of_something_else_is_left_alone(make_config: MakeConfig, home: Path) -> None:
    major = locate_binaries(Path(BIN) if BIN else None).major
    foreign = home / "postgres" / str(major)
    foreign.mkdir(parents=True)
    (foreign / "notes.txt").write_text("mine\n", encoding="ascii")
    error = await refuse(make_config())
    assert isinstance(error, errors.DataDirectoryForeign)
    assert "PG_VERSION" in error.message
    assert [path.name for path in foreign.iterdir()] == ["notes.txt"]


async def test_data_of_another_home_is_refused(make_config: MakeConfig, begun: Path) -> None:
    async with EmbeddedPostgres(make_test_config(begun.parent / "other")) as server:
        data = server.cluster.data
    mine = begun / "postgres" / data.name
    mine.rename(begun.parent / "aside")
    data.rename(mine)
    error = await refuse(make_config())
    assert isinstance(error, errors.DataDirectoryForeign)
    assert "system identifier" in error.message
    (begun / "postgres.json").unlink()
    error = await refuse(make_config())
    assert isinstance(error, errors.DataDirectoryForeign)
    assert "no record" in error.message


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
@pytest.mark.usefixtures("begun")
async def test_data_of_another_user_is_refused(make_config: MakeConfig) -> None:
    async with EmbeddedPostgres(make_config()) as server:
        data = server.cluster.data
    os.chown(data, 1, 1)
    error = await refuse(make_config())
    assert isinstance(error, errors.DataDirectoryOwner)
    assert "daemon" in error.message
    assert "nobody" in error.message


@pytest.mark.usefixtures("begun")
async def test_data_that_is_gone_is_missed(make_config: MakeConfig, home: Path) -> None:
    async with EmbeddedPostgres(make_config()) as server:
        data = server.cluster.data
    shutil.rmtree(data)
    error = await refuse(make_config())
    assert isinstance(error, errors.DataMissing)
    assert str(home / "postgres.json") in error.hint
    assert not data.exists()


def other_major(absent: Callable[[str], NoReturn]) -> tuple[Binaries, Binaries]:
    usual = locate_binaries(Path(BIN) if BIN else None)
    for directory, source in list_candidates():
        with contextlib.suppress(errors.BinariesMissing):
            found = probe_binaries(directory, source)
            if found.major != usual.major:
                return usual, found
    return absent("binaries of only one major version are installed")


async def test_data_of_another_major_version(home: Path, absent: Callable[[str], NoReturn]) -> None:
    usual, other = other_major(absent)
    async with EmbeddedPostgres(make_test_config(home, postgres__bin=other.directory)) as server:
        assert server.cluster.binaries.major == other.major
        await ask(server, "CREATE TABLE kept (n int)")
    error = await refuse(make_test_config(home, postgres__bin=usual.directory))
    assert isinstance(error, errors.MajorVersionMismatch)
    assert (error.data, error.binaries) == (other.major, usual.major)
    # Left to choose, the binaries follow the data.
    async with EmbeddedPostgres(make_test_config(home, postgres__bin=Path())) as server:
        assert server.cluster.binaries.major == other.major
        assert await ask(server, "SELECT count(*) FROM kept") == 0


async def test_binaries_that_are_not_there(make_config: MakeConfig, home: Path) -> None:
    home.mkdir()
    error = await refuse(make_config(postgres__bin=home))
    assert isinstance(error, errors.BinariesMissing)
    assert "pip install chainstrata[embedded]" in error.hint


@pytest.mark.usefixtures("begun")
async def test_a_server_that_does_not_start_says_why(make_config: MakeConfig) -> None:
    error = await refuse(make_config(postgres__extra={"shared_buffers": "a lot"}))
    assert isinstance(error, errors.StartFailed)
    assert 'invalid value for parameter "shared_buffers": "a lot"' in error.message
    async with EmbeddedPostgres(make_config()) as server:
        assert await ask(server, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit", "port", "data_directory", "a b"])
async def test_parameters_that_would_lose_rows_or_are_the_nodes_own_are_refused(make_config: MakeConfig, name: str) -> None:
    error = await refuse(make_config(postgres__extra={name: "off"}))
    assert isinstance(error, ConfigError)
    assert name in error.message


async def test_an_unknown_user_is_named(make_config: MakeConfig) -> None:
    if ROOT:
        error = await refuse(make_config(postgres__run_as="no-such-user"))
        assert isinstance(error, errors.RunAsUnknown)
        assert isinstance(await refuse(make_config(postgres__run_as="root")), errors.RunAsUnknown)


async def test_an_interrupted_start_leaves_nothing_running(make_config: MakeConfig, home: Path) -> None:
    for _ in range(2):
        starting = asyncio.ensure_future(EmbeddedPostgres(make_config()).start())
        await asyncio.wait({starting}, timeout=0.15)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
    assert not [pid for left in home.glob("postgres/*") for pid in list_servers(left)]
    async with EmbeddedPostgres(make_config()) as server:
        assert await ask(server, "SELECT 1") == 1
        assert ClusterRecord.read(home).ready
    assert sorted(path.name for path in (home / "postgres").iterdir()) == [str(server.cluster.binaries.major)]
