"""What a roll-up keeps beside its buckets: which of them are dirty, and what was carried over from rows that are gone.

Every source with roll-ups has a table `<source>__dirty`. A writer adds to it, in its own transaction, the key and time
range it touched; a NULL key means every key. Ingest does so itself; anyone who writes SQL is covered by a statement
trigger with transition tables. Every roll-up has a table `<roll-up>__carried` with what rows that left had given to
buckets that are not whole without them, and what came too late to be a row.
"""

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString, cast

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import postgresql as pg

from chainstrata.model.dataset import Dataset
from chainstrata.model.interval import ORIGIN, Interval
from chainstrata.model.rollup import Rollup, bookkeeping, measure_columns

INTERNAL = {"internal": True}
"""`Table.info` of tables that serve another table and are not shown beside datasets."""
FEW_KEYS = 256
"""Of more keys than this a bucket is read as a whole as long as nobody knows what is in it."""
_LOOKED_UP = 40
_PASSED_BY = 12
"""What a look-up costs beside reading rows. Measured, looking one key up costs as much as passing by the rows of 2.7, 1.65 and 1.1 with 12,
60 and 300 rows to a key and bucket."""


def most_keys(keys_per_bucket: float, rows_per_key: float) -> float:
    """Return of how many keys a bucket is brought up to date by looking each up; of more it is cheaper to read it as a whole."""
    return keys_per_bucket / (1 + _LOOKED_UP / (rows_per_key + _PASSED_BY))


def children(dataset: Dataset, source: str = "") -> tuple[Rollup, ...]:
    """Return the roll-ups folded straight from the raw rows, or from the roll-up `source`."""
    return tuple(rollup for rollup in dataset.rollups if rollup.source == source)


def marked_keys(rollups: Sequence[Rollup]) -> tuple[str, ...]:
    """Return the columns a dirty mark names: every key of the roll-ups it is for."""
    return tuple(dict.fromkeys(key for rollup in rollups for key in rollup.by))


def marked_width(rollups: Sequence[Rollup]) -> Interval:
    """Return the width a mark is rounded to: the finest bucket."""
    return min(rollup.every for rollup in rollups)


def dirty_table(source: sa.Table, rollups: Sequence[Rollup], metadata: sa.MetaData) -> sa.Table:
    """Return the table of dirty marks of a source."""
    instant = sa.TIMESTAMP(timezone=True)
    keys = [sa.Column(key, source.c[key].type, nullable=True, comment=f"The {key} touched; NULL for all.") for key in marked_keys(rollups)]
    return sa.Table(
        f"{source.name}__dirty",
        metadata,
        *keys,
        sa.Column("lo", instant, nullable=False, comment="Start of the range touched."),
        sa.Column("hi", instant, nullable=False, comment="End of the range touched, exclusive."),
        sa.Column("marked_at", instant, nullable=False, server_default=sa.func.now(), comment="When the writer touched it."),
        comment=f"One row per range of {source.name} whose roll-ups are behind.",
        info=INTERNAL,
    )


def carried_table(rollup: Rollup, table: sa.Table, raw: sa.Table, metadata: sa.MetaData) -> sa.Table:
    """Return the table of what rows that are gone gave to buckets of a roll-up."""
    keys: list[sa.Column[Any]] = [
        sa.Column(key, table.c[key].type, nullable=False, comment=table.c[key].comment, autoincrement=False)
        for key in (*rollup.by, rollup.bucket)
    ]
    return sa.Table(
        f"{table.name}__carried",
        metadata,
        *keys,
        *bookkeeping(rollup),
        *measure_columns(rollup, raw),
        sa.PrimaryKeyConstraint(*rollup.by, rollup.bucket, name=f"{table.name}__carried_pkey"),
        comment=f"One row per bucket of {table.name} that rows no longer there have contributed to.",
        info=INTERNAL,
    )


_ORIGIN = sql.Literal(ORIGIN.isoformat())


def floor_sql(every: Interval, instant: sql.Composable) -> sql.Composed:
    """Return SQL for the start of the span that holds an instant, the same as `Interval.floor`."""
    if every.fixed:
        width = sql.Literal(f"{every.seconds:.0f} seconds")
        return sql.SQL("date_bin({}::interval, {}, {}::timestamptz)").format(width, instant, _ORIGIN)
    return sql.SQL("date_trunc({}, {}, 'UTC')").format(sql.Literal(every.unit.value), instant)


def next_sql(every: Interval, start: sql.Composable) -> sql.Composed:
    """Return SQL for the end of the span that starts at `start`."""
    if every.fixed:
        return sql.SQL("({} + {}::interval)").format(start, sql.Literal(f"{every.seconds:.0f} seconds"))
    return sql.SQL("(({} AT TIME ZONE 'UTC' + {}) AT TIME ZONE 'UTC')").format(start, step_sql(every))


def step_sql(every: Interval) -> sql.Composed:
    """Return SQL for the interval from one span to the next, to be added in UTC clock time: a month is a month then."""
    text = f"{every.seconds:.0f} seconds" if every.fixed else str(every)
    return sql.SQL("{}::interval").format(sql.Literal(f"{3 * every.count} months" if every.unit == "quarter" else text))


def identifier(table: sa.Table) -> sql.Identifier:
    """Return a table's full name for composed SQL."""
    return sql.Identifier(table.schema or "public", table.name)


def marking_function(dataset: Dataset) -> str:
    """Return the trigger function that marks what a statement touched, as CREATE FUNCTION."""
    rollups = children(dataset)
    keys = [sql.Identifier(key) for key in marked_keys(rollups)]
    width = marked_width(rollups)
    nothing = [sql.SQL("NULL::{}").format(type_sql(dataset.table.c[key].type)) for key in marked_keys(rollups)]
    dirty = sql.Identifier(dataset.schema, f"{dataset.table.name}__dirty")
    start = floor_sql(width, sql.Identifier(dataset.time))

    def insert(rows: sql.Composable) -> sql.Composed:
        return _MARK.format(
            dirty=dirty,
            keys=_listed(keys),
            nothing=_listed(nothing),
            start=start,
            rows=rows,
            end=next_sql(width, sql.Identifier("lo")),
            few=sql.Literal(FEW_KEYS),
            rollups=sql.Literal([f"{dataset.full_name}.{rollup.name}" for rollup in rollups]),
        )

    both = sql.SQL("(TABLE new_rows UNION ALL TABLE old_rows) AS touched")
    return _FUNCTION.format(
        name=sql.Identifier(dataset.schema, mark_name(dataset)),
        dirty=dirty,
        inserted=insert(sql.SQL("new_rows")),
        deleted=insert(sql.SQL("old_rows")),
        updated=insert(both),
    ).as_string()


def marking_doc(dataset: str) -> str:
    """Return what is said of the marking function and its triggers."""
    return f"Marks the roll-ups of {dataset} that a statement touched."


def mark_name(dataset: Dataset) -> str:
    """Return the name of the marking function; its triggers add what they fire on."""
    return f"{dataset.table.name}__mark"


def _listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL("").join(sql.SQL("{}, ").format(part) for part in parts)


_MARK = sql.SQL(
    """    INSERT INTO {dirty} ({keys}lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT {keys}{start} AS lo FROM {rows}),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), {few}) FROM strata.rollup_state WHERE rollup = ANY ({rollups})
                 )
             )
        SELECT {keys}lo, {end} FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT {nothing}lo, {end} FROM dense;"""
)
_FUNCTION = sql.SQL(
    """CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
{inserted}
    ELSIF TG_OP = 'DELETE' THEN
{deleted}
    ELSIF TG_OP = 'UPDATE' THEN
{updated}
    ELSE
        INSERT INTO {dirty} (lo, hi) VALUES ('-infinity', 'infinity');
    END IF;
    RETURN NULL;
END
$$"""
)
_TRIGGERS = {
    "insert": sql.SQL("AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows"),
    "update": sql.SQL("AFTER UPDATE ON {table} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
    "delete": sql.SQL("AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows"),
    "truncate": sql.SQL("AFTER TRUNCATE ON {table}"),
}


def marking_triggers(dataset: Dataset) -> dict[str, str]:
    """Return the triggers that call the marking function, by name, as CREATE TRIGGER."""
    table, function = identifier(dataset.table), sql.Identifier(dataset.schema, mark_name(dataset))
    return {
        f"{mark_name(dataset)}_{event}": sql.SQL("CREATE TRIGGER {} {} FOR EACH STATEMENT EXECUTE FUNCTION {}()")
        .format(sql.Identifier(f"{mark_name(dataset)}_{event}"), when.format(table=table), function)
        .as_string()
        for event, when in _TRIGGERS.items()
    }


_DIALECT: sa.Dialect = pg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


def type_sql(kind: Any) -> sql.SQL:
    """Return a column type as PostgreSQL writes it, with its schema."""
    return sql.SQL(cast(LiteralString, kind.compile(dialect=_DIALECT)))
