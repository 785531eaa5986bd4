"""Mirrors follow their sources: the copy, every kind of change, waits and restarts, what stops one and leaves the others."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

import psycopg
import pytest

from chainstrata.cdc import Mirrors
from chainstrata.cdc.assemble import HEARTBEAT
from chainstrata.cdc.errors import DatasetStopped, NotApplied
from chainstrata.engines.clickhouse import Columnar
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.waiting import happened
from tests.fixtures.mirrored import QUICK, following, mirrored, show, slots

ENTRY = """
INSERT INTO demo.entry (account, id, units, nonce, price, fee, ratio, booked_at, day, reference, final, raw, lasted, tags, detail, memo)
SELECT 'a', n, 2::numeric ^ 256 - n, 18446744073709551615 - n, n * 1.000000000000000000000000001, -n * 0.000000000000000001, n / 3.0,
    '2026-03-01 12:00:00.123456+00'::timestamptz + n * interval '1 s', DATE '1999-12-31' + n, gen_random_uuid(), n %% 2 = 0,
    decode(md5(n::text), 'hex'), make_interval(months => n, days => -n, secs => n * 1.5), ARRAY['x', 'y ' || n], '{"b": [1, null], "a": "ä"}',
    CASE WHEN n %% 5 = 0 THEN NULL ELSE 'memo ' || n END
FROM generate_series(%(first)s::int, %(last)s) AS n
"""
VERSIONED = (("name", "accounts__rows"), ("account", "entries__rows"), ("coin", "ticks__rows"))
LONG = "SELECT string_agg(md5(n::text), '') FROM generate_series(1, 400) n"


async def waits(mirrors: Mirrors, name: str) -> None:
    """Wait until a mirror that was paused does not go on."""
    others = [other for other in mirrors.names if other != name]
    while True:
        reached = await mirrors.wait(others)
        position = await mirrors.position(name)
        if position is not None and position.lsn < reached:
            return


@pytest.mark.conforms("S1-149", "S1-157", "S1-158", "S1-159")
@pytest.mark.oldest
async def test_a_mirror_has_what_was_there_and_what_comes(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:
        await database.execute("INSERT INTO demo.account VALUES ('a', 5), ('b', NULL)")
        await database.execute(ENTRY, {"first": 1, "last": 1500})
        await database.execute(
            "INSERT INTO demo.tick SELECT 'btc', '2026-03-20'::timestamptz + n * interval '1 min', n FROM generate_series(0, 99) n"
        )
        await database.execute("ANALYZE")
        async with following(mirrors):
            await mirrors.wait()
            assert [found for found in await mirrors.reconcile() if not found.agrees] == []
            await database.execute(ENTRY, {"first": 2001, "last": 2100})
            await database.execute("UPDATE demo.entry SET memo = 'changed' WHERE id <= 10")
            await database.execute("UPDATE demo.entry SET id = -id WHERE id BETWEEN 11 AND 20")
            await database.execute("DELETE FROM demo.entry WHERE id BETWEEN 21 AND 30")
            await database.execute("UPDATE demo.tick SET ts = ts + interval '1 day' WHERE price < 10")
            await mirrors.wait()
            found = {one.dataset: one for one in await mirrors.reconcile()}
            assert [one for one in found.values() if not one.agrees] == []
            assert found["demo.entries"].source_rows == found["demo.entries"].mirror_rows == 1590
            assert found["demo.ticks"].mirror_rows == 100
            status = await mirrors.status()
            assert status.running
            assert {one.state for one in status.mirrors} == {"streaming"}


async def test_values_that_did_not_change_and_were_not_sent_stay(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:
        await database.execute("INSERT INTO demo.account VALUES ('a', 5)")
        await database.execute(f"INSERT INTO demo.entry (account, id, units, memo) VALUES ('a', 1, 1, ({LONG})), ('a', 2, 1, ({LONG}))")
        async with following(mirrors):
            await mirrors.wait()
            await database.execute("UPDATE demo.entry SET units = 2")
            await mirrors.wait()
            async with database.transaction() as connection:
                await connection.execute(f"INSERT INTO demo.entry (account, id, units, memo) VALUES ('a', 3, 1, ({LONG}))")
                await connection.execute("UPDATE demo.entry SET units = 3")
                await connection.execute("UPDATE demo.entry SET id = 4 WHERE id = 3")
                await connection.execute("UPDATE demo.entry SET id = 5 WHERE id = 2")
            await mirrors.wait()
            assert [one for one in await mirrors.reconcile() if not one.agrees] == []
            rows = await show(columnar, "demo__entries")
            assert [(row["id"], row["units"], len(row["memo"])) for row in rows] == [(1, 3, 12800), (4, 3, 12800), (5, 3, 12800)]


async def test_a_row_takes_what_was_not_sent_from_where_it_was_whoever_comes_there(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:
        await database.execute("INSERT INTO demo.account VALUES ('a', 5)")
        insert = "INSERT INTO demo.entry (account, id, units, memo, raw) VALUES ('a', %(id)s, 1, {}, {})"
        await database.execute(insert.format(f"'1' || ({LONG})", "NULL"), {"id": 1})
        await database.execute(insert.format(f"'2' || ({LONG})", f"convert_to('2' || ({LONG}), 'UTF8')"), {"id": 2})
        await database.execute(insert.format(f"'3' || ({LONG})", "NULL"), {"id": 3})
        async with following(mirrors):
            await mirrors.wait()
            async with database.transaction() as connection:
                await connection.execute("UPDATE demo.entry SET id = 10 WHERE id = 1")
                await connection.execute("UPDATE demo.entry SET id = 1 WHERE id = 2")
                await connection.execute("UPDATE demo.entry SET id = 2 WHERE id = 3")
            await mirrors.wait()
            rows = await show(columnar, "demo__entries")
            assert [(row["id"], row["memo"][0]) for row in rows] == [(1, "2"), (2, "3"), (10, "1")]
            assert [one for one in await mirrors.reconcile() if not one.agrees] == []


@pytest.mark.conforms("S1-146", "S1-162")
async def test_a_transaction_is_in_all_mirrors_under_one_position_or_in_none(database: Database, columnar: Columnar) -> None:
    versions = " UNION ALL ".join(f"SELECT {key} AS key, _version FROM demo__{one} FINAL" for key, one in VERSIONED)
    async with mirrored(database, columnar) as mirrors, following(mirrors):
        await mirrors.wait()
        tables = await database.fetch_all("SELECT tablename FROM pg_publication_tables WHERE pubname = 'chainstrata' ORDER BY 1")
        assert [row.tablename for row in tables] == ["account", "entry", "tick"]
        assert await database.fetch_value("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 1
        for name, fate in (("first", "commit"), ("undone", "roll back"), ("second", "commit")):
            with suppress(ZeroDivisionError):
                async with database.transaction() as connection:
                    await connection.execute("INSERT INTO demo.account VALUES (%(name)s, 1)", {"name": name})
                    await connection.execute("INSERT INTO demo.entry (account, id, units) VALUES (%(name)s, 1, 1)", {"name": name})
                    with suppress(ZeroDivisionError):
                        async with connection.savepoint():
                            await connection.execute("INSERT INTO demo.tick VALUES ('partly', '2026-03-20', 1)")
                            raise ZeroDivisionError
                    await connection.execute("INSERT INTO demo.tick VALUES (%(name)s, '2026-03-20', 1)", {"name": name})
                    if fate == "roll back":
                        raise ZeroDivisionError
        await mirrors.wait()
        found: dict[int, list[str]] = {}
        for row in await columnar.query_rows(f"SELECT key, _version FROM ({versions}) ORDER BY _version"):
            found.setdefault(row[1], []).append(row[0])
        assert list(found.values()) == [["first"] * 3, ["second"] * 3]


@pytest.mark.conforms("S1-145")
async def test_a_truncate_empties_the_mirror_and_what_follows_in_it_stays(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:
        await database.execute("INSERT INTO demo.account SELECT 'n' || n, n FROM generate_series(1, 50) n")
        async with following(mirrors):
            await mirrors.wait()
            async with database.transaction() as connection:
                await connection.execute("INSERT INTO demo.account VALUES ('before', 1)")
                await connection.execute("TRUNCATE demo.account CASCADE")
                await connection.execute("INSERT INTO demo.account VALUES ('after', 1), ('n1', 2)")
            await mirrors.wait()
            assert [row["name"] for row in await show(columnar, "demo__accounts")] == ["after", "n1"]
            assert [one for one in await mirrors.reconcile() if not one.agrees] == []


async def test_what_was_missed_while_nobody_followed_or_it_was_paused_comes_later(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:
        async with following(mirrors):
            await mirrors.wait()
        await database.execute("INSERT INTO demo.account VALUES ('away', 1)")
        async with following(mirrors):
            await mirrors.wait()
            assert await mirrors.pause(["demo.accounts"]) == ["demo.accounts"]
            await waits(mirrors, "demo.accounts")
            await database.execute("INSERT INTO demo.account VALUES ('paused', 1)")
            await database.execute("INSERT INTO demo.tick VALUES ('btc', '2026-03-20', 1)")
            await mirrors.wait(["demo.ticks"])
            assert [row["name"] for row in await show(columnar, "demo__accounts")] == ["away"]
            assert await mirrors.resume(["demo.accounts"]) == ["demo.accounts"]
            await mirrors.wait()
            assert [row["name"] for row in await show(columnar, "demo__accounts")] == ["away", "paused"]
            assert len(await show(columnar, "demo__ticks")) == 1


async def test_what_is_written_right_after_a_copy_is_not_forgotten(database: Database, columnar: Columnar) -> None:
    options = replace(QUICK, batch_delay=0.001, heartbeat=0.001)
    async with mirrored(database, columnar, options) as mirrors, following(mirrors):
        for number in range(12):
            await mirrors.resync(["demo.accounts"])
            await mirrors.wait(["demo.accounts"])
            await database.execute("INSERT INTO demo.account VALUES (%s, 1)", (str(number),))
            # What makes the reader tell the server how far it is, before it looks at what became of the copy.
            for _ in range(20):
                await database.execute(slots.QUERIES.write_heartbeat, {"prefix": HEARTBEAT})
            await mirrors.wait(["demo.accounts"])
            assert len(await show(columnar, "demo__accounts")) == number + 1


async def test_a_nullable_column_flows_through_and_another_stops_its_dataset_alone(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors, following(mirrors):
        await database.execute("INSERT INTO demo.account VALUES ('a', 1)")
        await mirrors.wait()
        await database.execute("ALTER TABLE demo.account ADD COLUMN note numeric(10, 2)")
        await database.execute("INSERT INTO demo.account VALUES ('b', 1, 2.5)")
        await mirrors.wait()
        assert [row["note"] for row in await show(columnar, "demo__accounts")] == [None, Decimal("2.5")]
        await database.execute("ALTER TABLE demo.account ADD COLUMN kind text NOT NULL DEFAULT 'old'")
        await database.execute("INSERT INTO demo.account VALUES ('c', 1, 2.5, 'new')")
        await database.execute("INSERT INTO demo.tick VALUES ('btc', '2026-03-20', 1)")
        await mirrors.wait(["demo.ticks"])
        with pytest.raises(DatasetStopped, match="'kind' has values in rows that are mirrored already"):
            await mirrors.wait(["demo.accounts"])
        await mirrors.resync(["demo.accounts"])
        await mirrors.wait()
        assert [row["kind"] for row in await show(columnar, "demo__accounts")] == ["old", "old", "new"]
        await database.execute("ALTER TABLE demo.account DROP COLUMN limit_units")
        await database.execute("INSERT INTO demo.account VALUES ('d', 1, 'newer')")
        with pytest.raises(DatasetStopped, match="the mirror has the columns limit_units"):
            await mirrors.wait(["demo.accounts"])


async def test_rows_from_before_a_column_was_added_come_after_it_is_in_the_mirror(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors, following(mirrors):
        await mirrors.wait()
        await mirrors.pause(["demo.accounts"])
        await waits(mirrors, "demo.accounts")
        await database.execute("INSERT INTO demo.account VALUES ('before', 1)")
        await database.execute("ALTER TABLE demo.account ADD COLUMN note text")
        await database.execute("INSERT INTO demo.account VALUES ('after', 1, 'noted')")
        # Whoever looks at the mirror first brings it to the shape the table has now.
        with pytest.raises(NotApplied):
            await mirrors.reconcile(["demo.accounts"], within=0.1)
        await mirrors.resume(["demo.accounts"])
        await mirrors.wait()
        assert [(row["name"], row["note"]) for row in await show(columnar, "demo__accounts")] == [("after", "noted"), ("before", None)]


async def test_a_table_that_is_rewritten_while_it_is_copied_is_copied_anew(database: Database, columnar: Columnar) -> None:
    options = replace(QUICK, copy_rows=20, copy_workers=1)
    async with mirrored(database, columnar, options) as mirrors:
        await database.execute("INSERT INTO demo.account SELECT 'n' || n, n FROM generate_series(1, 300) n")
        await database.execute("ANALYZE demo.account")
        async with following(mirrors):
            async with asyncio.timeout(30):
                while {one.state for one in (await mirrors.status(["demo.accounts"])).mirrors} != {"copying"}:
                    await happened(asyncio.Event(), 0.01)
            # A domain with a condition: every row is written anew, and the copy's snapshot finds none of them.
            await database.execute("ALTER TABLE demo.account ADD COLUMN more strata.uint256")
            await mirrors.wait(within=90)
            assert len(await show(columnar, "demo__accounts")) == 300
            assert [one for one in await mirrors.reconcile() if not one.agrees] == []


@pytest.mark.conforms("S1-148", "S1-152")
async def test_a_value_the_mirror_cannot_hold_is_put_aside_and_goes_in_once_mended(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors, following(mirrors):
        await mirrors.wait()
        await database.execute("INSERT INTO demo.tick VALUES ('bad', '2026-03-20', 'NaN'), ('good', '2026-03-20', 1)")
        await mirrors.wait()
        assert [row["coin"] for row in await show(columnar, "demo__ticks")] == ["good"]
        [letter] = await mirrors.list_dead()
        assert (letter.dataset, letter.reason, letter.row_key["coin"]) == ("demo.ticks", "bad_value", "bad")
        assert "price" in letter.detail
        assert letter.content["price"] == "NaN"
        assert (await mirrors.replay()).held == 1
        await mirrors.pause(["demo.ticks"])
        await waits(mirrors, "demo.ticks")
        await database.execute("UPDATE demo.tick SET price = 2 WHERE coin = 'bad'")
        done = await mirrors.replay()
        assert (done.replayed, done.held) == (1, 0)
        assert [row["coin"] for row in await show(columnar, "demo__ticks")] == ["bad", "good"]


@pytest.mark.conforms("S1-158", "S1-159", "S1-161")
async def test_reconcile_names_every_row_that_differs_and_mends_it(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:
        await database.execute("INSERT INTO demo.account VALUES ('a', 1), ('b', 2), ('c', 3)")
        await database.execute(ENTRY, {"first": 1, "last": 300})
        async with following(mirrors):
            await mirrors.wait()
            await columnar.execute("ALTER TABLE demo__entries__rows DELETE WHERE id = 7 SETTINGS mutations_sync = 2")
            await columnar.execute("ALTER TABLE demo__entries__rows UPDATE units = 1 WHERE id = 8 SETTINGS mutations_sync = 2")
            await columnar.execute(
                "INSERT INTO demo__entries__rows (account, id, units, _version) SELECT 'z', 1, 1, max(_version) FROM demo__entries__rows"
            )
            [found] = await mirrors.reconcile(["demo.entries"])
            assert (found.missing_keys, found.different_keys, found.extra_keys) == (("a 7",), ("a 8",), ("z 1",))
            assert (found.missing, found.different, found.extra, found.orphaned) == (1, 1, 1, 1)
            assert found.orphaned_keys == ("z 1",)
            [mended] = await mirrors.reconcile(["demo.entries"], repair=True)
            assert mended.repaired == 3
            [after] = await mirrors.reconcile(["demo.entries"])
            assert after.agrees
            assert after.orphaned == 0


@pytest.mark.conforms("S1-155")
async def test_a_slot_that_is_gone_is_noticed_and_the_datasets_are_copied_anew(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:
        async with following(mirrors):
            await mirrors.wait()
        slot = (await mirrors.status()).slot
        await database.execute("INSERT INTO demo.account VALUES ('a', 1)")
        async with await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as connection:
            await connection.execute("SELECT pg_drop_replication_slot(%s)", [slot])
        async with following(mirrors):
            with pytest.raises(DatasetStopped, match="slot is gone"):
                await mirrors.wait()
            await mirrors.resync(list(mirrors.names))
            await mirrors.wait()
            assert [row["name"] for row in await show(columnar, "demo__accounts")] == ["a"]


async def test_partitions_that_leave_stay_in_the_mirror(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors, following(mirrors):
        await database.execute("INSERT INTO demo.tick VALUES ('btc', '2026-03-20', 1), ('btc', '2026-03-21', 2)")
        await mirrors.wait()
        [partition] = await database.fetch_all("SELECT DISTINCT tableoid::regclass::text AS name FROM demo.tick WHERE ts < '2026-03-21'")
        await database.execute(f"DROP TABLE {partition.name}")
        await mirrors.wait()
        [found] = await mirrors.reconcile(["demo.ticks"])
        assert found.agrees
        assert (found.departed, found.source_rows) == (1, 1)
        assert len(await show(columnar, "demo__ticks")) == 2
