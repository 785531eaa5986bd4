"""The tables of the insights pack take what is right and refuse what cannot be, each by a constraint with a name."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from chainstrata.engines.postgres import Connection, errors
from chainstrata.packs.insights.model import FlagType, JobStatus
from chainstrata.packs.insights.tables import backfill_jobs, backfill_ranges, blocks, insight_feedback, system_metrics, transactions
from tests.fixtures.rows import insert, refused, refused_as

NOW = datetime.now(UTC).replace(microsecond=0)
HASH, OTHER_HASH = "1d" * 32, "2e" * 32


def a_job(**values: Any) -> dict[str, Any]:
    return {"job_type": "blocks", "start_block": 100, "end_block": 200, "current_block": 150, "status": "running", **values}


def a_range(**values: Any) -> dict[str, Any]:
    return {"from_block": 100, "to_block": 150, **values}


def feedback(**values: Any) -> dict[str, Any]:
    return {"insight_id": "insight-123", "user_id": "user-1", "rating": 4, **values}


def a_metric(**values: Any) -> dict[str, Any]:
    return {"service_name": "web-api", "metric_type": "cpu", "metric_value": 41.5, "unit": "percent", **values}


def a_block(**values: Any) -> dict[str, Any]:
    return {
        "hash": HASH,
        "height": 900_000,
        "block_time": NOW,
        "version": 0x20000000,
        "merkle_root": OTHER_HASH,
        "nonce": 2**32 - 1,
        "bits": "17020f79",
        "size": 1_500_000,
        "transaction_count": 2_500,
        "canonical": True,
        **values,
    }


def a_transaction(**values: Any) -> dict[str, Any]:
    return {
        "txid": HASH,
        "block_hash": OTHER_HASH,
        "block_time": NOW,
        "height": 900_000,
        "position": 1,
        "version": 2,
        "lock_time": 0,
        "size": 222,
        "coinbase": False,
        "input_count": 1,
        "output_count": 2,
        "input_sats": 100_000,
        "output_sats": 99_000,
        "fee_sats": 1_000,
        **values,
    }


# Backfill jobs -------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S4-10", "S4-11", "S4-12", "S4-19")
async def test_a_job_gets_its_identifier_from_the_database(rows: Connection) -> None:
    made = await insert(rows, backfill_jobs, **a_job(created_by="scheduler"))
    other = await insert(rows, backfill_jobs, **a_job(job_type="transactions"))
    assert isinstance(made.id, UUID)
    assert made.id.version == 4
    assert (made.id != other.id, made.job_type, made.created_by, other.created_by) == (True, "blocks", "scheduler", None)
    async with refused(rows, "backfill_jobs_pkey"):
        await insert(rows, backfill_jobs, **a_job(id=made.id))


@pytest.mark.conforms("S4-12", "S4-13", "S4-14", "S4-15", "S4-19")
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        pytest.param({"end_block": 50, "current_block": 100}, "backfill_jobs_end_after_start", id="ends before it starts"),
        pytest.param({"current_block": 99}, "backfill_jobs_current_within", id="before its start"),
        pytest.param({"current_block": 9999}, "backfill_jobs_current_within", id="past its end"),
        pytest.param({"start_block": -1}, "backfill_jobs_start_not_negative", id="negative height"),
        pytest.param({"status": "completed"}, "backfill_jobs_completed_whole", id="complete at half way"),
        pytest.param({"job_type": ""}, "backfill_jobs_job_type_length", id="no kind"),
        pytest.param({"job_type": "x" * 51}, "backfill_jobs_job_type_length", id="kind too long"),
        pytest.param({"created_by": "x" * 101}, "backfill_jobs_created_by_length", id="creator too long"),
        pytest.param(
            {"status": "failed", "completed_at": NOW - timedelta(days=9)}, "backfill_jobs_ended_order", id="ended before it began"
        ),
    ],
)
async def test_a_job_that_cannot_be_is_refused(rows: Connection, values: dict[str, Any], constraint: str) -> None:
    async with refused(rows, constraint):
        await insert(rows, backfill_jobs, **a_job(**values))


@pytest.mark.conforms("S4-13")
async def test_heights_and_counts_outgrow_32_bits(rows: Connection) -> None:
    far = 2**40
    made = await insert(rows, backfill_jobs, **a_job(start_block=far, current_block=far + 1, end_block=2 * far))
    assert (made.start_block, made.current_block, made.end_block) == (far, far + 1, 2 * far)


@pytest.mark.conforms("S4-14")
@pytest.mark.parametrize("status", list(JobStatus))
async def test_every_state_of_a_job_is_taken(rows: Connection, status: JobStatus) -> None:
    made = await insert(rows, backfill_jobs, **a_job(status=status.value, current_block=200))
    assert made.status == status.value
    assert (made.completed_at is not None) == status.ended


@pytest.mark.conforms("S4-14")
async def test_a_job_is_pending_first_and_in_no_state_but_the_listed(rows: Connection) -> None:
    values = a_job()
    del values["status"]
    assert (await insert(rows, backfill_jobs, **values)).status == "pending"
    async with refused_as(rows, errors.BadValue):
        await insert(rows, backfill_jobs, **a_job(status="nonsense"))


@pytest.mark.conforms("S4-15")
@pytest.mark.parametrize(
    ("start", "current", "end", "progress"),
    [(0, 5, 10, "50"), (100, 100, 200, "0"), (100, 200, 200, "100"), (0, 1, 3, "33.33"), (7, 7, 7, "100"), (0, 10**6 - 1, 10**6, "99.99")],
)
async def test_progress_follows_from_the_blocks(rows: Connection, start: int, current: int, end: int, progress: str) -> None:
    made = await insert(rows, backfill_jobs, **a_job(start_block=start, current_block=current, end_block=end))
    assert made.progress_percentage == Decimal(progress)


@pytest.mark.conforms("S4-15")
async def test_progress_cannot_be_written_by_hand(rows: Connection) -> None:
    async with refused_as(rows, errors.StatementFailed):
        await insert(rows, backfill_jobs, **a_job(progress_percentage=99))
    await insert(rows, backfill_jobs, **a_job())
    async with refused_as(rows, errors.StatementFailed):
        await rows.execute("UPDATE insights.backfill_jobs SET progress_percentage = 450")


@pytest.mark.conforms("S4-15")
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 2**40), st.data())
def test_progress_is_whole_only_at_the_end(start: int, length: int, data: st.DataObject) -> None:
    """The formula in plain Python: between 0 and 100, growing, 100 exactly where nothing is left."""
    done = data.draw(st.integers(0, length))
    progress = Decimal(10_000 * done // length) / 100 if length else Decimal(100)
    assert 0 <= progress <= 100
    assert (progress == 100) == (done == length)
    assert start + done <= start + length


@pytest.mark.conforms("S4-16", "S4-18")
async def test_times_of_a_job_are_the_same_instants_in_every_time_zone(rows: Connection) -> None:
    began, expected = datetime(2026, 11, 20, 10, 38, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)
    await rows.execute("SET LOCAL TimeZone = 'Asia/Tokyo'")
    made = await insert(rows, backfill_jobs, **a_job(started_at=began, estimated_completion=expected))
    await rows.execute("SET LOCAL TimeZone = 'America/New_York'")
    found = await rows.fetch_one("SELECT started_at, estimated_completion FROM insights.backfill_jobs WHERE id = %(id)s", {"id": made.id})
    assert (found.started_at, found.estimated_completion) == (began, expected)
    kinds = await rows.fetch_all(
        "SELECT DISTINCT atttypid::regtype::text AS kind FROM pg_attribute WHERE attrelid = 'insights.backfill_jobs'::regclass"
        " AND attname = ANY ('{started_at,completed_at,estimated_completion,updated_at}')"
    )
    assert kinds == [("timestamp with time zone",)]


@pytest.mark.conforms("S4-17", "S4-18")
async def test_when_a_job_ended_follows_from_its_state(rows: Connection) -> None:
    made = await insert(rows, backfill_jobs, **a_job())
    change = "UPDATE insights.backfill_jobs SET status = %(status)s, error_message = %(why)s WHERE id = %(id)s RETURNING *"
    failed = await rows.fetch_one(change, {"id": made.id, "status": "failed", "why": "the node answered 503"})
    assert (failed.error_message, failed.completed_at >= failed.started_at) == ("the node answered 503", True)
    resumed = await rows.fetch_one(change, {"id": made.id, "status": "running", "why": None})
    assert resumed.completed_at is None
    cancelled = await rows.fetch_one(change, {"id": made.id, "status": "cancelled", "why": None})
    assert cancelled.completed_at > failed.completed_at
    again = await rows.fetch_one(change, {"id": made.id, "status": "cancelled", "why": "asked to"})
    assert (again.completed_at, again.updated_at > cancelled.updated_at) == (cancelled.completed_at, True)


@pytest.mark.conforms("S4-18")
async def test_a_job_that_runs_has_not_ended_whatever_is_written(rows: Connection) -> None:
    made = await insert(rows, backfill_jobs, **a_job(completed_at=NOW))
    assert made.completed_at is None
    await rows.execute("UPDATE insights.backfill_jobs SET completed_at = now()")
    assert await rows.fetch_value("SELECT completed_at FROM insights.backfill_jobs") is None


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"to_block": 100}, "backfill_ranges_not_empty"),
        ({"from_block": -5}, "backfill_ranges_from_not_negative"),
        ({"attempts": -1}, "backfill_ranges_attempts_not_negative"),
        ({"status": "running"}, "backfill_ranges_leased_while_running"),
        ({"status": "running", "leased_by": "w", "heartbeat_at": NOW}, "backfill_ranges_leased_while_running"),
        ({"leased_by": "w"}, "backfill_ranges_free_otherwise"),
        ({"status": "done"}, "backfill_ranges_done_when"),
        ({"completed_at": NOW}, "backfill_ranges_done_when"),
        ({"status": "failed"}, "backfill_ranges_failed_why"),
    ],
)
async def test_a_chunk_that_cannot_be_is_refused(rows: Connection, values: dict[str, Any], constraint: str) -> None:
    job = await insert(rows, backfill_jobs, **a_job())
    async with refused(rows, constraint):
        await insert(rows, backfill_ranges, job_id=job.id, **a_range(**values))


async def test_chunks_belong_to_a_job_and_go_with_it(rows: Connection) -> None:
    async with refused(rows, "fk_backfill_ranges_job"):
        await insert(rows, backfill_ranges, job_id=uuid4(), **a_range())
    job = await insert(rows, backfill_jobs, **a_job())
    leased = {"status": "running", "leased_by": "w", "leased_until": NOW + timedelta(minutes=1), "heartbeat_at": NOW, "attempts": 1}
    await insert(rows, backfill_ranges, job_id=job.id, **a_range(**leased))
    async with refused(rows, "backfill_ranges_pkey"):
        await insert(rows, backfill_ranges, job_id=job.id, **a_range(to_block=120))
    await rows.execute("DELETE FROM insights.backfill_jobs WHERE id = %(id)s", {"id": job.id})
    assert await rows.fetch_value("SELECT count(*) FROM insights.backfill_ranges") == 0


# Feedback ------------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S4-29", "S4-30", "S4-31", "S4-32", "S4-34", "S4-36")
async def test_feedback_is_kept_as_given(rows: Connection) -> None:
    values = feedback(comment="Good catch.", flag_type="spam", flag_reason="an advertisement")
    made = await insert(rows, insight_feedback, **values)
    assert (isinstance(made.id, UUID), {name: getattr(made, name) for name in values}) == (True, values)


@pytest.mark.conforms("S4-33", "S4-42")
@pytest.mark.parametrize("rating", [1, 2, 3, 4, 5, None])
async def test_ratings_from_1_to_5_are_taken_or_none(rows: Connection, rating: int | None) -> None:
    assert (await insert(rows, insight_feedback, **feedback(rating=rating, comment="x"))).rating == rating


@pytest.mark.conforms("S4-33", "S4-42")
@pytest.mark.parametrize("rating", [0, 6, -1, 32_767])
async def test_another_rating_is_refused_by_one_constraint(rows: Connection, rating: int) -> None:
    async with refused(rows, "chk_rating_range"):
        await insert(rows, insight_feedback, **feedback(rating=rating))
    checks = await rows.fetch_all(
        "SELECT conname FROM pg_constraint WHERE conrelid = 'insights.insight_feedback'::regclass AND contype = 'c'"
        " AND pg_get_constraintdef(oid) LIKE '%%rating >%%'",
        {},
    )
    assert checks == [("chk_rating_range",)]


@pytest.mark.conforms("S4-31", "S4-32", "S4-35", "S4-36")
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        pytest.param({"rating": None}, "insight_feedback_not_empty", id="nothing said"),
        pytest.param({"flag_reason": "because"}, "insight_feedback_reason_of_flag", id="a reason without a flag"),
        pytest.param({"insight_id": ""}, "insight_feedback_insight_id_length", id="no insight"),
        pytest.param({"insight_id": "x" * 101}, "insight_feedback_insight_id_length", id="insight too long"),
        pytest.param({"user_id": "x" * 101}, "insight_feedback_user_id_length", id="user too long"),
    ],
)
async def test_feedback_that_cannot_be_is_refused(rows: Connection, values: dict[str, Any], constraint: str) -> None:
    async with refused(rows, constraint):
        await insert(rows, insight_feedback, **feedback(**values))


@pytest.mark.conforms("S4-35")
async def test_flags_are_of_the_listed_kinds(rows: Connection) -> None:
    for flag in FlagType:
        made = await insert(rows, insight_feedback, **feedback(user_id=flag.value, rating=None, flag_type=flag.value))
        assert made.flag_type == flag.value
    async with refused_as(rows, errors.BadValue):
        await insert(rows, insight_feedback, **feedback(flag_type="whatever"))


@pytest.mark.conforms("S4-41")
async def test_a_user_gives_one_feedback_per_insight(rows: Connection) -> None:
    await insert(rows, insight_feedback, **feedback())
    async with refused(rows, "uq_insight_user_feedback"):
        await insert(rows, insight_feedback, **feedback(rating=1))
    await insert(rows, insight_feedback, **feedback(user_id="user-2"))
    await insert(rows, insight_feedback, **feedback(insight_id="insight-124"))


@pytest.mark.conforms("S4-37")
async def test_when_feedback_changed_moves_by_itself_and_when_it_was_created_never(rows: Connection) -> None:
    old = datetime(2020, 1, 1, tzinfo=UTC)
    made = await insert(rows, insight_feedback, **feedback(created_at=old, updated_at=old))
    change = "UPDATE insights.insight_feedback SET rating = 2, created_at = now() WHERE id = %(id)s RETURNING *"
    changed = await rows.fetch_one(change, {"id": made.id})
    assert (changed.created_at, changed.updated_at > NOW - timedelta(minutes=1)) == (old, True)
    again = await rows.fetch_one(change, {"id": made.id})
    assert again.updated_at > changed.updated_at


# Metrics -------------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S4-49", "S4-50", "S4-51", "S4-52", "S4-53", "S4-54", "S4-56")
async def test_a_metric_is_keyed_by_what_it_says(rows: Connection) -> None:
    made = await insert(rows, system_metrics, **a_metric(timestamp=NOW, metric_metadata=Jsonb({"region": "us-central1"})))
    assert (made.service_name, made.metric_type, made.metric_value, made.unit) == ("web-api", "cpu", 41.5, "percent")
    assert (made.instance, made.metric_metadata) == ("", {"region": "us-central1"})
    async with refused_as(rows, errors.UniqueViolation):
        await insert(rows, system_metrics, **a_metric(timestamp=NOW, metric_value=1))
    for values in ({"timestamp": NOW + timedelta(seconds=1)}, {"instance": "web-api-1"}, {"metric_type": "memory"}):
        await insert(rows, system_metrics, **a_metric(**{"timestamp": NOW} | values))
    key = await rows.fetch_value("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'system_metrics_pkey'")
    assert key == 'PRIMARY KEY (service_name, metric_type, "timestamp", instance)'


@pytest.mark.conforms("S4-51", "S4-52", "S4-53", "S4-54")
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"service_name": ""}, "system_metrics_service_name_length"),
        ({"service_name": "x" * 101}, "system_metrics_service_name_length"),
        ({"metric_type": "x" * 51}, "system_metrics_metric_type_length"),
        ({"unit": "x" * 21}, "system_metrics_unit_length"),
        ({"instance": "x" * 101}, "system_metrics_instance_length"),
        ({"metric_value": float("nan")}, "system_metrics_value_finite"),
        ({"metric_value": float("inf")}, "system_metrics_value_finite"),
        ({"metric_value": float("-inf")}, "system_metrics_value_finite"),
    ],
)
async def test_a_metric_that_cannot_be_is_refused(rows: Connection, values: dict[str, Any], constraint: str) -> None:
    async with refused(rows, constraint):
        await insert(rows, system_metrics, **a_metric(**values))


@pytest.mark.conforms("S4-55")
async def test_the_time_of_a_metric_is_an_instant(rows: Connection) -> None:
    await rows.execute("SET LOCAL TimeZone = 'Asia/Tokyo'")
    made = await insert(rows, system_metrics, **a_metric())
    assert abs(made.timestamp - datetime.now(UTC)) < timedelta(minutes=1)
    await rows.execute("SET LOCAL TimeZone = 'UTC'")
    last_hour = "SELECT count(*) FROM insights.system_metrics WHERE timestamp > now() - interval '1 hour'"
    assert await rows.fetch_value(last_hour) == 1


@pytest.mark.conforms("S4-49", "S4-60", "S4-103")
async def test_metrics_are_kept_in_partitions_named_after_their_month(rows: Connection) -> None:
    await insert(rows, system_metrics, **a_metric(timestamp=NOW))
    home = await rows.fetch_value("SELECT tableoid::regclass::text FROM insights.system_metrics")
    assert home == f"insights.system_metrics_y{NOW:%Y}m{NOW:%m}"
    bound = await rows.fetch_value("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = %(home)s::regclass", {"home": home})
    assert bound.startswith(f"FOR VALUES FROM ('{NOW:%Y-%m}-01 00:00:00+00') TO ('")


@pytest.mark.conforms("S4-61")
async def test_months_ahead_have_their_partitions_without_any_extension(rows: Connection) -> None:
    month = NOW.replace(day=1)
    for ahead in range(4):
        when = month.replace(year=month.year + (month.month - 1 + ahead) // 12, month=(month.month - 1 + ahead) % 12 + 1)
        await insert(rows, system_metrics, **a_metric(timestamp=when))
    assert await rows.fetch_all("SELECT extname FROM pg_extension WHERE extname IN ('timescaledb', 'pg_partman', 'pg_cron')") == []
    async with refused_as(rows, errors.NoPartition):
        await insert(rows, system_metrics, **a_metric(timestamp=NOW + timedelta(days=4000)))


# Chain ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"hash": "0x" + HASH}, "blocks_hash_form"),
        ({"hash": HASH[:-2]}, "blocks_hash_form"),
        ({"previous_hash": "none"}, "blocks_previous_hash_form"),
        ({"merkle_root": ""}, "blocks_merkle_root_form"),
        ({"height": -1}, "blocks_height_not_negative"),
        ({"fee_sats": -1}, "blocks_counts_not_negative"),
        ({"canonical": False, "finalized": True}, "blocks_final_is_canonical"),
    ],
)
async def test_a_block_that_cannot_be_is_refused(rows: Connection, values: dict[str, Any], constraint: str) -> None:
    async with refused(rows, constraint):
        await insert(rows, blocks, **a_block(**values))


async def test_a_height_has_one_canonical_block(rows: Connection) -> None:
    await insert(rows, blocks, **a_block())
    async with refused(rows, "blocks_canonical_height_key"):
        await insert(rows, blocks, **a_block(hash=OTHER_HASH))
    await insert(rows, blocks, **a_block(hash=OTHER_HASH, canonical=False))


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"txid": "ab"}, "transactions_txid_form"),
        ({"wtxid": HASH.upper()}, "transactions_wtxid_form"),
        ({"position": 0}, "transactions_coinbase_first"),
        ({"coinbase": True}, "transactions_coinbase_first"),
        ({"position": -1}, "transactions_place_not_negative"),
        ({"fee_sats": -1_000, "output_sats": 101_000}, "transactions_amounts_not_negative"),
        ({"fee_sats": 999}, "transactions_fee_is_difference"),
    ],
)
async def test_a_transaction_that_cannot_be_is_refused(rows: Connection, values: dict[str, Any], constraint: str) -> None:
    async with refused(rows, constraint):
        await insert(rows, transactions, **a_transaction(**values))


async def test_all_coins_there_will_ever_be_fit_exactly(rows: Connection) -> None:
    everything = 2_099_999_997_690_000
    made = await insert(rows, transactions, **a_transaction(input_sats=everything, output_sats=everything - 1, fee_sats=1))
    assert (made.input_sats, made.output_sats, made.fee_sats) == (everything, everything - 1, 1)
