"""Sample data of packs: made by the pack, the same for the same seed, and written part by part.

Every part is a transaction that also notes how far the load is. So a load that was cut short goes on where it stopped, one that is done
does nothing, and two at once cannot double anything. Samples go into empty packs only.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any, Protocol

from psycopg import sql

from chainstrata.engines.postgres import Connection, Database, load_queries
from chainstrata.engines.postgres.maintenance import maintenance
from chainstrata.errors import UnknownName
from chainstrata.ingest.arrow import pc
from chainstrata.ingest.copy import copy_rows
from chainstrata.ingest.errors import IngestError
from chainstrata.ingest.wire import WireTable, describe_table
from chainstrata.model import Catalog, Pack, SqlKind
from chainstrata.model.marking import INTERNAL
from chainstrata.model.rollup import rollup_table_name

QUERIES = load_queries(__package__, "samples.sql")
SCALES = ("small", "medium", "large")
Progress = Callable[[str, int], None]
"""Called after each part with its dataset and its number of rows."""


class EnsurePartitions(Protocol):
    """Makes sure that the table of a dataset or roll-up, named in full, has partitions from `lo` to `hi`."""

    async def __call__(self, name: str, lo: datetime, hi: datetime, /) -> object: ...


class RollupKeeper(Protocol):
    """Folds what a sample wrote."""

    async def let_go(self, connection: Connection, source_name: str, hi: datetime) -> object:
        """Note, in the transaction of the connection, that rows of a dataset or roll-up before `hi` have left."""

    async def rebuild(self, name: str, *, lo: datetime | None = None) -> object:
        """Make the buckets of a dataset from `lo` on again from the rows that are there."""

    async def refresh(self, names: Iterable[str] = ()) -> object:
        """Fold everything that was written."""


class SampleRefused(IngestError):
    """The pack holds something else already."""

    code = "sample_refused"
    http_status = 409


@dataclass(frozen=True, slots=True)
class Loaded:
    """The sample a pack holds. `rows` are those of the sample, whoever wrote them; `now` those this call wrote."""

    pack: str
    scale: str
    seed: int
    anchor: datetime
    rows: int
    now: int
    complete: bool


def packs_with_samples(catalog: Catalog) -> list[str]:
    """Return the packs that bring sample data, each after those it requires."""
    return [pack.name for pack in catalog.packs if find_spec(f"{pack.package}.sample") is not None]


async def list_samples(database: Database) -> list[Loaded]:
    """Return the samples there are."""
    return [_loaded(row, 0) for row in await database.fetch_all(QUERIES.list_loads)]


class Samples:
    """Loads samples into one database; `ensure` makes room for them, `rollups` folds them."""

    def __init__(self, database: Database, catalog: Catalog, ensure: EnsurePartitions, rollups: RollupKeeper) -> None:
        self._database = database
        self._catalog = catalog
        self._ensure = ensure
        self._rollups = rollups

    async def load(
        self, pack_name: str, scale: str = "small", seed: int = 1, anchor: datetime | None = None, *, progress: Progress | None = None
    ) -> Loaded:
        """Fill an empty pack with its sample, up to `anchor` (by default, this minute), and return what it then holds.

        The same sample again does nothing, or goes on where it was cut short. Raises `SampleRefused` when the pack holds
        another sample or rows of another origin.
        """
        pack = self._catalog.pack(pack_name)
        if scale not in SCALES:
            raise UnknownName("scale", scale, list(SCALES))
        noted = await self._begin(pack, scale, seed, anchor)
        if noted.finished_at:
            return _loaded(noted, 0)
        written = 0
        parts = iter(self._maker(pack)(scale, seed, noted.anchor))
        number = 0
        # Making a part is work for the processor; the loop goes on meanwhile.
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            name, rows = part
            if number >= noted.parts:
                await self._write_part(pack, number, name, rows)
                written += rows.num_rows
            if progress:
                progress(name, rows.num_rows)
            number += 1
        await self._finish(pack, noted.anchor)
        return _loaded(await self._database.fetch_one(QUERIES.find_load, {"pack": pack.name}), written)

    async def clear(self, pack_name: str) -> None:
        """Empty every table of a pack that holds a sample. Raises `SampleRefused` when it holds none."""
        pack = self._catalog.pack(pack_name)
        async with self._database.transaction() as connection:
            if await connection.fetch_one(QUERIES.claim_part, {"pack": pack.name}) is None:
                raise SampleRefused(f"{pack.name} holds no sample data", hint="Only what `sample load` wrote is cleared.")
            tables = [sql.Identifier(table.schema or pack.name, table.name) for table in pack.metadata.sorted_tables]
            await connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(tables)))
            await connection.execute(QUERIES.forget_rollups, {"pack": pack.name})
            await connection.execute(QUERIES.forget_load, {"pack": pack.name})
            # Emptying a table marks its roll-ups; they are empty too.
            for table in pack.metadata.sorted_tables:
                if table.info == INTERNAL:
                    await connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table.schema or pack.name, table.name)))

    def _maker(self, pack: Pack) -> Callable[[str, int, datetime], Iterable[tuple[str, Any]]]:
        if find_spec(f"{pack.package}.sample") is None:
            raise UnknownName("pack with sample data", pack.name, packs_with_samples(self._catalog))
        make: Callable[[str, int, datetime], Iterable[tuple[str, Any]]] = pack.module("sample").make
        return make

    async def _begin(self, pack: Pack, scale: str, seed: int, anchor: datetime | None) -> Any:
        self._maker(pack)
        if await self._database.fetch_one(QUERIES.find_load, {"pack": pack.name}) is None:
            await self._require_empty(pack)
        moment = (anchor or datetime.now(UTC)).astimezone(UTC)
        moment = moment if anchor else moment.replace(second=0, microsecond=0)
        wanted = {"pack": pack.name, "scale": scale, "seed": seed, "anchor": moment}
        noted = await self._database.fetch_one(QUERIES.begin_load, wanted)
        same = (noted.scale, noted.seed) == (scale, seed) and (anchor is None or noted.anchor == moment)
        if not same:
            raise SampleRefused(
                f"{pack.name} holds the {noted.scale} sample of seed {noted.seed} up to {noted.anchor:%Y-%m-%d %H:%M} UTC",
                hint=f"`chainstrata sample clear {pack.name}` empties the pack; then load another.",
            )
        return noted

    async def _require_empty(self, pack: Pack) -> None:
        for table in pack.metadata.sorted_tables:
            name = sql.Identifier(table.schema or pack.name, table.name)
            if table.info != INTERNAL and await self._database.fetch_value(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(name)):
                raise SampleRefused(
                    f"{table.fullname} holds rows already",
                    hint="Sample data goes into an empty pack, so that it can be told from yours. Load it into another database.",
                )

    async def _write_part(self, pack: Pack, number: int, name: str, rows: Any) -> None:
        schema, table_name, time = self._target(name)
        if time and rows.num_rows:
            span = pc.min_max(rows[time]).as_py()
            await self._ensure(name, span["min"], span["max"] + timedelta(microseconds=1))
        async with self._database.transaction() as connection:
            noted = await connection.fetch_one(QUERIES.claim_part, {"pack": pack.name})
            if noted is None or noted.parts != number:
                raise SampleRefused(f"somebody else is loading or clearing the sample of {pack.name}", hint="Let them finish.")
            table = await describe_table(connection, schema, table_name)
            await copy_rows(connection, table, rows)
            for column, highest in _counted(table, rows):
                await connection.execute(QUERIES.advance_identity, {"table": table.full_name, "column": column, "highest": highest})
            await connection.execute(QUERIES.finish_part, {"pack": pack.name, "rows": rows.num_rows})

    def _target(self, name: str) -> tuple[str, str, str]:
        """Return schema, table and, if it has partitions, time column of a dataset or roll-up."""
        if name.count(".") > 1:
            dataset, rollup = self._catalog.rollup(name)
            return dataset.schema, rollup_table_name(rollup, dataset.table), rollup.bucket if rollup.lifecycle.partition else ""
        dataset = self._catalog.dataset(name)
        return dataset.schema, dataset.table.name, dataset.time if dataset.partitioned else ""

    async def _finish(self, pack: Pack, anchor: datetime) -> None:
        await self._fold(pack, anchor)
        async with maintenance(self._database) as connection:
            for item in pack.sql_objects():
                if item.kind is SqlKind.MATERIALIZED_VIEW:
                    await connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(item.schema, item.name)))
            for table in pack.metadata.sorted_tables:
                await connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table.schema or pack.name, table.name)))
            await connection.execute(QUERIES.finish_load, {"pack": pack.name})

    async def _fold(self, pack: Pack, anchor: datetime) -> None:
        gone: Mapping[str, datetime] = getattr(pack.module("sample"), "gone_before", lambda _: {})(anchor)
        async with self._database.transaction() as connection:
            for source, hi in gone.items():
                await self._rollups.let_go(connection, source, hi)
        for dataset in pack.datasets:
            since = [hi for source, hi in gone.items() if source.startswith(dataset.full_name)]
            if since:
                await self._rollups.rebuild(dataset.full_name, lo=min(since))
            elif dataset.rollups:
                await self._rollups.refresh([dataset.full_name])


def _counted(table: WireTable, rows: Any) -> Iterator[tuple[str, int]]:
    """Yield the columns that count by themselves but were given, with the highest value that was."""
    for column in table.columns:
        if column.identity and column.name in rows.schema.names and rows.num_rows:
            yield column.name, pc.max(rows[column.name]).as_py()


def _loaded(noted: Any, now: int) -> Loaded:
    return Loaded(noted.pack, noted.scale, noted.seed, noted.anchor, noted.rows_written, now, noted.finished_at is not None)
