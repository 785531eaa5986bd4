"""Which columnar engine a command works on: the one of `clickhouse.url`, the running node's, or the embedded one for its duration."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from chainstrata.config import CLICKHOUSE_EMBEDDED, CLICKHOUSE_URL, MODE, Config
from chainstrata.engines.clickhouse.embedded import EmbeddedClickHouse, is_installed, read_password, url_of
from chainstrata.engines.clickhouse.errors import ColumnarMissing
from chainstrata.engines.postgres.child import Progress
from chainstrata.engines.postgres.home import NodeRecord

PORT: str = "clickhouse"


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
    node = NodeRecord.read(config.home)
    password = read_password(config.home)
    if node is not None and PORT in node.ports and password:
        yield ColumnarTarget(url_of(node.ports[PORT], password), "node")
        return
    async with EmbeddedClickHouse(config, progress=progress) as engine:
        yield ColumnarTarget(engine.url, "embedded", engine)


def why_missing(config: Config) -> str:
    """Return why there is no columnar engine, or an empty string when there can be one."""
    if config[CLICKHOUSE_URL]:
        return ""
    if config[MODE] == "production":
        return "clickhouse.url is not set, and in production mode nothing is started in its place"
    if not config[CLICKHOUSE_EMBEDDED]:
        return "clickhouse.url is not set, and clickhouse.embedded is off"
    return "" if is_installed() else "chdb is not installed"
