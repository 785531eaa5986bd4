"""What lives in the columnar engine: tables, views, mirrors of datasets, and their DDL."""

from chainstrata.model.columnar.ddl import create, drop
from chainstrata.model.columnar.mirror import DELETED, VERSION, MirrorTable, mirror_name, mirror_table
from chainstrata.model.columnar.table import ColumnarColumn, ColumnarObject, ColumnarTable, ColumnarView, SkipIndex
from chainstrata.model.columnar.types import codec_of, columnar_type

__all__ = [
    "DELETED",
    "VERSION",
    "ColumnarColumn",
    "ColumnarObject",
    "ColumnarTable",
    "ColumnarView",
    "MirrorTable",
    "SkipIndex",
    "codec_of",
    "columnar_type",
    "create",
    "drop",
    "mirror_name",
    "mirror_table",
]
