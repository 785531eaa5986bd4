"""The first time, from a fresh copy and with packages fetched: an ordinary user, and the tutorial from its first command."""

import json
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.fixtures.node import NOBODY, clean_environment
from tests.fixtures.walkthrough import Walkthrough, read_blocks
from tools.tree import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@contextmanager
def make_up(directory: Path, environment: dict[str, str], **options: Any) -> Iterator[tuple[str, list[str]]]:
    """Run `make up` as in a terminal of its own, give the address and the lines before it, and press Ctrl-C at the end."""
    process = subprocess.Popen(
        ["make", "up"],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("ready in "):
                break
        else:
            raise AssertionError(f"make up ended with {process.wait()}:\n" + "\n".join(lines))
        yield line.split()[-1], lines
    finally:
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert "stopping" in rest
    assert "Traceback" not in rest
    # What a shell reports for a command that ended on Ctrl-C, or 0 where make is not told of it.
    assert process.returncode in (0, -signal.SIGINT, 130)


def environment(**more: str) -> dict[str, str]:
    """Return what a shell outside any virtual environment has, with an empty pip cache."""
    kept = {name: value for name, value in clean_environment().items() if not name.startswith(("MAKE", "PYTHON", "VIRTUAL_ENV"))}
    return kept | {"PIP_NO_CACHE_DIR": "1"} | more


def is_ok(address: str) -> bool:
    with urllib.request.urlopen(f"{address}/health", timeout=30) as answer:
        return bool(json.load(answer)["status"] == "ok")


def test_an_ordinary_user_makes_up_and_goes_on_as_the_readme_says(copy: Path, absent: Callable[[str], NoReturn]) -> None:
    if os.geteuid() != 0:
        pytest.skip("the other test runs as an ordinary user already")
    python = "/usr/bin/python3"
    probe = ["-c", "import sys; assert sys.version_info >= (3, 11)"]
    if not Path(python).exists() or subprocess.run([python, *probe], check=False, capture_output=True).returncode:
        absent("no Python that an ordinary user can run")
    house = copy.parent / "house"
    house.mkdir()
    for place in (house, copy, *copy.rglob("*")):
        shutil.chown(place, NOBODY, NOBODY)
    clean = environment(HOME=str(house), PYTHON=python, PATH="/usr/local/bin:/usr/bin:/bin")
    user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    with make_up(copy, clean, **user) as (address, lines):
        assert is_ok(address)
        assert any("install locks/node.txt" in line for line in lines)
        assert (copy / ".chainstrata/postgres").stat().st_uid == NOBODY
        activated = clean | {"PATH": f"{copy / '.venv/bin'}:{clean['PATH']}"}
        blocks = [block.text for block in read_blocks(copy / "README.md") if "make " not in block.text]
        assert blocks
        for text in blocks:
            subprocess.run(["bash", "-eu", "-c", text], cwd=copy, env=activated, check=True, timeout=120, capture_output=True, **user)


def test_the_tutorial_from_its_first_command(copy: Path) -> None:
    shutil.rmtree(copy / ".venv", ignore_errors=True)
    path = f"{copy / '.venv/bin'}:{environment()['PATH']}"
    said = Walkthrough(copy, environment(PATH=path)).follow(ROOT / "docs/tutorial.md", install=True)
    assert any("the schema is what is declared" in part for part in said)
