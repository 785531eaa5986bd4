"""Mirrors in the node: the service that keeps them, and retention as it has to wait for them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from chainstrata.cdc import Mirrors, State
from chainstrata.cdc.model import parse_lsn, show_lsn
from chainstrata.cdc.origin import Origin, judge_origin, read_origins
from chainstrata.cdc.slot import QUERIES, find_slot, slot_name
from chainstrata.cdc.store import Store
from chainstrata.config import CDC_KEPT_MB, CDC_SLOT, Config
from chainstrata.engines.postgres import Connection, Database
from chainstrata.errors import ChainStrataError
from chainstrata.model import Catalog
from chainstrata.monitor import Finding, Severity
from chainstrata.retention import Leaving

LOGGER: Final = logging.getLogger("chainstrata.node.cdc")
_TROUBLED: Final = frozenset({State.PAUSED, State.STOPPED, State.LOST})


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


class MirrorsDiffer(ChainStrataError):
    """A comparison found mirrors that are not what their sources are."""

    code = "mirrors_differ"

    def __init__(self, datasets: Sequence[str]) -> None:
        super().__init__(
            f"{', '.join(datasets)}: the mirror is not what its source is",
            hint="`chainstrata reconcile` names the rows; with --repair it mends them.",
        )


async def list_followed(database: Database) -> list[str]:
    """Return the mirrors that some process keeps up now. Looks at PostgreSQL alone."""
    if not await database.fetch_value(QUERIES.is_captured):
        return []
    return [row.dataset for row in await Store(database).list_mirrors() if row.state == State.STREAMING]


async def find_trouble(database: Database, config: Config) -> list[Finding]:
    """Return what keeps mirrors from going on, and what is kept for them."""
    rows = [row for row in await Store(database).list_mirrors() if row.state in _TROUBLED]
    found = [
        Finding(
            Severity.WARNING if row.state == State.PAUSED else Severity.ERROR,
            f"mirror_{row.state}",
            row.dataset,
            f"its mirror is {row.state}{f': {row.error}' if row.error else ''}",
            row.hint or f"`chainstrata cdc resume {row.dataset}` lets it go on.",
        )
        for row in rows
    ]
    async with database.connection() as connection:
        slot = await find_slot(connection, config[CDC_SLOT] or await slot_name(connection))
        followed = await connection.fetch_value(QUERIES.is_captured)
    if slot is None:
        return found
    if not followed:
        hint = "Start a node with cdc.enabled, or `chainstrata cdc run`. For good: `chainstrata cdc end`, or the log fills the disk."
        found.append(Finding(Severity.WARNING, "mirrors_unfollowed", "cdc", "mirrors wait, and nobody follows the log", hint))
    most = config[CDC_KEPT_MB] * 1024 * 1024
    if slot.kept_bytes > most // 2:
        message = f"the server keeps {slot.kept_bytes >> 20} MB of log for mirrors; those that wait are given up at {most >> 20} MB"
        found.append(
            Finding(Severity.WARNING, "mirrors_keep_log", "cdc", message, "`chainstrata cdc status` names the one that is behind.")
        )
    return found


class MirrorNeeds:
    """What mirrors still need of rows that are on their way out: every change up to the seal has to be in them."""

    name = "mirror"

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._mirrored = {dataset.full_name: dataset for dataset in catalog if dataset.mirror is not None}

    def concerns(self, table: str) -> bool:
        return table in self._mirrored

    async def blocks(self, leaving: Leaving) -> str | None:
        row = await self._database.fetch_one(QUERIES.show_mirror, {"dataset": leaving.table})
        return _why(row, leaving) or await self._missed(self._database, row, leaving)

    async def let_go(self, connection: Connection, leaving: Leaving) -> None:
        row = await connection.fetch_one(QUERIES.hold_mirror, {"dataset": leaving.table})
        reason = _why(row, leaving) or await self._missed(connection, row, leaving)
        if reason is not None:
            raise MirrorsBehind(f"{leaving.table}: {reason}", hint="`chainstrata cdc status` says more.")

    async def _missed(self, reader: Database | Connection, row: Any, leaving: Leaving) -> str | None:
        """Return why changes may have passed a mirror by unseen. Whoever follows the log finds that out too, but perhaps a moment later."""
        if row is None or row.origin is None or row.state == State.ENDED:
            return None
        found = await read_origins(reader, [self._mirrored[leaving.table]])
        problem = judge_origin(leaving.table, Origin.of(row.origin), found.get(leaving.table))
        return problem.message if problem else None


def _why(row: Any, leaving: Leaving) -> str | None:
    """Return why a mirror still needs the rows. One that was never begun needs none: it will begin with what is there then."""
    if row is None or row.state == State.ENDED:
        return None
    if row.state != State.STREAMING:
        return f"it is {row.state}{f', {row.error}' if row.error else ''}"
    if leaving.sealed_lsn is not None and row.lsn < parse_lsn(leaving.sealed_lsn):
        return f"it is at {show_lsn(row.lsn)}, and the rows were sealed at {leaving.sealed_lsn}"
    return None
