"""The pool against a real server: its sizes, ages and waits, its slow statements, and what it tells about itself."""

import asyncio
import contextlib
import dataclasses
import logging
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest
from psycopg import conninfo as libpq
from psycopg.rows import tuple_row

from chainstrata.config import load_config
from chainstrata.engines.postgres import Database, PoolOptions, Query, errors
from chainstrata.engines.postgres.budget import Budget
from chainstrata.engines.postgres.metrics import percentile

OPTIONS = PoolOptions(min_size=2, max_size=4, acquire_timeout=20)
Watch = Callable[[str], Coroutine[Any, Any, list[Any]]]
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'watched' ORDER BY pid"


@pytest.fixture
async def watch(conninfo: str) -> AsyncIterator[Watch]:
    """Give a function that asks the server over a connection that is not the pool's."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True, row_factory=tuple_row) as connection:

        async def ask(question: str) -> list[Any]:
            return [row[0] for row in await (await connection.execute(question.encode())).fetchall()]

        yield ask


def pool_of(conninfo: str, **changes: Any) -> Database:
    return Database(conninfo, options=dataclasses.replace(OPTIONS, **changes), name="watched")


async def until(condition: Callable[[], Coroutine[Any, Any, bool]], within: float = 20.0) -> None:
    """Ask again until the answer is yes."""
    deadline = monotonic() + within
    while not await condition():
        assert monotonic() < deadline


async def hold(db: Database, count: int) -> contextlib.AsyncExitStack:
    stack = contextlib.AsyncExitStack()
    for _ in range(count):
        await stack.enter_async_context(db.connection())
    return stack


@pytest.mark.conforms("S0-38", "S2-36", "S2-37", "S2-38", "S2-39", "S2-40")
def test_what_a_pool_is_by_default(tmp_path: Path) -> None:
    options = PoolOptions.from_config(load_config(environment={}, directory=tmp_path))
    assert options == PoolOptions()
    assert (options.min_size, options.max_size) == (5, 25)
    assert timedelta(seconds=options.max_lifetime) == timedelta(hours=1)
    assert timedelta(seconds=options.max_idle) == timedelta(minutes=30)
    assert timedelta(seconds=options.check_every) == timedelta(minutes=1)
    assert timedelta(seconds=options.acquire_timeout) == timedelta(seconds=30)
    assert timedelta(seconds=options.slow_query) == timedelta(milliseconds=200)


def test_every_value_of_a_pool_is_a_setting(tmp_path: Path) -> None:
    flags = {
        "pool.min_size": 1,
        "pool.max_size": 2,
        "pool.max_lifetime": "3s",
        "pool.max_idle": "4s",
        "pool.check_every": "5s",
        "pool.acquire_timeout": "6s",
        "pool.statement_timeout": "7s",
        "pool.slow_query": "8s",
        "pool.retry_attempts": 9,
        "pool.retry_deadline": "10s",
        "pool.prepare": False,
    }
    options = PoolOptions.from_config(load_config(flags, environment={}, directory=tmp_path))
    assert dataclasses.astuple(options) == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, False)


@pytest.mark.conforms("S2-37")
async def test_the_smallest_size_stands_when_it_opens(conninfo: str, watch: Watch) -> None:
    async with pool_of(conninfo, min_size=3) as db:
        assert len(await watch(SESSIONS)) == 3
        stats = db.stats()
        assert (stats.size, stats.used, stats.idle, stats.waiting) == (3, 0, 3, 0)


@pytest.mark.conforms("S2-36", "S0-39", "S0-40", "S4-103")
async def test_it_grows_to_its_largest_size_and_no_further(conninfo: str, watch: Watch) -> None:
    async with pool_of(conninfo) as db:
        async with await hold(db, 4):
            assert len(await watch(SESSIONS)) == 4
            full = db.stats()
            assert (full.size, full.used, full.utilisation) == (4, 4, 1.0)
            waiting = [asyncio.create_task(db.fetch_value("SELECT 1")) for _ in range(3)]
            await until(lambda: _is(db.stats().waiting == 3))
        assert await asyncio.gather(*waiting) == [1, 1, 1]
        after = db.stats()
        assert (after.used, after.waiting) == (0, 0)
        assert after.acquired == 7
        assert sum(after.wait_buckets.values()) == after.acquired
        assert 0 < after.wait_p50 <= after.wait_p95 <= after.wait_p99 <= after.wait_max
        assert after.wait_max <= after.wait_seconds
        assert after.queries == 3
        assert len(await watch(SESSIONS)) == 4


async def _is(answer: bool) -> bool:
    await asyncio.get_running_loop().run_in_executor(None, bool)
    return answer


@pytest.mark.conforms("S2-64")
async def test_a_wait_that_takes_too_long_says_who_is_in_the_way(conninfo: str) -> None:
    async with pool_of(conninfo, min_size=1, max_size=1, acquire_timeout=0.2) as db, await hold(db, 1):
        with pytest.raises(errors.PoolTimeout) as caught:
            await db.fetch_value("SELECT 1")
        assert "1 of 1 in use" in caught.value.message
        assert caught.value.retryable
        assert db.stats().acquire_timeouts == 1


@pytest.mark.conforms("S2-38", "S2-44")
async def test_an_old_connection_is_replaced(conninfo: str, watch: Watch) -> None:
    async with pool_of(conninfo, min_size=1, max_lifetime=0.4) as db:
        first = await db.fetch_value("SELECT pg_backend_pid()")

        async def replaced() -> bool:
            return await db.fetch_value("SELECT pg_backend_pid()") != first

        await until(replaced)
        assert first not in await watch(SESSIONS)


@pytest.mark.conforms("S2-39", "S2-44")
async def test_spare_connections_are_closed_after_a_while(conninfo: str, watch: Watch) -> None:
    async with pool_of(conninfo, max_idle=0.4) as db:
        async with await hold(db, 4):
            pass

        async def shrunk() -> bool:
            return len(await watch(SESSIONS)) == 2

        await until(shrunk)
        assert db.stats().size == 2


@pytest.mark.conforms("S2-40", "S2-41")
async def test_idle_connections_are_checked_and_replaced_unasked(conninfo: str, watch: Watch) -> None:
    async with pool_of(conninfo, check_every=0.2) as db:
        before = set(await watch(SESSIONS))
        assert len(before) == 2
        await watch(f"SELECT pg_terminate_backend(pid) FROM ({SESSIONS}) s")

        async def whole() -> bool:
            now = set(await watch(SESSIONS))
            return len(now) == 2 and not now & before

        await until(whole)
        stats = db.stats()
        assert (stats.queries, stats.connections_lost) == (0, 2)


@pytest.mark.conforms("S2-40")
async def test_a_check_opens_no_more_connections(conninfo: str) -> None:
    async with pool_of(conninfo, check_every=0.05) as db:
        for _ in range(10):
            await db.refresh()
            await asyncio.gather(*(db.fetch_value("SELECT 1") for _ in range(2)))
        stats = db.stats()
        assert (stats.size, stats.connections_opened, stats.connections_lost) == (2, 2, 0)


@pytest.mark.conforms("S2-44")
async def test_nothing_is_left_open(conninfo: str, watch: Watch) -> None:
    async with pool_of(conninfo) as db:
        await asyncio.gather(*(db.fetch_value("SELECT 1") for _ in range(10)))

    async def gone() -> bool:
        return await watch(SESSIONS) == []

    await until(gone)
    with pytest.raises(errors.PostgresError):
        await db.fetch_value("SELECT 1")


async def test_a_transaction_left_open_does_not_reach_the_next_caller(conninfo: str) -> None:
    async with pool_of(conninfo, min_size=1, max_size=1) as db:
        async with db.connection() as connection:
            await connection.execute("CREATE TABLE t (id int)")
            await connection.execute("BEGIN")
            await connection.execute("INSERT INTO t VALUES (1)")
        assert await db.fetch_value("SELECT count(*) FROM t") == 0


@pytest.mark.conforms("S2-64")
async def test_a_statement_that_takes_too_long_is_ended_and_the_connection_goes_on(conninfo: str) -> None:
    async with pool_of(conninfo, min_size=1, max_size=1, statement_timeout=0.2) as db:
        with pytest.raises(errors.StatementCanceled):
            await db.fetch_value("SELECT pg_sleep(600)::text")
        assert await db.fetch_value("SELECT 1") == 1


@pytest.mark.conforms("S2-64")
async def test_connecting_and_unanswered_data_have_their_time(conninfo: str) -> None:
    async with pool_of(conninfo) as db, db.connection() as connection:
        given = connection.driver.info.get_parameters()
        assert {name: given[name] for name in ("connect_timeout", "tcp_user_timeout")} == {
            "connect_timeout": "10",
            "tcp_user_timeout": "60000",
        }


@pytest.mark.conforms("S2-64")
async def test_every_session_is_set_up_alike_and_the_callers_options_win(conninfo: str) -> None:
    question = "SELECT current_setting('timezone'), current_setting('statement_timeout'), current_setting('application_name')"
    async with pool_of(conninfo, statement_timeout=7) as db:
        assert await db.fetch_one(question, row_factory=tuple_row) == ("UTC", "7s", "watched")
    given = libpq.make_conninfo(conninfo, options="-c statement_timeout=9s", application_name="mine")
    async with pool_of(given) as db:
        assert await db.fetch_one(question, row_factory=tuple_row) == ("UTC", "9s", "mine")


async def test_without_prepared_statements_none_is_made(conninfo: str) -> None:
    async with pool_of(conninfo, prepare=False, min_size=1, max_size=1) as db:
        for _ in range(10):
            await db.fetch_value("SELECT %s::int", (1,))
        assert await db.fetch_value("SELECT count(*) FROM pg_prepared_statements") == 0


# The budget --------------------------------------------------------------------------------------------------------


@pytest.mark.conforms("S0-41")
async def test_pools_that_together_do_not_fit_the_server_are_refused_at_start(conninfo: str, watch: Watch, tmp_path: Path) -> None:
    limit = int((await watch("SHOW max_connections"))[0])
    flags = {"pool.processes": limit // 25 + 1, "pool.reserved": 10}
    config = load_config(flags, environment={}, directory=tmp_path)
    with pytest.raises(errors.ConnectionBudgetExceeded) as caught:
        await Database(conninfo, config).open()
    needed = (limit // 25 + 1) * 25 + 10
    assert caught.value.needed == needed
    for number in (limit // 25 + 1, 25, 10, needed, limit):
        assert str(number) in caught.value.message

    async def gone() -> bool:
        return await watch("SELECT 1 FROM pg_stat_activity WHERE application_name = 'chainstrata' AND datname = current_database()") == []

    await until(gone)


@pytest.mark.conforms("S0-41")
@pytest.mark.parametrize(("processes", "fits"), [(1, True), (3, True), (4, False)])
def test_the_budget_counts_what_ordinary_roles_may_have(processes: int, fits: bool) -> None:
    budget = Budget(processes=processes, pool=25, reserved=10)
    if fits:
        budget.check(limit=100, kept=3)
    else:
        with pytest.raises(errors.ConnectionBudgetExceeded):
            budget.check(limit=100, kept=3)


# Slow statements ---------------------------------------------------------------------------------------------------

SECRETS = ["hunter2", "4711", "0xdeadbeef", "it's secret"]


@pytest.mark.conforms("S2-43")
async def test_a_slow_statement_is_logged_without_any_value(conninfo: str, caplog: pytest.LogCaptureFixture) -> None:
    query = Query("find_slowly", "Finds slowly.", "SELECT pg_sleep(0.06), %(word)s::text AS word, 4711 AS pin, 'hunter2' AS password")
    async with pool_of(conninfo, slow_query=0.05) as db:
        with caplog.at_level(logging.WARNING, logger="chainstrata.postgres.slow"):
            await db.fetch_one(query, {"word": "it's secret"})
            await db.execute("SELECT pg_sleep(0.06), $$hunter2$$, E'it\\'s secret', '0xdeadbeef' -- hunter2")
            await db.fetch_value("SELECT 1")
            with pytest.raises(errors.BadValue):
                await db.execute("DO $$ BEGIN PERFORM pg_sleep(0.06), 'hunter2'; PERFORM 1 / 0; END $$")
        assert db.stats().slow_queries == 3
    first, _, failed = caplog.records
    assert first.__dict__["query"] == "find_slowly"
    assert first.__dict__["event"] == "slow_query"
    assert first.__dict__["statement"] == "SELECT pg_sleep(?), ?::text AS word, ? AS pin, ? AS password"
    assert len(first.__dict__["fingerprint"]) == 16
    assert first.__dict__["seconds"] >= 0.05
    assert failed.__dict__["error"] == "bad_value"
    for record in caplog.records:
        everything = record.getMessage() + repr(record.__dict__)
        assert not [secret for secret in SECRETS if secret in everything]
        assert record.exc_info is None


@pytest.mark.conforms("S2-43")
async def test_slow_is_what_takes_longer_than_200_ms(conninfo: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Database(conninfo, options=dataclasses.replace(PoolOptions(), min_size=1)) as db:
        with caplog.at_level(logging.WARNING, logger="chainstrata.postgres.slow"):
            await db.execute("SELECT pg_sleep(0.21)")
        assert db.stats().slow_queries == 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("part", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (0.001, 1), (1.0, 100)], ids=["p50", "p95", "p99", "least", "most"]
)
def test_percentiles_are_by_nearest_rank(part: float, expected: int) -> None:
    assert percentile([float(number) for number in range(1, 101)], part) == expected
    assert percentile([], part) == 0
    assert math.isclose(percentile([7.0], part), 7.0)
