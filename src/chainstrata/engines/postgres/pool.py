"""The pool of connections: psycopg's, with what a server that comes and goes needs on top.

A connection that died while idle is found at check-out by a look at its socket; there is a round trip only if something waits
there. While the server is
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
from psycopg.pq import TransactionStatus
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
# Seconds a connection may be used again and again before the driver's pool sees it.
_AT_HAND: Final = 1.0

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
    ours = f"-c statement_timeout={round(statement_timeout * 1000)} -c timezone=UTC -c datestyle=ISO"
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
    """Connections to one database, for one event loop.

    A connection that comes back while nobody waits stays at hand, and the next caller takes it from there: the way through
    the driver's pool and back costs a quarter of a point read. The driver's pool sees it as in use meanwhile, so each is handed
    back after a moment, in use or not, for age and idle time to be looked at.
    """

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
        self._at_hand: list[Driver] = []
        self._taken: dict[Driver, float] = {}
        self._asking = 0
        self._keep_at_hand = min(_AT_HAND, options.max_idle / 4, options.max_lifetime / 4, options.check_every)
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
        await self._hand_back()
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
        while self._at_hand:
            driver = self._at_hand.pop()
            if await self._is_usable(driver):
                self._metrics.waited(0.0)
                return driver
        started = perf_counter()
        self._asking += 1
        try:
            while not await self._is_usable(driver := await self._pool.getconn(timeout)):
                pass
        except psycopg_pool.PoolTimeout as error:
            self._metrics.acquire_timeouts += 1
            raise self._explain_timeout() from error
        except psycopg.Error as error:
            raise translate(error, sent=False) from error
        finally:
            self._asking -= 1
        taken = self._taken[driver] = perf_counter()
        self._metrics.waited(taken - started)
        return driver

    async def release(self, driver: Driver) -> None:
        wanted = self._asking or self._closing.is_set()
        if wanted or driver.pgconn.transaction_status != TransactionStatus.IDLE or self._is_due(driver):
            await self._put(driver)
        else:
            self._at_hand.append(driver)

    def counts(self) -> tuple[int, int, int]:
        """Return open connections, those in use, and callers waiting."""
        stats = self._pool.get_stats()
        size = stats.get("pool_size", 0)
        return size, size - stats.get("pool_available", 0) - len(self._at_hand), stats.get("requests_waiting", 0)

    async def refresh(self) -> None:
        """Look at every idle connection now and replace the dead ones, as after a restart of the server."""
        await self._hand_back()
        await self._check_idle()

    def _is_due(self, driver: Driver) -> bool:
        """Whether the driver's pool should see this connection again."""
        return perf_counter() - self._taken[driver] > self._keep_at_hand

    async def _hand_back(self) -> None:
        """Give the driver's pool what is at hand."""
        while self._at_hand:
            await self._put(self._at_hand.pop())

    async def _check_idle(self) -> None:
        """Ask every idle connection, one after the other, whether its server is there.

        Not by the driver pool's `check()`: that takes all of them out at once, finds the pool empty, and opens one more each time.
        """
        for _ in range(self._pool.get_stats().get("pool_available", 0)):
            if self._closing.is_set() or not self._pool.get_stats().get("pool_available", 0):
                return
            try:
                driver = await self._pool.getconn()
            except psycopg.Error as error:
                LOGGER.debug("pool %s cannot be checked: %s", self.name, error)
                return
            if await self._is_usable(driver, ask=True):
                await self._put(driver)

    async def _put(self, driver: Driver) -> None:
        self._taken.pop(driver, None)
        await self._pool.putconn(driver)

    async def _is_usable(self, driver: Driver, *, ask: bool = False) -> bool:
        """Whether it may be given out; if not, it is gone, also when the caller gives up meanwhile."""
        usable = not ask and _quiet(driver)
        if not usable:
            try:
                usable = await _answers(driver)
            finally:
                if not usable:
                    await self._bury(driver)
        return usable

    async def _bury(self, driver: Driver) -> None:
        self._metrics.lost += 1
        await driver.close()
        await self._put(driver)

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
        """Hand back what lies at hand, and check the idle connections from time to time, until closing."""
        checked = perf_counter()
        while not await happened(self._closing, self._keep_at_hand):
            await self._hand_back()
            if perf_counter() - checked >= self.options.check_every:
                await self._check_idle()
                checked = perf_counter()

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


def _quiet(driver: Driver) -> bool:
    """Whether nothing waits on an idle connection's socket, as it is with a server that is there. No round trip."""
    try:
        poll = select.poll()
        poll.register(driver.pgconn.socket, select.POLLIN)
    except psycopg.OperationalError:
        return False
    return not poll.poll(0)


async def _answers(driver: Driver) -> bool:
    """Ask a server that has spoken unasked: it says so when a setting changed, and also, just before it, when it goes away."""
    try:
        await driver.execute("", prepare=False)
    except psycopg.Error:
        return False
    return True
