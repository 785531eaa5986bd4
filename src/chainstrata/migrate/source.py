"""Python source of a revision: calls, written so that a formatter has nothing left to do."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

WIDTH = 140


@dataclass(frozen=True, slots=True)
class Call:
    """A call such as `op.drop_table("packets", schema="relay")`. Keyword arguments that are None are left out."""

    function: str
    arguments: tuple["Value", ...] = ()
    keywords: Mapping[str, "Value"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """SQL over several lines."""

    text: str


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment on a line of its own."""

    text: str


Value: TypeAlias = "Call | Block | str | bool | int | float | Sequence[Value] | Mapping[str, Value] | None"
Line: TypeAlias = Call | Remark


def call(function: str, *arguments: Value, **keywords: Value) -> Call:
    return Call(function, arguments, {key: value for key, value in keywords.items() if value is not None})


def write_line(line: Line, indent: int = 4) -> str:
    """Return a statement as it stands in a function body."""
    if isinstance(line, Remark):
        return " " * indent + "# " + line.text
    return " " * indent + _write(line, indent)


def _write(value: Value, indent: int, reserved: int = 0) -> str:
    """Return a value; `reserved` is what else has to fit on its first line."""
    flat = _flat(value)
    if flat is not None and len(flat) + indent + reserved <= WIDTH:
        return flat
    if isinstance(value, Call):
        parts = [_write(item, indent + 4, 1) for item in value.arguments]
        parts += [f"{key}={_write(item, indent + 4, len(key) + 2)}" for key, item in value.keywords.items()]
        return _spread(f"{value.function}(", parts, ")", indent)
    if isinstance(value, Block):
        return _block(value.text)
    if isinstance(value, Mapping):
        parts = [f"{quote(key)}: {_write(item, indent + 4, len(key) + 5)}" for key, item in value.items()]
        return _spread("{", parts, "}", indent)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _spread("[", [_write(item, indent + 4, 1) for item in value], "]", indent)
    return flat or ""


def _spread(opening: str, parts: Sequence[str], closing: str, indent: int) -> str:
    inner = " " * (indent + 4)
    return "\n".join([opening, *(f"{inner}{part}," for part in parts), " " * indent + closing])


def _flat(value: Value) -> str | None:
    """Return a value on one line, or None if it cannot be."""
    if isinstance(value, Block):
        return None
    if isinstance(value, Call):
        parts = [_flat(item) for item in value.arguments]
        parts += [None if (text := _flat(item)) is None else f"{key}={text}" for key, item in value.keywords.items()]
        return _joined(f"{value.function}(", parts, ")")
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Mapping):
        return _joined("{", [None if (text := _flat(item)) is None else f"{quote(key)}: {text}" for key, item in value.items()], "}")
    if isinstance(value, Sequence):
        return _joined("[", [_flat(item) for item in value], "]")
    return repr(value)


def _joined(opening: str, parts: Sequence[str | None], closing: str) -> str | None:
    known = [part for part in parts if part is not None]
    return f"{opening}{', '.join(known)}{closing}" if len(known) == len(parts) else None


def quote(text: str) -> str:
    """Return a text as Python, in double quotes unless that would need escapes."""
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    if '"' in text and "'" not in text:
        return f"'{escaped}'"
    return '"' + escaped.replace('"', '\\"') + '"'


def _block(text: str) -> str:
    body = text.strip("\n")
    plain = '"""' not in body and not body.endswith('"')
    if "\\" in body and plain:
        return f'r"""\n{body}\n"""'
    if not plain:
        body = body.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        body = body[:-1] + '\\"' if body.endswith('"') else body
    return f'"""\n{body}\n"""'


# What SQLAlchemy itself takes for a parameter.
_BIND = re.compile(r"(?<![:\w\\]):(\w+)(?![:\w])")


def sql_text(text: str) -> str:
    r"""Return SQL for SQLAlchemy's `text()`, which would take `:name` for a parameter."""
    return _BIND.sub(r"\\:\1", text)


@dataclass(frozen=True, slots=True)
class RevisionText:
    """What a revision's file says."""

    revision: str
    message: str
    pack: str
    down_revision: str | None
    depends_on: tuple[str, ...]
    transactional: bool
    upgrade: Sequence[Line]
    downgrade: Sequence[Line]


def write_revision(revision: RevisionText) -> str:
    """Return the whole file."""
    functions = "\n\n\n".join(_function(name, lines) for name, lines in (("upgrade", revision.upgrade), ("downgrade", revision.downgrade)))
    uses = [name for name in ("op", "pgtype") if re.search(rf"\b{name}\b", functions)]
    imports = ["import sqlalchemy as sa\n"] if re.search(r"\bsa\.", functions) else []
    imports += [f"from chainstrata.migrate import {', '.join(uses)}"] if uses else []
    first = revision.down_revision is None
    header = [
        f'"""{_sentence(revision.message)}"""',
        "",
        *("\n".join(imports).split("\n") if imports else []),
        *([""] if imports else []),
        f"revision = {quote(revision.revision)}",
        f"down_revision = {quote(revision.down_revision) if revision.down_revision else None}",
        f"branch_labels = {_names((revision.pack,)) if first else None}",
        f"depends_on = {_names(revision.depends_on) if revision.depends_on else None}",
        *([] if revision.transactional else ["transactional = False  # each operation is a step of its own, done at most once"]),
    ]
    return "\n".join(header) + "\n\n\n" + functions + "\n"


def _names(values: Sequence[str]) -> str:
    return "(" + ", ".join(map(quote, values)) + ("," if len(values) == 1 else "") + ")"


def _sentence(text: str) -> str:
    text = text.strip().replace('"""', "'''")
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def _function(name: str, lines: Sequence[Line]) -> str:
    body = "\n".join(write_line(line) for line in lines) or "    pass"
    return f"def {name}() -> None:\n{body}"
