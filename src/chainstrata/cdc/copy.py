"""The copy a mirror begins with: the whole table as of one position, in pieces, several at a time.

All pieces of a run are read under one exported snapshot, and their rows bear its position as their version. A run that was cut short goes
on with the pieces that are left, under a later snapshot; what happened in between comes by the stream, which begins where the
first snapshot was taken. So there is no gap, and rows that come twice bear versions that tell which stands.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from chainstrata.cdc.errors import Rewritten
from chainstrata.cdc.mirror import MirrorSink
from chainstrata.cdc.shape import Target
from chainstrata.cdc.sink import Rejected, Taken
from chainstrata.cdc.slot import QUERIES
from chainstrata.engines.postgres import Database, open_session
from chainstrata.engines.postgres.arrow.decode import split_rows
from chainstrata.engines.postgres.arrow.reader import read_blocks
from chainstrata.model import Dataset

_SAMPLED: Final = 40
"""Rows looked at for each piece, to find where pieces should end."""
_ROW_BYTES: Final = 120
_BATCH_BYTES: Final = 16 * 1024 * 1024
_NAME: Final = "chainstrata cdc copy"
_LONG: Final = 24 * 3600.0

Key = Sequence[str]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a table: rows with keys from `lower` to before `upper`; none stands for the end of the table."""

    number: int
    lower: Key | None
    upper: Key | None
    rows: int | None = None
    done: bool = False


async def plan_chunks(database: Database, dataset: Dataset, *, rows_each: int) -> list[Chunk]:
    """Return pieces of about as many rows each. Their ends are taken from a sample: they need not be even, only in order."""
    table = sql.Identifier(dataset.schema, dataset.table.name)
    estimate = await database.fetch_value(
        sql.SQL(
            "SELECT coalesce(sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples ELSE pg_relation_size(c.oid) / {} END), 0)::bigint"
            " FROM pg_class c WHERE c.relkind = 'r' AND (c.oid = {}::regclass OR c.oid IN (SELECT relid FROM pg_partition_tree({})))"
        ).format(sql.Literal(_ROW_BYTES), sql.Literal(table.as_string()), sql.Literal(table.as_string()))
    )
    pieces = -(-int(estimate) // rows_each)
    if pieces < 2:
        return [Chunk(0, None, None)]
    share = min(100.0, 100.0 * pieces * _SAMPLED / int(estimate))
    keys = sql.SQL(", ").join(map(sql.Identifier, dataset.key))
    shown = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in dataset.key)
    sample = await database.fetch_all(
        sql.SQL("SELECT {} FROM {} TABLESAMPLE SYSTEM ({}) ORDER BY {}").format(shown, table, sql.Literal(share), keys)
    )
    step = max(1, len(sample) // pieces)
    ends = list(dict.fromkeys(tuple(row) for row in sample[step::step]))
    return [Chunk(number, lower, upper) for number, (lower, upper) in enumerate(zip([None, *ends], [*ends, None], strict=True))]


async def save_chunks(database: Database, dataset: Dataset, chunks: Sequence[Chunk]) -> None:
    """Note the pieces of a copy that begins, in place of any noted before."""
    rows = [
        {
            "dataset": dataset.full_name,
            "number": chunk.number,
            "lower": json.dumps(chunk.lower) if chunk.lower else None,
            "upper": json.dumps(chunk.upper) if chunk.upper else None,
        }
        for chunk in chunks
    ]
    async with database.transaction() as connection:
        await connection.execute(QUERIES.drop_chunks, {"dataset": dataset.full_name})
        await connection.execute_many(QUERIES.add_chunk, rows)


async def load_chunks(database: Database, dataset: Dataset) -> list[Chunk]:
    rows = await database.fetch_all(QUERIES.list_chunks, {"dataset": dataset.full_name})
    return [Chunk(row.number, row.lower, row.upper, row.rows, row.done) for row in rows]


def select_rows(dataset: Dataset, targets: Sequence[Target], condition: sql.Composable) -> sql.Composed:
    """Return the COPY that reads the mirrored columns of some rows."""
    shown = sql.SQL(", ").join(sql.Identifier(target.name) for target in targets)
    table = sql.Identifier(dataset.schema, dataset.table.name)
    return sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT (FORMAT binary)").format(shown, table, condition)


def within(dataset: Dataset, chunk: Chunk) -> sql.Composable:
    """Return the condition that a row is in a piece."""
    key = sql.SQL(", ").join(map(sql.Identifier, dataset.key))
    ends = [(sql.SQL(">="), chunk.lower), (sql.SQL("<"), chunk.upper)]
    conditions = [
        sql.SQL("({}) {} ({})").format(key, operator, sql.SQL(", ").join(map(sql.Literal, end)))
        for operator, end in ends
        if end is not None
    ]
    return sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true")


Files = Mapping[int, int]


async def list_files(database: Database, dataset: Dataset) -> Files:
    """Return the files the rows of a table are in. To be looked up before a snapshot of it is taken."""
    rows = await database.fetch_all(QUERIES.list_files, {"table": _quoted(dataset)})
    return {row.oid: row.file for row in rows}


async def check_files(connection: "psycopg.AsyncConnection[Any]", dataset: Dataset, files: Files) -> None:
    """Raise `Rewritten` unless what was read in this transaction was in these files. Partitions may come and go.

    Rewriting a table, and truncating it, takes no notice of older snapshots: they find it empty afterwards.
    """
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(QUERIES.list_files.sql.encode(), {"table": _quoted(dataset)})
    if any(files.get(oid, file) != file for oid, file in await cursor.fetchall()):
        raise Rewritten(dataset.full_name)


def _quoted(dataset: Dataset) -> str:
    return sql.Identifier(dataset.schema, dataset.table.name).as_string()


@asynccontextmanager
async def under_snapshot(conninfo: str, snapshot: str, *, name: str) -> "AsyncIterator[psycopg.AsyncConnection[Any]]":
    """A session that sees what an exported snapshot holds, while the block runs."""
    async with open_session(conninfo, name=name, statement_timeout=_LONG) as connection, connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
        yield connection


class Copier:
    """Reads rows of the source under a snapshot and writes them to the mirror."""

    def __init__(self, conninfo: str, sink: MirrorSink) -> None:
        self._conninfo = conninfo
        self._sink = sink

    async def copy(
        self, dataset: Dataset, targets: Sequence[Target], condition: sql.Composable, *, snapshot: str, lsn: int, files: Files
    ) -> Taken:
        """Copy the rows that meet a condition. They bear the position just before the snapshot's: what came after it is higher."""
        async with under_snapshot(self._conninfo, snapshot, name=_NAME) as connection:
            taken = await self._copy(connection, dataset, targets, condition, lsn - 1)
            await check_files(connection, dataset, files)
            return taken

    async def copy_now(self, dataset: Dataset, targets: Sequence[Target], condition: sql.Composable, *, version: int) -> Taken:
        """Copy the rows that meet a condition as they are now, with a version they had at the latest then."""
        async with open_session(self._conninfo, name=_NAME, statement_timeout=_LONG) as connection:
            return await self._copy(connection, dataset, targets, condition, version)

    async def _copy(
        self,
        connection: "psycopg.AsyncConnection[Any]",
        dataset: Dataset,
        targets: Sequence[Target],
        condition: sql.Composable,
        version: int,
    ) -> Taken:
        rows = 0
        rejected: list[Rejected] = []
        async with aclosing(read_blocks(connection, select_rows(dataset, targets, condition), block=_BATCH_BYTES)) as blocks:
            async for block, starts in blocks:
                taken = await self._sink.copy(dataset, split_rows(block, starts, len(targets)), targets, version)
                rows += len(starts)
                rejected += taken.rejected
        return Taken(rows, rejected)


async def do_all(work: Sequence[Callable[[], Awaitable[None]]], at_once: int) -> None:
    """Do pieces of work, no more than `at_once` at a time; the first that fails ends all."""
    gate = asyncio.Semaphore(at_once)

    async def one(piece: Callable[[], Awaitable[None]]) -> None:
        async with gate:
            await piece()

    async with asyncio.TaskGroup() as group:
        for piece in work:
            group.create_task(one(piece))
