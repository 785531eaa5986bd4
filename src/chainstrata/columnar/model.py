"""What a look at the columnar engine finds. Data only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ColumnSize:
    """What a column takes on disk, and would take uncompressed."""

    table: str
    column: str
    type: str
    codec: str
    plain_bytes: int
    stored_bytes: int

    @property
    def saved(self) -> float:
        """The part that compression saves, 0 to 1."""
        return 1 - self.stored_bytes / self.plain_bytes if self.plain_bytes else 0.0


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Something that would help, and how much: measured on a sample for a codec, from the log of queries for a query."""

    kind: str
    object: str
    reason: str
    statement: str = ""
