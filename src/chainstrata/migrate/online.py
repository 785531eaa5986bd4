"""Changes to large tables that hold up neither readers nor writers, step by step.

Every one looks before each statement at what is there already, so that it can be run again after an interruption anywhere.
On a partitioned table PostgreSQL builds nothing concurrently: the parent gets an empty shell, every partition its part, and
the parts are attached; the shell becomes valid with the last of them. A partition made meanwhile has its part from the start.
"""

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from alembic.operations import MigrateOperation
from psycopg.rows import namedtuple_row

from chainstrata.engines.postgres import Query, load_queries
from chainstrata.migrate import offline
from chainstrata.migrate.errors import IndexNotBuilt, NameTaken
from chainstrata.migrate.text import compose, literal, literals, name, raw

QUERIES: Final = load_queries("chainstrata.migrate", "online.sql")
Driver = psycopg.AsyncConnection[Any]
LONGEST_NAME: Final = 63


async def fetch(connection: Driver, query: Query, **parameters: Any) -> list[Any]:
    cursor = connection.cursor(row_factory=namedtuple_row)
    await cursor.execute(query.sql.encode(), parameters)
    return await cursor.fetchall()


async def run(connection: Driver, text: str) -> None:
    await connection.execute(text.encode())


@asynccontextmanager
async def patience(connection: Driver) -> AsyncIterator[None]:
    """No lock timeout in this block.

    For concurrent builds: they wait for older transactions to end without holding anybody up, so giving way early gains
    nothing and throws the work away. `statement_timeout` still ends them.
    """
    before = (await fetch(connection, QUERIES.show_lock_timeout))[0][0]
    await connection.execute("SET lock_timeout = 0")
    try:
        yield
    finally:
        if not connection.closed:
            await run(connection, compose("SET lock_timeout = {}", literal(before)))


def part_name(part: str, whole: str) -> str:
    """Return the name of a partition's part of an index or constraint, always the same and short enough."""
    wanted = f"{part}_{whole}"
    if len(wanted.encode()) <= LONGEST_NAME:
        return wanted
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:10]
    return f"{wanted.encode()[: LONGEST_NAME - 11].decode(errors='ignore')}_{digest}"


@dataclass(frozen=True)
class IndexShape:
    """An index to be: `tail` is its definition after the table."""

    name: str
    table: str
    tail: str
    unique: bool = False
    comment: str = ""

    @property
    def schema(self) -> str:
        return self.table.partition(".")[0]

    def create(self, index: str, table: str, *, only: bool = False) -> str:
        return compose(
            "CREATE {}INDEX {}{} ON {}{} {}",
            raw("UNIQUE " if self.unique else ""),
            raw("" if only else "CONCURRENTLY "),
            name(index),
            raw("ONLY " if only else ""),
            name(table),
            raw(self.tail),
        )


async def build_index(connection: Driver, shape: IndexShape, index: str, table: str) -> None:
    """Build an index on a plain table or a partition; what a try left half done is dropped first."""
    schema = table.partition(".")[0]
    found = await fetch(connection, QUERIES.find_index, schema=schema, name=index)
    if found and found[0].table_name != table:
        raise NameTaken("index", f"{schema}.{index}", found[0].table_name)
    if found and found[0].valid:
        return
    async with patience(connection):
        if found:
            await run(connection, compose("DROP INDEX CONCURRENTLY {}", name(schema, index)))
        try:
            await run(connection, shape.create(index, table))
        except psycopg.Error:
            # A half-built unique index refuses rows although it serves nobody.
            if not connection.closed:
                await run(connection, compose("DROP INDEX CONCURRENTLY IF EXISTS {}", name(schema, index)))
            raise
    found = await fetch(connection, QUERIES.find_index, schema=schema, name=index)
    if not found or not found[0].valid:
        raise IndexNotBuilt(f"{schema}.{index}", table)


async def ensure_index(connection: Driver, shape: IndexShape, index: str, table: str) -> None:
    """Build an index on a table, whatever its partitions."""
    found = await fetch(connection, QUERIES.find_relation, table=table)
    if not (found and found[0].partitioned):
        await build_index(connection, shape, index, table)
        return
    schema = table.partition(".")[0]
    found = await fetch(connection, QUERIES.find_index, schema=schema, name=index)
    if found and found[0].table_name != table:
        raise NameTaken("index", f"{schema}.{index}", found[0].table_name)
    if found and found[0].valid:
        return
    if not found:
        await run(connection, shape.create(index, table, only=True))
    await attach_parts(connection, shape, index, table)
    found = await fetch(connection, QUERIES.find_index, schema=schema, name=index)
    if not found or not found[0].valid:
        raise IndexNotBuilt(f"{schema}.{index}", table)


async def attach_parts(connection: Driver, shape: IndexShape, index: str, table: str) -> None:
    """Build what partitions lack of their parent's index and attach it."""
    whole = name(table.partition(".")[0], index)
    full_name = whole.as_string()
    for part in await fetch(connection, QUERIES.list_unattached, index=full_name, table=table):
        own, partition = part_name(part.name, shape.name), f"{part.schema}.{part.name}"
        try:
            await ensure_index(connection, shape, own, partition)
            await run(connection, compose("ALTER INDEX {} ATTACH PARTITION {}", whole, name(part.schema, own)))
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedObject):
            # Retention dropped it meanwhile.
            if await fetch(connection, QUERIES.find_relation, table=partition):
                raise
    # When the last part that was missing went with its partition, nothing has told the parent yet that it is whole.
    for part in await fetch(connection, QUERIES.find_attached, index=full_name):
        await run(connection, compose("ALTER INDEX {} ATTACH PARTITION {}", whole, raw(part.name)))


@dataclass(frozen=True)
class CreateIndexConcurrently(MigrateOperation):
    """An index built beside the writers."""

    shape: IndexShape

    @property
    def title(self) -> str:
        return f"create index {self.shape.schema}.{self.shape.name} concurrently"

    async def run(self, connection: Driver) -> None:
        await ensure_index(connection, self.shape, self.shape.name, self.shape.table)
        for statement in self._comment():
            await run(connection, statement)

    def _comment(self) -> list[str]:
        if not self.shape.comment:
            return []
        return [compose("COMMENT ON INDEX {} IS {}", name(self.shape.schema, self.shape.name), literal(self.shape.comment))]

    def offline(self) -> list[str]:
        shape = self.shape
        return [*offline.create_index(shape.schema, shape.name, shape.table, shape.tail, shape.unique), *self._comment()]

    def plain(self) -> list[str]:
        return [self.shape.create(self.shape.name, self.shape.table), *self._comment()]


@dataclass(frozen=True)
class DropIndexConcurrently(MigrateOperation):
    """An index dropped beside the readers."""

    index: str
    table: str

    @property
    def title(self) -> str:
        return f"drop index {self.table.partition('.')[0]}.{self.index} concurrently"

    async def run(self, connection: Driver) -> None:
        schema = self.table.partition(".")[0]
        found = await fetch(connection, QUERIES.find_index, schema=schema, name=self.index)
        if not found:
            return
        if found[0].partitioned:
            await run(connection, compose("DROP INDEX {}", name(schema, self.index)))
            return
        async with patience(connection):
            await run(connection, compose("DROP INDEX CONCURRENTLY {}", name(schema, self.index)))

    def offline(self) -> list[str]:
        return offline.drop_index(self.table.partition(".")[0], self.index)

    def plain(self) -> list[str]:
        return [compose("DROP INDEX CONCURRENTLY {}", name(self.table.partition(".")[0], self.index))]


_UNIQUE: Final = re.compile(r"\s*UNIQUE\s+(?P<nulls>NULLS\s+NOT\s+DISTINCT\s+)?(?P<columns>\(.*?\))(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_FOREIGN: Final = re.compile(r"\s*FOREIGN\s+KEY\b", re.IGNORECASE)


@dataclass(frozen=True)
class AddConstraintConcurrently(MigrateOperation):
    """A constraint that binds new rows at once and is proved for the old ones beside the writers."""

    table: str
    constraint: str
    rule: str

    @property
    def title(self) -> str:
        return f"add constraint {self.constraint} to {self.table} concurrently"

    async def run(self, connection: Driver) -> None:
        if unique := _UNIQUE.fullmatch(self.rule):
            tail = f"{unique['columns']}{' NULLS NOT DISTINCT' if unique['nulls'] else ''}"
            await self._unique(connection, self.table, self.constraint, tail, unique["rest"])
            return
        if _FOREIGN.match(self.rule):
            # The parent of partitions takes no NOT VALID before PostgreSQL 18, but it adopts what every partition has.
            for part in await fetch(connection, QUERIES.list_leaves, table=self.table):
                await self._not_valid_first(connection, f"{part.schema}.{part.name}")
        await self._not_valid_first(connection, self.table)

    async def _not_valid_first(self, connection: Driver, table: str) -> None:
        relation = (await fetch(connection, QUERIES.find_relation, table=table))[0]
        at_once = relation.partitioned and bool(_FOREIGN.match(self.rule))
        found = await fetch(connection, QUERIES.find_constraint, table=table, name=self.constraint)
        if not found:
            ending = "" if at_once else " NOT VALID"
            rule = raw(self.rule + ending)
            await run(connection, compose("ALTER TABLE {} ADD CONSTRAINT {} {}", name(table), name(self.constraint), rule))
        if not (at_once or (found and found[0].valid)):
            await run(connection, compose("ALTER TABLE {} VALIDATE CONSTRAINT {}", name(table), name(self.constraint)))

    async def _unique(self, connection: Driver, table: str, constraint: str, tail: str, rest: str) -> None:
        """Build the index first, then make it a constraint; the parent of partitions adopts theirs."""
        relation = (await fetch(connection, QUERIES.find_relation, table=table))[0]
        if await fetch(connection, QUERIES.find_constraint, table=table, name=constraint):
            return
        add = compose("ALTER TABLE {} ADD CONSTRAINT {} UNIQUE ", name(table), name(constraint))
        if not relation.partitioned:
            await build_index(connection, IndexShape(constraint, table, tail, unique=True), constraint, table)
            await run(connection, add + compose("USING INDEX {}{}", name(constraint), raw(rest)))
            return
        for part in await fetch(connection, QUERIES.list_partitions, table=table):
            await self._unique(connection, f"{part.schema}.{part.name}", part_name(part.name, constraint), tail, rest)
        columns, _, nulls = tail.partition(")")
        await run(connection, add.removesuffix("UNIQUE ") + compose("UNIQUE{} {}){}", raw(nulls), raw(columns), raw(rest)))

    def offline(self) -> list[str]:
        return offline.add_constraint(self.table, self.constraint, self.rule)

    def plain(self) -> list[str]:
        add = compose("ALTER TABLE {} ADD CONSTRAINT {} ", name(self.table), name(self.constraint))
        if unique := _UNIQUE.fullmatch(self.rule):
            tail = f"{unique['columns']}{' NULLS NOT DISTINCT' if unique['nulls'] else ''}"
            built = IndexShape(self.constraint, self.table, tail, unique=True).create(self.constraint, self.table)
            return [built, f"{add}UNIQUE USING INDEX {name(self.constraint).as_string()}{unique['rest']}"]
        return [f"{add}{self.rule} NOT VALID", compose("ALTER TABLE {} VALIDATE CONSTRAINT {}", name(self.table), name(self.constraint))]


@dataclass(frozen=True)
class SetNotNullConcurrently(MigrateOperation):
    """NOT NULL by way of a check that is proved beside the writers: SET NOT NULL then trusts it and scans nothing."""

    table: str
    column: str

    @property
    def title(self) -> str:
        return f"set {self.table}.{self.column} not null concurrently"

    @property
    def check(self) -> str:
        return part_name(self.table.rpartition(".")[2], f"{self.column}__not_null")

    async def run(self, connection: Driver) -> None:
        table, check = name(self.table), name(self.check)
        found = await fetch(connection, QUERIES.find_constraint, table=self.table, name=self.check)
        if not (await fetch(connection, QUERIES.is_not_null, table=self.table, column=self.column))[0][0]:
            if not found:
                condition = compose("CHECK ({} IS NOT NULL) NOT VALID", name(self.column))
                await run(connection, compose("ALTER TABLE {} ADD CONSTRAINT {} {}", table, check, raw(condition)))
            if not (found and found[0].valid):
                await run(connection, compose("ALTER TABLE {} VALIDATE CONSTRAINT {}", table, check))
            await run(connection, compose("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL", table, name(self.column)))
        await run(connection, compose("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}", table, check))

    def offline(self) -> list[str]:
        return offline.set_not_null(self.table, self.column, self.check)

    def plain(self) -> list[str]:
        return self.offline()


@dataclass(frozen=True)
class Backfill(MigrateOperation):
    """Rows filled a span of pages at a time, each span its own transaction."""

    table: str
    assignments: str
    where: str
    pages: int

    @property
    def title(self) -> str:
        return f"fill {self.assignments} in {self.table}"

    async def run(self, connection: Driver) -> None:
        for part in await fetch(connection, QUERIES.list_leaves, table=self.table):
            size = (await fetch(connection, QUERIES.count_pages, table=f"{part.schema}.{part.name}"))[0][0]
            # Rows that are written meanwhile go to pages that were there or come after; writers fill those themselves.
            for start in range(0, size, self.pages):
                await run(connection, self._update(f"{part.schema}.{part.name}", start, start + self.pages))

    def _update(self, table: str, start: int, end: int) -> str:
        return compose(
            "UPDATE ONLY {} SET {} WHERE ctid >= {} AND ctid < {} AND ({})",
            name(table),
            raw(self.assignments),
            literal(f"({start},0)"),
            literal(f"({end},0)"),
            raw(self.where),
        )

    def offline(self) -> list[str]:
        return offline.backfill(self.table, self.assignments, self.where, self.pages)

    def plain(self) -> list[str]:
        return [self._update(self.table, 0, self.pages)]


@dataclass(frozen=True)
class ReplaceEnum(MigrateOperation):
    """An enum with other values: a new type takes the place of the old one in every column, all in one transaction.

    What is written in terms of the old type (defaults, checks, indexes, generated columns, views) goes first and comes back
    afterwards as it was.
    """

    enum: str
    labels: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"give enum {self.enum} the values {', '.join(self.labels)}"

    async def run(self, connection: Driver) -> None:
        if await self._is_done(connection):
            return
        async with connection.transaction():
            for row in await fetch(connection, QUERIES.plan_enum_replacement, enum=self.enum, labels=list(self.labels)):
                await run(connection, row.statement)

    async def _is_done(self, connection: Driver) -> bool:
        found = await fetch(connection, QUERIES.list_enum_labels, enum=self.enum)
        return [row.label for row in found] == list(self.labels)

    def offline(self) -> list[str]:
        plan = offline.from_query(QUERIES.plan_enum_replacement.sql, {"enum": self.enum, "labels": list(self.labels)})
        return ["BEGIN", *plan, "COMMIT"]

    def plain(self) -> list[str]:
        old = f"{self.enum.rpartition('.')[2]}__old"
        return [
            compose("ALTER TYPE {} RENAME TO {}", name(self.enum), name(old)),
            compose("CREATE TYPE {} AS ENUM ({})", name(self.enum), literals(self.labels)),
            compose("DROP TYPE {}", name(self.enum.rpartition(".")[0], old)),
        ]


@dataclass(frozen=True)
class Swap(MigrateOperation):
    """A replacement, built under a name of its own, takes the place and the name of an older index or constraint."""

    kind: str
    table: str
    replacement: str
    taken: str

    @property
    def title(self) -> str:
        return f"replace {self.kind} {self.schema}.{self.taken}"

    @property
    def schema(self) -> str:
        return self.table.partition(".")[0]

    async def run(self, connection: Driver) -> None:
        # Once done there is no replacement any more, and what bears the name is to stay.
        if self.kind == "index":
            there = bool(await fetch(connection, QUERIES.find_index, schema=self.schema, name=self.replacement))
        else:
            there = bool(await fetch(connection, QUERIES.find_constraint, table=self.table, name=self.replacement))
        if not there:
            return
        async with connection.transaction():
            for statement in self.plain():
                await run(connection, statement)
            for statement in await self._rename_parts(connection):
                await run(connection, statement)

    async def _rename_parts(self, connection: Driver) -> list[str]:
        """Return what gives the parts on partitions the names they would have had, so that the next replacement finds its own free."""
        if self.kind == "index":
            parts = await fetch(connection, QUERIES.list_parts, index=f"{self.schema}.{self.taken}")
            return [
                compose("ALTER INDEX {} RENAME TO {}", name(part.schema, part.name), name(part_name(part.partition, self.taken)))
                for part in parts
                if part.name == part_name(part.partition, self.replacement)
            ]
        parts = await fetch(connection, QUERIES.list_part_constraints, table=self.table, name=self.replacement)
        renamed = "ALTER TABLE {} RENAME CONSTRAINT {} TO {}"
        return [compose(renamed, name(part.schema, part.name), name(self.replacement), name(self.taken)) for part in parts]

    def offline(self) -> list[str]:
        return ["BEGIN", *self.plain(), "COMMIT"]

    def plain(self) -> list[str]:
        if self.kind == "index":
            renamed = compose("ALTER INDEX {} RENAME TO {}", name(self.schema, self.replacement), name(self.taken))
            return [compose("DROP INDEX IF EXISTS {}", name(self.schema, self.taken)), renamed]
        return [
            compose("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}", name(self.table), name(self.taken)),
            compose("ALTER TABLE {} RENAME CONSTRAINT {} TO {}", name(self.table), name(self.replacement), name(self.taken)),
        ]
