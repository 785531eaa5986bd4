"""A table as its declaration says it is, for reading rows while the server cannot be asked."""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from chainstrata.ingest.wire import WireColumn, WireTable, WireType
from chainstrata.model import Dataset

_SHAPED: Final[tuple[tuple[Any, str], ...]] = (
    (sa.ARRAY, "array"),
    (pg.JSONB, "jsonb"),
    (sa.JSON, "json"),
    (sa.LargeBinary, "bytea"),
    (sa.Interval, "interval"),
)


def declare_table(dataset: Dataset) -> WireTable:
    """Return the columns that rows may be given for. Of their types only those are told apart that values are read differently for."""
    table = dataset.table
    columns = (WireColumn(column.name, WireType(_kind(column.type))) for column in table.c if column.computed is None)
    return WireTable(dataset.schema, table.name, tuple(columns))


def _kind(kind: Any) -> str:
    if isinstance(kind, pg.DOMAIN):
        kind = kind.data_type
    return next((name for declared, name in _SHAPED if isinstance(kind, declared)), "text")
