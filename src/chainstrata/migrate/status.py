"""Where a database stands on the way of its packs' revisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from chainstrata.migrate import history
from chainstrata.migrate.model import Direction, Record, Revision, Site, Status
from chainstrata.migrate.online import fetch
from chainstrata.migrate.runner import open_migration_session
from chainstrata.migrate.scripts import Scripts


@dataclass(frozen=True, slots=True)
class RevisionStatus:
    """One revision in one database. `interrupted`: it was running and nobody runs it any more."""

    revision: str
    pack: str
    message: str
    status: Status
    direction: Direction = Direction.UP
    step: int = 0
    steps: int = 0
    edited: bool = False
    interrupted: bool = False
    finished_at: datetime | None = None
    seconds: float | None = None
    error: str | None = None
    path: Path | None = None

    @property
    def described(self) -> str:
        """The status in a few words."""
        if self.edited:
            return f"{self.status}, edited since"
        if self.status in (Status.FAILED, Status.RUNNING):
            word = "interrupted" if self.interrupted else self.status.value
            way = "" if self.direction is Direction.UP else " on the way down"
            return f"{word}{way} after step {self.step} of {self.steps}"
        return self.status.value


@dataclass(frozen=True, slots=True)
class PackStatus:
    """A pack: its newest revision, the newest that is applied, how many are not."""

    pack: str
    head: str | None
    current: str | None
    pending: int


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    packs: Sequence[PackStatus]
    revisions: Sequence[RevisionStatus]

    @property
    def pending(self) -> list[str]:
        """Revisions that are not applied, or not wholly."""
        return [one.revision for one in self.revisions if one.status not in (Status.APPLIED, Status.MISSING)]

    @property
    def problems(self) -> list[str]:
        """What keeps the next migration from running: edited, missing or stopped revisions."""
        wrong = (Status.FAILED, Status.MISSING)
        return [f"{one.revision}: {one.described}" for one in self.revisions if one.edited or one.interrupted or one.status in wrong]


async def status(site: Site) -> SchemaStatus:
    """Return how every revision of the packs in use stands."""
    scripts = Scripts.of(site.catalog, site.folders)
    async with open_migration_session(site) as connection:
        records = await history.read_records(connection)
        busy = bool(await fetch(connection, history.QUERIES.find_holder, key=history.LOCK_KEY))
    listed = [_known(revision, records.get(name), busy) for name, revision in scripts.revisions.items()]
    listed += [_missing(record) for name, record in records.items() if name not in scripts.revisions and record.pack in scripts.folders]
    return SchemaStatus([_pack(pack.name, scripts, listed) for pack in site.catalog.packs], listed)


async def list_history(site: Site, packs: Sequence[str] = ()) -> list[RevisionStatus]:
    """Return every revision, the latest applied first, then those to come in the order they would be applied."""
    found = [one for one in (await status(site)).revisions if not packs or one.pack in packs]
    applied = [one for one in found if one.finished_at is not None]
    return [*sorted(applied, key=_finished, reverse=True), *(one for one in found if one.finished_at is None)]


def _finished(one: RevisionStatus) -> float:
    return one.finished_at.timestamp() if one.finished_at else 0.0


def _known(revision: Revision, record: Record | None, busy: bool) -> RevisionStatus:
    if record is None:
        return RevisionStatus(revision.name, revision.pack, revision.message, Status.PENDING, path=revision.path)
    begun = record.status is Status.APPLIED or record.step > 0
    return RevisionStatus(
        revision.name,
        revision.pack,
        revision.message,
        record.status,
        record.direction,
        record.step,
        record.steps,
        edited=begun and record.checksum != revision.checksum,
        interrupted=record.status is Status.RUNNING and not busy,
        finished_at=record.finished_at,
        seconds=record.seconds,
        error=record.error,
        path=revision.path,
    )


def _missing(record: Record) -> RevisionStatus:
    return RevisionStatus(
        record.revision, record.pack, "its file is nowhere", Status.MISSING, record.direction, record.step, record.steps,
        finished_at=record.finished_at, seconds=record.seconds,
    )  # fmt: skip


def _pack(pack: str, scripts: Scripts, listed: Sequence[RevisionStatus]) -> PackStatus:
    own: Mapping[str, RevisionStatus] = {one.revision: one for one in listed if one.pack == pack}
    applied = [one.revision for one in own.values() if one.status is Status.APPLIED]
    pending = [one for one in own.values() if one.status not in (Status.APPLIED, Status.MISSING)]
    return PackStatus(pack, scripts.head(pack), applied[-1] if applied else None, len(pending))
