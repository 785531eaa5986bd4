"""One connection taken from the pool: statements, transactions, streams and COPY, timed and with our errors."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, Final, NamedTuple, TypeVar, overload

import psycopg
from psycopg import IsolationLevel, sql
from psycopg.abc import AdaptContext
from psycopg.pq import TransactionStatus
from psycopg.rows import AsyncRowFactory, tuple_row

from chainstrata.engines.postgres.errors import PlanChanged, PostgresError, StatementError
from chainstrata.engines.postgres.metrics import PoolMetrics
from chainstrata.engines.postgres.pool import Driver
from chainstrata.engines.postgres.slowlog import log_slow
from chainstrata.engines.postgres.statements import Params, Statement, StatementCache, at_most
from chainstrata.engines.postgres.translate import is_stale_plan, translate

T = TypeVar("T")
_PARAMETERS: Final = "Pass a mapping for `%(name)s`, a sequence for `%s`, with values of types that PostgreSQL has."


class _Rendered(sql.Composable):
    """A statement as the driver quoted it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)

    def as_bytes(self, context: AdaptContext | None = None) -> bytes:
        connection = context.connection if context else None
        return str(self._obj).encode(connection.info.encoding if connection else "utf-8")


class ResultField(NamedTuple):
    """A column of a result: its name, and its type's number and modifier."""

    name: str
    oid: int
    modifier: int


class Connection:
    """A connection in use. `driver` is psycopg's own, for what this class does not offer."""

    __slots__ = ("_cache", "_metrics", "_most", "_pool_name", "_slow", "driver")

    def __init__(
        self, driver: Driver, cache: StatementCache, metrics: PoolMetrics, slow: float, pool_name: str, most: int | None = None
    ) -> None:
        self.driver = driver
        self._cache = cache
        self._metrics = metrics
        self._slow = slow
        self._pool_name = pool_name
        self._most = most

    def at_most(self, rows: int) -> "Connection":
        """The same connection, for reading: `fetch_all` gives the first so many rows, and the server looks for no more."""
        return Connection(self.driver, self._cache, self._metrics, self._slow, self._pool_name, rows)

    @overload
    async def fetch_all(self, statement: Statement, params: Params = None) -> list[Any]: ...
    @overload
    async def fetch_all(self, statement: Statement, params: Params = None, *, row_factory: AsyncRowFactory[T] | None) -> list[T]: ...
    async def fetch_all(self, statement: Statement, params: Params = None, *, row_factory: AsyncRowFactory[Any] | None = None) -> list[Any]:
        """Return all rows, as named tuples unless told otherwise."""
        cursor = await self._execute(statement, params, row_factory, self._most)
        try:
            return await cursor.fetchall()
        except psycopg.Error as error:
            raise self._failed(error, None, "", None) from error

    @overload
    async def fetch_one(self, statement: Statement, params: Params = None) -> Any: ...
    @overload
    async def fetch_one(self, statement: Statement, params: Params = None, *, row_factory: AsyncRowFactory[T] | None) -> T | None: ...
    async def fetch_one(self, statement: Statement, params: Params = None, *, row_factory: AsyncRowFactory[Any] | None = None) -> Any:
        """Return the first row, or None."""
        cursor = await self._execute(statement, params, row_factory)
        try:
            return await cursor.fetchone()
        except psycopg.Error as error:
            raise self._failed(error, None, "", None) from error

    async def fetch_value(self, statement: Statement, params: Params = None) -> Any:
        """Return the first column of the first row, or None."""
        row = await self.fetch_one(statement, params, row_factory=tuple_row)
        return None if row is None else row[0]

    async def execute(self, statement: Statement, params: Params = None) -> int:
        """Run a statement and return how many rows it touched."""
        return (await self._execute(statement, params, tuple_row)).rowcount

    async def execute_many(self, statement: Statement, params: Iterable[Params]) -> int:
        """Run a statement once for each set of parameters, in one go, and return how many rows it touched."""
        text: Any = None
        prepared: list[Any] = []
        for one in params:
            text, values, _ = self._cache.prepare(statement, one)
            prepared.append(values)
        if not prepared:
            return 0
        cursor = self.driver.cursor()
        started = perf_counter()
        try:
            await cursor.executemany(text, prepared)
        except psycopg.Error as error:
            raise self._failed(error, statement, text, started) from error
        self._done(statement, text, started)
        return cursor.rowcount

    def render(self, statement: Statement, params: Params = None) -> sql.Composable:
        """Return the statement with its values written into it, safely quoted, for what takes no parameters: COPY, a cursor."""
        text, values, _ = self._cache.prepare(statement, params)
        try:
            return _Rendered(psycopg.AsyncClientCursor(self.driver).mogrify(text, values))
        except (psycopg.Error, TypeError) as error:
            raise StatementError(f"parameters do not fit: {error}", hint=_PARAMETERS) from error

    async def describe(self, statement: Statement) -> list[ResultField]:
        """Run a statement and return the columns of its result, without its rows."""
        result = (await self._execute(statement, None, tuple_row)).pgresult
        if result is None:
            return []
        fields = range(result.nfields)
        return [ResultField((result.fname(field) or b"").decode(), result.ftype(field), result.fmod(field)) for field in fields]

    @asynccontextmanager
    async def stream(
        self, statement: Statement, params: Params = None, *, batch: int = 1000, row_factory: AsyncRowFactory[Any] | None = None
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Rows one by one from a server-side cursor, `batch` at a time in memory. Needs an open transaction."""
        text, values, rows = self._cache.prepare(statement, params)
        factory = rows.using(row_factory) if rows and row_factory else row_factory or rows or self.driver.row_factory
        cursor = self.driver.cursor("chainstrata_stream", row_factory=factory)
        cursor.itersize = batch
        started = perf_counter()
        try:
            async with cursor:
                await cursor.execute(text, values)
                self._done(statement, text, started)
                yield cursor
        except psycopg.Error as error:
            raise self._failed(error, statement, text, started) from error

    @asynccontextmanager
    async def copy(self, statement: Statement, params: Params = None) -> AsyncIterator[psycopg.AsyncCopy]:
        """COPY in or out: `async with connection.copy("COPY t FROM STDIN") as copy: await copy.write(...)`."""
        text, values, _ = self._cache.prepare(statement, params)
        started = perf_counter()
        try:
            async with self.driver.cursor().copy(text, values) as copy:
                yield copy
        except psycopg.Error as error:
            raise self._failed(error, statement, text, started) from error
        # How long a COPY takes is its caller's pace, so it never counts as slow.
        self._metrics.queries += 1

    @asynccontextmanager
    async def begin(self, *, isolation: IsolationLevel | None = None, read_only: bool = False) -> AsyncIterator[None]:
        """A transaction on this connection. `Database.transaction` is the usual way."""
        driver = self.driver
        try:
            if isolation is not None:
                await driver.set_isolation_level(isolation)
            if read_only:
                await driver.set_read_only(True)
            try:
                async with driver.transaction():
                    yield
            except PlanChanged:
                await self._forget_prepared()
                raise
            finally:
                if isolation is not None:
                    await driver.set_isolation_level(None)
                if read_only:
                    await driver.set_read_only(None)
        except psycopg.Error as error:
            raise self._failed(error, None, "COMMIT", None) from error

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part of the open transaction that may fail alone: it is undone when the block raises."""
        try:
            async with self.driver.transaction():
                yield
        except psycopg.Error as error:
            raise self._failed(error, None, "SAVEPOINT", None) from error

    async def _execute(
        self, statement: Statement, params: Params, row_factory: AsyncRowFactory[Any] | None, most: int | None = None
    ) -> psycopg.AsyncCursor[Any]:
        text, values, rows = self._cache.prepare(statement, params)
        if most is not None:
            text = at_most(text, most)
        if rows is not None:
            row_factory = rows if row_factory is None else rows.using(row_factory)
        cursor = self.driver.cursor() if row_factory is None else self.driver.cursor(row_factory=row_factory)
        started = perf_counter()
        try:
            await cursor.execute(text, values)
        except TypeError as error:
            raise StatementError(f"parameters do not fit: {error}", hint=_PARAMETERS) from error
        except psycopg.Error as error:
            if not (is_stale_plan(error) and self.driver.pgconn.transaction_status == TransactionStatus.IDLE):
                raise self._failed(error, statement, text, started) from error
            cursor = await self._execute_afresh(cursor, statement, text, values, started)
        self._done(statement, text, started)
        return cursor

    async def _execute_afresh(
        self, cursor: psycopg.AsyncCursor[Any], statement: Statement, text: Any, values: Params, started: float
    ) -> psycopg.AsyncCursor[Any]:
        """Forget the prepared statements, because a table changed under one, and run it again: it had not started."""
        try:
            await self._forget_prepared()
            return await cursor.execute(text, values)
        except psycopg.Error as error:
            raise self._failed(error, statement, text, started) from error

    async def _forget_prepared(self) -> None:
        # The driver watches for this very statement and empties its own list too.
        await self.driver.execute("DEALLOCATE ALL")

    def _done(self, statement: Statement, text: Any, started: float) -> None:
        seconds = perf_counter() - started
        metrics = self._metrics
        metrics.queries += 1
        metrics.query_seconds += seconds
        if seconds >= self._slow:
            metrics.slow_queries += 1
            log_slow(statement, text, seconds, pool=self._pool_name)

    def _failed(self, error: psycopg.Error, statement: Statement | None, text: Any, started: float | None) -> PostgresError:
        translated = translate(error)
        self._metrics.errors[translated.code] += 1
        if statement is not None and started is not None and (seconds := perf_counter() - started) >= self._slow:
            self._metrics.slow_queries += 1
            log_slow(statement, text, seconds, pool=self._pool_name, failed=translated.code)
        return translated
