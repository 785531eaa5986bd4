"""Insights on a UTXO chain: its blocks, the jobs that fetch them, what users say of insights, and how the services are doing."""

from chainstrata.model import Pack
from chainstrata.packs.insights.tables import DATASETS, ENUMS, METADATA

__all__ = ["pack"]

pack = Pack(
    name="insights",
    package=__name__,
    doc="Insights on a UTXO chain: blocks and their backfill, feedback, service metrics.",
    metadata=METADATA,
    datasets=DATASETS,
    enums=ENUMS,
)
