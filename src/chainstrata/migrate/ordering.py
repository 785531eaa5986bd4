"""In which order objects can be made: each after what it needs. Pure."""

from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush
from typing import Any

from chainstrata.migrate.schema import Constraint, ConstraintKind, Key, Kind, Snapshot

_RANK = {
    kind: place
    for place, kind in enumerate(
        (
            Kind.SCHEMA,
            Kind.EXTENSION,
            Kind.QUEUE,
            Kind.ENUM,
            Kind.DOMAIN,
            Kind.TABLE,
            Kind.FUNCTION,
            Kind.VIEW,
            Kind.TRIGGER,
            Kind.POLICY,
        )
    )
}


def in_order(keys: Iterable[Key], needs: Mapping[Key, Iterable[Key]]) -> list[Key]:
    """Return the keys, each after those it needs; where that leaves a choice, by kind and name.

    A circle is broken at the first of its keys.
    """
    waiting = {key: {needed for needed in needs.get(key, ()) if needed != key} for key in keys}
    waiting = {key: needed & waiting.keys() for key, needed in waiting.items()}
    rank: Callable[[Key], Any] = lambda key: (_RANK[key.kind], key.name)  # noqa: E731
    ready = [(rank(key), key) for key, needed in waiting.items() if not needed]
    heapify(ready)
    ordered: list[Key] = []
    while waiting:
        key = heappop(ready)[1] if ready else min(waiting, key=rank)
        del waiting[key]
        ordered.append(key)
        for other, needed in waiting.items():
            if key in needed:
                needed.discard(key)
                if not needed:
                    heappush(ready, (rank(other), other))
    return ordered


def needs_of(snapshot: Snapshot) -> dict[Key, set[Key]]:
    """Return what each object needs, the targets of foreign keys included."""
    needs = {key: set(needed) for key, needed in snapshot.needs.items()}
    for item in snapshot.values():
        if isinstance(item, Constraint) and item.kind is ConstraintKind.FOREIGN_KEY:
            needs.setdefault(Key(Kind.TABLE, f"{item.schema}.{item.table}"), set()).add(Key(Kind.TABLE, item.target))
    return needs


def closure(start: Iterable[Key], needs: Mapping[Key, Iterable[Key]], kind: Kind) -> set[Key]:
    """Return the objects of a kind that need one of `start`, directly or through others of that kind; `start` not included."""
    found: set[Key] = set()
    reached = set(start)
    while True:
        more = {key for key, needed in needs.items() if key.kind is kind and key not in reached and reached & set(needed)}
        if not more:
            return found
        found |= more
        reached |= more
