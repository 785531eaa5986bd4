"""Ends mirrors for good: nothing is captured for them any more, and once none is left the server keeps no log.

What is recorded comes first: whoever follows the log takes notice, and so does whoever begins to. So an end that was cut short is an end
all the same, and asking again does the rest. Rows that only a mirror has are not given up unless that is asked for.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from chainstrata.cdc import slot as slots
from chainstrata.cdc.errors import HistoryAtRisk, NotApplied
from chainstrata.cdc.history import list_spans
from chainstrata.cdc.mirror import MirrorSink
from chainstrata.cdc.model import show_lsn
from chainstrata.cdc.options import Options
from chainstrata.cdc.sink import Position
from chainstrata.cdc.store import Store
from chainstrata.engines.postgres import Connection, Database
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import UnknownName, UsageError
from chainstrata.model import Dataset

_POLL: Final = 0.1


@dataclass(frozen=True, slots=True)
class EndedMirror:
    """A mirror that ends: what it was, and what becomes of its table, which is `kept`, `dropped`, or `none` if there is none."""

    dataset: str
    state: str
    applied_lsn: str
    rows: int
    only_there: int
    """Rows that nobody else has: their partitions left the source."""
    put_aside: int
    """Changes that it could not take and that are given up with it."""
    table: str


@dataclass(frozen=True, slots=True)
class Ended:
    """What an end came to, or, if it was not `done`, would come to."""

    mirrors: tuple[EndedMirror, ...]
    slot: str
    slot_dropped: bool
    done: bool


class Ending:
    """Ends mirrors of a catalog."""

    def __init__(self, database: Database, mirrored: Mapping[str, Dataset], sink: MirrorSink, options: Options) -> None:
        self._database = database
        self._mirrored = mirrored
        self._sink = sink
        self._options = options
        self._store = Store(database)

    async def plan(self, names: Sequence[str], *, drop_table: bool = False) -> Ended:
        """Return what ending these would come to."""
        known = {row.dataset: row for row in await self._store.list_mirrors()}
        for name in names:
            if name not in known and name not in self._mirrored:
                raise UnknownName("mirrored dataset", name, sorted({*known, *self._mirrored}))
        positions = await self._sink.open()
        mirrors = []
        for name in dict.fromkeys(names):
            dataset = self._mirrored.get(name)
            if dataset is None and drop_table:
                hint = "Drop it by hand, or declare the mirror again for as long as this takes."
                raise UsageError(f"{name} declares no mirror any more, so what its table is called is not known", hint=hint)
            counted = await self._sink.count(dataset, await list_spans(self._database, dataset)) if dataset else None
            position = positions.get(name)
            held = await self._store.list_dead(datasets=[name], most=1_000_000)
            fate = "none" if dataset and counted is None else "dropped" if drop_table else "kept"
            state = known[name].state if name in known else "waiting"
            lsn = show_lsn(position.lsn) if position and position.lsn else ""
            mirrors.append(EndedMirror(name, state, lsn, *(counted or (0, 0)), len(held), fate))
        left = self._left({*names, *await self._store.list_ended()})
        async with self._database.connection() as connection:
            slot = self._options.slot or await slots.slot_name(connection)
        return Ended(tuple(mirrors), slot, not left, done=False)

    async def end(self, names: Sequence[str], *, drop_table: bool = False, lose_history: bool = False, within: float = 30.0) -> Ended:
        """End mirrors. Raises `HistoryAtRisk` where that would lose rows that nobody else has."""
        plan = await self.plan(names, drop_table=drop_table)
        at_risk = {one.dataset: one.only_there for one in plan.mirrors if one.only_there and one.table == "dropped"}
        if at_risk and not lose_history:
            raise HistoryAtRisk(at_risk)
        for one in plan.mirrors:
            await self._store.end(one.dataset, forget=one.dataset not in self._mirrored)
        await self._withdraw(plan, monotonic() + within)
        if drop_table:
            for one in plan.mirrors:
                await self._sink.drop(self._mirrored[one.dataset])
                # Whoever looks for where it was finds that it is nowhere.
                await self._sink.commit([Position(one.dataset, 0, "", 0)])
        return Ended(plan.mirrors, plan.slot, plan.slot_dropped, done=True)

    def _left(self, ended: set[str]) -> list[Dataset]:
        return [dataset for name, dataset in self._mirrored.items() if name not in ended]

    async def _withdraw(self, plan: Ended, deadline: float) -> None:
        """Let publication and slot shrink: whoever follows the log does it, and if nobody does, we do."""
        tables = {f"{one.schema}.{one.table.name}" for one in (self._mirrored.get(mirror.dataset) for mirror in plan.mirrors) if one}
        never = asyncio.Event()
        async with self._database.session() as session:
            while True:
                if await session.fetch_value(slots.QUERIES.lock_capture):
                    await self._bring_in_line(session, plan.slot)
                    return
                rows = await session.fetch_all(slots.QUERIES.list_published, {"publication": slots.PUBLICATION})
                published = {row.name for row in rows}
                gone = not published and await slots.find_slot(session, plan.slot) is None
                if gone or (published and not plan.slot_dropped and not published & tables):
                    return
                if monotonic() > deadline:
                    hint = "It is on record, and happens as soon as whoever follows the log takes notice; run the same again then."
                    raise NotApplied("the publication was not brought in line in time", hint=hint)
                await happened(never, _POLL)

    async def _bring_in_line(self, session: Connection, slot: str) -> None:
        left = self._left(set(await self._store.list_ended()))
        if not left:
            await slots.withdraw(session, slot)
        elif await session.fetch_all(slots.QUERIES.list_published, {"publication": slots.PUBLICATION}):
            server = await session.fetch_one(slots.QUERIES.show_server)
            await slots.publish(session, left, version=server.version)
