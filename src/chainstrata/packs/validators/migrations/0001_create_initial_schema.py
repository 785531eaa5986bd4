"""Create initial schema."""

import sqlalchemy as sa

from chainstrata.migrate import op, pgtype

revision = "validators_0001"
down_revision = None
branch_labels = ("validators",)
depends_on = ("strata_0001",)


def upgrade() -> None:
    op.create_schema("validators", comment="Validators of a proof-of-stake chain: balances, duties, effectiveness, alerts.")
    op.create_enum("validators.alert_resolution", ["open", "acknowledged", "resolved", "dismissed"])
    op.create_enum("validators.alert_severity", ["info", "warning", "critical"])
    op.create_enum(
        "validators.alert_type",
        [
            "missed_attestation",
            "missed_proposal",
            "missed_sync",
            "low_effectiveness",
            "balance_decrease",
            "status_change",
            "slashed",
            "inactivity_leak",
            "reorg",
            "finality_delay",
            "source_unavailable",
            "other",
        ],
    )
    op.create_enum("validators.credential_type", ["bls", "execution", "compounding", "other"])
    op.create_enum(
        "validators.miss_reason",
        ["not_active", "not_seen", "not_included", "wrong_source", "wrong_target", "wrong_head", "late"],
    )
    op.create_enum("validators.proposal_outcome", ["pending", "proposed", "missed", "orphaned"])
    op.create_enum(
        "validators.validator_status",
        [
            "pending_initialized",
            "pending_queued",
            "active_ongoing",
            "active_exiting",
            "active_slashed",
            "exited_unslashed",
            "exited_slashed",
            "withdrawal_possible",
            "withdrawal_done",
        ],
    )
    op.create_table(
        "attestation_duties",
        sa.Column(
            "validator_index",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Index of the validator on the beacon chain.",
        ),
        sa.Column("ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the epoch."),
        sa.Column("epoch", sa.BigInteger(), nullable=False, comment="Epoch of the duty; every active validator has one in each."),
        sa.Column("slot", sa.BigInteger(), nullable=False, comment="Slot it had to attest in."),
        sa.Column("committee_index", sa.Integer(), nullable=True, comment="Its committee in that slot."),
        sa.Column("committee_position", sa.Integer(), nullable=True, comment="Its place in the committee."),
        sa.Column(
            "status",
            pgtype("validators.validator_status"),
            nullable=True,
            comment="Status in that epoch. NULL: taken for active, as the chain gave it the duty.",
        ),
        sa.Column(
            "seen",
            sa.Boolean(),
            nullable=True,
            comment="Whether any sign of life was seen in the epoch; best effort. NULL: not asked.",
        ),
        sa.Column("included", sa.Boolean(), nullable=False, comment="Whether a canonical block includes the attestation."),
        sa.Column("inclusion_slot", sa.BigInteger(), nullable=True, comment="Slot of the first block that includes it."),
        sa.Column(
            "inclusion_distance",
            sa.BigInteger(),
            sa.Computed("inclusion_slot - slot", persisted=True),
            nullable=True,
            comment="Slots from the duty to its inclusion; 1 is the best there can be.",
        ),
        sa.Column("correct_source", sa.Boolean(), nullable=True, comment="Whether the source vote is that of the chain. NULL: not known."),
        sa.Column("correct_target", sa.Boolean(), nullable=True, comment="Whether the target vote is that of the chain. NULL: not known."),
        sa.Column(
            "correct_head",
            sa.Boolean(),
            nullable=True,
            comment="Whether the head vote is that of the chain, in time or not. NULL: not known.",
        ),
        sa.Column(
            "miss_reason",
            pgtype("validators.miss_reason"),
            sa.Computed(
                "CASE WHEN status NOT IN ('active_ongoing', 'active_exiting', 'active_slashed') THEN 'not_active' WHEN NOT included AND NOT seen THEN 'not_seen' WHEN NOT included THEN 'not_included' WHEN NOT correct_source THEN 'wrong_source' WHEN NOT correct_target THEN 'wrong_target' WHEN NOT correct_head THEN 'wrong_head' WHEN inclusion_slot - slot > 1 THEN 'late'::validators.miss_reason END",
                persisted=True,
            ),
            nullable=True,
            comment="The gravest thing that was wrong: not active, not seen alive, seen but not included, a wrong vote, late. NULL: nothing was.",
        ),
        sa.Column(
            "dependent_root",
            sa.Text(),
            nullable=True,
            comment="Block root the assignment follows from; when it changes, so may the duty.",
        ),
        sa.Column("block_root", sa.Text(), nullable=True, comment="Root of the block that includes the attestation."),
        sa.Column(
            "execution_optimistic",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the node had not yet verified the execution payload behind this answer.",
        ),
        sa.Column(
            "finalized",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the state this was read from was final at that time.",
        ),
        sa.PrimaryKeyConstraint("validator_index", "ts", name="attestation_duties_pkey"),
        sa.CheckConstraint("included OR num_nonnulls(inclusion_slot, block_root) = 0", name="attestation_duties_inclusion_given"),
        sa.CheckConstraint("inclusion_slot > slot", name="attestation_duties_inclusion_order"),
        sa.CheckConstraint("octet_length(dependent_root) = 66 AND octet_length(block_root) = 66", name="attestation_duties_roots_length"),
        sa.CheckConstraint("slot >= 0 AND epoch >= 0", name="attestation_duties_slot_not_negative"),
        schema="validators",
        comment="One row per validator and epoch: its attestation, what became of it, and if it failed, why.",
        postgresql_partition_by="RANGE (ts)",
    )
    op.create_index(
        "idx_attestation_duties_ts",
        "attestation_duties",
        ["ts"],
        schema="validators",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
        comment="All duties of a span of time, such as what was missed in the last epochs. A BRIN, as for snapshots.",
    )
    op.create_table(
        "attestation_duties__dirty",
        sa.Column("validator_index", sa.BigInteger(), nullable=True, comment="The validator_index touched; NULL for all."),
        sa.Column("lo", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the range touched."),
        sa.Column("hi", sa.TIMESTAMP(timezone=True), nullable=False, comment="End of the range touched, exclusive."),
        sa.Column(
            "marked_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the writer touched it.",
        ),
        schema="validators",
        comment="One row per range of attestation_duties whose roll-ups are behind.",
    )
    op.create_table(
        "attestation_duties_daily",
        sa.Column(
            "validator_index",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Index of the validator on the beacon chain.",
        ),
        sa.Column("bucket", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the day, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("duties", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Number of rows of the bucket."),
        sa.Column(
            "included",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where included IS true.",
        ),
        sa.Column(
            "not_seen",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where miss_reason = 'not_seen'.",
        ),
        sa.Column(
            "not_included",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where miss_reason = 'not_included'.",
        ),
        sa.Column(
            "wrong_source",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where miss_reason = 'wrong_source'.",
        ),
        sa.Column(
            "wrong_target",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where miss_reason = 'wrong_target'.",
        ),
        sa.Column(
            "wrong_head",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where miss_reason = 'wrong_head'.",
        ),
        sa.Column(
            "late",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where miss_reason = 'late'.",
        ),
        sa.Column("inclusion_distance_sum", sa.Numeric(), nullable=True, comment="Sum of inclusion_distance over the bucket."),
        sa.Column(
            "inclusion_distance_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket with inclusion_distance.",
        ),
        sa.Column(
            "inclusion_distance_mean",
            sa.Numeric(),
            sa.Computed("inclusion_distance_sum / NULLIF(inclusion_distance_count, 0)", persisted=True),
            nullable=True,
            comment="inclusion_distance_sum divided by inclusion_distance_count.",
        ),
        sa.Column(
            "inclusion_rate",
            sa.Numeric(),
            sa.Computed("included::numeric / nullif(duties, 0)", persisted=True),
            nullable=True,
            comment="Share of the duties that a block included.",
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
        sa.PrimaryKeyConstraint("validator_index", "bucket", name="attestation_duties_daily_pkey"),
        schema="validators",
        comment="One row per validator and day: its attestations by what became of them.",
        postgresql_partition_by="RANGE (bucket)",
    )
    op.create_index(
        "idx_attestation_duties_daily_time",
        "attestation_duties_daily",
        ["bucket"],
        schema="validators",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
        comment="All keys of a day or of several, as a refresh asks for them. A BRIN: buckets come in order of time.",
    )
    op.create_table(
        "attestation_duties_daily__carried",
        sa.Column(
            "validator_index",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Index of the validator on the beacon chain.",
        ),
        sa.Column("bucket", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the day, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("duties", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Number of rows of the bucket."),
        sa.Column(
            "included",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where included IS true.",
        ),
        sa.Column(
            "not_seen",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where miss_reason = 'not_seen'.",
        ),
        sa.Column(
            "not_included",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where miss_reason = 'not_included'.",
        ),
        sa.Column(
            "wrong_source",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where miss_reason = 'wrong_source'.",
        ),
        sa.Column(
            "wrong_target",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where miss_reason = 'wrong_target'.",
        ),
        sa.Column(
            "wrong_head",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where miss_reason = 'wrong_head'.",
        ),
        sa.Column(
            "late",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket, where miss_reason = 'late'.",
        ),
        sa.Column("inclusion_distance_sum", sa.Numeric(), nullable=True, comment="Sum of inclusion_distance over the bucket."),
        sa.Column(
            "inclusion_distance_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of rows of the bucket with inclusion_distance.",
        ),
        sa.PrimaryKeyConstraint("validator_index", "bucket", name="attestation_duties_daily__carried_pkey"),
        schema="validators",
        comment="One row per bucket of attestation_duties_daily that rows no longer there have contributed to.",
    )
    op.create_table(
        "chain_blocks",
        sa.Column("root", sa.Text(), nullable=False, comment="Root of the block."),
        sa.Column("slot", sa.BigInteger(), nullable=False, comment="Its slot."),
        sa.Column("epoch", sa.BigInteger(), nullable=False, comment="Epoch of the slot."),
        sa.Column("ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the slot."),
        sa.Column("parent_root", sa.Text(), nullable=False, comment="Root of the block it builds on."),
        sa.Column("state_root", sa.Text(), nullable=True, comment="Root of the state after it."),
        sa.Column("body_root", sa.Text(), nullable=True, comment="Root of its body."),
        sa.Column("proposer_index", sa.BigInteger(), nullable=False, comment="Index of the validator that proposed it, followed or not."),
        sa.Column("canonical", sa.Boolean(), nullable=False, comment="Whether it is on the chain the node follows."),
        sa.Column(
            "execution_optimistic",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the node had not yet verified the execution payload behind this answer.",
        ),
        sa.Column(
            "finalized",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the state this was read from was final at that time.",
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
        sa.PrimaryKeyConstraint("root", name="chain_blocks_pkey"),
        sa.CheckConstraint("body_root ~ '^0x[0-9a-f]{64}$'", name="chain_blocks_body_root_form"),
        sa.CheckConstraint("canonical OR NOT finalized", name="chain_blocks_final_is_canonical"),
        sa.CheckConstraint("parent_root ~ '^0x[0-9a-f]{64}$'", name="chain_blocks_parent_root_form"),
        sa.CheckConstraint("root ~ '^0x[0-9a-f]{64}$'", name="chain_blocks_root_form"),
        sa.CheckConstraint("slot >= 0 AND epoch >= 0", name="chain_blocks_slot_not_negative"),
        sa.CheckConstraint("state_root ~ '^0x[0-9a-f]{64}$'", name="chain_blocks_state_root_form"),
        schema="validators",
        comment="One row per beacon block seen, on the chain or off it: what observations are dated and rewound by.",
    )
    op.create_index(
        "chain_blocks_canonical_slot_key",
        "chain_blocks",
        ["slot"],
        schema="validators",
        unique=True,
        postgresql_where=sa.text("canonical"),
        comment="The canonical block of a slot, and that there is one at most.",
    )
    op.create_index(
        "idx_chain_blocks_proposer",
        "chain_blocks",
        ["proposer_index", "slot"],
        schema="validators",
        comment="Blocks of one proposer.",
    )
    op.create_index(
        "idx_chain_blocks_slot",
        "chain_blocks",
        ["slot"],
        schema="validators",
        comment="All blocks of a slot, those off the chain too: what a reorg looks at.",
    )
    op.create_index("idx_chain_blocks_ts", "chain_blocks", ["ts"], schema="validators", comment="Blocks over a span of time.")
    op.create_table(
        "reorgs",
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False, comment="Slot of the new head."),
        sa.Column("old_head_block", sa.Text(), nullable=False, comment="Root of the head that was left."),
        sa.Column("new_head_block", sa.Text(), nullable=False, comment="Root of the head that replaced it."),
        sa.Column("old_head_state", sa.Text(), nullable=True, comment="State root of the old head."),
        sa.Column("new_head_state", sa.Text(), nullable=True, comment="State root of the new head."),
        sa.Column("epoch", sa.BigInteger(), nullable=False, comment="Epoch of the slot."),
        sa.Column("depth", sa.BigInteger(), nullable=False, comment="Slots from the common ancestor to the new head, as the node says."),
        sa.Column(
            "execution_optimistic",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the node had not verified the payload yet.",
        ),
        sa.Column(
            "detected_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the node told of it.",
        ),
        sa.Column("ancestor_slot", sa.BigInteger(), nullable=True, comment="Slot of the last block both branches share, once found."),
        sa.Column("ancestor_root", sa.Text(), nullable=True, comment="Root of that block."),
        sa.Column("orphaned_blocks", sa.Integer(), nullable=True, comment="Blocks that left the chain."),
        sa.Column("removed_rows", sa.BigInteger(), nullable=True, comment="Observations of the branch left that were taken back."),
        sa.Column(
            "rewound_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the observations were taken back. NULL: still to do.",
        ),
        sa.PrimaryKeyConstraint("slot", "old_head_block", "new_head_block", name="reorgs_pkey"),
        sa.CheckConstraint("slot >= 0 AND epoch >= 0 AND depth >= 0", name="reorgs_depth_not_negative"),
        sa.CheckConstraint("old_head_block <> new_head_block", name="reorgs_heads_differ"),
        sa.CheckConstraint("new_head_block ~ '^0x[0-9a-f]{64}$'", name="reorgs_new_head_block_form"),
        sa.CheckConstraint("new_head_state ~ '^0x[0-9a-f]{64}$'", name="reorgs_new_head_state_form"),
        sa.CheckConstraint("old_head_block ~ '^0x[0-9a-f]{64}$'", name="reorgs_old_head_block_form"),
        sa.CheckConstraint("old_head_state ~ '^0x[0-9a-f]{64}$'", name="reorgs_old_head_state_form"),
        schema="validators",
        comment="One row per change of the chain's head to another branch, as the node's chain_reorg events tell, and what was done about it.",
    )
    op.create_index("idx_reorgs_detected", "reorgs", ["detected_at"], schema="validators", comment="Reorgs over a span of time.")
    op.create_table(
        "validator_snapshots",
        sa.Column(
            "validator_index",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Index of the validator on the beacon chain.",
        ),
        sa.Column(
            "ts",
            sa.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Start of the slot: genesis time and slot times slot duration.",
        ),
        sa.Column("slot", sa.BigInteger(), nullable=False, comment="Slot of the state this was read from."),
        sa.Column("epoch", sa.BigInteger(), nullable=False, comment="Epoch of that slot."),
        sa.Column("balance", sa.BigInteger(), nullable=False, comment="Balance at that slot, gwei."),
        sa.Column("effective_balance", sa.BigInteger(), nullable=True, comment="Balance that counts for duties and rewards, gwei."),
        sa.Column("status", pgtype("validators.validator_status"), nullable=True, comment="Status at that slot."),
        sa.Column(
            "execution_optimistic",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the node had not yet verified the execution payload behind this answer.",
        ),
        sa.Column(
            "finalized",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the state this was read from was final at that time.",
        ),
        sa.Column("block_root", sa.Text(), nullable=True, comment="Root of the latest block of that state. NULL: the source did not say."),
        sa.Column(
            "rewards_epoch",
            sa.BigInteger(),
            nullable=True,
            comment="Epoch whose attestation was settled since the snapshot before. NULL: none was. An epoch is in one snapshot only, so sums hold.",
        ),
        sa.Column("reward_head", sa.BigInteger(), nullable=True, comment="Reward of that epoch for the head vote, gwei."),
        sa.Column(
            "reward_target",
            sa.BigInteger(),
            nullable=True,
            comment="Reward of that epoch for the target vote, gwei; negative is a penalty.",
        ),
        sa.Column(
            "reward_source",
            sa.BigInteger(),
            nullable=True,
            comment="Reward of that epoch for the source vote, gwei; negative is a penalty.",
        ),
        sa.Column("reward_inactivity", sa.BigInteger(), nullable=True, comment="Inactivity penalty of that epoch, gwei, 0 or negative."),
        sa.Column(
            "ideal_head",
            sa.BigInteger(),
            nullable=True,
            comment="What a perfect head vote would have earned at this effective balance, gwei.",
        ),
        sa.Column("ideal_target", sa.BigInteger(), nullable=True, comment="What a perfect target vote would have earned, gwei."),
        sa.Column("ideal_source", sa.BigInteger(), nullable=True, comment="What a perfect source vote would have earned, gwei."),
        sa.Column(
            "earned_reward",
            sa.BigInteger(),
            sa.Computed("reward_head + reward_target + reward_source + coalesce(reward_inactivity, 0)", persisted=True),
            nullable=True,
            comment="What the attestation of that epoch earned, gwei: head, target, source and inactivity together.",
        ),
        sa.Column(
            "ideal_reward",
            sa.BigInteger(),
            sa.Computed("ideal_head + ideal_target + ideal_source", persisted=True),
            nullable=True,
            comment="What it could have earned, gwei.",
        ),
        sa.Column(
            "effectiveness",
            sa.Double(),
            sa.Computed(
                "(reward_head + reward_target + reward_source + coalesce(reward_inactivity, 0))::double precision / nullif(ideal_head + ideal_target + ideal_source, 0)",
                persisted=True,
            ),
            nullable=True,
            comment="earned_reward / ideal_reward: 1 is perfect, below 0 the validator paid. NULL: nothing was settled or nothing could be earned.",
        ),
        sa.Column(
            "due_attestations",
            sa.SmallInteger(),
            nullable=True,
            comment="Attestations that were due in rewards_epoch: 1 while active.",
        ),
        sa.Column("missed_attestations", sa.SmallInteger(), nullable=True, comment="How many of them no block included."),
        sa.Column(
            "proposer_reward",
            sa.BigInteger(),
            nullable=True,
            comment="Consensus rewards for blocks proposed since the snapshot before, gwei.",
        ),
        sa.Column("proposed_blocks", sa.SmallInteger(), nullable=True, comment="Blocks proposed since the snapshot before."),
        sa.Column(
            "missed_blocks",
            sa.SmallInteger(),
            nullable=True,
            comment="Proposals due since the snapshot before that no block came of.",
        ),
        sa.Column(
            "sync_reward",
            sa.BigInteger(),
            nullable=True,
            comment="Reward for sync committee duty since the snapshot before, gwei; negative is a penalty.",
        ),
        sa.PrimaryKeyConstraint("validator_index", "ts", name="validator_snapshots_pkey"),
        sa.CheckConstraint("balance >= 0", name="validator_snapshots_balance_not_negative"),
        sa.CheckConstraint("octet_length(block_root) = 66", name="validator_snapshots_block_root_length"),
        sa.CheckConstraint("effective_balance >= 0", name="validator_snapshots_effective_balance_not_negative"),
        sa.CheckConstraint("missed_attestations BETWEEN 0 AND due_attestations", name="validator_snapshots_missed_within_due"),
        sa.CheckConstraint("slot >= 0 AND epoch >= 0", name="validator_snapshots_slot_not_negative"),
        schema="validators",
        comment="One row per validator and slot in which something of it changed: balance, status, and what was settled since.",
        postgresql_partition_by="RANGE (ts)",
    )
    op.create_index(
        "idx_validator_snapshots_ts",
        "validator_snapshots",
        ["ts"],
        schema="validators",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
        comment="All validators over a span of time. A BRIN: rows come in order of time, and a B-tree would cost a fifth of the ingest rate.",
    )
    op.create_table(
        "validator_snapshots__dirty",
        sa.Column("validator_index", sa.BigInteger(), nullable=True, comment="The validator_index touched; NULL for all."),
        sa.Column("lo", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the range touched."),
        sa.Column("hi", sa.TIMESTAMP(timezone=True), nullable=False, comment="End of the range touched, exclusive."),
        sa.Column(
            "marked_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the writer touched it.",
        ),
        schema="validators",
        comment="One row per range of validator_snapshots whose roll-ups are behind.",
    )
    op.create_table(
        "validator_snapshots__seen",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Number of the record; later ones overrule."),
        sa.Column(
            "ts",
            sa.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When they were seen; or from when on their sightings are taken back.",
        ),
        sa.Column(
            "until",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Until when their sightings are taken back. NULL: a sighting.",
        ),
        sa.Column("entities", pgtype("int8multirange"), nullable=False, comment="The entities, by number."),
        sa.PrimaryKeyConstraint("id", name="validator_snapshots__seen_pkey"),
        schema="validators",
        comment="One row per time and set of entities of validator_snapshots seen then, whether or not a row came of it.",
    )
    op.create_index(
        "idx_validator_snapshots__seen_ts",
        "validator_snapshots__seen",
        ["ts"],
        schema="validators",
        postgresql_where=sa.text("until IS NULL"),
        comment="The sighting before or after an instant.",
    )
    op.create_index(
        "idx_validator_snapshots__seen_until",
        "validator_snapshots__seen",
        ["until"],
        schema="validators",
        postgresql_where=sa.text("until IS NOT NULL"),
        comment="Whether a sighting was taken back.",
    )
    op.create_table(
        "validator_snapshots__state",
        sa.Column("block", sa.BigInteger(), autoincrement=False, nullable=False, comment="Number of an entity by 1024."),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Transaction that wrote it last."),
        sa.Column(
            "seen_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When all its entities were last seen, where that was together.",
        ),
        sa.Column("at", pgtype("timestamp with time zone[]"), nullable=True, comment="Time of the last row of each entity, in order."),
        sa.Column(
            "seen",
            pgtype("timestamp with time zone[]"),
            nullable=True,
            comment="When each was last seen, where that was not together.",
        ),
        sa.PrimaryKeyConstraint("block", name="validator_snapshots__state_pkey"),
        schema="validators",
        comment="One row per 1024 entities of validator_snapshots: where the last row of each is.",
    )
    op.create_table(
        "validator_snapshots_daily",
        sa.Column(
            "validator_index",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Index of the validator on the beacon chain.",
        ),
        sa.Column("bucket", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the day, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("first_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the first raw row in the bucket."),
        sa.Column("last_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the last raw row in the bucket."),
        sa.Column("balance_first", sa.BigInteger(), nullable=False, comment="First balance of the bucket."),
        sa.Column("balance_last", sa.BigInteger(), nullable=False, comment="Last balance of the bucket."),
        sa.Column("balance_min", sa.BigInteger(), nullable=False, comment="Lowest balance of the bucket."),
        sa.Column("balance_max", sa.BigInteger(), nullable=False, comment="Highest balance of the bucket."),
        sa.Column("effective_balance_last", sa.BigInteger(), nullable=True, comment="Last effective_balance of the bucket."),
        sa.Column("status_last", pgtype("validators.validator_status"), nullable=True, comment="Last status of the bucket."),
        sa.Column("earned_reward", sa.Numeric(), nullable=True, comment="Sum of earned_reward over the bucket."),
        sa.Column("ideal_reward", sa.Numeric(), nullable=True, comment="Sum of ideal_reward over the bucket."),
        sa.Column("due_attestations", sa.Numeric(), nullable=True, comment="Sum of due_attestations over the bucket."),
        sa.Column("missed_attestations", sa.Numeric(), nullable=True, comment="Sum of missed_attestations over the bucket."),
        sa.Column("proposer_reward", sa.Numeric(), nullable=True, comment="Sum of proposer_reward over the bucket."),
        sa.Column("proposed_blocks", sa.Numeric(), nullable=True, comment="Sum of proposed_blocks over the bucket."),
        sa.Column("missed_blocks", sa.Numeric(), nullable=True, comment="Sum of missed_blocks over the bucket."),
        sa.Column("sync_reward", sa.Numeric(), nullable=True, comment="Sum of sync_reward over the bucket."),
        sa.Column(
            "effectiveness",
            sa.Numeric(),
            sa.Computed("earned_reward / nullif(ideal_reward, 0)", persisted=True),
            nullable=True,
            comment="earned_reward / ideal_reward of the bucket: the mean of the epochs' effectiveness, each weighted by what it could earn.",
        ),
        sa.Column(
            "participation",
            sa.Numeric(),
            sa.Computed("1 - missed_attestations / nullif(due_attestations, 0)", persisted=True),
            nullable=True,
            comment="Share of the attestations due that were included.",
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
        sa.PrimaryKeyConstraint("validator_index", "bucket", name="validator_snapshots_daily_pkey"),
        schema="validators",
        comment="One row per validator and day: its balance and what it earned of what it could.",
        postgresql_partition_by="RANGE (bucket)",
    )
    op.create_index(
        "idx_validator_snapshots_daily_time",
        "validator_snapshots_daily",
        ["bucket"],
        schema="validators",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
        comment="All keys of a day or of several, as a refresh asks for them. A BRIN: buckets come in order of time.",
    )
    op.create_table(
        "validator_snapshots_daily__carried",
        sa.Column(
            "validator_index",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Index of the validator on the beacon chain.",
        ),
        sa.Column("bucket", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the day, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("first_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the first raw row in the bucket."),
        sa.Column("last_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the last raw row in the bucket."),
        sa.Column("balance_first", sa.BigInteger(), nullable=False, comment="First balance of the bucket."),
        sa.Column("balance_last", sa.BigInteger(), nullable=False, comment="Last balance of the bucket."),
        sa.Column("balance_min", sa.BigInteger(), nullable=False, comment="Lowest balance of the bucket."),
        sa.Column("balance_max", sa.BigInteger(), nullable=False, comment="Highest balance of the bucket."),
        sa.Column("effective_balance_last", sa.BigInteger(), nullable=True, comment="Last effective_balance of the bucket."),
        sa.Column("status_last", pgtype("validators.validator_status"), nullable=True, comment="Last status of the bucket."),
        sa.Column("earned_reward", sa.Numeric(), nullable=True, comment="Sum of earned_reward over the bucket."),
        sa.Column("ideal_reward", sa.Numeric(), nullable=True, comment="Sum of ideal_reward over the bucket."),
        sa.Column("due_attestations", sa.Numeric(), nullable=True, comment="Sum of due_attestations over the bucket."),
        sa.Column("missed_attestations", sa.Numeric(), nullable=True, comment="Sum of missed_attestations over the bucket."),
        sa.Column("proposer_reward", sa.Numeric(), nullable=True, comment="Sum of proposer_reward over the bucket."),
        sa.Column("proposed_blocks", sa.Numeric(), nullable=True, comment="Sum of proposed_blocks over the bucket."),
        sa.Column("missed_blocks", sa.Numeric(), nullable=True, comment="Sum of missed_blocks over the bucket."),
        sa.Column("sync_reward", sa.Numeric(), nullable=True, comment="Sum of sync_reward over the bucket."),
        sa.PrimaryKeyConstraint("validator_index", "bucket", name="validator_snapshots_daily__carried_pkey"),
        schema="validators",
        comment="One row per bucket of validator_snapshots_daily that rows no longer there have contributed to.",
    )
    op.create_table(
        "validator_snapshots_hourly",
        sa.Column(
            "validator_index",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Index of the validator on the beacon chain.",
        ),
        sa.Column("bucket", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the hour, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("first_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the first raw row in the bucket."),
        sa.Column("last_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the last raw row in the bucket."),
        sa.Column("balance_first", sa.BigInteger(), nullable=False, comment="First balance of the bucket."),
        sa.Column("balance_last", sa.BigInteger(), nullable=False, comment="Last balance of the bucket."),
        sa.Column("balance_min", sa.BigInteger(), nullable=False, comment="Lowest balance of the bucket."),
        sa.Column("balance_max", sa.BigInteger(), nullable=False, comment="Highest balance of the bucket."),
        sa.Column("effective_balance_last", sa.BigInteger(), nullable=True, comment="Last effective_balance of the bucket."),
        sa.Column("status_last", pgtype("validators.validator_status"), nullable=True, comment="Last status of the bucket."),
        sa.Column("earned_reward", sa.Numeric(), nullable=True, comment="Sum of earned_reward over the bucket."),
        sa.Column("ideal_reward", sa.Numeric(), nullable=True, comment="Sum of ideal_reward over the bucket."),
        sa.Column("due_attestations", sa.Numeric(), nullable=True, comment="Sum of due_attestations over the bucket."),
        sa.Column("missed_attestations", sa.Numeric(), nullable=True, comment="Sum of missed_attestations over the bucket."),
        sa.Column("proposer_reward", sa.Numeric(), nullable=True, comment="Sum of proposer_reward over the bucket."),
        sa.Column("proposed_blocks", sa.Numeric(), nullable=True, comment="Sum of proposed_blocks over the bucket."),
        sa.Column("missed_blocks", sa.Numeric(), nullable=True, comment="Sum of missed_blocks over the bucket."),
        sa.Column("sync_reward", sa.Numeric(), nullable=True, comment="Sum of sync_reward over the bucket."),
        sa.Column(
            "effectiveness",
            sa.Numeric(),
            sa.Computed("earned_reward / nullif(ideal_reward, 0)", persisted=True),
            nullable=True,
            comment="earned_reward / ideal_reward of the bucket: the mean of the epochs' effectiveness, each weighted by what it could earn.",
        ),
        sa.Column(
            "participation",
            sa.Numeric(),
            sa.Computed("1 - missed_attestations / nullif(due_attestations, 0)", persisted=True),
            nullable=True,
            comment="Share of the attestations due that were included.",
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
        sa.PrimaryKeyConstraint("validator_index", "bucket", name="validator_snapshots_hourly_pkey"),
        schema="validators",
        comment="One row per validator and hour: its balance and what it earned of what it could.",
        postgresql_partition_by="RANGE (bucket)",
    )
    op.create_index(
        "idx_validator_snapshots_hourly_time",
        "validator_snapshots_hourly",
        ["bucket"],
        schema="validators",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
        comment="All keys of a hour or of several, as a refresh asks for them. A BRIN: buckets come in order of time.",
    )
    op.create_table(
        "validator_snapshots_hourly__carried",
        sa.Column(
            "validator_index",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Index of the validator on the beacon chain.",
        ),
        sa.Column("bucket", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the hour, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("first_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the first raw row in the bucket."),
        sa.Column("last_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the last raw row in the bucket."),
        sa.Column("balance_first", sa.BigInteger(), nullable=False, comment="First balance of the bucket."),
        sa.Column("balance_last", sa.BigInteger(), nullable=False, comment="Last balance of the bucket."),
        sa.Column("balance_min", sa.BigInteger(), nullable=False, comment="Lowest balance of the bucket."),
        sa.Column("balance_max", sa.BigInteger(), nullable=False, comment="Highest balance of the bucket."),
        sa.Column("effective_balance_last", sa.BigInteger(), nullable=True, comment="Last effective_balance of the bucket."),
        sa.Column("status_last", pgtype("validators.validator_status"), nullable=True, comment="Last status of the bucket."),
        sa.Column("earned_reward", sa.Numeric(), nullable=True, comment="Sum of earned_reward over the bucket."),
        sa.Column("ideal_reward", sa.Numeric(), nullable=True, comment="Sum of ideal_reward over the bucket."),
        sa.Column("due_attestations", sa.Numeric(), nullable=True, comment="Sum of due_attestations over the bucket."),
        sa.Column("missed_attestations", sa.Numeric(), nullable=True, comment="Sum of missed_attestations over the bucket."),
        sa.Column("proposer_reward", sa.Numeric(), nullable=True, comment="Sum of proposer_reward over the bucket."),
        sa.Column("proposed_blocks", sa.Numeric(), nullable=True, comment="Sum of proposed_blocks over the bucket."),
        sa.Column("missed_blocks", sa.Numeric(), nullable=True, comment="Sum of missed_blocks over the bucket."),
        sa.Column("sync_reward", sa.Numeric(), nullable=True, comment="Sum of sync_reward over the bucket."),
        sa.PrimaryKeyConstraint("validator_index", "bucket", name="validator_snapshots_hourly__carried_pkey"),
        schema="validators",
        comment="One row per bucket of validator_snapshots_hourly that rows no longer there have contributed to.",
    )
    op.create_table(
        "validator_snapshots_hourly__dirty",
        sa.Column("validator_index", sa.BigInteger(), nullable=True, comment="The validator_index touched; NULL for all."),
        sa.Column("lo", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the range touched."),
        sa.Column("hi", sa.TIMESTAMP(timezone=True), nullable=False, comment="End of the range touched, exclusive."),
        sa.Column(
            "marked_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the writer touched it.",
        ),
        schema="validators",
        comment="One row per range of validator_snapshots_hourly whose roll-ups are behind.",
    )
    op.create_table(
        "validators",
        sa.Column(
            "validator_index",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Index of the validator on the beacon chain.",
        ),
        sa.Column(
            "pubkey",
            sa.Text(),
            nullable=True,
            comment="Public key, 48 bytes. NULL until a state was read: the validator is known only from rewards, duties or an alert.",
        ),
        sa.Column("name", sa.Text(), nullable=True, comment="What people call the validator."),
        sa.Column("operator", sa.Text(), nullable=True, comment="Who runs it."),
        sa.Column("label", sa.Text(), nullable=True, comment="The group it is watched in: a customer, a site, a client software."),
        sa.Column("status", pgtype("validators.validator_status"), nullable=True, comment="Status as of `slot`."),
        sa.Column("withdrawal_credentials", sa.Text(), nullable=True, comment="Where withdrawals go, 32 bytes; the first says which kind."),
        sa.Column(
            "credential_type",
            pgtype("validators.credential_type"),
            sa.Computed(
                "CASE left(withdrawal_credentials, 4) WHEN '0x00' THEN 'bls'::validators.credential_type WHEN '0x01' THEN 'execution'::validators.credential_type WHEN '0x02' THEN 'compounding'::validators.credential_type ELSE CASE WHEN withdrawal_credentials IS NOT NULL THEN 'other'::validators.credential_type END END",
                persisted=True,
            ),
            nullable=True,
            comment="What the withdrawal credentials mean: BLS key (0x00), execution address (0x01), compounding (0x02).",
        ),
        sa.Column(
            "effective_balance",
            sa.BigInteger(),
            nullable=True,
            comment="Balance that counts for duties and rewards as of `slot`, gwei.",
        ),
        sa.Column("slashed", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment="Whether the validator was slashed."),
        sa.Column(
            "activation_eligibility_epoch",
            sa.BigInteger(),
            nullable=True,
            comment="Epoch it could first be activated in. NULL: not set.",
        ),
        sa.Column("activation_epoch", sa.BigInteger(), nullable=True, comment="Epoch its duties begin. NULL: not set."),
        sa.Column("exit_epoch", sa.BigInteger(), nullable=True, comment="Epoch its duties end. NULL: not set."),
        sa.Column("withdrawable_epoch", sa.BigInteger(), nullable=True, comment="Epoch its balance can be withdrawn from. NULL: not set."),
        sa.Column("metadata", pgtype("jsonb"), nullable=True, comment="Whatever else a user wants to keep about the validator."),
        sa.Column("slot", sa.BigInteger(), nullable=True, comment="Slot of the state the row was last read from. NULL until one was read."),
        sa.Column("block_root", sa.Text(), nullable=True, comment="Root of the latest block of that state."),
        sa.Column(
            "execution_optimistic",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the node had not yet verified the execution payload behind this answer.",
        ),
        sa.Column(
            "finalized",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the state this was read from was final at that time.",
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
        sa.PrimaryKeyConstraint("validator_index", name="validators_pkey"),
        sa.UniqueConstraint("pubkey", name="validators_pubkey_key"),
        sa.CheckConstraint("activation_epoch >= activation_eligibility_epoch", name="validators_activation_order"),
        sa.CheckConstraint("block_root ~ '^0x[0-9a-f]{64}$'", name="validators_block_root_form"),
        sa.CheckConstraint("effective_balance >= 0", name="validators_effective_balance_not_negative"),
        sa.CheckConstraint(
            "least(activation_eligibility_epoch, activation_epoch, exit_epoch, withdrawable_epoch) >= 0",
            name="validators_epochs_not_negative",
        ),
        sa.CheckConstraint("withdrawable_epoch >= exit_epoch", name="validators_exit_order"),
        sa.CheckConstraint("pubkey ~ '^0x[0-9a-f]{96}$'", name="validators_pubkey_form"),
        sa.CheckConstraint("validator_index >= 0", name="validators_validator_index_not_negative"),
        sa.CheckConstraint(
            "pubkey IS NULL OR num_nulls(status, withdrawal_credentials, effective_balance) = 0",
            name="validators_whole_or_stub",
        ),
        sa.CheckConstraint("withdrawal_credentials ~ '^0x[0-9a-f]{64}$'", name="validators_withdrawal_credentials_form"),
        schema="validators",
        comment="One row per validator that is followed: its latest record, and what its people call it.",
    )
    op.create_index(
        "idx_validators_operator",
        "validators",
        ["operator", "label"],
        schema="validators",
        postgresql_where=sa.text("operator IS NOT NULL"),
        comment="The validators of one operator, or of one label of theirs. Only those that have an operator.",
    )
    op.create_index(
        "idx_validators_status",
        "validators",
        ["status"],
        schema="validators",
        comment="The validators in one status: the entry queue, those that exit, the slashed.",
    )
    op.create_table(
        "alerts",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False, comment="Identifier of the alert."),
        sa.Column("alert_type", pgtype("validators.alert_type"), nullable=False, comment="What kind of thing happened."),
        sa.Column(
            "severity",
            pgtype("validators.alert_severity"),
            nullable=False,
            comment="How grave it is: info, warning, critical, in this order.",
        ),
        sa.Column(
            "raised_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was first noticed.",
        ),
        sa.Column(
            "validator_index",
            sa.BigInteger(),
            nullable=True,
            comment="The validator it is about. NULL: about the chain or a source.",
        ),
        sa.Column("slot", sa.BigInteger(), nullable=True, comment="Slot it is about."),
        sa.Column("epoch", sa.BigInteger(), nullable=True, comment="Epoch it is about."),
        sa.Column("message", sa.Text(), nullable=False, comment="What happened, for people."),
        sa.Column("details", pgtype("jsonb"), nullable=True, comment="The figures behind the message."),
        sa.Column(
            "dedupe_key",
            sa.Text(),
            nullable=False,
            comment="What makes two alerts the same; of the same one is unresolved at a time.",
        ),
        sa.Column(
            "occurrences",
            sa.Integer(),
            server_default=sa.text("1"),
            nullable=False,
            comment="How often it was noticed since it was raised.",
        ),
        sa.Column(
            "last_seen_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was last noticed.",
        ),
        sa.Column(
            "resolution_status",
            pgtype("validators.alert_resolution"),
            server_default=sa.text("'open'::validators.alert_resolution"),
            nullable=False,
            comment="What was done about it so far.",
        ),
        sa.Column("acknowledged_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When someone took it on."),
        sa.Column("acknowledged_by", sa.Text(), nullable=True, comment="Who took it on."),
        sa.Column("resolved_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it was resolved or dismissed."),
        sa.Column("resolved_by", sa.Text(), nullable=True, comment="Who, or which rule, resolved or dismissed it."),
        sa.Column("resolution_note", sa.Text(), nullable=True, comment="What was found and done."),
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
        sa.PrimaryKeyConstraint("id", name="alerts_pkey"),
        sa.ForeignKeyConstraint(["validator_index"], ["validators.validators.validator_index"], name="fk_alerts_validator"),
        sa.CheckConstraint("resolution_status <> 'acknowledged' OR acknowledged_at IS NOT NULL", name="alerts_acknowledged_when"),
        sa.CheckConstraint("dedupe_key <> ''", name="alerts_dedupe_key_given"),
        sa.CheckConstraint("message <> ''", name="alerts_message_given"),
        sa.CheckConstraint("occurrences > 0", name="alerts_occurrences_positive"),
        sa.CheckConstraint("resolved_at IS NOT NULL OR num_nonnulls(resolved_by, resolution_note) = 0", name="alerts_resolved_by_whom"),
        sa.CheckConstraint("resolved_at >= raised_at AND acknowledged_at >= raised_at", name="alerts_resolved_order"),
        sa.CheckConstraint("(resolution_status IN ('open', 'acknowledged')) = (resolved_at IS NULL)", name="alerts_resolved_when"),
        sa.CheckConstraint("last_seen_at >= raised_at", name="alerts_seen_order"),
        schema="validators",
        comment="One row per alert: what is wrong with a validator or the chain, since when, and what was done about it.",
    )
    op.create_index(
        "alerts_unresolved_dedupe_key",
        "alerts",
        ["dedupe_key"],
        schema="validators",
        unique=True,
        postgresql_where=sa.text("resolution_status IN ('open', 'acknowledged')"),
        comment="That the same thing is alerted once while it is unresolved: raising it again counts it.",
    )
    op.create_index(
        "idx_alerts_raised",
        "alerts",
        ["raised_at"],
        schema="validators",
        comment="Alerts over a span of time, and those old enough to be archived.",
    )
    op.create_index("idx_alerts_type", "alerts", ["alert_type", "raised_at"], schema="validators", comment="Alerts of one type over time.")
    op.create_index(
        "idx_alerts_unresolved",
        "alerts",
        ["severity", "raised_at"],
        schema="validators",
        postgresql_where=sa.text("resolution_status IN ('open', 'acknowledged')"),
        comment="The list on duty: what is unresolved, the gravest and newest first.",
    )
    op.create_index(
        "idx_alerts_validator",
        "alerts",
        ["validator_index", "raised_at"],
        schema="validators",
        comment="Alerts of one validator over time, and the foreign key.",
    )
    op.create_table(
        "proposals",
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False, comment="Slot the block is due in."),
        sa.Column("validator_index", sa.BigInteger(), nullable=False, comment="Index of the validator on the beacon chain."),
        sa.Column("ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the slot."),
        sa.Column("epoch", sa.BigInteger(), nullable=False, comment="Epoch of the slot."),
        sa.Column(
            "outcome",
            pgtype("validators.proposal_outcome"),
            server_default=sa.text("'pending'::validators.proposal_outcome"),
            nullable=False,
            comment="What became of the duty.",
        ),
        sa.Column(
            "reward_total",
            sa.BigInteger(),
            nullable=True,
            comment="Consensus reward of the block, gwei: the four parts below together.",
        ),
        sa.Column("reward_attestations", sa.BigInteger(), nullable=True, comment="Reward for the attestations it includes, gwei."),
        sa.Column("reward_sync_aggregate", sa.BigInteger(), nullable=True, comment="Reward for the sync aggregate it includes, gwei."),
        sa.Column("reward_proposer_slashings", sa.BigInteger(), nullable=True, comment="Reward for proposer slashings it includes, gwei."),
        sa.Column("reward_attester_slashings", sa.BigInteger(), nullable=True, comment="Reward for attester slashings it includes, gwei."),
        sa.Column(
            "dependent_root",
            sa.Text(),
            nullable=True,
            comment="Block root the assignment follows from; when it changes, so may the duty.",
        ),
        sa.Column("block_root", sa.Text(), nullable=True, comment="Root of the block proposed."),
        sa.Column(
            "execution_optimistic",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the node had not yet verified the execution payload behind this answer.",
        ),
        sa.Column(
            "finalized",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the state this was read from was final at that time.",
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
        sa.PrimaryKeyConstraint("slot", name="proposals_pkey"),
        sa.ForeignKeyConstraint(["validator_index"], ["validators.validators.validator_index"], name="fk_proposals_validator"),
        sa.CheckConstraint("outcome IN ('proposed', 'orphaned') OR block_root IS NULL", name="proposals_block_given"),
        sa.CheckConstraint("block_root ~ '^0x[0-9a-f]{64}$'", name="proposals_block_root_form"),
        sa.CheckConstraint("dependent_root ~ '^0x[0-9a-f]{64}$'", name="proposals_dependent_root_form"),
        sa.CheckConstraint("slot >= 0 AND epoch >= 0", name="proposals_slot_not_negative"),
        schema="validators",
        comment="One row per slot a followed validator has to propose a block in.",
    )
    op.create_index("idx_proposals_ts", "proposals", ["ts"], schema="validators", comment="Proposals over a span of time.")
    op.create_index(
        "idx_proposals_validator",
        "proposals",
        ["validator_index", "slot"],
        schema="validators",
        comment="Proposals of one validator, and the foreign key.",
    )
    op.create_table(
        "validator_records",
        sa.Column(
            "validator_index",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Index of the validator on the beacon chain.",
        ),
        sa.Column(
            "slot",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Slot of the state that first showed the record so.",
        ),
        sa.Column("status", pgtype("validators.validator_status"), nullable=False, comment="Status from that slot on."),
        sa.Column("slashed", sa.Boolean(), nullable=False, comment="Whether it was slashed."),
        sa.Column("withdrawal_credentials", sa.Text(), nullable=False, comment="Withdrawal credentials from that slot on."),
        sa.Column(
            "activation_eligibility_epoch",
            sa.BigInteger(),
            nullable=True,
            comment="Epoch it could first be activated in. NULL: not set.",
        ),
        sa.Column("activation_epoch", sa.BigInteger(), nullable=True, comment="Epoch its duties begin. NULL: not set."),
        sa.Column("exit_epoch", sa.BigInteger(), nullable=True, comment="Epoch its duties end. NULL: not set."),
        sa.Column("withdrawable_epoch", sa.BigInteger(), nullable=True, comment="Epoch its balance can be withdrawn from. NULL: not set."),
        sa.Column("block_root", sa.Text(), nullable=True, comment="Root of the latest block of that state."),
        sa.Column(
            "execution_optimistic",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the node had not yet verified the execution payload behind this answer.",
        ),
        sa.Column(
            "finalized",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the state this was read from was final at that time.",
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was first written; never changes.",
        ),
        sa.PrimaryKeyConstraint("validator_index", "slot", name="validator_records_pkey"),
        sa.ForeignKeyConstraint(
            ["validator_index"],
            ["validators.validators.validator_index"],
            name="fk_validator_records_validator",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("block_root ~ '^0x[0-9a-f]{64}$'", name="validator_records_block_root_form"),
        schema="validators",
        comment="One row per change of a validator's record, written by a trigger on validators: status, slashing, credentials, epochs.",
    )
    op.create_index(
        "idx_validator_records_slot",
        "validator_records",
        ["slot"],
        schema="validators",
        comment="What changed lately over all validators, and what a reorg has to take back.",
    )
    op.create_function(
        "validators.apply_reorg(p_old_head text, p_new_head text)",
        """
CREATE FUNCTION validators.apply_reorg(p_old_head text, p_new_head text) RETURNS validators.reorgs
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    v_head validators.chain_blocks;
    v_ancestor validators.chain_blocks;
    v_reorg validators.reorgs;
    v_adopted text[];
    v_orphaned text[];
    v_duties_from timestamptz;
    v_removed bigint;
    v_reopened bigint;
BEGIN
    -- One reorg at a time: two at once would read each other's half-made chain.
    PERFORM pg_advisory_xact_lock(hashtextextended('validators.apply_reorg', 0));
    SELECT * INTO v_head FROM validators.chain_blocks WHERE root = p_new_head;
    SELECT * INTO v_reorg FROM validators.reorgs
        WHERE slot = v_head.slot AND old_head_block = p_old_head AND new_head_block = p_new_head;
    IF v_reorg.rewound_at IS NOT NULL AND v_head.canonical THEN
        RETURN v_reorg;
    END IF;

    WITH RECURSIVE branch AS (
        SELECT b.root, b.parent_root, b.canonical FROM validators.chain_blocks AS b WHERE b.root = p_new_head
        UNION ALL
        SELECT b.root, b.parent_root, b.canonical
        FROM branch
        JOIN validators.chain_blocks AS b ON b.root = branch.parent_root
        WHERE NOT branch.canonical
    )
    SELECT array_agg(root) FILTER (WHERE NOT canonical), max(root) FILTER (WHERE canonical)
    INTO v_adopted, v_ancestor.root
    FROM branch;
    IF v_ancestor.root IS NULL THEN
        RAISE EXCEPTION 'the branch of % does not meet the chain', p_new_head
            USING ERRCODE = 'integrity_constraint_violation', SCHEMA = 'validators', TABLE = 'chain_blocks', CONSTRAINT = 'reorg_branch_known',
            HINT = 'Add the blocks between the new head and the chain to chain_blocks first.';
    END IF;
    SELECT * INTO v_ancestor FROM validators.chain_blocks WHERE root = v_ancestor.root;

    SELECT coalesce(array_agg(root), '{}') INTO v_orphaned
    FROM validators.chain_blocks WHERE canonical AND slot > v_ancestor.slot;
    UPDATE validators.chain_blocks SET canonical = false WHERE root = ANY (v_orphaned);
    UPDATE validators.chain_blocks SET canonical = true WHERE root = ANY (v_adopted);

    DELETE FROM validators.validator_snapshots
    WHERE ts > v_ancestor.ts AND slot > v_ancestor.slot AND (block_root = ANY (v_orphaned) OR block_root IS NULL);
    GET DIAGNOSTICS v_removed = ROW_COUNT;
    -- What was seen unchanged since then was seen on the branch left, too.
    PERFORM validators.validator_snapshots__rewind(v_ancestor.ts + interval '1 microsecond');

    -- An attestation is included in its own epoch or the next, so duties before the epoch before the ancestor's cannot be touched.
    SELECT coalesce(max(ts), '-infinity') INTO v_duties_from
    FROM (
        SELECT ts FROM validators.chain_blocks WHERE canonical AND epoch < v_ancestor.epoch - 1 ORDER BY slot DESC LIMIT 1
    ) AS before;
    UPDATE validators.attestation_duties
    SET included = false, inclusion_slot = NULL, block_root = NULL, correct_source = NULL, correct_target = NULL, correct_head = NULL
    WHERE ts > v_duties_from AND block_root = ANY (v_orphaned);
    GET DIAGNOSTICS v_reopened = ROW_COUNT;
    v_removed := v_removed + v_reopened;

    UPDATE validators.proposals SET outcome = 'orphaned' WHERE slot > v_ancestor.slot AND block_root = ANY (v_orphaned);
    UPDATE validators.proposals SET outcome = 'proposed' WHERE slot > v_ancestor.slot AND block_root = ANY (v_adopted);

    DELETE FROM validators.validator_records WHERE slot > v_ancestor.slot AND block_root = ANY (v_orphaned);
    GET DIAGNOSTICS v_reopened = ROW_COUNT;
    v_removed := v_removed + v_reopened;
    UPDATE validators.validators AS v
    SET slot = r.slot, status = coalesce(r.status, v.status), slashed = coalesce(r.slashed, v.slashed),
        withdrawal_credentials = coalesce(r.withdrawal_credentials, v.withdrawal_credentials),
        activation_eligibility_epoch = r.activation_eligibility_epoch, activation_epoch = r.activation_epoch, exit_epoch = r.exit_epoch,
        withdrawable_epoch = r.withdrawable_epoch, block_root = r.block_root
    FROM validators.validators AS touched
    LEFT JOIN LATERAL (
        SELECT * FROM validators.validator_records AS r
        WHERE r.validator_index = touched.validator_index
        ORDER BY r.slot DESC LIMIT 1
    ) AS r ON true
    WHERE touched.block_root = ANY (v_orphaned) AND v.validator_index = touched.validator_index;

    INSERT INTO validators.reorgs AS r (
        slot, old_head_block, new_head_block, epoch, depth, execution_optimistic, ancestor_slot, ancestor_root, orphaned_blocks,
        removed_rows, rewound_at)
    VALUES (
        v_head.slot, p_old_head, p_new_head, v_head.epoch, v_head.slot - v_ancestor.slot, v_head.execution_optimistic, v_ancestor.slot,
        v_ancestor.root, cardinality(v_orphaned), v_removed, clock_timestamp())
    ON CONFLICT (slot, old_head_block, new_head_block) DO UPDATE SET
        ancestor_slot = excluded.ancestor_slot,
        ancestor_root = excluded.ancestor_root,
        orphaned_blocks = excluded.orphaned_blocks,
        removed_rows = excluded.removed_rows,
        rewound_at = excluded.rewound_at
    RETURNING * INTO v_reorg;
    RETURN v_reorg;
END
$$;
""",
        comment="Moves the chain to the branch of a new head: its blocks become canonical, those of the branch left do not stay so, and what was read from them is taken back: snapshots are removed, inclusions and proposals reopened, validators set back to their record before. Both branches must be in chain_blocks, the new one not canonical yet. A branch that does not meet the chain is refused (reorg_branch_known), and so is leaving a final block (chain_blocks_final_is_canonical). Doing it again changes nothing. Returns the row of reorgs.",
    )
    op.create_function(
        "validators.attestation_duties__mark()",
        """
CREATE FUNCTION "validators"."attestation_duties__mark"() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
    INSERT INTO "validators"."attestation_duties__dirty" ("validator_index", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "validator_index", date_bin('86400 seconds'::interval, "ts", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM new_rows),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{validators.duties.daily}')
                 )
             )
        SELECT "validator_index", lo, ("lo" + '86400 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::BIGINT, lo, ("lo" + '86400 seconds'::interval) FROM dense;
    ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO "validators"."attestation_duties__dirty" ("validator_index", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "validator_index", date_bin('86400 seconds'::interval, "ts", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM old_rows),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{validators.duties.daily}')
                 )
             )
        SELECT "validator_index", lo, ("lo" + '86400 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::BIGINT, lo, ("lo" + '86400 seconds'::interval) FROM dense;
    ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO "validators"."attestation_duties__dirty" ("validator_index", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "validator_index", date_bin('86400 seconds'::interval, "ts", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM (TABLE new_rows UNION ALL TABLE old_rows) AS touched),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{validators.duties.daily}')
                 )
             )
        SELECT "validator_index", lo, ("lo" + '86400 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::BIGINT, lo, ("lo" + '86400 seconds'::interval) FROM dense;
    ELSE
        INSERT INTO "validators"."attestation_duties__dirty" (lo, hi) VALUES ('-infinity', 'infinity');
    END IF;
    RETURN NULL;
END
$$
""",
        comment="Marks the roll-ups of validators.duties that a statement touched.",
    )
    op.create_function(
        "validators.effectiveness_between(p_from timestamp with time zone, p_to timestamp with time zone, p_validators bigint[])",
        """
CREATE FUNCTION validators.effectiveness_between(p_from timestamptz, p_to timestamptz, p_validators bigint[] DEFAULT NULL)
RETURNS TABLE (
    validator_index bigint,
    epochs bigint,
    earned_reward numeric,
    ideal_reward numeric,
    effectiveness numeric,
    due_attestations bigint,
    missed_attestations bigint
)
LANGUAGE sql
STABLE
SET search_path = pg_catalog
AS $$
    SELECT s.validator_index, count(s.rewards_epoch), sum(s.earned_reward), sum(s.ideal_reward),
        sum(s.earned_reward) / nullif(sum(s.ideal_reward), 0),
        coalesce(sum(s.due_attestations), 0), coalesce(sum(s.missed_attestations), 0)
    FROM validators.validator_snapshots AS s
    WHERE s.ts >= p_from AND s.ts < p_to AND (p_validators IS NULL OR s.validator_index = ANY (p_validators))
    GROUP BY s.validator_index
    ORDER BY s.validator_index
$$;
""",
        comment="What validators earned of what they could over a span of time, from the snapshots: all of them, or some. A quotient of sums, so that each epoch weighs what it could earn.",
    )
    op.create_function(
        "validators.finalize_chain(p_root text)",
        """
CREATE FUNCTION validators.finalize_chain(p_root text) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    v_slot bigint;
    v_marked bigint;
BEGIN
    SELECT slot INTO v_slot FROM validators.chain_blocks WHERE root = p_root AND canonical;
    IF v_slot IS NULL THEN
        RAISE EXCEPTION 'block % is not on the chain', p_root
            USING ERRCODE = 'integrity_constraint_violation', SCHEMA = 'validators', TABLE = 'chain_blocks',
            CONSTRAINT = 'finalized_is_canonical', HINT = 'Add the block, or apply the reorg towards it, first.';
    END IF;
    UPDATE validators.chain_blocks SET finalized = true WHERE canonical AND NOT finalized AND slot <= v_slot;
    GET DIAGNOSTICS v_marked = ROW_COUNT;
    RETURN v_marked;
END
$$;
""",
        comment="Marks the canonical blocks up to a finalized checkpoint as final and returns how many were not so yet. A checkpoint that is not canonical here is refused (finalized_is_canonical): the reorg towards it comes first.",
    )
    op.create_function(
        "validators.latest_snapshots(p_validators bigint[], p_as_of timestamp with time zone)",
        """
CREATE FUNCTION validators.latest_snapshots(p_validators bigint[], p_as_of timestamptz DEFAULT 'infinity')
RETURNS SETOF validators.validator_snapshots
LANGUAGE sql
STABLE
SET search_path = pg_catalog
AS $$
    SELECT s.*
    FROM (SELECT DISTINCT unnest(p_validators) AS validator_index) AS wanted
    CROSS JOIN LATERAL (
        SELECT * FROM validators.validator_snapshots AS s
        WHERE s.validator_index = wanted.validator_index AND s.ts <= p_as_of
        ORDER BY s.ts DESC LIMIT 1
    ) AS s
    ORDER BY s.validator_index
$$;
""",
        comment="The newest snapshot of each of some validators, up to an instant: one index probe each, never a scan of the series.",
    )
    op.create_function(
        "validators.missed_streaks(p_from timestamp with time zone, p_to timestamp with time zone, p_at_least integer)",
        """
CREATE FUNCTION validators.missed_streaks(p_from timestamptz, p_to timestamptz, p_at_least integer DEFAULT 3)
RETURNS TABLE (
    validator_index bigint,
    first_epoch bigint,
    last_epoch bigint,
    missed bigint,
    not_seen bigint,
    ongoing boolean
)
LANGUAGE sql
STABLE
SET search_path = pg_catalog
AS $$
    WITH duties AS (
        SELECT d.validator_index, d.epoch, d.included, d.miss_reason,
            count(*) FILTER (WHERE d.included) OVER (PARTITION BY d.validator_index ORDER BY d.epoch) AS run,
            max(d.epoch) OVER (PARTITION BY d.validator_index) AS newest
        FROM validators.attestation_duties AS d
        WHERE d.ts >= p_from AND d.ts < p_to AND d.miss_reason IS DISTINCT FROM 'not_active'
    )
    SELECT validator_index, min(epoch), max(epoch), count(*), count(*) FILTER (WHERE miss_reason = 'not_seen'), max(epoch) = max(newest)
    FROM duties
    WHERE NOT included
    GROUP BY validator_index, run
    HAVING count(*) >= p_at_least
    ORDER BY count(*) DESC, validator_index, min(epoch)
$$;
""",
        comment="Runs of attestations that no block included, at least so many epochs in a row, by validators that were active, within a span of time. `ongoing` is a run that reaches the validator's last duty in the span: one to wake someone for.",
    )
    op.create_function(
        "validators.record_validator()",
        """
CREATE FUNCTION validators.record_validator() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO validators.validator_records AS r (
            validator_index, slot, status, slashed, withdrawal_credentials, activation_eligibility_epoch, activation_epoch, exit_epoch,
            withdrawable_epoch, block_root, execution_optimistic, finalized)
        SELECT validator_index, slot, status, slashed, withdrawal_credentials, activation_eligibility_epoch, activation_epoch, exit_epoch,
            withdrawable_epoch, block_root, execution_optimistic, finalized
        FROM new_rows
        WHERE slot IS NOT NULL AND pubkey IS NOT NULL
        ORDER BY validator_index
        ON CONFLICT (validator_index, slot) DO NOTHING;
    ELSE
        INSERT INTO validators.validator_records AS r (
            validator_index, slot, status, slashed, withdrawal_credentials, activation_eligibility_epoch, activation_epoch, exit_epoch,
            withdrawable_epoch, block_root, execution_optimistic, finalized)
        SELECT n.validator_index, n.slot, n.status, n.slashed, n.withdrawal_credentials, n.activation_eligibility_epoch,
            n.activation_epoch, n.exit_epoch, n.withdrawable_epoch, n.block_root, n.execution_optimistic, n.finalized
        FROM new_rows AS n
        JOIN old_rows AS o ON o.validator_index = n.validator_index
        WHERE n.slot IS NOT NULL AND n.pubkey IS NOT NULL
            AND (n.status, n.slashed, n.withdrawal_credentials, n.activation_eligibility_epoch, n.activation_epoch, n.exit_epoch,
                n.withdrawable_epoch)
            IS DISTINCT FROM
                (o.status, o.slashed, o.withdrawal_credentials, o.activation_eligibility_epoch, o.activation_epoch, o.exit_epoch,
                o.withdrawable_epoch)
        ORDER BY n.validator_index
        ON CONFLICT (validator_index, slot) DO UPDATE SET
            status = excluded.status,
            slashed = excluded.slashed,
            withdrawal_credentials = excluded.withdrawal_credentials,
            activation_eligibility_epoch = excluded.activation_eligibility_epoch,
            activation_epoch = excluded.activation_epoch,
            exit_epoch = excluded.exit_epoch,
            withdrawable_epoch = excluded.withdrawable_epoch,
            block_root = excluded.block_root,
            execution_optimistic = excluded.execution_optimistic,
            finalized = excluded.finalized;
    END IF;
    RETURN NULL;
END
$$;
""",
        comment="Trigger function: keeps a row in validator_records for each change of a validator's record, under the slot that showed it.",
    )
    op.create_function(
        "validators.validator_snapshots__as_of(p_at timestamp with time zone, p_entities bigint[])",
        """
CREATE FUNCTION "validators"."validator_snapshots__as_of"(p_at timestamptz, p_entities bigint[]) RETURNS TABLE ("validator_index" BIGINT, "ts" TIMESTAMP WITH TIME ZONE, "slot" BIGINT, "epoch" BIGINT, "balance" BIGINT, "effective_balance" BIGINT, "status" validators.validator_status, "execution_optimistic" BOOLEAN, "finalized" BOOLEAN, "block_root" TEXT, "rewards_epoch" BIGINT, "reward_head" BIGINT, "reward_target" BIGINT, "reward_source" BIGINT, "reward_inactivity" BIGINT, "ideal_head" BIGINT, "ideal_target" BIGINT, "ideal_source" BIGINT, "earned_reward" BIGINT, "ideal_reward" BIGINT, "effectiveness" DOUBLE PRECISION, "due_attestations" SMALLINT, "missed_attestations" SMALLINT, "proposer_reward" BIGINT, "proposed_blocks" SMALLINT, "missed_blocks" SMALLINT, "sync_reward" BIGINT, seen_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT "r"."validator_index", "r"."ts", "r"."slot", "r"."epoch", "r"."balance", "r"."effective_balance", "r"."status", "r"."execution_optimistic", "r"."finalized", "r"."block_root", "r"."rewards_epoch", "r"."reward_head", "r"."reward_target", "r"."reward_source", "r"."reward_inactivity", "r"."ideal_head", "r"."ideal_target", "r"."ideal_source", "r"."earned_reward", "r"."ideal_reward", "r"."effectiveness", "r"."due_attestations", "r"."missed_attestations", "r"."proposer_reward", "r"."proposed_blocks", "r"."missed_blocks", "r"."sync_reward", coalesce("validators"."validator_snapshots__sighted_before"(r."validator_index", r."ts", p_at), r."ts")
    FROM (SELECT DISTINCT unnest(p_entities) AS entity) AS wanted
    CROSS JOIN LATERAL (
        SELECT * FROM "validators"."validator_snapshots" AS r WHERE r."validator_index" = wanted.entity AND r."ts" <= p_at ORDER BY r."ts" DESC LIMIT 1
    ) AS r
    ORDER BY r."validator_index";
END
$$
""",
        comment="The rows that tell the values of some entities of validators.snapshots at an instant, and when each was last seen until then.",
    )
    op.create_function(
        "validators.validator_snapshots__keep()",
        """
CREATE FUNCTION "validators"."validator_snapshots__keep"() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM "validators"."validator_snapshots__seen";
        DELETE FROM "validators"."validator_snapshots__state";
        RETURN NULL;
    ELSIF coalesce(current_setting('chainstrata.pinning', true), '') <> '' THEN
        RETURN NULL;
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM "validators"."validator_snapshots__unsee"(ARRAY(SELECT "validator_index" FROM old_rows), ARRAY(SELECT "ts" FROM old_rows));
        PERFORM "validators"."validator_snapshots__settle"(ARRAY(SELECT DISTINCT "validator_index" FROM old_rows));
    ELSIF TG_OP = 'INSERT' THEN
        PERFORM "validators"."validator_snapshots__pin"(ARRAY(SELECT "validator_index" FROM new_rows), ARRAY(SELECT "ts" FROM new_rows));
        PERFORM "validators"."validator_snapshots__settle"(ARRAY(SELECT DISTINCT "validator_index" FROM new_rows));
    ELSE
        PERFORM "validators"."validator_snapshots__unsee"(array_agg("validator_index"), array_agg("ts"))
        FROM (SELECT "validator_index", "ts" FROM old_rows EXCEPT SELECT "validator_index", "ts" FROM new_rows) AS gone;
        PERFORM "validators"."validator_snapshots__pin"(array_agg("validator_index"), array_agg("ts"))
        FROM (SELECT "validator_index", "ts" FROM new_rows EXCEPT SELECT "validator_index", "ts" FROM old_rows) AS come;
        PERFORM "validators"."validator_snapshots__settle"(ARRAY(SELECT "validator_index" FROM old_rows UNION SELECT "validator_index" FROM new_rows));
    END IF;
    RETURN NULL;
END
$$
""",
        comment="Keeps the current state of validators.snapshots true to what a statement wrote.",
    )
    op.create_function(
        "validators.validator_snapshots__latest_of(p_entities bigint[])",
        """
CREATE FUNCTION "validators"."validator_snapshots__latest_of"(p_entities bigint[]) RETURNS TABLE ("validator_index" BIGINT, "ts" TIMESTAMP WITH TIME ZONE, "slot" BIGINT, "epoch" BIGINT, "balance" BIGINT, "effective_balance" BIGINT, "status" validators.validator_status, "execution_optimistic" BOOLEAN, "finalized" BOOLEAN, "block_root" TEXT, "rewards_epoch" BIGINT, "reward_head" BIGINT, "reward_target" BIGINT, "reward_source" BIGINT, "reward_inactivity" BIGINT, "ideal_head" BIGINT, "ideal_target" BIGINT, "ideal_source" BIGINT, "earned_reward" BIGINT, "ideal_reward" BIGINT, "effectiveness" DOUBLE PRECISION, "due_attestations" SMALLINT, "missed_attestations" SMALLINT, "proposer_reward" BIGINT, "proposed_blocks" SMALLINT, "missed_blocks" SMALLINT, "sync_reward" BIGINT, seen_at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
    SELECT "r"."validator_index", "r"."ts", "r"."slot", "r"."epoch", "r"."balance", "r"."effective_balance", "r"."status", "r"."execution_optimistic", "r"."finalized", "r"."block_root", "r"."rewards_epoch", "r"."reward_head", "r"."reward_target", "r"."reward_source", "r"."reward_inactivity", "r"."ideal_head", "r"."ideal_target", "r"."ideal_source", "r"."earned_reward", "r"."ideal_reward", "r"."effectiveness", "r"."due_attestations", "r"."missed_attestations", "r"."proposer_reward", "r"."proposed_blocks", "r"."missed_blocks", "r"."sync_reward", greatest(r."ts", b.seen_at, b.seen[(wanted.entity & 1023) + 1])
    FROM (SELECT DISTINCT unnest(p_entities) AS entity) AS wanted
    JOIN "validators"."validator_snapshots__state" AS b ON b.block = wanted.entity >> 10
    JOIN "validators"."validator_snapshots" AS r ON r."validator_index" = wanted.entity AND r."ts" = b.at[(wanted.entity & 1023) + 1]
    ORDER BY r."validator_index"
$$
""",
        comment="The last rows of some entities of validators.snapshots, and when each was last seen: two look-ups by key for each.",
    )
    op.create_function(
        "validators.validator_snapshots__lock(p_entities bigint[])",
        """
CREATE FUNCTION "validators"."validator_snapshots__lock"(p_entities bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    INSERT INTO "validators"."validator_snapshots__state" (block)
        SELECT DISTINCT entity >> 10 FROM unnest(p_entities) AS entity ORDER BY 1
        ON CONFLICT (block) DO NOTHING;
    PERFORM FROM "validators"."validator_snapshots__state" WHERE block IN (SELECT entity >> 10 FROM unnest(p_entities) AS entity) ORDER BY block FOR UPDATE;
END
$$
""",
        comment="Locks the state of entities of validators.snapshots, in one order for everybody.",
    )
    op.create_function(
        "validators.validator_snapshots__mark()",
        """
CREATE FUNCTION "validators"."validator_snapshots__mark"() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
    INSERT INTO "validators"."validator_snapshots__dirty" ("validator_index", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "validator_index", date_bin('3600 seconds'::interval, "ts", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM new_rows),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{validators.snapshots.hourly}')
                 )
             )
        SELECT "validator_index", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::BIGINT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO "validators"."validator_snapshots__dirty" ("validator_index", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "validator_index", date_bin('3600 seconds'::interval, "ts", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM old_rows),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{validators.snapshots.hourly}')
                 )
             )
        SELECT "validator_index", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::BIGINT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO "validators"."validator_snapshots__dirty" ("validator_index", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "validator_index", date_bin('3600 seconds'::interval, "ts", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM (TABLE new_rows UNION ALL TABLE old_rows) AS touched),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{validators.snapshots.hourly}')
                 )
             )
        SELECT "validator_index", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::BIGINT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSE
        INSERT INTO "validators"."validator_snapshots__dirty" (lo, hi) VALUES ('-infinity', 'infinity');
    END IF;
    RETURN NULL;
END
$$
""",
        comment="Marks the roll-ups of validators.snapshots that a statement touched.",
    )
    op.create_function(
        "validators.validator_snapshots__pin(p_entities bigint[], p_times timestamp with time zone[])",
        """
CREATE FUNCTION "validators"."validator_snapshots__pin"(p_entities bigint[], p_times timestamptz[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF p_entities IS NULL OR NOT EXISTS (SELECT FROM "validators"."validator_snapshots__seen" WHERE until IS NULL AND ts > (SELECT min(t) FROM unnest(p_times) AS t)) THEN
        RETURN;
    END IF;
    PERFORM "validators"."validator_snapshots__lock"(p_entities);
    PERFORM set_config('chainstrata.pinning', 'on', true);
    INSERT INTO "validators"."validator_snapshots" ("validator_index", "slot", "epoch", "balance", "effective_balance", "status", "execution_optimistic", "finalized", "block_root", "rewards_epoch", "reward_head", "reward_target", "reward_source", "reward_inactivity", "ideal_head", "ideal_target", "ideal_source", "due_attestations", "missed_attestations", "proposer_reward", "proposed_blocks", "missed_blocks", "sync_reward", "ts")
    SELECT DISTINCT ON (given.entity, c.at) "p"."validator_index", "p"."slot", "p"."epoch", "p"."balance", "p"."effective_balance", "p"."status", "p"."execution_optimistic", "p"."finalized", "p"."block_root", "p"."rewards_epoch", "p"."reward_head", "p"."reward_target", "p"."reward_source", "p"."reward_inactivity", "p"."ideal_head", "p"."ideal_target", "p"."ideal_source", "p"."due_attestations", "p"."missed_attestations", "p"."proposer_reward", "p"."proposed_blocks", "p"."missed_blocks", "p"."sync_reward", c.at
    FROM unnest(p_entities, p_times) AS given (entity, at)
    CROSS JOIN LATERAL (
        SELECT "validators"."validator_snapshots__sighted_after"(given.entity, given.at, coalesce(
            (SELECT n."ts" FROM "validators"."validator_snapshots" AS n WHERE n."validator_index" = given.entity AND n."ts" > given.at ORDER BY n."ts" LIMIT 1), 'infinity'
        )) AS at
    ) AS c
    CROSS JOIN LATERAL (
        SELECT r.* FROM "validators"."validator_snapshots" AS r
        WHERE r."validator_index" = given.entity AND r."ts" < given.at AND (given.entity, r."ts") NOT IN (SELECT * FROM unnest(p_entities, p_times))
        ORDER BY r."ts" DESC LIMIT 1
    ) AS p
    WHERE c.at IS NOT NULL
    ON CONFLICT DO NOTHING;
    PERFORM set_config('chainstrata.pinning', '', true);
END
$$
""",
        comment="Makes rows of the sightings of validators.snapshots that the given rows, already written, would be taken for.",
    )
    op.create_function(
        "validators.validator_snapshots__rewind(p_since timestamp with time zone)",
        """
CREATE FUNCTION "validators"."validator_snapshots__rewind"(p_since timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    v_seen bigint[];
BEGIN
    PERFORM FROM "validators"."validator_snapshots__state" ORDER BY block FOR UPDATE;
    v_seen := ARRAY(
        SELECT (b.block << 10) + u.place - 1
        FROM "validators"."validator_snapshots__state" AS b
        CROSS JOIN LATERAL unnest(b.at, b.seen) WITH ORDINALITY AS u (at, seen, place)
        WHERE u.at IS NOT NULL AND greatest(b.seen_at, u.seen) >= p_since
    );
    INSERT INTO "validators"."validator_snapshots__seen" (ts, until, entities) VALUES (p_since, 'infinity', '{(,)}');
    PERFORM "validators"."validator_snapshots__settle"(v_seen);
END
$$
""",
        comment="Takes back all sightings of validators.snapshots from an instant on, as a reorg does; rows are deleted besides.",
    )
    op.create_function(
        "validators.validator_snapshots__settle(p_entities bigint[])",
        """
CREATE FUNCTION "validators"."validator_snapshots__settle"(p_entities bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    PERFORM "validators"."validator_snapshots__lock"(p_entities);
    WITH touched AS MATERIALIZED (
        SELECT wanted.entity >> 10 AS block, (wanted.entity & 1023) + 1 AS place, probed.at, CASE WHEN probed.at IS NOT NULL THEN "validators"."validator_snapshots__sighted_before"(wanted.entity, probed.at, 'infinity') END AS seen
        FROM (SELECT DISTINCT unnest(p_entities) AS entity) AS wanted
        LEFT JOIN LATERAL (
            SELECT r."ts" AS at FROM "validators"."validator_snapshots" AS r WHERE r."validator_index" = wanted.entity ORDER BY r."ts" DESC LIMIT 1
        ) AS probed ON true
    )
    UPDATE "validators"."validator_snapshots__state" AS b
    SET at = made.at, seen_at = NULL, seen = made.seen, version = pg_current_xact_id()::text::bigint
    FROM (
        SELECT
            b.block,
            array_agg(CASE WHEN t.block IS NULL THEN u.at ELSE t.at END ORDER BY u.place) AS at,
            array_agg(CASE WHEN t.block IS NOT NULL THEN t.seen WHEN u.at IS NOT NULL THEN coalesce(b.seen_at, u.seen) END ORDER BY u.place) AS seen
        FROM "validators"."validator_snapshots__state" AS b
        CROSS JOIN LATERAL unnest(coalesce(b.at, array_fill(NULL::timestamptz, ARRAY[1024])), b.seen) WITH ORDINALITY AS u (at, seen, place)
        LEFT JOIN touched AS t ON t.block = b.block AND t.place = u.place
        WHERE b.block IN (SELECT block FROM touched)
        GROUP BY b.block
    ) AS made
    WHERE made.block = b.block;
END
$$
""",
        comment="Finds the last rows of entities of validators.snapshots again, by one probe of the series each.",
    )
    op.create_function(
        "validators.validator_snapshots__sighted_after(p_entity bigint, p_after timestamp with time zone, p_before timestamp with time zone)",
        """
CREATE FUNCTION "validators"."validator_snapshots__sighted_after"(p_entity bigint, p_after timestamptz, p_before timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
    SELECT s.ts FROM "validators"."validator_snapshots__seen" AS s
    WHERE s.until IS NULL AND s.entities @> p_entity AND NOT EXISTS (
        SELECT FROM "validators"."validator_snapshots__seen" AS v
        WHERE v.until IS NOT NULL AND v.until > s.ts AND v.ts <= s.ts AND v.id > s.id AND v.entities @> p_entity
    ) AND s.ts > p_after AND s.ts < p_before
    ORDER BY s.ts LIMIT 1
$$
""",
        comment="The first time after one instant and before another that an entity of validators.snapshots was seen.",
    )
    op.create_function(
        "validators.validator_snapshots__sighted_before(p_entity bigint, p_after timestamp with time zone, p_upto timestamp with time zone)",
        """
CREATE FUNCTION "validators"."validator_snapshots__sighted_before"(p_entity bigint, p_after timestamptz, p_upto timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
    SELECT s.ts FROM "validators"."validator_snapshots__seen" AS s
    WHERE s.until IS NULL AND s.entities @> p_entity AND NOT EXISTS (
        SELECT FROM "validators"."validator_snapshots__seen" AS v
        WHERE v.until IS NOT NULL AND v.until > s.ts AND v.ts <= s.ts AND v.id > s.id AND v.entities @> p_entity
    ) AND s.ts > p_after AND s.ts <= p_upto
    ORDER BY s.ts DESC LIMIT 1
$$
""",
        comment="The last time after one instant and up to another that an entity of validators.snapshots was seen.",
    )
    op.create_function(
        "validators.validator_snapshots__unsee(p_entities bigint[], p_times timestamp with time zone[])",
        """
CREATE FUNCTION "validators"."validator_snapshots__unsee"(p_entities bigint[], p_times timestamptz[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF p_entities IS NULL OR p_entities = '{}' THEN
        RETURN;
    END IF;
    PERFORM "validators"."validator_snapshots__lock"(p_entities);
    INSERT INTO "validators"."validator_snapshots__seen" (ts, until, entities)
    SELECT given.at, coalesce(n.at, 'infinity'), range_agg(int8range(given.entity, given.entity, '[]'))
    FROM unnest(p_entities, p_times) AS given (entity, at)
    LEFT JOIN LATERAL (
        SELECT r."ts" AS at FROM "validators"."validator_snapshots" AS r WHERE r."validator_index" = given.entity AND r."ts" > given.at ORDER BY r."ts" LIMIT 1
    ) AS n ON true
    GROUP BY given.at, coalesce(n.at, 'infinity');
END
$$
""",
        comment="Takes back what the given rows of validators.snapshots, already deleted, stood for.",
    )
    op.create_view(
        "validators.chain_status",
        """
CREATE VIEW validators.chain_status AS
SELECT
    head.slot AS head_slot,
    head.root AS head_root,
    head.ts AS head_ts,
    final.slot AS finalized_slot,
    final.root AS finalized_root,
    final.ts AS finalized_ts,
    head.slot - final.slot AS slots_to_finality
FROM (SELECT slot, root, ts FROM validators.chain_blocks WHERE canonical ORDER BY slot DESC LIMIT 1) AS head
LEFT JOIN (SELECT slot, root, ts FROM validators.chain_blocks WHERE canonical AND finalized ORDER BY slot DESC LIMIT 1) AS final ON true;
""",
        comment="One row: the head of the chain, the newest final block, and how far they are apart. What is dated up to the final block cannot change.",
    )
    op.create_view(
        "validators.open_alerts",
        """
CREATE VIEW validators.open_alerts AS
SELECT
    a.id, a.alert_type, a.severity, a.raised_at, a.last_seen_at, a.occurrences, a.resolution_status, a.acknowledged_by, a.message,
    a.validator_index, v.name, v.operator, v.label
FROM validators.alerts AS a
LEFT JOIN validators.validators AS v ON v.validator_index = a.validator_index
WHERE a.resolution_status IN ('open', 'acknowledged');
""",
        comment="Unresolved alerts with what people call the validator and who runs it.",
    )
    op.create_view(
        "validators.operator_summary",
        """
CREATE VIEW validators.operator_summary AS
SELECT
    v.operator,
    v.label,
    v.status,
    count(*) AS validators,
    sum(v.effective_balance) AS effective_balance,
    count(*) FILTER (WHERE v.slashed) AS slashed,
    coalesce(sum(a.unresolved), 0) AS unresolved_alerts
FROM validators.validators AS v
LEFT JOIN (
    SELECT validator_index, count(*) AS unresolved
    FROM validators.alerts
    WHERE resolution_status IN ('open', 'acknowledged')
    GROUP BY validator_index
) AS a ON a.validator_index = v.validator_index
GROUP BY v.operator, v.label, v.status;
""",
        comment="Validators, effective balance and unresolved alerts by operator, label and status.",
    )
    op.create_view(
        "validators.validator_snapshots__latest",
        """
CREATE VIEW "validators"."validator_snapshots__latest" AS
SELECT "r"."validator_index", "r"."ts", "r"."slot", "r"."epoch", "r"."balance", "r"."effective_balance", "r"."status", "r"."execution_optimistic", "r"."finalized", "r"."block_root", "r"."rewards_epoch", "r"."reward_head", "r"."reward_target", "r"."reward_source", "r"."reward_inactivity", "r"."ideal_head", "r"."ideal_target", "r"."ideal_source", "r"."earned_reward", "r"."ideal_reward", "r"."effectiveness", "r"."due_attestations", "r"."missed_attestations", "r"."proposer_reward", "r"."proposed_blocks", "r"."missed_blocks", "r"."sync_reward", kept.seen_at
FROM (
    SELECT
        ((b.block << 10) + u.place - 1)::BIGINT AS entity,
        u.at,
        greatest(u.at, b.seen_at, u.seen) AS seen_at
    FROM "validators"."validator_snapshots__state" AS b
    CROSS JOIN LATERAL unnest(b.at, b.seen) WITH ORDINALITY AS u (at, seen, place)
    WHERE u.at IS NOT NULL
) AS kept
JOIN "validators"."validator_snapshots" AS r ON r."validator_index" = kept.entity AND r."ts" = kept.at
""",
        comment="One row per entity of validators.snapshots: its last row, and when it was last seen.",
    )
    op.create_trigger(
        "alerts__stamp",
        "validators.alerts",
        """
CREATE TRIGGER "alerts__stamp" BEFORE UPDATE ON "validators"."alerts" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of validators.alerts was written true.",
    )
    op.create_trigger(
        "attestation_duties__mark_delete",
        "validators.attestation_duties",
        """
CREATE TRIGGER "attestation_duties__mark_delete" AFTER DELETE ON "validators"."attestation_duties" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "validators"."attestation_duties__mark"()
""",
        comment="Marks the roll-ups of validators.duties that a statement touched.",
    )
    op.create_trigger(
        "attestation_duties__mark_insert",
        "validators.attestation_duties",
        """
CREATE TRIGGER "attestation_duties__mark_insert" AFTER INSERT ON "validators"."attestation_duties" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "validators"."attestation_duties__mark"()
""",
        comment="Marks the roll-ups of validators.duties that a statement touched.",
    )
    op.create_trigger(
        "attestation_duties__mark_truncate",
        "validators.attestation_duties",
        """
CREATE TRIGGER "attestation_duties__mark_truncate" AFTER TRUNCATE ON "validators"."attestation_duties" FOR EACH STATEMENT EXECUTE FUNCTION "validators"."attestation_duties__mark"()
""",
        comment="Marks the roll-ups of validators.duties that a statement touched.",
    )
    op.create_trigger(
        "attestation_duties__mark_update",
        "validators.attestation_duties",
        """
CREATE TRIGGER "attestation_duties__mark_update" AFTER UPDATE ON "validators"."attestation_duties" REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "validators"."attestation_duties__mark"()
""",
        comment="Marks the roll-ups of validators.duties that a statement touched.",
    )
    op.create_trigger(
        "chain_blocks__stamp",
        "validators.chain_blocks",
        """
CREATE TRIGGER "chain_blocks__stamp" BEFORE UPDATE ON "validators"."chain_blocks" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of validators.blocks was written true.",
    )
    op.create_trigger(
        "proposals__stamp",
        "validators.proposals",
        """
CREATE TRIGGER "proposals__stamp" BEFORE UPDATE ON "validators"."proposals" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of validators.proposals was written true.",
    )
    op.create_trigger(
        "validator_snapshots__keep_delete",
        "validators.validator_snapshots",
        """
CREATE TRIGGER "validator_snapshots__keep_delete" AFTER DELETE ON "validators"."validator_snapshots" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "validators"."validator_snapshots__keep"()
""",
        comment="Keeps the current state of validators.snapshots true to what a statement wrote.",
    )
    op.create_trigger(
        "validator_snapshots__keep_insert",
        "validators.validator_snapshots",
        """
CREATE TRIGGER "validator_snapshots__keep_insert" AFTER INSERT ON "validators"."validator_snapshots" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "validators"."validator_snapshots__keep"()
""",
        comment="Keeps the current state of validators.snapshots true to what a statement wrote.",
    )
    op.create_trigger(
        "validator_snapshots__keep_truncate",
        "validators.validator_snapshots",
        """
CREATE TRIGGER "validator_snapshots__keep_truncate" AFTER TRUNCATE ON "validators"."validator_snapshots" FOR EACH STATEMENT EXECUTE FUNCTION "validators"."validator_snapshots__keep"()
""",
        comment="Keeps the current state of validators.snapshots true to what a statement wrote.",
    )
    op.create_trigger(
        "validator_snapshots__keep_update",
        "validators.validator_snapshots",
        """
CREATE TRIGGER "validator_snapshots__keep_update" AFTER UPDATE ON "validators"."validator_snapshots" REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "validators"."validator_snapshots__keep"()
""",
        comment="Keeps the current state of validators.snapshots true to what a statement wrote.",
    )
    op.create_trigger(
        "validator_snapshots__mark_delete",
        "validators.validator_snapshots",
        """
CREATE TRIGGER "validator_snapshots__mark_delete" AFTER DELETE ON "validators"."validator_snapshots" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "validators"."validator_snapshots__mark"()
""",
        comment="Marks the roll-ups of validators.snapshots that a statement touched.",
    )
    op.create_trigger(
        "validator_snapshots__mark_insert",
        "validators.validator_snapshots",
        """
CREATE TRIGGER "validator_snapshots__mark_insert" AFTER INSERT ON "validators"."validator_snapshots" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "validators"."validator_snapshots__mark"()
""",
        comment="Marks the roll-ups of validators.snapshots that a statement touched.",
    )
    op.create_trigger(
        "validator_snapshots__mark_truncate",
        "validators.validator_snapshots",
        """
CREATE TRIGGER "validator_snapshots__mark_truncate" AFTER TRUNCATE ON "validators"."validator_snapshots" FOR EACH STATEMENT EXECUTE FUNCTION "validators"."validator_snapshots__mark"()
""",
        comment="Marks the roll-ups of validators.snapshots that a statement touched.",
    )
    op.create_trigger(
        "validator_snapshots__mark_update",
        "validators.validator_snapshots",
        """
CREATE TRIGGER "validator_snapshots__mark_update" AFTER UPDATE ON "validators"."validator_snapshots" REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "validators"."validator_snapshots__mark"()
""",
        comment="Marks the roll-ups of validators.snapshots that a statement touched.",
    )
    op.create_trigger(
        "record_validator_insert",
        "validators.validators",
        """
CREATE TRIGGER record_validator_insert
AFTER INSERT ON validators.validators
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION validators.record_validator();
""",
        comment="The first record of validators that are new.",
    )
    op.create_trigger(
        "record_validator_update",
        "validators.validators",
        """
CREATE TRIGGER record_validator_update
AFTER UPDATE ON validators.validators
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION validators.record_validator();
""",
        comment="A further record of validators whose status, slashing, credentials or epochs changed.",
    )
    op.create_trigger(
        "validators__stamp",
        "validators.validators",
        """
CREATE TRIGGER "validators__stamp" BEFORE UPDATE ON "validators"."validators" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of validators.validators was written true.",
    )
    op.set_policy(
        "validators.alerts",
        {
            "cache": {"tags": ["validator:{validator_index}"], "ttl": "5 minutes"},
            "conflict": {"policy": "merge"},
            "entity": ["id"],
            "lifecycle": {"keep": "1 year", "terminal": "resolution_status IN ('resolved', 'dismissed')"},
            "parents": [{"columns": [["validator_index", "validator_index"]], "dataset": "validators.validators"}],
            "table": "validators.alerts",
            "time": "raised_at",
            "topic": "validators.alerts",
        },
    )
    op.set_policy(
        "validators.blocks",
        {
            "conflict": {"policy": "merge"},
            "entity": ["root"],
            "final": "finalized",
            "mirror": {"order_by": ["slot", "root"]},
            "table": "validators.chain_blocks",
            "time": "ts",
            "topic": "validators.blocks",
        },
    )
    op.set_policy(
        "validators.duties",
        {
            "cache": {"tags": ["validator:{validator_index}"], "ttl": "5 minutes"},
            "conflict": {"policy": "merge"},
            "entity": ["validator_index"],
            "final": "finalized",
            "lifecycle": {"keep": "90 days", "partition": "1 day", "premake": 7},
            "mirror": {"order_by": ["validator_index", "ts"]},
            "parents": [{"columns": [["validator_index", "validator_index"]], "dataset": "validators.validators"}],
            "rollups": [
                {
                    "by": ["validator_index"],
                    "derived": [
                        {
                            "doc": "Share of the duties that a block included.",
                            "formula": "included::numeric / nullif(duties, 0)",
                            "name": "inclusion_rate",
                        },
                    ],
                    "doc": "One row per validator and day: its attestations by what became of them.",
                    "every": "1 day",
                    "lifecycle": {"partition": "1 year", "premake": 1},
                    "measures": [
                        {"kind": "count", "name": "duties"},
                        {"kind": "count", "name": "included", "where": "included IS true"},
                        {"kind": "count", "name": "not_seen", "where": "miss_reason = 'not_seen'"},
                        {"kind": "count", "name": "not_included", "where": "miss_reason = 'not_included'"},
                        {"kind": "count", "name": "wrong_source", "where": "miss_reason = 'wrong_source'"},
                        {"kind": "count", "name": "wrong_target", "where": "miss_reason = 'wrong_target'"},
                        {"kind": "count", "name": "wrong_head", "where": "miss_reason = 'wrong_head'"},
                        {"kind": "count", "name": "late", "where": "miss_reason = 'late'"},
                        {"column": "inclusion_distance", "kind": "mean", "name": "inclusion_distance"},
                    ],
                    "name": "daily",
                },
            ],
            "table": "validators.attestation_duties",
            "time": "ts",
            "topic": "validators.duties",
        },
    )
    op.set_policy(
        "validators.proposals",
        {
            "cache": {"tags": ["validator:{validator_index}"], "ttl": "5 minutes"},
            "conflict": {"policy": "merge"},
            "entity": ["slot"],
            "final": "finalized",
            "mirror": {"order_by": ["slot"]},
            "parents": [{"columns": [["validator_index", "validator_index"]], "dataset": "validators.validators"}],
            "table": "validators.proposals",
            "time": "ts",
            "topic": "validators.proposals",
        },
    )
    op.set_policy(
        "validators.records",
        {
            "conflict": {"policy": "ignore"},
            "entity": ["validator_index"],
            "final": "finalized",
            "mirror": {"order_by": ["validator_index", "slot"]},
            "parents": [{"columns": [["validator_index", "validator_index"]], "dataset": "validators.validators"}],
            "table": "validators.validator_records",
            "topic": "validators.records",
        },
    )
    op.set_policy(
        "validators.reorgs",
        {
            "conflict": {"policy": "merge"},
            "entity": ["new_head_block"],
            "table": "validators.reorgs",
            "time": "detected_at",
            "topic": "validators.reorgs",
        },
    )
    op.set_policy(
        "validators.snapshots",
        {
            "cache": {"tags": ["validator:{validator_index}"], "ttl": "5 minutes"},
            "change_only": {"heartbeat": "1 day", "ignoring": ["slot", "epoch", "block_root", "execution_optimistic", "finalized"]},
            "conflict": {"policy": "merge"},
            "entity": ["validator_index"],
            "final": "finalized",
            "lifecycle": {"keep": "90 days", "partition": "1 day", "premake": 7},
            "mirror": {"order_by": ["validator_index", "ts"]},
            "parents": [{"columns": [["validator_index", "validator_index"]], "dataset": "validators.validators"}],
            "rollups": [
                {
                    "by": ["validator_index"],
                    "derived": [
                        {
                            "doc": "earned_reward / ideal_reward of the bucket: the mean of the epochs' effectiveness, each weighted by what it could earn.",
                            "formula": "earned_reward / nullif(ideal_reward, 0)",
                            "name": "effectiveness",
                        },
                        {
                            "doc": "Share of the attestations due that were included.",
                            "formula": "1 - missed_attestations / nullif(due_attestations, 0)",
                            "name": "participation",
                        },
                    ],
                    "doc": "One row per validator and hour: its balance and what it earned of what it could.",
                    "every": "1 hour",
                    "lifecycle": {"keep": "2 years", "partition": "1 month", "premake": 2},
                    "measures": [
                        {"column": "balance", "kind": "first", "name": "balance_first"},
                        {"column": "balance", "kind": "last", "name": "balance_last"},
                        {"column": "balance", "kind": "lowest", "name": "balance_min"},
                        {"column": "balance", "kind": "highest", "name": "balance_max"},
                        {"column": "effective_balance", "kind": "last", "name": "effective_balance_last"},
                        {"column": "status", "kind": "last", "name": "status_last"},
                        {"column": "earned_reward", "kind": "total", "name": "earned_reward"},
                        {"column": "ideal_reward", "kind": "total", "name": "ideal_reward"},
                        {"column": "due_attestations", "kind": "total", "name": "due_attestations"},
                        {"column": "missed_attestations", "kind": "total", "name": "missed_attestations"},
                        {"column": "proposer_reward", "kind": "total", "name": "proposer_reward"},
                        {"column": "proposed_blocks", "kind": "total", "name": "proposed_blocks"},
                        {"column": "missed_blocks", "kind": "total", "name": "missed_blocks"},
                        {"column": "sync_reward", "kind": "total", "name": "sync_reward"},
                    ],
                    "name": "hourly",
                },
                {
                    "by": ["validator_index"],
                    "derived": [
                        {
                            "doc": "earned_reward / ideal_reward of the bucket: the mean of the epochs' effectiveness, each weighted by what it could earn.",
                            "formula": "earned_reward / nullif(ideal_reward, 0)",
                            "name": "effectiveness",
                        },
                        {
                            "doc": "Share of the attestations due that were included.",
                            "formula": "1 - missed_attestations / nullif(due_attestations, 0)",
                            "name": "participation",
                        },
                    ],
                    "doc": "One row per validator and day: its balance and what it earned of what it could.",
                    "every": "1 day",
                    "lifecycle": {"partition": "1 year", "premake": 1},
                    "measures": [
                        {"column": "balance", "kind": "first", "name": "balance_first"},
                        {"column": "balance", "kind": "last", "name": "balance_last"},
                        {"column": "balance", "kind": "lowest", "name": "balance_min"},
                        {"column": "balance", "kind": "highest", "name": "balance_max"},
                        {"column": "effective_balance", "kind": "last", "name": "effective_balance_last"},
                        {"column": "status", "kind": "last", "name": "status_last"},
                        {"column": "earned_reward", "kind": "total", "name": "earned_reward"},
                        {"column": "ideal_reward", "kind": "total", "name": "ideal_reward"},
                        {"column": "due_attestations", "kind": "total", "name": "due_attestations"},
                        {"column": "missed_attestations", "kind": "total", "name": "missed_attestations"},
                        {"column": "proposer_reward", "kind": "total", "name": "proposer_reward"},
                        {"column": "proposed_blocks", "kind": "total", "name": "proposed_blocks"},
                        {"column": "missed_blocks", "kind": "total", "name": "missed_blocks"},
                        {"column": "sync_reward", "kind": "total", "name": "sync_reward"},
                    ],
                    "name": "daily",
                    "source": "hourly",
                },
            ],
            "table": "validators.validator_snapshots",
            "time": "ts",
            "topic": "validators.snapshots",
        },
    )
    op.set_policy(
        "validators.validators",
        {
            "cache": {"tags": ["validator:{validator_index}"], "ttl": "5 minutes"},
            "conflict": {"policy": "newest", "version": "slot"},
            "entity": ["validator_index"],
            "final": "finalized",
            "mirror": {"order_by": ["validator_index"]},
            "table": "validators.validators",
            "topic": "validators.validators",
        },
    )


def downgrade() -> None:
    op.drop_view("validators.validator_snapshots__latest")
    op.drop_view("validators.operator_summary")
    op.drop_view("validators.open_alerts")
    op.drop_view("validators.chain_status")
    op.remove_policy("validators.validators")
    op.remove_policy("validators.snapshots")
    op.remove_policy("validators.reorgs")
    op.remove_policy("validators.records")
    op.remove_policy("validators.proposals")
    op.remove_policy("validators.duties")
    op.remove_policy("validators.blocks")
    op.remove_policy("validators.alerts")
    op.drop_function("validators.validator_snapshots__unsee(p_entities bigint[], p_times timestamp with time zone[])")
    op.drop_function(
        "validators.validator_snapshots__sighted_before(p_entity bigint, p_after timestamp with time zone, p_upto timestamp with time zone)",
    )
    op.drop_function(
        "validators.validator_snapshots__sighted_after(p_entity bigint, p_after timestamp with time zone, p_before timestamp with time zone)",
    )
    op.drop_function("validators.validator_snapshots__settle(p_entities bigint[])")
    op.drop_function("validators.validator_snapshots__rewind(p_since timestamp with time zone)")
    op.drop_function("validators.validator_snapshots__pin(p_entities bigint[], p_times timestamp with time zone[])")
    op.drop_function("validators.latest_snapshots(p_validators bigint[], p_as_of timestamp with time zone)")
    op.drop_table("validator_snapshots", schema="validators")
    op.drop_function("validators.validator_snapshots__mark()")
    op.drop_function("validators.validator_snapshots__lock(p_entities bigint[])")
    op.drop_function("validators.validator_snapshots__latest_of(p_entities bigint[])")
    op.drop_function("validators.validator_snapshots__keep()")
    op.drop_function("validators.validator_snapshots__as_of(p_at timestamp with time zone, p_entities bigint[])")
    op.drop_table("validator_records", schema="validators")
    op.drop_table("proposals", schema="validators")
    op.drop_table("alerts", schema="validators")
    op.drop_table("validators", schema="validators")
    op.drop_function("validators.record_validator()")
    op.drop_function("validators.missed_streaks(p_from timestamp with time zone, p_to timestamp with time zone, p_at_least integer)")
    op.drop_function("validators.finalize_chain(p_root text)")
    op.drop_function(
        "validators.effectiveness_between(p_from timestamp with time zone, p_to timestamp with time zone, p_validators bigint[])",
    )
    op.drop_table("attestation_duties", schema="validators")
    op.drop_function("validators.attestation_duties__mark()")
    op.drop_function("validators.apply_reorg(p_old_head text, p_new_head text)")
    op.drop_table("validator_snapshots_hourly__dirty", schema="validators")
    op.drop_table("validator_snapshots_hourly__carried", schema="validators")
    op.drop_table("validator_snapshots_hourly", schema="validators")
    op.drop_table("validator_snapshots_daily__carried", schema="validators")
    op.drop_table("validator_snapshots_daily", schema="validators")
    op.drop_table("validator_snapshots__state", schema="validators")
    op.drop_table("validator_snapshots__seen", schema="validators")
    op.drop_table("validator_snapshots__dirty", schema="validators")
    op.drop_table("reorgs", schema="validators")
    op.drop_table("chain_blocks", schema="validators")
    op.drop_table("attestation_duties_daily__carried", schema="validators")
    op.drop_table("attestation_duties_daily", schema="validators")
    op.drop_table("attestation_duties__dirty", schema="validators")
    op.drop_enum("validators.validator_status")
    op.drop_enum("validators.proposal_outcome")
    op.drop_enum("validators.miss_reason")
    op.drop_enum("validators.credential_type")
    op.drop_enum("validators.alert_type")
    op.drop_enum("validators.alert_severity")
    op.drop_enum("validators.alert_resolution")
    op.drop_schema("validators")
