"""`chainstrata psql`: the address filled in, the password in no command line, psql's own exit code."""

import subprocess
import sys
from pathlib import Path

import pytest
from psycopg import conninfo as libpq

from chainstrata.cli.psql import find_psql
from chainstrata.config import load_config
from chainstrata.engines.postgres.errors import BinariesMissing

COMMAND = [sys.executable, "-m", "chainstrata", "psql"]


@pytest.fixture
def command(conninfo: str, absent: object) -> list[str]:
    try:
        find_psql(load_config(environment={}))
    except BinariesMissing as error:
        absent(error.message)  # type: ignore[operator]  # fails or skips
    return [*COMMAND, "--postgres-url", conninfo]


def run(command: list[str], *arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *arguments], cwd=directory, capture_output=True, text=True, check=False, timeout=60)


def test_it_passes_its_options_on(command: list[str], tmp_path: Path) -> None:
    done = run(command, "--no-psqlrc", "-A", "-t", "-c", "SELECT 6 * 7", directory=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")


def test_it_ends_with_the_exit_code_of_psql(command: list[str], tmp_path: Path) -> None:
    done = run(command, "-c", "SELECT 1 / 0", directory=tmp_path)
    assert done.returncode == 1
    assert "division by zero" in done.stderr


def test_the_password_stands_in_no_command_line(command: list[str], conninfo: str, tmp_path: Path) -> None:
    password = libpq.conninfo_to_dict(conninfo)["password"]
    assert password
    done = run(command, "-A", "-t", "-c", "\\! tr '\\0' '\\n' < /proc/$PPID/cmdline", directory=tmp_path)
    assert "passfile=" in done.stdout
    assert str(password) not in done.stdout
