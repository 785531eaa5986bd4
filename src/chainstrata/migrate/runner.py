"""Applies and undoes revisions, one process at a time, each step at most once.

A revision with a transaction runs whole or not at all. One without runs step by step; what a step changed and the note that
it is done are committed together, except for steps that no transaction can hold, which look before they act. So whatever
interrupts a run, the next one goes on where it stopped.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, Final

import psycopg
from psycopg import sql

from chainstrata.config import (
    MIGRATE_LOCK_ATTEMPTS,
    MIGRATE_LOCK_TIMEOUT,
    MIGRATE_STATEMENT_TIMEOUT,
    MIGRATE_WAIT_TIMEOUT,
    PARTITIONS_TIMESCALE,
)
from chainstrata.engines.postgres import open_session, translate
from chainstrata.errors import ChainStrataError
from chainstrata.migrate import history
from chainstrata.migrate.errors import MigrationBusy, MigrationFailed, NeedsConsent
from chainstrata.migrate.hypertables import hypertables, require_timescale, with_hypertables
from chainstrata.migrate.model import (
    Direction,
    Finished,
    Outcome,
    Progress,
    Record,
    Revision,
    Run,
    Site,
    Status,
    Step,
    Watch,
    watch_nothing,
)
from chainstrata.migrate.offline_script import write_script
from chainstrata.migrate.online import fetch
from chainstrata.migrate.online import run as run_text
from chainstrata.migrate.planner import check_history, plan_down, plan_goto, plan_up
from chainstrata.migrate.scripts import Scripts
from chainstrata.migrate.statements import Online, render

Driver = psycopg.AsyncConnection[Any]
APPLICATION: Final = "chainstrata migrate"
# The server's ways to say that somebody else was in the way; nothing was changed.
IN_THE_WAY: Final = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
_LOOK_EVERY: Final = 0.2


async def up(
    site: Site,
    target: str = "heads",
    *,
    packs: Collection[str] = (),
    dry_run: bool = False,
    from_base: bool = False,
    watch: Watch = watch_nothing,
) -> Outcome:
    """Apply revisions: all, those of a pack, the next so many, or up to one. What was interrupted goes on.

    `dry_run` only plans; with `from_base` it does so for an empty database and needs none.
    """
    runner = _Runner(site, watch)
    if from_base:
        revisions = runner.scripts.revisions
        return runner.planned([runner.work(revision, Direction.UP) for revision in plan_up(revisions, {}, target, packs)], [])
    return await runner.run(lambda revisions, records: (Direction.UP, plan_up(revisions, records, target, packs)), dry_run=dry_run)


async def down(
    site: Site, target: str = "1", *, packs: Collection[str] = (), dry_run: bool = False, yes: bool = False, watch: Watch = watch_nothing
) -> Outcome:
    """Undo the last so many revisions, everything after one, or all (`base`), with whatever needs them.

    Raises `NeedsConsent` when that loses data and `yes` is not given.
    """
    return await _Runner(site, watch).run(
        lambda revisions, records: (Direction.DOWN, plan_down(revisions, records, target, packs)), dry_run=dry_run, yes=yes
    )


async def goto(site: Site, revision: str, *, dry_run: bool = False, yes: bool = False, watch: Watch = watch_nothing) -> Outcome:
    """Bring the pack of a revision to exactly that revision, up or down."""
    return await _Runner(site, watch).run(lambda revisions, records: plan_goto(revisions, records, revision), dry_run=dry_run, yes=yes)


async def prepare(site: Site) -> dict[str, Record]:
    """Make the tables of the history unless they are there, and return what they hold."""
    runner = _Runner(site, watch_nothing)
    async with open_migration_session(site) as connection, runner.locked(connection):
        await history.create_history(connection)
        return await history.read_records(connection)


Plan = Callable[[dict[str, Revision], dict[str, Record]], tuple[Direction, list[Revision]]]


@asynccontextmanager
async def open_migration_session(site: Site, *, database: str = "") -> AsyncIterator[Driver]:
    """A connection as migrations want it: few assumptions, short waits for locks."""
    settings = {
        "lock_timeout": f"{round(site.config[MIGRATE_LOCK_TIMEOUT].total_seconds() * 1000)}ms",
        "client_min_messages": "warning",
        "row_security": "off",
    }
    timeout = site.config[MIGRATE_STATEMENT_TIMEOUT].total_seconds()
    async with open_session(site.conninfo, name=APPLICATION, statement_timeout=timeout, settings=settings, database=database) as connection:
        places = [row.name for row in await fetch(connection, history.QUERIES.list_extension_schemas)]
        path = sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys(["pg_catalog", "public", *places])))
        await connection.execute(sql.SQL("SET search_path = {}").format(path))
        yield connection


class Lock:
    """The lock of migrations, which keeps two of them apart."""

    def __init__(self, site: Site, watch: Watch) -> None:
        self.site = site
        self.watch = watch
        self.stop = asyncio.Event()

    @asynccontextmanager
    async def locked(self, connection: Driver) -> AsyncIterator[None]:
        """Hold the lock of migrations. It ends with the session, whatever ends that."""
        deadline = perf_counter() + self.site.config[MIGRATE_WAIT_TIMEOUT].total_seconds()
        told = False
        # Tried again and again, not waited for: a statement that waits holds a snapshot, and a concurrent index build of the
        # one who has the lock would wait for that in turn.
        while not (await fetch(connection, history.QUERIES.try_lock, key=history.LOCK_KEY))[0][0]:
            holder = await self._holder(connection)
            if perf_counter() > deadline:
                raise MigrationBusy(holder, self.site.config[MIGRATE_WAIT_TIMEOUT].total_seconds())
            if not told:
                self.watch(Progress("wait", f"waiting for another migration ({holder})"))
                told = True
            await self._pause(_LOOK_EVERY)
        yield

    async def _holder(self, connection: Driver) -> str:
        found = await fetch(connection, history.QUERIES.find_holder, key=history.LOCK_KEY)
        if not found:
            return "just ending"
        return f"{found[0].application_name or 'unnamed'}, server process {found[0].pid}, connected since {found[0].backend_start:%H:%M:%S}"

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return


class _Runner(Lock):
    def __init__(self, site: Site, watch: Watch) -> None:
        super().__init__(site, watch)
        self.scripts = Scripts.of(site.catalog, site.folders)
        wanted = site.config[PARTITIONS_TIMESCALE]
        self.chunked = hypertables(site.catalog, wanted)

    def work(self, revision: Revision, direction: Direction, record: Record | None = None) -> Run:
        """Return a revision as something to be done here."""
        return with_hypertables(self.scripts.run(revision, direction, record), self.chunked)

    async def run(self, plan: Plan, *, dry_run: bool, yes: bool = False) -> Outcome:
        async with open_migration_session(self.site) as connection:
            if dry_run:
                return self.planned(await self._plan(connection, plan), await self._applied(connection))
            async with self.locked(connection):
                await history.create_history(connection)
                runs = await self._plan(connection, plan)
                losses = [lost for work in runs if work.direction is Direction.DOWN for lost in work.losses]
                if losses and not yes:
                    raise NeedsConsent(losses)
                return Outcome(runs, [await self._run_revision(connection, work) for work in runs])

    def planned(self, runs: list[Run], applied: Collection[str]) -> Outcome:
        """Return what would be done, and the same as SQL."""
        return Outcome(runs, sql=write_script(runs, self.scripts.revisions, applied))

    async def _plan(self, connection: Driver, plan: Plan) -> list[Run]:
        records = await history.read_records(connection)
        revisions = self.scripts.revisions
        check_history(revisions, records, self.scripts.folders)
        direction, chosen = plan(revisions, records)
        if self.chunked:
            await require_timescale(connection)
        return [self.work(revision, direction, records.get(revision.name)) for revision in chosen]

    async def _applied(self, connection: Driver) -> set[str]:
        return {name for name, record in (await history.read_records(connection)).items() if record.status is Status.APPLIED}

    # One revision --------------------------------------------------------------------------------------------------

    async def _run_revision(self, connection: Driver, work: Run) -> Finished:
        started = perf_counter()
        name = work.revision.name
        self.watch(Progress("revision", f"{work.direction} {name}: {work.revision.message}"))
        await history.begin(connection, work)
        try:
            for step in work.steps[work.done :]:
                await self._with_patience(connection, work, step)
            if not work.steps[work.done :]:
                async with connection.transaction():
                    await self._finish(connection, work)
        except (psycopg.Error, ChainStrataError) as error:
            ours = translate(error) if isinstance(error, psycopg.Error) else error
            failed = await self._note_failure(connection, work, ours)
            raise failed from error
        seconds = perf_counter() - started
        self.watch(Progress("done", name, seconds))
        return Finished(name, work.revision.pack, work.direction, work.revision.message, seconds)

    async def _note_failure(self, connection: Driver, work: Run, error: ChainStrataError) -> MigrationFailed:
        """Leave the record of a failure; a lost connection leaves the one that it was running."""
        step = next((step for step in work.steps if step.number > work.done), None)
        if not connection.closed and not connection.broken:
            records = await history.read_records(connection)
            record = records.get(work.revision.name)
            reached = record.step if record is not None else work.done
            step = next((step for step in work.steps if step.number > reached), step)
            await history.fail(connection, work.revision.name, f"{error.message}")
        number = step.number if step else 0
        return MigrationFailed(work.revision.name, number, len(work.steps), step.title if step else "", error.message, hint=error.hint)

    async def _with_patience(self, connection: Driver, work: Run, step: Step) -> None:
        """Do a step, again after a pause if somebody else was in the way."""
        attempts = self.site.config[MIGRATE_LOCK_ATTEMPTS]
        for attempt in range(1, attempts + 1):
            started = perf_counter()
            try:
                await self._do_step(connection, work, step)
            except IN_THE_WAY as error:
                if attempt == attempts:
                    raise
                pause = min(10.0, 0.25 * 2**attempt) * random.uniform(0.5, 1.5)  # noqa: S311  # only spreads the tries
                why = error.diag.message_primary or "a lock was not to be had"
                self.watch(Progress("retry", f"{step.title}: {why}; try {attempt + 1} of {attempts} in {pause:.1f} s"))
                await self._pause(pause)
            else:
                self.watch(Progress("step", step.title, perf_counter() - started))
                return

    async def _do_step(self, connection: Driver, work: Run, step: Step) -> None:
        last = step is work.steps[-1]
        if step.autocommit:
            for operation in step.operations:
                if isinstance(operation, Online):
                    await operation.run(connection)
                else:
                    await self._statements(connection, render(operation))
        async with connection.transaction():
            if not step.autocommit:
                await self._statements(connection, step.statements())
            if last:
                await self._finish(connection, work)
            else:
                await history.advance(connection, work.revision.name, step.number)

    async def _statements(self, connection: Driver, statements: Sequence[str]) -> None:
        for statement in statements:
            await run_text(connection, statement)

    async def _finish(self, connection: Driver, work: Run) -> None:
        applied = await self._applied(connection)
        name = work.revision.name
        then = applied | {name} if work.direction is Direction.UP else applied - {name}
        await history.finish(connection, work, self.scripts.revisions, then)
