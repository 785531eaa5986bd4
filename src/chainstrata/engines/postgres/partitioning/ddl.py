"""The statements that change partitions. Bounds are literals with an offset, so no session's time zone can bend them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg import sql

from chainstrata.engines.postgres.partitioning.model import BEGINNING, END, Partition

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def create(parent: sql.Identifier, partition: Partition, fillfactor: int = 100) -> list[sql.Composed]:
    """Return what makes a partition and attaches it. Together in one transaction.

    Not CREATE TABLE … PARTITION OF, which locks the parent ACCESS EXCLUSIVE: readers and writers would queue behind it.
    ATTACH PARTITION takes SHARE UPDATE EXCLUSIVE there, which neither reading nor writing conflicts with. Indexes, keys
    and foreign keys come with ATTACH. Identity is left out, because from 17 on only the parent may have it.
    """
    if partition.chunked_by:
        filled = sql.SQL("ALTER TABLE {} SET (fillfactor = {})").format(identifier(partition), sql.Literal(fillfactor))
        return [_chunk(parent, partition, sql.SQL("NULL")), *([filled] if fillfactor < 100 else [])]
    make = sql.SQL(
        "CREATE TABLE {child} (LIKE {parent}"
        " INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMPRESSION){options}"
    )
    # A partitioned table has no pages, and so none of this to pass on.
    options = sql.SQL(" WITH (fillfactor = {})").format(sql.Literal(fillfactor)) if fillfactor < 100 else sql.SQL("")
    return [make.format(child=identifier(partition), parent=parent, options=options), attach(parent, partition)]


def attach(parent: sql.Identifier, partition: Partition) -> sql.Composed:
    if partition.chunked_by:
        return _chunk(parent, partition, _regclass(identifier(partition)))
    bounds = sql.SQL("FOR VALUES FROM ({start}) TO ({end})").format(start=bound(partition.span.start), end=bound(partition.span.end))
    return sql.SQL("ALTER TABLE {parent} ATTACH PARTITION {child} {bounds}").format(
        parent=parent, child=identifier(partition), bounds=bounds
    )


def _chunk(parent: sql.Identifier, partition: Partition, existing: sql.Composable) -> sql.Composed:
    """Return what makes a chunk with the very bounds, of a table that is there already if one is given.

    TimescaleDB itself would make chunks of one width only, from an origin of its own, and give them names by number. Its
    function asks for no more than ATTACH PARTITION does.
    """
    bounds = json.dumps({partition.chunked_by: [_ticks(partition.span.start), _ticks(partition.span.end)]})
    return sql.SQL("SELECT FROM _timescaledb_functions.create_chunk({}, {}, {}, {}, {})").format(
        _regclass(parent), sql.Literal(bounds), sql.Literal(partition.schema), sql.Literal(partition.name), existing
    )


def allow_compression(parent: sql.Identifier, entity: Sequence[str], time: str) -> sql.Composed:
    """Return what prepares a hypertable for compressed chunks: the rows of an entity together, in the order of time."""
    return sql.SQL(
        "ALTER TABLE {} SET (timescaledb.compress, timescaledb.compress_segmentby = {}, timescaledb.compress_orderby = {})"
    ).format(parent, sql.Literal(", ".join(map(_quoted, entity))), sql.Literal(_quoted(time)))


def compress(partition: Partition) -> sql.Composed:
    """Return what stores a chunk by columns; of one that is compressed already, what came later."""
    return sql.SQL("SELECT compress_chunk({})").format(_regclass(identifier(partition)))


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()


def _regclass(table: sql.Identifier) -> sql.Composed:
    return sql.SQL("{}::regclass").format(sql.Literal(table.as_string()))


def _ticks(instant: datetime) -> int:
    """Return an instant as TimescaleDB counts time: in microseconds since 1970."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def detach(parent: sql.Identifier, partition: Partition) -> sql.Composed:
    """Return the detachment that locks nobody out. It cannot run in a transaction, and can be cut short: see `finalize`."""
    return sql.SQL("ALTER TABLE {parent} DETACH PARTITION {child} CONCURRENTLY").format(parent=parent, child=identifier(partition))


def finalize(parent: sql.Identifier, partition: Partition) -> sql.Composed:
    """Return what ends a detachment that was cut short."""
    return sql.SQL("ALTER TABLE {parent} DETACH PARTITION {child} FINALIZE").format(parent=parent, child=identifier(partition))


def drop(partition: Partition) -> sql.Composed:
    """Return the drop of a detached partition, or of a chunk. Never CASCADE: what still hangs on it is for a person to judge."""
    if partition.chunked_by:
        return sql.SQL("SELECT _timescaledb_functions.drop_chunk({})").format(_regclass(identifier(partition)))
    return sql.SQL("DROP TABLE {child}").format(child=identifier(partition))


def add_bound_check(partition: Partition, column: str, name: str) -> sql.Composed:
    """Return a check that says what the bounds say, so that attaching a table with rows need not read them."""
    parts = [sql.SQL("{column} IS NOT NULL").format(column=sql.Identifier(column))]
    if partition.span.start != BEGINNING:
        parts.append(sql.SQL("{column} >= {start}").format(column=sql.Identifier(column), start=bound(partition.span.start)))
    if partition.span.end != END:
        parts.append(sql.SQL("{column} < {end}").format(column=sql.Identifier(column), end=bound(partition.span.end)))
    return sql.SQL("ALTER TABLE {child} ADD CONSTRAINT {name} CHECK ({condition})").format(
        child=identifier(partition), name=sql.Identifier(name), condition=sql.SQL(" AND ").join(parts)
    )


def drop_constraint(partition: Partition, name: str) -> sql.Composed:
    return sql.SQL("ALTER TABLE {child} DROP CONSTRAINT IF EXISTS {name}").format(child=identifier(partition), name=sql.Identifier(name))


def identifier(partition: Partition) -> sql.Identifier:
    return sql.Identifier(partition.schema, partition.name)


def bound(instant: datetime) -> sql.Composable:
    """Return an instant as a literal that means the same in every session: always with its offset."""
    if instant == BEGINNING:
        return sql.SQL("MINVALUE")
    return sql.SQL("MAXVALUE") if instant == END else sql.Literal(instant.astimezone(UTC).isoformat(sep=" "))
