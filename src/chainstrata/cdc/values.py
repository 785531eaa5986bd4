"""Columns of rows as Arrow arrays, by the type they have in PostgreSQL.

A type is known by its OID and what the server's catalog says of it: a domain travels as what it is over, an enum as its label. A
value that Arrow cannot hold, such as a time at infinity, is null in the array and reported.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from chainstrata.cdc import numeric
from chainstrata.cdc.errors import StreamBroken
from chainstrata.cdc.tuples import TEXT, Array, Field, pc

EPOCH_MICROSECONDS: Final = 946_684_800_000_000
EPOCH_DAYS: Final = 10_957
_MODIFIER_HEAD: Final = 4
_UNBOUNDED_DIGITS: Final = 76
_ARRAY_HEAD: Final = 12


@dataclass(frozen=True, slots=True)
class CatalogType:
    """A type as the server's catalog has it. `kind` is `b` base, `d` domain, `e` enum, and so on."""

    oid: int
    name: str
    kind: str
    over: int
    over_modifier: int
    element: int


@dataclass(frozen=True, slots=True)
class Kind:
    """What values of a column are. `precision` and `scale` are those of a NUMERIC that has them."""

    name: str
    precision: int | None = None
    scale: int | None = None
    element: "Kind | None" = None

    def __str__(self) -> str:
        if self.element:
            return f"{self.element}[]"
        return f"{self.name}({self.precision},{self.scale})" if self.precision else self.name


@dataclass(frozen=True, slots=True)
class Converted:
    """A column as Arrow, and which rows had a value it cannot hold, if any."""

    values: Any
    unfit: Array | None = None
    problem: str = ""


class UnknownType(LookupError):
    """A type that values cannot be read of. The message names it."""


def resolve(types: Mapping[int, CatalogType], oid: int, modifier: int = -1) -> Kind:
    """Return what values of this type are; raise `UnknownType` if they cannot be read."""
    found = types.get(oid)
    if found is None:
        raise UnknownType(f"type {oid}, which is not in the catalog")
    if found.kind == "d":
        return resolve(types, found.over, found.over_modifier)
    if found.kind == "e":
        return Kind("enum")
    if found.name.startswith("_") and found.element:
        return Kind("array", element=resolve(types, found.element, modifier))
    if found.name == "numeric" and modifier >= _MODIFIER_HEAD:
        packed = modifier - _MODIFIER_HEAD
        return Kind("numeric", packed >> 16 & 0xFFFF, (packed & 0x7FF ^ 1024) - 1024)
    if found.name not in _CONVERTERS:
        raise UnknownType(f"type {found.name}")
    return Kind(found.name)


def convert(field: Field, kind: Kind) -> Converted:
    """Return a column as Arrow, in the type that holds all its values exactly."""
    if kind.name == "array":
        return _arrays(field, kind)
    # A type without a binary form of its own is sent as text.
    if (field.kind == TEXT).any():
        raise StreamBroken(f"a value of type {kind} came as text")
    return _CONVERTERS[kind.name](field, kind)


def _number(dtype: str) -> Callable[[Field, Kind], Converted]:
    def read(field: Field, _: Kind) -> Converted:
        values = field.numbers(dtype)
        return Converted(_with_nulls(values.astype(values.dtype.newbyteorder("=")), field))

    return read


def _with_nulls(values: Array, field: Field, unfit: Array | None = None) -> Any:
    missing = field.length == 0
    if unfit is not None:
        missing = missing | unfit
    return pa.array(values, mask=missing) if missing.any() else pa.array(values)


def _boolean(field: Field, _: Kind) -> Converted:
    return Converted(_with_nulls(field.numbers("u1") != 0, field))


def _text(field: Field, _: Kind) -> Converted:
    return Converted(pc.cast(field.binary(), pa.large_string()))


def _jsonb(field: Field, _: Kind) -> Converted:
    # The first byte is the version of the format.
    return Converted(pc.cast(field.binary(skip=1), pa.large_string()))


def _bytes(field: Field, _: Kind) -> Converted:
    return Converted(field.binary())


def _uuid(field: Field, _: Kind) -> Converted:
    raw = np.ascontiguousarray(field.fixed(16))
    valid = np.packbits(field.length > 0, bitorder="little")
    return Converted(pa.Array.from_buffers(pa.binary(16), len(raw), [pa.py_buffer(valid), pa.py_buffer(raw)]))


def _instant(zone: str | None) -> Callable[[Field, Kind], Converted]:
    def read(field: Field, _: Kind) -> Converted:
        ticks = field.numbers(">i8").astype(np.int64)
        limits = np.iinfo(np.int64)
        unfit = (ticks == limits.max) | (ticks == limits.min) | (ticks > limits.max - EPOCH_MICROSECONDS)
        shifted = np.where(unfit, 0, ticks) + EPOCH_MICROSECONDS
        kind = pa.timestamp("us", tz=zone)
        values = _with_nulls(shifted, field, unfit).cast(kind)
        return Converted(values, unfit, "a time at infinity, or beyond what can be counted") if unfit.any() else Converted(values)

    return read


def _date(field: Field, _: Kind) -> Converted:
    days = field.numbers(">i4").astype(np.int64)
    limits = np.iinfo(np.int32)
    unfit = (days == limits.max) | (days == limits.min) | (days > limits.max - EPOCH_DAYS)
    shifted = (np.where(unfit, 0, days) + EPOCH_DAYS).astype(np.int32)
    values = _with_nulls(shifted, field, unfit).cast(pa.date32())
    return Converted(values, unfit, "a day at infinity, or beyond what can be counted") if unfit.any() else Converted(values)


def _time(field: Field, _: Kind) -> Converted:
    return Converted(_with_nulls(field.numbers(">i8").astype(np.int64), field).cast(pa.time64("us")))


def _interval(field: Field, _: Kind) -> Converted:
    raw = np.ascontiguousarray(field.fixed(16))
    parts = np.zeros(len(raw), dtype=[("microseconds", ">i8"), ("days", ">i4"), ("months", ">i4")])
    parts.view(np.uint8).reshape(-1, 16)[:] = raw
    missing = field.length == 0
    columns = [
        pa.array(parts["months"].astype(np.int32), mask=missing),
        pa.array(parts["days"].astype(np.int32), mask=missing),
        pa.array(parts["microseconds"].astype(np.int64), mask=missing),
    ]
    struct = pa.StructArray.from_arrays(columns, ["months", "days", "microseconds"], mask=pa.array(missing))
    return Converted(struct)


def _numeric(field: Field, kind: Kind) -> Converted:
    numbers = numeric.read_numbers(field)
    if kind.precision is None or kind.precision > _UNBOUNDED_DIGITS or (kind.scale or 0) < 0:
        return Converted(pa.array(numeric.texts(numbers), pa.large_string()))
    values, unfit = numeric.decimals(numbers, kind.precision, kind.scale or 0)
    return Converted(values, unfit, "not a number, or too large") if unfit.any() else Converted(values)


def _arrays(field: Field, kind: Kind) -> Converted:
    """Read arrays one by one: they are few, and each has a shape of its own. Only one dimension is kept as it is."""
    element = kind.element
    if element is None:
        raise UnknownType(f"type {kind}")
    lists: list[list[int] | None] = []
    spans: list[tuple[int, int]] = []
    unfit = np.zeros(len(field.start), dtype=bool)
    for row in range(len(field.start)):
        raw = field.value(row)
        if raw is None:
            lists.append(None)
            continue
        found = _elements(raw, int(field.start[row]))
        unfit[row] = found is None
        lists.append([] if found is None else [len(spans) + n for n in range(len(found))])
        spans += found or []
    starts = np.array([start for start, _ in spans], dtype=np.int64)
    lengths = np.array([length for _, length in spans], dtype=np.int64)
    kinds = np.where(lengths < 0, np.uint8(b"n"[0]), np.uint8(b"b"[0]))
    flat = convert(Field(field.buffer, kinds, starts, np.maximum(lengths, 0)), element)
    if flat.unfit is not None:
        for row, places in enumerate(lists):
            unfit[row] |= bool(places) and bool(flat.unfit[places].any())
    indices = pa.array(lists, pa.large_list(pa.int64()))
    picked = flat.values.take(indices.values) if len(spans) else flat.values
    values = pa.LargeListArray.from_arrays(indices.offsets, picked, mask=indices.is_null())
    return Converted(values, unfit, "an array of several dimensions, or of a value that does not fit") if unfit.any() else Converted(values)


def _elements(raw: bytes, at: int) -> list[tuple[int, int]] | None:
    """Return where each element is, None for an array of several dimensions."""
    dimensions = int.from_bytes(raw[:4])
    if dimensions == 0:
        return []
    if dimensions > 1:
        return None
    count = int.from_bytes(raw[_ARRAY_HEAD : _ARRAY_HEAD + 4])
    place = _ARRAY_HEAD + 8
    found = []
    for _ in range(count):
        length = int.from_bytes(raw[place : place + 4], signed=True)
        place += 4
        found.append((at + place, length))
        place += max(length, 0)
    return found


_CONVERTERS: Final[dict[str, Callable[[Field, Kind], Converted]]] = {
    "bool": _boolean,
    "int2": _number(">i2"),
    "int4": _number(">i4"),
    "int8": _number(">i8"),
    "oid": _number(">u4"),
    "float4": _number(">f4"),
    "float8": _number(">f8"),
    "text": _text,
    "varchar": _text,
    "bpchar": _text,
    "name": _text,
    "enum": _text,
    "json": _text,
    "jsonb": _jsonb,
    "bytea": _bytes,
    "uuid": _uuid,
    "timestamptz": _instant("UTC"),
    "timestamp": _instant(None),
    "date": _date,
    "time": _time,
    "interval": _interval,
    "numeric": _numeric,
}
