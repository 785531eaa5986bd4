"""What the validators and insights packs declare: the words of the outside world, how long rows live, what is folded."""

import pytest

from chainstrata.model import Catalog, Pack, days, hours, months, years
from chainstrata.model.rollup import Fold
from chainstrata.packs.insights import pack as insights
from chainstrata.packs.insights.model import FlagType, JobStatus
from chainstrata.packs.strata import pack as strata
from chainstrata.packs.validators import pack as validators
from chainstrata.packs.validators.model import AlertSeverity, CredentialType, ValidatorStatus

CATALOG = Catalog([strata, validators, insights])
# In the words and the order of the Beacon API.
BEACON_STATUSES = (
    "pending_initialized pending_queued active_ongoing active_exiting active_slashed"
    " exited_unslashed exited_slashed withdrawal_possible withdrawal_done"
)


@pytest.mark.conforms("S0-09")
def test_statuses_are_those_of_the_beacon_api() -> None:
    assert [status.value for status in ValidatorStatus] == BEACON_STATUSES.split()
    assert [kind.value for kind in CredentialType] == ["bls", "execution", "compounding", "other"]


@pytest.mark.conforms("S0-18")
def test_severities_are_in_order_of_gravity() -> None:
    assert [severity.value for severity in AlertSeverity] == ["info", "warning", "critical"]


@pytest.mark.conforms("S4-14", "S4-35")
def test_words_of_the_documents_are_all_there() -> None:
    assert {"running", "completed", "failed", "paused"} <= {status.value for status in JobStatus}
    assert [flag.value for flag in FlagType] == ["inaccurate", "misleading", "spam"]


@pytest.mark.parametrize("pack", [validators, insights], ids=lambda pack: pack.name)
def test_enums_in_the_database_are_those_of_the_code(pack: Pack) -> None:
    columns = {column.type for table in pack.metadata.tables.values() for column in table.c if hasattr(column.type, "enums")}
    assert {kind.name for kind in columns} == {kind.name for kind in pack.enums}
    assert all(kind.schema == pack.name for kind in pack.enums)


@pytest.mark.conforms("S0-11")
def test_snapshots_live_in_daily_partitions_for_90_days_and_are_archived() -> None:
    lifecycle = CATALOG.dataset("validators.snapshots").lifecycle
    assert (lifecycle.partition, lifecycle.premake, lifecycle.keep, lifecycle.archive) == (days(1), 7, days(90), True)


def test_snapshots_are_stored_when_they_change_and_once_a_day() -> None:
    change_only = CATALOG.dataset("validators.snapshots").change_only
    assert change_only is not None
    assert change_only.heartbeat == days(1)
    # What is settled in an epoch makes a change: otherwise two equal epochs would count once.
    assert not {"rewards_epoch", "balance", "status", "missed_attestations"} & set(change_only.ignoring)


@pytest.mark.conforms("S0-12", "S0-13", "S0-14")
@pytest.mark.parametrize("name", ["hourly", "daily"])
def test_rollups_of_snapshots_keep_what_can_be_added_up(name: str) -> None:
    rollup = CATALOG.dataset("validators.snapshots").rollup(name)
    folds = {part.name: part.fold for part in rollup.components}
    assert rollup.every == {"hourly": hours(1), "daily": days(1)}[name]
    assert (folds["balance_first"], folds["balance_last"]) == (Fold.FIRST, Fold.LAST)
    assert (folds["balance_min"], folds["balance_max"]) == (Fold.MIN, Fold.MAX)
    assert {folds[total] for total in ("earned_reward", "ideal_reward", "missed_attestations")} == {Fold.SUM}
    assert {derived.name: derived.formula for derived in rollup.derived}["effectiveness"] == "earned_reward / nullif(ideal_reward, 0)"


@pytest.mark.conforms("S4-25")
def test_only_jobs_that_ended_are_archived_after_180_days() -> None:
    lifecycle = CATALOG.dataset("insights.jobs").lifecycle
    assert (lifecycle.keep, lifecycle.archive, lifecycle.partition) == (days(180), True, None)
    assert lifecycle.terminal == "status IN ('completed', 'failed', 'cancelled')"


@pytest.mark.conforms("S4-48")
def test_feedback_is_archived_after_two_years() -> None:
    lifecycle = CATALOG.dataset("insights.feedback").lifecycle
    assert (lifecycle.keep, lifecycle.archive, lifecycle.keep_archived) == (years(2), True, None)


@pytest.mark.conforms("S4-49", "S4-64")
def test_metrics_are_hot_for_90_days_and_cold_for_a_year_more() -> None:
    lifecycle = CATALOG.dataset("insights.metrics").lifecycle
    assert (lifecycle.partition, lifecycle.keep, lifecycle.archive) == (months(1), days(90), True)
    # Counted from when they were due to leave, as the archive's deletion is.
    assert lifecycle.keep_archived == days(365)


@pytest.mark.conforms("S4-63", "S4-66")
def test_metrics_are_folded_by_hour_into_what_merges() -> None:
    rollup = CATALOG.dataset("insights.metrics").rollup("hourly")
    folds = {part.name: part.fold for part in rollup.components}
    assert folds == {
        "value_sum": Fold.SUM,
        "value_count": Fold.COUNT,
        "value_min": Fold.MIN,
        "value_max": Fold.MAX,
        "value_sketch": Fold.QUANTILE_SKETCH,
    }


def test_answers_are_cached_as_long_as_the_documents_say() -> None:
    ages = {name: CATALOG.dataset(f"insights.{name}").cache for name in ("metrics", "feedback")}
    assert {name: policy.ttl.seconds for name, policy in ages.items() if policy} == {"metrics": 300, "feedback": 3600}
