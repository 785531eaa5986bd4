"""The server's errors, provoked for real, and what each becomes."""

import asyncio
import os
import select
from collections.abc import Callable, Iterator
from typing import LiteralString

import psycopg
import pytest
from psycopg import conninfo as libpq
from psycopg import sql

from chainstrata.engines.postgres import Database, Params, PoolOptions, errors
from chainstrata.engines.postgres.errors import PostgresError, StatementFailed
from chainstrata.engines.postgres.translate import BY_SQLSTATE, translate
from tests.fixtures.postgres import Server

SCHEMA: tuple[LiteralString, ...] = (
    "CREATE EXTENSION IF NOT EXISTS btree_gist",
    "CREATE DOMAIN amount AS numeric CONSTRAINT amount_check CHECK (VALUE >= 0)",
    "CREATE TABLE parent (id int CONSTRAINT parent_pkey PRIMARY KEY)",
    "INSERT INTO parent VALUES (1)",
    """
    CREATE TABLE child (
        id int NOT NULL,
        parent_id int CONSTRAINT child_parent_fkey REFERENCES parent,
        paid amount,
        during int4range,
        small smallint,
        CONSTRAINT child_id_check CHECK (id > 0),
        CONSTRAINT child_during_excl EXCLUDE USING gist (during WITH &&)
    )
    """,
    "CREATE TABLE parted (ts timestamptz NOT NULL) PARTITION BY RANGE (ts)",
    "CREATE VIEW checked AS SELECT id FROM parent WHERE id < 100 WITH CHECK OPTION",
    "CREATE SEQUENCE one_number MINVALUE 1 MAXVALUE 2",
    """
    CREATE FUNCTION refuse() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'not like this' USING HINT = 'like that', DETAIL = 'because'; END $$
    """,
)

CASES: dict[str, tuple[LiteralString, type[StatementFailed], dict[str, str]]] = {
    "unique": (
        "INSERT INTO parent VALUES (1)",
        errors.UniqueViolation,
        {"constraint": "parent_pkey", "table": "parent", "schema": "public", "sqlstate": "23505"},
    ),
    "foreign key": ("INSERT INTO child (id, parent_id) VALUES (1, 9)", errors.ForeignKeyViolation, {"constraint": "child_parent_fkey"}),
    "foreign key kept": (
        "INSERT INTO child (id, parent_id) VALUES (1, 1); DELETE FROM parent",
        errors.ForeignKeyViolation,
        {"constraint": "child_parent_fkey"},
    ),
    "not null": ("INSERT INTO child (parent_id) VALUES (1)", errors.NotNullViolation, {"table": "child", "column": "id"}),
    "check": ("INSERT INTO child (id) VALUES (-1)", errors.CheckViolation, {"constraint": "child_id_check"}),
    "domain": ("INSERT INTO child (id, paid) VALUES (1, -1)", errors.CheckViolation, {"constraint": "amount_check"}),
    "view check": ("INSERT INTO checked VALUES (1000)", errors.CheckViolation, {"sqlstate": "44000"}),
    "exclusion": (
        "INSERT INTO child (id, during) VALUES (1, '[1,5)'), (2, '[4,9)')",
        errors.ExclusionViolation,
        {"constraint": "child_during_excl"},
    ),
    "no partition": ("INSERT INTO parted VALUES (now())", errors.NoPartition, {"table": "parted", "constraint": ""}),
    "number out of range": ("INSERT INTO child (id, small) VALUES (1, 100000)", errors.BadValue, {"sqlstate": "22003"}),
    "not a number": ("SELECT 'x'::int", errors.BadValue, {"sqlstate": "22P02"}),
    "not a date": ("SELECT '2026-02-30'::date", errors.BadValue, {"sqlstate": "22008"}),
    "division by zero": ("SELECT 1 / 0", errors.BadValue, {"sqlstate": "22012"}),
    "two rows for one": ("SELECT (SELECT 1 UNION ALL SELECT 2)", errors.BadValue, {"sqlstate": "21000"}),
    "sequence at its end": ("SELECT nextval('one_number') FROM generate_series(1, 3)", errors.BadValue, {"sqlstate": "2200H"}),
    "no table": ("SELECT * FROM nowhere", errors.UndefinedName, {"sqlstate": "42P01"}),
    "no column": ("SELECT nothing FROM parent", errors.UndefinedName, {"sqlstate": "42703"}),
    "no function": ("SELECT no_such_function()", errors.UndefinedName, {"sqlstate": "42883"}),
    "no schema": ("CREATE TABLE no_such_schema.t ()", errors.UndefinedName, {"sqlstate": "3F000"}),
    "no type": ("SELECT NULL::no_such_type", errors.UndefinedName, {"sqlstate": "42704"}),
    "table twice": ("CREATE TABLE parent ()", errors.DuplicateName, {"sqlstate": "42P07"}),
    "schema twice": ("CREATE SCHEMA public", errors.DuplicateName, {"sqlstate": "42P06"}),
    "column twice": ("ALTER TABLE parent ADD COLUMN id int", errors.DuplicateName, {"sqlstate": "42701"}),
    "syntax": ("SELEKT 1", errors.StatementInvalid, {"sqlstate": "42601"}),
    "grouping": ("SELECT id, count(*) FROM parent", errors.StatementInvalid, {"sqlstate": "42803"}),
    "wrong object": ("DROP VIEW parent", errors.StatementInvalid, {"sqlstate": "42809"}),
    "vacuum in a transaction": ("BEGIN; VACUUM", errors.StatementInvalid, {"sqlstate": "25001"}),
    "not supported": ("CREATE INDEX CONCURRENTLY ON parted (ts)", errors.NotSupported, {"sqlstate": "0A000"}),
    "denied": ("SET ROLE pg_monitor; SELECT * FROM parent", errors.PermissionDenied, {"sqlstate": "42501"}),
    "dependent objects": ("DROP TABLE parent", errors.ObjectNotReady, {"sqlstate": "2BP01"}),
    "object in the wrong state": ("SELECT currval('one_number')", errors.ObjectNotReady, {"sqlstate": "55000"}),
    "raised": ("SELECT refuse()", errors.FunctionRaised, {"sqlstate": "P0001", "detail": "because", "hint": "like that"}),
    "statement too long": ("SET statement_timeout = 20; SELECT pg_sleep(5)", errors.StatementCanceled, {"sqlstate": "57014"}),
    "read only": ("SET transaction_read_only = on; DELETE FROM parent", errors.ReadOnly, {"sqlstate": "25006"}),
    "too deep": (
        "CREATE FUNCTION deep() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM deep(); END $$; SELECT deep()",
        errors.StatementInvalid,
        {"sqlstate": "54001"},
    ),
    "no such prepared statement": ("EXECUTE never_prepared", errors.PlanChanged, {"sqlstate": "26000"}),
    "serialization": (
        "DO $$ BEGIN RAISE EXCEPTION 'made' USING ERRCODE = 'serialization_failure'; END $$",
        errors.SerializationFailure,
        {"sqlstate": "40001"},
    ),
    "damaged": ("DO $$ BEGIN RAISE EXCEPTION 'made' USING ERRCODE = 'data_corrupted'; END $$", errors.DataCorrupted, {"sqlstate": "XX001"}),
    "out of memory": (
        "DO $$ BEGIN RAISE EXCEPTION 'made' USING ERRCODE = 'out_of_memory'; END $$",
        errors.ResourceExhausted,
        {"sqlstate": "53200"},
    ),
    "a code nobody knows": ("DO $$ BEGIN RAISE EXCEPTION 'made' USING ERRCODE = 'ZZ123'; END $$", StatementFailed, {"sqlstate": "ZZ123"}),
}


@pytest.fixture(scope="module")
def provoke(server: Server) -> Iterator[Callable[[LiteralString], PostgresError]]:
    """Give a function that runs statements and returns the error that they give. What they changed is undone."""
    name = f"chainstrata_errors_{os.getpid()}"
    with psycopg.connect(server.connect_to("postgres"), autocommit=True) as control:
        control.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with psycopg.connect(server.connect_to(name), autocommit=True) as connection:
            for statement in SCHEMA:
                connection.execute(statement)

        def run(statements: LiteralString) -> PostgresError:
            with psycopg.connect(server.connect_to(name), autocommit=True) as connection, pytest.raises(psycopg.Error) as caught:
                connection.execute(statements)
            return translate(caught.value)

        yield run
        control.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize("case", CASES)
def test_an_error_of_the_server(provoke: Callable[[LiteralString], PostgresError], case: str) -> None:
    statements, kind, facts = CASES[case]
    error = provoke(statements)
    assert type(error) is kind
    assert {name: getattr(error, name) for name in facts} == facts
    assert error.message
    assert not error.message.endswith(".")
    assert error.retryable is (kind in RETRYABLE)


RETRYABLE = {
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.PlanChanged,
    errors.TransactionConflict,
    errors.LockNotAvailable,
    errors.ResourceExhausted,
}


def test_every_sqlstate_leads_to_one_of_our_classes() -> None:
    for name in dir(psycopg.errors):
        kind = getattr(psycopg.errors, name)
        state = getattr(kind, "sqlstate", None)
        if isinstance(state, str) and state not in NO_FAILURE and not state.startswith(ELSEWHERE):
            assert state in BY_SQLSTATE or state[:2] in BY_SQLSTATE, f"{name} ({state}) is not translated"


# Success, warnings, and what only procedures, cursors and embedded SQL meet: without a class of its own it is a StatementFailed.
NO_FAILURE = {"00000", "01000", "02000", "02001", "03000", "09000", "0B000", "0F000", "0F001", "0L000", "0LP01", "0P000", "0Z000", "0Z002"}
NO_FAILURE |= {"20000", "24000", "25000", "25002", "25003", "25004", "25005", "25007", "25008", "27000", "2D000", "34000", "36000"}
NO_FAILURE |= {"72000", "57000", "57P04"}
# Connections, logins and shutdowns have branches of their own; these classes hold none of the above.
ELSEWHERE = ("01", "08", "10", "28", "2F", "38", "39", "3B", "57P", "HV")


async def test_deadlock(database: Database) -> None:
    await database.execute("CREATE TABLE pair (id int PRIMARY KEY, n int)")
    await database.execute("INSERT INTO pair VALUES (1, 0), (2, 0)")
    both_hold_one = asyncio.Barrier(2)

    async def cross(first: int, second: int) -> None:
        async with database.transaction() as connection:
            await connection.execute("UPDATE pair SET n = n + 1 WHERE id = %s", (first,))
            await both_hold_one.wait()
            await connection.execute("UPDATE pair SET n = n + 1 WHERE id = %s", (second,))

    outcomes = await asyncio.gather(cross(1, 2), cross(2, 1), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["DeadlockDetected", "NoneType"]
    assert await database.fetch_value("SELECT sum(n) FROM pair") == 2


async def test_a_lock_that_is_not_given(database: Database) -> None:
    await database.execute("CREATE TABLE held (id int)")
    async with database.transaction() as holder:
        await holder.execute("LOCK TABLE held")
        async with database.connection() as other:
            await other.execute("SET lock_timeout = 20")
            with pytest.raises(errors.LockNotAvailable) as caught:
                await other.execute("INSERT INTO held VALUES (1)")
            assert caught.value.retryable
            await other.execute("RESET lock_timeout")


async def test_a_transaction_that_failed_takes_nothing_more(database: Database) -> None:
    async def go_on() -> None:
        async with database.transaction() as connection:
            with pytest.raises(errors.BadValue):
                await connection.execute("SELECT 1 / 0")
            await connection.execute("SELECT 1")

    with pytest.raises(errors.TransactionAborted):
        await go_on()


async def test_a_transaction_left_idle_is_ended_by_the_server(database: Database) -> None:
    async def sit() -> None:
        async with database.transaction() as connection:
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 50")
            # Wait for the server's word, as a caller busy elsewhere would not.
            await asyncio.get_running_loop().run_in_executor(None, select.select, [connection.driver.fileno()], [], [], 20)
            await connection.execute("SELECT 1")

    with pytest.raises((errors.TransactionTimeout, errors.ConnectionLost)):
        await sit()
    assert await database.fetch_value("SELECT 1") == 1


async def test_a_terminated_connection_is_lost_and_replaced(database: Database) -> None:
    async with database.connection() as connection:
        pid = await connection.fetch_value("SELECT pg_backend_pid()")
        asking = asyncio.ensure_future(connection.fetch_value("SELECT pg_sleep(60)"))
        async with database.connection() as other:
            while not await other.fetch_value(
                "SELECT state = 'active' FROM pg_stat_activity WHERE pid = %s AND query LIKE '%%60%%'", (pid,)
            ):
                pass
            await other.execute("SELECT pg_terminate_backend(%s)", (pid,))
        with pytest.raises(errors.ConnectionLost) as caught:
            await asking
    assert not caught.value.retryable
    assert await database.fetch_value("SELECT 1") == 1


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"password": "wrong", "passfile": "/dev/null"}, errors.AuthenticationFailed),
        ({"user": "no_such_role", "passfile": "/dev/null"}, errors.AuthenticationFailed),
        ({"dbname": "no_such_database"}, errors.CannotConnect),
        ({"host": "127.0.0.1", "port": "1"}, errors.CannotConnect),
        ({"host": "/no/such/directory"}, errors.CannotConnect),
        ({"host": "no-such-host.invalid", "port": "5432"}, errors.CannotConnect),
    ],
    ids=["password", "role", "database", "port", "socket", "host"],
)
async def test_a_server_that_cannot_be_reached(conninfo: str, change: dict[str, str], kind: type[PostgresError]) -> None:
    with pytest.raises(kind) as caught:
        await Database(libpq.make_conninfo(conninfo, **change), options=PoolOptions(acquire_timeout=5)).open()
    assert caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("statement", "params"),
    [("SELECT %(a)s", {}), ("SELECT %s", ()), ("SELECT %s", ("a", "b")), ("SELECT %(a)s", ("a",)), ("SELECT %s", (object(),))],
)
async def test_a_statement_that_cannot_be_sent(database: Database, statement: LiteralString, params: Params) -> None:
    with pytest.raises(errors.StatementError):
        await database.execute(statement, params)


async def test_errors_are_counted(database: Database) -> None:
    for _ in range(3):
        with pytest.raises(errors.BadValue):
            await database.execute("SELECT 1 / 0")
    assert database.stats().errors == {"bad_value": 3}
