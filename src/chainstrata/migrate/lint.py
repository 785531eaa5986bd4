"""What is risky about revisions, before they meet a database with traffic: squawk over their SQL, and rules of our own."""

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic.operations import ops

from chainstrata.migrate import history
from chainstrata.migrate.errors import LintFailed, LintUnavailable
from chainstrata.migrate.model import Direction, Revision, Run, Site
from chainstrata.migrate.planner import find, plan_up
from chainstrata.migrate.runner import open_migration_session
from chainstrata.migrate.scripts import Scripts
from chainstrata.migrate.statements import Online, Statements, describe, render
from chainstrata.model import Catalog, Dataset, Pack

TIMEOUT_SECONDS: Final = 120
# Rules that what runs revisions has settled already, each with how.
SETTLED: Final[Mapping[str, str]] = {
    "prefer-robust-stmts": "every step is recorded, so none is run twice",
    "require-lock-timeout": "the session has migrate.lock_timeout",
    "require-statement-timeout": "the session has migrate.statement_timeout",
    "prefer-bigint-over-int": "a rank or a count of attempts needs no eight bytes; keys and heights are bigint by declaration",
    "prefer-bigint-over-smallint": "the same",
    "prefer-identity": "identity columns are declared as such",
    "ban-drop-table": "`down` and review say what is lost",
    "ban-drop-column": "`down` and review say what is lost",
    "ban-drop-constraint": "the constraint is no longer declared, or only helped to set NOT NULL",
    "ban-drop-not-null": "the column is declared nullable",
    "ban-create-domain-with-constraint": "uint64 and uint256 are closed: their limits never change",
    "ban-alter-domain-with-add-constraint": "the domain is declared so",
    "require-table-schema": "every name has its schema",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something risky: where, which rule, what, and what to do instead."""

    place: str
    operation: str
    rule: str
    message: str
    help: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.operation}: {self.message} ({self.rule})"


async def lint(site: Site, revisions: Sequence[str] = (), *, every: bool = False) -> list[Finding]:
    """Return what is risky in the named revisions, in every one, or in those this database does not have yet.

    The declarations of the packs are looked at too: indexes that repeat others, foreign keys without an index.
    """
    scripts = Scripts.of(site.catalog, site.folders)
    if every or revisions:
        chosen = list(scripts.revisions.values()) if every else [find(scripts.revisions, name) for name in revisions]
    else:
        async with open_migration_session(site) as connection:
            chosen = plan_up(scripts.revisions, await history.read_records(connection))
    found = [finding for revision in chosen for finding in await lint_revision(scripts, revision)]
    return [*found, *lint_declarations(site.catalog)]


async def lint_revision(scripts: Scripts, revision: Revision) -> list[Finding]:
    """Return what squawk finds in the SQL of a revision's way up."""
    run = scripts.run(revision, Direction.UP)
    text, places = _script(run)
    fresh = _indexes_of_new_views(run)
    findings = []
    for one in await _squawk(text, in_transaction=revision.transactional):
        operation = next((title for line, title in reversed(places) if line <= one["line"]), "")
        if operation in fresh and one["rule_name"] == "require-concurrent-index-creation":
            continue
        findings.append(Finding(revision.name, operation, one["rule_name"], one["message"], one.get("help") or ""))
    return findings


def _script(run: Run) -> tuple[str, list[tuple[int, str]]]:
    """Return the SQL as it is for plain tables, and the line each operation starts on."""
    lines: list[str] = []
    places: list[tuple[int, str]] = []
    for step in run.steps:
        for operation in step.operations:
            if isinstance(operation, Statements) and operation.published:
                continue
            places.append((len(lines), describe(operation)))
            statements = operation.plain() if isinstance(operation, Online) else render(operation)
            for statement in statements:
                lines += f"{statement.rstrip().removesuffix(';')};".split("\n")
    return "\n".join(lines) + "\n", places


def _indexes_of_new_views(run: Run) -> set[str]:
    """Return the operations that index a materialized view of the same revision: nobody waits for one that is not there yet."""
    operations = [operation for step in run.steps for operation in step.operations]
    views = {describe(one).removeprefix("create materialized view ") for one in operations if not isinstance(one, Online)}
    made = [one for one in operations if isinstance(one, ops.CreateIndexOp) and f"{one.schema}.{one.table_name}" in views]
    return {describe(one) for one in made}


def find_squawk() -> Path:
    """Return the linter's program; raise `LintUnavailable`."""
    beside = Path(sys.executable).parent / "squawk"
    found = str(beside) if beside.is_file() else shutil.which("squawk")
    if found is None:
        raise LintUnavailable
    return Path(found)


async def _squawk(text: str, *, in_transaction: bool) -> list[dict[str, Any]]:
    arguments = ["--reporter", "json", "--stdin-filepath", "revision.sql", *(f"--exclude={rule}" for rule in SETTLED)]
    arguments += ["--assume-in-transaction"] if in_transaction else []
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(find_squawk(), *arguments, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            out, err = await process.communicate(text.encode())
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise LintFailed(f"squawk did not end within {TIMEOUT_SECONDS} s") from error
    try:
        found: list[dict[str, Any]] = json.loads(out or b"[]")
    except json.JSONDecodeError as error:
        raise LintFailed(f"squawk ended with {process.returncode}: {err.decode(errors='replace').strip()[:200]}") from error
    return found


# Declarations ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Indexed:
    """What an index or a key finds rows by.

    `plain`: it is a B-tree of all rows. `finds`: it finds every row with given values. `kept`: it is a constraint's.
    """

    name: str
    columns: tuple[str, ...]
    unique: bool
    plain: bool
    finds: bool
    kept: bool


def lint_declarations(catalog: Catalog) -> list[Finding]:
    """Return indexes that repeat others, and foreign keys that every delete would have to scan a table for."""
    found = []
    for pack in catalog.packs:
        for table in pack.metadata.tables.values():
            found += [*_redundant(table), *_unindexed(pack, table)]
    return found


def _indexed(table: sa.Table) -> list[_Indexed]:
    keys = [table.primary_key, *(one for one in table.constraints if isinstance(one, sa.UniqueConstraint))]
    listed = [_Indexed(str(key.name), tuple(key.columns.keys()), True, True, True, True) for key in keys]
    for index in table.indexes:
        options = index.dialect_options["postgresql"]
        columns = tuple(_column(part) for part in index.expressions)
        condition = "" if options["where"] is None else str(options["where"])
        tree = options["using"] in (False, None, "btree") and not options["ops"]
        # A row with values is found by an index of the rows that have any.
        finds = tree and condition in ("", *(f"{column} IS NOT NULL" for column in columns))
        plain = tree and not condition and not options["include"]
        listed.append(_Indexed(str(index.name), columns, bool(index.unique), plain, finds, False))
    return sorted(listed, key=lambda one: (not one.kept, one.name))


def _column(expression: Any) -> str:
    """Return the column of an index key; its direction does not matter, because a B-tree is read both ways."""
    if isinstance(expression, sa.Column):
        return expression.name
    return str(expression).removesuffix(" DESC").removesuffix(" ASC")


def _redundant(table: sa.Table) -> Iterator[Finding]:
    listed = [one for one in _indexed(table) if one.columns]
    for one in listed:
        if one.kept or one.unique or not one.plain:
            continue
        for other in listed:
            longer = other.columns[: len(one.columns)] == one.columns and (len(other.columns) > len(one.columns) or other.name < one.name)
            if other is not one and other.plain and (longer or (other.kept and other.columns == one.columns)):
                message = f"{other.name} ({', '.join(other.columns)}) finds the same rows"
                yield Finding(table.fullname, f"index {one.name}", "redundant-index", message, "Leave it out: every write pays for it.")
                break


def _unindexed(pack: Pack, table: sa.Table) -> Iterator[Finding]:
    listed = [one for one in _indexed(table) if one.finds]
    for constraint in sorted(table.foreign_key_constraints, key=lambda constraint: str(constraint.name)):
        columns = tuple(constraint.column_keys)
        served = any(set(one.columns[: len(columns)]) == set(columns) for one in listed)
        target = next(iter(constraint.elements)).target_fullname.rpartition(".")[0]
        follows = str(constraint.ondelete or "").upper() in ("CASCADE", "SET NULL", "SET DEFAULT")
        if not served and (follows or _loses_rows(pack, target)):
            yield Finding(
                table.fullname,
                f"foreign key {constraint.name}",
                "foreign-key-without-index",
                f"every row deleted from {target} scans this table for {', '.join(columns)}",
                f"Add an index that starts with {', '.join(columns)}.",
            )


def _loses_rows(pack: Pack, table: str) -> bool:
    """Whether rows of a table are deleted one by one as they age."""
    aged: list[Dataset] = [dataset for dataset in pack.datasets if dataset.table.fullname == table]
    return any(dataset.lifecycle.keep is not None and not dataset.partitioned for dataset in aged)
