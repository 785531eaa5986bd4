"""Every type's binary form is read as plain Python reads it: nulls among the values, and what Arrow cannot hold told row by row."""

import struct
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.numeric import DecimalBinaryDumper

from chainstrata.engines.postgres.arrow.decode import PADDING, Block, split_rows
from chainstrata.engines.postgres.arrow.kinds import Kind, arrow_type, convert

UNFIT: Final = object()
SINCE_1970: Final = 946_684_800
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
Case = tuple[bytes, Any]
"""How a value travels, and what it is."""


def packed(form: str, numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Case]:
    return numbers.map(lambda number: (struct.pack(form, number), struct.unpack(form, struct.pack(form, number))[0]))


def whole(form: str) -> st.SearchStrategy[Case]:
    bits = 8 * struct.calcsize(form)
    low, high = (0, 2**bits - 1) if form.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return packed(form, st.integers(low, high) | st.sampled_from([low, high, 0]))


def moments(form: str, ahead: int) -> st.SearchStrategy[Case]:
    """Times count from 2000, before our era too; both ends stand for infinity."""
    bits = 8 * struct.calcsize(form)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    ends = st.sampled_from([low, low + 1, high, high - 1, high - ahead, high - ahead + 1, -ahead, 0])

    def case(count: int) -> Case:
        return struct.pack(form, count), UNFIT if count in (low, high) or count + ahead > high else count + ahead

    return (st.integers(low, high) | ends).map(case)


NUMBERS = st.builds(lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(-(10**40), 10**40), st.integers(-60, 60))
SPECIAL = st.sampled_from(["NaN", "Infinity", "-Infinity", "0", "-0.00", "1e-16383", "1e131071", "9.9", "-1e76", "1e38", "0.0001"]).map(
    Decimal
)


def numbers(precision: int | None = None, scale: int = 0) -> st.SearchStrategy[Case]:
    least, most = Decimal(1).scaleb(-scale), Decimal(10) ** ((precision or 0) - scale)

    def case(number: Decimal) -> Case:
        wire = bytes(DecimalBinaryDumper(Decimal, None).dump(number) or b"")
        if precision is None:
            return wire, number
        return wire, number if number.is_finite() and abs(number) < most and not number % least else UNFIT

    def exact(number: Decimal) -> Case:
        with localcontext(prec=200_000, Emax=999_999, Emin=-999_999):
            return case(number)

    fitting = st.integers(-(10 ** (precision or 50)) + 1, 10 ** (precision or 50) - 1).map(lambda digits: Decimal(f"{digits}e-{scale}"))
    return (fitting | NUMBERS | SPECIAL).map(exact)


def arrays(oid: int, items: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    def case(listed: list[Case | None]) -> Case:
        wire = b"".join(struct.pack(">i", -1) if one is None else struct.pack(">i", len(one[0])) + one[0] for one in listed)
        head = struct.pack(">iiiii", 1, None in listed, oid, len(listed), 1) if listed else struct.pack(">iii", 0, 0, oid)
        values = [None if one is None else one[1] for one in listed]
        return head + wire, UNFIT if UNFIT in values else values

    grid = st.just((struct.pack(">iiiiiii", 2, 0, oid, 1, 1, 1, 1) + struct.pack(">i", -1), UNFIT))
    return st.lists(st.none() | items, max_size=5).map(case) | grid


ENDS = st.sampled_from([-(2**63), 2**63 // 1000, -(2**63 // 1000)])
SPANS = st.tuples(st.integers(-(2**63), 2**63 - 1) | ENDS, *[st.integers(-(2**31), 2**31 - 1)] * 2)
CASES: Final[dict[str, tuple[Kind, st.SearchStrategy[Case]]]] = {
    "bool": (Kind("bool"), packed(">?", st.booleans())),
    "int2": (Kind("int2"), whole(">h")),
    "int4": (Kind("int4"), whole(">i")),
    "int8": (Kind("int8"), whole(">q")),
    "oid": (Kind("oid"), whole(">I")),
    "float4": (Kind("float4"), packed(">f", st.floats(width=32))),
    "float8": (Kind("float8"), packed(">d", st.floats())),
    "text": (Kind("text"), TEXTS.map(lambda text: (text.encode(), text))),
    "jsonb": (Kind("jsonb"), TEXTS.map(lambda text: (b"\1" + text.encode(), text))),
    "bytea": (Kind("bytea"), st.binary(max_size=30).map(lambda raw: (raw, raw))),
    "uuid": (Kind("uuid"), st.uuids().map(lambda one: (one.bytes, one.bytes))),
    "timestamptz": (Kind("timestamptz"), moments(">q", SINCE_1970 * 10**6)),
    "timestamp": (Kind("timestamp"), moments(">q", SINCE_1970 * 10**6)),
    "date": (Kind("date"), moments(">i", SINCE_1970 // 86_400)),
    "time": (Kind("time"), packed(">q", st.integers(0, 86_399_999_999))),
    "interval": (
        Kind("interval"),
        SPANS.map(lambda parts: (struct.pack(">qii", *parts), parts if abs(parts[0]) <= 2**63 // 1000 else UNFIT)),
    ),
    "numeric": (Kind("numeric"), numbers()),
    "numeric(20,0)": (Kind("numeric", 20, 0), numbers(20)),
    "numeric(38,18)": (Kind("numeric", 38, 18), numbers(38, 18)),
    "numeric(76,30)": (Kind("numeric", 76, 30), numbers(76, 30)),
    "int4[]": (Kind("array", element=Kind("int4")), arrays(23, whole(">i"))),
    "text[]": (Kind("array", element=Kind("text")), arrays(25, TEXTS.map(lambda text: (text.encode(), text)))),
    "timestamptz[]": (Kind("array", element=Kind("timestamptz")), arrays(1184, moments(">q", SINCE_1970 * 10**6))),
    "numeric(20,2)[]": (Kind("array", element=Kind("numeric", 20, 2)), arrays(1700, numbers(20, 2))),
}


def read(wires: list[bytes | None], kind: Kind) -> tuple[Any, set[int]]:
    """Return the values of a column that stands between two others, and which rows do not fit."""
    rows = []
    for number, wire in enumerate(wires):
        sides = [b"x" * (number % 3), wire, None if number % 2 else b""]
        pieces = b"".join(struct.pack(">i", -1) if one is None else struct.pack(">i", len(one)) + one for one in sides)
        rows.append(struct.pack(">h", 3) + pieces)
    starts = np.cumsum([0, *map(len, rows)], dtype=np.int64)[:-1]
    made = convert(split_rows(Block(b"".join(rows) + PADDING), starts, 3)[1], kind)
    assert made.values.type == arrow_type(kind)
    return made.values, set() if made.unfit is None else set(np.flatnonzero(made.unfit).tolist())


def plain(values: Any, kind: Kind) -> list[Any]:
    if kind.element is not None:
        flat = plain(values.flatten(), kind.element)
        ends = pa.compute.list_value_length(values).fill_null(0).to_pylist()
        lists, at = [], 0
        for length in ends:
            lists.append(flat[at : at + length])
            at += length
        return [None if missing else one for one, missing in zip(lists, values.is_null().to_pylist(), strict=True)]
    if kind.name in ("timestamptz", "timestamp", "time"):
        return list(values.cast(pa.int64()).to_pylist())
    if kind.name == "date":
        return list(values.cast(pa.int32()).to_pylist())
    shown: Callable[[Any], Any] = {"numeric": Decimal, "interval": span}.get(kind.name, lambda one: one)
    return [None if one is None else shown(one) for one in values.to_pylist()]


def span(value: Any) -> tuple[int, int, int]:
    return value.nanoseconds // 1000, value.days, value.months


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_values_of_every_type_are_read_as_they_are(name: str, data: st.DataObject) -> None:
    kind, cases = CASES[name]
    column = data.draw(st.lists(st.none() | cases, max_size=12))
    values, unfit = read([None if one is None else one[0] for one in column], kind)
    values.validate(full=True)
    assert unfit == {row for row, one in enumerate(column) if one is not None and one[1] is UNFIT}
    expected = [None if one is None or one[1] is UNFIT else one[1] for one in column]
    found = [None if row in unfit else one for row, one in enumerate(plain(values, kind))]
    # As texts, in which a number that is none equals itself.
    assert [_shown(one) for one in found] == [_shown(one) for one in expected]


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return [_shown(one) for one in value]
    if not isinstance(value, Decimal):
        return repr(value)
    return (f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}") if value else "0"


def test_the_longest_number_there_is_keeps_all_its_digits() -> None:
    groups = 32_768 + 4_096
    wire = struct.pack(">HhHH", groups, 32_767, 0, 16_383) + b"\x27\x0f" * groups
    values, unfit = read([wire], Kind("numeric"))
    assert not unfit
    assert values[0].as_py() == "9" * 131_072 + "." + "9" * 16_384
    assert read([wire], Kind("numeric", 76, 0))[1] == {0}
