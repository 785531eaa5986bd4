"""The columnar mirror as a sink: every change becomes a version of its row.

A row's version is the position of its commit, so it does not matter when, or how often, it is written: the highest version stands.
Of several changes of a row in one transaction only the last is written, unless the transaction is spread over batches; then
the later write stands. How far the mirror is stands in a table beside it, written after the rows: a crash between the two
makes the same rows come again, with the same versions.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from chainstrata.cdc.errors import DatasetLost, DatasetStopped
from chainstrata.cdc.history import History, Spans
from chainstrata.cdc.model import TRUNCATE, Changes, Relation, RelationColumn
from chainstrata.cdc.shape import Missing, Shaped, Target, shape, shape_copied
from chainstrata.cdc.sink import Position, Rejected, Source, SourceColumn, Taken
from chainstrata.cdc.values import UnknownType, resolve
from chainstrata.engines.clickhouse import Columnar, quote_name, quote_names
from chainstrata.engines.clickhouse.arrow import plain_type
from chainstrata.engines.clickhouse.errors import ColumnarBadValue, ColumnarUndefined
from chainstrata.engines.postgres.arrow.decode import Array, Field
from chainstrata.engines.postgres.arrow.kinds import Kind
from chainstrata.model import Dataset
from chainstrata.model.columnar import DELETED, VERSION, create, mirror_table
from chainstrata.model.columnar.ddl import alter
from chainstrata.model.columnar.ddl import places as tables_of
from chainstrata.model.columnar.types import UNBOUNDED
from chainstrata.packs.strata.columnar import POSITIONS

LOGGER: Final = logging.getLogger("chainstrata.cdc")
HINT: Final = "Bring declaration and mirror in line, then run `chainstrata cdc resync {}`."
GONE: Final = "its table in the columnar engine is gone"
_COLUMNAR: Final[Mapping[str, str]] = {
    "bool": "Bool",
    "int2": "Int16",
    "int4": "Int32",
    "int8": "Int64",
    "float4": "Float64",
    "float8": "Float64",
    "uuid": "UUID",
    "date": "Date32",
    "timestamptz": "DateTime64(6, 'UTC')",
    "enum": "LowCardinality(String)",
}
_WHOLE: Final[Mapping[str, str]] = {"uint64": "UInt64", "uint256": "UInt256"}
_MOST_DIGITS: Final = 76
_LONG: Final = 24 * 3600.0
_BASE: Final = "_base_"
_LACKS: Final = "_lacks_"
# A change may touch any number of months, which the engine would take for a mistake.
_ANY_PARTITIONS: Final = {"max_partitions_per_insert_block": 0}
_TEXTS: Final = frozenset({"text", "varchar", "bpchar", "name", "json", "jsonb", "bytea", "enum", "interval", "array", "numeric"})


@dataclass(frozen=True, slots=True)
class _Ready:
    """A mirror that was looked at, and what it takes for rows of one shape."""

    relation: Relation
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows up to a truncate, made of so many changes; `truncated` is its position, 0 where there is none."""

    targets: Sequence[Target]
    shaped: Shaped | None
    changes: int
    truncated: int


class MirrorSink:
    """The mirrors of all datasets in one columnar engine."""

    name = "mirror"

    def __init__(self, columnar: Columnar) -> None:
        self._columnar = columnar
        self._history = History(columnar)
        self._ready: dict[str, _Ready] = {}
        self._revision = 0
        self._opened = False

    def wants(self, dataset: Dataset) -> bool:
        return dataset.mirror is not None

    async def open(self) -> Mapping[str, Position]:
        if not self._opened:
            await self._create(create(POSITIONS, self._columnar.database, self._columnar.cluster))
            self._opened = True
        rows = await self._columnar.query_rows(f"SELECT dataset, lsn, system, timeline, revision FROM {POSITIONS.name} FINAL")
        self._revision = max((row.revision for row in rows), default=0)
        return {row.dataset: Position(row.dataset, row.lsn, row.system, row.timeline) for row in rows}

    async def commit(self, positions: Iterable[Position]) -> None:
        listed = list(positions)
        self._revision = max(self._revision + 1, time.time_ns())
        rows = {
            "dataset": pa.array([one.dataset for one in listed], pa.string()),
            "lsn": pa.array([one.lsn for one in listed], pa.uint64()),
            "system": pa.array([one.system for one in listed], pa.string()),
            "timeline": pa.array([one.timeline for one in listed], pa.uint32()),
            "revision": pa.array([self._revision] * len(listed), pa.uint64()),
        }
        await self._columnar.insert_arrow(POSITIONS.name, pa.table(rows))

    async def list_gone(self, datasets: Iterable[Dataset]) -> set[str]:
        rows = await self._columnar.query_rows(
            "SELECT name FROM system.tables WHERE database = {database:String}", {"database": self._columnar.database}
        )
        there = {row.name for row in rows}
        return {dataset.full_name for dataset in datasets if mirror_table(dataset).table.name not in there}

    # Shape -----------------------------------------------------------------------------------------------------------

    async def create(self, dataset: Dataset) -> None:
        """Make a mirror's table and view where they are missing."""
        mirror = mirror_table(dataset)
        if not await self._columns(mirror.table.name):
            await self._create(mirror.create(self._columnar.database, self._columnar.cluster))

    async def _create(self, statements: Iterable[str]) -> None:
        for statement in statements:
            await self._columnar.execute(statement)

    async def prepare(self, dataset: Dataset, relation: Relation, source: Source) -> None:
        ready = self._ready.get(dataset.full_name)
        if ready is None or ready.relation != relation:
            before = {column.name for column in ready.relation.columns} if ready else set()
            targets = await self._fit(dataset, relation.columns, source, before=before)
            self._ready[dataset.full_name] = _Ready(relation, tuple(targets))

    async def _fit(
        self,
        dataset: Dataset,
        columns: Sequence[RelationColumn],
        source: Source,
        *,
        fresh: bool = False,
        before: Collection[str] = (),
    ) -> list[Target]:
        """Bring the mirror to the shape of the rows, as far as that is safe, and return what its columns take.

        `before` has the columns of the rows that came until now.
        """
        if fresh:
            await self.create(dataset)
        name = mirror_table(dataset).table.name
        has = await self._columns(name)
        if not has:
            raise DatasetLost(dataset.full_name, GONE)
        added = [column for column in columns if column.name not in has and _is_wanted(dataset, column.name)]
        for column in added:
            await self._add(dataset, column, source, fresh=fresh)
        if added:
            has = await self._columns(name)
            await self._show(dataset, has)
        places = {column.name: place for place, column in enumerate(columns)}
        unsent = {one.name for one in source.columns} - {one.name for one in source.sent} - set(dataset.key)
        if fresh and (unsent := unsent & has.keys()):
            has = await self._leave_out(dataset, sorted(unsent))
        absent = [column for column in has if column not in places and column not in (VERSION, DELETED)]
        # Rows from before a column was added come after it is in the mirror, where the log is read again: they have nothing in it.
        later = {one.name for one in source.columns if _comes_empty(one)} - set(before)
        gone = [column for column in absent if column not in later or "Nullable(" not in has[column]]
        if gone:
            raise _lacking(dataset, gone, source)
        if not set(dataset.key) <= {column.name for column in columns if column.key}:
            problem = "changes do not say which row they are about: its replica identity is not its primary key"
            table = f"{dataset.schema}.{dataset.table.name}"
            mend = f"Run ALTER TABLE {table} REPLICA IDENTITY DEFAULT"
            if not set(dataset.key) <= {one.name for one in source.columns if one.key}:
                mend = f"Give {table} its primary key again"
            # What came meanwhile is in the log as it is.
            hint = f"{mend}, then `chainstrata cdc resync {dataset.full_name}`."
            raise DatasetStopped(dataset.full_name, problem, hint=hint)
        return [
            _target(dataset, column, columns[places[column]], places[column], kind, source)
            for column, kind in has.items()
            if column in places
        ]

    async def targets(self, dataset: Dataset, source: Source, *, fresh: bool = False) -> list[Target]:
        """Return what the mirror takes for rows read from the table itself; their order is that of the columns to read.

        A `fresh` mirror has no rows yet, so that any column can be added to it.
        """
        listed = [RelationColumn(one.name, one.type_oid, one.modifier, one.key) for one in source.sent]
        found = await self._fit(dataset, listed, source, fresh=fresh)
        return [replace(target, place=place) for place, target in enumerate(found)]

    async def _columns(self, table: str) -> dict[str, str]:
        rows = await self._columnar.query_rows(
            "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String} ORDER BY position",
            {"database": self._columnar.database, "table": table},
        )
        return {row.name: row.type for row in rows}

    async def _add(self, dataset: Dataset, column: RelationColumn, source: Source, *, fresh: bool) -> None:
        """Add a column that came up in the table; what is in the mirror already must rightly have no value in it."""
        known = next((one for one in source.columns if one.name == column.name), None)
        full_name = dataset.full_name
        if not fresh and (known is None or not _comes_empty(known)):
            problem = f"the new column {column.name!r} has values in rows that are mirrored already"
            raise DatasetStopped(full_name, problem, hint=f"Run `chainstrata cdc resync {full_name}`: it copies them anew.")
        declared = _declared(_kind(dataset, column, source), source.types[column.type_oid].name)
        low = declared.startswith("LowCardinality(")
        nullable = f"LowCardinality(Nullable({declared[15:-1]}))" if low else f"Nullable({declared})"
        await self._columnar.execute(
            f"ALTER TABLE {self._table(dataset)} ADD COLUMN IF NOT EXISTS {quote_name(column.name)} {nullable} AFTER {self._last(dataset)}"
        )

    async def _leave_out(self, dataset: Dataset, columns: Sequence[str]) -> dict[str, str]:
        """Have a mirror without columns that nobody could fill exactly as the server does."""
        name = mirror_table(dataset).table.name
        LOGGER.warning("%s: this server does not send the generated columns %s, and the mirror is without them", name, ", ".join(columns))
        dropped = ", ".join(f"DROP COLUMN IF EXISTS {quote_name(column)}" for column in columns)
        for table in tables_of(name, self._columnar.cluster):
            await self._columnar.execute(alter(table, dropped, self._columnar.database, self._columnar.cluster))
        has = await self._columns(name)
        await self._show(dataset, has)
        return has

    async def _show(self, dataset: Dataset, has: Mapping[str, str]) -> None:
        mirror = mirror_table(dataset)
        shown = quote_names([name for name in has if name not in (VERSION, DELETED)])
        database = quote_name(self._columnar.database)
        await self._columnar.execute(
            f"CREATE OR REPLACE VIEW {database}.{quote_name(mirror.view.name)} AS SELECT {shown} FROM {self._table(dataset)} FINAL"
        )

    def _table(self, dataset: Dataset) -> str:
        return f"{quote_name(self._columnar.database)}.{quote_name(mirror_table(dataset).table.name)}"

    def _last(self, dataset: Dataset) -> str:
        return quote_name(mirror_table(dataset).columns[-1])

    # Rows ------------------------------------------------------------------------------------------------------------

    async def make(self, dataset: Dataset, changes: Changes) -> "list[_Part]":
        targets = self._ready[dataset.full_name].targets
        made = []
        for part, truncated in _parts(changes):
            # Array work of some milliseconds, which would hold up everything else here.
            shaped = await asyncio.to_thread(shape, part, targets, version=VERSION, deleted=DELETED) if len(part) else None
            made.append(_Part(targets, shaped, len(part), truncated))
        return made

    async def take(self, dataset: Dataset, made: "Sequence[_Part]") -> Taken:
        try:
            return await self._take(dataset, made)
        except ColumnarUndefined as error:
            if await self.list_gone([dataset]):
                raise DatasetLost(dataset.full_name, GONE) from error
            raise

    async def _take(self, dataset: Dataset, made: "Sequence[_Part]") -> Taken:
        rows = 0
        rejected: list[Rejected] = []
        for part in made:
            if part.shaped is not None:
                rejected += (await self._write(dataset, part.targets, part.shaped)).rejected
            if part.truncated:
                await self._truncate(dataset, part.truncated)
            rows += part.changes + bool(part.truncated)
        return Taken(rows, rejected)

    async def copy(self, dataset: Dataset, fields: Sequence[Field], targets: Sequence[Target], lsn: int) -> Taken:
        """Take rows that were read from the table as of a position."""
        shaped = await asyncio.to_thread(shape_copied, fields, targets, lsn, version=VERSION, deleted=DELETED)
        return await self._write(dataset, targets, shaped)

    async def remove(self, dataset: Dataset, condition: str, params: Mapping[str, Any], lsn: int) -> None:
        """Let rows be gone that meet a condition, as of just before a position."""
        keys = quote_names(dataset.key)
        table = self._table(dataset)
        await self._columnar.execute(
            f"INSERT INTO {table} ({keys}, {VERSION}, {DELETED})"
            f" SELECT {keys}, {{lsn:UInt64}} - 1, 1 FROM {table} FINAL WHERE {VERSION} < {{lsn:UInt64}} AND {condition}",
            {"lsn": lsn, **params},
            settings=_ANY_PARTITIONS,
        )

    async def clear(self, dataset: Dataset, spans: Spans) -> None:
        await self._history.put_aside(dataset, spans)
        await self._drop(dataset)
        await self.create(dataset)

    async def put_back(self, dataset: Dataset) -> None:
        await self._history.put_back(dataset)

    async def drop(self, dataset: Dataset) -> None:
        """Remove a mirror for good, what was put aside of it too."""
        await self._drop(dataset)
        await self._history.forget(dataset)

    async def _drop(self, dataset: Dataset) -> None:
        self._ready.pop(dataset.full_name, None)
        for statement in mirror_table(dataset).drop(self._columnar.database, self._columnar.cluster):
            await self._columnar.execute(statement)

    async def count(self, dataset: Dataset, spans: Spans) -> tuple[int, int] | None:
        """Return how many rows a mirror has, and how many of them nobody else has; None where there is no mirror."""
        if not await self._columns(mirror_table(dataset).table.name):
            return None
        rows = await self._columnar.fetch_value(f"SELECT count() FROM {self._table(dataset)} FINAL", timeout=_LONG)
        return int(rows), await self._history.count(dataset, spans)

    async def _write(self, dataset: Dataset, targets: Sequence[Target], shaped: Shaped) -> Taken:
        table, rejected = shaped.rows, [_rejected(dataset, one.lsn, one.content, "bad_value", one.problem) for one in shaped.refused]
        keep = np.ones(table.num_rows, dtype=bool)
        keep[[one.row for one in shaped.refused]] = False
        if shaped.missing:
            rejected += await self._complete(dataset, targets, shaped, shaped.missing, keep)
        if not keep.all():
            table = table.filter(pa.array(keep))
        if table.num_rows:
            rejected += await self._insert(dataset, table)
        return Taken(shaped.rows.num_rows, rejected)

    async def _complete(self, dataset: Dataset, targets: Sequence[Target], shaped: Shaped, missing: Missing, keep: Array) -> list[Rejected]:
        """Write rows of which the server did not send values that did not change: the mirror has them, and puts them in itself.

        Marks the rows it wrote as not to be kept, and returns those whose base the mirror has not.
        """
        lacking = {number: names for number, names in missing.columns().items() if keep[number]}
        if not lacking:
            return []
        keep[list(lacking)] = False
        chosen = pa.array(list(lacking))
        part = shaped.rows.take(chosen)
        names = [target.name for target in targets if target.name in missing.rows]
        for name in names:
            part = part.append_column(_LACKS + name, pa.array([name in one for one in lacking.values()], pa.bool_()))
        bases = missing.bases.take(chosen)
        for name in dataset.key:
            part = part.append_column(_BASE + name, bases[name])
        # All at once: one row may be the base of another, as it was before.
        lost = await self._join(dataset, targets, part, names)
        detail = f"the mirror has no row to keep {', '.join(names)} of, and the server did not send what did not change"
        return [_rejected(dataset, row[0], dict(zip(dataset.key, row[1:], strict=True)), "no_base", detail) for row in lost]

    async def _join(self, dataset: Dataset, targets: Sequence[Target], part: Any, names: Sequence[str]) -> list[Any]:
        """Write rows, each with the values it lacks of the row that was under its base key; return those that had none."""
        scratch = f"cdc_scratch_{time.time_ns()}"
        place = f"{quote_name(self._columnar.database)}.{scratch}"
        shown = [f"{quote_name(one.name)} {one.columnar}" for one in targets]
        shown += [f"{quote_name(_LACKS + name)} Bool" for name in names]
        shown += [f"{quote_name(_BASE + one.name)} {one.columnar}" for one in targets if one.key]
        await self._columnar.execute(f"CREATE TABLE {place} ({', '.join(shown)}, {VERSION} UInt64, {DELETED} UInt8) ENGINE = Memory")
        try:
            await self._columnar.insert_arrow(scratch, part)
            rows = _based(dataset.key, names, self._table(dataset), place)
            texts = ", ".join(f"toString(s.{quote_name(key)})" for key in dataset.key)
            # After a crash rows may come whose writing had just been done, and whose base had then been taken away.
            lost = await self._columnar.query_rows(
                f"SELECT s.{VERSION}, {texts} FROM {rows} WHERE m._base_version = 0 AND d._own_version < s.{VERSION}"
            )
            own = [target.name for target in targets]
            values = [
                f"if(s.{quote_name(_LACKS + name)}, m.{quote_name(_BASE + name)}, s.{quote_name(name)})"
                if name in names
                else f"s.{quote_name(name)}"
                for name in own
            ]
            same = " AND ".join(f"s.{quote_name(name)} = s.{quote_name(_BASE + name)}" for name in dataset.key)
            # Nor is a row to be made again of one that has come under its base key since.
            still = f"m._base_version < s.{VERSION} OR d._own_version < s.{VERSION} OR ({same})"
            await self._columnar.execute(
                f"INSERT INTO {self._table(dataset)} ({quote_names(own)}, {VERSION}, {DELETED})"
                f" SELECT {', '.join(values)}, s.{VERSION}, s.{DELETED} FROM {rows} WHERE m._base_version > 0 AND ({still})",
                settings=_ANY_PARTITIONS,
            )
        finally:
            await self._columnar.execute(f"DROP TABLE IF EXISTS {place}")
        return lost

    async def _insert(self, dataset: Dataset, table: Any) -> list[Rejected]:
        """Write rows; where the engine refuses a value, find the rows it refuses and write the others."""
        try:
            await self._columnar.insert_arrow(mirror_table(dataset).table.name, table, settings=_ANY_PARTITIONS)
        except ColumnarBadValue as error:
            if table.num_rows == 1:
                return [_rejected(dataset, int(table[VERSION][0].as_py()), _texts(table, 0), error.code, error.message)]
            half = table.num_rows // 2
            return [*await self._insert(dataset, table.slice(0, half)), *await self._insert(dataset, table.slice(half))]
        return []

    async def _truncate(self, dataset: Dataset, lsn: int) -> None:
        """Let every row be gone that was there before the truncate. Rows of its own transaction that came before have its version."""
        keys = quote_names(dataset.key)
        # One below the commit: no other transaction's rows have that, and what this one writes afterwards stands above it.
        await self._columnar.execute(
            f"INSERT INTO {self._table(dataset)} ({keys}, {VERSION}, {DELETED})"
            f" SELECT {keys}, greatest({VERSION}, {{lsn:UInt64}} - 1), 1 FROM {self._table(dataset)} FINAL WHERE {VERSION} <= {{lsn:UInt64}}",
            {"lsn": lsn},
            settings=_ANY_PARTITIONS,
        )


def _based(keys: Sequence[str], names: Sequence[str], mirror: str, place: str) -> str:
    """Return rows `s` beside the row `m` under each one's base key, and the version `d` has of its own key; 0 where there is none."""
    own, base = quote_names(keys), quote_names([_BASE + name for name in keys])
    kept = ", ".join(f"{quote_name(name)} AS {quote_name(_BASE + name)}" for name in dict.fromkeys([*keys, *names]))
    bases = f"SELECT {kept}, {VERSION} AS _base_version FROM {mirror} FINAL WHERE ({own}) IN (SELECT {base} FROM {place})"
    done = f"SELECT {own}, max({VERSION}) AS _own_version FROM {mirror} WHERE ({own}) IN (SELECT {own} FROM {place}) GROUP BY {own}"
    to_base = " AND ".join(f"s.{quote_name(_BASE + name)} = m.{quote_name(_BASE + name)}" for name in keys)
    to_own = " AND ".join(f"s.{quote_name(name)} = d.{quote_name(name)}" for name in keys)
    return f"{place} AS s LEFT JOIN ({bases}) AS m ON {to_base} LEFT JOIN ({done}) AS d ON {to_own}"


def _parts(changes: Changes) -> Iterable[tuple[Changes, int]]:
    """Yield the changes up to each truncate, with the truncate's position; 0 stands for none."""
    begin = 0
    for number in np.flatnonzero(changes.messages.kinds == TRUNCATE).tolist():
        yield changes.take(slice(begin, number)), int(changes.commit_lsns[number])
        begin = number + 1
    if begin < len(changes):
        yield changes.take(slice(begin, None)), 0


def _lacking(dataset: Dataset, gone: Sequence[str], source: Source) -> DatasetStopped:
    """Return why a mirror cannot do with what changes bring."""
    if set(gone) <= {column.name for column in source.columns if column.generated}:
        problem = f"the server generates the columns {', '.join(gone)} and does not send them, as PostgreSQL does from 18 on"
        hint = f"Run `chainstrata cdc resync {dataset.full_name}`: it is made without them. Mirror(columns=…) leaves them out for good."
        return DatasetStopped(dataset.full_name, problem, hint=hint)
    problem = f"the mirror has the columns {', '.join(gone)}, and changes no longer bring them"
    return DatasetStopped(dataset.full_name, problem, hint=HINT.format(dataset.full_name))


def _comes_empty(column: SourceColumn) -> bool:
    """Return whether a column of this kind has no value in rows that were there when it was added."""
    return column.nullable and not column.default and not column.generated


def _is_wanted(dataset: Dataset, column: str) -> bool:
    mirror = dataset.mirror
    return mirror is not None and (not mirror.columns or column in mirror.columns or column in dataset.key)


def _kind(dataset: Dataset, column: RelationColumn, source: Source) -> Kind:
    try:
        return resolve(source.types, column.type_oid, column.modifier)
    except UnknownType as error:
        hint = "Leave it out by naming the others in the dataset's Mirror(columns=…)."
        raise DatasetStopped(dataset.full_name, f"column {column.name!r} is of {error}, which cannot be mirrored", hint=hint) from error


def _declared(kind: Kind, type_name: str) -> str:
    """Return the columnar type of a column that was added, as its declaration would have it."""
    if kind.name != "numeric":
        return _COLUMNAR.get(kind.name, "String")
    if type_name in _WHOLE:
        return _WHOLE[type_name]
    if kind.precision is None:
        return UNBOUNDED
    return f"Decimal({kind.precision}, {kind.scale or 0})" if kind.precision <= _MOST_DIGITS else "String"


def _target(dataset: Dataset, name: str, column: RelationColumn, place: int, columnar: str, source: Source) -> Target:
    kind = _kind(dataset, column, source)
    inner = plain_type(columnar)
    fits = inner == plain_type(_COLUMNAR.get(kind.name, "String"))
    fits |= inner == "String" and kind.name in _TEXTS
    fits |= kind.name == "numeric" and (inner in ("UInt64", "UInt256") or inner.startswith("Decimal("))
    fits |= kind.name == "array" and inner.startswith("Array(")
    if not fits:
        problem = f"column {name!r} is {kind} now, and the mirror keeps it as {columnar}"
        raise DatasetStopped(dataset.full_name, problem, hint=HINT.format(dataset.full_name))
    return Target(name, columnar, place, kind, name in dataset.key)


def _texts(table: Any, row: int) -> dict[str, str | None]:
    values = {name: table[name][row].as_py() for name in table.column_names if name not in (VERSION, DELETED)}
    return {name: None if value is None else value.hex() if isinstance(value, bytes) else str(value) for name, value in values.items()}


def _rejected(dataset: Dataset, lsn: int, content: Mapping[str, str | None], reason: str, detail: str) -> Rejected:
    return Rejected(dataset.full_name, lsn, {name: content[name] for name in dataset.key}, content, reason, detail)
