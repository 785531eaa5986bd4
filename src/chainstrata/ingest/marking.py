"""What a batch touches of the roll-ups, said in the transaction that writes it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
from psycopg import sql

from chainstrata.engines.postgres import Connection
from chainstrata.ingest.model import Marks
from chainstrata.ingest.record import Array
from chainstrata.ingest.sift import instant, ticks_of
from chainstrata.model import Dataset, Interval
from chainstrata.model.interval import ORIGIN
from chainstrata.model.marking import children, marked_keys, marked_width, type_sql

MANY_ROWS: Final = 2048
"""So many rows of one bucket in one batch are taken for most of it, without counting their keys."""


def find_marks(dataset: Dataset, rows: Any, ticks: Array, most_keys: float | None) -> Marks:
    """Return what rows with these times touch: a bucket with many rows, or more keys than are worth a look-up, as a whole."""
    rollups = children(dataset)
    width = marked_width(rollups)
    starts = floor_ticks(width, ticks)
    buckets, counts = values_of(starts)
    most = max(MANY_ROWS, most_keys or 0)
    dense = buckets[counts > most]
    whole = [(instant(start), width.shift(instant(start))) for start in dense]
    if len(dense) == len(buckets):
        return Marks(whole=whole)
    sparse = ~np.isin(starts, dense)
    names = list(marked_keys(rollups))
    if not names:
        single = [instant(start) for start in buckets[counts <= most]]
        return Marks(whole=[*whole, *((start, width.shift(start)) for start in single)])
    touched = rows.select(names).filter(pa.array(sparse)).append_column("__start", pa.array(starts[sparse]))
    pairs = touched.group_by([*names, "__start"]).aggregate([])
    if most_keys is not None:
        buckets, counts = values_of(pairs.column("__start").to_numpy())
        dense = buckets[counts > most_keys]
        whole += [(instant(start), width.shift(instant(start))) for start in dense]
        pairs = pairs.filter(pa.array(~np.isin(pairs.column("__start").to_numpy(), dense)))
    begin = [instant(start) for start in pairs.column("__start").to_pylist()]
    return Marks(whole, [pairs.column(name).to_pylist() for name in names], begin, [width.shift(start) for start in begin])


def values_of(numbers: Array) -> tuple[Array, Array]:
    """Return the different ones of some numbers, in order, and how often each is there."""
    if len(numbers) and (numbers == numbers[0]).all():
        # Mostly there is one, and to sort thousands of them for that takes longer than all else.
        return numbers[:1], np.array([len(numbers)])
    return np.unique(numbers, return_counts=True)


def floor_ticks(width: Interval, ticks: Array) -> Array:
    """Return the start of the span that holds each time, as `Interval.floor` does."""
    if not width.fixed:
        unique, inverse = np.unique(ticks, return_inverse=True)
        floored = np.array([ticks_of(width.floor(instant(one))) for one in unique], dtype=np.int64)
        return floored[inverse]
    size = width.mean_length // timedelta(microseconds=1)
    origin = ticks_of(ORIGIN)
    floored = ticks - (ticks - origin) % size
    return np.asarray(floored)


def mark_statements(dataset: Dataset, marks: Marks) -> list[sql.Composed]:
    """Return the statements that add marks to the dataset's dirty table, their values written into them."""
    dirty = sql.Identifier(dataset.schema, f"{dataset.table.name}__dirty")
    statements = []
    if marks.whole:
        spans = sql.SQL(", ").join(sql.SQL("({}, {})").format(lo.isoformat(), hi.isoformat()) for lo, hi in marks.whole)
        statements.append(sql.SQL("INSERT INTO {} (lo, hi) VALUES {}").format(dirty, spans))
    if marks.starts:
        given = map(sql.Literal, [*map(list, marks.keys), list(marks.starts), list(marks.ends)])
        statements.append(_by_key(dataset, dirty, marked_keys(children(dataset)), list(given)))
    return statements


async def write_marks(connection: Connection, dataset: Dataset, marks: Marks) -> None:
    """Add marks to the dataset's dirty table, in the caller's transaction."""
    dirty = sql.Identifier(dataset.schema, f"{dataset.table.name}__dirty")
    if marks.whole:
        statement = sql.SQL("INSERT INTO {} (lo, hi) SELECT * FROM unnest(%s::timestamptz[], %s::timestamptz[])").format(dirty)
        await connection.execute(statement, ([lo for lo, _ in marks.whole], [hi for _, hi in marks.whole]))
    if marks.starts:
        names = marked_keys(children(dataset))
        places = [sql.SQL("%s")] * (len(names) + 2)
        await connection.execute(_by_key(dataset, dirty, names, places), [*marks.keys, marks.starts, marks.ends])


def _by_key(dataset: Dataset, dirty: sql.Composable, names: Sequence[str], values: Sequence[sql.Composable]) -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    kinds = [*(type_sql(dataset.table.c[name].type) for name in names), sql.SQL("timestamptz"), sql.SQL("timestamptz")]
    arrays = sql.SQL(", ").join(sql.SQL("{}::{}[]").format(value, kind) for value, kind in zip(values, kinds, strict=True))
    return sql.SQL("INSERT INTO {} ({}, lo, hi) SELECT * FROM unnest({})").format(dirty, columns, arrays)
