"""Create initial schema."""

import sqlalchemy as sa

from chainstrata.migrate import op, pgtype

revision = "portfolio_0001"
down_revision = None
branch_labels = ("portfolio",)
depends_on = ("strata_0001",)


def upgrade() -> None:
    op.create_schema(
        "portfolio",
        comment="Users, their wallets, what they hold in which protocol, the history of their transactions, and valuations over time.",
    )
    op.create_extension("pg_trgm")
    op.create_enum("portfolio.asset_type", ["native", "token", "stablecoin", "wrapped", "liquid_staking", "lp", "receipt", "debt", "nft"])
    op.create_enum("portfolio.position_type", ["wallet", "supplied", "borrowed", "staked", "locked", "liquidity", "reward"])
    op.create_enum(
        "portfolio.protocol_category",
        [
            "wallet",
            "dex",
            "lending",
            "staking",
            "liquid_staking",
            "restaking",
            "yield",
            "derivatives",
            "cdp",
            "bridge",
            "rwa",
            "nft",
            "other",
        ],
    )
    op.create_enum("portfolio.risk_level", ["minimal", "low", "medium", "high", "extreme"])
    op.create_enum(
        "portfolio.transaction_type",
        [
            "transfer_in",
            "transfer_out",
            "swap_in",
            "swap_out",
            "bridge_in",
            "bridge_out",
            "deposit",
            "withdrawal",
            "stake",
            "unstake",
            "borrow",
            "repay",
            "liquidation",
            "reward",
            "mint",
            "burn",
            "fee",
        ],
    )
    op.create_table(
        "assets",
        sa.Column(
            "asset_id",
            sa.Text(),
            nullable=False,
            comment="`chain:address` as price sources write it, `chain:native` for the chain's own coin.",
        ),
        sa.Column(
            "chain",
            sa.Text(),
            sa.Computed("split_part(asset_id, ':', 1)", persisted=True),
            nullable=False,
            comment="The chain, from asset_id.",
        ),
        sa.Column(
            "address",
            sa.Text(),
            sa.Computed("substr(asset_id, strpos(asset_id, ':') + 1)", persisted=True),
            nullable=False,
            comment="Contract or denomination on that chain, from asset_id.",
        ),
        sa.Column(
            "symbol",
            sa.Text(),
            nullable=True,
            comment="Ticker. Anybody can take any, so it identifies nothing. NULL: not known yet.",
        ),
        sa.Column("name", sa.Text(), nullable=True, comment="Name for people."),
        sa.Column(
            "decimals",
            sa.SmallInteger(),
            nullable=False,
            comment="A whole one is 10 to that power of units. Fixed by the contract.",
        ),
        sa.Column(
            "asset_type",
            pgtype("portfolio.asset_type"),
            server_default=sa.text("'token'::portfolio.asset_type"),
            nullable=False,
            comment="What kind it is.",
        ),
        sa.Column("risk_level", pgtype("portfolio.risk_level"), nullable=True, comment="How risky it is judged to be. NULL: not judged."),
        sa.Column("price_id", sa.Text(), nullable=True, comment="Its name at the price source, to join prices with. NULL: not priced."),
        sa.Column("price_usd", sa.Numeric(), nullable=True, comment="Last known price of a whole one, US dollars."),
        sa.Column("price_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When that price was true."),
        sa.Column(
            "price_confidence",
            sa.Numeric(),
            nullable=True,
            comment="How far the source trusts the price, 0 to 1. Under 0.2 it is better not used.",
        ),
        sa.Column(
            "metadata",
            pgtype("jsonb"),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="What else is known: logo, bridge, underlying assets.",
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
        sa.PrimaryKeyConstraint("asset_id", name="assets_pkey"),
        sa.CheckConstraint(
            "(length(asset_id) BETWEEN 44 AND 107 AND asset_id ~ '^[a-z0-9][a-z0-9_-]*\\:0x[0-9a-f]*$') OR (length(asset_id) BETWEEN 10 AND 240 AND asset_id ~ '^[a-z0-9][a-z0-9_-]*\\:0x[0-9a-f]+::[0-9A-Za-z_]+::[0-9A-Za-z_]+$') OR (length(asset_id) BETWEEN 4 AND 169 AND asset_id ~ '^[a-z0-9][a-z0-9_-]*:[1-9A-Za-z][0-9A-Za-z/._-]*$')",
            name="assets_asset_id_form",
        ),
        sa.CheckConstraint("decimals BETWEEN 0 AND 255", name="assets_decimals_range"),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name="assets_metadata_object"),
        sa.CheckConstraint("(price_usd IS NULL) = (price_at IS NULL)", name="assets_price_at_given"),
        sa.CheckConstraint("price_confidence BETWEEN 0 AND 1", name="assets_price_confidence_range"),
        sa.CheckConstraint("price_usd >= 0 AND price_usd < 'Infinity'::numeric", name="assets_price_usd_finite"),
        schema="portfolio",
        comment="One asset on one chain.",
    )
    op.create_index(
        "idx_assets_name_trgm",
        "assets",
        [sa.text("symbol gin_trgm_ops"), sa.text("name gin_trgm_ops")],
        schema="portfolio",
        postgresql_using="gin",
        comment="Finding an asset by a part of its ticker or name, or with a typing error.",
    )
    op.create_index(
        "idx_assets_symbol",
        "assets",
        ["symbol"],
        schema="portfolio",
        comment="Every asset that calls itself by one ticker, impostors included.",
    )
    op.create_table(
        "protocols",
        sa.Column(
            "protocol_id",
            sa.Text(),
            nullable=False,
            comment="Slug as DefiLlama writes it, such as aave-v3; `wallet` is what is in no protocol.",
        ),
        sa.Column("name", sa.Text(), nullable=True, comment="Name for people. NULL: known only from a holding or a transaction so far."),
        sa.Column(
            "category",
            pgtype("portfolio.protocol_category"),
            server_default=sa.text("'other'::portfolio.protocol_category"),
            nullable=False,
            comment="What it does.",
        ),
        sa.Column("risk_level", pgtype("portfolio.risk_level"), nullable=True, comment="How risky it is judged to be. NULL: not judged."),
        sa.Column("chains", pgtype("text[]"), server_default=sa.text("'{}'::text[]"), nullable=False, comment="Chains it runs on."),
        sa.Column("website", sa.Text(), nullable=True, comment="Where its users find it."),
        sa.Column("tvl_usd", sa.Numeric(), nullable=True, comment="Value locked in it, US dollars, as last seen."),
        sa.Column(
            "retired_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it ended. Protocols are retired, not deleted. NULL: in use.",
        ),
        sa.Column(
            "metadata",
            pgtype("jsonb"),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="What else the source says: audits, links, parent protocol.",
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
        sa.PrimaryKeyConstraint("protocol_id", name="protocols_pkey"),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name="protocols_metadata_object"),
        sa.CheckConstraint(
            "length(protocol_id) BETWEEN 1 AND 80 AND protocol_id ~ '^[a-z0-9][a-z0-9._-]*$'",
            name="protocols_protocol_id_form",
        ),
        sa.CheckConstraint("tvl_usd >= 0 AND tvl_usd < 'Infinity'::numeric", name="protocols_tvl_usd_finite"),
        schema="portfolio",
        comment="One protocol that assets can be in.",
    )
    op.create_index(
        "idx_protocols_category",
        "protocols",
        ["category", "risk_level"],
        schema="portfolio",
        comment="Protocols of one category up to a level of risk.",
    )
    op.create_index(
        "idx_protocols_chains",
        "protocols",
        ["chains"],
        schema="portfolio",
        postgresql_using="gin",
        comment="Protocols that run on a chain.",
    )
    op.create_index(
        "idx_protocols_name_trgm",
        "protocols",
        [sa.text("name gin_trgm_ops")],
        schema="portfolio",
        postgresql_using="gin",
        comment="Finding a protocol by a part of its name, or by a name with a typing error.",
    )
    op.create_table(
        "transaction_keys",
        sa.Column("chain", sa.Text(), nullable=False, comment="Chain."),
        sa.Column("tx_hash", sa.Text(), nullable=False, comment="Hash of the transaction."),
        sa.Column("log_index", sa.Integer(), autoincrement=False, nullable=False, comment="Position of the log."),
        sa.Column(
            "block_timestamp",
            sa.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Time under which the movement stands in the history: names its partition.",
        ),
        sa.PrimaryKeyConstraint("chain", "tx_hash", "log_index", name="transaction_keys_pkey"),
        schema="portfolio",
        comment="One key of the transaction history, whatever its partition. Triggers of the history keep it in the same transaction, so that a movement is recorded once even when a reorg gave its block another time. It outlives partitions that were archived.",
    )
    op.create_table(
        "users",
        sa.Column(
            "user_id",
            sa.Uuid(),
            server_default=sa.text("gen_random_uuid()"),
            nullable=False,
            comment="Identifier of the user; says nothing about them.",
        ),
        sa.Column("handle", sa.Text(), nullable=False, comment="Name the user goes by, unique, in lower case."),
        sa.Column("display_name", sa.Text(), nullable=True, comment="Name for people."),
        sa.Column("email", sa.Text(), nullable=True, comment="Address for messages, in lower case, of one user only."),
        sa.Column(
            "base_currency",
            sa.Text(),
            server_default=sa.text("'USD'::text"),
            nullable=False,
            comment="Currency the user wants values in, ISO 4217.",
        ),
        sa.Column(
            "risk_tolerance",
            pgtype("portfolio.risk_level"),
            server_default=sa.text("'medium'::portfolio.risk_level"),
            nullable=False,
            comment="Most risk the user wants to take.",
        ),
        sa.Column(
            "deactivated_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the account was closed; the ledger stays. NULL: open.",
        ),
        sa.Column(
            "metadata",
            pgtype("jsonb"),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="Preferences and what else the application keeps about the user.",
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
        sa.PrimaryKeyConstraint("user_id", name="users_pkey"),
        sa.UniqueConstraint("email", name="users_email_key"),
        sa.UniqueConstraint("handle", name="users_handle_key"),
        sa.CheckConstraint("length(base_currency) = 3 AND base_currency ~ '^[A-Z]*$'", name="users_base_currency_form"),
        sa.CheckConstraint("email ~ '^[^@[:space:]]+@[^@[:space:]]+$' AND email = lower(email)", name="users_email_form"),
        sa.CheckConstraint("length(handle) BETWEEN 2 AND 64 AND handle ~ '^[a-z0-9][a-z0-9_.-]*$'", name="users_handle_form"),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name="users_metadata_object"),
        schema="portfolio",
        comment="One account.",
    )
    op.create_index(
        "idx_users_name_trgm",
        "users",
        [sa.text("handle gin_trgm_ops"), sa.text("display_name gin_trgm_ops")],
        schema="portfolio",
        postgresql_using="gin",
        comment="Finding a user by a part of the name, or by a name with a typing error.",
    )
    op.create_table(
        "portfolio_snapshots",
        sa.Column("user_id", sa.Uuid(), nullable=False, comment="The user."),
        sa.Column(
            "snapshot_date",
            sa.TIMESTAMP(timezone=True),
            nullable=False,
            comment="The instant the portfolio was valued at; by day this is midnight, UTC.",
        ),
        sa.Column("assets_usd", sa.Numeric(), nullable=False, comment="Value of everything held, US dollars."),
        sa.Column(
            "debts_usd",
            sa.Numeric(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Value of everything borrowed, US dollars.",
        ),
        sa.Column(
            "net_usd",
            sa.Numeric(),
            sa.Computed("assets_usd - debts_usd", persisted=True),
            nullable=False,
            comment="Assets less debts.",
        ),
        sa.Column("holdings", sa.Integer(), nullable=False, comment="Holdings that were valued."),
        sa.Column(
            "unpriced",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Holdings without a price, which the sums leave out.",
        ),
        sa.Column(
            "by_chain",
            pgtype("jsonb"),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="Net value by chain, US dollars as text: {chain: value}.",
        ),
        sa.Column(
            "by_category",
            pgtype("jsonb"),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="Net value by category of protocol: {category: value}.",
        ),
        sa.Column(
            "as_of",
            pgtype("jsonb"),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="Last block taken in of each chain: {chain: number}.",
        ),
        sa.Column("final", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment="Whether no reorg can undo it any more."),
        sa.Column(
            "metadata",
            pgtype("jsonb"),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="What else belongs to the valuation.",
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was first written; never changes.",
        ),
        sa.PrimaryKeyConstraint("user_id", "snapshot_date", name="portfolio_snapshots_pkey"),
        sa.ForeignKeyConstraint(["user_id"], ["portfolio.users.user_id"], name="fk_portfolio_snapshots_user", ondelete="CASCADE"),
        sa.CheckConstraint("assets_usd >= 0 AND assets_usd < 'Infinity'::numeric", name="portfolio_snapshots_assets_usd_finite"),
        sa.CheckConstraint("holdings >= 0 AND unpriced >= 0", name="portfolio_snapshots_counts"),
        sa.CheckConstraint("debts_usd >= 0 AND debts_usd < 'Infinity'::numeric", name="portfolio_snapshots_debts_usd_finite"),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name="portfolio_snapshots_metadata_object"),
        sa.CheckConstraint(
            "jsonb_typeof(by_chain) = 'object' AND jsonb_typeof(by_category) = 'object' AND jsonb_typeof(as_of) = 'object'",
            name="portfolio_snapshots_objects",
        ),
        schema="portfolio",
        comment="One valuation of one user's whole portfolio.",
        postgresql_partition_by="RANGE (snapshot_date)",
    )
    op.create_index(
        "idx_portfolio_snapshots_date",
        "portfolio_snapshots",
        ["snapshot_date"],
        schema="portfolio",
        comment="All portfolios at one time, and the newest valuation there is.",
    )
    op.create_table(
        "transaction_history",
        sa.Column("chain", sa.Text(), nullable=False, comment="Chain, by its usual lower-case name: ethereum, arbitrum, bitcoin."),
        sa.Column("tx_hash", sa.Text(), nullable=False, comment="Hash of the transaction, as the chain prints it."),
        sa.Column(
            "log_index",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="Position of the log in its block; -1 for the value the transaction itself carries, -2 for its fee.",
        ),
        sa.Column("block_timestamp", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the block."),
        sa.Column("block_number", sa.BigInteger(), nullable=False, comment="Height of the block."),
        sa.Column("block_hash", sa.Text(), nullable=False, comment="Hash of the block, which tells whether a reorg undid it."),
        sa.Column("user_id", sa.Uuid(), nullable=False, comment="The user whose portfolio moved."),
        sa.Column(
            "counterparty_user_id",
            sa.Uuid(),
            nullable=True,
            comment="The user on the other side, if it is one of ours: one log, one row.",
        ),
        sa.Column(
            "wallet_address",
            sa.Text(),
            nullable=False,
            comment="Address of the user. Not bound to the wallets of today: history outlives a removed wallet.",
        ),
        sa.Column("counterparty_address", sa.Text(), nullable=True, comment="Address on the other side; NULL for mints and burns."),
        sa.Column("transaction_type", pgtype("portfolio.transaction_type"), nullable=False, comment="What it was for, seen from the user."),
        sa.Column(
            "direction",
            sa.SmallInteger(),
            sa.Computed(
                "CASE WHEN transaction_type IN ('transfer_in', 'swap_in', 'bridge_in', 'withdrawal', 'unstake', 'borrow', 'reward', 'mint') THEN 1 WHEN transaction_type = 'liquidation' THEN 0 ELSE -1 END",
                persisted=True,
            ),
            nullable=False,
            comment="1 for what came to the wallet, -1 for what left it, 0 for what only a position lost: direction times amount sums to the balance.",
        ),
        sa.Column("asset_id", sa.Text(), nullable=False, comment="What moved."),
        sa.Column("protocol_id", sa.Text(), nullable=True, comment="Protocol it moved through; NULL for a plain transfer."),
        sa.Column("amount", pgtype("strata.uint256"), nullable=False, comment="Amount in the asset's smallest units, exact up to uint256."),
        sa.Column(
            "decimals",
            sa.SmallInteger(),
            nullable=False,
            comment="Decimals of the asset: a whole one is 10 to that power of units.",
        ),
        sa.Column(
            "quantity",
            sa.Numeric(),
            sa.Computed("trim_scale(round(amount, decimals::integer) / 10::numeric ^ decimals::numeric)", persisted=True),
            nullable=False,
            comment="The amount in whole assets, exact.",
        ),
        sa.Column(
            "price_usd",
            sa.Numeric(),
            nullable=True,
            comment="Price of a whole asset in US dollars at that time; NULL when nobody knew one.",
        ),
        sa.Column(
            "value_usd",
            sa.Numeric(),
            sa.Computed("trim_scale(round(amount, decimals::integer) / 10::numeric ^ decimals::numeric * price_usd)", persisted=True),
            nullable=True,
            comment="Quantity times price, exact; NULL without a price, so that a missing price never counts as worthless.",
        ),
        sa.Column("final", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment="Whether no reorg can undo it any more."),
        sa.Column("metadata", pgtype("jsonb"), server_default=sa.text("'{}'::jsonb"), nullable=False, comment="What else the log says."),
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
        sa.PrimaryKeyConstraint("chain", "tx_hash", "log_index", "block_timestamp", name="transaction_history_pkey"),
        sa.ForeignKeyConstraint(["asset_id"], ["portfolio.assets.asset_id"], name="fk_transaction_history_asset", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["counterparty_user_id"],
            ["portfolio.users.user_id"],
            name="fk_transaction_history_counterparty",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["protocol_id"],
            ["portfolio.protocols.protocol_id"],
            name="fk_transaction_history_protocol",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(["user_id"], ["portfolio.users.user_id"], name="fk_transaction_history_user", ondelete="RESTRICT"),
        sa.CheckConstraint("starts_with(asset_id, chain || ':')", name="transaction_history_asset_on_chain"),
        sa.CheckConstraint(
            "(length(block_hash) = 66 AND block_hash ~ '^0x[0-9a-f]*$') OR (length(block_hash) = 64 AND block_hash ~ '^[0-9a-f]*$') OR (length(block_hash) = 64 AND block_hash ~ '^[0-9A-F]*$') OR (length(block_hash) BETWEEN 43 AND 44 AND block_hash ~ '^[1-9A-HJ-NP-Za-km-z]*$')",
            name="transaction_history_block_hash_form",
        ),
        sa.CheckConstraint("block_number >= 0", name="transaction_history_block_number_range"),
        sa.CheckConstraint("block_timestamp >= '2009-01-03 00:00:00+00'", name="transaction_history_block_timestamp_range"),
        sa.CheckConstraint("length(chain) BETWEEN 1 AND 40 AND chain ~ '^[a-z0-9][a-z0-9_-]*$'", name="transaction_history_chain_form"),
        sa.CheckConstraint(
            "(length(counterparty_address) = 42 AND counterparty_address ~ '^0x[0-9a-f]*$') OR (length(counterparty_address) BETWEEN 64 AND 66 AND counterparty_address ~ '^0x[0-9a-f]*$') OR (length(counterparty_address) BETWEEN 2 AND 128 AND counterparty_address ~ '^[1-9A-Za-z][0-9A-Za-z._-]*$')",
            name="transaction_history_counterparty_address_form",
        ),
        sa.CheckConstraint("decimals BETWEEN 0 AND 255", name="transaction_history_decimals_range"),
        sa.CheckConstraint("log_index >= -2", name="transaction_history_log_index_range"),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name="transaction_history_metadata_object"),
        sa.CheckConstraint("price_usd >= 0 AND price_usd < 'Infinity'::numeric", name="transaction_history_price_usd_finite"),
        sa.CheckConstraint("counterparty_user_id <> user_id", name="transaction_history_two_sides"),
        sa.CheckConstraint(
            "(length(tx_hash) = 66 AND tx_hash ~ '^0x[0-9a-f]*$') OR (length(tx_hash) = 64 AND tx_hash ~ '^[0-9a-f]*$') OR (length(tx_hash) = 64 AND tx_hash ~ '^[0-9A-F]*$') OR (length(tx_hash) BETWEEN 43 AND 44 AND tx_hash ~ '^[1-9A-HJ-NP-Za-km-z]*$') OR (length(tx_hash) BETWEEN 86 AND 88 AND tx_hash ~ '^[1-9A-HJ-NP-Za-km-z]*$')",
            name="transaction_history_tx_hash_form",
        ),
        sa.CheckConstraint(
            "(length(wallet_address) = 42 AND wallet_address ~ '^0x[0-9a-f]*$') OR (length(wallet_address) BETWEEN 64 AND 66 AND wallet_address ~ '^0x[0-9a-f]*$') OR (length(wallet_address) BETWEEN 2 AND 128 AND wallet_address ~ '^[1-9A-Za-z][0-9A-Za-z._-]*$')",
            name="transaction_history_wallet_address_form",
        ),
        schema="portfolio",
        comment="One movement of one asset of one user: one log of a transaction, or its own value or fee.",
        postgresql_partition_by="RANGE (block_timestamp)",
    )
    op.create_index(
        "idx_transaction_history_counterparty",
        "transaction_history",
        ["counterparty_user_id", sa.text("block_timestamp DESC")],
        schema="portfolio",
        postgresql_where=sa.text("counterparty_user_id IS NOT NULL"),
        comment="Movements in which a user is the other side. Few rows have one, so the index holds only those.",
    )
    op.create_index(
        "idx_transaction_history_protocol",
        "transaction_history",
        ["protocol_id", sa.text("block_timestamp DESC")],
        schema="portfolio",
        postgresql_where=sa.text("protocol_id IS NOT NULL"),
        comment="What was done through a protocol lately.",
    )
    op.create_index(
        "idx_transaction_history_unfinal",
        "transaction_history",
        ["chain", "block_number"],
        schema="portfolio",
        postgresql_where=sa.text("NOT final"),
        comment="What a reorg of a chain undoes, and what a new final block confirms: only what is not final yet.",
    )
    op.create_index(
        "idx_transaction_history_user_asset",
        "transaction_history",
        ["user_id", "asset_id", sa.text("block_timestamp DESC")],
        schema="portfolio",
        postgresql_include=["transaction_type", "quantity", "value_usd"],
        comment="What a user did with one asset, and sums over it for cost basis and yield, from the index alone.",
    )
    op.create_index(
        "idx_transaction_history_user_time",
        "transaction_history",
        ["user_id", sa.text("block_timestamp DESC")],
        schema="portfolio",
        comment="A user's history, newest first, page by page: the read there is most of.",
    )
    op.create_table(
        "wallets",
        sa.Column("chain", sa.Text(), nullable=False, comment="Chain, by its usual lower-case name: ethereum, arbitrum, bitcoin."),
        sa.Column("address", sa.Text(), nullable=False, comment="Address on the chain; EVM addresses in lower case."),
        sa.Column(
            "user_id",
            sa.Uuid(),
            nullable=False,
            comment="The user it belongs to. An address has one owner, so that a movement has one portfolio.",
        ),
        sa.Column("label", sa.Text(), nullable=True, comment="What the user calls it."),
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
        sa.PrimaryKeyConstraint("chain", "address", name="wallets_pkey"),
        sa.UniqueConstraint("user_id", "chain", "address", name="wallets_user_id_chain_address_key"),
        sa.ForeignKeyConstraint(["user_id"], ["portfolio.users.user_id"], name="fk_wallets_user", ondelete="CASCADE"),
        sa.CheckConstraint(
            "(length(address) = 42 AND address ~ '^0x[0-9a-f]*$') OR (length(address) BETWEEN 64 AND 66 AND address ~ '^0x[0-9a-f]*$') OR (length(address) BETWEEN 2 AND 128 AND address ~ '^[1-9A-Za-z][0-9A-Za-z._-]*$')",
            name="wallets_address_form",
        ),
        sa.CheckConstraint("length(chain) BETWEEN 1 AND 40 AND chain ~ '^[a-z0-9][a-z0-9_-]*$'", name="wallets_chain_form"),
        schema="portfolio",
        comment="One address of a user on one chain.",
    )
    op.create_table(
        "portfolio_holdings",
        sa.Column("user_id", sa.Uuid(), nullable=False, comment="The user."),
        sa.Column("chain", sa.Text(), nullable=False, comment="Chain, by its usual lower-case name: ethereum, arbitrum, bitcoin."),
        sa.Column("wallet_address", sa.Text(), nullable=False, comment="Address that holds it; the owner of a position in a protocol."),
        sa.Column("asset_id", sa.Text(), nullable=False, comment="What is held."),
        sa.Column(
            "protocol_id",
            sa.Text(),
            server_default=sa.text("'wallet'::text"),
            nullable=False,
            comment="Where it is; `wallet` for what is in no protocol.",
        ),
        sa.Column(
            "position_type",
            pgtype("portfolio.position_type"),
            server_default=sa.text("'wallet'::portfolio.position_type"),
            nullable=False,
            comment="In what way it is held there.",
        ),
        sa.Column("amount", pgtype("strata.uint256"), nullable=False, comment="Amount in the asset's smallest units, exact up to uint256."),
        sa.Column(
            "decimals",
            sa.SmallInteger(),
            nullable=False,
            comment="Decimals of the asset: a whole one is 10 to that power of units.",
        ),
        sa.Column(
            "quantity",
            sa.Numeric(),
            sa.Computed("trim_scale(round(amount, decimals::integer) / 10::numeric ^ decimals::numeric)", persisted=True),
            nullable=False,
            comment="The amount in whole assets, exact.",
        ),
        sa.Column(
            "price_usd",
            sa.Numeric(),
            nullable=True,
            comment="Price of a whole asset in US dollars at that time; NULL when nobody knew one.",
        ),
        sa.Column(
            "value_usd",
            sa.Numeric(),
            sa.Computed("trim_scale(round(amount, decimals::integer) / 10::numeric ^ decimals::numeric * price_usd)", persisted=True),
            nullable=True,
            comment="Quantity times price, exact; NULL without a price, so that a missing price never counts as worthless.",
        ),
        sa.Column(
            "cost_basis_usd",
            sa.Numeric(),
            nullable=True,
            comment="What was paid for what is still held, US dollars. NULL: not known.",
        ),
        sa.Column(
            "block_number",
            sa.BigInteger(),
            nullable=False,
            comment="Block as of which the amount is true. Of two observations the higher block stands.",
        ),
        sa.Column("block_hash", sa.Text(), nullable=False, comment="Hash of that block, which tells whether a reorg undid it."),
        sa.Column("observed_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of that block."),
        sa.Column("final", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment="Whether no reorg can undo it any more."),
        sa.Column(
            "metadata",
            pgtype("jsonb"),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="What else the protocol says of the position: health factor, unlock time, range.",
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
        sa.PrimaryKeyConstraint(
            "user_id",
            "chain",
            "wallet_address",
            "asset_id",
            "protocol_id",
            "position_type",
            name="portfolio_holdings_pkey",
        ),
        sa.ForeignKeyConstraint(["asset_id"], ["portfolio.assets.asset_id"], name="fk_portfolio_holdings_asset", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["protocol_id"],
            ["portfolio.protocols.protocol_id"],
            name="fk_portfolio_holdings_protocol",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(["user_id"], ["portfolio.users.user_id"], name="fk_portfolio_holdings_user", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["user_id", "chain", "wallet_address"],
            ["portfolio.wallets.user_id", "portfolio.wallets.chain", "portfolio.wallets.address"],
            name="fk_portfolio_holdings_wallet",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("starts_with(asset_id, chain || ':')", name="portfolio_holdings_asset_on_chain"),
        sa.CheckConstraint(
            "(length(block_hash) = 66 AND block_hash ~ '^0x[0-9a-f]*$') OR (length(block_hash) = 64 AND block_hash ~ '^[0-9a-f]*$') OR (length(block_hash) = 64 AND block_hash ~ '^[0-9A-F]*$') OR (length(block_hash) BETWEEN 43 AND 44 AND block_hash ~ '^[1-9A-HJ-NP-Za-km-z]*$')",
            name="portfolio_holdings_block_hash_form",
        ),
        sa.CheckConstraint("block_number >= 0", name="portfolio_holdings_block_number_range"),
        sa.CheckConstraint("cost_basis_usd >= 0 AND cost_basis_usd < 'Infinity'::numeric", name="portfolio_holdings_cost_basis_usd_finite"),
        sa.CheckConstraint("decimals BETWEEN 0 AND 255", name="portfolio_holdings_decimals_range"),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name="portfolio_holdings_metadata_object"),
        sa.CheckConstraint("(protocol_id = 'wallet') = (position_type = 'wallet')", name="portfolio_holdings_place"),
        sa.CheckConstraint("price_usd >= 0 AND price_usd < 'Infinity'::numeric", name="portfolio_holdings_price_usd_finite"),
        schema="portfolio",
        comment="One asset of one user in one wallet and one protocol, as of a block.",
    )
    op.create_index(
        "idx_portfolio_holdings_asset",
        "portfolio_holdings",
        ["asset_id"],
        schema="portfolio",
        postgresql_include=["user_id", "quantity"],
        postgresql_where=sa.text("amount > 0"),
        comment="Who holds an asset, and how much, from the index alone; emptied holdings are left out.",
    )
    op.create_index(
        "idx_portfolio_holdings_protocol",
        "portfolio_holdings",
        ["protocol_id", "position_type"],
        schema="portfolio",
        postgresql_include=["user_id", "value_usd"],
        postgresql_where=sa.text("amount > 0 AND protocol_id <> 'wallet'"),
        comment="Who has how much in a protocol, from the index alone. Most holdings are in none, so they are left out.",
    )
    op.create_index(
        "idx_portfolio_holdings_unfinal",
        "portfolio_holdings",
        ["chain", "block_number"],
        schema="portfolio",
        postgresql_where=sa.text("NOT final"),
        comment="What a reorg of a chain undoes, and what a new final block confirms: only what is not final yet.",
    )
    op.create_function(
        "portfolio.provide_wallet()",
        """
CREATE FUNCTION portfolio.provide_wallet() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    INSERT INTO portfolio.protocols (protocol_id, name, category) VALUES ('wallet', 'Wallet', 'wallet')
    ON CONFLICT (protocol_id) DO NOTHING;
    RETURN NULL;
END
$$;
""",
        comment="Trigger function: makes sure that there is the protocol `wallet`, in which every holding is that is in no protocol.",
    )
    op.create_function(
        "portfolio.transaction_keys_follow()",
        """
CREATE FUNCTION portfolio.transaction_keys_follow() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    -- In the order of the key, so that two writers who bring the same movements wait for each other instead of deadlocking.
    IF TG_OP = 'INSERT' THEN
        INSERT INTO portfolio.transaction_keys (chain, tx_hash, log_index, block_timestamp)
        SELECT chain, tx_hash, log_index, block_timestamp FROM new_rows ORDER BY chain, tx_hash, log_index;
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM portfolio.transaction_keys AS k USING old_rows AS gone
        WHERE (k.chain, k.tx_hash, k.log_index, k.block_timestamp) = (gone.chain, gone.tx_hash, gone.log_index, gone.block_timestamp);
    ELSIF TG_OP = 'UPDATE' THEN
        DELETE FROM portfolio.transaction_keys AS k
        USING (
            SELECT chain, tx_hash, log_index, block_timestamp FROM old_rows
            EXCEPT
            SELECT chain, tx_hash, log_index, block_timestamp FROM new_rows
        ) AS gone
        WHERE (k.chain, k.tx_hash, k.log_index, k.block_timestamp) = (gone.chain, gone.tx_hash, gone.log_index, gone.block_timestamp);
        INSERT INTO portfolio.transaction_keys (chain, tx_hash, log_index, block_timestamp)
        SELECT chain, tx_hash, log_index, block_timestamp FROM new_rows
        EXCEPT
        SELECT chain, tx_hash, log_index, block_timestamp FROM old_rows
        ORDER BY chain, tx_hash, log_index;
    ELSIF EXISTS (SELECT FROM portfolio.transaction_keys) THEN
        TRUNCATE portfolio.transaction_keys;
    END IF;
    RETURN NULL;
END
$$;
""",
        comment="Trigger function: keeps one key for each row of the transaction history, in the statement that writes it. A movement that stands in the history under another time already is refused by transaction_keys_pkey, since no key of a partitioned table can see it.",
    )
    op.create_materialized_view(
        "portfolio.mv_portfolio_summary",
        """
CREATE MATERIALIZED VIEW portfolio.mv_portfolio_summary AS
WITH held AS (
    SELECT
        h.user_id,
        h.asset_id,
        h.chain,
        h.protocol_id,
        h.value_usd,
        h.position_type = 'borrowed' AS owed,
        greatest(a.risk_level, p.risk_level) AS risk_level,
        h.observed_at,
        h.final
    FROM portfolio.portfolio_holdings AS h
    JOIN portfolio.assets AS a USING (asset_id)
    JOIN portfolio.protocols AS p USING (protocol_id)
    WHERE h.amount > 0
),
largest AS (
    SELECT DISTINCT ON (user_id) user_id, asset_id, sum(value_usd) AS value_usd
    FROM held
    WHERE NOT owed AND value_usd IS NOT NULL
    GROUP BY user_id, asset_id
    ORDER BY user_id, sum(value_usd) DESC, asset_id
),
summed AS (
    SELECT
        user_id,
        count(*) AS holdings,
        count(*) FILTER (WHERE value_usd IS NULL) AS unpriced,
        count(DISTINCT chain) AS chains,
        count(DISTINCT protocol_id) FILTER (WHERE protocol_id <> 'wallet') AS protocols,
        coalesce(sum(value_usd) FILTER (WHERE NOT owed), 0) AS assets_usd,
        coalesce(sum(value_usd) FILTER (WHERE owed), 0) AS debts_usd,
        max(risk_level) AS riskiest,
        max(observed_at) AS observed_at,
        bool_and(final) AS final
    FROM held
    GROUP BY user_id
),
risky AS (
    SELECT held.user_id, sum(held.value_usd) AS value_usd
    FROM held
    JOIN portfolio.users AS u USING (user_id)
    WHERE NOT held.owed AND held.risk_level > u.risk_tolerance
    GROUP BY held.user_id
)
SELECT
    u.user_id,
    coalesce(s.holdings, 0) AS holdings,
    coalesce(s.unpriced, 0) AS unpriced,
    coalesce(s.chains, 0) AS chains,
    coalesce(s.protocols, 0) AS protocols,
    coalesce(s.assets_usd, 0) AS assets_usd,
    coalesce(s.debts_usd, 0) AS debts_usd,
    coalesce(s.assets_usd - s.debts_usd, 0) AS net_usd,
    l.asset_id AS largest_asset,
    l.value_usd / nullif(s.assets_usd, 0) AS largest_share,
    s.riskiest,
    coalesce(r.value_usd, 0) AS risky_usd,
    s.observed_at,
    s.final
FROM portfolio.users AS u
LEFT JOIN summed AS s USING (user_id)
LEFT JOIN largest AS l USING (user_id)
LEFT JOIN risky AS r USING (user_id);
""",
        comment="One user: what the portfolio is worth, how it is spread, and how much of it is riskier than the user wants.",
    )
    op.create_index(
        "mv_portfolio_summary_key",
        "mv_portfolio_summary",
        ["user_id"],
        schema="portfolio",
        unique=True,
        comment="The summary of one user; and what lets the view be refreshed while it is read.",
    )
    op.create_materialized_view(
        "portfolio.mv_protocol_exposure",
        """
CREATE MATERIALIZED VIEW portfolio.mv_protocol_exposure AS
SELECT
    p.protocol_id,
    p.category,
    p.risk_level,
    count(DISTINCT h.user_id) AS users,
    count(h.user_id) AS holdings,
    coalesce(sum(h.value_usd) FILTER (WHERE h.position_type <> 'borrowed'), 0) AS assets_usd,
    coalesce(sum(h.value_usd) FILTER (WHERE h.position_type = 'borrowed'), 0) AS debts_usd,
    coalesce(sum(h.value_usd) FILTER (WHERE h.position_type <> 'borrowed'), 0)
        / nullif(sum(sum(h.value_usd) FILTER (WHERE h.position_type <> 'borrowed')) OVER (), 0) AS share
FROM portfolio.protocols AS p
LEFT JOIN portfolio.portfolio_holdings AS h ON h.protocol_id = p.protocol_id AND h.amount > 0
GROUP BY p.protocol_id;
""",
        comment="One protocol: how many users have how much in it, and its share of everything they hold.",
    )
    op.create_index(
        "mv_protocol_exposure_key",
        "mv_protocol_exposure",
        ["protocol_id"],
        schema="portfolio",
        unique=True,
        comment="The exposure to one protocol; and what lets the view be refreshed while it is read.",
    )
    op.create_trigger(
        "assets__stamp",
        "portfolio.assets",
        """
CREATE TRIGGER "assets__stamp" BEFORE UPDATE ON "portfolio"."assets" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of portfolio.assets was written true.",
    )
    op.create_trigger(
        "portfolio_holdings__stamp",
        "portfolio.portfolio_holdings",
        """
CREATE TRIGGER "portfolio_holdings__stamp" BEFORE UPDATE ON "portfolio"."portfolio_holdings" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of portfolio.holdings was written true.",
    )
    op.create_trigger(
        "portfolio_holdings_wallet",
        "portfolio.portfolio_holdings",
        """
CREATE TRIGGER portfolio_holdings_wallet
BEFORE INSERT OR UPDATE ON portfolio.portfolio_holdings
FOR EACH STATEMENT EXECUTE FUNCTION portfolio.provide_wallet();
""",
        comment="Once for each statement, before its rows: a holding can refer to the protocol `wallet` on an empty database too.",
    )
    op.create_trigger(
        "protocols__stamp",
        "portfolio.protocols",
        """
CREATE TRIGGER "protocols__stamp" BEFORE UPDATE ON "portfolio"."protocols" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of portfolio.protocols was written true.",
    )
    op.create_trigger(
        "transaction_history__stamp",
        "portfolio.transaction_history",
        """
CREATE TRIGGER "transaction_history__stamp" BEFORE UPDATE ON "portfolio"."transaction_history" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of portfolio.transactions was written true.",
    )
    op.create_trigger(
        "transaction_keys_delete",
        "portfolio.transaction_history",
        """
CREATE TRIGGER transaction_keys_delete
AFTER DELETE ON portfolio.transaction_history
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION portfolio.transaction_keys_follow();
""",
        comment="A movement that is taken back, as by a reorg, gives its key free.",
    )
    op.create_trigger(
        "transaction_keys_insert",
        "portfolio.transaction_history",
        """
CREATE TRIGGER transaction_keys_insert
AFTER INSERT ON portfolio.transaction_history
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION portfolio.transaction_keys_follow();
""",
        comment="Every movement that is written takes its key.",
    )
    op.create_trigger(
        "transaction_keys_truncate",
        "portfolio.transaction_history",
        """
CREATE TRIGGER transaction_keys_truncate
AFTER TRUNCATE ON portfolio.transaction_history
FOR EACH STATEMENT EXECUTE FUNCTION portfolio.transaction_keys_follow();
""",
        comment="An emptied history leaves no keys.",
    )
    op.create_trigger(
        "transaction_keys_update",
        "portfolio.transaction_history",
        """
CREATE TRIGGER transaction_keys_update
AFTER UPDATE ON portfolio.transaction_history
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION portfolio.transaction_keys_follow();
""",
        comment="A movement that is moved to another block takes its key along.",
    )
    op.create_trigger(
        "users__stamp",
        "portfolio.users",
        """
CREATE TRIGGER "users__stamp" BEFORE UPDATE ON "portfolio"."users" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of portfolio.users was written true.",
    )
    op.create_trigger(
        "wallets__stamp",
        "portfolio.wallets",
        """
CREATE TRIGGER "wallets__stamp" BEFORE UPDATE ON "portfolio"."wallets" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of portfolio.wallets was written true.",
    )
    op.set_policy(
        "portfolio.assets",
        {
            "cache": {"tags": ["asset:{asset_id}"], "ttl": "5 minutes"},
            "conflict": {
                "columns": [
                    "symbol",
                    "name",
                    "asset_type",
                    "risk_level",
                    "price_id",
                    "price_usd",
                    "price_at",
                    "price_confidence",
                    "metadata",
                ],
                "policy": "merge",
            },
            "entity": ["asset_id"],
            "mirror": {"order_by": ["asset_id"]},
            "table": "portfolio.assets",
            "topic": "portfolio.assets",
        },
    )
    op.set_policy(
        "portfolio.holdings",
        {
            "cache": {"tags": ["user:{user_id}", "asset:{asset_id}"], "ttl": "5 minutes"},
            "conflict": {"policy": "newest", "version": "block_number"},
            "entity": ["user_id", "asset_id"],
            "final": "final",
            "mirror": {"order_by": ["user_id", "asset_id"]},
            "parents": [
                {"columns": [["chain", "chain"], ["wallet_address", "address"], ["user_id", "user_id"]], "dataset": "portfolio.wallets"},
                {"columns": [["asset_id", "asset_id"], ["decimals", "decimals"]], "dataset": "portfolio.assets"},
                {"columns": [["protocol_id", "protocol_id"]], "dataset": "portfolio.protocols"},
            ],
            "table": "portfolio.portfolio_holdings",
            "time": "observed_at",
            "topic": "portfolio.holdings",
        },
    )
    op.set_policy(
        "portfolio.protocols",
        {
            "cache": {"tags": ["protocol:{protocol_id}"], "ttl": "1 hour"},
            "conflict": {"policy": "merge"},
            "entity": ["protocol_id"],
            "mirror": {"order_by": ["protocol_id"]},
            "table": "portfolio.protocols",
            "topic": "portfolio.protocols",
        },
    )
    op.set_policy(
        "portfolio.snapshots",
        {
            "cache": {"tags": ["user:{user_id}"], "ttl": "5 minutes"},
            "conflict": {"policy": "merge"},
            "entity": ["user_id"],
            "final": "final",
            "lifecycle": {"partition": "1 quarter", "premake": 8},
            "mirror": {"order_by": ["user_id", "snapshot_date"]},
            "table": "portfolio.portfolio_snapshots",
            "time": "snapshot_date",
            "topic": "portfolio.snapshots",
        },
    )
    op.set_policy(
        "portfolio.transactions",
        {
            "cache": {"tags": ["user:{user_id}"], "ttl": "5 minutes"},
            "conflict": {"columns": ["final", "price_usd", "metadata"], "policy": "merge"},
            "entity": ["user_id"],
            "final": "final",
            "lifecycle": {"keep": "2 years", "partition": "1 month", "premake": 6},
            "mirror": {"order_by": ["user_id", "block_timestamp"]},
            "parents": [
                {"columns": [["asset_id", "asset_id"], ["decimals", "decimals"]], "dataset": "portfolio.assets"},
                {"columns": [["protocol_id", "protocol_id"]], "dataset": "portfolio.protocols"},
            ],
            "table": "portfolio.transaction_history",
            "time": "block_timestamp",
            "topic": "portfolio.transactions",
        },
    )
    op.set_policy(
        "portfolio.users",
        {"cache": {"tags": ["user:{user_id}"], "ttl": "5 minutes"}, "entity": ["user_id"], "table": "portfolio.users"},
    )
    op.set_policy(
        "portfolio.wallets",
        {
            "cache": {"tags": ["user:{user_id}"], "ttl": "5 minutes"},
            "conflict": {"columns": ["label"], "policy": "merge"},
            "entity": ["chain", "address"],
            "table": "portfolio.wallets",
        },
    )


def downgrade() -> None:
    op.drop_materialized_view("portfolio.mv_protocol_exposure")
    op.drop_materialized_view("portfolio.mv_portfolio_summary")
    op.remove_policy("portfolio.wallets")
    op.remove_policy("portfolio.users")
    op.remove_policy("portfolio.transactions")
    op.remove_policy("portfolio.snapshots")
    op.remove_policy("portfolio.protocols")
    op.remove_policy("portfolio.holdings")
    op.remove_policy("portfolio.assets")
    op.drop_table("transaction_history", schema="portfolio")
    op.drop_function("portfolio.transaction_keys_follow()")
    op.drop_table("portfolio_holdings", schema="portfolio")
    op.drop_function("portfolio.provide_wallet()")
    op.drop_table("wallets", schema="portfolio")
    op.drop_table("portfolio_snapshots", schema="portfolio")
    op.drop_table("users", schema="portfolio")
    op.drop_table("transaction_keys", schema="portfolio")
    op.drop_table("protocols", schema="portfolio")
    op.drop_table("assets", schema="portfolio")
    op.drop_enum("portfolio.transaction_type")
    op.drop_enum("portfolio.risk_level")
    op.drop_enum("portfolio.protocol_category")
    op.drop_enum("portfolio.position_type")
    op.drop_enum("portfolio.asset_type")
    op.drop_schema("portfolio")
