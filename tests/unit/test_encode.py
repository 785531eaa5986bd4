"""What the encoder of COPY refuses, before anything is sent."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from chainstrata.ingest import UnfitColumn, WireColumn, WireTable, WireType
from chainstrata.ingest.encode import Encoder

FIRST = datetime(1, 1, 1, tzinfo=UTC)

REFUSED = {
    "a float for an exact number": (WireType("numeric"), pa.array([0.1]), "double is not exact; give decimals"),
    "a float for a whole number": (WireType("int8"), pa.array([1.0]), "double is not exact; give whole numbers"),
    "digits that would be rounded away": (
        WireType("numeric", scale=2),
        pa.array(["1.25", "1.255"]),
        "row 1 has more than 2 digits after the point",
    ),
    "digits of a decimal that would be rounded away": (
        WireType("numeric", scale=0),
        pa.array([Decimal("1.5")]),
        "row 0 has more than 0 digits",
    ),
    "a number that is none": (WireType("numeric"), pa.array(["1", "1.2.3"]), "row 1 is not a number: '1.2.3'"),
    "a number with a word in it": (WireType("numeric"), pa.array(["12a"]), "row 0 is not a number: '12a'"),
    "a number of nothing": (WireType("numeric"), pa.array([""]), "row 0 is not a number: ''"),
    "a sign alone": (WireType("numeric"), pa.array(["-"]), "row 0 is not a number: '-'"),
    "a sign in the middle": (WireType("numeric"), pa.array(["1-2"]), "row 0 is not a number: '1-2'"),
    "an exponent of nothing": (WireType("numeric"), pa.array(["1e"]), "row 0 is not a number: '1e'"),
    "more digits than PostgreSQL keeps": (WireType("numeric"), pa.array(["1e-16384"]), "row 0 has more digits than PostgreSQL keeps"),
    "a whole number too large": (WireType("int4"), pa.array([2**31]), "int64 does not fit"),
    "an unsigned number too large": (WireType("int8"), pa.array([2**64 - 1], pa.uint64()), "uint64 does not fit"),
    "a time without a zone": (WireType("timestamptz"), pa.array([datetime(2026, 1, 1)], pa.timestamp("us")), "is not a time with its zone"),  # noqa: DTZ001
    "a time with a zone where none is kept": (
        WireType("timestamp"),
        pa.array([FIRST], pa.timestamp("us", tz="UTC")),
        "is not a time without a zone",
    ),
    "nanoseconds": (WireType("timestamptz"), pa.array([1], pa.timestamp("ns", tz="UTC")), "does not fit"),
    "a time before PostgreSQL's": (
        WireType("timestamptz"),
        pa.array([-(2**62)], pa.timestamp("us", tz="UTC")),
        "row 0 is not a time PostgreSQL keeps",
    ),
    "a day for an instant": (WireType("timestamptz"), pa.array([date(2026, 1, 1)]), "is a day, not an instant"),
    "bytes for text": (WireType("text"), pa.array([b"a"]), "binary is not text"),
    "text for bytes": (WireType("bytea"), pa.array(["a"]), "string is text, not bytes"),
    "a UUID too short": (WireType("uuid"), pa.array(["abc"]), "row 0 is not a UUID"),
    "a UUID of other letters": (WireType("uuid"), pa.array(["g" * 32]), "row 0 is not a UUID"),
    "a list for a value": (WireType("int4"), pa.array([[1]]), "does not fit"),
    "a value for a list": (WireType("array", element=WireType("int4")), pa.array([1]), "int64 is not a list"),
    "a type nobody knows": (WireType("point"), pa.array(["(1,2)"]), "columns of type point cannot be written yet"),
}


def encode(columns: list[WireColumn], rows: dict[str, Any]) -> int:
    table = pa.table(rows)
    return sum(len(block) for block in Encoder(WireTable("public", "t", tuple(columns)), table.schema.names).encode(table))


@pytest.mark.parametrize(("kind", "values", "problem"), [pytest.param(*case, id=name) for name, case in REFUSED.items()])
def test_what_does_not_fit_is_refused(kind: WireType, values: Any, problem: str) -> None:
    with pytest.raises(UnfitColumn) as caught:
        encode([WireColumn("v", kind)], {"v": values})
    assert caught.value.message.startswith("public.t.v: ")
    assert problem in caught.value.message


COLUMNS = [WireColumn("id", WireType("int4"), nullable=False), WireColumn("v", WireType("int4"))]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        pytest.param({"id": [1], "u": [1]}, "public.t.u: no such column", id="unknown"),
        pytest.param({"v": [1]}, "public.t.id: is missing, and has no default", id="missing"),
        pytest.param({"id": [1, None]}, "public.t.id: row 1 has no value, and needs one", id="null"),
    ],
)
def test_columns_that_do_not_match_are_named(rows: dict[str, Any], problem: str) -> None:
    with pytest.raises(UnfitColumn) as caught:
        encode(COLUMNS, rows)
    assert caught.value.message.startswith(problem)


def test_no_rows_make_no_blocks() -> None:
    assert encode(COLUMNS, {"id": pa.array([], pa.int32()), "v": pa.array([], pa.null())}) == 0
