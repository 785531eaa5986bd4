"""Which columnar engine a command works on: the one of `clickhouse.url`, the running node's, or the embedded one for its duration."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Literal

from chainstrata.config import CLICKHOUSE_EMBEDDED, CLICKHOUSE_URL, MODE, Config
from chainstrata.engines.clickhouse.embedded import EmbeddedClickHouse, is_installed, read_password, url_of
from chainstrata.engines.clickhouse.errors import ColumnarInUse, ColumnarMissing
from chainstrata.engines.postgres.child import Progress
from chainstrata.engines.postgres.home import NodeRecord
from chainstrata.engines.postgres.waiting import happened

PORT: str = "clickhouse"
_STARTS_WITHIN: Final = 60.0
"""A node takes statements before its columnar engine does, which a slow machine needs a while for."""
_LOOK_EVERY: Final = 0.2


@dataclass(frozen=True, slots=True)
class ColumnarTarget:
    """A columnar engine to work on. `engine` is set when this process runs it."""

    url: str = field(repr=False)
    kind: Literal["url", "node", "embedded"]
    engine: EmbeddedClickHouse | None = None


@asynccontextmanager
async def open_columnar_target(config: Config, *, progress: Progress | None = None) -> AsyncIterator[ColumnarTarget]:
    """Yield the engine to work on; an embedded one started here stops when the block ends. Raises `ColumnarMissing`."""
    if config[CLICKHOUSE_URL]:
        yield ColumnarTarget(config[CLICKHOUSE_URL], "url")
        return
    why = why_missing(config)
    if why:
        raise ColumnarMissing(why)
    async with AsyncExitStack() as stack:
        yield await _of_home(config, progress, stack)


async def _of_home(config: Config, progress: Progress | None, stack: AsyncExitStack) -> ColumnarTarget:
    """Return the running node's engine, waiting for one that it is just starting, or one of our own."""
    deadline, never = monotonic() + _STARTS_WITHIN, asyncio.Event()
    while True:
        node, password = NodeRecord.read(config.home), read_password(config.home)
        if node is not None and PORT in node.ports and password:
            return ColumnarTarget(url_of(node.ports[PORT], password), "node")
        try:
            engine = await stack.enter_async_context(EmbeddedClickHouse(config, progress=progress))
        except ColumnarInUse as error:
            if node is None or node.pid != error.pid or monotonic() > deadline:
                raise
            await happened(never, _LOOK_EVERY)
        else:
            return ColumnarTarget(engine.url, "embedded", engine)


def why_missing(config: Config) -> str:
    """Return why there is no columnar engine, or an empty string when there can be one."""
    if config[CLICKHOUSE_URL]:
        return ""
    if config[MODE] == "production":
        return "clickhouse.url is not set, and in production mode nothing is started in its place"
    if not config[CLICKHOUSE_EMBEDDED]:
        return "clickhouse.url is not set, and clickhouse.embedded is off"
    return "" if is_installed() else "chdb is not installed"
