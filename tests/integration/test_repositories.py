"""The access layer: rows of a pack's tables in and out, by key, time, entity and page, alone or in a caller's transaction."""

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainstrata.engines.postgres import Connection, Database
from chainstrata.engines.postgres.errors import (
    CheckViolation,
    ForeignKeyViolation,
    NestedTransaction,
    NoPartition,
    UniqueViolation,
)
from chainstrata.errors import ChainStrataError, UnknownName, UsageError
from chainstrata.model import Catalog, hours, ignore, merge, newest
from chainstrata.packs.repository import Repository, RowNotFound
from chainstrata.packs.repository.errors import BadCursor
from chainstrata.packs.repository.paging import decode, encode
from chainstrata.packs.validators.model import AlertResolution, AlertSeverity, AlertType, CredentialType, ValidatorStatus
from chainstrata.packs.validators.repository import Validators
from chainstrata.packs.validators.rows import NewAlert, NewValidator, NewValidatorSnapshot, Validator
from tests.fixtures.samples import ANCHOR, Sampled

NOW = datetime.now(UTC).replace(microsecond=0)


def new_validator(index: int, **more: Any) -> NewValidator:
    return NewValidator(
        validator_index=index,
        pubkey=f"0x{index:096x}",
        status=ValidatorStatus.ACTIVE_ONGOING,
        withdrawal_credentials="0x01" + "0" * 62,
        effective_balance=32 * 10**9,
        **more,
    )


def snapshot(index: int, minutes: int = 0, **more: Any) -> NewValidatorSnapshot:
    at = NOW - timedelta(minutes=minutes)
    return NewValidatorSnapshot(**{"validator_index": index, "ts": at, "slot": 10, "epoch": 1, "balance": 32 * 10**9} | more)


@pytest.fixture
def validators(rows: Connection, catalog: Catalog) -> Validators:
    """Give a repository whose changes are undone."""
    return Validators(catalog.pack("validators"), rows)


@pytest.fixture
def sampled_validators(samples: Connection, catalog: Catalog) -> Validators:
    return Validators(catalog.pack("validators"), samples)


# Writing -------------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S0-51", "S0-52")
async def test_a_validator_is_created_read_updated_and_deleted(validators: Validators) -> None:
    made = await validators.validators.create(new_validator(7, name="first", metadata={"site": "north"}))
    assert (made.validator_index, made.name, made.status) == (7, "first", ValidatorStatus.ACTIVE_ONGOING)
    assert isinstance(made.status, ValidatorStatus)
    # What follows from other columns comes back with the row.
    assert made.credential_type is CredentialType.EXECUTION
    assert await validators.validators.get(7) == made == await validators.validator(7)
    changed = await validators.validators.update(7, name="other", operator="lagoon")
    assert (changed.name, changed.operator, changed.created_at, changed.metadata) == ("other", "lagoon", made.created_at, {"site": "north"})
    assert await validators.validators.delete(7)
    assert not await validators.validators.delete(7)
    assert await validators.validators.get(7) is None
    for missing in (validators.validators.update(7, name="x"), validators.validators.need(7)):
        with pytest.raises(RowNotFound, match=r"no row of validators\.validators with validator_index = 7"):
            await missing


@pytest.mark.conforms("S0-53")
async def test_a_snapshot_is_created_read_updated_and_deleted(validators: Validators) -> None:
    made = await validators.snapshots.create(snapshot(7, balance=2**62, reward_head=-3, reward_target=5, reward_source=1, ideal_head=2))
    assert (made.balance, made.earned_reward) == (2**62, 3)
    assert await validators.snapshots.get(7, NOW) == made
    assert (await validators.snapshots.update(7, NOW, balance=5)).balance == 5
    assert await validators.snapshots.delete(7, NOW)
    assert await validators.snapshots.rows.count() == 0


@pytest.mark.conforms("S0-54")
async def test_alerts_are_raised_counted_taken_on_and_resolved(validators: Validators) -> None:
    await validators.validators.create(new_validator(7))
    told = {"alert_type": AlertType.SLASHED, "message": "slashed", "dedupe_key": "slashed:7", "validator_index": 7}
    first = await validators.raise_alert(severity=AlertSeverity.WARNING, details={"slot": 12}, **told)
    again = await validators.raise_alert(severity=AlertSeverity.CRITICAL, **told)
    assert (first.id, again.occurrences) == (again.id, 2)
    [alert] = await validators.unresolved_alerts(AlertSeverity.CRITICAL)
    assert (alert.id, alert.severity, alert.alert_type) == (first.id, AlertSeverity.CRITICAL, AlertType.SLASHED)
    assert [(one.severity, one.alerts) for one in await validators.unresolved_by_severity()] == [(AlertSeverity.CRITICAL, 1)]
    taken = await validators.acknowledge_alert(first.id, by="ana")
    assert (taken.resolution_status, taken.acknowledged_by) == (AlertResolution.ACKNOWLEDGED, "ana")
    with pytest.raises(RowNotFound, match="no row of open alerts"):
        await validators.acknowledge_alert(first.id, by="bo")
    ended = await validators.resolve_alert(first.id, by="ana", note="replaced")
    assert (ended.resolution_status, ended.resolution_note) == (AlertResolution.RESOLVED, "replaced")
    with pytest.raises(RowNotFound, match="unresolved alerts"):
        await validators.resolve_alert(first.id, by="ana")
    assert await validators.unresolved_alerts() == []
    assert (await validators.raise_alert(severity=AlertSeverity.INFO, **told)).id != first.id
    # By hand, as any other row.
    kept = await validators.alerts.create(
        NewAlert(alert_type=AlertType.REORG, severity=AlertSeverity.INFO, message="m", dedupe_key="k", raised_at=NOW, last_seen_at=NOW)
    )
    assert (await validators.alerts.update(kept.id, message="n")).message == "n"
    assert await validators.alerts.delete(kept.id)


@pytest.mark.parametrize(
    ("row", "error", "hint"),
    [
        (new_validator(7, exit_epoch=5, withdrawable_epoch=4), CheckViolation, "What has to hold: withdrawable_epoch >= exit_epoch."),
        (replace(new_validator(7), effective_balance=-1), CheckViolation, "effective_balance >= 0"),
        (new_validator(1), UniqueViolation, "upsert instead of creating"),
    ],
)
async def test_a_broken_constraint_says_what_has_to_hold(
    validators: Validators, rows: Connection, row: NewValidator, error: type[ChainStrataError], hint: str
) -> None:
    await validators.validators.create(new_validator(1))
    with pytest.raises(error) as caught:
        async with rows.savepoint():
            await validators.validators.create(row)
    assert hint in caught.value.hint


async def test_a_row_that_refers_to_nothing_and_one_out_of_all_partitions(packs: Database, catalog: Catalog) -> None:
    validators = Validators(catalog.pack("validators"), packs)
    with pytest.raises(ForeignKeyViolation) as lost:
        await validators.alerts.create(
            NewAlert(
                alert_type=AlertType.OTHER, severity=AlertSeverity.INFO, message="m", dedupe_key="k", raised_at=NOW, last_seen_at=NOW,
                validator_index=99,
            )
        )  # fmt: skip
    assert "in validators.validators: create it first" in lost.value.hint
    with pytest.raises(NoPartition) as early:
        await validators.snapshots.create(snapshot(1, minutes=60 * 24 * 4000))
    assert "partitions" in early.value.hint
    for wrong, error in (
        (validators.validators.update(1, nme="x"), UnknownName),
        (validators.validators.update(1, credential_type="bls"), UsageError),
        (validators.validators.create("a row"), UsageError),  # type: ignore[arg-type]
        (validators.validators.get(1, 2), UsageError),
        (validators.snapshots.get(1), UsageError),
    ):
        with pytest.raises(error):
            await wrong


# Upserts and batches -------------------------------------------------------------------------------------------------
async def test_an_upsert_follows_the_declared_policy(validators: Validators) -> None:
    """Validators: the higher slot wins. Snapshots: what is given replaces, what is not stays."""
    first = await validators.validators.upsert(new_validator(7, slot=10, name="ten"))
    assert (await validators.validators.upsert(new_validator(7, slot=9, name="nine"))).name == "ten"
    newer = await validators.validators.upsert(new_validator(7, slot=11, name="eleven"))
    assert (newer.name, newer.created_at) == ("eleven", first.created_at)
    await validators.snapshots.upsert(snapshot(7, proposer_reward=5))
    merged = await validators.snapshots.upsert(snapshot(7, balance=6))
    assert (merged.balance, merged.proposer_reward) == (6, 5)
    kept = await validators.snapshots.upsert(snapshot(7, balance=8), ignore())
    assert kept.balance == 6
    assert (await validators.snapshots.upsert(snapshot(7, slot=3, balance=8), newest("slot"))).balance == 6
    assert (await validators.snapshots.upsert(snapshot(7, slot=30, balance=8), merge("balance"))).slot == 10


@pytest.mark.conforms("S2-46", "S2-47", "S4-103")
async def test_a_batch_is_put_together_row_by_row_and_written_at_once(validators: Validators, rows: Connection) -> None:
    """The same key twice in a batch is one row, the last; PostgreSQL itself refuses to touch a row twice."""
    table = validators.snapshots
    assert await table.batch().add(snapshot(1)).add(snapshot(2), snapshot(3, proposed_blocks=1)).write() == 3
    with pytest.raises(UniqueViolation):
        async with rows.savepoint():
            await table.batch().add(snapshot(9), snapshot(1)).write()
    assert await table.get(9, NOW) is None
    again = table.batch().add(snapshot(1, balance=5)).add(snapshot(4)).add(snapshot(1, balance=6, missed_blocks=2)).on_conflict()
    assert await again.write() == 2
    found = {row.validator_index: row for row in await table.rows.all()}
    assert sorted(found) == [1, 2, 3, 4]
    assert (found[1].balance, found[1].missed_blocks) == (6, 2)
    many = table.batch().add_all(snapshot(1, slot=slot, balance=slot) for slot in (30, 20, 25)).on_conflict(newest("slot"))
    assert await many.write() == 1
    assert (await table.need(1, NOW)).balance == 30
    assert await table.batch().write() == 0
    # Marked for the roll-ups by the statement itself.
    marks = await validators.source.fetch_all("SELECT DISTINCT validator_index FROM validators.validator_snapshots__dirty")
    assert {row[0] for row in marks} == {1, 2, 3, 4}


# Transactions --------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S0-57")
async def test_what_a_repository_does_is_part_of_the_callers_transaction(packs: Database, catalog: Catalog) -> None:
    validators = Validators(catalog.pack("validators"), packs)

    async def write(connection: Connection) -> Validator:
        own = validators.using(connection)
        made = await own.validators.create(new_validator(1))
        await own.snapshots.batch().add(snapshot(1)).write()
        async with own.snapshots.where(validator_index=1).stream() as found:
            assert [row.balance async for row in found] == [32 * 10**9]
        assert (await own.snapshots.where(validator_index=1).arrow()).num_rows == 1
        return made

    class Wrong(Exception):
        pass

    async def fail(connection: Connection) -> None:
        await write(connection)
        raise Wrong

    with pytest.raises(Wrong):
        await packs.run(fail)
    assert await validators.validators.rows.count() == 0
    made = await packs.run(write)
    assert await validators.validator(1) == made
    async with packs.transaction() as connection:
        own = validators.using(connection)
        with pytest.raises(UniqueViolation):
            async with connection.savepoint():
                await own.validators.create(new_validator(1))
        await own.validators.create(new_validator(2))
        with pytest.raises(NestedTransaction):
            await validators.snapshots.batch().add(snapshot(3)).write()
    assert await validators.validators.rows.count() == 2


# Reading -------------------------------------------------------------------------------------------------------------
def told(sampled: Sampled, **equals: Any) -> list[dict[str, Any]]:
    rows = sampled.tables["validators.snapshots"].to_pylist()
    return [row for row in rows if equals.items() <= row.items()]


@pytest.mark.conforms("S0-56", "S2-45")
async def test_rows_are_chosen_step_by_step(sampled_validators: Validators, sampled: Sampled) -> None:
    """Type-checked columns, values beside the text, and nothing runs before it is asked."""
    table = sampled_validators.snapshots
    some = table.where(table.c.balance > 32 * 10**9, validator_index=[100_001, 100_002, 100_003])
    ordered = some.order_by("-balance", "ts").limit(7)
    oracle = [row for row in told(sampled) if row["balance"] > 32 * 10**9 and row["validator_index"] in {100_001, 100_002, 100_003}]
    oracle.sort(key=lambda row: (-row["balance"], row["ts"]))
    assert [(row.balance, row.ts) for row in await ordered.all()] == [(row["balance"], row["ts"]) for row in oracle[:7]]
    assert await some.count() == len(oracle)
    assert await ordered.first() == (await ordered.all())[0]
    assert await table.where(validator_index=1).first() is None
    assert await table.where(rewards_epoch=None).count() == sum(row["rewards_epoch"] is None for row in told(sampled))
    nasty = await sampled_validators.validators.where(name="'; DROP TABLE validators.validators; --").all()
    assert nasty == []
    with pytest.raises(UnknownName, match=r"unknown column of validators\.validator_snapshots 'balanse'"):
        table.where(balanse=1)


async def test_a_span_of_time_of_one_or_all(sampled_validators: Validators, sampled: Sampled) -> None:
    since, until = ANCHOR - timedelta(hours=5), ANCHOR - timedelta(hours=2)
    oracle = [row for row in told(sampled) if since <= row["ts"] < until]
    found = await sampled_validators.snapshots.between(since, until).all()
    assert [(row.ts, row.validator_index) for row in found] == sorted((row["ts"], row["validator_index"]) for row in oracle)
    one = await sampled_validators.snapshots.between(since, until, validator_index=100_007).all()
    assert [row.ts for row in one] == sorted(row["ts"] for row in oracle if row["validator_index"] == 100_007)
    with pytest.raises(UsageError, match="has no time"):
        sampled_validators.validators.between(since, until)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("equals", [{}, {"validator_index": 100_007}, {"validator_index": [100_007, 100_009]}], ids=["all", "one", "two"])
async def test_pages_together_are_the_whole_and_no_row_comes_twice(
    sampled_validators: Validators, sampled: Sampled, newest_first: bool, equals: dict[str, Any]
) -> None:
    since = ANCHOR - timedelta(hours=6)
    found: list[Any] = []
    after, pages = None, 0
    while pages == 0 or after is not None:
        page = await sampled_validators.snapshots.page(since=since, limit=37, after=after, newest_first=newest_first, **equals)
        found += [(row.ts, row.validator_index) for row in page.rows]
        after, pages = page.next, pages + 1
    wanted = equals.get("validator_index", range(200_000))
    own = {wanted} if isinstance(wanted, int) else wanted
    oracle = sorted((row["ts"], row["validator_index"]) for row in told(sampled) if row["ts"] >= since and row["validator_index"] in own)
    assert found == (oracle[::-1] if newest_first else oracle)
    assert pages == max(1, -(-len(oracle) // 37))


async def test_pages_of_a_table_without_a_time_go_by_key(sampled_validators: Validators, sampled: Sampled) -> None:
    first = await sampled_validators.validators.page(limit=5)
    second = await sampled_validators.validators.page(limit=5, after=first.next)
    indexes = sorted(row["validator_index"] for row in sampled.tables["validators.validators"].to_pylist())
    assert [row.validator_index for row in (*first.rows, *second.rows)] == indexes[:10]
    for wrong in ("", "x", "W10", encode(["one", "two"]), "/../"):
        with pytest.raises(BadCursor):
            await sampled_validators.validators.page(after=wrong)


@given(st.tuples(st.integers(), st.text(), st.decimals(allow_nan=False), st.datetimes(timezones=st.just(UTC)), st.uuids(), st.booleans()))
def test_a_place_survives_the_way_through_an_address(values: tuple[Any, ...]) -> None:
    word = encode(values)
    assert decode(word, [int, str, Decimal, datetime, UUID, bool]) == list(values)
    assert word.replace("-", "").replace("_", "").isalnum()


@pytest.mark.conforms("S0-56")
@pytest.mark.parametrize("at", [None, ANCHOR - timedelta(hours=9)], ids=["now", "as of"])
async def test_the_newest_of_each_is_looked_up_never_scanned_for(
    sampled_validators: Validators, sampled: Sampled, at: datetime | None
) -> None:
    oracle: dict[int, dict[str, Any]] = {}
    for row in told(sampled):
        if (at is None or row["ts"] <= at) and row["ts"] >= oracle.get(row["validator_index"], row)["ts"]:
            oracle[row["validator_index"]] = row
    everybody = await sampled_validators.snapshots.latest(at=at)
    assert [(row.validator_index, row.ts, row.balance) for row in everybody] == [
        (index, row["ts"], row["balance"]) for index, row in sorted(oracle.items())
    ]
    some = await sampled_validators.latest_snapshots([100_003, 100_001, 100_003, 5], at)
    assert [row.balance for row in some] == [oracle[100_001]["balance"], oracle[100_003]["balance"]]
    if at is not None:
        assert await sampled_validators.snapshots.as_of(at, 100_001) == some[:1]


@pytest.mark.conforms("S0-55")
async def test_figures_per_bucket_of_time(sampled_validators: Validators, sampled: Sampled) -> None:
    since, until = ANCHOR - timedelta(hours=9), ANCHOR - timedelta(hours=1)
    figures = {"highest": ("max", "balance"), "rows": ("count", "balance"), "missed": ("sum", "missed_attestations")}
    found = await sampled_validators.snapshots.aggregate(
        hours(2), figures, since=since, until=until, by=["validator_index"], validator_index=[100_001, 100_002]
    )
    oracle: dict[tuple[int, datetime], list[dict[str, Any]]] = defaultdict(list)
    for row in told(sampled):
        if since <= row["ts"] < until and row["validator_index"] in {100_001, 100_002}:
            oracle[row["validator_index"], hours(2).floor(row["ts"])].append(row)
    assert [(one.key["validator_index"], one.start) for one in found] == sorted(oracle)
    for one in found:
        rows = oracle[one.key["validator_index"], one.start]
        missed = [row["missed_attestations"] for row in rows if row["missed_attestations"] is not None]
        assert one.values == {"highest": max(row["balance"] for row in rows), "rows": len(rows), "missed": sum(missed) if missed else None}
    with pytest.raises(UsageError, match="unknown function 'median'"):
        await sampled_validators.snapshots.aggregate(hours(1), {"x": ("median", "balance")}, since=since, until=until)


async def test_large_answers_come_row_by_row_or_in_batches(sampled_validators: Validators, sampled: Sampled) -> None:
    chosen = sampled_validators.snapshots.rows.order_by("ts", "validator_index")
    async with chosen.stream(batch=100) as found:
        streamed = [row.balance async for row in found]
    async with chosen.batches() as batches:
        arrow = [value async for batch in batches for value in batch["balance"].to_pylist()]
    assert streamed == arrow == (await chosen.arrow())["balance"].to_pylist()
    assert len(streamed) == len(told(sampled))


async def test_frames_of_polars_and_pandas_in_one_call(sampled_validators: Validators) -> None:
    chosen = sampled_validators.snapshots.where(validator_index=100_001).order_by("ts")
    rows = await chosen.all()
    polars = await chosen.polars()
    assert polars["balance"].to_list() == [row.balance for row in rows]
    assert polars["ts"].to_list() == [row.ts for row in rows]
    pandas = await chosen.pandas()
    assert pandas["balance"].tolist() == [row.balance for row in rows]
    assert str(pandas["reward_head"].dtype) == "int64[pyarrow]"


async def test_a_pack_without_a_repository_of_its_own_has_one(rows: Connection, catalog: Catalog) -> None:
    strata = Repository(catalog.pack("strata"), rows)
    held = strata.table("quarantine")
    made = await held.create(held.new(dataset="a.b", reason="malformed", detail="d", original="{", fingerprint=b"f"))
    assert (made.state, made.times) == ("held", 1)
    assert await held.get(made.id) == made
    with pytest.raises(UnknownName, match="unknown dataset of strata 'quarantin'"):
        strata.table("quarantin")
    hourly = Repository(catalog.pack("validators"), rows).buckets("snapshots", "hourly")
    assert (hourly.key, await hourly.rows.all()) == (("validator_index", "bucket"), [])
