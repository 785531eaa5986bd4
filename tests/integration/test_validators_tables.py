"""The tables of the validators pack take what a feed delivers and refuse what cannot be, each by a constraint with a name."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from chainstrata.engines.postgres import Connection, errors
from chainstrata.model import Catalog
from chainstrata.packs.validators.model import AlertResolution, AlertSeverity, AlertType, CredentialType, MissReason, ValidatorStatus
from chainstrata.packs.validators.tables import alerts, attestation_duties, proposals, validator_snapshots, validators
from tests.fixtures.rows import insert, refused, refused_as

NOW = datetime.now(UTC).replace(microsecond=0)
PUBKEY = "0x" + "8a" * 48
OTHER_PUBKEY = "0x" + "8b" * 48
CREDENTIALS = "0x01" + "0" * 22 + "ab" * 20
ROOT = "0x" + "1d" * 32
ETH = 10**9
SUPPLY = 120_000_000 * ETH


def a_validator(**values: Any) -> dict[str, Any]:
    return {
        "validator_index": 1277,
        "pubkey": PUBKEY,
        "status": "active_ongoing",
        "withdrawal_credentials": CREDENTIALS,
        "effective_balance": 32 * ETH,
        "slot": 7_687_968,
        **values,
    }


def a_snapshot(**values: Any) -> dict[str, Any]:
    return {"validator_index": 1277, "ts": NOW, "slot": 7_687_968, "epoch": 240_249, "balance": 32_014_000_123, **values}


def a_duty(**values: Any) -> dict[str, Any]:
    return {"validator_index": 1277, "ts": NOW, "epoch": 240_249, "slot": 7_687_970, "included": True, **values}


def an_alert(**values: Any) -> dict[str, Any]:
    return {
        "alert_type": "slashed",
        "severity": "critical",
        "message": "validator 1277 was slashed",
        "dedupe_key": "slashed:1277",
        **values,
    }


@pytest.mark.conforms("S0-05", "S0-06", "S0-07", "S0-08")
async def test_a_validator_has_index_key_and_name(rows: Connection) -> None:
    made = await insert(rows, validators, **a_validator(name="kite-0001", operator="kite", label="retail"))
    assert (made.validator_index, made.pubkey, made.name, made.operator, made.label) == (1277, PUBKEY, "kite-0001", "kite", "retail")
    async with refused(rows, "validators_pkey"):
        await insert(rows, validators, **a_validator(pubkey=OTHER_PUBKEY))
    async with refused(rows, "validators_pubkey_key"):
        await insert(rows, validators, **a_validator(validator_index=1278))


@pytest.mark.conforms("S0-06", "S0-07")
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        pytest.param({"pubkey": "0x" + "8a" * 47}, "validators_pubkey_form", id="a byte short"),
        pytest.param({"pubkey": "0x" + "8A" * 48}, "validators_pubkey_form", id="capitals, which would be a second spelling"),
        pytest.param({"pubkey": "8a" * 48}, "validators_pubkey_form", id="no 0x"),
        pytest.param({"validator_index": -1}, "validators_validator_index_not_negative", id="negative index"),
        pytest.param({"withdrawal_credentials": "0x01"}, "validators_withdrawal_credentials_form", id="short credentials"),
        pytest.param({"block_root": "latest"}, "validators_block_root_form", id="no root"),
        pytest.param({"effective_balance": -1}, "validators_effective_balance_not_negative", id="negative balance"),
        pytest.param({"exit_epoch": -1}, "validators_epochs_not_negative", id="negative epoch"),
        pytest.param({"activation_eligibility_epoch": 9, "activation_epoch": 8}, "validators_activation_order", id="active too early"),
        pytest.param({"exit_epoch": 9, "withdrawable_epoch": 8}, "validators_exit_order", id="withdrawable before exit"),
        pytest.param({"status": None}, "validators_whole_or_stub", id="known, without a status"),
    ],
)
async def test_a_validator_that_cannot_be_is_refused(rows: Connection, values: dict[str, Any], constraint: str) -> None:
    async with refused(rows, constraint):
        await insert(rows, validators, **a_validator(**values))


@pytest.mark.conforms("S0-07", "S0-09")
async def test_what_is_known_of_a_validator_only_by_its_index_is_a_stub(rows: Connection) -> None:
    stub = await insert(rows, validators, validator_index=42)
    assert (stub.pubkey, stub.status, stub.slot, stub.slashed) == (None, None, None, False)
    assert await rows.fetch_value("SELECT count(*) FROM validators.validator_records") == 0


@pytest.mark.conforms("S0-09")
async def test_epochs_the_chain_has_not_set_are_null(rows: Connection) -> None:
    made = await insert(rows, validators, **a_validator(activation_eligibility_epoch=0, activation_epoch=0))
    assert (made.activation_epoch, made.exit_epoch, made.withdrawable_epoch) == (0, None, None)
    # What the wire says for "not set" would not fit, and is not a number to calculate with.
    async with refused_as(rows, errors.BadValue):
        await insert(rows, validators, **a_validator(validator_index=1278, pubkey=OTHER_PUBKEY, exit_epoch=2**64 - 1))


@pytest.mark.conforms("S0-09")
@pytest.mark.parametrize("status", list(ValidatorStatus))
async def test_every_status_of_the_beacon_api_is_taken(rows: Connection, status: ValidatorStatus) -> None:
    assert (await insert(rows, validators, **a_validator(status=status.value))).status == status.value


@pytest.mark.conforms("S0-09")
async def test_another_status_is_refused(rows: Connection) -> None:
    async with refused_as(rows, errors.BadValue):
        await insert(rows, validators, **a_validator(status="active"))


@pytest.mark.conforms("S0-09")
@pytest.mark.parametrize(
    ("prefix", "kind"),
    [("00", CredentialType.BLS), ("01", CredentialType.EXECUTION), ("02", CredentialType.COMPOUNDING), ("03", CredentialType.OTHER)],
)
async def test_the_kind_of_credentials_follows_from_their_first_byte(rows: Connection, prefix: str, kind: CredentialType) -> None:
    made = await insert(rows, validators, **a_validator(withdrawal_credentials="0x" + prefix + "ab" * 31))
    assert made.credential_type == kind.value


@pytest.mark.conforms("S0-09")
async def test_free_metadata_is_kept_as_given(rows: Connection) -> None:
    given = {"client": "teku", "tags": ["a", "b"], "big": 2**80}
    assert (await insert(rows, validators, **a_validator(metadata=Jsonb(given)))).metadata == given


@pytest.mark.conforms("S0-09")
async def test_each_change_of_a_record_is_kept(rows: Connection) -> None:
    await insert(rows, validators, **a_validator(activation_epoch=10))
    history = "SELECT slot, status::text, slashed, exit_epoch FROM validators.validator_records ORDER BY slot"
    assert await rows.fetch_all(history) == [(7_687_968, "active_ongoing", False, None)]
    await rows.execute("UPDATE validators.validators SET slot = 7688000, effective_balance = 31000000000, name = 'new'")
    assert len(await rows.fetch_all(history)) == 1
    await rows.execute("UPDATE validators.validators SET slot = 7688032, status = 'active_slashed', slashed = true, exit_epoch = 240300")
    assert (await rows.fetch_all(history))[1:] == [(7_688_032, "active_slashed", True, 240_300)]


@pytest.mark.conforms("S0-10", "S0-11")
async def test_snapshots_are_keyed_by_validator_and_time_and_kept_by_day(rows: Connection) -> None:
    await insert(rows, validator_snapshots, **a_snapshot())
    await insert(rows, validator_snapshots, **a_snapshot(ts=NOW + timedelta(days=1)))
    async with refused_as(rows, errors.UniqueViolation):
        await insert(rows, validator_snapshots, **a_snapshot(balance=1))
    homes = await rows.fetch_all("SELECT DISTINCT tableoid::regclass::text AS home FROM validators.validator_snapshots ORDER BY home")
    days = [f"validators.validator_snapshots_y{day:%Y}m{day:%m}d{day:%d}" for day in (NOW, NOW + timedelta(days=1))]
    assert [row.home for row in homes] == sorted(days)
    async with refused_as(rows, errors.NoPartition):
        await insert(rows, validator_snapshots, **a_snapshot(ts=NOW + timedelta(days=4000)))


SLOT = timedelta(seconds=12)


@pytest.mark.conforms("S0-46")
async def test_a_partition_of_snapshots_is_a_day_of_slots_and_the_newest_fits_into_memory(rows: Connection, catalog: Catalog) -> None:
    """The sums that docs/explanation/tuning.md does, on rows as they are."""
    lifecycle = catalog.dataset("validators.snapshots").lifecycle
    assert lifecycle.partition is not None
    assert lifecycle.keep is not None
    width = lifecycle.partition.longest
    assert width / SLOT == 7200, "slots begin anew with each partition"
    # Planning looks at each partition, so there are not many; and what leaves at once is little of what is kept.
    assert lifecycle.keep.longest / width + lifecycle.premake <= 100
    day = NOW.replace(hour=0, minute=0, second=0)
    await rows.execute("INSERT INTO validators.validators (validator_index) SELECT n FROM generate_series(1, 200) AS n")
    await rows.execute(
        "INSERT INTO validators.validator_snapshots (validator_index, ts, slot, epoch, balance, effective_balance, status, block_root,"
        " rewards_epoch, reward_head, reward_target, reward_source, ideal_head, ideal_target, ideal_source, due_attestations)"
        " SELECT n, %(day)s + epoch * interval '384 seconds', epoch * 32, epoch, 32000000000 + epoch, 32000000000, 'active_ongoing', %(root)s,"
        " epoch - 1, 2500, 5000, 2700, 2500, 5000, 2700, 1 FROM generate_series(0, 49) AS epoch, generate_series(1, 200) AS n",
        {"day": day, "root": ROOT},
    )
    home = f"validators.validator_snapshots_y{day:%Y}m{day:%m}d{day:%d}"
    size = await rows.fetch_value("SELECT pg_total_relation_size(%(home)s::regclass)", {"home": home})
    a_row = size / (200 * 50)
    assert a_row < 400
    # Five thousand validators change once an epoch; every slot, if each were stored.
    stored, worst = 225 * 5000 * a_row, 7200 * 5000 * a_row
    assert stored < 0.5 * 2**30, "in the buffers of a host of 2 GB"
    assert worst < 14 * 2**30, "in the memory of a host of 16 GB, and an hour of it in its buffers"
    assert worst / 24 < 1 * 2**30


@pytest.mark.conforms("S0-10")
async def test_snapshots_need_no_extension(rows: Connection) -> None:
    assert await rows.fetch_all("SELECT extname FROM pg_extension WHERE extname IN ('timescaledb', 'pg_partman', 'pg_cron')") == []
    kind = await rows.fetch_one("SELECT relkind::text FROM pg_class WHERE oid = 'validators.validator_snapshots'::regclass")
    assert kind.relkind == "p"


@pytest.mark.conforms("S0-12")
@pytest.mark.parametrize("balance", [0, 1, 2**53 + 1, 1_000_057_185_400_423, SUPPLY, 2**63 - 1])
async def test_a_balance_is_exact_to_the_gwei(rows: Connection, balance: int) -> None:
    made = await insert(rows, validator_snapshots, **a_snapshot(balance=balance, effective_balance=balance))
    assert (made.balance, made.effective_balance) == (balance, balance)


@pytest.mark.conforms("S0-12", "S0-14")
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"balance": -1}, "validator_snapshots_balance_not_negative"),
        ({"effective_balance": -1}, "validator_snapshots_effective_balance_not_negative"),
        ({"slot": -1}, "validator_snapshots_slot_not_negative"),
        ({"block_root": "0x12"}, "validator_snapshots_block_root_length"),
        ({"due_attestations": 1, "missed_attestations": 2}, "validator_snapshots_missed_within_due"),
        ({"due_attestations": 1, "missed_attestations": -1}, "validator_snapshots_missed_within_due"),
    ],
)
async def test_a_snapshot_that_cannot_be_is_refused(rows: Connection, values: dict[str, Any], constraint: str) -> None:
    async with refused(rows, constraint):
        await insert(rows, validator_snapshots, **a_snapshot(**values))


# An epoch of a validator of 32 ether: everything right, head late, everything missed.
IDEAL = {"ideal_head": 2_610, "ideal_target": 4_848, "ideal_source": 2_610}
EPOCHS = [
    pytest.param({"reward_head": 2_610, "reward_target": 4_848, "reward_source": 2_610}, 10_068, 1.0, id="perfect"),
    pytest.param({"reward_head": 0, "reward_target": 4_848, "reward_source": 2_610}, 7_458, 7_458 / 10_068, id="head missed"),
    pytest.param({"reward_head": 0, "reward_target": -4_875, "reward_source": -2_625}, -7_500, -7_500 / 10_068, id="all missed"),
    pytest.param(
        {"reward_head": 0, "reward_target": -4_875, "reward_source": -2_625, "reward_inactivity": -900},
        -8_400,
        -8_400 / 10_068,
        id="missed while the chain leaks",
    ),
]


@pytest.mark.conforms("S0-13", "S0-15")
@pytest.mark.parametrize(("rewards", "earned", "effectiveness"), EPOCHS)
async def test_effectiveness_is_earned_over_ideal_reward(
    rows: Connection, rewards: dict[str, int], earned: int, effectiveness: float
) -> None:
    made = await insert(rows, validator_snapshots, **a_snapshot(rewards_epoch=240_247, **rewards, **IDEAL))
    assert (made.earned_reward, made.ideal_reward, made.effectiveness) == (earned, 10_068, effectiveness)


@pytest.mark.conforms("S0-13")
async def test_effectiveness_is_unknown_where_nothing_was_settled_or_could_be_earned(rows: Connection) -> None:
    unsettled = await insert(rows, validator_snapshots, **a_snapshot())
    assert (unsettled.earned_reward, unsettled.ideal_reward, unsettled.effectiveness) == (None, None, None)
    nothing = {"reward_head": 0, "reward_target": 0, "reward_source": 0, "ideal_head": 0, "ideal_target": 0, "ideal_source": 0}
    leaking = await insert(rows, validator_snapshots, **a_snapshot(validator_index=1, rewards_epoch=240_247, **nothing))
    assert (leaking.earned_reward, leaking.effectiveness) == (0, None)


@pytest.mark.conforms("S0-13")
async def test_effectiveness_cannot_be_written_by_hand(rows: Connection) -> None:
    async with refused_as(rows, errors.StatementFailed):
        await insert(rows, validator_snapshots, **a_snapshot(effectiveness=1.0))


@pytest.mark.conforms("S0-14", "S0-15")
async def test_a_snapshot_counts_duties_and_what_they_earned(rows: Connection) -> None:
    figures = {
        "due_attestations": 1,
        "missed_attestations": 1,
        "proposer_reward": 41_000_000,
        "proposed_blocks": 1,
        "missed_blocks": 1,
        "sync_reward": -20_300,
    }
    made = await insert(rows, validator_snapshots, **a_snapshot(**figures))
    assert {name: getattr(made, name) for name in figures} == figures


@pytest.mark.conforms("S0-15", "S0-59")
async def test_an_observation_says_where_it_was_read_and_whether_that_was_final(rows: Connection) -> None:
    made = await insert(rows, validator_snapshots, **a_snapshot(block_root=ROOT))
    assert (made.slot, made.epoch, made.block_root, made.execution_optimistic, made.finalized) == (7_687_968, 240_249, ROOT, False, False)
    made = await insert(rows, attestation_duties, **a_duty(block_root=ROOT, inclusion_slot=7_687_971, finalized=True))
    assert (made.slot, made.block_root, made.finalized) == (7_687_970, ROOT, True)


@pytest.mark.conforms("S0-15")
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        pytest.param({"inclusion_slot": 7_687_971, "correct_head": True, "correct_target": True, "correct_source": True}, None, id="right"),
        pytest.param({"inclusion_slot": 7_687_971}, None, id="included, votes unknown"),
        pytest.param({"inclusion_slot": 7_687_973, "correct_head": True}, MissReason.LATE, id="late"),
        pytest.param({"inclusion_slot": 7_687_973, "correct_head": False}, MissReason.WRONG_HEAD, id="late and wrong"),
        pytest.param({"inclusion_slot": 7_687_971, "correct_target": False, "correct_head": False}, MissReason.WRONG_TARGET, id="target"),
        pytest.param({"inclusion_slot": 7_687_971, "correct_source": False, "correct_target": False}, MissReason.WRONG_SOURCE, id="source"),
        pytest.param({"included": False, "seen": True}, MissReason.NOT_INCLUDED, id="seen, not included"),
        pytest.param({"included": False, "seen": False}, MissReason.NOT_SEEN, id="not seen"),
        pytest.param({"included": False}, MissReason.NOT_INCLUDED, id="not included, nobody asked"),
        pytest.param({"included": False, "seen": False, "status": "exited_unslashed"}, MissReason.NOT_ACTIVE, id="had left"),
        pytest.param({"included": False, "seen": False, "status": "active_exiting"}, MissReason.NOT_SEEN, id="leaving, still on duty"),
    ],
)
async def test_why_an_attestation_failed(rows: Connection, values: dict[str, Any], reason: MissReason | None) -> None:
    made = await insert(rows, attestation_duties, **a_duty(**values))
    assert made.miss_reason == (reason.value if reason else None)
    assert made.inclusion_distance == (values["inclusion_slot"] - 7_687_970 if "inclusion_slot" in values else None)


@pytest.mark.conforms("S0-15")
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"inclusion_slot": 7_687_970}, "attestation_duties_inclusion_order"),
        ({"included": False, "inclusion_slot": 7_687_971}, "attestation_duties_inclusion_given"),
        ({"included": True, "block_root": "0x1"}, "attestation_duties_roots_length"),
        ({"slot": -1}, "attestation_duties_slot_not_negative"),
    ],
)
async def test_a_duty_that_cannot_be_is_refused(rows: Connection, values: dict[str, Any], constraint: str) -> None:
    async with refused(rows, constraint):
        await insert(rows, attestation_duties, **a_duty(**values))


async def test_a_proposal_belongs_to_a_validator_and_has_a_block_only_if_there_was_one(rows: Connection) -> None:
    duty = {"slot": 7_687_970, "validator_index": 1277, "ts": NOW, "epoch": 240_249}
    async with refused(rows, "fk_proposals_validator"):
        await insert(rows, proposals, **duty)
    await insert(rows, validators, **a_validator())
    assert (await insert(rows, proposals, **duty)).outcome == "pending"
    async with refused(rows, "proposals_pkey"):
        await insert(rows, proposals, **duty)
    async with refused(rows, "proposals_block_given"):
        await insert(rows, proposals, **duty | {"slot": 7_687_971, "outcome": "missed", "block_root": ROOT})


@pytest.mark.conforms("S0-16", "S0-19", "S0-21", "S0-22")
async def test_an_alert_is_raised_now_and_open(rows: Connection) -> None:
    made = await insert(rows, alerts, **an_alert())
    assert (made.message, made.resolution_status, made.resolved_at, made.occurrences) == ("validator 1277 was slashed", "open", None, 1)
    assert abs(made.raised_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert made.raised_at.utcoffset() == timedelta(0)


@pytest.mark.conforms("S0-19")
async def test_when_an_alert_was_raised_is_the_same_instant_in_every_time_zone(rows: Connection) -> None:
    raised = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)
    made = await insert(rows, alerts, **an_alert(raised_at=raised, last_seen_at=raised))
    await rows.execute("SET LOCAL TimeZone = 'Asia/Tokyo'")
    assert await rows.fetch_value("SELECT raised_at FROM validators.alerts WHERE id = %(id)s", {"id": made.id}) == raised


@pytest.mark.conforms("S0-17")
@pytest.mark.parametrize("kind", list(AlertType))
async def test_every_type_of_alert_is_taken(rows: Connection, kind: AlertType) -> None:
    assert (await insert(rows, alerts, **an_alert(alert_type=kind.value))).alert_type == kind.value


@pytest.mark.conforms("S0-17", "S0-18", "S0-22")
@pytest.mark.parametrize("values", [{"alert_type": "nonsense"}, {"severity": "fatal"}, {"resolution_status": "gone"}])
async def test_words_that_are_not_on_the_lists_are_refused(rows: Connection, values: dict[str, str]) -> None:
    async with refused_as(rows, errors.BadValue):
        await insert(rows, alerts, **an_alert(**values))


@pytest.mark.conforms("S0-18")
async def test_severities_sort_by_gravity(rows: Connection) -> None:
    for severity in ("critical", "info", "warning"):
        await insert(rows, alerts, **an_alert(severity=severity, dedupe_key=severity))
    found = await rows.fetch_all("SELECT a.severity::text FROM validators.alerts AS a ORDER BY a.severity")
    assert [row.severity for row in found] == [severity.value for severity in AlertSeverity]


@pytest.mark.conforms("S0-20", "S0-23")
async def test_an_alert_refers_to_a_validator_that_exists(rows: Connection) -> None:
    async with refused(rows, "fk_alerts_validator"):
        await insert(rows, alerts, **an_alert(validator_index=1277))
    await insert(rows, validators, **a_validator())
    assert (await insert(rows, alerts, **an_alert(validator_index=1277))).validator_index == 1277
    assert (await insert(rows, alerts, **an_alert(alert_type="reorg", dedupe_key="reorg"))).validator_index is None
    async with refused(rows, "fk_alerts_validator"):
        await rows.execute("DELETE FROM validators.validators")


@pytest.mark.conforms("S0-21", "S0-22")
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"message": ""}, "alerts_message_given"),
        ({"dedupe_key": ""}, "alerts_dedupe_key_given"),
        ({"occurrences": 0}, "alerts_occurrences_positive"),
        ({"last_seen_at": NOW - timedelta(days=2)}, "alerts_seen_order"),
        ({"resolution_status": "acknowledged"}, "alerts_acknowledged_when"),
        ({"resolution_status": "resolved"}, "alerts_resolved_when"),
        ({"resolved_at": NOW + timedelta(hours=1)}, "alerts_resolved_when"),
        ({"resolution_note": "fixed"}, "alerts_resolved_by_whom"),
        ({"resolution_status": "dismissed", "resolved_at": NOW - timedelta(days=1)}, "alerts_resolved_order"),
    ],
)
async def test_an_alert_that_cannot_be_is_refused(rows: Connection, values: dict[str, Any], constraint: str) -> None:
    async with refused(rows, constraint):
        await insert(rows, alerts, **an_alert(**values))


@pytest.mark.conforms("S0-22")
@pytest.mark.parametrize("resolution", [AlertResolution.RESOLVED, AlertResolution.DISMISSED])
async def test_the_same_thing_is_alerted_once_until_it_is_resolved(rows: Connection, resolution: AlertResolution) -> None:
    first = await insert(rows, alerts, **an_alert())
    async with refused(rows, "alerts_unresolved_dedupe_key"):
        await insert(rows, alerts, **an_alert())
    done = {"id": first.id, "status": resolution.value, "at": first.raised_at + timedelta(minutes=1)}
    await rows.execute(
        "UPDATE validators.alerts SET resolution_status = %(status)s, resolved_at = %(at)s, resolved_by = 'dana' WHERE id = %(id)s", done
    )
    assert (await insert(rows, alerts, **an_alert())).id != first.id


async def test_an_alert_may_bring_its_identifier(rows: Connection) -> None:
    given = uuid4()
    assert (await insert(rows, alerts, **an_alert(id=given))).id == given
