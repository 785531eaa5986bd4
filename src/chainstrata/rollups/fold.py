"""The SQL that folds rows into buckets, composed from declarations.

Every relation here has one layout: key columns, bucket, `samples`, `first_at` and `last_at` where order matters, then the
stored components. Raw rows and roll-ups are both folded into it, and relations of it merge into it; so one form serves the
refresh, the reader, the check and what is carried over.
"""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from psycopg import sql

from chainstrata.model.columns import led_by
from chainstrata.model.marking import floor_sql, identifier, next_sql
from chainstrata.model.rollup import FIRST_AT, LAST_AT, SAMPLES, Component, Fold, Measure, component_type, condition_text
from chainstrata.rollups import holding
from chainstrata.rollups.model import Level, Source

COMMA = sql.SQL(", ")
AND = sql.SQL(" AND ")
_ORDERED = (Fold.FIRST, Fold.LAST)
_MERGES = {
    Fold.MIN: sql.SQL("min({})"),
    Fold.MAX: sql.SQL("max({})"),
    Fold.SUM: sql.SQL("sum({})"),
    Fold.COUNT: sql.SQL("sum({})::bigint"),
    Fold.WEIGHTED_SUM: sql.SQL("sum({})"),
    Fold.WEIGHT: sql.SQL("sum({})"),
    Fold.DISTINCT_SKETCH: sql.SQL("strata.merge_registers(array_agg({}))"),
    Fold.QUANTILE_SKETCH: sql.SQL("strata.merge_counts(array_agg({}))"),
}


def raw_sql(text: str) -> sql.SQL:
    """Return SQL that a declaration wrote: a condition or a formula."""
    return sql.SQL(text)  # pyright: ignore[reportArgumentType]  # the declaration's own text, never a user's


def names(columns: Iterable[str], alias: str = "") -> sql.Composed:
    """Return column names as a list, with an alias before each."""
    return COMMA.join(column(name, alias) for name in columns)


def column(name: str, alias: str = "") -> sql.Identifier:
    return sql.Identifier(alias, name) if alias else sql.Identifier(name)


def same(columns: Sequence[str], left: str, right: str) -> sql.Composed:
    """Return the condition that two aliases agree in columns."""
    return (
        AND.join(sql.SQL("{} = {}").format(column(name, left), column(name, right)) for name in columns)
        if columns
        else sql.SQL("true").format()
    )


def layout(level: Level) -> list[str]:
    """Return the columns of every relation that folds into a level, in order."""
    order = [FIRST_AT, LAST_AT] if level.rollup.needs_order else []
    return [*level.rollup.by, level.rollup.bucket, SAMPLES, *order, *(part.name for part in level.rollup.components)]


def parts_of(level: Level) -> list[tuple[Measure, Component]]:
    """Return every component a level stores, with its measure."""
    return [(measure, part) for measure in level.rollup.measures for part in measure.components]


def scan(
    source: Source, level: Level, lo: sql.Composable, hi: sql.Composable, *more: sql.Composable, table: sql.Composable | None = None
) -> sql.Composed:
    """Return a subquery of the source's rows from `lo` to `hi` that the level folds. `table` takes the place of its own."""
    conditions: list[sql.Composable] = [
        sql.SQL("{} >= {}").format(column(source.time), lo),
        sql.SQL("{} < {}").format(column(source.time), hi),
        *more,
    ]
    if level.rollup.where is not None and source.level is None:
        conditions.append(sql.SQL("({})").format(raw_sql(condition_text(level.rollup.where))))
    return sql.SQL("(SELECT * FROM {} WHERE {})").format(table or identifier(source.table), AND.join(conditions))


def fold(source: Source, level: Level, rows: sql.Composable, *, keyed: bool = False) -> sql.Composed:
    """Return a query that folds a subquery of the source's rows into the level's layout.

    `keyed` says that the rows are scanned from the source's own table, where one of them is found by its key. It asks for a plan made
    for the rows that are there now: one made when there were none would look each up by reading all.
    """
    if _is_fetched(source, level):
        return _fold_and_fetch(source, level, rows, keyed=keyed)
    return fold_sorted(source, level, rows)


def lift(source: Source, level: Level, rows: sql.Composable) -> sql.Composed:
    """Return a query that folds raw rows of which no two are in one bucket: each is lifted into the layout by itself."""
    time = column(source.time, "r")
    order = [sql.SQL("{} AS first_at, {} AS last_at").format(time, time)] if level.rollup.needs_order else []
    values = [sql.SQL("{} AS {}").format(_lifted(level, measure, part), column(part.name)) for measure, part in parts_of(level)]
    start = sql.SQL("{} AS {}").format(floor_sql(level.rollup.every, time), column(level.rollup.bucket))
    keys = [column(key, "r") for key in level.rollup.by]
    return sql.SQL("SELECT {} FROM {} AS r").format(COMMA.join([*keys, start, sql.SQL("1::bigint AS samples"), *order, *values]), rows)


def _lifted(level: Level, measure: Measure, part: Component) -> sql.Composable:
    """Return what a component is of one row alone."""
    if part.fold in holding.SUMMED:
        return holding.of_one(part, level)
    value = column(part.column, "r") if part.column else sql.SQL("1")
    counts = part.fold is Fold.COUNT
    forms = {
        Fold.DISTINCT_SKETCH: sql.SQL("strata.sketch_registers(ARRAY[strata.distinct_key(({})::text)])"),
        Fold.QUANTILE_SKETCH: sql.SQL("strata.sketch_counts(ARRAY[strata.quantile_key(({})::double precision)])"),
        Fold.COUNT: sql.SQL("({} IS NOT NULL)::int::bigint"),
    }
    if part.fold is Fold.WEIGHTED_SUM:
        made = sql.SQL("{} * {}").format(value, column(part.weight, "r"))
    elif part.fold is Fold.WEIGHT:
        made = sql.SQL("CASE WHEN {} IS NOT NULL THEN {} END").format(value, column(part.weight, "r"))
    else:
        made = forms.get(part.fold, sql.SQL("{}")).format(value)
    if measure.where is not None:
        condition = raw_sql(condition_text(measure.where))
        made = sql.SQL("CASE WHEN {} THEN {} {} END").format(condition, made, sql.SQL("ELSE 0" if counts else ""))
    return _cast(level, part, made)


def _fold_and_fetch(source: Source, level: Level, rows: sql.Composable, *, keyed: bool) -> sql.Composed:
    """Fold, then fetch the first and last row of each bucket by its key: no sort, and one look-up for all their columns."""
    by, bucket = level.rollup.by, level.rollup.bucket
    start = floor_sql(level.rollup.every, column(source.time, "r"))
    return sql.SQL(
        "SELECT {keys}, a.{bucket}, a.samples, a.first_at, a.last_at, {chosen} FROM ("
        "SELECT {own}, {start} AS {bucket}, {figures} FROM {followed} AS r GROUP BY {own}, {start}) AS a{fetched}"
    ).format(
        keys=names(by, "a"),
        bucket=column(bucket),
        chosen=COMMA.join(_chosen(source, level)),
        own=names(by, "r"),
        start=start,
        figures=_figures(source, level),
        followed=_followed(source, level, rows),
        fetched=_fetched(source, level, rows, "a", keyed=keyed),
    )


def _figures(source: Source, level: Level) -> sql.Composed:
    """Return the aggregates of a bucket whose first and last row are fetched afterwards, `first_row` and `last_row` being their times."""
    time = column(source.time)
    ends = sql.SQL("min(r.{time}) AS first_row, max(r.{time}) AS last_row").format(time=time)
    return COMMA.join(
        [
            sql.SQL("{} AS samples, {} AS first_at, {} AS last_at").format(_samples(source), _first_at(source), _last_at(source)),
            ends,
            *(
                sql.SQL("{} AS {}").format(_aggregate(source, level, measure, part), column(part.name))
                for measure, part in parts_of(level)
                if part.fold not in _ORDERED
            ),
        ]
    )


def _chosen(source: Source, level: Level) -> list[sql.Composable]:
    """Return the components out of the aggregates `a`, the first row `f` and the last row `l`."""
    picked = {Fold.FIRST: "f", Fold.LAST: "l"}
    return [
        sql.SQL("{} AS {}").format(column(_origin(source, part), picked[part.fold]), column(part.name))
        if part.fold in _ORDERED
        else column(part.name, "a")
        for _, part in parts_of(level)
    ]


def _fetched(source: Source, level: Level, rows: sql.Composable, keys: str, *, keyed: bool) -> sql.Composed:
    """Join the first and last row of each bucket `a`, as far as they are wanted; `keys` is the alias its keys are under."""
    wanted = {part.fold for _, part in parts_of(level)}
    joined: list[sql.Composable] = []
    for alias, end, fold_ in (("f", "first_row", Fold.FIRST), ("l", "last_row", Fold.LAST)):
        if fold_ not in wanted:
            continue
        own, time = same(level.rollup.by, alias, keys), column(source.time, alias)
        if keyed:
            # OFFSET makes the planner look each up: it takes every row for a bucket of its own, and would read all again to join them.
            form = sql.SQL(" CROSS JOIN LATERAL (SELECT * FROM {rows} AS {alias} WHERE {own} AND {time} = a.{end} OFFSET 0) AS {alias}")
        else:
            form = sql.SQL(" JOIN {rows} AS {alias} ON {own} AND {time} = a.{end}")
        joined.append(form.format(rows=rows, alias=column(alias), own=own, time=time, end=column(end)))
    return sql.SQL("").join(joined)


def is_keyed(table: sa.Table, time: str) -> bool:
    """Whether no other index could take the place of the primary key when a row is looked up by key and time.

    Of a partition without statistics the planner may prefer a smaller index on the time alone, and then reads all keys at each look-up.
    """
    return all(index.dialect_options["postgresql"]["using"] == "brin" for index in led_by(table, time))


def _is_fetched(source: Source, level: Level) -> bool:
    """Whether the first and last row of a bucket can be told by their times: no two rows of a key share one."""
    return level.rollup.needs_order and bool(level.rollup.by) and set(level.rollup.by) == set(source.key)


def fold_sorted(source: Source, level: Level, rows: sql.Composable) -> sql.Composed:
    """Return a query that folds a subquery of the source's rows, first and last by sorting: it reads them once, and nothing is joined."""
    start = floor_sql(level.rollup.every, column(source.time, "r"))
    # Without a key there is one bucket per time, and none at all without rows.
    group = names(level.rollup.by, "r") + sql.SQL(", ") + start if level.rollup.by else start
    columns = COMMA.join([*(column(name, "r") for name in level.rollup.by), start])
    aliases = layout(level)
    followed = _followed(source, level, rows)
    inner = sql.SQL("SELECT {}, {} FROM {} AS r GROUP BY {}").format(columns, COMMA.join(_values(source, level)), followed, group)
    return sql.SQL("SELECT * FROM ({}) AS folded ({})").format(inner, names(aliases))


def _followed(source: Source, level: Level, rows: sql.Composable) -> sql.Composable:
    start = floor_sql(level.rollup.every, column(source.time, "r"))
    time = FIRST_AT if source.level else source.time
    return holding.followed(level, rows, time, [*(column(key, "r") for key in level.rollup.by), start])


def _values(source: Source, level: Level) -> list[sql.Composable]:
    """Return the aggregates of the layout behind key and bucket, first and last by sorting."""
    order = [_first_at(source), _last_at(source)] if level.rollup.needs_order else []
    return [_samples(source), *order, *(_aggregate(source, level, measure, part) for measure, part in parts_of(level))]


def _samples(source: Source) -> sql.Composable:
    return sql.SQL("sum(r.samples)::bigint") if source.level else sql.SQL("count(*)")


def _first_at(source: Source) -> sql.Composable:
    return sql.SQL("min(r.first_at)") if source.level else sql.SQL("min({})").format(column(source.time, "r"))


def _last_at(source: Source) -> sql.Composable:
    return sql.SQL("max(r.last_at)") if source.level else sql.SQL("max({})").format(column(source.time, "r"))


def _origin(source: Source, part: Component) -> str:
    return part.name if source.level else part.column


def _aggregate(source: Source, level: Level, measure: Measure, part: Component) -> sql.Composable:
    """Return the aggregate that makes a component from rows of the source under the alias `r`."""
    if part.fold in _ORDERED:
        return _picked(source, part)
    if part.fold in holding.SUMMED:
        made = holding.of_pieces(level, measure, part, "r") if source.level else holding.of_rows(level, measure, part)
        return _cast(level, part, made)
    if source.level:
        return _cast(level, part, _MERGES[part.fold].format(column(part.name, "r")))
    value = column(part.column, "r") if part.column else sql.SQL("*")
    formed = {
        Fold.MIN: sql.SQL("min({})"),
        Fold.MAX: sql.SQL("max({})"),
        Fold.SUM: sql.SQL("sum({})"),
        Fold.COUNT: sql.SQL("count({})"),
        Fold.DISTINCT_SKETCH: sql.SQL("array_agg(strata.distinct_key(({})::text))"),
        Fold.QUANTILE_SKETCH: sql.SQL("array_agg(strata.quantile_key(({})::double precision))"),
    }
    filters: list[sql.Composable] = [raw_sql(condition_text(measure.where))] if measure.where is not None else []
    if part.fold is Fold.WEIGHTED_SUM:
        made = sql.SQL("sum({} * {})").format(value, column(part.weight, "r"))
    elif part.fold is Fold.WEIGHT:
        made = sql.SQL("sum({})").format(column(part.weight, "r"))
        filters.append(sql.SQL("{} IS NOT NULL").format(value))
    else:
        made = formed[part.fold].format(value)
    if filters:
        made = sql.SQL("{} FILTER (WHERE {})").format(made, AND.join(sql.SQL("({})").format(one) for one in filters))
    sketches = {Fold.DISTINCT_SKETCH: sql.SQL("strata.sketch_registers({})"), Fold.QUANTILE_SKETCH: sql.SQL("strata.sketch_counts({})")}
    return sketches[part.fold].format(made) if part.fold in sketches else _cast(level, part, made)


def _cast(level: Level, part: Component, made: sql.Composable) -> sql.Composable:
    """Sums change type (bigint to numeric); a relation of the layout has the types of the table."""
    if part.fold not in (Fold.SUM, Fold.WEIGHTED_SUM, Fold.WEIGHT, *holding.SUMMED):
        return made
    kind = component_type(part, level.dataset.table)
    return sql.SQL("({})::double precision").format(made) if isinstance(kind, sa.Float) else sql.SQL("({})::numeric").format(made)


def _picked(source: Source, part: Component) -> sql.Composed:
    """First or last value by sorting, for keys under which rows share a time; ties go by the rest of the row's key."""
    last = part.fold is Fold.LAST
    time = LAST_AT if last else FIRST_AT
    columns = [time if source.level else source.time, *source.key]
    order = COMMA.join(sql.SQL("{} DESC" if last else "{}").format(column(name, "r")) for name in columns)
    return sql.SQL("(array_agg({} ORDER BY {}))[1]").format(column(_origin(source, part), "r"), order)


def fold_pairs(
    source: Source, level: Level, floor: sql.Composable, *more: sql.Composable, table: sql.Composable | None = None
) -> sql.Composed:
    """Return a query that folds the buckets named by the relation `pairs` (key, lo, hi), each by a look-up of its key.

    `more` are conditions on the source's rows under the alias `t`. `table` takes the place of the source's own, in the same shape.
    """
    conditions = [
        same(level.rollup.by, "t", "pairs"),
        sql.SQL("t.{time} >= greatest(pairs.lo, {floor}) AND t.{time} < pairs.hi").format(time=column(source.time), floor=floor),
        *more,
    ]
    if level.rollup.where is not None and source.level is None:
        conditions.append(sql.SQL("({})").format(raw_sql(condition_text(level.rollup.where))))
    own = table or identifier(source.table)
    rows = sql.SQL("(SELECT * FROM {} AS t WHERE {})").format(own, AND.join(conditions))
    kept = [*(column(key, "pairs") for key in level.rollup.by), sql.SQL("pairs.lo AS {}").format(column(level.rollup.bucket))]
    if table is None and _is_fetched(source, level):
        all_rows = sql.SQL("(SELECT * FROM {} AS t WHERE {})").format(own, AND.join(more)) if more else own
        figures, fetched = _figures(source, level), _fetched(source, level, all_rows, "pairs", keyed=True)
        kept += [sql.SQL("a.samples, a.first_at, a.last_at"), *_chosen(source, level)]
    else:
        aliases = layout(level)[len(kept) :]
        pairs = zip(_values(source, level), aliases, strict=True)
        figures, fetched = COMMA.join(sql.SQL("{} AS {}").format(value, column(name)) for value, name in pairs), sql.SQL("").format()
        kept += [column(name, "a") for name in aliases]
    # One bucket each, so there is nothing to group by; and what is without rows is none.
    return sql.SQL("SELECT {} FROM pairs CROSS JOIN LATERAL (SELECT {} FROM {} AS r) AS a{} WHERE a.samples > 0").format(
        COMMA.join(kept), figures, _followed(source, level, rows), fetched
    )


def merge(level: Level, *relations: sql.Composable) -> sql.Composed:
    """Return a query that merges relations of the level's layout into one."""
    columns = layout(level)
    union = sql.SQL(" UNION ALL ").join(sql.SQL("SELECT {} FROM {}").format(names(columns), relation) for relation in relations)
    values: list[sql.Composable] = [sql.SQL("sum(m.samples)::bigint")]
    if level.rollup.needs_order:
        values += [sql.SQL("min(m.first_at)"), sql.SQL("max(m.last_at)")]
    for measure, part in parts_of(level):
        if part.fold in holding.SUMMED:
            values.append(_cast(level, part, holding.of_pieces(level, measure, part, "m")))
        elif part.fold in _ORDERED:
            order = sql.SQL("m.last_at DESC, m.first_at DESC") if part.fold is Fold.LAST else sql.SQL("m.first_at, m.last_at")
            values.append(sql.SQL("(array_agg({} ORDER BY {}))[1]").format(column(part.name, "m"), order))
        else:
            values.append(_cast(level, part, _MERGES[part.fold].format(column(part.name, "m"))))
    keys = names([*level.rollup.by, level.rollup.bucket], "m")
    key = [column(name, "r") for name in (*level.rollup.by, level.rollup.bucket)]
    pieces = holding.followed(level, sql.SQL("({})").format(union), FIRST_AT, key)
    inner = sql.SQL("SELECT {}, {} FROM {} AS m GROUP BY {}").format(keys, COMMA.join(values), pieces, keys)
    return sql.SQL("SELECT * FROM ({}) AS merged ({})").format(inner, names(columns))


def bucket_end(level: Level, start: sql.Composable) -> sql.Composed:
    return next_sql(level.rollup.every, start)
