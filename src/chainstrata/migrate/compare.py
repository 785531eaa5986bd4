"""What differs between two schemas. Pure."""

from dataclasses import dataclass

from chainstrata.migrate.schema import Item, Key, Kind, Snapshot


@dataclass(frozen=True, slots=True)
class Change:
    """One object that is to become another: made when `before` is None, dropped when `after` is."""

    key: Key
    before: Item | None
    after: Item | None

    def __str__(self) -> str:
        return f"{self.word} {self.key}"

    @property
    def word(self) -> str:
        return "add" if self.before is None else "drop" if self.after is None else "change"


def compare(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return what must change to turn one into the other, in the order of kinds and names.

    What belongs to a table that is made or dropped is not listed beside it, but for the triggers of a new one: they may
    need functions that need the table.
    """
    changes = [Change(key, before.get(key), after.get(key)) for key in {**before, **after} if before.get(key) != after.get(key)]
    whole = {change.key.name for change in changes if change.key.kind in (Kind.TABLE, Kind.VIEW) and None in (change.before, change.after)}
    order = list(Kind)
    return sorted(
        (change for change in changes if owner(change) not in whole or (change.key.kind is Kind.TRIGGER and change.before is None)),
        key=lambda change: (order.index(change.key.kind), change.key.name),
    )


def owner(change: Change) -> str:
    """Return the full name of the table or view an object belongs to, or nothing."""
    item = change.after if change.after is not None else change.before
    table = getattr(item, "table", "")
    return f"{item.schema}.{table}" if item is not None and table else ""
