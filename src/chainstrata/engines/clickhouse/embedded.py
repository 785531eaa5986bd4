"""The embedded columnar engine: a child process that owns the data, started, watched and stopped by this one.

This process holds the listening socket and hands it down, so while a crashed engine is started again clients wait in its
queue instead of being refused. The child ends when this process does, however that ends; one that is left behind all the same
is ended before a start. A lock on the data directory and the engine's own keep a second process away.
"""

import asyncio
import contextlib
import fcntl
import importlib.util
import json
import logging
import os
import re
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

from chainstrata.config import (
    CLICKHOUSE_CONNECTIONS,
    CLICKHOUSE_DATABASE,
    CLICKHOUSE_PORT,
    CLICKHOUSE_QUERY_TIMEOUT,
    CLICKHOUSE_START_TIMEOUT,
    CLICKHOUSE_STOP_TIMEOUT,
    LOG_LEVEL,
    Config,
)
from chainstrata.engines.clickhouse import errors
from chainstrata.engines.clickhouse.configuration import plan_settings, query_memory_bytes, render_configuration
from chainstrata.engines.postgres.address import LOOPBACK
from chainstrata.engines.postgres.child import ChildServer, Ending, Progress
from chainstrata.engines.postgres.errors import HomeInUse
from chainstrata.engines.postgres.home import HomeLock, prepare_home, write_whole
from chainstrata.engines.postgres.processes import describe, die_with_parent, send, wait_gone, who_listens
from chainstrata.engines.postgres.serverlog import ServerLog

LOGGER: Final = logging.getLogger("chainstrata.clickhouse")
USER: Final = "default"
_MODULE: Final = "chainstrata.engines.clickhouse.daemon"
_FIRST_PORT: Final = 8560
_LAST_PORT: Final = 65535
_KILLED: Final = 10.0
_LEFTOVER: Final = 15.0
_BACKLOG: Final = 128


def is_installed() -> bool:
    """Return whether the engine is there to be embedded. Imports nothing of it."""
    return importlib.util.find_spec("chdb") is not None


class EmbeddedClickHouse(ChildServer[errors.ColumnarError]):
    """A columnar engine of this home's own. Use as `async with EmbeddedClickHouse(config) as engine`.

    Entering it returns when the engine takes statements at `url`; it raises `ColumnarMissing` or another `ColumnarError`.
    While it runs, `state` says how it is. When it stops, what is under way comes to its end first, within the time set for it.
    """

    title = "the columnar engine"
    label = "columnar"
    failures = (errors.ColumnarError,)
    disk_full = errors.ColumnarDiskFull

    def __init__(self, config: Config, *, progress: Progress | None = None) -> None:
        super().__init__(config.home, ServerLog(config.home / "logs" / "clickhouse.log"), LOGGER, progress)
        self._config = config
        self._place = config.home / "clickhouse"
        self._lock = HomeLock(self._place)
        self._listener: socket.socket | None = None
        self._port = 0
        self._password = ""
        self.version = ""

    # What it is --------------------------------------------------------------------------------------------------

    @property
    def data(self) -> Path:
        return self._place / "data"

    @property
    def backups(self) -> Path:
        return self._place / "backups"

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """Where it listens. Holds the password."""
        return url_of(self.port, self._password)

    # Start and stop ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        if not is_installed():
            raise errors.ColumnarMissing
        await super().start()

    async def _open(self) -> None:
        prepare_home(self._home)
        self._place.mkdir(mode=0o700, exist_ok=True)
        self._take_lock()
        self.backups.mkdir(mode=0o700, exist_ok=True)
        self._password = read_password(self._home) or make_password(self._home)
        self._listener = self._listen()
        self._port = int(self._listener.getsockname()[1])
        write_whole(self._place / "config.xml", render_configuration(plan_settings(self._config, self.backups)))
        await self._clear_leftover()
        await self._launch()

    async def _launch_again(self) -> None:
        await self._launch()

    def _endings(self) -> Sequence[Ending]:
        return (signal.SIGTERM, self._config[CLICKHOUSE_STOP_TIMEOUT].total_seconds()), (signal.SIGKILL, _KILLED)

    def _let_go(self) -> None:
        super()._let_go()
        self._close_listener()
        self._lock.release()

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _take_lock(self) -> None:
        try:
            self._lock.acquire()
        except HomeInUse as error:
            raise errors.ColumnarInUse(self.data, pid=error.pid, command=describe(error.pid) if error.pid else "") from error

    def _listen(self) -> socket.socket:
        """Listen on the port wanted, else on the one used last, else on the first free one."""
        wanted = self._config[CLICKHOUSE_PORT]
        record = self._place / "port"
        with contextlib.suppress(OSError, ValueError):
            remembered = int(record.read_text(encoding="ascii"))
            if not wanted and (listener := _bind(remembered)) is not None:
                return listener
        for port in [wanted] if wanted else range(_FIRST_PORT, _LAST_PORT):
            listener = _bind(port)
            if listener is not None:
                write_whole(record, f"{port}\n")
                return listener
        raise errors.ColumnarPortTaken(wanted, who=who_listens(wanted))

    async def _clear_leftover(self) -> None:
        """End the process a killed node left behind; refuse when the data is open in somebody else's."""
        pid = _holder(self.data)
        if pid is None:
            return
        command = describe(pid)
        if _MODULE not in command:
            raise errors.ColumnarInUse(self.data, pid=pid, command=command)
        started = monotonic()
        send([pid], signal.SIGTERM)
        if await wait_gone([pid], _LEFTOVER):
            send([pid], signal.SIGKILL)
            await wait_gone([pid], _KILLED)
        self._say(f"process {pid} of an earlier node ended", started)

    async def _launch(self) -> None:
        started = monotonic()
        assert self._listener is not None  # noqa: S101  # `start` makes it first
        handle = self._log.open()
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _MODULE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=handle,
            cwd=str(self._place),
            env={"TZ": "UTC", "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HOME": str(self._place)},
            umask=0o077,
            pass_fds=[self._listener.fileno()],
            start_new_session=True,
            # One prctl call; nothing that another thread's lock could stop.
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        await self._wait_ready(process, json.dumps(self._order()).encode())
        self._say(f"ClickHouse {self.version} on {LOOPBACK}:{self.port}", started)

    def _order(self) -> dict[str, Any]:
        """Return what the child is told. By its input, since others can read a command line."""
        seconds = self._config[CLICKHOUSE_QUERY_TIMEOUT].total_seconds()
        memory = query_memory_bytes(self._config)
        return {
            "data": str(self.data),
            "config": str(self._place / "config.xml"),
            "database": self._config[CLICKHOUSE_DATABASE],
            "password": self._password,
            "listener": self._listener.fileno() if self._listener is not None else -1,
            "connections": self._config[CLICKHOUSE_CONNECTIONS],
            "patience": seconds,
            "grace": self._config[CLICKHOUSE_STOP_TIMEOUT].total_seconds() / 2,
            "log_level": self._config[LOG_LEVEL],
            "defaults": {
                "max_execution_time": str(max(1, round(seconds))),
                "max_memory_usage": str(memory),
                # An answer is held whole before it is sent.
                "max_result_bytes": str(memory // 2),
                "result_overflow_mode": "throw",
            },
        }

    async def _wait_ready(self, process: asyncio.subprocess.Process, order: bytes) -> None:
        timeout = self._config[CLICKHOUSE_START_TIMEOUT].total_seconds()
        assert process.stdin is not None  # noqa: S101  # both are pipes
        assert process.stdout is not None  # noqa: S101
        line = b""
        try:
            async with asyncio.timeout(timeout):
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    process.stdin.write(order)
                    await process.stdin.drain()
                    process.stdin.close()
                line = await process.stdout.readline()
        except TimeoutError:
            raise self._start_error(f"the columnar engine did not start within {timeout:g} s (clickhouse.start_timeout)") from None
        if not line.startswith(b"ready "):
            await process.wait()
            raise self._start_error(f"the columnar engine ended with status {process.returncode} instead of starting")
        self.version = line.decode().split()[1]

    def _start_error(self, message: str) -> errors.ColumnarError:
        log = self._log.tail()
        if "No space left on device" in log:
            return errors.ColumnarDiskFull(f"the columnar engine cannot start: no space left for {self.data}")
        return errors.ColumnarStartFailed(message, log=log)

    def _limit(self, deaths: int, seconds: float, cause: str) -> errors.ColumnarError:
        return errors.ColumnarRestartLimit(deaths, seconds, cause=cause)

    def _given_up(self) -> None:
        # Nobody will ever answer: better refused than kept waiting.
        self._close_listener()


def url_of(port: int, password: str) -> str:
    """Return the URL of an embedded engine."""
    return f"http://{USER}:{quote(password, safe='')}@{LOOPBACK}:{port}"


def password_path(home: Path) -> Path:
    return home / "secrets" / "clickhouse_password"


def read_password(home: Path) -> str | None:
    """Return the password of the embedded engine, or None if it was never made."""
    try:
        return password_path(home).read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None


def make_password(home: Path) -> str:
    password = secrets.token_urlsafe(32)
    write_whole(password_path(home), password + "\n", mode=0o600)
    return password


def _bind(port: int) -> socket.socket | None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        return None
    return listener


def _holder(data: Path) -> int | None:
    """Return the process that has the data open, by the engine's own lock and note there, or None. 0: who, nobody knows."""
    try:
        with (data / "status").open("r+", encoding="utf-8", errors="replace") as status:
            try:
                fcntl.flock(status, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found = re.search(r"PID: (\d+)", status.read())
                return int(found[1]) if found else 0
    except OSError:
        return None
    return None
