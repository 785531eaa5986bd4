"""`make up` as a new user meets it: a fresh copy, an empty cache of packages, a path with spaces, Ctrl-C, and again."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.checkout import start

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


class Node:
    """A running node: what it printed until it was ready, its address, and how it ends."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        began = time.monotonic()
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line)
            if found := ADDRESS.search(line):
                self.address = found[0]
                break
        else:
            process.wait(30)
            pytest.fail(f"no address was printed:\n{''.join(self.lines)}")
        self.seconds = time.monotonic() - began

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path, timeout=10) as answer:
            content: bytes = answer.read()
        return content

    def interrupt(self) -> str:
        """Press Ctrl-C: the terminal sends it to make and to all that make started. Return what was printed from then on."""
        os.killpg(self.process.pid, signal.SIGINT)
        rest, _ = self.process.communicate(timeout=60)
        return rest


@pytest.fixture
def begun() -> Iterator[list["subprocess.Popen[str]"]]:
    """Give a list for processes; those still running at the end of the test are ended."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        with process:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)


def test_the_first_run_says_what_it_does_and_the_second_is_quick(copy: Path, begun: list["subprocess.Popen[str]"]) -> None:
    begun.append(start(copy, "up"))
    node = Node(begun[-1])
    assert any("install locks/node.txt" in line for line in node.lines)
    assert json.loads(node.get("/health"))["status"] == "ok"
    assert b"validators" in node.get("/")
    assert "Error" not in node.interrupt()

    begun.append(start(copy, "up"))
    again = Node(begun[-1])
    assert again.seconds < 3
    assert not any("install" in line or "initdb" in line for line in again.lines)
    assert again.address == node.address
    assert "Error" not in again.interrupt()


def test_an_installed_package_runs_without_the_checkout(copy: Path, begun: list["subprocess.Popen[str]"]) -> None:
    place = copy.with_name("some place")
    venv.create(place / "venv", with_pip=True)
    pip = [
        place / "venv/bin/python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-cache-dir",
        f"{copy}[embedded]",
    ]
    subprocess.run(pip, check=True, cwd=place, capture_output=True, text=True)
    command = [str(place / "venv/bin/python"), str(place / "venv/bin/chainstrata"), "up"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    begun.append(subprocess.Popen(command, cwd=place, env=environment, text=True, start_new_session=True, **pipes))
    node = Node(begun[-1])
    assert json.loads(node.get("/health"))["status"] == "ok"
    node.interrupt()
    assert begun[-1].returncode == 0
    assert (place / ".chainstrata").is_dir()


def test_make_test_passes_on_a_fresh_copy(copy: Path, begun: list["subprocess.Popen[str]"]) -> None:
    begun.append(start(copy, "test", "ARGS=-q tests/unit"))
    output, _ = begun[-1].communicate(timeout=300)
    assert begun[-1].returncode == 0, output
    assert re.search(r"\d+ passed", output), output
