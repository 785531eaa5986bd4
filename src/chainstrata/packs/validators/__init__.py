"""Validators of a proof-of-stake chain: who they are, their balances and duties, what they earn, and when to wake someone."""

from chainstrata.model import Pack
from chainstrata.packs.validators.tables import DATASETS, ENUMS, METADATA

__all__ = ["pack"]

pack = Pack(
    name="validators",
    package=__name__,
    doc="Validators of a proof-of-stake chain: balances, duties, effectiveness, alerts.",
    metadata=METADATA,
    datasets=DATASETS,
    enums=ENUMS,
)
