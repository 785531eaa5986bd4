# rows are tables
"""Market data of the portfolio pack in the columnar engine: what comes in, what is kept of it, and every question against plain Python."""

import asyncio
import json
import os
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from chainstrata.api.questions import write_rows
from chainstrata.engines.clickhouse import Columnar, ColumnarOptions
from chainstrata.engines.postgres import Database
from chainstrata.errors import ChainStrataError
from chainstrata.ingest import BatchRefused, UnfitColumn
from chainstrata.ingest.columnar import ColumnarIngest
from chainstrata.migrate.columnar import create_declared
from chainstrata.model import Catalog
from chainstrata.packs import load_catalog
from chainstrata.packs.portfolio.market import Market
from chainstrata.packs.repository import questions_of
from tests.fixtures.answers import misfits
from tests.fixtures.api import aclosing_platform, make_platform, open_client
from tests.fixtures.clickhouse import ColumnarServer
from tests.fixtures.market import (
    AT,
    Rows,
    make_events,
    make_pools,
    make_prices,
    make_sentiment,
    make_tvl,
    make_yields,
)
from tests.fixtures.packs import OPTIONS


@pytest.fixture(scope="module")
def everything() -> Catalog:
    return load_catalog(["portfolio"])


@pytest.fixture(scope="module")
def given() -> dict[str, Rows]:
    rnd = random.Random(7)
    return {
        "price_data_raw": make_prices(rnd), "protocol_tvl_history": make_tvl(rnd), "liquidity_pools": make_pools(rnd),
        "transaction_events": make_events(rnd), "yield_history": make_yields(rnd), "market_sentiment": make_sentiment(rnd),
    }  # fmt: skip


@pytest.fixture(scope="module")
def filled(columnar_server: ColumnarServer, shared_packs: str, everything: Catalog, given: dict[str, Rows]) -> Iterator[ColumnarOptions]:
    """Give a database that holds the rows, taken in by ingest in several batches, some rows more than once and corrected later."""
    options = ColumnarOptions(f"test_market_{os.getpid()}_{os.urandom(4).hex()}", timeout=timedelta(seconds=60))

    async def fill() -> None:
        async with Columnar(columnar_server.url, options) as columnar, Database(shared_packs, options=OPTIONS) as database:
            await create_declared(columnar, everything)
            ingest = ColumnarIngest(database, everything, given_engine(columnar))
            rnd = random.Random(8)
            for name, rows in given.items():
                wrong = [{**row, **spoil(name)} for row in rnd.sample(rows, len(rows) // 10)]
                late = rnd.sample(rows, len(rows) // 5)
                first = [row for row in rows if row not in late]
                for number, batch in enumerate((first + wrong, late, wrong_put_right(rows, wrong, name))):
                    if batch:
                        await ingest.ingest(f"portfolio.{name}", batch, batch=f"{name} {number}")

    async def empty() -> None:
        async with Columnar(columnar_server.url, options) as columnar:
            await columnar.execute(f"DROP DATABASE `{options.database}` SYNC")

    asyncio.run(fill())
    yield options
    asyncio.run(empty())


def given_engine(columnar: Columnar) -> Any:
    async def give() -> Columnar:
        return columnar

    return give


def spoil(name: str) -> dict[str, Any]:
    """Return what makes a row of a dataset wrong, without making it another row."""
    return {
        "price_data_raw": {"price_usd": Decimal("0.000000000000000000000001")}, "protocol_tvl_history": {"tvl_usd": Decimal(1)},
        "liquidity_pools": {"tvl_usd": Decimal(1), "volume_24h_usd": Decimal(5)}, "transaction_events": {"amount_out": 1, "sender": "0xwrong"},
        "yield_history": {"apy": Decimal(99)}, "market_sentiment": {"mentions": 10**15},
    }[name]  # fmt: skip


def wrong_put_right(rows: Rows, wrong: Rows, name: str) -> Rows:
    keys = load_catalog(["portfolio"]).columnar_dataset(f"portfolio.{name}").key
    bad = {tuple(row[key] for key in keys) for row in wrong}
    return [row for row in rows if tuple(row[key] for key in keys) in bad]


@pytest.fixture
async def market(columnar_server: ColumnarServer, filled: ColumnarOptions) -> AsyncIterator[Market]:
    async with Columnar(columnar_server.url, filled) as columnar:
        yield Market(columnar)


def grouped(rows: Iterable[dict[str, Any]], *names: str) -> dict[tuple[Any, ...], Rows]:
    found: dict[tuple[Any, ...], Rows] = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in names)].append(row)
    return found


def newest(rows: Rows) -> dict[str, Any]:
    return max(rows, key=lambda row: row["ts"])


@pytest.mark.conforms("S1-48", "S1-49", "S1-50", "S1-51", "S1-52", "S1-53", "S1-83", "S1-84")
async def test_every_row_stands_once_and_exact(market: Market, given: dict[str, Rows], everything: Catalog) -> None:
    for dataset in everything.columnar:
        rows = given[dataset.name]
        found = [row._asdict() for row in await market.columnar.query_rows(f"SELECT * FROM {dataset.view_name}")]
        key = tuple(dataset.key)
        assert sorted(found, key=lambda row: [row[name] for name in key]) == sorted(rows, key=lambda row: [row[name] for name in key]), (
            dataset.name
        )


@pytest.mark.conforms("S1-62", "S1-65")
async def test_price_metrics(market: Market, given: dict[str, Rows]) -> None:
    prices = [row for row in given["price_data_raw"] if row["asset_id"] == "bitcoin:native"]
    found = await market.price_metrics("bitcoin:native", AT - timedelta(days=3), AT)
    buckets = grouped([{**row, "bucket": floor(row["ts"], 300)} for row in prices], "bucket")
    assert [row.bucket for row in found] == sorted(bucket for (bucket,) in buckets)
    for row in found:
        own = sorted(buckets[row.bucket,], key=lambda one: one["ts"])
        values = [float(one["price_usd"]) for one in own]
        assert (row.samples, row.open, row.close) == (len(own), own[0]["price_usd"], own[-1]["price_usd"])
        assert (row.high, row.low) == (max(one["price_usd"] for one in own), min(one["price_usd"] for one in own))
        assert row.mean == pytest.approx(fmean(values))
        assert row.volatility == pytest.approx(pstdev(values) / fmean(values), rel=1e-6, abs=1e-12)
        hours = [(one["ts"] - AT).total_seconds() / 3600 for one in own]
        assert row.trend_per_hour == pytest.approx(slope(hours, values), rel=1e-3, abs=1e-2)


def floor(moment: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def slope(xs: list[float], ys: list[float]) -> float:
    if len(xs) < 2:
        return 0.0
    x, y = fmean(xs), fmean(ys)
    spread = sum((one - x) ** 2 for one in xs)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / spread if spread else 0.0


@pytest.mark.conforms("S1-66")
@pytest.mark.parametrize("by_day", [False, True])
async def test_top_movers(market: Market, given: dict[str, Rows], by_day: bool) -> None:
    wanted = []
    for (asset,), rows in grouped(given["price_data_raw"], "asset_id").items():

        def last(older: float, younger: float, rows: Rows = rows) -> float | None:
            own = [row for row in rows if AT - timedelta(hours=older) < row["ts"] <= AT - timedelta(hours=younger)]
            return float(max(own, key=lambda row: (row["ts"], row["source"]))["price_usd"]) if own else None

        now, hour, day = last(1, 0), last(2, 1), last(25, 24)
        assert now
        assert hour
        assert day
        wanted.append((asset, now / hour - 1, now / day - 1))
    wanted.sort(key=lambda row: -abs(row[2 if by_day else 1]))
    found = await market.top_movers(AT, by_day=by_day, limit=3)
    assert [row.asset_id for row in found] == [row[0] for row in wanted[:3]]
    for row, (_, hour, day) in zip(found, wanted, strict=False):
        assert (row.change_1h, row.change_24h) == pytest.approx((hour, day))


@pytest.mark.conforms("S1-63", "S1-67")
async def test_tvl_changes(market: Market, given: dict[str, Rows]) -> None:
    found = {(row.protocol_id, row.chain): row for row in await market.tvl_changes(AT, hours=6, threshold=0.05)}
    wanted = {}
    for key, rows in grouped(given["protocol_tvl_history"], "protocol_id", "chain").items():

        def last(older: int, younger: int, rows: Rows = rows) -> Decimal:
            own = [row for row in rows if AT - timedelta(hours=older) < floor(row["ts"], 300) <= AT - timedelta(hours=younger)]
            return Decimal(newest(own)["tvl_usd"])

        wanted[key] = (last(6, 0), last(12, 6))
    assert {key: (row.tvl_usd, row.tvl_before_usd) for key, row in found.items()} == wanted
    for key, row in found.items():
        change = float(wanted[key][0]) / float(wanted[key][1]) - 1
        assert row.change == pytest.approx(change)
        assert bool(row.alarming) == (abs(change) >= 0.05)
    assert {bool(row.alarming) for row in found.values()} == {True, False}


@pytest.mark.conforms("S1-64", "S1-68")
async def test_best_yields(market: Market, given: dict[str, Rows]) -> None:
    since, until = AT - timedelta(hours=24), AT - timedelta(hours=2)
    wanted: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for (strategy, pool), rows in grouped(given["yield_history"], "strategy", "pool_id").items():
        own = [row for row in rows if since <= floor(row["ts"], 3600) < until]
        rates, last = [float(row["apy"]) for row in own], newest(own)
        if last["tvl_usd"] >= 20_000_000:
            wanted[strategy].append(
                ((fmean(rates) - pstdev(rates)) * (1 - (50 if last["risk_score"] is None else last["risk_score"]) / 100), pool)
            )
    found = grouped([asdict(row) for row in await market.best_yields(since, until, least_tvl_usd=Decimal(20_000_000), limit=2)], "strategy")
    assert set(found) == {(strategy,) for strategy in wanted}
    for (strategy,), rows in found.items():
        best = sorted(wanted[strategy], reverse=True)[:2]
        assert [row["pool_id"] for row in rows] == [pool for _, pool in best]
        assert [row["score"] for row in rows] == pytest.approx([score for score, _ in best])


@pytest.mark.conforms("S1-69")
async def test_cross_chain(market: Market, given: dict[str, Rows]) -> None:
    day = {name: [row for row in rows if AT - timedelta(days=1) < row["ts"] <= AT] for name, rows in given.items()}
    found = {row.chain: row for row in await market.cross_chain(AT)}
    for chain in ("ethereum", "base"):
        tvl = sum(
            newest(rows)["tvl_usd"] for (_, on), rows in grouped(day["protocol_tvl_history"], "protocol_id", "chain").items() if on == chain
        )
        said = grouped((row for row in day["liquidity_pools"] if row["volume_24h_usd"] is not None), "chain", "pool_id")
        volume = sum(newest(rows)["volume_24h_usd"] for (on, _), rows in said.items() if on == chain)
        events = [row for row in day["transaction_events"] if row["chain"] == chain]
        earning = [
            newest(rows) for (on, _, _), rows in grouped(day["yield_history"], "chain", "strategy", "pool_id").items() if on == chain
        ]
        assert (found[chain].tvl_usd, found[chain].volume_24h_usd, found[chain].events_24h) == (tvl, volume, len(events))
        assert found[chain].events_value_usd == sum(row["value_usd"] or 0 for row in events)
        if earning:
            weight = sum(float(row["tvl_usd"]) for row in earning)
            assert found[chain].mean_apy == pytest.approx(sum(float(row["apy"]) * float(row["tvl_usd"]) for row in earning) / weight)
        else:
            assert found[chain].mean_apy is None


@pytest.mark.conforms("S1-70")
async def test_market_share(market: Market, given: dict[str, Rows]) -> None:
    totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    day = [row for row in given["protocol_tvl_history"] if AT - timedelta(days=1) < row["ts"] <= AT]
    for (protocol, _), rows in grouped(day, "protocol_id", "chain").items():
        totals[newest(rows)["category"], protocol] += newest(rows)["tvl_usd"]
    kinds: dict[str, Decimal] = defaultdict(Decimal)
    for (category, _), tvl in totals.items():
        kinds[category] += tvl
    found = {(row.category, row.protocol_id): row for row in await market.market_share(AT)}
    assert {key: row.tvl_usd for key, row in found.items()} == totals
    for (category, protocol), row in found.items():
        assert row.share == pytest.approx(float(totals[category, protocol] / kinds[category]))


@pytest.mark.conforms("S1-71")
async def test_sandwiches(market: Market, given: dict[str, Rows]) -> None:
    swaps = [row for row in given["transaction_events"] if row["event_type"] == "swap"]
    wanted = []
    for rows in grouped(swaps, "chain", "block_number", "pool_id").values():
        for front in rows:
            for victim in rows:
                for back in rows:
                    way = (front["token_in"], front["token_out"])
                    if (
                        front["tx_index"] < victim["tx_index"] < back["tx_index"]
                        and victim["sender"] != front["sender"] == back["sender"]
                        and (victim["token_in"], victim["token_out"]) == way == (back["token_out"], back["token_in"])
                    ):
                        wanted.append((front["tx_hash"], victim["tx_hash"], back["tx_hash"], back["amount_out"] - front["amount_in"]))
    found = await market.sandwiches(AT - timedelta(days=1), AT + timedelta(days=1))
    assert sorted((row.front_tx, row.victim_tx, row.back_tx, row.profit_units) for row in found) == sorted(wanted)
    assert wanted


@pytest.mark.conforms("S1-72")
async def test_arbitrages(market: Market, given: dict[str, Rows]) -> None:
    wanted = {}
    for (_, tx), rows in grouped([row for row in given["transaction_events"] if row["event_type"] == "swap"], "chain", "tx_hash").items():
        own = sorted(rows, key=lambda row: row["log_index"])
        profit = own[-1]["amount_out"] - own[0]["amount_in"]
        if len(own) > 1 and len({row["pool_id"] for row in own}) > 1 and own[-1]["token_out"] == own[0]["token_in"] and profit > 0:
            wanted[tx] = (len(own), own[0]["token_in"], profit)
    found = await market.arbitrages(AT - timedelta(days=1), AT + timedelta(days=1))
    assert {row.tx_hash: (row.swaps, row.token, row.profit_units) for row in found} == wanted
    assert wanted


@pytest.mark.conforms("S1-73")
async def test_sentiment(market: Market, given: dict[str, Rows]) -> None:
    since = AT - timedelta(hours=20)
    found = {row.asset_id: row for row in await market.sentiment(since, AT)}
    for (asset,), rows in grouped(given["market_sentiment"], "asset_id").items():
        now = [row for row in rows if since <= row["ts"] < AT]
        before = [row for row in rows if since - (AT - since) <= row["ts"] < since]
        row = found[asset]
        assert (row.mentions, row.mentions_before) == (sum(one["mentions"] for one in now), sum(one["mentions"] for one in before))
        assert (row.positive, row.negative) == (sum(one["positive"] for one in now), sum(one["negative"] for one in now))
        for score, own in ((row.score, now), (row.score_before, before)):
            assert score == pytest.approx(sum(float(one["score"]) * one["mentions"] for one in own) / sum(one["mentions"] for one in own))


@pytest.mark.conforms("S1-74")
async def test_risk(market: Market, given: dict[str, Rows]) -> None:
    found = {row.protocol_id: row for row in await market.risk(AT)}
    for (protocol,), rows in grouped(given["protocol_tvl_history"], "protocol_id").items():
        chains = list(grouped(rows, "chain").values())
        now = [newest(own) for own in chains]
        tvl = sum(one["tvl_usd"] for one in now)
        top = sum(max(one["tvl_usd"] for one in own) for own in chains)
        lent = sum(one["borrowed_usd"] or 0 for one in now)
        safe = min(50 if one["security_score"] is None else one["security_score"] for one in now)
        fall, used = max(0.0, 1 - float(tvl / top)), float(lent / tvl)
        one_chain = sum(float(one["tvl_usd"]) ** 2 for one in now) / float(tvl) ** 2
        row = found[protocol]
        assert row.tvl_usd == tvl
        assert (row.security_score, row.drawdown, row.utilization, row.concentration) == pytest.approx(
            (safe, fall, used, one_chain), abs=1e-9
        )
        assert row.risk == pytest.approx(100 * (0.4 * (1 - safe / 100) + 0.25 * fall + 0.2 * min(used, 1) + 0.15 * one_chain))


# Over HTTP -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def client(
    columnar_server: ColumnarServer, filled: ColumnarOptions, shared_packs: str, everything: Catalog, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    settings = {"clickhouse__url": columnar_server.url, "clickhouse__database": filled.database}
    async with Database(shared_packs, options=OPTIONS) as database:
        made = make_platform(database, shared_packs, everything, tmp_path, **settings)
        async with aclosing_platform(made), open_client(made) as client:
            yield client


async def test_every_question_answers_over_http_what_it_answers_from_python(client: httpx.AsyncClient, market: Market) -> None:
    questions = questions_of(Market)
    assert len(questions) == 10
    for question in questions:
        kinds = {argument.name: argument.kind for argument in question.arguments}
        example = {name: TypeAdapter(kinds[name]).validate_python(value) for name, value in question.example.items()}
        found = await question.ask(market, **example)
        assert found, question.name
        assert list(misfits(found, question.answer, question.name)) == []
        answer = await client.get(f"/api/v1/portfolio/{question.name}", params=question.example)
        assert answer.status_code == 200, answer.text
        assert answer.json()["data"] == json.loads(write_rows(found)), question.name
        assert answer.json()["freshness"]["lsn"] is None
        assert len(await question.ask(market.at_most(1), **example)) == 1


async def test_as_of_a_time_nothing_later_is_in_the_answer(client: httpx.AsyncClient, market: Market, given: dict[str, Rows]) -> None:
    """In the midst of five minutes and of an hour: what these hold by then is told apart from what came after."""
    moment, changed = AT - timedelta(hours=2, minutes=33, seconds=20), set()
    for question in questions_of(market.__class__):
        path, whole = f"/api/v1/portfolio/{question.name}", {**question.example, **WIDER.get(question.name, {})}
        answer = await client.get(path, params={**whole, "as_of": moment.isoformat()})
        assert answer.status_code == 200, answer.text
        late = await client.get(path, params={**whole, "as_of": "2199-12-31T00:00:00Z"})
        assert late.json()["data"] == (await client.get(path, params=whole)).json()["data"]
        changed |= {question.name} if late.json()["data"] != answer.json()["data"] else set()
        early = await client.get(path, params={**whole, "as_of": "1900-01-01T00:00:00Z"})
        assert (early.status_code, early.json()["data"]) == (200, []), early.text
    assert changed == {question.name for question in questions_of(market.__class__)}
    fine, coarse = floor(moment, 300), floor(moment, 3600)
    since = AT - timedelta(days=1)
    assert await market.price_metrics("bitcoin:native", since, AT, as_of=moment) == await market.price_metrics(
        "bitcoin:native", since, fine
    )
    assert await market.best_yields(since, AT, as_of=moment) == await market.best_yields(since, coarse)
    for row in await market.tvl_changes(AT, hours=6, as_of=moment):
        own = [one for one in given["protocol_tvl_history"] if (one["protocol_id"], one["chain"]) == (row.protocol_id, row.chain)]
        assert row.tvl_usd == newest([one for one in own if one["ts"] < fine])["tvl_usd"]


WIDER = {
    name: {"since": (AT - timedelta(days=1)).isoformat(), "until": AT.isoformat()} for name in ("sandwiches", "arbitrages", "sentiment")
}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("top_movers?at=1900-01-01T00:00:00Z", 200),
        ("top_movers?at=2199-12-31T23:59:59Z", 200),
        ("tvl_changes?at=2199-12-31T00:00:00Z&hours=0", 400),
        ("tvl_changes?at=2026-03-02T18:00:00Z&hours=1000000", 400),
        ("best_yields?since=1900-01-01T00:00:00Z&until=2199-01-01T00:00:00Z&least_tvl_usd=1e60", 400),
        ("sentiment?since=2199-01-01T00:00:00Z&until=1900-01-01T00:00:00Z", 200),
        ("price_metrics?asset_id=%27%3B--&since=1900-01-01T00:00:00Z&until=2199-01-01T00:00:00Z", 200),
        ("risk", 422),
    ],
)
async def test_what_is_odd_is_answered_or_refused_in_words(client: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await client.get(f"/api/v1/portfolio/{path}")
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["error"]["message"]


# What comes in -------------------------------------------------------------------------------------------------------


PRICE = {"asset_id": "a:b", "source": "s", "ts": AT, "chain": "a", "price_usd": Decimal("1.5")}


@pytest.fixture
async def fresh(columnar: Columnar, packs: Database, everything: Catalog) -> ColumnarIngest:
    await create_declared(columnar, everything)
    return ColumnarIngest(packs, everything, given_engine(columnar))


async def test_rows_that_do_not_fit_go_to_quarantine_and_the_rest_goes_on(
    fresh: ColumnarIngest, packs: Database, columnar: Columnar
) -> None:
    wrong = [
        {**PRICE, "price_usd": Decimal("1e-25")}, {**PRICE, "price_usd": Decimal(10) ** 14}, {**PRICE, "price_usd": Decimal(-1)},
        {**PRICE, "price_usd": "many"}, {**PRICE, "asset_id": None}, {**PRICE, "price_usd": Decimal("NaN")},
    ]  # fmt: skip
    answer = await fresh.ingest(
        "portfolio.price_data_raw", [PRICE, *wrong, {**PRICE, "source": "t", "price_usd": "0.000000000000000000000001"}]
    )
    assert (answer.accepted, answer.quarantined) == (2, len(wrong))
    assert await packs.fetch_value("SELECT sum(times) FROM strata.quarantine WHERE dataset = 'portfolio.price_data_raw'") == len(wrong)
    found = await columnar.query_rows("SELECT price_usd FROM portfolio__price_data_raw ORDER BY source")
    assert [row.price_usd for row in found] == [Decimal("1.5"), Decimal("1e-24")]
    with pytest.raises(BatchRefused):
        await fresh.ingest("portfolio.price_data_raw", [PRICE, wrong[0]], strict=True)
    with pytest.raises(UnfitColumn):
        await fresh.ingest("portfolio.price_data_raw", [{**PRICE, "colour": "red"}])
    event = {"chain": "a", "block_number": 2**64 - 1, "tx_index": 1, "log_index": 1, "ts": AT, "tx_hash": "0x1", "event_type": "swap",
             "protocol_id": "p", "pool_id": "", "sender": "s", "token_in": "", "token_out": "", "amount_in": 2**256 - 1, "amount_out": 0}  # fmt: skip
    others = [{**event, "event_type": "party"}, {**event, "amount_in": 2**256}, {**event, "amount_in": -1}, {**event, "block_number": -1}]
    answer = await fresh.ingest("portfolio.transaction_events", [event, *others])
    assert (answer.accepted, answer.quarantined) == (1, 4)
    assert await columnar.fetch_value("SELECT amount_in FROM portfolio__transaction_events") == 2**256 - 1


async def test_files_come_in_like_rows_and_a_batch_once(fresh: ColumnarIngest, columnar: Columnar) -> None:
    csv = b"asset_id,source,ts,chain,price_usd\na:b,s,2026-03-02T18:00:00Z,a,1.500000000000000000000001\n"
    ndjson = b'{"asset_id": "a:b", "source": "t", "ts": "2026-03-02T18:00:00+00:00", "chain": "a", "price_usd": 2.25}\nnot json\n'
    answer = await fresh.ingest("portfolio.price_data_raw", csv, format="csv", batch="one")
    assert (answer.accepted, answer.repeated) == (1, False)
    assert (await fresh.ingest("portfolio.price_data_raw", csv, format="csv", batch="one")).repeated
    answer = await fresh.ingest("portfolio.price_data_raw", ndjson, format="ndjson")
    assert (answer.accepted, answer.quarantined) == (1, 1)
    found = await columnar.query_rows("SELECT source, price_usd FROM portfolio__price_data_raw ORDER BY source")
    assert [tuple(row) for row in found] == [("s", Decimal("1.500000000000000000000001")), ("t", Decimal("2.25"))]
    assert await columnar.fetch_value("SELECT samples FROM portfolio__mv_price_metrics_5min") == 2


@pytest.mark.conforms("S1-78")
async def test_what_an_interruption_left_is_computed_later(fresh: ColumnarIngest, columnar: Columnar) -> None:
    await fresh.ingest("portfolio.price_data_raw", [PRICE])
    # The digest's table is away for a moment: the rows are stored, what follows from them cannot be computed.
    await columnar.execute("RENAME TABLE portfolio__mv_price_metrics_5min__states TO portfolio__away")
    with pytest.raises(ChainStrataError):
        await fresh.ingest("portfolio.price_data_raw", [{**PRICE, "source": "t"}], batch="x")
    await columnar.execute("RENAME TABLE portfolio__away TO portfolio__mv_price_metrics_5min__states")
    assert await columnar.fetch_value("SELECT samples FROM portfolio__mv_price_metrics_5min") == 1
    assert await fresh.refresh() == 1
    assert await columnar.fetch_value("SELECT samples FROM portfolio__mv_price_metrics_5min") == 2
    assert not (await fresh.ingest("portfolio.price_data_raw", [{**PRICE, "source": "t"}], batch="x")).repeated
    assert await columnar.fetch_value("SELECT samples FROM portfolio__mv_price_metrics_5min") == 2
    assert await fresh.refresh() == 0
