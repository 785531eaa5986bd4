"""Queries, functions and views of the insights pack answer what plain Python answers, and the indexes there are serve them."""

import os
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import isclose
from typing import Any
from uuid import uuid4

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from chainstrata.engines.postgres import Connection, Database, Query, load_queries
from chainstrata.ingest import copy_rows, describe_table
from chainstrata.model import Catalog
from chainstrata.packs.insights.model import FlagType
from chainstrata.packs.insights.tables import backfill_jobs, blocks
from tests.fixtures.packs import OPTIONS
from tests.fixtures.postgres import Server
from tests.fixtures.rows import find_indexes, insert, refused
from tests.fixtures.samples import ANCHOR, Sampled

QUERIES = load_queries("chainstrata.packs.insights")
FAR = ANCHOR + timedelta(days=1)
ENDED = {"completed", "failed", "cancelled"}


def told(sampled: Sampled, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = sampled.tables[f"insights.{name}"].to_pylist()
    return rows


# Jobs ----------------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S4-24", "S4-26")
async def test_running_jobs(samples: Connection, sampled: Sampled) -> None:
    running = [job for job in told(sampled, "jobs") if job["status"] == "running"]
    found = await samples.fetch_all(QUERIES.list_running_jobs)
    newest_first = sorted(running, key=lambda job: job["started_at"], reverse=True)
    assert [str(row.id) for row in found] == [job["id"] for job in newest_first]
    assert len(found) >= 2


@pytest.mark.conforms("S4-27")
async def test_progress_of_one_job(samples: Connection, sampled: Sampled) -> None:
    for job in told(sampled, "jobs"):
        row = await samples.fetch_one(QUERIES.get_job_progress, {"id": job["id"]})
        done, whole = job["current_block"] - job["start_block"], job["end_block"] - job["start_block"]
        assert row.progress_percentage == Decimal(10_000 * done // whole) / 100
        assert (row.current_block, row.end_block, row.estimated_completion) == (
            job["current_block"],
            job["end_block"],
            job["estimated_completion"],
        )
    assert await samples.fetch_one(QUERIES.get_job_progress, {"id": uuid4()}) is None


@pytest.mark.conforms("S4-28")
async def test_jobs_that_failed_in_the_last_day_by_when_they_ended(rows: Connection) -> None:
    now = datetime.now(UTC)
    base = {"job_type": "blocks", "start_block": 0, "end_block": 10, "current_block": 5, "status": "failed"}
    long = await insert(rows, backfill_jobs, **base, started_at=now - timedelta(days=9), completed_at=now - timedelta(hours=2))
    short = await insert(rows, backfill_jobs, **base, started_at=now - timedelta(hours=5), completed_at=now - timedelta(hours=1))
    await insert(rows, backfill_jobs, **base, started_at=now - timedelta(days=3), completed_at=now - timedelta(hours=25))
    await insert(rows, backfill_jobs, **base | {"status": "running"}, started_at=now - timedelta(hours=3))
    found = await rows.fetch_all(QUERIES.list_failed_jobs, {"since": now - timedelta(hours=24)})
    assert [row.id for row in found] == [short.id, long.id]


@pytest.mark.conforms("S4-17", "S4-23", "S4-24")
async def test_a_job_from_its_creation_to_its_end(rows: Connection) -> None:
    job = await rows.fetch_value(
        QUERIES.create_job, {"job_type": "blocks", "start_block": 840_000, "end_block": 841_000, "created_by": "dana"}
    )
    assert (await rows.fetch_one(QUERIES.get_job_progress, {"id": job})).progress_percentage == 0
    begun = {"id": job, "status": "running", "error_message": None}
    assert await rows.fetch_value(QUERIES.set_job_status, begun) is None
    soon = datetime.now(UTC) + timedelta(hours=1)
    for block, progress in ((840_250, 25), (840_500, 50)):
        step = {"id": job, "current_block": block, "estimated_completion": soon}
        assert await rows.fetch_value(QUERIES.advance_job, step) == progress
    back = {"id": job, "current_block": 840_100, "estimated_completion": soon}
    assert await rows.fetch_value(QUERIES.advance_job, back) is None
    assert [row.id for row in await rows.fetch_all("SELECT id FROM insights.active_backfill_jobs")] == [job]
    failed = {"id": job, "status": "failed", "error_message": "the node is away"}
    assert await rows.fetch_value(QUERIES.set_job_status, failed) is not None
    assert await rows.fetch_all("SELECT id FROM insights.active_backfill_jobs") == []
    page = {"job_type": "blocks", "before": FAR, "limit": 10}
    history = await rows.fetch_all(QUERIES.list_jobs, page | {"before": datetime.now(UTC) + timedelta(hours=1)})
    assert [(row.id, row.status, row.error_message, row.current_block) for row in history] == [(job, "failed", "the node is away", 840_500)]


@pytest.mark.conforms("S4-24")
@pytest.mark.parametrize("kind", [None, "transactions"])
async def test_the_history_of_jobs(samples: Connection, sampled: Sampled, kind: str | None) -> None:
    wanted = [job for job in told(sampled, "jobs") if kind in (None, job["job_type"])]
    found = await samples.fetch_all(QUERIES.list_jobs, {"job_type": kind, "before": FAR, "limit": 100})
    assert [str(row.id) for row in found] == [job["id"] for job in sorted(wanted, key=lambda job: job["started_at"], reverse=True)]


@pytest.mark.conforms("S4-24")
async def test_active_jobs_with_their_chunks(samples: Connection, sampled: Sampled) -> None:
    chunks: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for chunk in told(sampled, "ranges"):
        chunks[chunk["job_id"]].append(chunk)
    found = await samples.fetch_all("SELECT * FROM insights.active_backfill_jobs")
    assert {str(row.id) for row in found} == {job["id"] for job in told(sampled, "jobs") if job["status"] not in ENDED}
    for row in found:
        own = chunks[str(row.id)]
        assert (row.chunks, row.chunks_done) == (len(own), sum(chunk["status"] == "done" for chunk in own))
        assert row.rows_written == sum(chunk["rows_written"] for chunk in own)


# Feedback ------------------------------------------------------------------------------------------------------------
def most_spoken_of(sampled: Sampled) -> str:
    counts: dict[str, int] = defaultdict(int)
    for row in told(sampled, "feedback"):
        counts[row["insight_id"]] += 1
    return max(counts, key=lambda insight: counts[insight])


@pytest.mark.conforms("S4-44")
async def test_figures_of_an_insight(samples: Connection, sampled: Sampled) -> None:
    insight = most_spoken_of(sampled)
    own = [row for row in told(sampled, "feedback") if row["insight_id"] == insight]
    ratings = [row["rating"] for row in own if row["rating"] is not None]
    found = await samples.fetch_one(QUERIES.get_insight_statistics, {"insight_id": insight})
    assert (found.insight_id, found.total_ratings) == (insight, len(ratings))
    assert abs(Fraction(found.average_rating) - Fraction(sum(ratings), len(ratings))) < Fraction(1, 10**12)
    assert found.total_comments == sum(row["comment"] is not None for row in own) > 0
    assert found.total_flags == sum(row["flag_type"] is not None for row in own)
    nobody = await samples.fetch_one(QUERIES.get_insight_statistics, {"insight_id": "insight-nobody-saw"})
    assert nobody == ("insight-nobody-saw", 0, None, 0, 0)


@pytest.mark.conforms("S4-45")
async def test_how_ratings_are_distributed(samples: Connection, sampled: Sampled) -> None:
    insight = most_spoken_of(sampled)
    oracle: dict[int, int] = defaultdict(int)
    for row in told(sampled, "feedback"):
        if row["insight_id"] == insight and row["rating"] is not None:
            oracle[row["rating"]] += 1
    found = await samples.fetch_all(QUERIES.list_rating_distribution, {"insight_id": insight})
    assert found == sorted(oracle.items())


@pytest.mark.conforms("S4-46")
async def test_the_latest_comments(samples: Connection, sampled: Sampled) -> None:
    insight = most_spoken_of(sampled)
    own = [row for row in told(sampled, "feedback") if row["insight_id"] == insight and row["comment"] is not None]
    newest = sorted(own, key=lambda row: row["created_at"], reverse=True)[:20]
    found = await samples.fetch_all(QUERIES.list_recent_comments, {"insight_id": insight, "limit": 20})
    assert len(own) > 20
    assert found == [(row["user_id"], row["comment"], row["created_at"]) for row in newest]


@pytest.mark.conforms("S4-47")
async def test_insights_flagged_three_times_or_more(samples: Connection, sampled: Sampled) -> None:
    flags: dict[str, list[str]] = defaultdict(list)
    for row in told(sampled, "feedback"):
        if row["flag_type"] is not None:
            flags[row["insight_id"]].append(row["flag_type"])
    order = [flag.value for flag in FlagType]
    wanted = [
        (insight, len(kinds), sorted(set(kinds), key=order.index))
        for insight, kinds in sorted(flags.items(), key=lambda item: (-len(item[1]), item[0]))
        if len(kinds) >= 3
    ]
    found = await samples.fetch_all("SELECT insight_id, flag_count, flag_types::text[] FROM insights.flagged_insights()")
    assert found == wanted
    assert 0 < len(wanted) < len(flags)
    by_query = await samples.fetch_all(QUERIES.list_flagged_insights, {"at_least": 3})
    assert [row.insight_id for row in by_query] == [insight for insight, _, _ in wanted]


@pytest.mark.conforms("S4-43")
async def test_giving_feedback_again_replaces_it(rows: Connection) -> None:
    given = {"insight_id": "i", "user_id": "u", "rating": 2, "comment": "no", "flag_type": "spam", "flag_reason": "ad"}
    first = await rows.fetch_one(QUERIES.give_feedback, given)
    again = await rows.fetch_one(QUERIES.give_feedback, given | {"rating": 5, "comment": None, "flag_type": None, "flag_reason": None})
    assert (again.id, again.created_at, again.updated_at > first.updated_at) == (first.id, first.created_at, True)
    found = await rows.fetch_all("SELECT rating, comment, flag_type::text, flag_reason FROM insights.insight_feedback")
    assert found == [(5, None, None, None)]
    async with refused(rows, "chk_rating_range"):
        await rows.fetch_one(QUERIES.give_feedback, given | {"rating": 9})


async def test_what_one_user_said(samples: Connection, sampled: Sampled) -> None:
    user = told(sampled, "feedback")[0]["user_id"]
    wanted = [row["id"] for row in told(sampled, "feedback") if row["user_id"] == user]
    found = await samples.fetch_all(QUERIES.list_feedback_of_user, {"user_id": user, "before": FAR, "limit": 100})
    assert {str(row.id) for row in found} == set(wanted)


# Metrics -------------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S4-63", "S4-65")
async def test_the_recent_processor_load(samples: Connection, sampled: Sampled) -> None:
    asked = {"service_name": "web-api", "metric_type": "cpu"}
    since = ANCHOR - timedelta(hours=1)
    fits = [row for row in told(sampled, "metrics") if asked.items() <= row.items() and row["timestamp"] > since]
    oracle = sorted(fits, key=lambda row: (-row["timestamp"].timestamp(), row["instance"]))
    found = await samples.fetch_all(QUERIES.list_recent_metrics, asked | {"since": since, "until": FAR})
    assert found == [(row["timestamp"], row["instance"], row["metric_value"], "percent") for row in oracle]
    assert len(found) > 150


@pytest.mark.conforms("S4-63", "S4-66")
async def test_values_by_hour(samples: Connection, sampled: Sampled) -> None:
    asked = {"service_name": "web-api", "metric_type": "latency"}
    since = ANCHOR - timedelta(hours=24)
    hours: dict[datetime, list[float]] = defaultdict(list)
    for row in told(sampled, "metrics"):
        if asked.items() <= row.items() and row["timestamp"] > since:
            hours[row["timestamp"].replace(minute=0, second=0, microsecond=0)].append(row["metric_value"])
    await samples.execute("SET LOCAL TimeZone = 'Asia/Kolkata'")
    found = await samples.fetch_all(QUERIES.list_hourly_metrics, asked | {"since": since, "until": ANCHOR})
    assert [row.hour for row in found] == sorted(hours)
    for row in found:
        values = hours[row.hour]
        assert (row.min_value, row.max_value, row.samples, row.unit) == (min(values), max(values), len(values), "ms")
        assert isclose(row.avg_value, sum(values) / len(values), rel_tol=1e-12)


@pytest.mark.conforms("S4-67")
async def test_everything_about_a_service_at_an_instant(samples: Connection, sampled: Sampled) -> None:
    at = (ANCHOR - timedelta(hours=6)).replace(second=0)
    end = at + timedelta(minutes=5)
    fits = [row for row in told(sampled, "metrics") if row["service_name"] == "feature-engine" and at <= row["timestamp"] <= end]
    oracle = sorted(fits, key=lambda row: (row["metric_type"], row["timestamp"], row["instance"]))
    asked = {"service_name": "feature-engine", "at": at, "window": timedelta(minutes=5), "until": FAR}
    found = await samples.fetch_all(QUERIES.list_metrics_at, asked)
    assert [(row.metric_type, row.timestamp, row.instance, row.metric_value) for row in found] == [
        (row["metric_type"], row["timestamp"], row["instance"], row["metric_value"]) for row in oracle
    ]
    assert {row.metric_type for row in found} == {"cpu", "latency", "memory", "requests"}


@pytest.mark.conforms("S4-68")
async def test_services_with_a_high_load(samples: Connection, sampled: Sampled) -> None:
    since = ANCHOR - timedelta(hours=1)
    loads: dict[str, list[float]] = defaultdict(list)
    for row in told(sampled, "metrics"):
        if row["metric_type"] == "cpu" and row["timestamp"] > since:
            loads[row["service_name"]].append(row["metric_value"])
    means = {service: sum(values) / len(values) for service, values in loads.items()}
    asked = {"metric_type": "cpu", "unit": "percent", "since": since, "until": FAR, "limit": 80}
    found = await samples.fetch_all(QUERIES.list_services_above, asked)
    assert [row.service_name for row in found] == sorted((name for name, mean in means.items() if mean > 80), key=lambda name: -means[name])
    assert [row.service_name for row in found] == ["feature-engine"]


@pytest.mark.conforms("S4-62")
async def test_a_batch_of_metrics_is_written_in_one_go(rows: Connection) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    batch = pa.table(
        {
            "service_name": ["web-api"] * 500,
            "metric_type": ["cpu"] * 500,
            "timestamp": pa.array([now + timedelta(milliseconds=number) for number in range(500)], pa.timestamp("us", tz="UTC")),
            "metric_value": [number / 10 for number in range(500)],
            "unit": ["percent"] * 500,
        }
    )
    table = await describe_table(rows, "insights", "system_metrics")
    assert await copy_rows(rows, table, batch) == 500
    assert await rows.fetch_value("SELECT sum(metric_value) FROM insights.system_metrics") == pytest.approx(12_475)
    marks = await rows.fetch_all("SELECT service_name, metric_type, instance, unit FROM insights.system_metrics__dirty")
    assert set(marks) == {("web-api", "cpu", "", "percent")}


# Indexes -------------------------------------------------------------------------------------------------------------
MANY_JOBS = """
    INSERT INTO insights.backfill_jobs (job_type, start_block, end_block, current_block, status, started_at, completed_at)
    SELECT 'kind ' || mod(n, 50), 0, 10, 5,
        (CASE WHEN mod(n, 400) = 0 THEN 'running' WHEN mod(n, 20) = 1 THEN 'failed' ELSE 'cancelled' END)::insights.job_status, at, at
    FROM (SELECT n, %(anchor)s::timestamptz - make_interval(hours => n) AS at FROM generate_series(1, 20000) AS n) AS made
"""
MANY_FEEDBACK = """
    INSERT INTO insights.insight_feedback (insight_id, user_id, rating, comment, flag_type, created_at)
    SELECT 'many ' || mod(n, 200), 'user ' || n / 20, 1 + mod(n, 5), CASE WHEN mod(n, 9) = 0 THEN 'c' END,
        CASE WHEN mod(n, 300) = 0 THEN 'spam'::insights.flag_type END, %(anchor)s::timestamptz - make_interval(mins => n)
    FROM generate_series(1, 60000) AS n
"""
# Few services and types could be skipped through one by one, in the primary key, instead.
MANY_METRICS = """
    INSERT INTO insights.system_metrics (service_name, metric_type, timestamp, metric_value, unit)
    SELECT 'service ' || n, CASE WHEN k = 0 THEN 'cpu' ELSE 'kind ' || k END,
        date_trunc('month', %(anchor)s::timestamptz, 'UTC') + m * interval '1 minute', n, 'percent'
    FROM generate_series(0, 29) AS m, generate_series(1, 100) AS n, generate_series(0, 99) AS k
"""
ANALYZE = "VACUUM ANALYZE insights.backfill_jobs, insights.insight_feedback, insights.system_metrics"
IN_CROWD = ANCHOR.replace(day=1, hour=0, minute=10, second=0)
# Where two are named the server may take either: PostgreSQL 18 can skip through the types to an instant of each.
PATTERNS = [
    ("list_running_jobs", {}, "idx_backfill_status"),
    ("list_failed_jobs", {"since": ANCHOR - timedelta(days=1)}, "idx_backfill_failed"),
    ("list_jobs", {"job_type": None, "before": ANCHOR - timedelta(days=30), "limit": 20}, "idx_backfill_started"),
    ("list_jobs", {"job_type": "kind 7", "before": ANCHOR - timedelta(days=30), "limit": 20}, "idx_backfill_job_type"),
    ("get_job_progress", {"id": uuid4()}, "backfill_jobs_pkey"),
    ("list_rating_distribution", {"insight_id": "many 7"}, "uq_insight_user_feedback"),
    ("list_recent_comments", {"insight_id": "many 7", "limit": 20}, "idx_feedback_comments"),
    ("list_feedback_of_user", {"user_id": "user 7", "before": FAR, "limit": 20}, "idx_feedback_user"),
    (
        "list_metrics_at",
        {"service_name": "service 7", "at": IN_CROWD, "window": timedelta(minutes=5), "until": FAR},
        "idx_metrics_service_time",
    ),
    (
        "list_services_above",
        {"metric_type": "cpu", "unit": "percent", "since": IN_CROWD + timedelta(minutes=15), "until": FAR, "limit": 80},
        "idx_metrics_type_time",
    ),
    ("list_recent_metrics", {"service_name": "service 7", "metric_type": "cpu", "since": IN_CROWD, "until": FAR}, "system_metrics_pkey"),
    ("list_metrics_between", {"since": IN_CROWD, "until": IN_CROWD + timedelta(minutes=2)}, "idx_metrics_timestamp idx_metrics_type_time"),
]
BY_TIME = Query(
    "by_time", "", "SELECT * FROM insights.insight_feedback WHERE created_at < %(before)s ORDER BY created_at LIMIT 100", ("before",)
)


@pytest.fixture(scope="module")
def crowded(server: Server, sampled: Sampled) -> Iterator[str]:
    """Give the samples with many more jobs, feedback and services."""
    name = f"chainstrata_crowd_{os.getpid()}"
    with psycopg.connect(server.connect_to("postgres"), autocommit=True) as admin:
        template = conninfo_to_dict(sampled.conninfo)["dbname"]
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(str(template))))
        with psycopg.connect(server.connect_to(name), autocommit=True) as connection:
            for statement in (MANY_JOBS, MANY_FEEDBACK, MANY_METRICS):
                connection.execute(statement, {"anchor": ANCHOR})
            connection.execute(ANALYZE)
        yield server.connect_to(name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.conforms("S4-20", "S4-21", "S4-22", "S4-38", "S4-39", "S4-57", "S4-58", "S4-59")
@pytest.mark.parametrize(("name", "params", "index"), PATTERNS)
async def test_the_index_declared_for_a_query_serves_it(crowded: str, name: str, params: dict[str, Any], index: str) -> None:
    async with Database(crowded, options=OPTIONS) as database, database.connection() as connection:
        used = await find_indexes(connection, QUERIES[name], params)
    assert used & set(index.split())
    assert not any(name.startswith("scan") for name in used)


@pytest.mark.conforms("S4-40", "S4-47")
async def test_feedback_by_time_and_by_flag_is_served_by_indexes(crowded: str) -> None:
    async with Database(crowded, options=OPTIONS) as database, database.connection() as connection:
        assert await find_indexes(connection, BY_TIME, {"before": ANCHOR - timedelta(days=20)}) == {"idx_feedback_created"}
        body = await connection.fetch_value("SELECT prosrc FROM pg_proc WHERE oid = 'insights.flagged_insights(int)'::regprocedure")
        assert await find_indexes(connection, body.replace("p_at_least", "3")) == {"idx_feedback_flags"}


@pytest.mark.conforms("S4-38")
async def test_no_second_index_leads_with_the_insight(samples: Connection) -> None:
    found = await samples.fetch_all(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_attribute a ON a.attrelid = i.indrelid"
        " AND a.attnum = i.indkey[0] WHERE i.indrelid = 'insights.insight_feedback'::regclass AND a.attname = 'insight_id'"
        " AND i.indpred IS NULL"
    )
    assert found == [("uq_insight_user_feedback",)]


async def test_every_index_says_in_the_database_which_query_it_is_there_for(samples: Connection, catalog: Catalog) -> None:
    for table in catalog.pack("insights").metadata.tables.values():
        for index in table.indexes:
            why = await samples.fetch_value("SELECT obj_description(%(name)s::regclass, 'pg_class')", {"name": f"insights.{index.name}"})
            assert why == index.info["why"]


# Chain ---------------------------------------------------------------------------------------------------------------
def a_hash(name: str) -> str:
    return name.encode().hex().ljust(64, "0")


async def add_block(connection: Connection, name: str, height: int, previous: str, *, canonical: bool) -> None:
    values: dict[str, Any] = {"version": 1, "merkle_root": a_hash("m"), "nonce": 0, "bits": "1d00ffff", "size": 285, "transaction_count": 1}
    when = datetime(2026, 11, 20, tzinfo=UTC) + timedelta(minutes=10 * height)
    await insert(
        connection,
        blocks,
        hash=a_hash(name),
        height=height,
        previous_hash=a_hash(previous),
        block_time=when,
        canonical=canonical,
        **values,
    )


@pytest.fixture
async def fork(rows: Connection) -> Connection:
    """Give a chain a-b-c-d with blocks x, y and z built on b, longer, and not yet followed."""
    for height, (name, previous) in enumerate((("a", "-"), ("b", "a"), ("c", "b"), ("d", "c"))):
        await add_block(rows, name, height, previous, canonical=True)
    for height, (name, previous) in enumerate((("x", "b"), ("y", "x"), ("z", "y")), start=2):
        await add_block(rows, name, height, previous, canonical=False)
    return rows


async def canonical(connection: Connection) -> list[str]:
    found = await connection.fetch_all("SELECT hash FROM insights.blocks WHERE canonical ORDER BY height")
    return [bytes.fromhex(row.hash).rstrip(b"\0").decode() for row in found]


MOVE = "SELECT * FROM insights.apply_reorg(%(tip)s)"


async def test_the_chain_moves_to_the_branch_of_the_new_tip(fork: Connection) -> None:
    reorg = await fork.fetch_one(MOVE, {"tip": a_hash("z")})
    assert await canonical(fork) == list("abxyz")
    assert (reorg.old_tip, reorg.new_tip) == (a_hash("d"), a_hash("z"))
    assert (reorg.fork_height, reorg.orphaned_blocks, reorg.adopted_blocks) == (1, 2, 3)
    await fork.fetch_one(MOVE, {"tip": a_hash("z")})
    assert await fork.fetch_value("SELECT count(*) FROM insights.reorgs") == 1
    assert await canonical(fork) == list("abxyz")


async def test_a_block_that_only_extends_the_chain_leaves_none(fork: Connection) -> None:
    await add_block(fork, "e", 4, "d", canonical=False)
    reorg = await fork.fetch_one(MOVE, {"tip": a_hash("e")})
    assert (await canonical(fork), reorg.orphaned_blocks, reorg.adopted_blocks) == (list("abcde"), 0, 1)


async def test_a_branch_that_does_not_meet_the_chain_is_refused(fork: Connection) -> None:
    await add_block(fork, "s", 9, "q", canonical=False)
    async with refused(fork, "reorg_branch_known"):
        await fork.fetch_one(MOVE, {"tip": a_hash("s")})
    assert await canonical(fork) == list("abcd")


async def test_what_is_deep_enough_is_final_and_never_left(fork: Connection) -> None:
    assert await fork.fetch_value("SELECT insights.finalize_blocks(1)") == 3
    assert await fork.fetch_value("SELECT insights.finalize_blocks(1)") == 0
    async with refused(fork, "blocks_final_is_canonical"):
        await fork.fetch_one(MOVE, {"tip": a_hash("z")})
    assert await canonical(fork) == list("abcd")


async def test_only_transactions_of_the_chain_are_shown_as_its_own(samples: Connection, sampled: Sampled) -> None:
    chain = {row["hash"]: row["finalized"] for row in told(sampled, "blocks") if row["canonical"]}
    oracle = [row for row in told(sampled, "transactions") if row["block_hash"] in chain]
    found = await samples.fetch_one(
        "SELECT count(*) AS rows, sum(output_sats) AS sats, count(*) FILTER (WHERE finalized) AS final FROM insights.chain_transactions"
    )
    assert (found.rows, found.sats) == (len(oracle), sum(row["output_sats"] for row in oracle))
    assert found.final == sum(chain[row["block_hash"]] for row in oracle)
    assert len(oracle) < len(told(sampled, "transactions"))
