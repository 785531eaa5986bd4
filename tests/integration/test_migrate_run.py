"""Running revisions: once, one at a time, resumed where they stopped, refused when edited, taken back with consent."""

import asyncio
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from chainstrata.engines.postgres.locate import locate_binaries
from chainstrata.errors import ChainStrataError, UnknownName, UsageError
from chainstrata.migrate import Direction, Progress, Status, down, goto, list_history, status, up
from chainstrata.migrate.errors import HistoryUnusable, MigrationBusy, MigrationEdited, MigrationFailed, NeedsConsent, RevisionUnusable
from chainstrata.migrate.history import LOCK_KEY
from chainstrata.migrate.scripts import Scripts
from tests.fixtures.changing import NAME, Begun, Lab
from tests.fixtures.postgres import NewDatabase

LOGGED = "op.execute(\"INSERT INTO demo.drafts (body) VALUES ('{}')\")"


def steps(*names: str) -> str:
    """Return operations that leave a trace: run twice, they would be seen twice."""
    return "\n".join(LOGGED.format(name) for name in names)


async def traces(lab: Lab) -> list[str]:
    return [row[0] for row in await lab.query("SELECT body FROM demo.drafts ORDER BY id")]


# Once, and one at a time ----------------------------------------------------------------------------------------------


@pytest.mark.conforms("S1-33", "S3-63", "S3-64", "S4-70")
async def test_an_applied_revision_is_recorded_with_checksum_time_and_duration(lab: Lab) -> None:
    name = lab.revise(steps("one"))
    done = await up(lab.site())
    assert [one.revision for one in done.finished] == [name]
    row = (
        await lab.query(
            "SELECT status, length(checksum), step = steps, finished_at > started_at, seconds > 0 FROM strata.migration WHERE revision = %s",
            name,
        )
    )[0]
    assert row == ("applied", 64, True, True, True)
    assert {row[0] for row in await lab.query("SELECT version_num FROM strata.alembic_version")} == {name}
    assert (await up(lab.site())).finished == []
    assert await traces(lab) == ["one"]


async def test_two_ups_at_once_apply_everything_once(lab: Lab) -> None:
    lab.revise(steps("one"))
    lab.revise(steps("two"), number=3)
    first, second = await asyncio.gather(up(lab.site()), up(lab.site()))
    assert sorted(one.revision for done in (first, second) for one in done.finished) == [f"{NAME}_0002", f"{NAME}_0003"]
    assert await traces(lab) == ["one", "two"]


async def test_one_that_waits_holds_up_no_concurrent_build(lab: Lab) -> None:
    lab.revise('op.create_index_concurrently("idx_late", "packets", ["tries"], schema="demo")', transactional=False)
    waiting, building = asyncio.Event(), asyncio.Event()
    async with await psycopg.AsyncConnection.connect(lab.conninfo) as writer:
        # The build waits for this transaction to end.
        await writer.execute("UPDATE demo.packets SET tries = 1 WHERE id = 1")
        first = asyncio.create_task(up(lab.site(), watch=lambda progress: building.set()))
        await building.wait()
        await until_blocked(lab, writer)
        second = asyncio.create_task(up(lab.site(), watch=lambda progress: waiting.set() if progress.kind == "wait" else None))
        await waiting.wait()
        await writer.commit()
    done = await asyncio.gather(first, second)
    assert [len(one.finished) for one in done] == [1, 0]
    assert await lab.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'demo.idx_late'::regclass")


async def until_blocked(lab: Lab, writer: psycopg.AsyncConnection[Any]) -> int:
    """Wait until a concurrent build waits for this writer, and for nobody who will be gone in a moment; return its process."""
    query = """
        SELECT pid FROM pg_stat_activity WHERE starts_with(query, 'CREATE INDEX CONCURRENTLY') AND %s = ANY (pg_blocking_pids(pid))
    """
    async with asyncio.timeout(60):
        while not (found := await lab.query(query, writer.info.backend_pid)):
            pass
    return int(found[0][0])


async def test_waiting_ends(lab: Lab) -> None:
    lab.revise(steps("one"))
    async with await psycopg.AsyncConnection.connect(lab.conninfo, autocommit=True, application_name="somebody") as holder:
        await holder.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        with pytest.raises(MigrationBusy, match=r"another migration is under way \(somebody, server process"):
            await up(lab.site(migrate__wait_timeout="300ms"))


@contextmanager
def reader_of(lab: Lab, table: str) -> Iterator[Callable[[], None]]:
    """Hold a table as a long transaction does; give what ends it."""
    with psycopg.connect(lab.conninfo) as connection:
        connection.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE".encode())
        yield connection.commit


async def test_a_step_gives_way_to_a_lock_and_tries_again(lab: Lab) -> None:
    lab.revise('op.add_column("packets", sa.Column("memo", sa.Text()), schema="demo")\n' + steps("one"))
    retries: list[str] = []
    with reader_of(lab, "demo.packets") as leave:

        def watch(progress: Progress) -> None:
            if progress.kind == "retry":
                retries.append(progress.text)
                leave()

        await up(lab.site(migrate__lock_timeout="50ms"), watch=watch)
    assert len(retries) == 1
    assert "lock timeout" in retries[0]
    assert await traces(lab) == ["one"]


async def test_giving_way_ends_too_and_leaves_a_record(lab: Lab) -> None:
    name = lab.revise('op.drop_column("packets", "note", schema="demo")')
    with reader_of(lab, "demo.packets"), pytest.raises(MigrationFailed, match="lock timeout"):
        await up(lab.site(migrate__lock_timeout="20ms", migrate__lock_attempts=2))
    assert await lab.query("SELECT status, error LIKE '%%lock timeout%%' FROM strata.migration WHERE revision = %s", name) == [
        ("failed", True)
    ]


# Interrupted, failed, resumed -----------------------------------------------------------------------------------------


async def test_a_failed_transaction_leaves_nothing_but_its_record(lab: Lab) -> None:
    name = lab.revise(f'{steps("one")}\nop.execute("INSERT INTO demo.missing VALUES (1)")')
    before = await lab.snapshot()
    with pytest.raises(
        MigrationFailed, match=f'migration {name} failed at 2 operations in one transaction: relation "demo.missing" does not exist'
    ):
        await up(lab.site())
    assert await traces(lab) == []
    assert dict(await lab.snapshot()) == dict(before)
    found = next(one for one in (await status(lab.site())).revisions if one.revision == name)
    assert (found.status, found.described, found.error) == (
        Status.FAILED,
        "failed after step 0 of 1",
        'relation "demo.missing" does not exist',
    )
    await lab.query("CREATE TABLE demo.missing (id int)")
    assert [one.revision for one in (await up(lab.site())).finished] == [name]
    assert await traces(lab) == ["one"]


async def test_a_revision_without_a_transaction_goes_on_at_the_step_that_failed(lab: Lab) -> None:
    name = lab.revise(f'{steps("one", "two")}\nop.execute("INSERT INTO demo.missing VALUES (1)")\n{steps("three")}', transactional=False)
    with pytest.raises(MigrationFailed, match="failed at step 3 of 4, run INSERT INTO"):
        await up(lab.site())
    assert await traces(lab) == ["one", "two"]
    assert (await status(lab.site())).problems == [f"{name}: failed after step 2 of 4"]
    await lab.query("CREATE TABLE demo.missing (id int)")
    await up(lab.site())
    assert await traces(lab) == ["one", "two", "three"]


FOUR_STEPS = f"""
{LOGGED.format("one")}
op.create_index_concurrently("idx_kind", "events", ["kind", "chain_id"], schema="demo", comment="Why not.")
op.add_constraint_concurrently("demo.events", "fk_events_chain", "FOREIGN KEY (chain_id) REFERENCES demo.chains (id)")
op.set_not_null_concurrently("demo.packets", "note")
op.backfill("demo.packets", "tries = 1", "tries = 0", pages=1)
op.add_enum_value("demo.state", "stuck", after="open")
{LOGGED.format("two")}
"""


def kill_migrations(lab: Lab) -> None:
    """End the sessions of migrations, as a server that goes down does."""
    with psycopg.connect(lab.conninfo, autocommit=True) as killer:
        killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'chainstrata migrate' AND datname = current_database()"
        )


@pytest.mark.parametrize("after", range(7))
async def test_interrupt_every_plan(lab: Lab, after: int) -> None:
    name = lab.revise(FOUR_STEPS, transactional=False)
    done: list[str] = []

    def watch(progress: Progress) -> None:
        if progress.kind == "step":
            done.append(progress.text)
        if len(done) == after and progress.kind in ("step", "revision"):
            kill_migrations(lab)

    try:
        await up(lab.site(), watch=watch)
    except ChainStrataError:
        assert after < 7
    record = next(one for one in (await status(lab.site())).revisions if one.revision == name)
    planned = (await up(lab.site(), dry_run=True)).runs
    assert record.step == after
    assert [len(run.steps[run.done :]) for run in planned] == ([7 - after] if after < 7 else [])
    assert record.interrupted or record.status is Status.PENDING
    done.clear()
    finished = await up(lab.site(), watch=lambda progress: done.append(progress.text) if progress.kind == "step" else None)
    assert [one.revision for one in finished.finished] == [name]
    assert len(done) == 7 - after
    assert await traces(lab) == ["one", "two"]
    assert await lab.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'demo.idx_kind'::regclass") == [(True,)]
    assert await lab.query("SELECT count(*) FROM demo.packets WHERE tries <> 1") == [(0,)]


@pytest.mark.parametrize("how", ["by the server", "by its user"])
async def test_killed_in_the_middle_of_a_concurrent_build(lab: Lab, how: str) -> None:
    lab.revise('op.create_index_concurrently("idx_kind", "events", ["kind", "chain_id"], schema="demo")', transactional=False)
    async with await psycopg.AsyncConnection.connect(lab.conninfo) as writer:
        await writer.execute("UPDATE demo.events_p2 SET kind = 'x' WHERE id = 1500")
        first = asyncio.create_task(up(lab.site()))
        builder = await until_blocked(lab, writer)
        if how == "by its user":
            first.cancel()
        else:
            await lab.query("SELECT pg_terminate_backend(%s)", builder)
        with pytest.raises((ChainStrataError, asyncio.CancelledError)):
            await first
    assert (await status(lab.site())).problems == ["demo_0002: interrupted after step 0 of 1"]
    assert await lab.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid") >= 1
    # A partition that comes meanwhile gets its part by itself.
    await lab.query("CREATE TABLE demo.events_p3 PARTITION OF demo.events FOR VALUES FROM ('2026-01-03+00') TO ('2026-01-04+00')")
    await up(lab.site())
    assert await lab.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    assert await lab.value("SELECT count(*) FROM pg_partition_tree('demo.idx_kind')") == 4


# The history is what ran ----------------------------------------------------------------------------------------------


@pytest.mark.conforms("S1-34")
async def test_an_edited_revision_is_refused(lab: Lab) -> None:
    name = lab.revise(steps("one"))
    await up(lab.site())
    lab.revise(steps("one", "two"))
    for command in (up(lab.site()), down(lab.site(), yes=True), goto(lab.site(), name)):
        with pytest.raises(MigrationEdited, match=f"migration '{name}' changed after it was applied") as caught:
            await command
        assert caught.value.code == "migration_edited"
    assert (await status(lab.site())).problems == [f"{name}: applied, edited since"]


async def test_line_ends_are_no_edit(lab: Lab) -> None:
    lab.revise(steps("one"))
    await up(lab.site())
    path = lab.folder / "0002_by_hand.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert (await up(lab.site())).finished == []


async def test_a_revision_that_failed_whole_may_be_mended(lab: Lab) -> None:
    lab.revise('op.execute("SELECT nonsense")')
    with pytest.raises(MigrationFailed):
        await up(lab.site())
    lab.revise(steps("mended"))
    await up(lab.site())
    assert await traces(lab) == ["mended"]


async def test_a_revision_without_its_file_is_named(lab: Lab) -> None:
    name = lab.revise(steps("one"))
    await up(lab.site())
    (lab.folder / "0002_by_hand.py").unlink()
    with pytest.raises(HistoryUnusable, match=f"revision {name} of pack demo is applied, but its file is nowhere"):
        await up(lab.site())
    assert (await status(lab.site())).revisions[-1].status is Status.MISSING


async def test_loading_revisions_changes_nothing_for_other_threads(lab: Lab) -> None:
    name = lab.revise(steps("one"))
    path = lab.folder / "0002_by_hand.py"
    path.write_text(f"import warnings\nSEEN = list(warnings.filters)\n{path.read_text()}")
    before, site = list(warnings.filters), lab.site()
    assert before == Scripts.of(site.catalog, site.folders).revisions[name].module.SEEN


async def test_two_newest_revisions_are_refused(lab: Lab) -> None:
    lab.revise(steps("one"))
    (lab.folder / "0003_other.py").write_text((lab.folder / "0002_by_hand.py").read_text().replace("demo_0002", "demo_0003"))
    with pytest.raises(HistoryUnusable, match="pack demo has 2 newest revisions: demo_0002, demo_0003"):
        await up(lab.site())
    (lab.folder / "0003_other.py").write_text((lab.folder / "0002_by_hand.py").read_text())
    with pytest.raises(HistoryUnusable, match="demo_0002"):
        await up(lab.site())


@pytest.mark.parametrize(
    ("upgrade", "problem"),
    [
        ("op.get_bind()", "a revision has no connection"),
        ("op.no_such_thing()", "AttributeError"),
        ('op.create_index_concurrently("i", "packets", ["id"], schema="demo")', "cannot be part of a transaction"),
    ],
)
async def test_a_revision_that_cannot_be_is_refused_before_anything_runs(lab: Lab, upgrade: str, problem: str) -> None:
    lab.revise(f"{steps('one')}\n{upgrade}")
    with pytest.raises(RevisionUnusable, match=problem):
        await up(lab.site())
    assert await traces(lab) == []


# There and back -------------------------------------------------------------------------------------------------------


async def three_revisions(lab: Lab) -> list[str]:
    undo = "op.execute(\"INSERT INTO demo.drafts (body) VALUES ('undo {}')\")"
    return [lab.revise(steps(f"do {number}"), undo.format(number), number=number) for number in (2, 3, 4)]


@pytest.mark.conforms("S2-75", "S2-76", "S2-77", "S4-76", "S4-77", "S4-78")
async def test_up_by_number_goto_and_down(lab: Lab) -> None:
    names = await three_revisions(lab)
    assert [one.revision for one in (await up(lab.site(), "1")).finished] == names[:1]
    assert [one.revision for one in (await goto(lab.site(), names[2])).finished] == names[1:]
    assert [one.revision for one in (await down(lab.site(), "2")).finished] == [names[2], names[1]]
    assert [one.revision for one in (await up(lab.site(), NAME)).finished] == names[1:]
    back = (await goto(lab.site(), names[0])).finished
    assert [(one.revision, one.direction) for one in back] == [(names[2], Direction.DOWN), (names[1], Direction.DOWN)]
    assert (await goto(lab.site(), names[0])).finished == []
    listed = [(one.revision, one.status) for one in await list_history(lab.site(), [NAME])]
    assert listed == [(names[0], Status.APPLIED), ("demo_0001", Status.APPLIED), (names[1], Status.PENDING), (names[2], Status.PENDING)]
    assert await traces(lab) == ["do 2", "do 3", "do 4", "undo 4", "undo 3", "do 3", "do 4", "undo 4", "undo 3"]


async def test_targets_that_do_not_exist(lab: Lab) -> None:
    await three_revisions(lab)
    with pytest.raises(UnknownName, match="unknown revision 'demo_0099'"):
        await up(lab.site(), "demo_0099")
    with pytest.raises(UsageError, match=r"'demo_000' may be demo_0001, demo_0002"):
        await goto(lab.site(), "demo_000")
    with pytest.raises(UsageError, match="revision demo_0003 is not applied"):
        await down(lab.site(), "demo_0003")


async def test_down_says_what_is_lost_and_needs_consent(lab: Lab) -> None:
    lab.revise(
        'op.create_table("extra", sa.Column("id", sa.BigInteger()), schema="demo")\n'
        'op.add_column("packets", sa.Column("memo", sa.Text()), schema="demo")',
        'op.drop_column("packets", "memo", schema="demo")\nop.drop_table("extra", schema="demo")\nop.execute("DELETE FROM demo.drafts")',
    )
    await up(lab.site())
    before = await lab.snapshot()
    with pytest.raises(NeedsConsent) as caught:
        await down(lab.site())
    assert caught.value.losses == [
        "column demo.packets.memo with its values",
        "table demo.extra with all its rows",
        "rows: DELETE FROM demo.drafts",
    ]
    planned = await down(lab.site(), dry_run=True)
    assert [title for run in planned.runs for step in run.steps for title in step.titles] == [
        "drop column demo.packets.memo",
        "drop table demo.extra",
        "run DELETE FROM demo.drafts",
    ]
    assert dict(await lab.snapshot()) == dict(before)
    await down(lab.site(), yes=True)
    assert "table demo.extra" not in map(str, await lab.snapshot())


async def test_what_needs_a_revision_goes_with_it(lab: Lab) -> None:
    planned = await down(lab.site(), "base", packs=["strata"], dry_run=True)
    assert [run.revision.name for run in planned.runs][:1] == ["demo_0001"]
    assert planned.runs[-1].revision.name == "strata_0001"


async def test_undoing_what_stopped_half_way(lab: Lab) -> None:
    lab.revise(
        'op.create_index_concurrently("idx_a", "packets", ["tries"], schema="demo")\nop.execute("SELECT nonsense")',
        'op.drop_index_concurrently("idx_a", "packets", schema="demo")',
        transactional=False,
    )
    before = await lab.snapshot()
    with pytest.raises(MigrationFailed):
        await up(lab.site())
    await down(lab.site())
    assert dict(await lab.snapshot()) == dict(before)
    assert "demo_0002" not in {row[0] for row in await lab.query("SELECT revision FROM strata.migration")}


# As SQL ---------------------------------------------------------------------------------------------------------------


async def test_the_sql_run_by_psql_does_the_same(lab: Lab) -> None:
    lab.revise(FOUR_STEPS, "pass", transactional=False)
    lab.revise('op.create_table("extra", sa.Column("id", sa.BigInteger()), schema="demo", comment="Says: 100 % \\\\d")', number=3)
    planned = await up(lab.site(), dry_run=True)
    assert await traces(lab) == []
    assert await run_psql(lab, planned.sql) == (0, "")
    by_psql = await lab.snapshot()
    assert (await status(lab.site())).pending == []
    assert {row[0] for row in await lab.query("SELECT version_num FROM strata.alembic_version")} == {"demo_0003"}
    assert await traces(lab) == ["one", "two"]
    await lab.query("DELETE FROM strata.migration WHERE revision > 'demo_0001' AND pack = 'demo'")
    await lab.query("DROP TABLE demo.extra")
    # Every online operation finds its work done.
    await up(lab.site())
    assert dict(await lab.snapshot()) == dict(by_psql)


EVERY_ONLINE_OPERATION = """
op.create_index_concurrently("idx_events_kind__new", "events", ["kind", "ts"], schema="demo", comment="A better one.")
op.swap_index("idx_events_kind__new", "idx_events_kind", "demo.events")
op.add_constraint_concurrently("demo.packets", "fee__new", "CHECK (fee >= 0)")
op.swap_constraint("demo.packets", "fee__new", "packets_fee_sensible")
op.add_constraint_concurrently("demo.packets", "packets_pair_key", "UNIQUE (chain_id, id)")
op.add_constraint_concurrently("demo.events", "fk_events_chain", "FOREIGN KEY (chain_id) REFERENCES demo.chains (id)")
op.drop_index_concurrently("idx_packets_seen", "packets", schema="demo")
op.drop_index_concurrently("idx_nowhere", "packets", schema="demo")
op.set_not_null_concurrently("demo.packets", "fee")
op.backfill("demo.packets", "status = 'done', note = note || ':x 100 %'", "status <> 'done'", pages=1)
op.execute("ALTER TABLE demo.packets ALTER COLUMN status SET DEFAULT 'done'")
op.execute("DROP FUNCTION demo.of_chain")
op.execute("DROP VIEW demo.open_fees")
op.execute("DROP VIEW demo.open_packets")
op.execute("DROP INDEX demo.idx_packets_open")
op.replace_enum("demo.state", ["done", "gone"])
"""


async def test_every_online_operation_can_be_run_by_psql_too(lab: Lab, new_database: NewDatabase, begun_pack: Begun) -> None:
    lab.revise(EVERY_ONLINE_OPERATION, transactional=False)
    twin = Lab(await new_database(begun_pack.template), lab.config, lab.package)
    assert await run_psql(twin, (await up(twin.site(), dry_run=True)).sql) == (0, "")
    await up(lab.site())
    assert dict(await twin.snapshot()) == dict(await lab.snapshot())
    rows = "SELECT id, status::text, note FROM demo.packets ORDER BY id"
    assert await twin.query(rows) == await lab.query(rows)
    assert (await up(twin.site())).finished == []


async def run_psql(lab: Lab, script: str) -> tuple[int | None, str]:
    program, pipe = locate_binaries().tool("psql"), asyncio.subprocess.PIPE
    psql = await asyncio.create_subprocess_exec(program, "-X", "-q", "-d", lab.conninfo, "-f", "-", stdin=pipe, stdout=pipe, stderr=pipe)
    _, errors = await psql.communicate(script.encode())
    return psql.returncode, errors.decode()
