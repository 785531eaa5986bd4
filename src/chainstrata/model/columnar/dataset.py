"""Datasets whose home is the columnar engine: rows too many, and too seldom changed, for a table of PostgreSQL.

Rows come in by the same `ingest` call as any. A row with a key that is there already replaces it; the later arrival stands. What is
kept of many rows (`Digest`) is computed anew, for whole buckets, from the rows that stand, so late and corrected rows count as
if they had come in time, and once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chainstrata.model.columnar.ddl import quote_name
from chainstrata.model.columnar.table import ColumnarColumn, ColumnarTable, ColumnarView, SkipIndex
from chainstrata.model.columnar.types import MOMENT, codec_of
from chainstrata.model.interval import Interval

ARRIVED: Final = "_arrived"
BUCKET: Final = "bucket"
ROWS: Final = "__rows"
STATES: Final = "__states"


@dataclass(frozen=True, slots=True)
class Field:
    """One column of rows that come in, with what its values must be beside their type."""

    name: str
    type: str
    doc: str
    codec: str = ""
    least: int | None = None
    most: int | None = None
    choices: Sequence[str] = ()

    @property
    def nullable(self) -> bool:
        return "Nullable(" in self.type

    @property
    def column(self) -> ColumnarColumn:
        return ColumnarColumn(self.name, self.type, self.doc, self.codec or codec_of(self.type))


@dataclass(frozen=True, slots=True)
class Digest:
    """What is kept of the rows of a bucket, as states that merge: a mean of an hour is made of those of its five minutes.

    `states` are names with a type and an expression of the engine (`AggregateFunction(avg, Float64)`, `avgState(x)`); `shows` are the
    columns of the view over them, names with an expression (`avgMerge(mean)`).
    """

    name: str
    every_seconds: int
    by: Sequence[str]
    states: Sequence[tuple[str, str, str]]
    shows: Sequence[tuple[str, str]]
    doc: str


@dataclass(frozen=True, slots=True)
class ColumnarDataset:
    """A dataset of the columnar engine. `key` says which row it is, and sorts; it holds `time`, by whose month rows are kept together."""

    pack: str
    name: str
    doc: str
    fields: Sequence[Field]
    key: Sequence[str]
    time: str
    indexes: Sequence[SkipIndex] = ()
    keep: Interval | None = None
    digests: Sequence[Digest] = ()

    @property
    def full_name(self) -> str:
        """The name users write: pack and dataset."""
        return f"{self.pack}.{self.name}"

    @property
    def view_name(self) -> str:
        """Where the rows that stand are read."""
        return f"{self.pack}__{self.name}"

    @property
    def table_name(self) -> str:
        """Where rows are written."""
        return self.view_name + ROWS

    def field(self, name: str) -> Field:
        """Return the field of that name."""
        return next(field for field in self.fields if field.name == name)

    def table(self) -> ColumnarTable:
        """Return the table that takes every row as it comes."""
        arrived = ColumnarColumn(ARRIVED, "UInt64", "When the row came in, microseconds since 1970; of one key the later stands.", MOMENT)
        ttl = f"toDateTime({quote_name(self.time)}) + {_interval(self.keep)}" if self.keep else ""
        return ColumnarTable(
            self.table_name,
            (*(field.column for field in self.fields), arrived),
            f"ReplacingMergeTree({ARRIVED})",
            tuple(self.key),
            partition_by=f"toYYYYMM({quote_name(self.time)})",
            indexes=tuple(self.indexes),
            ttl=ttl,
            doc=f"Every row of {self.full_name} that came in; {self.view_name} shows those that stand.",
        )

    def view(self) -> ColumnarView:
        """Return the view that shows each key once."""
        shown = ", ".join(quote_name(field.name) for field in self.fields)
        query = f"SELECT {shown} FROM {{database}}.{quote_name(self.table_name)} FINAL"  # noqa: S608  # names are quoted
        return ColumnarView(self.view_name, query, self.doc, (self.table_name,))

    # What is kept of many rows -----------------------------------------------------------------------------------

    def digest_view_name(self, digest: Digest) -> str:
        return f"{self.pack}__{digest.name}"

    def digest_table(self, digest: Digest) -> ColumnarTable:
        """Return the table of a digest: a bucket that is computed anew replaces what was kept of it."""
        by = [self.field(name) for name in digest.by]
        columns = [ColumnarColumn(field.name, field.type, field.doc, field.codec or codec_of(field.type)) for field in by]
        columns.append(ColumnarColumn(BUCKET, "DateTime('UTC')", "Start of the bucket.", MOMENT))
        columns += [ColumnarColumn(name, kind, f"State of {expression}.", "ZSTD(1)") for name, kind, expression in digest.states]
        columns.append(ColumnarColumn(ARRIVED, "UInt64", "When it was computed, microseconds since 1970; the later stands.", MOMENT))
        return ColumnarTable(
            self.digest_view_name(digest) + STATES,
            tuple(columns),
            f"ReplacingMergeTree({ARRIVED})",
            (*digest.by, BUCKET),
            partition_by=f"toYYYYMM({BUCKET})",
            ttl=f"{BUCKET} + {_interval(self.keep)}" if self.keep else "",
            doc=f"States of {self.digest_view_name(digest)}.",
        )

    def digest_view(self, digest: Digest) -> ColumnarView:
        """Return the view that merges the states into figures."""
        by = ", ".join(map(quote_name, (*digest.by, BUCKET)))
        shows = ", ".join(f"{expression} AS {quote_name(name)}" for name, expression in digest.shows)
        states = self.digest_table(digest).name
        query = f"SELECT {by}, {shows} FROM {{database}}.{quote_name(states)} FINAL GROUP BY {by}"  # noqa: S608  # names are quoted
        return ColumnarView(self.digest_view_name(digest), query, digest.doc, (states,))

    def refresh_statement(self, digest: Digest, database: str) -> str:
        """Return the statement that computes buckets anew, given as `{lo}`, `{hi}` and `{buckets}`.

        Its version is the moment it begins, before it looks at the rows: of two that overlap the later has seen what the earlier has.
        """
        by = ", ".join(map(quote_name, digest.by))
        states = ", ".join(f"{expression} AS {quote_name(name)}" for name, _, expression in digest.states)
        bucket = f"toStartOfInterval({quote_name(self.time)}, INTERVAL {digest.every_seconds} SECOND, 'UTC')"
        target = f"{quote_name(database)}.{quote_name(self.digest_table(digest).name)}"
        source = f"{quote_name(database)}.{quote_name(self.table_name)}"
        return (
            f"INSERT INTO {target} SELECT {by}, toDateTime({bucket}, 'UTC') AS {BUCKET}, {states}, "  # noqa: S608  # names are quoted
            f"toUnixTimestamp64Micro(now64(6)) FROM {source} FINAL "
            f"WHERE {quote_name(self.time)} >= {{lo:DateTime64(6, 'UTC')}} AND {quote_name(self.time)} < {{hi:DateTime64(6, 'UTC')}} "
            f"AND (empty({{buckets:Array(DateTime('UTC'))}}) OR has({{buckets:Array(DateTime('UTC'))}}, {BUCKET})) GROUP BY {by}, {BUCKET}"
        )

    def objects(self) -> "list[ColumnarTable | ColumnarView]":
        """Return everything that is made for the dataset, each after what it reads."""
        found: list[ColumnarTable | ColumnarView] = [self.table(), self.view()]
        for digest in self.digests:
            found += [self.digest_table(digest), self.digest_view(digest)]
        return found


def _interval(interval: Interval | None) -> str:
    return f"INTERVAL {interval.count} {interval.unit.value.upper()}" if interval else ""


def by_name(datasets: Sequence[ColumnarDataset]) -> Mapping[str, ColumnarDataset]:
    return {dataset.full_name: dataset for dataset in datasets}
