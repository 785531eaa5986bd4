"""What values of a column are, and what is made of each kind. Both who reads answers and who follows the log ask here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from chainstrata.engines.postgres.arrow import decode, numeric
from chainstrata.engines.postgres.arrow.decode import Column, Decoder, Field
from chainstrata.engines.postgres.arrow.errors import Malformed

WIDEST: Final = 76
"""Digits an Arrow decimal may have."""
_MODIFIER_HEAD: Final = 4


@dataclass(frozen=True, slots=True)
class Kind:
    """What values of a column are, by the type's name. `precision` and `scale` are those of a NUMERIC that has them."""

    name: str
    precision: int | None = None
    scale: int | None = None
    element: "Kind | None" = None

    def __str__(self) -> str:
        if self.element:
            return f"{self.element}[]"
        return f"{self.name}({self.precision},{self.scale})" if self.precision else self.name

    @property
    def bounded(self) -> bool:
        """Whether it is a NUMERIC of which a decimal holds every value."""
        return self.precision is not None and 0 < self.precision <= WIDEST and 0 <= (self.scale or 0) <= self.precision


def numeric_kind(modifier: int) -> Kind:
    """Return NUMERIC with the precision and scale of a type modifier, if it has any. The scale is a signed number of 11 bits."""
    if modifier < _MODIFIER_HEAD:
        return Kind("numeric")
    packed = modifier - _MODIFIER_HEAD
    return Kind("numeric", packed >> 16 & 0xFFFF, (packed & 0x7FF ^ 1024) - 1024)


@dataclass(frozen=True, slots=True)
class _Native:
    arrow: Any
    decode: Decoder


def _fixed(wire: str, kind: Any) -> _Native:
    return _Native(kind, decode.fixed(wire, kind))


def _instant(kind: Any) -> _Native:
    return _Native(kind, decode.counted(">i8", kind, decode.EPOCH_MICROSECONDS))


_TEXT: Final = _Native(pa.string(), decode.text)
_NATIVE: Final[Mapping[str, _Native]] = {
    "bool": _Native(pa.bool_(), decode.boolean),
    "int2": _fixed(">i2", pa.int16()),
    "int4": _fixed(">i4", pa.int32()),
    "int8": _fixed(">i8", pa.int64()),
    "oid": _fixed(">u4", pa.uint32()),
    "float4": _fixed(">f4", pa.float32()),
    "float8": _fixed(">f8", pa.float64()),
    "text": _TEXT,
    "varchar": _TEXT,
    "bpchar": _TEXT,
    "name": _TEXT,
    "enum": _TEXT,
    "json": _TEXT,
    "jsonb": _Native(pa.string(), decode.jsonb),
    "bytea": _Native(pa.binary(), decode.binary),
    "uuid": _Native(pa.binary(16), decode.uuid),
    "timestamptz": _instant(pa.timestamp("us", tz="UTC")),
    "timestamp": _instant(pa.timestamp("us")),
    "date": _Native(pa.date32(), decode.counted(">i4", pa.date32(), decode.EPOCH_DAYS)),
    "time": _fixed(">i8", pa.time64("us")),
    "interval": _Native(pa.month_day_nano_interval(), decode.interval),
    "numeric": _Native(pa.string(), numeric.text),
}
NAMES: Final = frozenset(_NATIVE)


def arrow_type(kind: Kind) -> Any:
    """Return the Arrow type that values of this kind become."""
    return _native(kind).arrow


def convert(field: Field, kind: Kind) -> Column:
    """Return a column as Arrow, in the type that holds all its values exactly."""
    # A type without a binary form of its own is sent as text.
    if field.printed:
        raise Malformed(f"a value of type {kind} came as text")
    return _native(kind).decode(field)


def _native(kind: Kind) -> _Native:
    if kind.element is not None:
        element = _native(kind.element)
        return _Native(pa.list_(element.arrow), decode.array(element.decode))
    if kind.name == "numeric" and kind.bounded:
        exact = numeric.decimal_type(kind.precision or 0, kind.scale or 0)
        return _Native(exact, numeric.decimal(exact))
    return _NATIVE[kind.name]
