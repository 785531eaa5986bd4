"""Steps from one set of columnar tables and views to another, each with its way back. Pure.

A revision is a list of such steps; replaying all revisions of a pack gives what it declared when the last one was written. Every
statement may run again: it changes nothing that is as it should be, so what was interrupted simply goes on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from chainstrata.model.columnar import ddl
from chainstrata.model.columnar.table import ColumnarColumn, ColumnarObject, ColumnarTable, ColumnarView, SkipIndex

State = dict[str, ColumnarObject]


class CannotChange(ValueError):
    """The engine cannot bring a table from one declaration to the other."""


@dataclass(frozen=True, slots=True)
class Create:
    """Make a table or view."""

    item: ColumnarObject

    def back(self) -> "Drop":
        return Drop(self.item)

    def statements(self, database: str, cluster: str) -> tuple[str, ...]:
        return ddl.create(self.item, database, cluster)

    def apply(self, state: State) -> None:
        state[self.item.name] = self.item

    @property
    def title(self) -> str:
        return f"create {_kind(self.item)} {self.item.name}"

    @property
    def loses(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove a table with its rows, or a view."""

    item: ColumnarObject

    def back(self) -> Create:
        return Create(self.item)

    def statements(self, database: str, cluster: str) -> tuple[str, ...]:
        return ddl.drop(self.item, database, cluster)

    def apply(self, state: State) -> None:
        state.pop(self.item.name, None)

    @property
    def title(self) -> str:
        return f"drop {_kind(self.item)} {self.item.name}"

    @property
    def loses(self) -> str:
        return f"the rows of {self.item.name}" if isinstance(self.item, ColumnarTable) else ""


@dataclass(frozen=True, slots=True)
class Columns:
    """Change the columns of a table: those of `before` that `after` lacks go, new ones come, others take their new form."""

    table: str
    before: Sequence[ColumnarColumn]
    after: Sequence[ColumnarColumn]

    def back(self) -> "Columns":
        return Columns(self.table, self.after, self.before)

    def statements(self, database: str, cluster: str) -> tuple[str, ...]:
        places = ddl.places(self.table, cluster)
        return tuple(ddl.alter(name, clause, database, cluster) for name in places for clause in self._clauses(stored=name == places[0]))

    def _clauses(self, *, stored: bool) -> Iterator[str]:
        old, new = _by_name(self.before), _by_name(self.after)
        for column in self.before:
            if column.name not in new:
                yield f"DROP COLUMN IF EXISTS {ddl.quote_name(column.name)}"
        previous = ""
        for column in self.after:
            shown = ddl.column(column, stored=stored)
            if column.name not in old:
                yield f"ADD COLUMN IF NOT EXISTS {shown}" + (f" AFTER {ddl.quote_name(previous)}" if previous else " FIRST")
            elif old[column.name] != column:
                yield f"MODIFY COLUMN {shown}"
            previous = column.name

    def apply(self, state: State) -> None:
        state[self.table] = replace(_table_of(state, self.table), columns=self.after)

    @property
    def title(self) -> str:
        return f"change columns of {self.table}"

    @property
    def loses(self) -> str:
        gone = [column.name for column in self.before if column.name not in _by_name(self.after) and not column.alias]
        return f"{', '.join(gone)} of {self.table}" if gone else ""


@dataclass(frozen=True, slots=True)
class Indexes:
    """Change the skip indexes of a table. A new one is built for the rows that are there too."""

    table: str
    before: Sequence[SkipIndex]
    after: Sequence[SkipIndex]

    def back(self) -> "Indexes":
        return Indexes(self.table, self.after, self.before)

    def statements(self, database: str, cluster: str) -> tuple[str, ...]:
        name = ddl.places(self.table, cluster)[0]
        clauses = [f"DROP INDEX IF EXISTS {ddl.quote_name(index.name)}" for index in self.before if index not in self.after]
        for index in self.after:
            if index not in self.before:
                clauses += [f"ADD {ddl.index(index, again=True)}", f"MATERIALIZE INDEX {ddl.quote_name(index.name)}"]
        return tuple(ddl.alter(name, clause, database, cluster) for clause in clauses)

    def apply(self, state: State) -> None:
        state[self.table] = replace(_table_of(state, self.table), indexes=self.after)

    @property
    def title(self) -> str:
        return f"change indexes of {self.table}"

    @property
    def loses(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Ttl:
    """Change how long a table keeps its rows."""

    table: str
    before: str
    after: str

    def back(self) -> "Ttl":
        return Ttl(self.table, self.after, self.before)

    def statements(self, database: str, cluster: str) -> tuple[str, ...]:
        clause = f"MODIFY TTL {self.after}" if self.after else "REMOVE TTL"
        return (ddl.alter(ddl.places(self.table, cluster)[0], clause, database, cluster),)

    def apply(self, state: State) -> None:
        state[self.table] = replace(_table_of(state, self.table), ttl=self.after)

    @property
    def title(self) -> str:
        return f"keep rows of {self.table} {'until ' + self.after if self.after else 'for ever'}"

    @property
    def loses(self) -> str:
        return ""


Change = Create | Drop | Columns | Indexes | Ttl


def replay(changes: Iterable[Change]) -> State:
    """Return what there is after the changes."""
    state: State = {}
    for change in changes:
        change.apply(state)
    return state


def compare(before: Mapping[str, ColumnarObject], after: Mapping[str, ColumnarObject]) -> list[Change]:
    """Return the steps from one to the other: what goes, tables that change, then what comes, each after what it reads."""
    gone = [item for name, item in before.items() if name not in after or _must_be_made_anew(item, after[name])]
    come = [item for name, item in after.items() if name not in before or _must_be_made_anew(before[name], item)]
    steps: list[Change] = [Drop(item) for item in reversed(_in_order(gone))]
    for name, item in after.items():
        old = before.get(name)
        if isinstance(item, ColumnarTable) and isinstance(old, ColumnarTable) and item != old:
            steps += _table(old, item)
    return [*steps, *(Create(item) for item in _in_order(come))]


def _must_be_made_anew(before: ColumnarObject, after: ColumnarObject) -> bool:
    return before != after and (isinstance(before, ColumnarView) or isinstance(after, ColumnarView))


def _in_order(items: Sequence[ColumnarObject]) -> list[ColumnarObject]:
    """Return tables, then views, each after those it reads."""
    known = {item.name: item for item in items}
    ordered: dict[str, ColumnarObject] = {}

    def visit(item: ColumnarObject) -> None:
        for name in item.requires if isinstance(item, ColumnarView) else ():
            if name in known and name not in ordered:
                visit(known[name])
        ordered.setdefault(item.name, item)

    for item in sorted(items, key=lambda item: isinstance(item, ColumnarView)):
        visit(item)
    return list(ordered.values())


def _table(before: ColumnarTable, after: ColumnarTable) -> Iterator[Change]:
    fixed = ("engine", "order_by", "partition_by", "primary_key", "shard_by", "settings")
    for name in fixed:
        if getattr(before, name) != getattr(after, name):
            raise CannotChange(f"{after.name}: {name} is fixed when a table is made; give the changed table another name")
    if tuple(before.columns) != tuple(after.columns):
        yield Columns(after.name, tuple(before.columns), tuple(after.columns))
    if tuple(before.indexes) != tuple(after.indexes):
        yield Indexes(after.name, tuple(before.indexes), tuple(after.indexes))
    if before.ttl != after.ttl:
        yield Ttl(after.name, before.ttl, after.ttl)


def _table_of(state: State, name: str) -> ColumnarTable:
    item = state[name]
    if not isinstance(item, ColumnarTable):
        raise TypeError(f"{name} is a view")
    return item


def _by_name(columns: Iterable[ColumnarColumn]) -> dict[str, ColumnarColumn]:
    return {column.name: column for column in columns}


def _kind(item: ColumnarObject) -> str:
    return "view" if isinstance(item, ColumnarView) else "table"
