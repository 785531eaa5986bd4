"""Means over time: a value holds until the next row of its key, and for so long at most.

A piece of time, a bucket or a part of one, keeps the integral between its first and its last row, and what the last one held. Pieces
that do not overlap are put together in their order: what held at the end of one holds on to the beginning of the next. So rows, pieces
that left early, buckets and the buckets above them are folded alike. From the last row of one bucket to the first of the next
belongs to neither, and is added when a bucket is read.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from psycopg import sql

from chainstrata.model import Dataset, Measure
from chainstrata.model.rollup import FIRST_AT, LAST_AT, Component, Fold, mean_names
from chainstrata.rollups.model import Level

NEXT = sql.Identifier("__next")
SUMMED = (Fold.INTEGRAL, Fold.SECONDS)


def holds_for(dataset: Dataset, measure: Measure) -> float:
    """Return for how many seconds a value holds at most."""
    every = measure.holds or (dataset.change_only.heartbeat if dataset.change_only else None)
    assert every is not None  # noqa: S101  # the declarations were checked
    return every.seconds


def followed(level: Level, rows: sql.Composable, time: str, spans: Sequence[sql.Composable]) -> sql.Composable:
    """Return a subquery with, beside each row under the alias `r`, the time of the next one that shares its `spans`."""
    if not level.rollup.time_means:
        return rows
    return sql.SQL("(SELECT r.*, lead(r.{time}) OVER (PARTITION BY {spans} ORDER BY r.{time}) AS {next} FROM {rows} AS r)").format(
        time=sql.Identifier(time), spans=sql.SQL(", ").join(spans), next=NEXT, rows=rows
    )


def gap(level: Level, measure: Measure, since: sql.Composable, until: sql.Composable) -> sql.Composed:
    """Return for how many seconds of a span a value holds; NULL where the span has no end."""
    return _extract(sql.SQL("CASE WHEN {} IS NOT NULL THEN {} END").format(until, _lesser(level, measure, since, until)))


def of_rows(level: Level, measure: Measure, part: Component) -> sql.Composable:
    """Return the aggregate of followed rows under the alias `r`."""
    name = level.dataset.time
    seconds = gap(level, measure, sql.Identifier("r", name), sql.SQL("r.{}").format(NEXT))
    return _total(level, part, sql.Identifier("r", part.column), seconds)


def of_pieces(level: Level, measure: Measure, part: Component, alias: str) -> sql.Composable:
    """Return the aggregate of followed pieces of time, each with an integral of its own."""
    seconds = gap(level, measure, sql.Identifier(alias, LAST_AT), sql.SQL("{}.{}").format(sql.Identifier(alias), NEXT))
    between = _total(level, part, sql.Identifier(alias, part.held), seconds)
    return sql.SQL("sum({}) + {}").format(sql.Identifier(alias, part.name), between)


def of_one(part: Component, level: Level) -> sql.Composable:
    """Return what one row alone gives: nothing, for it holds from the last row of its piece on."""
    return sql.SQL("0::double precision" if part.fold is Fold.INTEGRAL and _is_float(level, part) else "0::numeric")


def added(level: Level, measure: Measure, part: Component) -> sql.Composed:
    """Return how a piece, `excluded`, is added to a bucket `t` that it comes after."""
    seconds = gap(level, measure, sql.Identifier("t", LAST_AT), sql.Identifier("excluded", FIRST_AT))
    held = sql.Identifier("t", part.held)
    if part.fold is Fold.SECONDS:
        between = sql.SQL("CASE WHEN {} IS NOT NULL THEN {} ELSE 0 END").format(held, seconds)
    else:
        between = sql.SQL("coalesce({} * {}, 0)").format(held, _as_factor(level, part, seconds))
    return sql.SQL("{0} = t.{0} + {1} + excluded.{0}").format(sql.Identifier(part.name), between)


def _total(level: Level, part: Component, held: sql.Composable, seconds: sql.Composable) -> sql.Composable:
    if part.fold is Fold.SECONDS:
        return sql.SQL("coalesce(sum({}) FILTER (WHERE {} IS NOT NULL), 0)").format(seconds, held)
    return sql.SQL("coalesce(sum({} * {}), 0)").format(held, _as_factor(level, part, seconds))


def _lesser(level: Level, measure: Measure, since: sql.Composable, until: sql.Composable) -> sql.Composed:
    return sql.SQL("least({} - {}, {})").format(until, since, _longest(level, measure))


def _longest(level: Level, measure: Measure) -> sql.Composed:
    return sql.SQL("{}::interval").format(sql.Literal(f"{holds_for(level.dataset, measure):.0f} seconds"))


def _extract(interval: sql.Composable) -> sql.Composed:
    # Of an interval it is a numeric of six decimals: exact.
    return sql.SQL("extract(epoch FROM {})").format(interval)


def _is_float(level: Level, part: Component) -> bool:
    return isinstance(level.dataset.table.c[part.column].type, sa.Float)


def _as_factor(level: Level, part: Component, seconds: sql.Composable) -> sql.Composable:
    return sql.SQL("({})::double precision").format(seconds) if _is_float(level, part) else seconds


# Reading ---------------------------------------------------------------------------------------------------------------


def reach(level: Level) -> float:
    """Return how many seconds before a bucket a value may come from that holds in it."""
    return max((holds_for(level.dataset, measure) for measure in level.rollup.time_means), default=0.0)


def looking_back(level: Level, relation: sql.Composable, condition: sql.Composable) -> sql.Composable:
    """Return a subquery of the buckets that meet a condition, each with what the one before it held at its end."""
    if not level.rollup.time_means:
        return relation
    befores = [
        sql.SQL("lag(t.{}) OVER own AS {}").format(sql.Identifier(name), _before(name))
        for name in dict.fromkeys([LAST_AT, *(measure.held for measure in level.rollup.time_means)])
    ]
    keys = sql.SQL(", ").join(sql.Identifier("t", key) for key in level.rollup.by)
    return sql.SQL(
        "(SELECT t.*, {befores} FROM {relation} AS t WHERE {condition} WINDOW own AS (PARTITION BY {keys} ORDER BY t.{bucket})) AS t"
    ).format(
        befores=sql.SQL(", ").join(befores),
        relation=relation,
        condition=condition,
        keys=keys,
        bucket=sql.Identifier(level.rollup.bucket),
    )


def means(level: Level, end: sql.Composable) -> list[sql.Composable]:
    """Return the means over time, and what they cover, of buckets with what held before; `end` is that of a bucket."""
    shown: list[sql.Composable] = []
    for measure in level.rollup.time_means:
        integral, covered = measure.components
        held, before = sql.Identifier(measure.held), _before(measure.held)
        start = sql.Identifier(level.rollup.bucket)
        # Nothing is known of the time to come.
        until = sql.SQL("greatest(least({}, now()), {})").format(end, sql.Identifier(LAST_AT))
        tail = gap(level, measure, sql.Identifier(LAST_AT), until)
        lasts = sql.SQL("{} + {}").format(_before(LAST_AT), _longest(level, measure))
        head = _extract(sql.SQL("greatest(least({}, {}), {start}) - {start}").format(sql.Identifier(FIRST_AT), lasts, start=start))
        seconds = sql.SQL("({} + CASE WHEN {} IS NOT NULL THEN {} ELSE 0 END + CASE WHEN {} IS NOT NULL THEN {} ELSE 0 END)").format(
            sql.Identifier(covered.name), held, tail, before, head
        )
        total = sql.SQL("({} + coalesce({} * {}, 0) + coalesce({} * {}, 0))").format(
            sql.Identifier(integral.name), held, _as_factor(level, integral, tail), before, _as_factor(level, integral, head)
        )
        name, covers = mean_names(measure)
        divisor = sql.SQL("nullif({}, 0)").format(_as_factor(level, integral, seconds))
        shown += [
            sql.SQL("{} / {} AS {}").format(total, divisor, sql.Identifier(name)),
            sql.SQL("{} AS {}").format(seconds, sql.Identifier(covers)),
        ]
    return shown


def _before(name: str) -> sql.Identifier:
    return sql.Identifier(f"__before_{name}")
