"""A statement without its values: for logs and statistics, where parameters must never appear.

Literals become `?`, lists of them one `?`, comments go and white space collapses, so statements that differ only in their
values look alike and share a fingerprint. A literal that cannot be told apart for certain is taken out: better a word too
few in a log than a secret.
"""

import hashlib
import re
from functools import lru_cache
from typing import Final

_LEXEMES: Final = re.compile(
    r"""
      (?P<comment>--[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/|\Z))
    | (?P<escaped>(?<!\w)[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z))
    | (?P<text>(?:(?<!\w)(?:[bBxXnN]|[uU]&))?'(?:[^']|'')*(?:'|\Z))
    | (?P<dollar>\$\$.*?(?:\$\$|\Z) | \$(?P<tag>[A-Za-z_]\w*)\$.*?(?:\$(?P=tag)\$|\Z))
    | (?P<name>"(?:[^"]|"")*(?:"|\Z))
    | (?P<placeholder>%\(\w+\)[sbt]|%[sbt]|\$\d+)
    | (?P<number>(?<![\w."])[+-]?(?:0[xXoObB][0-9A-Fa-f_]+|\d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?))
    """,
    re.VERBOSE | re.DOTALL,
)
_SPACE: Final = re.compile(r"\s+")
_LIST: Final = re.compile(r"\(\s*\?(?:\s*,\s*\?)+\s*\)")
_ROWS: Final = re.compile(r"(\(\?\))(?:\s*,\s*\(\?\))+")
_CAST: Final = re.compile(r"\?\s*::\s*")
_LENGTH: Final = 16


def _replace(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind == "comment":
        return " "
    if kind == "name":
        return match[0]
    return "?"


@lru_cache(maxsize=1024)
def normalise(sql: str) -> str:
    """Return the statement with every value and comment taken out."""
    text = _LEXEMES.sub(_replace, sql)
    text = _SPACE.sub(" ", text).strip().rstrip(";").rstrip()
    text = _CAST.sub("?::", text)
    return _ROWS.sub(r"\1", _LIST.sub("(?)", text))


@lru_cache(maxsize=1024)
def fingerprint(sql: str) -> str:
    """Return a short hash that statements differing only in their values share."""
    return hashlib.sha256(normalise(sql).lower().encode()).hexdigest()[:_LENGTH]
