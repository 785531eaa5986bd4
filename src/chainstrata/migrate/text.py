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


_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[()]|\bAND\b|\bOR\b""")


def flatten(text: str) -> str:
    """Return a condition with `((a AND b) AND c)` as `(a AND b AND c)`, and OR alike.

    PostgreSQL prints what it parsed, and parses what it printed a little flatter: `BETWEEN` beside another condition is such
    a case. Two texts of one condition are equal once both are flat.
    """
    flat, _, _ = _flatten(text, 0)
    return flat


def _flatten(text: str, position: int) -> tuple[str, set[str], int]:
    """Return a flat text up to the parenthesis that closes it, the connectives at its top, and where it ended."""
    pieces: list[tuple[str, set[str]]] = []
    words: list[str] = []
    piece, inner = "", set[str]()
    while True:
        found = _TOKEN.search(text, position)
        piece += text[position : found.start() if found else len(text)]
        if found is None or found[0] == ")":
            pieces.append((piece, inner))
            break
        position = found.end()
        if found[0] == "(":
            content, connectives, position = _flatten(text, position)
            alone = not piece.strip()
            piece, inner = f"{piece}({content})", connectives if alone else set()
        elif found[0] in ("AND", "OR"):
            pieces.append((piece, inner))
            words.append(found[0])
            piece, inner = "", set()
        else:
            piece, inner = piece + found[0], set()
    kinds = set(words)
    shown = [_unwrap(one) if len(kinds) == 1 and of == kinds else one for one, of in pieces]
    return _join(shown, words), kinds, found.end() if found else len(text)


def _unwrap(piece: str) -> str:
    """Return what a piece says without its parentheses, if they are all there is around it."""
    bare = piece.strip()
    if not (bare.startswith("(") and bare.endswith(")")):
        return piece
    return piece.replace(bare, bare[1:-1])


def _join(pieces: list[str], words: list[str]) -> str:
    joined = pieces[0]
    for word, piece in zip(words, pieces[1:], strict=True):
        joined += word + piece
    return joined
