"""Which PostgreSQL a command works on: the one of `postgres.url`, the running node's, or the embedded one for its duration."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from psycopg import conninfo as libpq

from chainstrata.config import MODE, POSTGRES_DATABASE, POSTGRES_URL, Config
from chainstrata.engines.postgres.address import LOOPBACK
from chainstrata.engines.postgres.child import Progress
from chainstrata.engines.postgres.cluster import SUPERUSER
from chainstrata.engines.postgres.errors import CannotConnect, HomeUnusable
from chainstrata.engines.postgres.home import NodeRecord, password_path, read_password
from chainstrata.engines.postgres.server import EmbeddedPostgres

Kind = Literal["url", "node", "embedded"]


@dataclass(frozen=True, slots=True)
class Target:
    """A PostgreSQL to work on. `server` is set when this process runs it."""

    conninfo: str
    kind: Kind
    server: EmbeddedPostgres | None = None

    def __repr__(self) -> str:
        return f"Target({self.kind})"


@asynccontextmanager
async def open_target(config: Config, *, progress: Progress | None = None) -> AsyncIterator[Target]:
    """Yield the PostgreSQL to work on; an embedded one started here stops when the block ends.

    Raises `HomeInUse` while another command runs the embedded one for itself, and `CannotConnect` in production mode
    without `postgres.url`.
    """
    if config[POSTGRES_URL]:
        yield Target(config[POSTGRES_URL], "url")
        return
    if config[MODE] == "production":
        raise CannotConnect("no PostgreSQL is configured", hint="Set postgres.url: in production mode nothing is started in its place.")
    node = NodeRecord.read(config.home)
    if node is not None and "postgres" in node.ports:
        yield Target(_conninfo_of(node, config), "node")
        return
    async with EmbeddedPostgres(config, progress=progress) as server:
        yield Target(server.conninfo, "embedded", server)


def _conninfo_of(node: NodeRecord, config: Config) -> str:
    password = read_password(config.home)
    if password is None:
        raise HomeUnusable(
            f"password file {password_path(config.home)} is missing", hint="Stop the node and start it again: it makes a new one."
        )
    return libpq.make_conninfo(
        "", host=LOOPBACK, port=node.ports["postgres"], user=SUPERUSER, password=password, dbname=config[POSTGRES_DATABASE]
    )
