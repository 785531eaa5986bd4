"""Applies and undoes columnar revisions, and says how they stand. The caller holds the lock of migrations."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Final

import pyarrow as pa

from chainstrata.engines.clickhouse import Columnar, quote_name
from chainstrata.engines.clickhouse.errors import ColumnarError
from chainstrata.errors import UnknownName
from chainstrata.migrate.columnar.history import HISTORY
from chainstrata.migrate.columnar.make import declared
from chainstrata.migrate.columnar.model import ColumnarRecord, ColumnarRevision, ColumnarState
from chainstrata.migrate.columnar.scripts import load_revisions
from chainstrata.migrate.errors import HistoryUnusable, MigrationEdited, MigrationFailed, NeedsConsent
from chainstrata.migrate.model import Direction, Finished, Site, Status, Watch, watch_nothing
from chainstrata.migrate.model import Progress as Event
from chainstrata.migrate.runner import Lock, open_migration_session
from chainstrata.model import Catalog
from chainstrata.model.columnar import Change, compare, create

_GONE: Final = "gone"
Folders = Mapping[str, Path]


async def up(
    columnar: Columnar, catalog: Catalog, *, packs: Collection[str] = (), folders: Folders | None = None, watch: Watch = watch_nothing
) -> list[Finished]:
    """Apply every revision that is not applied, those of the named packs alone if any are named."""
    await _records(columnar, prepare=True)
    pending = await plan_up(columnar, catalog, packs=packs, folders=folders)
    return [await _run(columnar, revision, Direction.UP, watch) for revision in pending]


async def plan_up(
    columnar: Columnar, catalog: Catalog, *, packs: Collection[str] = (), folders: Folders | None = None
) -> list[ColumnarRevision]:
    """Return the revisions that are not applied; refuse a history that is not what ran here. Changes nothing."""
    revisions = load_revisions(catalog, folders)
    records = await _records(columnar, prepare=False)
    _check(revisions, records)
    return [one for pack, own in revisions.items() if not packs or pack in packs for one in own if not _applied(records, one.name)]


async def down(
    columnar: Columnar,
    catalog: Catalog,
    target: str = "1",
    *,
    packs: Collection[str] = (),
    yes: bool = False,
    folders: Folders | None = None,
    watch: Watch = watch_nothing,
) -> list[Finished]:
    """Undo the last so many revisions, all (`base`), or those of a pack after one. What loses data needs `yes`."""
    revisions = load_revisions(catalog, folders)
    records = await _records(columnar, prepare=True)
    _check(revisions, records)
    chosen = _choose(revisions, records, target, packs)
    losses = [change.loses for revision in chosen for change in revision.back if change.loses]
    if losses and not yes:
        raise NeedsConsent(losses)
    return [await _run(columnar, revision, Direction.DOWN, watch) for revision in chosen]


def _choose(
    revisions: Mapping[str, list[ColumnarRevision]], records: Mapping[str, ColumnarRecord], target: str, packs: Collection[str]
) -> list[ColumnarRevision]:
    """Return what is to be undone, the latest first."""
    there = [one for pack, own in revisions.items() if not packs or pack in packs for one in own if one.name in records]
    latest = sorted(there, key=lambda one: records[one.name].at, reverse=True)
    if target == "base":
        return latest
    if target.isdigit():
        return latest[: int(target)]
    kept = next((one for one in there if one.name == target), None)
    if kept is None:
        raise UnknownName("applied columnar revision", target, [one.name for one in there])
    return [one for one in reversed(revisions[kept.pack]) if one.name > kept.name and one.name in records]


async def status(columnar: Columnar, catalog: Catalog, *, folders: Folders | None = None) -> list[ColumnarState]:
    """Return how every revision stands; changes nothing."""
    revisions = load_revisions(catalog, folders)
    records = await _records(columnar, prepare=False)
    listed = []
    for own in revisions.values():
        for one in own:
            record = records.get(one.name)
            if record is None:
                listed.append(ColumnarState(one.name, one.pack, one.message, Status.PENDING))
                continue
            finished = record.at if record.status == Status.APPLIED.value else None
            edited = record.checksum != one.checksum
            listed.append(
                ColumnarState(
                    one.name, one.pack, one.message, Status(record.status), edited, finished, record.seconds, record.error or None
                )
            )
    known = {one.name for own in revisions.values() for one in own}
    missing = (record for name, record in records.items() if name not in known and record.pack in revisions)
    listed += [ColumnarState(record.revision, record.pack, "its file is nowhere", Status.MISSING) for record in missing]
    return listed


async def create_declared(columnar: Columnar, catalog: Catalog) -> None:
    """Make everything the packs declare, without revisions: for tests, and to compare with."""
    for pack in catalog.packs:
        for change in compare({}, declared(pack)):
            for statement in change.statements(columnar.database, columnar.cluster):
                await columnar.execute(statement)


# One revision --------------------------------------------------------------------------------------------------------


async def _run(columnar: Columnar, revision: ColumnarRevision, direction: Direction, watch: Watch) -> Finished:
    began = perf_counter()
    watch(Event("revision", f"{direction} {revision.name}: {revision.message}"))
    await _note(columnar, revision, Status.RUNNING.value)
    changes = revision.changes if direction is Direction.UP else revision.back
    for number, change in enumerate(changes, 1):
        try:
            await _do(columnar, change, watch)
        except ColumnarError as error:
            await _note(columnar, revision, Status.FAILED.value, perf_counter() - began, error.message)
            raise MigrationFailed(revision.name, number, len(changes), change.title, error.message, hint=error.hint) from error
    seconds = perf_counter() - began
    await _note(columnar, revision, Status.APPLIED.value if direction is Direction.UP else _GONE, seconds)
    watch(Event("done", revision.name, seconds))
    return Finished(revision.name, revision.pack, direction, revision.message, seconds)


async def _do(columnar: Columnar, change: Change, watch: Watch) -> None:
    began = perf_counter()
    for statement in change.statements(columnar.database, columnar.cluster):
        await columnar.execute(statement)
    watch(Event("step", change.title, perf_counter() - began))


# The history ---------------------------------------------------------------------------------------------------------


async def _records(columnar: Columnar, *, prepare: bool) -> dict[str, ColumnarRecord]:
    if prepare:
        for statement in create(HISTORY, columnar.database, columnar.cluster):
            await columnar.execute(statement)
    elif not await columnar.fetch_value("EXISTS TABLE {name:Identifier}", {"name": HISTORY.name}):
        return {}
    names = ", ".join(quote_name(column.name) for column in HISTORY.columns if column.name not in ("at", "seconds", "error"))
    rows = await columnar.query_rows(f"SELECT {names}, at, seconds, error FROM {quote_name(HISTORY.name)} FINAL WHERE status != 'gone'")  # noqa: S608  # names of ours
    return {row.revision: ColumnarRecord(**row._asdict()) for row in rows}


async def _note(columnar: Columnar, revision: ColumnarRevision, state: str, seconds: float = 0.0, error: str = "") -> None:
    rows = pa.table(
        {
            "revision": [revision.name],
            "pack": [revision.pack],
            "checksum": [revision.checksum],
            "status": [state],
            "at": pa.array([datetime.now(UTC)], pa.timestamp("us", "UTC")),
            "seconds": [seconds],
            "error": [error],
        }
    )
    await columnar.insert_arrow(HISTORY.name, rows)


def _applied(records: Mapping[str, ColumnarRecord], name: str) -> bool:
    return name in records and records[name].status == Status.APPLIED.value


def _check(revisions: Mapping[str, list[ColumnarRevision]], records: Mapping[str, ColumnarRecord]) -> None:
    """Refuse to go on from a history that is not what ran here. What packs left behind that are not in use is let be."""
    known = {one.name: one for own in revisions.values() for one in own}
    for name, record in records.items():
        if record.pack not in revisions:
            continue
        if name not in known:
            hint = "Install the release of the pack that has it, or undo it with the release that applied it."
            raise HistoryUnusable(f"columnar revision {name} is applied, but its file is nowhere", hint=hint)
        if record.status == Status.APPLIED.value and record.checksum != known[name].checksum:
            raise MigrationEdited(name, applied=record.checksum, found=known[name].checksum)


@asynccontextmanager
async def locked(site: Site, watch: Watch = watch_nothing) -> AsyncIterator[None]:
    """Hold the lock of migrations, which lies in PostgreSQL and is one for both engines."""
    async with open_migration_session(site) as connection, Lock(site, watch).locked(connection):
        yield
