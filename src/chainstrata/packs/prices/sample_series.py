"""Periods of many coins at once: how walks of prices are drawn, and folded into longer periods as a roll-up would.

Prices are whole numbers of each coin's smallest unit, so that a fold of a fold is exact.
"""

from dataclasses import dataclass, fields

import numpy as np

from chainstrata.packs.sampling import Numbers

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
"""Microseconds."""
DAILY_MOVE = 0.04
"""Standard deviation of a day's return; a shorter period has its share of the variance."""
LARGEST = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Periods:
    """Figures by coin and period, as (coins, periods); a period without `samples` is none. `start` is by period."""

    start: Numbers
    open: Numbers
    high: Numbers
    low: Numbers
    close: Numbers
    cap: Numbers
    volume: Numbers
    first_at: Numbers
    last_at: Numbers
    samples: Numbers

    def between(self, start: int, end: int) -> "Periods":
        """Return the periods that start at `start` or later, and before `end`."""
        first, last = np.searchsorted(self.start, [start, end])
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return Periods(**{name: values[first:last] if values.ndim == 1 else values[:, first:last] for name, values in parts.items()})

    def followed_by(self, other: "Periods") -> "Periods":
        """Return these periods and then those."""
        return Periods(
            **{field.name: np.concatenate([getattr(self, field.name), getattr(other, field.name)], axis=-1) for field in fields(self)}
        )

    def fold(self, longer: Numbers) -> "Periods":
        """Return longer periods; `longer` gives for each of these the start of the one it is in."""
        edges = np.flatnonzero(np.diff(longer, prepend=longer[0] - 1))
        present = self.samples > 0
        index = np.arange(len(self.start))
        first = np.minimum.reduceat(np.where(present, index, len(index) - 1), edges, axis=1)
        last = np.maximum.reduceat(np.where(present, index, 0), edges, axis=1)
        return Periods(
            start=longer[edges],
            open=np.take_along_axis(self.open, first, 1),
            high=np.maximum.reduceat(np.where(present, self.high, 0), edges, axis=1),
            low=np.minimum.reduceat(np.where(present, self.low, LARGEST), edges, axis=1),
            close=np.take_along_axis(self.close, last, 1),
            cap=np.take_along_axis(self.cap, last, 1),
            volume=np.take_along_axis(self.volume, last, 1),
            first_at=np.take_along_axis(self.first_at, first, 1),
            last_at=np.take_along_axis(self.last_at, last, 1),
            samples=np.add.reduceat(self.samples, edges, axis=1),
        )


@dataclass(frozen=True, slots=True)
class Coins:
    """What a walk needs to know of coins.

    `price` is in smallest units where the walk ends, `worth` dollars of market capitalisation for each of them; a coin follows the market
    by `beta`, moves on its own by `moves`, and `turnover` of its worth is traded in a day, until it was last seen.
    """

    price: Numbers
    worth: Numbers
    beta: Numbers
    moves: Numbers
    turnover: Numbers
    seen_until: Numbers


def draw_returns(rng: np.random.Generator, market: Numbers, coins: Coins, length: int) -> Numbers:
    """Return the logarithmic returns of periods of one length: the market's, as each coin follows it, and the coin's own."""
    own = rng.standard_normal((len(coins.price), len(market)), dtype="f4") * DAILY_MOVE * 0.7 * np.sqrt(length / DAY)
    result: Numbers = own * coins.moves[:, None] + coins.beta[:, None] * market[None, :]
    return result


def walk_back(coins: Coins, returns: Numbers, end: Numbers) -> Numbers:
    """Return the logarithm of the price at the end of each period, so that the last one is `end`."""
    later = np.cumsum(returns[:, ::-1], axis=1)[:, ::-1]
    result: Numbers = end[:, None] - np.concatenate([later[:, 1:], np.zeros((len(coins.price), 1))], axis=1)
    return result


def draw_periods(rng: np.random.Generator, coins: Coins, start: Numbers, length: int, close: Numbers, returns: Numbers) -> Periods:
    """Return whole periods around a walk of closing prices (as logarithms)."""
    shape = close.shape
    swing = coins.moves[:, None] * DAILY_MOVE * np.sqrt(length / DAY) * 0.5
    before = close - returns
    high = np.maximum(before, close) + np.abs(rng.standard_normal(shape, dtype="f4")) * swing
    low = np.minimum(before, close) - np.abs(rng.standard_normal(shape, dtype="f4")) * swing
    minutes = length // MINUTE
    gaps = rng.binomial(minutes, 0.02, shape)
    late = np.minimum(rng.geometric(0.9, shape) - 1, minutes // 4) * MINUTE
    early = np.minimum(rng.geometric(0.9, shape) - 1, minutes // 4) * MINUTE
    closes = to_units(close)
    return Periods(
        start=start,
        open=to_units(before),
        high=to_units(high),
        low=to_units(low),
        close=closes,
        cap=worth(coins, closes),
        volume=traded(rng, coins, closes),
        first_at=start[None, :] + late,
        last_at=start[None, :] + length - MINUTE - early,
        samples=np.where(start[None, :] + length <= coins.seen_until[:, None], np.maximum(minutes - gaps, 2), 0),
    )


def draw_minutes(rng: np.random.Generator, coins: Coins, start: Numbers, close: Numbers, outage: Numbers) -> Periods:
    """Return minutes, one price each; some are missing: at random, while the collector was down, and after a coin was last seen."""
    closes = to_units(close)
    there = (rng.random(close.shape) > 0.02) & ~outage[None, :] & (start[None, :] <= coins.seen_until[:, None])
    at = np.broadcast_to(start[None, :], close.shape)
    return Periods(
        start=start,
        open=closes,
        high=closes,
        low=closes,
        close=closes,
        cap=worth(coins, closes),
        volume=traded(rng, coins, closes),
        first_at=at,
        last_at=at,
        samples=there.astype("i8"),
    )


def to_units(logarithms: Numbers) -> Numbers:
    return np.maximum(np.rint(np.exp(logarithms)), 1).astype("i8")


def worth(coins: Coins, price: Numbers) -> Numbers:
    """Return the market capitalisation in whole dollars."""
    result: Numbers = np.rint(price * coins.worth[:, None]).astype("i8")
    return result


def traded(rng: np.random.Generator, coins: Coins, price: Numbers) -> Numbers:
    """Return the volume of 24 hours in whole dollars: a share of what the coin is worth."""
    share = coins.turnover[:, None] * np.exp(rng.standard_normal(price.shape, dtype="f4") * 0.02)
    result: Numbers = np.rint(price * coins.worth[:, None] * share).astype("i8")
    return result
