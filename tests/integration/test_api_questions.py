"""Every question of every repository over HTTP: the same answer as from Python, guarded, described, with its freshness."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from chainstrata.api import create_app
from chainstrata.api.questions import MOST, list_questions, write_rows
from chainstrata.engines.postgres import Database
from chainstrata.model import Catalog
from chainstrata.node import Platform
from chainstrata.node.http import HttpService, address_of, bind
from chainstrata.packs.repository import AS_OF, Question
from tests.fixtures.api import NODE, aclosing_platform, make_platform, open_client
from tests.fixtures.packs import OPTIONS
from tests.fixtures.samples import Sampled


@pytest.fixture
async def platform(sampled: Sampled, catalog: Catalog, tmp_path: Path) -> AsyncIterator[Platform]:
    async with Database(sampled.conninfo, options=OPTIONS) as database:
        yield make_platform(database, sampled.conninfo, catalog, tmp_path)


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(platform) as client:
        yield client


def of_postgres(catalog: Catalog) -> list[tuple[str, Question]]:
    return [(one.pack, one.question) for one in list_questions(catalog) if not one.columnar]


def sent(value: Any) -> Any:
    return [str(item) for item in value] if isinstance(value, list) else str(value)


async def test_every_question_answers_over_http_what_it_answers_from_python(client: httpx.AsyncClient, platform: Platform) -> None:
    with_rows = 0
    for pack, question in of_postgres(platform.catalog):
        answer = await client.get(f"/api/v1/{pack}/{question.name}", params={name: sent(value) for name, value in question.example.items()})
        assert answer.status_code == 200, f"{pack}.{question.name}: {answer.text}"
        kinds = {argument.name: argument.kind for argument in question.arguments}
        example = {name: TypeAdapter(kinds[name]).validate_python(value) for name, value in question.example.items()}
        found = await question.ask(platform.repository(pack), **example)
        rows = found if isinstance(found, list) else [found] if found is not None else []
        if question.name not in {"health_score", "query_performance", "stuck_packets"}:  # these move with the clock
            assert answer.json()["data"] == json.loads(write_rows(rows)), question.name
        assert "/" in answer.json()["freshness"]["lsn"]
        with_rows += bool(rows)
    assert with_rows > 20


async def test_every_question_is_described_with_its_parameters_and_an_example(client: httpx.AsyncClient, platform: Platform) -> None:
    paths = (await client.get("/api/v1/openapi.json")).json()["paths"]
    for asked in list_questions(platform.catalog):
        question = asked.question
        route = paths[f"/api/v1/{asked.pack}/{question.name}"]["get"]
        assert route["summary"]
        told = route.get("parameters", [])
        assert {one["name"] for one in told} == {argument.name for argument in question.arguments} | {"as_of"}
        assert {one["name"] for one in told if one["required"]} == {one.name for one in question.arguments if one.required}
        assert route["responses"]["200"]["content"]["application/json"]["example"]["data"]


async def test_a_question_as_of_a_time_tells_nothing_later_or_says_that_it_cannot(client: httpx.AsyncClient, platform: Platform) -> None:
    moment, answered, changed = datetime(2026, 11, 20, 12, tzinfo=UTC), 0, 0
    for pack, question in of_postgres(platform.catalog):
        path, example = f"/api/v1/{pack}/{question.name}", {name: sent(value) for name, value in question.example.items()}
        answer = await client.get(path, params={**example, "as_of": moment.isoformat()})
        if not question.upto:
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "as_of_not_kept"), path
            assert question.now, f"{path} does not say why"
            assert question.now in answer.json()["error"]["hint"]
            continue
        assert not question.now
        assert answer.status_code == 200, answer.text
        if question.upto != AS_OF:
            bound = moment if question.upto == "at" else moment + timedelta(microseconds=1)
            same = await client.get(path, params={**example, question.upto: bound.isoformat()})
            assert (same.status_code, answer.json()["data"]) == (200, same.json()["data"]), path
        assert datetime.fromisoformat(answer.json()["freshness"]["as_of"]) == moment
        # A time that is later than what is asked for changes nothing.
        late = await client.get(path, params={**example, "as_of": "2100-01-01T00:00:00Z"})
        answered, changed = answered + 1, changed + (late.json()["data"] != answer.json()["data"])
        if question.upto in {AS_OF, *example}:
            assert late.json()["data"] == (await client.get(path, params=example)).json()["data"], path
        early = await client.get(path, params={**example, "as_of": "1900-01-01T00:00:00Z"})
        assert (early.status_code, early.json()["data"]) == (200, []), path
    assert answered > 18
    assert changed > 5


async def test_a_question_about_a_series_tells_how_far_it_goes(client: httpx.AsyncClient, platform: Platform) -> None:
    told = 0
    for pack, question in of_postgres(platform.catalog):
        if question.of:
            dataset = platform.catalog.dataset(f"{pack}.{question.of}")
            params = {name: sent(value) for name, value in question.example.items()}
            answer = await client.get(f"/api/v1/{pack}/{question.name}", params=params)
            latest = answer.json()["freshness"]["latest"]
            assert (latest and datetime.fromisoformat(latest)) == await platform.pulse.newest(dataset)
            told += latest is not None
    assert told


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (
            "/validators/snapshots_of?validator_index=1&since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z&as_of=2026-01-01T00:00:00",
            "as_of",
        ),
        ("/validators/validator?validator_index=x", "validator_index"),
        ("/validators/unresolved_alerts?severity=grave", "severity"),
        ("/validators/unresolved_alerts?limit=0", "limit"),
        ("/validators/unresolved_alerts?limit=1000000", "limit"),
        ("/prices/price_history?coin_id=bitcoin", "since"),
        ("/prices/price_history?coin_id=bitcoin&since=2026-11-20T10:00:00", "since"),
        ("/portfolio/value?user_id=1", "user_id"),
        ("/portfolio/search_assets?text=%00", "text"),
        ("/validators/validator?validator_index=9223372036854775808", "validator_index"),
        ("/validators/missed_duties?since=0001-01-01T00:00:00Z&until=2026-01-01T00:00:00Z", "since"),
        ("/prices/api_usage_by_day?until=0001-01-01", "until"),
        ("/insights/services_above?limit=nan", "limit"),
    ],
)
async def test_what_a_question_does_not_take_is_told(client: httpx.AsyncClient, path: str, problem: str) -> None:
    answer = await client.get(f"/api/v1{path}")
    assert answer.status_code == 422
    assert problem in answer.text


async def test_who_may_not_read_gets_no_answer(platform: Platform) -> None:
    async with open_client(platform, peer="10.0.0.9", base="http://node.example") as stranger:
        assert (await stranger.get("/api/v1/validators/unresolved_by_severity")).status_code == 401


@pytest.mark.alone
@pytest.mark.conforms("S1-187")
async def test_every_question_is_answered_within_a_fifth_of_a_second(platform: Platform) -> None:
    stop, took = asyncio.Event(), {}
    with bind("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(HttpService(create_app(platform, lambda: NODE), listener).run(stop))
        async with httpx.AsyncClient(base_url=address_of(listener)) as client:
            for pack, question in of_postgres(platform.catalog):
                path, params = f"/api/v1/{pack}/{question.name}", {name: sent(value) for name, value in question.example.items()}
                for _ in range(5):
                    began = perf_counter()
                    answer = await client.get(path, params=params)
                    took.setdefault(path, []).append(perf_counter() - began)
                    assert answer.status_code == 200
        stop.set()
        await serving
    everything = sorted(second for seconds in took.values() for second in seconds)
    assert everything[int(len(everything) * 0.99)] < 0.2
    assert {path: seconds for path, seconds in took.items() if median(seconds) >= 0.2} == {}


async def test_the_same_rows_are_not_sent_twice(client: httpx.AsyncClient) -> None:
    first = await client.get("/api/v1/validators/unresolved_by_severity")
    again = await client.get("/api/v1/validators/unresolved_by_severity", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def missed_by(validators: range, moment: datetime) -> Any:
    """Return the same attestation missed by each of these validators."""
    count = len(validators)
    same = {
        "ts": moment,
        "epoch": 7,
        "slot": 230,
        "status": "active_ongoing",
        "included": False,
        "execution_optimistic": False,
        "finalized": True,
    }
    return pa.table({"validator_index": list(validators), **{name: [value] * count for name, value in same.items()}})


@pytest.mark.conforms("S2-62")
async def test_an_answer_too_large_for_one_is_refused(packs: Database, catalog: Catalog, tmp_path: Path) -> None:
    moment = datetime.now(UTC)
    span = {"since": (moment - timedelta(days=1)).isoformat(), "until": (moment + timedelta(days=1)).isoformat()}
    async with aclosing_platform(make_platform(packs, packs.conninfo, catalog, tmp_path)) as platform, open_client(platform) as client:
        await platform.ingest("validators.duties", missed_by(range(MOST), moment))
        whole = await client.get("/api/v1/validators/missed_duties", params=span)
        await platform.ingest("validators.duties", missed_by(range(MOST, MOST + 5), moment))
        refused = await client.get("/api/v1/validators/missed_duties", params=span)
    assert (whole.status_code, len(whole.json()["data"])) == (200, MOST)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "answer_too_large")


@pytest.mark.conforms("S2-62")
async def test_every_question_can_be_cut_short(platform: Platform) -> None:
    cut = 0
    for pack, question in of_postgres(platform.catalog):
        kinds = {argument.name: argument.kind for argument in question.arguments}
        example = {name: TypeAdapter(kinds[name]).validate_python(value) for name, value in question.example.items()}
        whole = await question.ask(platform.repository(pack), **example)
        if isinstance(whole, list) and len(whole) > 2:
            some = await question.ask(platform.repository(pack).at_most(2), **example)
            assert len(some) == 2, question.name
            cut += 1
    assert cut > 10


def test_numbers_that_a_double_would_spoil_are_text() -> None:
    @dataclass(frozen=True)
    class Figures:
        whole: int | None
        listed: list[int]
        real: float
        exact: Decimal
        moment: datetime
        span: timedelta
        raw: bytes
        from_: Any

    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    rows = [
        Figures(2**53 - 1, [2**53, -(2**60)], 1.5, Decimal("4.000000000000000001"), moment, timedelta(seconds=90), b"\x00\xff", True),
        Figures(-(2**60), [], float("nan"), Decimal("NaN"), moment.replace(microsecond=7), timedelta(0), b"", {"a": [2**256, 7]}),
        Figures(None, [1], float("-inf"), Decimal("1E+5"), moment, timedelta(0), b"", None),
    ]
    assert [list(row.values()) for row in json.loads(write_rows(rows))] == [
        [2**53 - 1, [str(2**53), str(-(2**60))], 1.5, "4.000000000000000001", "2026-01-02T03:04:05Z", 90, "0x00ff", True],
        [str(-(2**60)), [], "NaN", "NaN", "2026-01-02T03:04:05.000007Z", 0, "0x", {"a": [str(2**256), 7]}],
        [None, [1], "-Infinity", "1E+5", "2026-01-02T03:04:05Z", 0, "0x", None],
    ]
    assert '"from":' in write_rows(rows).decode()
    assert json.loads(write_rows([2**53, 7, Decimal("0.1")])) == [{"value": str(2**53)}, {"value": 7}, {"value": "0.1"}]
