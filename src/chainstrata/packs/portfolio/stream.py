"""Portfolios as they change, block by block and without end: transactions, what holdings come to by them, and each midnight what it is all worth.

People come with the stream and begin with nothing. Nobody spends what is not there, and every holding that something moved in is told of
again with its new amount.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.packs.portfolio.model import PositionType
from chainstrata.packs.portfolio.sample import People, holding_columns, snapshot_columns, transaction_columns, user_rows, wallet_rows
from chainstrata.packs.portfolio.sample_ledger import NOBODY, Held, Ledger, Slots, make_slots, move_once
from chainstrata.packs.portfolio.sample_market import DAY, SPAM, Prices, asset_rows, protocol_rows
from chainstrata.packs.sampling import Numbers, Rows, Tick, floor_to, generator, microseconds, uuids

SECOND = 1_000_000
STEP = 6 * SECOND
FEWEST, MOST = 200, 50_000
ROWS_EACH = 2.15
"""Rows that follow from a movement: its transaction, and the holdings it changes."""
DAYS = 1_000
"""How long prices go on wandering."""


def stream(seed: int, start: datetime, rate: float) -> Iterator[Tick]:
    """Yield what moves from `start` on, as much as gives about `rate` rows a second; equal arguments, equal rows."""
    first = floor_to(microseconds(start), SECOND)
    # By the clock: people of a stream that begins later are others.
    rng = np.random.default_rng([*generator("portfolio", "stream", seed).integers(0, 2**32, 4), first])
    users = min(MOST, max(FEWEST, round(rate * 20)))
    people, prices = People(uuids(rng, users), first // SECOND * MOST), Prices(rng, first // DAY, DAYS)
    slots = make_slots(rng, users, 1)
    begun = [
        ("portfolio.users", user_rows(rng, people, first)),
        ("portfolio.wallets", wallet_rows(slots, people, first)),
        ("portfolio.protocols", protocol_rows()),
        ("portfolio.assets", asset_rows(prices, first)),
    ]
    yield Tick(first, first, begun)
    able = np.flatnonzero(slots.asset != SPAM)
    transactions = first
    moved_in = np.zeros(len(slots), dtype=bool)
    for begin in count(first, STEP):
        at = np.unique(rng.choice(able, rng.poisson(rate * STEP / SECOND / ROWS_EACH)))
        midnight = (begin + STEP - 1) // DAY * DAY
        worth = _worth(slots, moved_in, people, prices, midnight, begin + STEP) if midnight >= begin else []
        moved_in[at] = True
        placed, owed = slots.placed[at] > 0, slots.owed[at] > 0
        ledger = move_once(rng, slots, at, begin + rng.integers(0, STEP, len(at)), begin + STEP, prices)
        ledger.transaction += transactions
        transactions += len(at)
        order = np.argsort(ledger.micros, kind="stable")
        moved = pa.table(transaction_columns(ledger, people, prices, order, begin + STEP))
        held = _holdings(rng, ledger, people, prices, (at[placed], at[owed]), begin + STEP)
        yield Tick(begin, begin + STEP, [("portfolio.transactions", moved), ("portfolio.holdings", held), *worth])


def _worth(slots: Slots, moved_in: Numbers, people: People, prices: Prices, midnight: int, now: int) -> list[tuple[str, Any]]:
    """Return every portfolio at a midnight, before anything moves in the step it is in."""
    held = Held(moved_in, slots.wallet, slots.placed, slots.owed)
    return [("portfolio.snapshots", pa.table(snapshot_columns(held, slots, people, prices, midnight, now)))]


def _holdings(rng: np.random.Generator, ledger: Ledger, people: People, prices: Prices, before: tuple[Numbers, Numbers], now: int) -> Any:
    """Return the holdings that something moved in; `before` are the slots of which something was placed, and owed, until then."""
    slots: Slots = ledger.slots
    at, (placed, owed) = ledger.slot, before
    given = ledger.counterparty[ledger.counterparty != NOBODY]
    rows = Rows("portfolio.holdings")
    kinds = (
        (np.unique(np.concatenate([at, given])), slots.wallet, ""),
        (np.union1d(placed, at[slots.placed[at] > 0]), slots.placed, "placed"),
        (np.union1d(owed, at[slots.owed[at] > 0]), slots.owed, PositionType.BORROWED.value),
    )
    for some, amounts, kind in kinds:
        seen = np.full(len(some), now)
        rows.add(holding_columns(rng, slots, people, prices, some, amounts, kind, seen, now))
    return next((table for _, table in rows.rest()), pa.table({}))
