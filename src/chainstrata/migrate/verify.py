"""Whether a database is what its history and the declarations say: checksums, then the schema, object by object."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from chainstrata.migrate.compare import Change, compare
from chainstrata.migrate.model import Site, Status
from chainstrata.migrate.schema import Constraint, Index, Kind, Snapshot
from chainstrata.migrate.scratch import declared_snapshot, live_snapshot
from chainstrata.migrate.status import SchemaStatus, status

# What belongs to no pack alone: others may use it.
_OTHERS: Final = (Kind.EXTENSION, Kind.QUEUE)


class Deviation(StrEnum):
    """How an object is not what it should be."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that is not as declared, with both definitions."""

    deviation: Deviation
    kind: str
    name: str
    declared: str = ""
    live: str = ""

    def __str__(self) -> str:
        return f"{self.deviation} {self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found. `differences` compare with the declarations as they are now, pending revisions or not."""

    edited: Sequence[str]
    missing: Sequence[str]
    stopped: Sequence[str]
    pending: Sequence[str]
    differences: Sequence[Difference]

    @property
    def ok(self) -> bool:
        return not (self.edited or self.missing or self.stopped or self.pending or self.differences)


async def verify(site: Site, packs: Sequence[str] = ()) -> Verdict:
    """Compare the database with its history and with what the packs declare.

    The declared schema is built in a scratch database of the same server; raises `ScratchDenied` where the role may not.
    """
    for pack in packs:
        site.catalog.pack(pack)
    state = await status(site)
    declared, live = await declared_snapshot(site), await live_snapshot(site)
    wanted = packs or [pack.name for pack in site.catalog.packs]
    return _verdict(state, differences(declared.within(wanted), live.within(wanted)), wanted)


def _verdict(state: SchemaStatus, found: Sequence[Difference], packs: Sequence[str]) -> Verdict:
    within = [one for one in state.revisions if one.pack in packs]
    return Verdict(
        edited=[one.revision for one in within if one.edited],
        missing=[one.revision for one in within if one.status is Status.MISSING],
        stopped=[one.revision for one in within if one.status in (Status.RUNNING, Status.FAILED)],
        pending=[one.revision for one in within if one.status is Status.PENDING],
        differences=found,
    )


def differences(declared: Snapshot, live: Snapshot) -> list[Difference]:
    """Return every object that is missing, too many, different or unusable."""
    changes = [change for change in compare(live, declared) if not (change.key.kind in _OTHERS and change.after is None)]
    found = [_difference(change) for change in changes]
    named = {(one.kind, one.name) for one in found}
    for item in live.values():
        unusable = isinstance(item, Index | Constraint) and not item.valid and (item.key.kind.value, item.key.name) not in named
        if unusable:
            found.append(Difference(Deviation.INVALID, item.key.kind.value, item.key.name, live=item.definition))
    for broken in live.broken:
        word = f"its part of {broken.parent_index} is {'invalid' if broken.index else 'missing'}"
        deviation = Deviation.INVALID if broken.index else Deviation.MISSING
        found.append(Difference(deviation, "index of partition", broken.partition, live=word))
    return found


def _difference(change: Change) -> Difference:
    declared = change.after.definition if change.after is not None else ""
    live = change.before.definition if change.before is not None else ""
    if change.before is None or change.after is None:
        deviation = Deviation.MISSING if change.before is None else Deviation.EXTRA
    elif isinstance(change.before, Index | Constraint) and not change.before.valid:
        deviation = Deviation.INVALID
    else:
        deviation = Deviation.DIFFERENT
    return Difference(deviation, change.key.kind.value, change.key.name, declared, live)
