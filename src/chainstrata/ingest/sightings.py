"""What a change-only dataset was seen to be: noted for a time and a set of entities, and looked up where rows come late."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from psycopg import sql
from psycopg.rows import tuple_row

from chainstrata.engines.postgres import Connection
from chainstrata.ingest.copy import copy_rows
from chainstrata.ingest.record import Array
from chainstrata.ingest.state import NEVER
from chainstrata.ingest.wire import WireTable
from chainstrata.model import Dataset
from chainstrata.model.latest import state_parts


@dataclass(frozen=True, slots=True)
class Around:
    """What is there around rows, one element for each; times in microseconds since 1970, `NEVER` for none.

    `before` is the last row at or before it, `same` whether that has its values, `is_seen` whether it is a sighting of that row,
    `after` the next sighting of that row.
    """

    before: Array
    same: Array
    is_seen: Array
    after: Array


async def note_sightings(connection: Connection, dataset: Dataset, numbers: Array, ticks: Array, quiet: Array) -> None:
    """Note that entities were seen. `quiet` are those no row tells of; where there are any at a time, all of that time are noted."""
    if not quiet.any():
        return
    times = np.unique(ticks[quiet])
    if len(times) == 1:
        entities = [_multirange(numbers[ticks == times[0]])]
    else:
        order = np.lexsort((numbers, ticks))
        order = order[np.isin(ticks[order], times)]
        edges = np.flatnonzero(np.diff(ticks[order])) + 1
        entities = [_multirange(own) for own in np.split(numbers[order], edges)]
    noted = sql.SQL(
        "INSERT INTO {seen} (ts, entities) SELECT to_timestamp(0) + ts * interval '1 microsecond', entities::int8multirange"
    ).format(**state_parts(dataset))
    statement = sql.SQL("{} FROM unnest(%(ts)s::bigint[], %(entities)s::text[]) AS given (ts, entities)").format(noted)
    await connection.execute(statement, {"ts": times.tolist(), "entities": entities})


def _multirange(numbers: Array) -> str:
    """Return a set of entities as the server writes it."""
    numbers = np.unique(numbers)
    breaks = np.flatnonzero(np.diff(numbers) != 1)
    starts = numbers[np.concatenate(([0], breaks + 1))].tolist()
    ends = numbers[np.concatenate((breaks, [len(numbers) - 1]))].tolist()
    return "{" + ",".join(f"[{lo},{hi}]" for lo, hi in zip(starts, ends, strict=True)) + "}"


async def look_around(connection: Connection, dataset: Dataset, table: WireTable, rows: Any, compared: Sequence[str]) -> Around:
    """Look up what is there around rows that come late, in their order."""
    [entity] = dataset.entity
    stage = f"around_{dataset.schema}_{dataset.table.name}"[:63]
    parts = state_parts(dataset)
    create = sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS TABLE {} WITH NO DATA")
    await connection.execute(create.format(sql.Identifier(stage), parts["raw"]))
    await connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier("pg_temp", stage)))
    await copy_rows(connection, WireTable("pg_temp", stage, tuple(_loose(table))), rows.select([entity, dataset.time, *compared]))
    same = sql.SQL(" AND ").join(sql.SQL("l.{0} IS NOT DISTINCT FROM p.{0}").format(sql.Identifier(name)) for name in compared)
    statement = _AROUND.format(**parts, stage=sql.Identifier("pg_temp", stage), same=same if compared else sql.SQL("true"))
    found = await connection.fetch_all(statement, {"never": int(NEVER)}, row_factory=tuple_row)
    made = np.array(found, dtype=np.int64).reshape(-1, 6)
    # The server answers in the order of entity and time.
    numbers, ticks = rows.column(entity).cast(pa.int64()).to_numpy(), rows.column(dataset.time).cast(pa.timestamp("us", "UTC"))
    order = np.lexsort((ticks.cast(pa.int64()).to_numpy(), numbers))
    answers = np.empty_like(made)
    answers[order] = made
    return Around(answers[:, 2], answers[:, 3] == 1, answers[:, 4] == 1, answers[:, 5])


def _loose(table: WireTable) -> Any:
    """Yield the columns of a table as those of a copy of it that asks for nothing."""
    for column in table.columns:
        yield type(column)(column.name, column.type, nullable=True)


async def pin(connection: Connection, dataset: Dataset, numbers: Array, sources: Array, times: Array) -> None:
    """Make rows of sightings at `times`, with the values of the rows at `sources`, in the caller's transaction."""
    if not len(numbers):
        return
    parts = state_parts(dataset)
    # The state is settled by the caller; the triggers of the table are for others.
    await connection.execute("SELECT set_config('chainstrata.pinning', 'on', true)")
    await connection.execute(_PIN.format(**parts), {"numbers": numbers.tolist(), "sources": sources.tolist(), "times": times.tolist()})
    await connection.execute("SELECT set_config('chainstrata.pinning', '', true)")


_AROUND: Final = sql.SQL(
    "SELECT l.{entity}::bigint, (extract(epoch FROM l.{time}) * 1000000)::bigint,"
    " coalesce((extract(epoch FROM p.{time}) * 1000000)::bigint, %(never)s::bigint), (p.{time} IS NOT NULL AND {same})::int,"
    " (p.{time} < l.{time} AND {sighted_before}(l.{entity}, l.{time} - interval '1 microsecond', l.{time}) IS NOT NULL)::int,"
    " coalesce((extract(epoch FROM CASE WHEN p.{time} IS NOT NULL THEN {sighted_after}(l.{entity}, l.{time}, coalesce(n.{time}, 'infinity')) END)"
    " * 1000000)::bigint, %(never)s::bigint)"
    " FROM {stage} AS l"
    " LEFT JOIN LATERAL (SELECT * FROM {raw} AS r"
    " WHERE r.{entity} = l.{entity} AND r.{time} <= l.{time} ORDER BY r.{time} DESC LIMIT 1) AS p ON true"
    " LEFT JOIN LATERAL (SELECT r.{time} FROM {raw} AS r"
    " WHERE r.{entity} = l.{entity} AND r.{time} > l.{time} ORDER BY r.{time} LIMIT 1) AS n ON true"
    " ORDER BY l.{entity}, l.{time}"
)
_PIN: Final = sql.SQL(
    "INSERT INTO {raw} ({written}, {time})"
    " SELECT {theirs}, to_timestamp(0) + given.at * interval '1 microsecond'"
    " FROM unnest(%(numbers)s::bigint[], %(sources)s::bigint[], %(times)s::bigint[]) AS given (entity, source, at)"
    " JOIN {raw} AS p ON p.{entity} = given.entity AND p.{time} = to_timestamp(0) + given.source * interval '1 microsecond'"
    " ON CONFLICT DO NOTHING"
)
