"""Large answers as Arrow: every value as the driver itself reads it, whatever the type, in pieces that fit memory."""

import asyncio
import json
import math
import random
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

import pyarrow as pa
import pytest
import sqlalchemy as sa
from psycopg.rows import tuple_row

from chainstrata.engines.postgres import Connection, Database, Query
from chainstrata.engines.postgres.arrow import Unrepresentable, fetch_arrow, open_arrow
from chainstrata.engines.postgres.errors import BadValue, StatementError, StatementFailed, UndefinedName

CREATE: LiteralString = """
    CREATE TABLE kinds (
        b bool, i2 int2, i4 int4, i8 int8, o oid, f4 float4, f8 float8, n20 numeric(20, 0), n40 numeric(40, 10), free numeric,
        wide numeric(78, 0), t text, v varchar(20), c char(5), raw bytea, d date, at timestamptz, plain timestamp, tod time, u uuid,
        j json, jb jsonb, word mood, words text[], many int8[], gone interval, net inet, moods mood[], times timestamptz[]
    )
"""
ONE: dict[str, Any] = {
    "b": True,
    "i2": -32768,
    "i4": 2**31 - 1,
    "i8": -(2**63),
    "o": 2**32 - 1,
    "f4": 1.5,
    "f8": -math.pi,
    "n20": Decimal(2**64 - 1),
    "n40": Decimal("123456789012345678901234567890.0123456789"),
    "free": Decimal("-0.00000000000000000000000123"),
    "wide": Decimal(2**256 - 1),
    "t": "snow ☃ \n\t\\",
    "v": "",
    "c": "ab   ",
    "raw": b"\x00\xff\n",
    "d": date(1, 1, 1),
    "at": datetime(2026, 11, 20, 17, 31, 7, 123456, tzinfo=UTC),
    "plain": datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001  # what a time without a zone is
    "tod": time(23, 59, 59, 999999),
    "u": UUID("00112233-4455-6677-8899-aabbccddeeff"),
    "j": '{"a": 1.10}',
    "jb": '{"a": 1.10}',
    "word": "sad",
    "words": ["a", None, "", "ö"],
    "many": [1, -(2**63), None],
    "gone": timedelta(days=-3, hours=5, microseconds=7),
    "net": "10.0.0.0/8",
    "moods": "{sad,happy}",
    "times": [datetime(2000, 1, 1, tzinfo=UTC), None],
}


@pytest.fixture
async def kinds(database: Database) -> Database:
    await database.execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
    await database.execute(CREATE)
    return database


async def insert(database: Database, *rows: dict[str, Any]) -> None:
    for row in rows:
        names: Any = ", ".join(row)
        places: Any = ", ".join(f"%({name})s" for name in row)
        await database.execute(f"INSERT INTO kinds ({names}) VALUES ({places})", row)


def as_arrow_says(name: str, value: Any) -> Any:
    """Return what the driver gives as Arrow gives it back."""
    if value is None:
        return None
    if name in {"wide", "net", "moods", "u"}:
        return str(value)
    if name in {"j", "jb"}:
        return json.dumps(value)
    return value


def plain(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "gone":
        return timedelta(days=value.days, microseconds=value.nanoseconds // 1000)
    return json.dumps(json.loads(value)) if name in {"j", "jb"} else value


async def test_every_type_comes_as_the_driver_reads_it(kinds: Database) -> None:
    dice = random.Random(5)
    rows = [ONE, {"t": "all the others are NULL"}]
    rows += [{name: value for name, value in ONE.items() if dice.random() < 0.6} | {"t": str(n)} for n in range(40)]
    await insert(kinds, *rows)
    table = await fetch_arrow(kinds, "SELECT * FROM kinds")
    expected = await kinds.fetch_all("SELECT * FROM kinds")
    for name in ONE:
        found = [plain(name, value) for value in table[name].to_pylist()]
        assert found == [as_arrow_says(name, getattr(row, name)) for row in expected], name
    assert table.num_rows == 42
    table.validate(full=True)


async def test_numbers_have_the_type_they_are_declared_with(kinds: Database) -> None:
    await insert(kinds, ONE)
    async with open_arrow(kinds, "SELECT n20, n40, free, wide, at FROM kinds", decimals={"free": (40, 26)}) as batches:
        assert batches.schema.types == [
            pa.decimal128(20, 0),
            pa.decimal256(40, 10),
            pa.decimal256(40, 26),
            pa.string(),
            pa.timestamp("us", tz="UTC"),
        ]
        [batch] = [one async for one in batches]
    assert batch["free"][0].as_py() == ONE["free"]
    async with open_arrow(kinds, "SELECT free FROM kinds") as batches:
        assert (await batches.read_all())["free"].to_pylist() == ["-0.00000000000000000000000123"]
    with pytest.raises(Unrepresentable, match="'free' holds a number that decimal128"):
        async with open_arrow(kinds, "SELECT free FROM kinds", decimals={"free": (38, 18)}) as batches:
            await batches.read_all()


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        (["1.5", "0.00000000123", "-12345678901234567890"], pa.decimal128(38, 18)),
        (["0.000000000000000000001"], pa.decimal128(38, 21)),
        (["1" + "0" * 40, "0.5"], pa.decimal256(76, 1)),
        (["1" + "0" * 77], pa.string()),
        (["NaN", "1"], pa.string()),
        (["-Infinity"], pa.string()),
        ([None, "7"], pa.decimal128(38, 18)),
    ],
)
async def test_free_numbers_get_the_decimal_that_holds_them_all(database: Database, numbers: list[str | None], kind: Any) -> None:
    table = await fetch_arrow(database, "SELECT unnest(%(numbers)s::numeric[]) AS n", {"numbers": numbers})
    assert table.schema.types == [kind]
    own = str if kind == pa.string() else Decimal
    assert table["n"].to_pylist() == [None if text is None else own(text) for text in numbers]


async def test_a_large_answer_comes_in_pieces_in_order(database: Database) -> None:
    query: LiteralString = (
        "SELECT n, repeat('x', n %% 7) AS pad, CASE WHEN n %% 3 > 0 THEN n END AS some FROM generate_series(1, %(n)s) AS n"
    )
    async with open_arrow(database, query, {"n": 200_000}) as batches:
        sizes, total, last = [], 0, 0
        async for batch in batches:
            first = batch["n"][0].as_py()
            assert first == last + 1
            last = batch["n"][-1].as_py()
            sizes.append(batch.num_rows)
            total += sum(value or 0 for value in batch["some"].to_pylist())
            assert batch["pad"].to_pylist() == ["x" * (n % 7) for n in range(first, last + 1)]
    assert len(sizes) > 3
    assert (last, total) == (200_000, sum(n for n in range(200_001) if n % 3))


async def test_it_takes_part_in_the_transaction_it_is_given(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("CREATE TEMPORARY TABLE own (n int) ON COMMIT DROP")
        await connection.execute("INSERT INTO own VALUES (1), (2)")
        assert (await fetch_arrow(connection, "TABLE own"))["n"].to_pylist() == [1, 2]
        async with open_arrow(connection, "SELECT * FROM generate_series(1, 1000000) AS n") as batches:
            async for _ in batches:
                break
        assert await connection.fetch_value("SELECT count(*) FROM own") == 2


async def test_statements_of_every_kind(database: Database) -> None:
    named = Query("some", "Some.", "SELECT %(word)s AS word, '100%%' AS all -- and no more", ("word",))
    assert (await fetch_arrow(database, named, {"word": "it's"})).to_pylist() == [{"word": "it's", "all": "100%"}]
    core = sa.select(sa.literal_column("1", sa.Integer).label("one")).where(sa.bindparam("x", type_=sa.Integer) > 3)
    assert (await fetch_arrow(database, core, {"x": 4})).to_pylist() == [{"one": 1}]
    twice = await fetch_arrow(database, "SELECT 1.5::numeric AS a, 2 AS a")
    assert [column.to_pylist() for column in twice.columns] == [[Decimal("1.5")], [2]]
    empty = await fetch_arrow(database, "SELECT 1 AS a, 2.5::numeric AS b WHERE false")
    assert (empty.num_rows, empty.column_names) == (0, ["a", "b"])


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT * FROM nowhere", UndefinedName),
        ("SELECT 1 / (n - 50000) FROM generate_series(1, 100000) AS n", BadValue),
        ("SELECT %(missing)s", StatementError),
        ("SELECT 'infinity'::timestamptz AS never", Unrepresentable),
        ("SELECT '-infinity'::date AS never", Unrepresentable),
        ("SELECT ARRAY[[1, 2], [3, 4]]::int8[] AS grid", Unrepresentable),
        ("DELETE FROM pg_class", StatementFailed),
    ],
)
async def test_what_cannot_be_read_is_told(database: Database, statement: LiteralString, error: type[Exception]) -> None:
    async with database.connection() as connection:
        with pytest.raises(error):
            await fetch_arrow(connection, statement, {})
        assert await connection.fetch_value("SELECT 1") == 1


async def test_a_reader_that_is_cancelled_leaves_a_connection_that_works(database: Database) -> None:
    async with database.connection() as connection:
        started = asyncio.Event()

        async def read() -> None:
            async with open_arrow(connection, "SELECT n, pg_sleep(n / 100000 * 10) FROM generate_series(1, 200000) AS n") as batches:
                async for _ in batches:
                    started.set()

        task = asyncio.ensure_future(read())
        await asyncio.wait_for(started.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)
        assert await connection.fetch_value("SELECT 1") == 1


async def rows_of(connection: Connection, statement: LiteralString) -> list[Any]:
    return await connection.fetch_all(statement, row_factory=tuple_row)


async def test_all_the_samples_of_every_pack(samples: Connection) -> None:
    """Real columns, generated ones and domains included."""
    for table in ("validators.validator_snapshots", "portfolio.portfolio_holdings", "relay.packet_flow", "insights.insight_feedback"):
        query: Any = f"SELECT * FROM {table} LIMIT 500"
        arrow = await fetch_arrow(samples, query)
        expected = await rows_of(samples, query)
        for place, column in enumerate(arrow.columns):
            kept = [row[place] for row in expected]
            if pa.types.is_string(column.type):
                kept = [None if one is None else str(one) for one in kept]
            if not any(isinstance(one, dict | list | timedelta) for one in kept) and "{" not in str(kept[0]):
                assert column.to_pylist() == kept, (table, arrow.column_names[place])
