"""Sending a stream: its rows are made in a thread of their own, and each goes out when its time has come."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from time import monotonic
from typing import Any, Final, Protocol

from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError, UnknownName
from chainstrata.model import Catalog, Pack
from chainstrata.packs.sampling import EPOCH, Tick
from chainstrata.simulate.model import Answer, Counts, Options, Report
from chainstrata.simulate.planner import Batch, Kind, Part, Series, plan

SEND_EVERY: Final = 0.25
"""Seconds from one batch to the next, about."""
PATIENCE: Final = 60.0
"""Seconds that rows are sent again for while they are turned away."""
ROOM: Final = timedelta(hours=1)
"""How far ahead of its clock a stream has partitions made."""

Progress = Callable[[Report], None]
"""Called after each batch with what was sent so far."""


class Send(Protocol):
    """Takes rows into a dataset. A batch with a name is taken once."""

    async def __call__(self, dataset: str, rows: Any, /, *, batch: str = "", origin: str = "") -> Answer: ...


class EnsurePartitions(Protocol):
    """Makes sure that the table of a dataset, named in full, has partitions from `lo` to `hi`."""

    async def __call__(self, name: str, lo: datetime, hi: datetime, /) -> object: ...


def packs_with_streams(catalog: Catalog) -> list[str]:
    """Return the packs that bring a stream, each after those it requires."""
    return [pack.name for pack in catalog.packs if find_spec(f"{pack.package}.stream") is not None]


@dataclass(frozen=True, slots=True)
class Simulation:
    """Sends streams: `await simulation.run("prices", Options(rate=500, span=timedelta(minutes=5)))`."""

    catalog: Catalog
    send: Send
    ensure: EnsurePartitions

    async def run(
        self, pack_name: str, options: Options | None = None, *, stop: asyncio.Event | None = None, progress: Progress | None = None
    ) -> Report:
        """Send the stream of a pack until its span is over or `stop` is set, and return what became of its rows.

        Where the database does not keep up, rows wait and none is left out: the report says by how much it lagged. Rows that
        are turned away for now are sent again; after a minute of that the stream ends with what kept them.
        """
        pack = self.catalog.pack(pack_name)
        chosen = options or Options()
        start = (chosen.start or datetime.now(UTC)).astimezone(UTC)
        run = _Run(self, pack, replace(chosen, start=start), stop or asyncio.Event())
        return await run.to_the_end(progress)

    def batches(self, pack: Pack, options: Options, start: datetime) -> Iterator[Batch]:
        """Return what the stream of a pack sends; raise `UnknownName` for a pack without one."""
        if find_spec(f"{pack.package}.stream") is None:
            raise UnknownName("pack with a stream", pack.name, packs_with_streams(self.catalog))
        ticks: Iterator[Tick] = pack.module("stream").stream(options.seed, start, options.world_rate)
        series = {each.full_name: Series(each.key[0], each.time) for each in pack.datasets if each.partitioned}
        return plan(ticks, options, series, every=SEND_EVERY)


class _Run:
    """One stream on its way."""

    def __init__(self, simulation: Simulation, pack: Pack, options: Options, stop: asyncio.Event) -> None:
        start = options.start or datetime.now(UTC)
        self._simulation = simulation
        self._stop = stop
        self._batches = simulation.batches(pack, options, start)
        self._name = f"simulate/{pack.name}/{options.seed}/{start.isoformat()}/{options.world_rate:g}"
        self._reach = {dataset.full_name: start for dataset in pack.datasets if dataset.partitioned}
        self._report = Report(pack.name, options.seed, start, start)

    async def to_the_end(self, progress: Progress | None) -> Report:
        report = self._report
        began: float | None = None
        ahead = asyncio.create_task(asyncio.to_thread(next, self._batches, None))
        try:
            while (batch := await ahead) is not None and not self._stop.is_set():
                # The next one is made while this one is sent.
                ahead = asyncio.create_task(asyncio.to_thread(next, self._batches, None))
                if not batch.is_base:
                    began = monotonic() if began is None else began
                    await happened(self._stop, began + batch.after - monotonic())
                    if self._stop.is_set():
                        break
                    report.behind_seconds = max(report.behind_seconds, monotonic() - began - batch.after)
                await self._send(batch)
                report.seconds = monotonic() - began if began is not None else 0.0
                if progress:
                    progress(report)
        finally:
            # A thread cannot be cancelled; what it makes is let go.
            ahead.cancel()
        return report

    async def _send(self, batch: Batch) -> None:
        until = EPOCH + timedelta(microseconds=batch.until)
        for part in batch.parts:
            if not part.rows.num_rows:
                continue
            await self._make_room(part.dataset, until)
            answer = await self._send_part(part, f"{self._name}/{part.dataset}" if batch.is_base else "")
            counts = self._report.datasets.setdefault(part.dataset, Counts())
            counts.add(answer, part.rows.num_rows)
            counts.late += part.of_kind(Kind.LATE)
            counts.duplicates += part.of_kind(Kind.DUPLICATE)
            counts.malformed += part.of_kind(Kind.MALFORMED)
            self._report.begun += part.rows.num_rows if batch.is_base else 0
        self._report.until = until

    async def _send_part(self, part: Part, name: str) -> Answer:
        deadline = monotonic() + PATIENCE
        while True:
            try:
                return await self._simulation.send(part.dataset, part.rows, batch=name, origin=f"simulate {self._report.pack}")
            except ChainStrataError as error:
                pause = getattr(error, "retry_after", 1.0)
                # Whether these rows were written may be unknown. Their keys tell: nothing is doubled by sending them again.
                if not error.retryable or monotonic() + pause > deadline or await happened(self._stop, pause):
                    raise

    async def _make_room(self, dataset: str, until: datetime) -> None:
        """Make sure there are partitions; whoever runs by today's clock finds them there."""
        reached = self._reach.get(dataset)
        if reached is not None and (reached < until or reached == self._report.start):
            await self._simulation.ensure(dataset, self._report.start - ROOM, until + ROOM)
            self._reach[dataset] = until + ROOM
