"""Rows of every type a pack may declare, by every way in: what is accepted comes back exactly, what is not is held with its reason."""

import io
import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.ingest import Gate, Ingest, Payload, Spool
from tests.fixtures.kinds import KINDS, Mood, kind_catalog, open_kinds

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", '"', "\\N", "NULL", "{}"]
)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
).filter(lambda value: value is not None)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "small": st.integers(-(2**15), 2**15 - 1),
    "whole": st.integers(-(2**31), 2**31 - 1),
    "big": st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1]),
    "truth": st.booleans(),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "price": st.decimals(allow_nan=False, allow_infinity=False, places=18, min_value=-(10**40), max_value=10**40),
    "scaled": st.integers(-(10**19), 10**19).map(lambda n: Decimal(n).scaleb(-8)),
    "u64": st.integers(0, 2**64 - 1) | st.just(2**64 - 1),
    "u256": st.integers(0, 2**256 - 1) | st.just(2**256 - 1),
    "text": texts,
    "mood": st.sampled_from([*Mood]).map(str),
    "document": documents,
    "data": st.binary(max_size=20),
    "instant": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001  # the zone is drawn beside it
    "day": st.dates(date(1, 1, 1), date(9999, 12, 31)),
    "tags": st.lists(st.none() | texts, max_size=4),
    "span": st.timedeltas(timedelta(days=-1_000_000), timedelta(days=1_000_000)),
}
Row = dict[str, Any]


def draw_rows(examples: int) -> list[Row]:
    rows: list[Row] = []

    @settings(max_examples=examples, deadline=None, database=None)
    @given(st.fixed_dictionaries({}, optional={name: st.none() | values for name, values in VALUES.items()}))
    def draw(row: Row) -> None:
        rows.append({"n": len(rows), **row})

    draw()
    return rows


def as_ndjson(rows: list[Row]) -> Any:
    return Payload("\n".join(json.dumps({name: _in_json(value) for name, value in row.items()}) for row in rows).encode(), "ndjson")


def _in_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return value if isinstance(value, int | float | list | dict | None) else str(value)


def as_arrow(rows: list[Row]) -> Any:
    """Return rows in the types of Arrow nearest to the columns'; numbers too wide for them as text."""
    types: Mapping[str, Any] = {
        "small": pa.int16(),
        "whole": pa.int32(),
        "big": pa.int64(),
        "truth": pa.bool_(),
        "double": pa.float64(),
        "price": pa.decimal256(76, 18),
        "scaled": pa.decimal128(20, 8),
        "u64": pa.uint64(),
        "data": pa.binary(),
        "instant": pa.timestamp("us", tz="UTC"),
        "day": pa.date32(),
        "tags": pa.list_(pa.string()),
        "span": pa.duration("us"),
        "n": pa.int64(),
    }
    given: dict[str, Callable[[Any], Any]] = {"u256": str, "document": json.dumps}
    columns = {}
    for name in ["n", *KINDS]:
        values = [row.get(name) for row in rows]
        make = given.get(name, lambda value: value)
        columns[name] = pa.array([None if value is None else make(value) for value in values], types.get(name, pa.string()))
    return pa.table(columns)


def as_parquet(rows: list[Row]) -> Any:
    sink = io.BytesIO()
    # Parquet has no durations, and no decimals as wide as these.
    pyarrow.parquet.write_table(as_arrow(rows).drop_columns(["span", "price"]), sink, compression="zstd")
    return Payload(sink.getvalue(), "parquet")


def as_stream(rows: list[Row]) -> Any:
    table = as_arrow(rows)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Payload(sink.getvalue(), "arrow")


def as_dicts(rows: list[Row]) -> Any:
    """Return rows as they are, texts of documents as JSON: one that only looks like JSON would be taken for it."""
    return [
        {name: json.dumps(value) if name == "document" and isinstance(value, str) else value for name, value in row.items()} for row in rows
    ]


WAYS: dict[str, tuple[Callable[[list[Row]], Any], set[str]]] = {
    "dicts": (as_dicts, set()),
    "ndjson": (as_ndjson, {"span"}),
    "arrow": (as_stream, set()),
    "parquet": (as_parquet, {"span", "price"}),
}


@pytest.mark.parametrize("way", WAYS)
async def test_every_value_comes_back_exactly(kinds: str, tmp_path: Path, way: str) -> None:
    make, left_out = WAYS[way]
    catalog = kind_catalog()
    await open_kinds(kinds, catalog)
    rows = [{name: value for name, value in row.items() if name not in left_out} for row in draw_rows(150)]
    async with Database(kinds, options=PoolOptions(min_size=1, max_size=3)) as database:
        gate = Gate(Ingest(database, catalog), database, catalog, Spool(tmp_path, 1024**2))
        answer = await gate.ingest("kinds.kind", make(rows))
        assert (answer.accepted, answer.quarantined) == (len(rows), 0), await _why(database)
        # JSON is read as text, because its numbers would be floats otherwise.
        found = await database.fetch_all("SELECT k.*, document::text AS document_text FROM kinds.kind AS k ORDER BY n")
        for row, back in zip(rows, found, strict=True):
            for name in KINDS:
                wanted = row.get(name)
                read = getattr(back, name)
                if name == "document":
                    read = None if back.document_text is None else json.loads(back.document_text)
                assert _same(read, wanted), (name, wanted, read)
        await gate.close()


def _same(read: Any, wanted: Any) -> bool:
    """Return whether both are equal, and of one type: 1 is not true, nor is 1.0."""
    if isinstance(wanted, dict | list) or wanted is None:
        return json.dumps(read, sort_keys=True, default=str) == json.dumps(wanted, sort_keys=True, default=str)
    return bool(read == wanted) and isinstance(read, bool) == isinstance(wanted, bool)


async def _why(database: Database) -> list[Any]:
    return [tuple(row) for row in await database.fetch_all("SELECT reason, detail FROM strata.quarantine LIMIT 5")]


REFUSED: dict[str, tuple[str, Any]] = {
    "NULL for a key": ("n", None),
    "too large for int2": ("small", 2**15),
    "too large for int8": ("big", 2**63),
    "beyond uint64": ("u64", 2**64),
    "beyond uint256": ("u256", 2**256),
    "negative uint64": ("u64", -1),
    "half a unit": ("u256", "1.5"),
    "half an int": ("whole", "1.5"),
    "NaN where nothing is NaN": ("u64", "NaN"),
    "too fine for its scale": ("scaled", "0.123456789"),
    "a million digits": ("price", "9" * 1_000_000),
    "an exponent beyond all": ("price", "1e999999999"),
    "words for a number": ("price", "dear"),
    "a byte of zero in text": ("text", "a\0b"),
    "a byte of zero in JSON": ("document", "a\0b"),
    "half a character": ("text", "\ud800"),
    "an enum nobody declared": ("mood", "furious"),
    "no boolean": ("truth", "maybe"),
    "no time": ("instant", "yesterday"),
    "a time without its zone": ("instant", "2026-01-01T00:00:00"),
    "a day that is none": ("day", "2026-02-30"),
    "a list for a number": ("big", [1]),
    "a number for a list": ("tags", 5),
    "a list of lists": ("tags", [["a"]]),
    "text for bytes": ("data", "hello"),
    "an odd number of hex digits": ("data", "0x123"),
}


async def test_every_value_that_does_not_fit_is_held_with_its_reason(kinds: str, tmp_path: Path) -> None:
    catalog = kind_catalog()
    await open_kinds(kinds, catalog)
    async with Database(kinds, options=PoolOptions(min_size=1, max_size=3)) as database:
        gate = Gate(Ingest(database, catalog), database, catalog, Spool(tmp_path, 1024**2))
        lines, wrong = [], {}
        for number, (what, (name, value)) in enumerate(REFUSED.items()):
            lines += [json.dumps({"n": 2 * number}), json.dumps({"n": 2 * number + 1, name: value})]
            wrong[2 * number + 1] = what
        answer = await gate.ingest("kinds.kind", Payload("\n".join(lines).encode(), "ndjson"))
        there = {row.n for row in await database.fetch_all("SELECT n FROM kinds.kind")}
        assert [wrong[n] for n in sorted(there & wrong.keys())] == []
        assert there == set(range(0, 2 * len(REFUSED), 2))
        assert (answer.accepted, answer.quarantined) == (len(REFUSED), len(REFUSED))
        assert await database.fetch_value("SELECT count(*) FROM strata.quarantine WHERE detail = ''") == 0
        await gate.close()


async def test_values_beyond_the_limits_of_the_server_are_held_too(kinds: str, tmp_path: Path) -> None:
    catalog = kind_catalog()
    await open_kinds(kinds, catalog)
    deep = "[" * 100_000 + "]" * 100_000
    rows = pa.table({"n": [1, 2, 3], "document": ["{}", deep, "[]"], "text": ["a", "b", "c"]})
    async with Database(kinds, options=PoolOptions(min_size=1, max_size=3)) as database:
        gate = Gate(Ingest(database, catalog), database, catalog, Spool(tmp_path, 1024**2))
        answer = await gate.ingest("kinds.kind", rows)
        assert (answer.accepted, answer.quarantined) == (2, 1)
        assert await _why(database) == [("bad_value", "stack depth limit exceeded")]
        await database.execute("CREATE INDEX kind_text ON kinds.kind (text)")
        long = "".join(str(n**3) for n in range(9_000))
        answer = await gate.ingest("kinds.kind", [{"n": 4, "text": long}, {"n": 5, "text": "short"}])
        assert (answer.accepted, answer.quarantined) == (1, 1)
        await database.execute("DROP INDEX kinds.kind_text")
        await gate.close()
