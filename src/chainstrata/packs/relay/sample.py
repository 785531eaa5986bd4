"""Sample data of the relay pack, up to an anchor in time: packets through their lives, and operations that clear some of them.

Packets are sent with the rhythm of the day, delivered by relayers of different speed, acknowledged, refused, timed out, or left
waiting; some relayers come when another was there already. One lane has an outage: nearly nothing gets through for some hours. The
packets themselves follow from the events. Only of packets older than the stream there is no event any more, so those are given.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.packs.relay.model import OperationStatus, PacketEvent, PacketStatus
from chainstrata.packs.relay.sample_network import (
    CHAINS,
    CHANNELS,
    DELAY,
    DENOMS,
    IDS,
    LANES,
    LATE,
    OPERATORS,
    SHARE,
    SPREAD,
    Accounts,
    block_hashes,
    block_times,
    chain_rows,
    channel_rows,
    heights,
)
from chainstrata.packs.sampling import (
    BATCH_ROWS,
    Numbers,
    chosen,
    constant,
    generator,
    instants,
    microseconds,
    of_scale,
    pc,
    spread_texts,
    uuids,
)

SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
TIMEOUT = 600 * SECOND
EVENTS = list(PacketEvent)
CODE = {event: code for code, event in enumerate(EVENTS)}
NOBODY = len(OPERATORS)


@dataclass(frozen=True, slots=True)
class Size:
    packets: int
    days: int
    people: int
    operations: int


SIZES = {
    "small": Size(3_000, 2, 300, 120),
    "medium": Size(120_000, 10, 3_000, 3_000),
    "large": Size(1_200_000, 30, 10_000, 30_000),
}


@dataclass(frozen=True, slots=True)
class Packets:
    """One place in every array for each packet. Times are `NEVER` where it does not come so far."""

    lane: Numbers
    sequence: Numbers
    sent: Numbers
    received: Numbers
    closed: Numbers
    timed_out: Numbers
    refused: Numbers
    first: Numbers
    second: Numbers
    sender: Numbers
    receiver: Numbers
    amount: Numbers
    expires: Numbers


NEVER = np.iinfo(np.int64).max


def make(scale: str, seed: int, anchor: datetime) -> Iterator[tuple[str, Any]]:
    """Yield (dataset, table), parents first; equal arguments, equal rows. Nothing is later than `anchor`."""
    size = of_scale(SIZES, scale)
    rng = generator("relay", scale, seed)
    now = microseconds(anchor)
    people, relayers = Accounts(seed * 10**6, size.people), Accounts(seed * 10**6 + 500_000, len(OPERATORS) + 1)
    lane = draw_lanes(rng, size.packets)
    packets = make_packets(rng, lane, np.sort(_moments(rng, size.packets, now, size.days)), size.people, now)
    older = size.packets // 50
    yield "relay.chains", chain_rows()
    yield "relay.channels", channel_rows()
    yield "relay.packet_flow", _older_rows(rng, packets, people, older, now - size.days * DAY)
    yield from _events(rng, packets, people, relayers, now)
    yield "relay.clearing_operations", _operation_rows(rng, size.operations, people, now)


# Packets -------------------------------------------------------------------------------------------------------------
def draw_lanes(rng: np.random.Generator, count: int) -> Numbers:
    lanes: Numbers = rng.choice(len(LANES.weight), count, p=LANES.weight / LANES.weight.sum())
    return lanes


def make_packets(rng: np.random.Generator, lane: Numbers, moments: Numbers, people: int, now: int) -> Packets:
    """Return the whole life of packets sent along lanes at some instants, in order. The outage is in the hours before `now`."""
    count = len(lane)
    source, target = LANES.source[lane], LANES.target[lane]
    sent = block_times(source, heights(source, moments))
    first = rng.choice(len(SHARE), count, p=SHARE / SHARE.sum())
    second = rng.choice(len(SHARE), count, p=SHARE / SHARE.sum())
    outage = (lane == 3) & (sent > now - 30 * HOUR) & (sent < now - 26 * HOUR)
    there = _after(rng, sent, first, np.where(outage, 60, 1))
    lost = rng.random(count) < np.where(outage, 0.35, 0.012)
    waits = rng.random(count) < 0.006
    received = np.where(lost | waits | (there > sent + TIMEOUT), NEVER, there)
    received = np.where(received == NEVER, NEVER, block_times(target, heights(target, np.minimum(received, now * 2))))
    back = _after(rng, np.where(received == NEVER, sent + TIMEOUT, received), second, np.where(outage, 8, 1))
    closed = np.where((received != NEVER) & ~waits & (rng.random(count) > 0.003), back, NEVER)
    expired = np.where((received == NEVER) & ~waits, back, NEVER)
    return Packets(
        lane=lane,
        sequence=_sequences(lane),
        sent=sent,
        received=received,
        closed=np.where(closed == NEVER, NEVER, block_times(source, heights(source, np.minimum(closed, now * 2)))),
        timed_out=np.where(expired == NEVER, NEVER, block_times(source, heights(source, np.minimum(expired, now * 2)))),
        refused=rng.random(count) < 0.008,
        first=first,
        second=second,
        sender=rng.integers(0, people, count),
        receiver=rng.integers(0, people, count),
        amount=np.maximum(1, rng.lognormal(17.5, 2.2, count)).astype("i8"),
        expires=np.where(rng.random(count) < 0.05, 0, sent + TIMEOUT),
    )


def _moments(rng: np.random.Generator, count: int, now: int, days: int) -> Numbers:
    """Return instants of the last days: more by day than by night."""
    drawn = now - (rng.random(3 * count) * days * DAY).astype("i8")
    hour = drawn % DAY / HOUR
    kept: Numbers = drawn[rng.random(3 * count) < 0.35 + 0.65 * (1 + np.cos((hour - 15) / 24 * 2 * np.pi)) / 2]
    return np.resize(kept, count)


def _after(rng: np.random.Generator, micros: Numbers, operator: Numbers, slower: Numbers) -> Numbers:
    """Return when an operator got there that set out at an instant."""
    seconds = DELAY[operator] * np.exp(rng.normal(0, 1, len(operator)) * SPREAD[operator]) * slower
    found: Numbers = micros + (seconds * SECOND).astype("i8")
    return found


def _sequences(lane: Numbers) -> Numbers:
    """Number the packets of each lane in the order they were sent, on from where the lane stood."""
    order = np.argsort(lane, kind="stable")
    starts = np.searchsorted(lane[order], np.arange(len(LANES.weight)))
    found = np.empty(len(lane), dtype="i8")
    found[order] = np.arange(len(lane)) - starts[lane[order]]
    numbers: Numbers = found + 1_000_000 + 37_000 * lane
    return numbers


def _identity(packets: Packets, at: Numbers) -> dict[str, Any]:
    lane = packets.lane[at]
    return {
        "src_chain_id": chosen(LANES.source[lane], IDS),
        "src_port": constant("transfer", len(at)),
        "src_channel": chosen(LANES.source_channel[lane], CHANNELS),
        "sequence": packets.sequence[at],
        "dst_chain_id": chosen(LANES.target[lane], IDS),
        "dst_port": constant("transfer", len(at)),
        "dst_channel": chosen(LANES.target_channel[lane], CHANNELS),
    }


def _content(packets: Packets, people: Accounts, at: Numbers, known: Numbers) -> dict[str, Any]:
    """Return what packets carry; events that close a packet do not repeat it."""
    lane = packets.lane[at]
    limited = packets.expires[at] == 0
    hidden = pa.array(~known)
    nothing = pa.scalar(None, pa.string())
    small = packets.amount[at] % 997 == 0
    # A few are in units of 18 places, far beyond a machine word.
    amounts = pc.binary_join_element_wise(pa.array(packets.amount[at]).cast(pa.string()), chosen(small * 1, ["", "0" * 15]), "")
    return {
        "ordering": constant("unordered", len(at)),
        "timeout_height": np.where(limited, heights(LANES.target[lane], packets.sent[at]) + 1_000, 0),
        "timeout_revision": np.where(limited, 1, 0),
        "timeout_timestamp": packets.expires[at] * 1_000,
        "denom": pc.if_else(hidden, nothing, chosen(LANES.denom[lane], DENOMS)),
        "amount": pc.if_else(hidden, nothing, amounts),
        "sender": pc.if_else(hidden, nothing, people.at(LANES.source[lane], packets.sender[at])),
        "receiver": pc.if_else(hidden, nothing, people.at(LANES.target[lane], packets.receiver[at])),
        "memo": chosen(small * 1, ["", '{"forward": {"port": "transfer"}}'], ~known),
    }


def _data(content: Mapping[str, Any], sends: Numbers) -> Any:
    """Return the data of token transfers as packets carry them, for the events that send them."""
    names = ("amount", "denom", "receiver", "sender")
    parts = [part for name in names for part in (f'"{name}":"', content[name], '",' if name != names[-1] else '"}')]
    return pc.if_else(pa.array(sends), pc.binary_join_element_wise("{", *parts, ""), pa.scalar(None, pa.string())).cast(pa.binary())


# Events --------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Events:
    """One place in every array for each event: its packet, what happened, where and when, who brought it."""

    packet: Numbers
    kind: Numbers
    chain: Numbers
    micros: Numbers
    operator: Numbers
    redundant: Numbers

    def __len__(self) -> int:
        return len(self.packet)


def _events(rng: np.random.Generator, packets: Packets, people: Accounts, relayers: Accounts, now: int) -> Iterator[tuple[str, Any]]:
    """Yield what happened until now, in the order it happened."""
    events = happened(rng, packets)
    order = np.lexsort((events.kind, events.packet, events.micros))
    order = order[events.micros[order] <= now]
    transaction, position = group_transactions(events)
    for start in range(0, len(order), BATCH_ROWS):
        at = order[start : start + BATCH_ROWS]
        yield "relay.packet_events", pa.table(event_columns(events, packets, people, relayers, at, transaction[at], position[at]))


def happened(rng: np.random.Generator, packets: Packets) -> Events:
    lane = packets.lane
    source, target = LANES.source[lane], LANES.target[lane]
    everybody, nobody = np.arange(len(lane)), np.full(len(lane), NOBODY)
    delivered, closed, expired = (np.flatnonzero(times != NEVER) for times in (packets.received, packets.closed, packets.timed_out))
    late, late_by, late_at = _latecomers(rng, packets, delivered)
    again = closed[rng.random(len(closed)) < 0.04]
    parts = (
        (everybody, PacketEvent.SEND, source, packets.sent, nobody, False),
        (delivered, PacketEvent.RECEIVE, target[delivered], packets.received[delivered], packets.first[delivered], False),
        (delivered, PacketEvent.WRITE_ACK, target[delivered], packets.received[delivered], packets.first[delivered], False),
        (late, PacketEvent.RECEIVE, target[late], late_at, late_by, True),
        (closed, PacketEvent.ACKNOWLEDGE, source[closed], packets.closed[closed], packets.second[closed], False),
        (
            again,
            PacketEvent.ACKNOWLEDGE,
            source[again],
            _next_block(rng, source[again], packets.closed[again]),
            _others(rng, packets.second[again]),
            True,
        ),
        (expired, PacketEvent.TIMEOUT, source[expired], packets.timed_out[expired], packets.second[expired], False),
    )
    return Events(
        packet=np.concatenate([part[0] for part in parts]),
        kind=np.concatenate([np.full(len(part[0]), CODE[part[1]]) for part in parts]),
        chain=np.concatenate([part[2] for part in parts]),
        micros=np.concatenate([part[3] for part in parts]),
        operator=np.concatenate([part[4] for part in parts]),
        redundant=np.concatenate([np.full(len(part[0]), part[5]) for part in parts]),
    )


def _latecomers(rng: np.random.Generator, packets: Packets, delivered: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return deliveries that came too late: of which packets, by whom, when."""
    comes = rng.random((len(delivered), len(OPERATORS))) < 0.35 * LATE
    comes[np.arange(len(delivered)), packets.first[delivered]] = False
    place, operator = np.nonzero(comes)
    late = delivered[place]
    return late, operator, _next_block(rng, LANES.target[packets.lane[late]], packets.received[late])


def _next_block(rng: np.random.Generator, chain: Numbers, micros: Numbers) -> Numbers:
    """Return times of blocks a few after given ones."""
    return block_times(chain, heights(chain, micros) + rng.integers(1, 4, len(chain)))


def _others(rng: np.random.Generator, operator: Numbers) -> Numbers:
    found: Numbers = (operator + rng.integers(1, len(OPERATORS), len(operator))) % len(OPERATORS)
    return found


def group_transactions(events: Events) -> tuple[Numbers, Numbers]:
    """Return for each event a key of its transaction, and its place in it. What a relayer brings into one block is one transaction."""
    block = heights(events.chain, events.micros)
    alone = np.where(events.operator == NOBODY, events.packet + 1, 0)
    order = np.lexsort((events.kind, events.packet, alone, events.operator, block, events.chain))
    starts = np.ones(len(order), dtype=bool)
    for column in (events.chain, block, events.operator, alone):
        starts[1:] &= column[order][1:] == column[order][:-1]
    starts[1:] = ~starts[1:]
    number = np.cumsum(starts) - 1
    transaction, position = np.empty(len(order), dtype="i8"), np.empty(len(order), dtype="i4")
    transaction[order] = number
    position[order] = np.arange(len(order)) - np.flatnonzero(starts)[number]
    return transaction, position


def event_columns(
    events: Events, packets: Packets, people: Accounts, relayers: Accounts, at: Numbers, transaction: Numbers, position: Numbers
) -> Mapping[str, Any]:
    packet, kind, chain, micros, operator = events.packet[at], events.kind[at], events.chain[at], events.micros[at], events.operator[at]
    height = heights(chain, micros)
    sends = kind == CODE[PacketEvent.SEND]
    brought = ~sends & (kind != CODE[PacketEvent.WRITE_ACK])
    answers = np.isin(kind, [CODE[PacketEvent.WRITE_ACK], CODE[PacketEvent.ACKNOWLEDGE]])
    content = _content(packets, people, packet, kind <= CODE[PacketEvent.WRITE_ACK])
    gas = 90_000 + packet % 41 * 1_700 + np.where(events.redundant[at], -40_000, 0)
    return {
        "chain_id": chosen(chain, IDS),
        "tx_hash": spread_texts(transaction + 2**40, 32, "", upper=True),
        "event_index": position,
        "block_time": instants(micros),
        "block_height": height,
        "block_hash": block_hashes(chain, height),
        "event_type": chosen(kind, [event.value for event in EVENTS]),
        **_identity(packets, packet),
        "relayer": pc.if_else(pa.array(sends), "", relayers.at(chain, operator)),
        "redundant": events.redundant[at],
        "success": pa.array(~packets.refused[packet], mask=~answers | events.redundant[at]),
        "sent_at": instants(packets.sent[packet], sends),
        **content,
        "packet_data": _data(content, sends),
        "gas_used": pa.array(gas, mask=~brought),
        "fee_denom": chosen(chain, [each.fee_denom for each in CHAINS], ~brought),
        "fee_amount": pa.array(gas // 40, mask=~brought),
    }


# Packets older than the stream ---------------------------------------------------------------------------------------
def _older_rows(rng: np.random.Generator, packets: Packets, people: Accounts, count: int, first: int) -> Any:
    """Return packets sent before the first event: most have ended, some are stuck to this day."""
    at = rng.integers(0, len(packets.lane), count)
    lane = packets.lane[at]
    source = LANES.source[lane]
    order = np.argsort(lane, kind="stable")
    starts = np.searchsorted(lane[order], np.arange(len(LANES.weight)))
    sequence = np.empty(count, dtype="i8")
    sequence[order] = 999_999 + 37_000 * lane[order] - (np.arange(count) - starts[lane[order]])
    sent = block_times(source, heights(source, first - DAY - rng.integers(0, 9 * DAY, count)))
    stuck, expired, refused = rng.random((3, count)) < np.array([[0.3], [0.1], [0.05]])
    expired, refused = expired & ~stuck, refused & ~stuck & ~expired
    closed = block_times(source, heights(source, sent + np.where(expired, TIMEOUT, 0) + rng.integers(15, 90, count) * SECOND))
    half_way = stuck & (at % 3 == 0)
    statuses = [PacketStatus.ACKNOWLEDGED, PacketStatus.STUCK, PacketStatus.TIMED_OUT, PacketStatus.FAILED]
    return pa.table(
        {
            **_identity(packets, at),
            "sequence": sequence,
            "status": chosen(np.select([stuck, expired, refused], [1, 2, 3], 0), [status.value for status in statuses]),
            "created_at": instants(sent),
            "sent_at": instants(sent),
            "received_at": instants(sent + 9 * SECOND, (stuck & ~half_way) | expired),
            "acknowledged_at": instants(closed, stuck | expired),
            "timed_out_at": instants(closed, ~expired),
            "stuck_at": instants(sent + 2 * HOUR, ~stuck),
            "success": pa.array(~refused, mask=stuck | expired),
            **_content(packets, people, at, np.ones(count, dtype=bool)),
            "timeout_timestamp": (sent + TIMEOUT) * 1_000,
        }
    )


# Clearing operations -------------------------------------------------------------------------------------------------
STATUSES = list(OperationStatus)


def _operation_rows(rng: np.random.Generator, count: int, people: Accounts, now: int) -> Any:
    lane = rng.choice(len(LANES.weight), count, p=LANES.weight / LANES.weight.sum())
    chain = LANES.source[lane]
    status = rng.choice(len(STATUSES), count, p=(0.04, 0.03, 0.02, 0.72, 0.08, 0.07, 0.04))
    status[: len(STATUSES)] = np.arange(len(STATUSES))
    named = [STATUSES[code] for code in range(len(STATUSES))]
    ended = np.array([each.ended for each in named])[status]
    begun = ended | (status == named.index(OperationStatus.RUNNING))
    paid = (status != named.index(OperationStatus.AWAITING_PAYMENT)) & (status != named.index(OperationStatus.CANCELLED))
    asked = now - HOUR - (rng.beta(1, 2, count) * 60 * DAY).astype("i8")
    started = asked + rng.integers(5, 120, count) * SECOND
    targeted = np.clip(rng.geometric(0.25, count), 1, 40)
    share = np.select([status == named.index(OperationStatus.SUCCEEDED), status == named.index(OperationStatus.PARTIAL)], [1.0, 0.6], 0)
    cleared = np.ceil(targeted * share).astype("i4")
    failed = np.where(ended & paid, targeted - cleared, 0).astype("i4")
    hashes = spread_texts(np.arange(count) + 2**41, 32, "", upper=True)
    nothing = pa.scalar(None, pa.string())
    return pa.table(
        {
            "operation_id": uuids(rng, count),
            "wallet_address": people.at(chain, rng.zipf(1.4, count) % 60),
            "chain_id": chosen(chain, IDS),
            "channel": chosen(LANES.source_channel[lane], CHANNELS, rng.random(count) < 0.2),
            "status": chosen(status, OperationStatus),
            "packets_targeted": targeted.astype("i4"),
            "packets_cleared": cleared,
            "packets_failed": failed,
            "fee_denom": chosen(chain, [each.fee_denom for each in CHAINS]),
            "fee_decimals": np.where(np.isin(chain, [7, 8]), 18, 6).astype("i2"),
            "service_fee": np.where(paid, targeted * 20_000, 0),
            "gas_fee": np.where(begun & paid, targeted * 4_200, 0),
            "payment_tx_hash": pc.if_else(pa.array(paid), hashes, nothing),
            "clearing_tx_hash": pc.if_else(pa.array(cleared > 0), spread_texts(np.arange(count) + 2**42, 32, "", upper=True), nothing),
            "error_message": pc.if_else(pa.array(failed > 0), "packets expired before they could be delivered", nothing),
            "started_at": instants(started, ~begun),
            "completed_at": instants(started + rng.integers(8, 240, count) * SECOND, ~ended),
            "deleted_at": instants(np.full(count, now - HOUR // 2), rng.random(count) > 0.04),
            "metadata": constant("{}", count),
            "created_at": instants(asked),
        }
    )
