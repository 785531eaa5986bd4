"""The closed lists of the relay pack: the one source of its database enums, its API and its code."""

from enum import StrEnum


class OperationStatus(StrEnum):
    """Where a clearing operation stands."""

    AWAITING_PAYMENT = "awaiting_payment"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self in ENDED_OPERATIONS


ENDED_OPERATIONS = (OperationStatus.SUCCEEDED, OperationStatus.PARTIAL, OperationStatus.FAILED, OperationStatus.CANCELLED)


class PacketStatus(StrEnum):
    """Where a packet is on its way. Acknowledged, failed and timed out are ends."""

    PENDING = "pending"
    RECEIVED = "received"
    STUCK = "stuck"
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"
    TIMED_OUT = "timed_out"

    @property
    def ended(self) -> bool:
        """Whether the source chain has closed the packet."""
        return self in ENDED_PACKETS


OPEN_PACKETS = (PacketStatus.PENDING, PacketStatus.RECEIVED, PacketStatus.STUCK)
ENDED_PACKETS = (PacketStatus.ACKNOWLEDGED, PacketStatus.FAILED, PacketStatus.TIMED_OUT)


class PacketEvent(StrEnum):
    """What a chain reports of a packet, by the names of its events."""

    SEND = "send_packet"
    RECEIVE = "recv_packet"
    WRITE_ACK = "write_acknowledgement"
    ACKNOWLEDGE = "acknowledge_packet"
    TIMEOUT = "timeout_packet"


class ChannelOrdering(StrEnum):
    """Whether a channel keeps the order of its packets."""

    UNORDERED = "unordered"
    ORDERED = "ordered"


class ChannelState(StrEnum):
    """Where a channel stands in its handshake, by the names of the protocol."""

    INIT = "init"
    TRYOPEN = "tryopen"
    OPEN = "open"
    CLOSED = "closed"
