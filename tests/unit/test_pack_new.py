"""What `pack new` writes, and the names and places it refuses."""

from pathlib import Path

import pytest

from chainstrata.packs.new import PackNameUnusable, PlaceTaken, write_pack


def test_a_project_bears_the_name_everywhere(tmp_path: Path) -> None:
    written = write_pack("my_chain", tmp_path / "new")
    names = {str(path.relative_to(tmp_path / "new")) for path in written}
    assert {"pyproject.toml", ".gitignore", "src/chainstrata_my_chain/tables.py", "tests/test_my_chain.py"} <= names
    assert "src/chainstrata_my_chain/migrations/0001_create_initial_schema.py" in names
    texts = {path: path.read_text(encoding="utf-8") for path in written}
    assert [path for path, text in texts.items() if "mychain" in text or "mychain" in str(path)] == []
    assert 'name = "chainstrata-my-chain"' in texts[tmp_path / "new" / "pyproject.toml"]


@pytest.mark.parametrize("name", ["Cosmos", "my-chain", "1inch", "a", "x" * 32, "", "prices;", "über", "../up"])
def test_a_name_that_no_schema_can_bear_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PackNameUnusable, match="it does not fit a schema and a Python package"):
        write_pack(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["strata", "public", "pg_things", "class", "prices"])
def test_a_name_that_means_something_else_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PackNameUnusable):
        write_pack(name, tmp_path / "new")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for place in (tmp_path, tmp_path / "mine"):
        with pytest.raises(PlaceTaken):
            write_pack("my_chain", place)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    assert write_pack("my_chain", tmp_path)
