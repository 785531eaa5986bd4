"""Packets between chains: where each one is, how chains, channels and relayers do, and the clearing of those that wait."""

from chainstrata.model import Pack
from chainstrata.packs.relay.tables import DATASETS, ENUMS, METADATA

__all__ = ["pack"]

pack = Pack(
    name="relay",
    package=__name__,
    doc="Packets between chains: their events, where each one is, and the figures of chains, channels and relayers.",
    metadata=METADATA,
    datasets=DATASETS,
    enums=ENUMS,
)
