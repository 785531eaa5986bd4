"""One column of Arrow values as the bytes PostgreSQL receives for it, a whole column at a time.

A type whose values have one width becomes `Fixed` numpy values; any other becomes `Varying` bytes with a length for each. NULLs have
no bytes in either. What the column's type cannot hold exactly is refused, never rounded, cut or wrapped around.
"""

import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa

from chainstrata.ingest import numeric
from chainstrata.ingest.arrow import pc
from chainstrata.ingest.expanding import plain
from chainstrata.ingest.record import Array, Field, Fixed, Varying, binary_array, join_fields
from chainstrata.ingest.wire import WireType

POSTGRES_EPOCH_DAYS: Final = 10957
POSTGRES_EPOCH_MICROSECONDS: Final = POSTGRES_EPOCH_DAYS * 86_400_000_000
FIRST_MICROSECOND, END_MICROSECOND = -211_813_488_000_000_000, 9_223_371_331_200_000_000
FIRST_DAY, END_DAY = -2_451_545, 2_145_031_949
"""What PostgreSQL keeps, counted from 2000-01-01."""
MANY_GROUPS: Final = 10
"""Numbers of more groups of digits than this are sent without their zeros, row by row."""


class Unfit(ValueError):
    """Values that the column's type cannot hold. The message says why."""


FieldEncoder = Callable[[Any], Field]


def encode_field(values: Any, kind: WireType) -> Field:
    """Return an Arrow array as what travels; raise `Unfit`, or `numeric.Inexact`, naming the first row that does not fit."""
    if isinstance(values, pa.ExtensionArray) and values.type.extension_name.startswith("pandas."):
        raise Unfit(f"{values.type.extension_name} has no type here; give text, times or numbers")
    values = plain(values)
    if len(values) and values.null_count == len(values):
        # Whatever type they have, they are no values of it.
        values = pa.nulls(len(values))
    if kind.name == "numeric":
        return _numeric(values, kind.scale)
    if kind.element is not None:
        return _array(values, kind.element)
    encoder = _ENCODERS.get(kind.name)
    if encoder is None:
        raise Unfit(f"columns of type {kind.name} cannot be written yet")
    return encoder(values)


def _cast(values: Any, kind: Any) -> Any:
    if values.type.equals(kind):
        return values
    try:
        return pc.cast(values, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if len(values) == 1 and _texty(values.type):
            raise Unfit(f"{values[0].as_py()[:60]!r} is not {_WANTED.get(kind.id, kind)}") from error
        raise Unfit(f"{values.type} does not fit: {str(error).splitlines()[0]}") from error


_WANTED: Final = {
    pa.timestamp("us").id: "a time as 2026-01-31T12:00:00Z, to the microsecond and with its zone where the column has one",
    pa.date32().id: "a day as 2026-01-31",
    pa.time64("us").id: "a time of day as 12:00:00",
    pa.bool_().id: "true or false",
    pa.int16().id: "a whole number of 16 bits",
    pa.int32().id: "a whole number of 32 bits",
    pa.int64().id: "a whole number of 64 bits",
    pa.uint32().id: "a whole number of 32 bits without a sign",
    pa.float32().id: "a number",
    pa.float64().id: "a number",
}


def _nulls(values: Any) -> Array | None:
    return values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None


def _numpy(values: Any, fill: Any) -> Array:
    """Return the values as numpy, `fill` where there are none."""
    filled = pc.fill_null(values, fill) if values.null_count else values
    array: Array = filled.to_numpy(zero_copy_only=False)
    return array


def _number(arrow: Any, wire: str) -> FieldEncoder:
    def encode(values: Any) -> Field:
        if pa.types.is_floating(values.type) and not pa.types.is_floating(arrow):
            raise Unfit(f"{values.type} is not exact; give whole numbers (pandas makes floats of integers with gaps: Int64 keeps them)")
        values = _cast(values, arrow)
        return Fixed(_numpy(values, 0).astype(wire), _nulls(values))

    return encode


def _boolean(values: Any) -> Field:
    if pa.types.is_floating(values.type):
        raise Unfit(f"{values.type} is not true or false")
    if pa.types.is_integer(values.type):
        _within(_numpy(values, 0), 0, 2, "true or false")
    values = _cast(values, pa.bool_())
    return Fixed(_numpy(values, False).astype("u1"), _nulls(values))


def _instant(zone: str | None) -> FieldEncoder:
    def encode(values: Any) -> Field:
        if pa.types.is_timestamp(values.type) and bool(values.type.tz) != bool(zone):
            wanted = "a time with its zone, as UTC" if zone else "a time without a zone"
            raise Unfit(f"{values.type} is not {wanted}")
        if pa.types.is_date(values.type):
            raise Unfit(f"{values.type} is a day, not an instant")
        _refuse_unitless(values, "a time")
        values = _cast(values, pa.timestamp("us", tz=zone))
        ticks = _numpy(_cast(values, pa.int64()), POSTGRES_EPOCH_MICROSECONDS)
        first, end = FIRST_MICROSECOND + POSTGRES_EPOCH_MICROSECONDS, END_MICROSECOND
        _within(ticks, first, min(end + POSTGRES_EPOCH_MICROSECONDS, np.iinfo(np.int64).max), "a time PostgreSQL keeps")
        return Fixed((ticks - POSTGRES_EPOCH_MICROSECONDS).astype(">i8"), _nulls(values))

    return encode


def _refuse_unitless(values: Any, what: str) -> None:
    """A bare number may count seconds as well as microseconds, and nobody would notice."""
    if pa.types.is_integer(values.type):
        raise Unfit(f"{values.type} does not say its unit; give {what}")


def _date(values: Any) -> Field:
    _refuse_unitless(values, "a day")
    if pa.types.is_timestamp(values.type) and (parted := pc.not_equal(pc.floor_temporal(values, unit="day"), values)).true_count:
        raise Unfit(f"row {pc.index(parted, True).as_py()} is a time within a day, not a day")
    values = _cast(values, pa.date32())
    days = _numpy(_cast(values, pa.int32()), POSTGRES_EPOCH_DAYS).astype(np.int64) - POSTGRES_EPOCH_DAYS
    _within(days, FIRST_DAY, END_DAY, "a day PostgreSQL keeps")
    return Fixed(days.astype(">i4"), _nulls(values))


def _time(values: Any) -> Field:
    _refuse_unitless(values, "a time of day")
    values = _cast(values, pa.time64("us"))
    return Fixed(_numpy(_cast(values, pa.int64()), 0).astype(">i8"), _nulls(values))


def _interval(values: Any) -> Field:
    """Encode a duration as microseconds; months and days of a calendar interval stay months and days."""
    out = np.zeros(len(values), dtype=[("micros", ">i8"), ("days", ">i4"), ("months", ">i4")])
    if pa.types.is_interval(values.type):
        raw = np.frombuffer(values.buffers()[1], dtype=[("months", "<i4"), ("days", "<i4"), ("nanos", "<i8")])
        raw = raw[values.offset : values.offset + len(values)]
        null = _nulls(values)
        present = ~null if null is not None else np.ones(len(values), dtype=bool)
        if (raw["nanos"][present] % 1000).any():
            raise Unfit("nanoseconds do not fit an interval of microseconds")
        out["months"], out["days"], out["micros"] = raw["months"], raw["days"], raw["nanos"] // 1000
        return Fixed(out.view("V16"), null)
    _refuse_unitless(values, "a duration")
    values = _cast(values, pa.duration("us"))
    out["micros"] = _numpy(_cast(values, pa.int64()), 0)
    return Fixed(out.view("V16"), _nulls(values))


def _within(values: Array, first: int, end: int, what: str) -> None:
    wrong = (values < first) | (values >= end)
    if wrong.any():
        raise Unfit(f"row {int(np.argmax(wrong))} is not {what}")


_HEX = np.full(256, 255, dtype=np.uint8)
for _digit, _characters in enumerate(("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "aA", "bB", "cC", "dD", "eE", "fF")):
    for _character in _characters:
        _HEX[ord(_character)] = _digit


def _uuid(values: Any) -> Field:
    null = _nulls(values)
    if pa.types.is_null(values.type):
        values = _cast(values, pa.string())
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        text = _cast(pc.replace_substring(pc.fill_null(values, "0" * 32), "-", ""), pa.string())
        if not pc.all(pc.equal(pc.binary_length(text), 32)).as_py():
            raise Unfit(f"row {pc.index(pc.equal(pc.binary_length(text), 32), False).as_py()} is not a UUID")
        nibbles = _HEX[_bytes_of(text).reshape(-1, 32)]
        _within(nibbles.max(axis=1, initial=0).astype(np.int64), 0, 16, "a UUID")
        raw = nibbles[:, 0::2] << 4 | nibbles[:, 1::2]
    else:
        binary = _cast(pc.fill_null(values, b"\0" * 16), pa.binary())
        if not pc.all(pc.equal(pc.binary_length(binary), 16)).as_py():
            raise Unfit("a UUID has 16 bytes")
        raw = _bytes_of(binary).reshape(-1, 16)
    return Fixed(np.ascontiguousarray(raw).view("V16").reshape(-1), null)


def _bytes_of(values: Any) -> Array:
    offsets = np.frombuffer(values.buffers()[1], dtype=np.int32)[values.offset : values.offset + len(values) + 1]
    data = values.buffers()[2]
    if data is None:
        return np.empty(0, dtype=np.uint8)
    return np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]]


def _text(values: Any) -> Varying:
    if pa.types.is_nested(values.type):
        raise Unfit(f"{values.type} is not text; a document is given as the text of its JSON")
    if pa.types.is_binary(values.type) or not _texty(values.type):
        raise Unfit(f"{values.type} is not text")
    return _varying(_cast(_cast(values, pa.string()), pa.binary()))


def _texty(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind))


def _jsonb(values: Any) -> Field:
    """Encode JSON text behind the version of the format, which is 1."""
    field = _text(values)
    null = field.lengths < 0
    data = pc.if_else(pa.array(null), b"", pc.binary_join_element_wise(pa.scalar(b"\x01"), field.data, b""))
    return Varying(data, np.where(null, -1, field.lengths + 1).astype(np.int32))


def _bytea(values: Any) -> Field:
    if _texty(values.type) and not pa.types.is_null(values.type):
        raise Unfit(f"{values.type} is text, not bytes")
    return _varying(_cast(values, pa.binary()))


def _varying(values: Any) -> Varying:
    null = _nulls(values)
    if null is not None:
        values = pc.fill_null(values, b"")
    offsets = np.frombuffer(values.buffers()[1], dtype=np.int32)[values.offset : values.offset + len(values) + 1]
    lengths = np.diff(offsets)
    return Varying(values, lengths if null is None else np.where(null, -1, lengths).astype(np.int32))


def _numeric(values: Any, scale: int | None) -> Field:
    null = _nulls(values)
    digits = _digits(values).trimmed()
    if scale is not None:
        digits.refuse_finer_than(scale)
    width = digits.groups.shape[1]
    layout = [("ndigits", ">u2"), ("weight", ">i2"), ("sign", ">u2"), ("scale", ">i2"), ("groups", ">u2", (width,))]
    out = np.empty(len(values), dtype=layout)
    out["ndigits"], out["weight"], out["sign"], out["scale"] = width, digits.weight, digits.sign, digits.scale
    out["groups"] = digits.groups
    fixed = Fixed(out.view(f"V{out.dtype.itemsize}"), null)
    return fixed if width <= MANY_GROUPS else _without_zeros(out, digits, null)


def _digits(values: Any) -> numeric.Digits:
    kind = values.type
    if pa.types.is_floating(kind):
        raise Unfit(f"{kind} is not exact; give decimals, whole numbers, or text")
    if pa.types.is_integer(kind):
        return numeric.from_integers(_numpy(values, 0))
    if pa.types.is_decimal(kind):
        if kind.bit_width < 128:
            values = _cast(values, pa.decimal128(38, kind.scale))
        return numeric.from_decimals(pc.fill_null(values, pa.scalar(0, values.type)) if values.null_count else values)
    if _texty(kind):
        return numeric.from_text(pc.fill_null(_cast(values, pa.string()), "0"))
    raise Unfit(f"{kind} is not a number")


def _without_zeros(out: Array, digits: numeric.Digits, null: Array | None) -> Varying:
    """Return the same numbers, each without the groups of zeros around its digits: a few large ones do not make all large."""
    rows, width = digits.groups.shape
    used = digits.groups != 0
    some = used.any(axis=1)
    first = np.where(some, used.argmax(axis=1), 0)
    last = np.where(some, width - used[:, ::-1].argmax(axis=1), 0)
    out["ndigits"], out["weight"] = last - first, digits.weight - first
    lengths = np.where(null, 0, 8 + 2 * (last - first)) if null is not None else 8 + 2 * (last - first)
    column = np.arange(width)
    kept = np.ones((rows, 8 + 2 * width), dtype=bool)
    kept[:, 8:] = np.repeat((column >= first[:, None]) & (column < last[:, None]), 2, axis=1)
    if null is not None:
        kept[null] = False
    data = binary_array(out.view(np.uint8).reshape(rows, -1)[kept], lengths)
    return Varying(data, (lengths if null is None else np.where(null, -1, lengths)).astype(np.int32))


def _array(values: Any, element: WireType) -> Field:
    """Encode lists of one dimension: a header, then every element with its length."""
    if not (pa.types.is_list(values.type) or pa.types.is_null(values.type)):
        values = _as_list(values)
    if pa.types.is_null(values.type):
        return Varying(pa.array([b""] * len(values), pa.binary()), np.full(len(values), -1, dtype=np.int32))
    null = _nulls(values)
    offsets = np.frombuffer(values.buffers()[1], dtype=np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
    counts = np.diff(offsets)
    if null is not None and counts[null].any():
        # A list that is NULL may still span elements, which are nobody's; a copy leaves them out.
        return _array(values.take(pa.array(np.arange(len(values)))), element)
    items = values.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    body = _elements(items, element, offsets - offsets[0])
    holes = _has_null(items, offsets - offsets[0])
    headers, header_lengths = _array_headers(counts, holes, element.oid, null)
    data = pc.binary_join_element_wise(headers, body, b"")
    lengths = header_lengths + np.diff(np.frombuffer(body.buffers()[1], dtype=np.int32)[: len(values) + 1])
    return Varying(data, (lengths if null is None else np.where(null, -1, lengths)).astype(np.int32))


def _as_list(values: Any) -> Any:
    kind = values.type
    if pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        return _cast(values, pa.list_(kind.value_type))
    if _texty(kind):
        # As CSV has it, where a value is text or nothing.
        return pa.array([_listed(text, row) for row, text in enumerate(values.to_pylist())], pa.list_(pa.string()))
    raise Unfit(f"{kind} is not a list")


def _listed(text: str | None, row: int) -> list[str | None] | None:
    """Return a list written as JSON; numbers in it stay the digits they were written with."""
    if text is None:
        return None
    try:
        found = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        found = text
    if not isinstance(found, list) or any(isinstance(item, bool | list | dict) for item in found):
        raise Unfit(f'row {row} is not a list written as ["one", "two"]: {text[:60]!r}')
    return found


def _elements(items: Any, kind: WireType, offsets: Array) -> Any:
    """Return the elements of each list, every one behind its length, as one binary value for each list."""
    stream = join_fields([encode_field(items, kind)], len(items), counted=False)
    edges = np.frombuffer(stream.buffers()[1], dtype=np.int32)[: len(items) + 1]
    own = np.ascontiguousarray(edges[offsets])
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, pa.py_buffer(own), stream.buffers()[2]])


def _has_null(items: Any, offsets: Array) -> Array:
    """Return which lists hold a NULL."""
    before = np.zeros(len(items) + 1, dtype=np.int64)
    if items.null_count:
        np.cumsum(items.is_null().to_numpy(zero_copy_only=False), out=before[1:])
    return (before[offsets[1:]] - before[offsets[:-1]]) > 0


def _array_headers(counts: Array, holes: Array, oid: int, null: Array | None) -> tuple[Any, Array]:
    out = np.empty(len(counts), dtype=[("dimensions", ">i4"), ("holes", ">i4"), ("oid", ">u4"), ("count", ">i4"), ("first", ">i4")])
    out["dimensions"], out["holes"], out["oid"], out["count"], out["first"] = counts > 0, holes, oid, counts, 1
    lengths = np.where(counts > 0, 20, 12)
    kept = np.ones((len(counts), 20), dtype=bool)
    kept[counts == 0, 12:] = False
    if null is not None:
        kept[null] = False
        lengths[null] = 0
    return binary_array(out.view(np.uint8).reshape(-1, 20)[kept], lengths), lengths


_ENCODERS: Final[dict[str, FieldEncoder]] = {
    "bool": _boolean,
    "int2": _number(pa.int16(), ">i2"),
    "int4": _number(pa.int32(), ">i4"),
    "int8": _number(pa.int64(), ">i8"),
    "oid": _number(pa.uint32(), ">u4"),
    "float4": _number(pa.float32(), ">f4"),
    "float8": _number(pa.float64(), ">f8"),
    "timestamptz": _instant("UTC"),
    "timestamp": _instant(None),
    "date": _date,
    "time": _time,
    "interval": _interval,
    "uuid": _uuid,
    "text": _text,
    "varchar": _text,
    "bpchar": _text,
    "citext": _text,
    "enum": _text,
    "json": _text,
    "jsonb": _jsonb,
    "bytea": _bytea,
}
