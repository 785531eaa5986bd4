"""Tables of the insights pack: blocks of a UTXO chain, the jobs that fill them, what users think of insights, how services are doing.

Amounts are satoshis in BIGINT, parsed from decimals; hashes are as Bitcoin prints them, without 0x. Texts that the outside gives have
their greatest length in a named constraint, not in the type, so that a program can tell which rule was broken.
"""

from typing import Any

import sqlalchemy as sa

from chainstrata.model import (
    INSTANT,
    JSON,
    CachePolicy,
    Dataset,
    Lifecycle,
    Mirror,
    Rollup,
    check,
    column,
    created_at,
    days,
    enum,
    highest,
    hours,
    ignore,
    index,
    lowest,
    mean,
    merge,
    metadata,
    minutes,
    months,
    percentiles,
    reference,
    unique,
    updated_at,
    years,
)
from chainstrata.packs.insights.model import FlagType, JobStatus, RangeStatus

SCHEMA = "insights"
METADATA = metadata(SCHEMA)

JOB_STATUS = enum("job_status", JobStatus, schema=SCHEMA)
RANGE_STATUS = enum("range_status", RangeStatus, schema=SCHEMA)
FLAG_TYPE = enum("flag_type", FlagType, schema=SCHEMA)
ENUMS = (JOB_STATUS, RANGE_STATUS, FLAG_TYPE)

SATS = sa.BigInteger()
TXHASH = sa.Text()
ENDED = "status IN ({})".format(", ".join(f"'{status.value}'" for status in JobStatus if status.ended))


def _id(doc: str) -> sa.Column[Any]:
    return column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), doc=doc)


def _length(table: str, name: str, most: int) -> sa.CheckConstraint:
    return check(f"{table}_{name}_length", f"char_length({name}) BETWEEN 1 AND {most}")


def _hash(table: str, name: str) -> sa.CheckConstraint:
    return check(f"{table}_{name}_form", f"{name} ~ '^[0-9a-f]{{64}}$'")


backfill_jobs = sa.Table(
    "backfill_jobs",
    METADATA,
    _id("Identifier of the job."),
    column("job_type", sa.Text(), doc="What is fetched: blocks, transactions, or a name of the user's own."),
    column("start_block", sa.BigInteger(), doc="First height of the job."),
    column("end_block", sa.BigInteger(), doc="Height the job stops before."),
    column(
        "current_block", sa.BigInteger(), doc="Next height to fetch; everything below is done. start_block at first, end_block at the end."
    ),
    column("status", JOB_STATUS, server_default=JobStatus.PENDING.value, doc="Where the job is."),
    column(
        "progress_percentage",
        sa.Numeric(5, 2),
        sa.Computed(
            # 0 for what the checks refuse: generated columns come first, and a number that does not fit would hide their names.
            "CASE WHEN current_block NOT BETWEEN start_block AND end_block THEN 0 WHEN end_block = start_block THEN 100"
            " ELSE trunc(100.0 * (current_block - start_block) / (end_block - start_block), 2) END",
            persisted=True,
        ),
        doc="Share of the heights that is done, cut to two places: 100 is only what is whole. Follows from the blocks.",
    ),
    column("estimated_completion", INSTANT, nullable=True, doc="When the job will be done at the rate measured. NULL: not known."),
    column("error_message", sa.Text(), nullable=True, doc="Why it failed, or what the last trouble was."),
    column("started_at", INSTANT, server_default=sa.func.now(), doc="When the job was created."),
    column(
        "completed_at",
        INSTANT,
        nullable=True,
        doc="When it ended: completed, failed or cancelled. Set and taken back by a trigger as the status changes.",
    ),
    column("created_by", sa.Text(), nullable=True, doc="User or service that created it."),
    updated_at(),
    sa.PrimaryKeyConstraint("id", name="backfill_jobs_pkey"),
    _length("backfill_jobs", "job_type", 50),
    _length("backfill_jobs", "created_by", 100),
    check("backfill_jobs_start_not_negative", "start_block >= 0"),
    check("backfill_jobs_end_after_start", "end_block >= start_block"),
    # Not for a job that ends before it starts, so that it is refused for that.
    check("backfill_jobs_current_within", "end_block < start_block OR current_block BETWEEN start_block AND end_block"),
    check("backfill_jobs_completed_whole", "status <> 'completed' OR current_block = end_block"),
    check("backfill_jobs_ended_when", f"({ENDED}) = (completed_at IS NOT NULL)"),
    check("backfill_jobs_ended_order", "completed_at >= started_at"),
    index("idx_backfill_status", "status", "started_at", why="Jobs in one state, newest first: what is running, what waits."),
    index("idx_backfill_started", "started_at", why="The history of all jobs over time, and those old enough to be archived."),
    index("idx_backfill_job_type", "job_type", "started_at", why="The history of one kind of job."),
    index(
        "idx_backfill_failed",
        "completed_at",
        why="What failed lately, by when it failed: a long job that fails now began long ago.",
        postgresql_where=sa.text("status = 'failed'"),
    ),
    comment="One row per job that fetches a span of past blocks.",
)

backfill_ranges = sa.Table(
    "backfill_ranges",
    METADATA,
    column("job_id", sa.Uuid(), doc="The job."),
    column("from_block", sa.BigInteger(), autoincrement=False, doc="First height of the chunk."),
    column("to_block", sa.BigInteger(), doc="Height the chunk stops before."),
    column("status", RANGE_STATUS, server_default=RangeStatus.PENDING.value, doc="Where the chunk is."),
    column("attempts", sa.Integer(), server_default=sa.text("0"), doc="How often a worker began it."),
    column("not_before", INSTANT, nullable=True, doc="Earliest time of the next attempt. NULL: at once."),
    column("leased_by", sa.Text(), nullable=True, doc="Worker that has it in hand."),
    column("leased_until", INSTANT, nullable=True, doc="When the lease runs out; then another worker may take it."),
    column("heartbeat_at", INSTANT, nullable=True, doc="When that worker last gave a sign of life."),
    column("rows_written", sa.BigInteger(), server_default=sa.text("0"), doc="Rows it has written."),
    column("last_error", sa.Text(), nullable=True, doc="Why the last attempt failed."),
    column("started_at", INSTANT, nullable=True, doc="When the last attempt began."),
    column("completed_at", INSTANT, nullable=True, doc="When it was done."),
    sa.PrimaryKeyConstraint("job_id", "from_block", name="backfill_ranges_pkey"),
    reference("fk_backfill_ranges_job", ["job_id"], ["insights.backfill_jobs.id"], ondelete="CASCADE"),
    check("backfill_ranges_from_not_negative", "from_block >= 0"),
    check("backfill_ranges_not_empty", "to_block > from_block"),
    check("backfill_ranges_attempts_not_negative", "attempts >= 0 AND rows_written >= 0"),
    check("backfill_ranges_leased_while_running", "(status = 'running') = (num_nonnulls(leased_by, leased_until, heartbeat_at) = 3)"),
    check("backfill_ranges_free_otherwise", "status = 'running' OR num_nonnulls(leased_by, leased_until, heartbeat_at) = 0"),
    check("backfill_ranges_done_when", "(status = 'done') = (completed_at IS NOT NULL)"),
    check("backfill_ranges_failed_why", "status <> 'failed' OR last_error IS NOT NULL"),
    index(
        "idx_backfill_ranges_waiting",
        "job_id",
        "from_block",
        why="The next chunk a worker can take.",
        postgresql_where=sa.text("status = 'pending'"),
    ),
    index(
        "idx_backfill_ranges_leased",
        "leased_until",
        why="Chunks whose worker is gone.",
        postgresql_where=sa.text("status = 'running'"),
    ),
    comment="One row per chunk of a backfill job: who works on it, until when, and what came of it.",
)

insight_feedback = sa.Table(
    "insight_feedback",
    METADATA,
    _id("Identifier of the feedback."),
    column("insight_id", sa.Text(), doc="The insight, by its identifier where insights are kept."),
    column("user_id", sa.Text(), doc="The user, by the identifier of the identity provider."),
    column("rating", sa.SmallInteger(), nullable=True, doc="Stars, 1 to 5."),
    column("comment", sa.Text(), nullable=True, doc="What the user wrote."),
    column("flag_type", FLAG_TYPE, nullable=True, doc="What the user says is wrong with the insight."),
    column("flag_reason", sa.Text(), nullable=True, doc="Why the user flagged it."),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("id", name="insight_feedback_pkey"),
    unique("uq_insight_user_feedback", "insight_id", "user_id"),
    check("chk_rating_range", "rating BETWEEN 1 AND 5"),
    check("insight_feedback_not_empty", "num_nonnulls(rating, comment, flag_type) > 0"),
    check("insight_feedback_reason_of_flag", "flag_type IS NOT NULL OR flag_reason IS NULL"),
    _length("insight_feedback", "insight_id", 100),
    _length("insight_feedback", "user_id", 100),
    index("idx_feedback_user", "user_id", "created_at", why="What one user said, newest first. By insight the unique constraint serves."),
    index("idx_feedback_created", "created_at", why="Feedback over a span of time, and that old enough to be archived."),
    index(
        "idx_feedback_comments",
        "insight_id",
        "created_at",
        why="The latest comments on an insight, without passing the ratings that have none.",
        postgresql_where=sa.text("comment IS NOT NULL"),
    ),
    index(
        "idx_feedback_flags",
        "insight_id",
        "flag_type",
        why="Insights by how often and for what they were flagged; flags are few among ratings.",
        postgresql_where=sa.text("flag_type IS NOT NULL"),
    ),
    comment="One row per user and insight: what the user thinks of it.",
)

system_metrics = sa.Table(
    "system_metrics",
    METADATA,
    column("service_name", sa.Text(), doc="Service the figure is about, as web-api."),
    column("metric_type", sa.Text(), doc="What is measured, as cpu, memory, latency."),
    column("timestamp", INSTANT, server_default=sa.func.now(), doc="When it was measured."),
    column("instance", sa.Text(), server_default="", doc="Which process of the service. Empty: the service as a whole."),
    column("metric_value", sa.Double(), doc="The value."),
    column("unit", sa.Text(), doc="Unit of the value, as percent, ms, bytes."),
    column("metric_metadata", JSON, nullable=True, doc="What else is known about the measurement."),
    sa.PrimaryKeyConstraint("service_name", "metric_type", "timestamp", "instance", name="system_metrics_pkey"),
    _length("system_metrics", "service_name", 100),
    _length("system_metrics", "metric_type", 50),
    _length("system_metrics", "unit", 20),
    check("system_metrics_instance_length", "char_length(instance) <= 100"),
    check("system_metrics_value_finite", "metric_value > '-Infinity' AND metric_value < 'Infinity'"),
    index("idx_metrics_service_time", "service_name", "timestamp", why="Everything about one service around an instant."),
    index("idx_metrics_type_time", "metric_type", "timestamp", why="One type over all services, as processor load of the last hour."),
    index(
        "idx_metrics_timestamp",
        "timestamp",
        why="Everything over a span of time. A BRIN, as rows come in order of time.",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
    ),
    postgresql_partition_by="RANGE (timestamp)",
    comment="One row per service, type of metric, instance and instant: one measurement.",
)

blocks = sa.Table(
    "blocks",
    METADATA,
    column("hash", TXHASH, doc="Hash of the block, as Bitcoin prints it."),
    column("height", sa.BigInteger(), doc="Its height."),
    column("previous_hash", TXHASH, nullable=True, doc="Hash of the block it builds on. NULL: the first of all."),
    column("block_time", INSTANT, doc="Time in its header; it may be before that of the block it builds on."),
    column("median_time", INSTANT, nullable=True, doc="Median time of the eleven blocks up to it; never runs back."),
    column("version", sa.BigInteger(), doc="Version in the header."),
    column("merkle_root", TXHASH, doc="Merkle root of its transactions."),
    column("nonce", sa.BigInteger(), doc="Nonce in the header."),
    column("bits", sa.Text(), doc="Target in compact form, 8 hex digits."),
    column("difficulty", sa.Numeric(), nullable=True, doc="Difficulty, as the node prints it."),
    column("chainwork", TXHASH, nullable=True, doc="Work of the chain up to it, 64 hex digits."),
    column("size", sa.BigInteger(), doc="Bytes."),
    column("stripped_size", sa.BigInteger(), nullable=True, doc="Bytes without witnesses."),
    column("weight", sa.BigInteger(), nullable=True, doc="Weight units."),
    column("transaction_count", sa.BigInteger(), doc="Number of transactions."),
    column("coinbase_param", sa.Text(), nullable=True, doc="Input script of its coinbase, hex."),
    column("output_sats", SATS, nullable=True, doc="Sum of all outputs, satoshis."),
    column("fee_sats", SATS, nullable=True, doc="Sum of all fees, satoshis. NULL: the node could not tell what was spent."),
    column("canonical", sa.Boolean(), doc="Whether it is on the chain with the most work."),
    column("finalized", sa.Boolean(), server_default=sa.false(), doc="Whether it is deep enough to be taken for final."),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("hash", name="blocks_pkey"),
    _hash("blocks", "hash"),
    _hash("blocks", "previous_hash"),
    _hash("blocks", "merkle_root"),
    check("blocks_height_not_negative", "height >= 0"),
    check("blocks_counts_not_negative", "least(transaction_count, size, stripped_size, weight, output_sats, fee_sats) >= 0"),
    check("blocks_final_is_canonical", "canonical OR NOT finalized"),
    index(
        "blocks_canonical_height_key",
        "height",
        why="The block of a height, and that there is one at most.",
        unique=True,
        postgresql_where=sa.text("canonical"),
    ),
    index("idx_blocks_height", "height", why="All blocks of a height, those off the chain too: what a reorg looks at."),
    index("idx_blocks_time", "block_time", why="Blocks over a span of time."),
    comment="One row per block seen, on the chain or off it.",
)

transactions = sa.Table(
    "transactions",
    METADATA,
    column("txid", TXHASH, doc="Identifier of the transaction."),
    column("block_hash", TXHASH, doc="Block it is in; after a reorg it can be in another as well."),
    column("block_time", INSTANT, doc="Time of that block."),
    column("height", sa.BigInteger(), doc="Height of that block."),
    column("position", sa.Integer(), doc="Its place in the block; the coinbase is 0."),
    column("wtxid", TXHASH, nullable=True, doc="Hash with its witnesses."),
    column("version", sa.BigInteger(), doc="Version."),
    column("lock_time", sa.BigInteger(), doc="Earliest height or time it can be in a block."),
    column("size", sa.BigInteger(), doc="Bytes."),
    column("virtual_size", sa.BigInteger(), nullable=True, doc="Weight by four, rounded up."),
    column("weight", sa.BigInteger(), nullable=True, doc="Weight units."),
    column("coinbase", sa.Boolean(), doc="Whether it creates the block's new coins."),
    column("input_count", sa.Integer(), doc="Number of inputs; 0 for a coinbase."),
    column("output_count", sa.Integer(), doc="Number of outputs."),
    column("input_sats", SATS, nullable=True, doc="Sum of what it spends, satoshis. NULL: the node could not tell."),
    column("output_sats", SATS, doc="Sum of its outputs, satoshis."),
    column("fee_sats", SATS, nullable=True, doc="Fee, satoshis. NULL: the node could not tell what was spent, or a coinbase."),
    sa.PrimaryKeyConstraint("txid", "block_hash", "block_time", name="transactions_pkey"),
    _hash("transactions", "txid"),
    _hash("transactions", "block_hash"),
    _hash("transactions", "wtxid"),
    check("transactions_place_not_negative", "height >= 0 AND position >= 0"),
    check("transactions_coinbase_first", "coinbase = (position = 0)"),
    check("transactions_amounts_not_negative", "least(input_count, output_count, input_sats, output_sats, fee_sats) >= 0"),
    check("transactions_fee_is_difference", "fee_sats = input_sats - output_sats"),
    index("idx_transactions_block", "block_hash", "position", why="The transactions of one block, in order."),
    index("idx_transactions_height", "height", why="The transactions of a span of heights, as a backfill job checks them."),
    postgresql_partition_by="RANGE (block_time)",
    comment="One row per transaction and block that holds it.",
)

reorgs = sa.Table(
    "reorgs",
    METADATA,
    column("old_tip", TXHASH, doc="Hash of the tip that was left."),
    column("new_tip", TXHASH, doc="Hash of the tip that replaced it."),
    column("fork_height", sa.BigInteger(), doc="Height of the last block both branches share."),
    column("orphaned_blocks", sa.Integer(), doc="Blocks that left the chain."),
    column("adopted_blocks", sa.Integer(), doc="Blocks that joined it."),
    column("applied_at", INSTANT, server_default=sa.func.now(), doc="When the chain was moved here."),
    sa.PrimaryKeyConstraint("old_tip", "new_tip", name="reorgs_pkey"),
    _hash("reorgs", "old_tip"),
    _hash("reorgs", "new_tip"),
    check("reorgs_counts_not_negative", "least(fork_height, orphaned_blocks, adopted_blocks) >= 0"),
    index("idx_reorgs_applied", "applied_at", why="Reorgs over a span of time."),
    comment="One row per change of the chain to another branch.",
)

DATASETS = (
    Dataset(
        backfill_jobs,
        "jobs",
        time="started_at",
        entity=("id",),
        lifecycle=Lifecycle(keep=days(180), archive=True, terminal=ENDED),
        conflict=merge(),
        topic="insights.jobs",
    ),
    Dataset(
        backfill_ranges,
        "ranges",
        entity=("job_id", "from_block"),
        conflict=merge(),
    ),
    Dataset(
        insight_feedback,
        "feedback",
        time="created_at",
        entity=("insight_id", "user_id"),
        lifecycle=Lifecycle(keep=years(2), archive=True),
        conflict=merge(),
        mirror=Mirror(order_by=("insight_id", "user_id")),
        cache=CachePolicy(ttl=hours(1), tags=("insight:{insight_id}",)),
        topic="insights.feedback",
    ),
    Dataset(
        system_metrics,
        "metrics",
        time="timestamp",
        entity=("service_name", "metric_type", "instance"),
        # Hot for 90 days, then a year in the archive: both ages count from the measurement.
        lifecycle=Lifecycle(partition=months(1), premake=3, keep=days(90), archive=True, keep_archived=days(365)),
        rollups=(
            Rollup(
                "hourly",
                every=hours(1),
                by=("service_name", "metric_type", "instance", "unit"),
                measures=(
                    mean("metric_value", name="value"),
                    lowest("metric_value", name="value_min"),
                    highest("metric_value", name="value_max"),
                    percentiles("metric_value", 0.5, 0.95, 0.99, name="value"),
                ),
                lifecycle=Lifecycle(partition=years(1), premake=1, keep=years(2)),
                doc="One row per service, type of metric, instance, unit and hour.",
            ),
        ),
        conflict=ignore(),
        mirror=Mirror(order_by=("service_name", "metric_type", "timestamp")),
        cache=CachePolicy(ttl=minutes(5), tags=("service:{service_name}",)),
        topic="insights.metrics",
    ),
    Dataset(
        blocks,
        "blocks",
        time="block_time",
        entity=("hash",),
        conflict=merge(),
        mirror=Mirror(order_by=("height", "hash")),
        topic="insights.blocks",
        final="finalized",
    ),
    Dataset(reorgs, "reorgs", time="applied_at", entity=("new_tip",), conflict=merge(), topic="insights.reorgs"),
    Dataset(
        transactions,
        "transactions",
        time="block_time",
        entity=("txid",),
        lifecycle=Lifecycle(partition=months(1), premake=3, archive=True),
        conflict=ignore(),
        mirror=Mirror(order_by=("block_time", "txid")),
        topic="insights.transactions",
    ),
)
