"""The pool of connections: psycopg's, with what a server that comes and goes needs on top.

A connection that died while idle is found at check-out by a look at its socket, without a round trip. While the server is
away, opening waits in short paces instead of the driver's doubling ones, so the pool is whole again as soon as the server is.
"""

import asyncio
import logging
import random
import select
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import Any, Final

import psycopg
import psycopg_pool
from psycopg import conninfo as libpq
from psycopg.rows import namedtuple_row

from chainstrata.config import (
    POOL_ACQUIRE_TIMEOUT,
    POOL_CHECK_EVERY,
    POOL_MAX,
    POOL_MAX_IDLE,
    POOL_MAX_LIFETIME,
    POOL_MIN,
    POOL_PREPARE,
    RETRY_ATTEMPTS,
    RETRY_DEADLINE,
    SLOW_QUERY,
    STATEMENT_TIMEOUT,
    Config,
)
from chainstrata.engines.postgres.errors import CannotConnect, PoolTimeout, PostgresError
from chainstrata.engines.postgres.metrics import PoolMetrics
from chainstrata.engines.postgres.translate import translate
from chainstrata.engines.postgres.waiting import happened

LOGGER: Final = logging.getLogger("chainstrata.postgres.pool")
_FIRST_PACE: Final = 0.05
_LAST_PACE: Final = 1.0
_NEVER: Final = 10 * 365 * 86400.0
# Kept per connection. Beyond this the one unused longest goes; a product's distinct statements fit.
_PREPARED_KEPT: Final = 256

Driver = psycopg.AsyncConnection[Any]
OnConnect = Callable[[Driver], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How a pool behaves. Durations are in seconds."""

    min_size: int = 5
    max_size: int = 25
    max_lifetime: float = 3600.0
    max_idle: float = 1800.0
    check_every: float = 60.0
    acquire_timeout: float = 30.0
    statement_timeout: float = 60.0
    slow_query: float = 0.2
    retry_attempts: int = 5
    retry_deadline: float = 30.0
    prepare: bool = True

    @classmethod
    def from_config(cls, config: Config) -> "PoolOptions":
        def seconds(value: timedelta) -> float:
            return value.total_seconds()

        return cls(
            min_size=min(config[POOL_MIN], config[POOL_MAX]),
            max_size=config[POOL_MAX],
            max_lifetime=seconds(config[POOL_MAX_LIFETIME]),
            max_idle=seconds(config[POOL_MAX_IDLE]),
            check_every=seconds(config[POOL_CHECK_EVERY]),
            acquire_timeout=seconds(config[POOL_ACQUIRE_TIMEOUT]),
            statement_timeout=seconds(config[STATEMENT_TIMEOUT]),
            slow_query=seconds(config[SLOW_QUERY]),
            retry_attempts=config[RETRY_ATTEMPTS],
            retry_deadline=seconds(config[RETRY_DEADLINE]),
            prepare=config[POOL_PREPARE],
        )


def session_conninfo(conninfo: str, *, application_name: str, statement_timeout: float) -> str:
    """Return the conninfo with what every session sets. What the caller's own `options` say wins."""
    given = libpq.conninfo_to_dict(conninfo)
    ours = f"-c statement_timeout={round(statement_timeout * 1000)} -c timezone=UTC"
    given["options"] = f"{ours} {given.get('options') or ''}".strip()
    given["application_name"] = given.get("application_name") or application_name
    given.setdefault("connect_timeout", "10")
    given.setdefault("keepalives_idle", "30")
    given.setdefault("keepalives_interval", "10")
    given.setdefault("keepalives_count", "3")
    # Unanswered data is given up after this, where TCP alone would wait for a quarter of an hour.
    given.setdefault("tcp_user_timeout", "60000")
    return libpq.make_conninfo("", **given)


class ConnectionPool:
    """Connections to one database, for one event loop."""

    def __init__(
        self, conninfo: str, options: PoolOptions, metrics: PoolMetrics, *, name: str, on_connect: OnConnect | None = None
    ) -> None:
        self.options = options
        self.name = name
        self._conninfo = conninfo
        self._metrics = metrics
        self._on_connect = on_connect
        self._closing = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._last_failure: psycopg.Error | None = None
        self._pool: psycopg_pool.AsyncConnectionPool[Driver] = psycopg_pool.AsyncConnectionPool(
            conninfo,
            connection_class=self._connection_class(),
            kwargs={"autocommit": True, "row_factory": namedtuple_row, "prepare_threshold": 0 if options.prepare else None},
            min_size=options.min_size,
            max_size=options.max_size,
            max_lifetime=options.max_lifetime,
            max_idle=options.max_idle,
            timeout=options.acquire_timeout,
            reconnect_timeout=_NEVER,
            configure=self._configure,
            open=False,
            name=name,
        )

    async def open(self) -> None:
        """Open the pool and wait until its smallest size stands; raise what keeps it from that."""
        driver_log = logging.getLogger("psycopg.pool")
        if driver_log.level == logging.NOTSET:
            # It writes three records at INFO for every check-out.
            driver_log.setLevel(logging.WARNING)
        await self._pool.open()
        try:
            await self._pool.wait(self.options.acquire_timeout)
        except psycopg_pool.PoolTimeout as error:
            raise self._explain_timeout() from error
        self._keeper = asyncio.create_task(self._keep(), name=f"{self.name}-keeper")

    async def close(self) -> None:
        self._closing.set()
        if self._keeper is not None:
            await self._keeper
        await self._pool.close()

    @property
    def closing(self) -> asyncio.Event:
        return self._closing

    async def pause(self, seconds: float) -> None:
        """Wait before another try; raise `CannotConnect` if the pool closes meanwhile."""
        if await happened(self._closing, seconds):
            raise CannotConnect("the pool is closing")

    async def acquire(self, timeout: float | None = None) -> Driver:
        """Return a live connection, or raise `PoolTimeout`, or `CannotConnect` when the server is away."""
        started = perf_counter()
        try:
            driver = await self._pool.getconn(timeout)
            while not _alive(driver):
                self._metrics.lost += 1
                await driver.close()
                await self._pool.putconn(driver)
                driver = await self._pool.getconn(timeout)
        except psycopg_pool.PoolTimeout as error:
            self._metrics.acquire_timeouts += 1
            raise self._explain_timeout() from error
        except psycopg.Error as error:
            raise translate(error, sent=False) from error
        self._metrics.waited(perf_counter() - started)
        return driver

    async def release(self, driver: Driver) -> None:
        await self._pool.putconn(driver)

    def counts(self) -> tuple[int, int, int]:
        """Return open connections, those in use, and callers waiting."""
        stats = self._pool.get_stats()
        size = stats.get("pool_size", 0)
        return size, size - stats.get("pool_available", 0), stats.get("requests_waiting", 0)

    async def refresh(self) -> None:
        """Look at every idle connection now and replace the dead ones, as after a restart of the server."""
        await self._pool.check()

    def _explain_timeout(self) -> PostgresError:
        if self._last_failure is None:
            size, used, waiting = self.counts()
            return PoolTimeout(
                f"no connection became free within {self.options.acquire_timeout:g} s ({used} of {size} in use, {waiting} more callers waiting)",
                hint="Find what holds connections, or raise pool.max_size.",
            )
        translated = translate(self._last_failure, sent=False)
        if isinstance(translated, CannotConnect):
            return translated
        return type(translated)(translated.message, hint=translated.hint)

    async def _configure(self, driver: Driver) -> None:
        driver.prepared_max = _PREPARED_KEPT if self.options.prepare else None
        self._metrics.opened += 1
        if self._on_connect is not None:
            await self._on_connect(driver)

    async def _keep(self) -> None:
        """Check the idle connections from time to time, until closing."""
        while not await happened(self._closing, self.options.check_every):
            await self._pool.check()

    def _connection_class(self) -> type[Driver]:
        pool = self

        class Pooled(psycopg.AsyncConnection[Any]):
            """Opens when the server is there, however long that takes, unless the pool closes first."""

            @classmethod
            async def connect(cls, conninfo: str = "", **options: Any) -> "Pooled":
                pace = _FIRST_PACE
                while True:
                    try:
                        driver = await super().connect(conninfo, **options)
                    except psycopg.OperationalError as error:
                        pool._last_failure = error
                        LOGGER.debug("pool %s cannot connect: %s", pool.name, error)
                        if await happened(pool.closing, pace * random.uniform(0.5, 1.0)):  # noqa: S311
                            raise
                        pace = min(_LAST_PACE, pace * 2)
                    else:
                        pool._last_failure = None
                        return driver

        return Pooled


def _alive(driver: Driver) -> bool:
    """Return whether an idle connection still has its server, by what waits on its socket. No round trip."""
    pgconn = driver.pgconn
    try:
        poll = select.poll()
        poll.register(pgconn.socket, select.POLLIN)
        if not poll.poll(0):
            return True
        # The server speaks to an idle client only to say something changed or that it goes away.
        pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return pgconn.status == psycopg.pq.ConnStatus.OK
