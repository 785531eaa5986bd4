"""What the reader decodes is what happened: random tables and histories, large transactions in pieces, tables that change."""

import asyncio
import json
import math
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import conninfo as libpq
from psycopg import sql
from psycopg.types.json import Jsonb

from chainstrata.cdc.assemble import Assembler
from tests.fixtures.capture import Followed, followed, load_types, log_end, read_to
from tests.fixtures.postgres import NewDatabase, Server

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**60), max_value=10**60).map(lambda number: number.normalize())
WHOLE = st.integers(0, 2**256 - 1).map(Decimal)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | TEXTS, lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
KINDS: dict[str, Any] = {
    "boolean": st.booleans(),
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "double precision": st.floats(allow_nan=False),
    "real": st.floats(width=32, allow_nan=False),
    "text": TEXTS,
    "varchar(60)": TEXTS,
    "bytea": st.binary(max_size=40),
    "uuid": st.uuids(),
    "numeric": NUMBERS,
    "numeric(20,0)": st.integers(-(10**20) + 1, 10**20 - 1).map(Decimal),
    "numeric(38,18)": st.integers(-(10**38) + 1, 10**38 - 1).map(lambda number: Decimal(number).scaleb(-18)),
    "numeric(78,0)": WHOLE,
    "exact": WHOLE,
    "timestamptz": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
    "timestamp": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001
    "date": st.dates(date(1, 1, 2), date(9999, 12, 30)),
    "time": st.times(max_value=time(23, 59, 59)),
    "interval": st.tuples(st.integers(-300, 300), st.integers(-3000, 3000), st.integers(-(10**12), 10**12)),
    "jsonb": DOCUMENTS,
    "mood": st.sampled_from(["calm", "wild"]),
    "text[]": st.lists(st.none() | TEXTS, max_size=3),
    "numeric(20,2)[]": st.lists(st.integers(-(10**9), 10**9).map(lambda number: Decimal(number).scaleb(-2)), max_size=3),
}
KEYS = ["bigint", "text", "uuid", "timestamptz", "numeric(20,0)"]
LARGE = "".join(sha256(str(n).encode()).hexdigest() for n in range(1200))


def into(value: Any, kind: str) -> Any:
    """Return a value as psycopg sends it."""
    if value is None:
        return None
    if kind == "jsonb":
        return Jsonb(value)
    if kind == "interval":
        months, days, micros = value
        return f"{months} mon {days} days {micros} microseconds"
    return value


def expected(value: Any, kind: str) -> Any:
    """Return a value as the reader gives it."""
    if value is not None and kind == "uuid":
        return value.bytes
    if value is not None and kind == "real" and math.isfinite(value):
        return value
    return value


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[str], list[str], list[list[Any]]]:
    """Return types of the key's columns, of the others, and transactions: lists of operations, the last says how it ends."""
    key = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=2))
    others = draw(st.lists(st.sampled_from(sorted(KINDS)), max_size=6))
    keys = draw(st.lists(st.tuples(*(KINDS[kind] for kind in key)), min_size=1, max_size=6, unique=True))
    row = st.tuples(*(st.none() | KINDS[kind] for kind in others))
    operation = st.one_of(
        st.tuples(st.just("put"), st.sampled_from(keys), row),
        st.tuples(st.just("put"), st.sampled_from(keys), row),
        st.tuples(st.just("move"), st.sampled_from(keys), st.sampled_from(keys)),
        st.tuples(st.just("drop"), st.sampled_from(keys)),
        st.tuples(st.just("large"), st.sampled_from(keys)),
        st.tuples(st.just("truncate")),
    )
    transaction = st.tuples(st.lists(operation, min_size=1, max_size=5), st.sampled_from(["commit", "commit", "savepoint", "rollback"]))
    return key, others, draw(st.lists(transaction, min_size=1, max_size=6))


class Table:
    """A table in PostgreSQL that a history is played on."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], name: str, key: list[str], others: list[str]) -> None:
        self._connection = connection
        self.name = sql.Identifier(name)
        self._key = [(f"k{n}", kind) for n, kind in enumerate(key)]
        self._others = [(f"c{n}", kind) for n, kind in enumerate(others)]

    async def create(self) -> None:
        columns = [f"{name} {kind}" for name, kind in [*self._key, *self._others]] + ["large text", "n bigint"]
        keys = ", ".join(name for name, _ in self._key)
        await self._connection.execute(f"CREATE TABLE {self.name.as_string()} ({', '.join(columns)}, PRIMARY KEY ({keys}))".encode())

    async def run(self, transactions: list[Any]) -> None:
        for operations, end in transactions:
            async with self._connection.transaction(force_rollback=end == "rollback"):
                for number, operation in enumerate(operations):
                    async with self._connection.transaction(force_rollback=end == "savepoint" and number % 2 == 1):
                        await self._do(*operation)

    async def _do(self, what: str, *given: Any) -> None:
        where = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name, _ in self._key)
        if what == "truncate":
            await self._connection.execute(sql.SQL("TRUNCATE {}").format(self.name))
        elif what == "drop":
            await self._connection.execute(sql.SQL("DELETE FROM {} WHERE {}").format(self.name, where), given[0])
        elif what == "large":
            # The large value is kept out of line, and later updates do not send it again.
            statement = sql.SQL("UPDATE {} SET large = %s WHERE {}").format(self.name, where)
            await self._connection.execute(statement, [LARGE, *given[0]])
        elif what == "move":
            places = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name, _ in self._key)
            there = sql.SQL("EXISTS (SELECT FROM {} WHERE {})").format(self.name, where)
            statement = sql.SQL("UPDATE {} SET {} WHERE {} AND NOT {}").format(self.name, places, where, there)
            await self._connection.execute(statement, [*given[1], *given[0], *given[1]])
        else:
            await self._put(*given)

    async def _put(self, key: tuple[Any, ...], row: tuple[Any, ...]) -> None:
        names = [name for name, _ in [*self._key, *self._others]]
        kinds = [kind for _, kind in [*self._key, *self._others]]
        values = [into(value, kind) for value, kind in zip([*key, *row], kinds, strict=True)]
        places = sql.SQL(", ").join(sql.SQL("%s::{}").format(sql.SQL(kind)) for kind in kinds)
        sets = sql.SQL(", ").join(
            [*(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name, _ in self._others), sql.SQL("n = coalesce(t.n, 0) + 1")]
        )
        statement = sql.SQL("INSERT INTO {} AS t ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}").format(
            self.name,
            sql.SQL(", ").join(map(sql.Identifier, names)),
            places,
            sql.SQL(", ").join(sql.Identifier(name) for name, _ in self._key),
            sets,
        )
        await self._connection.execute(statement, values)

    async def rows(self) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        columns = [*self._key, *self._others, ("large", "text"), ("n", "bigint")]
        shown = []
        for name, kind in columns:
            column = sql.Identifier(name)
            if kind == "interval":
                parts = "ARRAY[extract(year FROM {0}) * 12 + extract(month FROM {0}), extract(day FROM {0}), \
                    extract(hour FROM {0}) * 3600000000 + extract(minute FROM {0}) * 60000000 + extract(microsecond FROM {0})]"
                shown.append(sql.SQL("CASE WHEN {0} IS NOT NULL THEN " + parts + "::int8[] END").format(column))
            elif kind in ("jsonb", "mood"):
                shown.append(sql.SQL("{}::text").format(column))
            else:
                shown.append(column)
        cursor = self._connection.cursor(binary=True)
        await cursor.execute(sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(shown), self.name))
        found = {}
        for row in await cursor.fetchall():
            values = [self._plain(value, kind) for value, (_, kind) in zip(row, columns, strict=True)]
            found[tuple(values[: len(self._key)])] = tuple(values)
        return found

    def _plain(self, value: Any, kind: str) -> Any:
        if value is None:
            return None
        if kind == "interval":
            return tuple(value)
        return json.loads(value) if kind == "jsonb" else expected(value, kind)


@pytest.fixture(scope="module")
def place(server: Server) -> Any:
    """Give the conninfo of a database with a few types of its own."""
    name = f"chainstrata_capture_{os.getpid()}"
    with psycopg.connect(server.connect_to("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        with psycopg.connect(server.connect_to(name), autocommit=True) as inside:
            inside.execute("CREATE TYPE mood AS ENUM ('calm', 'wild')")
            inside.execute("CREATE DOMAIN exact AS numeric(78, 0) CHECK (value >= 0)")
        yield server.connect_to(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class Player:
    """Plays histories, one after the other, and follows them by one stream: making a slot for each would wait for whatever else runs."""

    def __init__(self, conninfo: str) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._runner.run(self._open(conninfo))

    async def _open(self, conninfo: str) -> None:
        connect = psycopg.AsyncConnection.connect(conninfo, autocommit=True)
        self._connection = await self._stack.enter_async_context(await connect)
        await self._connection.execute("SET timezone = 'UTC'")
        # So little memory that transactions with a large value are sent in pieces.
        reading = libpq.make_conninfo(conninfo, options="-c logical_decoding_work_mem=64kB")
        self._stream = await self._stack.enter_async_context(followed(reading, "histories", []))
        self._assembler = Assembler(most_bytes=4096)

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def play(self, key: list[str], others: list[str], transactions: list[Any]) -> None:
        self._runner.run(self._play(key, others, transactions))

    async def _play(self, key: list[str], others: list[str], transactions: list[Any]) -> None:
        name = "t" + os.urandom(6).hex()
        table = Table(self._connection, name, key, others)
        await table.create()
        await table.run(transactions)
        state = Followed(await load_types(self._connection))
        state.apply(await read_to(self._stream, self._assembler, await log_end(self._connection), seconds=60))
        assert state.tables.get(f"public.{name}", {}) == await table.rows()
        assert state.commits == sorted(state.commits)
        await self._connection.execute(sql.SQL("DROP TABLE {}").format(table.name))


@pytest.fixture(scope="module")
def player(place: str) -> Iterator[Player]:
    """Give what plays histories."""
    player = Player(place)
    yield player
    player.close()


@pytest.mark.conforms("S1-143", "S1-144", "S1-145")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(history=histories())
def test_random_histories_of_random_tables_are_decoded_as_they_happened(
    player: Player, history: tuple[list[str], list[str], list[Any]]
) -> None:
    player.play(*history)


@pytest.mark.oldest
async def test_large_transactions_come_in_pieces_while_they_run(conninfo: str) -> None:
    reading = libpq.make_conninfo(conninfo, options="-c logical_decoding_work_mem=64kB")
    connect = psycopg.AsyncConnection.connect
    async with await connect(conninfo) as one, await connect(conninfo) as two, await connect(conninfo, autocommit=True) as other:
        await other.execute("CREATE TABLE t (k bigint PRIMARY KEY, v text)")
        insert = "INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(%s::int, %s) n"
        async with followed(reading, "pieces", ["public.t"]) as stream:
            assembler = Assembler(most_bytes=1 << 20)
            await one.execute(insert, [1, 3000])
            await two.execute(insert, [10001, 13000])
            await one.execute("SAVEPOINT s")
            await one.execute(insert, [3001, 6000])
            await one.execute("UPDATE t SET v = 'wrong'")
            await one.execute("ROLLBACK TO s")
            await other.execute(insert, [20001, 20003])
            early = await read_to(stream, assembler, 0) if assembler.idle else []
            await one.execute(insert, [6001, 9000])
            await two.rollback()
            await one.commit()
            state = Followed(await load_types(other))
            state.apply(early + await read_to(stream, assembler, await log_end(other)))
    assert sorted(key for (key,) in state.tables["public.t"]) == [*range(1, 3001), *range(6001, 9001), 20001, 20002, 20003]
    assert {row[1] for row in state.tables["public.t"].values()} == {"x" * 100}
    assert state.commits == sorted(state.commits)


@pytest.mark.oldest
async def test_partitions_come_as_their_root_and_dropping_one_deletes_nothing(conninfo: str) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await connection.execute("CREATE TABLE t (k int, day date, v text, PRIMARY KEY (k, day)) PARTITION BY RANGE (day)")
        await connection.execute("CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')")
        await connection.execute("CREATE TABLE t_2 (v text, day date NOT NULL, k int NOT NULL)")
        await connection.execute("ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM ('2026-01-02') TO ('2026-01-03')")
        async with followed(conninfo, "parts", ["public.t"]) as stream:
            await connection.execute("INSERT INTO t VALUES (1, '2026-01-01', 'a'), (2, '2026-01-02', 'b'), (3, '2026-01-01', 'c')")
            await connection.execute("UPDATE t SET day = '2026-01-02', v = 'moved' WHERE k = 1")
            await connection.execute("ALTER TABLE t DETACH PARTITION t_1")
            await connection.execute("DROP TABLE t_1")
            state = Followed(await load_types(connection))
            state.apply(await read_to(stream, Assembler(most_bytes=1 << 20), await log_end(connection)))
    day = date(2026, 1, 1)
    assert state.tables == {
        "public.t": {
            (1, day + timedelta(1)): (1, day + timedelta(1), "moved"),
            (2, day + timedelta(1)): (2, day + timedelta(1), "b"),
            (3, day): (3, day, "c"),
        }
    }


async def test_a_table_that_changes_is_announced_before_its_rows(conninfo: str) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await connection.execute("CREATE TABLE t (k int PRIMARY KEY, v text)")
        async with followed(conninfo, "changing", ["public.t"]) as stream:
            await connection.execute("INSERT INTO t VALUES (1, 'a')")
            await connection.execute("ALTER TABLE t ADD COLUMN w numeric(10,2)")
            await connection.execute("INSERT INTO t VALUES (2, 'b', 1.5)")
            await connection.execute("ALTER TABLE t DROP COLUMN v")
            await connection.execute("INSERT INTO t VALUES (3, 2.5)")
            batches = await read_to(stream, Assembler(most_bytes=1 << 20), await log_end(connection))
    seen = [[column.name for column in relation.columns] for batch in batches for relation in batch.relations.values() if batch.messages]
    assert seen == [["k", "v"], ["k", "v", "w"], ["k", "w"]]


@pytest.mark.parametrize("stored", [True, False])
async def test_generated_columns_are_published_by_servers_that_can(new_database: NewDatabase, stored: bool) -> None:
    conninfo = await new_database()
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        if stored and connection.info.server_version < 180_000:
            pytest.skip("needs PostgreSQL 18")
        await connection.execute("CREATE TABLE t (k int PRIMARY KEY, twice int GENERATED ALWAYS AS (k * 2) STORED)")
        options = {"publish_generated_columns": "stored"} if stored else {}
        async with followed(conninfo, f"generated_{os.urandom(3).hex()}", ["public.t"], **options) as stream:
            await connection.execute("INSERT INTO t VALUES (4)")
            state = Followed(await load_types(connection))
            state.apply(await read_to(stream, Assembler(most_bytes=1 << 20), await log_end(connection)))
    assert state.tables["public.t"] == {(4,): (4, 8) if stored else (4,)}


async def test_what_is_confirmed_does_not_come_again_and_the_rest_does(conninfo: str) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await connection.execute("CREATE TABLE t (k int PRIMARY KEY)")
        async with followed(conninfo, "again", ["public.t"]) as stream:
            await connection.execute("INSERT INTO t VALUES (1)")
            first = await read_to(stream, Assembler(most_bytes=1 << 20), await log_end(connection))
            stream.confirm(first[-1].end_lsn)
            await connection.execute("INSERT INTO t VALUES (2)")
            await read_to(stream, Assembler(most_bytes=1 << 20), await log_end(connection))
            async with asyncio.timeout(10):
                while (await reader_of(connection, "again"))[0] < first[-1].end_lsn:
                    await stream.read(0.05)
            await stream._driver.close()
            async with asyncio.timeout(10):
                while (await reader_of(connection, "again"))[1]:
                    pass
            from chainstrata.cdc.stream import open_stream

            async with open_stream(conninfo, slot="again", publication="again") as second:
                state = Followed(await load_types(connection))
                state.apply(await read_to(second, Assembler(most_bytes=1 << 20), await log_end(connection)))
    assert state.tables["public.t"] == {(2,): (2,)}


async def reader_of(connection: psycopg.AsyncConnection[Any], slot: str) -> tuple[int, bool]:
    row = await (
        await connection.execute(
            "SELECT confirmed_flush_lsn - '0/0'::pg_lsn, active FROM pg_replication_slots WHERE slot_name = %s", [slot]
        )
    ).fetchone()
    assert row is not None
    return int(row[0]), row[1]
