"""How data ages: partition width, how far ahead partitions are made, how long rows stay hot, cold, and what is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from chainstrata.model.interval import Interval, seconds


class Late(StrEnum):
    """What becomes of a row that arrives after its raw partition was dropped."""

    MERGE = "merge"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Ages are measured from the dataset's time column.

    `partition` None: one plain table, aged in batches. `keep` None: for ever. `archive` writes and reads back a Parquet
    archive before anything leaves; `keep_archived` None keeps the archive for ever. `terminal` is a SQL condition that
    a row of a plain table must meet before it may leave.

    `compress` stores what is older by columns, in the chunks of a hypertable of TimescaleDB. Partitions of PostgreSQL's own have
    no such form and stay as they are.
    """

    partition: Interval | None = None
    premake: int = 4
    keep: Interval | None = None
    archive: bool = True
    keep_archived: Interval | None = None
    terminal: str = ""
    compress: Interval | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy in the columnar engine, sorted by `order_by`. `approximate` columns may differ by their tolerance."""

    order_by: Sequence[str] = ()
    columns: Sequence[str] = ()
    approximate: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How answers about a dataset are cached. A tag such as `validator:{validator_index}` is filled from a row."""

    ttl: Interval
    tags: Sequence[str] = ()


class OnConflict(StrEnum):
    """What a row does that meets a row with its key."""

    APPEND = "append"
    IGNORE = "ignore"
    NEWEST = "newest"
    MERGE = "merge"


@dataclass(frozen=True, slots=True)
class Conflict:
    """`NEWEST` keeps the row with the higher `version`; `MERGE` replaces `columns`, each only where a value is given."""

    policy: OnConflict = OnConflict.APPEND
    version: str = ""
    columns: Sequence[str] = ()


def append() -> Conflict:
    """A second row with the same key is an error."""
    return Conflict()


def ignore() -> Conflict:
    """A second row with the same key is left out."""
    return Conflict(OnConflict.IGNORE)


def newest(version: str) -> Conflict:
    """The row with the higher version wins, whatever order they arrive in; of equal versions the later arrival."""
    return Conflict(OnConflict.NEWEST, version=version)


def merge(*columns: str) -> Conflict:
    """The named columns are replaced where the new row has a value; without names, all but the key."""
    return Conflict(OnConflict.MERGE, columns=columns)


@dataclass(frozen=True, slots=True)
class Parent:
    """A dataset whose row must exist first; ingest adds what is missing, in the same transaction.

    `columns` maps own columns to the parent's.
    """

    dataset: str
    columns: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ChangeOnly:
    """A row equal to its entity's last one in every value column is not stored again, but noted as seen.

    At least one row is stored every `heartbeat`, so that any window can be filled from a bounded look back.
    `ignoring` names columns that may differ without making a change.
    """

    heartbeat: Interval
    ignoring: Sequence[str] = ()

    @property
    def window(self) -> Interval:
        """What the first row seen in is stored: half a heartbeat, so that no two rows are further apart than a whole one."""
        half = self.heartbeat.seconds / 2 if self.heartbeat.fixed else 0
        return seconds(int(half)) if half and half == int(half) else self.heartbeat
