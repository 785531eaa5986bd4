"""`Mirrors`: what people and other features ask of change capture. Each command and route is one of these functions."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

from psycopg import sql

from chainstrata.cdc import slot as slots
from chainstrata.cdc.assemble import HEARTBEAT
from chainstrata.cdc.copy import Copier
from chainstrata.cdc.ending import Ended, Ending
from chainstrata.cdc.errors import DatasetStopped, NotApplied, Rewritten
from chainstrata.cdc.mirror import MirrorSink
from chainstrata.cdc.model import parse_lsn, show_lsn
from chainstrata.cdc.options import Options
from chainstrata.cdc.reconcile import Reconciled, Reconciler
from chainstrata.cdc.runner import Capture
from chainstrata.cdc.sink import Position
from chainstrata.cdc.store import DeadLetter, State, Store
from chainstrata.engines.clickhouse import Columnar
from chainstrata.engines.postgres import Database, Query
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import UnknownName
from chainstrata.model import Catalog, Dataset

LOGGER: Final = logging.getLogger("chainstrata.cdc")
_POLL: Final = 0.1
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """How one mirror is. `lag_bytes` is the log it has not got yet, `lag_seconds` half, 95 and 99 of 100 of its last transactions."""

    dataset: str
    state: str
    since: datetime
    applied_lsn: str
    lag_bytes: int | None
    copied_rows: int
    rows: int
    dead_letters: int
    lag_p50: float | None
    lag_p95: float | None
    lag_p99: float | None
    error: str
    hint: str


@dataclass(frozen=True, slots=True)
class CaptureStatus:
    """How capturing is: whether somebody does it, what the slot holds on to, and every mirror."""

    running: bool
    slot: str
    slot_status: str
    kept_bytes: int
    behind_bytes: int
    mirrors: tuple[MirrorStatus, ...]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of dead letters that were tried again."""

    replayed: int
    held: int


class Mirrors:
    """The mirrors of a catalog."""

    def __init__(self, database: Database, catalog: Catalog, columnar: Columnar, options: Options | None = None) -> None:
        self._database = database
        self._catalog = catalog
        self._columnar = columnar
        self._options = options or Options()
        self._store = Store(database)
        self._sink = MirrorSink(columnar)
        self._mirrored = {dataset.full_name: dataset for dataset in catalog if dataset.mirror is not None}

    def capture(self) -> Capture:
        """Return what follows the log, to be run by a service."""
        return Capture(self._database, self._catalog, MirrorSink(self._columnar), self._options)

    @property
    def names(self) -> tuple[str, ...]:
        """Every dataset that is mirrored, by full name."""
        return tuple(self._mirrored)

    def chosen(self, names: Sequence[str]) -> list[Dataset]:
        """Return the named datasets, or all; raise `UnknownName` for one that is not mirrored."""
        for name in names:
            if name not in self._mirrored:
                raise UnknownName("mirrored dataset", name, list(self._mirrored))
        return [self._mirrored[name] for name in names or self._mirrored]

    async def _living(self, names: Sequence[str]) -> list[Dataset]:
        """Return the named datasets, or all whose mirrors have not ended."""
        ended = await self._store.list_ended()
        for name in names:
            if name in ended:
                raise DatasetStopped(name, "its mirror was ended", hint=f"`chainstrata cdc resync {name}` begins it anew.")
        return [dataset for dataset in self.chosen(names) if dataset.full_name not in ended]

    # Looking ---------------------------------------------------------------------------------------------------------

    async def status(self, names: Sequence[str] = ()) -> CaptureStatus:
        """Return how capturing is, and the named mirrors, or all."""
        wanted = {dataset.full_name for dataset in self.chosen(names)}
        positions = await self._sink.open()
        async with self._database.connection() as connection:
            slot_name = self._options.slot or await slots.slot_name(connection)
            found = await slots.find_slot(connection, slot_name)
            end = int(await connection.fetch_value(slots.QUERIES.log_end))
            running = bool(await connection.fetch_value(slots.QUERIES.is_captured))
        rows = [row for row in await self._store.list_mirrors() if row.dataset in wanted]
        mirrors = []
        for row in rows:
            position = positions.get(row.dataset)
            lsn = position.lsn if position else 0
            mirrors.append(
                MirrorStatus(
                    row.dataset,
                    row.state,
                    row.since,
                    show_lsn(lsn) if lsn else "",
                    max(0, end - lsn) if lsn else None,
                    row.copied_rows,
                    row.rows,
                    row.dead_letters,
                    row.lag_p50,
                    row.lag_p95,
                    row.lag_p99,
                    row.error or "",
                    row.hint or "",
                )
            )
        if found is None:
            return CaptureStatus(running, slot_name, "missing", 0, 0, tuple(mirrors))
        return CaptureStatus(running, slot_name, found.status, found.kept_bytes, found.behind_bytes, tuple(mirrors))

    async def position(self, name: str) -> Position | None:
        """Return how far a mirror is, None before its copy began."""
        return (await self._sink.open()).get(name)

    async def wait(self, names: Sequence[str] = (), *, lsn: int | None = None, within: float = 30.0) -> int:
        """Wait until mirrors have everything that was committed before a position, or before now. Raises `NotApplied`."""
        if lsn is None:
            lsn = int(await self._database.fetch_value(slots.QUERIES.log_end))
        wanted = {dataset.full_name for dataset in await self._living(names)}
        deadline = monotonic() + within
        never = asyncio.Event()
        # Where nothing else is written, this is what comes by to tell how far the log has been read.
        await self._database.execute(slots.QUERIES.write_heartbeat, {"prefix": HEARTBEAT})
        while True:
            behind = await self._behind(wanted, lsn)
            if not behind:
                return lsn
            if monotonic() > deadline:
                raise await self._late(behind, lsn, within)
            await happened(never, _POLL)

    async def _late(self, behind: Mapping[str, str], lsn: int, within: float) -> NotApplied:
        listed = ", ".join(name if state == State.STREAMING else f"{name} ({state})" for name, state in sorted(behind.items()))
        hint = "`chainstrata cdc status` tells how far each is; wait longer, or for `waiting` and `copying` until they are copied."
        if not await self._database.fetch_value(slots.QUERIES.is_captured):
            hint = "Nobody follows the log: start a node with cdc.enabled, or `chainstrata cdc run`."
        elif State.PAUSED in behind.values():
            hint = "`chainstrata cdc resume` lets those go on that are paused."
        return NotApplied(f"{listed} did not reach {show_lsn(lsn)} within {within:g} s", hint=hint)

    async def _behind(self, wanted: set[str], lsn: int) -> dict[str, str]:
        """Return those that have not got there yet, each with its state."""
        positions = await self._sink.open()
        states = {row.dataset: row for row in await self._store.list_mirrors()}
        behind = {}
        for name in wanted:
            row, position = states.get(name), positions.get(name)
            if row is not None and row.state in (State.STOPPED, State.LOST):
                problem = (row.error or f"it is {row.state}").removeprefix(f"{name}: ")
                raise DatasetStopped(name, problem, hint=row.hint or "")
            if row is None or row.state != State.STREAMING or position is None or position.lsn < lsn:
                behind[name] = State.WAITING if row is None else f"{row.state}: {row.error}" if row.error else row.state
        return behind

    # Steering --------------------------------------------------------------------------------------------------------

    async def pause(self, names: Sequence[str] = ()) -> list[str]:
        """Let mirrors wait where they are; the server keeps what they miss. Return those that were followed."""
        return await self._steer(slots.QUERIES.pause, names)

    async def resume(self, names: Sequence[str] = ()) -> list[str]:
        """Let mirrors go on that wait. Return which did."""
        return await self._steer(slots.QUERIES.resume, names)

    async def _steer(self, query: Query, names: Sequence[str]) -> list[str]:
        wanted = [dataset.full_name for dataset in self.chosen(names)]
        rows = await self._database.fetch_all(query, {"datasets": wanted})
        return sorted(row.dataset for row in rows)

    async def resync(self, names: Sequence[str]) -> list[str]:
        """Let mirrors be copied anew, those that were ended too; return which. Rows that only the mirror has stay in it."""
        return [dataset.full_name for dataset in self.chosen(names) if await self._store.begin_anew(dataset.full_name)]

    async def end(
        self,
        names: Sequence[str],
        *,
        drop_table: bool = False,
        lose_history: bool = False,
        dry_run: bool = False,
        within: float = 30.0,
    ) -> Ended:
        """End mirrors for good: nothing is captured for them any more, and when none is left the server keeps no log.

        Their tables stay as they are, or are dropped; with `dry_run` say only what would be. Raises `HistoryAtRisk` where dropping
        them would lose rows that nobody else has, unless that is meant.
        """
        ending = Ending(self._database, self._mirrored, self._sink, self._options)
        if dry_run:
            return await ending.plan(names, drop_table=drop_table)
        return await ending.end(names, drop_table=drop_table, lose_history=lose_history, within=within)

    # Dead letters ----------------------------------------------------------------------------------------------------

    async def list_dead(
        self, names: Sequence[str] = (), *, states: Sequence[str] = ("held",), before: int | None = None, most: int = 100
    ) -> list[DeadLetter]:
        """Return events that were put aside, newest first."""
        chosen = [dataset.full_name for dataset in self.chosen(names)] if names else []
        return await self._store.list_dead(datasets=chosen, states=states, before=before, most=most)

    async def replay(self, names: Sequence[str] = (), *, ids: Sequence[int] = (), most: int = 10_000) -> Replayed:
        """Try events again: the row as it is now, with the position of the event. What came since stands above it."""
        chosen = [dataset.full_name for dataset in self.chosen(names)] if names else []
        letters = await self._store.list_dead(datasets=chosen, ids=ids, most=most)
        types = await slots.read_types(self._database)
        done = []
        copier = Copier(self._database.conninfo, self._sink)
        for letter in letters:
            dataset = self.chosen([letter.dataset])[0]
            targets = await self._sink.targets(dataset, await slots.read_source(self._database, dataset, types))
            condition = sql.SQL(" AND ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in letter.row_key.items()
            )
            taken = await copier.copy_now(dataset, targets, condition, version=parse_lsn(letter.lsn))
            if taken.rejected:
                await self._store.put_aside(letter.sink, taken.rejected)
            else:
                done.append(letter.id)
        if done:
            await self._store.settle("replayed", ids=done)
        return Replayed(len(done), len(letters) - len(done))

    async def drop_dead(self, names: Sequence[str] = (), *, ids: Sequence[int] = ()) -> int:
        """Give events up; they stay on record as dropped."""
        chosen = [dataset.full_name for dataset in self.chosen(names)] if names else []
        return await self._store.settle("dropped", ids=ids, datasets=chosen)

    # Proof -----------------------------------------------------------------------------------------------------------

    async def reconcile(
        self,
        names: Sequence[str] = (),
        *,
        repair: bool = False,
        within: float = 60.0,
        watch: Callable[[Reconciled], None] = lambda _: None,
    ) -> list[Reconciled]:
        """Compare mirrors with their sources, row by row where they differ; with `repair`, mend them.

        One that is stopped or lost raises `DatasetStopped` if it is named; if all are compared, it is told beside the others.
        """

        async def wait(name: str, lsn: int) -> None:
            await self.wait([name], lsn=lsn, within=within)

        reconciler = Reconciler(self._database, self._columnar, self._sink, wait)
        found = []
        for dataset in await self._living(names):
            try:
                found.append(await self._compare(reconciler, dataset, repair=repair))
            except DatasetStopped as error:
                if names:
                    raise
                problem = error.message.removeprefix(f"{dataset.full_name}: ")
                found.append(Reconciled(dataset.full_name, "", 0, 0, problem=f"{problem}. {error.hint}"))
            watch(found[-1])
        return found

    async def _compare(self, reconciler: Reconciler, dataset: Dataset, *, repair: bool) -> Reconciled:
        for _ in range(_TRIES):
            try:
                return await reconciler.compare(dataset, self._mirrored, repair=repair)
            except Rewritten as error:
                LOGGER.info("%s; it is compared anew", error.message)
        return await reconciler.compare(dataset, self._mirrored, repair=repair)
