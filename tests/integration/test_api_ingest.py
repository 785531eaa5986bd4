"""Rows over HTTP: every format, packed or not, taken once, on record; and what is not taken."""

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from chainstrata import partitions
from chainstrata.access import Role
from chainstrata.api import bodies
from chainstrata.engines.postgres import Database
from chainstrata.node import Platform
from tests.fixtures.api import TESTER, aclosing_platform, make_keys, make_platform, open_client
from tests.fixtures.demo import create_demo, demo_catalog

NOW = datetime.now(UTC).replace(microsecond=0)
NDJSON = {"Content-Type": "application/x-ndjson"}
ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}
PARQUET = {"Content-Type": "application/vnd.apache.parquet"}


@pytest.fixture
async def platform(database: Database, conninfo: str, tmp_path: Path) -> AsyncIterator[Platform]:
    catalog = demo_catalog()
    await create_demo(database, catalog)
    await partitions.apply(database, catalog)
    await database.execute("INSERT INTO demo.coins VALUES ('btc'), ('eth')")
    async with aclosing_platform(make_platform(database, conninfo, catalog, tmp_path)) as made:
        yield made


@pytest.fixture
async def writer(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    secret = (await platform.keys.create("collector", Role.WRITE, by=TESTER)).secret
    async with open_client(platform, secret) as client:
        yield client


def make_rows(count: int, *, start: int = 0, coin: str = "btc") -> list[dict[str, Any]]:
    return [
        {"coin_id": coin, "ts": (NOW - timedelta(seconds=number)).isoformat(), "price": f"1.{number:020d}", "supply": str(2**255 + number)}
        for number in range(start + 1, start + count + 1)
    ]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def table(rows: list[dict[str, Any]]) -> Any:
    return pa.Table.from_pylist(rows)


def as_arrow(rows: list[dict[str, Any]]) -> bytes:
    made, sink = table(rows), io.BytesIO()
    with pa.ipc.new_stream(sink, made.schema) as stream:
        stream.write_table(made)
    return sink.getvalue()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pa.parquet.write_table(table(rows), sink)
    return sink.getvalue()


FORMATS = {"ndjson": (NDJSON, lines), "arrow": (ARROW, as_arrow), "parquet": (PARQUET, as_parquet)}
PACKINGS = {"": bytes, "gzip": gzip.compress, "zstd": lambda data: pa.compress(data, "zstd", asbytes=True)}


async def entries(platform: Platform) -> list[Any]:
    return [one for one in await platform.audit.list_entries() if one.action == "ingest"]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", FORMATS)
async def test_every_format_arrives_exactly_packed_or_not(writer: httpx.AsyncClient, platform: Platform, kind: str, packing: str) -> None:
    headers, encode = FORMATS[kind]
    body = PACKINGS[packing](encode(make_rows(50)))
    packed = {"Content-Encoding": packing} if packing else {}
    answer = await writer.post("/api/v1/ingest/demo.prices", content=body, headers={**headers, **packed, "X-Request-ID": "load-1"})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["rows"], said["accepted"], said["quarantined"], said["spooled"]) == (50, 50, 0, 0)
    row = await platform.database.fetch_one("SELECT price::text, supply::text FROM demo.prices ORDER BY ts DESC LIMIT 1")
    assert row == (f"1.{1:020d}", str(2**255 + 1))
    [entry] = await entries(platform)
    assert (entry.actor, entry.object, entry.request, entry.outcome) == ("collector", "demo.prices", "load-1", "done")
    assert entry.detail["accepted"] == 50


async def test_a_named_batch_is_taken_once(writer: httpx.AsyncClient, platform: Platform) -> None:
    for turn in range(3):
        answer = await writer.post(
            "/api/v1/ingest/demo.prices", content=lines(make_rows(5)), headers={**NDJSON, "Idempotency-Key": "slot-7"}
        )
        assert answer.status_code == 200, answer.text
        assert (answer.json()["accepted"], answer.json()["repeated"]) == (5, turn > 0)
    assert await platform.database.fetch_value("SELECT count(*) FROM demo.prices") == 5
    assert [entry.detail["repeated"] for entry in reversed(await entries(platform))] == [False, True, True]


async def test_history_without_a_partition_is_told_how_to_get_in(writer: httpx.AsyncClient, platform: Platform) -> None:
    rows = [*make_rows(3), *({"coin_id": "btc", "ts": (NOW - timedelta(days=800 + day)).isoformat(), "price": "1.5"} for day in range(4))]
    for _ in range(2):
        answer = (
            await writer.post("/api/v1/ingest/demo.prices", content=lines(rows), headers={**NDJSON, "Idempotency-Key": "history"})
        ).json()
        assert (answer["accepted"], answer["quarantined"]) == (3, 4)
        assert answer["hint"].startswith("4 rows are of times that no partition holds")
        assert "`chainstrata quarantine replay demo.prices --make-partitions`" in answer["hint"]
    done = await partitions.replay(platform.database, platform.catalog, "demo.prices", make_partitions=True)
    assert (done.replayed, done.held) == (4, {})
    other = {"coin_id": "btc", "ts": NOW.isoformat(), "price": "seven"}
    answer = (await writer.post("/api/v1/ingest/demo.prices", content=lines([other]), headers=NDJSON)).json()
    assert (answer["quarantined"], answer["hint"]) == (1, "")


async def test_rows_that_do_not_fit_are_kept_aside_and_strict_refuses_all(writer: httpx.AsyncClient, platform: Platform) -> None:
    rows = [*make_rows(3), {"coin_id": "btc", "ts": NOW.isoformat(), "price": "seven"}]
    strict = await writer.post("/api/v1/ingest/demo.prices?strict=true", content=lines(rows), headers=NDJSON)
    assert (strict.status_code, strict.json()["error"]["code"]) == (422, "batch_refused")
    assert await platform.database.fetch_value("SELECT count(*) FROM demo.prices") == 0
    answer = await writer.post("/api/v1/ingest/demo.prices", content=lines(rows) + b"not json\n", headers=NDJSON)
    assert (answer.json()["accepted"], answer.json()["quarantined"]) == (3, 2)
    assert await platform.database.fetch_value("SELECT array_agg(DISTINCT source) FROM strata.quarantine") == ["http:collector"]
    assert [entry.outcome for entry in reversed(await entries(platform))] == ["refused", "done"]


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "code"),
    [
        pytest.param("demo.prices", {"Content-Type": "text/plain"}, b"", 415, "body_unknown", id="unknown type"),
        pytest.param("demo.prices", {}, b"", 415, "body_unknown", id="no type"),
        pytest.param("demo.prices", {**NDJSON, "Content-Encoding": "br"}, b"", 415, "body_unknown", id="unknown packing"),
        pytest.param("demo.prices", {**NDJSON, "Content-Encoding": "gzip"}, b"{}", 400, "payload_unreadable", id="not gzip"),
        pytest.param(
            "demo.prices", {**NDJSON, "Content-Encoding": "gzip"}, gzip.compress(b"{}" * 99)[:-9], 400, "payload_unreadable", id="cut gzip"
        ),
        pytest.param("demo.prices", ARROW, b"ARROW1", 400, "payload_unreadable", id="not Arrow"),
        pytest.param("demo.prices", ARROW, as_arrow(make_rows(9))[:-40], 400, "payload_unreadable", id="cut Arrow"),
        pytest.param("demo.prices", PARQUET, b"PAR1PAR1", 400, "payload_unreadable", id="not Parquet"),
        pytest.param("demo.prices", {**NDJSON, "Idempotency-Key": "a b"}, b"", 422, "invalid_request", id="bad name of a batch"),
        pytest.param("demo.price", NDJSON, b"", 404, "unknown_name", id="unknown dataset"),
        pytest.param("strata.audit", NDJSON, b"{}", 403, "dataset_reserved", id="the platform's own"),
        pytest.param("demo.prices", NDJSON, b'{"nope": 1}\n', 422, "column_unfit", id="unknown column"),
    ],
)
async def test_what_is_not_taken_is_told_and_on_record(
    writer: httpx.AsyncClient, platform: Platform, path: str, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    answer = await writer.post(f"/api/v1/ingest/{path}", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    if code != "invalid_request":
        [entry] = await entries(platform)
        assert (entry.outcome, entry.detail["code"]) == ("refused", code)


async def test_a_body_is_bounded_as_it_comes_and_as_it_unpacks(platform: Platform, tmp_path: Path) -> None:
    small = make_platform(
        platform.database, "", platform.catalog, tmp_path, ingest__payload_bytes=bodies.MB, ingest__payload_unpacked=2 * bodies.MB
    )
    secret = (await platform.keys.create("small", Role.ADMIN, by=TESTER)).secret

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    async with open_client(small, secret) as client:
        bomb = gzip.compress(b" " * (64 * bodies.MB))
        packed = await client.post("/api/v1/ingest/demo.prices", content=bomb, headers={**NDJSON, "Content-Encoding": "gzip"})
        assert (packed.status_code, packed.json()["error"]["code"]) == (413, "payload_too_large")
        for path, content in (
            ("ingest/demo.prices", b" " * 2_000_000),
            ("ingest/demo.prices", pieces()),
            ("keys", b" " * 2_000_000),
            ("keys", pieces()),
        ):
            answer = await client.post(f"/api/v1/{path}", content=content, headers=NDJSON)
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large"), path


async def test_wide_bodies_are_refused(writer: httpx.AsyncClient) -> None:
    wide = as_arrow([{f"c{number}": "x" for number in range(1001)}])
    answer = await writer.post("/api/v1/ingest/demo.prices", content=wide, headers=ARROW)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")


async def test_more_than_there_is_room_for_is_told_to_come_back(writer: httpx.AsyncClient, platform: Platform) -> None:
    room = bodies.Room(100)
    async with room.hold(90):
        with pytest.raises(bodies.Busy) as caught:
            async with room.hold(20):
                pass
        assert caught.value.retry_after == 1
    assert room.taken == 0
    # One alone always finds room.
    async with room.hold(1000):
        pass


async def test_writing_takes_a_key_that_may_write(platform: Platform) -> None:
    keys = await make_keys(platform)
    for secret, status in ((keys[Role.READ], 403), (None, 401), (keys[Role.WRITE], 200), (keys[Role.ADMIN], 200)):
        async with open_client(platform, secret) as client:
            answer = await client.post("/api/v1/ingest/demo.prices", content=b"", headers=NDJSON)
            assert answer.status_code == status, answer.text


async def test_many_at_once_are_each_told_of_their_own(writer: httpx.AsyncClient, platform: Platform) -> None:
    async def send(number: int) -> int:
        body = lines(make_rows(10, start=number * 10))
        answer = await writer.post("/api/v1/ingest/demo.prices", content=body, headers={**NDJSON, "Idempotency-Key": f"b{number}"})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["accepted"])

    assert await asyncio.gather(*map(send, range(20))) == [10] * 20
    assert await platform.database.fetch_value("SELECT count(*) FROM demo.prices") == 200
    assert len(await entries(platform)) == 20


async def test_no_row_is_written_without_its_entry(writer: httpx.AsyncClient, platform: Platform) -> None:
    await platform.database.execute("ALTER TABLE strata.audit ADD CONSTRAINT nothing CHECK (action <> 'ingest' OR outcome <> 'done')")
    answer = await writer.post("/api/v1/ingest/demo.prices", content=lines(make_rows(5)), headers=NDJSON)
    assert answer.status_code >= 400
    assert await platform.database.fetch_value("SELECT count(*) FROM demo.prices") == 0
