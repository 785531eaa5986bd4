"""What users hold across chains and protocols, how it moved and what it was worth."""

from chainstrata.model import Pack
from chainstrata.packs.portfolio.market_tables import COLUMNAR
from chainstrata.packs.portfolio.tables import DATASETS, ENUMS, METADATA

__all__ = ["pack"]

pack = Pack(
    name="portfolio",
    package=__name__,
    doc="Users, their wallets, what they hold in which protocol, the history of their transactions, and valuations over time.",
    metadata=METADATA,
    datasets=DATASETS,
    enums=ENUMS,
    columnar=COLUMNAR,
    extensions=("pg_trgm",),
)
