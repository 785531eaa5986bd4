"""Roll-ups of the two packs over their samples are what plain Python folds the same rows into."""

import os
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from fractions import Fraction
from math import isclose
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from chainstrata.engines.postgres import Database
from chainstrata.model import Catalog, Interval, days, hours
from chainstrata.rollups import Rollups
from tests.fixtures.packs import OPTIONS
from tests.fixtures.postgres import Server
from tests.fixtures.samples import ANCHOR, Sampled

Buckets = dict[tuple[Any, ...], list[dict[str, Any]]]


@pytest.fixture
async def rolled(server: Server, sampled: Sampled, catalog: Catalog) -> AsyncIterator[Database]:
    """Give a copy of the samples with every roll-up up to date."""
    name = f"chainstrata_rolled_{os.getpid()}_{os.urandom(4).hex()}"
    template = str(conninfo_to_dict(sampled.conninfo)["dbname"])
    with psycopg.connect(server.connect_to("postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        async with Database(server.connect_to(name), options=OPTIONS) as database:
            await Rollups(database, catalog).refresh(["validators.snapshots", "validators.duties", "insights.metrics"])
            yield database
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def fold(rows: list[dict[str, Any]], every: Interval, time: str, *by: str) -> Buckets:
    buckets: Buckets = defaultdict(list)
    for row in sorted(rows, key=lambda row: row[time]):
        buckets[(*(row[name] for name in by), every.floor(row[time]))].append(row)
    return buckets


def given(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows if row[name] is not None]


def summed(rows: list[dict[str, Any]], *names: str) -> int | None:
    values = [sum(row[name] for name in names) for row in rows if row[names[0]] is not None]
    return sum(values) if values else None


EARNED = ("reward_head", "reward_target", "reward_source", "reward_inactivity")
IDEAL = ("ideal_head", "ideal_target", "ideal_source")


def check_snapshots(rows: list[Any], buckets: Buckets) -> None:
    assert {(row.validator_index, row.bucket) for row in rows} == set(buckets)
    for row in rows:
        own = buckets[row.validator_index, row.bucket]
        balances = [one["balance"] for one in own]
        assert (row.balance_first, row.balance_last) == (balances[0], balances[-1])
        assert (row.balance_min, row.balance_max, row.samples) == (min(balances), max(balances), len(own))
        earned, ideal = summed(own, *EARNED), summed(own, *IDEAL)
        assert (row.earned_reward, row.ideal_reward) == (earned, ideal)
        assert (row.due_attestations, row.missed_attestations) == (summed(own, "due_attestations"), summed(own, "missed_attestations"))
        assert row.proposer_reward == summed(own, "proposer_reward")
        assert row.status_last == own[-1]["status"]
        if ideal:
            assert abs(Fraction(row.effectiveness) - Fraction(earned, ideal)) < Fraction(1, 10**15)
            share = 1 - Fraction(row.missed_attestations) / Fraction(row.due_attestations)
            assert abs(Fraction(row.participation) - share) < Fraction(1, 10**15)
        else:
            assert row.effectiveness is None


@pytest.mark.conforms("S0-12", "S0-13", "S0-14")
@pytest.mark.parametrize(("name", "every"), [("hourly", hours(1)), ("daily", days(1))])
async def test_balance_effectiveness_and_misses(rolled: Database, sampled: Sampled, name: str, every: Interval) -> None:
    buckets = fold(sampled.tables["validators.snapshots"].to_pylist(), every, "ts", "validator_index")
    check_snapshots(await rolled.fetch_all(f"SELECT * FROM validators.validator_snapshots_{name}"), buckets)


@pytest.mark.conforms("S0-14")
async def test_attestations_by_what_became_of_them(rolled: Database, sampled: Sampled) -> None:
    buckets = fold(sampled.tables["validators.duties"].to_pylist(), days(1), "ts", "validator_index")
    rows = await rolled.fetch_all("SELECT * FROM validators.attestation_duties_daily")
    assert {(row.validator_index, row.bucket) for row in rows} == set(buckets)
    for row in rows:
        own = buckets[row.validator_index, row.bucket]
        included = [one for one in own if one["included"]]
        assert (row.duties, row.included) == (len(own), len(included))
        assert row.not_seen + row.not_included == len(own) - len(included)
        assert row.not_seen == sum(not one["seen"] for one in own)
        assert row.wrong_target == sum(not one["correct_target"] for one in included)
        assert row.inclusion_distance_sum == (sum(one["inclusion_slot"] - one["slot"] for one in included) if included else None)
        assert abs(Fraction(row.inclusion_rate) - Fraction(len(included), len(own))) < Fraction(1, 10**15)


@pytest.mark.conforms("S0-59")
async def test_a_reorg_reaches_the_rollups(rolled: Database, sampled: Sampled, catalog: Catalog) -> None:
    head = await rolled.fetch_one("SELECT * FROM validators.chain_status")
    left, ancestor = sampled.tables["validators.blocks"].to_pylist(), head.finalized_slot + 5
    base = max((row for row in left if row["canonical"] and row["slot"] <= ancestor), key=lambda row: row["slot"])
    await rolled.execute(
        "INSERT INTO validators.chain_blocks (root, slot, epoch, ts, parent_root, proposer_index, canonical)"
        " SELECT %(new)s, slot + 100, epoch + 3, ts + interval '20 minutes', root, 1, false FROM validators.chain_blocks WHERE root = %(base)s",
        {"new": "0x" + "77" * 32, "base": base["root"]},
    )
    reorg = await rolled.fetch_one(
        "SELECT * FROM validators.apply_reorg(%(old)s, %(new)s)", {"old": head.head_root, "new": "0x" + "77" * 32}
    )
    assert reorg.removed_rows > 0
    await Rollups(rolled, catalog).refresh(["validators.snapshots"])
    rows = [row for row in sampled.tables["validators.snapshots"].to_pylist() if row["slot"] <= base["slot"]]
    check_snapshots(
        await rolled.fetch_all("SELECT * FROM validators.validator_snapshots_hourly"), fold(rows, hours(1), "ts", "validator_index")
    )


@pytest.mark.conforms("S4-63", "S4-66")
async def test_metrics_by_hour(rolled: Database, sampled: Sampled) -> None:
    since = ANCHOR - timedelta(hours=5)
    recent = [row for row in sampled.tables["insights.metrics"].to_pylist() if row["timestamp"] >= hours(1).floor(since)]
    buckets = fold(recent, hours(1), "timestamp", "service_name", "metric_type", "instance")
    rows = await rolled.fetch_all(
        "SELECT * FROM insights.system_metrics_hourly WHERE bucket >= %(since)s", {"since": hours(1).floor(since)}
    )
    assert {(row.service_name, row.metric_type, row.instance, row.bucket) for row in rows} == set(buckets)
    for row in rows:
        values: list[float] = given(buckets[row.service_name, row.metric_type, row.instance, row.bucket], "metric_value")
        assert (row.value_min, row.value_max, row.value_count) == (min(values), max(values), len(values))
        assert isclose(row.value_mean, sum(values) / len(values), rel_tol=1e-9)
