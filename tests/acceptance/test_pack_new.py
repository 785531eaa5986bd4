"""A pack that `pack new` writes is a project that installs, migrates, is what it declares, and passes its own test."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainstrata.packs.new import write_pack
from tests.fixtures.postgres import NewDatabase
from tools.template import Installed, install

NAME = "my_chain"


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    """Give a new pack, installed. Its home lies where an unprivileged server can reach it."""
    place = Path(tempfile.mkdtemp(prefix="chainstrata-test-"))
    place.chmod(0o755)
    write_pack(NAME, place / "a project")
    yield install(place / "a project", place / "site")
    shutil.rmtree(place, ignore_errors=True)


def test_it_is_found_beside_the_packs_that_come_along(installed: Installed) -> None:
    listed = installed.run("chainstrata", "pack", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    packs = {item["pack"]: item for item in json.loads(listed.stdout)}
    assert packs[NAME]["from"] == "chainstrata-my-chain 0.1.0"
    checked = installed.run("chainstrata", "pack", "check", NAME, "--json")
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout) == [
        {"pack": NAME, "datasets": 2, "rollups": 1, "sql_objects": 7, "revisions": 1, "sample_rows": 4020}
    ]


async def test_it_migrates_to_exactly_what_it_declares_and_takes_its_sample(installed: Installed, new_database: NewDatabase) -> None:
    url = await new_database()

    def run(*arguments: str) -> str:
        done = installed.run("chainstrata", *arguments, url=url)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("migrate", "up")
    run("migrate", "verify")
    made = run("migrate", "make", NAME, "--migrate-directory", str(installed.site / "made"), "--json")
    assert json.loads(made)["files"] == [], "run `python -m tools.template`"
    assert json.loads(run("sample", "load", NAME, "--json"))[0]["rows"] == 4020
    assert re.search(rf"{NAME} +small +1 +.* 4\u2009020", run("sample", "list"))
    assert run("sample", "clear", NAME, "--yes") == f"{NAME} is empty\n"


def test_its_own_test_passes(installed: Installed) -> None:
    done = installed.run("pytest", "-p", "no:cacheprovider", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_it_is_tidy(installed: Installed) -> None:
    rules = ("--isolated", "--line-length", "140", "--exclude", "migrations")
    for done in (
        installed.run("ruff", "check", *rules, "--select", "E,F,I,UP,B", "."),
        installed.run("ruff", "format", "--check", *rules, "."),
    ):
        assert done.returncode == 0, done.stdout
