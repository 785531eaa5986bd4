"""A dataset: one table and everything that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from chainstrata.model.lifecycle import CachePolicy, ChangeOnly, Conflict, Lifecycle, Mirror, Parent
from chainstrata.model.rollup import Rollup


@dataclass(frozen=True, slots=True)
class Dataset:
    """A SQLAlchemy table with what the platform should do with it.

    `time` is the column that says when a row is about; `entity` the columns that say what it is about. A partitioned
    dataset has its time column in the primary key. `name` is unique in its pack; with the pack's it is the dataset's
    full name, as `validators.snapshots`.
    """

    table: sa.Table = field(compare=False)
    name: str
    time: str = ""
    entity: Sequence[str] = ()
    lifecycle: Lifecycle = Lifecycle()
    rollups: Sequence[Rollup] = ()
    conflict: Conflict = Conflict()
    parents: Sequence[Parent] = ()
    change_only: ChangeOnly | None = None
    latest: bool = False
    """Whether the last row of every entity is kept at hand. It is in any case where only changes are stored."""
    mirror: Mirror | None = None
    cache: CachePolicy | None = None
    topic: str = ""
    final: str = ""
    """Column that says whether a row can still be undone by a reorg."""

    @property
    def schema(self) -> str:
        return self.table.schema or ""

    @property
    def full_name(self) -> str:
        """The name users write: pack and dataset."""
        return f"{self.schema}.{self.name}"

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key."""
        return tuple(column.name for column in self.table.primary_key.columns)

    @property
    def partitioned(self) -> bool:
        return self.lifecycle.partition is not None

    def rollup(self, name: str) -> Rollup:
        """Return the roll-up of that short name."""
        return next(rollup for rollup in self.rollups if rollup.name == name)
