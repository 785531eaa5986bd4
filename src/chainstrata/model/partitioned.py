"""The tables that are kept in partitions by declaration: those of datasets, and those of their roll-ups."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chainstrata.model.dataset import Dataset
from chainstrata.model.interval import Interval
from chainstrata.model.lifecycle import Lifecycle
from chainstrata.model.marking import children
from chainstrata.model.pack import Catalog
from chainstrata.model.rollup import rollup_table_name

REWRITTEN = 45
"""Fill factor of pages that have room for their rows twice: the new ones, and those they replaced a moment ago."""


@dataclass(frozen=True, slots=True)
class TimedTable:
    """A table whose rows age: a dataset's own (`prices.minute`) or a roll-up's (`prices.minute.hourly`).

    `column` says how old a row is; `entity` what it is about. Partitioned when its life cycle has a partition. `feeds` says
    that roll-ups are folded from its rows.
    """

    name: str
    schema: str
    table: str
    column: str
    entity: tuple[str, ...]
    key: tuple[str, ...]
    lifecycle: Lifecycle
    feeds: bool = False
    fillfactor: int = 100
    """How full pages are made, in percent. Less where every row is soon written anew, so that it finds room beside itself."""

    @property
    def partitioned(self) -> bool:
        return self.lifecycle.partition is not None

    @property
    def interval(self) -> Interval:
        """How wide its partitions are."""
        interval = self.lifecycle.partition
        if interval is None:
            raise ValueError(f"{self.name} is not partitioned")
        return interval

    @property
    def qualified(self) -> str:
        """Schema and table."""
        return f"{self.schema}.{self.table}"


def timed_tables(catalog: Catalog, names: Sequence[str] = ()) -> list[TimedTable]:
    """Return every table with a time column; with names, those of these datasets and roll-ups.

    A dataset's name brings its roll-ups along. An unknown name raises `UnknownName`.
    """
    every = [table for dataset in catalog for table in tables_of(dataset)]
    if not names:
        return every
    wanted = {name for given in names for name in _expand(catalog, given)}
    return [table for table in every if table.name in wanted]


def partitioned_tables(catalog: Catalog, names: Sequence[str] = ()) -> list[TimedTable]:
    """Return the partitioned ones of `timed_tables`."""
    return [table for table in timed_tables(catalog, names) if table.partitioned]


def tables_of(dataset: Dataset) -> Iterator[TimedTable]:
    """Yield the tables of a dataset that have a time column: its own first, then those of its roll-ups."""
    if dataset.time:
        yield TimedTable(
            dataset.full_name,
            dataset.schema,
            dataset.table.name,
            dataset.time,
            tuple(dataset.entity),
            dataset.key,
            dataset.lifecycle,
            bool(children(dataset)),
        )
    for rollup in dataset.rollups:
        key = (*rollup.by, rollup.bucket)
        table = rollup_table_name(rollup, dataset.table)
        name = f"{dataset.full_name}.{rollup.name}"
        feeds = bool(children(dataset, rollup.name))
        # What comes of every slot is added to the open buckets at once, and so every one of them is rewritten slot by slot.
        fill = REWRITTEN if dataset.change_only and not rollup.source else 100
        yield TimedTable(name, dataset.schema, table, rollup.bucket, tuple(rollup.by), key, rollup.lifecycle, feeds, fill)


def _expand(catalog: Catalog, name: str) -> Iterator[str]:
    if name.count(".") > 1:
        catalog.rollup(name)
        yield name
        return
    dataset = catalog.dataset(name)
    yield name
    yield from (f"{name}.{rollup.name}" for rollup in dataset.rollups)
