"""How fresh an answer is, without a query of its own for each.

The position of the log is asked before the answers that bear it are read, so that everything written before it is in them; it is
asked again after a tenth of a second at most. The newest time of a dataset is looked up in the background. Both may be older than
what an answer holds, never newer.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from chainstrata.engines.postgres import Database
from chainstrata.errors import EngineError
from chainstrata.model import Catalog, Dataset
from chainstrata.query.statements import newest_since, newest_time

LSN_GOOD_FOR: Final = 0.1
LSN_AT_LEAST: Final = 1.0
"""Seconds a position is used without a thought, and with a newer one under way."""
NEWEST_GOOD_FOR: Final = 1.0
NEWEST_AT_LEAST: Final = 5.0
"""The same of the newest time of a dataset."""
_SHARE: Final = 20
"""A look at the newest time may take a twentieth of the time between two."""
_SPANS: Final = ("1 minute", "1 hour", "1 day")


@dataclass(frozen=True, slots=True)
class Freshness:
    """What an answer says of itself.

    `lsn`: everything committed before this position of the log is in it; None where it is not made from PostgreSQL. `read_at`: when it
    was read. `latest`: the dataset has rows up to this time, or later ones. `as_of`: the time it was asked for. `open`: it holds a bucket
    that has not ended. `final`: all of it is beyond being undone by a reorg; None where the dataset does not tell.
    """

    lsn: str | None
    read_at: datetime
    latest: datetime | None = None
    as_of: datetime | None = None
    open: bool | None = None
    final: bool | None = None


@dataclass(slots=True)
class _Look:
    value: Any = None
    at: float = -1e9
    took: float = 0.0
    task: "asyncio.Task[None] | None" = field(default=None)


class Pulse:
    """Keeps what answers say of their freshness at hand."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._catalog = catalog
        self._lsn = _Look()
        self._newest: dict[str, _Look] = {}
        self._indexed: dict[str, bool] = {}

    async def lsn(self) -> str:
        """Return a position of the log; everything committed before it is seen by what is read from now on."""
        look = self._lsn
        age = monotonic() - look.at
        if age > LSN_GOOD_FOR:
            task = self._start(look, self._ask_lsn())
            if age > LSN_AT_LEAST:
                await asyncio.shield(task)
        return str(look.value)

    def wrote(self, lsn: str) -> None:
        """Take note of a position that this process has written at: what is read from now on has it."""
        if lsn:
            self._lsn.value, self._lsn.at = lsn, monotonic()

    async def newest(self, dataset: Dataset) -> datetime | None:
        """Return a time up to which the dataset has rows: what was found lately, or looked up now if that is long ago."""
        if not dataset.time:
            return None
        look = self._newest.setdefault(dataset.full_name, _Look())
        age, share = monotonic() - look.at, _SHARE * look.took
        if age > max(NEWEST_GOOD_FOR, share):
            task = self._start(look, self._ask_newest(dataset))
            if age > max(NEWEST_AT_LEAST, share):
                await asyncio.shield(task)
        value: datetime | None = look.value
        return value

    async def of(self, dataset: Dataset, **said: Any) -> Freshness:
        """Return how fresh an answer of this dataset is that is read from now on."""
        return Freshness(await self.lsn(), datetime.now(UTC), await self.newest(dataset), **said)

    def _start(self, look: _Look, asking: Any) -> "asyncio.Task[None]":
        if look.task is None or look.task.done():
            look.task = asyncio.create_task(self._finish(look, asking))
        else:
            asking.close()
        return look.task

    async def _finish(self, look: _Look, asking: Any) -> None:
        began = monotonic()
        try:
            look.value = await asking
        except EngineError:
            # Whoever reads now is told by the reading itself.
            return
        look.at, look.took = monotonic(), monotonic() - began

    async def _ask_lsn(self) -> str:
        return str(await self._database.fetch_value(_LSN))

    async def _ask_newest(self, dataset: Dataset) -> datetime | None:
        """Return the newest time: from an index that leads with it, else from what came since the last look, or the last minute, hour or day.

        Of a series that rows come to all the time a minute is millions of them, which would be read again and again.
        """
        if _leads_with_time(dataset):
            found: datetime | None = await self._database.fetch_value(newest_time(dataset))
            return found
        known = self._newest[dataset.full_name].value
        if known is not None:
            found = await self._database.fetch_value(newest_since(dataset), {"since": known})
            if found is not None:
                return found
        for span in _SPANS:
            found = await self._database.fetch_value(newest_time(dataset, span))
            if found is not None:
                return found
        return None


_LSN: Final = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text"


def _leads_with_time(dataset: Dataset) -> bool:
    if dataset.key[:1] == (dataset.time,):
        return True
    for index in dataset.table.indexes:
        options = index.dialect_options["postgresql"]
        first = next(iter(index.expressions), None)
        if options["using"] != "brin" and options["where"] is None and getattr(first, "name", "") == dataset.time:
            return True
    return False
