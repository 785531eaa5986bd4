"""Prices as a collector sees them come, minute by minute and without end.

Coins walk together and on their own, from where the sample would leave them. A minute is missing now and then; from time to time the
collector is down, and then all of them are.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import count

import numpy as np

from chainstrata.packs.prices.sample import Spans, coin_rows, list_coins, minute_rows
from chainstrata.packs.prices.sample_series import DAY, LARGEST, MINUTE, draw_minutes, draw_returns
from chainstrata.packs.sampling import Tick, floor_to, generator, microseconds

FEWEST = 20
THERE = 0.96
"""Share of the coins that have a price in a minute."""
OUTAGE = 1 / 2_000
"""How likely the collector is down in a minute."""


def stream(seed: int, start: datetime, rate: float) -> Iterator[Tick]:
    """Yield the minutes from the one that `start` is in on, of as many coins as give about `rate` rows a second; equal arguments, equal rows."""
    rng = generator("prices", "stream", seed)
    first = floor_to(microseconds(start), MINUTE)
    listing = list_coins(rng, max(FEWEST, round(rate * 60 / THERE)), first)
    seen = listing.coins.seen_until
    # A few have not been seen for a while, and do not come back; the others are seen for ever.
    coins = replace(listing.coins, seen_until=np.where(seen < first, seen, LARGEST))
    yield Tick(first, first, [("prices.coins", coin_rows(listing, Spans.before(start, 1)))])
    logarithms = np.log(listing.coins.price)
    for minute in count(first, MINUTE):
        market = rng.standard_normal(1) * 0.03 * np.sqrt(MINUTE / DAY)
        logarithms = logarithms + draw_returns(rng, market, coins, MINUTE)[:, 0]
        down = rng.random(1) < OUTAGE
        rows = minute_rows(listing, draw_minutes(rng, coins, np.array([minute]), logarithms[:, None], down))
        yield Tick(minute, minute + MINUTE, [("prices.minute", rows)])
