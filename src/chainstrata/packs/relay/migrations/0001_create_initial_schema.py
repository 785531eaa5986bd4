"""Create initial schema."""

import sqlalchemy as sa

from chainstrata.migrate import op, pgtype

revision = "relay_0001"
down_revision = None
branch_labels = ("relay",)
depends_on = ("strata_0001",)


def upgrade() -> None:
    op.create_schema(
        "relay",
        comment="Packets between chains: their events, where each one is, and the figures of chains, channels and relayers.",
    )
    op.create_enum("relay.channel_ordering", ["unordered", "ordered"])
    op.create_enum("relay.channel_state", ["init", "tryopen", "open", "closed"])
    op.create_enum("relay.operation_status", ["awaiting_payment", "queued", "running", "succeeded", "partial", "failed", "cancelled"])
    op.create_enum("relay.packet_event", ["send_packet", "recv_packet", "write_acknowledgement", "acknowledge_packet", "timeout_packet"])
    op.create_enum("relay.packet_status", ["pending", "received", "stuck", "acknowledged", "failed", "timed_out"])
    op.create_table(
        "chains",
        sa.Column("chain_id", sa.Text(), nullable=False, comment="Identifier of the chain, such as osmosis-1."),
        sa.Column("name", sa.Text(), nullable=True, comment="Name for people. NULL: known only from a channel or an operation so far."),
        sa.Column("account_prefix", sa.Text(), nullable=True, comment="What its addresses begin with, such as osmo."),
        sa.Column("fee_denom", sa.Text(), nullable=True, comment="What fees are mostly paid in."),
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
        sa.PrimaryKeyConstraint("chain_id", name="chains_pkey"),
        sa.CheckConstraint(
            "length(account_prefix) BETWEEN 1 AND 83 AND account_prefix ~ '^[a-z][a-z0-9]*$'",
            name="chains_account_prefix_form",
        ),
        sa.CheckConstraint("length(chain_id) BETWEEN 2 AND 50 AND chain_id ~ '^[A-Za-z0-9][A-Za-z0-9_.-]*$'", name="chains_chain_id_form"),
        schema="relay",
        comment="One chain.",
    )
    op.create_table(
        "channel_performance",
        sa.Column("src_chain_id", sa.Text(), nullable=False, comment="Chain the packet was sent from."),
        sa.Column("src_port", sa.Text(), nullable=False, comment="Port it was sent from; transfer for tokens."),
        sa.Column(
            "src_channel",
            sa.Text(),
            nullable=False,
            comment="Channel it was sent through, as the source chain numbers them; for IBC v2 the client.",
        ),
        sa.Column("hour", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the hour, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column(
            "sent_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('send_packet').",
        ),
        sa.Column(
            "received_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('recv_packet') AND NOT redundant.",
        ),
        sa.Column(
            "acknowledged_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('acknowledge_packet') AND NOT redundant AND success IS NOT false.",
        ),
        sa.Column(
            "failed_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('acknowledge_packet') AND NOT redundant AND success IS false.",
        ),
        sa.Column(
            "timed_out_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "redundant_relays",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where redundant.",
        ),
        sa.Column(
            "clear_time_sum",
            sa.Numeric(),
            nullable=True,
            comment="Sum of elapsed_seconds over the bucket, where event_type IN ('acknowledge_packet', 'timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "clear_time_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket with elapsed_seconds, where event_type IN ('acknowledge_packet', 'timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "clear_time_sketch",
            pgtype("jsonb"),
            nullable=True,
            comment="Mergeable sketch of the distribution of elapsed_seconds over the bucket, where event_type IN ('acknowledge_packet', 'timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "clear_time_mean",
            sa.Numeric(),
            sa.Computed("clear_time_sum / NULLIF(clear_time_count, 0)", persisted=True),
            nullable=True,
            comment="clear_time_sum divided by clear_time_count.",
        ),
        sa.Column(
            "clear_time_p50",
            sa.Double(),
            sa.Computed("strata.sketch_quantile(clear_time_sketch, 0.5)", persisted=True),
            nullable=True,
            comment="The value below which 0.5 of elapsed_seconds lie, within 1 %.",
        ),
        sa.Column(
            "clear_time_p95",
            sa.Double(),
            sa.Computed("strata.sketch_quantile(clear_time_sketch, 0.95)", persisted=True),
            nullable=True,
            comment="The value below which 0.95 of elapsed_seconds lie, within 1 %.",
        ),
        sa.Column(
            "success_rate",
            sa.Numeric(),
            sa.Computed(
                "acknowledged_packets::numeric / NULLIF((acknowledged_packets + failed_packets + timed_out_packets), 0)",
                persisted=True,
            ),
            nullable=True,
            comment="Share of the packets closed that were accepted, 0 to 1. NULL: none was closed.",
        ),
        sa.Column(
            "congestion_score",
            sa.Numeric(5, 2),
            sa.Computed(
                "round(100 * (0.5 * COALESCE(GREATEST(sent_packets - (acknowledged_packets + failed_packets + timed_out_packets), 0)::numeric / NULLIF(sent_packets, 0), 0) + 0.3 * (CASE WHEN clear_time_count > 0 THEN 1 - 60 / GREATEST(clear_time_sum / clear_time_count, 60) WHEN (acknowledged_packets + failed_packets + timed_out_packets) = 0 AND sent_packets > 0 THEN 1 ELSE 0 END) + 0.2 * COALESCE(timed_out_packets::numeric / NULLIF((acknowledged_packets + failed_packets + timed_out_packets), 0), 0)), 2)",
                persisted=True,
            ),
            nullable=True,
            comment="0 (clear) to 100 (nothing gets through): backlog, slowness and timeouts.",
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
        sa.PrimaryKeyConstraint("src_chain_id", "src_port", "src_channel", "hour", name="channel_performance_pkey"),
        sa.CheckConstraint("congestion_score BETWEEN 0 AND 100", name="channel_performance_congestion_range"),
        schema="relay",
        comment="One hour of one channel: packets sent through it, received and closed, how fast, and how congested it was.",
        postgresql_partition_by="RANGE (hour)",
    )
    op.create_index(
        "idx_channel_performance_congestion",
        "channel_performance",
        ["hour", sa.text("congestion_score DESC")],
        schema="relay",
        comment="The most congested channels of an hour, and all channels over several.",
    )
    op.create_table(
        "channel_performance__carried",
        sa.Column("src_chain_id", sa.Text(), nullable=False, comment="Chain the packet was sent from."),
        sa.Column("src_port", sa.Text(), nullable=False, comment="Port it was sent from; transfer for tokens."),
        sa.Column(
            "src_channel",
            sa.Text(),
            nullable=False,
            comment="Channel it was sent through, as the source chain numbers them; for IBC v2 the client.",
        ),
        sa.Column("hour", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the hour, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column(
            "sent_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('send_packet').",
        ),
        sa.Column(
            "received_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('recv_packet') AND NOT redundant.",
        ),
        sa.Column(
            "acknowledged_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('acknowledge_packet') AND NOT redundant AND success IS NOT false.",
        ),
        sa.Column(
            "failed_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('acknowledge_packet') AND NOT redundant AND success IS false.",
        ),
        sa.Column(
            "timed_out_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "redundant_relays",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where redundant.",
        ),
        sa.Column(
            "clear_time_sum",
            sa.Numeric(),
            nullable=True,
            comment="Sum of elapsed_seconds over the bucket, where event_type IN ('acknowledge_packet', 'timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "clear_time_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket with elapsed_seconds, where event_type IN ('acknowledge_packet', 'timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "clear_time_sketch",
            pgtype("jsonb"),
            nullable=True,
            comment="Mergeable sketch of the distribution of elapsed_seconds over the bucket, where event_type IN ('acknowledge_packet', 'timeout_packet') AND NOT redundant.",
        ),
        sa.PrimaryKeyConstraint("src_chain_id", "src_port", "src_channel", "hour", name="channel_performance__carried_pkey"),
        schema="relay",
        comment="One row per bucket of channel_performance that rows no longer there have contributed to.",
    )
    op.create_table(
        "channels",
        sa.Column("chain_id", sa.Text(), nullable=False, comment="The chain."),
        sa.Column("port", sa.Text(), nullable=False, comment="Port of the channel."),
        sa.Column("channel", sa.Text(), nullable=False, comment="The channel, as this chain numbers them."),
        sa.Column("counterparty_chain_id", sa.Text(), nullable=True, comment="Chain at the other end. NULL: its client was not looked up."),
        sa.Column("counterparty_port", sa.Text(), nullable=True, comment="Port at the other end."),
        sa.Column(
            "counterparty_channel",
            sa.Text(),
            nullable=True,
            comment="The channel as the other end numbers it. NULL until the handshake.",
        ),
        sa.Column("connection_id", sa.Text(), nullable=True, comment="Connection it runs over."),
        sa.Column(
            "ordering",
            pgtype("relay.channel_ordering"),
            server_default=sa.text("'unordered'::relay.channel_ordering"),
            nullable=False,
            comment="Whether it keeps the order of packets.",
        ),
        sa.Column(
            "state",
            pgtype("relay.channel_state"),
            server_default=sa.text("'open'::relay.channel_state"),
            nullable=False,
            comment="Where its handshake stands.",
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
        sa.PrimaryKeyConstraint("chain_id", "port", "channel", name="channels_pkey"),
        sa.ForeignKeyConstraint(["chain_id"], ["relay.chains.chain_id"], name="fk_channels_chain", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["counterparty_chain_id"],
            ["relay.chains.chain_id"],
            name="fk_channels_counterparty_chain",
            ondelete="RESTRICT",
        ),
        sa.CheckConstraint("length(channel) BETWEEN 8 AND 64 AND channel ~ '^[A-Za-z0-9._+#<>-]*$'", name="channels_channel_form"),
        sa.CheckConstraint(
            "length(counterparty_channel) BETWEEN 8 AND 64 AND counterparty_channel ~ '^[A-Za-z0-9._+#<>-]*$'",
            name="channels_counterparty_channel_form",
        ),
        sa.CheckConstraint(
            "length(counterparty_port) BETWEEN 2 AND 128 AND counterparty_port ~ '^[A-Za-z0-9._+#<>-]*$'",
            name="channels_counterparty_port_form",
        ),
        sa.CheckConstraint("length(port) BETWEEN 2 AND 128 AND port ~ '^[A-Za-z0-9._+#<>-]*$'", name="channels_port_form"),
        schema="relay",
        comment="One channel, as one of its two chains sees it.",
    )
    op.create_index(
        "idx_channels_counterparty",
        "channels",
        ["counterparty_chain_id", "counterparty_port", "counterparty_channel"],
        schema="relay",
        comment="The channel at this end of one that is known by its other end, as a received packet names it.",
    )
    op.create_table(
        "clearing_operations",
        sa.Column(
            "operation_id",
            sa.Uuid(),
            server_default=sa.text("gen_random_uuid()"),
            nullable=False,
            comment="Identifier of the operation. A client may choose it, so that a repeated request is the same operation.",
        ),
        sa.Column("wallet_address", sa.Text(), nullable=False, comment="Who asked for it, and pays."),
        sa.Column("chain_id", sa.Text(), nullable=False, comment="Chain whose packets wait to be cleared."),
        sa.Column("port", sa.Text(), server_default=sa.text("'transfer'::text"), nullable=False, comment="Port of those packets."),
        sa.Column("channel", sa.Text(), nullable=True, comment="Channel of those packets; NULL for all channels of the wallet's packets."),
        sa.Column(
            "status",
            pgtype("relay.operation_status"),
            server_default=sa.text("'awaiting_payment'::relay.operation_status"),
            nullable=False,
            comment="Where the operation stands.",
        ),
        sa.Column("packets_targeted", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="Packets it is to clear."),
        sa.Column("packets_cleared", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="Packets it has cleared."),
        sa.Column("packets_failed", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="Packets it could not clear."),
        sa.Column("fee_denom", sa.Text(), nullable=True, comment="What the fees are paid in."),
        sa.Column("fee_decimals", sa.SmallInteger(), server_default=sa.text("6"), nullable=False, comment="Decimals of that denomination."),
        sa.Column(
            "service_fee",
            pgtype("strata.uint256"),
            server_default=sa.text("0"),
            nullable=False,
            comment="What the wallet paid for the service, smallest units.",
        ),
        sa.Column(
            "gas_fee",
            pgtype("strata.uint256"),
            server_default=sa.text("0"),
            nullable=False,
            comment="What the chain took for it, smallest units.",
        ),
        sa.Column("payment_tx_hash", sa.Text(), nullable=True, comment="Transaction that paid for it. Pays for one operation only."),
        sa.Column("clearing_tx_hash", sa.Text(), nullable=True, comment="Last transaction that cleared packets."),
        sa.Column("error_message", sa.Text(), nullable=True, comment="Why it failed, or failed in part."),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When work on it began."),
        sa.Column("completed_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it ended, in whichever way."),
        sa.Column(
            "duration",
            sa.Interval(),
            sa.Computed("completed_at - started_at", persisted=True),
            nullable=True,
            comment="How long the work took.",
        ),
        sa.Column(
            "deleted_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it was deleted: marked so, and left out of what users see. NULL: it is there.",
        ),
        sa.Column(
            "metadata",
            pgtype("jsonb"),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="What else the application keeps about it.",
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
        sa.PrimaryKeyConstraint("operation_id", name="clearing_operations_pkey"),
        sa.ForeignKeyConstraint(["chain_id"], ["relay.chains.chain_id"], name="fk_clearing_operations_chain", ondelete="RESTRICT"),
        sa.CheckConstraint(
            "length(channel) BETWEEN 8 AND 64 AND channel ~ '^[A-Za-z0-9._+#<>-]*$'",
            name="clearing_operations_channel_form",
        ),
        sa.CheckConstraint(
            "(length(clearing_tx_hash) = 64 AND clearing_tx_hash ~ '^[0-9A-F]*$') OR (length(clearing_tx_hash) = 66 AND clearing_tx_hash ~ '^0x[0-9a-f]*$')",
            name="clearing_operations_clearing_tx_hash_form",
        ),
        sa.CheckConstraint("completed_at >= started_at", name="clearing_operations_ended_order"),
        sa.CheckConstraint(
            "(status IN ('succeeded', 'partial', 'failed', 'cancelled')) = (completed_at IS NOT NULL)",
            name="clearing_operations_ended_when",
        ),
        sa.CheckConstraint("fee_decimals BETWEEN 0 AND 255", name="clearing_operations_fee_decimals_range"),
        sa.CheckConstraint("fee_denom IS NOT NULL OR (service_fee = 0 AND gas_fee = 0)", name="clearing_operations_fee_in_something"),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name="clearing_operations_metadata_object"),
        sa.CheckConstraint(
            "packets_cleared >= 0 AND packets_failed >= 0 AND packets_cleared + packets_failed <= packets_targeted",
            name="clearing_operations_packet_counts",
        ),
        sa.CheckConstraint(
            "(length(payment_tx_hash) = 64 AND payment_tx_hash ~ '^[0-9A-F]*$') OR (length(payment_tx_hash) = 66 AND payment_tx_hash ~ '^0x[0-9a-f]*$')",
            name="clearing_operations_payment_tx_hash_form",
        ),
        sa.CheckConstraint("length(port) BETWEEN 2 AND 128 AND port ~ '^[A-Za-z0-9._+#<>-]*$'", name="clearing_operations_port_form"),
        sa.CheckConstraint(
            "(length(wallet_address) BETWEEN 8 AND 128 AND wallet_address ~ '^[a-z][a-z0-9]*1[02-9ac-hj-np-z]*$') OR (length(wallet_address) = 42 AND wallet_address ~ '^0x[0-9a-f]*$')",
            name="clearing_operations_wallet_address_form",
        ),
        schema="relay",
        comment="One request of a wallet to clear its waiting packets.",
    )
    op.create_index(
        "idx_clearing_operations_open",
        "clearing_operations",
        ["status", "created_at"],
        schema="relay",
        postgresql_where=sa.text("status NOT IN ('succeeded', 'partial', 'failed', 'cancelled') AND deleted_at IS NULL"),
        comment="What a worker takes next, oldest first. Ended operations, nearly all of them, are not in it.",
    )
    op.create_index(
        "idx_clearing_operations_payment",
        "clearing_operations",
        ["chain_id", "payment_tx_hash"],
        schema="relay",
        unique=True,
        postgresql_where=sa.text("payment_tx_hash IS NOT NULL"),
        comment="A payment is found by its transaction, and pays once: deleted operations count too.",
    )
    op.create_index(
        "idx_clearing_operations_wallet_created",
        "clearing_operations",
        ["wallet_address", sa.text("created_at DESC")],
        schema="relay",
        postgresql_include=["operation_id", "status", "packets_cleared"],
        postgresql_where=sa.text("deleted_at IS NULL"),
        comment="A wallet's operations, newest first, as its list shows them: from the index alone, without deleted ones.",
    )
    op.create_index(
        "idx_clearing_operations_wallet_status",
        "clearing_operations",
        ["wallet_address", "status", sa.text("created_at DESC")],
        schema="relay",
        postgresql_where=sa.text("deleted_at IS NULL"),
        comment="A wallet's operations in one status, newest first, without deleted ones.",
    )
    op.create_table(
        "hourly_packet_stats",
        sa.Column("src_chain_id", sa.Text(), nullable=False, comment="Chain the packet was sent from."),
        sa.Column("hour", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the hour, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("packet_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Number of rows of the bucket."),
        sa.Column("clear_time_sum", sa.Numeric(), nullable=True, comment="Sum of clear_time over the bucket."),
        sa.Column(
            "clear_time_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket with clear_time.",
        ),
        sa.Column(
            "avg_clear_time",
            sa.Numeric(),
            sa.Computed("clear_time_sum / NULLIF(clear_time_count, 0)", persisted=True),
            nullable=True,
            comment="Mean seconds until those were closed, from the two.",
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
        sa.PrimaryKeyConstraint("src_chain_id", "hour", name="hourly_packet_stats_pkey"),
        schema="relay",
        comment="One hour of one chain: the packets it sent in that hour, and how long those took to be closed, whenever that was.",
    )
    op.create_index(
        "idx_hourly_packet_stats_hour",
        "hourly_packet_stats",
        ["hour"],
        schema="relay",
        comment="All chains in one hour or several.",
    )
    op.create_table(
        "hourly_packet_stats__carried",
        sa.Column("src_chain_id", sa.Text(), nullable=False, comment="Chain the packet was sent from."),
        sa.Column("hour", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the hour, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("packet_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Number of rows of the bucket."),
        sa.Column("clear_time_sum", sa.Numeric(), nullable=True, comment="Sum of clear_time over the bucket."),
        sa.Column(
            "clear_time_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket with clear_time.",
        ),
        sa.PrimaryKeyConstraint("src_chain_id", "hour", name="hourly_packet_stats__carried_pkey"),
        schema="relay",
        comment="One row per bucket of hourly_packet_stats that rows no longer there have contributed to.",
    )
    op.create_table(
        "network_stats",
        sa.Column("chain_id", sa.Text(), nullable=False, comment="Chain that reports it."),
        sa.Column("date", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the day, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column(
            "total_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('send_packet').",
        ),
        sa.Column(
            "received_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('recv_packet') AND NOT redundant.",
        ),
        sa.Column(
            "acknowledged_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('acknowledge_packet') AND NOT redundant AND success IS NOT false.",
        ),
        sa.Column(
            "failed_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('acknowledge_packet') AND NOT redundant AND success IS false.",
        ),
        sa.Column(
            "timed_out_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "redundant_relays",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where redundant.",
        ),
        sa.Column(
            "clear_time_sum",
            sa.Numeric(),
            nullable=True,
            comment="Sum of elapsed_seconds over the bucket, where event_type IN ('acknowledge_packet', 'timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "clear_time_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket with elapsed_seconds, where event_type IN ('acknowledge_packet', 'timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "gas_used_total",
            sa.Numeric(),
            nullable=True,
            comment="Sum of gas_used over the bucket, where event_type IN ('recv_packet', 'acknowledge_packet', 'timeout_packet').",
        ),
        sa.Column(
            "clear_time_mean",
            sa.Numeric(),
            sa.Computed("clear_time_sum / NULLIF(clear_time_count, 0)", persisted=True),
            nullable=True,
            comment="clear_time_sum divided by clear_time_count.",
        ),
        sa.Column(
            "success_rate",
            sa.Numeric(),
            sa.Computed(
                "acknowledged_packets::numeric / NULLIF((acknowledged_packets + failed_packets + timed_out_packets), 0)",
                persisted=True,
            ),
            nullable=True,
            comment="Share of the packets closed that were accepted, 0 to 1. NULL: none was closed.",
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
        sa.PrimaryKeyConstraint("chain_id", "date", name="network_stats_pkey"),
        schema="relay",
        comment="One day (UTC) of one chain: packets it sent, received and closed, and what relaying them took.",
    )
    op.create_index("idx_network_stats_date", "network_stats", ["date"], schema="relay", comment="All chains on one day or several.")
    op.create_table(
        "network_stats__carried",
        sa.Column("chain_id", sa.Text(), nullable=False, comment="Chain that reports it."),
        sa.Column("date", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the day, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column(
            "total_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('send_packet').",
        ),
        sa.Column(
            "received_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('recv_packet') AND NOT redundant.",
        ),
        sa.Column(
            "acknowledged_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('acknowledge_packet') AND NOT redundant AND success IS NOT false.",
        ),
        sa.Column(
            "failed_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('acknowledge_packet') AND NOT redundant AND success IS false.",
        ),
        sa.Column(
            "timed_out_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "redundant_relays",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where redundant.",
        ),
        sa.Column(
            "clear_time_sum",
            sa.Numeric(),
            nullable=True,
            comment="Sum of elapsed_seconds over the bucket, where event_type IN ('acknowledge_packet', 'timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "clear_time_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket with elapsed_seconds, where event_type IN ('acknowledge_packet', 'timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "gas_used_total",
            sa.Numeric(),
            nullable=True,
            comment="Sum of gas_used over the bucket, where event_type IN ('recv_packet', 'acknowledge_packet', 'timeout_packet').",
        ),
        sa.PrimaryKeyConstraint("chain_id", "date", name="network_stats__carried_pkey"),
        schema="relay",
        comment="One row per bucket of network_stats that rows no longer there have contributed to.",
    )
    op.create_table(
        "packet_events",
        sa.Column("chain_id", sa.Text(), nullable=False, comment="Chain that reports it."),
        sa.Column(
            "tx_hash",
            sa.Text(),
            nullable=False,
            comment="Transaction it happened in; for events of a block itself, the block's hash.",
        ),
        sa.Column(
            "event_index",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="Position among the events of that transaction, from 0.",
        ),
        sa.Column("block_time", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the block."),
        sa.Column("block_height", sa.BigInteger(), nullable=False, comment="Height of the block."),
        sa.Column("block_hash", sa.Text(), nullable=True, comment="Hash of the block. NULL: the source gave transactions without it."),
        sa.Column("event_type", pgtype("relay.packet_event"), nullable=False, comment="What happened."),
        sa.Column("src_chain_id", sa.Text(), nullable=False, comment="Chain the packet was sent from."),
        sa.Column("src_port", sa.Text(), nullable=False, comment="Port it was sent from; transfer for tokens."),
        sa.Column(
            "src_channel",
            sa.Text(),
            nullable=False,
            comment="Channel it was sent through, as the source chain numbers them; for IBC v2 the client.",
        ),
        sa.Column(
            "sequence",
            pgtype("strata.uint64"),
            nullable=False,
            comment="Number of the packet in that channel, over the whole uint64 range.",
        ),
        sa.Column(
            "dst_chain_id",
            sa.Text(),
            nullable=True,
            comment="Chain it goes to. NULL: packets name only its channel, and nobody looked it up.",
        ),
        sa.Column("dst_port", sa.Text(), nullable=True, comment="Port it goes to."),
        sa.Column("dst_channel", sa.Text(), nullable=True, comment="Channel it arrives through, as the destination numbers them."),
        sa.Column(
            "relayer",
            sa.Text(),
            server_default=sa.text("''::text"),
            nullable=False,
            comment="Account that brought the message; empty for what no relayer brings, such as sending.",
        ),
        sa.Column(
            "redundant",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether another relayer was first: the chain reports every repeated delivery and answers it with no operation.",
        ),
        sa.Column(
            "success",
            sa.Boolean(),
            nullable=True,
            comment="Whether the receiving application accepted it. NULL: the event does not say.",
        ),
        sa.Column(
            "sent_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the packet was sent, on events after that, where the writer knows it.",
        ),
        sa.Column(
            "elapsed_seconds",
            sa.Numeric(),
            sa.Computed("CASE WHEN sent_at IS NOT NULL THEN GREATEST(EXTRACT(epoch FROM block_time - sent_at), 0) END", persisted=True),
            nullable=True,
            comment="Seconds since it was sent. Two chains' clocks may disagree a little, so never below 0.",
        ),
        sa.Column("ordering", pgtype("relay.channel_ordering"), nullable=True, comment="Whether its channel keeps the order of packets."),
        sa.Column(
            "timeout_height",
            pgtype("strata.uint64"),
            server_default=sa.text("0"),
            nullable=False,
            comment="Height of the destination at which it expires; 0: none.",
        ),
        sa.Column(
            "timeout_revision",
            pgtype("strata.uint64"),
            server_default=sa.text("0"),
            nullable=False,
            comment="Revision that height belongs to.",
        ),
        sa.Column(
            "timeout_timestamp",
            pgtype("strata.uint64"),
            server_default=sa.text("0"),
            nullable=False,
            comment="When it expires, nanoseconds since 1970; 0: never.",
        ),
        sa.Column("denom", sa.Text(), nullable=True, comment="What a token transfer moves, as the packet names it."),
        sa.Column("amount", pgtype("strata.uint256"), nullable=True, comment="How much of it, in its smallest units, exact up to uint256."),
        sa.Column("sender", sa.Text(), nullable=True, comment="Who sends it. As the packet says, which no chain checks."),
        sa.Column("receiver", sa.Text(), nullable=True, comment="Who is to get it. As the packet says: it may be nonsense."),
        sa.Column("memo", sa.Text(), nullable=True, comment="Note of the transfer; other protocols put instructions here."),
        sa.Column(
            "packet_data",
            sa.LargeBinary(),
            nullable=True,
            comment="What the packet carries, byte for byte, whatever its application. What a token transfer says in it stands in columns too.",
        ),
        sa.Column("gas_used", sa.BigInteger(), nullable=True, comment="Gas of the transaction, shared out over its packet messages."),
        sa.Column("fee_denom", sa.Text(), nullable=True, comment="What its fee was paid in."),
        sa.Column(
            "fee_amount",
            pgtype("strata.uint256"),
            nullable=True,
            comment="Fee of the transaction, shared out likewise, smallest units.",
        ),
        sa.Column(
            "final",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="Whether no reorg can undo it. A CometBFT block is final once made; other chains say so later.",
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was first written; never changes.",
        ),
        sa.PrimaryKeyConstraint("chain_id", "tx_hash", "event_index", "block_time", name="packet_events_pkey"),
        sa.CheckConstraint(
            "(length(block_hash) = 64 AND block_hash ~ '^[0-9A-F]*$') OR (length(block_hash) = 66 AND block_hash ~ '^0x[0-9a-f]*$')",
            name="packet_events_block_hash_form",
        ),
        sa.CheckConstraint(
            "length(chain_id) BETWEEN 2 AND 50 AND chain_id ~ '^[A-Za-z0-9][A-Za-z0-9_.-]*$'",
            name="packet_events_chain_id_form",
        ),
        sa.CheckConstraint(
            "length(dst_chain_id) BETWEEN 2 AND 50 AND dst_chain_id ~ '^[A-Za-z0-9][A-Za-z0-9_.-]*$'",
            name="packet_events_dst_chain_id_form",
        ),
        sa.CheckConstraint(
            "length(dst_channel) BETWEEN 8 AND 64 AND dst_channel ~ '^[A-Za-z0-9._+#<>-]*$'",
            name="packet_events_dst_channel_form",
        ),
        sa.CheckConstraint("length(dst_port) BETWEEN 2 AND 128 AND dst_port ~ '^[A-Za-z0-9._+#<>-]*$'", name="packet_events_dst_port_form"),
        sa.CheckConstraint("gas_used >= 0", name="packet_events_gas_used_range"),
        sa.CheckConstraint(
            "chain_id = CASE WHEN event_type IN ('recv_packet', 'write_acknowledgement') THEN dst_chain_id ELSE src_chain_id END",
            name="packet_events_on_its_chain",
        ),
        sa.CheckConstraint("event_index >= 0 AND block_height > 0", name="packet_events_position"),
        sa.CheckConstraint(
            "NOT redundant OR event_type NOT IN ('send_packet', 'write_acknowledgement')",
            name="packet_events_redundant_message",
        ),
        sa.CheckConstraint(
            "(relayer = '') OR (length(relayer) BETWEEN 8 AND 128 AND relayer ~ '^[a-z][a-z0-9]*1[02-9ac-hj-np-z]*$') OR (length(relayer) = 42 AND relayer ~ '^0x[0-9a-f]*$')",
            name="packet_events_relayer_form",
        ),
        sa.CheckConstraint("event_type <> 'send_packet' OR (relayer = '' AND sent_at IS NULL)", name="packet_events_sent_by_sender"),
        sa.CheckConstraint(
            "length(src_chain_id) BETWEEN 2 AND 50 AND src_chain_id ~ '^[A-Za-z0-9][A-Za-z0-9_.-]*$'",
            name="packet_events_src_chain_id_form",
        ),
        sa.CheckConstraint(
            "length(src_channel) BETWEEN 8 AND 64 AND src_channel ~ '^[A-Za-z0-9._+#<>-]*$'",
            name="packet_events_src_channel_form",
        ),
        sa.CheckConstraint("length(src_port) BETWEEN 2 AND 128 AND src_port ~ '^[A-Za-z0-9._+#<>-]*$'", name="packet_events_src_port_form"),
        sa.CheckConstraint(
            "success IS NULL OR event_type IN ('write_acknowledgement', 'acknowledge_packet')",
            name="packet_events_success_of_acknowledgement",
        ),
        sa.CheckConstraint(
            "(length(tx_hash) = 64 AND tx_hash ~ '^[0-9A-F]*$') OR (length(tx_hash) = 66 AND tx_hash ~ '^0x[0-9a-f]*$')",
            name="packet_events_tx_hash_form",
        ),
        schema="relay",
        comment="One event that a chain reports of a packet.",
        postgresql_partition_by="RANGE (block_time)",
    )
    op.create_index(
        "idx_packet_events_chain_time",
        "packet_events",
        ["chain_id", "block_time"],
        schema="relay",
        comment="What happened on one chain in a span of time, as roll-ups read it.",
    )
    op.create_index(
        "idx_packet_events_packet",
        "packet_events",
        ["src_chain_id", "src_port", "src_channel", "sequence"],
        schema="relay",
        comment="All that happened to one packet, and to the packets of one channel.",
    )
    op.create_index(
        "idx_packet_events_relayer",
        "packet_events",
        ["relayer", "block_time"],
        schema="relay",
        postgresql_where=sa.text("relayer <> ''"),
        comment="What a relayer did lately. Sendings have none and are left out.",
    )
    op.create_index(
        "idx_packet_events_unfinal",
        "packet_events",
        ["chain_id", "block_height"],
        schema="relay",
        postgresql_where=sa.text("NOT final"),
        comment="What a reorg of a chain undoes. Empty for chains whose blocks are final once made.",
    )
    op.create_table(
        "packet_events__dirty",
        sa.Column("chain_id", sa.Text(), nullable=True, comment="The chain_id touched; NULL for all."),
        sa.Column("src_chain_id", sa.Text(), nullable=True, comment="The src_chain_id touched; NULL for all."),
        sa.Column("src_port", sa.Text(), nullable=True, comment="The src_port touched; NULL for all."),
        sa.Column("src_channel", sa.Text(), nullable=True, comment="The src_channel touched; NULL for all."),
        sa.Column("relayer", sa.Text(), nullable=True, comment="The relayer touched; NULL for all."),
        sa.Column("lo", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the range touched."),
        sa.Column("hi", sa.TIMESTAMP(timezone=True), nullable=False, comment="End of the range touched, exclusive."),
        sa.Column(
            "marked_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the writer touched it.",
        ),
        schema="relay",
        comment="One row per range of packet_events whose roll-ups are behind.",
    )
    op.create_table(
        "packet_flow",
        sa.Column("src_chain_id", sa.Text(), nullable=False, comment="Chain the packet was sent from."),
        sa.Column("src_port", sa.Text(), nullable=False, comment="Port it was sent from; transfer for tokens."),
        sa.Column(
            "src_channel",
            sa.Text(),
            nullable=False,
            comment="Channel it was sent through, as the source chain numbers them; for IBC v2 the client.",
        ),
        sa.Column(
            "sequence",
            pgtype("strata.uint64"),
            nullable=False,
            comment="Number of the packet in that channel, over the whole uint64 range.",
        ),
        sa.Column(
            "dst_chain_id",
            sa.Text(),
            nullable=True,
            comment="Chain it goes to. NULL: packets name only its channel, and nobody looked it up.",
        ),
        sa.Column("dst_port", sa.Text(), nullable=True, comment="Port it goes to."),
        sa.Column("dst_channel", sa.Text(), nullable=True, comment="Channel it arrives through, as the destination numbers them."),
        sa.Column(
            "channel",
            sa.Text(),
            sa.Computed("src_channel", persisted=True),
            nullable=False,
            comment="The channel it was sent through, by its short name.",
        ),
        sa.Column(
            "status",
            pgtype("relay.packet_status"),
            server_default=sa.text("'pending'::relay.packet_status"),
            nullable=False,
            comment="Where the packet is.",
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When it was sent; until the sending is known, the earliest that is known of it.",
        ),
        sa.Column(
            "sent_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the block it was sent in. NULL: that event has not been seen.",
        ),
        sa.Column(
            "received_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the block that received it first, by the clock of the destination.",
        ),
        sa.Column(
            "acknowledged_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the block of the source that took the acknowledgement.",
        ),
        sa.Column(
            "timed_out_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the block of the source that took the proof of its timeout.",
        ),
        sa.Column(
            "cleared_at",
            sa.TIMESTAMP(timezone=True),
            sa.Computed("LEAST(acknowledged_at, timed_out_at)", persisted=True),
            nullable=True,
            comment="When the source closed the packet, acknowledged or timed out. NULL: open.",
        ),
        sa.Column(
            "clear_time",
            sa.Numeric(),
            sa.Computed(
                "CASE WHEN LEAST(acknowledged_at, timed_out_at) IS NOT NULL THEN GREATEST(EXTRACT(epoch FROM LEAST(acknowledged_at, timed_out_at) - created_at), 0) END",
                persisted=True,
            ),
            nullable=True,
            comment="Seconds from sending until the source closed the packet. NULL: open.",
        ),
        sa.Column(
            "stuck_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it was found stuck; NULL again as soon as it moves.",
        ),
        sa.Column("success", sa.Boolean(), nullable=True, comment="Whether the receiving application accepted it. NULL: not known."),
        sa.Column(
            "relayer",
            sa.Text(),
            nullable=True,
            comment="Who delivered it first. NULL: not delivered, or only repeated deliveries were seen.",
        ),
        sa.Column("received_tx_hash", sa.Text(), nullable=True, comment="Transaction that delivered it."),
        sa.Column(
            "redundant_relays",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Deliveries by relayers that came too late.",
        ),
        sa.Column("ordering", pgtype("relay.channel_ordering"), nullable=True, comment="Whether its channel keeps the order of packets."),
        sa.Column(
            "timeout_height",
            pgtype("strata.uint64"),
            server_default=sa.text("0"),
            nullable=False,
            comment="Height of the destination at which it expires; 0: none.",
        ),
        sa.Column(
            "timeout_revision",
            pgtype("strata.uint64"),
            server_default=sa.text("0"),
            nullable=False,
            comment="Revision that height belongs to.",
        ),
        sa.Column(
            "timeout_timestamp",
            pgtype("strata.uint64"),
            server_default=sa.text("0"),
            nullable=False,
            comment="When it expires, nanoseconds since 1970; 0: never.",
        ),
        sa.Column("denom", sa.Text(), nullable=True, comment="What a token transfer moves, as the packet names it."),
        sa.Column("amount", pgtype("strata.uint256"), nullable=True, comment="How much of it, in its smallest units, exact up to uint256."),
        sa.Column("sender", sa.Text(), nullable=True, comment="Who sends it. As the packet says, which no chain checks."),
        sa.Column("receiver", sa.Text(), nullable=True, comment="Who is to get it. As the packet says: it may be nonsense."),
        sa.Column("memo", sa.Text(), nullable=True, comment="Note of the transfer; other protocols put instructions here."),
        sa.Column(
            "timeout_at",
            sa.TIMESTAMP(timezone=True),
            sa.Computed(
                "CASE WHEN timeout_timestamp > 0 THEN to_timestamp((timeout_timestamp / 1000000000)::double precision) END",
                persisted=True,
            ),
            nullable=True,
            comment="When it expires, for people and for ordering; timeout_timestamp is the exact number.",
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was last written.",
        ),
        sa.PrimaryKeyConstraint("src_chain_id", "src_port", "src_channel", "sequence", name="packet_flow_pkey"),
        sa.CheckConstraint(
            "length(dst_chain_id) BETWEEN 2 AND 50 AND dst_chain_id ~ '^[A-Za-z0-9][A-Za-z0-9_.-]*$'",
            name="packet_flow_dst_chain_id_form",
        ),
        sa.CheckConstraint(
            "length(dst_channel) BETWEEN 8 AND 64 AND dst_channel ~ '^[A-Za-z0-9._+#<>-]*$'",
            name="packet_flow_dst_channel_form",
        ),
        sa.CheckConstraint("length(dst_port) BETWEEN 2 AND 128 AND dst_port ~ '^[A-Za-z0-9._+#<>-]*$'", name="packet_flow_dst_port_form"),
        sa.CheckConstraint("redundant_relays >= 0", name="packet_flow_redundant_relays_range"),
        sa.CheckConstraint(
            "length(src_chain_id) BETWEEN 2 AND 50 AND src_chain_id ~ '^[A-Za-z0-9][A-Za-z0-9_.-]*$'",
            name="packet_flow_src_chain_id_form",
        ),
        sa.CheckConstraint(
            "length(src_channel) BETWEEN 8 AND 64 AND src_channel ~ '^[A-Za-z0-9._+#<>-]*$'",
            name="packet_flow_src_channel_form",
        ),
        sa.CheckConstraint("length(src_port) BETWEEN 2 AND 128 AND src_port ~ '^[A-Za-z0-9._+#<>-]*$'", name="packet_flow_src_port_form"),
        sa.CheckConstraint(
            "(status IN ('acknowledged', 'failed')) = (acknowledged_at IS NOT NULL)",
            name="packet_flow_status_acknowledged",
        ),
        sa.CheckConstraint("(status = 'failed') = (acknowledged_at IS NOT NULL AND success IS FALSE)", name="packet_flow_status_failed"),
        sa.CheckConstraint("status <> 'pending' OR received_at IS NULL", name="packet_flow_status_pending"),
        sa.CheckConstraint("status <> 'received' OR received_at IS NOT NULL", name="packet_flow_status_received"),
        sa.CheckConstraint(
            "(status = 'timed_out') = (timed_out_at IS NOT NULL AND acknowledged_at IS NULL)",
            name="packet_flow_status_timed_out",
        ),
        sa.CheckConstraint("stuck_at IS NULL OR status = 'stuck'", name="packet_flow_stuck_since"),
        schema="relay",
        comment="One packet and where it is.",
    )
    op.create_index(
        "idx_packet_flow_chain_created",
        "packet_flow",
        ["src_chain_id", "created_at"],
        schema="relay",
        postgresql_include=["status", "clear_time"],
        comment="Counts and clearing times of a chain over a span of time, from the index alone: hourly figures and the health score.",
    )
    op.create_index(
        "idx_packet_flow_channel_sequence",
        "packet_flow",
        ["channel", "sequence"],
        schema="relay",
        comment="A packet by channel and sequence alone, as explorers print them; several chains may have one.",
    )
    op.create_index(
        "idx_packet_flow_destination",
        "packet_flow",
        ["dst_chain_id", "dst_port", "dst_channel", "sequence"],
        schema="relay",
        comment="A packet as its destination names it.",
    )
    op.create_index(
        "idx_packet_flow_open",
        "packet_flow",
        ["src_chain_id", "src_port", "src_channel", "sequence"],
        schema="relay",
        postgresql_include=["status", "created_at", "timeout_at"],
        postgresql_where=sa.text("status IN ('pending', 'received', 'stuck')"),
        comment="What still waits in a channel, in order, from the index alone. Ended packets, nearly all, are not in it.",
    )
    op.create_index(
        "idx_packet_flow_receiver",
        "packet_flow",
        ["receiver", sa.text("created_at DESC")],
        schema="relay",
        postgresql_where=sa.text("receiver IS NOT NULL"),
        comment="What somebody was sent, newest first.",
    )
    op.create_index(
        "idx_packet_flow_sender",
        "packet_flow",
        ["sender", sa.text("created_at DESC")],
        schema="relay",
        postgresql_where=sa.text("sender IS NOT NULL"),
        comment="What somebody sent, newest first.",
    )
    op.create_index(
        "idx_packet_flow_status_created",
        "packet_flow",
        ["status", sa.text("created_at DESC")],
        schema="relay",
        comment="Packets of one status by when they were sent: the stuck ones of a day, the failures of a week.",
    )
    op.create_index(
        "idx_packet_flow_timeout",
        "packet_flow",
        ["timeout_at"],
        schema="relay",
        postgresql_where=sa.text("status IN ('pending', 'received', 'stuck') AND timeout_at IS NOT NULL"),
        comment="Open packets that expire soonest, which a relayer takes first.",
    )
    op.create_table(
        "packet_flow__dirty",
        sa.Column("src_chain_id", sa.Text(), nullable=True, comment="The src_chain_id touched; NULL for all."),
        sa.Column("lo", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the range touched."),
        sa.Column("hi", sa.TIMESTAMP(timezone=True), nullable=False, comment="End of the range touched, exclusive."),
        sa.Column(
            "marked_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the writer touched it.",
        ),
        schema="relay",
        comment="One row per range of packet_flow whose roll-ups are behind.",
    )
    op.create_table(
        "relayer_performance",
        sa.Column("chain_id", sa.Text(), nullable=False, comment="Chain that reports it."),
        sa.Column(
            "relayer",
            sa.Text(),
            nullable=False,
            comment="Account that brought the message; empty for what no relayer brings, such as sending.",
        ),
        sa.Column("date", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the day, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("relayed_packets", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Number of rows of the bucket."),
        sa.Column(
            "effective_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where NOT redundant.",
        ),
        sa.Column(
            "frontrun_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where redundant.",
        ),
        sa.Column(
            "received_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('recv_packet') AND NOT redundant.",
        ),
        sa.Column(
            "acknowledged_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('acknowledge_packet') AND NOT redundant.",
        ),
        sa.Column(
            "timed_out_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "relay_time_sum",
            sa.Numeric(),
            nullable=True,
            comment="Sum of elapsed_seconds over the bucket, where event_type IN ('recv_packet') AND NOT redundant.",
        ),
        sa.Column(
            "relay_time_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket with elapsed_seconds, where event_type IN ('recv_packet') AND NOT redundant.",
        ),
        sa.Column("gas_used_total", sa.Numeric(), nullable=True, comment="Sum of gas_used over the bucket."),
        sa.Column("gas_wasted", sa.Numeric(), nullable=True, comment="Sum of gas_used over the bucket, where redundant."),
        sa.Column(
            "relay_time_mean",
            sa.Numeric(),
            sa.Computed("relay_time_sum / NULLIF(relay_time_count, 0)", persisted=True),
            nullable=True,
            comment="relay_time_sum divided by relay_time_count.",
        ),
        sa.Column(
            "effective_rate",
            sa.Numeric(),
            sa.Computed("effective_packets::numeric / NULLIF(relayed_packets, 0)", persisted=True),
            nullable=True,
            comment="Share of its messages that were first, 0 to 1.",
        ),
        sa.Column(
            "reputation_score",
            sa.Numeric(5, 2),
            sa.Computed(
                "round(100 * (0.7 * (effective_packets + 5)::numeric / (relayed_packets + 10) + 0.3 * (CASE WHEN relay_time_count > 0 THEN 60 / GREATEST(relay_time_sum / relay_time_count, 60) ELSE 0.5 END)), 2)",
                persisted=True,
            ),
            nullable=True,
            comment="0 to 100: how often it is first, and how soon it delivers.",
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
        sa.PrimaryKeyConstraint("chain_id", "relayer", "date", name="relayer_performance_pkey"),
        sa.CheckConstraint("reputation_score BETWEEN 0 AND 100", name="relayer_performance_reputation_range"),
        schema="relay",
        comment="One day (UTC) of one relayer on one chain: what it brought, how often another got there first, how fast it was.",
    )
    op.create_index(
        "idx_relayer_performance_relayer",
        "relayer_performance",
        ["relayer", "date"],
        schema="relay",
        comment="How one relayer did over time, on whatever chain.",
    )
    op.create_index(
        "idx_relayer_performance_reputation",
        "relayer_performance",
        ["date", sa.text("reputation_score DESC")],
        schema="relay",
        postgresql_include=["chain_id", "relayer", "relayed_packets"],
        comment="The best relayers of a day, from the index alone.",
    )
    op.create_table(
        "relayer_performance__carried",
        sa.Column("chain_id", sa.Text(), nullable=False, comment="Chain that reports it."),
        sa.Column(
            "relayer",
            sa.Text(),
            nullable=False,
            comment="Account that brought the message; empty for what no relayer brings, such as sending.",
        ),
        sa.Column("date", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the day, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("relayed_packets", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Number of rows of the bucket."),
        sa.Column(
            "effective_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where NOT redundant.",
        ),
        sa.Column(
            "frontrun_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where redundant.",
        ),
        sa.Column(
            "received_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('recv_packet') AND NOT redundant.",
        ),
        sa.Column(
            "acknowledged_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('acknowledge_packet') AND NOT redundant.",
        ),
        sa.Column(
            "timed_out_packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where event_type IN ('timeout_packet') AND NOT redundant.",
        ),
        sa.Column(
            "relay_time_sum",
            sa.Numeric(),
            nullable=True,
            comment="Sum of elapsed_seconds over the bucket, where event_type IN ('recv_packet') AND NOT redundant.",
        ),
        sa.Column(
            "relay_time_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket with elapsed_seconds, where event_type IN ('recv_packet') AND NOT redundant.",
        ),
        sa.Column("gas_used_total", sa.Numeric(), nullable=True, comment="Sum of gas_used over the bucket."),
        sa.Column("gas_wasted", sa.Numeric(), nullable=True, comment="Sum of gas_used over the bucket, where redundant."),
        sa.PrimaryKeyConstraint("chain_id", "relayer", "date", name="relayer_performance__carried_pkey"),
        schema="relay",
        comment="One row per bucket of relayer_performance that rows no longer there have contributed to.",
    )
    op.create_function(
        "relay.calculate_network_health_score(chain text, at timestamp with time zone)",
        """
CREATE FUNCTION relay.calculate_network_health_score(chain text, at timestamptz DEFAULT now()) RETURNS numeric
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog
RETURN (
    SELECT CASE
        WHEN packets = 0 THEN NULL
        WHEN closed = 0 THEN round(100 * (1 - stuck::numeric / packets), 2)
        ELSE round(
            100 * (
                0.5 * accepted / closed
                + 0.3 * (1 - stuck::numeric / packets)
                + 0.2 * 60 / greatest(clear_time, 60)
            ),
            2
        )
    END
    FROM (
        SELECT
            count(*) AS packets,
            count(*) FILTER (WHERE status = 'stuck') AS stuck,
            count(*) FILTER (WHERE status = 'acknowledged') AS accepted,
            count(clear_time) AS closed,
            avg(clear_time) AS clear_time
        FROM (
            SELECT status, clear_time FROM relay.packet_flow
            WHERE src_chain_id = chain AND created_at > at - interval '24 hours' AND created_at <= at
            UNION ALL
            SELECT status, NULL FROM relay.packet_flow
            WHERE src_chain_id = chain AND created_at <= at - interval '24 hours' AND status IN ('pending', 'received', 'stuck')
        ) AS considered
    ) AS counted
);
""",
        comment="A chain's health from 0 to 100: half success, three tenths flow, two tenths speed, over the packets it sent in the 24 hours before and those still open. NULL for a chain without such packets: of it nothing is known.",
    )
    op.create_function(
        "relay.mark_stuck_packets(waiting interval, at timestamp with time zone)",
        """
CREATE FUNCTION relay.mark_stuck_packets(waiting interval DEFAULT '30 minutes', at timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog
BEGIN ATOMIC
    WITH waited AS (
        SELECT src_chain_id, src_port, src_channel, sequence
        FROM relay.packet_flow
        WHERE status IN ('pending', 'received') AND created_at < at - waiting AND greatest(created_at, received_at) < at - waiting
        ORDER BY src_chain_id, src_port, src_channel, sequence
        -- What is being written at this moment moves, so it is not stuck.
        FOR NO KEY UPDATE SKIP LOCKED
    ),
    marked AS (
        UPDATE relay.packet_flow AS p SET status = 'stuck', stuck_at = at
        FROM waited
        WHERE (p.src_chain_id, p.src_port, p.src_channel, p.sequence)
            = (waited.src_chain_id, waited.src_port, waited.src_channel, waited.sequence)
        RETURNING 1
    )
    SELECT count(*) FROM marked;
END;
""",
        comment="Marks as stuck what has waited too long since it was sent or received, and returns how many were newly marked. A packet that moves again loses the mark by itself.",
    )
    op.create_function(
        "relay.packet_events__mark()",
        """
CREATE FUNCTION "relay"."packet_events__mark"() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
    INSERT INTO "relay"."packet_events__dirty" ("chain_id", "src_chain_id", "src_port", "src_channel", "relayer", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "chain_id", "src_chain_id", "src_port", "src_channel", "relayer", date_bin('3600 seconds'::interval, "block_time", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM new_rows),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{relay.packet_events.network_stats,relay.packet_events.channel_performance,relay.packet_events.relayer_performance}')
                 )
             )
        SELECT "chain_id", "src_chain_id", "src_port", "src_channel", "relayer", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::TEXT, NULL::TEXT, NULL::TEXT, NULL::TEXT, NULL::TEXT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO "relay"."packet_events__dirty" ("chain_id", "src_chain_id", "src_port", "src_channel", "relayer", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "chain_id", "src_chain_id", "src_port", "src_channel", "relayer", date_bin('3600 seconds'::interval, "block_time", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM old_rows),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{relay.packet_events.network_stats,relay.packet_events.channel_performance,relay.packet_events.relayer_performance}')
                 )
             )
        SELECT "chain_id", "src_chain_id", "src_port", "src_channel", "relayer", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::TEXT, NULL::TEXT, NULL::TEXT, NULL::TEXT, NULL::TEXT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO "relay"."packet_events__dirty" ("chain_id", "src_chain_id", "src_port", "src_channel", "relayer", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "chain_id", "src_chain_id", "src_port", "src_channel", "relayer", date_bin('3600 seconds'::interval, "block_time", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM (TABLE new_rows UNION ALL TABLE old_rows) AS touched),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{relay.packet_events.network_stats,relay.packet_events.channel_performance,relay.packet_events.relayer_performance}')
                 )
             )
        SELECT "chain_id", "src_chain_id", "src_port", "src_channel", "relayer", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::TEXT, NULL::TEXT, NULL::TEXT, NULL::TEXT, NULL::TEXT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSE
        INSERT INTO "relay"."packet_events__dirty" (lo, hi) VALUES ('-infinity', 'infinity');
    END IF;
    RETURN NULL;
END
$$
""",
        comment="Marks the roll-ups of relay.packet_events that a statement touched.",
    )
    op.create_function(
        "relay.packet_flow__mark()",
        """
CREATE FUNCTION "relay"."packet_flow__mark"() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
    INSERT INTO "relay"."packet_flow__dirty" ("src_chain_id", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "src_chain_id", date_bin('3600 seconds'::interval, "created_at", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM new_rows),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{relay.packet_flow.hourly_stats}')
                 )
             )
        SELECT "src_chain_id", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::TEXT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO "relay"."packet_flow__dirty" ("src_chain_id", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "src_chain_id", date_bin('3600 seconds'::interval, "created_at", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM old_rows),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{relay.packet_flow.hourly_stats}')
                 )
             )
        SELECT "src_chain_id", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::TEXT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO "relay"."packet_flow__dirty" ("src_chain_id", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "src_chain_id", date_bin('3600 seconds'::interval, "created_at", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM (TABLE new_rows UNION ALL TABLE old_rows) AS touched),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{relay.packet_flow.hourly_stats}')
                 )
             )
        SELECT "src_chain_id", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::TEXT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSE
        INSERT INTO "relay"."packet_flow__dirty" (lo, hi) VALUES ('-infinity', 'infinity');
    END IF;
    RETURN NULL;
END
$$
""",
        comment="Marks the roll-ups of relay.packet_flow that a statement touched.",
    )
    op.create_function(
        "relay.packet_flow_fold()",
        """
CREATE FUNCTION relay.packet_flow_fold() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    -- %1$s: the events. %2$s: what holds for created_at of a packet known already. Packets are taken in the order of their key,
    -- so that collectors of two chains wait for each other instead of deadlocking.
    fold CONSTANT text := $fold$
        INSERT INTO relay.packet_flow AS p (
            src_chain_id, src_port, src_channel, sequence, dst_chain_id, dst_port, dst_channel,
            status, created_at, sent_at, received_at, acknowledged_at, timed_out_at, success, relayer, received_tx_hash, redundant_relays,
            ordering, timeout_height, timeout_revision, timeout_timestamp, denom, amount, sender, receiver, memo
        )
        SELECT
            src_chain_id, src_port, src_channel, sequence, dst_chain_id, dst_port, dst_channel,
            relay.packet_status(received_at, acknowledged_at, success, timed_out_at),
            created_at, sent_at, received_at, acknowledged_at, timed_out_at, success, relayer, received_tx_hash, redundant_relays,
            ordering, timeout_height, timeout_revision, timeout_timestamp, denom, amount, sender, receiver, memo
        FROM (
            SELECT
                src_chain_id, src_port, src_channel, sequence,
                max(dst_chain_id) AS dst_chain_id, max(dst_port) AS dst_port, max(dst_channel) AS dst_channel,
                coalesce(
                    min(block_time) FILTER (WHERE event_type = 'send_packet'), min(coalesce(sent_at, block_time))
                ) AS created_at,
                min(block_time) FILTER (WHERE event_type = 'send_packet') AS sent_at,
                (array_agg(block_time ORDER BY redundant, block_time, tx_hash) FILTER (WHERE event_type = 'recv_packet'))[1]
                    AS received_at,
                min(block_time) FILTER (WHERE event_type = 'acknowledge_packet') AS acknowledged_at,
                min(block_time) FILTER (WHERE event_type = 'timeout_packet') AS timed_out_at,
                bool_and(success) AS success,
                (array_agg(CASE WHEN NOT redundant THEN relayer END ORDER BY redundant, block_time, tx_hash)
                    FILTER (WHERE event_type = 'recv_packet'))[1] AS relayer,
                (array_agg(tx_hash ORDER BY redundant, block_time, tx_hash) FILTER (WHERE event_type = 'recv_packet'))[1]
                    AS received_tx_hash,
                count(*) FILTER (WHERE event_type = 'recv_packet' AND redundant) AS redundant_relays,
                max(ordering) AS ordering,
                max(timeout_height) AS timeout_height, max(timeout_revision) AS timeout_revision,
                max(timeout_timestamp) AS timeout_timestamp,
                max(denom) AS denom, max(amount) AS amount, max(sender) AS sender, max(receiver) AS receiver, max(memo) AS memo
            FROM %1$s AS e
            GROUP BY src_chain_id, src_port, src_channel, sequence
        ) AS told
        ORDER BY src_chain_id, src_port, src_channel, sequence
        ON CONFLICT (src_chain_id, src_port, src_channel, sequence) DO UPDATE SET
            dst_chain_id = greatest(p.dst_chain_id, excluded.dst_chain_id),
            dst_port = greatest(p.dst_port, excluded.dst_port),
            dst_channel = greatest(p.dst_channel, excluded.dst_channel),
            status = CASE
                WHEN p.status = 'stuck' AND num_nulls(excluded.acknowledged_at, excluded.timed_out_at) = 2
                    AND (excluded.received_at IS NULL OR p.received_at IS NOT NULL) THEN p.status
                ELSE relay.packet_status(
                    coalesce(p.received_at, excluded.received_at), least(p.acknowledged_at, excluded.acknowledged_at),
                    least(p.success, excluded.success), least(p.timed_out_at, excluded.timed_out_at)
                )
            END,
            stuck_at = CASE
                WHEN num_nulls(excluded.acknowledged_at, excluded.timed_out_at) = 2
                    AND (excluded.received_at IS NULL OR p.received_at IS NOT NULL) THEN p.stuck_at
            END,
            created_at = coalesce(least(p.sent_at, excluded.sent_at), %2$s),
            sent_at = least(p.sent_at, excluded.sent_at),
            (received_at, relayer, received_tx_hash) = (
                SELECT earlier.received_at, earlier.relayer, earlier.received_tx_hash
                FROM (VALUES
                    (p.received_at, p.relayer, p.received_tx_hash),
                    (excluded.received_at, excluded.relayer, excluded.received_tx_hash)
                ) AS earlier (received_at, relayer, received_tx_hash)
                ORDER BY earlier.received_at IS NULL, earlier.relayer IS NULL, earlier.received_at, earlier.received_tx_hash
                LIMIT 1
            ),
            acknowledged_at = least(p.acknowledged_at, excluded.acknowledged_at),
            timed_out_at = least(p.timed_out_at, excluded.timed_out_at),
            success = least(p.success, excluded.success),
            redundant_relays = p.redundant_relays + excluded.redundant_relays,
            ordering = greatest(p.ordering, excluded.ordering),
            timeout_height = greatest(p.timeout_height, excluded.timeout_height),
            timeout_revision = greatest(p.timeout_revision, excluded.timeout_revision),
            timeout_timestamp = greatest(p.timeout_timestamp, excluded.timeout_timestamp),
            denom = greatest(p.denom, excluded.denom),
            amount = greatest(p.amount, excluded.amount),
            sender = greatest(p.sender, excluded.sender),
            receiver = greatest(p.receiver, excluded.receiver),
            memo = greatest(p.memo, excluded.memo)
    $fold$;
    -- The packets a statement touched, and by which kinds of event.
    touched CONSTANT text := format(
        $touched$(
            SELECT
                src_chain_id, src_port, src_channel, sequence,
                bool_or(event_type = 'send_packet') AS sent,
                bool_or(event_type = 'recv_packet') AS received,
                bool_or(event_type IN ('write_acknowledgement', 'acknowledge_packet')) AS acknowledged,
                bool_or(event_type = 'timeout_packet') AS timed_out
            FROM (TABLE old_rows%s) AS events
            GROUP BY src_chain_id, src_port, src_channel, sequence
        )$touched$,
        CASE TG_OP WHEN 'UPDATE' THEN ' UNION ALL TABLE new_rows' ELSE '' END
    );
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        -- Nothing to do where one statement emptied both; and a table cannot be emptied while its own triggers wait.
        IF EXISTS (SELECT FROM relay.packet_flow) THEN
            TRUNCATE relay.packet_flow;
        END IF;
        RETURN NULL;
    ELSIF TG_OP = 'INSERT' THEN
        EXECUTE format(fold, 'new_rows', 'least(p.created_at, excluded.created_at)');
        RETURN NULL;
    END IF;
    EXECUTE format(
        $back$
            UPDATE relay.packet_flow AS p SET
                sent_at = CASE WHEN NOT t.sent THEN p.sent_at END,
                received_at = CASE WHEN NOT t.received THEN p.received_at END,
                relayer = CASE WHEN NOT t.received THEN p.relayer END,
                received_tx_hash = CASE WHEN NOT t.received THEN p.received_tx_hash END,
                redundant_relays = 0,
                acknowledged_at = CASE WHEN NOT t.acknowledged THEN p.acknowledged_at END,
                success = CASE WHEN NOT t.acknowledged THEN p.success END,
                timed_out_at = CASE WHEN NOT t.timed_out THEN p.timed_out_at END,
                stuck_at = NULL,
                status = relay.packet_status(
                    CASE WHEN NOT t.received THEN p.received_at END,
                    CASE WHEN NOT t.acknowledged THEN p.acknowledged_at END,
                    CASE WHEN NOT t.acknowledged THEN p.success END,
                    CASE WHEN NOT t.timed_out THEN p.timed_out_at END
                )
            FROM %s AS t
            WHERE (p.src_chain_id, p.src_port, p.src_channel, p.sequence) = (t.src_chain_id, t.src_port, t.src_channel, t.sequence)
        $back$,
        touched
    );
    EXECUTE format(
        fold,
        format('(SELECT e.* FROM relay.packet_events AS e JOIN %s AS t USING (src_chain_id, src_port, src_channel, sequence))', touched),
        'excluded.created_at'
    );
    EXECUTE format(
        $gone$
            DELETE FROM relay.packet_flow AS p USING %s AS t
            WHERE (p.src_chain_id, p.src_port, p.src_channel, p.sequence) = (t.src_chain_id, t.src_port, t.src_channel, t.sequence)
                AND num_nulls(p.sent_at, p.received_at, p.acknowledged_at, p.timed_out_at) = 4
                AND NOT EXISTS (
                    SELECT FROM relay.packet_events AS e
                    WHERE (e.src_chain_id, e.src_port, e.src_channel, e.sequence) = (p.src_chain_id, p.src_port, p.src_channel, p.sequence)
                )
        $gone$,
        touched
    );
    RETURN NULL;
END
$$;
""",
        comment="Trigger function: folds events into the packets they are about, in the statement that writes them. Every part of the fold gives the same in whatever order events arrive, and an event seen again changes nothing. A deleted or corrected event is taken back: what it told is folded anew from the events that are still there; what only events told that have left since stays as it is.",
    )
    op.create_function(
        "relay.packet_status(received_at timestamp with time zone, acknowledged_at timestamp with time zone, success boolean, timed_out_at timestamp with time zone)",
        """
CREATE FUNCTION relay.packet_status(
    received_at timestamptz, acknowledged_at timestamptz, success boolean, timed_out_at timestamptz
) RETURNS relay.packet_status
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog
RETURN CASE
    WHEN acknowledged_at IS NOT NULL AND success IS FALSE THEN 'failed'::relay.packet_status
    WHEN acknowledged_at IS NOT NULL THEN 'acknowledged'
    WHEN timed_out_at IS NOT NULL THEN 'timed_out'
    WHEN received_at IS NOT NULL THEN 'received'
    ELSE 'pending'
END;
""",
        comment="Where a packet is, from the facts known of it. An acknowledgement outweighs a timeout: only one of them can be true, and the destination wrote the first. Stuck is no fact of a chain and is added by mark_stuck_packets.",
    )
    op.create_function(
        "relay.soft_delete_operation()",
        """
CREATE FUNCTION relay.soft_delete_operation() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    UPDATE relay.clearing_operations SET deleted_at = clock_timestamp()
    WHERE operation_id = OLD.operation_id AND deleted_at IS NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN OLD;
END
$$;
""",
        comment="Trigger function: a clearing operation deleted from the view of live ones is marked as deleted, and stays.",
    )
    op.create_view(
        "relay.channel_backlog",
        """
CREATE VIEW relay.channel_backlog WITH (security_invoker = true) AS
SELECT
    src_chain_id, src_port, src_channel,
    count(*) AS backlog_size,
    min(sequence) AS backlog_oldest_sequence,
    min(created_at) AS backlog_oldest_at,
    min(timeout_at) AS first_timeout_at,
    count(*) FILTER (WHERE status = 'stuck') AS stuck
FROM relay.packet_flow
WHERE status IN ('pending', 'received', 'stuck')
GROUP BY src_chain_id, src_port, src_channel;
""",
        comment="One channel with open packets: how many, the oldest of them, and how many are stuck. Counted from the packets, so it survives the restart of any relayer.",
    )
    op.create_view(
        "relay.live_clearing_operations",
        """
CREATE VIEW relay.live_clearing_operations WITH (security_invoker = true) AS
SELECT
    operation_id, wallet_address, chain_id, port, channel, status, packets_targeted, packets_cleared, packets_failed,
    fee_denom, fee_decimals, service_fee, gas_fee, payment_tx_hash, clearing_tx_hash, error_message,
    started_at, completed_at, duration, metadata, created_at, updated_at
FROM relay.clearing_operations
WHERE deleted_at IS NULL;
""",
        comment="Clearing operations that were not deleted: what applications read and write.",
    )
    op.create_materialized_view(
        "relay.mv_user_statistics",
        """
CREATE MATERIALIZED VIEW relay.mv_user_statistics AS
WITH paid AS (
    SELECT wallet_address, jsonb_object_agg(fee_denom, units::text) AS fees
    FROM (
        SELECT wallet_address, fee_denom, sum(service_fee + gas_fee) AS units
        FROM relay.clearing_operations
        WHERE deleted_at IS NULL AND fee_denom IS NOT NULL
        GROUP BY wallet_address, fee_denom
    ) AS by_denom
    GROUP BY wallet_address
)
SELECT
    o.wallet_address,
    count(*) AS operations,
    count(*) FILTER (WHERE o.status IN ('succeeded', 'partial')) AS succeeded,
    count(*) FILTER (WHERE o.status = 'failed') AS failed,
    count(*) FILTER (WHERE o.completed_at IS NULL) AS open,
    sum(o.packets_targeted) AS packets_targeted,
    sum(o.packets_cleared) AS packets_cleared,
    sum(o.packets_cleared)::numeric / nullif(sum(o.packets_cleared + o.packets_failed), 0) AS success_rate,
    extract(epoch FROM avg(o.duration)) AS mean_seconds,
    count(DISTINCT o.chain_id) AS chains,
    coalesce(p.fees, '{}'::jsonb) AS fees,
    min(o.created_at) AS first_at,
    max(o.created_at) AS last_at
FROM relay.clearing_operations AS o
LEFT JOIN paid AS p USING (wallet_address)
WHERE o.deleted_at IS NULL
GROUP BY o.wallet_address, p.fees;
""",
        comment="One wallet: its clearing operations, how they went, how long they took, and what it paid. Deleted operations are left out.",
    )
    op.create_index(
        "mv_user_statistics_key",
        "mv_user_statistics",
        ["wallet_address"],
        schema="relay",
        unique=True,
        comment="The statistics of one wallet; and what lets the view be refreshed while it is read.",
    )
    op.create_view(
        "relay.stuck_packets",
        """
CREATE VIEW relay.stuck_packets WITH (security_invoker = true) AS
SELECT
    src_chain_id, src_port, src_channel, sequence, dst_chain_id, dst_port, dst_channel,
    CASE WHEN received_at IS NULL THEN 'delivery' ELSE 'acknowledgement' END AS waits_for,
    created_at, received_at, stuck_at,
    now() - created_at AS waiting,
    timeout_at,
    timeout_at - now() AS expires_in,
    relayer, redundant_relays, denom, amount, sender, receiver,
    format(
        'hermes clear packets --chain %s --port %s --channel %s --packet-sequences %s', src_chain_id, src_port, src_channel, sequence
    ) AS command
FROM relay.packet_flow
WHERE status = 'stuck';
""",
        comment="One open packet found stuck: since when, who tried in vain, how long until it expires, and the command that clears it with Hermes.",
    )
    op.create_trigger(
        "chains__stamp",
        "relay.chains",
        """
CREATE TRIGGER "chains__stamp" BEFORE UPDATE ON "relay"."chains" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of relay.chains was written true.",
    )
    op.create_trigger(
        "channels__stamp",
        "relay.channels",
        """
CREATE TRIGGER "channels__stamp" BEFORE UPDATE ON "relay"."channels" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of relay.channels was written true.",
    )
    op.create_trigger(
        "clearing_operations__stamp",
        "relay.clearing_operations",
        """
CREATE TRIGGER "clearing_operations__stamp" BEFORE UPDATE ON "relay"."clearing_operations" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of relay.clearing_operations was written true.",
    )
    op.create_trigger(
        "live_clearing_operations_delete",
        "relay.live_clearing_operations",
        """
CREATE TRIGGER live_clearing_operations_delete
INSTEAD OF DELETE ON relay.live_clearing_operations
FOR EACH ROW EXECUTE FUNCTION relay.soft_delete_operation();
""",
        comment="DELETE on the live operations marks; on the table itself it removes, which is for those who must erase.",
    )
    op.create_trigger(
        "packet_events__mark_delete",
        "relay.packet_events",
        """
CREATE TRIGGER "packet_events__mark_delete" AFTER DELETE ON "relay"."packet_events" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "relay"."packet_events__mark"()
""",
        comment="Marks the roll-ups of relay.packet_events that a statement touched.",
    )
    op.create_trigger(
        "packet_events__mark_insert",
        "relay.packet_events",
        """
CREATE TRIGGER "packet_events__mark_insert" AFTER INSERT ON "relay"."packet_events" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "relay"."packet_events__mark"()
""",
        comment="Marks the roll-ups of relay.packet_events that a statement touched.",
    )
    op.create_trigger(
        "packet_events__mark_truncate",
        "relay.packet_events",
        """
CREATE TRIGGER "packet_events__mark_truncate" AFTER TRUNCATE ON "relay"."packet_events" FOR EACH STATEMENT EXECUTE FUNCTION "relay"."packet_events__mark"()
""",
        comment="Marks the roll-ups of relay.packet_events that a statement touched.",
    )
    op.create_trigger(
        "packet_events__mark_update",
        "relay.packet_events",
        """
CREATE TRIGGER "packet_events__mark_update" AFTER UPDATE ON "relay"."packet_events" REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "relay"."packet_events__mark"()
""",
        comment="Marks the roll-ups of relay.packet_events that a statement touched.",
    )
    op.create_trigger(
        "packet_flow_fold_delete",
        "relay.packet_events",
        """
CREATE TRIGGER packet_flow_fold_delete
AFTER DELETE ON relay.packet_events
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION relay.packet_flow_fold();
""",
        comment="Events that are taken back, as by a reorg, are taken back from their packets.",
    )
    op.create_trigger(
        "packet_flow_fold_insert",
        "relay.packet_events",
        """
CREATE TRIGGER packet_flow_fold_insert
AFTER INSERT ON relay.packet_events
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION relay.packet_flow_fold();
""",
        comment="Events that are written are folded into their packets.",
    )
    op.create_trigger(
        "packet_flow_fold_truncate",
        "relay.packet_events",
        """
CREATE TRIGGER packet_flow_fold_truncate
AFTER TRUNCATE ON relay.packet_events
FOR EACH STATEMENT EXECUTE FUNCTION relay.packet_flow_fold();
""",
        comment="An emptied stream leaves no packets.",
    )
    op.create_trigger(
        "packet_flow_fold_update",
        "relay.packet_events",
        """
CREATE TRIGGER packet_flow_fold_update
AFTER UPDATE ON relay.packet_events
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION relay.packet_flow_fold();
""",
        comment="Events that are corrected correct their packets.",
    )
    op.create_trigger(
        "packet_flow__mark_delete",
        "relay.packet_flow",
        """
CREATE TRIGGER "packet_flow__mark_delete" AFTER DELETE ON "relay"."packet_flow" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "relay"."packet_flow__mark"()
""",
        comment="Marks the roll-ups of relay.packet_flow that a statement touched.",
    )
    op.create_trigger(
        "packet_flow__mark_insert",
        "relay.packet_flow",
        """
CREATE TRIGGER "packet_flow__mark_insert" AFTER INSERT ON "relay"."packet_flow" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "relay"."packet_flow__mark"()
""",
        comment="Marks the roll-ups of relay.packet_flow that a statement touched.",
    )
    op.create_trigger(
        "packet_flow__mark_truncate",
        "relay.packet_flow",
        """
CREATE TRIGGER "packet_flow__mark_truncate" AFTER TRUNCATE ON "relay"."packet_flow" FOR EACH STATEMENT EXECUTE FUNCTION "relay"."packet_flow__mark"()
""",
        comment="Marks the roll-ups of relay.packet_flow that a statement touched.",
    )
    op.create_trigger(
        "packet_flow__mark_update",
        "relay.packet_flow",
        """
CREATE TRIGGER "packet_flow__mark_update" AFTER UPDATE ON "relay"."packet_flow" REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "relay"."packet_flow__mark"()
""",
        comment="Marks the roll-ups of relay.packet_flow that a statement touched.",
    )
    op.create_trigger(
        "packet_flow__stamp",
        "relay.packet_flow",
        """
CREATE TRIGGER "packet_flow__stamp" BEFORE UPDATE ON "relay"."packet_flow" FOR EACH ROW EXECUTE FUNCTION "strata"."touch_updated_at"()
""",
        comment="Keeps the times a row of relay.packet_flow was written true.",
    )
    op.set_policy("relay.chains", {"conflict": {"policy": "merge"}, "entity": ["chain_id"], "table": "relay.chains"})
    op.set_policy(
        "relay.channels",
        {
            "conflict": {"policy": "merge"},
            "entity": ["chain_id", "port", "channel"],
            "parents": [
                {"columns": [["chain_id", "chain_id"]], "dataset": "relay.chains"},
                {"columns": [["counterparty_chain_id", "chain_id"]], "dataset": "relay.chains"},
            ],
            "table": "relay.channels",
        },
    )
    op.set_policy(
        "relay.clearing_operations",
        {
            "cache": {"tags": ["wallet:{wallet_address}"], "ttl": "5 minutes"},
            "conflict": {"policy": "merge"},
            "entity": ["wallet_address"],
            "mirror": {"order_by": ["wallet_address", "created_at"]},
            "parents": [{"columns": [["chain_id", "chain_id"]], "dataset": "relay.chains"}],
            "table": "relay.clearing_operations",
            "time": "created_at",
            "topic": "relay.clearing_operations",
        },
    )
    op.set_policy(
        "relay.packet_events",
        {
            "cache": {"tags": ["chain:{chain_id}", "relayer:{relayer}"], "ttl": "5 minutes"},
            "conflict": {"policy": "ignore"},
            "entity": ["src_chain_id", "src_port", "src_channel", "sequence"],
            "final": "final",
            "lifecycle": {"keep": "90 days", "partition": "1 day", "premake": 7},
            "mirror": {"order_by": ["chain_id", "block_time"]},
            "rollups": [
                {
                    "bucket": "date",
                    "by": ["chain_id"],
                    "derived": [
                        {
                            "doc": "Share of the packets closed that were accepted, 0 to 1. NULL: none was closed.",
                            "formula": "acknowledged_packets::numeric / NULLIF((acknowledged_packets + failed_packets + timed_out_packets), 0)",
                            "name": "success_rate",
                        },
                    ],
                    "doc": "One day (UTC) of one chain: packets it sent, received and closed, and what relaying them took.",
                    "every": "1 day",
                    "measures": [
                        {"kind": "count", "name": "total_packets", "where": "event_type IN ('send_packet')"},
                        {"kind": "count", "name": "received_packets", "where": "event_type IN ('recv_packet') AND NOT redundant"},
                        {
                            "kind": "count",
                            "name": "acknowledged_packets",
                            "where": "event_type IN ('acknowledge_packet') AND NOT redundant AND success IS NOT false",
                        },
                        {
                            "kind": "count",
                            "name": "failed_packets",
                            "where": "event_type IN ('acknowledge_packet') AND NOT redundant AND success IS false",
                        },
                        {"kind": "count", "name": "timed_out_packets", "where": "event_type IN ('timeout_packet') AND NOT redundant"},
                        {"kind": "count", "name": "redundant_relays", "where": "redundant"},
                        {
                            "column": "elapsed_seconds",
                            "kind": "mean",
                            "name": "clear_time",
                            "where": "event_type IN ('acknowledge_packet', 'timeout_packet') AND NOT redundant",
                        },
                        {
                            "column": "gas_used",
                            "kind": "total",
                            "name": "gas_used_total",
                            "where": "event_type IN ('recv_packet', 'acknowledge_packet', 'timeout_packet')",
                        },
                    ],
                    "name": "network_stats",
                    "table": "network_stats",
                },
                {
                    "bucket": "hour",
                    "by": ["src_chain_id", "src_port", "src_channel"],
                    "derived": [
                        {
                            "doc": "Share of the packets closed that were accepted, 0 to 1. NULL: none was closed.",
                            "formula": "acknowledged_packets::numeric / NULLIF((acknowledged_packets + failed_packets + timed_out_packets), 0)",
                            "name": "success_rate",
                        },
                        {
                            "doc": "0 (clear) to 100 (nothing gets through): backlog, slowness and timeouts.",
                            "formula": "round(100 * (0.5 * COALESCE(GREATEST(sent_packets - (acknowledged_packets + failed_packets + timed_out_packets), 0)::numeric / NULLIF(sent_packets, 0), 0) + 0.3 * (CASE WHEN clear_time_count > 0 THEN 1 - 60 / GREATEST(clear_time_sum / clear_time_count, 60) WHEN (acknowledged_packets + failed_packets + timed_out_packets) = 0 AND sent_packets > 0 THEN 1 ELSE 0 END) + 0.2 * COALESCE(timed_out_packets::numeric / NULLIF((acknowledged_packets + failed_packets + timed_out_packets), 0), 0)), 2)",
                            "name": "congestion_score",
                        },
                    ],
                    "doc": "One hour of one channel: packets sent through it, received and closed, how fast, and how congested it was.",
                    "every": "1 hour",
                    "lifecycle": {"keep": "1 year", "partition": "1 month", "premake": 2},
                    "measures": [
                        {"kind": "count", "name": "sent_packets", "where": "event_type IN ('send_packet')"},
                        {"kind": "count", "name": "received_packets", "where": "event_type IN ('recv_packet') AND NOT redundant"},
                        {
                            "kind": "count",
                            "name": "acknowledged_packets",
                            "where": "event_type IN ('acknowledge_packet') AND NOT redundant AND success IS NOT false",
                        },
                        {
                            "kind": "count",
                            "name": "failed_packets",
                            "where": "event_type IN ('acknowledge_packet') AND NOT redundant AND success IS false",
                        },
                        {"kind": "count", "name": "timed_out_packets", "where": "event_type IN ('timeout_packet') AND NOT redundant"},
                        {"kind": "count", "name": "redundant_relays", "where": "redundant"},
                        {
                            "column": "elapsed_seconds",
                            "kind": "mean",
                            "name": "clear_time",
                            "where": "event_type IN ('acknowledge_packet', 'timeout_packet') AND NOT redundant",
                        },
                        {
                            "column": "elapsed_seconds",
                            "kind": "percentiles",
                            "name": "clear_time",
                            "quantiles": [0.5, 0.95],
                            "where": "event_type IN ('acknowledge_packet', 'timeout_packet') AND NOT redundant",
                        },
                    ],
                    "name": "channel_performance",
                    "table": "channel_performance",
                },
                {
                    "bucket": "date",
                    "by": ["chain_id", "relayer"],
                    "derived": [
                        {
                            "doc": "Share of its messages that were first, 0 to 1.",
                            "formula": "effective_packets::numeric / NULLIF(relayed_packets, 0)",
                            "name": "effective_rate",
                        },
                        {
                            "doc": "0 to 100: how often it is first, and how soon it delivers.",
                            "formula": "round(100 * (0.7 * (effective_packets + 5)::numeric / (relayed_packets + 10) + 0.3 * (CASE WHEN relay_time_count > 0 THEN 60 / GREATEST(relay_time_sum / relay_time_count, 60) ELSE 0.5 END)), 2)",
                            "name": "reputation_score",
                        },
                    ],
                    "doc": "One day (UTC) of one relayer on one chain: what it brought, how often another got there first, how fast it was.",
                    "every": "1 day",
                    "measures": [
                        {"kind": "count", "name": "relayed_packets"},
                        {"kind": "count", "name": "effective_packets", "where": "NOT redundant"},
                        {"kind": "count", "name": "frontrun_count", "where": "redundant"},
                        {"kind": "count", "name": "received_packets", "where": "event_type IN ('recv_packet') AND NOT redundant"},
                        {
                            "kind": "count",
                            "name": "acknowledged_packets",
                            "where": "event_type IN ('acknowledge_packet') AND NOT redundant",
                        },
                        {"kind": "count", "name": "timed_out_packets", "where": "event_type IN ('timeout_packet') AND NOT redundant"},
                        {
                            "column": "elapsed_seconds",
                            "kind": "mean",
                            "name": "relay_time",
                            "where": "event_type IN ('recv_packet') AND NOT redundant",
                        },
                        {"column": "gas_used", "kind": "total", "name": "gas_used_total"},
                        {"column": "gas_used", "kind": "total", "name": "gas_wasted", "where": "redundant"},
                    ],
                    "name": "relayer_performance",
                    "table": "relayer_performance",
                    "where": "event_type IN ('recv_packet', 'acknowledge_packet', 'timeout_packet') AND relayer != ''",
                },
            ],
            "table": "relay.packet_events",
            "time": "block_time",
            "topic": "relay.packet_events",
        },
    )
    op.set_policy(
        "relay.packet_flow",
        {
            "cache": {"tags": ["chain:{src_chain_id}", "channel:{src_chain_id}/{src_channel}"], "ttl": "5 minutes"},
            "conflict": {"policy": "merge"},
            "entity": ["src_chain_id", "src_port", "src_channel", "sequence"],
            "lifecycle": {"keep": "400 days"},
            "mirror": {"order_by": ["src_chain_id", "src_port", "src_channel", "sequence"]},
            "rollups": [
                {
                    "bucket": "hour",
                    "by": ["src_chain_id"],
                    "derived": [
                        {
                            "doc": "Mean seconds until those were closed, from the two.",
                            "formula": "clear_time_sum / NULLIF(clear_time_count, 0)",
                            "name": "avg_clear_time",
                        },
                    ],
                    "doc": "One hour of one chain: the packets it sent in that hour, and how long those took to be closed, whenever that was.",
                    "every": "1 hour",
                    "lifecycle": {"keep": "2 years"},
                    "measures": [
                        {"kind": "count", "name": "packet_count"},
                        {"column": "clear_time", "kind": "total", "name": "clear_time_sum"},
                        {"column": "clear_time", "kind": "count", "name": "clear_time_count"},
                    ],
                    "name": "hourly_stats",
                    "table": "hourly_packet_stats",
                },
            ],
            "table": "relay.packet_flow",
            "time": "created_at",
            "topic": "relay.packets",
        },
    )


def downgrade() -> None:
    op.drop_view("relay.stuck_packets")
    op.drop_materialized_view("relay.mv_user_statistics")
    op.drop_view("relay.live_clearing_operations")
    op.drop_view("relay.channel_backlog")
    op.remove_policy("relay.packet_flow")
    op.remove_policy("relay.packet_events")
    op.remove_policy("relay.clearing_operations")
    op.remove_policy("relay.channels")
    op.remove_policy("relay.chains")
    op.drop_function("relay.soft_delete_operation()")
    op.drop_function(
        "relay.packet_status(received_at timestamp with time zone, acknowledged_at timestamp with time zone, success boolean, timed_out_at timestamp with time zone)",
    )
    op.drop_table("packet_events", schema="relay")
    op.drop_function("relay.packet_flow_fold()")
    op.drop_function("relay.mark_stuck_packets(waiting interval, at timestamp with time zone)")
    op.drop_function("relay.calculate_network_health_score(chain text, at timestamp with time zone)")
    op.drop_table("packet_flow", schema="relay")
    op.drop_function("relay.packet_flow__mark()")
    op.drop_function("relay.packet_events__mark()")
    op.drop_table("relayer_performance__carried", schema="relay")
    op.drop_table("relayer_performance", schema="relay")
    op.drop_table("packet_flow__dirty", schema="relay")
    op.drop_table("packet_events__dirty", schema="relay")
    op.drop_table("network_stats__carried", schema="relay")
    op.drop_table("network_stats", schema="relay")
    op.drop_table("hourly_packet_stats__carried", schema="relay")
    op.drop_table("hourly_packet_stats", schema="relay")
    op.drop_table("clearing_operations", schema="relay")
    op.drop_table("channels", schema="relay")
    op.drop_table("channel_performance__carried", schema="relay")
    op.drop_table("channel_performance", schema="relay")
    op.drop_table("chains", schema="relay")
    op.drop_enum("relay.packet_status")
    op.drop_enum("relay.packet_event")
    op.drop_enum("relay.operation_status")
    op.drop_enum("relay.channel_state")
    op.drop_enum("relay.channel_ordering")
    op.drop_schema("relay")
