"""The operations of a migration as data: what each is called, what SQL it is, what it loses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import psycopg
from alembic.operations import MigrateOperation, ops
from alembic.operations import Operations as AlembicOperations
from alembic.runtime.migration import MigrationContext

from chainstrata.migrate.text import DIALECT


@dataclass(frozen=True)
class Statements(MigrateOperation):
    """Statements that belong together. `published` ones are another project's, taken as they are."""

    title: str
    statements: tuple[str, ...]
    autocommit: bool = False
    loses: str = ""
    published: bool = False


@runtime_checkable
class Online(Protocol):
    r"""An operation that looks at the database before each statement: it can be run again after an interruption anywhere.

    `offline` is the same as SQL for psql, which asks the database with `\gexec` where that is needed. `plain` is what it comes
    to on a plain table, for review and linting.
    """

    title: str

    async def run(self, connection: psycopg.AsyncConnection[Any]) -> None: ...

    def offline(self) -> list[str]: ...

    def plain(self) -> list[str]: ...


class _Buffer:
    def __init__(self, write: Callable[[str], object]) -> None:
        self.write = write

    def flush(self) -> None:
        """Nothing is held back."""


def offline_context(write: Callable[[str], object] = str) -> MigrationContext:
    """Return Alembic's context that renders SQL and never connects. `write` gets each statement."""
    options = {"as_sql": True, "output_buffer": _Buffer(write), "literal_binds": True, "transactional_ddl": False}
    return MigrationContext.configure(dialect=DIALECT, opts=options)


def render(operation: MigrateOperation) -> list[str]:
    """Return the SQL of an operation, statement by statement, without semicolons."""
    if isinstance(operation, Statements):
        return list(operation.statements)
    if isinstance(operation, Online):
        return operation.offline()
    found: list[str] = []
    AlembicOperations(offline_context(found.append)).invoke(operation)
    return [text.strip().removesuffix(";") for text in found]


def autocommit(operation: MigrateOperation) -> bool:
    """Whether an operation cannot be part of a transaction."""
    return isinstance(operation, Online) or (isinstance(operation, Statements) and operation.autocommit)


def loses(operation: MigrateOperation) -> str:
    """Return what cannot be had back once an operation is done, or nothing."""
    if isinstance(operation, Statements):
        return operation.loses
    if isinstance(operation, ops.DropTableOp):
        return f"table {_full(operation.schema, operation.table_name)} with all its rows"
    if isinstance(operation, ops.DropColumnOp):
        return f"column {_full(operation.schema, operation.table_name, operation.column_name)} with its values"
    return ""


_WORDS: dict[type[MigrateOperation], tuple[str, Sequence[str]]] = {
    ops.CreateTableOp: ("create table", ("schema", "table_name")),
    ops.DropTableOp: ("drop table", ("schema", "table_name")),
    ops.RenameTableOp: ("rename table", ("schema", "table_name")),
    ops.AddColumnOp: ("add column", ("schema", "table_name", "column.name")),
    ops.DropColumnOp: ("drop column", ("schema", "table_name", "column_name")),
    ops.AlterColumnOp: ("change column", ("schema", "table_name", "column_name")),
    ops.CreateIndexOp: ("create index", ("schema", "index_name")),
    ops.DropIndexOp: ("drop index", ("schema", "index_name")),
    ops.CreatePrimaryKeyOp: ("add constraint", ("schema", "table_name", "constraint_name")),
    ops.CreateUniqueConstraintOp: ("add constraint", ("schema", "table_name", "constraint_name")),
    ops.CreateCheckConstraintOp: ("add constraint", ("schema", "table_name", "constraint_name")),
    ops.CreateForeignKeyOp: ("add constraint", ("source_schema", "source_table", "constraint_name")),
    ops.DropConstraintOp: ("drop constraint", ("schema", "table_name", "constraint_name")),
    ops.CreateTableCommentOp: ("comment on table", ("schema", "table_name")),
    ops.DropTableCommentOp: ("comment on table", ("schema", "table_name")),
    ops.ExecuteSQLOp: ("run", ("sqltext",)),
    ops.BulkInsertOp: ("insert into", ("table.fullname",)),
}


def describe(operation: MigrateOperation) -> str:
    """Return what an operation does, in a few words."""
    if isinstance(operation, Statements | Online):
        return operation.title
    words, parts = _WORDS.get(type(operation), (type(operation).__name__, ()))
    return f"{words} {_full(*(_value(operation, part) for part in parts))}".strip()


def _value(operation: MigrateOperation, path: str) -> str | None:
    value: Any = operation
    for part in path.split("."):
        value = getattr(value, part, None)
    return None if value is None else str(value)


def _full(*parts: str | None) -> str:
    return ".".join(part for part in parts if part)
