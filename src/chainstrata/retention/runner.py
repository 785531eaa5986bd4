"""Lets go of what is old: what leaves is archived, read back and compared first, and nothing leaves that is still needed.

`run` is what the command, the API and the daily schedule call. It can be cut short anywhere and run again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chainstrata.config import (
    ARCHIVE_URL,
    PARTITIONS_LOCK_DEADLINE,
    PARTITIONS_LOCK_TIMEOUT,
    RETENTION_BATCH_ROWS,
    RETENTION_RELEASE_WAIT,
    Config,
)
from chainstrata.engines.postgres import Connection, Database
from chainstrata.engines.postgres.errors import StatementFailed
from chainstrata.engines.postgres.maintenance import Patience, exclusive, maintenance
from chainstrata.engines.storage import Storage, StorageError, open_storage
from chainstrata.model import Catalog, TimedTable, timed_tables
from chainstrata.retention.aging import Aging
from chainstrata.retention.archive.make import clean_up
from chainstrata.retention.archive.registry import list_archives, list_holds
from chainstrata.retention.archive.source import QUERIES
from chainstrata.retention.departure import Departure, Tools
from chainstrata.retention.errors import Kept, RetentionError
from chainstrata.retention.gate import find_blockers
from chainstrata.retention.model import (
    Action,
    AgedRows,
    Archive,
    ArchiveState,
    Blocker,
    Decision,
    Departed,
    Dependant,
    Outcome,
    Plan,
    Verdict,
)
from chainstrata.retention.planner import cutoff, decide, expired, is_due
from chainstrata.retention.sightings import forget_sightings
from chainstrata.retention.standings import close_departures, read_standings


@dataclass(frozen=True, slots=True)
class Options:
    """How retention works: waits for locks, rows of a batch, and how long dependants may take to catch up, in seconds."""

    patience: Patience = Patience()
    batch_rows: int = 50_000
    release_wait: float = 60.0

    @classmethod
    def from_config(cls, config: Config) -> "Options":
        longest = config[PARTITIONS_LOCK_TIMEOUT].total_seconds()
        patience = Patience(min(longest, 0.05), longest, config[PARTITIONS_LOCK_DEADLINE].total_seconds())
        return cls(patience, config[RETENTION_BATCH_ROWS], config[RETENTION_RELEASE_WAIT].total_seconds())


def archive_storage(config: Config) -> Storage:
    """Return where archives are: `archive.url`, or a directory of the node's home."""
    return open_storage(config[ARCHIVE_URL] or str(config.home / "archive"))


class Retention:
    """Retention of a catalog in one database, with its archive and everyone who depends on rows."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        storage: Storage,
        *,
        dependants: Sequence[Dependant] = (),
        options: Options | None = None,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._options = options or Options()
        self._tools = Tools(storage, tuple(dependants), self._options.patience, self._options.release_wait)

    async def plan(self, names: Sequence[str] = (), *, now: datetime | None = None) -> Plan:
        """Return what would leave now, and why the rest stays. Changes nothing."""
        moment = now or datetime.now(UTC)
        decisions: list[Decision] = []
        aged: list[AgedRows] = []
        async with self._database.connection() as connection:
            for table in _aging_tables(self._catalog, names):
                if table.partitioned:
                    decisions += await self._decide(connection, table, moment)
                else:
                    aged.append(await self._aging(connection, table, moment).look())
            return Plan(tuple(decisions), tuple(aged), tuple(await self._expired(connection, names, moment)))

    async def run(self, names: Sequence[str] = (), *, now: datetime | None = None) -> Outcome:
        """Let everything go that is due and not needed; return what left, and what stays though it is due.

        What goes wrong with one table keeps that table and no other; it is in the outcome.
        """
        moment = now or datetime.now(UTC)
        work = _Work()
        async with maintenance(self._database) as connection:
            for table in _aging_tables(self._catalog, names):
                async with exclusive(connection, f"partitions.{table.qualified}"):
                    if table.partitioned:
                        await self._run_partitions(connection, table, moment, work)
                        await self._forget_sightings(connection, table)
                    else:
                        await self._run_rows(connection, table, moment, work)
            await self._delete_expired(connection, names, moment)
            deleted = await self._clean(connection)
        return Outcome(tuple(work.departed), tuple(work.blocked), deleted)

    async def _run_partitions(self, connection: Connection, table: TimedTable, now: datetime, work: "_Work") -> None:
        await close_departures(connection, table)
        decisions = await self._decide(connection, table, now)
        for decision in decisions:
            if decision.verdict is Verdict.BLOCKED:
                work.blocked.append(decision)
                continue
            departure = Departure(connection, table, decision.standing, self._tools)
            try:
                departed = await departure.go(decision.steps)
            except (Kept, RetentionError, StorageError, StatementFailed) as error:
                work.blocked.append(_stopped(decision, error))
                work.blocked += [_waits(one, decision) for one in decisions if one.verdict is Verdict.LEAVES and _after(one, decision)]
                return
            if decision.verdict is Verdict.LEAVES:
                work.departed.append(departed)

    async def _forget_sightings(self, connection: Connection, table: TimedTable) -> None:
        for dataset in self._catalog:
            if dataset.full_name == table.name and dataset.change_only is not None:
                await forget_sightings(connection, dataset)

    async def _run_rows(self, connection: Connection, table: TimedTable, now: datetime, work: "_Work") -> None:
        aging = self._aging(connection, table, now)
        try:
            work.departed += await aging.go()
        except (Kept, RetentionError, StorageError, StatementFailed) as error:
            left = await aging.look()
            blockers = error.blockers if isinstance(error, Kept) else (Blocker(error.code, error.message),)
            work.blocked.append(AgedRows(table, left.cutoff, left.rows, left.oldest, tuple(blockers)))

    async def _decide(self, connection: Connection, table: TimedTable, now: datetime) -> list[Decision]:
        standings = await read_standings(connection, table)
        holds = await list_holds(connection, [table.name])
        blockers = {}
        for decision in decide(table, standings, now):
            if decision.verdict is not Verdict.KEPT and not decision.standing.released and is_due(table, decision.partition, now):
                found = await find_blockers(connection, table, decision.leaving, self._tools.dependants, holds)
                blockers[decision.partition.name] = found
        return decide(table, standings, now, blockers)

    def _aging(self, connection: Connection, table: TimedTable, now: datetime) -> Aging:
        limit = cutoff(table.lifecycle, now)
        if limit is None:
            raise ValueError(f"{table.name} is kept for ever")
        return Aging(connection, table, limit, self._tools, self._options.batch_rows)

    # Archives that have been kept long enough ----------------------------------------------------------------------

    async def _expired(self, connection: Connection, names: Sequence[str], now: datetime) -> list[Archive]:
        tables = {table.name: table.lifecycle for table in timed_tables(self._catalog, names)}
        archives = await list_archives(connection, list(tables), states=[ArchiveState.SERVING])
        return expired(archives, tables, now)

    async def _delete_expired(self, connection: Connection, names: Sequence[str], now: datetime) -> None:
        gone = [one.id for one in await self._expired(connection, names, now)]
        params = {"ids": gone, "from": [ArchiveState.SERVING.value], "state": ArchiveState.DELETING.value}
        await connection.execute(QUERIES.settle_archives, params)

    async def _clean(self, connection: Connection) -> int:
        """Delete the files of archives that are on record as going. Those being written belong to whoever holds their table."""
        deleted = 0
        for table in timed_tables(self._catalog):
            async with exclusive(connection, f"partitions.{table.qualified}"):
                deleted += await clean_up(connection, self._tools.storage, table.name)
        return deleted


@dataclass(slots=True)
class _Work:
    departed: list[Departed] = field(default_factory=list)
    blocked: list[Decision | AgedRows] = field(default_factory=list)


def _aging_tables(catalog: Catalog, names: Sequence[str]) -> list[TimedTable]:
    return [table for table in timed_tables(catalog, names) if table.lifecycle.keep is not None]


def _after(one: Decision, other: Decision) -> bool:
    return one.partition.span > other.partition.span


def _stopped(decision: Decision, error: RetentionError | StorageError | StatementFailed) -> Decision:
    blockers = error.blockers if isinstance(error, Kept) else (Blocker(error.code, error.message),)
    return Decision(decision.table, decision.standing, Verdict.BLOCKED, (), tuple(blockers), decision.overdue)


def _waits(decision: Decision, stopped: Decision) -> Decision:
    blocker = Blocker("order", f"{stopped.partition.name} is older and stays")
    return Decision(decision.table, decision.standing, Verdict.BLOCKED, (), (blocker,), decision.overdue)


__all__ = ["Action", "Options", "Retention", "archive_storage"]
