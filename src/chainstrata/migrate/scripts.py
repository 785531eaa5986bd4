"""The revisions of the packs: their files, what each says, how they hang together."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from chainstrata.migrate.errors import HistoryUnusable, RevisionUnusable
from chainstrata.migrate.model import Direction, Record, Revision, Run, Step
from chainstrata.migrate.operations import recording
from chainstrata.migrate.planner import in_order, steps_behind, steps_of
from chainstrata.model import Catalog, Pack

FOLDER = "migrations"
_NAMED = re.compile(r"""^revision\b[^=\n]*=\s*["']([^"'\n]+)["']""", re.MULTILINE)


def pack_folder(pack: Pack) -> Path:
    """Return where the revisions of a pack are, in its own package; the folder may not be there yet."""
    return Path(str(files(pack.package))) / FOLDER


@dataclass(frozen=True)
class Scripts:
    """All revisions of the packs in use. Their files are loaded when they are first asked for."""

    folders: Mapping[str, Path]

    @classmethod
    def of(cls, catalog: Catalog, folders: Mapping[str, Path] | None = None) -> "Scripts":
        """Return the revisions of a catalog's packs; `folders` names other places than a pack's own."""
        return cls({pack.name: pack_folder(pack) for pack in catalog.packs} | dict(folders or {}))

    @cached_property
    def revisions(self) -> dict[str, Revision]:
        """Return every revision by its name, each after those it needs."""
        known = {script.revision: self._revision(script) for script in self._load()}
        for pack in self.folders:
            newest = _newest(known.values(), pack)
            if len(newest) > 1:
                raise HistoryUnusable(
                    f"pack {pack} has {len(newest)} newest revisions: {', '.join(newest)}",
                    hint="Set down_revision of one to the other, so that they follow each other.",
                )
        return {revision.name: revision for revision in in_order(known, list(self.folders))}

    def _load(self) -> list[Script]:
        self._check_names()
        directory = ScriptDirectory(str(Path(__file__).parent), version_locations=[str(folder) for folder in self.folders.values()])
        try:
            return list(directory.walk_revisions())
        except (CommandError, UserWarning) as error:
            raise HistoryUnusable(str(error), hint="Mend the revision's file, or put the one back that is missing.") from error
        except KeyError as error:
            raise HistoryUnusable(f"a revision refers to {error}, which is not present", hint="Is its file gone?") from error
        except (SyntaxError, ImportError, NameError, AttributeError) as error:
            raise RevisionUnusable(f"a revision cannot be loaded: {type(error).__name__}: {error}") from error

    def _check_names(self) -> None:
        """Refuse two revisions with one name. Alembic only warns, and what is done of warnings is the same for all threads."""
        known: dict[str, Path] = {}
        for path in (path for folder in self.folders.values() for path in sorted(folder.glob("*.py"))):
            found = _NAMED.search(path.read_text(encoding="utf-8"))
            if found and known.setdefault(found[1], path) != path:
                raise HistoryUnusable(
                    f"revision {found[1]} is present more than once: {known[found[1]]}, {path}",
                    hint="Were two revisions of a pack written at once? Renumber the newer one.",
                )

    def _revision(self, script: Script) -> Revision:
        path = Path(script.path)
        if script.down_revision is not None and not isinstance(script.down_revision, str):
            raise HistoryUnusable(f"revision {script.revision} follows several others", hint="Within a pack revisions form one line.")
        return Revision(
            name=script.revision,
            pack=next(name for name, folder in self.folders.items() if folder.resolve() in path.resolve().parents),
            message=" ".join(script.doc.split()),
            down=script.down_revision,
            needs=frozenset({*_tuple(script.down_revision), *_tuple(script.dependencies)}),
            transactional=bool(getattr(script.module, "transactional", True)),
            checksum=checksum(path),
            path=path,
            module=script.module,
        )

    def head(self, pack: str) -> str | None:
        """Return the newest revision of a pack."""
        return next(iter(_newest(self.revisions.values(), pack)), None)

    def steps(self, revision: Revision, direction: Direction) -> list[Step]:
        """Return what a revision says is to be done."""
        function = getattr(revision.module, "upgrade" if direction is Direction.UP else "downgrade", None)
        if function is None:
            raise RevisionUnusable(f"revision {revision.name} does not say how to go {direction}", hint=f"Edit {revision.path}.")
        with recording() as operations:
            try:
                function()
            except (ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError, SQLAlchemyError, CommandError) as error:
                raise RevisionUnusable(f"revision {revision.name} cannot be read: {type(error).__name__}: {error}") from error
        return steps_of(revision, operations.recorded)

    def run(self, revision: Revision, direction: Direction, record: Record | None = None) -> Run:
        """Return a revision as something to be done, as far as it is not done yet."""
        return Run(revision, direction, self.steps(revision, direction), steps_behind(record, direction))


def _newest(revisions: Iterable[Revision], pack: str) -> list[str]:
    own = [revision for revision in revisions if revision.pack == pack]
    followed = {revision.down for revision in own}
    return sorted(revision.name for revision in own if revision.name not in followed)


def _tuple(value: str | Iterable[str] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a revision's text, the same whatever a checkout makes of line ends."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
