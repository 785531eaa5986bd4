"""The locks are complete, hashed, free of addresses, and agree with each other and with pyproject.toml."""

import re
import tomllib
from functools import cache

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools.tree import ROOT

LOCKS = ("node", "dev")
PIN = re.compile(r"(?P<name>[a-z0-9.-]+)(\[[a-z,]+\])?==(?P<version>\S+)( ; (?P<marker>.+?))? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def read_lock(name: str) -> list[str]:
    return (ROOT / "locks" / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def read_pins(name: str) -> dict[str, Version]:
    return {match["name"]: Version(match["version"]) for match in map(PIN.fullmatch, read_lock(name)) if match}


@cache
def read_project() -> dict[str, list[Requirement]]:
    """Return the requirements of pyproject.toml by group: base, the extras, build."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = {
        "base": tables["project"]["dependencies"],
        **tables["project"]["optional-dependencies"],
        "build": tables["dependency-groups"]["build"],
    }
    return {name: [Requirement(line) for line in lines if not line.startswith("chainstrata[")] for name, lines in groups.items()}


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_a_pin_or_its_hash(name: str) -> None:
    lines = read_lock(name)
    assert [line for line in lines if not PIN.fullmatch(line) and not HASH.fullmatch(line)] == []
    followers = [lines[number + 1] if number + 1 < len(lines) else "" for number, line in enumerate(lines) if line.endswith("\\")]
    assert all(HASH.fullmatch(line) for line in followers)


@pytest.mark.parametrize("name", LOCKS)
def test_no_address_stands_in_a_lock(name: str) -> None:
    assert [line for line in read_lock(name) if re.search(r"://|@ |--(extra-)?index|--find-links|file:", line)] == []


def test_the_development_lock_holds_the_node_lock() -> None:
    assert read_pins("node").items() <= read_pins("dev").items()


@pytest.mark.parametrize(("lock", "groups"), [("node", ["base", "embedded", "lint", "build"]), ("dev", list(read_project()))])
def test_a_lock_fits_the_project(lock: str, groups: list[str]) -> None:
    pins = read_pins(lock)
    for requirement in (item for group in groups for item in read_project()[group]):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin, f"{requirement} is not in locks/{lock}.txt: run `make lock`"
        assert requirement.specifier.contains(pin, prereleases=True), f"locks/{lock}.txt has {requirement.name} {pin}, not {requirement}"


def test_the_locks_name_all_extras() -> None:
    assert set(read_project()) == {"base", "embedded", "columnar", "lint", "dev", "build"}, (
        "teach tools/lock.py and this test the new extra"
    )
