"""Queries that read roll-ups: as they are kept, with everything not yet folded, or as their rows say they should be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import sqlalchemy as sa
from psycopg import sql

from chainstrata.model.marking import floor_sql, identifier, step_sql, type_sql
from chainstrata.model.rollup import Fold
from chainstrata.rollups import holding
from chainstrata.rollups.fold import COMMA, bucket_end, column, fold, fold_pairs, layout, merge, names, same, scan
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

    The values travel as the parameters `only_<key>`, `after_0` and on, and `most`.
    """

    keys: Sequence[str] = ()
    after: bool = False
    most: bool = False


ALL = Slice()


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
    return sql.SQL(" AND ").join(conditions)


def _looked_at(level: Level, wanted: Slice) -> sql.Composed:
    """Return which buckets are looked at: those read, and what may hold still where they begin."""
    conditions = [sql.SQL("{0} >= {1} AND {0} < {2}").format(column(level.rollup.bucket), LO, HI), *_of_keys(level, wanted)]
    if wanted.after and level.rollup.by:
        conditions.append(_after(level, level.rollup.by, ">="))
    return sql.SQL(" AND ").join(conditions)


def _of_keys(level: Level, wanted: Slice) -> list[sql.Composed]:
    return [
        sql.SQL("{} = ANY ({}::{}[])").format(column(key), sql.Placeholder(f"only_{key}"), type_sql(level.table.c[key].type))
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


def live(path: Path, wanted: Slice = ALL) -> sql.Composed:
    """Return the query, in one snapshot, for the buckets from `lo` to `hi`: kept ones where clean, made from rows where dirty.

    `path` leads from the raw rows to the level read. A dirty bucket of a roll-up dirties those folded from it.
    """
    relations: list[sql.Composable] = []
    for depth, (source, level) in enumerate(path):
        relations.append(_GONE.format(_numbered("gone", depth), sql.Literal(source.name)))
        relations += _live_level(depth, source, level, path[depth - 1][1] if depth else None)
    last, level = len(path) - 1, path[-1][1]
    query = _selected(level, _numbered("live", last), wanted)
    return sql.SQL("WITH {} {}").format(COMMA.join(relations), query)


def _live_level(depth: int, source: Source, level: Level, below: Level | None) -> list[sql.Composable]:
    bucket = column(level.rollup.bucket)
    by = level.rollup.by
    frozen = sql.SQL("{} <= {}").format(bucket_end(level, sql.SQL("b.bucket")), gone(depth))
    touched = sql.SQL(
        "touched_{n} AS MATERIALIZED (SELECT DISTINCT {keys} b.bucket FROM ({marks}) AS m CROSS JOIN LATERAL ({buckets}) AS b (bucket)"
        " WHERE NOT {frozen})"
    ).format(
        n=sql.SQL("{}").format(depth),
        keys=sql.SQL("").join(sql.SQL("m.{}, ").format(column(key)) for key in by),
        marks=_marks(depth, source, level, below),
        buckets=_buckets(level),
        frozen=frozen,
    )
    parts = {"touched": _numbered("touched", depth), "bucket": bucket}
    some = sql.SQL(" OR ").join(sql.SQL("m.{} IS NULL").format(column(key)) for key in by) if by else sql.SQL("true")
    whole = sql.SQL("SELECT DISTINCT m.bucket FROM {touched} AS m WHERE {some}").format(some=some, **parts)
    pairs = sql.SQL(
        "SELECT {keys} m.bucket AS lo, {end} AS hi FROM {touched} AS m WHERE NOT ({some}) AND m.bucket NOT IN ({whole})"
    ).format(
        keys=sql.SQL("").join(sql.SQL("m.{}, ").format(column(key)) for key in by),
        end=bucket_end(level, sql.SQL("m.bucket")),
        some=some,
        whole=whole,
        **parts,
    )
    return [
        touched,
        sql.SQL("{} AS MATERIALIZED ({})").format(_numbered("whole", depth), whole),
        sql.SQL("{} AS MATERIALIZED ({})").format(_numbered("pairs", depth), pairs),
        sql.SQL("{} AS ({})").format(_numbered("live", depth), _live_rows(depth, source, level, below)),
    ]


def _marks(depth: int, source: Source, level: Level, below: Level | None) -> sql.Composed:
    """Select the marks a level is behind by: its source's own, and the buckets below it that are dirty or wait to be merged into."""
    by = level.rollup.by
    own = COMMA.join([*(column(key) for key in by), sql.SQL("lo, hi")])
    marks = sql.SQL("SELECT {} FROM {}").format(own, identifier(source.dirty))
    if below is None:
        return marks
    keys = sql.SQL("").join(sql.SQL("{}, ").format(column(key)) for key in by)
    start = column(below.rollup.bucket)
    end = bucket_end(below, start)
    waits = sql.SQL("SELECT {}{}, {} FROM {} WHERE {} <= {}").format(keys, start, end, identifier(below.carried), end, gone(depth - 1))
    touched = sql.SQL("SELECT {}bucket, {} FROM {}").format(keys, bucket_end(below, sql.SQL("bucket")), _numbered("touched", depth - 1))
    return sql.SQL(" UNION ALL ").join([marks, touched, waits])


def _buckets(level: Level) -> sql.Composed:
    """Select the starts of the level's buckets that a mark `m` touches, within what is read."""
    every = level.rollup.every
    start = floor_sql(every, sql.SQL("greatest(m.lo, {})").format(LO))
    end = sql.SQL("least(m.hi, {}) - interval '1 microsecond'").format(HI)
    # In UTC clock time, so that a month is a month whatever the session's zone.
    return sql.SQL(
        "SELECT clock AT TIME ZONE 'UTC' FROM generate_series({} AT TIME ZONE 'UTC', ({}) AT TIME ZONE 'UTC', {}) AS clock"
    ).format(start, end, step_sql(every))


def _live_rows(depth: int, source: Source, level: Level, below: Level | None) -> sql.Composed:
    """Select clean buckets as kept and dirty ones as their rows give them, in the level's layout."""
    table = _numbered("live", depth - 1) if below else identifier(source.table)
    start = floor_sql(level.rollup.every, column(source.time))
    whole, pairs = _numbered("whole", depth), _numbered("pairs", depth)
    rows = scan(
        source,
        level,
        sql.SQL("greatest((SELECT min(bucket) FROM {}), {})").format(whole, gone(depth)),
        sql.SQL("(SELECT {} FROM {})").format(bucket_end(level, sql.SQL("max(bucket)")), whole),
        sql.SQL("{} IN (SELECT bucket FROM {})").format(start, whole),
        table=table,
    )
    looked_up = fold_pairs(source, level, gone(depth), table=table)
    single = sql.SQL("WITH pairs AS (SELECT * FROM {}) {}").format(pairs, looked_up)
    dirty = [
        sql.SQL("({}) AS folded_whole").format(fold(source, level, rows)),
        sql.SQL("({}) AS folded_pairs").format(single),
    ]
    touched = sql.SQL(
        "(t.{bucket} IN (SELECT bucket FROM {whole}) OR EXISTS (SELECT FROM {pairs} AS p WHERE {same} AND p.lo = t.{bucket}))"
    ).format(bucket=column(level.rollup.bucket), whole=whole, pairs=pairs, same=same(level.rollup.by, "p", "t"))
    clean = sql.SQL("SELECT {} FROM {} AS t WHERE t.{b} >= {} AND t.{b} < {} AND NOT {}").format(
        names(layout(level), "t"), identifier(level.table), LO, HI, touched, b=column(level.rollup.bucket)
    )
    return _with_carried(depth, level, clean, dirty, touched)


def _with_carried(
    depth: int, level: Level, clean: sql.Composable, dirty: Sequence[sql.Composable], touched: sql.Composable
) -> sql.Composed:
    """Add what is carried: to dirty buckets, and to buckets none of whose rows are left, which it waits to be merged into."""
    bucket = column(level.rollup.bucket)
    key = [*level.rollup.by, level.rollup.bucket]
    ended = sql.SQL("{} <= {}").format(bucket_end(level, sql.SQL("t.{}").format(bucket)), gone(depth))
    over = sql.SQL("(SELECT * FROM {} AS t WHERE t.{b} >= {} AND t.{b} < {} AND ({} OR {})) AS over_").format(
        identifier(level.carried), LO, HI, touched, ended, b=bucket
    )
    waiting = sql.SQL("EXISTS (SELECT FROM {} AS c WHERE {} AND {})").format(identifier(level.carried), same(key, "c", "t"), ended)
    kept = sql.SQL("(SELECT t.* FROM {} AS t WHERE t.{b} >= {} AND t.{b} < {} AND {}) AS kept_").format(
        identifier(level.table), LO, HI, waiting, b=bucket
    )
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
