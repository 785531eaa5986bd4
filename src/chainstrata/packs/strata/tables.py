"""The platform's own tables. Each feature's part opens with a line that says whose it is."""

import sqlalchemy as sa

from chainstrata.model import INSTANT, Dataset, column, metadata
from chainstrata.model.columns import SYSTEM_SCHEMA

METADATA = metadata(SYSTEM_SCHEMA)

# Roll-ups ---------------------------------------------------------------------------------------------------------------
rollup_source = sa.Table(
    "rollup_source",
    METADATA,
    column("source", sa.Text, doc="Dataset or roll-up that roll-ups are folded from, by full name."),
    column("gone_before", INSTANT, nullable=True, doc="Rows before this have left; buckets before it are only merged into."),
    sa.PrimaryKeyConstraint("source", name="rollup_source_pkey"),
    comment="One row per source of roll-ups whose oldest rows have left.",
)
rollup_state = sa.Table(
    "rollup_state",
    METADATA,
    column("rollup", sa.Text, doc="Roll-up, by full name."),
    column("refreshed_at", INSTANT, doc="When it was last brought up to date."),
    column("refreshed_lsn", sa.Text, doc="Position of the log up to which it was brought up to date."),
    column("buckets_written", sa.BigInteger, doc="Buckets written by all refreshes so far."),
    column("buckets_removed", sa.BigInteger, doc="Buckets removed because their last row went, so far."),
    column("seconds", sa.Double, doc="How long the last refresh took."),
    column(
        "keys_per_bucket", sa.Double, nullable=True, doc="Keys in a whole bucket, as last seen; weighs whole buckets against single keys."
    ),
    sa.PrimaryKeyConstraint("rollup", name="rollup_state_pkey"),
    comment="One row per roll-up: how far it is, and what keeping it costs.",
)

DATASETS: tuple[Dataset, ...] = (
    Dataset(rollup_source, name="rollup_sources"),
    Dataset(rollup_state, name="rollups"),
)
