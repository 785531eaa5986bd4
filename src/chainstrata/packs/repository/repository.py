"""`Repository`: a pack's tables, roll-ups and questions, on the pool or in a caller's transaction."""

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from chainstrata.engines.postgres import Connection, Query
from chainstrata.errors import UnknownName
from chainstrata.model import Dataset, Pack
from chainstrata.packs.repository import making
from chainstrata.packs.repository.errors import explaining
from chainstrata.packs.repository.reading import BucketReader, Buckets
from chainstrata.packs.repository.selection import Source
from chainstrata.packs.repository.shape import make_row_classes
from chainstrata.packs.repository.table import Table

Row = TypeVar("Row")
New = TypeVar("New")
Self = TypeVar("Self", bound="Repository")


class Repository:
    """What a pack keeps. `using(connection)` gives the same within a transaction."""

    def __init__(self, pack: Pack, source: Source, buckets: BucketReader | None = None) -> None:
        self.pack = pack
        self.source = source
        self._buckets = buckets

    def using(self: Self, connection: Connection) -> Self:
        """Return the repository on a connection that the caller holds: what it does is part of the caller's transaction."""
        return type(self)(self.pack, connection, self._buckets)

    def at_most(self: Self, rows: int) -> Self:
        """Return the repository for questions of which only the first so many rows are wanted. It reads no more, and only reads."""
        buckets = None if self._buckets is None else partial(self._buckets, limit=rows)
        return type(self)(self.pack, self.source.at_most(rows), buckets)

    def table(self, dataset: str) -> Table[Any, Any]:
        """Return a dataset's table by its short name."""
        found = self._dataset(dataset)
        return Table(self.source, found, *make_row_classes(found.table, self.pack.package))

    def buckets(self, dataset: str, rollup: str) -> Buckets[Any]:
        """Return a roll-up by the dataset's short name and its own."""
        found = self._dataset(dataset)
        names = [one.name for one in found.rollups]
        if rollup not in names:
            raise UnknownName(f"roll-up of {found.full_name}", rollup, names)
        declared = found.rollup(rollup)
        table = self.pack.rollup_table(found, declared)
        return self._bucket_table(dataset, rollup, make_row_classes(table, self.pack.package)[0])

    def _table(self, dataset: str, row: type[Row], new: type[New]) -> Table[Row, New]:
        return Table(self.source, self._dataset(dataset), row, new)

    def _bucket_table(self, dataset: str, rollup: str, row: type[Row]) -> Buckets[Row]:
        found = self._dataset(dataset)
        declared = found.rollup(rollup)
        table = self.pack.rollup_table(found, declared)
        name = f"{found.full_name}.{rollup}"
        return Buckets(self.source, table, row, name=name, rollup=declared, reader=self._buckets)

    def _dataset(self, name: str) -> Dataset:
        for dataset in self.pack.datasets:
            if name in {dataset.name, dataset.full_name}:
                return dataset
        raise UnknownName(f"dataset of {self.pack.name}", name, [dataset.name for dataset in self.pack.datasets])

    async def _all(self, query: Query, row: type[Row], /, **params: Any) -> list[Row]:
        with explaining(self.pack.metadata):
            return await self.source.fetch_all(query, params, row_factory=making.into(row))

    async def _one(self, query: Query, row: type[Row], /, **params: Any) -> Row | None:
        with explaining(self.pack.metadata):
            return await self.source.fetch_one(query, params, row_factory=making.into(row))

    async def _value(self, query: Query, /, **params: Any) -> Any:
        with explaining(self.pack.metadata):
            return await self.source.fetch_value(query, params)

    async def arrow(self, query: Query, params: Mapping[str, Any] | None = None) -> Any:
        """Return the answer of a named query as a `pyarrow.Table`."""
        from chainstrata.engines.postgres.arrow import fetch_arrow

        return await fetch_arrow(self.source, query, params or {})
