"""Who takes changes: the Protocol of a sink, and what passes between it and the capture.

A sink gets the changes of one dataset at a time, in the order of their commits, and may get the same ones again after a crash: taking
them twice must come to the same as taking them once. What it has taken for good it says by `commit`, and it knows at its next start.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chainstrata.cdc.model import Changes, Relation
from chainstrata.cdc.values import CatalogType
from chainstrata.engines.postgres.partitioning import Span
from chainstrata.model import Dataset


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column of a table as the server's catalog has it now."""

    name: str
    type_oid: int
    modifier: int
    nullable: bool
    default: bool
    generated: bool
    key: bool


@dataclass(frozen=True, slots=True)
class Source:
    """What the server's catalog says of a table, and of the types there are."""

    columns: tuple[SourceColumn, ...]
    types: Mapping[int, CatalogType]
    sends_generated: bool = True
    """Whether changes bring the columns that the server generates; servers before 18 cannot."""

    @property
    def sent(self) -> tuple[SourceColumn, ...]:
        """The columns that changes bring."""
        return tuple(one for one in self.columns if self.sends_generated or not one.generated)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a sink has a dataset: everything committed before `lsn`. `system` and `timeline` say in whose log."""

    dataset: str
    lsn: int
    system: str
    timeline: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event that the sink cannot take, and why: `content` is the row as texts."""

    dataset: str
    lsn: int
    key: Mapping[str, str | None]
    content: Mapping[str, str | None]
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What a sink did with some changes."""

    rows: int
    rejected: Sequence[Rejected] = ()


class Sink(Protocol):
    """Something that follows datasets."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    def wants(self, dataset: Dataset) -> bool:
        """Return whether it follows this dataset."""
        ...

    async def open(self) -> Mapping[str, Position]:
        """Make ready, and return how far it has each dataset."""
        ...

    async def list_gone(self, datasets: Iterable[Dataset]) -> set[str]:
        """Return the names of those it has no place for any more: somebody took it away."""
        ...

    async def prepare(self, dataset: Dataset, relation: Relation, source: Source) -> None:
        """Make place for rows of this shape; raise `DatasetStopped` if that is not for a program to do."""
        ...

    async def make(self, dataset: Dataset, changes: Changes) -> Any:
        """Make of changes what `take` takes, and write nothing. The relation is the one that was prepared last."""
        ...

    async def take(self, dataset: Dataset, made: Any) -> Taken:
        """Take what was made, for good when this returns. It comes in the order of the commits."""
        ...

    async def commit(self, positions: Iterable[Position]) -> None:
        """Remember how far it is, for good when this returns."""
        ...

    async def clear(self, dataset: Dataset, spans: Sequence[Span] | None) -> None:
        """Make ready for a copy: forget all rows, but keep aside those of times the source has no more."""
        ...

    async def put_back(self, dataset: Dataset) -> None:
        """Take back what was kept aside; raise `DatasetStopped` if it does not fit any more."""
        ...
