"""Jobs and upkeep by the command line and over HTTP, on all packs; and as the status sees them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from chainstrata.access import Role
from chainstrata.cli.tree import run
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.waiting import happened
from chainstrata.jobs import AskedBy, Jobs, Lease, RunState, Schedule
from chainstrata.model import Catalog
from chainstrata.monitor import Severity
from chainstrata.node import Platform
from chainstrata.node.watch import inspect_jobs
from tests.fixtures.api import LOCAL, make_keys, make_platform, open_client
from tests.fixtures.relay_pack import OSMOSIS, add, operation

Run = Callable[..., Any]
NAMES = ["digests", "indexes", "partitions", "queue", "reconcile", "retention", "rollups", "statistics", "views"]


@pytest.fixture
def platform(packs: Database, catalog: Catalog, tmp_path: Path) -> Platform:
    return make_platform(packs, packs.conninfo, catalog, tmp_path / "home")


@pytest.fixture
def command(packs: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs the command line on this test's database and returns exit code and what it printed."""

    async def call(*words: str, as_json: bool = True) -> tuple[int, Any]:
        arguments = [*words, "--set", f"postgres.url={packs.conninfo}", "--home", str(tmp_path / "home"), *(["--json"] if as_json else [])]
        # Starting the columnar engine is what other tests are about.
        arguments += ["--set", "clickhouse.embedded=off"]
        code = await asyncio.to_thread(run, arguments)
        printed = capsys.readouterr()
        text = printed.out or printed.err
        return code, json.loads(text) if as_json and text else text

    return call


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    key = (await make_keys(platform))[Role.ADMIN]
    async with open_client(platform, key, base=f"{LOCAL}/api/v1") as one:
        yield one


@pytest.mark.conforms("S2-53", "S2-54", "S2-55", "S2-56")
async def test_every_job_runs_on_all_packs_and_is_listed_with_what_it_did(command: Run) -> None:
    code, listed = await command("jobs", "list")
    assert (code, [job["name"] for job in listed]) == (0, NAMES)
    assert {job["name"]: job["schedule"] for job in listed}["retention"] == "daily at 02:00 UTC"
    for name in NAMES:
        code, done = await command("jobs", "run", name)
        assert (code, done["state"], done["asked_by"]) == (0, "succeeded", "command"), done
        assert done["result"]
    code, text = await command("jobs", "list", as_json=False)
    assert "3 refreshed" in text
    _, shown = await command("jobs", "show", "views")
    assert (shown["job"]["state"], len(shown["runs"])) == ("waiting", 1)
    assert shown["job"]["due_at"].endswith(":00:00Z"), "hourly"
    _, text = await command("jobs", "show", "views", as_json=False)
    assert text.startswith("views: Refreshes materialized views")


async def test_jobs_are_paused_resumed_and_retried_by_command(command: Run, packs: Database) -> None:
    _, paused = await command("jobs", "pause", "retention", "views")
    assert [job["state"] for job in paused] == ["paused", "paused"]
    _, text = await command("jobs", "list", as_json=False)
    assert text.count("paused") == 2
    _, resumed = await command("jobs", "resume")
    assert [job["state"] for job in resumed] == ["waiting"] * len(NAMES)
    code, error = await command("jobs", "retry", "views")
    assert (code, error["error"]["code"]) == (2, "nothing_to_retry")
    code, error = await command("jobs", "run", "vews")
    assert (code, error["error"]["hint"]) == (2, "Did you mean views?")
    _, asked = await command("jobs", "run", "views", "--queue")
    assert asked == {"queued": True}
    await packs.execute(
        "CREATE MATERIALIZED VIEW prices.broken AS SELECT 1 / (count(*) - count(*)) AS n FROM prices.coin_priorities WITH NO DATA"
    )
    code, failed = await command("jobs", "run", "views")
    assert (code, failed["state"], failed["error_code"]) == (1, "failed", "upkeep_failed")
    await packs.execute("DROP MATERIALIZED VIEW prices.broken")
    code, done = await command("jobs", "retry", "views")
    assert (code, done["state"], done["asked_by"]) == (0, "succeeded", "retry")


async def test_upkeep_by_command_says_first_what_it_would_do(command: Run, packs: Database) -> None:
    _, planned = await command("upkeep", "views", "--dry-run")
    assert len(planned) == 3
    _, done = await command("upkeep", "views", "relay.mv_user_statistics")
    assert [view["view"] for view in done] == ["relay.mv_user_statistics"]
    _, stale = await command("upkeep", "statistics", "--dry-run")
    _, made = await command("upkeep", "statistics")
    assert [table["name"] for table in made] == [table["name"] for table in stale]
    assert await command("upkeep", "indexes", "--dry-run") == (0, [])
    code, text = await command("upkeep", "indexes", as_json=False)
    assert (code, text.split()[0]) == (0, "index")


@pytest.mark.conforms("S4-84")
async def test_jobs_over_http(client: httpx.AsyncClient, platform: Platform) -> None:
    listed = (await client.get("/jobs")).json()
    assert [job["name"] for job in listed] == NAMES
    asked = await client.post("/jobs/views/run")
    assert (asked.status_code, asked.json()) == (202, {"job": "views", "queued": True})
    assert (await client.post("/jobs/views/run")).json()["queued"] is False
    assert (await client.get("/jobs/views")).json()["state"] == "queued"
    assert (await client.post("/jobs/views/pause")).json()["state"] == "paused"
    assert (await client.post("/jobs/views/resume")).json()["state"] == "waiting"
    refused = await client.post("/jobs/views/retry")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "nothing_to_retry")
    assert (await client.get("/jobs/views/runs")).json() == []
    unknown = await client.get("/jobs/vews")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_name")
    wrong = await client.get("/jobs/views/runs?limit=0")
    assert (wrong.status_code, set(wrong.json())) == (422, {"error"})
    # What has come of age since the database was made, if an hour turned meanwhile.
    assert (await client.post("/monitoring/retention/run")).json()["blocked"] == []
    dry = await client.post("/monitoring/retention/run", json={"dry_run": True, "names": ["prices.minute"]})
    assert (dry.status_code, dry.json()["dry_run"]) == (200, True)
    assert {one["dataset"] for one in dry.json()["partitions"]} >= {"prices.minute", "prices.minute.hourly"}
    assert {one["verdict"] for one in dry.json()["partitions"]} == {"kept"}
    done = await client.post("/monitoring/retention/run")
    assert done.json() == {"dry_run": False, "departed": [], "archives_deleted": 0, "blocked": []}
    recorded = {(one.action, one.object, one.outcome) for one in await platform.audit.list_entries()}
    assert recorded >= {("jobs.run", "views", "done"), ("jobs.pause", "views", "done"), ("jobs.retry", "views", "refused")}
    unknown = await client.post("/monitoring/retention/run", json={"names": ["prices.nothing"]})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_name")


@pytest.mark.conforms("S2-49")
async def test_views_hold_each_hour_what_came_since(platform: Platform, packs: Database) -> None:
    views = platform.jobs.find("views")
    assert views.when.after(datetime(2026, 3, 10, 12, 30, tzinfo=UTC)) == datetime(2026, 3, 10, 13, tzinfo=UTC)
    jobs = Jobs(packs, [views])
    await jobs.register(jobs.jobs.values())
    async with packs.transaction() as connection:
        await add(connection, "chains", {"chain_id": OSMOSIS, "name": "Osmosis", "account_prefix": "osmo"})
    for hour in (1, 2):
        async with packs.transaction() as connection:
            await add(connection, "clearing_operations", operation())
        held = "SELECT sum(operations) FROM relay.mv_user_statistics"
        assert (await jobs.run("views")).state is RunState.SUCCEEDED
        assert await packs.fetch_value(held) == hour


@pytest.mark.conforms("S4-83", "S4-85")
async def test_retention_comes_round_each_night_by_itself_and_looks_at_all_that_ages(platform: Platform, packs: Database) -> None:
    jobs = Jobs(packs, [platform.jobs.find("retention")])
    await jobs.register(jobs.jobs.values())
    [status] = await jobs.status()
    assert status.due_at is not None
    assert (status.due_at.astimezone(UTC).hour, status.due_at.minute) == (2, 0)
    plan = await platform.retention.plan(["insights.jobs", "insights.feedback", "insights.metrics"])
    looked_at = {one.table.name for one in (*plan.partitions, *plan.aged)}
    assert looked_at >= {"insights.jobs", "insights.feedback", "insights.metrics"}
    await packs.execute("UPDATE strata.job SET due_at = now() - interval '1 second' WHERE name = 'retention'")
    stop = asyncio.Event()
    nightly = asyncio.create_task(Schedule(jobs, lease=Lease(60)).run(stop))
    async with asyncio.timeout(60):
        while not (runs := await jobs.runs("retention")) or runs[0].state is RunState.RUNNING:
            await happened(asyncio.Event(), 0.05)
        stop.set()
        await nightly
    assert [(run.state, run.asked_by) for run in runs] == [(RunState.SUCCEEDED, AskedBy.SCHEDULE)]


async def test_failed_and_overdue_jobs_are_findings(platform: Platform, packs: Database) -> None:
    assert await inspect_jobs(platform) == []
    await packs.execute("UPDATE strata.job SET due_at = now() - interval '1 hour' WHERE name = 'retention'")
    await packs.execute(
        "INSERT INTO strata.job_run (job, asked_by, worker, state, error, finished_at)"
        " VALUES ('views', 'schedule', 'host:1', 'failed', 'disk full', now())"
    )
    found = await inspect_jobs(platform)
    assert [(finding.severity, finding.code, finding.object) for finding in found] == [
        (Severity.WARNING, "job_overdue", "retention"),
        (Severity.ERROR, "job_failed", "views"),
    ]
    assert found[1].message == "its last run failed: disk full"


async def test_old_runs_and_old_names_of_batches_are_let_go_of(platform: Platform, packs: Database) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=31)
    await packs.execute(
        "INSERT INTO strata.job_run (job, asked_by, worker, state, started_at, finished_at)"
        " VALUES ('views', 'schedule', 'host:1', 'succeeded', %(then)s, %(then)s), ('views', 'schedule', 'host:1', 'succeeded', now(), now())",
        {"then": long_ago},
    )
    await packs.execute(
        "INSERT INTO strata.ingest_batch (dataset, batch, taken_at) VALUES ('prices.minute', 'old', %(then)s), ('prices.minute', 'new', now())",
        {"then": long_ago},
    )
    run = await platform.jobs.run("retention")
    assert (run.state, run.error) == ("succeeded", "")
    assert [row.batch for row in await packs.fetch_all("SELECT batch FROM strata.ingest_batch")] == ["new"]
    # The recent one, and the run of retention itself.
    assert len(await packs.fetch_all("SELECT id FROM strata.job_run")) == 2
