"""What people do to tables, publication and mirror behind the log's back: it is noticed, told, and mended by a copy; others go on."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from chainstrata.cdc import Mirrors
from chainstrata.cdc.errors import DatasetStopped, NotApplied
from chainstrata.cdc.mirrors import MirrorStatus
from chainstrata.cdc.origin import Origin, OriginColumn, judge_origin, keeps_values
from chainstrata.engines.clickhouse import Columnar
from chainstrata.engines.clickhouse.errors import ColumnarUndefined
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.waiting import happened
from tests.fixtures.mirrored import following, mirrored

REST = ["demo.entries", "demo.ticks"]


async def lost(mirrors: Mirrors, name: str) -> MirrorStatus:
    """Return a mirror once it is given up."""
    never = asyncio.Event()
    async with asyncio.timeout(20):
        while True:
            [found] = (await mirrors.status([name])).mirrors
            if found.state == "lost":
                return found
            await happened(never, 0.05)


async def agree(mirrors: Mirrors) -> None:
    await mirrors.wait()
    assert [found for found in await mirrors.reconcile() if not found.agrees] == []


@pytest.fixture
async def mirrors(database: Database, columnar: Columnar) -> AsyncIterator[Mirrors]:
    async with mirrored(database, columnar) as mirrors:
        await database.execute("INSERT INTO demo.account VALUES ('a', 5), ('b', NULL)")
        await database.execute("INSERT INTO demo.tick VALUES ('btc', '2026-03-20', 1.26), ('btc', '2026-03-21', 2)")
        yield mirrors


async def run(database: Database, *statements: str) -> None:
    for statement in statements:
        await database.execute(statement)  # type: ignore[call-overload]


@pytest.mark.conforms("S1-155")
async def test_what_the_log_does_not_tell_of_is_noticed_and_a_copy_mends_it(
    mirrors: Mirrors, database: Database, columnar: Columnar
) -> None:
    breaks = [
        (
            "taken out of the publication",
            "ALTER PUBLICATION chainstrata DROP TABLE demo.account",
            "INSERT INTO demo.account VALUES ('unpublished', 1)",
            "ALTER PUBLICATION chainstrata ADD TABLE demo.account",
        ),
        (
            "taken out of the publication",
            "ALTER PUBLICATION chainstrata DROP TABLE demo.account",
            "INSERT INTO demo.account VALUES ('alone', 1)",
        ),
        (
            "its table was dropped or|it was dropped, renamed",
            "CREATE TABLE demo.copy (LIKE demo.account INCLUDING ALL)",
            "ALTER TABLE demo.entry DROP CONSTRAINT fk_entry_account",
            "DROP TABLE demo.account",
            "ALTER TABLE demo.copy RENAME TO account",
            "INSERT INTO demo.account VALUES ('fresh', 1)",
        ),
        (
            "'limit_units' was dropped and made anew",
            "ALTER TABLE demo.account DROP COLUMN limit_units, ADD COLUMN limit_units strata.uint256",
        ),
    ]
    async with following(mirrors):
        await mirrors.wait()
        for problem, *statements in breaks:
            await run(database, *statements)
            found = await lost(mirrors, "demo.accounts")
            assert re.search(problem, found.error)
            assert "cdc resync demo.accounts" in found.hint
            await database.execute(
                "INSERT INTO demo.tick SELECT 'eth', '2026-03-20'::timestamptz, count(*) FROM demo.tick ON CONFLICT DO NOTHING"
            )
            await mirrors.wait(REST)
            told = {one.dataset: one for one in await mirrors.reconcile() if not one.agrees}
            assert list(told) == ["demo.accounts"]
            assert "cdc resync demo.accounts" in told["demo.accounts"].problem
            with pytest.raises(DatasetStopped, match=r"^demo.accounts: (its|column)"):
                await mirrors.reconcile(["demo.accounts"])
            await mirrors.resync(["demo.accounts"])
            await agree(mirrors)
        await run(database, "ALTER TABLE demo.tick ALTER COLUMN price TYPE numeric(20, 1)")
        assert "'price' was numeric" in (await lost(mirrors, "demo.ticks")).error
        await mirrors.resync(["demo.ticks"])
        await agree(mirrors)


async def test_a_mirror_that_somebody_dropped_is_not_begun_empty(mirrors: Mirrors, database: Database, columnar: Columnar) -> None:
    async with following(mirrors):
        await mirrors.wait()
        await columnar.execute("DROP TABLE demo__accounts__rows")
        await database.execute("INSERT INTO demo.account VALUES ('c', 1)")
        assert "its table in the columnar engine is gone" in (await lost(mirrors, "demo.accounts")).error
        await mirrors.wait(REST)
        await mirrors.resync(["demo.accounts"])
        await agree(mirrors)
    await columnar.execute("DROP TABLE demo__accounts__rows")
    await database.execute("INSERT INTO demo.account VALUES ('d', 1)")
    async with following(mirrors):
        await lost(mirrors, "demo.accounts")
        await mirrors.resync(["demo.accounts"])
        await agree(mirrors)


async def test_a_publication_that_is_gone_is_noticed_by_whoever_follows_next(mirrors: Mirrors, database: Database) -> None:
    async with following(mirrors):
        await mirrors.wait()
    await run(database, "DROP PUBLICATION chainstrata", "INSERT INTO demo.account VALUES ('c', 1)")
    async with following(mirrors):
        for name in mirrors.names:
            await lost(mirrors, name)
        await mirrors.resync(list(mirrors.names))
        await agree(mirrors)
        # The same table under another name for a moment is the same table.
        await run(
            database,
            "ALTER TABLE demo.account RENAME TO moved",
            "INSERT INTO demo.moved VALUES ('d', 1)",
            "ALTER TABLE demo.moved RENAME TO account",
        )
        await database.execute("ALTER TABLE demo.account ALTER COLUMN name TYPE varchar")
        await database.execute("INSERT INTO demo.account VALUES ('e', 1)")
        await agree(mirrors)


async def test_who_waits_in_vain_is_told_why(mirrors: Mirrors, database: Database) -> None:
    with pytest.raises(NotApplied, match=r"demo.accounts \(waiting\), demo.entries") as nobody:
        await mirrors.wait(within=0.1)
    assert "Nobody follows the log" in (nobody.value.hint or "")
    async with following(mirrors):
        await mirrors.wait()
        await mirrors.pause(["demo.accounts"])
        await database.execute("INSERT INTO demo.account VALUES ('c', 1)")
        await mirrors.wait(REST)
        with pytest.raises(NotApplied, match=r"^demo.accounts \(paused\) did not reach") as paused:
            await mirrors.wait(["demo.accounts"], within=0.1)
        assert "cdc resume" in (paused.value.hint or "")


@pytest.mark.conforms("S1-152")
async def test_what_keeps_all_mirrors_from_going_on_is_on_record_until_they_do(
    mirrors: Mirrors, database: Database, columnar: Columnar
) -> None:
    running = asyncio.create_task(mirrors.capture().run(asyncio.Event()))
    await mirrors.wait()
    await columnar.execute("RENAME TABLE strata__cdc_position TO aside")
    await database.execute("INSERT INTO demo.account VALUES ('c', 1)")
    with pytest.raises(ColumnarUndefined):
        await asyncio.wait_for(running, 20)
    await columnar.execute("RENAME TABLE aside TO strata__cdc_position")
    for one in (await mirrors.status()).mirrors:
        assert one.state == "streaming"
        assert "strata__cdc_position" in one.error
    with pytest.raises(NotApplied, match=r"demo.accounts \(streaming: .*strata__cdc_position"):
        await mirrors.wait(within=0.1)
    async with following(mirrors):
        await agree(mirrors)
    assert {one.error for one in (await mirrors.status()).mirrors} == {""}


@pytest.mark.conforms("S1-145", "S1-146")
async def test_transactions_of_every_shape_arrive_as_they_ended(mirrors: Mirrors, database: Database) -> None:
    emptied = "TRUNCATE demo.account, demo.entry, demo.tick"
    async with following(mirrors):
        await mirrors.wait()
        async with database.session() as session:
            await session.execute("SET session_replication_role = replica")
            await session.execute("INSERT INTO demo.account VALUES ('replica', 1)")
            await session.execute("SET session_replication_role = origin")
            await session.execute("INSERT INTO demo.entry (account, id, units) VALUES ('replica', 1, 1)")
            await agree(mirrors)
            for statement in (
                "BEGIN", "INSERT INTO demo.account VALUES ('before', 1)", "SAVEPOINT x", emptied, "ROLLBACK TO x",
                "INSERT INTO demo.account VALUES ('between', 1)", "SAVEPOINT y", emptied, "INSERT INTO demo.account VALUES ('after', 1)",
                "RELEASE y", "COMMIT",
            ):  # fmt: skip
                await session.execute(statement)  # type: ignore[call-overload]
        await agree(mirrors)
        assert {found.mirror_rows for found in await mirrors.reconcile()} == {0, 1}


@pytest.mark.parametrize(
    ("before", "now", "keeps"),
    [
        ("numeric(20,2)", "numeric(20,1)", False),
        ("numeric(20,2)", "numeric(30,2)", True),
        ("numeric(20,2)", "numeric(22,4)", True),
        ("numeric(20,2)", "numeric", True),
        ("numeric", "numeric(20,2)", False),
        ("text", "character varying(60)", False),
        ("character varying(20)", "character varying(60)", True),
        ("character varying(20)", "text", True),
        ("integer", "bigint", False),
        ("timestamp(0) with time zone", "timestamp with time zone", False),
        ("numeric(20,2)[]", "numeric(20,2)", False),
    ],
)
def test_changes_of_a_type_that_keep_every_value(before: str, now: str, keeps: bool) -> None:
    assert keeps_values(before, now) == keeps


def test_an_origin_stays_the_same_with_columns_that_come_and_go() -> None:
    number, note = OriginColumn(1, 20, -1, "bigint"), OriginColumn(2, 25, -1, "text")
    kept = Origin(7, 8, {"number": number, "note": note})
    assert judge_origin("demo.x", kept, Origin(7, 8, {"number": number, "more": OriginColumn(3, 25, -1, "text")})) is None
    later = kept.merged(Origin(7, 8, {"number": number}))
    found = judge_origin("demo.x", later, Origin(7, 8, {"number": number, "note": OriginColumn(4, 25, -1, "text")}))
    assert found is not None
    assert "'note' was dropped and made anew" in found.message
    assert judge_origin("demo.x", kept, Origin(7, 9, kept.columns)) is not None
    assert judge_origin("demo.x", kept, None) is not None
