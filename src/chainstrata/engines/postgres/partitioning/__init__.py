"""Partitioned tables as the server sees them: what is there, and how a partition comes and goes without blocking anybody.

Mechanics only. Which partitions there should be, and when one may leave, is for the features above.
"""

from chainstrata.engines.postgres.partitioning.catalog import describe, list_partitions, names_in_use
from chainstrata.engines.postgres.partitioning.changes import attach, create, detach, drop
from chainstrata.engines.postgres.partitioning.model import BEGINNING, END, Partition, Span, State, TableFacts

__all__ = [
    "BEGINNING",
    "END",
    "Partition",
    "Span",
    "State",
    "TableFacts",
    "attach",
    "create",
    "describe",
    "detach",
    "drop",
    "list_partitions",
    "names_in_use",
]
