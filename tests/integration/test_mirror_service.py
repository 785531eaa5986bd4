"""Mirrors in service: one process follows, retention waits for it, and whatever befalls the slot is noticed and bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest

from chainstrata.cdc import Mirrors, State
from chainstrata.cdc import slot as slots
from chainstrata.cdc.errors import DatasetStopped
from chainstrata.cdc.mirror import MirrorSink
from chainstrata.cdc.sink import Position
from chainstrata.config import load_config
from chainstrata.engines.clickhouse import Columnar
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.partitioning import Span
from chainstrata.engines.postgres.waiting import happened
from chainstrata.engines.storage import LocalStorage
from chainstrata.model import Catalog, Mirror
from chainstrata.node.cdc import CaptureService, MirrorNeeds, MirrorsBehind, find_trouble
from chainstrata.retention import Leaving, Options, Retention
from tests.fixtures.mirrored import NOW, QUICK, following, mirrored, mirrored_catalog, show

TICK = "INSERT INTO demo.tick VALUES (%(coin)s, %(at)s, 1)"


async def until(holds: Callable[[], Awaitable[Any]], within: float = 20.0) -> None:
    deadline = monotonic() + within
    while not await holds():
        assert monotonic() < deadline
        await happened(asyncio.Event(), 0.02)


async def state_of(mirrors: Mirrors, name: str) -> str:
    [found] = (await mirrors.status([name])).mirrors
    return found.state


async def test_one_service_follows_and_another_takes_over(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:

        @asynccontextmanager
        async def opened() -> Any:
            yield mirrors

        stops = [asyncio.Event(), asyncio.Event()]
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(CaptureService(opened).run(stop)) for stop in stops]
            await database.execute("INSERT INTO demo.account VALUES ('one', 1)")
            await mirrors.wait()
            locks = "SELECT count(*) FILTER (WHERE granted) FROM pg_locks WHERE locktype = 'advisory' AND database = %(oid)s"
            assert await database.fetch_value(locks, {"oid": await database.fetch_value(slots.QUERIES.database_number)}) == 1
            assert (await mirrors.status()).running
            for stop, task in zip(stops, running, strict=True):
                stop.set()
                await asyncio.wait([task], timeout=20)
                if task is running[0]:
                    await database.execute("INSERT INTO demo.account VALUES ('two', 2)")
                    await mirrors.wait()
        assert [row["name"] for row in await show(columnar, "demo__accounts")] == ["one", "two"]
        assert not (await mirrors.status()).running


async def test_rows_stay_until_their_mirror_has_them(database: Database, columnar: Columnar, tmp_path: Path) -> None:
    async with mirrored(database, columnar) as mirrors:
        catalog = mirrored_catalog()
        needs = MirrorNeeds(database, catalog)
        storage = LocalStorage(tmp_path / "archive")
        retention = Retention(database, catalog, storage, dependants=[needs], options=Options(release_wait=0.1))
        later = NOW + timedelta(days=6)
        await database.execute(TICK, {"coin": "btc", "at": NOW})
        leaving = Leaving("demo.ticks", Span(NOW - timedelta(days=1), NOW))
        assert needs.concerns("demo.ticks")
        assert not needs.concerns("demo.nothing")
        # What was never mirrored is waited for by nobody.
        assert await needs.blocks(leaving) is None
        async with following(mirrors):
            await mirrors.wait()
            assert await needs.blocks(leaving) is None
            await mirrors.pause(["demo.ticks"])
            assert await needs.blocks(leaving) == "it is paused"
            async with database.transaction() as connection:
                with pytest.raises(MirrorsBehind, match=r"demo\.ticks: it is paused"):
                    await needs.let_go(connection, leaving)
            kept = await retention.run(["demo.ticks"], now=later)
            assert {"mirror: it is paused" in str(one) for one in kept.blocked} == {True}
            assert await database.fetch_value("SELECT count(*) FROM demo.tick") == 1
            await mirrors.resume(["demo.ticks"])
            await mirrors.wait()
            behind = replace(leaving, sealed_lsn="FFFFFF/0")
            assert "the rows were sealed at FFFFFF/0" in str(await needs.blocks(behind))
            # What makes the log silent is seen at once, before whoever follows it looks again.
            await database.execute("ALTER PUBLICATION chainstrata DROP TABLE demo.tick")
            assert "not published any more" in str(await needs.blocks(leaving))
            await database.execute("ALTER PUBLICATION chainstrata ADD TABLE demo.tick")
            assert "changes of that time are missing" in str(await needs.blocks(leaving))
            async with database.transaction() as connection:
                with pytest.raises(MirrorsBehind, match="changes of that time are missing"):
                    await needs.let_go(connection, leaving)
            await mirrors.resync(["demo.ticks"])
            await mirrors.wait()
            assert await needs.blocks(leaving) is None

            async def gone() -> bool:
                outcome = await retention.run(["demo.ticks"], now=later)
                return not outcome.blocked

            await until(gone)
        assert await database.fetch_value("SELECT count(*) FROM demo.tick") == 0
        assert len(await show(columnar, "demo__ticks")) == 1


@pytest.mark.conforms("S1-155")
async def test_what_waits_too_long_is_given_up_before_the_disk_fills(database: Database, columnar: Columnar) -> None:
    options = replace(QUICK, most_kept_bytes=256 * 1024)
    async with mirrored(database, columnar, options) as mirrors, following(mirrors):
        await mirrors.wait()
        await mirrors.pause(["demo.accounts"])
        await database.execute("CREATE TABLE public.noise (content text)")

        async def given_up() -> bool:
            await database.execute("INSERT INTO noise SELECT repeat(md5(n::text), 10) FROM generate_series(1, 500) n")
            return await state_of(mirrors, "demo.accounts") == State.LOST

        await until(given_up)
        with pytest.raises(DatasetStopped, match="grew beyond 0 MB and was let go"):
            await mirrors.wait(["demo.accounts"])
        trouble = await find_trouble(database, load_config({}, environment={}))
        assert [(one.code, one.object) for one in trouble] == [("mirror_lost", "demo.accounts")]
        assert "cdc resync demo.accounts" in trouble[0].hint
        await database.execute(TICK, {"coin": "btc", "at": NOW})
        await mirrors.wait(["demo.ticks"])
        await database.execute("INSERT INTO demo.account VALUES ('a', 1)")
        await mirrors.resync(["demo.accounts"])
        await mirrors.wait()
        assert [row["name"] for row in await show(columnar, "demo__accounts")] == ["a"]


@pytest.mark.conforms("S1-155")
async def test_a_slot_the_server_gave_up_is_made_anew_and_its_datasets_are_copied(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:
        async with following(mirrors):
            await database.execute("INSERT INTO demo.account VALUES ('a', 1)")
            await mirrors.wait()
        async with await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as connection:
            await connection.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
            await connection.execute("SELECT pg_reload_conf()")
            try:
                await connection.execute("INSERT INTO demo.account VALUES ('b', 2)")

                async def given_up() -> bool:
                    await connection.execute("SELECT pg_switch_wal()")
                    await connection.execute("CHECKPOINT")
                    return (await mirrors.status()).slot_status == "lost"

                await until(given_up)
            finally:
                await connection.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
                await connection.execute("SELECT pg_reload_conf()")
        async with following(mirrors):
            with pytest.raises(DatasetStopped, match="the server gave it up"):
                await mirrors.wait(["demo.accounts"])
            await mirrors.resync(list(mirrors.names))
            await mirrors.wait()
            assert [row["name"] for row in await show(columnar, "demo__accounts")] == ["a", "b"]
            assert (await mirrors.status()).slot_status != "lost"


@pytest.mark.conforms("S1-155")
@pytest.mark.parametrize(
    ("ahead", "system", "problem"), [(1 << 40, "", "this server's log only has it up to"), (0, "4711", "made from another server")]
)
async def test_a_mirror_that_is_ahead_of_its_server_is_not_gone_on_with(
    database: Database, columnar: Columnar, ahead: int, system: str, problem: str
) -> None:
    async with mirrored(database, columnar) as mirrors:
        async with following(mirrors):
            await mirrors.wait()
        # As after another server took over that had not got everything.
        position = await mirrors.position("demo.accounts")
        assert position is not None
        sink = MirrorSink(columnar)
        await sink.open()
        await sink.commit([Position("demo.accounts", position.lsn + ahead, system or position.system, position.timeline)])
        async with following(mirrors):

            async def noticed() -> bool:
                return await state_of(mirrors, "demo.accounts") == State.LOST

            await until(noticed)
            with pytest.raises(DatasetStopped, match=problem):
                await mirrors.wait(["demo.accounts"])
            await mirrors.wait(["demo.ticks"])
            await mirrors.resync(["demo.accounts"])
            await mirrors.wait()


@pytest.mark.oldest
async def test_a_mirror_is_without_generated_columns_that_a_server_does_not_send(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:
        async with following(mirrors):
            await mirrors.wait()
            await database.execute("INSERT INTO demo.account VALUES ('a', 1)")
            if database.server_version >= 180_000:
                # As servers before 18 do, which cannot do otherwise: one of those has taken the place of this.
                await database.execute("ALTER PUBLICATION chainstrata SET (publish_generated_columns = none)")
                await database.execute("INSERT INTO demo.entry (account, id, units) VALUES ('a', 1, 1)")
                with pytest.raises(DatasetStopped, match="generates the columns twice and does not send them") as stopped:
                    await mirrors.wait()
                assert "Mirror(columns=…)" in stopped.value.hint
                await mirrors.wait(["demo.accounts"])
                await mirrors.resync(["demo.entries"])
            await mirrors.wait()
            await database.execute("INSERT INTO demo.entry (account, id, units) VALUES ('a', 2, 1)")
            await mirrors.wait()
            assert [row.get("twice", "left out") for row in await show(columnar, "demo__entries")][-1] == "left out"
            assert [one for one in await mirrors.reconcile() if not one.agrees] == []
        if database.server_version >= 180_000:
            async with following(mirrors):
                # Now it is the newer one: what is published is brought in line, and old rows have no value for what comes.
                await mirrors.wait(["demo.accounts"])
                await database.execute("INSERT INTO demo.entry (account, id, units) VALUES ('a', 3, 1)")
                with pytest.raises(DatasetStopped, match="'twice' has values in rows that are mirrored already"):
                    await mirrors.wait()
                await mirrors.resync(["demo.entries"])
                await mirrors.wait()
                assert [row["twice"] for row in await show(columnar, "demo__entries")] == [2, 4, 6]


@pytest.mark.conforms("S1-160")
async def test_only_columns_that_are_declared_approximate_may_differ_and_only_by_so_much(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:
        [system, demo] = mirrored_catalog().packs
        near = Mirror(["account", "id"], approximate=[("ratio", 0.01)])
        declared = [replace(one, mirror=near) if one.name == "entries" else one for one in demo.datasets]
        tolerant = Mirrors(database, Catalog([system, replace(demo, datasets=declared)]), columnar, QUICK)
        async with following(mirrors):
            await database.execute("INSERT INTO demo.account VALUES ('a', 1)")
            await database.execute("INSERT INTO demo.entry (account, id, units, ratio) VALUES ('a', 1, 1, 100)")
            await mirrors.wait()
            change = "ALTER TABLE demo__entries__rows UPDATE {} WHERE id = 1 SETTINGS mutations_sync = 2"
            for column, both in (
                ("ratio = 100.5", (False, True)),
                ("ratio = 102", (False, False)),
                ("ratio = 100, units = 2", (False, False)),
            ):
                await columnar.execute(change.format(column))
                found = [(await some.reconcile(["demo.entries"]))[0].agrees for some in (mirrors, tolerant)]
                assert (column, *found) == (column, *both)


async def test_a_quiet_database_keeps_no_log_back(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors, following(mirrors):
        await mirrors.wait()
        await database.execute("CREATE TABLE public.noise (content text)")
        await database.execute("INSERT INTO noise SELECT repeat(md5(n::text), 10) FROM generate_series(1, 20000) n")
        before = await database.fetch_value("SELECT pg_current_wal_insert_lsn()::text")
        confirmed = "SELECT bool_and(confirmed_flush_lsn >= %(lsn)s::pg_lsn) FROM pg_replication_slots WHERE database = current_database()"

        async def let_go() -> bool:
            return bool(await database.fetch_value(confirmed, {"lsn": before}))

        await until(let_go)
