"""A statement's rows as record batches, from COPY."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, Final, LiteralString

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.pq import TransactionStatus

from chainstrata.engines.postgres.arrow import columns
from chainstrata.engines.postgres.arrow.columns import Decimals, Described, ResultColumn
from chainstrata.engines.postgres.arrow.decode import PADDING, Array, Block, split_rows
from chainstrata.engines.postgres.arrow.errors import Malformed
from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.copying import copy_rows_out
from chainstrata.engines.postgres.database import Database
from chainstrata.engines.postgres.statements import Params, Statement

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
_HEADER: Final = len(SIGNATURE) + 8
_END: Final = b"\xff\xff"
_BUILT_IN: Final = 16384
"""Types of a higher number are somebody's own."""
BLOCK: Final = 1 << 20
"""Bytes of rows that become one batch. Large enough for numpy, small enough for the memory of many readers."""
_LABELS: Final[LiteralString] = "SELECT oid::int8 FROM pg_catalog.pg_type WHERE oid = ANY (%(oids)s::oid[]) AND typtype = 'e'"


class Batches:
    """The batches of an answer, to be read once: `schema`, then `async for`."""

    def __init__(self, connection: Connection, statement: sql.Composable, found: Sequence[ResultColumn], block: int) -> None:
        self.schema = pa.schema([one.field for one in found])
        self._connection = connection
        self._statement = statement
        self._columns = found
        self._block = block
        self._reading = self._read()

    def __aiter__(self) -> AsyncGenerator[Any, None]:
        return self._reading

    async def aclose(self) -> None:
        """End the query, wherever it is; the connection can be used on."""
        await self._reading.aclose()

    async def read_all(self) -> Any:
        """Return what is left as one table."""
        return pa.Table.from_batches([batch async for batch in self], self.schema)

    async def _read(self) -> AsyncGenerator[Any, None]:
        async with aclosing(read_blocks(self._connection.driver, self._statement, block=self._block)) as blocks:
            async for block, starts in blocks:
                # In a thread, so that the loop goes on; numpy and Arrow let go of the interpreter for most of it.
                yield await asyncio.to_thread(self._decode, block, starts)

    def _decode(self, block: Block, starts: Array) -> Any:
        fields = split_rows(block, starts, len(self._columns))
        return pa.record_batch([column.read(field) for column, field in zip(self._columns, fields, strict=True)], schema=self.schema)


async def read_blocks(
    driver: psycopg.AsyncConnection[Any], statement: sql.Composable, *, block: int = BLOCK
) -> AsyncGenerator[tuple[Block, Array], None]:
    """Yield the rows of a COPY in binary, many at a time, with where each starts."""
    first = True
    async with aclosing(copy_rows_out(driver, statement, block=block)) as blocks:
        async for data, sizes in blocks:
            ends = np.cumsum(np.array(sizes, dtype=np.int64))
            starts = ends - sizes
            if first:
                starts[0] += _header_size(data)
                first = False
            # The header may come without a row, and the mark of the end stands alone.
            starts = starts[ends - starts > len(_END)]
            if len(starts):
                yield Block(data + PADDING), starts


def _header_size(data: bytes) -> int:
    if not data.startswith(SIGNATURE):
        raise Malformed("what came is not binary COPY")
    return _HEADER + int.from_bytes(data[_HEADER - 4 : _HEADER], "big")


@asynccontextmanager
async def open_arrow(
    source: Connection | Database,
    statement: Statement,
    params: Params = None,
    *,
    decimals: Decimals | None = None,
    block: int = BLOCK,
) -> AsyncIterator[Batches]:
    """Run a query and give its rows as Arrow batches of about a megabyte each; leaving early ends the query.

    `decimals` maps columns of NUMERIC without a precision to the precision and scale to read them with; a value they do not hold
    raises `Unrepresentable`. Without it such columns are text, exactly as the server prints them.
    """
    async with _borrowed(source) as connection:
        text = connection.render(statement, params)
        found = columns.resolve(await _describe(connection, text), decimals or {})
        batches = Batches(connection, _copy(text, found), found, block)
        async with _leaving(connection):
            try:
                yield batches
            finally:
                await batches.aclose()


@asynccontextmanager
async def _leaving(connection: Connection) -> AsyncIterator[None]:
    """Keep the caller's transaction whole when the reader leaves early, which ends the query as an error would."""
    if _status(connection) != TransactionStatus.INTRANS:
        yield
        return
    await connection.execute("SAVEPOINT chainstrata_read")
    yield
    if _status(connection) == TransactionStatus.INERROR:
        await connection.execute("ROLLBACK TO SAVEPOINT chainstrata_read")
    await connection.execute("RELEASE SAVEPOINT chainstrata_read")


def _status(connection: Connection) -> TransactionStatus:
    return connection.driver.info.transaction_status


async def fetch_arrow(
    source: Connection | Database, statement: Statement, params: Params = None, *, decimals: Decimals | None = None
) -> Any:
    """Return the whole answer as a `pyarrow.Table`. NUMERIC without a precision becomes a decimal that holds all its values."""
    async with open_arrow(source, statement, params, decimals=decimals) as batches:
        table = await batches.read_all()
    for index, field in enumerate(table.schema):
        if columns.is_free(field):
            fitted = columns.fit(table.column(index))
            table = table.set_column(index, pa.field(field.name, fitted.type), fitted)
    return table


def _borrowed(source: Connection | Database) -> AbstractAsyncContextManager[Connection]:
    return source.connection() if isinstance(source, Database) else _Given(source)


class _Given:
    """A connection somebody else gives back."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __aenter__(self) -> Connection:
        return self._connection

    async def __aexit__(self, *failure: object) -> None:
        return None


async def _describe(connection: Connection, text: sql.Composable) -> list[Described]:
    """Return the columns of a query. The server plans it and fetches nothing."""
    fields = await connection.describe(sql.SQL("SELECT * FROM ({}\n) AS described LIMIT 0").format(text))
    own = [field.oid for field in fields if field.oid >= _BUILT_IN]
    labels = {row[0] for row in await connection.fetch_all(_LABELS, {"oids": own})} if own else set()
    return [Described(field.name, field.oid, field.modifier, field.oid in labels) for field in fields]


def _copy(text: sql.Composable, found: Sequence[ResultColumn]) -> sql.Composed:
    query = text
    if any(one.cast for one in found):
        # By number, since two columns of a query may have the same name.
        names = [sql.Identifier(f"c{place}") for place in range(len(found))]
        selected = [sql.SQL("{}::text").format(name) if one.cast else name for name, one in zip(names, found, strict=True)]
        query = sql.SQL("SELECT {} FROM ({}\n) AS answer ({})").format(sql.SQL(", ").join(selected), text, sql.SQL(", ").join(names))
    return sql.SQL("COPY ({}\n) TO STDOUT (FORMAT binary)").format(query)
