"""From two schemas to the revisions that lead from one to the other, and back. Pure.

The way back is made by the same rules as the way there, with the schemas exchanged. Up to three revisions come out:

- before: new enum values, and indexes and constraints that go (steps of their own: a new value cannot be used in the
  transaction that adds it);
- one transaction with all that is quick;
- after: indexes, constraints and NOT NULL on tables that may be large, built without holding up writers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chainstrata.migrate import calls
from chainstrata.migrate.alter import AlterTable, Lines, Phase, no_lines
from chainstrata.migrate.compare import Change, compare, owner
from chainstrata.migrate.errors import NotMigratable
from chainstrata.migrate.ordering import closure, in_order, needs_of
from chainstrata.migrate.schema import (
    Constraint,
    ConstraintKind,
    Domain,
    Enum,
    Function,
    Item,
    Key,
    Kind,
    Policy,
    Queue,
    Snapshot,
    Table,
    Trigger,
    View,
)
from chainstrata.migrate.source import Block, Line, call

_STANDING_ALONE = (
    Kind.SCHEMA,
    Kind.EXTENSION,
    Kind.QUEUE,
    Kind.DOMAIN,
    Kind.ENUM,
    Kind.TABLE,
    Kind.FUNCTION,
    Kind.VIEW,
    Kind.TRIGGER,
    Kind.POLICY,
)


@dataclass(frozen=True, slots=True)
class Draft:
    """One revision to be written."""

    phase: Phase
    upgrade: Sequence[Line]
    downgrade: Sequence[Line]

    @property
    def transactional(self) -> bool:
        return self.phase is Phase.WHOLE


def draft(live: Snapshot, declared: Snapshot) -> list[Draft]:
    """Return the revisions that turn `live` into `declared`; none if nothing differs."""
    up = _Direction(live, declared).lines()
    down = _Direction(declared, live, reverse=True).lines()
    return [Draft(phase, up[phase], down[phase]) for phase in Phase if up[phase] or down[phase]]


class _Direction:
    """One way from a schema to another. Going back, what a phase did on the way there is undone in the same phase."""

    def __init__(self, before: Snapshot, after: Snapshot, *, reverse: bool = False) -> None:
        self.before = before
        self.after = after
        self.reverse = reverse
        self.changes = {change.key: change for change in compare(before, after)}
        self.tables = self._altered_tables()
        self.rebuilt = self._rebuilt()
        # A view that is made anew gets its indexes then.
        self.tables = {name: table for name, table in self.tables.items() if Key(Kind.VIEW, name) not in self.rebuilt}

    def lines(self) -> Lines:
        found = no_lines()
        altered = {name: table.lines() for name, table in self.tables.items()}
        found[Phase.WHOLE] = [*self._drops_first(), *self._creates(altered), *self._drops_last()]
        for parts in altered.values():
            found[Phase.BEFORE] += parts[Phase.BEFORE]
            found[Phase.AFTER] += parts[Phase.AFTER]
        for change in self.changes.values():
            if isinstance(change.before, Enum) and isinstance(change.after, Enum) and change.before.labels != change.after.labels:
                phase, lines = self._enum(change.before, change.after)
                found[phase] += lines
        return found

    def _altered_tables(self) -> dict[str, AlterTable]:
        parts: dict[str, dict[Key, Change]] = {}
        for key, change in self.changes.items():
            if key.kind is Kind.TABLE and change.before and change.after:
                parts.setdefault(key.name, {})[key] = change
            elif key.kind in (Kind.COLUMN, Kind.CONSTRAINT, Kind.INDEX):
                parts.setdefault(owner(change), {})[key] = change
        return {name: AlterTable(name, self.before, self.after, found, self.reverse) for name, found in parts.items()}

    def _rebuilt(self) -> set[Key]:
        """Return the functions, views and triggers that have to go for a moment, because of their own change or another's."""
        functions = {key for key, change in self.changes.items() if _is_other_function(change)}
        reshaped = {Key(Kind.TABLE, name) for name, table in self.tables.items() if table.reshaped}
        # A function with a body of parsed SQL holds on to every column it names.
        functions |= closure(reshaped, self.before.needs, Kind.FUNCTION)
        views = {key for key, change in self.changes.items() if key.kind is Kind.VIEW and _is_other_view(change)}
        triggers = {key for key, change in self.changes.items() if key.kind is Kind.TRIGGER and change.before and change.after}
        views |= closure(functions | reshaped | views, self.before.needs, Kind.VIEW)
        triggers |= closure(functions, self.before.needs, Kind.TRIGGER)
        return {key for key in functions | views | triggers if key in self.before}

    # The three parts of the transaction ---------------------------------------------------------------------------

    def _drops_first(self) -> list[Line]:
        gone = {key for key, change in self.changes.items() if change.after is None and key.kind in (Kind.VIEW, Kind.TRIGGER)}
        return self._drop(gone | self.rebuilt)

    def _drops_last(self) -> list[Line]:
        kinds = (Kind.TABLE, Kind.FUNCTION, Kind.DOMAIN, Kind.ENUM, Kind.SCHEMA, Kind.POLICY, Kind.QUEUE)
        gone = {key for key, change in self.changes.items() if change.after is None and key.kind in kinds}
        order = self._in_reverse(gone)
        first = [
            calls.drop_constraint(constraint)
            for place, key in enumerate(order)
            for constraint in _foreign_keys(self.before, key)
            if Key(Kind.TABLE, constraint.target) in order[:place]
        ]
        return [*first, *self._drop(gone)]

    def _drop(self, keys: Iterable[Key]) -> list[Line]:
        return [line for key in self._in_reverse(keys) for line in calls.drop(self.before[key])]

    def _in_reverse(self, keys: Iterable[Key]) -> list[Key]:
        needs = needs_of(self.before)
        for item in self.before.values():
            if isinstance(item, Trigger):
                # A trigger goes with its table, so its function can go only after that.
                needs.setdefault(Key(Kind.TABLE, f"{item.schema}.{item.table}"), set()).update(self.before.needs.get(item.key, ()))
        return in_order(keys, needs)[::-1]

    def _creates(self, altered: Mapping[str, Lines]) -> list[Line]:
        new = {key for key, change in self.changes.items() if change.after is not None and key.kind in _STANDING_ALONE}
        tables = {Key(Kind.TABLE, name) for name in altered}
        order = in_order(new | tables | {key for key in self.rebuilt if key in self.after}, needs_of(self.after))
        made: list[Line] = []
        late: list[Line] = []
        for place, key in enumerate(order):
            if key in tables:
                made += altered[key.name][Phase.WHOLE]
                continue
            item = self.after[key]
            if isinstance(item, Table):
                waiting = {Key(Kind.TABLE, table) for table in (other.name for other in order[place + 1 :] if other.kind is Kind.TABLE)}
                circular = [fk for fk in _foreign_keys(self.after, key) if Key(Kind.TABLE, fk.target) in waiting]
                made += calls.create_table(item, self.after, without=frozenset(fk.name for fk in circular))
                late += [calls.add_constraint(fk) for fk in circular]
            else:
                made += self._create_or_change(key, item)
        return [*made, *late]

    def _create_or_change(self, key: Key, item: Item) -> list[Line]:
        change = self.changes.get(key)
        if change is None or change.before is None or key in self.rebuilt:
            return [*calls.create(item, self.after)]
        return [*_changed(change.before, item)]

    def _enum(self, before: Enum, after: Enum) -> tuple[Phase, list[Line]]:
        """Return where and how an enum gets other values.

        Values are added before all else, so that the rest can use them, and taken away when nothing uses them any more.
        """
        grows = [label for label in after.labels if label in before.labels] == list(before.labels)
        phase = Phase.BEFORE if grows is not self.reverse else Phase.AFTER
        if not grows:
            return phase, [call("op.replace_enum", after.key.name, list(after.labels))]
        lines: list[Line] = []
        for place, label in enumerate(after.labels):
            if label not in before.labels:
                where = {"after": after.labels[place - 1]} if place else {"before": before.labels[0]}
                lines.append(call("op.add_enum_value", after.key.name, label, **where))
        return phase, lines


def _changed(before: Item, after: Item) -> list[Line]:
    """Return what turns one object into another without dropping it."""
    match before, after:
        case Function(), Function() if before.sql != after.sql:
            return [call("op.replace_function", after.signature, Block(after.written or after.sql), comment=after.comment or None)]
        case Domain(), Domain() if before.base == after.base:
            return [_changed_domain(before, after)]
        case Domain(), Domain():
            raise NotMigratable(f"domain {after.key.name}", f"is {before.base} and cannot become {after.base} in place")
        case Queue(), Queue():
            # Its steps lead forward only; what an older release of ours asks for works on the newer tables.
            return [calls.create_queue(after.version, since=before.version)] if before.version < after.version else []
        case _, Policy():
            return [calls.set_policy(after)]
        case _ if getattr(before, "comment", "") != getattr(after, "comment", ""):
            return [_comment(after)]
        case _:
            return []


def _changed_domain(before: Domain, after: Domain) -> Line:
    old, new, written = dict(before.checks), dict(after.checks), calls.domain_checks(after)
    return call(
        "op.alter_domain",
        after.key.name,
        drop_checks=[check for check in old if old[check] != new.get(check)] or None,
        add_checks={check: written[check] for check, condition in new.items() if old.get(check) != condition} or None,
        not_null=after.not_null if before.not_null != after.not_null else None,
        default=after.default if before.default != after.default else None,
        comment=after.comment if before.comment != after.comment else None,
    )


def _comment(item: Item) -> Line:
    word = "materialized view" if isinstance(item, View) and item.materialized else item.key.kind.value
    return calls.comment_on(word, item.key.name, getattr(item, "comment", ""))


def _foreign_keys(snapshot: Snapshot, key: Key) -> list[Constraint]:
    parts = snapshot.of_table(key.name) if key.kind is Kind.TABLE else []
    found = [part for part in parts if isinstance(part, Constraint) and part.kind is ConstraintKind.FOREIGN_KEY]
    return [constraint for constraint in found if constraint.target != key.name]


def _is_other_function(change: Change) -> bool:
    """Whether a function stays by name and arguments but returns something else, which PostgreSQL does not replace."""
    before, after = change.before, change.after
    return isinstance(before, Function) and isinstance(after, Function) and (before.result, before.kind) != (after.result, after.kind)


def _is_other_view(change: Change) -> bool:
    before, after = change.before, change.after
    return isinstance(before, View) and isinstance(after, View) and before.sql != after.sql
