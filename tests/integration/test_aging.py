"""Rows of plain tables on a real server: only what is old and done leaves, in batches, archived and read back first."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from chainstrata.engines.postgres import Connection, Database
from chainstrata.engines.postgres.partitioning import Span
from chainstrata.engines.storage import LocalStorage
from chainstrata.migrate import create_declared
from chainstrata.model import INSTANT, Catalog, Dataset, Lifecycle, Pack, column, days, metadata, reference
from chainstrata.packs.strata import pack as strata
from chainstrata.retention import ArchiveInUse, Leaving, Options, Retention, Verdict
from chainstrata.retention.archive.reading import Question
from chainstrata.retention.archives import Archives

NOW = datetime(2026, 9, 1, 2, tzinfo=UTC)
DONE = "status IN ('completed', 'failed')"


def jobs(lifecycle: Lifecycle) -> Catalog:
    tables = metadata("work")
    table = sa.Table(
        "jobs",
        tables,
        column("id", sa.BigInteger, sa.Identity(), doc="Number."),
        column("started_at", INSTANT, doc="When it began."),
        column("status", sa.Text, doc="How it stands."),
        column("note", sa.Text, nullable=True, doc="What for."),
        sa.PrimaryKeyConstraint("id", name="jobs_pkey"),
        comment="One row per job.",
    )
    steps = sa.Table(
        "steps",
        tables,
        column("job_id", sa.BigInteger, doc="Job."),
        sa.PrimaryKeyConstraint("job_id", name="steps_pkey"),
        reference("fk_steps_job", ["job_id"], ["work.jobs.id"]),
        comment="One row per job with steps.",
    )
    datasets = [Dataset(table, "jobs", time="started_at", lifecycle=lifecycle), Dataset(steps, "steps")]
    return Catalog([strata, Pack("work", "tests.fixtures", "For tests.", tables, datasets)])


@pytest.fixture
async def catalog(database: Database) -> Catalog:
    """Give jobs of 300 days, one a day, every third of them still running; done ones leave after 180 days."""
    declared = jobs(Lifecycle(keep=days(180), terminal=DONE))
    async with database.connection() as connection:
        await create_declared(connection.driver, declared)
    await database.execute(
        "INSERT INTO work.jobs (started_at, status, note)"
        " SELECT %(now)s - i * interval '1 day', CASE i %% 3 WHEN 0 THEN 'running' WHEN 1 THEN 'completed' ELSE 'failed' END, 'job ' || i"
        " FROM generate_series(0, 299) i",
        {"now": NOW},
    )
    return declared


def keeper(database: Database, catalog: Catalog, path: Path, *, batch: int = 1000, dependants: "tuple[Folded, ...]" = ()) -> Retention:
    return Retention(database, catalog, LocalStorage(path), dependants=dependants, options=Options(batch_rows=batch, release_wait=0.1))


OLD_AND_DONE = sum(1 for age in range(181, 300) if age % 3)


@pytest.mark.conforms("S4-25", "S4-80", "S3-59")
@pytest.mark.parametrize("batch", [1000, 7])
async def test_only_old_jobs_that_are_done_leave(database: Database, catalog: Catalog, tmp_path: Path, batch: int) -> None:
    retention = keeper(database, catalog, tmp_path, batch=batch)
    plan = await retention.plan(["work.jobs"], now=NOW)
    [aged] = plan.aged
    assert (aged.verdict, aged.rows) == (Verdict.LEAVES, OLD_AND_DONE)
    assert str(aged) == f"{OLD_AND_DONE} rows of work.jobs before 2026-03-05 02:00 UTC leave"
    outcome = await retention.run(now=NOW)
    assert sum(departed.rows for departed in outcome.departed) == OLD_AND_DONE
    assert len(outcome.departed) == -(-OLD_AND_DONE // batch)
    assert await database.fetch_value("SELECT count(*) FROM work.jobs") == 300 - OLD_AND_DONE
    assert await database.fetch_value("SELECT count(*) FROM work.jobs WHERE status = 'running'") == 100
    archives = Archives(database, catalog, LocalStorage(tmp_path))
    everything = Question(Span(NOW - timedelta(days=400), NOW))
    read = [row for batch in [one async for one in archives.read("work.jobs", everything)] for row in batch.to_pylist()]
    assert len({row["id"] for row in read}) == len(read) == OLD_AND_DONE
    assert {row["status"] for row in read} == {"completed", "failed"}
    assert await retention.run(now=NOW) == type(outcome)()
    assert [check.differences for check in (await archives.verify()).checked] == [()] * len(outcome.departed)


async def test_a_job_that_ends_later_leaves_later(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    retention = keeper(database, catalog, tmp_path)
    await retention.run(now=NOW)
    await database.execute("UPDATE work.jobs SET status = 'failed' WHERE status = 'running' AND started_at < '2026-01-01+00'")
    outcome = await retention.run(now=NOW)
    assert [departed.rows for departed in outcome.departed] == [sum(1 for age in range(244, 300) if age % 3 == 0)]


async def test_held_rows_stay(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    archives = Archives(database, catalog, LocalStorage(tmp_path))
    start = NOW - timedelta(days=250)
    await archives.hold("work.jobs", Span(start, start + timedelta(days=10)), "asked for by the auditor")
    await keeper(database, catalog, tmp_path).run(now=NOW)
    kept = await database.fetch_value(
        "SELECT count(*) FROM work.jobs WHERE started_at < %(limit)s AND status <> 'running'", {"limit": NOW - timedelta(days=180)}
    )
    assert kept == sum(1 for age in range(241, 251) if age % 3)


async def test_rows_that_others_refer_to_stay(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    await database.execute("INSERT INTO work.steps SELECT id FROM work.jobs WHERE note = 'job 200'")
    outcome = await keeper(database, catalog, tmp_path).run(now=NOW)
    assert sum(departed.rows for departed in outcome.departed) == OLD_AND_DONE - 1
    assert await database.fetch_value("SELECT count(*) FROM work.jobs WHERE note = 'job 200'") == 1
    await database.execute("TRUNCATE work.steps")
    outcome = await keeper(database, catalog, tmp_path).run(now=NOW)
    assert [departed.rows for departed in outcome.departed] == [1]


async def test_a_job_that_starts_again_meanwhile_is_left_alone(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    """A row somebody has changed and not committed yet is waited for, and left if it is not done any more."""
    retention = keeper(database, catalog, tmp_path)
    released = asyncio.Event()

    async def restart() -> None:
        async with database.transaction() as connection:
            await connection.execute("UPDATE work.jobs SET status = 'running' WHERE note = 'job 199'")
            started.set()
            await released.wait()

    started = asyncio.Event()
    restarting = asyncio.create_task(restart())
    await started.wait()
    running = asyncio.create_task(retention.run(now=NOW))
    while not await database.fetch_value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        pass
    released.set()
    await restarting
    outcome = await running
    assert sum(departed.rows for departed in outcome.departed) == OLD_AND_DONE - 1
    assert await database.fetch_value("SELECT status FROM work.jobs WHERE note = 'job 199'") == "running"


async def test_rows_put_back_are_in_one_place(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    await keeper(database, catalog, tmp_path).run(now=NOW)
    archives = Archives(database, catalog, LocalStorage(tmp_path))
    everything = Span(NOW - timedelta(days=400), NOW)
    await database.execute("INSERT INTO work.jobs OVERRIDING SYSTEM VALUE VALUES (300, now(), 'running', 'in its place')")
    with pytest.raises(ArchiveInUse, match="1 of"):
        await archives.restore("work.jobs", everything)
    await database.execute("DELETE FROM work.jobs WHERE id = 300")
    assert list((await archives.restore("work.jobs", everything)).values()) == ["work.jobs"]
    assert await database.fetch_value("SELECT count(*) FROM work.jobs") == 300
    assert await archives.list() == []
    assert list(tmp_path.rglob("*.parquet")) == []
    assert (await keeper(database, catalog, tmp_path).run(now=NOW)).departed == ()
    [hold] = await archives.holds()
    await archives.lift(hold.id)
    assert len((await keeper(database, catalog, tmp_path).run(now=NOW)).departed) == 1


async def test_rows_may_go_without_an_archive(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    bare = keeper(database, jobs(Lifecycle(keep=days(180), terminal=DONE, archive=False)), tmp_path)
    outcome = await bare.run(now=NOW)
    assert [(departed.rows, departed.archive) for departed in outcome.departed] == [(OLD_AND_DONE, None)]
    assert await database.fetch_value("SELECT count(*) FROM strata.archive") == 0


class Folded:
    """A roll-up of the jobs, as far as rows that leave see of it: it notes up to when it let go."""

    name = "work.jobs.daily"

    def __init__(self) -> None:
        self.gone: list[datetime] = []

    def concerns(self, table: str) -> bool:
        return table == "work.jobs"

    async def blocks(self, leaving: Leaving) -> str | None:
        return None

    async def let_go(self, connection: Connection, leaving: Leaving) -> None:
        self.gone.append(leaving.span.end)


@pytest.mark.parametrize("batch", [1000, 5])
async def test_nothing_passes_a_row_that_stays_where_roll_ups_are_made(
    database: Database, catalog: Catalog, tmp_path: Path, batch: int
) -> None:
    """A roll-up notes up to when rows are gone, so a job that still runs keeps the younger ones."""
    folded = Folded()
    await database.execute("UPDATE work.jobs SET status = 'completed' WHERE started_at < %(limit)s", {"limit": NOW - timedelta(days=240)})
    await database.execute(
        "UPDATE work.jobs SET started_at = started_at + interval '1 day' WHERE note IN ('job 299', 'job 295', 'job 290')"
    )
    outcome = await keeper(database, catalog, tmp_path, batch=batch, dependants=(folded,)).run(now=NOW)
    left = await database.fetch_one("SELECT min(started_at) AS oldest, count(*) AS rows FROM work.jobs")
    assert left.oldest == NOW - timedelta(days=240)
    assert sum(departed.rows for departed in outcome.departed) == 300 - left.rows == 59
    assert folded.gone == sorted(folded.gone)
    assert folded.gone[-1] <= left.oldest
