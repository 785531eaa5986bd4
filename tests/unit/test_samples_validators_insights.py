"""Sample data is the same for the same arguments, speaks of nothing later than its anchor, and has rows for every table."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib import import_module
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from chainstrata.errors import UnknownName
from chainstrata.model import Pack
from chainstrata.packs.insights import pack as insights
from chainstrata.packs.insights.model import FlagType, JobStatus, RangeStatus
from chainstrata.packs.validators import pack as validators
from chainstrata.packs.validators.model import AlertResolution, AlertSeverity, ProposalOutcome, ValidatorStatus

ANCHOR = datetime(2026, 11, 20, 17, 31, 7, tzinfo=UTC)
PACKS = [pytest.param(pack, id=pack.name) for pack in (validators, insights)]


def make(pack: Pack, seed: int = 7, anchor: datetime = ANCHOR, scale: str = "small") -> dict[str, pa.Table]:
    pieces: dict[str, list[pa.Table]] = {}
    for name, table in import_module(f"{pack.package}.sample").make(scale, seed, anchor):
        pieces.setdefault(name, []).append(table)
    return {name: pa.concat_tables(tables) for name, tables in pieces.items()}


@pytest.fixture(scope="module")
def told() -> dict[str, pa.Table]:
    return make(validators) | make(insights)


@pytest.mark.parametrize("pack", PACKS)
def test_equal_arguments_give_equal_rows_and_others_do_not(pack: Pack, told: dict[str, pa.Table]) -> None:
    again, other, later = make(pack), make(pack, seed=8), make(pack, anchor=ANCHOR + timedelta(days=1))
    for name, table in again.items():
        assert table.equals(told[name]), name
    assert not any(table.equals(again[name]) for name, table in other.items())
    assert not any(table.equals(again[name]) for name, table in later.items())


@pytest.mark.parametrize("pack", PACKS)
def test_every_dataset_has_rows_that_fit_its_columns(pack: Pack, told: dict[str, pa.Table]) -> None:
    for dataset in pack.datasets:
        table = told[dataset.full_name]
        settable = {column.name: column for column in dataset.table.c if column.computed is None}
        assert set(table.column_names) <= set(settable), dataset.full_name
        needed = {name for name, column in settable.items() if not column.nullable and column.server_default is None}
        assert needed <= set(table.column_names), dataset.full_name
        holes = [name for name in table.column_names if table[name].null_count and not settable[name].nullable]
        assert (table.num_rows > 0, holes) == (True, []), dataset.full_name
        keys = table.select(list(dataset.key))
        assert keys.group_by(list(dataset.key)).aggregate([]).num_rows == table.num_rows, f"{dataset.full_name} repeats a key"


@pytest.mark.parametrize("pack", PACKS)
def test_nothing_is_later_than_the_anchor(pack: Pack, told: dict[str, pa.Table]) -> None:
    for dataset in pack.datasets:
        if dataset.time:
            newest = pc.max(told[dataset.full_name][dataset.time]).as_py()
            assert newest <= ANCHOR, dataset.full_name
            assert newest > ANCHOR - timedelta(days=3) or dataset.name in {"reorgs", "jobs"}, dataset.full_name


@pytest.mark.parametrize(
    ("dataset", "column", "values"),
    [
        ("validators.validators", "status", ValidatorStatus),
        ("validators.proposals", "outcome", set(ProposalOutcome) - {ProposalOutcome.PENDING}),
        ("validators.alerts", "severity", AlertSeverity),
        ("validators.alerts", "resolution_status", set(AlertResolution) - {AlertResolution.OPEN}),
        ("insights.jobs", "status", JobStatus),
        ("insights.ranges", "status", RangeStatus),
        ("insights.feedback", "flag_type", FlagType),
    ],
)
def test_every_state_comes_up(told: dict[str, pa.Table], dataset: str, column: str, values: type[StrEnum] | set[Any]) -> None:
    assert {value.value for value in values} <= set(pc.unique(told[dataset][column]).to_pylist())


def test_validators_are_what_their_balances_say(told: dict[str, pa.Table]) -> None:
    rows = told["validators.validators"].to_pylist()
    eth = 10**9
    compounding = [row["effective_balance"] for row in rows if row["withdrawal_credentials"].startswith("0x02")]
    assert max(compounding) == 2048 * eth
    assert all(row["effective_balance"] in (0, 32 * eth) for row in rows if not row["withdrawal_credentials"].startswith("0x02"))
    assert {row["slashed"] for row in rows if row["status"].endswith("_slashed")} == {True}
    for row in rows:
        assert (row["exit_epoch"] is None) == row["status"].startswith(("pending", "active_ongoing"))


def test_misses_come_in_bursts(told: dict[str, pa.Table]) -> None:
    duties = told["validators.duties"].sort_by([("validator_index", "ascending"), ("epoch", "ascending")])
    missed = [not included for included in duties["included"].to_pylist()]
    after_a_miss = [now for before, now in pairwise(missed) if before]
    assert 0.005 < sum(missed) / len(missed) < 0.05
    assert sum(after_a_miss) / len(after_a_miss) > 10 * sum(missed) / len(missed)


def test_the_chain_hangs_together_and_forks(told: dict[str, pa.Table]) -> None:
    blocks = {row["root"]: row for row in told["validators.blocks"].to_pylist()}
    chain = sorted((row for row in blocks.values() if row["canonical"]), key=lambda row: row["slot"])
    for block, parent in zip(chain[1:], chain, strict=False):
        assert block["parent_root"] == parent["root"]
    for reorg in told["validators.reorgs"].to_pylist():
        lost, won = blocks[reorg["old_head_block"]], blocks[reorg["new_head_block"]]
        assert (lost["canonical"], won["canonical"]) == (False, True)
        assert lost["parent_root"] == won["parent_root"] == reorg["ancestor_root"]
    known = set(told["validators.snapshots"]["block_root"].unique().to_pylist())
    assert known <= {row["root"] for row in chain}


def test_coins_of_a_block_add_up(told: dict[str, pa.Table]) -> None:
    fees: dict[str, int] = {}
    minted: dict[str, int] = {}
    heights: dict[str, int] = {}
    for row in told["insights.transactions"].to_pylist():
        heights[row["block_hash"]] = row["height"]
        if row["coinbase"]:
            minted[row["block_hash"]] = row["output_sats"]
        else:
            assert row["input_sats"] - row["output_sats"] == row["fee_sats"] > 0
            fees[row["block_hash"]] = fees.get(row["block_hash"], 0) + row["fee_sats"]
    assert len(minted) == told["insights.blocks"].num_rows
    for block, value in minted.items():
        assert value - fees.get(block, 0) == 5_000_000_000 >> heights[block] // 210_000


def test_services_have_days_and_nights(told: dict[str, pa.Table]) -> None:
    rows = told["insights.metrics"].filter((pc.field("service_name") == "web-api") & (pc.field("metric_type") == "cpu"))
    hours = pc.hour(rows["timestamp"])
    mean = {hour: pc.mean(rows["metric_value"].filter(pc.equal(hours, hour))).as_py() for hour in (4, 16)}
    assert mean[16] > mean[4] + 20


def test_few_insights_get_most_of_the_feedback(told: dict[str, pa.Table]) -> None:
    by_insight = told["insights.feedback"].group_by("insight_id").aggregate([("user_id", "count")])["user_id_count"].to_pylist()
    assert sum(sorted(by_insight, reverse=True)[: len(by_insight) // 10]) > 0.3 * sum(by_insight)


@pytest.mark.parametrize("pack", PACKS)
def test_a_scale_there_is_not_is_named(pack: Pack) -> None:
    with pytest.raises(UnknownName, match="unknown scale 'huge'"):
        next(import_module(f"{pack.package}.sample").make("huge", 1, ANCHOR))
