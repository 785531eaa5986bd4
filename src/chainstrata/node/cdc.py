"""Mirrors in the node: the service that keeps them, and retention as it has to wait for them."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from chainstrata.cdc import Mirrors, State
from chainstrata.cdc.model import parse_lsn, show_lsn
from chainstrata.cdc.slot import QUERIES
from chainstrata.engines.postgres import Connection, Database
from chainstrata.errors import ChainStrataError
from chainstrata.model import Catalog
from chainstrata.retention import Leaving

LOGGER: Final = logging.getLogger("chainstrata.node.cdc")


class CaptureService:
    """Keeps mirrors up with their sources. Another node that does it already is let be."""

    name = "cdc"

    def __init__(self, mirrors: Callable[[], AbstractAsyncContextManager[Mirrors]]) -> None:
        self._mirrors = mirrors

    async def run(self, stop: asyncio.Event) -> None:
        async with self._mirrors() as mirrors:
            await mirrors.capture().run(stop)


class MirrorsBehind(ChainStrataError):
    """Rows were to leave that a mirror has not got yet."""

    code = "mirror_behind"
    retryable = True


class MirrorNeeds:
    """What mirrors still need of rows that are on their way out: every change up to the seal has to be in them."""

    name = "mirror"

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._mirrored = frozenset(dataset.full_name for dataset in catalog if dataset.mirror is not None)

    def concerns(self, table: str) -> bool:
        return table in self._mirrored

    async def blocks(self, leaving: Leaving) -> str | None:
        row = await self._database.fetch_one(QUERIES.show_mirror, {"dataset": leaving.table})
        return _why(row, leaving)

    async def let_go(self, connection: Connection, leaving: Leaving) -> None:
        reason = _why(await connection.fetch_one(QUERIES.show_mirror, {"dataset": leaving.table}), leaving)
        if reason is not None:
            raise MirrorsBehind(f"{leaving.table}: {reason}", hint="`chainstrata cdc status` says more.")


def _why(row: Any, leaving: Leaving) -> str | None:
    """Return why a mirror still needs the rows. One that was never begun needs none: it will begin with what is there then."""
    if row is None:
        return None
    if row.state != State.STREAMING:
        return f"it is {row.state}{f', {row.error}' if row.error else ''}"
    if leaving.sealed_lsn is not None and row.lsn < parse_lsn(leaving.sealed_lsn):
        return f"it is at {show_lsn(row.lsn)}, and the rows were sealed at {leaving.sealed_lsn}"
    return None
