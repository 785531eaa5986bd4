"""Partitions, retention, restores and replays, killed at each of their statements: nothing is lost, nothing is there twice."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo as libpq
from psycopg import sql

from chainstrata import partitions
from chainstrata.engines.postgres import Database, EmbeddedPostgres, PoolOptions, ServerState
from chainstrata.engines.postgres.partitioning import BEGINNING, END, Span
from chainstrata.engines.postgres.waiting import happened
from chainstrata.engines.storage import LocalStorage
from chainstrata.errors import ChainStrataError
from chainstrata.packs.strata.quarantine import Reason, Refused, add_rows
from chainstrata.retention.archive.reading import Question
from chainstrata.retention.archives import Archives
from tests.fixtures.demo import create_demo, demo_catalog
from tests.fixtures.lethal import LethalProxy
from tests.fixtures.postgres import URL, MakeConfig, NewDatabase
from tests.fixtures.victim import NOW, Victim, work

Rows = set[tuple[str, datetime]]
FIRST = datetime(2026, 3, 11, tzinfo=NOW.tzinfo)
OPTIONS = PoolOptions(min_size=1, max_size=4)


@pytest.fixture
async def ready(new_database: NewDatabase) -> str:
    """Give the name of a database to copy."""
    conninfo = await new_database()
    await fill(conninfo)
    return str(libpq.conninfo_to_dict(conninfo)["dbname"])


async def prepare(conninfo: str) -> str:
    """Make a database to copy on a server of the test's own, and return its name."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await connection.execute("CREATE DATABASE ready TEMPLATE template0")
    await fill(libpq.make_conninfo(conninfo, dbname="ready"))
    return "ready"


async def fill(conninfo: str) -> None:
    """Make two days that are due, one that is not, rows in each, and rows in quarantine."""
    catalog = demo_catalog()
    async with Database(conninfo, options=OPTIONS) as database:
        await create_demo(database, catalog)
        await partitions.apply(database, catalog, ["demo.prices"], now=FIRST + timedelta(days=1))
        await database.execute("INSERT INTO demo.coins VALUES ('btc'), ('eth')")
        await database.execute(
            "INSERT INTO demo.prices SELECT id, ts, 1 FROM demo.coins, generate_series(%(first)s, %(last)s, interval '3 hours') ts",
            {"first": FIRST, "last": FIRST + timedelta(days=2, hours=12)},
        )
        async with database.transaction() as connection:
            rows = [f'{{"coin_id": "btc", "ts": "{(NOW + timedelta(hours=hour)).isoformat()}", "price": 1}}' for hour in range(10)]
            await add_rows(connection, "demo.prices", [Refused(Reason.NO_PARTITION, "", row, None, NOW) for row in rows])


async def everything(conninfo: str, archive: Path) -> Rows:
    """Every price wherever it is: in its table or answered for by an archive. A row in both would be there twice."""
    async with Database(conninfo, options=OPTIONS) as database:
        rows = [(row.coin_id, row.ts) for row in await database.fetch_all("SELECT coin_id, ts FROM demo.prices")]
        archives = Archives(database, demo_catalog(), LocalStorage(archive))
        async for batch in archives.read("demo.prices", Question(Span(BEGINNING, END))):
            rows += [(row["coin_id"], row["ts"]) for row in batch.to_pylist()]
    assert len(rows) == len(set(rows)), "a row is there twice"
    return set(rows)


async def finished(conninfo: str, archive: Path) -> tuple[list[str], list[str], list[str]]:
    """What there is in the end: partitions, archives on record, files."""
    async with Database(conninfo, options=OPTIONS) as database:
        tables = await database.fetch_all(
            "SELECT relname FROM pg_class WHERE relnamespace = 'demo'::regnamespace AND relkind = 'r' ORDER BY 1"
        )
        archives = Archives(database, demo_catalog(), LocalStorage(archive))
        verified = await archives.verify()
        assert verified.unknown == ()
        assert all(not check.differences for check in verified.checked)
        on_record = await database.fetch_all("SELECT state FROM strata.archive ORDER BY lower_bound")
        open_departures = await database.fetch_value("SELECT count(*) FROM strata.departure WHERE dropped_at IS NULL")
    assert open_departures == 0
    files = sorted(path.name for path in archive.rglob("*") if path.is_file())
    return [row.relname for row in tables], [row.state for row in on_record], files


async def copy_of(conninfo: str, name: str) -> str:
    """Make a fresh copy of the prepared database and return its conninfo."""
    own = f"{name}_cut"
    async with await psycopg.AsyncConnection.connect(libpq.make_conninfo(conninfo, dbname="postgres"), autocommit=True) as connection:
        await connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(own)))
        await connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(own), sql.Identifier(name)))
    return libpq.make_conninfo(conninfo, dbname=own)


async def come_before(what: str, conninfo: str, archive: Path) -> None:
    """Do what has to be done before the work can be."""
    if what == "restore":
        await work("retention", conninfo, archive)


async def count_statements(what: str, conninfo: str, archive: Path) -> int:
    async def never() -> None:
        raise AssertionError("nothing was to be struck")

    async with LethalProxy(conninfo, 0, never) as proxy:
        await work(what, proxy.conninfo, archive)
        return proxy.seen


Strike = Callable[[str, str, Path, int, bool], Awaitable[bool]]


async def kill_worker(what: str, conninfo: str, archive: Path, at: int, answered: bool) -> bool:
    """Do the work in a process of its own and kill that at a statement; return whether it came so far."""
    victims: list[Victim] = []

    async def strike() -> None:
        await victims[0].kill()

    async with LethalProxy(conninfo, at, strike, answered=answered) as proxy:
        victims.append(Victim(what, proxy.conninfo, archive))
        victims[0].start()
        code = await victims[0].wait()
    assert (code == -signal.SIGKILL) == proxy.struck
    return proxy.struck


async def sweep(
    prepared: str, name: str, path: Path, what: str, strike: Strike, *, answered: bool, stride: int = 1, kills: int | None = None
) -> None:
    """Do the work once whole. Then, on copies, cut it short at every `stride`-th statement, or at so many, and do it again."""
    whole = await copy_of(prepared, name)
    await come_before(what, whole, path / "whole")
    before = await everything(whole, path / "whole")
    total = await count_statements(what, whole, path / "whole")
    after = await everything(whole, path / "whole")
    wanted = await finished(whole, path / "whole")
    assert total > 10
    stride = total // kills if kills else stride
    for at in range(1 + stride // 2, total + 1, stride):
        archive = path / f"at-{at}"
        own = await copy_of(prepared, name)
        await come_before(what, own, archive)
        await strike(what, own, archive, at, answered)
        assert before <= await everything(own, archive) <= after, f"cut short at statement {at}"
        await work(what, own, archive)
        assert await everything(own, archive) == after, f"cut short at statement {at}"
        assert await finished(own, archive) == wanted, f"cut short at statement {at}"


WHAT = pytest.mark.parametrize("what", ["partitions", "retention", "restore", "replay"])
WHEN = pytest.mark.parametrize("answered", [False, True], ids=["unheard", "unanswered"])


async def test_retention_killed_at_a_few_statements(conninfo: str, ready: str, tmp_path: Path) -> None:
    await sweep(conninfo, ready, tmp_path, "retention", kill_worker, answered=True, kills=2)


# Every kill is followed by a recovery, which takes seconds: minutes for all of them.
@pytest.mark.long
@WHEN
@WHAT
async def test_a_worker_killed_at_some_statements(conninfo: str, ready: str, tmp_path: Path, what: str, answered: bool) -> None:
    await sweep(conninfo, ready, tmp_path, what, kill_worker, answered=answered, stride=11 if what in {"retention", "restore"} else 13)


@pytest.mark.long
@pytest.mark.timeout(3600)
@WHEN
@WHAT
async def test_a_worker_killed_at_any_statement(conninfo: str, ready: str, tmp_path: Path, what: str, answered: bool) -> None:
    await sweep(conninfo, ready, tmp_path, what, kill_worker, answered=answered, stride=1)


@pytest.mark.long
@pytest.mark.skipif(bool(URL), reason="a server was given: nothing embedded is killed")
@WHAT
async def test_a_server_killed_at_some_statements(make_config: MakeConfig, tmp_path: Path, what: str) -> None:
    await sweep_server(make_config, tmp_path, what, stride=19)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(bool(URL), reason="a server was given: nothing embedded is killed")
@WHAT
async def test_a_server_killed_at_any_statement(make_config: MakeConfig, tmp_path: Path, what: str) -> None:
    await sweep_server(make_config, tmp_path, what, stride=1)


async def kill_server(server: EmbeddedPostgres, what: str, conninfo: str, archive: Path, at: int) -> None:
    """Do the work and kill the server at a statement; return once it runs again."""

    async def kill() -> None:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)

    async with LethalProxy(conninfo, at, kill, answered=True) as proxy:
        with contextlib.suppress(ChainStrataError):
            await work(what, proxy.conninfo, archive)
    assert proxy.struck
    while server.restarts == 0 or server.state is not ServerState.RUNNING:
        await happened(asyncio.Event(), 0.01)


async def sweep_server(make_config: MakeConfig, path: Path, what: str, stride: int) -> None:
    """As `sweep`; the server dies at the statement, and whatever it was about has to be tried again."""
    config = make_config()
    total = at = 0
    while total == 0 or at <= total:
        async with EmbeddedPostgres(config) as server:
            if total == 0:
                name = await prepare(server.connect_to("postgres"))
                whole = await copy_of(server.conninfo, name)
                await come_before(what, whole, path / "whole")
                before = await everything(whole, path / "whole")
                total = await count_statements(what, whole, path / "whole")
                after = await everything(whole, path / "whole")
                wanted = await finished(whole, path / "whole")
                at = 1 + stride // 2
                continue
            archive = path / f"at-{at}"
            own = await copy_of(server.conninfo, name)
            await come_before(what, own, archive)
            await kill_server(server, what, own, archive, at)
            assert before <= await everything(own, archive) <= after, f"killed at statement {at}"
            await work(what, own, archive)
            assert await everything(own, archive) == after, f"killed at statement {at}"
            assert await finished(own, archive) == wanted, f"killed at statement {at}"
            at += stride
