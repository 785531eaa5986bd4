"""The page of errors: every code a program may meet, with what is said to people, read from the source."""

import ast
import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Iterable, Iterator

import chainstrata
from chainstrata.errors import ChainStrataError
from tools.docs.page import Page, table
from tools.tree import ROOT, list_python

INTRODUCTION = """# Errors

An error has a code, which is stable and what programs match on, a message that names the object and the value, and a hint that says
what to do. Over HTTP it is `{"error": {"code", "message", "hint"}}` with the status below; on the command line message and hint go to
stderr, and with `--json` the same document to stdout. Only what is *retryable* may be tried again unchanged.

What stands in braces is filled in."""
Said = tuple[str, str]


def pages() -> Iterable[Page]:
    """Yield the page."""
    said = _read_source()
    codes: dict[str, list[type[ChainStrataError]]] = defaultdict(list)
    for kind in sorted(set(_all_errors()), key=lambda each: (each.__module__, each.__qualname__)):
        codes[kind.code].append(kind)
    parts = [INTRODUCTION]
    for code in sorted(codes):
        parts += _section(code, codes[code], said)
    yield Page("reference/errors.md", "\n\n".join(parts))


def _all_errors() -> Iterator[type[ChainStrataError]]:
    for module in pkgutil.walk_packages(chainstrata.__path__, "chainstrata."):
        if not module.name.endswith("__main__") and ".migrations" not in module.name:
            importlib.import_module(module.name)
    waiting = [ChainStrataError]
    while waiting:
        kind = waiting.pop()
        if kind.__module__.startswith("chainstrata."):
            yield kind
        waiting += kind.__subclasses__()


def _section(code: str, kinds: list[type[ChainStrataError]], said: dict[str, list[Said]]) -> Iterator[str]:
    owner = min(kinds, key=lambda kind: len(kind.__mro__))
    first = (owner.__doc__ or "").strip().split("\n\n")[0]
    yield f"## {code}"
    facts = [f"HTTP {owner.http_status}", f"exit code {owner.exit_code}", "retryable" if owner.retryable else "not retryable"]
    yield f"{' '.join(first.split())} ({', '.join(facts)}; `{'`, `'.join(kind.__name__ for kind in kinds)}`)".strip()
    rows = list(dict.fromkeys(one for kind in kinds for one in said.get(kind.__name__, ())))
    if rows:
        yield table(("message", "hint"), rows)


def _read_source() -> dict[str, list[Said]]:
    """Return, by the name of the error, every message and hint that the source gives it."""
    found: dict[str, list[Said]] = defaultdict(list)
    for path in list_python():
        if path.parts[:2] != ("src", "chainstrata"):
            continue
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        for name, call in _calls(tree):
            message = _text(call.args[0]) if call.args else ""
            hint = next((_text(keyword.value) for keyword in call.keywords if keyword.arg == "hint"), "")
            if message:
                found[name].append((message, hint))
    return found


def _calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Yield what is said by `super().__init__` inside a class, as that class, and by `raise Name(...)`, as that name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__":
                    yield node.name, call
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield ast.unparse(node.exc.func).rpartition(".")[2], node.exc


def _text(node: ast.expr) -> str:
    """Return text with `{…}` for what it is filled with, empty if it is not text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_filled(value) if isinstance(value, ast.FormattedValue) else _text(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return ""


def _filled(node: ast.FormattedValue) -> str:
    value = node.value
    while isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and value.value.id != "self":
        value = value.value
    name = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else "…"
    return f"{{{name.strip('_')}}}"
