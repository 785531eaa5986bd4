"""Every value of every column type arrives in PostgreSQL as it left Arrow, through blocks of binary COPY."""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.ingest import UnfitColumn, copy_rows, describe_table
from chainstrata.ingest.encode import BLOCK_ROWS
from tests.fixtures.postgres import Server

TYPES: tuple[LiteralString, ...] = (
    "CREATE DOMAIN uint64 AS numeric(20, 0) CHECK (VALUE >= 0 AND VALUE <= 18446744073709551615)",
    "CREATE DOMAIN uint256 AS numeric(78, 0) CHECK (VALUE >= 0)",
    "CREATE TYPE mood AS ENUM ('calm', 'glad', 'über')",
)
U64, U256 = 2**64 - 1, 2**256 - 1
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


def same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Case:
    """A column type, the Arrow type values come in, values, and what they are once they were read back."""

    column: LiteralString
    arrow: Any
    values: st.SearchStrategy[Any]
    given: Callable[[Any], Any] = same
    back: Callable[[Any], Any] = same
    select: LiteralString = "v"
    wanted: Callable[[Any], Any] = same


text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=18)
naive = st.datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None))
aware = st.datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None), timezones=st.just(UTC))
# The last of PostgreSQL's own limits, in microseconds since 1970, which Python's datetime does not reach.
ticks = st.integers(-210_866_803_200_000_000, 9_223_372_036_854_775_806 - 2**53)
durations = st.timedeltas(timedelta(days=-3_000_000), timedelta(days=3_000_000))


@st.composite
def number_texts(draw: st.DrawFn) -> str:
    """Draw a number as a feed may write it: any length, zeros in front and behind, with or without an exponent."""
    sign = draw(st.sampled_from(["", "-", "+"]))
    whole, part = draw(st.text("0123456789", max_size=90)), draw(st.text("0123456789", max_size=40))
    if not whole and not part:
        whole = "0"
    point = draw(st.sampled_from(["", "."])) if not part else "."
    exponent = draw(st.sampled_from(["", f"e{draw(st.integers(-60, 60))}", f"E+{draw(st.integers(0, 60))}"]))
    return f"{sign}{whole}{point}{part}{exponent}"


def shown(value: str) -> str:
    """Return how PostgreSQL shows a number: its value in full, with as many digits after the point as were given."""
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    digits = f"{int(number)}" if exponent > 0 else f"{number:f}"
    return digits if number else digits.removeprefix("-")


CASES = {
    "bool": Case("bool", pa.bool_(), st.booleans()),
    "int2": Case("int2", pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "int4 from int64": Case("int4", pa.int64(), st.integers(-(2**31), 2**31 - 1)),
    "int8": Case("int8", pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "int8 from uint64": Case("int8", pa.uint64(), st.integers(0, 2**63 - 1)),
    "int8 from text": Case("int8", pa.string(), st.integers(-(2**63), 2**63 - 1), given=str),
    "float4": Case("float4", pa.float32(), st.floats(width=32, allow_nan=False), select="v::float8"),
    "float8": Case("float8", pa.float64(), st.floats(allow_nan=False)),
    "numeric from int64": Case("numeric", pa.int64(), st.integers(-(2**63), 2**63 - 1), back=int),
    "numeric from decimal128": Case("numeric", pa.decimal128(38, 0), st.integers(-(10**38) + 1, 10**38 - 1), given=Decimal, back=int),
    "numeric from decimal128, digits after the point": Case(
        "numeric", pa.decimal128(38, 7), st.integers(-(10**27), 10**27).map(lambda i: Decimal(i).scaleb(-7))
    ),
    "numeric from decimal256": Case("numeric", pa.decimal256(76, 18), decimals),
    "numeric, all after the point": Case("numeric", pa.decimal128(38, 38), st.integers(0, 10**37).map(lambda i: Decimal(i).scaleb(-38))),
    "numeric from a decimal of negative scale": Case(
        "numeric", pa.decimal128(10, -3), st.integers(-(10**9), 10**9), given=lambda i: Decimal(i * 1000), back=lambda d: int(d) // 1000
    ),
    "numeric from text": Case("numeric", pa.string(), number_texts(), select="v::text", wanted=shown),
    "numeric(20, 8)": Case("numeric(20, 8)", pa.decimal128(20, 8), st.integers(-(10**19), 10**19).map(lambda i: Decimal(i).scaleb(-8))),
    "uint64 from uint64": Case("uint64", pa.uint64(), st.integers(0, U64), back=int),
    "uint64 from text": Case("uint64", pa.string(), st.integers(0, U64), given=str, back=int),
    "uint256 from text": Case("uint256", pa.string(), st.integers(0, U256), given=str, back=int),
    "uint256 from decimal256": Case("uint256", pa.decimal256(76, 0), st.integers(0, 10**76 - 1), given=Decimal, back=int),
    "text": Case("text", pa.string(), text),
    "text from large_string": Case("text", pa.large_string(), text),
    "text from a dictionary": Case("text", pa.dictionary(pa.int32(), pa.string()), text),
    "varchar": Case("varchar(9)", pa.string(), st.text("aé漢", max_size=9)),
    "enum": Case("mood", pa.string(), st.sampled_from(["calm", "glad", "über"])),
    "enum from a dictionary": Case("mood", pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["calm", "glad", "über"])),
    "bytea": Case("bytea", pa.binary(), st.binary()),
    "bytea of 48": Case("bytea", pa.binary(48), st.binary(min_size=48, max_size=48)),
    "uuid from bytes": Case("uuid", pa.binary(16), st.uuids(), given=lambda u: u.bytes),
    "uuid from text": Case("uuid", pa.string(), st.uuids(), given=str),
    "uuid from text without dashes": Case("uuid", pa.string(), st.uuids(), given=lambda u: u.hex.upper()),
    "uuid from the type of Arrow": Case("uuid", pa.uuid(), st.uuids(), given=lambda u: u.bytes),
    "jsonb": Case(
        "jsonb",
        pa.string(),
        st.recursive(st.none() | st.booleans() | st.integers() | text, lambda i: st.lists(i) | st.dictionaries(text, i), max_leaves=9),
        given=json.dumps,
        select="v::text",
        back=json.loads,
    ),
    "timestamptz": Case("timestamptz", pa.timestamp("us", tz="UTC"), aware),
    "timestamptz from another zone": Case("timestamptz", pa.timestamp("us", tz="Asia/Tokyo"), aware),
    "timestamptz from milliseconds": Case(
        "timestamptz", pa.timestamp("ms", tz="UTC"), aware.map(lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000))
    ),
    "timestamptz over all its range": Case(
        "timestamptz", pa.timestamp("us", tz="UTC"), ticks, select="(extract(epoch FROM v) * 1000000)::bigint"
    ),
    "timestamp": Case("timestamp", pa.timestamp("us"), naive),
    "date": Case("date", pa.date32(), st.dates(date(1, 1, 1), date(9999, 12, 31))),
    "time": Case("time", pa.time64("us"), st.times(time(0), time(23, 59, 59, 999999))),
    "interval": Case("interval", pa.duration("us"), durations),
    "interval of months": Case(
        "interval",
        pa.month_day_nano_interval(),
        st.tuples(st.integers(-99999, 99999), st.integers(-99999, 99999), st.integers(-(10**12), 10**12)),
        given=lambda p: (p[0], p[1], p[2] * 1000),
        select="CASE WHEN v IS NOT NULL THEN ARRAY[extract(year FROM v) * 12 + extract(month FROM v), extract(day FROM v),"
        " extract(hour FROM v) * 3600000000 + extract(minute FROM v) * 60000000 + extract(microsecond FROM v)] END",
        back=lambda found: tuple(int(part) for part in found),
    ),
    "array of text": Case("text[]", pa.list_(pa.string()), st.lists(st.none() | text, max_size=5)),
    "array of int8": Case("int8[]", pa.list_(pa.int64()), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=5)),
    "array of a domain": Case(
        "uint256[]",
        pa.list_(pa.string()),
        st.lists(st.integers(0, U256), max_size=3),
        given=lambda i: [*map(str, i)],
        select="v::numeric[]",
    ),
    "array of an enum": Case("mood[]", pa.list_(pa.string()), st.lists(st.sampled_from(["calm", "glad"]), max_size=3), select="v::text[]"),
    "array of numbers with digits after the point": Case(
        "numeric[]", pa.list_(pa.decimal128(38, 18)), st.lists(decimals.filter(lambda d: abs(d) < 10**19), max_size=3)
    ),
    "array from lists of one length": Case("int4[]", pa.list_(pa.int32(), 2), st.tuples(*[st.integers(0, 9)] * 2).map(list)),
}


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[str]:
    """Give one database for all tests here, because making one takes longer than most of them."""
    name = f"chainstrata_encode_{os.getpid()}"
    with psycopg.connect(server.connect_to("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        with psycopg.connect(server.connect_to(name), autocommit=True) as inside:
            for statement in TYPES:
                inside.execute(statement)
        yield server.connect_to(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
async def types(shared: str) -> AsyncIterator[Database]:
    async with Database(shared, options=PoolOptions(min_size=1, max_size=2)) as database:
        yield database
        await database.execute("DROP TABLE t")


async def send(database: Database, rows: Any) -> int:
    async with database.connection() as connection:
        return await copy_rows(connection, await describe_table(connection, "public", "t"), rows)


def column_of(case: Case, values: Sequence[Any]) -> Any:
    """Return the values as an Arrow array that is the middle of a longer one, because the parts of a table share their buffers."""
    column = pa.array([None if value is None else case.given(value) for value in values], case.arrow)
    return column if pa.types.is_dictionary(case.arrow) else pa.concat_arrays([column] * 3).slice(len(values), len(values))


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
async def test_every_value_arrives_as_it_was(types: Database, case: Case) -> None:
    drawn: list[list[Any]] = []

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.lists(st.none() | case.values, max_size=6))
    def draw(values: list[Any]) -> None:
        drawn.append(values)

    draw()
    async with types.transaction() as connection:
        await connection.execute(sql.SQL("CREATE TABLE t (block int, row int, v {}, last text)").format(sql.SQL(case.column)))
        table = await describe_table(connection, "public", "t")
        for number, values in enumerate(drawn):
            count = len(values)
            rows = {"block": [number] * count, "row": range(count), "v": column_of(case, values), "last": ["end"] * count}
            assert await copy_rows(connection, table, pa.table(rows)) == count
        query = sql.SQL("SELECT {} AS v FROM t ORDER BY block, row").format(sql.SQL(case.select))
        found = [None if row.v is None else case.back(row.v) for row in await connection.fetch_all(query)]
    assert found == [None if value is None else case.wanted(value) for values in drawn for value in values]


async def test_numbers_that_are_none_arrive_too(types: Database) -> None:
    await types.execute("CREATE TABLE t (v numeric)")
    words = ["NaN", "Infinity", "-inf", "+Infinity", "nan", "1e3", None, "-0.00"]
    await send(types, pa.table({"v": words}))
    found = [row.v for row in await types.fetch_all("SELECT v::text FROM t")]
    assert found == ["NaN", "Infinity", "-Infinity", "Infinity", "NaN", "1000", None, "0.00"]


async def test_a_few_numbers_of_thousands_of_digits_do_not_make_all_large(types: Database) -> None:
    await types.execute("CREATE TABLE t (n int, v numeric)")
    numbers = [f"{row}.5" for row in range(5_000)]
    numbers[17], numbers[4_321] = "1e-16000", "-7e131000"
    await send(types, pa.table({"n": range(5_000), "v": numbers}))
    long = await types.fetch_all(
        "SELECT n, scale(v) AS scale, v = %(small)s::numeric AS small FROM t WHERE n IN (17, 4321) ORDER BY n", {"small": "1e-16000"}
    )
    assert [(row.n, row.scale, row.small) for row in long] == [(17, 16000, True), (4321, 0, False)]
    assert await types.fetch_value("SELECT count(*) FROM t WHERE n NOT IN (17, 4321) AND v = n + 0.5") == 4_998


async def test_more_rows_than_a_block_holds(types: Database) -> None:
    count = 2 * BLOCK_ROWS + 3
    await types.execute("CREATE TABLE t (a int8 NOT NULL, b text, c numeric, d timestamptz, e int4, f uint256)")
    numbers = range(count)
    rows = pa.table(
        {
            "f": [None if n % 5 == 0 else str(n * 10**60) for n in numbers],
            "b": [None if n % 3 == 0 else f"row {n}" for n in numbers],
            "d": pa.array([None if n % 7 == 0 else n * 1000 for n in numbers], pa.timestamp("us", tz="UTC")),
            "c": pa.array([None if n % 2 == 0 else n for n in numbers], pa.int64()).cast(pa.decimal128(38, 0)),
            "a": pa.array(numbers, pa.int64()),
        }
    )
    chunked = pa.concat_tables([rows.slice(0, 1000), rows.slice(1000)])
    assert await send(types, chunked) == count
    wrong = await types.fetch_value(
        """
        SELECT count(*) FROM t WHERE e IS NOT NULL
            OR b IS DISTINCT FROM CASE WHEN a % 3 <> 0 THEN 'row ' || a END
            OR c IS DISTINCT FROM CASE WHEN a % 2 <> 0 THEN a END
            OR d IS DISTINCT FROM CASE WHEN a % 7 <> 0 THEN '1970-01-01Z'::timestamptz + a * interval '1 millisecond' END
            OR f IS DISTINCT FROM CASE WHEN a % 5 <> 0 THEN a * 10::numeric ^ 60 END
        """
    )
    assert wrong == 0
    assert await types.fetch_value("SELECT count(DISTINCT a) FROM t") == count


async def test_a_null_list_may_hide_elements(types: Database) -> None:
    await types.execute("CREATE TABLE t (v int8[])")
    lists = pa.ListArray.from_arrays([0, 2, 4, 5], pa.array([1, 2, 3, 4, 5]), mask=pa.array([False, True, False]))
    await send(types, pa.table({"v": lists}))
    assert [row.v for row in await types.fetch_all("SELECT v FROM t")] == [[1, 2], None, [5]]


async def test_columns_left_out_have_their_default(types: Database) -> None:
    await types.execute(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, v int NOT NULL, w int NOT NULL DEFAULT 7, x int GENERATED ALWAYS AS (v * 2) STORED)"
    )
    await send(types, pa.table({"v": [3]}))
    assert [tuple(row) for row in await types.fetch_all("SELECT * FROM t")] == [(1, 3, 7, 6)]


async def test_a_block_that_does_not_fit_takes_those_before_it_with_it(types: Database) -> None:
    await types.execute("CREATE TABLE t (v int8)")
    values = pa.array([*range(BLOCK_ROWS), 2**63], pa.uint64())
    with pytest.raises(UnfitColumn):
        await send(types, pa.table({"v": values}))
    assert await types.fetch_value("SELECT count(*) FROM t") == 0
    assert await send(types, pa.table({"v": values.slice(0, BLOCK_ROWS)})) == BLOCK_ROWS
