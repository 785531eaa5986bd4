"""The columnar twin of a dataset: a table that takes every version of a row, and a view that shows the newest.

A row is known by its primary key. Of two rows with one key the higher `_version` stands, and one with `_deleted` hides the row, so
rows may arrive again, or in any order, and the view is the same. The version is the position of the commit in the write-ahead log.
"""

from dataclasses import dataclass
from typing import Final

from chainstrata.model.columnar.ddl import create, drop, quote_name
from chainstrata.model.columnar.table import ColumnarColumn, ColumnarTable, ColumnarView
from chainstrata.model.columnar.types import MOMENT, codec_of, columnar_type
from chainstrata.model.dataset import Dataset

VERSION: Final = "_version"
DELETED: Final = "_deleted"
ROWS: Final = "__rows"


@dataclass(frozen=True, slots=True)
class MirrorTable:
    """A mirror: `table` is written to, `view` is read."""

    dataset: str
    table: ColumnarTable
    view: ColumnarView

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the dataset that are mirrored."""
        return tuple(column.name for column in self.table.columns if column.name not in (VERSION, DELETED))

    def create(self, database: str, cluster: str = "") -> tuple[str, ...]:
        """Return the statements that make both, in order."""
        return (*create(self.table, database, cluster), *create(self.view, database, cluster))

    def drop(self, database: str, cluster: str = "") -> tuple[str, ...]:
        """Return the statements that remove both, in order."""
        return (*drop(self.view, database, cluster), *drop(self.table, database, cluster))


def mirror_name(dataset: Dataset) -> str:
    """Return the name of the view; the table's ends in `__rows` behind it."""
    return f"{dataset.schema}__{dataset.name}"


def mirror_table(dataset: Dataset) -> MirrorTable:
    """Return the mirror of a dataset that declares one."""
    mirror = dataset.mirror
    if mirror is None:
        raise ValueError(f"{dataset.full_name} declares no mirror")
    name = mirror_name(dataset)
    key = list(dataset.key)
    wanted = set(mirror.columns or dataset.table.c.keys()) | set(key)
    # Only the key says which row it is, so only the key sorts: a column beside it would make two rows of one that changes.
    order = [column for column in mirror.order_by if column in key]
    order += [column for column in key if column not in order]
    columns = [
        ColumnarColumn(column.name, kind := columnar_type(column), column.comment or "", codec_of(kind))
        for column in dataset.table.c
        if column.name in wanted
    ]
    columns += [
        ColumnarColumn(VERSION, "UInt64", "Position of the commit that wrote it; the higher one stands.", MOMENT),
        ColumnarColumn(DELETED, "UInt8", "1: the row is gone.", "ZSTD(1)", default="0"),
    ]
    table = ColumnarTable(
        name + ROWS,
        columns,
        f"ReplacingMergeTree({VERSION}, {DELETED})",
        order,
        # In the key, or a row that moves to another time would be found in two partitions.
        partition_by=f"toYYYYMM({quote_name(dataset.time)})" if dataset.time in key else "",
        doc=f"Every version of the rows of {dataset.full_name}; {name} shows the newest.",
    )
    shown = ", ".join(quote_name(column.name) for column in columns[:-2])
    query = f"SELECT {shown} FROM {{database}}.{quote_name(table.name)} FINAL"  # noqa: S608  # names are quoted
    return MirrorTable(dataset.full_name, table, ColumnarView(name, query, dataset.table.comment or "", (table.name,)))
