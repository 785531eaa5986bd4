"""What is installed is whole: code, SQL, templates, types, licence, command and packs."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tools.tree import ROOT, list_files

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Build the wheel as `pip install .` would and return the names of its files."""
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target], cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(target.glob("*.whl"))) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_the_package(wheel: set[str]) -> None:
    source = Path("src")
    expected = {str(path.relative_to(source)) for path in list_files() if path.parts[0] == "src"}
    assert expected - wheel == set()
    assert {name for name in wheel if name.startswith("chainstrata/")} - expected == set()


def test_the_wheel_holds_licence_types_and_metadata(wheel: set[str]) -> None:
    assert "chainstrata/py.typed" in wheel
    names = {name.partition(".dist-info/")[2] for name in wheel if ".dist-info/" in name}
    assert names >= {"METADATA", "entry_points.txt", "licenses/LICENSE"}


@pytest.mark.parametrize(("name", "value"), [*PROJECT["entry-points"]["chainstrata.packs"].items()])
def test_every_pack_that_is_announced_loads(name: str, value: str) -> None:
    assert EntryPoint(name, value, "chainstrata.packs").load().name == name


def test_every_pack_that_is_there_is_announced() -> None:
    packs = Path("src", "chainstrata", "packs")
    folders = {path.parts[3] for path in list_files() if path.parent.parent == packs and path.name == "tables.py"}
    assert folders == PROJECT["entry-points"]["chainstrata.packs"].keys()
