"""Create initial schema."""

import sqlalchemy as sa

from chainstrata.migrate import op, pgtype

revision = "insights_0001"
down_revision = None
branch_labels = ("insights",)
depends_on = ("strata_0001",)


def upgrade() -> None:
    op.create_schema("insights", comment="Insights on a UTXO chain: blocks and their backfill, feedback, service metrics.")
    op.create_enum("insights.flag_type", ["inaccurate", "misleading", "spam"])
    op.create_enum("insights.job_status", ["pending", "running", "paused", "completed", "failed", "cancelled"])
    op.create_enum("insights.range_status", ["pending", "running", "done", "failed"])
    op.create_table(
        "backfill_jobs",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False, comment="Identifier of the job."),
        sa.Column("job_type", sa.Text(), nullable=False, comment="What is fetched: blocks, transactions, or a name of the user's own."),
        sa.Column("start_block", sa.BigInteger(), nullable=False, comment="First height of the job."),
        sa.Column("end_block", sa.BigInteger(), nullable=False, comment="Height the job stops before."),
        sa.Column(
            "current_block",
            sa.BigInteger(),
            nullable=False,
            comment="Next height to fetch; everything below is done. start_block at first, end_block at the end.",
        ),
        sa.Column(
            "status",
            pgtype("insights.job_status"),
            server_default=sa.text("'pending'::insights.job_status"),
            nullable=False,
            comment="Where the job is.",
        ),
        sa.Column(
            "progress_percentage",
            sa.Numeric(5, 2),
            sa.Computed(
                "CASE WHEN current_block NOT BETWEEN start_block AND end_block THEN 0 WHEN end_block = start_block THEN 100 ELSE trunc(100.0 * (current_block - start_block) / (end_block - start_block), 2) END",
                persisted=True,
            ),
            nullable=False,
            comment="Share of the heights that is done, cut to two places: 100 is only what is whole. Follows from the blocks.",
        ),
        sa.Column(
            "estimated_completion",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the job will be done at the rate measured. NULL: not known.",
        ),
        sa.Column("error_message", sa.Text(), nullable=True, comment="Why it failed, or what the last trouble was."),
        sa.Column(
            "started_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the job was created.",
        ),
        sa.Column(
            "completed_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it ended: completed, failed or cancelled. Set and taken back by a trigger as the status changes.",
        ),
        sa.Column("created_by", sa.Text(), nullable=True, comment="User or service that created it."),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was last written.",
        ),
        sa.PrimaryKeyConstraint("id", name="backfill_jobs_pkey"),
        sa.CheckConstraint("status <> 'completed' OR current_block = end_block", name="backfill_jobs_completed_whole"),
        sa.CheckConstraint("char_length(created_by) BETWEEN 1 AND 100", name="backfill_jobs_created_by_length"),
        sa.CheckConstraint(
            "end_block < start_block OR current_block BETWEEN start_block AND end_block",
            name="backfill_jobs_current_within",
        ),
        sa.CheckConstraint("end_block >= start_block", name="backfill_jobs_end_after_start"),
        sa.CheckConstraint("completed_at >= started_at", name="backfill_jobs_ended_order"),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)",
            name="backfill_jobs_ended_when",
        ),
        sa.CheckConstraint("char_length(job_type) BETWEEN 1 AND 50", name="backfill_jobs_job_type_length"),
        sa.CheckConstraint("start_block >= 0", name="backfill_jobs_start_not_negative"),
        schema="insights",
        comment="One row per job that fetches a span of past blocks.",
    )
    op.create_index(
        "idx_backfill_failed",
        "backfill_jobs",
        ["completed_at"],
        schema="insights",
        postgresql_where=sa.text("status = 'failed'"),
        comment="What failed lately, by when it failed: a long job that fails now began long ago.",
    )
    op.create_index(
        "idx_backfill_job_type",
        "backfill_jobs",
        ["job_type", "started_at"],
        schema="insights",
        comment="The history of one kind of job.",
    )
    op.create_index(
        "idx_backfill_started",
        "backfill_jobs",
        ["started_at"],
        schema="insights",
        comment="The history of all jobs over time, and those old enough to be archived.",
    )
    op.create_index(
        "idx_backfill_status",
        "backfill_jobs",
        ["status", "started_at"],
        schema="insights",
        comment="Jobs in one state, newest first: what is running, what waits.",
    )
    op.create_table(
        "backfill_ranges",
        sa.Column("job_id", sa.Uuid(), nullable=False, comment="The job."),
        sa.Column("from_block", sa.BigInteger(), autoincrement=False, nullable=False, comment="First height of the chunk."),
        sa.Column("to_block", sa.BigInteger(), nullable=False, comment="Height the chunk stops before."),
        sa.Column(
            "status",
            pgtype("insights.range_status"),
            server_default=sa.text("'pending'::insights.range_status"),
            nullable=False,
            comment="Where the chunk is.",
        ),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="How often a worker began it."),
        sa.Column("not_before", sa.TIMESTAMP(timezone=True), nullable=True, comment="Earliest time of the next attempt. NULL: at once."),
        sa.Column("leased_by", sa.Text(), nullable=True, comment="Worker that has it in hand."),
        sa.Column(
            "leased_until",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the lease runs out; then another worker may take it.",
        ),
        sa.Column("heartbeat_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When that worker last gave a sign of life."),
        sa.Column("rows_written", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Rows it has written."),
        sa.Column("last_error", sa.Text(), nullable=True, comment="Why the last attempt failed."),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When the last attempt began."),
        sa.Column("completed_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it was done."),
        sa.PrimaryKeyConstraint("job_id", "from_block", name="backfill_ranges_pkey"),
        sa.ForeignKeyConstraint(["job_id"], ["insights.backfill_jobs.id"], name="fk_backfill_ranges_job", ondelete="CASCADE"),
        sa.CheckConstraint("attempts >= 0 AND rows_written >= 0", name="backfill_ranges_attempts_not_negative"),
        sa.CheckConstraint("(status = 'done') = (completed_at IS NOT NULL)", name="backfill_ranges_done_when"),
        sa.CheckConstraint("status <> 'failed' OR last_error IS NOT NULL", name="backfill_ranges_failed_why"),
        sa.CheckConstraint(
            "status = 'running' OR num_nonnulls(leased_by, leased_until, heartbeat_at) = 0",
            name="backfill_ranges_free_otherwise",
        ),
        sa.CheckConstraint("from_block >= 0", name="backfill_ranges_from_not_negative"),
        sa.CheckConstraint(
            "(status = 'running') = (num_nonnulls(leased_by, leased_until, heartbeat_at) = 3)",
            name="backfill_ranges_leased_while_running",
        ),
        sa.CheckConstraint("to_block > from_block", name="backfill_ranges_not_empty"),
        schema="insights",
        comment="One row per chunk of a backfill job: who works on it, until when, and what came of it.",
    )
    op.create_index(
        "idx_backfill_ranges_leased",
        "backfill_ranges",
        ["leased_until"],
        schema="insights",
        postgresql_where=sa.text("status = 'running'"),
        comment="Chunks whose worker is gone.",
    )
    op.create_index(
        "idx_backfill_ranges_waiting",
        "backfill_ranges",
        ["job_id", "from_block"],
        schema="insights",
        postgresql_where=sa.text("status = 'pending'"),
        comment="The next chunk a worker can take.",
    )
    op.create_table(
        "blocks",
        sa.Column("hash", sa.Text(), nullable=False, comment="Hash of the block, as Bitcoin prints it."),
        sa.Column("height", sa.BigInteger(), nullable=False, comment="Its height."),
        sa.Column("previous_hash", sa.Text(), nullable=True, comment="Hash of the block it builds on. NULL: the first of all."),
        sa.Column(
            "block_time",
            sa.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Time in its header; it may be before that of the block it builds on.",
        ),
        sa.Column(
            "median_time",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Median time of the eleven blocks up to it; never runs back.",
        ),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="Version in the header."),
        sa.Column("merkle_root", sa.Text(), nullable=False, comment="Merkle root of its transactions."),
        sa.Column("nonce", sa.BigInteger(), nullable=False, comment="Nonce in the header."),
        sa.Column("bits", sa.Text(), nullable=False, comment="Target in compact form, 8 hex digits."),
        sa.Column("difficulty", sa.Numeric(), nullable=True, comment="Difficulty, as the node prints it."),
        sa.Column("chainwork", sa.Text(), nullable=True, comment="Work of the chain up to it, 64 hex digits."),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="Bytes."),
        sa.Column("stripped_size", sa.BigInteger(), nullable=True, comment="Bytes without witnesses."),
        sa.Column("weight", sa.BigInteger(), nullable=True, comment="Weight units."),
        sa.Column("transaction_count", sa.BigInteger(), nullable=False, comment="Number of transactions."),
        sa.Column("coinbase_param", sa.Text(), nullable=True, comment="Input script of its coinbase, hex."),
        sa.Column("output_sats", sa.BigInteger(), nullable=True, comment="Sum of all outputs, satoshis."),
        sa.Column(
            "fee_sats",
            sa.BigInteger(),
            nullable=True,
            comment="Sum of all fees, satoshis. NULL: the node could not tell what was spent.",
        ),
        sa.Column("canonical", sa.Boolean(), nullable=False, comment="Whether it is on the chain with the most work."),
        sa.Column(
            "finalized",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether it is deep enough to be taken for final.",
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was first written; never changes.",
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was last written.",
        ),
        sa.PrimaryKeyConstraint("hash", name="blocks_pkey"),
        sa.CheckConstraint(
            "least(transaction_count, size, stripped_size, weight, output_sats, fee_sats) >= 0",
            name="blocks_counts_not_negative",
        ),
        sa.CheckConstraint("canonical OR NOT finalized", name="blocks_final_is_canonical"),
        sa.CheckConstraint("hash ~ '^[0-9a-f]{64}$'", name="blocks_hash_form"),
        sa.CheckConstraint("height >= 0", name="blocks_height_not_negative"),
        sa.CheckConstraint("merkle_root ~ '^[0-9a-f]{64}$'", name="blocks_merkle_root_form"),
        sa.CheckConstraint("previous_hash ~ '^[0-9a-f]{64}$'", name="blocks_previous_hash_form"),
        schema="insights",
        comment="One row per block seen, on the chain or off it.",
    )
    op.create_index(
        "blocks_canonical_height_key",
        "blocks",
        ["height"],
        schema="insights",
        unique=True,
        postgresql_where=sa.text("canonical"),
        comment="The block of a height, and that there is one at most.",
    )
    op.create_index(
        "idx_blocks_height",
        "blocks",
        ["height"],
        schema="insights",
        comment="All blocks of a height, those off the chain too: what a reorg looks at.",
    )
    op.create_index("idx_blocks_time", "blocks", ["block_time"], schema="insights", comment="Blocks over a span of time.")
    op.create_table(
        "insight_feedback",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False, comment="Identifier of the feedback."),
        sa.Column("insight_id", sa.Text(), nullable=False, comment="The insight, by its identifier where insights are kept."),
        sa.Column("user_id", sa.Text(), nullable=False, comment="The user, by the identifier of the identity provider."),
        sa.Column("rating", sa.SmallInteger(), nullable=True, comment="Stars, 1 to 5."),
        sa.Column("comment", sa.Text(), nullable=True, comment="What the user wrote."),
        sa.Column("flag_type", pgtype("insights.flag_type"), nullable=True, comment="What the user says is wrong with the insight."),
        sa.Column("flag_reason", sa.Text(), nullable=True, comment="Why the user flagged it."),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was first written; never changes.",
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was last written.",
        ),
        sa.PrimaryKeyConstraint("id", name="insight_feedback_pkey"),
        sa.UniqueConstraint("insight_id", "user_id", name="uq_insight_user_feedback"),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name="chk_rating_range"),
        sa.CheckConstraint("char_length(insight_id) BETWEEN 1 AND 100", name="insight_feedback_insight_id_length"),
        sa.CheckConstraint("num_nonnulls(rating, comment, flag_type) > 0", name="insight_feedback_not_empty"),
        sa.CheckConstraint("flag_type IS NOT NULL OR flag_reason IS NULL", name="insight_feedback_reason_of_flag"),
        sa.CheckConstraint("char_length(user_id) BETWEEN 1 AND 100", name="insight_feedback_user_id_length"),
        schema="insights",
        comment="One row per user and insight: what the user thinks of it.",
    )
    op.create_index(
        "idx_feedback_comments",
        "insight_feedback",
        ["insight_id", "created_at"],
        schema="insights",
        postgresql_where=sa.text("comment IS NOT NULL"),
        comment="The latest comments on an insight, without passing the ratings that have none.",
    )
    op.create_index(
        "idx_feedback_created",
        "insight_feedback",
        ["created_at"],
        schema="insights",
        comment="Feedback over a span of time, and that old enough to be archived.",
    )
    op.create_index(
        "idx_feedback_flags",
        "insight_feedback",
        ["insight_id", "flag_type"],
        schema="insights",
        postgresql_where=sa.text("flag_type IS NOT NULL"),
        comment="Insights by how often and for what they were flagged; flags are few among ratings.",
    )
    op.create_index(
        "idx_feedback_user",
        "insight_feedback",
        ["user_id", "created_at"],
        schema="insights",
        comment="What one user said, newest first. By insight the unique constraint serves.",
    )
    op.create_table(
        "reorgs",
        sa.Column("old_tip", sa.Text(), nullable=False, comment="Hash of the tip that was left."),
        sa.Column("new_tip", sa.Text(), nullable=False, comment="Hash of the tip that replaced it."),
        sa.Column("fork_height", sa.BigInteger(), nullable=False, comment="Height of the last block both branches share."),
        sa.Column("orphaned_blocks", sa.Integer(), nullable=False, comment="Blocks that left the chain."),
        sa.Column("adopted_blocks", sa.Integer(), nullable=False, comment="Blocks that joined it."),
        sa.Column(
            "applied_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the chain was moved here.",
        ),
        sa.PrimaryKeyConstraint("old_tip", "new_tip", name="reorgs_pkey"),
        sa.CheckConstraint("least(fork_height, orphaned_blocks, adopted_blocks) >= 0", name="reorgs_counts_not_negative"),
        sa.CheckConstraint("new_tip ~ '^[0-9a-f]{64}$'", name="reorgs_new_tip_form"),
        sa.CheckConstraint("old_tip ~ '^[0-9a-f]{64}$'", name="reorgs_old_tip_form"),
        schema="insights",
        comment="One row per change of the chain to another branch.",
    )
    op.create_index("idx_reorgs_applied", "reorgs", ["applied_at"], schema="insights", comment="Reorgs over a span of time.")
    op.create_table(
        "system_metrics",
        sa.Column("service_name", sa.Text(), nullable=False, comment="Service the figure is about, as web-api."),
        sa.Column("metric_type", sa.Text(), nullable=False, comment="What is measured, as cpu, memory, latency."),
        sa.Column(
            "timestamp",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was measured.",
        ),
        sa.Column(
            "instance",
            sa.Text(),
            server_default=sa.text("''::text"),
            nullable=False,
            comment="Which process of the service. Empty: the service as a whole.",
        ),
        sa.Column("metric_value", sa.Double(), nullable=False, comment="The value."),
        sa.Column("unit", sa.Text(), nullable=False, comment="Unit of the value, as percent, ms, bytes."),
        sa.Column("metric_metadata", pgtype("jsonb"), nullable=True, comment="What else is known about the measurement."),
        sa.PrimaryKeyConstraint("service_name", "metric_type", "timestamp", "instance", name="system_metrics_pkey"),
        sa.CheckConstraint("char_length(instance) <= 100", name="system_metrics_instance_length"),
        sa.CheckConstraint("char_length(metric_type) BETWEEN 1 AND 50", name="system_metrics_metric_type_length"),
        sa.CheckConstraint("char_length(service_name) BETWEEN 1 AND 100", name="system_metrics_service_name_length"),
        sa.CheckConstraint("char_length(unit) BETWEEN 1 AND 20", name="system_metrics_unit_length"),
        sa.CheckConstraint("metric_value > '-Infinity' AND metric_value < 'Infinity'", name="system_metrics_value_finite"),
        schema="insights",
        comment="One row per service, type of metric, instance and instant: one measurement.",
        postgresql_partition_by='RANGE ("timestamp")',
    )
    op.create_index(
        "idx_metrics_service_time",
        "system_metrics",
        ["service_name", sa.text('"timestamp"')],
        schema="insights",
        comment="Everything about one service around an instant.",
    )
    op.create_index(
        "idx_metrics_timestamp",
        "system_metrics",
        [sa.text('"timestamp"')],
        schema="insights",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
        comment="Everything over a span of time. A BRIN, as rows come in order of time.",
    )
    op.create_index(
        "idx_metrics_type_time",
        "system_metrics",
        ["metric_type", sa.text('"timestamp"')],
        schema="insights",
        comment="One type over all services, as processor load of the last hour.",
    )
    op.create_table(
        "system_metrics__dirty",
        sa.Column("service_name", sa.Text(), nullable=True, comment="The service_name touched; NULL for all."),
        sa.Column("metric_type", sa.Text(), nullable=True, comment="The metric_type touched; NULL for all."),
        sa.Column("instance", sa.Text(), nullable=True, comment="The instance touched; NULL for all."),
        sa.Column("unit", sa.Text(), nullable=True, comment="The unit touched; NULL for all."),
        sa.Column("lo", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the range touched."),
        sa.Column("hi", sa.TIMESTAMP(timezone=True), nullable=False, comment="End of the range touched, exclusive."),
        sa.Column(
            "marked_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the writer touched it.",
        ),
        schema="insights",
        comment="One row per range of system_metrics whose roll-ups are behind.",
    )
    op.create_table(
        "system_metrics_hourly",
        sa.Column("service_name", sa.Text(), nullable=False, comment="Service the figure is about, as web-api."),
        sa.Column("metric_type", sa.Text(), nullable=False, comment="What is measured, as cpu, memory, latency."),
        sa.Column("instance", sa.Text(), nullable=False, comment="Which process of the service. Empty: the service as a whole."),
        sa.Column("unit", sa.Text(), nullable=False, comment="Unit of the value, as percent, ms, bytes."),
        sa.Column("bucket", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the hour, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("value_sum", sa.Double(), nullable=False, comment="Sum of metric_value over the bucket."),
        sa.Column(
            "value_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket with metric_value.",
        ),
        sa.Column("value_min", sa.Double(), nullable=False, comment="Lowest metric_value of the bucket."),
        sa.Column("value_max", sa.Double(), nullable=False, comment="Highest metric_value of the bucket."),
        sa.Column(
            "value_sketch",
            pgtype("jsonb"),
            nullable=False,
            comment="Mergeable sketch of the distribution of metric_value over the bucket.",
        ),
        sa.Column(
            "value_mean",
            sa.Double(),
            sa.Computed("value_sum / NULLIF(value_count, 0)", persisted=True),
            nullable=True,
            comment="value_sum divided by value_count.",
        ),
        sa.Column(
            "value_p50",
            sa.Double(),
            sa.Computed("strata.sketch_quantile(value_sketch, 0.5)", persisted=True),
            nullable=True,
            comment="The value below which 0.5 of metric_value lie, within 1 %.",
        ),
        sa.Column(
            "value_p95",
            sa.Double(),
            sa.Computed("strata.sketch_quantile(value_sketch, 0.95)", persisted=True),
            nullable=True,
            comment="The value below which 0.95 of metric_value lie, within 1 %.",
        ),
        sa.Column(
            "value_p99",
            sa.Double(),
            sa.Computed("strata.sketch_quantile(value_sketch, 0.99)", persisted=True),
            nullable=True,
            comment="The value below which 0.99 of metric_value lie, within 1 %.",
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the bucket was first written; never changes.",
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the bucket was last written.",
        ),
        sa.PrimaryKeyConstraint("service_name", "metric_type", "instance", "unit", "bucket", name="system_metrics_hourly_pkey"),
        schema="insights",
        comment="One row per service, type of metric, instance, unit and hour.",
        postgresql_partition_by="RANGE (bucket)",
    )
    op.create_index(
        "idx_system_metrics_hourly_time",
        "system_metrics_hourly",
        ["bucket"],
        schema="insights",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
        comment="All keys of a hour or of several, as a refresh asks for them. A BRIN: buckets come in order of time.",
    )
    op.create_table(
        "system_metrics_hourly__carried",
        sa.Column("service_name", sa.Text(), nullable=False, comment="Service the figure is about, as web-api."),
        sa.Column("metric_type", sa.Text(), nullable=False, comment="What is measured, as cpu, memory, latency."),
        sa.Column("instance", sa.Text(), nullable=False, comment="Which process of the service. Empty: the service as a whole."),
        sa.Column("unit", sa.Text(), nullable=False, comment="Unit of the value, as percent, ms, bytes."),
        sa.Column("bucket", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the hour, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("value_sum", sa.Double(), nullable=False, comment="Sum of metric_value over the bucket."),
        sa.Column(
            "value_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket with metric_value.",
        ),
        sa.Column("value_min", sa.Double(), nullable=False, comment="Lowest metric_value of the bucket."),
        sa.Column("value_max", sa.Double(), nullable=False, comment="Highest metric_value of the bucket."),
        sa.Column(
            "value_sketch",
            pgtype("jsonb"),
            nullable=False,
            comment="Mergeable sketch of the distribution of metric_value over the bucket.",
        ),
        sa.PrimaryKeyConstraint("service_name", "metric_type", "instance", "unit", "bucket", name="system_metrics_hourly__carried_pkey"),
        schema="insights",
        comment="One row per bucket of system_metrics_hourly that rows no longer there have contributed to.",
    )
    op.create_table(
        "transactions",
        sa.Column("txid", sa.Text(), nullable=False, comment="Identifier of the transaction."),
        sa.Column("block_hash", sa.Text(), nullable=False, comment="Block it is in; after a reorg it can be in another as well."),
        sa.Column("block_time", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of that block."),
        sa.Column("height", sa.BigInteger(), nullable=False, comment="Height of that block."),
        sa.Column("position", sa.Integer(), nullable=False, comment="Its place in the block; the coinbase is 0."),
        sa.Column("wtxid", sa.Text(), nullable=True, comment="Hash with its witnesses."),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="Version."),
        sa.Column("lock_time", sa.BigInteger(), nullable=False, comment="Earliest height or time it can be in a block."),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="Bytes."),
        sa.Column("virtual_size", sa.BigInteger(), nullable=True, comment="Weight by four, rounded up."),
        sa.Column("weight", sa.BigInteger(), nullable=True, comment="Weight units."),
        sa.Column("coinbase", sa.Boolean(), nullable=False, comment="Whether it creates the block's new coins."),
        sa.Column("input_count", sa.Integer(), nullable=False, comment="Number of inputs; 0 for a coinbase."),
        sa.Column("output_count", sa.Integer(), nullable=False, comment="Number of outputs."),
        sa.Column("input_sats", sa.BigInteger(), nullable=True, comment="Sum of what it spends, satoshis. NULL: the node could not tell."),
        sa.Column("output_sats", sa.BigInteger(), nullable=False, comment="Sum of its outputs, satoshis."),
        sa.Column(
            "fee_sats",
            sa.BigInteger(),
            nullable=True,
            comment="Fee, satoshis. NULL: the node could not tell what was spent, or a coinbase.",
        ),
        sa.PrimaryKeyConstraint("txid", "block_hash", "block_time", name="transactions_pkey"),
        sa.CheckConstraint(
            "least(input_count, output_count, input_sats, output_sats, fee_sats) >= 0",
            name="transactions_amounts_not_negative",
        ),
        sa.CheckConstraint("block_hash ~ '^[0-9a-f]{64}$'", name="transactions_block_hash_form"),
        sa.CheckConstraint("coinbase = (position = 0)", name="transactions_coinbase_first"),
        sa.CheckConstraint("fee_sats = input_sats - output_sats", name="transactions_fee_is_difference"),
        sa.CheckConstraint("height >= 0 AND position >= 0", name="transactions_place_not_negative"),
        sa.CheckConstraint("txid ~ '^[0-9a-f]{64}$'", name="transactions_txid_form"),
        sa.CheckConstraint("wtxid ~ '^[0-9a-f]{64}$'", name="transactions_wtxid_form"),
        schema="insights",
        comment="One row per transaction and block that holds it.",
        postgresql_partition_by="RANGE (block_time)",
    )
    op.create_index(
        "idx_transactions_block",
        "transactions",
        ["block_hash", sa.text('"position"')],
        schema="insights",
        comment="The transactions of one block, in order.",
    )
    op.create_index(
        "idx_transactions_height",
        "transactions",
        ["height"],
        schema="insights",
        comment="The transactions of a span of heights, as a backfill job checks them.",
    )
    op.create_function(
        "insights.apply_reorg(p_new_tip text)",
        """
CREATE FUNCTION insights.apply_reorg(p_new_tip text) RETURNS insights.reorgs
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    v_fork text;
    v_fork_height bigint;
    v_old_tip text;
    v_adopted text[];
    v_orphaned text[];
    v_reorg insights.reorgs;
BEGIN
    -- One reorg at a time: two at once would read each other's half-made chain.
    PERFORM pg_advisory_xact_lock(hashtextextended('insights.apply_reorg', 0));
    WITH RECURSIVE branch AS (
        SELECT b.hash, b.previous_hash, b.canonical FROM insights.blocks AS b WHERE b.hash = p_new_tip
        UNION ALL
        SELECT b.hash, b.previous_hash, b.canonical
        FROM branch
        JOIN insights.blocks AS b ON b.hash = branch.previous_hash
        WHERE NOT branch.canonical
    )
    SELECT coalesce(array_agg(hash) FILTER (WHERE NOT canonical), '{}'), max(hash) FILTER (WHERE canonical)
    INTO v_adopted, v_fork
    FROM branch;
    IF v_fork IS NULL THEN
        RAISE EXCEPTION 'the branch of % does not meet the chain', p_new_tip
            USING ERRCODE = 'integrity_constraint_violation', SCHEMA = 'insights', TABLE = 'blocks', CONSTRAINT = 'reorg_branch_known',
            HINT = 'Add the blocks between the new tip and the chain to blocks first.';
    END IF;
    IF v_fork = p_new_tip THEN
        RETURN NULL;
    END IF;
    SELECT height INTO v_fork_height FROM insights.blocks WHERE hash = v_fork;
    SELECT coalesce(array_agg(hash ORDER BY height), '{}') INTO v_orphaned
    FROM insights.blocks WHERE canonical AND height > v_fork_height;
    v_old_tip := coalesce(v_orphaned[cardinality(v_orphaned)], v_fork);
    UPDATE insights.blocks SET canonical = false WHERE hash = ANY (v_orphaned);
    UPDATE insights.blocks SET canonical = true WHERE hash = ANY (v_adopted);
    INSERT INTO insights.reorgs AS r (old_tip, new_tip, fork_height, orphaned_blocks, adopted_blocks)
    VALUES (v_old_tip, p_new_tip, v_fork_height, cardinality(v_orphaned), cardinality(v_adopted))
    ON CONFLICT (old_tip, new_tip) DO UPDATE SET applied_at = clock_timestamp()
    RETURNING * INTO v_reorg;
    RETURN v_reorg;
END
$$;
""",
        comment="Moves the chain to the branch of a new tip: its blocks become canonical, those of the branch left do not stay so; transactions follow their block. The branch must be in blocks, not canonical yet. One that does not meet the chain is refused (reorg_branch_known), and so is leaving a final block (blocks_final_is_canonical). Returns the row of reorgs, or NULL where the tip is on the chain already.",
    )
    op.create_function(
        "insights.end_backfill_job()",
        """
CREATE FUNCTION insights.end_backfill_job() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    IF NEW.status NOT IN ('completed', 'failed', 'cancelled') THEN
        NEW.completed_at := NULL;
    ELSIF TG_OP = 'UPDATE' AND NEW.status <> OLD.status AND NEW.completed_at IS NOT DISTINCT FROM OLD.completed_at THEN
        NEW.completed_at := clock_timestamp();
    ELSE
        NEW.completed_at := coalesce(NEW.completed_at, clock_timestamp());
    END IF;
    RETURN NEW;
END
$$;
""",
        comment="Trigger function: a job that ends gets the time it did, unless one is given; a job that is resumed loses it.",
    )
    op.create_function(
        "insights.finalize_blocks(p_depth integer)",
        """
CREATE FUNCTION insights.finalize_blocks(p_depth integer DEFAULT 6) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    v_marked bigint;
BEGIN
    UPDATE insights.blocks SET finalized = true
    WHERE canonical AND NOT finalized AND height <= (SELECT max(height) FROM insights.blocks WHERE canonical) - p_depth;
    GET DIAGNOSTICS v_marked = ROW_COUNT;
    RETURN v_marked;
END
$$;
""",
        comment="Marks canonical blocks with at least so many on top of them as final and returns how many were not so yet.",
    )
    op.create_function(
        "insights.flagged_insights(p_at_least integer)",
        """
CREATE FUNCTION insights.flagged_insights(p_at_least integer DEFAULT 3)
RETURNS TABLE (
    insight_id text,
    flag_count bigint,
    flag_types insights.flag_type[]
)
LANGUAGE sql
STABLE
SET search_path = pg_catalog
AS $$
    SELECT f.insight_id, count(*), array_agg(DISTINCT f.flag_type ORDER BY f.flag_type)
    FROM insights.insight_feedback AS f
    WHERE f.flag_type IS NOT NULL
    GROUP BY f.insight_id
    HAVING count(*) >= p_at_least
    ORDER BY count(*) DESC, f.insight_id
$$;
""",
        comment="Insights flagged at least so often, with the kinds of flags, the most flagged first.",
    )
    op.create_function(
        "insights.insight_statistics(p_insight_id text)",
        """
CREATE FUNCTION insights.insight_statistics(p_insight_id text)
RETURNS TABLE (
    insight_id text,
    total_ratings bigint,
    average_rating numeric,
    total_comments bigint,
    total_flags bigint
)
LANGUAGE sql
STABLE
SET search_path = pg_catalog
AS $$
    SELECT p_insight_id, count(rating), avg(rating), count(comment), count(flag_type)
    FROM insights.insight_feedback AS f
    WHERE f.insight_id = p_insight_id
$$;
""",
        comment="Ratings, their exact mean, comments and flags of one insight. One row always: an insight nobody spoke of has none of each.",
    )
    op.create_function(
        "insights.refuse_overlap()",
        """
CREATE FUNCTION insights.refuse_overlap() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    job record;
BEGIN
    SELECT start_block, end_block INTO job FROM insights.backfill_jobs WHERE id = NEW.job_id FOR NO KEY UPDATE;
    IF NEW.from_block < job.start_block OR NEW.to_block > job.end_block THEN
        RAISE EXCEPTION 'the chunk from % to % is not within its job, which is from % to %',
            NEW.from_block, NEW.to_block, job.start_block, job.end_block
            USING ERRCODE = 'check_violation', SCHEMA = 'insights', TABLE = 'backfill_ranges', CONSTRAINT = 'backfill_ranges_within_job';
    END IF;
    IF EXISTS (
        SELECT FROM (
            SELECT to_block FROM insights.backfill_ranges
            WHERE job_id = NEW.job_id AND from_block < NEW.from_block ORDER BY from_block DESC LIMIT 1
        ) AS before WHERE before.to_block > NEW.from_block
    ) OR EXISTS (
        SELECT FROM insights.backfill_ranges
        WHERE job_id = NEW.job_id AND from_block > NEW.from_block AND from_block < NEW.to_block
    ) THEN
        RAISE EXCEPTION 'the chunk from % to % lies over another one of its job', NEW.from_block, NEW.to_block
            USING ERRCODE = 'exclusion_violation', SCHEMA = 'insights', TABLE = 'backfill_ranges', CONSTRAINT = 'backfill_ranges_apart';
    END IF;
    RETURN NEW;
END
$$;
""",
        comment="Trigger function: the chunks of a job lie within it and never over each other. Holds the job, so that two who add chunks see each other's.",
    )
    op.create_function(
        "insights.system_metrics__mark()",
        """
CREATE FUNCTION "insights"."system_metrics__mark"() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
    INSERT INTO "insights"."system_metrics__dirty" ("service_name", "metric_type", "instance", "unit", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "service_name", "metric_type", "instance", "unit", date_bin('3600 seconds'::interval, "timestamp", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM new_rows),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{insights.metrics.hourly}')
                 )
             )
        SELECT "service_name", "metric_type", "instance", "unit", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::TEXT, NULL::TEXT, NULL::TEXT, NULL::TEXT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO "insights"."system_metrics__dirty" ("service_name", "metric_type", "instance", "unit", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "service_name", "metric_type", "instance", "unit", date_bin('3600 seconds'::interval, "timestamp", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM old_rows),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{insights.metrics.hourly}')
                 )
             )
        SELECT "service_name", "metric_type", "instance", "unit", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::TEXT, NULL::TEXT, NULL::TEXT, NULL::TEXT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO "insights"."system_metrics__dirty" ("service_name", "metric_type", "instance", "unit", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "service_name", "metric_type", "instance", "unit", date_bin('3600 seconds'::interval, "timestamp", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM (TABLE new_rows UNION ALL TABLE old_rows) AS touched),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{insights.metrics.hourly}')
                 )
             )
        SELECT "service_name", "metric_type", "instance", "unit", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::TEXT, NULL::TEXT, NULL::TEXT, NULL::TEXT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSE
        INSERT INTO "insights"."system_metrics__dirty" (lo, hi) VALUES ('-infinity', 'infinity');
    END IF;
    RETURN NULL;
END
$$
""",
        comment="Marks the roll-ups of insights.metrics that a statement touched.",
    )
    op.create_view(
        "insights.active_backfill_jobs",
        """
CREATE VIEW insights.active_backfill_jobs AS
SELECT
    j.*,
    r.chunks, r.chunks_done, r.chunks_failed, r.chunks_running, r.rows_written
FROM insights.backfill_jobs AS j
LEFT JOIN LATERAL (
    SELECT
        count(*) AS chunks,
        count(*) FILTER (WHERE status = 'done') AS chunks_done,
        count(*) FILTER (WHERE status = 'failed') AS chunks_failed,
        count(*) FILTER (WHERE status = 'running') AS chunks_running,
        coalesce(sum(rows_written), 0) AS rows_written
    FROM insights.backfill_ranges AS r
    WHERE r.job_id = j.id
) AS r ON true
WHERE j.status IN ('pending', 'running', 'paused');
""",
        comment="Jobs that have not ended, with their chunks by state.",
    )
    op.create_view(
        "insights.chain_transactions",
        """
CREATE VIEW insights.chain_transactions AS
SELECT t.*, b.finalized
FROM insights.transactions AS t
JOIN insights.blocks AS b ON b.hash = t.block_hash
WHERE b.canonical;
""",
        comment="The transactions of canonical blocks, with whether their block is final.",
    )
    op.create_trigger(
        "backfill_jobs__stamp",
        "insights.backfill_jobs",
        """
CREATE TRIGGER "backfill_jobs__stamp" BEFORE UPDATE ON "insights"."backfill_jobs" FOR EACH ROW EXECUTE FUNCTION "strata"."touch_updated_at"()
""",
        comment="Keeps the times a row of insights.jobs was written true.",
    )
    op.create_trigger(
        "end_backfill_job_status",
        "insights.backfill_jobs",
        """
CREATE TRIGGER end_backfill_job_status
BEFORE INSERT OR UPDATE OF status, completed_at ON insights.backfill_jobs
FOR EACH ROW EXECUTE FUNCTION insights.end_backfill_job();
""",
        comment="When a job ended follows from its status.",
    )
    op.create_trigger(
        "refuse_overlapping_ranges",
        "insights.backfill_ranges",
        """
CREATE TRIGGER refuse_overlapping_ranges
AFTER INSERT OR UPDATE OF job_id, from_block, to_block ON insights.backfill_ranges
FOR EACH ROW EXECUTE FUNCTION insights.refuse_overlap();
""",
        comment="No two chunks of a job have a block in common, and none has one the job has not.",
    )
    op.create_trigger(
        "blocks__stamp",
        "insights.blocks",
        """
CREATE TRIGGER "blocks__stamp" BEFORE UPDATE ON "insights"."blocks" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of insights.blocks was written true.",
    )
    op.create_trigger(
        "insight_feedback__stamp",
        "insights.insight_feedback",
        """
CREATE TRIGGER "insight_feedback__stamp" BEFORE UPDATE ON "insights"."insight_feedback" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of insights.feedback was written true.",
    )
    op.create_trigger(
        "system_metrics__mark_delete",
        "insights.system_metrics",
        """
CREATE TRIGGER "system_metrics__mark_delete" AFTER DELETE ON "insights"."system_metrics" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "insights"."system_metrics__mark"()
""",
        comment="Marks the roll-ups of insights.metrics that a statement touched.",
    )
    op.create_trigger(
        "system_metrics__mark_insert",
        "insights.system_metrics",
        """
CREATE TRIGGER "system_metrics__mark_insert" AFTER INSERT ON "insights"."system_metrics" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "insights"."system_metrics__mark"()
""",
        comment="Marks the roll-ups of insights.metrics that a statement touched.",
    )
    op.create_trigger(
        "system_metrics__mark_truncate",
        "insights.system_metrics",
        """
CREATE TRIGGER "system_metrics__mark_truncate" AFTER TRUNCATE ON "insights"."system_metrics" FOR EACH STATEMENT EXECUTE FUNCTION "insights"."system_metrics__mark"()
""",
        comment="Marks the roll-ups of insights.metrics that a statement touched.",
    )
    op.create_trigger(
        "system_metrics__mark_update",
        "insights.system_metrics",
        """
CREATE TRIGGER "system_metrics__mark_update" AFTER UPDATE ON "insights"."system_metrics" REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "insights"."system_metrics__mark"()
""",
        comment="Marks the roll-ups of insights.metrics that a statement touched.",
    )
    op.set_policy(
        "insights.blocks",
        {
            "conflict": {"policy": "merge"},
            "entity": ["hash"],
            "final": "finalized",
            "mirror": {"order_by": ["height", "hash"]},
            "table": "insights.blocks",
            "time": "block_time",
            "topic": "insights.blocks",
        },
    )
    op.set_policy(
        "insights.feedback",
        {
            "cache": {"tags": ["insight:{insight_id}"], "ttl": "1 hour"},
            "conflict": {"policy": "merge"},
            "entity": ["insight_id", "user_id"],
            "lifecycle": {"keep": "2 years"},
            "mirror": {"order_by": ["insight_id", "user_id"]},
            "table": "insights.insight_feedback",
            "time": "created_at",
            "topic": "insights.feedback",
        },
    )
    op.set_policy(
        "insights.jobs",
        {
            "conflict": {"policy": "merge"},
            "entity": ["id"],
            "lifecycle": {"keep": "180 days", "terminal": "status IN ('completed', 'failed', 'cancelled')"},
            "table": "insights.backfill_jobs",
            "time": "started_at",
            "topic": "insights.jobs",
        },
    )
    op.set_policy(
        "insights.metrics",
        {
            "cache": {"tags": ["service:{service_name}"], "ttl": "5 minutes"},
            "conflict": {"policy": "ignore"},
            "entity": ["service_name", "metric_type", "instance"],
            "lifecycle": {"keep": "90 days", "keep_archived": "365 days", "partition": "1 month", "premake": 3},
            "mirror": {"order_by": ["service_name", "metric_type", "timestamp"]},
            "rollups": [
                {
                    "by": ["service_name", "metric_type", "instance", "unit"],
                    "doc": "One row per service, type of metric, instance, unit and hour.",
                    "every": "1 hour",
                    "lifecycle": {"keep": "2 years", "partition": "1 year", "premake": 1},
                    "measures": [
                        {"column": "metric_value", "kind": "mean", "name": "value"},
                        {"column": "metric_value", "kind": "lowest", "name": "value_min"},
                        {"column": "metric_value", "kind": "highest", "name": "value_max"},
                        {"column": "metric_value", "kind": "percentiles", "name": "value", "quantiles": [0.5, 0.95, 0.99]},
                    ],
                    "name": "hourly",
                },
            ],
            "table": "insights.system_metrics",
            "time": "timestamp",
            "topic": "insights.metrics",
        },
    )
    op.set_policy(
        "insights.ranges",
        {"conflict": {"policy": "merge"}, "entity": ["job_id", "from_block"], "table": "insights.backfill_ranges"},
    )
    op.set_policy(
        "insights.reorgs",
        {
            "conflict": {"policy": "merge"},
            "entity": ["new_tip"],
            "table": "insights.reorgs",
            "time": "applied_at",
            "topic": "insights.reorgs",
        },
    )
    op.set_policy(
        "insights.transactions",
        {
            "conflict": {"policy": "ignore"},
            "entity": ["txid"],
            "lifecycle": {"partition": "1 month", "premake": 3},
            "mirror": {"order_by": ["block_time", "txid"]},
            "table": "insights.transactions",
            "time": "block_time",
            "topic": "insights.transactions",
        },
    )


def downgrade() -> None:
    op.drop_view("insights.chain_transactions")
    op.drop_view("insights.active_backfill_jobs")
    op.remove_policy("insights.transactions")
    op.remove_policy("insights.reorgs")
    op.remove_policy("insights.ranges")
    op.remove_policy("insights.metrics")
    op.remove_policy("insights.jobs")
    op.remove_policy("insights.feedback")
    op.remove_policy("insights.blocks")
    op.drop_table("system_metrics", schema="insights")
    op.drop_function("insights.system_metrics__mark()")
    op.drop_table("backfill_ranges", schema="insights")
    op.drop_function("insights.refuse_overlap()")
    op.drop_function("insights.insight_statistics(p_insight_id text)")
    op.drop_function("insights.flagged_insights(p_at_least integer)")
    op.drop_function("insights.finalize_blocks(p_depth integer)")
    op.drop_table("backfill_jobs", schema="insights")
    op.drop_function("insights.end_backfill_job()")
    op.drop_function("insights.apply_reorg(p_new_tip text)")
    op.drop_table("transactions", schema="insights")
    op.drop_table("system_metrics_hourly__carried", schema="insights")
    op.drop_table("system_metrics_hourly", schema="insights")
    op.drop_table("system_metrics__dirty", schema="insights")
    op.drop_table("reorgs", schema="insights")
    op.drop_table("insight_feedback", schema="insights")
    op.drop_table("blocks", schema="insights")
    op.drop_enum("insights.range_status")
    op.drop_enum("insights.job_status")
    op.drop_enum("insights.flag_type")
    op.drop_schema("insights")
