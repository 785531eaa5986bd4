"""What is known of a plain table that is to get partitions, and what became of it. Data only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from chainstrata.errors import ChainStrataError
from chainstrata.model import TimedTable

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many rows of how many are done."""


class Phase(StrEnum):
    """How far an adoption is. Read from the catalog, so that one that was cut short goes on where it was."""

    PLAIN = "plain"
    COPYING = "copying"
    SWAPPED = "swapped"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    not_null: bool
    generated: bool
    identity: str
    sequence: str | None


@dataclass(frozen=True, slots=True)
class Index:
    """An index of the plain table. `constraint` is what makes it as a constraint, where it is one."""

    name: str
    definition: str
    columns: tuple[str, ...]
    primary: bool
    unique: bool
    constraint: str | None
    comment: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """A plain table and everything that hangs on it. `walk` are the columns of a unique index that its rows are read in the order of."""

    oid: int
    rows_estimate: int
    size_bytes: int
    owner: str
    comment: str | None
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    walk: tuple[str, ...]
    references: tuple[tuple[str, str], ...]
    refusals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AdoptionPlan:
    """What an adoption would do, step by step, or go on with. `refusals` say why it cannot."""

    table: TimedTable
    phase: Phase
    steps: tuple[str, ...]
    rows_estimate: int
    size_bytes: int
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Adopted:
    """What an adoption did, and what it has cost. `locked_seconds` is how long the exchange kept readers and writers out."""

    table: str
    copied: int
    followed: int
    partitions: int
    seconds: float
    locked_seconds: float
    size_bytes: int


class CannotAdopt(ChainStrataError):
    """The table has something that cannot be kept, or that would be lost."""

    code = "cannot_adopt"
    http_status = 409

    def __init__(self, table: TimedTable, reasons: Sequence[str]) -> None:
        super().__init__(
            f"{table.qualified} cannot be given partitions: {'; '.join(reasons)}",
            hint="Nothing was changed. Remove what stands in the way and put it back afterwards.",
        )
        self.reasons = tuple(reasons)


class AdoptionDiffers(ChainStrataError):
    """The copy is not what the table is. It was not put in its place."""

    code = "adoption_differs"

    def __init__(self, table: TimedTable, rows: int) -> None:
        super().__init__(
            f"{rows} rows of {table.qualified} are not in its copy as they are in the table",
            hint=f"The table is as it was. `chainstrata partitions adopt {table.name} --cancel` removes the copy; please report this.",
        )
