"""Which rows of a batch can be written, where each goes, and which stand for several. Whole columns at a time."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.ingest.arrow import pc
from chainstrata.ingest.errors import UnfitColumn
from chainstrata.ingest.fields import Unfit, encode_field
from chainstrata.ingest.numeric import Inexact, TooWide
from chainstrata.ingest.record import Array
from chainstrata.ingest.wire import WireColumn, WireTable
from chainstrata.model import Conflict, Dataset, OnConflict
from chainstrata.packs.strata.quarantine import Reason, Refused

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Misfit:
    """A row, by its place, that cannot be written, and why."""

    row: int
    reason: Reason
    detail: str


def find_misfits(table: WireTable, rows: Any) -> list[Misfit]:
    """Return the rows with a value that its column cannot hold. Halves what does not fit until single rows are left."""
    found: dict[int, Misfit] = {}
    for column in table.columns:
        if column.name in rows.schema.names:
            values = rows.column(column.name).combine_chunks()
            values = values.chunk(0) if isinstance(values, pa.ChunkedArray) and values.num_chunks else values
            for misfit in _misfits(column, values, 0):
                found.setdefault(misfit.row, misfit)
    return [found[row] for row in sorted(found)]


def _misfits(column: WireColumn, values: Any, offset: int) -> Iterator[Misfit]:
    if values.null_count and not column.nullable:
        for row in np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False)):
            yield Misfit(offset + int(row), Reason.CONSTRAINT, f"{column.name} has no value, and needs one")
    try:
        encode_field(values, column.type)
    except TooWide:
        yield from _halved(column, values, offset)
    except (Unfit, Inexact) as error:
        if len(values) == 1:
            yield Misfit(offset, Reason.BAD_VALUE, f"{column.name}: {error}")
        else:
            yield from _halved(column, values, offset)


def _halved(column: WireColumn, values: Any, offset: int) -> Iterator[Misfit]:
    half = len(values) // 2
    # What has no value was named already, with the whole.
    relaxed = WireColumn(column.name, column.type, nullable=True)
    yield from _misfits(relaxed, values.slice(0, half), offset)
    yield from _misfits(relaxed, values.slice(half), offset + half)


def without(rows: Any, places: Sequence[int]) -> Any:
    """Return the rows but those at the given places."""
    kept = np.ones(rows.num_rows, dtype=bool)
    kept[list(places)] = False
    return rows.filter(pa.array(kept))


def times_of(dataset: Dataset, rows: Any) -> Array | None:
    """Return the rows' times in microseconds since 1970, or None for rows without a time column.

    Raises `UnfitColumn` for values that are no instants.
    """
    if not dataset.time or dataset.time not in rows.schema.names:
        return None
    column = rows.column(dataset.time)
    if not len(column):
        return np.empty(0, dtype=np.int64)
    if column.null_count:
        raise UnfitColumn(dataset.table.fullname, dataset.time, "a row has no value, and needs one")
    if pa.types.is_integer(column.type):
        raise UnfitColumn(dataset.table.fullname, dataset.time, f"{column.type} does not say its unit", hint="Give times.")
    try:
        values = pc.cast(column, pa.timestamp("us", tz="UTC"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UnfitColumn(dataset.table.fullname, dataset.time, str(error).splitlines()[0]) from error
    ticks: Array = pc.cast(values, pa.int64()).to_numpy()
    return ticks


def instant(ticks: int) -> datetime:
    return EPOCH + timedelta(microseconds=int(ticks))


def told_instant(ticks: int) -> str:
    """Return a time as text, also one that PostgreSQL keeps and Python has no name for."""
    try:
        return instant(ticks).isoformat()
    except OverflowError:
        return f"{ticks} µs from 1970"


def ticks_of(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def one_per_key(dataset: Dataset, conflict: Conflict, rows: Any) -> tuple[list[Any], int]:
    """Return the rows in rounds that have every key once, and how many rows others of the batch stand for.

    Of rows with one key the first is taken where later ones are ignored, the newest where the newest wins; where they merge
    each is a round of its own, in their order. Where a second one is an error all are left for the server to judge.
    """
    if conflict.policy is OnConflict.APPEND or rows.num_rows < 2:
        return [rows], 0
    keys = list(dataset.key)
    if not {*keys, *filter(None, [conflict.version])} <= {*rows.schema.names}:
        # What is not given the server makes, another for each row; or it is missing, which is told of every row alike.
        return [rows], 0
    if any(_ascends(rows.column(key)) for key in keys):
        return [rows], 0
    numbered = rows.append_column("__place", pa.array(np.arange(rows.num_rows)))
    counted = numbered.select([*keys, "__place"]).group_by(keys).aggregate([("__place", "count")])
    if counted.num_rows == rows.num_rows:
        return [rows], 0
    if conflict.policy is OnConflict.MERGE:
        return list(_rounds(rows, keys)), 0
    order = [("__place", "descending" if conflict.policy is OnConflict.IGNORE else "ascending")]
    if conflict.policy is OnConflict.NEWEST:
        order.insert(0, (conflict.version, "ascending"))
    places = numbered.take(pc.sort_indices(numbered, order)).group_by(keys, use_threads=False).aggregate([("__place", "last")])
    chosen = np.sort(places.column("__place_last").to_numpy())
    return [rows.take(pa.array(chosen))], rows.num_rows - len(chosen)


def _ascends(column: Any) -> bool:
    """Whether every value of a column of numbers is above the one before, so that no two are the same. Cheap, and mostly so."""
    if not pa.types.is_integer(column.type) or column.null_count:
        return False
    values = column.to_numpy()
    return bool(np.all(values[1:] > values[:-1]))


def _rounds(rows: Any, keys: list[str]) -> Iterator[Any]:
    left = rows
    while left.num_rows:
        numbered = left.append_column("__place", pa.array(np.arange(left.num_rows)))
        first = numbered.group_by(keys, use_threads=False).aggregate([("__place", "min")]).column("__place_min").to_numpy()
        yield left.take(pa.array(np.sort(first)))
        left = without(left, [int(place) for place in first])


def refused(dataset: Dataset, rows: Any, misfits: Sequence[Misfit]) -> list[Refused]:
    """Return rows as quarantine keeps them."""
    picked = rows.take(pa.array([misfit.row for misfit in misfits], pa.int64()))
    moments = _moments(picked.column(dataset.time)) if dataset.time in picked.schema.names else [None] * len(misfits)
    return [
        Refused(misfit.reason, misfit.detail, content=row_json(row), row_time=moment)
        for misfit, row, moment in zip(misfits, row_dicts(picked), moments, strict=True)
    ]


def row_dicts(rows: Any) -> list[dict[str, Any]]:
    """Return rows as mappings of Python values; what Python has no value for as text."""
    columns = {name: _python_values(rows.column(number)) for number, name in enumerate(rows.schema.names)}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _python_values(column: Any) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        # Years beyond 9999, and nanoseconds.
        return [_python_value(scalar) for scalar in column]
    return values


def _python_value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return f"{getattr(scalar, 'value', scalar)} as {scalar.type}"


def _moments(column: Any) -> list[datetime | None]:
    """Return the instants of a column, which may be text still; None for what is none, or none that Python has a name for."""
    if len(column) and (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        try:
            column = pc.cast(column, pa.timestamp("us", tz="UTC"))
        except pa.ArrowInvalid:
            if len(column) == 1:
                return [None]
            # By halves, so that one that is none takes the others nothing.
            half = len(column) // 2
            return _moments(column.slice(0, half)) + _moments(column.slice(half))
    return [value if isinstance(value, datetime) and value.tzinfo else None for value in _python_values(column)]


def row_json(row: dict[str, Any]) -> str:
    """Return a row as JSON, exact numbers as text."""
    return json.dumps({name: value for name, value in row.items() if value is not None}, default=_plain, ensure_ascii=True)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else repr(value)
