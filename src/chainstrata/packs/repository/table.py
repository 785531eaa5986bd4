"""Writing one table: single rows, and small batches put together row by row."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import postgresql as pg

from chainstrata.engines.postgres import Connection
from chainstrata.errors import UsageError
from chainstrata.model import Conflict, Dataset, Interval, OnConflict, append
from chainstrata.model.latest import keeps_latest, last_rows
from chainstrata.packs.repository import making
from chainstrata.packs.repository.errors import RowNotFound, explaining
from chainstrata.packs.repository.filling import Filling
from chainstrata.packs.repository.reading import Readable
from chainstrata.packs.repository.selection import Source, column_of, equal

Row = TypeVar("Row")
New = TypeVar("New")


@dataclass(frozen=True, slots=True)
class Filled(Generic[Row]):
    """A bucket of a series: the row that held at its end, `filled` if that is from before it, and the means over it."""

    bucket: datetime
    filled: bool
    row: Row
    means: Mapping[str, Any]


class Table(Readable[Row], Generic[Row, New]):
    """One dataset's table to read and write. A field of a new row that is None is left to the column's default."""

    def __init__(self, source: Source, dataset: Dataset, row: type[Row], new: type[New]) -> None:
        super().__init__(source, dataset.table, row, time=dataset.time, entity=dataset.entity)
        self.dataset = dataset
        self.new = new
        self._writable = {
            column.name: column
            for column in dataset.table.c
            if column.computed is None and not column.info.get("stamp") and not (column.identity is not None and column.identity.always)
        }

    async def latest(self, *entities: Any, at: datetime | None = None) -> list[Row]:
        """Return the newest row of each entity, up to an instant; of all there are where none is named.

        Where the dataset keeps its current state, that says where the newest rows of now are.
        """
        if at is not None or not keeps_latest(self.dataset):
            return await super().latest(*entities, at=at)
        numbers = [one for each in entities for one in (each if isinstance(each, tuple) else (each,))]
        statement = last_rows(self.dataset, sql.SQL("t.*"), given=sql.Placeholder("entities") if entities else None)
        return await self.source.fetch_all(statement, {"entities": numbers}, row_factory=making.into(self.row))

    async def filled(
        self,
        every: Interval,
        *entities: Any,
        since: datetime,
        until: datetime | None = None,
        as_of: datetime | None = None,
        means: Sequence[str] = (),
    ) -> list[Filled[Row]]:
        """Return for each entity and bucket the row that held at its end, `filled` where the bucket has none of its own.

        `means` are of the columns named, each value weighted with how long it held. Where no entity is named they are of all there are.
        A bucket before an entity's first row, or where nothing held any more, is left out. `as_of` leaves out what is about later;
        raises `CannotFill` for a dataset that is no series.
        """
        filling = Filling(self.dataset, every, tuple(means))
        params: dict[str, Any] = {**filling.span(since, until or datetime.now(UTC), as_of)}
        wanted = self._given(entities, params) if entities else self._skipped(self.entity)
        columns = sql.SQL(", ").join(sql.Identifier("t", column.name) for column in self.table.c)
        statement = filling.statement(wanted, columns)
        found = await self.source.fetch_all(statement, params)
        rows = making.make_rows(self.row, found)
        return [
            Filled(one.bucket, one.filled, row, {name: getattr(one, f"{name}_mean") for name in means})
            for one, row in zip(found, rows, strict=True)
        ]

    async def create(self, row: New | Row) -> Row:
        """Write a new row and return it as it stands. One with its key already is a `UniqueViolation`."""
        statement = pg.insert(self.table).values(**self._values(row)).returning(*self.table.c)
        return await self._one(statement)

    async def update(self, *key: Any, **changes: Any) -> Row:
        """Change columns of the row with this key and return it; raise `RowNotFound`. When it was created stays as it was."""
        if not changes:
            return await self.need(*key)
        found = await self._perhaps(
            sa.update(self.table).where(*self._where(key)).values(**self._checked(changes)).returning(*self.table.c)
        )
        if found is None:
            raise RowNotFound(self.table.fullname, self._keyed(key))
        return found

    async def delete(self, *key: Any) -> bool:
        """Remove the row with this key and say whether it was there."""
        with explaining(self.table.metadata):
            return bool(await self.source.execute(sa.delete(self.table).where(*self._where(key))))

    async def upsert(self, row: New | Row, conflict: Conflict | None = None) -> Row:
        """Write a row, or change the one with its key as the dataset declares, and return the row as it stands then.

        `conflict` says otherwise: `newest("slot")`, `merge("name")`, `ignore()`. When a row was first written stays as it was.
        """
        values = self._values(row)
        target = self._target(values)
        found = await self._perhaps(self._upsert(values, target, conflict or self.dataset.conflict).returning(*self.table.c))
        # Not changed, because it is ignored or older: the row there stands.
        return found if found is not None else await self._standing(values, target)

    def batch(self) -> "Batch[Row, New]":
        """Begin a batch: `table.batch().add(one).add(another).on_conflict(merge()).write()`."""
        return Batch(self)

    async def write(self, values: Sequence[Mapping[str, Any]], conflict: Conflict) -> int:
        """Write rows in one transaction, all or none; of several with one key the last counts. Return how many rows it touched."""
        kept: dict[Any, Mapping[str, Any]] = {}
        for one in values:
            names = self._target(one)
            key = tuple(one[name] for name in names) if all(name in one for name in names) else object()
            if key in kept and conflict.policy is OnConflict.NEWEST and one[conflict.version] < kept[key][conflict.version]:
                continue
            kept[key] = {**kept.get(key, {}), **one} if conflict.policy is OnConflict.MERGE else one
        with explaining(self.table.metadata):
            if isinstance(self.source, Connection):
                return await self._write(self.source, list(kept.values()), conflict)
            async with self.source.transaction() as connection:
                return await self._write(connection, list(kept.values()), conflict)

    async def _write(self, connection: Connection, values: Sequence[Mapping[str, Any]], conflict: Conflict) -> int:
        touched = 0
        # One statement for all rows that give the same columns: it is prepared once and sent in one go.
        groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
        for one in values:
            groups.setdefault(tuple(sorted(one)), []).append(one)
        for group in groups.values():
            statement = self._upsert(group[0], self._target(group[0]), conflict, bound=False)
            touched += await connection.execute_many(statement, group)
        return touched

    def _upsert(self, values: Mapping[str, Any], target: Sequence[str], conflict: Conflict, *, bound: bool = True) -> Any:
        insert = pg.insert(self.table).values(**values) if bound else pg.insert(self.table)
        if conflict.policy is OnConflict.APPEND:
            return insert
        changed = [name for name in values if name not in target and (not conflict.columns or name in conflict.columns)]
        if conflict.policy is OnConflict.NEWEST:
            # The newer row stands alone: what it does not give is as if it had never been given.
            changed = [name for name in self._writable if name not in target]
        if conflict.policy is OnConflict.IGNORE or not changed:
            return insert.on_conflict_do_nothing(index_elements=list(target))
        newer = self.table.c[conflict.version] <= insert.excluded[conflict.version] if conflict.version else None
        return insert.on_conflict_do_update(
            index_elements=list(target), set_={name: insert.excluded[name] for name in changed}, where=newer
        )

    def _target(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the key a row is known by: the primary one, or else the unique one whose columns it gives."""
        uniques = [tuple(one.columns.keys()) for one in self.table.constraints if isinstance(one, sa.UniqueConstraint)]
        return next((one for one in (self.key, *sorted(uniques)) if all(name in values for name in one)), self.key)

    async def _standing(self, values: Mapping[str, Any], target: Sequence[str]) -> Row:
        found = await self.where(**{name: values[name] for name in target}).first()
        if found is None:
            raise RowNotFound(self.table.fullname, {name: values.get(name) for name in target}, hint="It was removed meanwhile; try again.")
        return found

    def _where(self, key: Sequence[Any]) -> list[sa.ColumnElement[bool]]:
        return [equal(self.table, name, value) for name, value in self._keyed(key).items()]

    def _values(self, row: New | Row) -> dict[str, Any]:
        """Return what a row gives: generated columns and those left to their default are not among it."""
        if not is_dataclass(row):
            raise UsageError(f"a row of {self.table.fullname} is a {self.new.__name__}, not {type(row).__name__}")
        given = {field.name: getattr(row, field.name) for field in fields(row)}
        named = {name if name in self.table.c else name.removesuffix("_"): value for name, value in given.items()}
        return {name: value for name, value in named.items() if value is not None and name in self._writable}

    def _checked(self, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in changes:
            column_of(self.table, name)
            if name not in self._writable:
                raise UsageError(f"{self.table.fullname}.{name} follows from other columns", hint=f"Yours are {', '.join(self._writable)}.")
        return changes

    async def _one(self, statement: Any) -> Row:
        found = await self._perhaps(statement)
        if found is None:
            raise AssertionError("an insert returns its row")
        return found

    async def _perhaps(self, statement: Any) -> Row | None:
        with explaining(self.table.metadata):
            return await self.source.fetch_one(statement, row_factory=making.into(self.row))


@dataclass(frozen=True, slots=True, eq=False)
class Batch(Generic[Row, New]):
    """Rows to be written together, all or none. For more than some thousands take `ingest`, which sends them by COPY."""

    table: Table[Row, New]
    rows: tuple[Mapping[str, Any], ...] = ()
    conflict: Conflict = append()

    def add(self, *rows: New | Row) -> "Batch[Row, New]":
        """Add rows."""
        return self.add_all(rows)

    def add_all(self, rows: Iterable[New | Row]) -> "Batch[Row, New]":
        """Add rows from anything that yields them."""
        return replace(self, rows=(*self.rows, *(self.table._values(row) for row in rows)))  # noqa: SLF001  # the batch is a part of its table

    def on_conflict(self, conflict: Conflict | None = None) -> "Batch[Row, New]":
        """Say what a row does that meets one with its key; without a word, as the dataset declares."""
        return replace(self, conflict=conflict or self.table.dataset.conflict)

    async def write(self) -> int:
        """Write the rows and return how many were written or changed. Of several with one key the last counts."""
        return await self.table.write(self.rows, self.conflict) if self.rows else 0
