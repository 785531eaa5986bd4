"""Which requirement is proved by which tests: `tests/requirements.toml` beside the `conforms` marks, read without running anything."""

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.docs.page import Page, table
from tools.tree import ROOT, list_python

REQUIREMENTS = Path("tests/requirements.toml")


@dataclass(frozen=True, slots=True)
class Conformance:
    """What is asked, what is admitted to be unproved yet, and which tests (`path::name`) prove what."""

    asked: dict[str, dict[str, str]]
    pending: tuple[str, ...]
    proofs: dict[str, list[str]]

    @property
    def known(self) -> dict[str, str]:
        return {identity: text for part in self.asked.values() for identity, text in part.items()}

    def problems(self) -> list[str]:
        """Return a line for everything that does not hold; an empty list is conformance."""
        known, pending, proved = self.known, set(self.pending), set(self.proofs)
        found = [f"{identity}: no test is marked with it" for identity in known if identity not in proved | pending]
        found += [
            f"{identity}: marked on {self.proofs[identity][0]}, but not in {REQUIREMENTS}" for identity in sorted(proved - known.keys())
        ]
        found += [f"{identity}: pending, but a test is marked with it: take it off the list" for identity in sorted(pending & proved)]
        found += [f"{identity}: pending, but not in {REQUIREMENTS}" for identity in sorted(pending - known.keys())]
        return found


def read_conformance() -> Conformance:
    """Read the requirements and the marks."""
    tables = tomllib.loads((ROOT / REQUIREMENTS).read_text(encoding="utf-8"))
    proofs: dict[str, list[str]] = defaultdict(list)
    for path in list_python():
        if path.parts[0] == "tests" and path.name.startswith("test_"):
            for name, identity in _read_marks(ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path))):
                proofs[identity].append(f"{path}::{name}")
    return Conformance(tables["requirements"], tuple(tables.get("pending", ())), dict(proofs))


def pages() -> Iterable[Page]:
    """Yield the page that sets what is asked beside what proves it."""
    conformance = read_conformance()
    proved = sum(1 for identity in conformance.known if identity in conformance.proofs)
    parts = [
        "# Conformance",
        "Every requirement that this release answers, and the tests that prove it. The names are those of `pytest`: `pytest path::name` runs one.",
        f"{proved} of {len(conformance.known)} requirements are proved by tests.",
    ]
    for title, asked in conformance.asked.items():
        rows = ((identity, text, _show_tests(conformance.proofs.get(identity, []))) for identity, text in asked.items())
        parts += [f"## {title}", table(("ID", "what it asks", "proved by"), rows)]
    yield Page("reference/conformance.md", "\n\n".join(parts))


def _show_tests(tests: list[str]) -> str:
    return "<br>".join(f"`{test.removeprefix('tests/')}`" for test in sorted(set(tests))) or "no test yet"


def _read_marks(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (test, ID) for every mark on a test, on the class around it, or on the whole module."""
    module = list(_module_marks(tree))
    for node in tree.body:
        outer = list(_decorations(node))
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        for member in members:
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and member.name.startswith("test_"):
                prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
                own = _decorations(member) if prefix else ()
                for identity in dict.fromkeys([*module, *outer, *own]):
                    yield prefix + member.name, identity


def _decorations(node: ast.AST) -> Iterator[str]:
    for decorator in getattr(node, "decorator_list", ()):
        yield from _identities(decorator)


def _module_marks(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets):
            values = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
            for value in values:
                yield from _identities(value)


def _identities(node: ast.AST) -> Iterator[str]:
    """Yield the IDs of `pytest.mark.conforms(...)`, and of one inside `pytest.param(..., marks=...)` of a parametrize."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "conforms":
            yield from (str(argument.value) for argument in call.args if isinstance(argument, ast.Constant))
