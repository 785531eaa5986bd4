"""The node with its columnar engine: rows come in, the engine is killed and comes back, and where there is none that shows."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

import pytest

from chainstrata.engines.clickhouse import is_installed
from tests.fixtures.node import COMMAND, NodeProcess, clean_environment, run_command, running_node

# A node with the columnar engine takes half a minute to come up for the first time.
pytestmark = pytest.mark.long

WITH_ENGINE = {"CHAINSTRATA_CLICKHOUSE_EMBEDDED": "true", "CHAINSTRATA_CLICKHOUSE_MEMORY_MB": "1000", "CHAINSTRATA_PACKS": "portfolio"}
ROW = '{"asset_id": "ethereum:native", "source": "test", "ts": "2026-03-01T12:00:00Z", "chain": "ethereum", "price_usd": "1800.5"}\n'


def on_columnar(home: Path, environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, "migrate", *arguments, "--columnar"]
    return subprocess.run(
        command, env=environment | {"CHAINSTRATA_HOME": str(home)}, capture_output=True, text=True, check=False, timeout=120
    )


def engine_of(home: Path, environment: dict[str, str]) -> dict[str, Any]:
    answer = run_command(home, "status", "--json", env=environment)
    return next(one for one in json.loads(answer.stdout)["engines"] if one["name"] == "clickhouse")


def wait_running(node: NodeProcess, environment: dict[str, str], times: int = 0) -> dict[str, Any]:
    deadline = monotonic() + 60
    while True:
        engine = engine_of(node.home, environment)
        if engine["state"] == "running" and (not times or f"again {times} times" in engine["detail"]):
            return engine
        assert monotonic() < deadline, engine


@pytest.mark.conforms("S1-47", "S1-82")
def test_the_node_runs_the_engine_and_rows_stay(home: Path, tmp_path: Path, absent: Callable[[str], NoReturn]) -> None:
    if not is_installed():
        absent("chdb is not installed")
    environment = clean_environment(**WITH_ENGINE)
    rows = tmp_path / "prices.ndjson"
    rows.write_text(ROW)
    with running_node(home, environment=environment) as node:
        assert wait_running(node, environment)["version"].startswith("2")
        verified = on_columnar(home, environment, "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        done = run_command(home, "ingest", "portfolio.price_data_raw", str(rows), env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        pid = int((home / "clickhouse/data/status").read_text().split("PID: ")[1].split()[0])
        os.kill(pid, signal.SIGKILL)
        wait_running(node, environment, times=1)
        shown = on_columnar(home, environment, "status", "--json")
        assert {one["status"] for one in json.loads(shown.stdout)} == {"applied"}


def on_home(home: Path, environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    place = environment | {"CHAINSTRATA_HOME": str(home)}
    return subprocess.run([*COMMAND, *arguments], env=place, capture_output=True, text=True, check=False, timeout=120)


def wait_mirrored(home: Path, environment: dict[str, str]) -> dict[str, Any]:
    deadline = monotonic() + 60
    while True:
        answer = on_home(home, environment, "cdc", "status", "--json")
        status: dict[str, Any] = json.loads(answer.stdout) if answer.returncode == 0 else {}
        if {one["state"] for one in status.get("mirrors", [])} == {"streaming"}:
            return status
        assert monotonic() < deadline, answer.stdout + answer.stderr


@pytest.mark.conforms("S1-156")
def test_the_node_keeps_mirrors_up_unasked(home: Path, tmp_path: Path, absent: Callable[[str], NoReturn]) -> None:
    if not is_installed():
        absent("chdb is not installed")
    environment = clean_environment(**WITH_ENGINE)
    rows = tmp_path / "assets.ndjson"
    with running_node(home, environment=environment) as node:
        assert wait_mirrored(home, environment)["running"]
        for number in (1, 2):
            rows.write_text(json.dumps({"asset_id": f"ethereum:0x{number:040x}", "decimals": 18}) + "\n")
            done = run_command(home, "ingest", "portfolio.assets", str(rows), env=environment)
            assert done.returncode == 0, done.stdout + done.stderr
            done = on_home(home, environment, "cdc", "wait", "--within", "60")
            assert done.returncode == 0, done.stderr
            compared = on_home(home, environment, "reconcile", "portfolio.assets", "--json")
            assert (compared.returncode, json.loads(compared.stdout)[0]["mirror_rows"]) == (0, number), compared.stderr
            if number == 1:
                pid = int((home / "clickhouse/data/status").read_text().split("PID: ")[1].split()[0])
                os.kill(pid, signal.SIGKILL)
        verified = on_columnar(home, environment, "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        status, services = node.get("/api/v1/status")
        assert status == 200
        assert "cdc" in [one["name"] for one in services["node"]["services"]]
        assert "portfolio.price_data_raw" in [one["name"] for one in services["datasets"]]
    with running_node(home, "--cdc-enabled", "off", environment=environment) as another:
        wait_running(another, environment)
        assert not json.loads(on_home(home, environment, "cdc", "status", "--json").stdout)["running"]


def test_an_engine_that_is_switched_off_shows_and_is_not_replaced(home: Path, tmp_path: Path) -> None:
    environment = clean_environment(CHAINSTRATA_PACKS="portfolio")
    rows = tmp_path / "prices.ndjson"
    rows.write_text(ROW)
    with running_node(home, environment=environment):
        engine = engine_of(home, environment)
        assert (engine["state"], engine["kind"]) == ("missing", "none")
        done = run_command(home, "ingest", "portfolio.price_data_raw", str(rows), env=environment)
        assert done.returncode == 1
        assert "no columnar engine: clickhouse.url is not set, and clickhouse.embedded is off" in done.stderr
