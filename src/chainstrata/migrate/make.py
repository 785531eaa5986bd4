"""Writes the revisions that lead from the database as it is to what the packs declare."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chainstrata.config import MIGRATE_DIRECTORY
from chainstrata.migrate.alter import Phase
from chainstrata.migrate.autogenerate import Draft, draft
from chainstrata.migrate.compare import Change, compare
from chainstrata.migrate.declared import written
from chainstrata.migrate.errors import NotMigrated, RevisionUnusable
from chainstrata.migrate.model import Site
from chainstrata.migrate.planner import check_history, closure, plan_up
from chainstrata.migrate.runner import prepare
from chainstrata.migrate.schema import Key, Kind, Snapshot
from chainstrata.migrate.scratch import declared_snapshot, live_snapshot
from chainstrata.migrate.scripts import Scripts
from chainstrata.migrate.source import Remark, RevisionText, write_revision
from chainstrata.model import Pack
from chainstrata.model.queue import QUEUE_SCHEMA

_SUFFIX: Mapping[Phase, str] = {Phase.BEFORE: "prepare", Phase.WHOLE: "", Phase.AFTER: "finish"}


@dataclass(frozen=True, slots=True)
class Made:
    """The revisions that were written, and the changes they make. None when nothing differs."""

    pack: str
    files: Sequence[Path] = ()
    changes: Sequence[str] = ()
    notes: Sequence[str] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        return {"pack": self.pack, "files": [str(path) for path in self.files], "changes": list(self.changes), "notes": list(self.notes)}


async def make(site: Site, pack: str, message: str = "", *, empty: bool = False) -> Made:
    """Compare what a pack declares with the database and write the revisions that close the gap.

    The database must have every revision there is. `empty` writes one revision without operations, to be filled by hand.
    Writes nothing when there is nothing to do.
    """
    declared_pack = site.catalog.pack(pack)
    scripts = Scripts.of(site.catalog, site.folders)
    records = await prepare(site)
    check_history(scripts.revisions, records, scripts.folders)
    pending = [revision.name for revision in plan_up(scripts.revisions, records, "heads", [pack])]
    if pending:
        raise NotMigrated(pending)
    if empty:
        return _write(site, declared_pack, scripts, message or "by hand", [Draft(Phase.WHOLE, [], [])], [])
    declared, live = await declared_snapshot(site), await live_snapshot(site)
    wanted, there = _of_pack(declared, declared_pack), _of_pack(live, declared_pack)
    changes = compare(there, wanted)
    drafts = draft(there, wanted.with_written(written(declared_pack)))
    return _write(site, declared_pack, scripts, message, drafts, changes) if drafts else Made(pack)


def _of_pack(snapshot: Snapshot, pack: Pack) -> Snapshot:
    """Return what belongs to a pack: its schema, and the extensions and the job queue it asks for."""
    mine = snapshot.within([pack.name])
    asked = {Key(Kind.EXTENSION, extension) for extension in pack.extensions} | ({Key(Kind.QUEUE, QUEUE_SCHEMA)} if pack.queue else set())
    kept = (item for key, item in mine.items() if item.schema or key in asked)
    return Snapshot(kept, snapshot.needs, snapshot.broken)


def _write(site: Site, pack: Pack, scripts: Scripts, message: str, drafts: Sequence[Draft], changes: Sequence[Change]) -> Made:
    folder = site.config[MIGRATE_DIRECTORY] if site.config[MIGRATE_DIRECTORY] != Path() else scripts.folders[pack.name]
    head = scripts.head(pack.name)
    message = message or _message(changes, first=head is None)
    needs = _needs(scripts, pack, head)
    written: list[Path] = []
    texts: list[tuple[Path, str]] = []
    number = _next_number(scripts, pack)
    for one in drafts:
        name = f"{pack.name}_{number:04d}"
        own = f"{message}, {_SUFFIX[one.phase]}" if _SUFFIX[one.phase] and len(drafts) > 1 else message
        revision = RevisionText(name, own, pack.name, head, needs, one.transactional, one.upgrade, one.downgrade)
        texts.append((folder / f"{number:04d}_{_slug(own)}.py", write_revision(revision)))
        head, needs, number = name, (), number + 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts:
            path.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise RevisionUnusable(
            f"cannot write to {folder}: {error.strerror}",
            hint="Install the pack from its source tree (pip install -e), or set migrate.directory.",
        ) from error
    notes = [] if folder == scripts.folders[pack.name] else [f"Move it to {scripts.folders[pack.name]}, where `migrate up` looks."]
    notes += [line.text for one in drafts for line in one.upgrade if isinstance(line, Remark)]
    return Made(pack.name, written, [str(change) for change in changes], notes)


def _needs(scripts: Scripts, pack: Pack, head: str | None) -> tuple[str, ...]:
    """Return the newest revisions of the packs this one requires, as far as its own line does not need them already."""
    behind = closure(scripts.revisions, [head]) if head else set()
    newest = [scripts.head(name) for name in pack.requires]
    return tuple(name for name in newest if name is not None and name not in behind)


def _next_number(scripts: Scripts, pack: Pack) -> int:
    own = [revision.name for revision in scripts.revisions.values() if revision.pack == pack.name]
    numbers = [int(found[1]) for name in own if (found := re.search(r"_(\d+)\Z", name))]
    return max(numbers, default=0) + 1


def _message(changes: Sequence[Change], *, first: bool) -> str:
    if first:
        return "create initial schema"
    named = [f"{change.word} {change.key.kind} {change.key.name.partition('.')[2] or change.key.name}" for change in changes]
    return ", ".join(named[:2]) + (f" and {len(named) - 2} more" if len(named) > 2 else "")


def _slug(message: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", message.lower()).strip("_")[:60].strip("_")
