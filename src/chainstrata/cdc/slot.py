"""Publication and slot, made from the declarations, and what can befall the slot.

Everything here can be done again: what is right already is left alone. A slot is only made where none is wanted yet by any mirror
that has rows; a slot that should be there and is not means that changes are gone.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql

from chainstrata.cdc.errors import CannotCapture
from chainstrata.cdc.model import parse_lsn
from chainstrata.cdc.sink import Source, SourceColumn
from chainstrata.cdc.values import CatalogType
from chainstrata.engines.postgres import Connection, Database, load_queries, open_replication
from chainstrata.engines.postgres.partitioning import describe
from chainstrata.engines.postgres.waiting import happened
from chainstrata.model import Dataset

QUERIES = load_queries(__package__)
PUBLICATION: Final = "chainstrata"
FAILOVER_FROM: Final = 170_000
GENERATED_FROM: Final = 180_000
_RELEASED_WITHIN: Final = 10.0
_TRY_EVERY: Final = 0.05


@dataclass(frozen=True, slots=True)
class Server:
    """The server as far as capturing goes."""

    version: int
    system: str = ""
    timeline: int = 0
    log_end: int = 0
    histories: tuple[str, ...] = ()
    """How it came to its timeline, as the server tells."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The slot as the server has it."""

    active: bool
    confirmed: int
    status: str
    kept_bytes: int
    behind_bytes: int
    safe_bytes: int | None

    @property
    def lost(self) -> bool:
        return self.status == "lost"


async def slot_name(connection: Connection) -> str:
    """Return the slot's name: slots belong to the whole server, so it tells the database."""
    return f"chainstrata_{await connection.fetch_value(QUERIES.database_number)}"


async def inspect(connection: Connection, conninfo: str) -> Server:
    """Return the server; raise `CannotCapture` if it is not set up for it."""
    row = await connection.fetch_one(QUERIES.show_server)
    if row.wal_level != "logical":
        hint = "Set wal_level = logical and restart the server; the embedded one has it."
        raise CannotCapture(f"wal_level is {row.wal_level!r}", hint=hint)
    if row.standby:
        raise CannotCapture("the server is a standby", hint="Set postgres.url to the primary.")
    async with open_replication(conninfo, name="chainstrata cdc") as driver:
        told: Any = await (await driver.execute("IDENTIFY_SYSTEM")).fetchone()
        timeline = int(told[1])
        histories = []
        if timeline > 1:
            history: Any = await (await driver.execute(b"TIMELINE_HISTORY %d" % timeline)).fetchone()
            histories.append(history[1] if isinstance(history[1], str) else bytes(history[1]).decode())
    return Server(row.version, told[0], timeline, row.log_end, tuple(histories))


async def publish(connection: Connection, datasets: Sequence[Dataset], *, version: int, name: str = PUBLICATION) -> list[Dataset]:
    """Bring the publication to what is declared, as far as the tables are there, and return the datasets in it."""
    wanted = {f"{dataset.schema}.{dataset.table.name}": dataset for dataset in datasets}
    missing = {row.name for row in await connection.fetch_all(QUERIES.list_missing, {"tables": list(wanted)})}
    there = {table: dataset for table, dataset in sorted(wanted.items()) if table not in missing}
    for table, dataset in there.items():
        facts = await describe(connection, dataset.schema, dataset.table.name)
        if facts is not None and facts.hypertable:
            hint = "Logical replication tells of chunks under their own names. Leave it out of partitions.timescale, or declare no mirror."
            raise CannotCapture(f"{table} is a hypertable of TimescaleDB", hint=hint)
    tables = sql.SQL(", ").join(sql.Identifier(dataset.schema, dataset.table.name) for dataset in there.values())
    if not there:
        raise CannotCapture("no mirrored table is there", hint="Run `chainstrata migrate up`.")
    found = await connection.fetch_one(QUERIES.show_publication, {"publication": name})
    generated = sql.SQL(", publish_generated_columns = stored") if version >= GENERATED_FROM else sql.SQL("")
    options = sql.SQL("publish_via_partition_root = true, publish = 'insert, update, delete, truncate'{}").format(generated)
    if found is None:
        await connection.execute(sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WITH ({})").format(sql.Identifier(name), tables, options))
        return list(there.values())
    published = {row.name for row in await connection.fetch_all(QUERIES.list_published, {"publication": name})}
    if not found.right or published != there.keys():
        await connection.execute(sql.SQL("ALTER PUBLICATION {} SET TABLE {}").format(sql.Identifier(name), tables))
        await connection.execute(sql.SQL("ALTER PUBLICATION {} SET ({})").format(sql.Identifier(name), options))
    return list(there.values())


async def find_slot(connection: Connection, name: str) -> Slot | None:
    row = await connection.fetch_one(QUERIES.show_slot, {"slot": name})
    if row is None:
        return None
    return Slot(row.active, row.confirmed or 0, row.wal_status or "lost", row.kept_bytes or 0, row.behind_bytes or 0, row.safe_bytes)


async def create_slot(connection: Connection, name: str, *, version: int) -> int:
    """Make the slot, for standbys too where the server can; return where it begins."""
    query = QUERIES.create_failover_slot if version >= FAILOVER_FROM else QUERIES.create_slot
    return int(await connection.fetch_value(query, {"slot": name}))


async def drop_slot(connection: Connection, name: str) -> None:
    """Drop the slot if it is there, as soon as nobody reads it: the server takes a moment to notice that a reader is gone."""
    never = asyncio.Event()
    deadline = time.monotonic() + _RELEASED_WITHIN
    while await find_slot(connection, name) is not None:
        await connection.execute(QUERIES.drop_slot, {"slot": name})
        if time.monotonic() > deadline:
            raise CannotCapture(f"the slot {name} is read by somebody, and cannot be dropped", hint="Stop who reads it.")
        await happened(never, _TRY_EVERY)


async def withdraw(connection: Connection, name: str) -> None:
    """Take slot and publication away: nothing is captured any more."""
    await drop_slot(connection, name)
    await connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(PUBLICATION)))


@asynccontextmanager
async def export_snapshot(conninfo: str) -> AsyncIterator[tuple[str, int]]:
    """A snapshot that other sessions can take on while the block runs, and its position.

    It holds exactly what was committed before the position: a slot that goes away again tells the server to work that out.
    """
    async with open_replication(conninfo, name="chainstrata cdc snapshot") as driver:
        name = f"chainstrata_snapshot_{driver.info.backend_pid}"
        statement = sql.SQL("CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')").format(sql.Identifier(name))
        row: Any = await (await driver.execute(statement)).fetchone()
        yield row[2], parse_lsn(row[1])


async def read_types(database: Database) -> Mapping[int, CatalogType]:
    rows = await database.fetch_all(QUERIES.list_types)
    return {row.oid: CatalogType(row.oid, row.typname, row.kind, row.over, row.over_modifier, row.element) for row in rows}


async def read_source(database: Database, dataset: Dataset, types: Mapping[int, CatalogType]) -> Source:
    """Return a table's columns as they are now."""
    rows = await database.fetch_all(QUERIES.describe_source, {"schema": dataset.schema, "table": dataset.table.name})
    columns = (SourceColumn(row.name, row.type_oid, row.modifier, row.nullable, row.has_default, row.generated, row.key) for row in rows)
    sends_generated = bool(await database.fetch_value(QUERIES.sends_generated, {"publication": PUBLICATION}))
    return Source(tuple(columns), types, sends_generated)
