"""Every dataset and roll-up over HTTP: pages, streams, the latest of each, buckets, exact numbers, freshness."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.ipc
import pytest

from chainstrata import partitions
from chainstrata.api import build_api
from chainstrata.api.tails import write_event
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.waiting import happened
from chainstrata.model import Catalog
from chainstrata.node import Platform
from chainstrata.query import Event, TooManyWatchers, Wanted, tail
from tests.fixtures.api import NODE, aclosing_platform, list_routes, make_platform, open_client
from tests.fixtures.demo import create_demo, demo_catalog
from tests.fixtures.samples import Sampled

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
COINS = ("ada", "btc", "eth")


@pytest.fixture
async def platform(database: Database, conninfo: str, tmp_path: Path) -> AsyncIterator[Platform]:
    """Give a platform with ten prices of each of three coins, a minute apart, the last an hour ago."""
    catalog = demo_catalog()
    await create_demo(database, catalog)
    await partitions.apply(database, catalog)
    async with aclosing_platform(make_platform(database, conninfo, catalog, tmp_path)) as made:
        await fill(made)
        yield made


async def fill(made: Platform) -> None:
    await made.ingest("demo.coins", [{"id": coin} for coin in COINS])
    rows = [
        {
            "coin_id": coin,
            "ts": when(number),
            "price": Decimal(f"{number + 1}.{number:018d}"),
            "supply": 2**255 + number,
            "height": 2**53 + number,
        }
        for coin in COINS
        for number in range(10)
    ]
    await made.ingest("demo.prices", rows)


def when(number: int) -> datetime:
    return NOW - timedelta(hours=1) + timedelta(minutes=number)


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(platform) as one:
        yield one


async def get(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await client.get(f"/api/v1/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def follow(client: httpx.AsyncClient, path: str, **params: Any) -> list[Any]:
    """Return the rows of all pages."""
    rows, cursor = [], None
    while True:
        page = await get(client, path, **params, **({"cursor": cursor} if cursor else {}))
        rows += page["data"]
        cursor = page["page"]["next"]
        if cursor is None:
            return rows
        assert len(page["data"]) == page["page"]["limit"]


async def test_datasets_are_told_as_they_are_declared(client: httpx.AsyncClient, platform: Platform) -> None:
    listed = (await get(client, "datasets"))["datasets"]
    assert [one["name"] for one in listed] == [dataset.full_name for dataset in platform.catalog]
    prices = await get(client, "datasets/demo.prices")
    assert (prices["key"], prices["time"], prices["series"], prices["as_of"]) == (["coin_id", "ts"], "ts", True, True)
    assert [one["name"] for one in prices["rollups"]] == ["demo.prices.hourly"]
    assert {one["name"]: one["json"] for one in prices["columns"]} == {
        "coin_id": "text", "ts": "text", "price": "text", "supply": "text", "height": "text", "source": "text"
    }  # fmt: skip


STANDING = ("content-type", "etag", "cache-control", "vary", "x-freshness-latest", "x-freshness-open", "x-freshness-final", "allow")


async def test_head_answers_as_get_does_without_a_body(client: httpx.AsyncClient, platform: Platform) -> None:
    app = build_api(platform, lambda: NODE)
    paths = {path for method, path in list_routes(app) if method == "GET" and not path.endswith("/tail")}
    good = 0
    for template in sorted(paths | {"/api/v1/ingest/demo.prices", "/nowhere"}):
        path = template.replace("rollups/{name}", "rollups/demo.prices.hourly").replace("{name}", "demo.prices")
        params = {"filter": "coin_id:btc", "every": "1h"} if path.endswith("/filled") else {}
        got, head = await client.get(path, params=params), await client.head(path, params=params)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert {name: head.headers.get(name) for name in STANDING} == {name: got.headers.get(name) for name in STANDING}, path
        assert head.headers.keys() == got.headers.keys(), path
        good += head.status_code == 200
    assert good > 12
    tag = (await client.head("/api/v1/datasets/demo.prices/rows")).headers["ETag"]
    same = await client.get("/api/v1/datasets/demo.prices/rows", headers={"If-None-Match": tag})
    assert (same.status_code, same.content) == (304, b"")


@pytest.mark.parametrize("path", ["rows?format=ndjson", "rows?format=arrow", "tail"])
async def test_head_of_a_stream_does_not_make_it(client: httpx.AsyncClient, platform: Platform, path: str) -> None:
    head = await asyncio.wait_for(client.head(f"/api/v1/datasets/demo.prices/{path}"), 20)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"].partition(";")[0] in {
        "application/x-ndjson",
        "application/vnd.apache.arrow.stream",
        "text/event-stream",
    }
    assert ("X-Freshness-Lsn" in head.headers) is (path != "tail")
    # The connection that read for it is used on.
    async with asyncio.timeout(20):
        await asyncio.gather(*(client.head(f"/api/v1/datasets/demo.prices/{path}") for _ in range(30)))
    assert len((await get(client, "datasets/demo.prices/rows"))["data"]) == 30


async def test_rows_come_exactly_and_with_their_freshness(client: httpx.AsyncClient, platform: Platform) -> None:
    before = await platform.database.fetch_value("SELECT pg_current_wal_lsn()::text")
    answer = await get(client, "datasets/demo.prices/rows", filter="coin_id:btc", limit=2)
    assert answer["data"][1] == {
        "coin_id": "btc",
        "ts": when(1).isoformat(),
        "price": "2.000000000000000001",
        "supply": str(2**255 + 1),
        "height": str(2**53 + 1),
        "source": None,
    }
    fresh = answer["freshness"]
    assert fresh["latest"] == when(9).isoformat().replace("+00:00", "Z")
    assert (fresh["as_of"], fresh["open"], fresh["final"]) == (None, None, None)
    reached = await platform.database.fetch_value("SELECT %(a)s::pg_lsn >= %(b)s::pg_lsn - 1000", {"a": fresh["lsn"], "b": before})
    assert reached
    assert abs(datetime.fromisoformat(fresh["read_at"]) - datetime.now(UTC)) < timedelta(minutes=1)


async def test_what_this_process_wrote_is_within_the_position_it_answers(client: httpx.AsyncClient, platform: Platform) -> None:
    await get(client, "datasets/demo.prices/rows", limit=1)
    written = await platform.ingest("demo.prices", [{"coin_id": "btc", "ts": when(30), "price": 1}])
    answer = await get(client, "datasets/demo.prices/rows", filter="coin_id:btc", order="desc", limit=1)
    assert answer["data"][0]["ts"] == when(30).isoformat()
    lsns = {"a": answer["freshness"]["lsn"], "b": written.lsn}
    assert await platform.database.fetch_value("SELECT %(a)s::pg_lsn >= %(b)s::pg_lsn", lsns)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 7, 30])
async def test_pages_give_every_row_once_in_order(client: httpx.AsyncClient, limit: int, order: str) -> None:
    rows = await follow(client, "datasets/demo.prices/rows", limit=limit, order=order)
    expected = [(coin, when(number).isoformat()) for coin in COINS for number in range(10)]
    assert [(row["coin_id"], row["ts"]) for row in rows] == (expected if order == "asc" else expected[::-1])


async def test_rows_are_limited_by_time_value_column_and_as_of(client: httpx.AsyncClient) -> None:
    within = {"from": when(2).isoformat(), "to": when(5).isoformat()}
    rows = await follow(client, "datasets/demo.prices/rows", **within, columns="price", limit=2)
    assert [sorted(row) for row in rows] == [["coin_id", "price", "ts"]] * 9
    assert {row["ts"] for row in rows} == {when(number).isoformat() for number in (2, 3, 4)}
    both = await client.get("/api/v1/datasets/demo.prices/rows?filter=coin_id:btc&filter=coin_id:eth")
    assert {row["coin_id"] for row in both.json()["data"]} == {"btc", "eth"}
    then = await get(client, "datasets/demo.prices/rows", as_of=when(3).isoformat())
    assert len(then["data"]) == 12
    assert then["freshness"]["as_of"] == when(3).isoformat().replace("+00:00", "Z")
    # Written into an address as it is, its plus comes as a space.
    for moment in (when(3).isoformat(), when(3).astimezone(timezone(timedelta(hours=1))).isoformat()):
        raw = await client.get(f"/api/v1/datasets/demo.prices/rows?as_of={moment}")
        assert raw.json()["freshness"]["as_of"] == then["freshness"]["as_of"], raw.text


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("datasets/demo.price/rows", 404, "unknown_name"),
        ("datasets/demo.prices/rows?columns=nope", 404, "unknown_name"),
        ("datasets/demo.prices/rows?filter=price:1", 422, "filter_unknown"),
        ("datasets/demo.prices/rows?filter=coin_id", 422, "invalid_request"),
        ("datasets/demo.prices/rows?filter=ts:yesterdayish", 400, "bad_value"),
        ("datasets/demo.prices/rows?cursor=nope", 422, "cursor_invalid"),
        ("datasets/demo.prices/rows?cursor=WyJkZW1vLmNvaW5zIiwiYXNjIixbImFkYSIsIjEiXV0", 422, "cursor_invalid"),
        ("datasets/demo.prices/rows?limit=0", 422, "invalid_request"),
        ("datasets/demo.prices/rows?from=soon", 422, "invalid_request"),
        ("datasets/demo.coins/rows?as_of=2026-01-01", 422, "as_of_not_kept"),
        ("datasets/demo.coins/rows?from=2026-01-01", 422, "invalid_request"),
        ("datasets/demo.coins/latest", 422, "no_entity"),
        ("rollups/demo.prices.daily", 404, "unknown_name"),
        ("rollups/demo.prices.hourly?filter=price:1", 404, "unknown_name"),
        ("rollups/demo.prices.hourly?filter=price:1&format=ndjson", 404, "unknown_name"),
        ("rollups/demo.prices.hourly?cursor=x&format=arrow", 422, "cursor_invalid"),
        ("datasets/demo.prices/rows?format=ndjson&filter=ts:yesterdayish", 400, "bad_value"),
    ],
)
async def test_what_cannot_be_read_is_told(client: httpx.AsyncClient, path: str, status: int, code: str) -> None:
    answer = await client.get(f"/api/v1/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert answer.json()["error"]["hint"]


async def test_the_latest_of_each_entity(client: httpx.AsyncClient) -> None:
    rows = await follow(client, "datasets/demo.prices/latest", limit=2)
    assert [(row["coin_id"], row["ts"]) for row in rows] == [(coin, when(9).isoformat()) for coin in COINS]
    then = await get(client, "datasets/demo.prices/latest", as_of=when(4).isoformat(), filter="coin_id:btc", columns="price")
    assert then["data"] == [{"coin_id": "btc", "ts": when(4).isoformat(), "price": "5.000000000000000004"}]
    both = await client.get("/api/v1/datasets/demo.prices/latest?filter=coin_id:eth&filter=coin_id:ada&filter=coin_id:none&limit=1")
    assert [row["coin_id"] for row in both.json()["data"]] == ["ada"]
    rest = await client.get(f"{both.url}&cursor={both.json()['page']['next']}")
    assert [row["coin_id"] for row in rest.json()["data"]] == ["eth"]


async def test_buckets_are_live_or_as_they_are_kept(client: httpx.AsyncClient, platform: Platform) -> None:
    path = "rollups/demo.prices.hourly"
    kept = await get(client, path, live=False)
    assert kept["data"] == []
    live = await get(client, path)
    assert [(row["coin_id"], row["samples"], row["price_last"]) for row in live["data"]] == [
        (coin, 10, "10.000000000000000009") for coin in COINS
    ]
    assert live["freshness"]["open"] is False
    await platform.rollups.refresh()
    assert (await get(client, path, live=False))["data"] == live["data"]
    await platform.ingest("demo.prices", [{"coin_id": "btc", "ts": datetime.now(UTC), "price": 7}])
    now = await get(client, path, filter="coin_id:btc")
    assert [row["is_open"] for row in now["data"]] == [False, True]
    assert (now["freshness"]["open"], now["freshness"]["final"]) == (True, False)
    ended = await get(client, path, filter="coin_id:btc", as_of=datetime.now(UTC).isoformat())
    assert [row["is_open"] for row in ended["data"]] == [False]
    assert [row["coin_id"] for row in await follow(client, path, limit=1)] == ["ada", "btc", "btc", "eth"]
    assert (await get(client, path, as_of="1900-01-01T00:00:00Z"))["data"] == []


BUCKET_QUESTIONS: list[dict[str, Any]] = [
    {},
    {"live": False},
    {"filter": "coin_id:btc"},
    {"filter": ["coin_id:btc", "coin_id:eth", "coin_id:none"], "columns": "samples"},
    {"as_of": when(30).isoformat()},
    {"from": when(30).isoformat(), "to": when(20).isoformat()},
    {"from": when(-60).isoformat(), "to": when(60).isoformat()},
]


@pytest.mark.parametrize("asked", BUCKET_QUESTIONS)
async def test_buckets_come_as_lines_and_as_arrow_too(client: httpx.AsyncClient, platform: Platform, asked: dict[str, Any]) -> None:
    await platform.rollups.refresh()
    await platform.ingest("demo.prices", [{"coin_id": coin, "ts": when(-45), "price": "0.1"} for coin in ("ada", "btc")])
    path = "rollups/demo.prices.hourly"
    rows = await follow(client, path, **asked, limit=2)
    lines = await client.get(f"/api/v1/{path}", params=asked, headers={"Accept": "application/x-ndjson"})
    assert lines.headers["Content-Type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == rows
    arrow = await client.get(f"/api/v1/{path}", params={**asked, "format": "arrow"}, headers={"Accept-Encoding": "identity"})
    table = pa.ipc.open_stream(arrow.content).read_all()
    assert set(table.column_names) >= {"coin_id", "samples", "is_open"}
    assert [(row["coin_id"], row["samples"], row["is_open"]) for row in table.to_pylist()] == [
        (row["coin_id"], row["samples"], row["is_open"]) for row in rows
    ]
    assert [str(row.get("price_last")) for row in table.to_pylist()] == [str(row.get("price_last")) for row in rows]
    assert [name for name in table.column_names if name.endswith("_sketch") or name == "created_at"] == []
    for answer in (lines, arrow):
        assert answer.status_code == 200
        assert answer.headers["X-Freshness-Lsn"]
    if len(rows) > 1:
        page = await get(client, path, **asked, limit=1)
        rest = await client.get(f"/api/v1/{path}", params={**asked, "cursor": page["page"]["next"], "format": "ndjson", "limit": 1})
        assert [json.loads(line) for line in rest.text.splitlines()] == rows[1:2]


async def test_a_stream_of_buckets_says_that_none_is_open_where_that_is_certain(client: httpx.AsyncClient) -> None:
    path = "/api/v1/rollups/demo.prices.hourly?format=ndjson"
    assert (await client.get(path, params={"to": when(0).isoformat()})).headers["X-Freshness-Open"] == "false"
    assert "X-Freshness-Open" not in (await client.get(path)).headers


@pytest.mark.parametrize("packing", ["", "gzip", "zstd"])
async def test_a_stream_has_every_row_on_a_line(client: httpx.AsyncClient, packing: str) -> None:
    headers = {"Accept": "application/x-ndjson", "Accept-Encoding": packing or "identity"}
    answer = await client.get("/api/v1/datasets/demo.prices/rows", headers=headers)
    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    assert answer.headers.get("Content-Encoding", "") == packing
    assert answer.headers["X-Freshness-Latest"] == when(9).isoformat().replace("+00:00", "Z")
    assert answer.headers["X-Freshness-Lsn"]
    text = answer.text if packing != "zstd" else unpack(answer.content)
    rows = [json.loads(line) for line in text.splitlines()]
    assert rows == await follow(client, "datasets/demo.prices/rows")
    some = await client.get("/api/v1/datasets/demo.prices/rows?format=ndjson&limit=4")
    assert len(some.text.splitlines()) == 4


async def test_arrow_has_every_value_exactly(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/datasets/demo.prices/rows?format=arrow", headers={"Accept-Encoding": "identity"})
    assert answer.headers["Content-Type"] == "application/vnd.apache.arrow.stream"
    assert answer.headers["X-Freshness-Lsn"]
    table = pa.ipc.open_stream(answer.content).read_all()
    rows = await follow(client, "datasets/demo.prices/rows")
    assert table.num_rows == 30
    assert [(row["coin_id"], row["ts"].isoformat(), str(row["price"]), str(row["supply"])) for row in table.to_pylist()] == [
        (row["coin_id"], row["ts"], row["price"], row["supply"]) for row in rows
    ]
    none = await client.get(
        "/api/v1/datasets/demo.prices/rows?filter=coin_id:none", headers={"Accept": "application/vnd.apache.arrow.stream"}
    )
    assert pa.ipc.open_stream(none.content).read_all().num_rows == 0
    wrong = await client.get("/api/v1/datasets/demo.prices/rows?format=arrow&filter=ts:soonish")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "bad_value")


def unpack(content: bytes) -> str:
    """Return the text of a zstd stream, where the client did not unpack it already."""
    return content.decode() if content[:1] == b"{" else pa.CompressedInputStream(pa.BufferReader(content), "zstd").read().decode()


async def test_an_answer_is_packed_if_the_caller_takes_that(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/api/v1/datasets/demo.prices/rows", headers={"Accept-Encoding": "gzip, zstd;q=0"}) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(raw))["data"]) == 30


async def test_rows_the_caller_has_are_not_sent_again(client: httpx.AsyncClient, platform: Platform) -> None:
    path = "/api/v1/datasets/demo.prices/rows?filter=coin_id:btc"
    tag = (await client.get(path)).headers["ETag"]
    same = await client.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["X-Freshness-Lsn"]
    await platform.ingest("demo.prices", [{"coin_id": "btc", "ts": when(30), "price": 1}])
    assert (await client.get(path, headers={"If-None-Match": tag})).status_code == 200


@pytest.mark.long
async def test_every_dataset_and_rollup_of_every_pack_can_be_read(sampled: Sampled, catalog: Catalog, tmp_path: Path) -> None:
    async with Database(sampled.conninfo) as database:
        platform = make_platform(database, sampled.conninfo, catalog, tmp_path)
        async with open_client(platform) as client:
            for dataset in catalog:
                path = f"datasets/{dataset.full_name}"
                first = await get(client, f"{path}/rows", limit=3)
                rest = await get(client, f"{path}/rows", limit=3, **({"cursor": first["page"]["next"]} if first["page"]["next"] else {}))
                if first["page"]["next"]:
                    assert rest["data"]
                    assert rest["data"] != first["data"]
                if dataset.entity:
                    assert bool((await get(client, f"{path}/latest", limit=3))["data"]) == bool(first["data"]), path
                for rollup in dataset.rollups:
                    for live in (True, False):
                        bucketed = f"rollups/{dataset.full_name}.{rollup.name}"
                        page = await get(client, bucketed, limit=3, live=live, to="2026-12-01T00:00:00Z")
                        asked = {"limit": "3", "live": str(live), "to": "2026-12-01T00:00:00Z"}
                        lines = await client.get(f"/api/v1/{bucketed}", params={**asked, "format": "ndjson"})
                        assert [json.loads(line) for line in lines.text.splitlines()] == page["data"], bucketed
                        arrow = await client.get(f"/api/v1/{bucketed}", params={**asked, "format": "arrow"})
                        assert pa.ipc.open_stream(arrow.content).read_all().num_rows == len(page["data"]), bucketed
            one = await get(client, "datasets/validators.snapshots/rows", limit=1)
            assert isinstance(one["freshness"]["final"], bool)


async def read_events(platform: Platform, count: int, *, after: str = "", **wanted: Any) -> list[Event]:
    """Return so many rows of a tail."""
    found: list[Event] = []
    async with asyncio.timeout(20), aclosing(platform.tails.watch("demo.prices", Wanted(**wanted), after=after)) as events:
        async for event in events:
            found += [event] if event.row or event.gap else []
            if len(found) == count:
                return found
    return found


async def test_a_tail_gives_rows_as_they_come_and_goes_on_where_it_was_left(platform: Platform) -> None:
    watching = [asyncio.create_task(read_events(platform, 2)) for _ in range(3)]
    watching.append(asyncio.create_task(read_events(platform, 1, filters={"coin_id": ["eth"]}, columns=["price"])))
    await wait_until(lambda: len(platform.tails._rings) == 2)
    for number, coin in ((20, "btc"), (21, "eth"), (22, "btc")):
        await platform.ingest("demo.prices", [{"coin_id": coin, "ts": when(number), "price": number}])
    *alike, other = await asyncio.gather(*watching)
    assert [[json.loads(event.row)["price"] for event in events] for events in alike] == [["20", "21"]] * 3
    assert [json.loads(event.row) for event in other] == [{"coin_id": "eth", "ts": when(21).isoformat(), "price": "21"}]
    # Nobody watches any more, so nobody looks.
    await wait_until(lambda: not platform.tails._rings)
    [rest] = await read_events(platform, 1, after=alike[0][-1].id)
    assert json.loads(rest.row)["price"] == "22"


async def test_who_reads_too_slowly_is_told_and_holds_nobody_up(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "KEPT", 3)
    slow = platform.tails.watch("demo.prices", Wanted())
    assert (await anext(slow)).row == ""
    for number in range(20, 24):
        # One who keeps up is not touched by it.
        quick = asyncio.create_task(read_events(platform, 1))
        await wait_until(lambda: sum(ring.watchers for ring in platform.tails._rings.values()) == 2)
        await platform.ingest("demo.prices", [{"coin_id": "btc", "ts": when(number), "price": number}])
        assert json.loads((await quick)[0].row)["price"] == str(number)
    gap = await anext(slow)
    assert gap.gap
    assert [event async for event in slow] == []


async def test_watchers_are_bounded(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "WATCHERS", 1)
    one = platform.tails.watch("demo.prices", Wanted())
    await anext(one)
    with pytest.raises(TooManyWatchers):
        await anext(platform.tails.watch("demo.prices", Wanted()))
    await one.aclose()
    two = platform.tails.watch("demo.prices", Wanted())
    await anext(two)
    await two.aclose()


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("demo.coins", {}, 422, "not_a_series"),
        ("demo.price", {}, 404, "unknown_name"),
        ("demo.prices", {"Last-Event-ID": "x"}, 422, "cursor_invalid"),
        ("demo.prices?filter=price:1", {}, 422, "filter_unknown"),
    ],
)
async def test_what_cannot_be_watched_is_told(
    client: httpx.AsyncClient, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    name, question, rest = path.partition("?")
    answer = await client.get(f"/api/v1/datasets/{name}/tail{question}{rest}", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_an_event_is_written_as_readers_take_it() -> None:
    assert write_event(Event("a", '{"n":1}')) == 'id: a\ndata: {"n":1}\n\n'
    assert write_event(Event("a", gap=True)) == "event: gap\nid: a\ndata: {}\n\n"
    assert write_event(Event()).startswith(":")


async def wait_until(met: Callable[[], bool]) -> None:
    never = asyncio.Event()
    for _ in range(400):
        if met():
            return
        await happened(never, 0.05)
    raise AssertionError("it did not come to be")
