"""The driver's errors, translated once, by SQLSTATE, into ours."""

import re
from typing import Final

import psycopg
import psycopg_pool

from chainstrata.engines.postgres import errors

# The first two characters are the class, five characters one condition; the longer entry wins.
BY_SQLSTATE: Final[dict[str, type[errors.StatementFailed]]] = {
    "0A": errors.NotSupported,
    "21": errors.BadValue,
    "22": errors.BadValue,
    "23": errors.ConstraintViolation,
    "23502": errors.NotNullViolation,
    "23503": errors.ForeignKeyViolation,
    "23505": errors.UniqueViolation,
    "23514": errors.CheckViolation,
    "23P01": errors.ExclusionViolation,
    "25001": errors.StatementInvalid,
    "25006": errors.ReadOnly,
    "25P01": errors.StatementInvalid,
    "25P02": errors.TransactionAborted,
    "25P03": errors.TransactionTimeout,
    "25P04": errors.TransactionTimeout,
    "26": errors.PlanChanged,
    "2B": errors.ObjectNotReady,
    "3D": errors.UndefinedName,
    "3F": errors.UndefinedName,
    "40": errors.TransactionConflict,
    "40001": errors.SerializationFailure,
    "40002": errors.ConstraintViolation,
    "40P01": errors.DeadlockDetected,
    "42": errors.StatementInvalid,
    "42501": errors.PermissionDenied,
    "42701": errors.DuplicateName,
    "42703": errors.UndefinedName,
    "42704": errors.UndefinedName,
    "42710": errors.DuplicateName,
    "42712": errors.DuplicateName,
    "42723": errors.DuplicateName,
    "42883": errors.UndefinedName,
    "42P01": errors.UndefinedName,
    "42P02": errors.UndefinedName,
    "42P03": errors.DuplicateName,
    "42P04": errors.DuplicateName,
    "42P05": errors.DuplicateName,
    "42P06": errors.DuplicateName,
    "42P07": errors.DuplicateName,
    "44": errors.CheckViolation,
    "53": errors.ResourceExhausted,
    "54": errors.ResourceExhausted,
    "55": errors.ObjectNotReady,
    "55P03": errors.LockNotAvailable,
    "57014": errors.StatementCanceled,
    "58": errors.ServerInternalError,
    "F0": errors.ServerInternalError,
    "P0": errors.FunctionRaised,
    "XX": errors.ServerInternalError,
    "XX001": errors.DataCorrupted,
    "XX002": errors.DataCorrupted,
}
# Not our failure but the limit itself: the same statement would meet it again.
_LIMITS: Final = frozenset({"54000", "54001", "54011", "54023"})
_STALE_PLAN: Final = "cached plan must not change result type"
_HINTS: Final[dict[type[errors.StatementFailed], str]] = {
    errors.BadValue: "Give a value that the column's type can hold, written as PostgreSQL writes it.",
    errors.NoPartition: "Run `chainstrata partitions apply`; rows outside the managed range belong in quarantine.",
    errors.StatementCanceled: "Raise pool.statement_timeout, or make the statement cheaper.",
    errors.LockNotAvailable: "Another session holds the lock; try again, or end that session.",
    errors.UndefinedName: "Run `chainstrata migrate status`: the schema may be behind the code.",
    errors.DataCorrupted: "Stop writing, keep the files, and restore from a backup.",
    errors.TransactionAborted: "Leave the transaction block and start again; use `savepoint()` for parts that may fail.",
}


def is_stale_plan(error: psycopg.Error) -> bool:
    """Return whether a table changed under a prepared statement.

    The server has no SQLSTATE of its own for this: it is one of many 0A000, so the fixed English text decides.
    """
    return error.sqlstate == "0A000" and _STALE_PLAN in (error.diag.message_primary or "")


def translate(error: psycopg.Error, *, sent: bool = True) -> errors.PostgresError:
    """Return our error for one of the driver's.

    `sent` says whether a statement was under way: a connection that breaks then leaves its outcome unknown.
    """
    if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.TooManyRequests):
        return errors.PoolTimeout(f"no connection became free: {error}", hint="Raise pool.max_size, or find what holds connections.")
    if isinstance(error, psycopg_pool.PoolClosed):
        return errors.CannotConnect(str(error), hint="The database object is closed.")
    state = error.sqlstate
    if state is None:
        return _without_sqlstate(error, sent)
    if state == "53100":
        return errors.DiskFull(f"the server has no disk space: {_message(error)}")
    if state.startswith("28"):
        return errors.AuthenticationFailed(_message(error), hint="Check user and password of postgres.url, or secrets/postgres_password.")
    if state.startswith(("08", "57P")):
        return _connection(error, sent and state not in ("57P03", "08001", "08004"))
    return _statement_failed(error, state)


def _without_sqlstate(error: psycopg.Error, sent: bool) -> errors.PostgresError:
    if isinstance(error, psycopg.OperationalError):
        text = str(error)
        if "password" in text and ("authentication failed" in text or "no password supplied" in text):
            return errors.AuthenticationFailed(
                _one_line(text), hint="Check user and password of postgres.url, or secrets/postgres_password."
            )
        return _connection(error, sent)
    if isinstance(error, psycopg.DataError):
        return errors.BadValue(_one_line(str(error)))
    return errors.StatementError(_one_line(str(error)), hint="Check the parameters against the statement's placeholders.")


def _connection(error: psycopg.Error, sent: bool) -> errors.PostgresError:
    if sent:
        return errors.ConnectionLost(f"the connection to PostgreSQL was lost: {_message(error)}")
    return errors.CannotConnect(
        f"cannot connect to PostgreSQL: {_message(error)}", hint="Check that it runs and that postgres.url names it rightly."
    )


def _statement_failed(error: psycopg.Error, state: str) -> errors.StatementFailed:
    diag = error.diag
    kind = BY_SQLSTATE.get(state) or BY_SQLSTATE.get(state[:2]) or errors.StatementFailed
    if kind is errors.CheckViolation and state == "23514" and not diag.constraint_name:
        kind = errors.NoPartition
    if is_stale_plan(error):
        kind = errors.PlanChanged
    if state in _LIMITS:
        kind = errors.StatementInvalid
    return kind(
        _message(error),
        hint=diag.message_hint or _HINTS.get(kind, ""),
        sqlstate=state,
        detail=diag.message_detail or "",
        schema=diag.schema_name or "",
        table=diag.table_name or "",
        column=diag.column_name or "",
        constraint=diag.constraint_name or "",
    )


def _message(error: psycopg.Error) -> str:
    return _one_line(error.diag.message_primary or str(error))


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().rstrip(".") or "no reason given"
