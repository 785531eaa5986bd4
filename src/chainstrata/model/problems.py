"""What can be wrong with a declaration. Pure: it looks at declarations only, and names dataset and field."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

import sqlalchemy as sa

from chainstrata.errors import DeclarationError
from chainstrata.model.dataset import Dataset
from chainstrata.model.interval import Interval
from chainstrata.model.latest import keeps_latest
from chainstrata.model.lifecycle import Late, Lifecycle, OnConflict
from chainstrata.model.pack import Pack
from chainstrata.model.rollup import Fold, Kind, Measure, Rollup, rollup_table_name

Problems = Iterator[DeclarationError]


def check_packs(packs: Sequence[Pack]) -> list[DeclarationError]:
    """Return everything wrong with the packs, alone and together."""
    names = Counter(pack.name for pack in packs)
    twice = (DeclarationError(name, "name", "two packs have this name") for name, times in names.items() if times > 1)
    return [*twice, *chain.from_iterable(_pack(pack, packs) for pack in packs)]


def _pack(pack: Pack, packs: Sequence[Pack]) -> Problems:
    known = {other.name for other in packs}
    for name in pack.requires:
        if name not in known:
            yield DeclarationError(pack.name, "requires", f"needs pack {name!r}, which is not installed")
    for name, times in Counter(dataset.name for dataset in pack.datasets).items():
        if times > 1:
            yield DeclarationError(f"{pack.name}.{name}", "name", "two datasets have this name", hint="Rename one of them.")
    yield from _backfills(pack, packs)
    everything = [dataset for other in packs for dataset in other.datasets]
    for dataset in pack.datasets:
        if dataset.schema != pack.name:
            yield DeclarationError(
                dataset.full_name,
                "table",
                f"is in schema {dataset.schema!r}, but its pack is {pack.name!r}",
                hint=f"Declare the table with metadata({pack.name!r}).",
            )
        yield from _dataset(dataset, everything)


def _backfills(pack: Pack, packs: Sequence[Pack]) -> Problems:
    for name, times in Counter(kind.name for other in packs for kind in other.backfills).items():
        if times > 1 and name in {kind.name for kind in pack.backfills}:
            yield DeclarationError(pack.name, "backfills", f"two kinds of backfill have the name {name!r}", hint="Rename one of them.")
    for kind in pack.backfills:
        if not 1 <= len(kind.name) <= 50 or kind.chunk <= 0 or kind.attempts <= 0:
            problem = f"{kind.name!r} needs a name of at most 50 characters, chunks of at least one position and at least one attempt"
            yield DeclarationError(pack.name, "backfills", problem)


def _dataset(dataset: Dataset, everything: Sequence[Dataset]) -> Problems:
    yield from _columns(dataset)
    yield from _time(dataset)
    yield from _documented(dataset)
    yield from _conflict(dataset)
    yield from _parents(dataset, everything)
    yield from _lifecycle(dataset.full_name, "lifecycle", dataset.lifecycle, bool(dataset.time))
    yield from _rollups(dataset)


def _unknown(dataset: Dataset, field: str, column: str) -> DeclarationError:
    known = ", ".join(dataset.table.c.keys())
    return DeclarationError(dataset.full_name, field, f"unknown column {column!r}", hint=f"{dataset.table.name} has {known}.")


def _columns(dataset: Dataset) -> Problems:
    named: list[tuple[str, str]] = [
        ("time", dataset.time),
        ("final", dataset.final),
        ("conflict.version", dataset.conflict.version),
    ]
    named += [("entity", name) for name in dataset.entity]
    named += [("conflict.columns", name) for name in dataset.conflict.columns]
    named += [("parents", own) for parent in dataset.parents for own, _ in parent.columns]
    if dataset.mirror:
        named += [("mirror.order_by", name) for name in dataset.mirror.order_by]
        named += [("mirror.columns", name) for name in dataset.mirror.columns]
        named += [("mirror.approximate", name) for name, _ in dataset.mirror.approximate]
    if dataset.change_only:
        named += [("change_only.ignoring", name) for name in dataset.change_only.ignoring]
    for field, name in named:
        if name and name not in dataset.table.c:
            yield _unknown(dataset, field, name)


def _time(dataset: Dataset) -> Problems:
    if not dataset.key:
        yield DeclarationError(dataset.full_name, "table", "has no primary key", hint="Every row needs a name it can be found by.")
    if dataset.partitioned and not dataset.time:
        yield DeclarationError(dataset.full_name, "time", "a partitioned dataset needs a time column")
    if not dataset.time or dataset.time not in dataset.table.c:
        return
    column = dataset.table.c[dataset.time]
    if not getattr(column.type, "timezone", False):
        yield DeclarationError(
            dataset.full_name,
            "time",
            f"{dataset.time} is {column.type!r}, not a timestamp with time zone",
            hint="A time without a zone means another instant in every session; use INSTANT.",
        )
    if dataset.partitioned and dataset.time not in dataset.key:
        yield DeclarationError(
            dataset.full_name,
            "table",
            f"the primary key {dataset.key} lacks the time column {dataset.time!r}",
            hint="PostgreSQL cannot keep a key unique across partitions without the partition column.",
        )
    yield from _partitioning(dataset)


def _partitioning(dataset: Dataset) -> Problems:
    by = dataset.table.dialect_options["postgresql"]["partition_by"]
    wanted = f"RANGE ({dataset.time})" if dataset.partitioned else None
    if by != wanted:
        yield DeclarationError(
            dataset.full_name,
            "lifecycle.partition",
            f"the table says PARTITION BY {by}, the lifecycle means {wanted}",
            hint='Give the table postgresql_partition_by="RANGE (<time column>)" exactly when the lifecycle has a partition.',
        )
    for constraint in dataset.table.constraints:
        if isinstance(constraint, sa.UniqueConstraint) and dataset.partitioned and dataset.time not in constraint.columns:
            yield DeclarationError(dataset.full_name, f"table.{constraint.name}", f"lacks the time column {dataset.time!r}")


def _documented(dataset: Dataset) -> Problems:
    table = dataset.table
    if not table.comment:
        yield DeclarationError(dataset.full_name, "table", "does not say what one row means", hint="Give it comment=….")
    for column in table.c:
        if not column.comment:
            yield DeclarationError(dataset.full_name, f"table.{column.name}", "has no meaning given", hint="Use column(…, doc=…).")
    for index in table.indexes:
        if not index.info.get("why"):
            yield DeclarationError(dataset.full_name, f"table.{index.name}", "does not say why it is there", hint="Use index(…, why=…).")


def _conflict(dataset: Dataset) -> Problems:
    conflict = dataset.conflict
    if conflict.policy is OnConflict.NEWEST and not conflict.version:
        yield DeclarationError(dataset.full_name, "conflict.version", "newest needs the column that holds the version")
    if conflict.policy is not OnConflict.APPEND and not dataset.key:
        yield DeclarationError(dataset.full_name, "conflict", f"{conflict.policy} needs a primary key")
    field = "change_only" if dataset.change_only else "latest"
    if keeps_latest(dataset) and not (dataset.entity and dataset.time):
        yield DeclarationError(dataset.full_name, field, "needs entity and time, to know a row's predecessor")
    elif keeps_latest(dataset):
        yield from _state(dataset, field)


def _state(dataset: Dataset, field: str) -> Problems:
    """What is kept of the last rows is kept by number, and points into the series by its key."""
    if not dataset.partitioned:
        yield DeclarationError(dataset.full_name, field, "needs a series in partitions", hint="Give the lifecycle a partition.")
    if set(dataset.key) != {*dataset.entity, dataset.time}:
        yield DeclarationError(dataset.full_name, field, f"needs a primary key of entity and time, not of {', '.join(dataset.key)}")
    kinds = [dataset.table.c[name].type for name in dataset.entity if name in dataset.table.c]
    if len(dataset.entity) != 1 or not all(isinstance(kind, sa.Integer) for kind in kinds):
        yield DeclarationError(dataset.full_name, field, "needs one entity column of whole numbers", hint="Number the entities.")


def _parents(dataset: Dataset, everything: Sequence[Dataset]) -> Problems:
    known = {other.full_name: other for other in everything}
    for parent in dataset.parents:
        if parent.dataset not in known:
            yield DeclarationError(dataset.full_name, "parents", f"unknown dataset {parent.dataset!r}")
            continue
        for _, theirs in parent.columns:
            if theirs not in known[parent.dataset].table.c:
                yield DeclarationError(dataset.full_name, "parents", f"{parent.dataset} has no column {theirs!r}")


def _lifecycle(name: str, field: str, lifecycle: Lifecycle, timed: bool) -> Problems:
    if (lifecycle.keep or lifecycle.partition) and not timed:
        yield DeclarationError(name, f"{field}.keep", "ages need a time column")
    if lifecycle.premake < 1 and lifecycle.partition:
        yield DeclarationError(name, f"{field}.premake", f"must be at least 1 (got {lifecycle.premake})")
    if lifecycle.keep and lifecycle.partition and lifecycle.keep < lifecycle.partition:
        yield DeclarationError(
            name,
            f"{field}.keep",
            f"{lifecycle.keep} is shorter than a partition of {lifecycle.partition}",
            hint="A partition leaves as a whole, so it would hold rows older than that anyway.",
        )
    if lifecycle.compress and not lifecycle.partition:
        yield DeclarationError(name, f"{field}.compress", "only what is partitioned can be compressed")
    if lifecycle.keep_archived and not lifecycle.archive:
        yield DeclarationError(name, f"{field}.keep_archived", "nothing is archived")
    if lifecycle.terminal and lifecycle.partition:
        yield DeclarationError(name, f"{field}.terminal", "a partition leaves as a whole; only a plain table can choose rows")


def _rollups(dataset: Dataset) -> Problems:
    for name, times in Counter(rollup.name for rollup in dataset.rollups).items():
        if times > 1:
            yield DeclarationError(dataset.full_name, f"rollups.{name}", "two roll-ups have this name")
    tables = Counter(rollup_table_name(rollup, dataset.table) for rollup in dataset.rollups)
    for name, times in tables.items():
        if times > 1 or name == dataset.table.name:
            yield DeclarationError(dataset.full_name, "rollups", f"two tables would be called {name!r}")
    if dataset.rollups and not dataset.time:
        yield DeclarationError(dataset.full_name, "rollups", "a roll-up needs the dataset's time column")
    for rollup in dataset.rollups:
        yield from _rollup(dataset, rollup)


def _rollup(dataset: Dataset, rollup: Rollup) -> Problems:
    field = f"rollups.{rollup.name}"
    if not rollup.measures:
        yield DeclarationError(dataset.full_name, field, "has no measures")
    for column in rollup.by:
        if column not in dataset.table.c:
            yield _unknown(dataset, f"{field}.by", column)
    columns = Counter(part.name for part in rollup.components)
    for name, times in columns.items():
        if times > 1:
            yield DeclarationError(dataset.full_name, field, f"two measures store a column {name!r}", hint="Give one name=….")
    for measure in rollup.measures:
        yield from _measure(dataset, rollup, measure)
    for measure in rollup.time_means:
        yield from _time_mean(dataset, rollup, measure)
    yield from _lifecycle(dataset.full_name, f"{field}.lifecycle", rollup.lifecycle, True)
    yield from _source(dataset, rollup)


def _measure(dataset: Dataset, rollup: Rollup, measure: Measure) -> Problems:
    field = f"rollups.{rollup.name}.{measure.name or measure.kind}"
    for name in measure.columns:
        if name not in dataset.table.c:
            yield _unknown(dataset, field, name)
            return
    if not measure.column:
        return
    column = dataset.table.c[measure.column]
    rolling: Interval | None = column.info.get("rolling")
    if rolling and measure.kind in (Kind.TOTAL, Kind.WEIGHTED_MEAN):
        yield DeclarationError(
            dataset.full_name,
            field,
            f"{measure.column} already covers {rolling} at every row, so its sum means nothing",
            hint="Keep its last value: last(…).",
        )
    numeric = isinstance(column.type, sa.Numeric | sa.Float | sa.Integer) or isinstance(getattr(column.type, "data_type", None), sa.Numeric)
    needs_number = measure.kind in (Kind.TOTAL, Kind.MEAN, Kind.WEIGHTED_MEAN, Kind.TIME_MEAN, Kind.PERCENTILES)
    if needs_number and not numeric:
        yield DeclarationError(dataset.full_name, field, f"{measure.column} is {column.type!r}, not a number")


def _time_mean(dataset: Dataset, rollup: Rollup, measure: Measure) -> Problems:
    """A value holds until the next row of its key, and the pieces of time it is kept in must not overlap."""
    name, field = dataset.full_name, f"rollups.{rollup.name}.{measure.name}"
    if {*rollup.by, dataset.time} != set(dataset.key):
        yield DeclarationError(name, field, f"needs one row of a key at a time, and {', '.join(rollup.by) or 'nothing'} tells several")
    if rollup.where is not None:
        yield DeclarationError(name, field, "cannot leave rows out: they say until when a value held")
    if not any(part.name == measure.held and part.fold is Fold.LAST and part.column == measure.column for part in rollup.components):
        hint = f'Add last("{measure.column}"), or name the column of a last value with held=….'
        yield DeclarationError(name, field, f"needs the last {measure.column} in {measure.held!r}", hint=hint)
    if rollup.late is not Late.QUARANTINE:
        hint = "Say late=Late.QUARANTINE."
        yield DeclarationError(name, field, "cannot take a row in between others that have left", hint=hint)
    heartbeat = dataset.change_only.heartbeat if dataset.change_only else None
    holds = measure.holds or heartbeat
    if holds is None or not holds.fixed:
        yield DeclarationError(name, field, "does not say how long a value holds", hint="Give it holds=minutes(…), a fixed time.")
    elif heartbeat and holds != heartbeat:
        yield DeclarationError(
            name, field, f"holds for {holds}, but a value that stays is stored every {heartbeat}", hint="Leave holds out."
        )
    source = next((other for other in dataset.rollups if other.name == rollup.source), None)
    if source and not any((one.components, one.holds) == (measure.components, measure.holds) for one in source.time_means):
        yield DeclarationError(name, field, f"{source.name} does not keep the same")


def _source(dataset: Dataset, rollup: Rollup) -> Problems:
    """A roll-up must be foldable from its source, and the source must be kept long enough to fold it."""
    field = f"rollups.{rollup.name}"
    if not rollup.source:
        yield from _kept_long_enough(dataset.full_name, field, rollup, dataset.lifecycle, dataset.full_name)
        return
    source = next((other for other in dataset.rollups if other.name == rollup.source), None)
    if source is None:
        yield DeclarationError(dataset.full_name, f"{field}.source", f"unknown roll-up {rollup.source!r}")
        return
    if not source.every.divides(rollup.every) or not source.every < rollup.every:
        yield DeclarationError(
            dataset.full_name,
            f"{field}.source",
            f"{rollup.every} cannot be folded from {source.every}: their edges do not meet",
            hint="Weeks straddle months; fold months from days." if not rollup.every.fixed else "Choose a source that divides it.",
        )
    missing = {part.name for part in rollup.components} - {part.name for part in source.components}
    if missing:
        yield DeclarationError(dataset.full_name, field, f"{source.name} does not keep {', '.join(sorted(missing))}")
    if not set(rollup.by) <= set(source.by):
        yield DeclarationError(
            dataset.full_name,
            f"{field}.by",
            f"{source.name} is not kept by {', '.join(sorted(set(rollup.by) - set(source.by)))}",
        )
    yield from _kept_long_enough(dataset.full_name, field, rollup, source.lifecycle, source.name)


def _kept_long_enough(name: str, field: str, rollup: Rollup, lifecycle: Lifecycle, source: str) -> Problems:
    if lifecycle.keep and lifecycle.keep.longest < rollup.every.longest and not rollup.incremental:
        yield DeclarationError(
            name,
            field,
            f"a bucket of {rollup.every} needs rows that {source} keeps only for {lifecycle.keep}",
            hint="Keep the source at least one bucket long, or say incremental=True, so that a bucket takes its rows in before they leave.",
        )
