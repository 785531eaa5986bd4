"""What the platform keeps about itself, in the schema `strata`: domains, and the tables of its features."""

from chainstrata.model import UINT64, UINT256, Pack
from chainstrata.packs.strata import callers, leaving, tables
from chainstrata.packs.strata.columnar import MARKS, POSITIONS

__all__ = ["pack"]

pack = Pack(
    name="strata",
    package=__name__,
    doc="The platform's own tables.",
    metadata=tables.METADATA,
    datasets=(*tables.DATASETS, *leaving.DATASETS, *callers.DATASETS),
    requires=(),
    queue="03.04.00_50_post_add_retry_failed_job_procedure",
    domains=(UINT64, UINT256),
    columnar_objects=(MARKS, POSITIONS),
)
