"""Tables of the relay pack: chains and channels, what happened to packets, where each packet is, and who clears them.

`packet_events` is the stream, as chains report it, partitioned by time. `packet_flow` is where each packet is now: its
identity (chain, port, channel, sequence) is unique, which no table partitioned by time can promise. A trigger of the stream
keeps it, in the same transaction and in whatever order events arrive. Figures per chain, channel and relayer are folded
from the stream, the hourly packet figures from the packets.

Facts of a chain refer to no other table: an event must not be lost because nobody told us of its chain yet.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from chainstrata.model import (
    HASH,
    INSTANT,
    JSON,
    UINT64,
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
    days,
    enum,
    ignore,
    index,
    merge,
    metadata,
    minutes,
    reference,
    spelled,
    updated_at,
)
from chainstrata.packs.relay import rollups
from chainstrata.packs.relay.model import (
    ENDED_OPERATIONS,
    OPEN_PACKETS,
    ChannelOrdering,
    ChannelState,
    OperationStatus,
    PacketEvent,
    PacketStatus,
)

SCHEMA = "relay"
METADATA = metadata(SCHEMA)

OPERATION_STATUS = enum("operation_status", OperationStatus, schema=SCHEMA)
PACKET_STATUS = enum("packet_status", PacketStatus, schema=SCHEMA)
PACKET_EVENT = enum("packet_event", PacketEvent, schema=SCHEMA)
CHANNEL_ORDERING = enum("channel_ordering", ChannelOrdering, schema=SCHEMA)
CHANNEL_STATE = enum("channel_state", ChannelState, schema=SCHEMA)
ENUMS = (OPERATION_STATUS, PACKET_STATUS, PACKET_EVENT, CHANNEL_ORDERING, CHANNEL_STATE)

EVM_HASH = Spelling("0x[0-9a-f]*", 66, 66)
CHAIN_ID = (Spelling("[A-Za-z0-9][A-Za-z0-9_.-]*", 2, 50),)
# What the protocol allows as identifiers. In IBC v2 the client takes the place of the channel.
PORT = (Spelling("[A-Za-z0-9._+#<>-]*", 2, 128),)
CHANNEL = (Spelling("[A-Za-z0-9._+#<>-]*", 8, 64),)
ACCOUNT = (Spelling("[a-z][a-z0-9]*1[02-9ac-hj-np-z]*", 8, 128), Spelling("0x[0-9a-f]*", 42, 42))
TX_HASH = (Spelling("[0-9A-F]*", 64, 64), EVM_HASH)


def _in(statuses: tuple[Any, ...]) -> str:
    return "({})".format(", ".join(f"'{status.value}'" for status in statuses))


OPEN = f"status IN {_in(OPEN_PACKETS)}"
LIVE = "deleted_at IS NULL"
# GREATEST passes over NULL, so an open packet needs the question whether there is an end at all.
CLEARED_AT = "LEAST(acknowledged_at, timed_out_at)"
CLEAR_TIME = f"CASE WHEN {CLEARED_AT} IS NOT NULL THEN GREATEST(EXTRACT(epoch FROM {CLEARED_AT} - created_at), 0) END"


def _form(table: str, name: str, ways: Sequence[Spelling], *, empty: bool = False) -> sa.CheckConstraint:
    return spelled(f"{table}_{name}_form", name, *ways, empty=empty)


def _packet() -> list[sa.Column[Any]]:
    """Return what names a packet: sequences start anew in every channel, and channels on every chain."""
    return [
        column("src_chain_id", sa.Text(), doc="Chain the packet was sent from."),
        column("src_port", sa.Text(), doc="Port it was sent from; transfer for tokens."),
        column("src_channel", sa.Text(), doc="Channel it was sent through, as the source chain numbers them; for IBC v2 the client."),
        column("sequence", UINT64, doc="Number of the packet in that channel, over the whole uint64 range."),
        column(
            "dst_chain_id", sa.Text(), nullable=True, doc="Chain it goes to. NULL: packets name only its channel, and nobody looked it up."
        ),
        column("dst_port", sa.Text(), nullable=True, doc="Port it goes to."),
        column("dst_channel", sa.Text(), nullable=True, doc="Channel it arrives through, as the destination numbers them."),
    ]


def _packet_checks(table: str) -> list[sa.CheckConstraint]:
    return [
        _form(table, "src_chain_id", CHAIN_ID),
        _form(table, "src_port", PORT),
        _form(table, "src_channel", CHANNEL),
        _form(table, "dst_chain_id", CHAIN_ID),
        _form(table, "dst_port", PORT),
        _form(table, "dst_channel", CHANNEL),
    ]


def _content() -> list[sa.Column[Any]]:
    """Return what a packet carries and when it expires."""
    return [
        column("ordering", CHANNEL_ORDERING, nullable=True, doc="Whether its channel keeps the order of packets."),
        column("timeout_height", UINT64, server_default=sa.text("0"), doc="Height of the destination at which it expires; 0: none."),
        column("timeout_revision", UINT64, server_default=sa.text("0"), doc="Revision that height belongs to."),
        column("timeout_timestamp", UINT64, server_default=sa.text("0"), doc="When it expires, nanoseconds since 1970; 0: never."),
        column("denom", sa.Text(), nullable=True, doc="What a token transfer moves, as the packet names it."),
        column("amount", UINT256, nullable=True, doc="How much of it, in its smallest units, exact up to uint256."),
        column("sender", sa.Text(), nullable=True, doc="Who sends it. As the packet says, which no chain checks."),
        column("receiver", sa.Text(), nullable=True, doc="Who is to get it. As the packet says: it may be nonsense."),
        column("memo", sa.Text(), nullable=True, doc="Note of the transfer; other protocols put instructions here."),
    ]


chains = sa.Table(
    "chains",
    METADATA,
    column("chain_id", sa.Text(), doc="Identifier of the chain, such as osmosis-1."),
    column("name", sa.Text(), nullable=True, doc="Name for people. NULL: known only from a channel or an operation so far."),
    column("account_prefix", sa.Text(), nullable=True, doc="What its addresses begin with, such as osmo."),
    column("fee_denom", sa.Text(), nullable=True, doc="What fees are mostly paid in."),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("chain_id", name="chains_pkey"),
    _form("chains", "chain_id", CHAIN_ID),
    _form("chains", "account_prefix", (Spelling("[a-z][a-z0-9]*", 1, 83),)),
    comment="One chain.",
)

channels = sa.Table(
    "channels",
    METADATA,
    column("chain_id", sa.Text(), doc="The chain."),
    column("port", sa.Text(), doc="Port of the channel."),
    column("channel", sa.Text(), doc="The channel, as this chain numbers them."),
    column("counterparty_chain_id", sa.Text(), nullable=True, doc="Chain at the other end. NULL: its client was not looked up."),
    column("counterparty_port", sa.Text(), nullable=True, doc="Port at the other end."),
    column("counterparty_channel", sa.Text(), nullable=True, doc="The channel as the other end numbers it. NULL until the handshake."),
    column("connection_id", sa.Text(), nullable=True, doc="Connection it runs over."),
    column("ordering", CHANNEL_ORDERING, server_default=ChannelOrdering.UNORDERED.value, doc="Whether it keeps the order of packets."),
    column("state", CHANNEL_STATE, server_default=ChannelState.OPEN.value, doc="Where its handshake stands."),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("chain_id", "port", "channel", name="channels_pkey"),
    # Neither end can be taken away while a channel says it is there.
    reference("fk_channels_chain", ["chain_id"], [f"{SCHEMA}.chains.chain_id"], ondelete="RESTRICT"),
    reference("fk_channels_counterparty_chain", ["counterparty_chain_id"], [f"{SCHEMA}.chains.chain_id"], ondelete="RESTRICT"),
    _form("channels", "port", PORT),
    _form("channels", "channel", CHANNEL),
    _form("channels", "counterparty_port", PORT),
    _form("channels", "counterparty_channel", CHANNEL),
    index(
        "idx_channels_counterparty",
        "counterparty_chain_id",
        "counterparty_port",
        "counterparty_channel",
        why="The channel at this end of one that is known by its other end, as a received packet names it.",
    ),
    comment="One channel, as one of its two chains sees it.",
)

clearing_operations = sa.Table(
    "clearing_operations",
    METADATA,
    column(
        "operation_id",
        sa.Uuid(),
        server_default=sa.text("gen_random_uuid()"),
        doc="Identifier of the operation. A client may choose it, so that a repeated request is the same operation.",
    ),
    column("wallet_address", sa.Text(), doc="Who asked for it, and pays."),
    column("chain_id", sa.Text(), doc="Chain whose packets wait to be cleared."),
    column("port", sa.Text(), server_default="transfer", doc="Port of those packets."),
    column("channel", sa.Text(), nullable=True, doc="Channel of those packets; NULL for all channels of the wallet's packets."),
    column("status", OPERATION_STATUS, server_default=OperationStatus.AWAITING_PAYMENT.value, doc="Where the operation stands."),
    column("packets_targeted", sa.Integer(), server_default=sa.text("0"), doc="Packets it is to clear."),
    column("packets_cleared", sa.Integer(), server_default=sa.text("0"), doc="Packets it has cleared."),
    column("packets_failed", sa.Integer(), server_default=sa.text("0"), doc="Packets it could not clear."),
    column("fee_denom", sa.Text(), nullable=True, doc="What the fees are paid in."),
    column("fee_decimals", sa.SmallInteger(), server_default=sa.text("6"), doc="Decimals of that denomination."),
    column("service_fee", UINT256, server_default=sa.text("0"), doc="What the wallet paid for the service, smallest units."),
    column("gas_fee", UINT256, server_default=sa.text("0"), doc="What the chain took for it, smallest units."),
    column("payment_tx_hash", HASH, nullable=True, doc="Transaction that paid for it. Pays for one operation only."),
    column("clearing_tx_hash", HASH, nullable=True, doc="Last transaction that cleared packets."),
    column("error_message", sa.Text(), nullable=True, doc="Why it failed, or failed in part."),
    column("started_at", INSTANT, nullable=True, doc="When work on it began."),
    column("completed_at", INSTANT, nullable=True, doc="When it ended, in whichever way."),
    column(
        "duration",
        sa.Interval(),
        sa.Computed("completed_at - started_at", persisted=True),
        nullable=True,
        doc="How long the work took.",
    ),
    column("deleted_at", INSTANT, nullable=True, doc="When it was deleted: marked so, and left out of what users see. NULL: it is there."),
    column("metadata", JSON, server_default=sa.text("'{}'"), doc="What else the application keeps about it."),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("operation_id", name="clearing_operations_pkey"),
    reference("fk_clearing_operations_chain", ["chain_id"], [f"{SCHEMA}.chains.chain_id"], ondelete="RESTRICT"),
    _form("clearing_operations", "wallet_address", ACCOUNT),
    _form("clearing_operations", "port", PORT),
    _form("clearing_operations", "channel", CHANNEL),
    _form("clearing_operations", "payment_tx_hash", TX_HASH),
    _form("clearing_operations", "clearing_tx_hash", TX_HASH),
    check(
        "clearing_operations_packet_counts",
        "packets_cleared >= 0 AND packets_failed >= 0 AND packets_cleared + packets_failed <= packets_targeted",
    ),
    check("clearing_operations_fee_decimals_range", "fee_decimals BETWEEN 0 AND 255"),
    check("clearing_operations_fee_in_something", "fee_denom IS NOT NULL OR (service_fee = 0 AND gas_fee = 0)"),
    check("clearing_operations_ended_when", f"(status IN {_in(ENDED_OPERATIONS)}) = (completed_at IS NOT NULL)"),
    check("clearing_operations_ended_order", "completed_at >= started_at"),
    check("clearing_operations_metadata_object", "jsonb_typeof(metadata) = 'object'"),
    index(
        "idx_clearing_operations_wallet_created",
        "wallet_address",
        sa.text("created_at DESC"),
        postgresql_include=["operation_id", "status", "packets_cleared"],
        postgresql_where=sa.text(LIVE),
        why="A wallet's operations, newest first, as its list shows them: from the index alone, without deleted ones.",
    ),
    index(
        "idx_clearing_operations_wallet_status",
        "wallet_address",
        "status",
        sa.text("created_at DESC"),
        postgresql_where=sa.text(LIVE),
        why="A wallet's operations in one status, newest first, without deleted ones.",
    ),
    index(
        "idx_clearing_operations_open",
        "status",
        "created_at",
        postgresql_where=sa.text(f"status NOT IN {_in(ENDED_OPERATIONS)} AND {LIVE}"),
        why="What a worker takes next, oldest first. Ended operations, nearly all of them, are not in it.",
    ),
    index(
        "idx_clearing_operations_payment",
        "chain_id",
        "payment_tx_hash",
        unique=True,
        postgresql_where=sa.text("payment_tx_hash IS NOT NULL"),
        why="A payment is found by its transaction, and pays once: deleted operations count too.",
    ),
    comment="One request of a wallet to clear its waiting packets.",
)

packet_events = sa.Table(
    "packet_events",
    METADATA,
    column("chain_id", sa.Text(), doc="Chain that reports it."),
    column("tx_hash", HASH, doc="Transaction it happened in; for events of a block itself, the block's hash."),
    column("event_index", sa.Integer(), autoincrement=False, doc="Position among the events of that transaction, from 0."),
    column("block_time", INSTANT, doc="Time of the block."),
    column("block_height", sa.BigInteger(), doc="Height of the block."),
    column("block_hash", HASH, nullable=True, doc="Hash of the block. NULL: the source gave transactions without it."),
    column("event_type", PACKET_EVENT, doc="What happened."),
    *_packet(),
    column(
        "relayer", sa.Text(), server_default="", doc="Account that brought the message; empty for what no relayer brings, such as sending."
    ),
    column(
        "redundant",
        sa.Boolean(),
        server_default=sa.false(),
        doc="Whether another relayer was first: the chain reports every repeated delivery and answers it with no operation.",
    ),
    column("success", sa.Boolean(), nullable=True, doc="Whether the receiving application accepted it. NULL: the event does not say."),
    column("sent_at", INSTANT, nullable=True, doc="When the packet was sent, on events after that, where the writer knows it."),
    column(
        "elapsed_seconds",
        sa.Numeric(),
        sa.Computed("CASE WHEN sent_at IS NOT NULL THEN GREATEST(EXTRACT(epoch FROM block_time - sent_at), 0) END", persisted=True),
        nullable=True,
        doc="Seconds since it was sent. Two chains' clocks may disagree a little, so never below 0.",
    ),
    *_content(),
    column(
        "packet_data",
        sa.LargeBinary(),
        nullable=True,
        doc="What the packet carries, byte for byte, whatever its application. What a token transfer says in it stands in columns too.",
    ),
    column("gas_used", sa.BigInteger(), nullable=True, doc="Gas of the transaction, shared out over its packet messages."),
    column("fee_denom", sa.Text(), nullable=True, doc="What its fee was paid in."),
    column("fee_amount", UINT256, nullable=True, doc="Fee of the transaction, shared out likewise, smallest units."),
    column(
        "final",
        sa.Boolean(),
        server_default=sa.true(),
        doc="Whether no reorg can undo it. A CometBFT block is final once made; other chains say so later.",
    ),
    created_at(),
    # The block's time belongs to the block, so one event has one time: the key is unique across partitions too.
    sa.PrimaryKeyConstraint("chain_id", "tx_hash", "event_index", "block_time", name="packet_events_pkey"),
    _form("packet_events", "chain_id", CHAIN_ID),
    _form("packet_events", "tx_hash", TX_HASH),
    _form("packet_events", "block_hash", TX_HASH),
    *_packet_checks("packet_events"),
    _form("packet_events", "relayer", ACCOUNT, empty=True),
    check("packet_events_position", "event_index >= 0 AND block_height > 0"),
    check("packet_events_sent_by_sender", f"event_type <> '{PacketEvent.SEND}' OR (relayer = '' AND sent_at IS NULL)"),
    check(
        "packet_events_on_its_chain",
        f"chain_id = CASE WHEN event_type IN ('{PacketEvent.RECEIVE}', '{PacketEvent.WRITE_ACK}') THEN dst_chain_id ELSE src_chain_id END",
    ),
    check("packet_events_redundant_message", f"NOT redundant OR event_type NOT IN ('{PacketEvent.SEND}', '{PacketEvent.WRITE_ACK}')"),
    check(
        "packet_events_success_of_acknowledgement",
        f"success IS NULL OR event_type IN ('{PacketEvent.WRITE_ACK}', '{PacketEvent.ACKNOWLEDGE}')",
    ),
    check("packet_events_gas_used_range", "gas_used >= 0"),
    index(
        "idx_packet_events_packet",
        "src_chain_id",
        "src_port",
        "src_channel",
        "sequence",
        why="All that happened to one packet, and to the packets of one channel.",
    ),
    index(
        "idx_packet_events_chain_time", "chain_id", "block_time", why="What happened on one chain in a span of time, as roll-ups read it."
    ),
    index(
        "idx_packet_events_relayer",
        "relayer",
        "block_time",
        postgresql_where=sa.text("relayer <> ''"),
        why="What a relayer did lately. Sendings have none and are left out.",
    ),
    index(
        "idx_packet_events_unfinal",
        "chain_id",
        "block_height",
        postgresql_where=sa.text("NOT final"),
        why="What a reorg of a chain undoes. Empty for chains whose blocks are final once made.",
    ),
    comment="One event that a chain reports of a packet.",
    postgresql_partition_by="RANGE (block_time)",
)

packet_flow = sa.Table(
    "packet_flow",
    METADATA,
    *_packet(),
    column("channel", sa.Text(), sa.Computed("src_channel", persisted=True), doc="The channel it was sent through, by its short name."),
    column("status", PACKET_STATUS, server_default=PacketStatus.PENDING.value, doc="Where the packet is."),
    column("created_at", INSTANT, doc="When it was sent; until the sending is known, the earliest that is known of it."),
    column("sent_at", INSTANT, nullable=True, doc="Time of the block it was sent in. NULL: that event has not been seen."),
    column("received_at", INSTANT, nullable=True, doc="Time of the block that received it first, by the clock of the destination."),
    column("acknowledged_at", INSTANT, nullable=True, doc="Time of the block of the source that took the acknowledgement."),
    column("timed_out_at", INSTANT, nullable=True, doc="Time of the block of the source that took the proof of its timeout."),
    column(
        "cleared_at",
        INSTANT,
        sa.Computed(CLEARED_AT, persisted=True),
        nullable=True,
        doc="When the source closed the packet, acknowledged or timed out. NULL: open.",
    ),
    column(
        "clear_time",
        sa.Numeric(),
        sa.Computed(CLEAR_TIME, persisted=True),
        nullable=True,
        doc="Seconds from sending until the source closed the packet. NULL: open.",
    ),
    column("stuck_at", INSTANT, nullable=True, doc="When it was found stuck; NULL again as soon as it moves."),
    column("success", sa.Boolean(), nullable=True, doc="Whether the receiving application accepted it. NULL: not known."),
    column("relayer", sa.Text(), nullable=True, doc="Who delivered it first. NULL: not delivered, or only repeated deliveries were seen."),
    column("received_tx_hash", HASH, nullable=True, doc="Transaction that delivered it."),
    column("redundant_relays", sa.Integer(), server_default=sa.text("0"), doc="Deliveries by relayers that came too late."),
    *_content(),
    column(
        "timeout_at",
        INSTANT,
        sa.Computed(
            "CASE WHEN timeout_timestamp > 0 THEN to_timestamp((timeout_timestamp / 1000000000)::double precision) END", persisted=True
        ),
        nullable=True,
        doc="When it expires, for people and for ordering; timeout_timestamp is the exact number.",
    ),
    updated_at(),
    sa.PrimaryKeyConstraint("src_chain_id", "src_port", "src_channel", "sequence", name="packet_flow_pkey"),
    *_packet_checks("packet_flow"),
    check(
        "packet_flow_status_acknowledged",
        f"(status IN ('{PacketStatus.ACKNOWLEDGED}', '{PacketStatus.FAILED}')) = (acknowledged_at IS NOT NULL)",
    ),
    check("packet_flow_status_failed", f"(status = '{PacketStatus.FAILED}') = (acknowledged_at IS NOT NULL AND success IS FALSE)"),
    check(
        "packet_flow_status_timed_out", f"(status = '{PacketStatus.TIMED_OUT}') = (timed_out_at IS NOT NULL AND acknowledged_at IS NULL)"
    ),
    check("packet_flow_status_received", f"status <> '{PacketStatus.RECEIVED}' OR received_at IS NOT NULL"),
    check("packet_flow_status_pending", f"status <> '{PacketStatus.PENDING}' OR received_at IS NULL"),
    check("packet_flow_stuck_since", f"stuck_at IS NULL OR status = '{PacketStatus.STUCK}'"),
    check("packet_flow_redundant_relays_range", "redundant_relays >= 0"),
    index(
        "idx_packet_flow_status_created",
        "status",
        sa.text("created_at DESC"),
        why="Packets of one status by when they were sent: the stuck ones of a day, the failures of a week.",
    ),
    index(
        "idx_packet_flow_open",
        "src_chain_id",
        "src_port",
        "src_channel",
        "sequence",
        postgresql_include=["status", "created_at", "timeout_at"],
        postgresql_where=sa.text(OPEN),
        why="What still waits in a channel, in order, from the index alone. Ended packets, nearly all, are not in it.",
    ),
    index(
        "idx_packet_flow_timeout",
        "timeout_at",
        postgresql_where=sa.text(f"{OPEN} AND timeout_at IS NOT NULL"),
        why="Open packets that expire soonest, which a relayer takes first.",
    ),
    index(
        "idx_packet_flow_channel_sequence",
        "channel",
        "sequence",
        why="A packet by channel and sequence alone, as explorers print them; several chains may have one.",
    ),
    index(
        "idx_packet_flow_destination",
        "dst_chain_id",
        "dst_port",
        "dst_channel",
        "sequence",
        why="A packet as its destination names it.",
    ),
    index(
        "idx_packet_flow_chain_created",
        "src_chain_id",
        "created_at",
        postgresql_include=["status", "clear_time"],
        why="Counts and clearing times of a chain over a span of time, from the index alone: hourly figures and the health score.",
    ),
    index(
        "idx_packet_flow_sender",
        "sender",
        sa.text("created_at DESC"),
        postgresql_where=sa.text("sender IS NOT NULL"),
        why="What somebody sent, newest first.",
    ),
    index(
        "idx_packet_flow_receiver",
        "receiver",
        sa.text("created_at DESC"),
        postgresql_where=sa.text("receiver IS NOT NULL"),
        why="What somebody was sent, newest first.",
    ),
    comment="One packet and where it is.",
)

CHAIN = Parent(f"{SCHEMA}.chains", [("chain_id", "chain_id")])


DATASETS = (
    Dataset(chains, "chains", entity=["chain_id"], conflict=merge()),
    Dataset(
        channels,
        "channels",
        entity=["chain_id", "port", "channel"],
        conflict=merge(),
        parents=[CHAIN, Parent(f"{SCHEMA}.chains", [("counterparty_chain_id", "chain_id")])],
    ),
    Dataset(
        clearing_operations,
        "clearing_operations",
        time="created_at",
        entity=["wallet_address"],
        conflict=merge(),
        parents=[CHAIN],
        mirror=Mirror(order_by=["wallet_address", "created_at"]),
        cache=CachePolicy(ttl=minutes(5), tags=["wallet:{wallet_address}"]),
        topic="relay.clearing_operations",
    ),
    Dataset(
        packet_flow,
        "packet_flow",
        time="created_at",
        entity=["src_chain_id", "src_port", "src_channel", "sequence"],
        # Open ones leave too: a roll-up is folded from these rows, so none could leave past one that stays for ever.
        lifecycle=Lifecycle(keep=days(400)),
        rollups=rollups.OF_PACKETS,
        conflict=merge(),
        mirror=Mirror(order_by=["src_chain_id", "src_port", "src_channel", "sequence"]),
        cache=CachePolicy(ttl=minutes(5), tags=["chain:{src_chain_id}", "channel:{src_chain_id}/{src_channel}"]),
        topic="relay.packets",
    ),
    Dataset(
        packet_events,
        "packet_events",
        time="block_time",
        entity=["src_chain_id", "src_port", "src_channel", "sequence"],
        lifecycle=Lifecycle(partition=days(1), premake=7, keep=days(90)),
        rollups=rollups.OF_EVENTS,
        conflict=ignore(),
        mirror=Mirror(order_by=["chain_id", "block_time"]),
        cache=CachePolicy(ttl=minutes(5), tags=["chain:{chain_id}", "relayer:{relayer}"]),
        topic="relay.packet_events",
        final="final",
    ),
)
