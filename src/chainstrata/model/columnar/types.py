"""The columnar type, and the way it is compressed, for every type a PostgreSQL column is declared with.

Nothing is rounded: a number that no decimal of the engine holds for sure stays text. What a column may hold beyond its type (an
infinite time, a price with more than 38 digits on either side) is refused by whoever writes it, by name, never bent.
"""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

UNBOUNDED: Final = "Decimal(76, 38)"
"""For a number without declared precision: 38 digits on either side of the point."""
PLAIN: Final = "ZSTD(1)"
NUMBER: Final = "T64, ZSTD(1)"
MOMENT: Final = "DoubleDelta, ZSTD(1)"
_UINT64_DIGITS: Final = 20
_UINT256_DIGITS: Final = 78
_MOST_DIGITS: Final = 76


def columnar_type(column: "sa.Column[Any]") -> str:
    """Return the columnar type of a column, Nullable where it may be empty."""
    inner = type_of(column.type)
    if inner == UNBOUNDED and column.computed is not None:
        # A product of numbers has more digits than any of them, and nobody could give it fewer.
        inner = "String"
    if not column.nullable:
        return inner
    if inner.startswith("Array("):
        # The engine has no list that is absent; as text an absent one stays another than an empty one.
        return "Nullable(String)"
    if inner.startswith("LowCardinality("):
        return f"LowCardinality(Nullable({inner.removeprefix('LowCardinality(')})"
    return f"Nullable({inner})"


def type_of(kind: Any) -> str:
    """Return the columnar type of a SQL type."""
    if isinstance(kind, pg.DOMAIN):
        digits = getattr(kind.data_type, "precision", None)
        if digits == _UINT64_DIGITS:
            return "UInt64"
        return "UInt256" if digits == _UINT256_DIGITS else type_of(kind.data_type)
    if isinstance(kind, sa.ARRAY | pg.ARRAY):
        inner = type_of(kind.item_type)
        return f"Array({inner})"
    if isinstance(kind, sa.Float):
        return "Float64"
    if isinstance(kind, sa.Numeric):
        return _decimal(kind.precision, kind.scale)
    # The narrower first: an enum is text too, a small integer an integer.
    for sql_type, name in _TYPES:
        if isinstance(kind, sql_type):
            return name
    return "String"


_TYPES: Final[tuple[tuple[Any, str], ...]] = (
    (sa.SmallInteger, "Int16"),
    (sa.BigInteger, "Int64"),
    (sa.Integer, "Int32"),
    (sa.Boolean, "Bool"),
    (sa.Uuid, "UUID"),
    (sa.Enum, "LowCardinality(String)"),
    (sa.Date, "Date32"),
    (sa.DateTime, "DateTime64(6, 'UTC')"),
)


def _decimal(precision: int | None, scale: int | None) -> str:
    if precision is None:
        return UNBOUNDED
    return f"Decimal({precision}, {scale or 0})" if precision <= _MOST_DIGITS else "String"


def codec_of(columnar: str) -> str:
    """Return how a column of that type is compressed unless its declaration says otherwise."""
    inner = columnar.removeprefix("Nullable(").removesuffix(")") if columnar.startswith("Nullable(") else columnar
    if inner.startswith("DateTime64"):
        return MOMENT
    if inner in ("Int16", "Int32", "Int64", "UInt64", "Date32"):
        return NUMBER
    return PLAIN
