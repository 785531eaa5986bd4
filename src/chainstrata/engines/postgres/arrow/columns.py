"""Which Arrow type a column of an answer becomes, how its bytes are taken apart, and what the server must send as text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from chainstrata.engines.postgres.arrow import decode
from chainstrata.engines.postgres.arrow.decode import Block, Field

WIDEST: Final = 76
"""Digits an Arrow decimal may have."""
_NARROW: Final = 38
Decimals = Mapping[str, tuple[int, int]]
Decoder = Callable[[Block, Field], Any]


@dataclass(frozen=True, slots=True)
class Described:
    """A column as the server describes it. A domain is described as its base type. `label` says that values are words of an enum."""

    name: str
    oid: int
    modifier: int
    label: bool = False


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of the answer: its Arrow field, and what makes values of the bytes. `cast` says that the server sends its text."""

    field: Any
    decode: Decoder
    cast: bool = False


@dataclass(frozen=True, slots=True)
class _Native:
    arrow: Any
    decode: Decoder


_INSTANT: Final = pa.timestamp("us", tz="UTC")
_TEXT: Final = _Native(pa.string(), decode.text)
_NUMERIC_OID: Final = 1700
_NATIVE: Final[Mapping[int, _Native]] = {
    16: _Native(pa.bool_(), decode.boolean),
    17: _Native(pa.binary(), decode.binary),
    18: _TEXT,
    19: _TEXT,
    20: _Native(pa.int64(), decode.fixed(">i8", pa.int64())),
    21: _Native(pa.int16(), decode.fixed(">i2", pa.int16())),
    23: _Native(pa.int32(), decode.fixed(">i4", pa.int32())),
    25: _TEXT,
    26: _Native(pa.uint32(), decode.fixed(">u4", pa.uint32())),
    114: _TEXT,
    700: _Native(pa.float32(), decode.fixed(">f4", pa.float32())),
    701: _Native(pa.float64(), decode.fixed(">f8", pa.float64())),
    1042: _TEXT,
    1043: _TEXT,
    1082: _Native(pa.date32(), decode.date),
    1083: _Native(pa.time64("us"), decode.fixed(">i8", pa.time64("us"))),
    1114: _Native(pa.timestamp("us"), decode.instant(pa.timestamp("us"))),
    1184: _Native(_INSTANT, decode.instant(_INSTANT)),
    1186: _Native(pa.month_day_nano_interval(), decode.interval),
    2950: _Native(pa.string(), decode.uuid),
    3802: _Native(pa.string(), decode.jsonb),
}
_LISTS: Final[Mapping[int, int]] = {1000: 16, 1005: 21, 1007: 23, 1016: 20, 1009: 25, 1015: 1043, 1022: 701, 1115: 1114, 1185: 1184}
"""Arrays whose elements are read as such, by the element's type. Others come as the server's text."""


def resolve(described: Sequence[Described], decimals: Decimals) -> list[ResultColumn]:
    """Return what each column becomes. `decimals` gives precision and scale for columns of NUMERIC that declare none."""
    return [_resolve(one, decimals) for one in described]


def _resolve(one: Described, decimals: Decimals) -> ResultColumn:
    if one.oid == _NUMERIC_OID:
        return _numeric(one, decimals.get(one.name))
    element = _LISTS.get(one.oid)
    if element is not None:
        native = _NATIVE[element]
        return ResultColumn(pa.field(one.name, pa.list_(native.arrow)), decode.array(native.arrow, native.decode))
    native = _TEXT if one.label else _NATIVE.get(one.oid, _TEXT)
    return ResultColumn(pa.field(one.name, native.arrow), native.decode, cast=not one.label and one.oid not in _NATIVE)


def _numeric(one: Described, wanted: tuple[int, int] | None) -> ResultColumn:
    digits, scale = wanted or _declared(one.modifier)
    if not 0 < digits <= WIDEST or not 0 <= scale <= digits:
        return ResultColumn(pa.field(one.name, pa.string(), metadata={"postgres": "numeric"}), decode.text, cast=True)
    kind = decimal_type(digits, scale)
    return ResultColumn(pa.field(one.name, kind), decode.decimal(one.name, kind), cast=True)


def decimal_type(digits: int, scale: int) -> Any:
    """Return the narrower decimal type of that many digits."""
    return pa.decimal128(digits, scale) if digits <= _NARROW else pa.decimal256(digits, scale)


def _declared(modifier: int) -> tuple[int, int]:
    """Return precision and scale of NUMERIC(p, s), or zeros. The scale is a signed number of 11 bits."""
    if modifier < 4:
        return 0, 0
    packed = modifier - 4
    scale = packed & 0x7FF
    return packed >> 16 & 0xFFFF, scale - 0x800 if scale & 0x400 else scale


def is_free(field: Any) -> bool:
    """Whether a column is a NUMERIC that came as text because its declaration sets no precision."""
    return bool(field.metadata and field.metadata.get(b"postgres") == b"numeric")


def fit(values: Any) -> Any:
    """Return numbers that came as text as decimals that hold every one of them exactly; as they are where no decimal does."""
    if not len(values):
        return values
    whole, scale, plain = decode.measure_digits(values)
    if not plain or whole + scale > WIDEST:
        return values
    # The usual shape where it does, so that answers mostly agree in their types.
    usual = (_NARROW, 18) if whole <= _NARROW - 18 and scale <= 18 else (_NARROW if whole + scale <= _NARROW else WIDEST, scale)
    return values.cast(decimal_type(*usual))
