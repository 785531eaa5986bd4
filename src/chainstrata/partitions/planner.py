"""Which partitions a table should have, against those it has. Pure: no connection, clock or log.

What exists is never moved or split. New partitions have the declared width; where an older one of another width stands
in the way they are cut to the gap, so a changed interval takes effect where the old partitions end.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from chainstrata.engines.postgres.partitioning import BEGINNING, END, Partition, Span, State, TableFacts
from chainstrata.model import Interval, TimedTable
from chainstrata.partitions.model import Action, Problem, ProblemCode, Step
from chainstrata.partitions.names import free_name, partition_name

LARGEST_GAP = 400
"""Partitions a gap before the present may need to be filled unasked: two weeks of hours, a year of days."""


def plan(
    table: TimedTable, existing: Collection[Partition], now: datetime, *, taken: Collection[str] = (), facts: TableFacts | None = None
) -> list[Step]:
    """Return what is to be done: first what an earlier run left half done, then creations, oldest first, then compressions.

    Wanted are the span before the present one (feeds are late at its edge), the present one, and `premake` ahead; and
    the gap between those and the last older partition, unless it is older than the rows are kept or larger than
    `LARGEST_GAP`. `taken` are names in the schema that no new partition may have. `facts` say what the table is.
    """
    covered = _covered(existing)
    wanted = wanted_span(table, now)
    gap = _gap_before(table, covered, wanted, now)
    names = {*taken, *(one.name for one in existing)}
    chunks = facts is not None and facts.hypertable
    made = _creations(table, covered, [*gap, wanted], names, chunks=chunks)
    return _finish(table, existing) + made + _compressions(table, existing, now, prepared=facts is not None and facts.compressible)


def plan_range(
    table: TimedTable, existing: Collection[Partition], span: Span, *, taken: Collection[str] = (), chunks: bool = False
) -> list[Step]:
    """Return what leaves no instant of `span` without a partition, oldest first."""
    names = {*taken, *(one.name for one in existing)}
    return _finish(table, existing) + _creations(table, _covered(existing), [span], names, chunks=chunks)


def wanted_span(table: TimedTable, now: datetime) -> Span:
    """Return the time a table should always have partitions for."""
    interval = table.interval
    present = interval.floor(now)
    return Span(interval.shift(present, -1), interval.shift(present, table.lifecycle.premake + 1))


def _finish(table: TimedTable, existing: Collection[Partition]) -> list[Step]:
    """Return what ends detachments that were cut short: the server allows nothing new in their span until then."""
    return [Step(Action.FINALIZE, table, one) for one in existing if one.state is State.DETACHING]


def _gap_before(table: TimedTable, covered: Sequence[Span], wanted: Span, now: datetime) -> list[Span]:
    """Return the gap between the last partition that ends before the wanted span and that span, if it is to be filled."""
    last = max((span.end for span in covered if span.end <= wanted.start), default=None)
    if last is None or last == wanted.start:
        return []
    keep = table.lifecycle.keep
    start = max(last, table.interval.floor(keep.before(now))) if keep else last
    gap = Span(start, wanted.start)
    if start >= wanted.start or _count(table.interval, gap, LARGEST_GAP) > LARGEST_GAP:
        return []
    return [gap]


def _count(interval: Interval, span: Span, limit: int) -> int:
    """Return how many partitions of a width touch a span, or one more than the limit."""
    count, start = 0, interval.floor(span.start)
    while start < span.end and count <= limit:
        count, start = count + 1, interval.shift(start)
    return count


def _covered(existing: Collection[Partition]) -> list[Span]:
    """Return the spans rows can go to, in order. What is leaving takes no rows any more."""
    return sorted(one.span for one in existing if one.state is State.ATTACHED and not one.default)


def _creations(table: TimedTable, covered: Sequence[Span], wanted: Sequence[Span], taken: set[str], *, chunks: bool) -> list[Step]:
    steps = []
    for span in wanted:
        for free in uncovered(table.interval, covered, span):
            name = free_name(partition_name(table.table, table.interval, free.start), taken)
            taken.add(name)
            steps.append(Step(Action.CREATE, table, Partition(table.schema, name, free, chunked_by=table.column if chunks else "")))
    return steps


def _compressions(table: TimedTable, existing: Collection[Partition], now: datetime, *, prepared: bool) -> list[Step]:
    """Return what compresses chunks that are old enough, and those that rows came to since."""
    age = table.lifecycle.compress
    if age is None:
        return []
    old = [one for one in existing if one.chunked_by and not one.compressed and one.span.end <= age.before(now)]
    steps = [Step(Action.COMPRESS, table, one) for one in old]
    if steps and not prepared:
        steps.insert(0, Step(Action.PREPARE, table, Partition(table.schema, table.table, Span(BEGINNING, END))))
    return steps


def uncovered(interval: Interval, covered: Sequence[Span], wanted: Span) -> Iterator[Span]:
    """Yield the pieces of whole intervals touching `wanted` that no covered span holds, oldest first."""
    start = interval.floor(wanted.start)
    while start < wanted.end:
        end = interval.shift(start)
        yield from subtract(Span(start, end), covered)
        start = end


def subtract(span: Span, covered: Sequence[Span]) -> Iterator[Span]:
    """Yield what is left of a span without the covered ones, which are in order and do not overlap."""
    start = span.start
    for other in covered:
        if other.start < span.end and start < other.end:
            if start < other.start:
                yield Span(start, other.start)
            start = other.end
    if start < span.end:
        yield Span(start, span.end)


# What is wrong -------------------------------------------------------------------------------------------------------
def spans_ahead(table: TimedTable, existing: Collection[Partition], now: datetime) -> int:
    """Return how many whole intervals after the present one can take rows, up to the first that cannot."""
    covered = _covered(existing)
    start = table.interval.shift(table.interval.floor(now))
    ahead = 0
    while ahead <= table.lifecycle.premake and not any(subtract(Span(start, table.interval.shift(start)), covered)):
        ahead, start = ahead + 1, table.interval.shift(start)
    return ahead


def check(table: TimedTable, existing: Collection[Partition], now: datetime, *, least_ahead: int) -> list[Problem]:
    """Return what is wrong with the partitions of a table, urgent problems first."""
    problems = [*_check_ahead(table, existing, now, least_ahead), *_check_odd(table, existing), *_check_gaps(table, existing, now)]
    return sorted(problems, key=lambda problem: not problem.urgent)


def _check_ahead(table: TimedTable, existing: Collection[Partition], now: datetime, least_ahead: int) -> Iterator[Problem]:
    interval = table.interval
    present = Span(interval.floor(now), interval.shift(interval.floor(now)))
    if any(subtract(present, _covered(existing))):
        yield Problem(table.name, ProblemCode.FEW_AHEAD, f"no partition for the present, {present}", urgent=True)
        return
    ahead, least = spans_ahead(table, existing, now), min(least_ahead, table.lifecycle.premake)
    if ahead < least:
        detail = f"{ahead} future partitions of {interval}, at least {least} are wanted"
        yield Problem(table.name, ProblemCode.FEW_AHEAD, detail, urgent=True)


def _check_odd(table: TimedTable, existing: Collection[Partition]) -> Iterator[Problem]:
    for one in existing:
        if one.state is State.DETACHING:
            yield Problem(table.name, ProblemCode.DETACH_PENDING, f"detaching {one.name} was cut short", urgent=False)
        elif one.default:
            detail = f"{one.name} is a DEFAULT partition, so nothing can be detached without locking readers out"
            yield Problem(table.name, ProblemCode.DEFAULT_PARTITION, detail, urgent=False)
    others = [one for one in existing if one.state is State.ATTACHED and not one.default and not _fits(table.interval, one.span)]
    if others:
        detail = f"{len(others)} not {table.interval} wide, the first is {others[0].name}; they stay until they expire"
        yield Problem(table.name, ProblemCode.OTHER_WIDTH, detail, urgent=False)


def _fits(interval: Interval, span: Span) -> bool:
    if span.start == BEGINNING or span.end == END:
        return False
    return interval.floor(span.start) == span.start and interval.shift(span.start) == span.end


def _check_gaps(table: TimedTable, existing: Collection[Partition], now: datetime) -> Iterator[Problem]:
    keep = table.lifecycle.keep
    oldest = table.interval.floor(keep.before(now)) if keep else BEGINNING
    covered = _covered(existing)
    for before, after in itertools.pairwise(covered):
        gap = Span(max(before.end, oldest), after.start)
        if gap.start < gap.end:
            yield Problem(table.name, ProblemCode.GAP, f"no partition for {gap}", urgent=False)
