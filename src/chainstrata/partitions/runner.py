"""Brings the partitions of the declared tables to what they should be. Safe to run at any time, by anybody, again.

One worker at a time has a table (an advisory lock); a second one waits and then finds nothing left to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from psycopg import sql

from chainstrata.config import PARTITIONS_LEAST_AHEAD, PARTITIONS_LOCK_DEADLINE, PARTITIONS_LOCK_TIMEOUT, Config
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.maintenance import Patience, change, exclusive, maintenance
from chainstrata.engines.postgres.partitioning import (
    Partition,
    Span,
    TableFacts,
    create,
    ddl,
    describe,
    detach,
    list_partitions,
    names_in_use,
)
from chainstrata.errors import ChainStrataError, UsageError
from chainstrata.model import Catalog, Dataset, TimedTable, partitioned_tables, tables_of
from chainstrata.partitions import planner
from chainstrata.partitions.compression import compression
from chainstrata.partitions.model import Action, Problem, ProblemCode, Step

FIRST: Final = datetime(2, 1, 1, tzinfo=UTC)
LAST: Final = datetime(9990, 1, 1, tzinfo=UTC)
"""Partitions are made from then to then: what is a span further on or back has a date too, whatever the span."""


class NotPartitioned(ChainStrataError):
    """The table in the database cannot take partitions as declared."""

    code = "not_partitioned"
    http_status = 409

    def __init__(self, table: TimedTable, problem: str, *, hint: str) -> None:
        super().__init__(f"{table.qualified} of {table.name} {problem}", hint=hint)
        self.table = table


@dataclass(frozen=True, slots=True)
class Options:
    """How changes wait for locks, and how many future partitions there must be at least."""

    patience: Patience = Patience()
    least_ahead: int = 2

    @classmethod
    def from_config(cls, config: Config) -> "Options":
        longest = config[PARTITIONS_LOCK_TIMEOUT].total_seconds()
        deadline = config[PARTITIONS_LOCK_DEADLINE].total_seconds()
        return cls(Patience(min(longest, 0.05), longest, deadline), config[PARTITIONS_LEAST_AHEAD])


async def plan(database: Database, catalog: Catalog, names: Sequence[str] = (), *, now: datetime | None = None) -> list[Step]:
    """Return what `apply` would do now. Raises `NotPartitioned` for a table that is missing or plain."""
    steps = []
    async with database.connection() as connection:
        for table in partitioned_tables(catalog, names):
            steps += await _plan(connection, table, now or datetime.now(UTC))
    return steps


async def apply(
    database: Database, catalog: Catalog, names: Sequence[str] = (), *, now: datetime | None = None, options: Options | None = None
) -> list[Step]:
    """Bring the partitions to what they should be and return what was done, nothing when they were."""
    done = []
    async with maintenance(database) as connection:
        for table in partitioned_tables(catalog, names):
            async with exclusive(connection, lock_name(table)):
                steps = await _plan(connection, table, now or datetime.now(UTC))
                done += await carry_out(connection, steps, options or Options())
    return done


async def ensure(database: Database, dataset: Dataset, start: datetime, end: datetime, *, options: Options | None = None) -> list[Step]:
    """Give the dataset and its roll-ups partitions for all of `start` to `end`; for samples, backfills and replays.

    What is older than the rows are kept is made as well: retention takes it away again when it is due.
    """
    if not (start >= FIRST and end <= LAST):
        raise UsageError(
            f"no partitions can be made from {start.isoformat()} to {end.isoformat()}",
            hint=f"Give a span within the years {FIRST.year} to {LAST.year}.",
        )
    return await _ensure(database, [table for table in tables_of(dataset) if table.partitioned], start, end, options)


async def ensure_named(
    database: Database, catalog: Catalog, name: str, start: datetime, end: datetime, *, options: Options | None = None
) -> list[Step]:
    """Do the same for one table: a dataset's own, or a roll-up's by its full name. A table without partitions needs none."""
    named = [table for table in partitioned_tables(catalog, [name]) if table.name == name]
    return await _ensure(database, named, start, end, options)


async def _ensure(database: Database, tables: Sequence[TimedTable], start: datetime, end: datetime, options: Options | None) -> list[Step]:
    done: list[Step] = []
    if not tables:
        return done
    async with maintenance(database) as connection:
        for table in tables:
            async with exclusive(connection, lock_name(table)):
                facts, existing, taken = await _existing(connection, table)
                steps = planner.plan_range(table, existing, Span(start, end), taken=taken, chunks=facts.hypertable)
                done += await carry_out(connection, steps, options or Options())
    return done


async def list_all(database: Database, catalog: Catalog, names: Sequence[str] = ()) -> list[tuple[TimedTable, list[Partition]]]:
    """Return every partitioned table with its partitions, oldest first."""
    async with database.connection() as connection:
        return [(table, await list_partitions(connection, table.schema, table.table)) for table in partitioned_tables(catalog, names)]


async def verify(
    database: Database,
    catalog: Catalog,
    names: Sequence[str] = (),
    *,
    now: datetime | None = None,
    options: Options | None = None,
) -> list[Problem]:
    """Return everything wrong with the partitions, urgent first: among it tables with too few future partitions."""
    problems = []
    least = (options or Options()).least_ahead
    async with database.connection() as connection:
        for table in partitioned_tables(catalog, names):
            facts = _judge(table, await describe(connection, table.schema, table.table))
            if isinstance(facts, Problem):
                problems.append(facts)
                continue
            existing = await list_partitions(connection, table.schema, table.table)
            problems += planner.check(table, existing, now or datetime.now(UTC), least_ahead=least)
    return sorted(problems, key=lambda problem: not problem.urgent)


async def carry_out(connection: Connection, steps: Sequence[Step], options: Options) -> list[Step]:
    """Carry the steps out in order, each in its own transaction. The connection holds the table's lock."""
    for step in steps:
        parent = sql.Identifier(step.table.schema, step.table.table)
        match step.action:
            case Action.CREATE:
                await create(connection, parent, step.partition, options.patience, fillfactor=step.table.fillfactor)
            case Action.FINALIZE:
                await detach(connection, parent, step.partition, options.patience)
            case Action.PREPARE | Action.COMPRESS:
                await change(connection, partial(_execute, connection, compression(step)), options.patience)
    return list(steps)


async def _execute(connection: Connection, statements: Sequence[sql.Composed]) -> None:
    for statement in statements:
        await connection.execute(statement)


def render(steps: Sequence[Step]) -> list[str]:
    """Return the steps as SQL, for `--sql`: each line a whole transaction or a statement that runs outside of one."""
    lines = []
    for step in steps:
        parent = sql.Identifier(step.table.schema, step.table.table)
        if step.action is Action.FINALIZE:
            lines.append(ddl.finalize(parent, step.partition).as_string() + ";")
            continue
        made = ddl.create(parent, step.partition, step.table.fillfactor) if step.action is Action.CREATE else compression(step)
        body = "; ".join(statement.as_string() for statement in made)
        lines.append(f"BEGIN; {body}; COMMIT;")
    return lines


def lock_name(table: TimedTable) -> str:
    """Return the name of the lock that whoever changes the partitions of a table holds."""
    return f"partitions.{table.qualified}"


async def _plan(connection: Connection, table: TimedTable, now: datetime) -> list[Step]:
    facts, existing, taken = await _existing(connection, table)
    return planner.plan(table, existing, now, taken=taken, facts=facts)


async def _existing(connection: Connection, table: TimedTable) -> tuple[TableFacts, list[Partition], set[str]]:
    facts = _judge(table, await describe(connection, table.schema, table.table))
    if isinstance(facts, Problem):
        raise NotPartitioned(table, facts.detail, hint=_HINTS[facts.code])
    existing = await list_partitions(connection, table.schema, table.table)
    return facts, existing, await names_in_use(connection, table.schema, table.table[:20])


_HINTS = {
    ProblemCode.TABLE_MISSING: "Run `chainstrata migrate up` first.",
    ProblemCode.NOT_PARTITIONED: "`chainstrata partitions adopt` gives it partitions while it is used; with --dry-run it says how.",
    ProblemCode.WRONG_KEY: "Its partitions cannot be kept as declared; change the declaration, or make the table anew.",
}


def _judge(table: TimedTable, facts: TableFacts | None) -> TableFacts | Problem:
    """Return the facts of a table that can have its partitions as declared, else what is in the way."""
    if facts is None:
        return Problem(table.name, ProblemCode.TABLE_MISSING, "does not exist", urgent=True)
    if not facts.partitioned:
        return Problem(table.name, ProblemCode.NOT_PARTITIONED, "is a plain table", urgent=True)
    if facts.column != table.column or not facts.by_time:
        key = f"{facts.column} ({facts.column_type})" if facts.column else "something else"
        return Problem(table.name, ProblemCode.WRONG_KEY, f"is partitioned by {key}, not by the time {table.column}", urgent=True)
    return facts
