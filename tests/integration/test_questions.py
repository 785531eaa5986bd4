"""The questions of every repository on the sample data: each answers what plain Python answers, in the type it says."""

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from pydantic import TypeAdapter

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.errors import CheckViolation
from chainstrata.model import Catalog
from chainstrata.packs.insights.model import FlagType, JobStatus
from chainstrata.packs.insights.repository import Insights
from chainstrata.packs.portfolio.repository import Portfolio
from chainstrata.packs.relay.repository import Relay
from chainstrata.packs.repository import questions_of, repository_class
from chainstrata.packs.validators.repository import Validators
from tests.fixtures.answers import misfits
from tests.fixtures.samples import ANCHOR, Sampled

PACKS = ("insights", "portfolio", "prices", "relay", "validators")
Told = list[dict[str, Any]]


def told(sampled: Sampled, dataset: str, **equals: Any) -> Told:
    return [row for row in sampled.tables[dataset].to_pylist() if equals.items() <= row.items()]


@pytest.fixture
def insights(samples: Connection, catalog: Catalog) -> Insights:
    return Insights(catalog.pack("insights"), samples)


@pytest.fixture
def portfolio(samples: Connection, catalog: Catalog) -> Portfolio:
    return Portfolio(catalog.pack("portfolio"), samples)


@pytest.fixture
def relay(samples: Connection, catalog: Catalog) -> Relay:
    return Relay(catalog.pack("relay"), samples)


@pytest.fixture
def validators(samples: Connection, catalog: Catalog) -> Validators:
    return Validators(catalog.pack("validators"), samples)


# All of them ---------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S0-51", "S0-56")
async def test_every_question_answers_its_example_in_the_types_it_declares(samples: Connection, catalog: Catalog) -> None:
    answered: dict[str, int] = {}
    for pack in map(catalog.pack, PACKS):
        repository = repository_class(pack)(pack, samples)
        for question in questions_of(type(repository)):
            kinds = {argument.name: argument.kind for argument in question.arguments}
            example = {name: TypeAdapter(kinds[name]).validate_python(value) for name, value in question.example.items()}
            found = await question.ask(repository, **example)
            name = f"{pack.name}.{question.name}"
            assert list(misfits(found, question.answer, name)) == []
            assert question.doc.startswith("Return "), name
            answered[name] = len(found) if isinstance(found, list) else found is not None
    assert len(answered) > 40
    assert sum(map(bool, answered.values())) > 20


async def test_every_row_of_every_table_comes_in_the_types_that_are_declared(samples: Connection, catalog: Catalog) -> None:
    for pack in map(catalog.pack, PACKS):
        repository = repository_class(pack)(pack, samples)
        for dataset in pack.datasets:
            table = getattr(repository, dataset.name)
            assert table.dataset is dataset
            for row in await table.rows.limit(50).all():
                assert list(misfits(row, table.row, dataset.full_name)) == []
            for rollup in dataset.rollups:
                buckets = getattr(repository, f"{dataset.name}_{rollup.name}")
                for row in await buckets.rows.limit(20).all():
                    assert list(misfits(row, buckets.row, buckets.name)) == []


# Insights ------------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S4-44", "S4-45", "S4-46", "S4-47")
async def test_what_users_think_of_an_insight(insights: Insights, sampled: Sampled) -> None:
    feedback = told(sampled, "insights.feedback")
    flags: dict[str, list[str]] = defaultdict(list)
    for row in feedback:
        flags[row["insight_id"]] += [row["flag_type"]] if row["flag_type"] else []
    insight = max(flags, key=lambda name: len(flags[name]))
    own = [row for row in feedback if row["insight_id"] == insight]
    ratings = [row["rating"] for row in own if row["rating"] is not None]
    found = await insights.insight_statistics(insight)
    assert (found.total_ratings, found.total_flags) == (len(ratings), len(flags[insight]))
    assert found.total_comments == sum(row["comment"] is not None for row in own)
    assert found.average_rating is not None
    assert abs(found.average_rating * len(ratings) - sum(ratings)) < Decimal("1e-12")
    assert {one.rating: one.count for one in await insights.rating_distribution(insight)} == {n: ratings.count(n) for n in set(ratings)}
    comments = sorted((row["created_at"] for row in own if row["comment"] is not None), reverse=True)
    assert [one.created_at for one in await insights.recent_comments(insight, 3)] == comments[:3]
    flagged = await insights.flagged_insights(3)
    assert {one.insight_id: set(one.flag_types) for one in flagged} == {
        name: {FlagType(kind) for kind in kinds} for name, kinds in flags.items() if len(kinds) >= 3
    }
    nobody = await insights.insight_statistics("nobody spoke of it")
    assert (nobody.total_ratings, nobody.average_rating) == (0, None)


async def test_feedback_is_given_again_and_kept_within_its_bounds(insights: Insights, samples: Connection) -> None:
    first = await insights.give_feedback("one", "ana", rating=3, flag_type=FlagType.SPAM, flag_reason="ad")
    again = await insights.give_feedback("one", "ana", rating=5)
    assert (again.id, again.rating, again.flag_type, again.created_at) == (first.id, 5, None, first.created_at)
    for wrong, hint in (
        ({"rating": 6}, "rating BETWEEN 1 AND 5"),
        ({}, "num_nonnulls"),
        ({"rating": 1, "flag_reason": "x"}, "flag_type IS NOT"),
    ):
        with pytest.raises(CheckViolation) as caught:
            async with samples.savepoint():
                await insights.give_feedback("one", "bo", **wrong)  # type: ignore[arg-type]
        assert hint in caught.value.hint


@pytest.mark.conforms("S4-26", "S4-27", "S4-28")
async def test_how_jobs_are(insights: Insights, sampled: Sampled) -> None:
    jobs = told(sampled, "insights.jobs")
    running = sorted((row for row in jobs if row["status"] == "running"), key=lambda row: row["started_at"], reverse=True)
    assert [str(job.id) for job in await insights.running_jobs()] == [row["id"] for row in running]
    one = next(row for row in jobs if row["status"] == "running")
    progress = await insights.job_progress(UUID(one["id"]))
    assert progress is not None
    assert (progress.status, progress.current_block) == (JobStatus.RUNNING, one["current_block"])
    since = ANCHOR - timedelta(days=20)
    failed = [row for row in jobs if row["status"] == "failed" and row["completed_at"] > since]
    assert {str(job.id) for job in await insights.failed_jobs(since)} == {row["id"] for row in failed}


@pytest.mark.conforms("S4-65", "S4-66", "S4-67", "S4-68")
async def test_how_services_do(insights: Insights, sampled: Sampled) -> None:
    metrics = told(sampled, "insights.metrics", service_name="web-api", metric_type="cpu")
    since = ANCHOR - timedelta(hours=1)
    recent = await insights.recent_metrics("web-api", "cpu", since)
    assert sorted(one.metric_value for one in recent) == sorted(row["metric_value"] for row in metrics if row["timestamp"] > since)
    hours: dict[datetime, list[float]] = defaultdict(list)
    for row in metrics:
        if ANCHOR - timedelta(hours=24) < row["timestamp"] <= ANCHOR:
            hours[row["timestamp"].replace(minute=0, second=0, microsecond=0)].append(row["metric_value"])
    hourly = await insights.hourly_metrics("web-api", "cpu", until=ANCHOR)
    assert [(one.hour, one.min_value, one.max_value, one.samples) for one in hourly] == [
        (hour, min(values), max(values), len(values)) for hour, values in sorted(hours.items())
    ]
    at = ANCHOR - timedelta(hours=6)
    window = told(sampled, "insights.metrics", service_name="web-api")
    found = await insights.metrics_at("web-api", at)
    assert len(found) == sum(at <= row["timestamp"] <= at + timedelta(minutes=5) for row in window) > 0
    assert [one.service_name for one in await insights.services_above(80, since=since)] == ["feature-engine"]


async def test_how_services_did_as_of_a_time(insights: Insights, sampled: Sampled) -> None:
    metrics = [row for row in told(sampled, "insights.metrics") if row["timestamp"] <= ANCHOR - timedelta(hours=6, minutes=17)]
    as_of = max(row["timestamp"] for row in metrics)
    own = [row for row in metrics if (row["service_name"], row["metric_type"]) == ("web-api", "cpu")]
    recent = await insights.recent_metrics("web-api", "cpu", as_of=as_of)
    hour = [row for row in own if row["timestamp"] > as_of - timedelta(hours=1)]
    assert sorted((one.timestamp, one.metric_value) for one in recent) == sorted((row["timestamp"], row["metric_value"]) for row in hour)
    assert recent[0].timestamp == as_of
    hours: dict[datetime, list[float]] = defaultdict(list)
    for row in own:
        if row["timestamp"] > as_of - timedelta(hours=24):
            hours[row["timestamp"].replace(minute=0, second=0, microsecond=0)].append(row["metric_value"])
    for until in (None, ANCHOR):
        hourly = await insights.hourly_metrics("web-api", "cpu", since=as_of - timedelta(hours=24), until=until, as_of=as_of)
        assert [(one.hour, one.min_value, one.max_value, one.samples) for one in hourly] == [
            (hour, min(values), max(values), len(values)) for hour, values in sorted(hours.items())
        ]
    at = as_of - timedelta(minutes=2)
    found = await insights.metrics_at("web-api", at, as_of=as_of)
    assert len(found) == sum(row["service_name"] == "web-api" and at <= row["timestamp"] for row in metrics) > 0
    loads: dict[str, list[float]] = defaultdict(list)
    for row in metrics:
        if row["metric_type"] == "cpu" and row["timestamp"] > as_of - timedelta(hours=1):
            loads[row["service_name"]].append(row["metric_value"])
    assert {one.service_name: one.samples for one in await insights.services_above(0, as_of=as_of)} == {
        name: len(values) for name, values in loads.items()
    }


# Portfolio -----------------------------------------------------------------------------------------------------------
async def test_what_a_user_holds_and_how_it_moved(portfolio: Portfolio, sampled: Sampled) -> None:
    history = told(sampled, "portfolio.transactions")
    by_user: dict[str, Told] = defaultdict(list)
    for row in history:
        by_user[row["user_id"]].append(row)
    name = max(by_user, key=lambda user: len(by_user[user]))
    user, own = UUID(name), by_user[name]
    found = await portfolio.history(user, limit=10_000)
    assert {(row.tx_hash, row.log_index) for row in found} == {(row["tx_hash"], row["log_index"]) for row in own}
    assert [row.block_timestamp for row in found] == sorted((row["block_timestamp"] for row in own), reverse=True)
    assert sorted(int(row.amount) for row in found) == sorted(int(row["amount"]) for row in own)
    asset = own[0]["asset_id"]
    assert len(await portfolio.history(user, asset_id=asset, limit=10_000)) == sum(row["asset_id"] == asset for row in own)
    flows = {flow.asset_id: flow for flow in await portfolio.flows(user, since=datetime.min.replace(tzinfo=ANCHOR.tzinfo))}
    assert {name: flow.movements for name, flow in flows.items()} == {
        name: sum(row["asset_id"] == name for row in own) for name in {row["asset_id"] for row in own}
    }
    incoming = [row.quantity for row in found if row.asset_id == asset and row.direction == 1]
    assert flows[asset].quantity_in == sum(incoming)
    one = own[0]
    legs = await portfolio.transaction(one["chain"], one["tx_hash"])
    assert sorted(leg.log_index for leg in legs) == sorted(
        row["log_index"] for row in history if (row["chain"], row["tx_hash"]) == (one["chain"], one["tx_hash"])
    )
    times = {leg.block_timestamp for leg in legs}
    assert await portfolio.transaction(one["chain"], one["tx_hash"], max(times)) == legs
    assert await portfolio.transaction(one["chain"], one["tx_hash"], min(times) - timedelta(microseconds=1)) == []


async def test_what_a_portfolio_is_worth(portfolio: Portfolio, sampled: Sampled) -> None:
    name = told(sampled, "portfolio.holdings")[0]["user_id"]
    held = [row for row in told(sampled, "portfolio.holdings", user_id=name) if int(row["amount"]) > 0]
    holdings = await portfolio.holdings_of(UUID(name))
    assert len(holdings) == len(held)
    values = [row.value_usd for row in holdings if row.value_usd is not None]
    assert values == sorted(values, reverse=True)
    assert all(row.value_usd is None for row in holdings[len(values) :])
    worth = await portfolio.value(UUID(name))
    assert worth.assets_usd - worth.debts_usd == worth.net_usd
    assert worth.assets_usd + worth.debts_usd == sum(values)
    assert (worth.holdings, worth.unpriced) == (len(held), len(held) - len(values))
    nobody = await portfolio.value(UUID(int=0))
    assert (nobody.net_usd, nobody.holdings) == (0, 0)
    history = await portfolio.value_history(UUID(name))
    assert len(history) == len(told(sampled, "portfolio.snapshots", user_id=name))
    top = await portfolio.holders(held[0]["asset_id"])
    assert [one.quantity for one in top] == sorted((one.quantity for one in top), reverse=True)
    assert len(top) == len(
        {r["user_id"] for r in told(sampled, "portfolio.holdings", asset_id=held[0]["asset_id"]) if int(r["amount"]) > 0}
    )


# Relay ---------------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S2-58", "S2-59")
async def test_where_packets_are(relay: Relay, sampled: Sampled, samples: Connection) -> None:
    events = told(sampled, "relay.packet_events")
    lives: dict[tuple[Any, ...], Told] = defaultdict(list)
    for row in events:
        lives[row["src_chain_id"], row["src_port"], row["src_channel"], int(row["sequence"])].append(row)
    (chain, port, channel, sequence), own = max(lives.items(), key=lambda item: len(item[1]))
    packet = await relay.packet(chain, channel, sequence, port)
    assert packet is not None
    assert (packet.sequence, type(packet.sequence)) == (sequence, int)
    life = await relay.packet_life(chain, channel, sequence, port)
    assert [row.block_time for row in life] == sorted(row["block_time"] for row in own)
    first = life[0].block_time
    assert await relay.packet_life(chain, channel, sequence, port, as_of=first) == [row for row in life if row.block_time == first]
    sent = [row for row in events if row["sender"] == packet.sender and row["event_type"] == "send_packet"] if packet.sender else []
    if packet.sender:
        assert len(await relay.packets_of(packet.sender, limit=10_000)) >= len(sent) > 0
    backlog = await relay.channel_backlog()
    open_packets = await samples.fetch_value("SELECT count(*) FROM relay.packet_flow WHERE status IN ('pending', 'received', 'stuck')")
    assert sum(one.backlog_size for one in await relay.channel_backlog(10_000)) == open_packets
    assert [one.backlog_size for one in backlog] == sorted((one.backlog_size for one in backlog), reverse=True)
    await samples.fetch_value("SELECT relay.mark_stuck_packets()")
    stuck = await relay.stuck_packets(limit=10_000)
    assert all(one.command.startswith(f"hermes clear packets --chain {one.src_chain_id}") for one in stuck)
    score = await relay.health_score(chain, ANCHOR)
    assert score is None or 0 <= score <= 100
    assert await relay.health_score("nowhere-1") is None
    [cost, *_] = await relay.query_performance()
    assert cost.advice


async def test_operations_of_a_wallet_leave_deleted_ones_out(relay: Relay, sampled: Sampled) -> None:
    operations = told(sampled, "relay.clearing_operations")
    wallet = max((row["wallet_address"] for row in operations), key=[row["wallet_address"] for row in operations].count)
    own = [row for row in operations if row["wallet_address"] == wallet and row.get("deleted_at") is None]
    found = await relay.operations_of(wallet, limit=1000)
    assert len(found) == len(own)
    assert [row.created_at for row in found] == sorted((row.created_at for row in found), reverse=True)


# Validators ----------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S0-56")
async def test_validators_and_what_they_missed(validators: Validators, sampled: Sampled) -> None:
    rows = told(sampled, "validators.validators")
    one = rows[0]
    found = await validators.validator_by_pubkey(one["pubkey"].upper().replace("0X", "0x"))
    assert found == await validators.validator(one["validator_index"])
    wanted = sorted(row["validator_index"] for row in rows if row["operator"] == one["operator"])
    pages, after = [], -1
    while page := await validators.validators_of_operator(one["operator"], after=after, limit=7):
        pages += [row.validator_index for row in page]
        after = pages[-1]
    assert pages == wanted
    since, until = ANCHOR - timedelta(hours=30), ANCHOR - timedelta(hours=3)
    duties = [row for row in told(sampled, "validators.duties") if since <= row["ts"] < until]
    missed = await validators.missed_duties(since, until)
    assert len(missed) == sum(not row["included"] for row in duties)
    assert all(isinstance(row.miss_reason, StrEnum) for row in missed)
    often = await validators.missing_often(since, until, 5)
    assert all(row.missed >= 5 for row in often)
    streaks = await validators.missed_streaks(since, until, 3)
    assert [row.missed for row in streaks] == sorted((row.missed for row in streaks), reverse=True)
    index = duties[0]["validator_index"]
    own = await validators.duties_of(index, since, until)
    assert [row.epoch for row in own] == sorted(row["epoch"] for row in duties if row["validator_index"] == index)
    [earned] = await validators.effectiveness(since, until, [index])
    assert earned.validator_index == index
    alerts = await validators.alerts_raised(since=ANCHOR - timedelta(days=900), until=ANCHOR + timedelta(days=1), limit=10_000)
    assert len(alerts) == len(told(sampled, "validators.alerts"))
