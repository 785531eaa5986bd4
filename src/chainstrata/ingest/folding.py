"""Rows that were just written, as a relation of the server: what roll-ups are folded from without a look at anything else."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
from psycopg import sql

from chainstrata.engines.postgres import Connection
from chainstrata.ingest.model import Part
from chainstrata.ingest.record import Array
from chainstrata.ingest.sift import instant, times_of
from chainstrata.model import Dataset
from chainstrata.model.marking import type_sql

FEW_ROWS: Final = 20_000
"""So many rows are found again by their keys, more by where they were written."""
SPARE_PAGES: Final = 256
"""A table grows by several pages at a time, so there may be empty ones before its end."""


async def count_pages(connection: Connection, part: Part) -> int:
    """Return how many pages a partition has; what is written next is mostly behind them."""
    name = sql.Identifier(part.schema, part.table).as_string()
    pages = await connection.fetch_value("SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::bigint", (name,))
    return int(pages)


def are_apart(dataset: Dataset, rows: Any) -> bool:
    """Whether no two rows are of one key but for the time, as far as that is cheap to tell: of numbers."""
    others = [name for name in dataset.key if name != dataset.time]
    if len(others) != 1 or not pa.types.is_integer(rows.column(others[0]).type):
        return False
    numbers: Array = rows.column(others[0]).to_numpy()
    return len(np.unique(numbers)) == len(numbers)


def just_written(part: Part, pages: int) -> sql.Composed:
    """Return the rows of a partition that this transaction wrote behind so many pages."""
    return sql.SQL("(SELECT * FROM {} WHERE ctid >= {} AND xmin = pg_current_xact_id()::xid)").format(
        sql.Identifier(part.schema, part.table), sql.SQL("'({},0)'::tid").format(sql.Literal(max(0, pages - SPARE_PAGES)))
    )


def written_between(dataset: Dataset, part: Part) -> sql.Composed:
    """Return the rows of a partition that this transaction wrote, wherever they found room, by the times of a part."""
    ticks = times_of(dataset, part.rows)
    assert ticks is not None  # noqa: S101  # rows of a partition have a time
    return sql.SQL("(SELECT * FROM {} WHERE {time} BETWEEN {} AND {} AND xmin = pg_current_xact_id()::xid)").format(
        sql.Identifier(part.schema, part.table),
        sql.Literal(instant(ticks.min())),
        sql.Literal(instant(ticks.max())),
        time=sql.Identifier(dataset.time),
    )


def rows_by_key(dataset: Dataset, part: Part) -> sql.Composed:
    """Return the rows of a partition that have the keys of a part."""
    ticks = times_of(dataset, part.rows)
    assert ticks is not None  # noqa: S101  # rows of a partition have a time
    others = [name for name in dataset.key if name != dataset.time]
    arrays = [
        sql.SQL("{}::{}[]").format(sql.Literal(part.rows.column(name).to_pylist()), type_sql(dataset.table.c[name].type)) for name in others
    ]
    times = part.rows.column(dataset.time).cast(pa.timestamp("us", tz="UTC")).to_pylist()
    arrays.append(sql.SQL("{}::timestamptz[]").format(sql.Literal(times)))
    names = [*others, dataset.time]
    return sql.SQL("(SELECT r.* FROM unnest({}) AS given ({}) JOIN {} AS r ON {})").format(
        sql.SQL(", ").join(arrays),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.Identifier(part.schema, part.table),
        sql.SQL(" AND ").join(sql.SQL("r.{0} = given.{0}").format(sql.Identifier(name)) for name in names),
    )
