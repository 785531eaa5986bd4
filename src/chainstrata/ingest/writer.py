"""Writes one dataset's rows: into the right partitions, by its conflict policy, with its parents and marks, in one transaction.

Rows go straight into their partition, which spares the server the routing, and spares what fires on statements of the parent:
ingest marks roll-ups itself. Of rows that may meet others of their key only those not newer than all that is there take the
longer way through a staging table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from psycopg import sql

from chainstrata.engines.postgres import Connection, CopyAlone
from chainstrata.engines.postgres.partitioning import State, list_partitions
from chainstrata.ingest.arrow import pc
from chainstrata.ingest.changes import Changes
from chainstrata.ingest.copy import blocks_of, copy_rows, copy_statement
from chainstrata.ingest.encode import Encoder
from chainstrata.ingest.errors import UnfitColumn
from chainstrata.ingest.folding import FEW_ROWS, are_apart, count_pages, just_written, rows_by_key, written_between
from chainstrata.ingest.marking import MANY_ROWS, find_marks, mark_statements, values_of, write_marks
from chainstrata.ingest.model import LateRows, Marks, Part
from chainstrata.ingest.numbers import Numbers
from chainstrata.ingest.record import Array
from chainstrata.ingest.sift import one_per_key, ticks_of, times_of
from chainstrata.ingest.state import note_latest
from chainstrata.ingest.wire import WireTable, describe_table
from chainstrata.model import Dataset, OnConflict, Parent
from chainstrata.model.columns import SYSTEM_SCHEMA
from chainstrata.model.latest import keeps_latest
from chainstrata.model.marking import children


@dataclass(slots=True)
class Counts:
    """Rows written anew, rows written over others, rows that changed nothing."""

    accepted: int = 0
    updated: int = 0
    unchanged: int = 0

    def add(self, other: "Counts") -> None:
        self.accepted += other.accepted
        self.updated += other.updated
        self.unchanged += other.unchanged


@dataclass(slots=True)
class Alone:
    """A batch that is nothing but one COPY and marks, and what becomes of its rows."""

    work: CopyAlone
    counts: Counts


@dataclass(slots=True)
class Partitions:
    """Which partition takes which time. `lows` and `highs` are bounds in microseconds since 1970, oldest first."""

    names: Sequence[tuple[str, str]] = ()
    lows: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    highs: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def place(self, ticks: Array) -> Array:
        """Return the number of each time's partition, -1 for none."""
        if not len(self.lows):
            return np.full(len(ticks), -1, dtype=np.int64)
        if len(ticks) > 2:
            # Most batches are of one partition.
            first, last = self.place(np.array([ticks.min(), ticks.max()]))
            if first == last >= 0:
                return np.full(len(ticks), first, dtype=np.int64)
        numbers = np.searchsorted(self.lows, ticks, side="right") - 1
        inside = (numbers >= 0) & (ticks < self.highs[np.maximum(numbers, 0)])
        return np.where(inside, numbers, -1)


class Writer:
    """Writes rows of one dataset. Keeps what it learnt of the server between batches, and learns again when that was wrong."""

    def __init__(self, dataset: Dataset, table: WireTable, parents: dict[str, Dataset], rollups: LateRows | None = None) -> None:
        self.dataset = dataset
        self.table = table
        self._parents = parents
        self._rollups = rollups
        self._partitions = Partitions()
        self._placed: tuple[Any, Array, Array] = _NOWHERE
        self._newest: dict[str, int] = {}
        self._known: dict[str, Any] = {}
        self._numbers: dict[str, Numbers] = {}
        self._most_keys: float | None = None
        self.marks = bool(children(dataset)) and dataset.partitioned
        self._state: WireTable | None = None
        self._changes: Changes | None = None

    async def learn(self, connection: Connection) -> None:
        """Look at the partitions and what is known of the roll-ups."""
        self._placed = _NOWHERE
        if self.dataset.partitioned:
            there = await list_partitions(connection, self.dataset.schema, self.dataset.table.name)
            kept = [part for part in there if part.state is State.ATTACHED and not part.default]
            # Rows of a hypertable go in by its own name: only so does TimescaleDB see a compressed chunk, and the triggers mark.
            chunks = any(part.chunked_by for part in kept)
            self.marks = bool(children(self.dataset)) and not chunks
            self._partitions = Partitions(
                [(self.dataset.schema, self.dataset.table.name) if chunks else (part.schema, part.name) for part in kept],
                np.array([_bound(part.span.start) for part in kept], dtype=np.int64),
                np.array([_bound(part.span.end) for part in kept], dtype=np.int64),
            )
        if keeps_latest(self.dataset) and self._state is None:
            self._state = await describe_table(connection, self.dataset.schema, f"{self.dataset.table.name}__state")
            if self.dataset.change_only:
                self._changes = Changes(self.dataset, self.table, self._state)
        if self.marks:
            names = [f"{self.dataset.full_name}.{rollup.name}" for rollup in children(self.dataset)]
            self._most_keys = await connection.fetch_value(_MOST_KEYS, (names,))

    def forget(self) -> None:
        """Doubt everything: a partition came or went, a parent was deleted, somebody else wrote newer rows."""
        self._newest.clear()
        self._known.clear()
        self._numbers.clear()

    def outside(self, rows: Any) -> Array:
        """Return the places of rows that no partition takes."""
        ticks = times_of(self.dataset, rows)
        if not self.dataset.partitioned or ticks is None:
            return np.empty(0, dtype=np.int64)
        numbers = self._partitions.place(ticks)
        self._placed = rows, ticks, numbers
        return np.flatnonzero(numbers < 0)

    def split(self, rows: Any) -> list[Part]:
        """Return the rows by partition; all of them have one."""
        if not self.dataset.partitioned:
            return [Part(self.dataset.schema, self.dataset.table.name, rows)]
        ticks = times_of(self.dataset, rows)
        if ticks is None:
            raise UnfitColumn(self.dataset.table.fullname, self.dataset.time, "is not there", hint="Give every row its time.")
        numbers = self._partitions.place(ticks)
        parts = []
        for number in values_of(numbers)[0]:
            here = numbers == number
            schema, name = self._partitions.names[number]
            own = rows if here.all() else rows.filter(pa.array(here))
            parts.append(Part(schema, name, own, int(ticks[here].max())))
        return parts

    async def write(self, connection: Connection, rows: Any, *, careful: bool = False) -> Counts:
        """Write rows that fit, in the caller's transaction. `careful`: nothing that is only believed is relied on."""
        counts = Counts()
        for parent in self.dataset.parents:
            await self._add_parents(connection, parent, rows, careful=careful)
        rounds, stand_ins = one_per_key(self.dataset, self.dataset.conflict, rows)
        counts.unchanged += stand_ins
        for chosen in rounds:
            written = await self._write_round(connection, chosen, counts, careful=careful)
            ticks = times_of(self.dataset, written) if self.marks and written.num_rows else None
            if ticks is not None:
                await write_marks(connection, self.dataset, find_marks(self.dataset, written, ticks, self._most_keys))
        return counts

    def plan_alone(self, rows: Any) -> Alone | None:
        """Return what writes all rows in one message, relying on what is believed; None where they need more than that.

        They are those whose places `outside` was asked for just before.
        """
        if self._changes or self._state or not self.dataset.partitioned:
            return None
        (placed, ticks, numbers), self._placed = self._placed, _NOWHERE
        if placed is not rows or (numbers != numbers[0]).any() or numbers[0] < 0:
            return None
        if any(self._lacking(parent, rows) is not None for parent in self.dataset.parents):
            return None
        schema, name = self._partitions.names[numbers[0]]
        part = Part(schema, name, rows)
        unchanged = 0
        if self.dataset.conflict.policy is not OnConflict.APPEND:
            if self.dataset.time not in self.dataset.key or not (ticks > self._newest.get(part.table, _LAST)).all():
                return None
            rounds, unchanged = one_per_key(self.dataset, self.dataset.conflict, rows)
            if len(rounds) > 1:
                return None
            part = replace(part, rows=rounds[0])
        marks = find_marks(self.dataset, rows, ticks, self._most_keys) if self.marks else Marks()
        if len(marks.starts) > MANY_ROWS:
            return None
        encoder = Encoder(self._wire(part), part.rows.schema.names)
        counts = Counts(accepted=part.rows.num_rows, unchanged=unchanged)
        work = CopyAlone(copy_statement(encoder), blocks_of(encoder, part.rows))
        work.after = mark_statements(self.dataset, marks)
        return Alone(work, counts)

    async def _write_round(self, connection: Connection, rows: Any, counts: Counts, *, careful: bool) -> Any:
        """Write rows of different keys and return those whose roll-ups are behind now."""
        ticks = times_of(self.dataset, rows)
        if self._changes and ticks is not None:
            outcome = await self._changes.write(connection, self, rows, ticks)
            counts.add(Counts(outcome.accepted, outcome.updated, outcome.unchanged))
            return outcome.stored
        for part in self.split(rows):
            counts.add(await self._write_part(connection, part, careful=careful))
        if self._state and ticks is not None:
            # Last, because from here on other writers of the same entities wait.
            await note_latest(connection, self.dataset, self._state, rows, ticks)
        return rows

    async def write_new(self, connection: Connection, rows: Any) -> bool:
        """Write rows whose keys are not there, and add them to their roll-ups. False: these are not added to, and have to be marked."""
        folded = self.marks
        for part in self.split(rows):
            pages = await count_pages(connection, part) if folded and part.rows.num_rows > FEW_ROWS else 0
            await copy_rows(connection, self._wire(part), part.rows)
            folded = folded and await self._fold(connection, part, pages)
        return folded

    async def _fold(self, connection: Connection, part: Part, pages: int) -> bool:
        """Add rows just written to their roll-ups."""
        rows = part.rows.num_rows
        if self._rollups is None:
            return False
        apart = are_apart(self.dataset, part.rows)
        if rows <= FEW_ROWS:
            relation = rows_by_key(self.dataset, part)
            return await self._rollups.fold_in(connection, self.dataset.full_name, relation, rows=rows, apart=apart)
        # Some may have found room further in front, and those of a savepoint bear another number.
        for relation in (just_written(part, pages), written_between(self.dataset, part)):
            if await connection.fetch_value(sql.SQL("SELECT count(*) FROM {} AS r").format(relation)) == rows:
                return await self._rollups.fold_in(connection, self.dataset.full_name, relation, rows=rows, apart=apart)
        return False

    async def write_met(self, connection: Connection, rows: Any) -> tuple[int, int]:
        """Write rows that may meet others of their key, and return how many are new and how many changed one."""
        counts = Counts()
        for part in self.split(rows):
            counts.add(await self._merge(connection, part, part.rows))
        return counts.accepted, counts.updated

    def wrote(self, rows: Any) -> None:
        """Remember, once it is committed, how far each partition is filled."""
        self._placed = _NOWHERE
        if self.dataset.conflict.policy is not OnConflict.APPEND:
            for part in self.split(rows) if self.dataset.partitioned else ():
                if part.table in self._newest and part.newest is not None:
                    self._newest[part.table] = max(self._newest[part.table], part.newest)

    async def _write_part(self, connection: Connection, part: Part, *, careful: bool) -> Counts:
        if self.dataset.conflict.policy is OnConflict.APPEND:
            return Counts(accepted=await copy_rows(connection, self._wire(part), part.rows))
        fresh, met = part.rows, part.rows.slice(0, 0)
        ticks = times_of(self.dataset, part.rows)
        if careful or ticks is None or not self.dataset.partitioned or self.dataset.time not in self.dataset.key:
            fresh, met = met, fresh
        else:
            newer = pa.array(ticks > await self._newest_of(connection, part))
            fresh, met = part.rows.filter(newer), part.rows.filter(pc.invert(newer))
        counts = Counts()
        if met.num_rows:
            counts.add(await self._merge(connection, part, met))
        counts.accepted += await copy_rows(connection, self._wire(part), fresh)
        return counts

    async def _newest_of(self, connection: Connection, part: Part) -> int:
        if part.table not in self._newest:
            statement = sql.SQL("SELECT max({}) FROM {}").format(sql.Identifier(self.dataset.time), sql.Identifier(part.schema, part.table))
            newest = await connection.fetch_value(statement)
            self._newest[part.table] = ticks_of(newest) if newest is not None else np.iinfo(np.int64).min
        return self._newest[part.table]

    def _wire(self, part: Part) -> WireTable:
        return WireTable(part.schema, part.table, self.table.columns)

    async def _merge(self, connection: Connection, part: Part, rows: Any) -> Counts:
        """Write rows that may meet others of their key, by way of a staging table of this connection."""
        target = sql.Identifier(self.dataset.schema, self.dataset.table.name)
        stage = f"stage_{self.dataset.schema}_{self.dataset.table.name}"[:63]
        create = sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS TABLE {} WITH NO DATA")
        await connection.execute(create.format(sql.Identifier(stage), target))
        await copy_rows(connection, WireTable("pg_temp", stage, self.table.columns), rows)
        columns = [name for name in rows.schema.names if name in self.dataset.table.c]
        result = await connection.fetch_one(self._merge_statement(part, stage, columns))
        await connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier("pg_temp", stage)))
        return Counts(result.fresh, result.changed, rows.num_rows - result.fresh - result.changed)

    def _merge_statement(self, part: Part, stage: str, columns: Sequence[str]) -> sql.Composed:
        key = sql.SQL(", ").join(map(sql.Identifier, self.dataset.key))
        listed = sql.SQL(", ").join(map(sql.Identifier, columns))
        return sql.SQL(
            "WITH written AS (INSERT INTO {target} AS t ({columns}) SELECT {columns} FROM {stage} ORDER BY {key}"
            " ON CONFLICT ({key}) {action} RETURNING (xmax = 0) AS is_fresh)"
            " SELECT count(*) FILTER (WHERE is_fresh) AS fresh, count(*) FILTER (WHERE NOT is_fresh) AS changed FROM written"
        ).format(
            target=sql.Identifier(part.schema, part.table),
            columns=listed,
            stage=sql.Identifier("pg_temp", stage),
            key=key,
            action=self._action(columns),
        )

    def _action(self, columns: Sequence[str]) -> sql.Composable:
        conflict = self.dataset.conflict
        stamped = {column.name for column in self.dataset.table.c if column.info.get("stamp")}
        chosen = [name for name in columns if name not in self.dataset.key and name not in stamped]
        if conflict.columns:
            chosen = [name for name in chosen if name in conflict.columns]
        if conflict.policy is OnConflict.IGNORE or not chosen:
            return sql.SQL("DO NOTHING")
        new = sql.SQL("coalesce(excluded.{0}, t.{0})" if conflict.policy is OnConflict.MERGE else "excluded.{0}")
        values = [new.format(sql.Identifier(name)) for name in chosen]
        olds = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in chosen)
        condition = sql.SQL("({}) IS DISTINCT FROM ({})").format(olds, sql.SQL(", ").join(values))
        if conflict.policy is OnConflict.NEWEST:
            version = sql.Identifier(conflict.version)
            condition = sql.SQL("{0} AND (t.{1} <= excluded.{1} OR t.{1} IS NULL)").format(condition, version)
        assigned = [sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in zip(chosen, values, strict=True)]
        return sql.SQL("DO UPDATE SET {} WHERE {}").format(sql.SQL(", ").join(assigned), condition)

    async def _add_parents(self, connection: Connection, parent: Parent, rows: Any, *, careful: bool) -> None:
        """Add parents that are not there yet; the ones written before are remembered."""
        own = [name for name, _ in parent.columns]
        wanted = self._lacking(parent, rows, careful=careful)
        if wanted is None:
            return
        target = self._parents[parent.dataset]
        theirs = [name for _, name in parent.columns]
        names = sql.SQL(", ").join(map(sql.Identifier, theirs))
        arrays = sql.SQL(", ").join(sql.SQL("%s::{}[]").format(_type_of(target, name)) for name in theirs)
        statement = sql.SQL("INSERT INTO {} ({}) SELECT DISTINCT * FROM unnest({}) AS given ({}) ORDER BY 1 ON CONFLICT DO NOTHING")
        table = sql.Identifier(target.schema, target.table.name)
        await connection.execute(statement.format(table, names, arrays, names), [wanted.column(name).to_pylist() for name in own])

    def _lacking(self, parent: Parent, rows: Any, *, careful: bool = False) -> Any:
        """Return the parents of rows that are not known to be there; None if all are."""
        own = [name for name, _ in parent.columns]
        if any(name not in rows.schema.names for name in own):
            return None
        numbers = self._numbers.get(parent.dataset)
        if numbers is not None and not careful and not rows.column(own[0]).null_count and numbers.has_all(rows.column(own[0])):
            return None
        wanted = rows.select(own).group_by(own).aggregate([])
        wanted = wanted.filter(pc.invert(wanted.column(own[0]).is_null()))
        known = self._known.get(parent.dataset)
        if known is not None and not careful and len(own) == 1:
            wanted = wanted.filter(pc.invert(pc.is_in(wanted.column(own[0]), value_set=known)))
        return wanted if wanted.num_rows else None

    def know_parents(self, rows: Any) -> None:
        """Remember, once it is committed, which parents are there."""
        for parent in self.dataset.parents:
            own = parent.columns[0][0]
            if len(parent.columns) == 1 and own in rows.schema.names and pa.types.is_integer(rows.column(own).type):
                self._numbers.setdefault(parent.dataset, Numbers()).add(rows.column(own))
            elif len(parent.columns) == 1 and own in rows.schema.names:
                seen = pc.drop_null(pc.unique(rows.column(own)))
                known = self._known.get(parent.dataset)
                fresh = seen if known is None else pc.filter(seen, pc.invert(pc.is_in(seen, value_set=known)))
                if known is None or len(fresh):
                    self._known[parent.dataset] = seen if known is None else pa.concat_arrays([known, fresh])


def _bound(moment: datetime) -> int:
    return ticks_of(moment)


def _type_of(dataset: Dataset, column: str) -> sql.SQL:
    from chainstrata.model.marking import type_sql

    return type_sql(dataset.table.c[column].type)


_NOWHERE: Final[tuple[Any, Array, Array]] = (None, np.empty(0), np.empty(0))
_LAST: Final = np.iinfo(np.int64).max
_MOST_KEYS = sql.SQL("SELECT max(most_keys) FROM {} WHERE rollup = ANY (%s)").format(sql.Identifier(SYSTEM_SCHEMA, "rollup_state"))
