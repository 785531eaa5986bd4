"""The page of commands, from the command line itself."""

import inspect
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer.main

from chainstrata.cli.command import GLOBAL
from chainstrata.cli.tree import build
from tools.docs.page import Page, table

INTRODUCTION = """# Commands

`chainstrata` parses, calls one public function and shows what it returned. Answers go to stdout, progress and notes to stderr; `--json`
answers with one JSON document, whose fields are a contract. An error is a message and a hint on stderr and exit code 1; a call that
cannot be understood, or settings that do not fit, exit with 2, an interrupt with 130."""


def pages() -> Iterable[Page]:
    """Yield the page."""
    root: Any = typer.main.get_command(build())
    commands = list(_walk(root, "chainstrata"))
    shared = _options(commands[0][1], shared=True)
    parts = [
        INTRODUCTION,
        "## Flags of every command",
        table(("flag", "what it does"), [*shared, ("`--help`", "Show what the command takes.")]),
        "Every [setting](settings.md) is a flag too.",
    ]
    for path, command in commands:
        parts.append(f"## {path}")
        parts.append(_paragraphs(command.help or ""))
        parts.append(f"```\n{path}{_usage(command)}\n```")
        rows = [*_arguments(command), *_options(command, shared=False)]
        if rows:
            parts.append(table(("argument or flag", "what it does"), rows))
    yield Page("reference/commands.md", "\n\n".join(parts))


def _walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name in sorted(getattr(command, "commands", {})):
        below = command.commands[name]
        if below.hidden:
            continue
        if hasattr(below, "commands"):
            yield from _walk(below, f"{path} {name}")
        else:
            yield f"{path} {name}", below


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


def _usage(command: Any) -> str:
    words = [_name(parameter) if parameter.required else f"[{_name(parameter)}]" for parameter in _given(command)]
    return " ".join(["", *words, "[flags]"])


def _name(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _given(command: Any) -> list[Any]:
    return [parameter for parameter in command.params if parameter.param_type_name == "argument"]


def _arguments(command: Any) -> Iterator[tuple[str, str]]:
    for parameter in _given(command):
        yield f"`{_name(parameter)}`", parameter.help or ""


def _options(command: Any, *, shared: bool) -> Iterator[tuple[str, str]]:
    for parameter in command.params:
        is_shared = getattr(parameter, "rich_help_panel", None) == GLOBAL
        if parameter.param_type_name == "option" and is_shared == shared and parameter.name != "help" and not parameter.hidden:
            names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
            takes = "" if parameter.is_flag else f" `{parameter.metavar or _values(parameter)}`"
            yield names + takes, (parameter.help or "") + _default(parameter)


def _values(parameter: Any) -> str:
    kind = parameter.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(member.value) for member in kind)
    return {int: "NUMBER", float: "NUMBER", Path: "PATH"}.get(kind, "TEXT")


def _default(parameter: Any) -> str:
    value = getattr(parameter.default, "value", parameter.default)
    if parameter.is_flag or value in (None, "", ()) or callable(value) or "Default" in (parameter.help or ""):
        return ""
    return f" Default: {value}."
