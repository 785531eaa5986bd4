"""Statements that change roll-ups: refresh, carry over, take in what is late. Each is one snapshot."""

from collections.abc import Sequence

from psycopg import sql

from chainstrata.model.marking import floor_sql, identifier, type_sql
from chainstrata.model.rollup import Component, Fold, Measure
from chainstrata.rollups import holding
from chainstrata.rollups.fold import (
    COMMA,
    bucket_end,
    column,
    fold,
    fold_pairs,
    is_keyed,
    layout,
    lift,
    merge,
    names,
    parts_of,
    same,
    scan,
)
from chainstrata.rollups.model import Level, Source

LO = sql.Placeholder("lo")
HI = sql.Placeholder("hi")
FIRST_LO = sql.SQL("%(first_lo)s::timestamptz")
LAST_HI = sql.SQL("%(last_hi)s::timestamptz")
FLOOR = sql.SQL("%(gone_before)s::timestamptz")
MOST_MARKED_PAIRS = sql.Literal(1000)


def take_marks(source: Source) -> sql.Composed:
    """Return the statement that takes up to `most` marks within `lo` and `hi` away and returns them; infinite ends come as NULL."""
    return sql.SQL(
        "DELETE FROM {dirty} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {dirty}"
        " WHERE (lo >= %(lo)s OR lo = '-infinity') AND (hi <= %(hi)s OR hi = 'infinity') LIMIT %(most)s))"
        " RETURNING {keys} nullif(lo, '-infinity') AS lo, nullif(hi, 'infinity') AS hi"
    ).format(dirty=identifier(source.dirty), keys=sql.SQL("").join(sql.SQL("{}, ").format(column(key)) for key in source.marked))


def pending(source: Source) -> sql.Composed:
    """Return the query for how many marks there are, and the finite range and age of them."""
    return sql.SQL(
        "SELECT count(*) AS marks, min(lo) FILTER (WHERE isfinite(lo)) AS lo, max(hi) FILTER (WHERE isfinite(hi)) AS hi,"
        " bool_or(NOT isfinite(lo) OR NOT isfinite(hi)) AS unbounded, min(marked_at) AS oldest FROM {}"
    ).format(identifier(source.dirty))


def marked(sources: Sequence[Source]) -> sql.Composable:
    """Return the query for the names of those sources that have marks."""
    each = (
        sql.SQL("SELECT {} AS source WHERE EXISTS (SELECT FROM {})").format(sql.Literal(source.name), identifier(source.dirty))
        for source in sources
    )
    return sql.SQL(" UNION ALL ").join(each)


def overlapping(source: Source) -> sql.Composed:
    """Return the query for how many marks lie before `hi`, and since when."""
    return sql.SQL("SELECT count(*) AS marks, min(marked_at) AS oldest FROM {} WHERE lo < {}").format(identifier(source.dirty), HI)


def add_mark(source: Source) -> sql.Composed:
    """Return the statement that marks every key from `lo` to `hi`."""
    return sql.SQL("INSERT INTO {} (lo, hi) VALUES ({}, {})").format(identifier(source.dirty), LO, HI)


def span(source: Source, level: Level) -> sql.Composed:
    """Return the query for the first and last instant the source or the level has anything at."""
    return sql.SQL(
        "SELECT least((SELECT min({time}) FROM {raw}), (SELECT min({bucket}) FROM {table})) AS lo,"
        " greatest((SELECT max({time}) FROM {raw}), (SELECT max({bucket}) FROM {table})) AS hi"
    ).format(time=column(source.time), raw=identifier(source.table), bucket=column(level.rollup.bucket), table=identifier(level.table))


def weigh(level: Level) -> sql.Composed:
    """Return the query for how much is in one bucket, over all keys."""
    return sql.SQL("SELECT count(*) AS rows, sum(samples) AS samples, count(DISTINCT {b}) AS buckets FROM {} WHERE {b} = {}").format(
        identifier(level.table), LO, b=column(level.rollup.bucket)
    )


def pairs_relation(level: Level) -> sql.Composed:
    """Return the relation `pairs` (key, lo, hi) out of one array for each key column, `lo` and `hi`."""
    arrays: list[sql.Composable] = [
        sql.SQL("{}::{}[]").format(sql.Placeholder(f"key_{place}"), type_sql(level.table.c[key].type))
        for place, key in enumerate(level.rollup.by)
    ]
    arrays += [sql.SQL("%(lo)s::timestamptz[]"), sql.SQL("%(hi)s::timestamptz[]")]
    return sql.SQL("pairs AS MATERIALIZED (SELECT * FROM unnest({}) AS pairs ({}))").format(
        COMMA.join(arrays), names([*level.rollup.by, "lo", "hi"])
    )


def refresh_range(source: Source, level: Level, *, carried: bool) -> sql.Composed:
    """Return the statement that makes the buckets from `lo` to `hi` what their rows from `gone_before` on give."""
    rows = scan(source, level, sql.SQL("greatest({}, {})").format(LO, FLOOR), HI)
    within = sql.SQL("(SELECT * FROM {{}} WHERE {bucket} >= {lo} AND {bucket} < {hi})").format(
        bucket=column(level.rollup.bucket), lo=LO, hi=HI
    )
    return _refresh(level, [], fold(source, level, rows, keyed=is_keyed(source.table, source.time)), within, carried=carried)


def refresh_pairs(source: Source, level: Level, *, carried: bool) -> sql.Composed:
    """Return the statement that does the same for single buckets of single keys."""
    bucket = level.rollup.bucket
    conditions = [same(level.rollup.by, "pairs", "t"), sql.SQL("t.{} = pairs.lo").format(column(bucket))]
    if is_keyed(level.table, bucket):
        conditions.append(_between(bucket))
    within = sql.SQL("(SELECT t.* FROM pairs JOIN {{}} AS t ON {})").format(sql.SQL(" AND ").join(conditions))
    if is_keyed(source.table, source.time):
        folded = fold_pairs(source, level, FLOOR, _between(source.time))
    else:
        folded = fold_pairs(source, level, FLOOR, table=identifier(source.table))
    return _refresh(level, [pairs_relation(level)], folded, within, carried=carried)


def _between(time: str) -> sql.Composed:
    """Return what the pairs say of a time anyhow; but from this the planner knows which partitions it need not look at."""
    return sql.SQL("t.{time} >= {} AND t.{time} < {}").format(FIRST_LO, LAST_HI, time=column(time))


def _refresh(
    level: Level, before: Sequence[sql.Composable], folded: sql.Composable, within: sql.Composed, *, carried: bool
) -> sql.Composed:
    """Fold, compare with what is kept, and write only what differs. `within` selects the buckets in question from a table."""
    key = [*level.rollup.by, level.rollup.bucket]
    columns = layout(level)
    values = columns[len(key) :]
    scope = sql.SQL(within.as_string())  # pyright: ignore[reportArgumentType]  # composed above, with one place left open
    result = folded
    if carried:
        over = sql.SQL("{} AS over_").format(scope.format(identifier(level.carried)))
        result = merge(level, sql.SQL("({}) AS live").format(folded), over)
    relations = [
        *before,
        sql.SQL("result AS MATERIALIZED ({})").format(result),
        # A full join is hashed or merged, never looped: the planner cannot know how many rows a fold will give.
        sql.SQL(
            "changes AS MATERIALIZED (SELECT {new}, {old}, r.samples IS NULL AS is_gone FROM result AS r FULL JOIN {kept} AS t ON {same}"
            " WHERE ({new_values}) IS DISTINCT FROM ({old_values}))"
        ).format(
            new=names(columns, "r"),
            old=COMMA.join(sql.SQL("{} AS {}").format(column(name, "t"), column(f"old_{name}")) for name in key),
            kept=scope.format(identifier(level.table)),
            same=same(key, "r", "t"),
            new_values=names(values, "r"),
            old_values=names(values, "t"),
        ),
        sql.SQL("written AS ({})").format(_upsert(level, sql.SQL("changes WHERE NOT is_gone"))),
        sql.SQL("removed AS (DELETE FROM {} AS t USING changes AS c WHERE c.is_gone AND {} RETURNING {})").format(
            identifier(level.table),
            sql.SQL(" AND ").join(sql.SQL("t.{} = c.{}").format(column(name), column(f"old_{name}")) for name in key),
            names(key, "t"),
        ),
        *_marked(level),
    ]
    return sql.SQL(
        "WITH {} SELECT (SELECT count(*) FROM written) AS written, (SELECT count(*) FROM removed) AS removed,"
        " (SELECT count(*) FROM result) AS rows, (SELECT sum(samples) FROM result) AS samples, (SELECT count(DISTINCT {}) FROM result) AS buckets"
    ).format(COMMA.join(relations), column(level.rollup.bucket))


def _upsert(level: Level, relation: sql.Composable) -> sql.Composed:
    """Write a relation of the layout, in key order."""
    key = [*level.rollup.by, level.rollup.bucket]
    columns = layout(level)
    return sql.SQL(
        "INSERT INTO {table} AS t ({columns}) SELECT {columns} FROM {relation} ORDER BY {key} ON CONFLICT ({key}) DO UPDATE SET {set},"
        " updated_at = now() RETURNING {returned}"
    ).format(
        table=identifier(level.table),
        columns=names(columns),
        relation=relation,
        key=names(key),
        set=COMMA.join(sql.SQL("{0} = excluded.{0}").format(column(name)) for name in columns[len(key) :]),
        returned=names(key, "t"),
    )


def can_add(source: Source, level: Level) -> bool:
    """Whether rows can be added to the buckets of a level without a look at the rows that are there already.

    Means over time take them only where they come after all of those, which is so for whoever adds.
    """
    ordered = level.rollup.needs_order and set(level.rollup.by) != set(source.key)
    return source.level is None and level.rollup.where is None and not ordered


def add(source: Source, level: Level, relation: sql.Composable, *, few: bool, apart: bool) -> sql.Composed:
    """Return the statement that adds rows to the buckets they belong to.

    `apart` says that no two of them are in one bucket. `few` marks what changed for the roll-ups folded from this one; of many the
    caller marks whole buckets.
    """
    key = [*level.rollup.by, level.rollup.bucket]
    columns = layout(level)
    insert = sql.SQL(
        "INSERT INTO {table} AS t ({columns}) SELECT {columns} FROM ({folded}) AS folded {order} ON CONFLICT ({key}) DO UPDATE SET"
        " {set}, updated_at = now()"
    ).format(
        table=identifier(level.table),
        columns=names(columns),
        folded=lift(source, level, relation) if apart else fold(source, level, relation),
        key=names(key),
        # Rows that are apart come from writers that keep off each other's keys; the others must take them in one order.
        order=sql.SQL("") if apart else sql.SQL("ORDER BY {}").format(names(key)),
        set=COMMA.join([*_bookkept(level), *(_added(level, measure, part) for measure, part in parts_of(level))]),
    )
    if not few or level.dirty is None:
        return insert
    relations = [
        sql.SQL("written AS ({} RETURNING {})").format(insert, names(key, "t")),
        sql.SQL("removed AS (SELECT * FROM written WHERE false)"),
        *_marked(level),
    ]
    return sql.SQL("WITH {} SELECT count(*) AS written FROM written").format(COMMA.join(relations))


def mark_added(source: Source, level: Level, relation: sql.Composable) -> sql.Composed:
    """Return the statement that marks whole buckets that rows were added to, for the roll-ups folded from this one."""
    assert level.dirty is not None  # noqa: S101  # for others there is nothing to mark
    start = floor_sql(level.rollup.every, column(source.time))
    return sql.SQL("INSERT INTO {} (lo, hi) SELECT b.start, {} FROM (SELECT DISTINCT {} AS start FROM {} AS r) AS b").format(
        identifier(level.dirty), bucket_end(level, sql.SQL("b.start")), start, relation
    )


def _bookkept(level: Level) -> list[sql.Composable]:
    kept: list[sql.Composable] = [sql.SQL("samples = t.samples + excluded.samples")]
    if level.rollup.needs_order:
        kept += [
            sql.SQL("first_at = least(t.first_at, excluded.first_at)"),
            sql.SQL("last_at = greatest(t.last_at, excluded.last_at)"),
        ]
    return kept


_ADDITIONS = {
    Fold.FIRST: sql.SQL("{0} = CASE WHEN excluded.first_at < t.first_at THEN excluded.{0} ELSE t.{0} END"),
    Fold.LAST: sql.SQL("{0} = CASE WHEN excluded.last_at > t.last_at THEN excluded.{0} ELSE t.{0} END"),
    Fold.MIN: sql.SQL("{0} = least(t.{0}, excluded.{0})"),
    Fold.MAX: sql.SQL("{0} = greatest(t.{0}, excluded.{0})"),
    Fold.COUNT: sql.SQL("{0} = t.{0} + excluded.{0}"),
    Fold.DISTINCT_SKETCH: sql.SQL("{0} = strata.merge_registers(ARRAY[t.{0}, excluded.{0}])"),
    Fold.QUANTILE_SKETCH: sql.SQL("{0} = strata.merge_counts(ARRAY[t.{0}, excluded.{0}])"),
}
_SUM = sql.SQL("{0} = coalesce(t.{0} + excluded.{0}, t.{0}, excluded.{0})")


def _added(level: Level, measure: Measure, part: Component) -> sql.Composable:
    if part.fold in holding.SUMMED:
        return holding.added(level, measure, part)
    return _ADDITIONS.get(part.fold, _SUM).format(column(part.name))


def _marked(level: Level) -> list[sql.Composable]:
    """Mark what changed for the roll-ups folded from this one: key by key, or whole buckets when they are many."""
    if level.dirty is None:
        return []
    by, bucket = level.rollup.by, column(level.rollup.bucket)
    marked = [name for name in level.dirty.c.keys() if name not in ("lo", "hi", "marked_at")]  # noqa: SIM118  # a column collection
    single = sql.SQL(
        "INSERT INTO {dirty} ({own} lo, hi) SELECT {own} {bucket}, {end} FROM changed WHERE (SELECT count(*) FROM changed) <= {most}"
    )
    whole = sql.SQL(
        "INSERT INTO {dirty} (lo, hi) SELECT DISTINCT {bucket}, {end} FROM changed WHERE (SELECT count(*) FROM changed) > {most}"
    )
    own = sql.SQL("").join(sql.SQL("{}, ").format(column(name)) for name in marked if name in by)
    parts = {
        "dirty": identifier(level.dirty),
        "own": own,
        "bucket": bucket,
        "end": bucket_end(level, bucket),
        "most": MOST_MARKED_PAIRS,
    }
    return [
        sql.SQL("changed AS (TABLE written UNION ALL TABLE removed)"),
        sql.SQL("single AS ({})").format(single.format(**parts)),
        sql.SQL("whole AS ({})").format(whole.format(**parts)),
    ]


def carry(source: Source, level: Level) -> sql.Composed:
    """Return the statement that keeps what rows from `lo` to `hi` gave to the bucket that `hi` is in."""
    open_from = floor_sql(level.rollup.every, HI)
    rows = scan(source, level, sql.SQL("greatest({}::timestamptz, {})").format(LO, open_from), HI)
    return _into_carried(level, sql.SQL("({}) AS leaving").format(fold(source, level, rows)))


def _into_carried(level: Level, relation: sql.Composable) -> sql.Composed:
    """Merge a relation of the layout into what is carried, in key order."""
    carried = level.carried
    key = [*level.rollup.by, level.rollup.bucket]
    columns = layout(level)
    known = sql.SQL("(SELECT c.* FROM arriving AS r JOIN {} AS c ON {}) AS known").format(identifier(carried), same(key, "r", "c"))
    return sql.SQL(
        "WITH arriving AS MATERIALIZED (SELECT {columns} FROM {relation}), both_ AS ({merged})"
        " INSERT INTO {carried} ({columns}) SELECT {columns} FROM both_ ORDER BY {key}"
        " ON CONFLICT ({key}) DO UPDATE SET {set} RETURNING {key}"
    ).format(
        columns=names(columns),
        relation=relation,
        merged=merge(level, sql.SQL("arriving"), known),
        carried=identifier(carried),
        key=names(key),
        set=COMMA.join(sql.SQL("{0} = excluded.{0}").format(column(name)) for name in columns[len(key) :]),
    )


def settle(level: Level) -> sql.Composed:
    """Return the statement that forgets what was carried for buckets before `frozen`: they hold it, and will be folded no more."""
    return sql.SQL("DELETE FROM {} WHERE {} < %(frozen)s").format(identifier(level.carried), column(level.rollup.bucket))


def absorb(level: Level) -> sql.Composed:
    """Return the statement that merges what was carried into buckets none of whose rows are left: before `frozen`."""
    bucket = level.rollup.bucket
    key = [*level.rollup.by, bucket]
    kept = sql.SQL("(SELECT t.* FROM arriving AS r JOIN {} AS t ON {}) AS kept").format(identifier(level.table), same(key, "r", "t"))
    relations = [
        sql.SQL("arriving AS (DELETE FROM {} AS c WHERE c.{} < %(frozen)s RETURNING {})").format(
            identifier(level.carried), column(bucket), names(layout(level), "c")
        ),
        sql.SQL("result AS MATERIALIZED ({})").format(merge(level, sql.SQL("arriving"), kept)),
        sql.SQL("written AS ({})").format(_upsert(level, sql.SQL("result"))),
        sql.SQL("removed AS (SELECT {} FROM arriving WHERE false)").format(names(key)),
        *_marked(level),
    ]
    return sql.SQL("WITH {} SELECT (SELECT count(*) FROM written) AS written").format(COMMA.join(relations))


def late(source: Source, level: Level, relation: sql.Composable) -> sql.Composed:
    """Return the statement that takes late rows, as a relation shaped like the source, into what a level carries."""
    return _into_carried(level, sql.SQL("({}) AS late").format(fold(source, level, relation)))


def mark_carried(source: Source, level: Level) -> sql.Composed:
    """Return the statement that marks the buckets named by `pairs`, so that the next refresh takes in what they carry."""
    by = [name for name in source.marked if name in level.rollup.by]
    own = sql.SQL("").join(sql.SQL("{}, ").format(column(name)) for name in by)
    return sql.SQL("WITH {} INSERT INTO {} ({}lo, hi) SELECT {}lo, hi FROM pairs").format(
        pairs_relation(level), identifier(source.dirty), own, own
    )
