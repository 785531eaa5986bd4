"""Coin prices by the minute, folded into hours, days, ISO weeks and months; who is collected, how, and at what cost."""

from chainstrata.model import Pack
from chainstrata.packs.prices.tables import DATASETS, ENUMS, METADATA

__all__ = ["pack"]

pack = Pack(
    name="prices",
    package=__name__,
    doc="Coin prices by the minute, folded into hours, days, weeks and months, and the runs of their collector.",
    metadata=METADATA,
    datasets=DATASETS,
    enums=ENUMS,
)
