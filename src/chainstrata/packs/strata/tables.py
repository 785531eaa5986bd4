"""The platform's own tables. Each feature's part opens with a line that says whose it is."""

from chainstrata.model import Dataset, metadata
from chainstrata.model.columns import SYSTEM_SCHEMA

METADATA = metadata(SYSTEM_SCHEMA)

DATASETS: tuple[Dataset, ...] = ()
