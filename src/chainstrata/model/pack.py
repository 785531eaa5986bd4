"""Packs and the catalog: what is installed, validated as a whole when it is loaded.

A pack is a Python package with `tables.py` and, beside it, `functions/*.sql`, `triggers/*.sql`, `views/*.sql`,
`migrations/`, `sample.py`. A SQL file holds one object and opens with its name and what it is, an index of a
materialized view beside the view; names are unique in a pack:

    -- insight_statistics
    -- Ratings, comments and flags of one insight.
    -- requires: other_function
    CREATE FUNCTION …
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from importlib import import_module
from importlib.resources import files
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from chainstrata.errors import DeclarationError, UnknownName
from chainstrata.model.backfill import Backfill
from chainstrata.model.columnar import ColumnarDataset, ColumnarObject
from chainstrata.model.columns import SYSTEM_SCHEMA
from chainstrata.model.dataset import Dataset
from chainstrata.model.latest import keeps_latest, latest_objects, state_table
from chainstrata.model.marking import (
    carried_table,
    children,
    dirty_table,
    mark_name,
    marking_doc,
    marking_function,
    marking_triggers,
)
from chainstrata.model.rollup import Rollup, rollup_table, rollup_table_name
from chainstrata.model.sightings import seen_table, sighting_objects
from chainstrata.model.stamps import stamp_name, stamp_trigger


class SqlKind(StrEnum):
    FUNCTION = "function"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized view"
    TRIGGER = "trigger"
    INDEX = "index"


@dataclass(frozen=True, slots=True)
class SqlObject:
    """A function, trigger or view kept as a file of SQL. `name` is without the schema.

    `table`, with the schema, is what a trigger fires on, or the materialized view an index belongs to.
    """

    kind: SqlKind
    name: str
    schema: str
    doc: str
    sql: str
    requires: tuple[str, ...] = ()
    table: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Pack:
    """A domain: its datasets, and the package that holds its SQL, migrations and samples.

    `metadata` carries every table, roll-up tables included. `requires` names packs whose schema must exist first.
    `queue` is the version of the job queue, which one pack brings for all.
    `enums` maps each enum type to what it says; `domains` are the domain types of the schema.
    `backfills` are the kinds of backfill it knows, by names that no other pack has.
    """

    name: str
    package: str
    doc: str
    metadata: sa.MetaData = field(compare=False)
    datasets: Sequence[Dataset] = ()
    requires: Sequence[str] = ("strata",)
    extensions: Sequence[str] = ()
    queue: str = ""
    enums: Sequence[pg.ENUM] = field(default=(), compare=False)
    domains: Sequence[pg.DOMAIN] = field(default=(), compare=False)
    columnar: Sequence[ColumnarDataset] = ()
    """Datasets whose home is the columnar engine."""
    columnar_objects: Sequence[ColumnarObject] = ()
    """More tables and views of the columnar engine; their names begin with the pack's and two underscores."""
    backfills: Sequence[Backfill] = ()

    def __post_init__(self) -> None:
        for dataset in self.datasets:
            self._add_rollups(dataset)
            self._add_state(dataset)

    def _add_rollups(self, dataset: Dataset) -> None:
        """Add the tables that keep a dataset's roll-ups; what cannot be drawn up is left for `check_packs` to name."""
        if not dataset.rollups or any(_unbuildable(dataset, rollup) for rollup in dataset.rollups):
            return
        tables = self.metadata.tables
        sources = {"": dataset.table}
        for rollup in dataset.rollups:
            if f"{dataset.schema}.{rollup_table_name(rollup, dataset.table)}" in tables:
                return
            table = sources[rollup.name] = rollup_table(rollup, dataset.table, self.metadata)
            carried_table(rollup, table, dataset.table, self.metadata)
        for name, source in sources.items():
            folded = children(dataset, name)
            if folded and f"{dataset.schema}.{source.name}__dirty" not in tables:
                dirty_table(source, folded, self.metadata)

    def _add_state(self, dataset: Dataset) -> None:
        """Add the tables that say where the last rows are, and what was seen without a row."""
        if not keeps_latest(dataset) or not set(dataset.entity) <= set(dataset.table.c.keys()):
            return
        if f"{dataset.schema}.{dataset.table.name}__state" not in self.metadata.tables:
            state_table(dataset, self.metadata)
            if dataset.change_only:
                seen_table(dataset, self.metadata)

    def rollup_table(self, dataset: Dataset, rollup: Rollup) -> sa.Table:
        """Return the table that keeps a roll-up's buckets."""
        return self.metadata.tables[f"{dataset.schema}.{rollup_table_name(rollup, dataset.table)}"]

    def sql_objects(self) -> list[SqlObject]:
        """Return the functions, triggers, views and their indexes, each after what it requires."""
        found: dict[str, SqlObject] = {}
        for folder in ("functions", "triggers", "views"):
            directory = files(self.package) / folder
            if directory.is_dir():
                for path in sorted(directory.iterdir(), key=lambda p: p.name):
                    if path.name.endswith(".sql"):
                        parsed = parse_sql_object(path.read_text(encoding="utf-8"), self.name, path.name)
                        found[parsed.name] = parsed
        for dataset in self.datasets:
            found |= {item.name: item for item in (*_marking(dataset), *_stamping(dataset), *_state(dataset))}
        return _in_order(found)

    def module(self, name: str) -> Any:
        """Return one of the pack's own modules, such as `sample`."""
        return import_module(f"{self.package}.{name}")


def _unbuildable(dataset: Dataset, rollup: Rollup) -> bool:
    """Whether a table cannot even be drawn up; `check_packs` then says why."""
    known = set(dataset.table.c.keys())
    wanted = {*rollup.by, *(column for measure in rollup.measures for column in measure.columns)}
    stored = [part.name for part in rollup.components]
    return not wanted <= known or len(set(stored)) < len(stored)


def _marking(dataset: Dataset) -> Iterator[SqlObject]:
    """Yield the function and triggers that mark what a statement touched, if the dataset has roll-ups."""
    if not children(dataset):
        return
    name = mark_name(dataset)
    doc = marking_doc(dataset.full_name)
    yield SqlObject(SqlKind.FUNCTION, name, dataset.schema, doc, marking_function(dataset))
    for trigger, text in marking_triggers(dataset).items():
        yield SqlObject(SqlKind.TRIGGER, trigger, dataset.schema, doc, text, (name,), dataset.table.fullname)


def _stamping(dataset: Dataset) -> Iterator[SqlObject]:
    """Yield the trigger that keeps a row's times true, if it has them."""
    text = stamp_trigger(dataset.table, SYSTEM_SCHEMA)
    if text:
        doc = f"Keeps the times a row of {dataset.full_name} was written true."
        yield SqlObject(SqlKind.TRIGGER, stamp_name(dataset.table), dataset.schema, doc, text, table=dataset.table.fullname)


def _state(dataset: Dataset) -> Iterator[SqlObject]:
    """Yield what reads and keeps the current state of the dataset, if it has one."""
    if not keeps_latest(dataset):
        return
    for item in (*latest_objects(dataset), *(sighting_objects(dataset) if dataset.change_only else ())):
        table = dataset.table.fullname if item.kind == "trigger" else ""
        yield SqlObject(SqlKind(item.kind), item.name, dataset.schema, item.doc, item.sql, item.requires, table)


_HEADER = re.compile(r"\A-- (?P<name>\w+)\n(?P<doc>(?:-- [^\n]*\n)+)(?P<body>.*)\Z", re.DOTALL)
_IS_ON = re.compile(r"\bON\s+(\w+\.\w+)", re.IGNORECASE)
_CREATES = re.compile(
    r"^\s*CREATE\s+(?:OR\s+REPLACE\s+)?(MATERIALIZED\s+VIEW|VIEW|FUNCTION|TRIGGER|(?:UNIQUE\s+)?INDEX)", re.IGNORECASE | re.MULTILINE
)


def parse_sql_object(text: str, schema: str, file_name: str) -> SqlObject:
    """Return the object a SQL file declares; the file bears its name."""
    header = _HEADER.match(text)
    creates = _CREATES.search(text)
    if header is None or creates is None or f"{header['name']}.sql" != file_name:
        raise DeclarationError(
            schema,
            file_name,
            "must open with `-- name` (the file's own), a line that says what it is, and one CREATE",
        )
    lines = [line.removeprefix("-- ").strip() for line in header["doc"].splitlines()]
    requires = [line.removeprefix("requires:") for line in lines if line.startswith("requires:")]
    doc = " ".join(line for line in lines if not line.startswith("requires:"))
    kind = SqlKind(re.sub(r"\s+", " ", creates[1]).lower().removeprefix("unique "))
    needed = tuple(name.strip() for part in requires for name in part.split(",") if name.strip())
    belongs = kind in (SqlKind.TRIGGER, SqlKind.INDEX)
    is_on = _IS_ON.search(header["body"]) if belongs else None
    if belongs and is_on is None:
        raise DeclarationError(schema, file_name, "must name its table with the schema, as in `ON validators.alerts`")
    return SqlObject(kind, header["name"], schema, doc, header["body"].strip(), needed, is_on[1] if is_on else "")


def _in_order(found: Mapping[str, SqlObject]) -> list[SqlObject]:
    ordered: dict[str, SqlObject] = {}

    def visit(item: SqlObject, path: tuple[str, ...]) -> None:
        if item.name in path:
            raise DeclarationError(item.full_name, "requires", f"goes round in a circle: {' > '.join((*path, item.name))}")
        for name in item.requires:
            if name in found and name not in ordered:
                visit(found[name], (*path, item.name))
        ordered.setdefault(item.name, item)

    for item in found.values():
        visit(item, ())
    return list(ordered.values())


class Catalog:
    """The packs in use. Made only from declarations that fit together; each mistake is named."""

    def __init__(self, packs: Iterable[Pack]) -> None:
        from chainstrata.model.problems import check_packs

        self.packs = tuple(_by_requirement(tuple(packs)))
        problems = check_packs(self.packs)
        if problems:
            raise problems[0] if len(problems) == 1 else _together(problems)
        self._datasets = {dataset.full_name: dataset for pack in self.packs for dataset in pack.datasets}

    def __iter__(self) -> Iterator[Dataset]:
        return iter(self._datasets.values())

    def __len__(self) -> int:
        return len(self._datasets)

    def dataset(self, name: str) -> Dataset:
        """Return the dataset of that full name."""
        try:
            return self._datasets[name]
        except KeyError:
            raise UnknownName("dataset", name, list(self._datasets)) from None

    @property
    def columnar(self) -> tuple[ColumnarDataset, ...]:
        """The datasets whose home is the columnar engine."""
        return tuple(dataset for pack in self.packs for dataset in pack.columnar)

    def is_columnar(self, name: str) -> bool:
        return any(dataset.full_name == name for dataset in self.columnar)

    def columnar_dataset(self, name: str) -> ColumnarDataset:
        """Return the columnar dataset of that full name."""
        for dataset in self.columnar:
            if dataset.full_name == name:
                return dataset
        raise UnknownName("columnar dataset", name, [dataset.full_name for dataset in self.columnar])

    def pack(self, name: str) -> Pack:
        """Return the pack of that name."""
        for pack in self.packs:
            if pack.name == name:
                return pack
        raise UnknownName("pack", name, [pack.name for pack in self.packs])

    def pack_of(self, dataset: Dataset) -> Pack:
        return self.pack(dataset.schema)

    def rollup(self, name: str) -> tuple[Dataset, Rollup]:
        """Return a roll-up and its dataset by full name, as `prices.minute.hourly`."""
        dataset_name, _, short = name.rpartition(".")
        known = {f"{dataset.full_name}.{rollup.name}": (dataset, rollup) for dataset in self for rollup in dataset.rollups}
        if name not in known:
            raise UnknownName("roll-up", name, list(known))
        return known[f"{dataset_name}.{short}"]


def _together(problems: Sequence[DeclarationError]) -> DeclarationError:
    first = problems[0]
    rest = "; ".join(problem.message for problem in problems[1:])
    return DeclarationError(first.dataset, first.field, first.message.split(": ", 2)[-1], hint=f"{first.hint} Also: {rest}".strip())


def _by_requirement(packs: Sequence[Pack]) -> list[Pack]:
    """Return the packs, each after those it requires; a missing one is left for the check to name."""
    known = {pack.name: pack for pack in packs}
    ordered: dict[str, Pack] = {}

    def visit(pack: Pack, path: tuple[str, ...]) -> None:
        if pack.name in path:
            raise DeclarationError(pack.name, "requires", f"goes round in a circle: {' > '.join((*path, pack.name))}")
        for name in pack.requires:
            if name in known and name not in ordered:
                visit(known[name], (*path, pack.name))
        ordered.setdefault(pack.name, pack)

    for pack in packs:
        visit(pack, ())
    return list(ordered.values())


SampleMaker = Callable[[str, int, datetime], Iterable[tuple[str, Any]]]
"""`sample.make(scale, seed, anchor)`: yields (dataset or roll-up by full name, pyarrow Table), parents before children; equal arguments,
equal rows.

`scale` is small, medium or large; `anchor` is the newest instant the rows speak of. Roll-ups are folded from the rows, but for buckets
whose rows a pack of that age would no longer hold: those the sample gives, and `sample.gone_before(anchor)` then says, for each level by
its full name, since when its rows are there.
"""
