"""Rows as strangers bring them: what can be read exactly is taken, the rest is refused or held with a reason, and nothing breaks."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from psycopg import sql

from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.errors import ChainStrataError, UsageError
from chainstrata.ingest import Gate, Ingest, Payload, PayloadUnreadable, Spool, UnfitColumn
from tests.fixtures.kinds import kind_catalog, open_kinds

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
TICKS = int(NEW_YEAR.timestamp()) * 1_000_000


@dataclass
class Ways:
    """The ways into one table: through the gate, and past it."""

    database: Database
    gate: Gate
    ingest: Ingest

    async def read(self, column: str) -> list[Any]:
        """Return a column in the order of the rows' numbers, times as text."""
        shown = sql.SQL("{}::text" if column in ("instant", "day") else "{}").format(sql.Identifier(column))
        rows = await self.database.fetch_all(sql.SQL("SELECT n AS number, {} AS value FROM kinds.kind ORDER BY number").format(shown))
        return [row.value for row in rows]

    async def held(self) -> list[str]:
        return [row.detail for row in await self.database.fetch_all("SELECT detail FROM strata.quarantine ORDER BY id")]

    async def clear(self) -> None:
        await self.database.execute("DELETE FROM kinds.kind")
        await self.database.execute("DELETE FROM strata.quarantine")


@pytest.fixture
async def ways(kinds: str, tmp_path: Path) -> AsyncIterator[Ways]:
    catalog = kind_catalog()
    await open_kinds(kinds, catalog)
    async with Database(kinds, options=PoolOptions(min_size=1, max_size=3)) as database:
        ingest = Ingest(database, catalog)
        gate = Gate(ingest, database, catalog, Spool(tmp_path, 1024**2))
        yield Ways(database, gate, ingest)
        await gate.close()


def table(**columns: Any) -> pa.Table:
    return pa.table({"n": list(range(max(map(len, columns.values())))), **columns})


def instants(*ticks: int | None, unit: str = "us", zone: str = "UTC") -> pa.Array:
    return pa.array(ticks, pa.timestamp(unit, tz=zone))


def stacked() -> pa.Table:
    """Return runs of entries of a dictionary whose values are views."""
    words = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["x", "y"], pa.string_view()))
    return table(text=pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), words))


def parquet(rows: pa.Table, **options: Any) -> Payload:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(rows, sink, **options)
    return Payload(sink.getvalue(), "parquet")


class Celsius(pa.ExtensionType):
    """A type somebody declared for themselves."""

    def __init__(self) -> None:
        super().__init__(pa.int64(), "tests.celsius")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> "Celsius":
        return cls()


TAKEN: dict[str, tuple[Callable[[], Any], str, list[Any]]] = {
    "a dictionary of a dictionary": (
        lambda: table(text=pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", "b"]).dictionary_encode())),
        "text",
        ["a", "b"],
    ),
    "runs of a dictionary of views": (stacked, "text", ["x", "x", "y"]),
    "a slice of runs": (lambda: stacked().slice(1), "text", ["x", "y"]),
    "views": (
        lambda: table(text=pa.array(["a", "more than twelve bytes", None], pa.string_view())),
        "text",
        ["a", "more than twelve bytes", None],
    ),
    "views of bytes": (
        lambda: table(data=pa.array([b"a", b"more than twelve bytes"], pa.binary_view())),
        "data",
        [b"a", b"more than twelve bytes"],
    ),
    "decimals of 256 bits": (lambda: table(u256=pa.array([Decimal(10) ** 75], pa.decimal256(76, 0))), "u256", [10**75]),
    "decimals of 32 bits": (lambda: table(price=pa.array([Decimal("1.5")], pa.decimal32(9, 2))), "price", [Decimal("1.5")]),
    "decimals that are whole": (lambda: table(big=pa.array([Decimal("15.00")], pa.decimal128(18, 2))), "big", [15]),
    "large lists": (lambda: table(tags=pa.array([["a"], None, []], pa.large_list(pa.string()))), "tags", [["a"], None, []]),
    "lists of views": (lambda: table(tags=pa.array([["a"], ["b"]], pa.list_(pa.string_view()))), "tags", [["a"], ["b"]]),
    "an extension of somebody": (lambda: table(big=pa.ExtensionArray.from_storage(Celsius(), pa.array([21]))), "big", [21]),
    "booleans of eight bits": (
        lambda: table(truth=pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8()))),
        "truth",
        [True, False],
    ),
    "seconds of another zone": (
        lambda: table(instant=instants(TICKS // 10**6, unit="s", zone="Europe/Berlin")),
        "instant",
        ["2026-01-01 00:00:00+00"],
    ),
    "nanoseconds that are microseconds": (
        lambda: table(instant=instants(TICKS * 1000 + 7000, unit="ns")),
        "instant",
        ["2026-01-01 00:00:00.000007+00"],
    ),
    "the first day there is": (lambda: table(instant=instants(-210_866_803_200_000_000)), "instant", ["4714-11-24 00:00:00+00 BC"]),
    "midnight as a day": (lambda: table(day=instants(TICKS)), "day", ["2026-01-01"]),
    "nothing of the wrong type": (lambda: table(big=pa.nulls(2, pa.float64()), instant=pa.nulls(2, pa.int64())), "big", [None, None]),
    "polars: categories": (lambda: pl.DataFrame({"n": [0, 1], "text": pl.Series(["a", "b"], dtype=pl.Categorical)}), "text", ["a", "b"]),
    "polars: an enum": (lambda: pl.DataFrame({"n": [0], "mood": pl.Series(["über"], dtype=pl.Enum(["calm", "über"]))}), "mood", ["über"]),
    "polars: 128 bits": (lambda: pl.DataFrame({"n": [0], "u256": pl.Series([2**128 - 1], dtype=pl.UInt128)}), "u256", [2**128 - 1]),
    "pandas: mixed values": (
        lambda: pd.DataFrame({"n": [0, 1, 2], "price": [Decimal("1.5"), "2.50", None]}),
        "price",
        [Decimal("1.5"), Decimal("2.50"), None],
    ),
    "pandas: integers beyond 64 bits": (lambda: pd.DataFrame({"n": [0, 1], "u256": [2**255, 1]}), "u256", [2**255, 1]),
    "pandas: an index with a name": (lambda: pd.DataFrame({"u256": [2**200]}, index=pd.Index([0], name="n")), "u256", [2**200]),
    "a struct array": (lambda: pa.array([{"n": 0, "big": 1}]), "big", [1]),
    "a reader of batches": (
        lambda: pa.RecordBatchReader.from_batches(pa.schema([("n", pa.int64())]), iter([pa.record_batch({"n": [n]}) for n in range(3)])),
        "n",
        [0, 1, 2],
    ),
    "a list of batches and tables": (
        lambda: [pa.record_batch({"n": [0]}), pa.table({"n": [1], "big": [5]}), pa.table({"n": [2], "big": [6]})],
        "big",
        [None, 5, 6],
    ),
    "csv with lines in quotes": (lambda: Payload(b'n,text\n0,"a\nb"\n1,"c""d"\n', "csv"), "text", ["a\nb", 'c"d']),
    "csv with a mark and carriage returns": (lambda: Payload(b"\xef\xbb\xbfn,text\r\n0,a\r\n\r\n", "csv"), "text", ["a"]),
    "csv of names alone": (lambda: Payload(b"n,text\n", "csv"), "text", []),
    "ndjson with a mark, carriage returns and blank lines": (
        lambda: Payload(b'\xef\xbb\xbf{"n":0}\r\n\r\n  \n{"n":1}\r\n', "ndjson"),
        "n",
        [0, 1],
    ),
    "parquet without row groups": (lambda: parquet(pa.table({"n": pa.array([], pa.int64())})), "n", []),
    "a table without columns": (lambda: pa.table({}), "n", []),
    "a frame without columns": (pl.DataFrame, "n", []),
    "numbers as long as the server keeps": (
        lambda: [{"n": 0, "price": "1e131071"}, {"n": 1, "price": "1e-400"}],
        "price",
        [Decimal("1e131071"), Decimal("1e-400")],
    ),
}


@pytest.mark.parametrize("what", TAKEN)
async def test_what_can_be_read_is_taken_exactly(ways: Ways, what: str) -> None:
    make, column, wanted = TAKEN[what]
    for way in (ways.gate, ways.ingest):
        answer = await way.ingest("kinds.kind", make())
        assert (answer.accepted, answer.quarantined) == (len(wanted), 0), await ways.held()
        assert await ways.read(column) == wanted
        await ways.clear()


HELD: dict[str, tuple[Callable[[], Any], int, str]] = {
    "a time within a day": (lambda: table(day=instants(TICKS, TICKS + 1)), 1, "day: row 0 is a time within a day, not a day"),
    "a number for an instant": (lambda: table(instant=[TICKS]), 0, "instant: int64 does not say its unit; give a time"),
    "a number for a day": (lambda: table(day=pa.array([1], pa.int32())), 0, "day: int32 does not say its unit; give a day"),
    "a number for a span": (lambda: table(span=[5]), 0, "span: int64 does not say its unit; give a duration"),
    "a two for a truth": (lambda: table(truth=[1, 0, 2]), 2, "truth: row 0 is not true or false"),
    "nanoseconds": (
        lambda: table(instant=instants(TICKS * 1000, TICKS * 1000 + 1, unit="ns")),
        1,
        "instant: timestamp[ns, tz=UTC] does not fit",
    ),
    "half a unit": (
        lambda: table(big=pa.array([Decimal("1.5"), Decimal(1)], pa.decimal128(18, 2))),
        1,
        "big: decimal128(18, 2) does not fit",
    ),
    "a time beyond the end of times": (
        lambda: table(instant=instants(2**63 - 1, -(2**63), TICKS)),
        1,
        "instant: row 0 is not a time PostgreSQL keeps",
    ),
    "a day beyond the end of days": (
        lambda: table(day=pa.array([2**31 - 1, 0], pa.int32()).cast(pa.date32())),
        1,
        "day: row 0 is not a day PostgreSQL keeps",
    ),
    "a struct for a document": (lambda: table(document=[{"a": 1}]), 0, "document: struct<a: int64> is not text; a document is given as"),
    "infinity": (lambda: [{"n": 0, "instant": "infinity"}, {"n": 1}], 1, "instant: 'infinity' is not a time as 2026-"),
    "before Christ": (lambda: [{"n": 0, "instant": "0044-03-15 BC"}, {"n": 1}], 1, "instant: '0044-03-15 BC' is not a time as 2026-"),
    "floats of pandas": (lambda: pd.DataFrame({"n": [0, 1], "big": [1, None]}), 1, "big: double is not exact; give whole numbers (pandas"),
    "periods of pandas": (lambda: pd.DataFrame({"n": [0], "big": [pd.Period("2026-01")]}), 0, "big: pandas.period has no type here"),
    "a row of nothing": (lambda: [{}], 0, "a row without any value"),
    "an integer that Python does not write": (lambda: [{"n": 0, "u256": 10**5000}, {"n": 1}], 1, "u256: Exceeds the limit"),
    "a name twice in a line": (lambda: Payload(b'{"n":0,"text":"a","text":"b"}\n{"n":1}', "ndjson"), 1, "not JSON: 'text' is there twice"),
    "a list of rows in a line": (lambda: Payload(b'[{"n":0}]\n{"n":1}', "ndjson"), 1, "a JSON list; every line is an object of its own"),
    "parquet of another age": (
        lambda: parquet(table(instant=instants(TICKS)), use_deprecated_int96_timestamps=True),
        0,
        "instant: timestamp[ns] is not a time with its zone",
    ),
}


@pytest.mark.parametrize("what", HELD)
async def test_what_would_not_be_exact_is_held_and_the_rest_goes_on(ways: Ways, what: str) -> None:
    make, good, reason = HELD[what]
    for way in (ways.gate, ways.ingest):
        answer = await way.ingest("kinds.kind", make())
        held = await ways.held()
        assert (answer.accepted, answer.quarantined > 0) == (good, True), held
        assert len(held) == answer.quarantined
        assert held[0].startswith(reason)
        assert len(await ways.read("n")) == good
        await ways.clear()


REFUSED: dict[str, tuple[Callable[[], Any], type[ChainStrataError], str]] = {
    "a column twice": (lambda: pa.table([[1], ["a"], ["b"]], names=["n", "text", "text"]), UnfitColumn, "text: is given twice"),
    "a column of a csv twice": (lambda: Payload(b"n,text,text\n1,a,b\n", "csv"), UnfitColumn, "text: is given twice"),
    "rows without columns": (
        lambda: pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([]))),
        UsageError,
        "2 rows without any column",
    ),
    "a name in capitals": (lambda: pa.table({"N": [1]}), UnfitColumn, "N: no such column"),
    "a name in capitals, in rows": (lambda: [{"N": 1}], UnfitColumn, "N: no such column"),
    "semicolons": (lambda: Payload(b"n;text\n1;a\n", "csv"), PayloadUnreadable, "separated by ';', not by commas"),
    "polars: objects": (
        lambda: pl.DataFrame({"n": [1], "data": pl.Series([object()], dtype=pl.Object)}),
        UsageError,
        "column data holds Python objects",
    ),
    "polars: not computed yet": (lambda: pl.LazyFrame({"n": [1]}), UsageError, "cannot read rows from LazyFrame"),
    "pandas: objects": (lambda: pd.DataFrame({"n": [1], "text": [object()]}), UsageError, "column text holds values of several kinds"),
    "numpy": (lambda: np.array([1, 2]), UsageError, "a row is int64"),
    "tables and rows": (lambda: [pa.table({"n": [1]}), {"n": 2}], UsageError, "dict among tables"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_nobody_can_read_is_refused_with_a_hint(ways: Ways, what: str) -> None:
    make, kind, message = REFUSED[what]
    for way in (ways.gate, ways.ingest):
        with pytest.raises(kind) as caught:
            await way.ingest("kinds.kind", make())
        assert message in caught.value.message
        assert caught.value.hint
        assert await ways.read("n") == []


@pytest.mark.parametrize("name", ["b" * 1001, "漢" * 400, "a\0b", "a\ud800"])
async def test_a_name_that_cannot_be_kept_is_refused(ways: Ways, name: str) -> None:
    for way in (ways.gate, ways.ingest):
        with pytest.raises(UsageError, match="the name of the batch"):
            await way.ingest("kinds.kind", [{"n": 1}], batch=name)
    answer = await ways.gate.ingest("kinds.kind", [{"n": 1}], batch=name[:1000].strip("\0\ud800").replace("\0", "")[:300])
    assert answer.accepted == 1


async def test_one_of_many_writers_whose_rows_are_strange_harms_nobody(ways: Ways) -> None:
    good = [ways.gate.ingest("kinds.kind", [{"n": n}]) for n in range(20)]
    strange = [
        ways.gate.ingest("kinds.kind", rows) for rows in ([{}], [{"n": 99, "u256": 10**5000}], pa.table([[1], [1]], names=["n", "n"]))
    ]
    answers = await asyncio.gather(*good, *strange, return_exceptions=True)
    assert [answer.accepted for answer in answers[:20] if not isinstance(answer, BaseException)] == [1] * 20
    assert isinstance(answers[22], UnfitColumn)
    assert await ways.read("n") == list(range(20))
