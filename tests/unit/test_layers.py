"""What import-linter cannot see: who may open a connection, and who may start a program."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.tree import ROOT, list_python

ENGINES = Path("src/chainstrata/engines")
OPENING = {
    "psycopg_pool",
    "asyncpg",
    "psycopg.connect",
    "psycopg.Connection.connect",
    "psycopg.AsyncConnection.connect",
    "sqlalchemy.create_engine",
}
STARTING = {"os.system", "os.popen", "subprocess.getoutput", "asyncio.create_subprocess_shell"}


def list_names(tree: ast.Module) -> Iterator[str]:
    """Yield every dotted name and every imported module of a file, as written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.fixture(scope="module")
def names() -> dict[Path, set[str]]:
    sources = [path for path in list_python() if path.parts[0] == "src"]
    return {path: set(list_names(ast.parse((ROOT / path).read_text(encoding="utf-8")))) for path in sources}


def test_only_engines_open_connections(names: dict[Path, set[str]]) -> None:
    assert {str(path): sorted(found & OPENING) for path, found in names.items() if ENGINES not in path.parents and found & OPENING} == {}
    assert any(found & OPENING for path, found in names.items() if ENGINES in path.parents), "this test looks for the wrong names"


def test_no_program_is_started_through_a_shell(names: dict[Path, set[str]]) -> None:
    assert {str(path): sorted(found & STARTING) for path, found in names.items() if found & STARTING} == {}
