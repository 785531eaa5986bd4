"""What the server's figures mean: datasets summed over their partitions, which may be counted, what is wrong. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from chainstrata.model import Catalog, rollup_table_name
from chainstrata.monitor.model import DatasetStatus, Finding, PackStatus, SchemaVersion, Severity

COUNTED_BYTES = 512 * 1024
"""A dataset of at most this size is counted; a larger one is estimated."""
COUNTED_LEAVES = 16
COUNTED_AT_ONCE = 200
PAGE_BYTES = 8192
ANALYZED_ROWS = 10_000
WRAPAROUND_AGE = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Table:
    """A table or partition as `list_tables` returns it. One at the top of a partition tree holds no rows itself."""

    oid: int
    parent: int | None
    schema: str
    name: str
    holds_rows: bool
    file: int
    pages: int
    planner_rows: float
    live_rows: int
    dead_rows: int
    inserted: int
    updated: int
    deleted: int
    analyzed: datetime | None

    def estimate(self) -> int:
        """Return the rows as the server's statistics have them.

        The running count is the better one, but it starts anew after a crash; until the next analysis the planner's own
        figure, which survives, is the floor.
        """
        return self.live_rows if self.analyzed is not None else max(self.live_rows, int(self.planner_rows))


@dataclass(frozen=True, slots=True)
class Measure:
    """Bytes on disk: rows alone, rows with their long values and maps, indexes."""

    heap_bytes: int
    table_bytes: int
    index_bytes: int


class Sizes:
    """Remembered sizes. Measuring a table costs the server some system calls, so it is done again only after it changed."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[tuple[int, ...], Measure]] = {}

    def list_unknown(self, tables: Iterable[Table], limit: int) -> list[int]:
        """Return which tables to measure now, those first of which the server's statistics know nothing."""
        unknown = [table for table in tables if table.holds_rows and self.find(table) is None]
        return [table.oid for table in sorted(unknown, key=lambda table: (table.pages > 0, -table.pages))[:limit]]

    def remember(self, tables: Iterable[Table], measured: Mapping[int, Measure]) -> None:
        """Keep what was measured, and forget tables that are gone."""
        states = {table.oid: _state(table) for table in tables}
        self._known |= {oid: (states[oid], measure) for oid, measure in measured.items() if oid in states}
        self._known = {oid: known for oid, known in self._known.items() if oid in states}

    def find(self, table: Table) -> Measure | None:
        """Return the size of a table if nothing happened to it since it was measured."""
        state, measure = self._known.get(table.oid, (None, None))
        return measure if state == _state(table) else None


def _state(table: Table) -> tuple[int, ...]:
    return (table.file, table.pages, table.inserted, table.updated, table.deleted)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A table that holds rows, with its size. An estimated size stands on the pages of its last analysis."""

    table: Table
    partition: bool
    measure: Measure
    measured: bool

    @property
    def key(self) -> tuple[str, str]:
        return self.table.schema, self.table.name

    @property
    def empty(self) -> bool:
        return self.measured and self.measure.heap_bytes == 0


Trees = Mapping[str, Sequence[Leaf]]
"""What holds the rows of every table, by the full name of the table at the top."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A dataset or roll-up as the catalog declares it."""

    name: str
    pack: str
    table: str
    rollup_of: str = ""


def list_declared(catalog: Catalog) -> Iterator[Listed]:
    """Yield datasets, each followed by its roll-ups."""
    for dataset in catalog:
        yield Listed(dataset.full_name, dataset.schema, f"{dataset.schema}.{dataset.table.name}")
        for rollup in dataset.rollups:
            table = f"{dataset.schema}.{rollup_table_name(rollup, dataset.table)}"
            yield Listed(f"{dataset.full_name}.{rollup.name}", dataset.schema, table, dataset.full_name)


def grow_trees(tables: Sequence[Table], sizes: Sizes) -> dict[str, list[Leaf]]:
    """Return the tables that hold rows by the name of the tree they belong to."""
    by_oid = {table.oid: table for table in tables}
    trees: dict[str, list[Leaf]] = {}
    for table in tables:
        root = table
        while root.parent in by_oid:
            root = by_oid[root.parent]
        members = trees.setdefault(f"{root.schema}.{root.name}", [])
        if table.holds_rows:
            measure = sizes.find(table)
            guess = Measure(table.pages * PAGE_BYTES, table.pages * PAGE_BYTES, 0)
            members.append(Leaf(table, root is not table, measure or guess, measure is not None))
    return trees


def choose_counted(trees: Trees, declared: Iterable[Listed]) -> list[Leaf]:
    """Return what is small enough to be counted row by row, within what one look may cost. Empty tables need no count."""
    chosen: list[Leaf] = []
    for listed in declared:
        filled = [leaf for leaf in trees.get(listed.table, ()) if not leaf.empty]
        known = all(leaf.measured for leaf in filled)
        small = sum(leaf.measure.heap_bytes for leaf in filled) <= COUNTED_BYTES and len(filled) <= COUNTED_LEAVES
        if known and small and len(chosen) + len(filled) <= COUNTED_AT_ONCE:
            chosen += filled
    return chosen


def sum_up(declared: Iterable[Listed], trees: Trees, counts: Mapping[tuple[str, str], int]) -> list[DatasetStatus]:
    """Return every dataset with its partitions summed; `counts` has the rows of what was counted, by schema and name."""
    return [_sum_up(listed, trees, counts) for listed in declared]


def _sum_up(listed: Listed, trees: Trees, counts: Mapping[tuple[str, str], int]) -> DatasetStatus:
    if listed.table not in trees:
        return DatasetStatus(listed.name, listed.pack, listed.table, exists=False, rollup_of=listed.rollup_of)
    leaves = trees[listed.table]
    tables = [leaf.table for leaf in leaves]
    filled = [leaf for leaf in leaves if not leaf.empty]
    counted = all(leaf.key in counts for leaf in filled)
    return DatasetStatus(
        listed.name,
        listed.pack,
        listed.table,
        exists=True,
        rollup_of=listed.rollup_of,
        rows=sum(counts[leaf.key] if counted else leaf.table.estimate() for leaf in filled),
        rows_exact=counted,
        partitions=sum(leaf.partition for leaf in leaves),
        size_bytes=sum(leaf.measure.table_bytes + leaf.measure.index_bytes for leaf in leaves),
        size_exact=all(leaf.measured for leaf in leaves),
        index_bytes=sum(leaf.measure.index_bytes for leaf in leaves),
        dead_rows=sum(table.dead_rows for table in tables),
        inserted=sum(table.inserted for table in tables),
        updated=sum(table.updated for table in tables),
        deleted=sum(table.deleted for table in tables),
        analyzed=min((table.analyzed for table in tables if table.analyzed is not None), default=None),
    )


def sum_packs(catalog: Catalog, datasets: Sequence[DatasetStatus], versions: Sequence[SchemaVersion]) -> list[PackStatus]:
    """Return every pack with its datasets summed and its schema version, where known."""
    known = {version.pack: version for version in versions}
    parts = {pack.name: [dataset for dataset in datasets if dataset.pack == pack.name] for pack in catalog.packs}
    return [
        PackStatus(
            pack.name,
            pack.doc,
            datasets=len(pack.datasets) + len(pack.columnar),
            rows=sum(dataset.rows for dataset in parts[pack.name]),
            rows_exact=all(dataset.rows_exact for dataset in parts[pack.name]),
            size_bytes=sum(dataset.size_bytes for dataset in parts[pack.name]),
            schema=known.get(pack.name),
        )
        for pack in catalog.packs
    ]


def judge_schema(datasets: Iterable[DatasetStatus], trees: Trees, versions: Iterable[SchemaVersion]) -> Iterator[Finding]:
    """Yield what is wrong with tables and their versions."""
    behind = {version.pack: version for version in versions if version.pending}
    for version in behind.values():
        message = f"{version.pending} migrations are not applied (at {version.applied or 'none'}, newest is {version.newest})"
        yield Finding(Severity.ERROR, "schema_behind", version.pack, message, "Run `chainstrata migrate up`.")
    for dataset in datasets:
        leaves = trees.get(dataset.table, ())
        if not dataset.exists and dataset.pack not in behind:
            yield Finding(
                Severity.ERROR, "table_missing", dataset.table, "the table of a dataset is not there", "Run `chainstrata migrate verify`."
            )
        if dataset.rows > ANALYZED_ROWS and any(_never_analyzed(leaf) for leaf in leaves):
            yield Finding(
                Severity.WARNING, "not_analyzed", dataset.table, "the planner has no statistics on it", f"Run ANALYZE {dataset.table}."
            )


def _never_analyzed(leaf: Leaf) -> bool:
    return leaf.table.planner_rows < 0 and leaf.table.analyzed is None and leaf.table.live_rows > ANALYZED_ROWS


def judge_objects(broken: Iterable[tuple[str, str, str]], unproven: Iterable[tuple[str, str, str]]) -> Iterator[Finding]:
    """Yield what is wrong with indexes and constraints; each is given as schema, name, table."""
    for schema, name, table in broken:
        message = f"index of {table} is not usable: its build was cut short"
        yield Finding(Severity.WARNING, "index_invalid", f"{schema}.{name}", message, "Run `chainstrata migrate up`: it builds it anew.")
    for schema, name, table in unproven:
        message = f"constraint of {table} was never checked against the rows that were there before it"
        hint = f"Run ALTER TABLE {schema}.{table} VALIDATE CONSTRAINT {name}."
        yield Finding(Severity.WARNING, "constraint_unproven", f"{schema}.{name}", message, hint)


def judge_wear(sequences: Iterable[tuple[str, str, int, int]], oldest_xid_age: int) -> Iterator[Finding]:
    """Yield what will stop working one day: sequences near their end, rows near transaction wrap-around."""
    for schema, name, last, largest in sequences:
        message = f"sequence has given out {last} of {largest} numbers"
        yield Finding(Severity.WARNING, "sequence_worn", f"{schema}.{name}", message, "Change its column to bigint.")
    if oldest_xid_age > WRAPAROUND_AGE:
        message = f"the oldest row is {oldest_xid_age:,} transactions old; at 2,000,000,000 PostgreSQL stops taking writes"
        yield Finding(Severity.ERROR, "wraparound_near", "postgres", message, "Find what holds vacuum back and run VACUUM FREEZE.")
