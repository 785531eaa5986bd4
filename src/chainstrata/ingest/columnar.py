"""Rows into datasets whose home is the columnar engine: the same sources, the same checks, the same quarantine, the same answer.

A batch is written with a token, so that one that is sent again counts once, and a row with a key that is there replaces it. What is
kept of many rows is computed anew for the buckets a batch touched before it is acknowledged. Touched buckets are noted first;
whatever interrupts it, the note remains, and the next batch, or `refresh`, goes on.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import Any, Final
from uuid import uuid4

import numpy as np
import pyarrow as pa
from psycopg.types.json import Jsonb

from chainstrata.engines.clickhouse import Columnar, quote_name
from chainstrata.engines.clickhouse.arrow import arrow_column, arrow_type, plain_type
from chainstrata.engines.clickhouse.errors import ColumnarBadValue
from chainstrata.engines.postgres import Connection, Database, load_queries
from chainstrata.ingest.arrow import pc
from chainstrata.ingest.claims import check_name
from chainstrata.ingest.errors import BatchRefused, UnfitColumn
from chainstrata.ingest.intake import take
from chainstrata.ingest.model import Answer
from chainstrata.ingest.payload import Format
from chainstrata.ingest.python_rows import Taken
from chainstrata.ingest.sift import Misfit, find_misfits, row_json, without
from chainstrata.ingest.wire import WireColumn, WireTable, WireType
from chainstrata.model import Catalog
from chainstrata.model.columnar import ARRIVED, ColumnarDataset, Field
from chainstrata.packs.strata.columnar import MARKS
from chainstrata.packs.strata.quarantine import Reason, Refused, add_rows

QUERIES = load_queries(__package__)
_MANY_BUCKETS: Final = 5_000
_STALE: Final = timedelta(minutes=1)
_WIRE: Final = {
    "Bool": "bool",
    "Int8": "int2",
    "UInt8": "int2",
    "Int16": "int2",
    "UInt16": "int4",
    "Int32": "int4",
    "UInt32": "int8",
    "Int64": "int8",
    "Float64": "float8",
    "UUID": "uuid",
    "Date": "date",
    "Date32": "date",
}


class ColumnarIngest:
    """Takes rows into the columnar datasets of a catalog. `columnar` gives the engine, or raises what keeps it away."""

    def __init__(self, database: Database, catalog: Catalog, columnar: Callable[[], Awaitable[Columnar]]) -> None:
        self._database = database
        self._catalog = catalog
        self._columnar = columnar
        self._arrived = 0

    async def ingest(
        self,
        name: str,
        source: Any,
        *,
        strict: bool = False,
        batch: str = "",
        format: Format | None = None,  # noqa: A002  # as everybody calls it
        origin: str = "",
        progress: Callable[[Answer], None] | None = None,
    ) -> Answer:
        """Take rows into a dataset and return what became of them, as `Ingest.ingest` does."""
        check_name(batch)
        dataset = self._catalog.columnar_dataset(name)
        columnar = await self._columnar()
        await self._refresh(columnar, [dataset], older_than=_STALE)
        done: Answer | None = None
        for number, taken in enumerate(take(source, wire_table(dataset), format=format)):
            own = f"{batch}#{number}" if batch and number else batch
            answer = await self._take(columnar, dataset, taken, strict=strict, batch=own, origin=origin)
            done = answer if done is None else done + answer
            if progress:
                progress(done)
        return done or Answer(name)

    async def _take(self, columnar: Columnar, dataset: ColumnarDataset, taken: Taken, *, strict: bool, batch: str, origin: str) -> Answer:
        refusals = [Refused(Reason.MALFORMED, problem, original=text) for text, problem in taken.malformed]
        rows, refused = sift(dataset, taken.rows)
        refusals += refused
        if strict and refusals:
            raise BatchRefused(dataset.full_name, refusals)
        rows, replaced = last_of_each_key(dataset, rows)

        async def work(connection: Connection) -> Answer:
            if batch:
                before = await connection.fetch_one(QUERIES.claim_batch, {"dataset": dataset.full_name, "batch": batch})
                if before.answer is not None:
                    return Answer(**{**before.answer, "repeated": True})
            if rows.num_rows:
                await self._write(columnar, dataset, rows, token=f"{dataset.full_name} {batch}" if batch else "")
            await add_rows(connection, dataset.full_name, refusals, source=origin or None, batch=batch or None)
            answer = Answer(dataset.full_name, rows.num_rows, replaced, quarantined=len(refusals))
            if batch:
                settled = {"dataset": dataset.full_name, "batch": batch, "answer": Jsonb(asdict(answer))}
                await connection.execute(QUERIES.settle_batch, settled)
            return answer

        return await self._database.run(work)

    async def _write(self, columnar: Columnar, dataset: ColumnarDataset, rows: Any, *, token: str) -> None:
        """Note what is touched, write, compute anew, strike the note out."""
        # Later than any arrival before it, also where the clock stands still.
        self._arrived = max(self._arrived + 1, time_ns() // 1000)
        whole = rows.append_column(ARRIVED, pa.array(np.full(rows.num_rows, self._arrived, dtype=np.uint64)))
        if not dataset.digests:
            await columnar.insert_arrow(dataset.table_name, whole, token=token)
            return
        times = rows.column(dataset.time)
        first, last = pc.min(times).as_py(), pc.max(times).as_py()
        mark = str(uuid4())
        await _note(columnar, dataset, mark, first, last, done=False)
        await columnar.insert_arrow(dataset.table_name, whole, token=token)
        await _compute(columnar, dataset, first, last, times)
        await _note(columnar, dataset, mark, first, last, done=True)

    # What was interrupted ------------------------------------------------------------------------------------------

    async def refresh(self, names: Sequence[str] = (), *, older_than: timedelta = timedelta(0)) -> int:
        """Compute anew what interrupted batches touched; return how many notes there were."""
        datasets = [self._catalog.columnar_dataset(name) for name in names] or list(self._catalog.columnar)
        return await self._refresh(await self._columnar(), datasets, older_than=older_than)

    async def _refresh(self, columnar: Columnar, datasets: Sequence[ColumnarDataset], *, older_than: timedelta) -> int:
        known = {dataset.full_name: dataset for dataset in datasets if dataset.digests}
        if not known:
            return 0
        where = "done = 0 AND has({names:Array(String)}, dataset) AND at <= {before:DateTime64(6, 'UTC')}"
        statement = f"SELECT mark, dataset, lo, hi FROM {quote_name(MARKS.name)} FINAL WHERE {where}"  # noqa: S608  # a name of ours
        left = await columnar.query_rows(statement, {"names": list(known), "before": datetime.now(UTC) - older_than})
        for one in left:
            dataset = known[one.dataset]
            await _compute(columnar, dataset, one.lo, one.hi, None)
            await _note(columnar, dataset, str(one.mark), one.lo, one.hi, done=True)
        return len(left)


async def _note(columnar: Columnar, dataset: ColumnarDataset, mark: str, lo: datetime, hi: datetime, *, done: bool) -> None:
    values = {"mark": mark, "dataset": dataset.full_name, "lo": lo, "hi": hi, "at": datetime.now(UTC), "done": int(done)}
    rows = pa.table({column.name: arrow_column(column.name, column.type, [values[column.name]]) for column in MARKS.columns})
    await columnar.insert_arrow(MARKS.name, rows)


async def _compute(columnar: Columnar, dataset: ColumnarDataset, first: datetime, last: datetime, times: Any) -> None:
    """Compute the buckets from first to last anew, or only those the times fall into where they are few."""
    for digest in dataset.digests:
        width = timedelta(seconds=digest.every_seconds)
        lo = _floor(first, width)
        starts = touched(times, digest.every_seconds) if times is not None else []
        params = {"lo": lo, "hi": _floor(last, width) + width, "buckets": starts if len(starts) <= _MANY_BUCKETS else []}
        await columnar.execute(dataset.refresh_statement(digest, columnar.database), params)


def _floor(moment: datetime, width: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (moment - epoch) // width * width


def touched(times: Any, seconds: int) -> list[datetime]:
    """Return the starts of the buckets that times fall into."""
    ticks = pc.cast(times, pa.int64()).to_numpy()
    starts = np.unique(ticks // (seconds * 1_000_000)) * seconds
    return [datetime.fromtimestamp(int(start), UTC) for start in starts]


def wire_table(dataset: ColumnarDataset) -> WireTable:
    """Return what rows of the dataset are made of, in the words of ingest."""
    columns = (WireColumn(field.name, _wire_type(field.type), field.nullable) for field in dataset.fields)
    return WireTable(dataset.pack, dataset.name, tuple(columns))


def _wire_type(columnar: str) -> WireType:
    inner = plain_type(columnar)
    if inner in _WIRE:
        return WireType(_WIRE[inner])
    if inner.startswith("DateTime"):
        return WireType("timestamptz")
    if inner in ("UInt64", "UInt256"):
        return WireType("numeric", scale=0)
    if inner.startswith("Decimal("):
        return WireType("numeric", scale=int(inner[8:-1].split(",")[1]))
    return WireType("text")


def sift(dataset: ColumnarDataset, rows: Any) -> tuple[Any, list[Refused]]:
    """Return the rows that fit, as the engine takes them, and those that do not, each with its reason.

    Raises `UnfitColumn` for a column nobody declared, or one that is needed and not there.
    """
    names = rows.schema.names
    table = f"{dataset.pack}.{dataset.name}"
    for name in names:
        if name not in {field.name for field in dataset.fields}:
            raise UnfitColumn(table, name, "no such column", hint=f"It has {', '.join(field.name for field in dataset.fields)}.")
    for field in dataset.fields:
        if field.name not in names and not field.nullable:
            raise UnfitColumn(table, field.name, "has no value, and needs one")
    found = {misfit.row: misfit for misfit in reversed(find_misfits(wire_table(dataset), rows))}
    fitting = without(rows, list(found)) if found else rows
    places = np.setdiff1d(np.arange(rows.num_rows), list(found))
    columns: dict[str, Any] = {}
    for field in dataset.fields:
        values = fitting.column(field.name) if field.name in names else pa.nulls(fitting.num_rows, arrow_type(field.type))
        values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        column, wrong = _column(field, values)
        columns[field.name] = column
        for misfit in wrong:
            found.setdefault(int(places[misfit.row]), Misfit(int(places[misfit.row]), misfit.reason, misfit.detail))
    whole = pa.table(columns)
    late = [index for index, place in enumerate(places) if int(place) in found]
    return (without(whole, late) if late else whole), _refused(dataset, rows, [found[row] for row in sorted(found)])


def _refused(dataset: ColumnarDataset, rows: Any, misfits: Sequence[Misfit]) -> list[Refused]:
    picked = rows.take(pa.array([misfit.row for misfit in misfits], pa.int64())).to_pylist()
    moments = (row.get(dataset.time) for row in picked)
    return [
        Refused(
            misfit.reason, misfit.detail, content=row_json(row), row_time=moment if isinstance(moment, datetime) and moment.tzinfo else None
        )
        for misfit, row, moment in zip(misfits, picked, moments, strict=True)
    ]


def _column(field: Field, values: Any) -> tuple[Any, list[Misfit]]:
    """Return a column as the engine takes it, and the rows that break its rules; those hold nothing in it."""
    wrong: list[Misfit] = []
    target = arrow_type(field.type)
    column = pa.concat_arrays(list(_cast(field, values, target, 0, wrong))) if len(values) else pa.array([], target)
    wrong += _outside(field, column)
    return column, wrong


def _cast(field: Field, values: Any, target: Any, offset: int, wrong: list[Misfit]) -> Iterator[Any]:
    """Yield the values as the engine takes them, halving what does not fit until single rows are left."""
    try:
        yield _exactly(field, values, target)
    except (pa.ArrowException, ColumnarBadValue) as error:
        if len(values) == 1:
            wrong.append(Misfit(offset, Reason.BAD_VALUE, f"{field.name}: {str(error).splitlines()[0]}"))
            yield pa.nulls(1, target)
        else:
            half = len(values) // 2
            yield from _cast(field, values.slice(0, half), target, offset, wrong)
            yield from _cast(field, values.slice(half), target, offset + half, wrong)


def _exactly(field: Field, values: Any, target: Any) -> Any:
    if values.type.equals(target):
        return values
    if plain_type(field.type) in ("UInt256", "UUID") or (pa.types.is_decimal(target) and not pa.types.is_decimal(values.type)):
        # Arrow has no such number, or rounds on the way to it.
        return arrow_column(field.name, field.type, values.to_pylist())
    cast = pc.cast(values, target)
    return cast.combine_chunks() if isinstance(cast, pa.ChunkedArray) else cast


def _outside(field: Field, column: Any) -> Iterator[Misfit]:
    kind = plain_type(field.type)
    tests: list[tuple[Any, str]] = []
    if field.choices:
        tests.append((pc.is_in(column, value_set=pa.array(list(field.choices))), f"is none of {', '.join(field.choices)}"))
    if kind != "UInt256":
        if field.least is not None:
            tests.append((pc.greater_equal(column, _limit(field.least, column.type)), f"is less than {field.least}"))
        if field.most is not None:
            tests.append((pc.less_equal(column, _limit(field.most, column.type)), f"is more than {field.most}"))
    for fits, problem in tests:
        broken = np.flatnonzero(~pc.fill_null(fits, True).to_numpy(zero_copy_only=False) & column.is_valid().to_numpy(zero_copy_only=False))
        for row in broken:
            yield Misfit(int(row), Reason.CONSTRAINT, f"{field.name} {problem}")


def _limit(value: int, kind: Any) -> Any:
    return pa.scalar(value, kind)


def last_of_each_key(dataset: ColumnarDataset, rows: Any) -> tuple[Any, int]:
    """Return the rows with each key once, the last of each, and how many others there were."""
    keys = list(dataset.key)
    numbered = rows.append_column("__place", pa.array(np.arange(rows.num_rows)))
    places = numbered.select([*keys, "__place"]).group_by(keys, use_threads=False).aggregate([("__place", "max")])
    if places.num_rows == rows.num_rows:
        return rows, 0
    chosen = np.sort(places.column("__place_max").to_numpy())
    return rows.take(pa.array(chosen)), rows.num_rows - len(chosen)
