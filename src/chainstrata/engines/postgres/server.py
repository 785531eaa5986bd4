"""The embedded PostgreSQL server, run and watched by this process.

The server is a child of ours: it is told to stop when the node stops, it gets the signal to stop from the kernel when the
node is killed, and it is started again when it dies itself. Whatever a killed node left is cleared before a start: a server
still running in the directory is stopped cleanly, a stale or misleading `postmaster.pid` goes.
"""

import asyncio
import logging
import signal
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import Final

import psycopg
from psycopg import conninfo as libpq
from psycopg import sql

from chainstrata.config import (
    POSTGRES_BIN,
    POSTGRES_DATABASE,
    POSTGRES_EXTRA,
    POSTGRES_MAX_CONNECTIONS,
    POSTGRES_MEMORY_MB,
    POSTGRES_PORT,
    POSTGRES_RUN_AS,
    POSTGRES_START_TIMEOUT,
    POSTGRES_STOP_TIMEOUT,
    Config,
)
from chainstrata.engines.postgres import errors
from chainstrata.engines.postgres.account import server_account
from chainstrata.engines.postgres.address import (
    LOOPBACK,
    HeldPort,
    choose_socket_directory,
    give_up_socket_directory,
    remove_stale_sockets,
    take_port,
)
from chainstrata.engines.postgres.child import ChildServer, Ending, Progress
from chainstrata.engines.postgres.cluster import (
    ENVIRONMENT,
    SUPERUSER,
    Cluster,
    check_extra,
    find_cluster,
    make_cluster,
    read_pid_file,
    remove_partials,
    set_password,
    write_configuration,
)
from chainstrata.engines.postgres.home import HomeLock, make_password, prepare_home, read_password
from chainstrata.engines.postgres.host import inspect_host
from chainstrata.engines.postgres.leftovers import clear_leftovers
from chainstrata.engines.postgres.locate import Binaries, locate_binaries
from chainstrata.engines.postgres.processes import die_with_parent
from chainstrata.engines.postgres.serverlog import ServerLog
from chainstrata.engines.postgres.translate import translate
from chainstrata.engines.postgres.tuner import Features, Parameter, tune
from chainstrata.errors import ChainStrataError

LOGGER: Final = logging.getLogger("chainstrata.postgres.server")
_POLL: Final = 0.005
_QUICK_STOP: Final = 10.0
_KILLED: Final = 10.0
_PORT_TRIES: Final = 20
_NO_SPACE: Final = "No space left on device"
_CANNOT_BIND: Final = "could not bind"


def plan_parameters(config: Config, binaries: Binaries | None = None) -> list[Parameter]:
    """Return the parameters an embedded server of this configuration gets, each with its reason. Starts nothing."""
    found = binaries or locate_binaries(config[POSTGRES_BIN])
    host = inspect_host(config.home, memory_mb=config[POSTGRES_MEMORY_MB])
    features = Features(found.major, statements=found.has_library("pg_stat_statements"), jit=found.has_library("llvmjit"))
    parameters = tune(host, features, max_connections=config[POSTGRES_MAX_CONNECTIONS])
    extra = config[POSTGRES_EXTRA]
    kept = [replace(one, value=str(extra[one.name]), reason="postgres.extra") if one.name in extra else one for one in parameters]
    known = {one.name for one in parameters}
    return kept + [Parameter(name, str(value), "postgres.extra") for name, value in extra.items() if name not in known]


class EmbeddedPostgres(ChildServer[errors.PostgresError]):
    """A PostgreSQL server of this home's own. Use as `async with EmbeddedPostgres(config) as server`.

    Entering it returns when the server takes connections; it raises an `EmbeddedError` or `DiskFull`. While it runs, `state`
    says how it is, and `wait_failed` returns when it died too often to be started again.
    """

    title = "PostgreSQL"
    label = "postgres"
    failures = (errors.EmbeddedError,)
    disk_full = errors.DiskFull

    def __init__(self, config: Config, *, progress: Progress | None = None, lock: HomeLock | None = None) -> None:
        super().__init__(config.home, ServerLog(config.home / "logs" / "postgres.log"), LOGGER, progress)
        self._config = config
        self._lock = lock or HomeLock(config.home)
        self._own_lock = lock is None
        self._data_lock: HomeLock | None = None
        self._failed = asyncio.Event()
        self._cluster: Cluster | None = None
        self._password = ""
        self._port = 0
        self._held: HeldPort | None = None
        self._socket_directory = config.home / "run"
        self._stop_timeout = config[POSTGRES_STOP_TIMEOUT].total_seconds()

    # What it is --------------------------------------------------------------------------------------------------

    @property
    def conninfo(self) -> str:
        """How to connect on this machine, over the unix socket. Holds the password."""
        return self.connect_to(self._config[POSTGRES_DATABASE])

    @property
    def tcp_conninfo(self) -> str:
        """The same over TCP on 127.0.0.1, for clients that cannot use a unix socket."""
        return libpq.make_conninfo(self.conninfo, host=LOOPBACK)

    def connect_to(self, database: str) -> str:
        """Return how to connect to another database of this server."""
        return libpq.make_conninfo(
            "", host=str(self._socket_directory), port=self._port, user=SUPERUSER, password=self._password, dbname=database
        )

    @property
    def port(self) -> int:
        return self._port

    @property
    def cluster(self) -> Cluster:
        """The data directory and binaries."""
        if self._cluster is None:
            raise errors.EmbeddedError("the embedded server was not started", hint="Use it as `async with EmbeddedPostgres(config)`.")
        return self._cluster

    async def wait_failed(self) -> ChainStrataError:
        """Return the error when the server is given up. Never returns while it runs."""
        await self._failed.wait()
        return self.error or errors.EmbeddedError("the embedded server was given up")

    # Start and stop ----------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._failed = asyncio.Event()
        check_extra(self._config[POSTGRES_EXTRA])
        prepare_home(self._home)
        if self._own_lock:
            self._lock.acquire()
        await self._prepare()
        await self._launch_on_a_port()
        await self._ensure_contents()

    async def _launch_again(self) -> None:
        await self._clear_leftovers()
        await self._launch()

    def _endings(self) -> Sequence[Ending]:
        return (signal.SIGINT, self._stop_timeout), (signal.SIGQUIT, _QUICK_STOP), (signal.SIGKILL, _KILLED)

    def _let_go(self) -> None:
        super()._let_go()
        self._release_port()
        give_up_socket_directory(self._socket_directory, self._home)
        if self._data_lock is not None:
            self._data_lock.release()
        if self._own_lock:
            self._lock.release()

    async def _prepare(self) -> None:
        """Find or make the data directory and clear what an earlier run left."""
        started = monotonic()
        account = server_account(self._config[POSTGRES_RUN_AS])
        cluster = find_cluster(
            self._config.home, account, self._config[POSTGRES_BIN], lambda name, detail: self._say(detail, started, name=name)
        )
        self._socket_directory = choose_socket_directory(self._config.home, account)
        password = read_password(self._config.home)
        if password is None:
            password = make_password(self._config.home)
        self._password = password
        self._log.open()
        if not cluster.data.is_relative_to(self._config.home):
            # A copy of this home would point to the same data.
            cluster.data.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._data_lock = HomeLock(cluster.data.parent)
            self._data_lock.acquire()
        await remove_partials(cluster.data.parent)
        if cluster.data.exists() and any(cluster.data.iterdir()):
            self._cluster = cluster
            await self._clear_leftovers()
        else:
            # Found out before the work, not after it.
            take_port(self._config[POSTGRES_PORT], cluster.record.port).release()
            self._cluster = await make_cluster(cluster, password)
            self._say(f"PostgreSQL {cluster.binaries.version} data in {cluster.data}", started, name="initdb")

    async def _clear_leftovers(self) -> None:
        started = monotonic()
        if await clear_leftovers(self.cluster, self._stop_timeout):
            self._say("stopped a server that an earlier run left behind", started)
        remove_stale_sockets(self._socket_directory)

    async def _launch_on_a_port(self) -> None:
        """Launch the server. A port that was picked, not wanted, gives way to the next when another program is faster."""
        wanted, after = self._config[POSTGRES_PORT], 0
        for _ in range(_PORT_TRIES):
            self._release_port()
            self._held = take_port(wanted, self.cluster.record.port, after=after)
            self._port = self._held.port
            try:
                await self._launch()
            except errors.StartFailed as error:
                if _CANNOT_BIND not in error.log:
                    raise
                if wanted:
                    raise errors.PortTaken(wanted) from error
                after = self._port
            else:
                break
        else:
            raise errors.PortTaken(self._port)
        record = replace(self.cluster.record, port=self._port)
        if record != self.cluster.record:
            record.write(self._config.home)
            self._cluster = replace(self.cluster, record=record)

    def _release_port(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None

    async def _launch(self) -> None:
        """Launch the server once and wait until it takes connections."""
        started = monotonic()
        cluster = self.cluster
        write_configuration(cluster, plan_parameters(self._config, cluster.binaries))
        handle = self._log.open()
        self._process = await asyncio.create_subprocess_exec(
            str(cluster.binaries.tool("postgres")),
            "-D",
            str(cluster.data),
            "-c",
            f"listen_addresses={LOOPBACK}",
            "-c",
            f"port={self._port}",
            "-c",
            f"unix_socket_directories={_quote_directory(str(self._socket_directory))}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            cwd="/",
            env=ENVIRONMENT,
            umask=0o077,
            # A session of its own: Ctrl-C in a terminal must reach the node alone, which then stops the server last.
            start_new_session=True,
            # One prctl call; nothing that another thread's lock could stop.
            preexec_fn=die_with_parent(signal.SIGINT),
            **cluster.account.spawn_options,
        )
        await self._wait_ready(self._process, self._config[POSTGRES_START_TIMEOUT].total_seconds())
        self._say(f"PostgreSQL {cluster.binaries.version} on {LOOPBACK}:{self._port}", started)

    async def _wait_ready(self, process: asyncio.subprocess.Process, timeout: float) -> None:
        ended = asyncio.ensure_future(process.wait())
        deadline = monotonic() + timeout
        try:
            while monotonic() < deadline:
                if read_pid_file(self.cluster) == (process.pid, "ready"):
                    return
                done, _ = await asyncio.wait({ended}, timeout=_POLL)
                if done:
                    raise self._start_error(f"PostgreSQL ended with status {process.returncode} instead of starting")
        finally:
            ended.cancel()
        raise self._start_error(f"PostgreSQL did not start within {timeout:g} s (postgres.start_timeout)")

    def _start_error(self, message: str) -> errors.PostgresError:
        log = self._log.tail()
        if _NO_SPACE in log:
            return errors.DiskFull(f"PostgreSQL cannot start: no space left for {self.cluster.data}")
        return errors.StartFailed(message, log=log)

    async def _ensure_contents(self) -> None:
        """Make what is not there: the first start may have ended before, and the password file may be a new one."""
        try:
            await self._ensure_database()
        except errors.AuthenticationFailed:
            started = monotonic()
            await self._end_process()
            await set_password(self.cluster, self._password)
            self._say("the server had another one than secrets/postgres_password: set anew", started, name="password")
            await self._launch_on_a_port()
            await self._ensure_database()
        if not self.cluster.record.ready:
            record = replace(self.cluster.record, ready=True)
            record.write(self._config.home)
            self._cluster = replace(self.cluster, record=record)

    async def _ensure_database(self) -> None:
        database = self._config[POSTGRES_DATABASE]
        try:
            async with await self._connect("postgres") as connection:
                found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
                if await found.fetchone() is None:
                    await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
            if self.cluster.binaries.has_library("pg_stat_statements"):
                async with await self._connect(database) as connection:
                    await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        except psycopg.Error as error:
            raise translate(error, sent=False) from error

    async def _connect(self, database: str) -> psycopg.AsyncConnection[tuple[object, ...]]:
        return await psycopg.AsyncConnection.connect(
            self.connect_to(database), autocommit=True, application_name="chainstrata-start", options="-c client_min_messages=warning"
        )

    def _limit(self, deaths: int, seconds: float, cause: str) -> errors.PostgresError:
        return errors.RestartLimit(deaths, seconds, cause=cause)

    def _given_up(self) -> None:
        self._failed.set()


def _quote_directory(path: str) -> str:
    # A list of directories: quoted, so that spaces and commas stay part of the one.
    return '"' + path.replace('"', '""') + '"'
