"""Rows as the Arrow columns the engine takes without bending a value.

The engine would cut digits that do not fit a decimal off silently, so decimals are made here, where what does not fit is refused.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pyarrow as pa

from chainstrata.engines.clickhouse.errors import ColumnarBadValue

_UINT256_BYTES: Final = 32
_MOST_128: Final = 38
_PLAIN: Final[dict[str, Any]] = {
    "Bool": pa.bool_(),
    "Int8": pa.int8(),
    "Int16": pa.int16(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "UInt8": pa.uint8(),
    "UInt16": pa.uint16(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    "Float64": pa.float64(),
    "String": pa.string(),
    "UUID": pa.binary(16),
    "UInt256": pa.binary(_UINT256_BYTES),
    "Date32": pa.date32(),
    "Date": pa.date32(),
}


def arrow_type(columnar: str) -> Any:
    """Return the Arrow type that goes into a column of that type whole."""
    inner = plain_type(columnar)
    if inner in _PLAIN:
        return _PLAIN[inner]
    if inner.startswith("DateTime64("):
        return pa.timestamp("us", "UTC")
    if inner.startswith("DateTime"):
        return pa.timestamp("s", "UTC")
    if inner.startswith("Decimal("):
        precision, scale = (int(part) for part in inner[8:-1].split(","))
        return pa.decimal128(precision, scale) if precision <= _MOST_128 else pa.decimal256(precision, scale)
    if inner.startswith("Array("):
        return pa.list_(arrow_type(inner[6:-1]))
    if inner.startswith(("Enum8(", "Enum16(", "FixedString(")):
        return pa.string()
    raise ColumnarBadValue(f"no rows can be made for a column of type {columnar}")


def plain_type(columnar: str) -> str:
    """Return a type without what only says that it may be empty, or how it is stored."""
    for outer in ("LowCardinality(", "Nullable("):
        if columnar.startswith(outer):
            columnar = columnar[len(outer) : -1]
    return columnar


def arrow_rows(columns: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return rows as an Arrow table; `columns` are names with columnar types. Raises `ColumnarBadValue` naming the column."""
    return pa.table({name: arrow_column(name, kind, [row[name] for row in rows]) for name, kind in columns})


def arrow_column(name: str, kind: str, values: Sequence[Any]) -> Any:
    """Return values of Python as one Arrow column."""
    target = arrow_type(kind)
    try:
        return pa.array(_prepared(plain_type(kind), values), target)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise ColumnarBadValue(f"{name}: {kind} cannot hold it: {str(error).splitlines()[0]}") from error


def _prepared(kind: str, values: Sequence[Any]) -> Sequence[Any]:
    if kind == "UInt256":
        return [None if value is None else int(value).to_bytes(_UINT256_BYTES, "little") for value in values]
    if kind == "UUID":
        return [None if value is None else (value if isinstance(value, UUID) else UUID(value)).bytes for value in values]
    if kind.startswith("Decimal("):
        return [None if value is None else _finite(value) for value in values]
    if kind.startswith("Array("):
        return [None if value is None else _prepared(kind[6:-1], value) for value in values]
    return values


def _finite(value: Any) -> Decimal:
    if isinstance(value, float):
        raise TypeError("a float is not exact")
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError(f"{number} is not a number")
    return number
