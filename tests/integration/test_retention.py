"""Retention on a real server: what leaves was archived and read back, what is needed stays, and the plan says why."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import LiteralString

import psycopg
import pytest

from chainstrata import partitions
from chainstrata.engines.postgres import Connection, Database
from chainstrata.engines.postgres.errors import CheckViolation
from chainstrata.engines.postgres.partitioning import Span
from chainstrata.engines.postgres.waiting import happened
from chainstrata.engines.storage import LocalStorage
from chainstrata.model import Catalog
from chainstrata.retention import Leaving, Options, Retention, Verdict
from chainstrata.retention.archive.reading import Question
from chainstrata.retention.archive.registry import list_archives, list_serving
from chainstrata.retention.archives import Archives
from tests.fixtures.demo import create_demo, demo_catalog
from tests.fixtures.timescale import OWN_PARTITIONS_ONLY, TIMESCALE

NOW = datetime(2026, 3, 20, 2, tzinfo=UTC)
FIRST = datetime(2026, 3, 9, tzinfo=UTC)


class Needs:
    """A dependant that needs what it is told to, and notes what it let go of."""

    name = "mirror"

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason
        self.let_gone: list[Leaving] = []
        self.asked: list[Leaving] = []

    def concerns(self, table: str) -> bool:
        return table == "demo.prices"

    async def blocks(self, leaving: Leaving) -> str | None:
        self.asked.append(leaving)
        return self.reason

    async def let_go(self, connection: Connection, leaving: Leaving) -> None:
        self.let_gone.append(leaving)


@pytest.fixture
async def catalog(database: Database, backend: str) -> Catalog:
    """Give a catalog with a partition and rows for each day from the 9th to today. Rows are kept for seven days."""
    declared = demo_catalog()
    await create_demo(database, declared, timescale=backend == TIMESCALE)
    await partitions.apply(database, declared, now=NOW)
    await partitions.ensure(database, declared.dataset("demo.prices"), FIRST, NOW)
    await database.execute("INSERT INTO demo.coins SELECT 'coin' || i FROM generate_series(1, 5) i")
    await database.execute(
        "INSERT INTO demo.prices SELECT 'coin' || i, ts, 1 + i / 7.0, 2::numeric ^ (40 * i), i, CASE WHEN i > 2 THEN 'a \"b\", c' END"
        " FROM generate_series(1, 5) i, generate_series(%(first)s::timestamptz, %(now)s, interval '1 hour') ts",
        {"first": FIRST, "now": NOW},
    )
    return declared


def retention(database: Database, catalog: Catalog, path: Path, *dependants: Needs) -> Retention:
    return Retention(database, catalog, LocalStorage(path / "archive"), dependants=dependants, options=Options(release_wait=0.1))


async def table_names(database: Database) -> list[str]:
    rows = await database.fetch_all(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'demo.prices'::regclass ORDER BY 1"
    )
    return [row.relname for row in rows]


def days(names: Sequence[str]) -> list[int]:
    return [int(name[-2:]) for name in names]


@pytest.mark.conforms("S3-04", "S1-32", "S4-81")
@pytest.mark.oldest
async def test_what_is_old_leaves_and_is_in_the_archive(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    before = await database.fetch_value("SELECT count(*) FROM demo.prices")
    needs = Needs()
    keeper = retention(database, catalog, tmp_path, needs)
    plan = await keeper.plan(now=NOW)
    assert [decision.partition.name[-2:] for decision in plan.partitions if decision.verdict is Verdict.LEAVES] == ["09", "10", "11", "12"]
    outcome = await keeper.run(now=NOW)
    assert [departed.name for departed in outcome.departed] == [f"prices_y2026m03d{day:02}" for day in (9, 10, 11, 12)]
    assert outcome.blocked == ()
    assert days(await table_names(database)) == list(range(13, 24))
    async with database.connection() as connection:
        archives = await list_archives(connection)
        serving = await list_serving(connection, "demo.prices")
    assert archives == serving
    left = await database.fetch_value("SELECT count(*) FROM demo.prices")
    assert left + sum(archive.rows or 0 for archive in archives) == before
    assert [leaving.partition for leaving in needs.let_gone] == [departed.name for departed in outcome.departed]
    assert all(leaving.sealed_lsn for leaving in needs.let_gone)
    assert await keeper.run(now=NOW) == type(outcome)()


async def test_what_is_needed_stays_and_says_who_needs_it(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    needs = Needs("is 3 transactions behind")
    keeper = retention(database, catalog, tmp_path, needs)
    before = await table_names(database)
    outcome = await keeper.run(now=NOW)
    assert outcome.departed == ()
    assert await table_names(database) == before
    first, second, *_ = (str(decision) for decision in outcome.blocked)
    assert first == "demo.prices_y2026m03d09 (2026-03-09 to 2026-03-10) stays, overdue by 3 d: mirror: is 3 transactions behind"
    assert second.endswith("overdue by 2 d: mirror: is 3 transactions behind; order: prices_y2026m03d09 is older and stays")
    needs.reason = None
    assert len((await keeper.run(now=NOW)).departed) == 4


async def test_a_sealed_partition_takes_no_change(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    class Late(Needs):
        async def blocks(self, leaving: Leaving) -> str | None:
            return "is behind" if leaving.sealed_lsn else None

    late = Late()
    outcome = await retention(database, catalog, tmp_path, late).run(now=NOW)
    assert outcome.departed == ()
    for statement in (
        "INSERT INTO demo.prices VALUES ('coin1', '2026-03-09 00:30+00', 1)",
        "UPDATE demo.prices SET price = 2 WHERE ts < '2026-03-10+00'",
        "DELETE FROM demo.prices WHERE ts < '2026-03-10+00'",
        "TRUNCATE demo.prices",
    ):
        with pytest.raises(CheckViolation) as caught:
            await database.execute(statement)  # type: ignore[arg-type]  # a literal from above
        assert caught.value.constraint == "partition_sealed"
    kept = retention(database, demo_catalog_keeping_longer(), tmp_path, late)
    assert all(decision.verdict is Verdict.KEPT for decision in (await kept.plan(now=NOW)).partitions)
    await kept.run(now=NOW)
    await database.execute("UPDATE demo.prices SET price = 2 WHERE ts < '2026-03-10+00'")


def demo_catalog_keeping_longer() -> Catalog:
    from chainstrata.model import days as width
    from tests.fixtures.demo import with_lifecycle

    return with_lifecycle(demo_catalog(), keep=width(100))


async def test_dry_run_changes_nothing(database: Database, catalog: Catalog, tmp_path: Path, backend: str) -> None:
    keeper = retention(database, catalog, tmp_path)
    plan = await keeper.plan(now=NOW + timedelta(days=1))
    steps = "seal, archive, release, drop" if backend == TIMESCALE else "seal, archive, release, detach, drop"
    assert str(plan.partitions[0]) == f"demo.prices_y2026m03d09 (2026-03-09 to 2026-03-10) leaves: {steps}"
    assert not (tmp_path / "archive").exists()
    assert await database.fetch_value("SELECT count(*) FROM strata.departure") == 0


async def keep_on(conninfo: str, statement: LiteralString, done: asyncio.Event) -> float:
    """Run a statement over and over and return how long the slowest took."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        turn, slowest = 0, 0.0
        while not done.is_set():
            started = monotonic()
            await connection.execute(statement, {"turn": turn})
            slowest = max(slowest, monotonic() - started)
            turn += 1
        return slowest


WORK: dict[str, LiteralString] = {
    "reader of the table": "SELECT count(*) FROM demo.prices WHERE ts >= '2026-03-08+00' AND coin_id = 'coin3'",
    "writer of the table": "INSERT INTO demo.prices VALUES ('coin1', '2026-03-19+00'::timestamptz + %(turn)s * interval '1 s', 1)"
    " ON CONFLICT DO NOTHING",
    "reader of coins": "SELECT count(*) FROM demo.coins",
    "writer of coins": "INSERT INTO demo.coins VALUES ('new' || %(turn)s)",
}


@pytest.mark.conforms("S3-54", "S3-58")
async def test_readers_and_writers_hardly_notice(
    database: Database, catalog: Catalog, tmp_path: Path, conninfo: str, record_property: Callable[[str, object], None]
) -> None:
    """Held through all of it: a report in a transaction, and readers and writers of the table and of what it refers to."""
    done, reading = asyncio.Event(), asyncio.Event()

    async def report() -> int:
        async with await psycopg.AsyncConnection.connect(conninfo) as connection:
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            first = await (await connection.execute("SELECT count(*) FROM demo.prices")).fetchone()
            reading.set()
            await happened(done, 1.5)
            second = await (await connection.execute("SELECT count(*) FROM demo.prices")).fetchone()
            assert first == second, "a report sees one state"
            return int(second[0]) if second else 0

    reporter = asyncio.create_task(report())
    others = {name: asyncio.create_task(keep_on(conninfo, statement, done)) for name, statement in WORK.items()}
    await reading.wait()
    outcome = await retention(database, catalog, tmp_path).run(now=NOW)
    done.set()
    assert await reporter > 0
    stalls = {name: await task for name, task in others.items()}
    assert len(outcome.departed) == 4
    for name, stall in stalls.items():
        record_property(f"longest stall of a {name}, ms", round(stall * 1000, 1))
    # Changes wait for locks 0.4 s at most; the rest is this machine's.
    assert max(stalls.values()) < 1.5, stalls


@OWN_PARTITIONS_ONLY
async def test_a_report_that_locks_first_misses_nothing_that_leaves_before_it_reads(
    database: Database, catalog: Catalog, tmp_path: Path, conninfo: str
) -> None:
    """Its snapshot alone would not do: which partitions there are is read anew, past it."""
    everything = await database.fetch_value("SELECT count(*) FROM demo.prices")
    async with await psycopg.AsyncConnection.connect(conninfo) as report:
        await report.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await report.execute("LOCK TABLE demo.prices IN ACCESS SHARE MODE")
        await report.execute("SELECT count(*) FROM demo.coins")
        leaving = asyncio.create_task(retention(database, catalog, tmp_path).run(now=NOW))
        async with asyncio.timeout(30):
            while not await database.fetch_value("SELECT count(*) FROM pg_inherits WHERE inhdetachpending"):
                await happened(asyncio.Event(), 0.02)
        assert await (await report.execute("SELECT count(*) FROM demo.prices")).fetchone() == (everything,)
        await report.commit()
    assert len((await leaving).departed) == 4


@OWN_PARTITIONS_ONLY  # TimescaleDB lets no chunk go while anything refers to the hypertable, whichever chunk it is.
async def test_a_partition_others_refer_to_stays(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    await database.execute(
        "CREATE TABLE demo.notes (coin_id text, ts timestamptz, CONSTRAINT fk_notes FOREIGN KEY (coin_id, ts) REFERENCES demo.prices)"
    )
    await database.execute("INSERT INTO demo.notes VALUES ('coin1', '2026-03-11 05:00+00')")
    outcome = await retention(database, catalog, tmp_path).run(now=NOW)
    assert [departed.name[-2:] for departed in outcome.departed] == ["09", "10"]
    assert "demo.notes: has rows that refer to it (fk_notes)" in str(outcome.blocked[0])
    await database.execute("TRUNCATE demo.notes")
    assert [departed.name[-2:] for departed in (await retention(database, catalog, tmp_path).run(now=NOW)).departed] == ["11", "12"]


async def test_what_hangs_on_a_partition_is_not_torn_off(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    """A view of one partition keeps it, though everybody has let go; when the view is gone, so is the partition."""
    await database.execute("CREATE VIEW demo.that_day AS SELECT * FROM demo.prices_y2026m03d09")
    outcome = await retention(database, catalog, tmp_path).run(now=NOW)
    assert outcome.departed == ()
    assert "other objects depend on it" in str(outcome.blocked[0])
    assert await database.fetch_value("SELECT count(*) FROM demo.that_day") == 120
    archives = Archives(database, catalog, LocalStorage(tmp_path / "archive"))
    day = Span(FIRST, FIRST + timedelta(days=1))
    # A partition is detached by now and its archive answers; a chunk goes in one step and still has its rows.
    there = await database.fetch_value("SELECT count(*) FROM demo.prices WHERE ts < %(end)s", {"end": day.end})
    assert there + sum([batch.num_rows async for batch in archives.read("demo.prices", Question(day))]) == 120
    await database.execute("DROP VIEW demo.that_day")
    assert len((await retention(database, catalog, tmp_path).run(now=NOW)).departed) == 4


@OWN_PARTITIONS_ONLY
async def test_a_partition_detached_by_hand_is_not_dropped(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    await database.execute("ALTER TABLE demo.prices DETACH PARTITION demo.prices_y2026m03d09")
    outcome = await retention(database, catalog, tmp_path).run(now=NOW)
    assert [departed.name[-2:] for departed in outcome.departed] == ["10", "11", "12"]
    assert await database.fetch_value("SELECT count(*) FROM demo.prices_y2026m03d09") == 120


async def test_a_storage_that_cannot_be_written_keeps_the_rows(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("a file where the directory should be")
    outcome = await retention(database, catalog, tmp_path).run(now=NOW)
    assert outcome.departed == ()
    assert "storage_unavailable" in str(outcome.blocked[0])
    assert await database.fetch_value("SELECT count(*) FROM strata.archive WHERE state <> 'writing'") == 0
    (tmp_path / "archive").unlink()
    assert len((await retention(database, catalog, tmp_path).run(now=NOW)).departed) == 4
