"""`Columnar`: the way everything at run time speaks to the columnar engine, embedded or a ClickHouse behind a URL.

Values travel beside the text as `{name:Type}`. Every insert bears a token, so that one whose answer got lost is sent again and
still counts once. Statements have a deadline; what failed without being done is tried again until then, and so are reads.
"""

import asyncio
import random
import re
from collections import namedtuple
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from chainstrata.config import CLICKHOUSE_CLUSTER, CLICKHOUSE_DATABASE, CLICKHOUSE_QUERY_TIMEOUT, RETRY_DEADLINE, Config
from chainstrata.engines.clickhouse.errors import ColumnarError, ColumnarLost, ColumnarTimeout, ColumnarUnreachable
from chainstrata.engines.clickhouse.translate import lost, translate

# The driver and what it brings are a large import that most commands do without.
if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

T = TypeVar("T")
Params = Mapping[str, Any]
_FIRST_PAUSE: Final = 0.05
_LAST_PAUSE: Final = 2.0
_GRACE: Final = 5.0
_CONNECT: Final = 10.0
_SECRET: Final = re.compile(r"://[^@/]*@")


@dataclass(frozen=True, slots=True)
class Done:
    """What a statement did."""

    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ColumnarOptions:
    """How statements run unless they say otherwise."""

    database: str = "chainstrata"
    cluster: str = ""
    timeout: timedelta = timedelta(seconds=60)
    retry_deadline: timedelta = timedelta(seconds=30)

    @classmethod
    def from_config(cls, config: Config) -> "ColumnarOptions":
        return cls(config[CLICKHOUSE_DATABASE], config[CLICKHOUSE_CLUSTER], config[CLICKHOUSE_QUERY_TIMEOUT], config[RETRY_DEADLINE])


class Columnar:
    """One columnar engine. Use as `async with Columnar(url, options) as columnar`. Any number of tasks may share it.

    Opening checks that the engine answers; it raises `ColumnarUnreachable` or `ColumnarAuthentication`.
    """

    def __init__(self, url: str, options: ColumnarOptions | None = None, *, name: str = "chainstrata") -> None:
        self.options = options or ColumnarOptions()
        self.name = name
        self._url = url
        self._client: AsyncClient | None = None
        self.version = ""

    def __repr__(self) -> str:
        return f"Columnar({_SECRET.sub('://', self._url)}, {self.options.database})"

    async def __aenter__(self) -> "Columnar":
        await self.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    @property
    def database(self) -> str:
        return self.options.database

    @property
    def cluster(self) -> str:
        """The cluster that tables are spread over, or an empty string."""
        return self.options.cluster

    async def open(self) -> None:
        """Connect and make the database unless it is there."""
        if self._client is not None:
            return
        self._client = await self._retried(self._connect, "connect", repeatable=True, timeout=_CONNECT)
        try:
            self.version = str(await self.fetch_value("SELECT version()"))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connect(self) -> "AsyncClient":
        from clickhouse_connect import get_async_client

        parts = urlsplit(self._url)
        client = await get_async_client(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or (8443 if parts.scheme == "https" else 8123),
            interface="https" if parts.scheme == "https" else "http",
            username=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            client_name=self.name,
            # On one machine compressing costs more than it saves.
            compress=parts.hostname not in ("127.0.0.1", "localhost", "::1"),
            connect_timeout=_CONNECT,
            send_receive_timeout=self.options.timeout.total_seconds() + _GRACE,
            query_retries=0,
            tz_mode="aware",
            show_clickhouse_errors=True,
        )
        database = self.options.database.replace("`", "")
        cluster = f" ON CLUSTER `{self.options.cluster}`" if self.options.cluster else ""
        try:
            await client.command(f"CREATE DATABASE IF NOT EXISTS `{database}`{cluster}")
        except BaseException:
            await client.close()
            raise
        client.database = database
        return client

    # Statements --------------------------------------------------------------------------------------------------

    async def execute(
        self, statement: str, params: Params | None = None, *, settings: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> Done:
        """Run a statement that answers nothing. One that was under way when the connection broke is not repeated."""

        async def work() -> Done:
            summary = await self._opened().command(statement, parameters=_bound(params), settings=self._settings(settings, timeout))
            return _done(getattr(summary, "summary", {}))

        return await self._retried(work, statement, repeatable=False, timeout=timeout)

    async def query_rows(
        self, statement: str, params: Params | None = None, *, settings: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> list[Any]:
        """Return the rows of a query as named tuples; times are aware, decimals exact."""

        async def work() -> list[Any]:
            result = await self._opened().query(statement, parameters=_bound(params), settings=self._settings(settings, timeout))
            if not result.result_rows:
                return []
            # The driver knows no names for what a command answers.
            names = result.column_names or [""] * len(result.result_rows[0])
            row = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # names are known only now
            return [row._make(values) for values in result.result_rows]

        return await self._retried(work, statement, repeatable=True, timeout=timeout)

    async def fetch_value(self, statement: str, params: Params | None = None, *, timeout: float | None = None) -> Any:
        """Return the first value of the first row, or None without rows."""
        rows = await self.query_rows(statement, params, timeout=timeout)
        return rows[0][0] if rows else None

    async def query_arrow(
        self, statement: str, params: Params | None = None, *, settings: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> Any:
        """Return the rows of a query as an Arrow table."""

        async def work() -> Any:
            return await self._opened().query_arrow(
                statement, parameters=_bound(params), settings=self._settings(settings, timeout), use_strings=True
            )

        return await self._retried(work, statement, repeatable=True, timeout=timeout)

    async def insert_arrow(
        self,
        table: str,
        rows: Any,
        *,
        token: str = "",
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Done:
        """Write an Arrow table; columns go by name. The rows of one call that bears a `token` count once, however often it is made.

        A call without a token makes up one, so that it may itself repeat what got lost on the way.
        """
        own = {
            **(settings or {}),
            "insert_deduplication_token": token or str(uuid4()),
            "async_insert": 0,
            # One block for one call, as far as memory allows: the token then names all of it.
            "max_insert_block_size": max(rows.num_rows, 1_048_449),
            "min_insert_block_size_rows": max(rows.num_rows, 1_048_449),
        }

        async def work() -> Done:
            summary = await self._opened().insert_arrow(
                quote_name(table), rows, database=self.options.database, settings=self._settings(own, timeout)
            )
            return _done(summary.summary)

        return await self._retried(work, f"INSERT INTO {table}", repeatable=True, timeout=timeout)

    async def ping(self, within: float = 2.0) -> None:
        """Ask the engine one small question; raise what is wrong."""
        await self._retried(lambda: self._opened().query("SELECT 1"), "ping", repeatable=True, timeout=within, patience=0.0)

    # Under the hood ----------------------------------------------------------------------------------------------

    def _opened(self) -> "AsyncClient":
        if self._client is None:
            raise ColumnarUnreachable("the columnar connection is closed", hint="Use it as `async with Columnar(url)`.")
        return self._client

    def _settings(self, settings: Mapping[str, Any] | None, timeout: float | None) -> dict[str, Any]:
        seconds = self.options.timeout.total_seconds() if timeout is None else timeout
        return {"max_execution_time": max(1, round(seconds)), **(settings or {})}

    async def _retried(
        self,
        work: Callable[[], Awaitable[T]],
        what: str,
        *,
        repeatable: bool,
        timeout: float | None = None,
        patience: float | None = None,
    ) -> T:
        """Do the work; try again while that is safe and there is time."""
        limit = (self.options.timeout.total_seconds() if timeout is None else timeout) + _GRACE
        ends = monotonic() + (self.options.retry_deadline.total_seconds() if patience is None else patience)
        pause = _FIRST_PAUSE
        while True:
            try:
                return await _once(work, what, limit)
            except ColumnarError as error:
                again = error.retryable or (repeatable and isinstance(error, ColumnarLost))
                if not again or monotonic() + pause > ends:
                    raise
            await _rest(pause * random.uniform(0.5, 1.5))  # noqa: S311  # only spreads the tries
            pause = min(pause * 2, _LAST_PAUSE)


async def _once(work: Callable[[], Awaitable[T]], what: str, limit: float) -> T:
    """Do the work once and translate what goes wrong."""
    import aiohttp
    from clickhouse_connect.driver.exceptions import ClickHouseError, Error

    try:
        async with asyncio.timeout(limit):
            return await work()
    except Error as error:
        cause = error.__cause__
        raise translate(error, sent=not isinstance(cause, aiohttp.ClientConnectorError)) from error
    except (ClickHouseError, aiohttp.ClientError, OSError) as error:
        if isinstance(error, TimeoutError):
            raise ColumnarTimeout(f"no answer within {limit:g} s: {what.strip()[:80]}", hint="Raise clickhouse.query_timeout.") from error
        raise lost(error, sent=not isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError)) from error


async def _rest(seconds: float) -> None:
    """Pause between tries."""
    try:
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
    except TimeoutError:
        return


def _bound(params: Params | None) -> dict[str, Any] | None:
    return dict(params) if params else None


def _done(summary: Mapping[str, Any]) -> Done:
    return Done(int(summary.get("written_rows", 0)), int(summary.get("written_bytes", 0)), int(summary.get("elapsed_ns", 0)) / 1e9)


def quote_name(name: str) -> str:
    """Return a name quoted for the engine's SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def quote_names(names: Sequence[str]) -> str:
    return ", ".join(map(quote_name, names))
