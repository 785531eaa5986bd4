"""Columnar revisions, and what an engine knows of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from chainstrata.migrate.model import Status
from chainstrata.model.columnar import Change


@dataclass(frozen=True, slots=True)
class ColumnarRevision:
    """A file that takes the columnar schema of a pack one step further, and back."""

    name: str
    pack: str
    message: str
    changes: Sequence[Change]
    checksum: str
    path: Path = field(compare=False)

    @property
    def back(self) -> list[Change]:
        """The same, undone."""
        return [change.back() for change in reversed(self.changes)]


@dataclass(frozen=True, slots=True)
class ColumnarRecord:
    """What an engine knows of a revision."""

    revision: str
    pack: str
    checksum: str
    status: str
    at: datetime
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class ColumnarState:
    """How a revision stands in an engine."""

    revision: str
    pack: str
    message: str
    status: Status
    edited: bool = False
    finished_at: datetime | None = None
    seconds: float | None = None
    error: str | None = None

    @property
    def described(self) -> str:
        return f"{self.status}, edited since" if self.edited else self.status.value
