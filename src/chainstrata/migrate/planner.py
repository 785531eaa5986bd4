"""Which revisions a request means, and in which order. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from alembic.operations import MigrateOperation

from chainstrata.errors import UnknownName, UsageError
from chainstrata.migrate.errors import HistoryUnusable, MigrationEdited, RevisionUnusable
from chainstrata.migrate.model import Direction, Record, Revision, Status, Step
from chainstrata.migrate.statements import autocommit, describe

HEADS = "heads"
BASE = "base"
Revisions = Mapping[str, Revision]
Records = Mapping[str, Record]


def in_order(known: Revisions, packs: Sequence[str]) -> list[Revision]:
    """Return the revisions, each after those it needs; else by pack, in the packs' order."""
    ordered: dict[str, Revision] = {}

    def visit(revision: Revision, path: tuple[str, ...]) -> None:
        if revision.name in path:
            raise HistoryUnusable(f"revisions need each other in a circle: {' > '.join((*path, revision.name))}")
        for needed in sorted(revision.needs):
            if needed not in known:
                raise HistoryUnusable(
                    f"revision {revision.name} needs {needed}, which is nowhere", hint="Is its pack installed and in use?"
                )
            if needed not in ordered:
                visit(known[needed], (*path, revision.name))
        ordered.setdefault(revision.name, revision)

    for revision in sorted(known.values(), key=lambda revision: (packs.index(revision.pack), revision.name)):
        visit(revision, ())
    return list(ordered.values())


def is_applied(records: Records, name: str) -> bool:
    record = records.get(name)
    return record is not None and record.status is Status.APPLIED


def find(revisions: Revisions, target: str) -> Revision:
    """Return the revision a user means: its name or the unmistakable start of it."""
    matching = [revision for name, revision in revisions.items() if name == target] or [
        revision for name, revision in revisions.items() if name.startswith(target)
    ]
    if len(matching) > 1:
        raise UsageError(f"{target!r} may be {', '.join(revision.name for revision in matching[:5])}", hint="Write the name whole.")
    if not matching:
        raise UnknownName("revision", target, list(revisions))
    return matching[0]


def closure(revisions: Revisions, names: Iterable[str]) -> set[str]:
    """Return the revisions and all they need."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += revisions[name].needs
    return found


def dependants(revisions: Revisions, names: Collection[str]) -> set[str]:
    """Return the revisions and all that need them."""
    found = set(names)
    for revision in revisions.values():
        if revision.needs & found:
            found.add(revision.name)
    return found


def plan_up(revisions: Revisions, records: Records, target: str = HEADS, packs: Collection[str] = ()) -> list[Revision]:
    """Return what is to be applied, oldest first.

    `target` is `heads`, a pack, a number of revisions, or a revision; `packs` narrows the first and the third.
    """
    pending = [name for name in revisions if not is_applied(records, name)]
    within = [name for name in pending if not packs or revisions[name].pack in packs]
    if target == HEADS:
        wanted = closure(revisions, within)
    elif target.isdigit():
        wanted = closure(revisions, within[: int(target)])
    elif target in {revision.pack for revision in revisions.values()}:
        wanted = closure(revisions, [name for name in pending if revisions[name].pack == target])
    else:
        wanted = closure(revisions, [find(revisions, target).name])
    return [revisions[name] for name in pending if name in wanted]


def plan_down(revisions: Revisions, records: Records, target: str, packs: Collection[str] = ()) -> list[Revision]:
    """Return what is to be undone, newest first, with whatever needs it.

    `target` is a number of revisions, `base`, or the revision to stop at; `packs` narrows the first two.
    """
    # What was begun counts too: it is undone as far as it came.
    there = [name for name in revisions if name in records]
    within = [name for name in there if not packs or revisions[name].pack in packs]
    if target == BASE:
        gone = set(within)
    elif target.isdigit():
        latest = sorted(within, key=lambda name: (records[name].started_at, there.index(name)), reverse=True)
        gone = set(latest[: int(target)])
    else:
        kept = find(revisions, target)
        if kept.name not in there:
            raise UsageError(f"revision {kept.name} is not applied", hint="`chainstrata migrate up` goes there.")
        behind = closure(revisions, [kept.name])
        gone = {name for name in there if revisions[name].pack == kept.pack and name not in behind}
    whole = dependants(revisions, gone)
    return [revisions[name] for name in reversed(there) if name in whole]


def plan_goto(revisions: Revisions, records: Records, target: str) -> tuple[Direction, list[Revision]]:
    """Return the way to a revision of a pack, whichever direction it lies in."""
    revision = find(revisions, target)
    if is_applied(records, revision.name):
        return Direction.DOWN, plan_down(revisions, records, revision.name)
    return Direction.UP, plan_up(revisions, records, revision.name)


def steps_of(revision: Revision, operations: Sequence[MigrateOperation]) -> list[Step]:
    """Return a revision's operations as steps: all in one transaction, or one by one."""
    if not revision.transactional:
        return [Step(number, (operation,)) for number, operation in enumerate(operations, 1)]
    for operation in operations:
        if autocommit(operation):
            raise RevisionUnusable(
                f"revision {revision.name}: {describe(operation)}: cannot be part of a transaction",
                hint="Move it to a revision of its own and say `transactional = False` there.",
            )
    return [Step(1, tuple(operations))] if operations else []


def steps_behind(record: Record | None, direction: Direction) -> int:
    """Return how many steps an interrupted run in this direction has done."""
    if record is None or record.direction is not direction or record.status is Status.APPLIED:
        return 0
    return record.step


def check_history(revisions: Revisions, records: Records, packs: Collection[str]) -> None:
    """Refuse to go on from a history that is not what ran here. What packs left behind that are not in use is let be."""
    for name, record in records.items():
        if record.pack not in packs:
            continue
        if name not in revisions:
            raise HistoryUnusable(
                f"revision {name} of pack {record.pack} is applied, but its file is nowhere",
                hint="Install the release of the pack that has it, or undo it with the release that applied it.",
            )
        begun = record.status is Status.APPLIED or record.step > 0
        if begun and record.checksum != revisions[name].checksum:
            raise MigrationEdited(name, applied=record.checksum, found=revisions[name].checksum)


def heads(revisions: Revisions, applied: Collection[str]) -> list[str]:
    """Return what Alembic would have in its version table: the applied revisions that no other applied one needs."""
    needed = {name for revision in applied if revision in revisions for name in revisions[revision].needs}
    return sorted(name for name in applied if name not in needed)
