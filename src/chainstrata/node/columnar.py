"""The columnar engine of a platform: had when it is first asked for, or run by the node as a service.

The node does without it while it starts, and goes on without it when it fails: what needs it says so, `status` shows it, and nothing
takes its place.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from chainstrata.config import CLICKHOUSE_START_TIMEOUT, CLICKHOUSE_URL, Config
from chainstrata.engines.clickhouse import Columnar, ColumnarOptions, EmbeddedClickHouse, open_columnar_target, why_missing
from chainstrata.engines.clickhouse.errors import ColumnarError, ColumnarMissing, ColumnarUnreachable
from chainstrata.engines.postgres import NodeRecord
from chainstrata.engines.postgres.child import ServerState
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError
from chainstrata.model.columnar import ColumnarDataset
from chainstrata.monitor import DatasetStatus, EngineStatus, Finding, Severity

if TYPE_CHECKING:
    from chainstrata.node.platform import Platform

LOGGER: Final = logging.getLogger("chainstrata.node.columnar")
ENGINE: Final = "clickhouse"
_LOOK: Final = 2.0
_LOOK_EVERY: Final = 1.0
_PARTS: Final = """
SELECT t.name AS table, sum(p.rows) AS rows, sum(p.bytes_on_disk) AS size_bytes, uniqExactIf(p.partition, p.rows > 0) AS partitions
FROM system.tables AS t LEFT JOIN system.parts AS p ON p.database = t.database AND p.table = t.name AND p.active
WHERE t.database = currentDatabase() AND t.name IN {tables:Array(String)} GROUP BY t.name
"""


class ColumnarAccess:
    """The way to the columnar engine.

    With `stopping`, which tells that the node stops, a service of the node opens it; else it is opened by the first who asks.
    """

    def __init__(self, config: Config, *, stopping: asyncio.Event | None = None) -> None:
        self._config = config
        self.stopping = stopping
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._ready = asyncio.Event()
        self._columnar: Columnar | None = None
        self.engine: EmbeddedClickHouse | None = None
        self.error: ChainStrataError | None = None

    async def get(self) -> Columnar:
        """Return the open connection; raise `ColumnarMissing`, or why it cannot be had."""
        why = why_missing(self._config)
        if why:
            raise ColumnarMissing(why)
        if self.stopping is not None:
            if not await self._is_ready(self.stopping):
                raise self.error or ColumnarUnreachable(
                    "the columnar engine is still starting", hint="`chainstrata status` shows how it is."
                )
        else:
            async with self._opening:
                if self._columnar is None:
                    await self.open()
        if self._columnar is None:
            raise self.error or ColumnarUnreachable("the columnar engine is not there", hint="`chainstrata status` shows why.")
        return self._columnar

    @property
    def _starting(self) -> bool:
        """Whether a service is about to open it, or its revisions have not run yet."""
        return self.stopping is not None and not self._ready.is_set()

    async def _is_ready(self, stopping: asyncio.Event) -> bool:
        """Wait for it, but not while the node stops: it may be that nobody starts it any more."""
        if not self._ready.is_set():
            waits = [asyncio.create_task(event.wait()) for event in (self._ready, stopping)]
            try:
                within = self._config[CLICKHOUSE_START_TIMEOUT].total_seconds()
                await asyncio.wait(waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        return self._ready.is_set()

    async def open(self) -> Columnar:
        """Open the engine and the connection to it."""
        target = await self._stack.enter_async_context(open_columnar_target(self._config))
        self.engine = target.engine
        options = ColumnarOptions.from_config(self._config)
        columnar = await self._stack.enter_async_context(Columnar(target.url, options, name="chainstrata"))
        self._columnar = columnar
        return columnar

    def open_for_all(self) -> None:
        """Let those go on who wait for it."""
        self.error = None
        self._ready.set()

    async def close(self) -> None:
        self._ready.clear()
        self._columnar = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()
        self.engine = None

    async def look(self) -> tuple[EngineStatus, Sequence[Finding]]:
        """Say how the engine is, without opening what is not open."""
        why = why_missing(self._config)
        if why:
            return EngineStatus(ENGINE, "none", "missing", detail=why), ()
        kind = "url" if self._config[CLICKHOUSE_URL] else "embedded"
        if self._columnar is None or self._starting:
            if self.error is None:
                return EngineStatus(ENGINE, kind, "starting" if self.stopping is not None else "not asked"), ()
            return _away(kind, self.error)
        if self.engine is not None and self.engine.state is not ServerState.RUNNING and self.engine.error is not None:
            return _away(kind, self.engine.error, self.engine.state.value)
        try:
            await self._columnar.ping(_LOOK)
            size = await self._columnar.fetch_value(
                "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()", timeout=_LOOK
            )
        except ColumnarError as error:
            return _away(kind, error)
        restarts = self.engine.restarts if self.engine is not None else 0
        detail = f"database {self._columnar.database}" + (f", started again {restarts} times" if restarts else "")
        return EngineStatus(ENGINE, kind, "running", self._columnar.version, size_bytes=int(size or 0), detail=detail), ()

    async def look_at(self, datasets: Sequence[ColumnarDataset]) -> list[DatasetStatus]:
        """Return how datasets are whose home it is; none while it does not answer. Rows that others replaced count until they are merged."""
        if self._columnar is None or self._starting or not datasets:
            return []
        try:
            rows = await self._columnar.query_rows(_PARTS, {"tables": [one.table_name for one in datasets]}, timeout=_LOOK)
        except ColumnarError:
            return []
        found = {row.table: row for row in rows}
        return [_describe(one, found.get(one.table_name)) for one in datasets]


def _describe(dataset: ColumnarDataset, row: Any) -> DatasetStatus:
    if row is None:
        return DatasetStatus(dataset.full_name, dataset.pack, dataset.view_name, exists=False)
    return DatasetStatus(
        dataset.full_name,
        dataset.pack,
        dataset.view_name,
        exists=True,
        rows=row.rows,
        rows_exact=row.rows == 0,
        partitions=row.partitions,
        size_bytes=row.size_bytes,
    )


def _away(kind: str, error: ChainStrataError, state: str = "away") -> tuple[EngineStatus, Sequence[Finding]]:
    finding = Finding(Severity.ERROR, "engine_away", ENGINE, error.message, error.hint)
    return EngineStatus(ENGINE, kind, state, detail=error.message), (finding,)


class ColumnarService:
    """Runs the columnar engine while the node does: opens it, brings its schema up to date, and lets the others have it."""

    name = "columnar"

    def __init__(self, platform: "Platform", access: ColumnarAccess) -> None:
        self._platform = platform
        self._access = access

    async def run(self, stop: asyncio.Event) -> None:
        access = self._access
        opening = asyncio.create_task(self._open())
        stopping = asyncio.create_task((access.stopping or stop).wait())
        try:
            await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                # The node stops before it is there: nobody needs it any more.
                opening.cancel()
                await stop.wait()
                return
            recorded = await opening
            while not await happened(stop, _LOOK_EVERY):
                recorded = recorded or self._record()
                engine = access.engine
                if engine is not None and engine.state is ServerState.FAILED and engine.error is not None:
                    raise engine.error
        except ChainStrataError as error:
            access.error = error
            raise
        finally:
            stopping.cancel()
            opening.cancel()
            await asyncio.wait({opening})
            await access.close()

    async def _open(self) -> bool:
        """Open the engine for all; return whether other commands can find it already."""
        columnar = await self._access.open()
        done = await self._platform.migrate_columnar(columnar)
        recorded = self._record()
        self._access.open_for_all()
        LOGGER.info("columnar engine %s is there; %s", columnar.version, done)
        return recorded

    def _record(self) -> bool:
        """Tell other commands of the home where it listens; return whether that was done, once the node's own record is there."""
        engine, home = self._access.engine, self._platform.config.home
        record = NodeRecord.read(home)
        if engine is not None and record is not None:
            replace(record, ports={**record.ports, ENGINE: engine.port}).write(home)
        return engine is None or record is not None
