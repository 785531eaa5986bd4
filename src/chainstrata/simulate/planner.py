"""What is sent when: rows of a tick spread over it, some held back, some sent again, some broken. Nothing is sent here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.packs.sampling import Numbers, Tick, instants, pc
from chainstrata.simulate.model import Options

LATEST = 5
"""Ticks that a late row is late by, at most."""
FAR_AWAY = 7_258_118_400_000_000
"""The year 2200, for which no partition is there: microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Series:
    """A dataset of the stream's rows proper: its key and its time. Only these are late, doubled or broken, never what they stand on."""

    key: str
    time: str


class Kind(IntEnum):
    """What was done to a row."""

    PLAIN = 0
    LATE = 1
    DUPLICATE = 2
    MALFORMED = 3


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one dataset, and what was done to each."""

    dataset: str
    rows: Any
    kinds: Numbers

    @classmethod
    def of(cls, dataset: str, rows: Any, kind: Kind = Kind.PLAIN) -> "Part":
        return cls(dataset, rows, np.full(rows.num_rows, kind, dtype="i1"))

    def slice(self, first: int, end: int) -> "Part":
        return Part(self.dataset, self.rows.slice(first, end - first), self.kinds[first:end])

    def of_kind(self, kind: Kind) -> int:
        return int(np.count_nonzero(self.kinds == kind))


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to send `after` so many seconds, by when the stream's clock is at `until`. A base is what the others stand on."""

    after: float
    until: int
    parts: Sequence[Part]
    is_base: bool = False


def plan(ticks: Iterable[Tick], options: Options, series: Mapping[str, Series], *, every: float) -> Iterator[Batch]:
    """Yield what to send and when, about `every` seconds, until the span is over; held back rows come last. Equal arguments, equal batches."""
    limit = options.span.total_seconds() if options.span is not None else float("inf")
    spoiler = Spoiler(options, series)
    origin: int | None = None
    last = 0
    for tick in _joined(ticks, round(every * options.speed * 1_000_000)):
        origin = tick.start if origin is None else origin
        if tick.end == tick.start:
            yield Batch(0.0, tick.end, [Part.of(name, rows) for name, rows in tick.tables], is_base=True)
            continue
        begin, length = (tick.start - origin) / 1e6 / options.speed, (tick.end - tick.start) / 1e6 / options.speed
        if begin >= limit:
            break
        parts = spoiler.spoil(tick)
        count = max(1, round(length / every))
        for number in range(count):
            after = begin + length * number / count
            if after >= limit:
                spoiler.hold([_cut(part, number, count, whole=True) for part in parts])
                break
            last = tick.start + (tick.end - tick.start) * (number + 1) // count
            yield Batch(after, last, [cut for part in parts if (cut := _cut(part, number, count)).rows.num_rows])
    if rest := spoiler.rest():
        yield Batch(limit, last, rest)


def _joined(ticks: Iterable[Tick], least: int) -> Iterator[Tick]:
    """Yield ticks no shorter than `least` microseconds, several as one where they are: many small transactions cost more than their rows."""
    waiting: list[Tick] = []
    for tick in ticks:
        if tick.end == tick.start:
            yield tick
            continue
        waiting.append(tick)
        if tick.end - waiting[0].start >= least:
            yield _as_one(waiting)
            waiting = []
    if waiting:
        yield _as_one(waiting)


def _as_one(ticks: Sequence[Tick]) -> Tick:
    tables: dict[str, list[Any]] = {}
    for tick in ticks:
        for name, rows in tick.tables:
            tables.setdefault(name, []).append(rows)
    return Tick(ticks[0].start, ticks[-1].end, [(name, pa.concat_tables(rows)) for name, rows in tables.items()])


def _cut(part: Part, number: int, count: int, *, whole: bool = False) -> Part:
    """Return the piece of a part with that number; with `whole`, and all after it."""
    first, end = (part.rows.num_rows * place // count for place in (number, count if whole else number + 1))
    return part.slice(first, end)


class Spoiler:
    """Holds rows back, doubles and breaks them, as often as it is asked to."""

    def __init__(self, options: Options, series: Mapping[str, Series]) -> None:
        self._options = options
        self._series = series
        self._rng = np.random.default_rng([options.seed, *b"spoil"])
        self._held: list[tuple[int, Part]] = []
        self._tick = 0

    def spoil(self, tick: Tick) -> list[Part]:
        """Return what to send in a tick."""
        self._tick += 1
        parts = [self._own(name, rows) if name in self._series and rows.num_rows else [Part.of(name, rows)] for name, rows in tick.tables]
        due = [part for at, part in self._held if at <= self._tick]
        self._held = [(at, part) for at, part in self._held if at > self._tick]
        by_name = {part.dataset: list(group) for group in parts for part in group}
        for part in due:
            by_name.setdefault(part.dataset, []).append(part)
        return [self._mixed(group) for group in by_name.values()]

    def hold(self, parts: Sequence[Part]) -> None:
        """Hold back what was to come in the rest of a tick but belongs to earlier ones."""
        for part in parts:
            mine = np.isin(part.kinds, (Kind.LATE, Kind.DUPLICATE))
            if mine.any():
                self._held.append((self._tick, Part(part.dataset, part.rows.filter(pa.array(mine)), part.kinds[mine])))

    def rest(self) -> list[Part]:
        """Return what is held back still."""
        held, self._held = [part for _, part in self._held], []
        return held

    def _own(self, name: str, rows: Any) -> list[Part]:
        """Return the rows of a tick that are on time, and broken ones; hold back late ones and copies."""
        rng, options, count = self._rng, self._options, rows.num_rows
        by = np.where(rng.random(count) < options.late, rng.integers(1, LATEST + 1, count), 0)
        doubled = (by == 0) & (rng.random(count) < options.duplicates)
        held = [(int(ticks), Part.of(name, rows.filter(pa.array(by == ticks)), Kind.LATE)) for ticks in np.unique(by[by > 0])]
        held.append((1, Part.of(name, rows.filter(pa.array(doubled)), Kind.DUPLICATE)))
        self._held += [(self._tick + ticks, part) for ticks, part in held if part.rows.num_rows]
        broken = _broken(rng, self._series[name], rows.take(pa.array(rng.integers(0, count, rng.binomial(count, options.malformed)))))
        return [Part.of(name, rows.filter(pa.array(by == 0))), Part.of(name, broken, Kind.MALFORMED)]

    def _mixed(self, parts: Sequence[Part]) -> Part:
        """Return parts of one dataset as one: the first in its order, the others anywhere between."""
        parts = [parts[0], *(part for part in parts[1:] if part.rows.num_rows)]
        if len(parts) == 1:
            return parts[0]
        first, strays = parts[0].rows.num_rows, sum(part.rows.num_rows for part in parts[1:])
        order = np.argsort(np.concatenate([np.arange(first), self._rng.uniform(0, first, strays)]), kind="stable")
        rows = pa.concat_tables([part.rows for part in parts]).combine_chunks().take(pa.array(order))
        return Part(parts[0].dataset, rows, np.concatenate([part.kinds for part in parts])[order])


def _broken(rng: np.random.Generator, series: Series, rows: Any) -> Any:
    """Return rows that fit nowhere: some without what they are about, the others of a time for which there is no room."""
    nameless = rng.random(rows.num_rows) < 0.5
    away = instants(FAR_AWAY + rng.integers(0, 10**12, rows.num_rows))
    times = pc.if_else(pa.array(nameless), rows[series.time].combine_chunks(), away)
    kind = rows.schema.field(series.key).type
    keys = pc.if_else(pa.array(nameless), pa.scalar(None, kind), rows[series.key].combine_chunks())
    rows = rows.set_column(rows.schema.get_field_index(series.time), series.time, times)
    return rows.set_column(rows.schema.get_field_index(series.key), series.key, keys)
