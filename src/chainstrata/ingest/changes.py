"""Change-only storage: a row equal to its entity's row before is noted as seen, and not stored again.

What the last row of every entity held is kept in memory, as numbers that can be compared a column at a time. Nothing is believed
of it: every write locks the blocks of its entities and looks at their versions, and where somebody else wrote since, the last
rows are read again. A version is drawn anew by every write, so one that was never committed is never met.

Rows newer than all that was seen of their entity are told apart in memory. Others, late ones and corrections, are looked up in
the series, and what was seen after them is pinned before it could be taken for something else.
"""

import secrets
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
from psycopg import sql

from chainstrata.engines.postgres import Connection
from chainstrata.ingest.comparing import NULL, UNKNOWN, Numbered, is_comparable, number_column
from chainstrata.ingest.marking import floor_ticks
from chainstrata.ingest.memory import Memory, blocks_of, differ
from chainstrata.ingest.record import Array
from chainstrata.ingest.sightings import look_around, note_sightings, pin
from chainstrata.ingest.state import NEVER, numbers_of, read_last, read_times, write_blocks
from chainstrata.ingest.wire import WireTable
from chainstrata.model import Dataset
from chainstrata.model.latest import BLOCK, BLOCK_BITS, state_parts

FIRST_OWN_VERSION: Final = 1 << 62
"""Versions drawn here are beyond the numbers of transactions, which is what triggers note."""
FEW_ENTITIES: Final = 4096
"""So many entities are read by name; of more, their whole blocks."""
BLOCKS_AT_ONCE: Final = 64


class Store(Protocol):
    """Writes rows to where they belong."""

    async def write_new(self, connection: Connection, rows: Any) -> bool:
        """Write rows whose keys are not there; return whether their roll-ups hold them then."""
        ...

    async def write_met(self, connection: Connection, rows: Any) -> tuple[int, int]:
        """Write rows that may meet others of their key, and return how many are new and how many changed one."""
        ...


@dataclass(slots=True)
class Outcome:
    """What became of rows. `stored` are those that the roll-ups do not hold yet."""

    accepted: int = 0
    updated: int = 0
    unchanged: int = 0
    stored: Any = None


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows with the numbers of their entities, their times, and the blocks they are in."""

    rows: Any
    numbers: Array
    ticks: Array
    blocks: Array
    which: Array
    places: Array


class Changes:
    """Takes in the rows of one dataset that is stored change-only."""

    def __init__(self, dataset: Dataset, table: WireTable, state: WireTable) -> None:
        assert dataset.change_only is not None  # noqa: S101  # so it is made for
        [entity] = dataset.entity
        unlike = {entity, dataset.time, *dataset.change_only.ignoring}
        unlike |= {column.name for column in dataset.table.c if column.info.get("stamp")}
        self._dataset = dataset
        self._table = table
        self._state = state
        self._columns = tuple(column for column in table.columns if column.name not in unlike)
        self._window = dataset.change_only.window
        self._memory = Memory(self._columns)

    async def write(self, connection: Connection, store: Store, rows: Any, ticks: Array) -> Outcome:
        """Store what changed and note the rest as seen, in the caller's transaction. No two rows have one key."""
        memory = self._memory = Memory(self._columns) if self._memory.is_full else self._memory
        numbers = numbers_of(self._dataset, rows)
        blocks, which = blocks_of(numbers)
        memory.make_room(blocks)
        batch = _Batch(rows, numbers, ticks, blocks, which, memory.starts(blocks)[which] + (numbers & (BLOCK - 1)))
        await self._lock(connection, memory, blocks)
        try:
            return await self._write(connection, memory, store, batch)
        except BaseException:
            memory.forget(blocks)
            raise

    async def _write(self, connection: Connection, memory: Memory, store: Store, batch: _Batch) -> Outcome:
        await self._recall(connection, memory, batch.numbers)
        columns = self._number(memory, batch.rows)
        is_late = batch.ticks <= np.maximum(memory.at[batch.places], memory.seen[batch.places])
        outcome = Outcome(stored=batch.rows.slice(0, 0))
        order = np.arange(len(is_late))
        if is_late.any():
            order = np.flatnonzero(~is_late)
            given = {name: values for name, values in columns.items() if name in batch.rows.schema.names}
            await self._write_late(connection, memory, store, batch, np.flatnonzero(is_late), given, outcome)
            await self._recall(connection, memory, batch.numbers)
        if not _ascends(batch.numbers[order], batch.ticks[order]):
            order = order[np.lexsort((batch.ticks[order], batch.numbers[order]))]
        changed = self._changed(memory, columns, order, batch.places[order], batch.ticks[order])
        stored = np.sort(order[changed])
        if len(stored):
            fresh = batch.rows if len(stored) == batch.rows.num_rows else batch.rows.take(pa.array(stored))
            if not await store.write_new(connection, fresh):
                outcome.stored = pa.concat_tables([outcome.stored, fresh])
        quiet = np.zeros(len(is_late), dtype=bool)
        quiet[order[~changed]] = True
        await note_sightings(connection, self._dataset, batch.numbers[~is_late], batch.ticks[~is_late], quiet[~is_late])
        await self._settle(connection, memory, batch, order, stored, columns)
        outcome.accepted += len(stored)
        outcome.unchanged += len(order) - len(stored)
        return outcome

    async def _lock(self, connection: Connection, memory: Memory, blocks: Array) -> None:
        """Lock blocks until the transaction ends, and learn anew of those that somebody else has written."""
        parts = state_parts(self._dataset)
        await connection.execute(sql.SQL("SELECT {lock}(%s)").format(**parts), ((blocks << BLOCK_BITS).tolist(),))
        query = sql.SQL("SELECT block, version FROM {state} WHERE block = ANY (%s)").format(**parts)
        found = {row.block: row.version for row in await connection.fetch_all(query, (blocks.tolist(),))}
        stale = [block for block, version in found.items() if memory.versions.get(block) != version]
        if stale:
            await self._read_times(connection, memory, np.array(stale, dtype=np.int64))
            memory.versions |= {block: found[block] for block in stale}

    async def _read_times(self, connection: Connection, memory: Memory, blocks: Array) -> None:
        """Read where the last rows of blocks are; of what these hold nothing is known then."""
        span = memory.spans(blocks)
        times = await read_times(connection, self._dataset, blocks)
        memory.at[span] = memory.seen[span] = NEVER
        places = memory.places(times.numbers)
        memory.at[places], memory.seen[places] = times.at, times.seen
        memory.known[span] = memory.at[span] == NEVER

    async def _recall(self, connection: Connection, memory: Memory, numbers: Array) -> None:
        """Read the last rows of entities of which nothing is known."""
        unknown = numbers[~memory.known[memory.places(numbers)]]
        if not len(unknown):
            return
        wanted = np.unique(unknown)
        if len(wanted) <= FEW_ENTITIES:
            await self._read(connection, memory, memory.places(wanted), wanted, by_block=False)
            return
        blocks, _ = blocks_of(wanted)
        for place in range(0, len(blocks), BLOCKS_AT_ONCE):
            some = blocks[place : place + BLOCKS_AT_ONCE]
            await self._read(connection, memory, memory.spans(some), some, by_block=True)

    async def _read(self, connection: Connection, memory: Memory, asked: Array, wanted: Array, *, by_block: bool) -> None:
        names = [column.name for column in self._columns if is_comparable(column.type)]
        numbers, rows = await read_last(connection, self._dataset, wanted, names, by_block=by_block)
        for kinds in memory.kinds.values():
            kinds[asked] = UNKNOWN
        memory.known[asked] = True
        types = {column.name: column.type for column in self._columns}
        read = {name: number_column(rows.column(name), types[name], memory.lexicons[name]) for name in names}
        memory.keep(memory.places(numbers), read, slice(None))

    def _number(self, memory: Memory, rows: Any) -> dict[str, Numbered]:
        """Return the columns that make a change, as numbers. One that is not given is NULL, or left out if it has a default."""
        columns = {}
        count = rows.num_rows
        for column in self._columns:
            if column.name not in rows.schema.names:
                if not column.default:
                    columns[column.name] = Numbered(np.zeros(count, dtype=np.int64), np.full(count, NULL, dtype=np.uint8))
            elif is_comparable(column.type):
                columns[column.name] = number_column(rows.column(column.name), column.type, memory.lexicons[column.name])
            else:
                columns[column.name] = Numbered(np.zeros(count, dtype=np.int64), np.full(count, UNKNOWN, dtype=np.uint8))
        return columns

    def _changed(self, memory: Memory, columns: dict[str, Numbered], order: Array, places: Array, ticks: Array) -> Array:
        """Return which rows, in the order of entity and time, differ from the one before or are the first of their window."""
        follows = np.zeros(len(order), dtype=bool)
        follows[1:] = places[1:] == places[:-1]
        later = np.flatnonzero(follows)
        before = np.maximum(memory.at[places], memory.seen[places])
        before[later] = ticks[later - 1]
        changed = before == NEVER
        changed |= floor_ticks(self._window, ticks) != floor_ticks(self._window, np.where(changed, ticks, before))
        first = np.flatnonzero(~follows)
        changed[first] |= memory.differs(places[first], columns, order[first])
        if len(later):
            changed[later] |= differ(columns, order[later], order[later - 1])
        return np.asarray(changed)

    async def _settle(
        self, connection: Connection, memory: Memory, batch: _Batch, order: Array, stored: Array, columns: dict[str, Numbered]
    ) -> None:
        """Note in the state, and then in memory, what is stored and seen now."""
        span = memory.spans(batch.blocks)
        at, seen = memory.at[span], memory.seen[span]
        before = at.copy()
        where = batch.which * BLOCK + (batch.numbers & (BLOCK - 1))
        np.maximum.at(at, where[stored], batch.ticks[stored])
        np.maximum.at(seen, where[order], batch.ticks[order])
        moved = (at != before).reshape(-1, BLOCK).any(axis=1)
        version = FIRST_OWN_VERSION + secrets.randbits(61)
        blocks = at.reshape(-1, BLOCK), seen.reshape(-1, BLOCK)
        await write_blocks(connection, self._dataset, self._state, batch.blocks, *blocks, moved, version)
        memory.at[span], memory.seen[span] = at, seen
        memory.keep(batch.places[order], columns, order)
        for column in self._columns:
            if column.name not in columns:
                memory.kinds[column.name][batch.places[stored]] = UNKNOWN
        memory.versions |= dict.fromkeys(batch.blocks.tolist(), version)

    async def _write_late(
        self,
        connection: Connection,
        memory: Memory,
        store: Store,
        batch: _Batch,
        late: Array,
        columns: dict[str, Numbered],
        outcome: Outcome,
    ) -> None:
        """Take in rows that are not newer than all that was seen of their entity."""
        places, ticks = batch.places[late], batch.ticks[late]
        at, seen = memory.at[places], memory.seen[places]
        equal = ~memory.differs(places, columns, late)
        # Between an entity's last row and its last sighting, as it was all the while.
        again = late[(at < ticks) & equal]
        await note_sightings(connection, self._dataset, batch.numbers[again], batch.ticks[again], np.ones(len(again), dtype=bool))
        outcome.unchanged += len(again)
        # A row over the last one: nothing came after it that could be taken for something else.
        over = (at == ticks) & (equal | (seen <= at))
        strange = late[~over & ~((at < ticks) & equal)]
        if len(strange):
            await self._write_between(connection, store, batch, strange, columns, outcome)
        if over.any():
            await self._write_met(connection, store, batch.rows.take(pa.array(late[over])), outcome)
            memory.known[places[over & ~equal]] = False
        touched = np.unique(batch.numbers[strange])
        if len(touched):
            await connection.execute(sql.SQL("SELECT {settle}(%s)").format(**state_parts(self._dataset)), (touched.tolist(),))
            await self._read_again(connection, memory, touched)

    async def _read_again(self, connection: Connection, memory: Memory, numbers: Array) -> None:
        """Learn anew where the last rows of entities are, other entities of their blocks staying as they are known."""
        blocks, _ = blocks_of(numbers)
        known = memory.known[memory.spans(blocks)]
        await self._read_times(connection, memory, blocks)
        memory.known[memory.spans(blocks)] |= known
        memory.known[memory.places(numbers)] = False

    async def _write_between(
        self,
        connection: Connection,
        store: Store,
        batch: _Batch,
        strange: Array,
        columns: dict[str, Numbered],
        outcome: Outcome,
    ) -> None:
        """Take in rows before others, or before sightings of others."""
        strange = strange[np.lexsort((batch.ticks[strange], batch.numbers[strange]))]
        rows = batch.rows.take(pa.array(strange))
        numbers, ticks = batch.numbers[strange], batch.ticks[strange]
        comparable = [column.name for column in self._columns if column.name in columns and is_comparable(column.type)]
        around = await look_around(connection, self._dataset, self._table, rows, comparable)
        same = around.same & (around.before != NEVER)
        if len(comparable) < len(columns):
            same[:] = False
        follows = np.zeros(len(strange), dtype=bool)
        follows[1:] = (numbers[1:] == numbers[:-1]) & (ticks[:-1] >= around.before[1:])
        follows[1:] &= (around.after[:-1] == NEVER) | (around.after[:-1] >= ticks[1:])
        later = np.flatnonzero(follows)
        before = around.before.copy()
        before[later] = ticks[later - 1]
        changed = ~same
        changed[later] = differ(columns, strange[later], strange[later - 1])
        changed |= (before == NEVER) | (
            floor_ticks(self._window, ticks) != floor_ticks(self._window, np.where(before == NEVER, ticks, before))
        )
        met = around.before == ticks
        # What was seen next stood for the row before; from here on it would be taken for this one.
        last = np.ones(len(strange), dtype=bool)
        last[:-1] = (numbers[1:] != numbers[:-1]) | (ticks[1:] > around.after[:-1])
        next_one = last & ~same & (around.after != NEVER)
        await pin(connection, self._dataset, numbers[next_one], around.before[next_one], around.after[next_one])
        # A sighting that turns out to be more than that is a row first, so that what is not given stays.
        own = around.is_seen & changed
        await pin(connection, self._dataset, numbers[own], around.before[own], ticks[own])
        written = changed | met
        if written.any():
            await self._write_met(connection, store, rows.filter(pa.array(written)), outcome)
        outcome.unchanged += int((~written).sum())
        await note_sightings(connection, self._dataset, numbers, ticks, ~written)

    async def _write_met(self, connection: Connection, store: Store, rows: Any, outcome: Outcome) -> None:
        new, updated = await store.write_met(connection, rows)
        outcome.accepted += new
        outcome.updated += updated
        outcome.unchanged += rows.num_rows - new - updated
        if new or updated:
            outcome.stored = pa.concat_tables([outcome.stored, rows])


def _ascends(numbers: Array, ticks: Array) -> bool:
    """Whether rows are in the order of entity and time."""
    same = numbers[1:] == numbers[:-1]
    return bool(((numbers[1:] > numbers[:-1]) | (same & (ticks[1:] > ticks[:-1]))).all())
