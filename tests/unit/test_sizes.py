"""Modules and functions stay small enough to be read at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tools.tree import ROOT, list_python

MODULE_LINES = 500
FUNCTION_LINES = 50

# Larger, each for a reason. An entry that is no longer needed fails, so the list only holds what is true.
EXCEPTIONS: dict[str, str] = {
    "src/chainstrata/config.py": "the registry of all settings stands beside what reads them",
    "src/chainstrata/packs/portfolio/tables.py": "declarations of eight tables, to be read beside each other",
    "src/chainstrata/packs/relay/tables.py": "declarations of five tables, to be read beside each other",
    "src/chainstrata/packs/validators/tables.py": "declarations of nine tables, to be read beside each other",
}


def measure() -> Iterator[tuple[str, int, int]]:
    """Yield what there is, its lines and its limit: `path` for a module, `path::name` for a function."""
    # A revision is written by `migrate make`: one list of operations, as long as what changed. So are the rows of a pack, by `make docs`.
    written = {path for path in list_python() if path.parent.name in ("migrations", "columnar") and path.name[:1].isdigit()}
    for path in (path for path in list_python() if path not in written and path.name != "rows.py"):
        source = (ROOT / path).read_text(encoding="utf-8")
        yield str(path), source.count("\n"), MODULE_LINES
        for node in ast.walk(ast.parse(source, str(path))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path}::{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1, FUNCTION_LINES


def test_nothing_is_larger_than_its_limit() -> None:
    too_large = {name: f"{lines} lines, limit {limit}" for name, lines, limit in measure() if lines > limit}
    assert {name: size for name, size in too_large.items() if name not in EXCEPTIONS} == {}
    assert sorted(EXCEPTIONS.keys() - too_large.keys()) == [], "stale exceptions"


def test_no_module_is_named_after_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
    assert [str(path) for path in list_python() if path.stem in vague and Path("src") in path.parents] == []
