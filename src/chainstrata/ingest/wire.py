"""What the columns of a table are made of, as the server says: the truth that binary COPY has to match."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from chainstrata.engines.postgres import load_queries
from chainstrata.engines.postgres.connection import Connection
from chainstrata.errors import UnknownName

QUERIES = load_queries(__package__)


@dataclass(frozen=True, slots=True)
class WireType:
    """A type as values of it travel. A domain travels as what it is over; `scale` is that of a NUMERIC that has one.

    `name` is the server's (`int8`, `timestamptz`), or `enum`, or `array` with its `element`; `oid` is what an array
    names as the type of its elements.
    """

    name: str
    oid: int = 0
    scale: int | None = None
    element: "WireType | None" = None


@dataclass(frozen=True, slots=True)
class WireColumn:
    """A column rows can be given for. One that is `identity` counts by itself when it is left out."""

    name: str
    type: WireType
    nullable: bool = True
    identity: bool = False
    default: bool = False


@dataclass(frozen=True, slots=True)
class WireTable:
    """A table and the columns that can be written to it, generated ones left out."""

    schema: str
    name: str
    columns: tuple[WireColumn, ...]

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"


async def describe_table(connection: Connection, schema: str, name: str) -> WireTable:
    """Return the columns of a table. Raises `UnknownName` when there is no such table."""
    rows = await connection.fetch_all(QUERIES["describe_columns"], {"schema": schema, "table": name})
    if not rows:
        raise UnknownName("table", f"{schema}.{name}")
    return WireTable(schema, name, tuple(fold_columns(rows)))


def fold_columns(rows: Iterable[Any]) -> Iterable[WireColumn]:
    """Yield a column for each run of rows of one attribute: its type, and what that is over or made of, level by level."""
    for _, levels in groupby(rows, key=lambda row: row.attnum):
        chain = list(levels)
        head = chain[0]
        yield WireColumn(head.attname, _fold(chain), nullable=not head.attnotnull, identity=head.identity, default=head.has_default)


def _fold(chain: Sequence[Any]) -> WireType:
    head, rest = chain[0], chain[1:]
    if head.typtype == "d":
        # An array of a domain names the domain, not what it is over, as the type of its elements.
        return replace(_fold(rest), oid=head.oid)
    if head.is_array:
        return WireType("array", head.oid, element=_fold(rest))
    if head.typtype == "e":
        return WireType("enum", head.oid)
    # The modifier of NUMERIC holds precision and scale, the latter in 11 bits with a sign.
    scale = ((head.typmod - 4) & 0x7FF ^ 1024) - 1024 if head.typname == "numeric" and head.typmod >= 4 else None
    return WireType(head.typname, head.oid, scale)
