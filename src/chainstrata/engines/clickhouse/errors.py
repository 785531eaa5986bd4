"""What can go wrong with the columnar engine, a class for each case.

    ColumnarError (an EngineError)
    ├── ColumnarMissing               no engine here and no URL of one
    ├── ColumnarEmbeddedError         the embedded engine cannot start or stay up
    │   ├── ColumnarInUse             another process has its data directory open
    │   ├── ColumnarPortTaken         the port is in use
    │   ├── ColumnarStartFailed       it did not come up; carries the last lines of its log
    │   └── ColumnarRestartLimit      it keeps dying
    ├── ColumnarUnreachable           nothing answers; nothing was done
    ├── ColumnarLost                  the connection broke while a statement was under way; its outcome is unknown
    ├── ColumnarAuthentication        user or password are not accepted
    └── ColumnarFailed                the engine refused a statement (`engine_code`)
        ├── ColumnarUndefined, ColumnarDuplicate, ColumnarInvalid, ColumnarNotSupported, ColumnarReadOnly
        ├── ColumnarBadValue          a value the type cannot hold
        ├── ColumnarTimeout           it ran longer than it may
        ├── ColumnarCanceled          somebody ended it
        ├── ColumnarMemory            it wanted more memory than it may have
        ├── ColumnarBusy              too many at once, too many parts, or a lock: trying again later helps
        └── ColumnarDiskFull, ColumnarCorrupted

`translate.py` makes these from the driver's errors, by the engine's own code.
"""

from pathlib import Path

from chainstrata.errors import EngineError


class ColumnarError(EngineError):
    """Base of everything the columnar engine does."""

    code = "columnar"


class ColumnarMissing(ColumnarError):
    """There is no columnar engine to work on."""

    code = "columnar_missing"

    def __init__(self, why: str = "it is not installed") -> None:
        super().__init__(
            f"no columnar engine: {why}",
            hint="Run `pip install chainstrata[columnar]` for the embedded one, or set clickhouse.url to a ClickHouse.",
        )


class ColumnarEmbeddedError(ColumnarError):
    """The embedded engine cannot start or stay up."""

    code = "columnar_embedded"


class ColumnarInUse(ColumnarEmbeddedError):
    """Only one process can have the data open."""

    code = "columnar_in_use"

    def __init__(self, directory: Path, *, pid: int | None = None, command: str = "") -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(
            f"columnar data {directory} is in use by {holder}{f' ({command})' if command else ''}",
            hint="Stop it; one process at a time opens the data. Set home to run a second node.",
        )
        self.directory = directory
        self.pid = pid


class ColumnarPortTaken(ColumnarEmbeddedError):
    """Another program listens on the port."""

    code = "columnar_port_taken"

    def __init__(self, port: int, *, who: str = "") -> None:
        super().__init__(
            f"port {port} of 127.0.0.1 is taken{f' by {who}' if who else ''}",
            hint="Set clickhouse.port to a free port, or to 0 to have one picked.",
        )
        self.port = port


class ColumnarStartFailed(ColumnarEmbeddedError):
    """The engine did not come up. `log` holds the last lines it wrote."""

    code = "columnar_start_failed"

    def __init__(self, message: str, *, log: str = "", hint: str = "") -> None:
        shown = f": {log.strip()}" if log.strip() else ""
        super().__init__(message + shown, hint=hint or "The whole log is in logs/clickhouse.log of the home.")
        self.log = log


class ColumnarRestartLimit(ColumnarEmbeddedError):
    """The engine died too often in a short time; it is left down."""

    code = "columnar_restart_limit"

    def __init__(self, times: int, seconds: float, *, cause: str) -> None:
        super().__init__(
            f"the columnar engine died {times} times in {seconds:.0f} s and is left down; last: {cause}",
            hint="Read logs/clickhouse.log of the home, mend the cause, and start the node again; what was acknowledged is kept.",
        )


class ColumnarUnreachable(ColumnarError):
    """Nothing was sent: trying again is safe."""

    code = "columnar_unreachable"
    retryable = True


class ColumnarLost(ColumnarError):
    """The connection broke while a statement was under way: whether it was done is unknown.

    Reads and inserts that bear a token can simply be repeated.
    """

    code = "columnar_lost"


class ColumnarAuthentication(ColumnarError):
    """The engine does not accept the user or the password."""

    code = "columnar_authentication"


class ColumnarFailed(ColumnarError):
    """The engine refused a statement. Match on `engine_code`, never on the text."""

    code = "columnar_failed"
    http_status = 500

    def __init__(self, message: str, *, hint: str = "", engine_code: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.engine_code = engine_code


class ColumnarUndefined(ColumnarFailed):
    """A table, column, function, setting or database that does not exist."""

    code = "columnar_undefined"


class ColumnarDuplicate(ColumnarFailed):
    """A table or database that exists already."""

    code = "columnar_duplicate"


class ColumnarInvalid(ColumnarFailed):
    """The statement is wrong in itself."""

    code = "columnar_invalid"


class ColumnarNotSupported(ColumnarFailed):
    """This engine cannot do that."""

    code = "columnar_not_supported"


class ColumnarReadOnly(ColumnarFailed):
    """The user, or the engine, may only read."""

    code = "columnar_read_only"


class ColumnarBadValue(ColumnarFailed):
    """A value the column's type cannot hold."""

    code = "columnar_bad_value"
    http_status = 400


class ColumnarTimeout(ColumnarFailed):
    """It ran longer than it may."""

    code = "columnar_timeout"
    http_status = 504


class ColumnarCanceled(ColumnarFailed):
    """Somebody ended the statement."""

    code = "columnar_canceled"


class ColumnarMemory(ColumnarFailed):
    """It wanted more memory, rows or bytes than it may have."""

    code = "columnar_memory"
    http_status = 507


class ColumnarBusy(ColumnarFailed):
    """Too much at once. Nothing was done; trying again later is safe."""

    code = "columnar_busy"
    retryable = True
    http_status = 503


class ColumnarDiskFull(ColumnarFailed):
    """No space left. What was acknowledged is kept."""

    code = "columnar_disk_full"
    http_status = 507


class ColumnarCorrupted(ColumnarFailed):
    """Data on disk does not fit its checksums."""

    code = "columnar_corrupted"
