"""Ingest: rows on their way into PostgreSQL, as whole blocks of binary COPY.

`Ingest` takes rows of any shape into a dataset, with its conflict policy, its parents, the marks of its roll-ups and a
quarantine for what does not fit. `copy_rows` writes an Arrow table as it is. Every value arrives exactly, or not at all.
"""

from chainstrata.ingest.copy import copy_rows
from chainstrata.ingest.errors import BatchRefused, IngestError, PayloadTooLarge, PayloadUnreadable, TryLater, UnfitColumn
from chainstrata.ingest.gate import Gate, GateOptions
from chainstrata.ingest.model import Answer, LateRows, Witness
from chainstrata.ingest.payload import Limits, Payload
from chainstrata.ingest.replay import Replayed
from chainstrata.ingest.runner import Ingest
from chainstrata.ingest.samples import Loaded, SampleRefused, Samples, list_samples, packs_with_samples
from chainstrata.ingest.spool import Spool, Waiting, open_spool
from chainstrata.ingest.wire import WireColumn, WireTable, WireType, describe_table

__all__ = [
    "Answer",
    "BatchRefused",
    "Gate",
    "GateOptions",
    "Ingest",
    "IngestError",
    "LateRows",
    "Limits",
    "Loaded",
    "Payload",
    "PayloadTooLarge",
    "PayloadUnreadable",
    "Replayed",
    "SampleRefused",
    "Samples",
    "Spool",
    "TryLater",
    "UnfitColumn",
    "Waiting",
    "WireColumn",
    "WireTable",
    "WireType",
    "Witness",
    "copy_rows",
    "describe_table",
    "list_samples",
    "open_spool",
    "packs_with_samples",
]
