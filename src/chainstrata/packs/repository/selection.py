"""`Selection`: which rows of a table, in which order, how many. It is put together step by step and never changes; asking it runs it."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from sqlalchemy.dialects import postgresql as pg

from chainstrata.engines.postgres import Connection, Database
from chainstrata.errors import UnknownName, UsageError
from chainstrata.packs.repository import making

if TYPE_CHECKING:
    from chainstrata.engines.postgres.arrow import Batches

Row = TypeVar("Row")
Source = Database | Connection


@dataclass(frozen=True, slots=True, eq=False)
class Selection(Generic[Row]):
    """Rows of one table. `where`, `order_by` and `limit` give another selection; `all`, `first`, `count`, `stream`, `arrow` ask."""

    source: Source
    table: sa.Table
    row: type[Row]
    statement: sa.Select[Any]

    @property
    def c(self) -> Any:
        """The table's columns, for conditions: `selection.where(selection.c.balance > 32_000_000_000)`."""
        return self.table.c

    def where(self, *conditions: sa.ColumnElement[bool], **equals: Any) -> "Selection[Row]":
        """Keep rows for which all of this holds. A column named with a list, set or tuple may have any of its values."""
        wanted = [*conditions, *(equal(self.table, name, value) for name, value in equals.items())]
        return replace(self, statement=self.statement.where(*wanted))

    def order_by(self, *columns: str | sa.ColumnElement[Any]) -> "Selection[Row]":
        """Give rows in this order; `-balance` is from the largest down."""
        return replace(self, statement=self.statement.order_by(*(self._order(column) for column in columns)))

    def limit(self, rows: int) -> "Selection[Row]":
        """Give at most so many rows."""
        if rows < 0:
            raise UsageError(f"a limit cannot be negative (got {rows})")
        return replace(self, statement=self.statement.limit(rows))

    async def all(self) -> list[Row]:
        """Return the rows."""
        return await self.source.fetch_all(self.statement, row_factory=making.into(self.row))

    async def first(self) -> Row | None:
        """Return the first row, or None."""
        return await self.source.fetch_one(self.statement.limit(1), row_factory=making.into(self.row))

    async def count(self) -> int:
        """Return how many rows there are."""
        counted = sa.select(sa.func.count()).select_from(self.statement.order_by(None).subquery())
        return int(await self.source.fetch_value(counted))

    @asynccontextmanager
    async def stream(self, *, batch: int = 1000) -> AsyncIterator[AsyncIterator[Row]]:
        """Rows one by one, `batch` of them in memory: `async with selection.stream() as rows`."""
        make = making.into(self.row)
        if isinstance(self.source, Database) or self.source.driver.info.transaction_status == TransactionStatus.INTRANS:
            async with self.source.stream(self.statement, batch=batch, row_factory=make) as found:
                yield found
        else:
            async with self.source.begin(), self.source.stream(self.statement, batch=batch, row_factory=make) as found:
                yield found

    def batches(self, *, decimals: Mapping[str, tuple[int, int]] | None = None) -> "AbstractAsyncContextManager[Batches]":
        """Arrow record batches, for answers larger than memory: `async with selection.batches() as batches`."""
        from chainstrata.engines.postgres.arrow import open_arrow

        return open_arrow(self.source, self.statement, decimals=decimals)

    async def arrow(self) -> Any:
        """Return the rows as a `pyarrow.Table`."""
        from chainstrata.engines.postgres.arrow import fetch_arrow

        return await fetch_arrow(self.source, self.statement)

    async def polars(self) -> Any:
        """Return the rows as a polars DataFrame. polars has to be installed."""
        return to_polars(await self.arrow())

    async def pandas(self) -> Any:
        """Return the rows as a pandas DataFrame, numbers exact in Arrow's own types. pandas has to be installed."""
        return to_pandas(await self.arrow())

    def _order(self, column: str | sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        if not isinstance(column, str):
            return column
        found = column_of(self.table, column.removeprefix("-"))
        return found.desc() if column.startswith("-") else found.asc()


def column_of(table: sa.Table, name: str) -> sa.Column[Any]:
    """Return a column by name; raise `UnknownName` with those that are near."""
    found = table.c.get(name)
    if found is None:
        raise UnknownName(f"column of {table.fullname}", name, list(table.c.keys()))
    return found


def comparable(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return a column as what its values are: a domain alone does not say how they compare."""
    return sa.type_coerce(column, column.type.data_type) if isinstance(column.type, pg.DOMAIN) else column


def equal(table: sa.Table, name: str, value: Any) -> sa.ColumnElement[bool]:
    """Return the condition that a column has a value, or any of several."""
    column = comparable(column_of(table, name))
    if value is None:
        return column.is_(None)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return column.in_(list(value))
    condition: sa.ColumnElement[bool] = column == value
    return condition


def to_polars(table: Any) -> Any:
    """Return an Arrow table as a polars DataFrame."""
    try:
        import polars as pl
    except ImportError as error:
        raise UsageError("polars is not installed", hint="Run `pip install polars`, or take the answer as Arrow.") from error
    return pl.from_arrow(table)


def to_pandas(table: Any) -> Any:
    """Return an Arrow table as a pandas DataFrame whose columns stay Arrow's, so that no number becomes a float."""
    try:
        import pandas as pd
    except ImportError as error:
        raise UsageError("pandas is not installed", hint="Run `pip install pandas`, or take the answer as Arrow.") from error
    return table.to_pandas(types_mapper=pd.ArrowDtype)
