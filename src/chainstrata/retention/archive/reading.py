"""Answers from archives: the rows of a dataset that have left, through the dataset's name.

Files of one dataset may differ where the table changed, or where a number asked for more room. What is handed out has one
schema: the widest type that holds every file's values exactly, else their text. A column a file does not have is NULL.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute

from chainstrata.engines.postgres.partitioning import Span
from chainstrata.engines.storage import Storage
from chainstrata.errors import UnknownName
from chainstrata.retention.archive import reader
from chainstrata.retention.archive.columns import WIDEST
from chainstrata.retention.archive.manifest import Manifest
from chainstrata.retention.model import Archive

# Its functions are made when it is imported, so no checker knows them.
pc: Any = pyarrow.compute


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of archives: a span of time, columns (all without), and values that columns must have."""

    span: Span
    columns: tuple[str, ...] = ()
    where: Mapping[str, Sequence[Any]] | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """An archive with its manifest."""

    archive: Archive
    manifest: Manifest


async def open_archives(storage: Storage, archives: Sequence[Archive]) -> list[Opened]:
    """Return archives with their manifests, each checked to be the one that was written."""
    return [Opened(one, await asyncio.to_thread(reader.read_manifest, storage, one.directory, one.manifest_sha256)) for one in archives]


def common_schema(opened: Sequence[Opened], columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema that holds the rows of all these archives exactly. Raises `UnknownName` for a column none has."""
    types: dict[str, pa.DataType] = {}
    for one in opened:
        for facts in one.manifest.columns:
            kind = reader.arrow_type(facts.form["parquet"])
            types[facts.name] = _wider(types[facts.name], kind) if facts.name in types else kind
    for name in columns:
        if name not in types and opened:
            raise UnknownName("archived column", name, list(types))
    return pa.schema([(name, types[name]) for name in (columns or types) if name in types])


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type that holds both."""
    if one == other:
        return one
    if pa.types.is_decimal(one) and pa.types.is_decimal(other):
        scale = max(one.scale, other.scale)
        digits = max(one.precision - one.scale, other.precision - other.scale) + scale
        if digits <= WIDEST:
            return pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale)
        return pa.string()
    if pa.types.is_integer(one) and pa.types.is_integer(other):
        return one if one.bit_width > other.bit_width else other
    return pa.string()


async def read_rows(storage: Storage, opened: Sequence[Opened], time: str, question: Question) -> AsyncIterator[pa.RecordBatch]:
    """Yield the rows that answer a question, archive by archive, oldest first; what cannot hold one is not read."""
    schema = common_schema(opened, question.columns)
    for one in opened:
        batches = _matching(storage, one, time, question, schema)
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            if batch.num_rows:
                yield batch


def _matching(storage: Storage, one: Opened, time: str, question: Question, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    there = {facts.name for facts in one.manifest.columns}
    where = dict(question.where or {})
    needed = [name for name in dict.fromkeys((*schema.names, time, *where)) if name in there]
    for batch in reader.read_batches(storage, one.archive.directory, one.manifest, needed):
        mask = _in_span(batch.column(time), question.span)
        for name, values in where.items():
            mask = pc.and_kleene(mask, _is_in(batch.column(name), values) if name in there else pa.scalar(False))
        yield _shaped(batch.filter(mask), schema)


def _in_span(times: pa.Array, span: Span) -> Any:
    start, end = (pa.scalar(instant, times.type) for instant in (span.start, span.end))
    return pc.and_kleene(pc.greater_equal(times, start), pc.less(times, end))


def _is_in(column: pa.Array, values: Sequence[Any]) -> Any:
    wanted = pa.array([str(value) for value in values], pa.string())
    if not pa.types.is_string(column.type):
        wanted = wanted.cast(column.type)
    return pc.is_in(column, value_set=wanted)


def _shaped(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        batch.column(field.name).cast(field.type) if field.name in batch.schema.names else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
