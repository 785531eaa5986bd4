"""Queries that read roll-ups: as they are kept, with everything not yet folded, or as their rows say they should be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import sqlalchemy as sa
from psycopg import sql

from chainstrata.errors import UnknownName, UsageError
from chainstrata.model.marking import floor_sql, identifier, step_sql, type_sql
from chainstrata.model.rollup import Fold
from chainstrata.rollups import holding
from chainstrata.rollups.fold import AND, COMMA, bucket_end, column, fold, fold_pairs, fold_sorted, layout, merge, names, same, scan
from chainstrata.rollups.model import Level, Source

LO = sql.Placeholder("lo")
HI = sql.Placeholder("hi")
SINCE = sql.Placeholder("since")
Path = Sequence[tuple[Source, Level]]
# Within the query, so that it is of the same snapshot without a transaction: one round trip instead of four.
_GONE = sql.SQL("{} AS MATERIALIZED (SELECT coalesce(max(gone_before), '-infinity') AS at FROM strata.rollup_source WHERE source = {})")


def gone(depth: int) -> sql.Composable:
    """Return the instant before which the rows of a path's source have left."""
    return sql.SQL("(SELECT at FROM {})").format(_numbered("gone", depth))


def _numbered(name: str, depth: int) -> sql.Identifier:
    return sql.Identifier(f"{name}_{depth}")


@dataclass(frozen=True, slots=True)
class Slice:
    """Which of the buckets are wanted: those of `keys` alone, those after the one that `after` says, at most `most`.

    The values travel as the parameters `only_<key>`, `after_0` and on, and `most`. Of the keys in `single` there is one value, not a list:
    a plan for any list of keys would rather read a span of all keys than look ten of them up.
    """

    keys: Sequence[str] = ()
    single: Sequence[str] = ()
    after: bool = False
    most: bool = False


ALL = Slice()


def slice_of(level: Level, keys: Mapping[str, Sequence[Any]], after: Sequence[Any], limit: int | None) -> tuple[Slice, dict[str, Any]]:
    """Return which buckets are wanted, and the values of its parameters."""
    by = level.rollup.by
    for key in keys:
        if key not in by:
            raise UnknownName(f"key of {level.name}", key, list(by))
    if after and len(after) != len(by) + 1:
        raise UsageError(f"a bucket of {level.name} is told by {', '.join([*by, level.rollup.bucket])}")
    single = [key for key, values in keys.items() if len(values) == 1]
    params: dict[str, Any] = {f"only_{key}": values[0] if key in single else list(values) for key, values in keys.items()}
    params |= {f"after_{place}": value for place, value in enumerate(after)}
    if limit is not None:
        params["most"] = limit
    return Slice(tuple(keys), tuple(single), bool(after), limit is not None), params


def _selected(level: Level, relation: sql.Composable, wanted: Slice) -> sql.Composed:
    """Select what a reader sees: key, bucket, whether it is open, components, and the generated columns made again."""
    kept = layout(level)
    made = [
        sql.SQL("({}) AS {}").format(sql.SQL(str(c.computed.sqltext)), column(c.name))  # pyright: ignore[reportArgumentType]  # the declaration's own formula
        for c in level.table.c
        if c.computed is not None
    ]
    end = bucket_end(level, column(level.rollup.bucket))
    is_open = sql.SQL("{} > now() AS is_open").format(end)
    return sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {}{}").format(
        COMMA.join([*map(column, kept), *made, *holding.means(level, end), is_open]),
        holding.looking_back(level, relation, _looked_at(level, wanted)),
        _condition(level, wanted),
        names([*level.rollup.by, level.rollup.bucket]),
        sql.SQL(" LIMIT {}").format(sql.Placeholder("most")) if wanted.most else sql.SQL(""),
    )


def _condition(level: Level, wanted: Slice) -> sql.Composed:
    """Return which buckets are read: those from `since` on, `lo` being further back where they need the ones before."""
    conditions = [sql.SQL("{0} >= {1} AND {0} < {2}").format(column(level.rollup.bucket), SINCE, HI), *_of_keys(level, wanted)]
    if wanted.after:
        conditions.append(_after(level, [*level.rollup.by, level.rollup.bucket], ">"))
    return AND.join(conditions)


def _looked_at(level: Level, wanted: Slice) -> sql.Composed:
    """Return which buckets are looked at: those read, and what may hold still where they begin."""
    within = sql.SQL("{0} >= {1} AND {0} < {2}").format(column(level.rollup.bucket), LO, HI)
    return AND.join([within, *_of_wanted_keys(level, wanted)])


def _of_wanted_keys(level: Level, wanted: Slice) -> list[sql.Composed]:
    """Return the conditions on key columns, which rows and levels below have as well."""
    conditions = _of_keys(level, wanted)
    if wanted.after and level.rollup.by:
        conditions.append(_after(level, level.rollup.by, ">="))
    return conditions


def _of_keys(level: Level, wanted: Slice) -> list[sql.Composed]:
    forms = {True: sql.SQL("{} = {}::{}"), False: sql.SQL("{} = ANY ({}::{}[])")}
    return [
        forms[key in wanted.single].format(column(key), sql.Placeholder(f"only_{key}"), type_sql(level.table.c[key].type))
        for key in wanted.keys
    ]


def _after(level: Level, key: Sequence[str], sign: LiteralString) -> sql.Composed:
    given = COMMA.join(
        sql.SQL("{}::{}").format(sql.Placeholder(f"after_{place}"), type_sql(level.table.c[name].type)) for place, name in enumerate(key)
    )
    return sql.SQL("({}) {} ({})").format(names(key), sql.SQL(sign), given)


def materialised(level: Level, wanted: Slice = ALL) -> sql.Composed:
    """Return the query for the buckets from `lo` to `hi` as they are kept."""
    return _selected(level, identifier(level.table), wanted)


@dataclass(frozen=True, slots=True)
class _Step:
    """A level on the path, with the one it is folded from, and what of it is read: the keys under these conditions, and a span."""

    depth: int
    source: Source
    level: Level
    below: Level | None
    keys: Sequence[sql.Composable]
    needed: tuple[sql.Composable, sql.Composable]
    """The span that the dirty buckets above are in; of the last level the one that is asked for."""

    def named(self, name: str) -> sql.Identifier:
        return _numbered(name, self.depth)

    @property
    def bucket(self) -> sql.Identifier:
        return column(self.level.rollup.bucket)

    @property
    def gone(self) -> sql.Composable:
        """The instant before which the rows of the source have left."""
        return gone(self.depth)

    def within(self) -> sql.Composed:
        """Return the condition that a bucket `t` of the level, or of what it carries, is read."""
        return AND.join([sql.SQL("t.{b} >= {} AND t.{b} < {}").format(*self.needed, b=self.bucket), *self.keys])

    def touched(self, start: sql.Composable, alias: str) -> sql.Composed:
        """Return the condition that the bucket at `start` of the keys under an alias is dirty."""
        return sql.SQL("({start} IN (SELECT bucket FROM {whole}) OR ({own}) IN (SELECT {pair} FROM {pairs}))").format(
            start=start,
            whole=self.named("whole"),
            own=COMMA.join([*(column(key, alias) for key in self.level.rollup.by), start]),
            pair=names([*self.level.rollup.by, "lo"]),
            pairs=self.named("pairs"),
        )


def live(path: Path, wanted: Slice = ALL) -> sql.Composed:
    """Return the query, in one snapshot, for the buckets from `lo` to `hi`: kept ones where clean, made from rows where dirty.

    `path` leads from the raw rows to the level read. A dirty bucket of a roll-up dirties those folded from it. Of each level below no
    more is read than the dirty buckets above it are folded from, and of the wanted keys alone.
    """
    steps = _steps(path, wanted)
    relations: list[sql.Composable] = []
    for step in steps:
        relations.append(_GONE.format(step.named("gone"), sql.Literal(step.source.name)))
        relations += _dirty_buckets(step)
    relations += [sql.SQL("{} AS ({})").format(step.named("live"), _live_rows(step)) for step in steps]
    query = _selected(steps[-1].level, steps[-1].named("live"), wanted)
    return sql.SQL("WITH {} {}").format(COMMA.join(relations), query)


def _steps(path: Path, wanted: Slice) -> list[_Step]:
    keys = _of_wanted_keys(path[-1][1], wanted)
    steps = []
    for depth, (source, level) in enumerate(path):
        needed: tuple[sql.Composable, sql.Composable] = (LO, HI)
        if depth + 1 < len(path):
            above = _numbered("span", depth + 1)
            # No second span beside it: both together seem to leave so little that an index on the time would be taken, and all keys read.
            needed = (sql.SQL("(SELECT lo FROM {})").format(above), sql.SQL("(SELECT hi FROM {})").format(above))
        steps.append(_Step(depth, source, level, path[depth - 1][1] if depth else None, keys, needed))
    return steps


def _dirty_buckets(step: _Step) -> list[sql.Composable]:
    """Name the level's dirty buckets: all, those that are dirty as a whole, those of single keys, and the span they are in."""
    level = step.level
    by = level.rollup.by
    keys = sql.SQL("").join(sql.SQL("m.{}, ").format(column(key)) for key in by)
    frozen = sql.SQL("{} <= {}").format(bucket_end(level, sql.SQL("m.bucket")), step.gone)
    touched = sql.SQL("SELECT DISTINCT {keys} m.bucket FROM ({marked}) AS m WHERE NOT {frozen}").format(
        keys=keys, marked=sql.SQL(" UNION ALL ").join([_marked(step), *_dirty_below(step)]), frozen=frozen
    )
    parts = {"touched": step.named("touched")}
    some = sql.SQL(" OR ").join(sql.SQL("m.{} IS NULL").format(column(key)) for key in by) if by else sql.SQL("true")
    whole = sql.SQL("SELECT DISTINCT m.bucket FROM {touched} AS m WHERE {some}").format(some=some, **parts)
    pairs = sql.SQL(
        "SELECT {keys} m.bucket AS lo, {end} AS hi FROM {touched} AS m WHERE NOT ({some}) AND m.bucket NOT IN ({whole})"
    ).format(
        keys=keys,
        end=bucket_end(level, sql.SQL("m.bucket")),
        some=some,
        whole=whole,
        **parts,
    )
    span = sql.SQL("SELECT min(bucket) AS lo, {end} AS hi FROM {touched}").format(end=bucket_end(level, sql.SQL("max(bucket)")), **parts)
    named = {"touched": touched, "whole": whole, "pairs": pairs, "span": span}
    return [sql.SQL("{} AS MATERIALIZED ({})").format(step.named(name), query) for name, query in named.items()]


def _marked(step: _Step) -> sql.Composed:
    """Select the level's buckets that marks of its source touch, within what is read."""
    level = step.level
    keys = sql.SQL("").join(sql.SQL("d.{}, ").format(column(key)) for key in level.rollup.by)
    start = floor_sql(level.rollup.every, sql.SQL("greatest(d.lo, {})").format(LO))
    end = sql.SQL("least(d.hi, {}) - interval '1 microsecond'").format(HI)
    # A mark without a key is for every key.
    wanted = AND.join(sql.SQL("({}) IS NOT FALSE").format(key) for key in step.keys) if step.keys else sql.SQL("true")
    # In UTC clock time, so that a month is a month whatever the session's zone.
    return sql.SQL(
        "SELECT {keys}clock AT TIME ZONE 'UTC' AS bucket FROM {dirty} AS d CROSS JOIN"
        " generate_series({start} AT TIME ZONE 'UTC', ({end}) AT TIME ZONE 'UTC', {step}) AS clock WHERE {wanted}"
    ).format(keys=keys, dirty=identifier(step.source.dirty), start=start, end=end, step=step_sql(level.rollup.every), wanted=wanted)


def _dirty_below(step: _Step) -> list[sql.Composable]:
    """Select the level's buckets of which one below is dirty, or waits to be merged into."""
    below = step.below
    if below is None:
        return []
    keys = sql.SQL("").join(sql.SQL("{}, ").format(column(key)) for key in step.level.rollup.by)
    every, start = step.level.rollup.every, column(below.rollup.bucket)
    touched = sql.SQL("SELECT {}{} FROM {}").format(keys, floor_sql(every, sql.SQL("bucket")), _numbered("touched", step.depth - 1))
    waits = [
        sql.SQL("{0} >= {1} AND {0} < {2}").format(start, LO, HI),
        sql.SQL("{} <= {}").format(bucket_end(below, start), gone(step.depth - 1)),
        *step.keys,
    ]
    carried = sql.SQL("SELECT {}{} FROM {} WHERE {}").format(keys, floor_sql(every, start), identifier(below.carried), AND.join(waits))
    return [touched, carried]


def _live_rows(step: _Step) -> sql.Composed:
    """Select clean buckets as kept and dirty ones as their rows give them, in the level's layout."""
    level = step.level
    folded = [_fold_raw_pairs(step), _fold_raw_whole(step)] if step.below is None else [_fold_below(step)]
    touched = step.touched(sql.SQL("t.{}").format(step.bucket), "t")
    clean = sql.SQL("SELECT {} FROM {} AS t WHERE {} AND NOT {}").format(
        names(layout(level), "t"), identifier(level.table), step.within(), touched
    )
    return _with_carried(step, clean, folded, touched)


def _fold_raw_whole(step: _Step) -> sql.Composed:
    whole = step.named("whole")
    rows = scan(
        step.source,
        step.level,
        sql.SQL("greatest((SELECT min(bucket) FROM {}), {})").format(whole, step.gone),
        sql.SQL("(SELECT {} FROM {})").format(bucket_end(step.level, sql.SQL("max(bucket)")), whole),
        sql.SQL("{} IN (SELECT bucket FROM {})").format(floor_sql(step.level.rollup.every, column(step.source.time)), whole),
        *step.keys,
    )
    return sql.SQL("({}) AS folded_whole").format(fold(step.source, step.level, rows))


def _fold_raw_pairs(step: _Step) -> sql.Composed:
    looked_up = fold_pairs(step.source, step.level, step.gone, table=identifier(step.source.table))
    return sql.SQL("(WITH pairs AS (SELECT * FROM {}) {}) AS folded_pairs").format(step.named("pairs"), looked_up)


def _fold_below(step: _Step) -> sql.Composed:
    """Fold the level below, of which only what is needed was read: in one pass, since there is no index to look single keys up by.

    Nothing is joined either: the planner cannot know how many rows there are, and may take a fold for one row and repeat it for each of them.
    """
    span = step.named("span")
    rows = scan(
        step.source,
        step.level,
        sql.SQL("greatest((SELECT lo FROM {}), {})").format(span, step.gone),
        sql.SQL("(SELECT hi FROM {})").format(span),
        step.touched(floor_sql(step.level.rollup.every, sql.SQL("r.{}").format(column(step.source.time))), "r"),
        table=sql.SQL("{} AS r").format(_numbered("live", step.depth - 1)),
    )
    return sql.SQL("({}) AS folded").format(fold_sorted(step.source, step.level, rows))


def _with_carried(step: _Step, clean: sql.Composable, dirty: Sequence[sql.Composable], touched: sql.Composable) -> sql.Composed:
    """Add what is carried: to dirty buckets, and to buckets none of whose rows are left, which it waits to be merged into."""
    level = step.level
    carried = identifier(level.carried)
    ended = sql.SQL("{} <= {}").format(bucket_end(level, sql.SQL("t.{}").format(step.bucket)), step.gone)
    over = sql.SQL("(SELECT * FROM {} AS t WHERE {} AND ({} OR {})) AS over_").format(carried, step.within(), touched, ended)
    key = [*level.rollup.by, level.rollup.bucket]
    waiting = sql.SQL("EXISTS (SELECT FROM {} AS c WHERE {} AND {})").format(carried, same(key, "c", "t"), ended)
    kept = sql.SQL("(SELECT t.* FROM {} AS t WHERE {} AND {}) AS kept_").format(identifier(level.table), step.within(), waiting)
    return sql.SQL("{} AND NOT {} UNION ALL ({})").format(clean, waiting, merge(level, *dirty, over, kept))


def compare(source: Source, level: Level) -> sql.Composed:
    """Return the query for every bucket from `lo` to `hi` that is not what its rows from `gone_before` on give."""
    rows = scan(source, level, sql.SQL("greatest({}, %(gone_before)s::timestamptz)").format(LO), HI)
    expected = fold(source, level, rows)
    over = sql.SQL("(SELECT * FROM {} WHERE {b} >= {} AND {b} < {}) AS over_").format(
        identifier(level.carried), LO, HI, b=column(level.rollup.bucket)
    )
    expected = merge(level, sql.SQL("({}) AS live").format(expected), over)
    key = [*level.rollup.by, level.rollup.bucket]
    columns = layout(level)
    values = columns[len(key) :]
    own = [name for name in source.marked if name in level.rollup.by]
    # What is marked is known to differ, and stands until the next refresh.
    clean = [sql.SQL("(m.{0} IS NULL OR m.{0} = coalesce(e.{0}, k.{0}))").format(column(name)) for name in own]
    start = sql.SQL("coalesce(e.{0}, k.{0})").format(column(level.rollup.bucket))
    clean += [sql.SQL("m.lo < {}").format(bucket_end(level, start)), sql.SQL("m.hi > {}").format(start)]
    return sql.SQL(
        "WITH expected AS MATERIALIZED ({expected}),"
        " kept AS MATERIALIZED (SELECT {columns} FROM {table} WHERE {bucket} >= {lo} AND {bucket} < {hi})"
        " SELECT {keys}, {flags}, to_jsonb(k) AS kept, to_jsonb(e) AS expected"
        " FROM expected AS e FULL JOIN kept AS k ON {same}"
        " WHERE ({differs}) AND NOT EXISTS (SELECT FROM {dirty} AS m WHERE {marked}) ORDER BY {order} LIMIT %(most)s"
    ).format(
        expected=expected,
        columns=names(columns),
        table=identifier(level.table),
        bucket=column(level.rollup.bucket),
        lo=LO,
        hi=HI,
        keys=COMMA.join(sql.SQL("coalesce(e.{0}, k.{0}) AS {0}").format(column(name)) for name in key),
        flags=sql.SQL("k.samples IS NOT NULL AS is_kept, e.samples IS NOT NULL AS is_expected"),
        same=same(key, "e", "k"),
        differs=_differs(level, values),
        dirty=identifier(source.dirty),
        marked=sql.SQL(" AND ").join(clean),
        order=COMMA.join(sql.SQL("{}").format(sql.Literal(place + 1)) for place in range(len(key))),
    )


def _differs(level: Level, values: Sequence[str]) -> sql.Composed:
    """Return the condition that what is kept (`k`) is not what is expected (`e`).

    Sums of floating point numbers depend on the order they are added in, so their last digits say nothing.
    """
    summed = (Fold.SUM, Fold.WEIGHTED_SUM, Fold.WEIGHT, Fold.INTEGRAL)
    sums = {part.name for part in level.rollup.components if part.fold in summed}
    loose = [name for name in values if name in sums and isinstance(level.table.c[name].type, sa.Float)]
    exact = [name for name in values if name not in loose]
    unlike = sql.SQL("(k.{0} IS DISTINCT FROM e.{0} AND abs(k.{0} - e.{0}) <= 1e-9 * greatest(abs(k.{0}), abs(e.{0})) IS NOT TRUE)")
    conditions = [sql.SQL("({}) IS DISTINCT FROM ({})").format(names(exact, "k"), names(exact, "e"))]
    return sql.SQL(" OR ").join([*conditions, *(unlike.format(column(name)) for name in loose)])
