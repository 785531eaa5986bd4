"""The calls that turn one table into another. Pure.

Quick changes go into one transaction. What could hold up writers of a large table, indexes, constraints and NOT NULL, is
made in steps of its own: what is added comes after the transaction, what goes comes before it, and on the way back the
other way round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from chainstrata.migrate import calls
from chainstrata.migrate.compare import Change
from chainstrata.migrate.errors import NotMigratable
from chainstrata.migrate.schema import Column, Constraint, ConstraintKind, Index, Key, Kind, Snapshot, Table
from chainstrata.migrate.source import Call, Line, Remark, Value, call

REPLACEMENT = "__new"


class Phase(IntEnum):
    BEFORE = 0
    WHOLE = 1
    AFTER = 2


Lines = dict[Phase, list[Line]]


def no_lines() -> Lines:
    return {phase: [] for phase in Phase}


@dataclass
class AlterTable:
    """A table that is there before and after. `changes` are the table's own and those of its parts."""

    name: str
    before: Snapshot
    after: Snapshot
    changes: Mapping[Key, Change]
    reverse: bool = False
    found: Lines = field(default_factory=no_lines)

    @property
    def adding(self) -> Phase:
        return Phase.BEFORE if self.reverse else Phase.AFTER

    @property
    def dropping(self) -> Phase:
        return Phase.AFTER if self.reverse else Phase.BEFORE

    @property
    def columns(self) -> list[Change]:
        return [change for change in self.changes.values() if change.key.kind is Kind.COLUMN]

    @property
    def recomputed(self) -> set[str]:
        """Generated columns that have to be made anew: they changed, or a column they are computed from changes its type."""
        retyped = [column.name for column in self._retyped()]
        found = {c.name for change in self.columns for c in (change.before, change.after) if isinstance(c, Column) and _regenerated(change)}
        for part in self.before.of_table(self.name):
            if isinstance(part, Column) and part.generated and calls.mentions(part.expression, retyped):
                found.add(part.name)
        return found

    def _retyped(self) -> list[Column]:
        pairs = [(change.before, change.after) for change in self.columns]
        return [
            after
            for before, after in pairs
            if isinstance(before, Column)
            and isinstance(after, Column)
            and (before.type, before.collation) != (after.type, after.collation)
            and not (before.generated or after.generated)
        ]

    @property
    def reshaped(self) -> bool:
        """Whether views of the table have to go first: a column goes, or changes its type."""
        return bool(self.recomputed or self._retyped() or any(change.after is None for change in self.columns))

    def _unsettled(self) -> list[str]:
        """Return the columns that are not there on one side, or for a moment."""
        coming_or_going = [change.key.name.rpartition(".")[2] for change in self.columns if None in (change.before, change.after)]
        return [*coming_or_going, *self.recomputed]

    def lines(self) -> Lines:
        self._table()
        self._drop_columns()
        for change in self.columns:
            if isinstance(change.before, Column) and isinstance(change.after, Column) and change.after.name not in self.recomputed:
                self._alter_column(change.before, change.after)
        self._add_columns()
        for kind, handle in ((Constraint, self._constraint), (Index, self._index)):
            for before, after in self._pairs(kind):
                handle(before, after)
        return self.found

    def _table(self) -> None:
        change = self.changes.get(Key(Kind.TABLE, self.name))
        if change is None or not isinstance(change.before, Table) or not isinstance(change.after, Table):
            return
        before, after = change.before, change.after
        if before.partition_by != after.partition_by:
            raise NotMigratable(
                f"table {self.name}",
                f"is {_partitioning(before)} and cannot become {_partitioning(after)} in place",
            )
        whole = self.found[Phase.WHOLE]
        if before.unlogged != after.unlogged:
            whole.append(call("op.execute", f"ALTER TABLE {self.name} SET {'UNLOGGED' if after.unlogged else 'LOGGED'}"))
        if before.options != after.options:
            options = dict(option.split("=", 1) for option in after.options)
            gone: dict[str, Value] = {option.split("=", 1)[0]: None for option in before.options}
            whole.append(call("op.set_options", self.name, gone | options))
        if before.comment != after.comment:
            whole.append(calls.comment_on("table", self.name, after.comment))

    # Columns -----------------------------------------------------------------------------------------------------

    def _drop_columns(self) -> None:
        gone = [change.before for change in self.columns if change.after is None and isinstance(change.before, Column)]
        gone += [c for c in self._columns_of(self.before) if c.name in self.recomputed]
        for column in sorted(gone, key=lambda column: not column.generated):
            self.found[Phase.WHOLE].append(call("op.drop_column", column.table, column.name, schema=column.schema))

    def _columns_of(self, snapshot: Snapshot) -> list[Column]:
        return [part for part in snapshot.of_table(self.name) if isinstance(part, Column)]

    def _add_columns(self) -> None:
        new = {change.key.name for change in self.columns if change.before is None}
        fresh = [column for column in self._columns_of(self.after) if column.key.name in new or column.name in self.recomputed]
        for column in sorted(fresh, key=lambda column: bool(column.generated)):
            fills_itself = column.expression or column.identity or not column.not_null
            added = calls.column_call(column, nullable=None if fills_itself else True)
            self.found[Phase.WHOLE].append(call("op.add_column", column.table, added, schema=column.schema))
            if not fills_itself:
                self.found[self.adding] += [
                    Remark(f"Rows that are there have no {column.name} yet: fill them here, as with op.backfill(…)."),
                    call("op.set_not_null_concurrently", self.name, column.name),
                ]

    def _alter_column(self, before: Column, after: Column) -> None:
        where = {"schema": after.schema}
        if before.identity != after.identity:
            raise NotMigratable(f"column {after.key.name}", "cannot become an identity column, or cease to be one, by itself")
        retyped = (before.type, before.collation) != (after.type, after.collation)
        whole = self.found[Phase.WHOLE]
        if before.expression and (retyped or not after.expression):
            whole.append(call("op.alter_column", after.table, after.name, server_default=None, **where))
            whole[-1] = Call("op.alter_column", (after.table, after.name), {"server_default": None, **where})
        if retyped:
            kind = calls.column_call(after).arguments[1]
            using = f"{after.name}::{after.type}"
            whole.append(call("op.alter_column", after.table, after.name, type_=kind, postgresql_using=using, **where))
        if after.expression and (retyped or before.expression != after.expression):
            whole.append(call("op.alter_column", after.table, after.name, server_default=calls.text_call(after.expression), **where))
        if before.comment != after.comment:
            whole.append(calls.comment_on("column", after.key.name, after.comment))
        if after.not_null and not before.not_null:
            self.found[self.adding].append(call("op.set_not_null_concurrently", self.name, after.name))
        elif before.not_null and not after.not_null:
            self.found[self.dropping].append(call("op.alter_column", after.table, after.name, nullable=True, **where))

    # Constraints and indexes -------------------------------------------------------------------------------------

    def _pairs(self, kind: type) -> list[tuple[object, object]]:
        """Return the parts of a kind that change, and those that go for a moment because a column of theirs does."""
        found: dict[Key, tuple[object, object]] = {
            key: (change.before, change.after)
            for key, change in self.changes.items()
            if isinstance(change.before, kind) or isinstance(change.after, kind)
        }
        for part in self.before.of_table(self.name):
            stays = isinstance(part, kind) and part.key in self.after
            if stays and calls.mentions(_rule(part), [*self.recomputed]):
                found.setdefault(part.key, (part, self.after[part.key]))
        return list(found.values())

    def _constraint(self, before: object, after: object) -> None:
        old = before if isinstance(before, Constraint) else None
        new = after if isinstance(after, Constraint) else None
        if old and new and _without_comment(old) == _without_comment(new) and not self._shaken(old, new):
            self.found[Phase.WHOLE].append(calls.comment_on("constraint", new.key.name, new.comment))
            return
        quick = {ConstraintKind.PRIMARY_KEY, ConstraintKind.EXCLUSION}
        if {part.kind for part in (old, new) if part} & quick:
            self.found[Phase.WHOLE] += [calls.drop_constraint(old)] if old else []
            self.found[Phase.WHOLE] += [calls.add_constraint(new)] if new else []
            return
        if old and new and not self._shaken(old, new) and old.kind is new.kind and new.kind is not ConstraintKind.UNIQUE:
            replaced = [
                add_concurrently(new, new.name + REPLACEMENT),
                call("op.swap_constraint", self.name, new.name + REPLACEMENT, new.name),
            ]
            self.found[Phase.AFTER] += replaced
        else:
            self.found[self.dropping] += [calls.drop_constraint(old, if_exists=True)] if old else []
            self.found[self.adding] += [add_concurrently(new, new.name)] if new else []
        if new and new.comment:
            self.found[self.adding].append(calls.comment_on("constraint", new.key.name, new.comment))

    def _index(self, before: object, after: object) -> None:
        old = before if isinstance(before, Index) else None
        new = after if isinstance(after, Index) else None
        if old and new and replace(old, comment=new.comment) == new and not self._shaken(old, new):
            self.found[Phase.WHOLE].append(calls.comment_on("index", new.key.name, new.comment))
        elif old and new and not self._shaken(old, new):
            self.found[Phase.AFTER] += [
                calls.create_index(new, concurrently=True, name=new.name + REPLACEMENT),
                call("op.swap_index", new.name + REPLACEMENT, new.name, self.name),
            ]
        else:
            self.found[self.dropping] += [calls.drop_index(old, concurrently=True)] if old else []
            self.found[self.adding] += [calls.create_index(new, concurrently=True)] if new else []

    def _shaken(self, *parts: Constraint | Index) -> bool:
        """Whether a part uses a column that is not there all the while."""
        return any(calls.mentions(_rule(part), self._unsettled()) for part in parts)


def _regenerated(change: Change) -> bool:
    before, after = change.before, change.after
    if not isinstance(before, Column) or not isinstance(after, Column) or not (before.generated or after.generated):
        return False
    return (before.type, before.generated, before.expression) != (after.type, after.generated, after.expression)


def _partitioning(table: Table) -> str:
    return f"partitioned by {table.partition_by}" if table.partition_by else "plain"


def _rule(part: object) -> str:
    return part.rule if isinstance(part, Constraint) else part.tail if isinstance(part, Index) else ""


def _without_comment(constraint: Constraint) -> tuple[object, ...]:
    return constraint.kind, constraint.rule, constraint.valid


def add_concurrently(constraint: Constraint, name: str) -> Call:
    """Return what adds a constraint without holding up writers."""
    table = f"{constraint.schema}.{constraint.table}"
    return call("op.add_constraint_concurrently", table, name, calls.rule(constraint))


def names(lines: Sequence[Line]) -> list[str]:
    return [line.function for line in lines if isinstance(line, Call)]
