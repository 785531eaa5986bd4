"""Rows as they come: one look every half second for all who watch the same, whoever they are.

What was found is kept in a ring of bounded size, and each watcher has no more than a place in it. One who reads too slowly to keep
up falls out of the ring and is told where to read on; nobody waits for them, and they hold nothing.

A tail goes forward in the dataset's time, and within one instant by the key. A row that comes late, for a time that was passed, is not
in it; reading the rows has it.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError, EngineError
from chainstrata.model import Catalog, Dataset
from chainstrata.query import statements
from chainstrata.query.errors import NotSeries
from chainstrata.query.freshness import Pulse
from chainstrata.query.model import Order, Wanted
from chainstrata.query.planner import check, chosen_columns, read_cursor, write_cursor
from chainstrata.query.statements import as_page, parameter

EVERY: Final = 0.5
AT_ONCE: Final = 1000
_PACE: Final = 0.02
KEPT: Final = 5000
WATCHERS: Final = 200
QUIET: Final = 15.0
"""Seconds between looks, rows of a look, rows in a ring, watchers of all tails, seconds until a sign of life."""


class TooManyWatchers(ChainStrataError):
    """More watch than are let in."""

    code = "too_many_watchers"
    retryable = True
    http_status = 503
    retry_after = 10

    def __init__(self) -> None:
        super().__init__(f"{WATCHERS} watch already", hint="Try again as Retry-After says, or read pages from time to time.")


@dataclass(frozen=True, slots=True)
class Event:
    """A row and where to go on after it. Without a row: a sign of life, or (`gap`) that rows were left out after `id`."""

    id: str = ""
    row: str = ""
    gap: bool = False


@dataclass(frozen=True, slots=True)
class _Question:
    dataset: Dataset
    columns: tuple[str, ...]
    wanted: Wanted

    @property
    def key(self) -> tuple[str, ...]:
        return order_of(self.dataset)


def order_of(dataset: Dataset) -> tuple[str, ...]:
    """Return the order of a tail: the time, then the rest of the key."""
    return (dataset.time, *(name for name in dataset.key if name != dataset.time))


class Tails:
    """The tails that are watched in this process."""

    def __init__(self, database: Database, catalog: Catalog, pulse: Pulse) -> None:
        self._database = database
        self._catalog = catalog
        self._pulse = pulse
        self._rings: dict[tuple[Any, ...], _Ring] = {}
        self._watchers = 0

    async def watch(self, name: str, wanted: Wanted, *, after: str = "") -> AsyncGenerator[Event, None]:
        """Yield rows from now on, or from the event `after` on, until the reader leaves.

        Raises `NotSeries`, `TooManyWatchers` and what is wrong with the question before the first event.
        """
        question = self._question(name, wanted)
        # Settled before the first sign of life, so that nothing written after it is left out.
        start = read_cursor(after, name, Order.ASC, question.key) if after else await self._newest(question.dataset)
        if self._watchers >= WATCHERS:
            raise TooManyWatchers
        self._watchers += 1
        ring, place = self._join(question, after, start)
        try:
            async for event in _follow(ring, place):
                yield event
        finally:
            ring.watchers -= 1
            self._watchers -= 1

    def _question(self, name: str, wanted: Wanted) -> _Question:
        dataset = self._catalog.dataset(name)
        check(dataset, wanted)
        if dataset.time not in dataset.key:
            raise NotSeries(name)
        columns = chosen_columns(name, dataset.table, dataset.key, wanted.columns)
        return _Question(dataset, columns, replace(wanted, limit=AT_ONCE, start=None, end=None, as_of=None, cursor=""))

    def _join(self, question: _Question, after: str, start: Sequence[str]) -> "tuple[_Ring, int]":
        """Return the ring of this question and the place in it to begin at.

        Who was there before goes on in the ring they left, if it still has their place; else in one of their own.
        """
        filters = tuple((name, tuple(values)) for name, values in question.wanted.filters.items())
        known: tuple[Any, ...] = (question.dataset.full_name, question.columns, filters)
        ring = self._rings.get(known)
        place = ring.end if ring is not None else 0
        if after:
            found = ring.place_after(after) if ring is not None else None
            if found is None:
                ring, known = None, (*known, after)
            place = found or 0
        if ring is None:
            ring = self._rings[known] = _Ring(start, alone=bool(after))
            ring.task = asyncio.create_task(self._fill(known, ring, question), name=f"tail {question.dataset.full_name}")
        ring.watchers += 1
        return ring, place

    async def _fill(self, known: tuple[Any, ...], ring: "_Ring", question: _Question) -> None:
        """Look for rows until nobody watches any more."""
        never = asyncio.Event()
        place = ring.start
        while ring.watchers:
            if ring.alone and ring.end - ring.read > AT_ONCE:
                # Somebody who catches up alone sets the pace.
                await happened(never, _PACE)
                continue
            try:
                events = await self._look(question, place)
            except EngineError:
                # Watchers wait until the server is back.
                events = []
            if events:
                place = read_cursor(events[-1].id, question.dataset.full_name, Order.ASC, question.key)
                ring.add(events)
            if len(events) < AT_ONCE:
                await happened(never, EVERY)
        if self._rings.get(known) is ring:
            del self._rings[known]

    async def _newest(self, dataset: Dataset) -> list[str]:
        """Return where a tail begins: after the newest row there is."""
        newest = await self._pulse.newest(dataset)
        now = datetime.now(UTC)
        return [(min(newest, now) if newest else now).isoformat()]

    async def _look(self, question: _Question, place: Sequence[str]) -> list[Event]:
        inner = statements.tail(question.dataset, question.columns, question.wanted, place, parameter, order_of(question.dataset))
        values = statements.values_of(question.dataset, question.wanted, place)
        row = await self._database.fetch_one(as_page(question.columns, inner), values)
        name = question.dataset.full_name
        lines = row.body.split("\n") if row.body else []
        return [Event(write_cursor(name, Order.ASC, question.key, json.loads(line)), line) for line in lines]


class _Ring:
    """The last rows of a tail. `begin` and `end` count all there ever were; `read` is how far the last watcher to read has come."""

    def __init__(self, start: Sequence[str], *, alone: bool) -> None:
        self.start = list(start)
        self.alone = alone
        self.events: deque[Event] = deque(maxlen=KEPT)
        self.begin = 0
        self.end = 0
        self.read = 0
        self.watchers = 0
        self.news = asyncio.Event()
        self.task: asyncio.Task[None]

    def add(self, events: Sequence[Event]) -> None:
        self.events.extend(events)
        self.end += len(events)
        self.begin = self.end - len(self.events)
        news, self.news = self.news, asyncio.Event()
        news.set()

    def place_after(self, name: str) -> int | None:
        """Return the place after the event of this name, if it is still there."""
        return next((self.begin + number + 1 for number, event in enumerate(self.events) if event.id == name), None)


async def _follow(ring: _Ring, place: int) -> AsyncIterator[Event]:
    """Yield what comes into a ring, from a place on."""
    last = ""
    yield Event()
    while True:
        if place < ring.begin:
            yield Event(last, gap=True)
            return
        if place < ring.end:
            event = ring.events[place - ring.begin]
            place += 1
            last, ring.read = event.id, max(ring.read, place)
            yield event
        elif ring.task.done():
            return
        elif not await happened(ring.news, QUIET):
            yield Event()
