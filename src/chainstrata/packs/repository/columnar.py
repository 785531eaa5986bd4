"""`ColumnarRepository`: questions of a pack that the columnar engine answers."""

from typing import TYPE_CHECKING, Any, TypeVar

from chainstrata.engines.postgres import Query
from chainstrata.packs.repository import making

if TYPE_CHECKING:
    from chainstrata.engines.clickhouse import Columnar

Row = TypeVar("Row")
Self = TypeVar("Self", bound="ColumnarRepository")


class ColumnarRepository:
    """Holds the connection. A subclass has the questions; rows come as the dataclasses they name, numbers exact."""

    def __init__(self, columnar: "Columnar", most: int = 0) -> None:
        self.columnar = columnar
        self._settings = {"limit": most} if most else None

    def at_most(self: Self, rows: int) -> Self:
        """Return the repository for questions of which only the first so many rows are wanted. It reads no more."""
        return type(self)(self.columnar, rows)

    async def _all(self, query: Query, row: type[Row], /, **params: Any) -> list[Row]:
        return making.make_rows(row, await self.columnar.query_rows(query.sql.rstrip().rstrip(";"), params, settings=self._settings))
