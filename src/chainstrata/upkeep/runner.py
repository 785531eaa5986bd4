"""Refreshes materialized views, makes statistics, builds bloated indexes anew; each one worker at a time, nobody held up.

Every function has a `plan_` that only says what it would do. What is cut short is done again by the next run.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Final

from psycopg.rows import class_row

from chainstrata.config import UPKEEP_BLOAT, UPKEEP_INDEX_BYTES, UPKEEP_MEASURE_BYTES, Config
from chainstrata.engines.postgres import Connection, Database, load_queries
from chainstrata.engines.postgres.errors import PermissionDenied, StatementFailed
from chainstrata.engines.postgres.maintenance import exclusive, maintenance, set_lock_timeout
from chainstrata.model import Catalog
from chainstrata.upkeep import ddl
from chainstrata.upkeep.errors import UpkeepFailed
from chainstrata.upkeep.model import IndexBloat, Statistics, View, ViewVerdict
from chainstrata.upkeep.planner import choose_bloated, choose_stale, order_views

_QUERIES: Final = load_queries("chainstrata.upkeep")
# A refresh, or statistics, wait for nobody but a change of the same table; readers never wait for them.
_LOCK_SECONDS: Final = 5.0
# A concurrent rebuild waits for transactions that began before it, and nobody waits for it meanwhile.
_REBUILD_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Options:
    """From which part of an index that is not needed it is built anew, the smallest one worth it, the largest one that is read for it."""

    bloat: float = 0.4
    index_bytes: int = 8 * 1024 * 1024
    measure_bytes: int = 4 * 1024 * 1024 * 1024

    @classmethod
    def from_config(cls, config: Config) -> "Options":
        return cls(config[UPKEEP_BLOAT] / 100, config[UPKEEP_INDEX_BYTES], config[UPKEEP_MEASURE_BYTES])


def _schemas(catalog: Catalog) -> dict[str, list[str]]:
    return {"schemas": [pack.name for pack in catalog.packs]}


@asynccontextmanager
async def _at_work(database: Database, name: str, *, lock_seconds: float = _LOCK_SECONDS) -> AsyncIterator[Connection]:
    async with maintenance(database) as connection, exclusive(connection, f"upkeep.{name}"):
        await set_lock_timeout(connection, lock_seconds, local=False)
        yield connection


class _Failures:
    """What went wrong with one thing keeps no other from its turn; it is raised when all had theirs."""

    def __init__(self) -> None:
        self._found: list[tuple[str, StatementFailed]] = []

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        try:
            yield
        except StatementFailed as error:
            self._found.append((name, error))

    def raise_any(self) -> None:
        if self._found:
            raise UpkeepFailed([f"{name}: {error.message}" for name, error in self._found], hint=self._found[0][1].hint)


# Materialized views -----------------------------------------------------------------------------------------------------


async def plan_refresh(database: Database, catalog: Catalog, names: Sequence[str] = ()) -> list[View]:
    """Return the materialized views, each after those it is made of, and how each would be refreshed."""
    rows = await database.fetch_all(_QUERIES.list_views, _schemas(catalog))
    views = order_views(View(row.schema, row.name, row.populated, row.unique_index, tuple(row.needs)) for row in rows)
    return [view for view in views if not names or view.qualified in names]


async def refresh(database: Database, catalog: Catalog, names: Sequence[str] = ()) -> list[View]:
    """Refresh the materialized views while they are read, and return them with what each took.

    One without a unique index is left alone once it has rows, because its readers would have to wait.
    """
    done: list[View] = []
    failures = _Failures()
    async with _at_work(database, "views") as connection:
        for view in await plan_refresh(database, catalog, names):
            if view.verdict is ViewVerdict.BLOCKING:
                done.append(view)
                continue
            began = perf_counter()
            with failures.of(view.qualified):
                await connection.execute(ddl.refresh_view(view))
                done.append(replace(view, seconds=round(perf_counter() - began, 3)))
    failures.raise_any()
    return done


# Statistics -------------------------------------------------------------------------------------------------------------


async def plan_analyze(database: Database, catalog: Catalog) -> list[Statistics]:
    """Return the tables whose statistics are stale, partitions first."""
    rows = await database.fetch_all(_QUERIES.list_statistics, _schemas(catalog))
    tables = [
        Statistics(row.schema, row.name, row.partitioned, row.rows, row.changed, row.analyzed_at, row.partitions_analyzed_at)
        for row in rows
    ]
    return choose_stale(tables, rows[0].now) if rows else []


async def analyze(database: Database, catalog: Catalog) -> list[Statistics]:
    """Make the statistics that are stale, and return of what. What somebody else has locked is left for the next time."""
    done: list[Statistics] = []
    failures = _Failures()
    async with _at_work(database, "statistics") as connection:
        for table in await plan_analyze(database, catalog):
            began = perf_counter()
            with failures.of(table.qualified):
                await connection.execute(ddl.analyze_table(table, database.server_version))
                done.append(replace(table, seconds=round(perf_counter() - began, 3)))
    failures.raise_any()
    return done


# Indexes ----------------------------------------------------------------------------------------------------------------


async def plan_reindex(database: Database, catalog: Catalog, *, options: Options | None = None) -> list[IndexBloat]:
    """Return the indexes worth building anew, the most to gain first."""
    async with maintenance(database) as connection:
        return await _plan_reindex(connection, catalog, options or Options())


async def _plan_reindex(connection: Connection, catalog: Catalog, options: Options) -> list[IndexBloat]:
    limits = {**_schemas(catalog), "minimum": options.index_bytes, "maximum": options.measure_bytes}
    rows = class_row(IndexBloat)
    found = {index.qualified: index for index in await connection.fetch_all(_QUERIES.estimate_indexes, limits, row_factory=rows)}
    place = await connection.fetch_value(_QUERIES.find_measure)
    if place is not None:
        # Without the right to read them, or for those too large to be read whole, the estimate stands.
        with suppress(PermissionDenied):
            measured = await connection.fetch_all(ddl.measure_indexes(place), limits, row_factory=rows)
            found |= {index.qualified: index for index in measured}
    return list(choose_bloated(found.values(), part=options.bloat))


async def reindex(database: Database, catalog: Catalog, *, options: Options | None = None) -> list[IndexBloat]:
    """Build bloated indexes anew while they are used, and return them with their new size.

    What an earlier run left half built is dropped first.
    """
    done: list[IndexBloat] = []
    failures = _Failures()
    async with _at_work(database, "indexes", lock_seconds=_REBUILD_SECONDS) as connection:
        for row in await connection.fetch_all(_QUERIES.list_leftovers, _schemas(catalog)):
            await connection.execute(ddl.drop_leftover(row.schema, row.name))
        for index in await _plan_reindex(connection, catalog, options or Options()):
            began = perf_counter()
            with failures.of(index.qualified):
                await connection.execute(ddl.reindex(index))
                size = await connection.fetch_value(_QUERIES.index_size, {"schema": index.schema, "name": index.name})
                done.append(replace(index, seconds=round(perf_counter() - began, 3), size_after=size))
    failures.raise_any()
    return done
