"""Revisions, what is known of them in a database, and what is to be done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from alembic.operations import MigrateOperation

from chainstrata.config import Config
from chainstrata.migrate.statements import autocommit, describe, loses, render
from chainstrata.model import Catalog


@dataclass(frozen=True, slots=True)
class Site:
    """What the commands work on: a database, the packs in use, the settings. `folders` are other places of packs' revisions."""

    conninfo: str = field(repr=False)
    catalog: Catalog
    config: Config
    folders: Mapping[str, Path] = field(default_factory=dict)


class Direction(StrEnum):
    UP = "up"
    DOWN = "down"


class Status(StrEnum):
    """How a revision stands in a database. Only the middle three are recorded."""

    PENDING = "pending"
    RUNNING = "running"
    FAILED = "failed"
    APPLIED = "applied"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Revision:
    """A file that takes the schema one step further, and back. `needs` are the revisions that must be applied before."""

    name: str
    pack: str
    message: str
    down: str | None
    needs: frozenset[str]
    transactional: bool
    checksum: str
    path: Path = field(compare=False)
    module: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Record:
    """What a database knows of a revision."""

    revision: str
    pack: str
    checksum: str
    status: Status
    direction: Direction
    step: int
    steps: int
    started_at: datetime
    finished_at: datetime | None = None
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Operations that are done together: in one transaction, or one that cannot be in any."""

    number: int
    operations: tuple[MigrateOperation, ...]

    @property
    def autocommit(self) -> bool:
        return any(autocommit(operation) for operation in self.operations)

    @property
    def titles(self) -> list[str]:
        return [describe(operation) for operation in self.operations]

    @property
    def title(self) -> str:
        titles = self.titles
        return titles[0] if len(titles) == 1 else f"{len(titles)} operations in one transaction"

    def statements(self) -> list[str]:
        return [statement for operation in self.operations for statement in render(operation)]


@dataclass(frozen=True, slots=True)
class Run:
    """A revision to be applied or undone. `done` steps of it are behind us already."""

    revision: Revision
    direction: Direction
    steps: Sequence[Step]
    done: int = 0

    @property
    def losses(self) -> list[str]:
        """What cannot be had back afterwards."""
        return [lost for step in self.steps[self.done :] for operation in step.operations if (lost := loses(operation))]

    def as_dict(self) -> dict[str, Any]:
        titles = [title for step in self.steps[self.done :] for title in step.titles]
        return {
            "revision": self.revision.name,
            "pack": self.revision.pack,
            "message": self.revision.message,
            "direction": self.direction.value,
            "transactional": self.revision.transactional,
            "operations": titles,
            "loses": self.losses,
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """Something that happened under way, for whoever watches."""

    kind: str
    text: str
    seconds: float | None = None


Watch = Callable[[Progress], None]


def watch_nothing(progress: Progress) -> None:
    """Let it pass."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A revision that was applied or undone, and how long it took."""

    revision: str
    pack: str
    direction: Direction
    message: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "revision": self.revision,
            "pack": self.pack,
            "direction": self.direction.value,
            "message": self.message,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command would do (`runs`) and, unless it only planned, what it did (`finished`). `sql` is the same for psql."""

    runs: Sequence[Run]
    finished: Sequence[Finished] = ()
    sql: str = field(default="", repr=False)

    def as_dict(self) -> dict[str, Any]:
        return {"planned": [run.as_dict() for run in self.runs], "done": [one.as_dict() for one in self.finished]}
