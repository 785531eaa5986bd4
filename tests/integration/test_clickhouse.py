"""The embedded columnar engine under the stock client, as any program would use it."""

import asyncio
import contextlib
import http.client
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic
from typing import Any
from urllib.parse import urlencode, urlsplit

import clickhouse_connect
import numpy as np
import pyarrow as pa
import pytest
from clickhouse_connect.driver import AsyncClient, Client
from clickhouse_connect.driver.exceptions import DatabaseError

from chainstrata.engines.clickhouse import Columnar, ColumnarOptions
from chainstrata.engines.clickhouse.errors import (
    ColumnarAuthentication,
    ColumnarBadValue,
    ColumnarCanceled,
    ColumnarError,
    ColumnarInvalid,
    ColumnarMemory,
    ColumnarTimeout,
    ColumnarUndefined,
    ColumnarUnreachable,
)
from tests.fixtures.clickhouse import ColumnarServer

PRICES = "CREATE TABLE price (asset LowCardinality(String), at DateTime64(6, 'UTC'), usd Decimal(38, 18)) ENGINE = MergeTree ORDER BY (asset, at)"
NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
ROWS = [("eth", NOW, Decimal("1800.000000000000000001")), ("btc", NOW + timedelta(seconds=1), Decimal("64000.5"))]


def connection_of(server: ColumnarServer, **more: Any) -> dict[str, Any]:
    parts = urlsplit(server.url)
    return {"host": parts.hostname, "port": parts.port, "username": parts.username, "password": parts.password, **more}


@pytest.fixture
def client(columnar_server: ColumnarServer, columnar: Columnar) -> Iterator[Client]:
    with contextlib.closing(clickhouse_connect.get_client(**connection_of(columnar_server, database=columnar.database))) as opened:
        yield opened


@pytest.fixture
async def async_client(columnar_server: ColumnarServer, columnar: Columnar) -> AsyncIterator[AsyncClient]:
    opened = await clickhouse_connect.get_async_client(**connection_of(columnar_server, database=columnar.database))
    yield opened
    await opened.close()


def raw(
    server: ColumnarServer, query: str = "", body: bytes = b"", headers: dict[str, str] | None = None, **options: Any
) -> tuple[int, Any, bytes]:
    """Send one request as curl would."""
    parts = urlsplit(server.url)
    with contextlib.closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)) as connection:
        given = {"X-ClickHouse-User": parts.username or "", "X-ClickHouse-Key": parts.password or ""} if headers is None else headers
        connection.request("POST", "/?" + urlencode({"query": query, **options}), body, given)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


@pytest.mark.parametrize("compress", [False, True, "gzip", "zstd"])
def test_stock_client_writes_and_reads_every_way(columnar_server: ColumnarServer, columnar: Columnar, compress: bool | str) -> None:
    settings = connection_of(columnar_server, database=columnar.database, compress=compress, tz_mode="aware")
    with contextlib.closing(clickhouse_connect.get_client(**settings)) as client:
        client.command(PRICES)
        client.insert("price", ROWS, column_names=["asset", "at", "usd"])
        client.insert_arrow("price", client.query_arrow("SELECT * FROM price"))
        client.raw_insert("price", ["asset", "at", "usd"], b"sol\t2026-03-01 12:00:00\t95.25\n", fmt="TabSeparated")
        assert client.query("SELECT * FROM price WHERE asset = 'eth'").result_rows == [ROWS[0]] * 2
        assert client.command("SELECT count() FROM price") == 5
        assert client.query_df("SELECT sum(usd) AS total FROM price")["total"][0] == sum(row[2] for row in ROWS) * 2 + Decimal("95.25")
        long = client.query("SELECT number, toString(number) AS text FROM numbers(100000)")
        assert long.row_count == 100_000
        assert long.result_rows[-1] == (99_999, "99999")


async def test_async_client_works_unchanged(async_client: AsyncClient) -> None:
    await async_client.command(PRICES)
    done = await async_client.insert("price", ROWS, column_names=["asset", "at", "usd"])
    assert done.written_rows == 2
    answers = await asyncio.gather(*(async_client.query("SELECT sum(number) FROM numbers({n:UInt64})", {"n": n}) for n in range(40)))
    assert [answer.result_rows[0][0] for answer in answers] == [n * (n - 1) // 2 for n in range(40)]
    stream = await async_client.query_row_block_stream("SELECT number FROM numbers(300000)")
    async with stream:
        assert sum([len(block) async for block in stream]) == 300_000


def test_parameters_arrive_whole(client: Client) -> None:
    awkward = "it's a \\ tab\t and\nline `so` {x:String} \u00fc \U0001f680"
    query = "SELECT {text:String}, {number:Decimal(38, 18)}, {moment:DateTime64(6)}, {many:Array(String)}, {none:Nullable(Int32)}"
    given = {"text": awkward, "number": Decimal("0.000000000000000001"), "moment": NOW, "many": [awkward, ""], "none": None}
    row = client.query(query, given, tz_mode="aware").result_rows[0]
    assert row == (awkward, given["number"], NOW, [awkward, ""], None)
    assert client.query("SELECT {a:Identifier} FROM numbers(2)", {"a": "number"}).result_rows == [(0,), (1,)]


def test_settings_hold_for_one_statement(client: Client, columnar_server: ColumnarServer) -> None:
    asked = "SELECT getSetting('max_threads'), getSetting('max_execution_time')"
    assert client.query(asked, settings={"max_threads": 7, "max_execution_time": 9}).result_rows[0][0] == 7
    before = raw(columnar_server, asked)[2]
    for _ in range(20):
        assert raw(columnar_server, "SET max_threads = 3")[0] == 200
        assert raw(columnar_server, asked)[2] == before
    status, headers, body = raw(columnar_server, asked, nonsense="1")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (400, "115"), body
    assert raw(columnar_server, asked)[2] == before


def test_session_keeps_settings_and_temporary_tables(columnar_server: ColumnarServer, columnar: Columnar) -> None:
    first, second = (
        clickhouse_connect.get_client(**connection_of(columnar_server, session_id=f"{columnar.database} {number}")) for number in (1, 2)
    )
    with contextlib.closing(first), contextlib.closing(second):
        first.command("SET max_threads = 3")
        first.command("CREATE TEMPORARY TABLE mine (x Int32)")
        first.command("INSERT INTO mine VALUES (1), (2)")
        assert first.command("SELECT sum(x) FROM mine") == 3
        assert first.command("SELECT getSetting('max_threads')") == "3" or first.command("SELECT getSetting('max_threads')") == 3
        with pytest.raises(DatabaseError) as refused:
            second.command("SELECT sum(x) FROM mine")
        assert refused.value.code == 60


def test_password_is_required(columnar_server: ColumnarServer) -> None:
    for headers in (
        {},
        {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "guess"},
        {"Authorization": "Basic %%%"},
        {"X-ClickHouse-User": "root"},
    ):
        status, answer, body = raw(columnar_server, "SELECT 1", headers=headers)
        assert (status, answer["X-ClickHouse-Exception-Code"]) == (403, "516"), body
    with pytest.raises(DatabaseError, match="Authentication failed"):
        clickhouse_connect.get_client(**connection_of(columnar_server) | {"password": "guess"})


def test_protocol_details(columnar_server: ColumnarServer) -> None:
    status, headers, body = raw(columnar_server, "SELECT 1 AS a FORMAT JSONEachRow", query_id="my-query")
    assert (status, body) == (200, b'{"a":1}\n')
    assert headers["X-ClickHouse-Query-Id"] == "my-query"
    assert headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert '"read_rows": "1"' in headers["X-ClickHouse-Summary"]
    assert raw(columnar_server, body=b"SELECT 'in the body'")[2] == b"in the body\n"
    assert raw(columnar_server, "SELECT", b"'in two parts'")[2] == b"in two parts\n"
    assert raw(columnar_server, "SELECT 1", default_format="CSV")[2] == b"1\n"
    for wrong in ("SELECT nope", "SELEC 1", "SELECT * FROM nowhere"):
        assert raw(columnar_server, wrong)[0] in (400, 404)
    parts = urlsplit(columnar_server.url)
    with contextlib.closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)) as connection:
        connection.request("GET", "/ping")
        assert connection.getresponse().read() == b"Ok.\n"


def test_refused_insert_leaves_the_connection_usable(client: Client) -> None:
    client.command(PRICES)
    for _ in range(3):
        with pytest.raises(DatabaseError) as refused:
            client.raw_insert("price", ["asset", "at", "usd"], b"eth\tnever\tmany\n", fmt="TabSeparated")
        assert refused.value.code in (6, 27, 38, 41, 72)
        with pytest.raises(DatabaseError):
            client.raw_insert("nowhere", None, b"x" * 3_000_000, fmt="TabSeparated")
        assert client.command("SELECT count() FROM price") == 0


def test_an_insert_that_cannot_be_written_is_an_error(client: Client) -> None:
    """What breaks a rule shows only when it is written, after all of it was read."""
    client.command("CREATE TABLE ruled (n UInt64, CONSTRAINT small CHECK n < 5) ENGINE = MergeTree ORDER BY n")
    with pytest.raises(DatabaseError, match="VIOLATED_CONSTRAINT"):
        client.raw_insert("ruled", ["n"], b"1\n9\n", fmt="TabSeparated")
    assert client.query("SELECT count() FROM ruled").result_rows == [(0,)]
    summary = client.raw_insert("ruled", ["n"], b"1\n2\n", fmt="TabSeparated", settings={"max_insert_threads": 1})
    assert summary.written_rows == 2


def test_an_insert_larger_than_what_is_kept_in_memory(client: Client) -> None:
    client.command("CREATE TABLE many (n UInt64) ENGINE = MergeTree ORDER BY n")
    numbers = np.arange(10_000_000, dtype=np.uint64)
    statement = "INSERT INTO many (n) SETTINGS max_insert_threads = 1"
    client.raw_insert("many", insert_block=numbers.tobytes(), fmt="RowBinary")
    assert client.query("SELECT count(), uniqExact(n), max(n) FROM many").result_rows == [(10_000_000, 10_000_000, 9_999_999)]
    client.command(f"{statement} FORMAT TabSeparated\n17\n")
    assert client.query("SELECT count() FROM many WHERE n = 17").result_rows == [(2,)]


async def test_columnar_keeps_numbers_exact_and_times_aware(columnar: Columnar) -> None:
    await columnar.execute(PRICES)
    rows = pa.table(
        {
            "asset": [row[0] for row in ROWS],
            "at": pa.array([row[1] for row in ROWS], pa.timestamp("us", "UTC")),
            "usd": pa.array([row[2] for row in ROWS], pa.decimal128(38, 18)),
        }
    )
    assert (await columnar.insert_arrow("price", rows)).rows == 2
    assert [tuple(row) for row in await columnar.query_rows("SELECT * FROM price ORDER BY at")] == ROWS
    back = await columnar.query_arrow("SELECT * FROM price ORDER BY at")
    assert back.column("usd").to_pylist() == [row[2] for row in ROWS]
    assert (await columnar.query_arrow("SELECT * FROM price WHERE asset = 'none'")).schema.names == ["asset", "at", "usd"]
    assert await columnar.fetch_value("SELECT usd FROM price WHERE asset = {asset:String}", {"asset": "eth"}) == ROWS[0][2]


async def test_an_insert_with_a_token_counts_once(columnar: Columnar) -> None:
    await columnar.execute(PRICES.replace("ORDER BY", "PARTITION BY toYYYYMM(at) ORDER BY"))
    count = 50_000
    rows = pa.table(
        {
            "asset": ["eth"] * count,
            "at": pa.array([NOW + timedelta(minutes=n) for n in range(count)], pa.timestamp("us", "UTC")),
            "usd": pa.array([Decimal(n) for n in range(count)], pa.decimal128(38, 18)),
        }
    )
    for _ in range(3):
        await columnar.insert_arrow("price", rows, token="batch 1")
    await columnar.insert_arrow("price", rows.slice(0, 10), token="batch 2")
    await columnar.insert_arrow("price", rows.slice(0, 10))
    await columnar.insert_arrow("price", rows.slice(0, 10))
    assert await columnar.fetch_value("SELECT count() FROM price") == count + 30


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT nope", ColumnarUndefined),
        ("SELECT * FROM nowhere", ColumnarUndefined),
        ("SELEC 1", ColumnarInvalid),
        ("SELECT toUInt8('many')", ColumnarBadValue),
        ("SELECT sleep(3) SETTINGS max_execution_time = 1", ColumnarTimeout),
        ("SELECT groupArray(number) FROM numbers(10000000) SETTINGS max_memory_usage = 10000000", ColumnarMemory),
        ("SELECT number FROM numbers(100000) SETTINGS max_result_rows = 10, result_overflow_mode = 'throw'", ColumnarMemory),
    ],
    ids=["column", "table", "syntax", "value", "time", "memory", "result"],
)
async def test_errors_by_code(columnar: Columnar, statement: str, expected: type[ColumnarError]) -> None:
    with pytest.raises(expected) as raised:
        await columnar.query_rows(statement)
    assert getattr(raised.value, "engine_code", 0) > 0
    assert "\n" not in raised.value.message


async def test_wrong_password_and_nobody_there(columnar_server: ColumnarServer, columnar_options: ColumnarOptions) -> None:
    parts = urlsplit(columnar_server.url)
    with pytest.raises(ColumnarAuthentication):
        await Columnar(f"http://default:guess@127.0.0.1:{parts.port}", columnar_options).open()
    impatient = ColumnarOptions(columnar_options.database, retry_deadline=timedelta(milliseconds=100))
    nobody = Columnar("http://default:secret@127.0.0.1:1", impatient)
    with pytest.raises(ColumnarUnreachable):
        await nobody.open()
    assert "secret" not in repr(nobody)


async def test_a_statement_ends_when_its_client_has_gone(columnar: Columnar, columnar_server: ColumnarServer) -> None:
    mark = f"/* {columnar.database} */"
    running = f"SELECT count() FROM system.processes WHERE query LIKE '%{columnar.database}%' AND query NOT LIKE '%processes%'"
    task = asyncio.create_task(columnar.query_rows(f"SELECT sum(sipHash64(number)) {mark} FROM numbers(1000000000000)"))
    deadline = monotonic() + 20
    while not await columnar.fetch_value(running):
        assert monotonic() < deadline
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    while await columnar.fetch_value(running):
        assert monotonic() < deadline, "it still runs"


async def test_a_statement_can_be_ended_by_its_id(columnar: Columnar, columnar_server: ColumnarServer) -> None:
    with ThreadPoolExecutor(1) as thread:
        long = thread.submit(raw, columnar_server, "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)", query_id=columnar.database)
        kill = "KILL QUERY WHERE query_id IN (SELECT query_id FROM system.processes WHERE Settings['log_comment'] = {id:String}) SYNC"
        deadline = monotonic() + 20
        while not long.done():
            await columnar.query_rows(kill, {"id": columnar.database})
            assert monotonic() < deadline
        status, headers, _ = long.result()
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "394")
    assert ColumnarCanceled.retryable is False


async def test_query_log_and_backup(columnar: Columnar) -> None:
    await columnar.execute(PRICES)
    await columnar.execute("INSERT INTO price VALUES ('eth', '2026-03-01 12:00:00', 1800)")
    name = columnar.database
    await columnar.execute(f"BACKUP DATABASE `{name}` TO File('{name}')")
    await columnar.execute("INSERT INTO price VALUES ('eth', '2026-03-01 12:00:01', 1801)")
    await columnar.execute(f"BACKUP DATABASE `{name}` TO File('{name}-more') SETTINGS base_backup = File('{name}')")
    await columnar.execute("DROP TABLE price SYNC")
    await columnar.execute(f"RESTORE TABLE `{name}`.price FROM File('{name}-more')")
    assert await columnar.fetch_value("SELECT sum(usd) FROM price") == 3601
    await columnar.execute("SYSTEM FLUSH LOGS")
    logged = "SELECT count() FROM system.query_log WHERE type = 'QueryFinish' AND current_database = {name:String}"
    assert await columnar.fetch_value(logged, {"name": name}) > 3
