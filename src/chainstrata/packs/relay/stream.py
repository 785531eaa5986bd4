"""Packets as the events of chains tell of them, block by block and without end.

Packets are sent at an even rate and live as those of the sample do: delivered, acknowledged, refused, timed out, or left waiting. One
lane has its outage every morning. What is under way already when the stream begins is seen from then on only.
"""

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import datetime
from itertools import count
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from chainstrata.packs.relay.sample import (
    DAY,
    HOUR,
    SECOND,
    TIMEOUT,
    Events,
    Packets,
    draw_lanes,
    event_columns,
    group_transactions,
    happened,
    make_packets,
)
from chainstrata.packs.relay.sample_network import LANES, OPERATORS, Accounts, chain_rows, channel_rows
from chainstrata.packs.sampling import Numbers, Tick, floor_to, generator, microseconds

T = TypeVar("T", Packets, Events)
STEP = 6 * SECOND
PEOPLE = 500
EVENTS_EACH = 4.5
"""Events of a packet over its life."""
UNDER_WAY = TIMEOUT + 5 * 60 * SECOND
"""How long before the stream begins the first of its packets were sent."""
OUTAGE_ENDS = 26 * HOUR
"""How long before the instant the sample ends at its outage ends."""


def stream(seed: int, start: datetime, rate: float) -> Iterator[Tick]:
    """Yield what happens from `start` on, of as many packets as give about `rate` events a second; equal arguments, equal rows."""
    rng = generator("relay", "stream", seed)
    first = floor_to(microseconds(start), SECOND)
    people, relayers = Accounts(seed * 10**6, PEOPLE), Accounts(seed * 10**6 + 500_000, len(OPERATORS) + 1)
    yield Tick(first, first, [("relay.chains", chain_rows()), ("relay.channels", channel_rows())])
    traffic = Traffic(rng, first, rate / EVENTS_EACH)
    traffic.send(first - UNDER_WAY, first)
    traffic.take(first)
    for begin in count(first, STEP):
        end = begin + STEP
        traffic.send(begin, end)
        packets, events = traffic.take(end)
        order = np.lexsort((events.kind, events.packet, events.micros))
        transaction, position = group_transactions(events)
        transaction += traffic.next_transaction(len(order))
        columns = event_columns(events, packets, people, relayers, order, transaction[order], position[order])
        yield Tick(begin, end, [("relay.packet_events", pa.table(columns))])


class Traffic:
    """Packets under way, and what will happen to them."""

    def __init__(self, rng: np.random.Generator, first: int, per_second: float) -> None:
        self._rng = rng
        self._per_second = per_second
        # By the clock, so that a stream that begins later names nothing as an earlier one did.
        self._sequence = np.full(len(LANES.weight), first // 1_000)
        self._transaction = first
        none = np.zeros(0, dtype="i8")
        self._packets = make_packets(rng, none, none, PEOPLE, first)
        self._events = happened(rng, self._packets)

    def send(self, begin: int, end: int) -> None:
        """Let packets be sent between two instants, at an even rate."""
        every = SECOND / self._per_second
        moments = (np.arange(-(-begin // every), -(-end // every)) * every).astype("i8")
        lane = draw_lanes(self._rng, len(moments))
        packets = make_packets(self._rng, lane, moments, PEOPLE, begin // DAY * DAY + 10 * HOUR + OUTAGE_ENDS)
        packets = replace(packets, sequence=self._number(lane))
        events = happened(self._rng, packets)
        self._events = _joined(self._events, replace(events, packet=events.packet + len(self._packets.lane)))
        self._packets = _joined(self._packets, packets)

    def take(self, end: int) -> tuple[Packets, Events]:
        """Return what happens before an instant, and the packets it happens to; remember those to which more will happen."""
        packets, due = self._packets, self._events.micros < end
        taken, left = _at(self._events, due), _at(self._events, ~due)
        still, place = np.unique(left.packet, return_inverse=True)
        self._packets, self._events = _at(packets, still), replace(left, packet=place)
        return packets, taken

    def next_transaction(self, count: int) -> int:
        """Return the first of `count` numbers that no transaction had before."""
        self._transaction += count
        return self._transaction - count

    def _number(self, lane: Numbers) -> Numbers:
        """Number packets in each lane, on from those before."""
        order = np.argsort(lane, kind="stable")
        each = np.bincount(lane, minlength=len(self._sequence))
        starts = np.concatenate([[0], np.cumsum(each)[:-1]])
        numbers = np.empty(len(lane), dtype="i8")
        numbers[order] = np.arange(len(lane)) - starts[lane[order]] + self._sequence[lane[order]]
        self._sequence = self._sequence + each
        return numbers


def _joined(one: T, other: T) -> T:
    return type(one)(*(np.concatenate([getattr(one, field.name), getattr(other, field.name)]) for field in fields(one)))


def _at(columns: T, places: Any) -> T:
    return type(columns)(*(getattr(columns, field.name)[places] for field in fields(columns)))
