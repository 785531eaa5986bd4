"""What a revision can do: Alembic's operations and ours, under one name.

    from chainstrata.migrate import op, pgtype

    def upgrade() -> None:
        op.create_index_concurrently("idx_packets_age", "packets", ["created_at"], schema="relay")

A revision only says what is to be done; nothing runs while it speaks. What it said is then shown, rendered as SQL, linted or
run, always the same list of operations. So there is no connection to ask: what depends on rows is said in SQL.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, LiteralString, cast

import sqlalchemy as sa
from alembic.operations import MigrateOperation
from alembic.operations import Operations as AlembicOperations
from alembic.operations import ops as alembic_ops
from sqlalchemy import Executable

from chainstrata.migrate import ddl, queue
from chainstrata.migrate.errors import RevisionUnusable
from chainstrata.migrate.online import (
    AddConstraintConcurrently,
    Backfill,
    CreateIndexConcurrently,
    DropIndexConcurrently,
    IndexShape,
    ReplaceEnum,
    SetNotNullConcurrently,
    Swap,
)
from chainstrata.migrate.schema import canonical_json
from chainstrata.migrate.statements import Statements, offline_context
from chainstrata.migrate.text import DIALECT, compose, name, raw


class pgtype(sa.types.UserDefinedType[Any]):  # noqa: N801  # stands among sa.Text and its like, and is a name, not a class, to revisions
    """A column type by the name PostgreSQL has for it: a domain, an enum, an array, a type of an extension."""

    cache_ok = True

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name

    def get_col_spec(self, **_: Any) -> str:
        return self.type_name


class Operations(AlembicOperations):
    """Records what a revision says. The methods not listed here are Alembic's own."""

    def __init__(self) -> None:
        super().__init__(offline_context())
        self.recorded: list[MigrateOperation] = []

    def invoke(self, operation: MigrateOperation) -> Any:
        self.recorded.append(operation)
        return operation.to_table(self.migration_context) if isinstance(operation, alembic_ops.CreateTableOp) else None

    def get_bind(self) -> Any:
        raise RevisionUnusable(
            "a revision has no connection",
            hint="Say it in SQL: op.execute(…) for a statement, op.backfill(…) for many rows.",
        )

    def say(self, title: str, *statements: str, autocommit: bool = False, loses: str = "", published: bool = False) -> None:
        """Record statements of ours. `autocommit` ones run outside a transaction and can be run again."""
        self.invoke(Statements(title, tuple(statement for statement in statements if statement), autocommit, loses, published))

    def execute(self, sqltext: Executable | str, *, execution_options: dict[str, Any] | None = None) -> None:
        """Run one SQL statement. A plain text is taken as it is: a colon has no meaning."""
        if not isinstance(sqltext, str):
            super().execute(sqltext, execution_options=execution_options)
            return
        text = sqltext.strip().removesuffix(";")
        loses = f"rows: {_short(text)}" if _DESTROYS.search(text) else ""
        self.say(f"run {_short(text)}", text, loses=loses)

    # Schemas, extensions, types ----------------------------------------------------------------------------------

    def create_schema(self, schema: str, *, comment: str = "") -> None:
        # It may be there: its owner can have made it for a role that may not.
        self.say(f"create schema {schema}", compose("CREATE SCHEMA IF NOT EXISTS {}", name(schema)), _comment("SCHEMA", schema, comment))

    def drop_schema(self, schema: str) -> None:
        self.say(f"drop schema {schema}", compose("DROP SCHEMA {}", name(schema)))

    def create_extension(self, extension: str) -> None:
        """Make an extension unless it is there. No revision drops one: others may use it."""
        self.say(f"create extension {extension}", ddl.create_extension(extension))

    def create_queue(self, version: str, *, since: str = "", sha256: str = "") -> None:
        """Bring the job queue's schema to a version, by its own steps; `sha256` is of all of them."""
        self.say(f"create job queue {version}", *queue.create(version, since=since, sha256=sha256), published=True)

    def drop_queue(self) -> None:
        self.say("drop job queue", *queue.drop(), loses="jobs that wait in the queue")

    def create_enum(self, enum: str, labels: Sequence[str], *, comment: str = "") -> None:
        self.say(f"create enum {enum}", ddl.create_enum(enum, labels), _comment("TYPE", enum, comment))

    def drop_enum(self, enum: str) -> None:
        self.say(f"drop enum {enum}", compose("DROP TYPE {}", name(enum)))

    def add_enum_value(self, enum: str, label: str, *, before: str = "", after: str = "") -> None:
        """Add a value. It cannot be used in the transaction that adds it, so it belongs in a revision without one."""
        self.say(f"add value {label} to enum {enum}", ddl.add_enum_value(enum, label, before=before, after=after), autocommit=True)

    def replace_enum(self, enum: str, labels: Sequence[str]) -> None:
        """Give an enum other values, one may be missing. Rewrites every table that uses it; fails if a row has a value that goes."""
        self.invoke(ReplaceEnum(enum, tuple(labels)))

    def create_domain(
        self,
        domain: str,
        base: str,
        *,
        checks: Mapping[str, str] | None = None,
        not_null: bool = False,
        default: str = "",
        comment: str = "",
    ) -> None:
        made = ddl.create_domain(domain, base, checks=checks, not_null=not_null, default=default)
        self.say(f"create domain {domain}", made, _comment("DOMAIN", domain, comment))

    def alter_domain(
        self,
        domain: str,
        *,
        drop_checks: Sequence[str] = (),
        add_checks: Mapping[str, str] | None = None,
        not_null: bool | None = None,
        default: str | None = None,
        comment: str | None = None,
    ) -> None:
        statements = ddl.alter_domain(domain, drop_checks=drop_checks, add_checks=add_checks or {}, not_null=not_null, default=default)
        self.say(f"change domain {domain}", *statements, "" if comment is None else ddl.comment_on("DOMAIN", name(domain), comment))

    def drop_domain(self, domain: str) -> None:
        self.say(f"drop domain {domain}", compose("DROP DOMAIN {}", name(domain)))

    # Functions, views, triggers ----------------------------------------------------------------------------------

    def create_function(self, signature: str, text: str, *, comment: str = "") -> None:
        """Run a whole CREATE FUNCTION or CREATE PROCEDURE. `signature` is the full name with the types of its arguments."""
        self.say(f"create function {signature}", _statement(text), _routine_comment(signature, comment, text))

    def replace_function(self, signature: str, text: str, *, comment: str = "") -> None:
        """Give a function another body; arguments and result stay."""
        replacing = _CREATE.sub(r"CREATE OR REPLACE \1", _statement(text), count=1)
        self.say(f"replace function {signature}", replacing, _routine_comment(signature, comment, text))

    def drop_function(self, signature: str, *, kind: str = "function") -> None:
        word: LiteralString = "PROCEDURE" if kind == "procedure" else "FUNCTION"
        self.say(f"drop {kind} {signature}", compose("DROP {} {}", raw(word), raw(signature)))

    def create_view(self, view: str, text: str, *, comment: str = "") -> None:
        """Run a whole CREATE VIEW."""
        self.say(f"create view {view}", _statement(text), _comment("VIEW", view, comment))

    def drop_view(self, view: str) -> None:
        self.say(f"drop view {view}", compose("DROP VIEW {}", name(view)))

    def create_materialized_view(self, view: str, text: str, *, comment: str = "") -> None:
        """Run a whole CREATE MATERIALIZED VIEW."""
        self.say(f"create materialized view {view}", _statement(text), _comment("MATERIALIZED VIEW", view, comment))

    def drop_materialized_view(self, view: str) -> None:
        self.say(f"drop materialized view {view}", compose("DROP MATERIALIZED VIEW {}", name(view)))

    def create_trigger(self, trigger: str, table: str, text: str, *, comment: str = "") -> None:
        """Run a whole CREATE TRIGGER."""
        named = raw(compose("{} ON {}", name(trigger), name(table)))
        self.say(f"create trigger {trigger} on {table}", _statement(text), ddl.comment_on("TRIGGER", named, comment) if comment else "")

    def drop_trigger(self, trigger: str, table: str) -> None:
        self.say(f"drop trigger {trigger} on {table}", compose("DROP TRIGGER {} ON {}", name(trigger), name(table)))

    # Tables --------------------------------------------------------------------------------------------------------

    def comment_on(self, kind: str, full_name: str, comment: str) -> None:
        """Set the comment of anything: `op.comment_on("column", "relay.packets.status", "Where it is.")`."""
        named = name(full_name) if kind != "function" else raw(full_name)
        if kind in ("trigger", "constraint"):
            table, _, own = full_name.rpartition(".")
            named = raw(compose("{} ON {}", name(own), name(table)))
        self.say(f"comment on {kind} {full_name}", ddl.comment_on(ddl.OBJECT_WORDS[kind], named, comment))

    def set_options(self, table: str, options: Mapping[str, str | None]) -> None:
        """Set storage parameters of a table; None takes one back to its default."""
        self.say(f"set options of {table}", *ddl.set_options(table, options))

    def add_constraint(self, table: str, constraint: str, rule: str) -> None:
        """Add any constraint as PostgreSQL writes it. Holds up writers while it checks the rows that are there."""
        self.say(f"add constraint {constraint} to {table}", ddl.add_constraint(table, constraint, rule))

    def add_constraint_concurrently(self, table: str, constraint: str, rule: str) -> None:
        """Add CHECK, FOREIGN KEY or UNIQUE as PostgreSQL writes it, without holding up writers, partitioned tables included."""
        self.invoke(AddConstraintConcurrently(table, constraint, rule))

    def swap_constraint(self, table: str, replacement: str, constraint: str) -> None:
        """Let a constraint take the place of an older one, leaves of partitioned tables included."""
        self.invoke(Swap("constraint", table, replacement, constraint))

    def set_not_null_concurrently(self, table: str, column: str) -> None:
        """Forbid NULL without holding up writers while the rows that are there are checked."""
        self.invoke(SetNotNullConcurrently(table, column))

    def backfill(self, table: str, assignments: str, where: str, *, pages: int = 500) -> None:
        """Fill a column in batches, each its own transaction: `op.backfill("relay.packets", "fee = 0", "fee IS NULL")`.

        `where` must no longer hold for a row that was filled: that is how it resumes.
        """
        self.invoke(Backfill(table, assignments, where, pages))

    # Indexes -------------------------------------------------------------------------------------------------------

    def create_index(
        self,
        index_name: str | None,
        table_name: str,
        columns: Sequence[Any],
        *,
        schema: str | None = None,
        unique: bool = False,
        if_not_exists: bool | None = None,
        comment: str = "",
        **kw: Any,
    ) -> None:
        """Make an index in the transaction. For a new table; elsewhere it holds up writers."""
        super().create_index(index_name, table_name, columns, schema=schema, unique=unique, if_not_exists=if_not_exists, **kw)
        if comment:
            self.comment_on("index", f"{schema or 'public'}.{index_name}", comment)

    def create_index_concurrently(
        self,
        index_name: str,
        table_name: str,
        columns: Sequence[Any],
        *,
        schema: str = "public",
        unique: bool = False,
        comment: str = "",
        **kw: Any,
    ) -> None:
        """Make an index without holding up writers, on a partitioned table partition by partition.

        What an interrupted try left behind is dropped and built again; in the end the index is valid or this fails.
        """
        operation = alembic_ops.CreateIndexOp(index_name, table_name, columns, schema=schema, unique=unique, **kw)
        made = operation.to_index(self.migration_context)
        for column in kw.get("postgresql_include") or ():
            # Alembic knows the table only by the columns the index is on.
            if made.table is not None and column not in made.table.c:
                made.table.append_column(sa.Column(column, sa.types.NULLTYPE))
        compiled = str(sa.schema.CreateIndex(made).compile(dialect=DIALECT))
        table = f"{schema}.{table_name}"
        tail = compiled.partition(compose(" ON {} ", name(table)))[2]
        self.invoke(CreateIndexConcurrently(IndexShape(index_name, table, tail, unique, comment)))

    def drop_index_concurrently(self, index_name: str, table_name: str, *, schema: str = "public") -> None:
        """Drop an index without holding up readers; on a partitioned table PostgreSQL can only do it with a short lock."""
        self.invoke(DropIndexConcurrently(index_name, f"{schema}.{table_name}"))

    def swap_index(self, replacement: str, index: str, table: str) -> None:
        """Let an index of a table, given with its schema, take the place of an older one."""
        self.invoke(Swap("index", table, replacement, index))

    # Policies --------------------------------------------------------------------------------------------------------

    def set_policy(self, dataset: str, policy: Mapping[str, Any]) -> None:
        """Record what the platform does with a dataset: life cycle, roll-ups, mirror, cache, topic."""
        self.say(f"set policy of {dataset}", ddl.set_policy(dataset, canonical_json(policy)))

    def remove_policy(self, dataset: str) -> None:
        self.say(f"remove policy of {dataset}", ddl.remove_policy(dataset))


_DESTROYS: Final = re.compile(r"\b(DROP\s+TABLE|DROP\s+COLUMN|TRUNCATE|DELETE\s+FROM)\b", re.IGNORECASE)
_CREATE: Final = re.compile(r"^\s*CREATE\s+(?:OR\s+REPLACE\s+)?(FUNCTION|PROCEDURE)\b", re.IGNORECASE)


def _short(text: str) -> str:
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= 60 else line[:59] + "…"


def _statement(text: str) -> str:
    return text.strip().removesuffix(";")


def _comment(kind: LiteralString, named: str, comment: str) -> str:
    return ddl.comment_on(kind, name(named), comment) if comment else ""


def _routine_comment(signature: str, comment: str, text: str) -> str:
    created = _CREATE.match(text.lstrip())
    kind: LiteralString = "PROCEDURE" if created and created[1].upper() == "PROCEDURE" else "FUNCTION"
    return ddl.comment_on(kind, raw(signature), comment) if comment else ""


_SPEAKING: ContextVar[Operations] = ContextVar("chainstrata_migrate_operations")


class _Proxy:
    """Stands for the operations of the revision that is speaking, in this task alone."""

    def __getattr__(self, attribute: str) -> Any:
        try:
            return getattr(_SPEAKING.get(), attribute)
        except LookupError:
            raise RevisionUnusable(
                f"op.{attribute} was called outside a revision",
                hint="Call it in upgrade() or downgrade(), and run `chainstrata migrate up`.",
            ) from None


op: Final = cast(Operations, _Proxy())


@contextmanager
def recording() -> Iterator[Operations]:
    """Let `op` record what is said in this block."""
    operations = Operations()
    token = _SPEAKING.set(operations)
    try:
        yield operations
    finally:
        _SPEAKING.reset(token)
