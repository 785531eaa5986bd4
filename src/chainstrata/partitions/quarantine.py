"""What to do with rows that were not taken: look at them, count them, put them in after all, or give them up.

Adding to quarantine is in `packs.strata.quarantine`, open to every feature. A replay is one transaction per batch: the
rows go in and are noted as replayed together, so it can be cut short and run again.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from psycopg import sql

from chainstrata.engines.postgres import Connection, Database, load_queries
from chainstrata.engines.postgres.errors import StatementFailed
from chainstrata.engines.postgres.partitioning import State, list_partitions
from chainstrata.errors import UsageError
from chainstrata.model import Catalog, Conflict, Dataset, OnConflict, Parent
from chainstrata.packs.strata.quarantine import Reason, reason_for
from chainstrata.partitions.runner import FIRST, LAST, Options, ensure

QUERIES = load_queries(__package__)
_LAST = 2**63 - 1


class WriteHeld(Protocol):
    """Writes held rows, given by their numbers, into a dataset in the caller's transaction; raises what the server refuses."""

    async def __call__(self, connection: Connection, dataset: Dataset, ids: Sequence[int], columns: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Held:
    """One row in quarantine."""

    id: int
    dataset: str
    reason: str
    detail: str
    content: str | None
    original: str | None
    source: str | None
    batch: str | None
    row_time: datetime | None
    first_seen: datetime
    last_seen: datetime
    times: int
    state: str
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class HeldCount:
    """How many rows of a dataset are held for a reason; `times` counts repeats too."""

    dataset: str
    reason: str
    rows: int
    times: int
    first_seen: datetime
    last_seen: datetime
    earliest: datetime | None
    latest: datetime | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: how many rows went in, and how many of those asked for stay, by reason."""

    replayed: int
    held: dict[str, int]


async def list_held(
    database: Database,
    *,
    datasets: Sequence[str] = (),
    reasons: Sequence[str] = (),
    states: Sequence[str] = ("held",),
    before: int | None = None,
    most: int = 100,
) -> list[Held]:
    """Return rows in quarantine, newest first; `before` a number goes on from there."""
    params = {
        "datasets": list(datasets),
        "reasons": list(reasons),
        "states": list(states),
        "before": _LAST if before is None else before,
        "most": most,
    }
    return [Held(*row) for row in await database.fetch_all(QUERIES.list_quarantine, params)]


async def count_held(database: Database, *, datasets: Sequence[str] = ()) -> list[HeldCount]:
    """Return how many rows are held, by dataset and reason."""
    return [HeldCount(*row) for row in await database.fetch_all(QUERIES.count_quarantine, {"datasets": list(datasets)})]


async def drop_held(database: Database, *, ids: Sequence[int] = (), datasets: Sequence[str] = (), reasons: Sequence[str] = ()) -> int:
    """Give held rows up and return how many."""
    if not (ids or datasets or reasons):
        raise UsageError("nothing says which rows to drop", hint="Name rows, datasets or reasons.")
    return await database.execute(QUERIES.drop_held, {"ids": list(ids), "datasets": list(datasets), "reasons": list(reasons)})


async def replay(
    database: Database,
    catalog: Catalog,
    dataset: str,
    *,
    ids: Sequence[int] = (),
    reasons: Sequence[str] = (),
    make_partitions: bool = False,
    batch: int = 1000,
    write: WriteHeld | None = None,
    options: Options | None = None,
) -> Replayed:
    """Put held rows of a dataset in, as far as they fit now, and return how many went in and why the others stay.

    Rows whose time has no partition are left alone unless `make_partitions`. What could not be read as a row stays.
    """
    declared = catalog.dataset(dataset)
    wanted = {"dataset": dataset, "ids": list(ids), "reasons": list(reasons)}
    if make_partitions and declared.partitioned:
        days = await database.fetch_all(QUERIES.times_held, {**wanted, "first": FIRST, "last": LAST})
        for earliest, latest in _spans_held(days):
            await ensure(database, declared, earliest, latest + timedelta(microseconds=1), options=options)
    batches = _Batches(database, declared, {**wanted, "most": batch, **await _spans(database, declared)}, write or _writer(catalog))
    while await batches.do_next():
        pass
    left = await database.fetch_all(QUERIES.count_left, wanted)
    return Replayed(batches.replayed, {row.reason: row.rows for row in left})


def _spans_held(days: Sequence[Any]) -> list[tuple[datetime, datetime]]:
    """Return from when to when there are rows, days in a row as one: a row of long ago needs no partitions for all the time since."""
    spans: list[tuple[datetime, datetime]] = []
    before: datetime | None = None
    for day, earliest, latest in days:
        if before is not None and day - before <= timedelta(days=1):
            spans[-1] = (spans[-1][0], latest)
        else:
            spans.append((earliest, latest))
        before = day
    return spans


async def _spans(database: Database, dataset: Dataset) -> dict[str, Any]:
    if not dataset.partitioned:
        return {"covered": False, "starts": [], "ends": []}
    async with database.connection() as connection:
        there = await list_partitions(connection, dataset.schema, dataset.table.name)
    spans = [one.span for one in there if one.state is State.ATTACHED]
    return {"covered": True, "starts": [span.start for span in spans], "ends": [span.end for span in spans]}


class _Batches:
    """Replays batch after batch. A set that is refused is taken row by row, so that one bad row holds up no other."""

    def __init__(self, database: Database, dataset: Dataset, picking: dict[str, Any], write: WriteHeld) -> None:
        self._database = database
        self._dataset = dataset
        self._picking = picking
        self._write = write
        self._after = 0
        self.replayed = 0

    async def do_next(self) -> bool:
        """Replay the next batch and return whether there was one."""
        last, replayed = await self._database.run(self._replay)
        self.replayed += replayed
        self._after = last or self._after
        return last is not None

    async def _replay(self, connection: Connection) -> tuple[int | None, int]:
        rows = await connection.fetch_all(QUERIES.pick_held, {**self._picking, "after": self._after})
        groups: dict[frozenset[str], list[int]] = defaultdict(list)
        for row in rows:
            groups[frozenset(row.columns)].append(row.id)
        done: list[int] = []
        for columns, ids in groups.items():
            if await self._try(connection, columns, ids) is None:
                done += ids
            else:
                done += [one for one in ids if await self._try_one(connection, columns, one)]
        await connection.execute(QUERIES.settle, {"ids": done})
        return rows[-1].id if rows else None, len(done)

    async def _try_one(self, connection: Connection, columns: frozenset[str], one: int) -> bool:
        error = await self._try(connection, columns, [one])
        if error is not None:
            reason = reason_for(error) or Reason.CONSTRAINT
            detail = f"{error.message}; {error.detail}" if error.detail else error.message
            await connection.execute(QUERIES.still_held, {"id": one, "reason": reason.value, "detail": detail})
        return error is None

    async def _try(self, connection: Connection, columns: frozenset[str], ids: Sequence[int]) -> StatementFailed | None:
        try:
            async with connection.savepoint():
                await self._write(connection, self._dataset, ids, sorted(columns))
        except StatementFailed as error:
            if reason_for(error) is None:
                raise
            return error
        return None


def _writer(catalog: Catalog) -> WriteHeld:
    """Return what writes held rows with the parents they lack, as ingest does."""

    async def write(connection: Connection, dataset: Dataset, ids: Sequence[int], columns: Sequence[str]) -> None:
        for parent in dataset.parents:
            if all(own in columns for own, _ in parent.columns):
                await _add_parents(connection, dataset, ids, parent, catalog.dataset(parent.dataset))
        await insert_held(connection, dataset, ids, columns)

    return write


async def _add_parents(connection: Connection, dataset: Dataset, ids: Sequence[int], parent: Parent, target: Dataset) -> None:
    statement = sql.SQL(
        "INSERT INTO {target} ({theirs}) SELECT DISTINCT {own} FROM strata.quarantine q,"
        " jsonb_populate_record(NULL::{table}, q.content) AS r WHERE q.id = ANY (%(ids)s) AND {first} IS NOT NULL"
        " ORDER BY 1 ON CONFLICT DO NOTHING"
    ).format(
        target=sql.Identifier(target.schema, target.table.name),
        theirs=sql.SQL(", ").join(sql.Identifier(name) for _, name in parent.columns),
        own=sql.SQL(", ").join(sql.SQL("r.{}").format(sql.Identifier(name)) for name, _ in parent.columns),
        table=sql.Identifier(dataset.schema, dataset.table.name),
        first=sql.SQL("r.{}").format(sql.Identifier(parent.columns[0][0])),
    )
    await connection.execute(statement, {"ids": list(ids)})


async def insert_held(connection: Connection, dataset: Dataset, ids: Sequence[int], columns: Sequence[str]) -> None:
    """Write held rows straight into the dataset's table, by its rule for keys that are taken.

    Only the columns a row names are written, so that the others get their defaults. A name the table does not have is
    left out, as in content that a source has added a field to since.
    """
    table = dataset.table
    own = [name for name in columns if name in table.c and table.c[name].computed is None]
    statement = sql.SQL(
        "INSERT INTO {table} AS t ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM strata.quarantine q,"
        " jsonb_populate_record(NULL::{table}, q.content) AS r WHERE q.id = ANY (%(ids)s) ORDER BY q.id {conflict}"
    ).format(
        table=sql.Identifier(dataset.schema, table.name),
        names=sql.SQL(", ").join(map(sql.Identifier, own)),
        values=sql.SQL(", ").join(sql.SQL("r.{}").format(sql.Identifier(name)) for name in own),
        conflict=_on_conflict(dataset.conflict, dataset.key, own),
    )
    await connection.execute(statement, {"ids": list(ids)})


def _on_conflict(conflict: Conflict, key: Sequence[str], columns: Sequence[str]) -> sql.Composable:
    if conflict.policy is OnConflict.APPEND:
        return sql.SQL("")
    target = sql.SQL(", ").join(map(sql.Identifier, key))
    changed = [name for name in (conflict.columns or columns) if name in columns and name not in key]
    if conflict.policy is OnConflict.IGNORE or not changed:
        return sql.SQL("ON CONFLICT ({}) DO NOTHING").format(target)
    setting = sql.SQL("{0} = coalesce(excluded.{0}, t.{0})" if conflict.policy is OnConflict.MERGE else "{0} = excluded.{0}")
    changes = sql.SQL(", ").join(setting.format(sql.Identifier(name)) for name in changed)
    newer: sql.Composable = sql.SQL("")
    if conflict.policy is OnConflict.NEWEST:
        newer = sql.SQL(" WHERE excluded.{0} >= t.{0}").format(sql.Identifier(conflict.version))
    return sql.SQL("ON CONFLICT ({}) DO UPDATE SET {}{}").format(target, changes, newer)
