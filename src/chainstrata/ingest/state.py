"""The current state of a dataset, kept in the transaction that writes its rows: where the last row of every entity is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
from psycopg import sql

from chainstrata.engines.postgres import Connection
from chainstrata.engines.postgres.copying import copying
from chainstrata.ingest.arrow import pc
from chainstrata.ingest.copy import copy_rows
from chainstrata.ingest.errors import UnfitColumn
from chainstrata.ingest.record import Array
from chainstrata.ingest.sift import instant
from chainstrata.ingest.wire import WireTable
from chainstrata.model import Dataset
from chainstrata.model.latest import BLOCK, BLOCK_BITS, state_parts

NEVER: Final = np.iinfo(np.int64).min
"""The time of an entity that has no row, in microseconds since 1970."""


def numbers_of(dataset: Dataset, rows: Any) -> Array:
    """Return the numbers of the rows' entities. Raises `UnfitColumn` for values that are no such numbers."""
    [entity] = dataset.entity
    column = rows.column(entity)
    if column.null_count:
        raise UnfitColumn(dataset.table.fullname, entity, "a row has no value, and needs one")
    if not pa.types.is_int64(column.type):
        try:
            column = pc.cast(column, pa.int64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UnfitColumn(dataset.table.fullname, entity, str(error).splitlines()[0]) from error
    numbers: Array = column.to_numpy()
    return numbers


def newest_by_block(numbers: Array, ticks: Array) -> tuple[Array, Array]:
    """Return the blocks of entities, in order, and for each a row of the newest times, `NEVER` for entities that are not given."""
    blocks, place = np.unique(numbers >> BLOCK_BITS, return_inverse=True)
    newest = np.full(len(blocks) * BLOCK, NEVER, dtype=np.int64)
    np.maximum.at(newest, place * BLOCK + (numbers & (BLOCK - 1)), ticks)
    return blocks, newest.reshape(len(blocks), BLOCK)


def times_array(times: Array) -> Any:
    """Return rows of times as a list array of instants, NULL for `NEVER`."""
    flat = pa.array(times.reshape(-1), mask=(times == NEVER).reshape(-1)).cast(pa.timestamp("us", tz="UTC"))
    return pa.ListArray.from_arrays(pa.array(np.arange(len(times) + 1, dtype=np.int32) * BLOCK), flat)


@dataclass(frozen=True, slots=True)
class Times:
    """Entities that have rows, the time of the last one of each, and when each was last seen."""

    numbers: Array
    at: Array
    seen: Array


async def read_times(connection: Connection, dataset: Dataset, blocks: Array) -> Times:
    """Return where the last rows of the entities of blocks are."""
    statement = _TIMES.format(**state_parts(dataset), blocks=sql.Literal(blocks.tolist()))
    found = await _read(connection, statement, ["number", "at", "seen"])
    return Times(*(found.column(name).cast(pa.int64()).to_numpy() for name in ("number", "at", "seen")))


async def read_last(connection: Connection, dataset: Dataset, wanted: Array, names: Sequence[str], *, by_block: bool) -> tuple[Array, Any]:
    """Return the numbers of some entities, or of those of some blocks, and columns of their last rows as text."""
    parts = state_parts(dataset)
    columns = sql.SQL("").join(sql.SQL(", r.{}::text").format(sql.Identifier(name)) for name in names)
    statement = (_LAST_OF_BLOCKS if by_block else _LAST_OF).format(**parts, values=columns, wanted=sql.Literal(wanted.tolist()))
    found = await _read(connection, statement, ["number", *(f"v_{name}" for name in names)])
    return found.column("number").cast(pa.int64()).to_numpy(), pa.table({name: found.column(f"v_{name}") for name in names})


async def _read(connection: Connection, statement: sql.Composable, names: Sequence[str]) -> Any:
    """Return the rows of a query as text, exactly as the server writes them."""
    copy = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(statement)
    async with copying(connection, copy) as blocks:
        text = b"".join([block async for block in blocks])
    if not text:
        return pa.table({name: pa.array([], pa.string()) for name in names})
    options = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""], quoted_strings_can_be_null=False
    )
    return pyarrow.csv.read_csv(
        pa.BufferReader(text),
        read_options=pyarrow.csv.ReadOptions(column_names=list(names)),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=options,
    )


async def write_blocks(
    connection: Connection, dataset: Dataset, state: WireTable, blocks: Array, at: Array, seen: Array, moved: Array, version: int
) -> None:
    """Write blocks that the transaction has locked: rows of times, of which only the `moved` ones have other last rows than before."""
    there = at != NEVER
    common = np.where(there, seen, NEVER).max(axis=1)
    together = (~there | (seen == common[:, None])).all(axis=1)
    quiet = together & ~moved
    for moment in np.unique(common[quiet]):
        own = blocks[quiet & (common == moment)]
        await connection.execute(
            _SEEN.format(**state_parts(dataset)), {"blocks": own.tolist(), "seen": instant(moment), "version": version}
        )
    if quiet.all():
        return
    rest = ~quiet
    apart = np.where(together[rest, None] | ~there[rest], NEVER, seen[rest])
    listed = times_array(apart)
    table = pa.table(
        {
            "block": blocks[rest],
            "version": np.full(int(rest.sum()), version),
            "seen_at": pa.array(common[rest], mask=~together[rest]).cast(pa.timestamp("us", tz="UTC")),
            "at": times_array(at[rest]),
            "seen": pc.if_else(pa.array(together[rest]), pa.scalar(None, listed.type), listed),
        }
    )
    await stage_blocks(connection, state, table)
    await connection.execute(_WRITE.format(**state_parts(dataset), stage=stage_name(state)))


async def note_latest(connection: Connection, dataset: Dataset, state: WireTable, rows: Any, ticks: Array) -> None:
    """Note where the last rows of entities are, now that these are written, in the caller's transaction."""
    blocks, newest = newest_by_block(numbers_of(dataset, rows), ticks)
    await stage_blocks(connection, state, pa.table({"block": blocks, "at": times_array(newest)}))
    await connection.execute(_LATER.format(**state_parts(dataset), stage=stage_name(state)))


def stage_name(state: WireTable) -> sql.Identifier:
    return sql.Identifier("pg_temp", f"stage_{state.schema}_{state.name}"[:63])


async def stage_blocks(connection: Connection, state: WireTable, blocks: Any) -> None:
    """Write blocks into a staging table of this connection."""
    stage = stage_name(state)
    table = sql.Identifier(state.schema, state.name)
    await connection.execute(
        sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} (LIKE {} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS").format(
            sql.Identifier(f"stage_{state.schema}_{state.name}"[:63]), table
        )
    )
    await connection.execute(sql.SQL("TRUNCATE {}").format(stage))
    await copy_rows(connection, WireTable("pg_temp", f"stage_{state.schema}_{state.name}"[:63], state.columns), blocks)


_TIMES: Final = sql.SQL(
    "SELECT (b.block << {bits}) + u.place - 1, (extract(epoch FROM u.at) * 1000000)::bigint,"
    " (extract(epoch FROM greatest(u.at, b.seen_at, u.seen)) * 1000000)::bigint"
    " FROM {state} AS b CROSS JOIN LATERAL unnest(b.at, b.seen) WITH ORDINALITY AS u (at, seen, place)"
    " WHERE b.block = ANY ({blocks}::bigint[]) AND u.at IS NOT NULL"
)
_LAST_OF: Final = sql.SQL(
    "SELECT wanted.entity{values} FROM unnest({wanted}::bigint[]) AS wanted (entity) JOIN {state} AS b ON b.block = wanted.entity >> {bits}"
    " JOIN {raw} AS r ON r.{entity} = wanted.entity AND r.{time} = b.at[(wanted.entity & {mask}) + 1]"
)
_LAST_OF_BLOCKS: Final = sql.SQL(
    "SELECT kept.entity{values} FROM ("
    "SELECT (b.block << {bits}) + u.place - 1 AS entity, u.at FROM {state} AS b CROSS JOIN LATERAL unnest(b.at) WITH ORDINALITY AS u (at, place)"
    " WHERE b.block = ANY ({wanted}::bigint[]) AND u.at IS NOT NULL) AS kept JOIN {raw} AS r ON r.{entity} = kept.entity AND r.{time} = kept.at"
)
_SEEN: Final = sql.SQL("UPDATE {state} SET version = %(version)s, seen_at = %(seen)s, seen = NULL WHERE block = ANY (%(blocks)s)")
_WRITE: Final = sql.SQL(
    "UPDATE {state} AS t SET version = s.version, seen_at = s.seen_at, at = s.at, seen = s.seen FROM {stage} AS s WHERE t.block = s.block"
)
_LATER: Final = sql.SQL(
    "INSERT INTO {state} AS t (block, version, at) SELECT block, pg_current_xact_id()::text::bigint, at FROM {stage} ORDER BY block"
    " ON CONFLICT (block) DO UPDATE SET version = excluded.version, at = ("
    "SELECT array_agg(greatest(u.old, u.new) ORDER BY u.place) FROM unnest(t.at, excluded.at) WITH ORDINALITY AS u (old, new, place))"
)
