"""What a refresh has to do, from marks and a few numbers. Pure: no connection, clock or log.

Granularity follows density. A bucket in which few keys are dirty is refreshed key by key; one in which many are is read as a
whole, because one pass over its rows costs less than looking each key up. Neighbouring whole buckets are read in one pass.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from chainstrata.model import Catalog, Dataset, Interval, Pack
from chainstrata.model.marking import FEW_KEYS, children, marked_keys, marked_width
from chainstrata.model.rollup import rollup_table_name
from chainstrata.rollups.model import Key, Level, Mark, Pairs, Range, Source, Work

# Buckets between two dirty ones that are read along rather than starting another pass.
BRIDGE = 2


def find_sources(catalog: Catalog) -> list[Source]:
    """Return every source of roll-ups, each before those that are folded from its roll-ups."""
    found: list[Source] = []
    for pack in catalog.packs:
        for dataset in pack.datasets:
            found += _sources(pack, dataset)
    return found


def _sources(pack: Pack, dataset: Dataset) -> list[Source]:
    levels = {rollup.name: _level(pack, dataset, rollup.name) for rollup in dataset.rollups}
    ordered: list[Source] = []
    waiting = [""]
    while waiting:
        name = waiting.pop(0)
        folded = children(dataset, name)
        if not folded:
            continue
        own = levels.get(name)
        table = own.table if own else dataset.table
        time = own.rollup.bucket if own else dataset.time
        full_name = own.name if own else dataset.full_name
        keys = tuple(key for key in (column.name for column in table.primary_key.columns) if key != time)
        dirty = pack.metadata.tables[f"{dataset.schema}.{table.name}__dirty"]
        ordered.append(
            Source(
                full_name,
                dataset,
                table,
                time,
                keys,
                dirty,
                marked_width(folded),
                marked_keys(folded),
                own,
                tuple(levels[r.name] for r in folded),
            )
        )
        waiting += [rollup.name for rollup in folded]
    return ordered


def _level(pack: Pack, dataset: Dataset, name: str) -> Level:
    rollup = dataset.rollup(name)
    tables = pack.metadata.tables
    full = f"{dataset.schema}.{rollup_table_name(rollup, dataset.table)}"
    return Level(f"{dataset.full_name}.{name}", dataset, rollup, tables[full], tables[f"{full}__carried"], tables.get(f"{full}__dirty"))


def plan(
    source: Source, level: Level, marks: Iterable[Mark], *, span: Range, floor: datetime | None = None, most_keys: float | None = None
) -> list[Work]:
    """Return the work that brings a level up to date with the marks of its source.

    `span` bounds open marks: it covers every row and every bucket there is. Buckets that start before `floor` are left as
    they are. `most_keys` is of how many keys a bucket is done key by key, None if nobody knows.
    """
    every = level.rollup.every
    positions = [source.marked.index(name) for name in level.rollup.by]
    # By time first: many marks share theirs, and the calendar is the dear part.
    times: dict[tuple[datetime | None, datetime | None], set[Key]] = {}
    for mark in marks:
        times.setdefault((mark.lo, mark.hi), set()).add(tuple([mark.key[position] for position in positions]))
    ranges: list[Range] = []
    single: dict[datetime, set[Key]] = {}
    for (begin, end), keys in times.items():
        lo, hi = begin or span.lo, end or span.hi
        if floor is not None:
            lo = max(lo, floor)
        if lo >= hi:
            continue
        if every.shift(every.floor(lo), 2) < hi or any(not key or None in key for key in keys):
            ranges.append(_aligned(every, lo, hi))
        else:
            for start in _starts(every, lo, hi):
                single.setdefault(start, set()).update(keys)
    dense = _dense(single, most_keys)
    whole = _joined(every, [*ranges, *(Range(start, every.shift(start)) for start in dense)])
    sparse = {start: keys for start, keys in single.items() if start not in dense and not _covered(start, whole)}
    return [*whole, *_pairs(sparse)]


def _aligned(every: Interval, lo: datetime, hi: datetime) -> Range:
    end = every.floor(hi)
    return Range(every.floor(lo), end if end == hi else every.shift(end))


def _starts(every: Interval, lo: datetime, hi: datetime) -> list[datetime]:
    starts = [every.floor(lo)]
    while every.shift(starts[-1]) < hi:
        starts.append(every.shift(starts[-1]))
    return starts


def _dense(single: Mapping[datetime, set[Key]], most_keys: float | None) -> set[datetime]:
    most = FEW_KEYS if most_keys is None else most_keys
    return {start for start, keys in single.items() if len(keys) > most}


def _joined(every: Interval, ranges: Sequence[Range]) -> list[Range]:
    joined: list[Range] = []
    for item in sorted(ranges, key=lambda r: r.lo):
        if joined and item.lo <= every.shift(joined[-1].hi, BRIDGE):
            joined[-1] = Range(joined[-1].lo, max(joined[-1].hi, item.hi))
        else:
            joined.append(item)
    return joined


def _covered(start: datetime, ranges: Sequence[Range]) -> bool:
    return any(item.lo <= start < item.hi for item in ranges)


def _pairs(single: Mapping[datetime, set[Key]]) -> list[Work]:
    if not single:
        return []
    # One order for everybody: by key, then time, so that no two transactions wait for each other.
    ordered = sorted(((key, start) for start, keys in single.items() for key in keys), key=lambda pair: (*map(str, pair[0]), pair[1]))
    return [Pairs([key for key, _ in ordered], [start for _, start in ordered])]
