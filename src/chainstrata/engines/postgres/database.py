"""`Database`: the way everything at run time speaks to PostgreSQL.

Single statements run in autocommit, one round trip each; `transaction()` is for several that belong together and `run()`
for those that may meet others and have to start over. Every statement stays prepared on its connection, is timed, and comes
back with our errors. Values travel beside the text, never in it.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from copy import copy
from time import monotonic
from types import TracebackType
from typing import Any, Final, TypeVar, overload

import psycopg
from psycopg import IsolationLevel
from psycopg.rows import AsyncRowFactory, namedtuple_row

from chainstrata.config import Config
from chainstrata.engines.postgres import budget
from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.copy_alone import CopyAlone, run_alone
from chainstrata.engines.postgres.errors import NestedTransaction, PostgresError, TransactionConflict
from chainstrata.engines.postgres.metrics import PoolMetrics, PoolStats
from chainstrata.engines.postgres.pool import ConnectionPool, Driver, OnConnect, PoolOptions, session_conninfo
from chainstrata.engines.postgres.statements import Params, Statement, StatementCache
from chainstrata.engines.postgres.translate import translate

T = TypeVar("T")
_FIRST_PAUSE: Final = 0.01
_LAST_PAUSE: Final = 1.0
# The task that has a transaction open. A child task inherits the context but may well open its own.
_IN_TRANSACTION: ContextVar[tuple[object, object] | None] = ContextVar("chainstrata_postgres_transaction", default=None)


class _Lease:
    """A connection for as long as a block runs. A class, because a generator would cost more than all else here, at every query."""

    __slots__ = ("_driver", "_pool", "_present", "_timeout")

    def __init__(self, pool: ConnectionPool, timeout: float | None, present: Callable[[Driver], Connection]) -> None:
        self._pool = pool
        self._timeout = timeout
        self._present = present

    async def __aenter__(self) -> Connection:
        self._driver = await self._pool.acquire(self._timeout)
        return self._present(self._driver)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._pool.release(self._driver)


class Database:
    """One database behind one pool. Use as `async with Database(conninfo, config) as db`.

    Opening connects, checks that all pools together fit the server, and warms the pool up; it raises `CannotConnect`,
    `AuthenticationFailed` or `ConnectionBudgetExceeded`. `on_connect` runs on every new connection.
    """

    def __init__(
        self,
        conninfo: str,
        config: Config | None = None,
        *,
        options: PoolOptions | None = None,
        name: str = "chainstrata",
        on_connect: OnConnect | None = None,
    ) -> None:
        self.options = options or (PoolOptions.from_config(config) if config is not None else PoolOptions())
        self.name = name
        self.conninfo = session_conninfo(conninfo, application_name=name, statement_timeout=self.options.statement_timeout)
        self._budget = budget.Budget.from_config(config) if config is not None else None
        self._on_connect = on_connect
        self._metrics = PoolMetrics()
        self._cache = StatementCache()
        self._pool: ConnectionPool | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._server_version = 0
        self.most: int | None = None
        """Rows that `fetch_all` gives at most; see `at_most`."""

    async def __aenter__(self) -> "Database":
        await self.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, check the budget, warm the pool up."""
        if self._pool is not None:
            return
        try:
            async with await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True) as first:
                self._server_version = first.info.server_version
                if self._budget is not None:
                    await budget.check(first, self._budget)
        except psycopg.Error as error:
            raise translate(error, sent=False) from error
        pool = ConnectionPool(self.conninfo, self.options, self._metrics, name=self.name, on_connect=self._on_connect)
        try:
            await pool.open()
        except BaseException:
            await pool.close()
            raise
        # One thread for each connection: however long the server is silent, who holds a connection has one, and others keep theirs.
        self._threads = ThreadPoolExecutor(self.options.max_size, f"{self.name}-copy")
        self._pool = pool

    async def close(self) -> None:
        """Close the pool. Connections in use close when they are given back."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    @property
    def server_version(self) -> int:
        """The server's version as a number: 180006 is 18.6."""
        return self._server_version

    def stats(self) -> PoolStats:
        """Return one look at the pool and its counters."""
        size, used, waiting = self._pool.counts() if self._pool is not None else (0, 0, 0)
        return self._metrics.stats(
            name=self.name, min_size=self.options.min_size, max_size=self.options.max_size, size=size, used=used, waiting=waiting
        )

    async def refresh(self) -> None:
        """Replace dead idle connections now instead of when they are next used."""
        await self._opened().refresh()

    def at_most(self, rows: int) -> "Database":
        """The same database, for reading: `fetch_all` gives the first so many rows, and the server looks for no more."""
        found = copy(self)
        found.most = rows
        return found

    # Connections and transactions --------------------------------------------------------------------------------

    def connection(self, *, timeout: float | None = None) -> AbstractAsyncContextManager[Connection]:
        """A connection for several statements, each its own transaction. `timeout` is how long to wait for one."""
        return _Lease(self._opened(), timeout, self._present)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """A connection of its own, outside the pool, closed when the block ends: neither locks nor settings outlive it."""
        try:
            driver = await psycopg.AsyncConnection.connect(
                self.conninfo, autocommit=True, row_factory=namedtuple_row, prepare_threshold=0 if self.options.prepare else None
            )
        except psycopg.Error as error:
            raise translate(error, sent=False) from error
        async with driver:
            if self._on_connect is not None:
                await self._on_connect(driver)
            yield Connection(driver, self._cache, self._metrics, self.options.slow_query, self.name)

    @asynccontextmanager
    async def transaction(
        self,
        *,
        isolation: IsolationLevel | None = None,
        read_only: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[Connection]:
        """A transaction: committed when the block ends, rolled back when it raises.

        Raises `NestedTransaction` inside another one of the same task: that one's `savepoint()` is meant.
        """
        holder = (self, asyncio.current_task())
        if _IN_TRANSACTION.get() == holder:
            raise NestedTransaction
        token = _IN_TRANSACTION.set(holder)
        try:
            async with self.connection(timeout=timeout) as connection, connection.begin(isolation=isolation, read_only=read_only):
                self._metrics.transactions += 1
                yield connection
        finally:
            _IN_TRANSACTION.reset(token)

    async def run(
        self, work: Callable[[Connection], Awaitable[T]], *, isolation: IsolationLevel | None = None, read_only: bool = False
    ) -> T:
        """Run `work` in a transaction and return what it returns; from the start again if it met another transaction.

        Only a `TransactionConflict` repeats it, up to `pool.retry_attempts` times within `pool.retry_deadline`, after a
        short random pause. `work` must not keep effects outside the transaction.
        """
        deadline = monotonic() + self.options.retry_deadline
        pause = _FIRST_PAUSE
        for attempt in range(1, self.options.retry_attempts + 1):
            try:
                async with self.transaction(isolation=isolation, read_only=read_only) as connection:
                    return await work(connection)
            except TransactionConflict:
                wait = pause * random.uniform(0.5, 1.5)  # noqa: S311
                if attempt == self.options.retry_attempts or monotonic() + wait > deadline:
                    raise
                self._metrics.retries += 1
                await self._opened().pause(wait)
                pause = min(_LAST_PAUSE, pause * 2)
        raise AssertionError("retry_attempts is positive")

    async def run_alone(self, work: CopyAlone, *, timeout: float | None = None) -> None:
        """Run a COPY as a transaction of its own, in one message. Nothing of it is repeated here."""
        if _IN_TRANSACTION.get() == (self, asyncio.current_task()):
            raise NestedTransaction
        async with self.connection(timeout=timeout) as connection:
            self._opened()
            self._metrics.transactions += 1
            try:
                await run_alone(connection, work, self._threads)
            except psycopg.Error as error:
                translated = translate(error)
                self._metrics.errors[translated.code] += 1
                raise translated from error

    # Single statements -------------------------------------------------------------------------------------------

    @overload
    async def fetch_all(self, statement: Statement, params: Params = None) -> list[Any]: ...
    @overload
    async def fetch_all(self, statement: Statement, params: Params = None, *, row_factory: AsyncRowFactory[T]) -> list[T]: ...
    async def fetch_all(self, statement: Statement, params: Params = None, *, row_factory: AsyncRowFactory[Any] | None = None) -> list[Any]:
        """Return all rows, as named tuples unless told otherwise."""
        async with self.connection() as connection:
            return await connection.fetch_all(statement, params, row_factory=row_factory)

    @overload
    async def fetch_one(self, statement: Statement, params: Params = None) -> Any: ...
    @overload
    async def fetch_one(self, statement: Statement, params: Params = None, *, row_factory: AsyncRowFactory[T]) -> T | None: ...
    async def fetch_one(self, statement: Statement, params: Params = None, *, row_factory: AsyncRowFactory[Any] | None = None) -> Any:
        """Return the first row, or None."""
        async with self.connection() as connection:
            return await connection.fetch_one(statement, params, row_factory=row_factory)

    async def fetch_value(self, statement: Statement, params: Params = None) -> Any:
        """Return the first column of the first row, or None."""
        async with self.connection() as connection:
            return await connection.fetch_value(statement, params)

    async def execute(self, statement: Statement, params: Params = None) -> int:
        """Run a statement and return how many rows it touched."""
        async with self.connection() as connection:
            return await connection.execute(statement, params)

    async def execute_many(self, statement: Statement, params: Iterable[Params]) -> int:
        """Run a statement once for each set of parameters, all or none, and return how many rows it touched."""
        async with self.transaction() as connection:
            return await connection.execute_many(statement, params)

    @asynccontextmanager
    async def stream(
        self, statement: Statement, params: Params = None, *, batch: int = 1000, row_factory: AsyncRowFactory[Any] | None = None
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Rows one by one from a server-side cursor, `batch` at a time in memory: `async with db.stream(…) as rows`."""
        async with self.transaction() as connection, connection.stream(statement, params, batch=batch, row_factory=row_factory) as rows:
            yield rows

    def _present(self, driver: Driver) -> Connection:
        return Connection(driver, self._cache, self._metrics, self.options.slow_query, self.name, self.most)

    def _opened(self) -> ConnectionPool:
        if self._pool is None:
            raise PostgresError("the database is not open", hint="Use it as `async with Database(...) as db`.")
        return self._pool
