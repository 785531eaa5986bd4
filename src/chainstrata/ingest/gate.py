"""The way in for everybody: a bounded queue, shared transactions for small batches, and the spool while PostgreSQL is away.

A batch is answered once it is committed, or once it is on disk as `spooled`. Batches of one dataset that are answered one after the
other are written in that order: while one of them waits in the spool, no later one goes past it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final
from uuid import uuid4

import pyarrow as pa

from chainstrata.config import (
    INGEST_GATHER_DELAY,
    INGEST_GATHER_ROWS,
    INGEST_PATIENCE,
    INGEST_QUEUE_BATCHES,
    INGEST_QUEUE_BYTES,
    INGEST_WRITERS,
    Config,
)
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError
from chainstrata.ingest.claims import Receipt, check_name
from chainstrata.ingest.declared import declare_table
from chainstrata.ingest.errors import TryLater
from chainstrata.ingest.formats import ROWS_AT_ONCE
from chainstrata.ingest.gathering import Together
from chainstrata.ingest.intake import take
from chainstrata.ingest.model import Answer, Witness
from chainstrata.ingest.payload import Format
from chainstrata.ingest.python_rows import Taken, as_mapping, take_rows
from chainstrata.ingest.queueing import Queue
from chainstrata.ingest.replay import AWAY, Replayer
from chainstrata.ingest.runner import Ingest
from chainstrata.ingest.spool import Header, Spool
from chainstrata.ingest.wire import WireTable
from chainstrata.model import Catalog

MOST_GATHERED: Final = 10_000
_POLL: Final = 0.05
_RECORD_BYTES: Final = 100


@dataclass(frozen=True, slots=True)
class GateOptions:
    """How long and how much the gate waits, and how many rows of the spool are one transaction. Durations are in seconds."""

    patience: float = 5.0
    queue_bytes: int = 256 * 1024 * 1024
    queue_batches: int = 10_000
    gather_delay: float = 0.005
    gather_rows: int = 1_000
    writers: int = 4
    replay_rows: int = ROWS_AT_ONCE

    @classmethod
    def from_config(cls, config: Config) -> "GateOptions":
        return cls(
            patience=config[INGEST_PATIENCE].total_seconds(),
            queue_bytes=config[INGEST_QUEUE_BYTES],
            queue_batches=config[INGEST_QUEUE_BATCHES],
            gather_delay=config[INGEST_GATHER_DELAY].total_seconds(),
            gather_rows=config[INGEST_GATHER_ROWS],
            writers=config[INGEST_WRITERS],
        )


class _Item:
    """One batch on its way in: read already, or as `records` that are read only when they are needed."""

    __slots__ = ("_table", "_taken", "batch", "dataset", "origin", "records", "rows", "shape", "size", "strict", "witness")

    def __init__(
        self,
        dataset: str,
        table: WireTable,
        taken: Taken | None = None,
        *,
        strict: bool = False,
        batch: str = "",
        origin: str = "",
        witness: Witness | None = None,
        records: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.dataset = dataset
        self._table = table
        self.strict = strict
        self.batch = batch
        self.origin = origin
        self.witness = witness
        self.records = records
        self._taken = taken
        if taken is not None:
            self.rows = int(taken.rows.num_rows) + len(taken.malformed)
            self.size = int(taken.rows.nbytes) + sum(len(text) for text, _ in taken.malformed)
            schema = taken.rows.schema
            self.shape: object = frozenset(zip(schema.names, map(str, schema.types), strict=True))
        else:
            self.rows = len(records or ())
            self.size = sum(_RECORD_BYTES * len(row) for row in records or ())
            self.shape = frozenset(name for row in records or () for name in row)

    @property
    def taken(self) -> Taken:
        """Return what was read; records are, once they are needed as rows of their own."""
        if self._taken is None:
            self._taken = take_rows(self.records or (), self._table)
        return self._taken


@dataclass(slots=True)
class _Lane:
    """Small batches of one dataset that wait to share a transaction. `expected` is how many shared the one before."""

    waiting: deque[tuple[_Item, "asyncio.Future[Answer]"]] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    expected: int = 1
    task: "asyncio.Task[None] | None" = None


class Gate:
    """Takes rows in on behalf of many callers. `replayer` writes what had to wait."""

    def __init__(self, ingest: Ingest, database: Database, catalog: Catalog, spool: Spool, options: GateOptions | None = None) -> None:
        self._ingest = ingest
        self._database = database
        self._catalog = catalog
        self._options = options or GateOptions()
        self._queue = Queue(self._options.queue_bytes, self._options.queue_batches)
        self._turns = asyncio.Semaphore(self._options.writers)
        self._lanes: dict[str, _Lane] = {}
        self._tables: dict[str, WireTable] = {}
        self._columns: dict[str, set[str]] = {}
        self._settled: dict[str, list[str]] = {}
        self._closing = asyncio.Event()
        self._background: asyncio.Task[None] | None = None
        self.spool = spool
        self.replayer = Replayer(ingest, database, spool, self._options.replay_rows)

    async def ingest(
        self,
        name: str,
        source: Any,
        *,
        strict: bool = False,
        batch: str = "",
        format: Format | None = None,  # noqa: A002  # as everybody calls it
        origin: str = "",
        progress: Callable[[Answer], None] | None = None,
        witness: Witness | None = None,
    ) -> Answer:
        """Take rows into a dataset, as `Ingest.ingest` does, or keep them on disk until PostgreSQL is back.

        `witness` is called with the answer in the transaction that writes the rows; not for rows that are `spooled`, whose answer
        is all there is to record. Raises `TryLater` when there is no room for them anywhere.
        """
        check_name(batch)
        dataset = self._catalog.dataset(name).full_name
        table = self._table(dataset)
        is_few = isinstance(source, list | tuple) and 0 < len(source) <= self._options.gather_rows
        if is_few and not (strict or batch or isinstance(source[0], pa.Table | pa.RecordBatch)):
            answer = await self._submit(_Item(dataset, table, origin=origin, witness=witness, records=self._records(table, source)))
            if progress:
                progress(answer)
            return answer
        parts = take(source, table, format=format)
        done: Answer | None = None
        number = 0
        while (taken := await _next(parts, source)) is not None:
            own = f"{batch}#{number}" if batch and number else batch
            answer = await self._submit(_Item(dataset, table, taken, strict=strict, batch=own, origin=origin, witness=witness))
            done = answer if done is None else done + answer
            number += 1
            if progress:
                progress(done)
        return done or Answer(dataset)

    def _records(self, table: WireTable, source: Sequence[Any]) -> list[Mapping[str, Any]]:
        """Return rows as mappings; raise `UnfitColumn` now for a name nobody declared, which is its caller's alone."""
        records = [as_mapping(row) for row in source]
        known = self._columns[table.full_name]
        for row in records:
            if not known >= row.keys():
                take_rows(records, table)
        return records

    async def close(self) -> None:
        """End what runs in the background. What waits in the spool stays there."""
        self._closing.set()
        if self._background is not None:
            await self._background

    def _table(self, dataset: str) -> WireTable:
        if dataset not in self._tables:
            self._tables[dataset] = declare_table(self._catalog.dataset(dataset))
            self._columns[self._tables[dataset].full_name] = {column.name for column in self._tables[dataset].columns}
        return self._tables[dataset]

    async def _submit(self, item: _Item) -> Answer:
        deadline = monotonic() + self._options.patience
        async with self._queue.place(item.size, self._options.patience) as has_place:
            is_small = item.rows <= self._options.gather_rows and not (item.strict or item.batch)
            if has_place and is_small:
                return await self._join(item)
            if not has_place or await self._must_wait(item.dataset, deadline):
                return await self._put_aside([item])
            try:
                async with asyncio.timeout(max(0.0, deadline - monotonic())):
                    await self._turns.acquire()
            except TimeoutError:
                return await self._put_aside([item])
            try:
                return await self._write_alone(item)
            finally:
                self._turns.release()

    async def _must_wait(self, dataset: str, deadline: float) -> bool:
        """Return whether earlier batches of the dataset wait still; while they are on their way there is hope until the deadline."""
        while self.spool.waits(dataset):
            self._start_replaying()
            left = deadline - monotonic()
            if left <= 0 or not self.replayer.is_busy or dataset in self.replayer.stuck:
                return True
            self.replayer.moved.clear()
            await happened(self.replayer.moved, min(left, _POLL))
        return False

    def _start_replaying(self) -> None:
        if not self.replayer.is_running and (self._background is None or self._background.done()):
            self._background = asyncio.create_task(self.replayer.run(self._closing), name="ingest-replay")

    async def _write_alone(self, item: _Item) -> Answer:
        # A name that its sender gave is taken with the rows as it is.
        receipt = self._begin(item.dataset, 0 if item.batch else 1)
        try:
            await self._reach()
            answer = await self._ingest.take_one(
                item.dataset,
                item.taken,
                strict=item.strict,
                batch=item.batch,
                origin=item.origin,
                receipt=receipt,
                witness=item.witness,
            )
        except AWAY as error:
            return await self._put_aside([item], item.batch or receipt.names[0], receipt.doubt(error))
        self._settle(receipt)
        return answer

    def _begin(self, dataset: str, names: int) -> Receipt:
        """Return new names for rows on their way in; those of rows before them whose outcome is known are forgotten with that."""
        return Receipt(dataset, [_make_name() for _ in range(names)], self._settled.pop(dataset, ()))

    def _settle(self, receipt: Receipt) -> None:
        self._settled.setdefault(receipt.dataset, []).extend(receipt.names)

    async def _reach(self) -> None:
        """Raise when there is no connection soon, rather than after the longest time somebody may wait for one."""
        async with self._database.connection(timeout=self._options.patience):
            pass

    async def _put_aside(self, items: Sequence[_Item], name: str = "", doubt: ChainStrataError | None = None) -> Answer:
        """Keep batches on disk, as one; whoever waits for them may be told so once this returns.

        `doubt` is why nobody knows whether they are written already, under the name.
        """
        first = items[0]
        rows = pa.concat_tables([item.taken.rows.select(first.taken.rows.schema.names) for item in items])
        malformed = [line for item in items for line in item.taken.malformed]
        header = Header(
            first.dataset,
            name or first.batch or _make_name(),
            rows.num_rows + len(malformed),
            strict=first.strict,
            origin=first.origin,
            malformed=malformed,
        )
        try:
            await asyncio.to_thread(self.spool.add, header, rows)
        except TryLater:
            if doubt:
                # To be told to send them again would double them, if they are there.
                raise doubt from None
            raise
        self._start_replaying()
        return Answer(first.dataset, spooled=header.rows)

    # Small batches -----------------------------------------------------------------------------------------------

    async def _join(self, item: _Item) -> Answer:
        """Write a small batch together with others that come at the same time."""
        lane = self._lanes.setdefault(item.dataset, _Lane())
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        lane.waiting.append((item, future))
        lane.arrived.set()
        if lane.task is None or lane.task.done():
            lane.task = asyncio.create_task(self._drain(lane), name=f"ingest-{item.dataset}")
        return await future

    async def _drain(self, lane: _Lane) -> None:
        while lane.waiting:
            await self._await_company(lane)
            group = self._pick(lane)
            lane.expected = len(group)
            try:
                answers = await self._write_group([item for item, _ in group])
            except BaseException as error:
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
                if not isinstance(error, ChainStrataError):
                    raise
                continue
            for (_, future), answer in zip(group, answers, strict=True):
                if not future.done():
                    if isinstance(answer, Answer):
                        future.set_result(answer)
                    else:
                        future.set_exception(answer)

    async def _await_company(self, lane: _Lane) -> None:
        """Wait for as many as came the last time, but never long."""
        deadline = monotonic() + self._options.gather_delay
        while len(lane.waiting) < lane.expected and (left := deadline - monotonic()) > 0:
            lane.arrived.clear()
            await happened(lane.arrived, left)

    def _pick(self, lane: _Lane) -> list[tuple[_Item, "asyncio.Future[Answer]"]]:
        """Return batches that can go as one: those with the columns of the first."""
        shape = lane.waiting[0][0].shape
        is_read = lane.waiting[0][0].records is None
        group, rest, rows = [], [], 0
        for item, future in lane.waiting:
            if future.cancelled():
                continue
            if rows < MOST_GATHERED and item.shape == shape and (item.records is None) == is_read:
                group.append((item, future))
                rows += item.rows
            else:
                rest.append((item, future))
        lane.waiting = deque(rest)
        return group

    async def _write_group(self, items: Sequence[_Item]) -> Sequence[Answer | ChainStrataError]:
        if not items:
            return []
        dataset = items[0].dataset
        if await self._must_wait(dataset, monotonic() + self._options.patience):
            return await self._spool_group(items)
        receipt = self._begin(dataset, len(_by_origin(items)))
        try:
            await self._reach()
            writer = await self._ingest.writer(dataset)
            answers = await Together(self._ingest, writer, self._table(dataset), items, receipt).write()
        except AWAY as error:
            return await self._spool_group(items, receipt.names, receipt.doubt(error))
        except ChainStrataError as error:
            if len(items) == 1:
                return [error]
            return [await self._write_or_tell(item) for item in items]
        self._settle(receipt)
        return answers

    async def _write_or_tell(self, item: _Item) -> Answer | ChainStrataError:
        try:
            return await self._write_alone(item)
        except ChainStrataError as error:
            return error

    async def _spool_group(
        self, items: Sequence[_Item], names: Sequence[str] = (), doubt: ChainStrataError | None = None
    ) -> list[Answer | ChainStrataError]:
        """Keep batches on disk, those with one origin as one, so that one sync of the disk does for many."""
        told: dict[int, Answer | ChainStrataError] = {}
        groups = _by_origin(items)
        for places, name in zip(groups, names or [_make_name() for _ in groups], strict=True):
            try:
                await self._put_aside([items[place] for place in places], name, doubt)
            except ChainStrataError as refusal:
                told |= dict.fromkeys(places, refusal)
            else:
                told |= {place: Answer(items[place].dataset, spooled=items[place].rows) for place in places}
        return [told[place] for place in range(len(items))]


def _make_name() -> str:
    return f"spool/{uuid4().hex}"


def _by_origin(items: Sequence[_Item]) -> list[list[int]]:
    """Return the places of batches that came from the same source."""
    origins: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        origins.setdefault(item.origin, []).append(place)
    return list(origins.values())


async def _next(parts: Iterator[Taken], source: Any) -> Taken | None:
    """Return what is read next. What takes long to read is read in a thread, so that nobody else waits for it."""
    if isinstance(source, pa.Table | pa.RecordBatch) or (isinstance(source, list | tuple) and len(source) < 100):
        return next(parts, None)
    return await asyncio.to_thread(next, parts, None)
