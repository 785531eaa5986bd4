"""Roll-ups: what is kept of many rows when they are folded into a bucket of time.

A measure stores *components* that can be merged: a mean is kept as sum and count, a percentile as a sketch. So an hour
folds into a day, and a late row folds into a bucket whose raw rows are gone, without ever averaging averages. What a
reader wants beside them (a mean, a rate, a score) is a generated column over the components.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from chainstrata.model.columns import index, led_by
from chainstrata.model.interval import Interval
from chainstrata.model.lifecycle import Late, Lifecycle

SAMPLES = "samples"
FIRST_AT = "first_at"
LAST_AT = "last_at"
_READ: Final = "as it is read"


class Kind(StrEnum):
    """What a measure keeps."""

    FIRST = "first"
    LAST = "last"
    LOWEST = "lowest"
    HIGHEST = "highest"
    TOTAL = "total"
    COUNT = "count"
    MEAN = "mean"
    WEIGHTED_MEAN = "weighted_mean"
    TIME_MEAN = "time_mean"
    OHLC = "ohlc"
    DISTINCT = "distinct"
    PERCENTILES = "percentiles"


class Fold(StrEnum):
    """How a component is made from rows, and two of them are merged."""

    FIRST = "first"
    LAST = "last"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    COUNT = "count"
    WEIGHTED_SUM = "weighted_sum"
    WEIGHT = "weight"
    INTEGRAL = "integral"
    SECONDS = "seconds"
    DISTINCT_SKETCH = "distinct_sketch"
    QUANTILE_SKETCH = "quantile_sketch"


@dataclass(frozen=True, slots=True)
class Component:
    """One stored column of a measure."""

    name: str
    fold: Fold
    column: str = ""
    weight: str = ""
    held: str = ""
    """The component that says what held at the end of a piece of time."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a roll-up. `where` limits it to the rows that meet a condition."""

    kind: Kind
    column: str = ""
    name: str = ""
    weight: str = ""
    where: sa.ColumnElement[bool] | None = field(default=None, compare=False)
    names: tuple[str, str, str, str] = ("", "", "", "")
    quantiles: tuple[float, ...] = ()
    held: str = ""
    holds: Interval | None = None

    @property
    def components(self) -> tuple[Component, ...]:  # noqa: C901 - one case for each kind, nothing nested
        """The columns stored for this measure, in order."""
        column, name = self.column, self.name
        match self.kind:
            case Kind.FIRST | Kind.LAST:
                return (Component(name, Fold(self.kind.value), column),)
            case Kind.LOWEST:
                return (Component(name, Fold.MIN, column),)
            case Kind.HIGHEST:
                return (Component(name, Fold.MAX, column),)
            case Kind.TOTAL:
                return (Component(name, Fold.SUM, column),)
            case Kind.COUNT:
                return (Component(name, Fold.COUNT, column),)
            case Kind.MEAN:
                return (Component(f"{name}_sum", Fold.SUM, column), Component(f"{name}_count", Fold.COUNT, column))
            case Kind.WEIGHTED_MEAN:
                return (
                    Component(f"{name}_sum", Fold.WEIGHTED_SUM, column, self.weight),
                    Component(f"{name}_weight", Fold.WEIGHT, column, self.weight),
                )
            case Kind.TIME_MEAN:
                folds = (Fold.INTEGRAL, Fold.SECONDS)
                return tuple(Component(f"{name}_{fold}", fold, column, held=self.held) for fold in folds)
            case Kind.OHLC:
                return tuple(
                    Component(own, fold, column) for own, fold in zip(self.names, (Fold.FIRST, Fold.MAX, Fold.MIN, Fold.LAST), strict=True)
                )
            case Kind.DISTINCT:
                return (Component(f"{name}_sketch", Fold.DISTINCT_SKETCH, column),)
            case Kind.PERCENTILES:
                return (Component(f"{name}_sketch", Fold.QUANTILE_SKETCH, column),)

    @property
    def columns(self) -> tuple[str, ...]:
        """The source columns it reads."""
        return tuple(name for name in (self.column, self.weight) if name)

    @property
    def needs_order(self) -> bool:
        """Whether it depends on which row came first or last."""
        return any(part.fold in (Fold.FIRST, Fold.LAST, Fold.INTEGRAL) for part in self.components)


Condition = sa.ColumnElement[bool] | None


def _named(kind: Kind, column: str, name: str) -> str:
    return name or f"{column}_{kind}"


def first(column: str, *, name: str = "") -> Measure:
    """Return the value of the first row of the bucket."""
    return Measure(Kind.FIRST, column, _named(Kind.FIRST, column, name))


def last(column: str, *, name: str = "") -> Measure:
    """Return the value of the last row of the bucket."""
    return Measure(Kind.LAST, column, _named(Kind.LAST, column, name))


def lowest(column: str, *, name: str = "", where: Condition = None) -> Measure:
    return Measure(Kind.LOWEST, column, _named(Kind.LOWEST, column, name), where=where)


def highest(column: str, *, name: str = "", where: Condition = None) -> Measure:
    return Measure(Kind.HIGHEST, column, _named(Kind.HIGHEST, column, name), where=where)


def total(column: str, *, name: str = "", where: Condition = None) -> Measure:
    return Measure(Kind.TOTAL, column, _named(Kind.TOTAL, column, name), where=where)


def count(name: str, column: str = "", *, where: Condition = None) -> Measure:
    """Return how many rows there are; with a column, how many where it is not NULL."""
    return Measure(Kind.COUNT, column, name, where=where)


def mean(column: str, *, name: str = "", where: Condition = None) -> Measure:
    """Return the mean, kept as sum and count."""
    return Measure(Kind.MEAN, column, name or column, where=where)


def weighted_mean(column: str, by: str, *, name: str = "", where: Condition = None) -> Measure:
    """Return the mean weighted by another column, kept as weighted sum and sum of weights."""
    return Measure(Kind.WEIGHTED_MEAN, column, name or column, weight=by, where=where)


def time_mean(column: str, *, name: str = "", held: str = "", holds: Interval | None = None) -> Measure:
    """Return the mean weighted by how long each value held, kept as its integral over time and the seconds it covers.

    A value holds until the next row of its key, `holds` at most; where only changes are stored that is the heartbeat. `held` names the
    column of `last(column)` in the same roll-up, by default `<column>_last`: what held at the end of a bucket. From one bucket to the
    next the mean is put together when it is read, as `<name>_time_mean` beside `<name>_time_covered`, the seconds it speaks of.
    """
    return Measure(Kind.TIME_MEAN, column, name or column, held=held or f"{column}_last", holds=holds)


def ohlc(column: str, *, names: tuple[str, str, str, str] | None = None) -> Measure:
    """Return open, high, low and close of a column."""
    default = (f"{column}_open", f"{column}_high", f"{column}_low", f"{column}_close")
    return Measure(Kind.OHLC, column, column, names=names or default)


def distinct(column: str, *, name: str = "") -> Measure:
    """Return the number of different values, kept as a mergeable sketch."""
    return Measure(Kind.DISTINCT, column, name or f"{column}_distinct")


def percentiles(column: str, *quantiles: float, name: str = "", where: Condition = None) -> Measure:
    """Return percentiles (0.5, 0.95, …), kept as a mergeable sketch."""
    return Measure(Kind.PERCENTILES, column, name or column, quantiles=quantiles or (0.5, 0.95, 0.99), where=where)


@dataclass(frozen=True, slots=True)
class Derived:
    """A generated column over a roll-up's own columns: a rate, a score. `formula` is SQL, immutable."""

    name: str
    formula: str
    doc: str
    type: Any = field(default_factory=sa.Numeric, compare=False)


@dataclass(frozen=True, slots=True)
class Rollup:
    """Buckets of a dataset, or of another of its roll-ups when `source` names one.

    `table` and `bucket` name the table and its time column (by default `<table>_<name>` and `bucket`). The bucket holds
    rows from its start, inclusive, to the next one's. `late` says what becomes of a row whose raw partition is gone.
    `incremental` lets source rows leave before their bucket closes: what they contributed is carried with the bucket.
    """

    name: str
    every: Interval
    by: Sequence[str]
    measures: Sequence[Measure]
    source: str = ""
    table: str = ""
    bucket: str = "bucket"
    doc: str = ""
    where: sa.ColumnElement[bool] | None = field(default=None, compare=False)
    derived: Sequence[Derived] = ()
    lifecycle: Lifecycle = Lifecycle()
    late: Late = Late.MERGE
    incremental: bool = False
    indexes: Sequence[sa.Index] = field(default=(), compare=False)
    checks: Sequence[sa.CheckConstraint] = field(default=(), compare=False)

    @property
    def components(self) -> tuple[Component, ...]:
        return tuple(part for measure in self.measures for part in measure.components)

    @property
    def needs_order(self) -> bool:
        return any(measure.needs_order for measure in self.measures)

    @property
    def time_means(self) -> tuple[Measure, ...]:
        """The measures that are put together from neighbouring buckets when they are read."""
        return tuple(measure for measure in self.measures if measure.kind is Kind.TIME_MEAN)


_COUNT_FOLDS = {Fold.COUNT}
_NEVER_NULL = {Fold.COUNT, Fold.INTEGRAL, Fold.SECONDS}
_SKETCH_FOLDS = {Fold.DISTINCT_SKETCH, Fold.QUANTILE_SKETCH}


def component_type(component: Component, source: sa.Table) -> Any:
    """Return the type a component is stored with: sums of whole numbers stay exact and cannot overflow."""
    if component.fold in _COUNT_FOLDS:
        return sa.BigInteger()
    if component.fold in _SKETCH_FOLDS:
        return pg.JSONB()
    kind = source.c[component.column].type
    if component.fold is Fold.SECONDS:
        return sa.Numeric()
    if component.fold in (Fold.SUM, Fold.WEIGHTED_SUM, Fold.WEIGHT, Fold.INTEGRAL):
        return sa.Double() if isinstance(kind, sa.Float) else sa.Numeric()
    return kind


_MEANINGS = {
    Fold.FIRST: "First {column} of the bucket.",
    Fold.LAST: "Last {column} of the bucket.",
    Fold.MIN: "Lowest {column} of the bucket.",
    Fold.MAX: "Highest {column} of the bucket.",
    Fold.SUM: "Sum of {column} over the bucket.",
    Fold.COUNT: "Number of rows of the bucket with {column}.",
    Fold.WEIGHTED_SUM: "Sum of {column} times {weight} over the bucket.",
    Fold.WEIGHT: "Sum of {weight} over the rows of the bucket with {column}.",
    Fold.INTEGRAL: "Sum of {column} times the seconds it held, between the first and the last row of the bucket.",
    Fold.SECONDS: "Seconds between the first and the last row of the bucket in which {column} held a value.",
    Fold.DISTINCT_SKETCH: "Mergeable sketch of the different {column} of the bucket.",
    Fold.QUANTILE_SKETCH: "Mergeable sketch of the distribution of {column} over the bucket.",
}


_FEW_BUCKETS = 4
"""A partition of so few is read as a whole."""


def rollup_table_name(rollup: Rollup, raw: sa.Table) -> str:
    return rollup.table or f"{raw.name}_{rollup.name}"


def rollup_table(rollup: Rollup, raw: sa.Table, metadata: sa.MetaData) -> sa.Table:
    """Return the table that keeps a roll-up's buckets: key, bucket, components, generated columns."""
    name = rollup_table_name(rollup, raw)
    keys = [sa.Column(key, raw.c[key].type, nullable=False, comment=raw.c[key].comment, autoincrement=False) for key in rollup.by]
    bucket = sa.Column(rollup.bucket, sa.TIMESTAMP(timezone=True), nullable=False, comment=f"Start of the {rollup.every.spoken}, UTC.")
    options: dict[str, Any] = {}
    if rollup.lifecycle.partition:
        options["postgresql_partition_by"] = f"RANGE ({rollup.bucket})"
    table = sa.Table(
        name,
        metadata,
        *keys,
        bucket,
        *bookkeeping(rollup),
        *measure_columns(rollup, raw),
        *_derived_columns(rollup, raw),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            nullable=False,
            server_default=sa.func.now(),
            comment="When the bucket was first written; never changes.",
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            nullable=False,
            server_default=sa.func.now(),
            comment="When the bucket was last written.",
        ),
        sa.PrimaryKeyConstraint(*rollup.by, rollup.bucket, name=f"{name}_pkey"),
        *_inherited_references(rollup, raw, name),
        *rollup.checks,
        *rollup.indexes,
        comment=rollup.doc or f"One row per {', '.join(rollup.by)} and {rollup.every.spoken}, folded from {rollup.source or raw.name}.",
        **options,
    )
    if _needs_time_index(rollup, table):
        index(
            f"idx_{name}_time",
            bucket,
            why=f"All keys of a {rollup.every.spoken} or of several, as a refresh asks for them. A BRIN: buckets come in order of time.",
            postgresql_using="brin",
            postgresql_with={"autosummarize": "on"},
        )
    return table


def _needs_time_index(rollup: Rollup, table: sa.Table) -> bool:
    """Whether a refresh of one bucket would read many: a partition holds them, or the table does, and no index begins with the bucket."""
    width = rollup.lifecycle.partition
    return not led_by(table, rollup.bucket) and (width is None or width.mean_length > _FEW_BUCKETS * rollup.every.mean_length)


def bookkeeping(rollup: Rollup) -> list[sa.Column[Any]]:
    columns: list[sa.Column[Any]] = [sa.Column(SAMPLES, sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket.")]
    if rollup.needs_order:
        columns += [
            sa.Column(
                FIRST_AT,
                sa.TIMESTAMP(timezone=True),
                nullable=False,
                comment="Time of the first raw row in the bucket.",
            ),
            sa.Column(LAST_AT, sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the last raw row in the bucket."),
        ]
    return columns


def _may_be_null(component: Component, raw: sa.Table) -> bool:
    """Whether a bucket can be without this figure: one of its source columns can be without a value."""
    return any(raw.c[name].nullable for name in (component.column, component.weight) if name)


def measure_columns(rollup: Rollup, raw: sa.Table) -> list[sa.Column[Any]]:
    columns = []
    for measure in rollup.measures:
        for part in measure.components:
            meaning = _MEANINGS[part.fold].format(column=part.column or "a value", weight=part.weight)
            if part.fold is Fold.COUNT and not part.column:
                meaning = "Number of rows of the bucket."
            if measure.where is not None:
                meaning = meaning[:-1] + f", where {condition_text(measure.where)}."
            columns.append(
                sa.Column(
                    part.name,
                    component_type(part, raw),
                    nullable=part.fold not in _NEVER_NULL and (measure.where is not None or _may_be_null(part, raw)),
                    server_default=sa.text("0") if part.fold in _NEVER_NULL else None,
                    comment=meaning,
                )
            )
    return columns


def _derived_columns(rollup: Rollup, raw: sa.Table) -> list[sa.Column[Any]]:
    columns = []
    for measure in rollup.measures:
        if measure.kind in (Kind.MEAN, Kind.WEIGHTED_MEAN):
            above, below = (part.name for part in measure.components)
            kind: Any = sa.Double() if isinstance(raw.c[measure.column].type, sa.Float) else sa.Numeric()
            columns.append(
                sa.Column(
                    f"{measure.name}_mean" if measure.kind is Kind.MEAN else f"{measure.name}_weighted_mean",
                    kind,
                    sa.Computed(f"{above} / NULLIF({below}, 0)", persisted=True),
                    comment=f"{above} divided by {below}.",
                )
            )
    columns += _sketch_columns(rollup)
    columns += [sa.Column(d.name, d.type, sa.Computed(d.formula, persisted=True), comment=d.doc) for d in rollup.derived]
    return columns


def _sketch_columns(rollup: Rollup) -> list[sa.Column[Any]]:
    columns: list[sa.Column[Any]] = []
    for measure in rollup.measures:
        if measure.kind is Kind.DISTINCT:
            formula = f"strata.sketch_distinct({measure.name}_sketch)"
            doc = f"About how many different {measure.column} there were, within 3 %."
            columns.append(sa.Column(measure.name, sa.BigInteger(), sa.Computed(formula, persisted=True), comment=doc))
        for quantile in measure.quantiles:
            name = f"{measure.name}_p{quantile * 100:g}".replace(".", "_")
            formula = f"strata.sketch_quantile({measure.name}_sketch, {quantile})"
            doc = f"The value below which {quantile:.4g} of {measure.column} lie, within 1 %."
            columns.append(sa.Column(name, sa.Double(), sa.Computed(formula, persisted=True), comment=doc))
    return columns


def mean_names(measure: Measure) -> tuple[str, str]:
    """Return what a mean over time is called where it is read, and the seconds of the bucket that it speaks of."""
    return f"{measure.name}_time_mean", f"{measure.name}_time_covered"


def read_table(rollup: Rollup, raw: sa.Table, table: sa.Table) -> sa.Table:
    """Return a roll-up's table as it is read: with the means over time, which are put together only then."""
    if not rollup.time_means:
        return table
    # One for all who read it, so that it tells equal questions apart from others.
    if _READ not in table.info:
        table.info[_READ] = _with_means(rollup, raw, table)
    return cast(sa.Table, table.info[_READ])


def _with_means(rollup: Rollup, raw: sa.Table, table: sa.Table) -> sa.Table:
    made: list[sa.Column[Any]] = []
    for measure in rollup.time_means:
        mean_name, covered = mean_names(measure)
        kind: Any = sa.Double() if isinstance(raw.c[measure.column].type, sa.Float) else sa.Numeric()
        made += [
            sa.Column(mean_name, kind, comment=f"Mean of {measure.column} over the bucket, each value weighted with how long it held."),
            sa.Column(covered, sa.Numeric(), nullable=False, comment=f"Seconds of the bucket in which {measure.column} held a value."),
        ]
    kept = [sa.Column(one.name, one.type, nullable=one.nullable, comment=one.comment) for one in table.c]
    return sa.Table(table.name, sa.MetaData(schema=table.schema), *kept, *made, comment=table.comment)


def _inherited_references(rollup: Rollup, raw: sa.Table, name: str) -> list[sa.ForeignKeyConstraint]:
    """Return the raw table's foreign keys whose columns are all in the key, renamed to the roll-up's table."""
    references = []
    for constraint in sorted(raw.foreign_key_constraints, key=lambda fk: str(fk.name)):
        columns = [column.name for column in constraint.columns]
        if set(columns) <= set(rollup.by):
            targets = [element.target_fullname for element in constraint.elements]
            own = str(constraint.name).replace(raw.name, name)
            references.append(sa.ForeignKeyConstraint(columns, targets, name=own, ondelete=constraint.ondelete))
    return references


_DIALECT: sa.Dialect = pg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


def condition_text(condition: sa.ColumnElement[bool]) -> str:
    """Return a condition as SQL with its values in place, columns without their table."""
    compiled = condition.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True, "include_table": False})
    return str(compiled)
