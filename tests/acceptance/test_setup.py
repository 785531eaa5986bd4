"""`make` from a fresh copy: an environment is made once, made whole after an interruption, and left alone afterwards.

These fetch packages, as a first `make up` does, so they run with the long tests.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.fixtures.checkout import run, start

pytestmark = pytest.mark.long


def test_an_environment_is_made_once(copy: Path) -> None:
    code, output = run(copy, "node-environment")
    assert code == 0, output
    assert "create .venv" in output
    assert "install locks/node.txt" in output
    began = time.monotonic()
    assert run(copy, "node-environment") == (0, "")
    assert time.monotonic() - began < 1
    python = [copy / ".venv/bin/python", "-c", "import chainstrata; print(chainstrata.__file__)"]
    assert subprocess.run(python, capture_output=True, text=True, check=True).stdout.startswith(str(copy))


def test_an_interrupted_run_leaves_nothing_half_made(copy: Path) -> None:
    process = start(copy, "node-environment")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("install locks"):
            break
    os.killpg(process.pid, signal.SIGINT)
    assert "stopped" in process.communicate(timeout=30)[0]
    code, output = run(copy, "node-environment")
    assert code == 0, output
    assert "create .venv" in output


def test_a_moved_directory_is_noticed(copy: Path) -> None:
    assert run(copy, "node-environment")[0] == 0
    moved = copy.rename(copy.with_name("moved"))
    code, output = run(moved, "node-environment")
    assert code == 0, output
    assert "create .venv" in output


def test_a_python_too_old_or_absent_is_named(copy: Path) -> None:
    code, output = run(copy, "node-environment", "PYTHON=/bin/false")
    assert code != 0
    assert "PYTHON=/bin/false is not a Python 3.11 or newer" in output
