"""Every command that a hint, a docstring or a page tells the reader to run is one."""

import re
from collections.abc import Iterator
from pathlib import Path

import typer.main

from chainstrata.cli.tree import build
from tools.tree import ROOT, list_files

TOLD = re.compile(r"(?:`|^)chainstrata (?P<words>[a-z][a-z-]*(?: [a-z][a-z-]*)?)", re.MULTILINE)


def list_commands() -> set[str]:
    """Return every command and group, as it is written after `chainstrata`."""
    found: set[str] = set()

    def visit(command: object, path: str) -> None:
        for name, child in getattr(command, "commands", {}).items():
            whole = f"{path} {name}".strip()
            found.add(whole)
            visit(child, whole)

    visit(typer.main.get_command(build()), "")
    return found


def list_told() -> Iterator[tuple[Path, str]]:
    for path in list_files():
        if path.suffix in (".py", ".md") and path.parts[0] in ("src", "docs", "README.md"):
            for match in TOLD.finditer((ROOT / path).read_text(encoding="utf-8")):
                yield path, match["words"]


def test_commands_that_are_told_exist() -> None:
    commands = list_commands()
    groups = {command.split()[0] for command in commands if " " in command}
    wrong = set()
    for path, words in list_told():
        name = words.split()[0]
        # What follows the name of a command that is no group is its argument.
        if (words if name in groups else name) not in commands:
            wrong.add(f"{path}: chainstrata {words}")
    assert sorted(wrong) == []
