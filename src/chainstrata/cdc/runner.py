"""`Capture`: follows the log of one database and keeps a sink's datasets up with it.

One process at a time does it; it holds a lock for as long as it runs. Reading, decoding and writing overlap: while a batch is written the
next one is decoded, and the one after that is read; they are written in order. The server is told that it may forget changes only once
they, and how far they go, are for good in the sink. Datasets go their own ways: one that is paused, or that stopped on a problem, keeps its
place in the log, and when it goes on the log is read again from there; the others take no notice of what they have already.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic, time
from typing import Any, Final

import numpy as np
from psycopg import sql

from chainstrata.cdc import slot as slots
from chainstrata.cdc.assemble import HEARTBEAT
from chainstrata.cdc.copy import Chunk, Copier, Files, do_all, list_files, load_chunks, plan_chunks, save_chunks, within
from chainstrata.cdc.errors import DatasetLost, DatasetStopped, Rewritten
from chainstrata.cdc.history import list_spans
from chainstrata.cdc.mirror import GONE, MirrorSink
from chainstrata.cdc.model import POSTGRES_EPOCH, Batch, Changes, group, show_lsn
from chainstrata.cdc.options import Options
from chainstrata.cdc.origin import Origin, Origins, read_origins
from chainstrata.cdc.pipe import Pipe
from chainstrata.cdc.planner import Health, judge, percentiles, read_switches, refuse_too_many
from chainstrata.cdc.sink import Position, Source, Taken
from chainstrata.cdc.store import HOLDING, Progress, State, Store
from chainstrata.cdc.stream import ReplicationStream, open_stream
from chainstrata.cdc.values import CatalogType
from chainstrata.engines.postgres import Connection, Database
from chainstrata.engines.postgres.errors import PostgresError
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError
from chainstrata.model import Catalog, Dataset

LOGGER: Final = logging.getLogger("chainstrata.cdc")
_NOTE_EVERY: Final = 2.0
_LAGS_KEPT: Final = 10_000
_EPOCH: Final = POSTGRES_EPOCH.timestamp()
_BEGINNING: Final = (State.WAITING, State.COPYING)


@dataclass(slots=True)
class Followed:
    """One dataset while it is followed. Everything committed before `lsn` is in the sink."""

    dataset: Dataset
    state: State
    lsn: int = 0
    rows: int = 0
    dead: int = 0
    lags: deque[float] = field(default_factory=lambda: deque(maxlen=_LAGS_KEPT))
    noted: float = 0.0
    noted_lsn: int = 0

    @property
    def name(self) -> str:
        return self.dataset.full_name


@dataclass(frozen=True, slots=True)
class _Made:
    """Rows of one dataset as the sink takes them, with the commit times of the transactions that end in them."""

    followed: Followed
    rows: Any
    whole: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Step:
    """What is to be written at once. After it everything before `lsn` is there; 0 stands for the middle of a transaction."""

    made: Sequence[_Made]
    lsn: int


class Capture:
    """Change capture of one catalog in one database into one sink."""

    def __init__(self, database: Database, catalog: Catalog, sink: MirrorSink, options: Options | None = None) -> None:
        self._database = database
        self._sink = sink
        self.options = options or Options()
        self.store = Store(database)
        self._datasets = {dataset.full_name: dataset for dataset in catalog if sink.wants(dataset)}
        self._by_table = {f"{one.schema}.{one.table.name}": name for name, one in self._datasets.items()}
        self._copier = Copier(database.conninfo, sink)
        self._origins = Origins(database)
        self._types: dict[int, CatalogType] = {}
        self._server = slots.Server(0)
        self._followed: dict[str, Followed] = {}
        self._prepared: dict[str, object] = {}
        self._reopen = asyncio.Event()
        self._ended: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        """Which datasets are followed is not what it was when publication and slot were looked at."""
        self._writing = asyncio.Lock()
        self._deciding = asyncio.Lock()
        """The states here change with those in the database, or the server might be told to forget what is still needed."""
        self._placing = asyncio.Lock()
        self._due = 0
        """How far everything is written, while that is not noted yet."""
        self._copying: asyncio.Task[None] | None = None
        self._undecided = False
        """A copy is about to find out where it begins: until it knows, the server forgets nothing."""

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until asked to stop; raises what keeps it from going on. To be called again then."""
        try:
            await self._run(stop)
        except PostgresError:
            raise
        except ChainStrataError as error:
            # So that people see it who ask how the mirrors are. Without PostgreSQL they cannot ask.
            with suppress(ChainStrataError):
                await self.store.note_failure(list(self._datasets), error)
            raise

    async def _run(self, stop: asyncio.Event) -> None:
        async with self._database.session() as session:
            while not await session.fetch_value(slots.QUERIES.lock_capture):
                if await happened(stop, self.options.lock_every):
                    return
            try:
                while not stop.is_set():
                    self._changed.clear()
                    name = await self._begin(session)
                    if not name:
                        await happened(stop, self.options.lock_every)
                        continue
                    while not stop.is_set() and not self._changed.is_set():
                        await self._follow(session, name, stop)
                    await self._end_copying()
            except BaseExceptionGroup as errors:
                # Tasks that belong together fail together; the first failure is the one that tells.
                raise _first(errors) from errors
            finally:
                await self._end_copying()

    async def _end_copying(self) -> None:
        if self._copying is not None:
            self._copying.cancel()
            await asyncio.gather(self._copying, return_exceptions=True)
            self._copying = None

    # Beginning -------------------------------------------------------------------------------------------------------

    async def _begin(self, session: Connection) -> str:
        """Make publication and slot, and find out from where each dataset goes on. Return the slot's name, empty if nothing is followed."""
        name = self.options.slot or await slots.slot_name(session)
        self._followed.clear()
        self._ended = await self.store.list_ended()
        wanted = [dataset for full_name, dataset in self._datasets.items() if full_name not in self._ended]
        if not wanted:
            await slots.withdraw(session, name)
            return ""
        self._server = await slots.inspect(session, self._database.conninfo)
        published = await slots.publish(session, wanted, version=self._server.version)
        await self.store.add([dataset.full_name for dataset in published])
        positions = await self._sink.open()
        found = await slots.find_slot(session, name)
        health = Health(found, self._server, read_switches(self._server.histories))
        known = {dataset.full_name for dataset in published}
        rows = [row for row in await self.store.list_mirrors() if row.dataset in self._datasets]
        self._origins.begin({row.dataset: row.origin for row in rows})
        changed = await self._find_changed([self._datasets[row.dataset] for row in rows if row.state in HOLDING])
        for row in rows:
            state, position = State(row.state), positions.get(row.dataset)
            problem = changed.get(row.dataset) or (judge(row.dataset, position, health) if state in HOLDING else None)
            followed = await self._place(row.dataset, state, position, problem)
            if row.dataset in known:
                self._followed[row.dataset] = followed
        self._prepared.clear()
        # What a slot kept for mirrors that are lost is of no use, and before version 18 it cannot be read without its publication.
        useless = changed and not any(one.state in HOLDING for one in self._followed.values())
        if found is not None and (found.lost or useless):
            await slots.drop_slot(session, name)
            found = None
        if found is None:
            begins = await slots.create_slot(session, name, version=self._server.version)
            LOGGER.info("slot %s begins at %s", name, show_lsn(begins))
        return name

    async def _find_changed(self, datasets: Sequence[Dataset]) -> dict[str, DatasetLost]:
        """Return the problem of each dataset whose table, here or in the sink, is not the one it was."""
        gone = {name: DatasetLost(name, GONE) for name in await self._sink.list_gone(datasets)}
        return {**await self._origins.check(datasets), **gone}

    async def _place(self, name: str, state: State, position: Position | None, problem: ChainStrataError | None) -> Followed:
        if problem is not None and state is State.COPYING:
            # Nothing is lost with a copy that had not come to its end.
            await self.store.begin_anew(name)
            state = State.WAITING
        elif problem is not None:
            LOGGER.error("%s", problem.message)
            await self.store.set(name, State.LOST, error=problem)
            state = State.LOST
        return Followed(self._datasets[name], state, position.lsn if position else 0)

    # Following -------------------------------------------------------------------------------------------------------

    async def _follow(self, session: Connection, name: str, stop: asyncio.Event) -> None:
        """Read the log from where the dataset is that is furthest behind, until something has to be read again."""
        self._reopen.clear()
        await self._look(opening=True)
        async with open_stream(self._database.conninfo, slot=name, publication=slots.PUBLICATION) as stream:
            pipe = Pipe(stream, most_bytes=self.options.batch_bytes, spool_directory=self.options.spool_directory)
            async with asyncio.TaskGroup() as tasks:
                others = [tasks.create_task(pipe.read()), tasks.create_task(self._look_on(session, name))]
                await self._apply_all(stream, pipe, stop)
                for task in others:
                    task.cancel()
        await self._note(force=True)

    async def _apply_all(self, stream: ReplicationStream, pipe: Pipe, stop: asyncio.Event) -> None:
        """Make rows of what comes, while those made before are written, while how far that is is noted."""
        line: asyncio.Queue[_Step | None] = asyncio.Queue(1)
        handed = 0.0
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_all(stream, line))
            while not stop.is_set() and not self._reopen.is_set():
                marked = False
                for batch in await pipe.take(self.options.batch_delay):
                    marked |= bool(batch.marks)
                    step = _Step(await self._make(batch, line), batch.end_lsn if len(batch.messages) else 0)
                    if step.made or step.lsn:
                        await line.put(step)
                        handed = monotonic()
                # Where nothing of ours is under way, everything the server has spoken of is done with.
                reached = pipe.reached
                if reached and (marked or monotonic() - handed > self.options.heartbeat):
                    await line.put(_Step([], reached))
                    handed = monotonic()
                await self._note()
            await line.put(None)

    async def _make(self, batch: Batch, line: "asyncio.Queue[_Step | None]") -> "list[_Made]":
        """Make of a batch what the sink takes, all datasets at once."""
        ends = {one.commit_lsn: one for one in batch.transactions}
        work = []
        for changes in group(batch):
            owner = self._origins.owner(changes.relation.oid) or self._by_table.get(changes.relation.qualified, "")
            followed = self._followed.get(owner)
            if followed is None or followed.state is not State.STREAMING:
                continue
            fresh = changes.since(followed.lsn)
            if len(fresh):
                if self._prepared.get(followed.name) != fresh.relation:
                    # What is written under the old shape comes first.
                    await line.join()
                whole = [ends[lsn].committed_at for lsn in np.unique(fresh.commit_lsns).tolist() if ends[lsn].end_lsn]
                work.append(self._make_one(followed, fresh, whole))
        return [made for made in await asyncio.gather(*work) if made is not None]

    async def _make_one(self, followed: Followed, changes: Changes, whole: Sequence[int]) -> "_Made | None":
        try:
            if self._prepared.get(followed.name) != changes.relation:
                oids = {column.type_oid for column in changes.relation.columns}
                await self._sink.prepare(followed.dataset, changes.relation, await self._source(followed.dataset, oids))
                self._prepared[followed.name] = changes.relation
            return _Made(followed, await self._sink.make(followed.dataset, changes), whole)
        except DatasetStopped as error:
            await self._stop(followed, error)
            return None

    async def _write_all(self, stream: ReplicationStream, line: "asyncio.Queue[_Step | None]") -> None:
        """Write what was made, in order. What is noted of it may fall behind: only the last position counts."""
        noting: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as tasks:
            while (step := await line.get()) is not None:
                async with self._writing, asyncio.TaskGroup() as writing:
                    for made in step.made:
                        writing.create_task(self._take(made))
                if step.lsn:
                    self._due = step.lsn
                    if noting is None or noting.done():
                        noting = tasks.create_task(self._commit_due(stream))
                line.task_done()

    async def _take(self, made: "_Made") -> None:
        """Write rows of one dataset; one that cannot take them stops, and the others go on."""
        followed = made.followed
        # It may have been asked to wait, or stopped, since they were made.
        if followed.state is not State.STREAMING:
            return
        try:
            taken = await self._sink.take(followed.dataset, made.rows)
            refuse_too_many(followed.name, taken, self.options.most_dead)
        except DatasetStopped as error:
            await self._stop(followed, error)
            return
        await self.store.put_aside(self._sink.name, taken.rejected)
        followed.rows += taken.rows - len(taken.rejected)
        followed.dead += len(taken.rejected)
        now = time() - _EPOCH
        followed.lags.extend(now - committed_at / 1e6 for committed_at in made.whole)

    async def _stop(self, followed: Followed, error: DatasetStopped) -> None:
        LOGGER.error("%s; it waits, the others go on", error.message)
        async with self._deciding:
            # Whatever somebody asked for meanwhile stands, and is found at the next look.
            among = _BEGINNING if followed.state in _BEGINNING else [followed.state]
            followed.state = State.LOST if isinstance(error, DatasetLost) else State.STOPPED
            await self.store.set(followed.name, followed.state, among=among, error=error)

    async def _source(self, dataset: Dataset, oids: set[int]) -> Source:
        if not oids <= self._types.keys():
            self._types = dict(await slots.read_types(self._database))
        source = await slots.read_source(self._database, dataset, self._types)
        if not {column.type_oid for column in source.columns} <= self._types.keys():
            self._types = dict(await slots.read_types(self._database))
        return replace(source, types=self._types)

    async def _commit_due(self, stream: ReplicationStream) -> None:
        while self._due:
            lsn, self._due = self._due, 0
            async with self._placing:
                await self._commit(stream, lsn)

    async def _commit(self, stream: ReplicationStream, lsn: int) -> None:
        """Note how far the sink is, for good, and let the server forget what nobody needs any more."""
        streaming = [one for one in self._followed.values() if one.state is State.STREAMING and one.lsn < lsn]
        if streaming:
            await self._sink.commit([self._position(one.name, lsn) for one in streaming])
            for followed in streaming:
                followed.lsn = lsn
        if not self._undecided:
            stream.confirm(min([lsn, *(one.lsn for one in self._followed.values() if one.state in HOLDING)]))

    def _position(self, name: str, lsn: int) -> Position:
        return Position(name, lsn, self._server.system, self._server.timeline)

    # Looking after things --------------------------------------------------------------------------------------------

    async def _look_on(self, session: Connection, name: str) -> None:
        """Follow what people ask for, put marks into the log, and watch what the slot holds on to."""
        never = asyncio.Event()
        beat = 0.0
        while True:
            await self._look()
            if monotonic() - beat > self.options.heartbeat:
                beat = monotonic()
                await session.execute(slots.QUERIES.write_heartbeat, {"prefix": HEARTBEAT})
                await self._guard(session, name)
                await self._verify()
            await happened(never, self.options.look_every)

    async def _look(self, *, opening: bool = False) -> None:
        """Take on what was asked for since the last look. A dataset that goes on does so when the log is opened next."""
        waiting = []
        async with self._deciding:
            for row in await self.store.list_mirrors():
                followed = self._followed.get(row.dataset)
                state = State(row.state)
                if (state is State.ENDED) != (row.dataset in self._ended) and row.dataset in self._datasets:
                    # Publication and slot have to be brought in line with it first.
                    self._changed.set()
                    self._reopen.set()
                if followed is None:
                    continue
                if state is State.STREAMING and followed.state is not state and not opening:
                    # What it missed is read again; until then it is not to be taken for having it.
                    self._reopen.set()
                    continue
                followed.state = state
                if state in _BEGINNING:
                    waiting.append(followed)
        if self._copying is not None and self._copying.done():
            done, self._copying = self._copying, None
            await done
        if waiting and self._copying is None:
            self._copying = asyncio.create_task(self._copy(waiting), name="cdc copy")

    async def _guard(self, session: Connection, name: str) -> None:
        """Give up the place of datasets that wait, before the log they hold on to fills the disk."""
        found = await slots.find_slot(session, name)
        if found is None or found.kept_bytes <= self.options.most_kept_bytes:
            return
        for followed in self._followed.values():
            if followed.state in (State.PAUSED, State.STOPPED):
                problem = f"the log that was kept for it grew beyond {self.options.most_kept_bytes >> 20} MB and was let go"
                error = DatasetStopped(followed.name, problem, hint=f"Run `chainstrata cdc resync {followed.name}`.")
                LOGGER.error("%s", error.message)
                async with self._deciding:
                    followed.state = State.LOST
                    await self.store.set(followed.name, State.LOST, among=[State.PAUSED, State.STOPPED], error=error)

    async def _verify(self) -> None:
        """Give up datasets that were changed behind the log's back, and put publication and slot right again."""
        # A copy under way makes its table anew itself.
        holding = [followed for followed in self._followed.values() if followed.state in HOLDING - {State.COPYING}]
        changed = await self._find_changed([followed.dataset for followed in holding])
        for followed in holding:
            if followed.name in changed:
                await self._stop(followed, changed[followed.name])
                self._changed.set()
                self._reopen.set()

    async def _note(self, *, force: bool = False) -> None:
        """Write down how each dataset goes, now and then, if anything happened."""
        now = monotonic()
        for followed in self._followed.values():
            moved = followed.state is State.STREAMING and followed.lsn != followed.noted_lsn
            every = _NOTE_EVERY if followed.rows or followed.dead else self.options.heartbeat
            if not (followed.rows or followed.dead or moved) or not (force or now - followed.noted > every):
                continue
            lags = percentiles(followed.lags) if followed.lags else None
            await self.store.note(followed.name, Progress(followed.lsn, followed.rows, followed.dead, lags=lags))
            followed.rows = followed.dead = 0
            followed.noted, followed.noted_lsn = now, followed.lsn

    # Copying ---------------------------------------------------------------------------------------------------------

    async def _copy(self, waiting: Sequence[Followed]) -> None:
        """Copy datasets as of one position; the stream takes over from there."""
        self._undecided = True
        try:
            files = {followed.name: await list_files(self._database, followed.dataset) for followed in waiting}
            origins = await read_origins(self._database, [followed.dataset for followed in waiting])
            async with slots.export_snapshot(self._database.conninfo) as (snapshot, lsn):
                work: list[Callable[[], Awaitable[None]]] = []
                for followed in waiting:
                    try:
                        work += await self._plan_copy(followed, snapshot, lsn, files[followed.name], origins.get(followed.name))
                    except DatasetStopped as error:
                        await self._stop(followed, error)
                self._undecided = False
                await do_all(work, self.options.copy_workers)
        finally:
            self._undecided = False
        for followed in waiting:
            if await self.store.set(followed.name, State.STREAMING, among=[State.COPYING]):
                LOGGER.info("%s is copied; changes follow from %s", followed.name, show_lsn(followed.lsn))

    async def _plan_copy(
        self, followed: Followed, snapshot: str, lsn: int, files: Files, origin: Origin | None
    ) -> list[Callable[[], Awaitable[None]]]:
        """Return the pieces that are left to copy; before the first, the mirror is emptied, and where the stream begins is noted."""
        dataset = followed.dataset
        chunks = await load_chunks(self._database, dataset)
        # Pieces that were planned and not begun say nothing: what they begin with may be forgotten already.
        fresh = followed.state is State.WAITING or not chunks or not followed.lsn
        if fresh:
            # A batch in the making may have rows of it, and so may what is being noted; none comes after those.
            async with self._writing, self._placing:
                self._prepared.pop(followed.name, None)
            if origin is None:
                raise DatasetLost(followed.name, "its table is not published")
            await self._origins.note(followed.name, origin)
            await self._sink.clear(dataset, await list_spans(self._database, dataset, staying=True))
            async with self._placing:
                await self._sink.commit([self._position(followed.name, lsn)])
                followed.lsn = lsn
        targets = await self._sink.targets(dataset, await self._source(dataset, set()), fresh=fresh)
        if fresh:
            await self._sink.put_back(dataset)
            chunks = await plan_chunks(self._database, dataset, rows_each=self.options.copy_rows)
            await save_chunks(self._database, dataset, chunks)
        async with self._deciding:
            # From here on the server keeps what comes after the copy, also before the next look.
            if not await self.store.set(followed.name, State.COPYING, among=_BEGINNING):
                return []
            followed.state = State.COPYING
        copy = partial(self._copier.copy, dataset, targets, snapshot=snapshot, lsn=lsn, files=files)
        return [partial(self._copy_chunk, followed, chunk, copy) for chunk in chunks if not chunk.done]

    async def _copy_chunk(self, followed: Followed, chunk: Chunk, copy: Callable[[sql.Composable], Awaitable[Taken]]) -> None:
        if followed.state is not State.COPYING:
            return
        try:
            taken = await copy(within(followed.dataset, chunk))
        except Rewritten as error:
            LOGGER.info("%s; it is copied anew", error.message)
            async with self._deciding:
                await self.store.begin_anew(followed.name)
                followed.state = State.WAITING
            return
        except DatasetStopped as error:
            await self._stop(followed, error)
            return
        await self.store.put_aside(self._sink.name, taken.rejected)
        await self.store.end_chunk(followed.name, chunk.number, taken.rows)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
