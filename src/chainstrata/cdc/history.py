"""History: rows that only the mirror has any more, because their partitions left the source.

Retention lets a partition go once the mirror has its rows, and nobody can copy those again. So before a mirror is made anew they are put
aside, and afterwards put back. Either may be done twice, or be cut short and done again: a row that is put anywhere again is the same
row. Their version is the lowest there is, so that whatever comes of them later stands above it, from whichever server.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from chainstrata.cdc.errors import DatasetStopped
from chainstrata.cdc.slot import QUERIES
from chainstrata.engines.clickhouse import Columnar, quote_name, quote_names
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.partitioning import Span, State
from chainstrata.engines.postgres.partitioning.catalog import list_partitions
from chainstrata.model import Dataset
from chainstrata.model.columnar import DELETED, VERSION, ColumnarColumn, ColumnarTable, create, drop, mirror_table

Spans = Sequence[Span] | None
"""The times that rows may be of in the source; None where that may be all."""
KEPT: Final = "__kept"
_OWN: Final = (VERSION, DELETED)
_OLDEST: Final = 1
_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2299, 12, 31, tzinfo=UTC)
_LONG: Final = 24 * 3600.0
_SETTINGS: Final = {"max_partitions_per_insert_block": 0, "insert_null_as_default": 0}


async def list_spans(database: Database, dataset: Dataset, *, staying: bool = False) -> Spans:
    """Return the times the source has partitions for, joined where they meet.

    With `staying`, without those of partitions that may be gone at any moment, because nothing keeps them any more.
    """
    if not dataset.partitioned:
        return None
    async with database.connection() as connection:
        released = await connection.fetch_all(QUERIES.list_released, {"dataset": dataset.full_name}) if staying else []
        partitions = await list_partitions(connection, dataset.schema, dataset.table.name)
    leaving = [Span(row.lower_bound, row.upper_bound) for row in released]
    there = [one.span for one in partitions if one.state is State.ATTACHED and one.span not in leaving]
    joined: list[Span] = []
    for span in sorted(there):
        if joined and joined[-1].end >= span.start:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined


def is_present(dataset: Dataset, spans: Spans) -> str:
    """Return the condition that a row of the mirror is of a time the source has a partition for."""
    if spans is None:
        return "1"
    name = quote_name(dataset.time)
    ranges = [(max(span.start, _EARLIEST), min(span.end, _LATEST)) for span in spans]
    parts = [f"({name} >= {_instant(start)} AND {name} < {_instant(end)})" for start, end in ranges]
    return f"({' OR '.join(parts)})" if parts else "0"


def _instant(when: datetime) -> str:
    return f"toDateTime64('{when:%Y-%m-%d %H:%M:%S.%f}', 6, 'UTC')"


class History:
    """The rows of mirrors that nobody else has."""

    def __init__(self, columnar: Columnar) -> None:
        self._columnar = columnar

    async def count(self, dataset: Dataset, spans: Spans) -> int:
        """Count them, those that are put aside too."""
        found = 0
        for table in (mirror_table(dataset).table.name, self._kept(dataset)):
            if spans is not None and await self._columns(table):
                query = f"SELECT count() FROM {self._place(table)} FINAL WHERE NOT {is_present(dataset, spans)}"
                found = max(found, int(await self._columnar.fetch_value(query, timeout=_LONG)))
        return found

    async def put_aside(self, dataset: Dataset, spans: Spans) -> None:
        """Copy them out of a mirror that is about to be made anew."""
        mirror = mirror_table(dataset).table
        columns = await self._columns(mirror.name)
        if spans is None or not columns or not await self.count(dataset, spans):
            return
        kept = self._kept(dataset)
        if not await self._columns(kept):
            for statement in create(_like(mirror, kept, columns), self._columnar.database, self._columnar.cluster):
                await self._columnar.execute(statement)
        held = await self._columns(kept)
        await self._move(mirror.name, kept, [name for name in columns if name in held], f"NOT {is_present(dataset, spans)}")

    async def put_back(self, dataset: Dataset) -> None:
        """Copy them into the mirror that was made, in which nothing else of their times is; raise `DatasetStopped` if they do not fit."""
        kept, mirror = self._kept(dataset), mirror_table(dataset).table
        held, wanted = await self._columns(kept), await self._columns(mirror.name)
        if not held:
            return
        misfit = find_misfit(held, wanted)
        if misfit:
            hint = (
                f"Change the declaration, then run `chainstrata cdc resume {dataset.full_name}`. To give that history up instead:"
                f" `chainstrata cdc end {dataset.full_name} --drop-table --lose-history`, then `chainstrata cdc resync {dataset.full_name}`."
            )
            raise DatasetStopped(dataset.full_name, f"rows that only its mirror has do not fit it any more: {misfit}", hint=hint)
        await self._move(kept, mirror.name, [name for name in held if name in wanted], "1")
        await self.forget(dataset)

    async def forget(self, dataset: Dataset) -> None:
        """Drop what is put aside."""
        for statement in drop(
            replace(mirror_table(dataset).table, name=self._kept(dataset)), self._columnar.database, self._columnar.cluster
        ):
            await self._columnar.execute(statement)

    async def _move(self, source: str, target: str, columns: Sequence[str], condition: str) -> None:
        names = quote_names([name for name in columns if name not in _OWN])
        await self._columnar.execute(
            f"INSERT INTO {self._place(target)} ({names}, {VERSION}, {DELETED})"
            f" SELECT {names}, {_OLDEST}, 0 FROM {self._place(source)} FINAL WHERE {condition}",
            settings=_SETTINGS,
            timeout=_LONG,
        )

    async def _columns(self, table: str) -> dict[str, str]:
        rows: list[Any] = await self._columnar.query_rows(
            "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String} ORDER BY position",
            {"database": self._columnar.database, "table": table},
        )
        return {row.name: row.type for row in rows}

    def _place(self, table: str) -> str:
        return f"{quote_name(self._columnar.database)}.{quote_name(table)}"

    def _kept(self, dataset: Dataset) -> str:
        return mirror_table(dataset).table.name + KEPT


def find_misfit(held: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Return why rows of one shape cannot go into another without a value being bent or made up; empty if they can."""
    for name, kind in wanted.items():
        if name in _OWN or kind == held.get(name):
            continue
        if name not in held and "Nullable(" not in kind:
            return f"they have no {name}, which is {kind}"
        if name in held and kind != f"Nullable({held[name]})":
            return f"their {name} is {held[name]}, and it is to be {kind}"
    return ""


def _like(mirror: ColumnarTable, name: str, columns: Mapping[str, str]) -> ColumnarTable:
    """Return a table for rows of a mirror as it is, which may have got columns since it was declared."""
    declared = {one.name: one for one in mirror.columns}
    own = [
        declared[column] if column in declared and declared[column].type == kind else ColumnarColumn(column, kind)
        for column, kind in columns.items()
    ]
    return replace(mirror, name=name, columns=own, doc="Rows that only a mirror has, put aside while it is made anew.")
