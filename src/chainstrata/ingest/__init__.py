"""Ingest: rows on their way into PostgreSQL, as whole blocks of binary COPY.

`copy_rows` writes an Arrow table as it is. Every value arrives exactly, or the write is refused with the column and row that do not fit.
"""

from chainstrata.ingest.copy import copy_rows
from chainstrata.ingest.errors import IngestError, UnfitColumn
from chainstrata.ingest.samples import Loaded, SampleRefused, Samples, list_samples, packs_with_samples
from chainstrata.ingest.wire import WireColumn, WireTable, WireType, describe_table

__all__ = [
    "IngestError",
    "Loaded",
    "SampleRefused",
    "Samples",
    "UnfitColumn",
    "WireColumn",
    "WireTable",
    "WireType",
    "copy_rows",
    "describe_table",
    "list_samples",
    "packs_with_samples",
]
