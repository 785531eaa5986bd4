"""Rows of the relay pack as frozen dataclasses, and its tables.

Written by `make docs` from the declarations; edits are lost. A field of a new row that is None is left to the column's default.
"""

import datetime as dt
import decimal
import uuid
from dataclasses import dataclass
from typing import Any

from chainstrata.packs.relay import model
from chainstrata.packs.repository import Buckets, Repository, Table


@dataclass(frozen=True, slots=True)
class Chain:
    """One chain."""

    chain_id: str
    name: str | None
    account_prefix: str | None
    fee_denom: str | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChain:
    """A row to be written, as `Chain`."""

    chain_id: str
    name: str | None = None
    account_prefix: str | None = None
    fee_denom: str | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel, as one of its two chains sees it."""

    chain_id: str
    port: str
    channel: str
    counterparty_chain_id: str | None
    counterparty_port: str | None
    counterparty_channel: str | None
    connection_id: str | None
    ordering: model.ChannelOrdering
    state: model.ChannelState
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChannel:
    """A row to be written, as `Channel`."""

    chain_id: str
    port: str
    channel: str
    counterparty_chain_id: str | None = None
    counterparty_port: str | None = None
    counterparty_channel: str | None = None
    connection_id: str | None = None
    ordering: model.ChannelOrdering | None = None
    state: model.ChannelState | None = None


@dataclass(frozen=True, slots=True)
class ClearingOperation:
    """One request of a wallet to clear its waiting packets."""

    operation_id: uuid.UUID
    wallet_address: str
    chain_id: str
    port: str
    channel: str | None
    status: model.OperationStatus
    packets_targeted: int
    packets_cleared: int
    packets_failed: int
    fee_denom: str | None
    fee_decimals: int
    service_fee: int
    gas_fee: int
    payment_tx_hash: str | None
    clearing_tx_hash: str | None
    error_message: str | None
    started_at: dt.datetime | None
    completed_at: dt.datetime | None
    duration: dt.timedelta | None
    deleted_at: dt.datetime | None
    metadata: Any
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewClearingOperation:
    """A row to be written, as `ClearingOperation`."""

    operation_id: uuid.UUID | None = None
    wallet_address: str
    chain_id: str
    port: str | None = None
    channel: str | None = None
    status: model.OperationStatus | None = None
    packets_targeted: int | None = None
    packets_cleared: int | None = None
    packets_failed: int | None = None
    fee_denom: str | None = None
    fee_decimals: int | None = None
    service_fee: int | None = None
    gas_fee: int | None = None
    payment_tx_hash: str | None = None
    clearing_tx_hash: str | None = None
    error_message: str | None = None
    started_at: dt.datetime | None = None
    completed_at: dt.datetime | None = None
    deleted_at: dt.datetime | None = None
    metadata: Any = None


@dataclass(frozen=True, slots=True)
class PacketFlow:
    """One packet and where it is."""

    src_chain_id: str
    src_port: str
    src_channel: str
    sequence: int
    dst_chain_id: str | None
    dst_port: str | None
    dst_channel: str | None
    channel: str
    status: model.PacketStatus
    created_at: dt.datetime
    sent_at: dt.datetime | None
    received_at: dt.datetime | None
    acknowledged_at: dt.datetime | None
    timed_out_at: dt.datetime | None
    cleared_at: dt.datetime | None
    clear_time: decimal.Decimal | None
    stuck_at: dt.datetime | None
    success: bool | None
    relayer: str | None
    received_tx_hash: str | None
    redundant_relays: int
    ordering: model.ChannelOrdering | None
    timeout_height: int
    timeout_revision: int
    timeout_timestamp: int
    denom: str | None
    amount: int | None
    sender: str | None
    receiver: str | None
    memo: str | None
    timeout_at: dt.datetime | None
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPacketFlow:
    """A row to be written, as `PacketFlow`."""

    src_chain_id: str
    src_port: str
    src_channel: str
    sequence: int
    dst_chain_id: str | None = None
    dst_port: str | None = None
    dst_channel: str | None = None
    status: model.PacketStatus | None = None
    created_at: dt.datetime
    sent_at: dt.datetime | None = None
    received_at: dt.datetime | None = None
    acknowledged_at: dt.datetime | None = None
    timed_out_at: dt.datetime | None = None
    stuck_at: dt.datetime | None = None
    success: bool | None = None
    relayer: str | None = None
    received_tx_hash: str | None = None
    redundant_relays: int | None = None
    ordering: model.ChannelOrdering | None = None
    timeout_height: int | None = None
    timeout_revision: int | None = None
    timeout_timestamp: int | None = None
    denom: str | None = None
    amount: int | None = None
    sender: str | None = None
    receiver: str | None = None
    memo: str | None = None


@dataclass(frozen=True, slots=True)
class HourlyPacketStats:
    """One hour of one chain: the packets it sent in that hour, and how long those took to be closed, whenever that was."""

    src_chain_id: str
    hour: dt.datetime
    samples: int
    packet_count: int
    clear_time_sum: decimal.Decimal | None
    clear_time_count: int
    avg_clear_time: decimal.Decimal | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class PacketEvent:
    """One event that a chain reports of a packet."""

    chain_id: str
    tx_hash: str
    event_index: int
    block_time: dt.datetime
    block_height: int
    block_hash: str | None
    event_type: model.PacketEvent
    src_chain_id: str
    src_port: str
    src_channel: str
    sequence: int
    dst_chain_id: str | None
    dst_port: str | None
    dst_channel: str | None
    relayer: str
    redundant: bool
    success: bool | None
    sent_at: dt.datetime | None
    elapsed_seconds: decimal.Decimal | None
    ordering: model.ChannelOrdering | None
    timeout_height: int
    timeout_revision: int
    timeout_timestamp: int
    denom: str | None
    amount: int | None
    sender: str | None
    receiver: str | None
    memo: str | None
    packet_data: bytes | None
    gas_used: int | None
    fee_denom: str | None
    fee_amount: int | None
    final: bool
    created_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPacketEvent:
    """A row to be written, as `PacketEvent`."""

    chain_id: str
    tx_hash: str
    event_index: int
    block_time: dt.datetime
    block_height: int
    block_hash: str | None = None
    event_type: model.PacketEvent
    src_chain_id: str
    src_port: str
    src_channel: str
    sequence: int
    dst_chain_id: str | None = None
    dst_port: str | None = None
    dst_channel: str | None = None
    relayer: str | None = None
    redundant: bool | None = None
    success: bool | None = None
    sent_at: dt.datetime | None = None
    ordering: model.ChannelOrdering | None = None
    timeout_height: int | None = None
    timeout_revision: int | None = None
    timeout_timestamp: int | None = None
    denom: str | None = None
    amount: int | None = None
    sender: str | None = None
    receiver: str | None = None
    memo: str | None = None
    packet_data: bytes | None = None
    gas_used: int | None = None
    fee_denom: str | None = None
    fee_amount: int | None = None
    final: bool | None = None


@dataclass(frozen=True, slots=True)
class NetworkStats:
    """One day (UTC) of one chain: packets it sent, received and closed, and what relaying them took."""

    chain_id: str
    date: dt.datetime
    samples: int
    total_packets: int
    received_packets: int
    acknowledged_packets: int
    failed_packets: int
    timed_out_packets: int
    redundant_relays: int
    clear_time_sum: decimal.Decimal | None
    clear_time_count: int
    gas_used_total: decimal.Decimal | None
    clear_time_mean: decimal.Decimal | None
    success_rate: decimal.Decimal | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class ChannelPerformance:
    """One hour of one channel: packets sent through it, received and closed, how fast, and how congested it was."""

    src_chain_id: str
    src_port: str
    src_channel: str
    hour: dt.datetime
    samples: int
    sent_packets: int
    received_packets: int
    acknowledged_packets: int
    failed_packets: int
    timed_out_packets: int
    redundant_relays: int
    clear_time_sum: decimal.Decimal | None
    clear_time_count: int
    clear_time_sketch: Any | None
    clear_time_mean: decimal.Decimal | None
    clear_time_p50: float | None
    clear_time_p95: float | None
    success_rate: decimal.Decimal | None
    congestion_score: decimal.Decimal | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class RelayerPerformance:
    """One day (UTC) of one relayer on one chain: what it brought, how often another got there first, how fast it was."""

    chain_id: str
    relayer: str
    date: dt.datetime
    samples: int
    relayed_packets: int
    effective_packets: int
    frontrun_count: int
    received_packets: int
    acknowledged_packets: int
    timed_out_packets: int
    relay_time_sum: decimal.Decimal | None
    relay_time_count: int
    gas_used_total: decimal.Decimal | None
    gas_wasted: decimal.Decimal | None
    relay_time_mean: decimal.Decimal | None
    effective_rate: decimal.Decimal | None
    reputation_score: decimal.Decimal | None
    created_at: dt.datetime
    updated_at: dt.datetime


class Tables(Repository):
    """The tables and roll-ups of the relay pack."""

    @property
    def chains(self) -> Table[Chain, NewChain]:
        """One chain."""
        return self._table("chains", Chain, NewChain)

    @property
    def channels(self) -> Table[Channel, NewChannel]:
        """One channel, as one of its two chains sees it."""
        return self._table("channels", Channel, NewChannel)

    @property
    def clearing_operations(self) -> Table[ClearingOperation, NewClearingOperation]:
        """One request of a wallet to clear its waiting packets."""
        return self._table("clearing_operations", ClearingOperation, NewClearingOperation)

    @property
    def packet_flow(self) -> Table[PacketFlow, NewPacketFlow]:
        """One packet and where it is."""
        return self._table("packet_flow", PacketFlow, NewPacketFlow)

    @property
    def packet_flow_hourly_stats(self) -> Buckets[HourlyPacketStats]:
        """One hour of one chain: the packets it sent in that hour, and how long those took to be closed, whenever that was."""
        return self._bucket_table("packet_flow", "hourly_stats", HourlyPacketStats)

    @property
    def packet_events(self) -> Table[PacketEvent, NewPacketEvent]:
        """One event that a chain reports of a packet."""
        return self._table("packet_events", PacketEvent, NewPacketEvent)

    @property
    def packet_events_network_stats(self) -> Buckets[NetworkStats]:
        """One day (UTC) of one chain: packets it sent, received and closed, and what relaying them took."""
        return self._bucket_table("packet_events", "network_stats", NetworkStats)

    @property
    def packet_events_channel_performance(self) -> Buckets[ChannelPerformance]:
        """One hour of one channel: packets sent through it, received and closed, how fast, and how congested it was."""
        return self._bucket_table("packet_events", "channel_performance", ChannelPerformance)

    @property
    def packet_events_relayer_performance(self) -> Buckets[RelayerPerformance]:
        """One day (UTC) of one relayer on one chain: what it brought, how often another got there first, how fast it was."""
        return self._bucket_table("packet_events", "relayer_performance", RelayerPerformance)
