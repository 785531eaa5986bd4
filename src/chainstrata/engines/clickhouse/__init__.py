"""The columnar engine: the embedded one, the connection, and their errors.

`Columnar` is how everything at run time speaks to it; `EmbeddedClickHouse` runs one on this machine; `open_columnar_target`
gives the one a command should use.
"""

from chainstrata.engines.clickhouse.columnar import Columnar, ColumnarOptions, Done, quote_name, quote_names
from chainstrata.engines.clickhouse.embedded import EmbeddedClickHouse, is_installed
from chainstrata.engines.clickhouse.target import ColumnarTarget, open_columnar_target, why_missing

__all__ = [
    "Columnar",
    "ColumnarOptions",
    "ColumnarTarget",
    "Done",
    "EmbeddedClickHouse",
    "is_installed",
    "open_columnar_target",
    "quote_name",
    "quote_names",
    "why_missing",
]
