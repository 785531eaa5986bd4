"""What lives in the columnar engine: tables, views, mirrors of datasets, and their DDL."""

from chainstrata.model.columnar.changes import CannotChange, Change, Columns, Create, Drop, Indexes, State, Ttl, compare, replay
from chainstrata.model.columnar.dataset import ARRIVED, ColumnarDataset, Digest, Field
from chainstrata.model.columnar.ddl import create, drop
from chainstrata.model.columnar.mirror import DELETED, VERSION, MirrorTable, mirror_name, mirror_table
from chainstrata.model.columnar.table import ColumnarColumn, ColumnarObject, ColumnarTable, ColumnarView, SkipIndex
from chainstrata.model.columnar.types import codec_of, columnar_type

__all__ = [
    "ARRIVED",
    "DELETED",
    "VERSION",
    "CannotChange",
    "Change",
    "ColumnarColumn",
    "ColumnarDataset",
    "ColumnarObject",
    "ColumnarTable",
    "ColumnarView",
    "Columns",
    "Create",
    "Digest",
    "Drop",
    "Field",
    "Indexes",
    "MirrorTable",
    "SkipIndex",
    "State",
    "Ttl",
    "codec_of",
    "columnar_type",
    "compare",
    "create",
    "drop",
    "mirror_name",
    "mirror_table",
    "replay",
]
