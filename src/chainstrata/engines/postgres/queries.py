"""Named queries: SQL kept in a `queries.sql` beside the code that runs it.

    -- list_expired
    -- Partitions wholly older than the cutoff, oldest first.
    SELECT name FROM strata.partition WHERE upper_bound <= %(cutoff)s ORDER BY upper_bound;

The first comment line of a block is the name, the others say what the query answers, then comes one statement that ends
with a semicolon. A file that breaks this, or names two queries alike, is refused when it is loaded.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from psycopg.sql import SQL, Composed, Literal

from chainstrata.engines.postgres.errors import QueryFileError
from chainstrata.errors import UnknownName

QUERY_FILE = "queries.sql"

_NAME = re.compile(r"--\s*([a-z][a-z0-9_]*)\s*$")
_COMMENT = re.compile(r"--\s?(.*)$")
# What a semicolon may hide in: comments, quoted text and names, dollar quotes.
_TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?\*/|(?<!\w)[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$[A-Za-z_]*\$).*?\1|(?P<end>;)""",
    re.DOTALL,
)
_PLACEHOLDER = re.compile(r"%%|%\((\w+)\)[sbt]")


@dataclass(frozen=True, slots=True)
class Query:
    """One named statement. `parameters` are its `%(name)s` placeholders, in order of first use."""

    name: str
    description: str
    sql: str
    parameters: tuple[str, ...] = ()

    def with_values(self, **values: object) -> Composed:
        """Return the statement with its values written into it, for a message that has no parameters."""
        text = self.sql.replace("{", "{{").replace("}", "}}")
        pattern = _PLACEHOLDER.sub(lambda found: f"{{{found[1]}}}" if found[1] else "%", text)
        literals = {name: Literal(value) for name, value in values.items()}
        return SQL(pattern).format(**literals)  # pyright: ignore[reportArgumentType]  # of a file of ours


class Queries(Mapping[str, Query]):
    """The queries of one file, by name: `queries["list_expired"]` or `queries.list_expired`."""

    def __init__(self, source: str, queries: Mapping[str, Query]) -> None:
        self.source = source
        self._queries = dict(queries)

    def __getitem__(self, name: str) -> Query:
        try:
            return self._queries[name]
        except KeyError:
            raise UnknownName(f"query of {self.source}", name, list(self._queries)) from None

    def __getattr__(self, name: str) -> Query:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._queries

    def __iter__(self) -> Iterator[str]:
        return iter(self._queries)

    def __len__(self) -> int:
        return len(self._queries)


@cache
def load_queries(package: str, file: str = QUERY_FILE) -> Queries:
    """Return the queries of a package's file; raise `QueryFileError` naming file and line."""
    source = f"{package.replace('.', '/')}/{file}"
    try:
        text = files(package).joinpath(file).read_text(encoding="utf-8")
    except (FileNotFoundError, ModuleNotFoundError) as error:
        raise QueryFileError(source, 0, f"cannot be read: {error}") from error
    return Queries(source, parse_queries(text, source))


def parse_queries(text: str, source: str = QUERY_FILE) -> dict[str, Query]:
    """Return the queries of a file's text, by name."""
    found: dict[str, Query] = {}
    for line, block in _blocks(text, source):
        query = _parse_block(block, line, source)
        if query.name in found:
            raise QueryFileError(source, line, f"query {query.name!r} is named twice")
        found[query.name] = query
    return found


def _blocks(text: str, source: str) -> Iterator[tuple[int, str]]:
    """Yield every statement with the comments above it, and the line it starts on."""
    start = 0
    for token in _TOKEN.finditer(text):
        if token["end"]:
            yield _located(text, start, token.end())
            start = token.end()
    rest = _TOKEN.sub(lambda token: "" if token[0].startswith(("--", "/*")) else token[0], text[start:])
    if rest.strip():
        line, _ = _located(text, start, len(text))
        raise QueryFileError(source, line, "the last statement does not end with `;`")
    if text[start:].strip():
        line, _ = _located(text, start, len(text))
        raise QueryFileError(source, line, "comments without a statement at the end of the file")


def _located(text: str, start: int, end: int) -> tuple[int, str]:
    block = text[start:end]
    body = block.lstrip()
    return text.count("\n", 0, start + len(block) - len(body)) + 1, body


def _parse_block(block: str, line: int, source: str) -> Query:
    lines = block.split("\n")
    name = _NAME.match(lines[0].rstrip())
    if name is None:
        problem = (
            "a second statement under one name" if not lines[0].startswith("--") else "the first comment line must be the query's name"
        )
        raise QueryFileError(source, line, problem)
    description: list[str] = []
    rest = 1
    while rest < len(lines) and (comment := _COMMENT.match(lines[rest].strip())):
        description.append(comment[1].strip())
        rest += 1
    if not any(description):
        raise QueryFileError(source, line, f"query {name[1]!r} has no description")
    sql = "\n".join(lines[rest:]).strip().removesuffix(";").rstrip()
    if not sql:
        raise QueryFileError(source, line, f"query {name[1]!r} has no statement")
    named = (placeholder[1] for placeholder in _PLACEHOLDER.finditer(sql) if placeholder[1])
    return Query(name[1], " ".join(part for part in description if part), sql, tuple(dict.fromkeys(named)))
