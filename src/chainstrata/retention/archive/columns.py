"""How a column of PostgreSQL stands in Parquet: which type, which encoding, and what can be checked about it.

Exact or not at all. A number becomes a decimal wide enough for every value of the file; what no Parquet decimal holds
(more than 76 digits, NaN) stands as its text. So does everything without an exact twin: intervals, arrays, JSON, ranges.
The encoding of every column is in the manifest, and the text is what PostgreSQL itself prints and reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa

WIDEST: Final = 76
"""Digits a Parquet decimal may have as Arrow writes it."""
_USUAL_DIGITS, _USUAL_SCALE = 38, 18
_MICROSECONDS: Final = "us"


class Encoding(StrEnum):
    """How values stand in the file. `TEXT` is PostgreSQL's own text of the value."""

    NATIVE = "native"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column as the catalog has it, a domain as its base type. `digits` and `scale` are of NUMERIC(digits, scale), else None."""

    name: str
    position: int
    type: str
    declared: str
    digits: int | None
    scale: int | None
    generated: bool


@dataclass(frozen=True, slots=True)
class Profile:
    """What the values of a column ask for: most digits before and after the point, and whether each has a native form."""

    whole_digits: int = 0
    scale: int = 0
    plain: bool = True


@dataclass(frozen=True, slots=True)
class ArchivedColumn:
    """A column as it stands in a file."""

    source: SourceColumn
    encoding: Encoding
    arrow: pa.DataType

    @property
    def field(self) -> pa.Field:
        return pa.field(self.source.name, self.arrow)


_INTEGERS: Final[Mapping[str, pa.DataType]] = {"int2": pa.int16(), "int4": pa.int32(), "int8": pa.int64()}
_NATIVE: Final[Mapping[str, pa.DataType]] = {
    **_INTEGERS,
    "bool": pa.bool_(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp(_MICROSECONDS),
    "timestamptz": pa.timestamp(_MICROSECONDS, tz="UTC"),
}


def fit(source: SourceColumn, profile: Profile) -> ArchivedColumn:
    """Return how a column with these values stands in a file."""
    if source.type == "numeric":
        decimal = _decimal(source, profile)
        return ArchivedColumn(source, Encoding.TEXT if decimal is None else Encoding.NATIVE, decimal or pa.string())
    native = _NATIVE.get(source.type)
    if native is None or not profile.plain:
        return ArchivedColumn(source, Encoding.TEXT, pa.string())
    return ArchivedColumn(source, Encoding.NATIVE, native)


def _decimal(source: SourceColumn, profile: Profile) -> pa.DataType | None:
    """Return the decimal type that holds every value exactly, or None.

    A declared precision decides alone, so that all files of a dataset agree. Without one the usual type is taken where it
    does, so that they mostly agree.
    """
    if not profile.plain:
        return None
    if source.digits is not None:
        scale = source.scale or 0
        return _of(source.digits, scale) if 0 <= scale <= source.digits <= WIDEST else None
    if profile.scale <= _USUAL_SCALE and profile.whole_digits + _USUAL_SCALE <= _USUAL_DIGITS:
        return pa.decimal128(_USUAL_DIGITS, _USUAL_SCALE)
    if profile.whole_digits + profile.scale <= _USUAL_DIGITS:
        return pa.decimal128(_USUAL_DIGITS, profile.scale)
    if profile.whole_digits + profile.scale <= WIDEST:
        return pa.decimal256(WIDEST, profile.scale)
    return None


def _of(digits: int, scale: int) -> pa.DataType:
    return pa.decimal128(digits, scale) if digits <= _USUAL_DIGITS else pa.decimal256(digits, scale)


def describe(column: ArchivedColumn) -> dict[str, Any]:
    """Return what the manifest says about a column's form."""
    return {
        "name": column.source.name,
        "type": column.source.declared,
        "base_type": column.source.type,
        "digits": column.source.digits,
        "scale": column.source.scale,
        "generated": column.source.generated,
        "encoding": column.encoding.value,
        "parquet": str(column.arrow),
    }
