"""SQL as text: names, literals, composition, and just enough reading to take a list apart."""

import re
from typing import Any, Final, LiteralString, cast

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import postgresql as pg

DIALECT: Final[sa.Dialect] = pg.dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
# A dialect that never met a server takes backslashes for escapes, which they are not since PostgreSQL 9.1.
DIALECT._backslash_escapes = False  # type: ignore[attr-defined]  # noqa: SLF001  # there is no public name for it
_PREPARER: Final = DIALECT.identifier_preparer


def compose(text: LiteralString, *parts: sql.Composable, **named: sql.Composable) -> str:
    """Return a statement with its `{}` filled in."""
    return sql.SQL(text).format(*parts, **named).as_string()


def name(*parts: str) -> sql.SQL:
    """Return a name, quoted where it must be. A full name may be given as one part: `relay.packets`."""
    return raw(".".join(_PREPARER.quote(piece) for part in parts for piece in part.split(".")))


def raw(text: Any) -> sql.SQL:
    """Return SQL that somebody declared or PostgreSQL itself wrote: a condition, a type, a query."""
    return sql.SQL(cast(LiteralString, text))


def literal(value: str) -> sql.SQL:
    """Return a text as an SQL literal."""
    return raw("'" + value.replace("'", "''") + "'")


def names(values: "list[str] | tuple[str, ...]") -> sql.Composed:
    return sql.SQL(", ").join(name(value) for value in values)


def literals(values: "list[str] | tuple[str, ...]") -> sql.Composed:
    return sql.SQL(", ").join(literal(value) for value in values)


_SKIP = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[(\[]|[)\]]|,""")


def split_list(text: str) -> tuple[list[str], str]:
    """Return the parts of the parenthesized list a text opens with, and the rest of the text."""
    parts: list[str] = []
    depth, start = 0, 0
    for found in _SKIP.finditer(text):
        mark = found[0]
        if mark in "([":
            depth += 1
            start = found.end() if depth == 1 else start
        elif mark in ")]":
            depth -= 1
            if depth == 0:
                parts.append(text[start : found.start()].strip())
                return parts, text[found.end() :].strip()
        elif mark == "," and depth == 1:
            parts.append(text[start : found.start()].strip())
            start = found.end()
    raise ValueError(f"no list at the start of {text!r}")
