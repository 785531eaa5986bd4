"""Tables of the portfolio pack: who the users are, what they hold where, how it moved, and what it was worth.

Names that chains and price sources give already are the keys: an asset is `chain:address`, a protocol its slug, a
movement the position of its log. Amounts are raw units beside the asset's decimals, and every quantity and value that
follows from them is generated, exactly, so that it cannot contradict them.

What deleting does: a user's wallets, holdings and snapshots say something about that user only and go along (CASCADE).
Transactions are a ledger of what happened on chain, so a user, asset or protocol they name cannot be deleted (RESTRICT):
users are deactivated, protocols retired. A user who is merely the other side of somebody's transaction is forgotten
there (SET NULL).
"""

from typing import Any

import sqlalchemy as sa

from chainstrata.model import (
    HASH,
    INSTANT,
    JSON,
    PRICE,
    UINT256,
    CachePolicy,
    Dataset,
    Lifecycle,
    Mirror,
    Parent,
    Spelling,
    check,
    column,
    created_at,
    enum,
    hours,
    index,
    merge,
    metadata,
    minutes,
    months,
    newest,
    quarters,
    reference,
    spelled,
    unique,
    updated_at,
    years,
)
from chainstrata.model.marking import INTERNAL
from chainstrata.packs.portfolio.model import (
    INCOMING,
    WALLET,
    AssetType,
    PositionType,
    ProtocolCategory,
    RiskLevel,
    TransactionType,
)

SCHEMA = "portfolio"
METADATA = metadata(SCHEMA)

ASSET_TYPE = enum("asset_type", AssetType, schema=SCHEMA)
TRANSACTION_TYPE = enum("transaction_type", TransactionType, schema=SCHEMA)
PROTOCOL_CATEGORY = enum("protocol_category", ProtocolCategory, schema=SCHEMA)
RISK_LEVEL = enum("risk_level", RiskLevel, schema=SCHEMA)
POSITION_TYPE = enum("position_type", PositionType, schema=SCHEMA)
ENUMS = (ASSET_TYPE, TRANSACTION_TYPE, PROTOCOL_CATEGORY, RISK_LEVEL, POSITION_TYPE)

# NaN and Infinity are values of NUMERIC, and both pass a bare `>= 0`.
FINITE = "'Infinity'::numeric"
INCOMING_TYPES = ", ".join(f"'{kind}'" for kind in INCOMING)
# A quotient has as many places as its dividend, so the amount is given those of the asset first: then nothing is cut off. A product
# with 10 to the negative power would be shorter, and 0 on servers before 18, which keep but 16 places of that power.
QUANTITY = "trim_scale(round(amount, decimals::integer) / 10::numeric ^ decimals::numeric)"
VALUE = "trim_scale(round(amount, decimals::integer) / 10::numeric ^ decimals::numeric * price_usd)"

CHAIN = (Spelling("[a-z0-9][a-z0-9_-]*", 1, 40),)
# Hex addresses in lower case only, since a checksummed spelling would be a second address; others as their chain prints them.
OTHER_ADDRESS = Spelling("[1-9A-Za-z][0-9A-Za-z._-]*", 2, 128)
ADDRESS = (Spelling("0x[0-9a-f]*", 42, 42), Spelling("0x[0-9a-f]*", 64, 66), OTHER_ADDRESS)
ASSET = (
    Spelling("[a-z0-9][a-z0-9_-]*:0x[0-9a-f]*", 44, 107),
    Spelling("[a-z0-9][a-z0-9_-]*:0x[0-9a-f]+::[0-9A-Za-z_]+::[0-9A-Za-z_]+", 10, 240),
    Spelling("[a-z0-9][a-z0-9_-]*:[1-9A-Za-z][0-9A-Za-z/._-]*", 4, 169),
)
# EVM and Bitcoin print lower-case hex, with and without 0x, CometBFT upper-case hex, Solana and its kin base58.
BASE58 = "[1-9A-HJ-NP-Za-km-z]*"
BLOCK_HASH = (
    Spelling("0x[0-9a-f]*", 66, 66),
    Spelling("[0-9a-f]*", 64, 64),
    Spelling("[0-9A-F]*", 64, 64),
    Spelling(BASE58, 43, 44),
)
TX_HASH = (*BLOCK_HASH, Spelling(BASE58, 86, 88))


def _form(table: str, name: str, *ways: Spelling) -> sa.CheckConstraint:
    return spelled(f"{table}_{name}_form", name, *ways)


def _money(table: str, *names: str) -> list[sa.CheckConstraint]:
    return [check(f"{table}_{name}_finite", f"{name} >= 0 AND {name} < {FINITE}") for name in names]


def _chain(doc: str = "Chain, by its usual lower-case name: ethereum, arbitrum, bitcoin.") -> sa.Column[Any]:
    return column("chain", sa.Text(), doc=doc)


def _user() -> sa.Column[Any]:
    return column("user_id", sa.Uuid(), doc="The user.")


def _metadata(doc: str) -> sa.Column[Any]:
    return column("metadata", JSON, server_default=sa.text("'{}'"), doc=doc)


def _object(table: str) -> sa.CheckConstraint:
    return check(f"{table}_metadata_object", "jsonb_typeof(metadata) = 'object'")


def _amount() -> list[sa.Column[Any]]:
    """Return an exact amount and what it is worth; quantity and value follow from the rest."""
    return [
        column("amount", UINT256, doc="Amount in the asset's smallest units, exact up to uint256."),
        column("decimals", sa.SmallInteger(), doc="Decimals of the asset: a whole one is 10 to that power of units."),
        column("quantity", PRICE, sa.Computed(QUANTITY, persisted=True), doc="The amount in whole assets, exact."),
        column("price_usd", PRICE, nullable=True, doc="Price of a whole asset in US dollars at that time; NULL when nobody knew one."),
        column(
            "value_usd",
            PRICE,
            sa.Computed(VALUE, persisted=True),
            nullable=True,
            doc="Quantity times price, exact; NULL without a price, so that a missing price never counts as worthless.",
        ),
    ]


def _amount_checks(table: str) -> list[sa.CheckConstraint]:
    return [
        check(f"{table}_decimals_range", "decimals BETWEEN 0 AND 255"),
        *_money(table, "price_usd"),
        check(f"{table}_asset_on_chain", "starts_with(asset_id, chain || ':')"),
    ]


def _final() -> sa.Column[Any]:
    return column("final", sa.Boolean(), server_default=sa.false(), doc="Whether no reorg can undo it any more.")


users = sa.Table(
    "users",
    METADATA,
    column("user_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), doc="Identifier of the user; says nothing about them."),
    column("handle", sa.Text(), doc="Name the user goes by, unique, in lower case."),
    column("display_name", sa.Text(), nullable=True, doc="Name for people."),
    column("email", sa.Text(), nullable=True, doc="Address for messages, in lower case, of one user only."),
    column("base_currency", sa.Text(), server_default="USD", doc="Currency the user wants values in, ISO 4217."),
    column("risk_tolerance", RISK_LEVEL, server_default=RiskLevel.MEDIUM.value, doc="Most risk the user wants to take."),
    column("deactivated_at", INSTANT, nullable=True, doc="When the account was closed; the ledger stays. NULL: open."),
    _metadata("Preferences and what else the application keeps about the user."),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("user_id", name="users_pkey"),
    unique("users_handle_key", "handle"),
    unique("users_email_key", "email"),
    _form("users", "handle", Spelling("[a-z0-9][a-z0-9_.-]*", 2, 64)),
    check("users_email_form", "email ~ '^[^@[:space:]]+@[^@[:space:]]+$' AND email = lower(email)"),
    _form("users", "base_currency", Spelling("[A-Z]*", 3, 3)),
    _object("users"),
    index(
        "idx_users_name_trgm",
        "handle",
        "display_name",
        postgresql_using="gin",
        postgresql_ops={"handle": "gin_trgm_ops", "display_name": "gin_trgm_ops"},
        why="Finding a user by a part of the name, or by a name with a typing error.",
    ),
    comment="One account.",
)

wallets = sa.Table(
    "wallets",
    METADATA,
    _chain(),
    column("address", sa.Text(), doc="Address on the chain; EVM addresses in lower case."),
    column("user_id", sa.Uuid(), doc="The user it belongs to. An address has one owner, so that a movement has one portfolio."),
    column("label", sa.Text(), nullable=True, doc="What the user calls it."),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("chain", "address", name="wallets_pkey"),
    # Also what holdings refer to: who holds something must own the wallet it is in.
    unique("wallets_user_id_chain_address_key", "user_id", "chain", "address"),
    reference("fk_wallets_user", ["user_id"], [f"{SCHEMA}.users.user_id"], ondelete="CASCADE"),
    _form("wallets", "chain", *CHAIN),
    _form("wallets", "address", *ADDRESS),
    comment="One address of a user on one chain.",
)

protocols = sa.Table(
    "protocols",
    METADATA,
    column("protocol_id", sa.Text(), doc=f"Slug as DefiLlama writes it, such as aave-v3; `{WALLET}` is what is in no protocol."),
    column("name", sa.Text(), nullable=True, doc="Name for people. NULL: known only from a holding or a transaction so far."),
    column("category", PROTOCOL_CATEGORY, server_default=ProtocolCategory.OTHER.value, doc="What it does."),
    column("risk_level", RISK_LEVEL, nullable=True, doc="How risky it is judged to be. NULL: not judged."),
    column("chains", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), doc="Chains it runs on."),
    column("website", sa.Text(), nullable=True, doc="Where its users find it."),
    column("tvl_usd", PRICE, nullable=True, doc="Value locked in it, US dollars, as last seen."),
    column("retired_at", INSTANT, nullable=True, doc="When it ended. Protocols are retired, not deleted. NULL: in use."),
    _metadata("What else the source says: audits, links, parent protocol."),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("protocol_id", name="protocols_pkey"),
    _form("protocols", "protocol_id", Spelling("[a-z0-9][a-z0-9._-]*", 1, 80)),
    *_money("protocols", "tvl_usd"),
    _object("protocols"),
    index("idx_protocols_category", "category", "risk_level", why="Protocols of one category up to a level of risk."),
    index(
        "idx_protocols_name_trgm",
        "name",
        postgresql_using="gin",
        postgresql_ops={"name": "gin_trgm_ops"},
        why="Finding a protocol by a part of its name, or by a name with a typing error.",
    ),
    index("idx_protocols_chains", "chains", postgresql_using="gin", why="Protocols that run on a chain."),
    comment="One protocol that assets can be in.",
)

assets = sa.Table(
    "assets",
    METADATA,
    column("asset_id", sa.Text(), doc="`chain:address` as price sources write it, `chain:native` for the chain's own coin."),
    column("chain", sa.Text(), sa.Computed("split_part(asset_id, ':', 1)", persisted=True), doc="The chain, from asset_id."),
    column(
        "address",
        sa.Text(),
        sa.Computed("substr(asset_id, strpos(asset_id, ':') + 1)", persisted=True),
        doc="Contract or denomination on that chain, from asset_id.",
    ),
    column("symbol", sa.Text(), nullable=True, doc="Ticker. Anybody can take any, so it identifies nothing. NULL: not known yet."),
    column("name", sa.Text(), nullable=True, doc="Name for people."),
    column("decimals", sa.SmallInteger(), doc="A whole one is 10 to that power of units. Fixed by the contract."),
    column("asset_type", ASSET_TYPE, server_default=AssetType.TOKEN.value, doc="What kind it is."),
    column("risk_level", RISK_LEVEL, nullable=True, doc="How risky it is judged to be. NULL: not judged."),
    column("price_id", sa.Text(), nullable=True, doc="Its name at the price source, to join prices with. NULL: not priced."),
    column("price_usd", PRICE, nullable=True, doc="Last known price of a whole one, US dollars."),
    column("price_at", INSTANT, nullable=True, doc="When that price was true."),
    column("price_confidence", PRICE, nullable=True, doc="How far the source trusts the price, 0 to 1. Under 0.2 it is better not used."),
    _metadata("What else is known: logo, bridge, underlying assets."),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("asset_id", name="assets_pkey"),
    _form("assets", "asset_id", *ASSET),
    check("assets_decimals_range", "decimals BETWEEN 0 AND 255"),
    check("assets_price_confidence_range", "price_confidence BETWEEN 0 AND 1"),
    check("assets_price_at_given", "(price_usd IS NULL) = (price_at IS NULL)"),
    *_money("assets", "price_usd"),
    _object("assets"),
    index("idx_assets_symbol", "symbol", why="Every asset that calls itself by one ticker, impostors included."),
    index(
        "idx_assets_name_trgm",
        "symbol",
        "name",
        postgresql_using="gin",
        postgresql_ops={"symbol": "gin_trgm_ops", "name": "gin_trgm_ops"},
        why="Finding an asset by a part of its ticker or name, or with a typing error.",
    ),
    comment="One asset on one chain.",
)

portfolio_holdings = sa.Table(
    "portfolio_holdings",
    METADATA,
    _user(),
    _chain(),
    column("wallet_address", sa.Text(), doc="Address that holds it; the owner of a position in a protocol."),
    column("asset_id", sa.Text(), doc="What is held."),
    column("protocol_id", sa.Text(), server_default=WALLET, doc=f"Where it is; `{WALLET}` for what is in no protocol."),
    column("position_type", POSITION_TYPE, server_default=PositionType.WALLET.value, doc="In what way it is held there."),
    *_amount(),
    column("cost_basis_usd", PRICE, nullable=True, doc="What was paid for what is still held, US dollars. NULL: not known."),
    column("block_number", sa.BigInteger(), doc="Block as of which the amount is true. Of two observations the higher block stands."),
    column("block_hash", HASH, doc="Hash of that block, which tells whether a reorg undid it."),
    column("observed_at", INSTANT, doc="Time of that block."),
    _final(),
    _metadata("What else the protocol says of the position: health factor, unlock time, range."),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint(
        "user_id", "chain", "wallet_address", "asset_id", "protocol_id", "position_type", name="portfolio_holdings_pkey"
    ),
    reference("fk_portfolio_holdings_user", ["user_id"], [f"{SCHEMA}.users.user_id"], ondelete="CASCADE"),
    reference(
        "fk_portfolio_holdings_wallet",
        ["user_id", "chain", "wallet_address"],
        [f"{SCHEMA}.wallets.user_id", f"{SCHEMA}.wallets.chain", f"{SCHEMA}.wallets.address"],
        ondelete="CASCADE",
    ),
    reference("fk_portfolio_holdings_asset", ["asset_id"], [f"{SCHEMA}.assets.asset_id"], ondelete="RESTRICT"),
    reference("fk_portfolio_holdings_protocol", ["protocol_id"], [f"{SCHEMA}.protocols.protocol_id"], ondelete="RESTRICT"),
    check("portfolio_holdings_place", f"(protocol_id = '{WALLET}') = (position_type = '{PositionType.WALLET}')"),
    check("portfolio_holdings_block_number_range", "block_number >= 0"),
    _form("portfolio_holdings", "block_hash", *BLOCK_HASH),
    *_amount_checks("portfolio_holdings"),
    *_money("portfolio_holdings", "cost_basis_usd"),
    _object("portfolio_holdings"),
    index(
        "idx_portfolio_holdings_asset",
        "asset_id",
        postgresql_include=["user_id", "quantity"],
        postgresql_where=sa.text("amount > 0"),
        why="Who holds an asset, and how much, from the index alone; emptied holdings are left out.",
    ),
    index(
        "idx_portfolio_holdings_protocol",
        "protocol_id",
        "position_type",
        postgresql_include=["user_id", "value_usd"],
        postgresql_where=sa.text(f"amount > 0 AND protocol_id <> '{WALLET}'"),
        why="Who has how much in a protocol, from the index alone. Most holdings are in none, so they are left out.",
    ),
    index(
        "idx_portfolio_holdings_unfinal",
        "chain",
        "block_number",
        postgresql_where=sa.text("NOT final"),
        why="What a reorg of a chain undoes, and what a new final block confirms: only what is not final yet.",
    ),
    comment="One asset of one user in one wallet and one protocol, as of a block.",
)

transaction_history = sa.Table(
    "transaction_history",
    METADATA,
    _chain(),
    column("tx_hash", HASH, doc="Hash of the transaction, as the chain prints it."),
    column(
        "log_index",
        sa.Integer(),
        autoincrement=False,
        doc="Position of the log in its block; -1 for the value the transaction itself carries, -2 for its fee.",
    ),
    column("block_timestamp", INSTANT, doc="Time of the block."),
    column("block_number", sa.BigInteger(), doc="Height of the block."),
    column("block_hash", HASH, doc="Hash of the block, which tells whether a reorg undid it."),
    column("user_id", sa.Uuid(), doc="The user whose portfolio moved."),
    column("counterparty_user_id", sa.Uuid(), nullable=True, doc="The user on the other side, if it is one of ours: one log, one row."),
    column("wallet_address", sa.Text(), doc="Address of the user. Not bound to the wallets of today: history outlives a removed wallet."),
    column("counterparty_address", sa.Text(), nullable=True, doc="Address on the other side; NULL for mints and burns."),
    column("transaction_type", TRANSACTION_TYPE, doc="What it was for, seen from the user."),
    column(
        "direction",
        sa.SmallInteger(),
        sa.Computed(
            f"CASE WHEN transaction_type IN ({INCOMING_TYPES}) THEN 1"
            f" WHEN transaction_type = '{TransactionType.LIQUIDATION}' THEN 0 ELSE -1 END",
            persisted=True,
        ),
        doc="1 for what came to the wallet, -1 for what left it, 0 for what only a position lost: direction times amount sums to the balance.",
    ),
    column("asset_id", sa.Text(), doc="What moved."),
    column("protocol_id", sa.Text(), nullable=True, doc="Protocol it moved through; NULL for a plain transfer."),
    *_amount(),
    _final(),
    _metadata("What else the log says."),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("chain", "tx_hash", "log_index", "block_timestamp", name="transaction_history_pkey"),
    reference("fk_transaction_history_user", ["user_id"], [f"{SCHEMA}.users.user_id"], ondelete="RESTRICT"),
    reference("fk_transaction_history_counterparty", ["counterparty_user_id"], [f"{SCHEMA}.users.user_id"], ondelete="SET NULL"),
    reference("fk_transaction_history_asset", ["asset_id"], [f"{SCHEMA}.assets.asset_id"], ondelete="RESTRICT"),
    reference("fk_transaction_history_protocol", ["protocol_id"], [f"{SCHEMA}.protocols.protocol_id"], ondelete="RESTRICT"),
    _form("transaction_history", "chain", *CHAIN),
    _form("transaction_history", "tx_hash", *TX_HASH),
    _form("transaction_history", "block_hash", *BLOCK_HASH),
    _form("transaction_history", "wallet_address", *ADDRESS),
    _form("transaction_history", "counterparty_address", *ADDRESS),
    check("transaction_history_log_index_range", "log_index >= -2"),
    check("transaction_history_block_number_range", "block_number >= 0"),
    # Before the first block of the first chain there is none: a time in seconds read as milliseconds lands there.
    check("transaction_history_block_timestamp_range", "block_timestamp >= '2009-01-03 00:00:00+00'"),
    check("transaction_history_two_sides", "counterparty_user_id <> user_id"),
    *_amount_checks("transaction_history"),
    _object("transaction_history"),
    index(
        "idx_transaction_history_user_time",
        "user_id",
        sa.text("block_timestamp DESC"),
        why="A user's history, newest first, page by page: the read there is most of.",
    ),
    index(
        "idx_transaction_history_user_asset",
        "user_id",
        "asset_id",
        sa.text("block_timestamp DESC"),
        postgresql_include=["transaction_type", "quantity", "value_usd"],
        why="What a user did with one asset, and sums over it for cost basis and yield, from the index alone.",
    ),
    index(
        "idx_transaction_history_counterparty",
        "counterparty_user_id",
        sa.text("block_timestamp DESC"),
        postgresql_where=sa.text("counterparty_user_id IS NOT NULL"),
        why="Movements in which a user is the other side. Few rows have one, so the index holds only those.",
    ),
    index(
        "idx_transaction_history_protocol",
        "protocol_id",
        sa.text("block_timestamp DESC"),
        postgresql_where=sa.text("protocol_id IS NOT NULL"),
        why="What was done through a protocol lately.",
    ),
    index(
        "idx_transaction_history_unfinal",
        "chain",
        "block_number",
        postgresql_where=sa.text("NOT final"),
        why="What a reorg of a chain undoes, and what a new final block confirms: only what is not final yet.",
    ),
    comment="One movement of one asset of one user: one log of a transaction, or its own value or fee.",
    postgresql_partition_by="RANGE (block_timestamp)",
)

transaction_keys = sa.Table(
    "transaction_keys",
    METADATA,
    _chain("Chain."),
    column("tx_hash", HASH, doc="Hash of the transaction."),
    column("log_index", sa.Integer(), autoincrement=False, doc="Position of the log."),
    column("block_timestamp", INSTANT, doc="Time under which the movement stands in the history: names its partition."),
    sa.PrimaryKeyConstraint("chain", "tx_hash", "log_index", name="transaction_keys_pkey"),
    comment=(
        "One key of the transaction history, whatever its partition. Triggers of the history keep it in the same transaction, so that "
        "a movement is recorded once even when a reorg gave its block another time. It outlives partitions that were archived."
    ),
    info=INTERNAL,
)

portfolio_snapshots = sa.Table(
    "portfolio_snapshots",
    METADATA,
    _user(),
    column("snapshot_date", INSTANT, doc="The instant the portfolio was valued at; by day this is midnight, UTC."),
    column("assets_usd", PRICE, doc="Value of everything held, US dollars."),
    column("debts_usd", PRICE, server_default=sa.text("0"), doc="Value of everything borrowed, US dollars."),
    column("net_usd", PRICE, sa.Computed("assets_usd - debts_usd", persisted=True), doc="Assets less debts."),
    column("holdings", sa.Integer(), doc="Holdings that were valued."),
    column("unpriced", sa.Integer(), server_default=sa.text("0"), doc="Holdings without a price, which the sums leave out."),
    column("by_chain", JSON, server_default=sa.text("'{}'"), doc="Net value by chain, US dollars as text: {chain: value}."),
    column("by_category", JSON, server_default=sa.text("'{}'"), doc="Net value by category of protocol: {category: value}."),
    column("as_of", JSON, server_default=sa.text("'{}'"), doc="Last block taken in of each chain: {chain: number}."),
    _final(),
    _metadata("What else belongs to the valuation."),
    created_at(),
    sa.PrimaryKeyConstraint("user_id", "snapshot_date", name="portfolio_snapshots_pkey"),
    reference("fk_portfolio_snapshots_user", ["user_id"], [f"{SCHEMA}.users.user_id"], ondelete="CASCADE"),
    *_money("portfolio_snapshots", "assets_usd", "debts_usd"),
    check("portfolio_snapshots_counts", "holdings >= 0 AND unpriced >= 0"),
    check(
        "portfolio_snapshots_objects",
        "jsonb_typeof(by_chain) = 'object' AND jsonb_typeof(by_category) = 'object' AND jsonb_typeof(as_of) = 'object'",
    ),
    _object("portfolio_snapshots"),
    index("idx_portfolio_snapshots_date", "snapshot_date", why="All portfolios at one time, and the newest valuation there is."),
    comment="One valuation of one user's whole portfolio.",
    postgresql_partition_by="RANGE (snapshot_date)",
)

ASSET_OF = Parent(f"{SCHEMA}.assets", [("asset_id", "asset_id"), ("decimals", "decimals")])
WALLET_OF = Parent(f"{SCHEMA}.wallets", [("chain", "chain"), ("wallet_address", "address"), ("user_id", "user_id")])
PROTOCOL_OF = Parent(f"{SCHEMA}.protocols", [("protocol_id", "protocol_id")])

DATASETS = (
    Dataset(users, "users", entity=["user_id"], cache=CachePolicy(ttl=minutes(5), tags=["user:{user_id}"])),
    Dataset(
        wallets,
        "wallets",
        entity=["chain", "address"],
        conflict=merge("label"),
        cache=CachePolicy(ttl=minutes(5), tags=["user:{user_id}"]),
    ),
    Dataset(
        protocols,
        "protocols",
        entity=["protocol_id"],
        conflict=merge(),
        mirror=Mirror(order_by=["protocol_id"]),
        cache=CachePolicy(ttl=hours(1), tags=["protocol:{protocol_id}"]),
        topic="portfolio.protocols",
    ),
    Dataset(
        assets,
        "assets",
        entity=["asset_id"],
        conflict=merge("symbol", "name", "asset_type", "risk_level", "price_id", "price_usd", "price_at", "price_confidence", "metadata"),
        mirror=Mirror(order_by=["asset_id"]),
        cache=CachePolicy(ttl=minutes(5), tags=["asset:{asset_id}"]),
        topic="portfolio.assets",
    ),
    Dataset(
        portfolio_holdings,
        "holdings",
        time="observed_at",
        entity=["user_id", "asset_id"],
        conflict=newest("block_number"),
        parents=[WALLET_OF, ASSET_OF, PROTOCOL_OF],
        mirror=Mirror(order_by=["user_id", "asset_id"]),
        cache=CachePolicy(ttl=minutes(5), tags=["user:{user_id}", "asset:{asset_id}"]),
        topic="portfolio.holdings",
        final="final",
    ),
    Dataset(
        transaction_history,
        "transactions",
        time="block_timestamp",
        entity=["user_id"],
        lifecycle=Lifecycle(partition=months(1), premake=6, keep=years(2)),
        conflict=merge("final", "price_usd", "metadata"),
        parents=[ASSET_OF, PROTOCOL_OF],
        mirror=Mirror(order_by=["user_id", "block_timestamp"]),
        cache=CachePolicy(ttl=minutes(5), tags=["user:{user_id}"]),
        topic="portfolio.transactions",
        final="final",
    ),
    Dataset(
        portfolio_snapshots,
        "snapshots",
        time="snapshot_date",
        entity=["user_id"],
        lifecycle=Lifecycle(partition=quarters(1), premake=8),
        conflict=merge(),
        mirror=Mirror(order_by=["user_id", "snapshot_date"]),
        cache=CachePolicy(ttl=minutes(5), tags=["user:{user_id}"]),
        topic="portfolio.snapshots",
        final="final",
    ),
)
