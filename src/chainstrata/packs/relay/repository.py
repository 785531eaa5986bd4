"""Questions about packets between chains: where they are, what waits, how chains, channels and relayers do."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from chainstrata.engines.postgres import load_queries
from chainstrata.model import Interval, days, hours
from chainstrata.packs.relay.model import OperationStatus
from chainstrata.packs.relay.rows import ChannelPerformance, ClearingOperation, PacketEvent, PacketFlow, RelayerPerformance, Tables
from chainstrata.packs.repository import question

QUERIES: Final = load_queries("chainstrata.packs.relay")
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)
_FLOW: Final = "where a packet is, is written over as it goes; its events tell its life"


@dataclass(frozen=True, slots=True)
class StuckPacket:
    """An open packet that has waited too long, and the command that clears it."""

    src_chain_id: str
    src_port: str
    src_channel: str
    sequence: int
    dst_chain_id: str | None
    dst_channel: str | None
    waits_for: str
    created_at: datetime
    stuck_at: datetime | None
    waiting: timedelta
    timeout_at: datetime | None
    expires_in: timedelta | None
    denom: str | None
    amount: int | None
    sender: str | None
    receiver: str | None
    command: str


@dataclass(frozen=True, slots=True)
class ChannelBacklog:
    src_chain_id: str
    src_port: str
    src_channel: str
    backlog_size: int
    backlog_oldest_sequence: int
    backlog_oldest_at: datetime
    first_timeout_at: datetime | None
    stuck: int


@dataclass(frozen=True, slots=True)
class QueryPerformance:
    """What a statement cost. `advice` says what to look at, or that nobody collects the statistics."""

    query_id: int | None
    query: str | None
    calls: int | None
    rows_returned: int | None
    total_ms: Decimal | None
    mean_ms: Decimal | None
    max_ms: Decimal | None
    stddev_ms: Decimal | None
    cache_hit_ratio: Decimal | None
    advice: str


class Relay(Tables):
    """The relay pack."""

    @question(now="an operation is written over as it goes on", wallet="cosmos1" + "q" * 38)
    async def operations_of(
        self, wallet: str, status: OperationStatus | None = None, before: datetime | None = None, limit: int = 20
    ) -> list[ClearingOperation]:
        """Return a wallet's clearing operations that are not deleted, in one status or in any, newest first."""
        return await self._all(
            QUERIES.list_operations, ClearingOperation, wallet=wallet, status=status, before=before or _END_OF_TIME, limit=limit
        )

    @question(now=_FLOW)
    async def stuck_packets(self, chain: str | None = None, limit: int = 100) -> list[StuckPacket]:
        """Return open packets found stuck, of one chain or of all, those that expire first at the top."""
        return await self._all(QUERIES.list_stuck_packets, StuckPacket, chain=chain, limit=limit)

    @question(now=_FLOW)
    async def channel_backlog(self, limit: int = 100) -> list[ChannelBacklog]:
        """Return channels with open packets, the longest backlog first."""
        return await self._all(QUERIES.list_channel_backlog, ChannelBacklog, limit=limit)

    @question(now=_FLOW, chain="osmosis-1", channel="channel-0", sequence=7)
    async def packet(self, chain: str, channel: str, sequence: int, port: str = "transfer") -> PacketFlow | None:
        """Return where one packet is."""
        return await self.packet_flow.get(chain, port, channel, sequence)

    @question(of="packet_events", chain="osmosis-1", channel="channel-0", sequence=7)
    async def packet_life(
        self, chain: str, channel: str, sequence: int, port: str = "transfer", as_of: datetime | None = None
    ) -> list[PacketEvent]:
        """Return what happened to one packet, in order of time."""
        until = as_of or _END_OF_TIME
        return await self._all(
            QUERIES.list_packet_life, PacketEvent, chain=chain, port=port, channel=channel, sequence=sequence, until=until
        )

    @question(now=_FLOW, address="cosmos1" + "q" * 38)
    async def packets_of(self, address: str, before: datetime | None = None, limit: int = 100) -> list[PacketFlow]:
        """Return packets that an address sent or is to get, newest first."""
        return await self._all(QUERIES.list_packets_of, PacketFlow, address=address, before=before or _END_OF_TIME, limit=limit)

    @question(now=_FLOW, chain="osmosis-1")
    async def health_score(self, chain: str, at: datetime | None = None) -> Decimal | None:
        """Return a chain's health from 0 to 100; None for one of which nothing is known.

        It is made of the packets sent in the 24 hours up to now, or up to an instant, and of older ones still open: all as they stand now.
        """
        found: Decimal | None = await self._value(QUERIES.get_health_score, chain=chain, at=at or datetime.now(UTC))
        return found

    @question(of="packet_events", day="2026-11-20T00:00:00Z")
    async def top_relayers(self, day: datetime, limit: int = 10, as_of: datetime | None = None) -> list[RelayerPerformance]:
        """Return the relayers of a day by reputation, the best first. With `as_of`, none of a day that had not ended by then."""
        if not _had_ended(days(1), day, as_of):
            return []
        return await self._all(QUERIES.list_top_relayers, RelayerPerformance, day=day, limit=limit)

    @question(of="packet_events", hour="2026-11-20T12:00:00Z")
    async def congested_channels(self, hour: datetime, limit: int = 10, as_of: datetime | None = None) -> list[ChannelPerformance]:
        """Return the channels of an hour by congestion, the worst first. With `as_of`, none of an hour that had not ended by then."""
        if not _had_ended(hours(1), hour, as_of):
            return []
        return await self._all(QUERIES.list_congested_channels, ChannelPerformance, hour=hour, limit=limit)

    @question(now="statistics of statements are counted up by the server", pattern="%packet_flow%")
    async def query_performance(self, pattern: str = "%", limit: int = 20) -> list[QueryPerformance]:
        """Return what the statements whose text is like a pattern cost, the costliest first."""
        return await self._all(QUERIES.list_query_performance, QueryPerformance, pattern=pattern, limit=limit)


def _had_ended(every: Interval, moment: datetime, as_of: datetime | None) -> bool:
    return as_of is None or every.shift(every.floor(moment), 1) <= as_of


REPOSITORY = Relay
