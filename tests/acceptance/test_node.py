"""The node as a user meets it: up, looked at, stopped, up again with its data, killed, refused."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from tests.fixtures.node import COMMAND, NOBODY, clean_environment, connect, run_command, running_node, start_node
from tests.fixtures.postgres import copy_home, make_home
from tools.tree import ROOT


@pytest.fixture
def fresh(home: Path) -> Path:
    """Give a home in a path with spaces, which does not exist yet."""
    return home.parent / "a path with spaces" / "home"


@pytest.fixture(scope="session")
def settled() -> Iterator[Path]:
    """Give a home on which a node was up and stopped. Copied, it saves a test the first start."""
    made = make_home()
    with running_node(made):
        pass
    yield made
    shutil.rmtree(made.parent, ignore_errors=True)


@pytest.fixture
def place(settled: Path, fresh: Path) -> Path:
    """Give a home of this test's own, in a path with spaces, on which a node was up before."""
    return copy_home(settled, fresh)


def find_server(home: Path) -> int:
    """Return the process number of the node's PostgreSQL, read from where its data is."""
    data = home / json.loads((home / "postgres.json").read_text())["data"]
    return int((data / "postmaster.pid").read_text().split()[0])


def connect_again(home: Path) -> psycopg.Connection[tuple[object, ...]]:
    """Connect as soon as the server takes connections."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return connect(home)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise


@contextlib.contextmanager
def listening(port: int) -> Iterator[None]:
    """Have somebody else on a port, or leave whoever is there already."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


def test_up_status_stop_and_up_again_with_its_data(fresh: Path) -> None:
    with listening(5432), running_node(fresh) as node:
        assert list(node.steps)[:2] == ["program", "settings"]
        assert node.get("/health")[0] == 200
        assert node.get("/health")[1]["status"] == "ok"
        status = node.get("/api/v1/status")[1]
        assert status["healthy"], status["findings"]
        assert {service["state"] for service in status["node"]["services"]} == {"running"}
        shown = run_command(fresh, "status", "--json")
        assert shown.returncode == 0, shown.stderr
        assert json.loads(shown.stdout)["node"]["pid"] == node.process.pid
        key = (fresh / "secrets/api_key").read_text().strip()
        assert key in node.steps["key"]
        assert (fresh / "secrets/api_key").stat().st_mode & 0o777 == 0o600
        assert node.get("/api/v1/keys")[0] == 401
        assert [one["name"] for one in node.get("/api/v1/keys", key=key)[1]["keys"]] == ["first"]
        made = json.loads(run_keys(fresh, "create", "reader", "--expires", "1d").stdout)
        assert node.get("/api/v1/keys", key=made["secret"])[0] == 403
        assert run_keys(fresh, "revoke", "reader").returncode == 0
        listed = json.loads(run_keys(fresh, "list").stdout)
        assert [(one["name"], one["state"]) for one in listed] == [("reader", "revoked"), ("first", "active")]
        with connect(fresh) as connection:
            connection.execute("CREATE TABLE kept (n int)")
            connection.execute("INSERT INTO kept VALUES (42)")
        record = json.loads((fresh / "node.json").read_text())
        assert record["pid"] == node.process.pid
        assert record["versions"].keys() >= {"chainstrata", "python", "postgres"}
    assert not (fresh / "node.json").exists()
    with running_node(fresh) as node:
        assert "initdb" not in node.steps
        assert key not in "".join(node.lines)
        assert str(fresh / "secrets/api_key") in node.steps["key"]
        with connect(fresh) as connection:
            assert connection.execute("SELECT n FROM kept").fetchall() == [(42,)]


@pytest.mark.alone
def test_a_node_started_again_is_up_in_under_3_seconds(place: Path) -> None:
    tries, limit = [], 3.0
    for _ in range(5):
        with running_node(place) as node:
            tries.append(float(json.loads(node.lines[-1])["seconds"]))
        # A machine at its full pace counts in 0.1 s; one that others slow down gets as much longer.
        limit = 3 * max(1, timeit.timeit("sum(n * n for n in range(2_000_000))", number=1) / 0.1)
        if tries[-1] < limit:
            return
    pytest.fail(f"it took {tries} s, at most {limit:.1f} s are good")


def run_keys(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of `chainstrata keys`, answering in JSON."""
    return run_command(home, "--json", "keys", *arguments)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "term", "terminal closed"])
def test_it_stops_cleanly_and_leaves_nothing_running(place: Path, number: signal.Signals) -> None:
    # Where this run must not end with its terminal, that would hold for the node too.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        node = start_node(place)
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        node.wait_ready()
        server = find_server(place)
        assert node.stop(number) == 0
    finally:
        node.end()
    said = "".join(node.lines)
    assert '"event": "stopping"' in said
    assert "Traceback" not in said
    assert not Path(f"/proc/{server}").exists()


def test_a_stop_while_it_starts_is_clean_too(place: Path) -> None:
    node = start_node(place)
    assert node.process.stdout is not None
    for line in node.process.stdout:
        if "settings" in line:
            break
    assert node.stop() == 0
    assert "Traceback" not in "".join(node.lines)
    with running_node(place):
        pass


def test_killed_under_load_it_recovers_with_every_acknowledged_row(place: Path) -> None:
    acknowledged = []
    with running_node(place) as node, connect(place) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        with contextlib.suppress(psycopg.OperationalError):
            for number in itertools.count():
                connection.execute("INSERT INTO kept VALUES (%s)", (number,))
                acknowledged.append(number)
                if number == 200:
                    node.process.kill()
        node.process.wait()
    with running_node(place), connect(place) as connection:
        found = {row[0] for row in connection.execute("SELECT n FROM kept")}
    assert set(acknowledged) <= found
    assert len(found) <= len(acknowledged) + 1


def test_postgres_killed_under_it_comes_back(place: Path) -> None:
    with running_node(place) as node:
        first = find_server(place)
        os.kill(first, signal.SIGKILL)
        with connect_again(place) as connection:
            connection.execute("SELECT 1")
        answers: list[int] = []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and 200 not in answers[-1:]:
            answers.append(node.get("/health")[0])
        assert answers[-1] == 200
        assert set(answers) <= {200, 503}
        assert find_server(place) != first


def test_asked_twice_it_stops_at_once_and_recovers(place: Path) -> None:
    with running_node(place) as node, connect(place) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        # A request that is never finished keeps the first stop waiting.
        with socket.create_connection(("127.0.0.1", int(node.address.rpartition(":")[2]))) as client:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
            node.process.send_signal(signal.SIGINT)
            assert node.process.stdout is not None
            assert '"hurry": false' in node.process.stdout.readline()
            assert node.stop() == 0
    assert '"hurry": true' in "".join(node.lines)
    with running_node(place), connect(place) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "step", ["initdb", "postgres", *(pytest.param(step, marks=pytest.mark.long) for step in ("settings", "migrate", "ready"))]
)
def test_killed_during_its_first_start_the_next_one_succeeds(fresh: Path, step: str) -> None:
    node = start_node(fresh)
    assert node.process.stdout is not None
    for line in node.process.stdout:
        if f'"{step}"' in line:
            break
    node.end()
    with running_node(fresh) as node:
        assert node.get("/health")[0] == 200


def test_a_second_node_on_the_same_home_is_refused(place: Path) -> None:
    with running_node(place) as first:
        second = run_command(place, "up")
        assert second.returncode == 1
        assert f"is in use by process {first.process.pid}" in second.stderr
        assert second.stderr.splitlines()[1].startswith("hint:  ")
        assert first.get("/health")[0] == 200


def test_two_nodes_on_two_homes_share_the_machine(place: Path) -> None:
    with running_node(place) as first, running_node(place.with_name("other")) as second:
        assert first.address != second.address
        assert first.get("/health")[0] == second.get("/health")[0] == 200


def test_a_wanted_port_that_is_taken_is_a_clear_error(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = run_command(place, "up", "--node-port", str(port))
    assert refused.returncode == 1
    assert f"error: port {port} of 127.0.0.1 is in use by process {os.getpid()}" in refused.stderr
    assert "hint:  Set node.port" in refused.stderr


def test_production_starts_nothing_in_place_of_an_engine(fresh: Path) -> None:
    refused = run_command(fresh, "up", "--mode", "production")
    assert refused.returncode == 1
    assert "error: no PostgreSQL is configured" in refused.stderr
    assert "postgres.url" in refused.stderr
    assert not (fresh / "postgres").exists()


def test_production_runs_on_a_server_by_url(fresh: Path, conninfo: str) -> None:
    with running_node(fresh, "--mode", "production", "--postgres-url", conninfo, "--pool-reserved", "1") as node:
        # In production nobody reads without a key, from this machine as little as from elsewhere.
        assert node.get("/api/v1/status")[0] == 401
        flags = ["--role", "read", "--json", "--postgres-url", conninfo, "--pool-reserved", "1"]
        made = run_command(fresh, "create", "watch", *flags, command=[*COMMAND, "keys"])
        engine = node.get("/api/v1/status", key=json.loads(made.stdout)["secret"])[1]["engines"][0]
        assert (engine["kind"], engine["state"]) == ("url", "running")
        assert not (fresh / "postgres").exists()


def test_status_without_a_node_says_so(fresh: Path) -> None:
    shown = run_command(fresh, "status")
    assert shown.returncode == 1
    assert "error: no node runs on " in shown.stderr
    assert "chainstrata up" in shown.stderr


def test_status_by_url_needs_no_node(fresh: Path, conninfo: str) -> None:
    shown = run_command(fresh, "status", "--json", "--postgres-url", conninfo, "--pool-reserved", "1", "--packs", "strata")
    status = json.loads(shown.stdout)
    assert shown.returncode == 1
    assert status["node"] is None
    assert (status["engines"][0]["kind"], status["engines"][0]["state"]) == ("url", "running")
    assert "schema_behind" in [finding["code"] for finding in status["findings"]]


def test_status_by_url_says_when_the_server_is_not_there(fresh: Path) -> None:
    shown = run_command(fresh, "status", "--postgres-url", "postgresql://nobody@127.0.0.1:1/none")
    assert shown.returncode == 1
    assert shown.stderr.startswith("error: ")
    assert "127.0.0.1" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_people_get_a_line_for_each_step_and_its_time(place: Path) -> None:
    command = [*COMMAND, "up", "--home", str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment(), cwd="/") as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("ready"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert all(line.endswith(" s)") for line in lines[:-1])
    assert lines[-1].endswith(tuple(f":{port}" for port in range(8640, 8740)))
    assert "stopping" in rest


def test_a_terminal_that_is_gone_does_not_end_it(place: Path) -> None:
    node = start_node(place)
    node.wait_ready()
    assert node.process.stdout is not None
    node.process.stdout.close()
    assert node.get("/health")[0] == 200
    node.process.send_signal(signal.SIGINT)
    assert node.process.wait(60) == 0


def test_an_ordinary_user_runs_it(home: Path, absent: Callable[[str], NoReturn]) -> None:
    if os.geteuid() != 0:
        pytest.skip("this is how the whole suite runs")
    python = next((path for path in (sys.executable, "/usr/bin/python3") if _reachable(path)), None)
    if python is None:
        absent("no Python that an ordinary user can run")
    owned = home.parent / "owned"
    owned.mkdir()
    shutil.chown(owned, NOBODY, NOBODY)
    packages = [path for path in sys.path if path.endswith("site-packages")]
    environment = {"PYTHONPATH": ":".join([str(ROOT / "src"), *packages]), "PATH": "/usr/bin:/bin", "HOME": str(owned)}
    options = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    with running_node(owned / "home", command=[python, "-m", "chainstrata"], environment=environment, **options) as node:
        assert node.get("/health")[0] == 200
        assert (owned / "home/postgres").stat().st_uid == NOBODY


def _reachable(python: str) -> bool:
    try:
        done = subprocess.run([python, "-c", "import ssl"], user=NOBODY, group=NOBODY, extra_groups=[], check=False)
    except OSError:
        return False
    return done.returncode == 0
