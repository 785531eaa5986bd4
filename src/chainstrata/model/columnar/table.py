"""What a table of the columnar engine is made of. Text of its SQL where that is shortest; nothing here speaks to anybody."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ColumnarColumn:
    """One column. `type` and `codec` are the engine's own words; without a codec the engine compresses it as it does any."""

    name: str
    type: str
    doc: str = ""
    codec: str = ""
    default: str = ""
    alias: str = ""
    """An expression computed when it is read, never stored."""


@dataclass(frozen=True, slots=True)
class SkipIndex:
    """What lets a query skip blocks of rows: `minmax`, `set(100)` or `bloom_filter(0.01)` of an expression."""

    name: str
    expression: str
    kind: str
    why: str
    granularity: int = 4


@dataclass(frozen=True, slots=True)
class ColumnarTable:
    """One table. `engine` is one of the MergeTree family with its arguments; on a cluster it becomes the replicated one."""

    name: str
    columns: Sequence[ColumnarColumn]
    engine: str
    order_by: Sequence[str]
    partition_by: str = ""
    primary_key: Sequence[str] = ()
    """The part of `order_by` that is kept in memory; empty: all of it."""
    indexes: Sequence[SkipIndex] = ()
    ttl: str = ""
    shard_by: str = ""
    """On a cluster: the expression that says which shard keeps a row. Rows with one key must be on one shard."""
    settings: Sequence[tuple[str, str]] = ()
    doc: str = ""

    def __post_init__(self) -> None:
        _freeze(self, "columns", "order_by", "primary_key", "indexes", "settings")

    def column(self, name: str) -> ColumnarColumn:
        """Return the column of that name."""
        return next(column for column in self.columns if column.name == name)

    @property
    def stored(self) -> tuple[ColumnarColumn, ...]:
        """The columns that are written."""
        return tuple(column for column in self.columns if not column.alias)


@dataclass(frozen=True, slots=True)
class ColumnarView:
    """A query with a name: read anew each time. `{database}` stands for the database, `requires` are tables and views it reads."""

    name: str
    query: str
    doc: str = ""
    requires: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        _freeze(self, "requires")


def _freeze(item: object, *names: str) -> None:
    """Turn lists into tuples, so that two declarations that say the same are equal."""
    for name in names:
        object.__setattr__(item, name, tuple(tuple(one) if isinstance(one, list) else one for one in getattr(item, name)))


ColumnarObject = ColumnarTable | ColumnarView
