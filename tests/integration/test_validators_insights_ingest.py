"""Rows of the two packs through ingest: what their declarations say of conflicts, parents and bad rows is what happens."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chainstrata import partitions
from chainstrata.engines.postgres import Database
from chainstrata.ingest import Ingest
from chainstrata.model import Catalog
from tests.fixtures.samples import make_samples

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
PUBKEY = "0x" + "8a" * 48
ETH = 10**9


@pytest.fixture
def ingest(packs: Database, catalog: Catalog) -> Ingest:
    return Ingest(packs, catalog)


def state(slot: int, **values: Any) -> dict[str, Any]:
    """Return a validator as read from a state."""
    known = {"pubkey": PUBKEY, "withdrawal_credentials": "0x01" + "0" * 62, "effective_balance": 32 * ETH, "status": "active_ongoing"}
    return {"validator_index": 7, "slot": slot, **known, **values}


def snapshot(**values: Any) -> dict[str, Any]:
    return {"validator_index": 7, "ts": NOW, "slot": 320, "epoch": 10, "balance": 32 * ETH + 5, **values}


async def test_a_snapshot_of_an_unknown_validator_adds_it_and_a_state_completes_it(packs: Database, ingest: Ingest) -> None:
    await ingest.ingest("validators.snapshots", [snapshot()])
    assert await packs.fetch_one("SELECT validator_index, pubkey, slot FROM validators.validators") == (7, None, None)
    await ingest.ingest("validators.validators", [state(320)])
    assert await packs.fetch_one("SELECT pubkey, slot FROM validators.validators") == (PUBKEY, 320)
    assert await packs.fetch_all("SELECT slot, status::text FROM validators.validator_records") == [(320, "active_ongoing")]


async def test_an_older_state_does_not_undo_a_newer_and_names_stay(packs: Database, ingest: Ingest) -> None:
    await ingest.ingest("validators.validators", [state(320)])
    await packs.execute("UPDATE validators.validators SET name = 'kite-1', operator = 'kite'")
    await ingest.ingest("validators.validators", [state(352, status="active_exiting", exit_epoch=40)])
    await ingest.ingest("validators.validators", [state(320)])
    row = await packs.fetch_one("SELECT status::text, exit_epoch, slot, name, operator FROM validators.validators")
    assert row == ("active_exiting", 40, 352, "kite-1", "kite")
    records = await packs.fetch_all("SELECT slot, status::text FROM validators.validator_records ORDER BY slot")
    assert records == [(320, "active_ongoing"), (352, "active_exiting")]


async def test_rewards_that_come_later_join_the_snapshot(packs: Database, ingest: Ingest) -> None:
    await ingest.ingest("validators.snapshots", [snapshot()])
    rewards = {"rewards_epoch": 8, "reward_head": 10, "reward_target": 20, "reward_source": 10, "reward_inactivity": 0}
    ideal = {"ideal_head": 10, "ideal_target": 20, "ideal_source": 20}
    await ingest.ingest("validators.snapshots", [snapshot(**rewards, **ideal, due_attestations=1, missed_attestations=0)])
    row = await packs.fetch_one("SELECT balance, effectiveness, missed_attestations FROM validators.validator_snapshots")
    assert row == (32 * ETH + 5, 0.8, 0)


async def test_balances_arrive_exactly_as_text_as_the_wire_has_them(packs: Database, ingest: Ingest) -> None:
    await ingest.ingest("validators.snapshots", [snapshot(balance="1000057185400423")])
    assert await packs.fetch_value("SELECT balance FROM validators.validator_snapshots") == 1_000_057_185_400_423


async def test_a_bad_row_is_set_aside_and_the_others_go_on(packs: Database, ingest: Ingest) -> None:
    answer = await ingest.ingest(
        "validators.snapshots",
        [snapshot(), snapshot(validator_index=8, balance=-1), snapshot(validator_index=9, ts=NOW - timedelta(days=4000))],
    )
    assert (answer.accepted, answer.quarantined) == (1, 2)
    assert await packs.fetch_value("SELECT count(*) FROM validators.validator_snapshots") == 1


async def test_feedback_is_replaced_where_something_was_said(packs: Database, ingest: Ingest) -> None:
    said = {"id": "6f1f6f0e-6b0b-4d1c-9e57-0f8f9d8a7c11", "insight_id": "i", "user_id": "u", "rating": 2, "comment": "no"}
    await ingest.ingest("insights.feedback", [said])
    await ingest.ingest("insights.feedback", [said | {"rating": 5, "comment": None}])
    assert await packs.fetch_all("SELECT rating, comment FROM insights.insight_feedback") == [(5, "no")]


@pytest.mark.conforms("S4-62")
async def test_a_metric_sent_twice_is_one(packs: Database, ingest: Ingest) -> None:
    batch = [
        {
            "service_name": "web-api",
            "metric_type": "cpu",
            "timestamp": NOW,
            "metric_value": value / 2,
            "unit": "percent",
            "instance": str(value),
        }
        for value in range(60)
    ]
    await ingest.ingest("insights.metrics", batch)
    again = await ingest.ingest("insights.metrics", batch)
    assert (again.accepted, await packs.fetch_value("SELECT count(*) FROM insights.system_metrics")) == (0, 60)


async def test_the_samples_again_change_nothing(packs: Database, ingest: Ingest, catalog: Catalog) -> None:
    tables = make_samples(catalog)
    for name in ("validators.validators", "validators.blocks", "validators.snapshots", "validators.alerts", "insights.feedback"):
        dataset, rows = catalog.dataset(name), tables[name].slice(0, 5_000)
        if dataset.partitioned:
            await partitions.ensure(packs, dataset, min(rows["ts"].to_pylist()), max(rows["ts"].to_pylist()))
        first = await ingest.ingest(name, rows)
        before = await packs.fetch_value(f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {dataset.table.fullname} AS t")
        again = await ingest.ingest(name, rows)
        after = await packs.fetch_value(f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {dataset.table.fullname} AS t")
        # The sample has validators that did not change from one slot to the next: those rows are not stored.
        assert (name, first.accepted + first.unchanged, first.quarantined) == (name, rows.num_rows, 0)
        assert first.accepted > 0.9 * rows.num_rows
        assert (name, again.accepted, again.updated, after) == (name, 0, 0, before)
