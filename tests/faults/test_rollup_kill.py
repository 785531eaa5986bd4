"""Refreshing roll-ups, and letting rows go that they are made of, killed at each statement: no bucket is lost or counted twice."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo as libpq

from chainstrata import partitions
from chainstrata.engines.postgres import Database, EmbeddedPostgres
from chainstrata.rollups import Rollups
from tests.faults.test_time_kill import OPTIONS, copy_of, count_statements, everything, kill_server, kill_worker
from tests.fixtures.demo import create_demo, demo_catalog
from tests.fixtures.postgres import URL, MakeConfig, NewDatabase
from tests.fixtures.victim import NOW, work

FIRST = datetime(2026, 3, 11, tzinfo=NOW.tzinfo)


async def fill(conninfo: str) -> None:
    """Make two days that are due and one that is not, folded; then change, delete and add rows that are not folded yet."""
    catalog = demo_catalog()
    async with Database(conninfo, options=OPTIONS) as database:
        await create_demo(database, catalog)
        await partitions.apply(database, catalog, now=FIRST + timedelta(days=1))
        await database.execute("INSERT INTO demo.coins VALUES ('btc'), ('eth')")
        await database.execute(
            "INSERT INTO demo.prices SELECT id, ts, 1 FROM demo.coins, generate_series(%(first)s, %(last)s, interval '50 min') ts",
            {"first": FIRST, "last": FIRST + timedelta(days=2, hours=12)},
        )
        await Rollups(database, catalog).refresh()
        await database.execute("UPDATE demo.prices SET price = 2 WHERE extract(hour FROM ts) = 4")
        await database.execute("DELETE FROM demo.prices WHERE extract(hour FROM ts) = 5 AND coin_id = 'btc'")
        await database.execute("INSERT INTO demo.prices SELECT coin_id, ts + interval '1 min', 3 FROM demo.prices WHERE coin_id = 'eth'")


async def buckets(conninfo: str) -> list[Any]:
    """Every bucket as it is kept, and that none is behind or other than its rows, where these are there."""
    async with Database(conninfo, options=OPTIONS) as database:
        rollups = Rollups(database, demo_catalog())
        assert await rollups.verify() == []
        behind = await database.fetch_value("SELECT count(*) FROM demo.prices__dirty")
        assert behind == 0
        return await database.fetch_all("SELECT coin_id, bucket, samples, price_last, rows FROM demo.prices_hourly ORDER BY 1, 2")


async def check(what: str, conninfo: str, archive: Path, at: int, after: tuple[Any, Any]) -> None:
    rows, kept = after
    assert await everything(conninfo, archive) <= rows, f"cut short at statement {at}"
    await work(what, conninfo, archive)
    assert await everything(conninfo, archive) == rows, f"cut short at statement {at}"
    assert await buckets(conninfo) == kept, f"cut short at statement {at}"


async def sweep(
    conninfo: str, new_database: NewDatabase, path: Path, what: str, *, answered: bool, stride: int = 1, kills: int | None = None
) -> None:
    ready = await new_database()
    await fill(ready)
    name = str(libpq.conninfo_to_dict(ready)["dbname"])
    whole = await copy_of(conninfo, name)
    total = await count_statements(what, whole, path / "whole")
    after = (await everything(whole, path / "whole"), await buckets(whole))
    assert total > 5
    stride = total // kills if kills else stride
    for at in range(1 + stride // 2, total + 1, stride):
        own = await copy_of(conninfo, name)
        await kill_worker(what, own, path / f"at-{at}", at, answered)
        await check(what, own, path / f"at-{at}", at, after)


WHAT = pytest.mark.parametrize("what", ["rollups", "rolled retention"])


@pytest.mark.parametrize(("what", "kills"), [("rollups", 2), ("rolled retention", 1)])
async def test_a_worker_killed_at_a_few_statements(conninfo: str, new_database: NewDatabase, tmp_path: Path, what: str, kills: int) -> None:
    await sweep(conninfo, new_database, tmp_path, what, answered=True, kills=kills)


# Every kill is followed by a recovery, which takes seconds: minutes for all of them.
@pytest.mark.long
@WHAT
async def test_a_worker_killed_at_some_statements(conninfo: str, new_database: NewDatabase, tmp_path: Path, what: str) -> None:
    await sweep(conninfo, new_database, tmp_path, what, answered=True, stride=3 if what == "rollups" else 13)


@pytest.mark.long
@pytest.mark.timeout(3600)
@WHAT
@pytest.mark.parametrize("answered", [False, True], ids=["unheard", "unanswered"])
async def test_a_worker_killed_at_any_statement(
    conninfo: str, new_database: NewDatabase, tmp_path: Path, what: str, answered: bool
) -> None:
    await sweep(conninfo, new_database, tmp_path, what, answered=answered, stride=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(bool(URL), reason="a server was given: nothing embedded is killed")
@WHAT
async def test_a_server_killed_at_every_few_statements(make_config: MakeConfig, tmp_path: Path, what: str) -> None:
    total, at, after = 0, 2, (set[Any](), list[Any]())
    while total == 0 or at <= total:
        async with EmbeddedPostgres(make_config()) as server:
            if total == 0:
                async with await psycopg.AsyncConnection.connect(server.connect_to("postgres"), autocommit=True) as connection:
                    await connection.execute("CREATE DATABASE ready TEMPLATE template0")
                await fill(server.connect_to("ready"))
                whole = await copy_of(server.connect_to("postgres"), "ready")
                total = await count_statements(what, whole, tmp_path / "whole")
                after = (await everything(whole, tmp_path / "whole"), await buckets(whole))
                continue
            own = await copy_of(server.connect_to("postgres"), "ready")
            await kill_server(server, what, own, tmp_path / f"at-{at}", at)
            await check(what, own, tmp_path / f"at-{at}", at, after)
            at += 3
