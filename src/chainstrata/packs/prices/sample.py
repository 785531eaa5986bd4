"""Sample data of the prices pack: coins whose prices walk together, up to an anchor in time.

Prices reach from a hundred thousand dollars to a billionth of one, some coins have no rank, a few have not been seen for a while, minutes
are missing now and then, and all of them while the collector was down. Longer periods are given where the shorter ones are no longer kept;
the others are folded from those.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.model import days, hours, minutes, months, weeks
from chainstrata.packs.prices.sample_runs import make_runs, make_usage
from chainstrata.packs.prices.sample_series import DAY, HOUR, MINUTE, Coins, Periods, draw_minutes, draw_periods, draw_returns, walk_back
from chainstrata.packs.sampling import Numbers, generator, instants, microseconds, of_scale

KNOWN = {
    "bitcoin": ("btc", 77671),
    "ethereum": ("eth", 3120),
    "tether": ("usdt", 1),
    "solana": ("sol", 165),
    "ripple": ("xrp", 2.1),
    "cosmos": ("atom", 4.4),
    "osmosis": ("osmo", 0.51),
    "dogecoin": ("doge", 0.16),
    "pepe": ("pepe", 0.0000094),
    "shiba-inu": ("shib", 0.0000121),
}
STABLE = 2
"""The one that stays at its dollar."""
SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "ru", "sa", "te", "vi", "xo", "zu")
SIGNIFICANT = 7
"""Digits a price has, about."""
COINS_AT_ONCE = 250
WEEKS = 54
"""A little more than are kept."""


@dataclass(frozen=True, slots=True)
class Size:
    coins: int
    months: int
    runs_every: timedelta


SIZES = {
    "small": Size(60, 14, timedelta(hours=1)),
    "medium": Size(1_000, 24, timedelta(minutes=15)),
    "large": Size(10_000, 36, timedelta(minutes=5)),
}


@dataclass(frozen=True, slots=True)
class Listing:
    """The coins: names, digits after the point, rank (0 for none), and what their walks need."""

    ids: list[str]
    digits: Numbers
    rank: Numbers
    coins: Coins

    def part(self, first: int, end: int) -> "Listing":
        coins = self.coins
        part = Coins(*(getattr(coins, name)[first:end] for name in ("price", "worth", "beta", "moves", "turnover", "seen_until")))
        return Listing(self.ids[first:end], self.digits[first:end], self.rank[first:end], part)


@dataclass(frozen=True, slots=True)
class Spans:
    """Where each resolution begins. Days begin with the week that the first whole month begins in: what they give is carried over."""

    months: int
    first_month: int
    days: int
    hours: int
    minutes: int
    end: int

    @classmethod
    def before(cls, anchor: datetime, count: int) -> "Spans":
        kept = gone_before(anchor)
        return cls(
            months=microseconds(months(1).shift(months(1).floor(anchor), -count)),
            first_month=microseconds(first_month(anchor)),
            days=microseconds(weeks(1).floor(first_month(anchor))),
            hours=microseconds(kept["prices.minute.hourly"]),
            minutes=microseconds(kept["prices.minute"]),
            end=microseconds(minutes(1).floor(anchor)) + MINUTE,
        )


def first_month(anchor: datetime) -> datetime:
    """Return the start of the first month that has all its days."""
    return months(1).floor(anchor - timedelta(days=35))


def gone_before(anchor: datetime) -> dict[str, datetime]:
    """Return since when the rows are there that each level is folded from; what is older has been taken in and has left."""
    return {
        "prices.minute": hours(1).floor(anchor - timedelta(hours=2)),
        "prices.minute.hourly": days(1).floor(anchor - timedelta(hours=48)),
        "prices.minute.daily": first_month(anchor),
    }


def make(scale: str, seed: int, anchor: datetime) -> Iterable[tuple[str, Any]]:
    """Yield the sample; `anchor` is in its last minute."""
    size = of_scale(SIZES, scale)
    rng = generator("prices", scale, seed)
    spans = Spans.before(anchor, size.months)
    listing = list_coins(rng, size.coins, spans.end)
    yield "prices.coins", coin_rows(listing, spans)
    market = Market.draw(rng, spans)
    for first in range(0, size.coins, COINS_AT_ONCE):
        yield from price_rows(rng, listing.part(first, first + COINS_AT_ONCE), spans, market)
    yield "prices.collection", make_runs(rng, size.coins, size.runs_every, anchor)
    yield "prices.api_usage", make_usage(rng, size.coins, anchor)


def list_coins(rng: np.random.Generator, count: int, end: int) -> Listing:
    """Draw the coins, the leading ones first."""
    dollars = np.concatenate([[dollars for _, dollars in KNOWN.values()], 10 ** rng.uniform(-9, 3, count - len(KNOWN))])
    dollars[count // 2] = 0.00000000123
    digits = np.clip(SIGNIFICANT - 1 - np.floor(np.log10(dollars)), 0, 18).astype("i8")
    caps = 1.6e12 / np.arange(1, count + 1) ** 1.3 * np.exp(rng.normal(0, 0.05, count))
    units = dollars * 10.0**digits
    ranked = rng.random(count) > 0.05
    ranked[: len(KNOWN)] = True
    ranked[-1] = False
    seen_until = np.full(count, end, dtype="i8")
    stale = rng.choice(np.arange(len(KNOWN), count), max(count // 50, 2), replace=False)
    seen_until[stale] -= rng.integers(30, 72 * 60, len(stale)) * MINUTE
    moves, beta = rng.uniform(0.5, 1.5, count), rng.uniform(0.4, 1.6, count)
    moves[STABLE], beta[STABLE] = 0.01, 0
    coins = Coins(units, caps / units, beta, moves, rng.lognormal(-3.5, 0.8, count), seen_until)
    rank = np.where(ranked, np.cumsum(ranked), 0)
    return Listing([coin_id(number) for number in range(count)], digits, rank, coins)


def coin_id(number: int) -> str:
    """Return the name of a coin: a known one, or one made of syllables and, so that none is twice, its number."""
    if number < len(KNOWN):
        return list(KNOWN)[number]
    base = len(SYLLABLES)
    return SYLLABLES[number % base] + SYLLABLES[number // base % base] + SYLLABLES[number * 7 % base] + f"-{number}"


def coin_rows(listing: Listing, spans: Spans) -> Any:
    coins = listing.coins
    unranked = listing.rank == 0
    caps = np.rint(coins.price * coins.worth).astype("i8")
    seen = np.minimum(coins.seen_until, spans.end) - MINUTE
    listed = np.full(len(listing.ids), spans.months, dtype="i8")
    return pa.table(
        {
            "coin_id": listing.ids,
            "market_cap_rank": pa.array(listing.rank, pa.int32(), mask=unranked),
            "market_cap_usd": pa.array(caps, pa.int64(), mask=unranked),
            "symbol": [KNOWN[name][0] if name in KNOWN else name.replace("-", "")[-5:] for name in listing.ids],
            "name": [name.replace("-", " ").title() for name in listing.ids],
            "image_url": [f"https://images.example/coins/{name}.png" for name in listing.ids],
            "last_updated": instants(seen),
            "created_at": instants(listed),
            "updated_at": instants(seen),
        }
    )


@dataclass(frozen=True, slots=True)
class Market:
    """What all coins share: periods of each resolution, the market's returns in them, and when the collector was down."""

    days: Numbers
    hours: Numbers
    minutes: Numbers
    returns: dict[int, Numbers]
    outage: Numbers

    @classmethod
    def draw(cls, rng: np.random.Generator, spans: Spans) -> "Market":
        starts = {
            DAY: np.arange(spans.months, spans.hours, DAY),
            HOUR: np.arange(spans.hours, spans.minutes, HOUR),
            MINUTE: np.arange(spans.minutes, spans.end, MINUTE),
        }
        returns = {length: rng.standard_normal(len(start)) * 0.03 * np.sqrt(length / DAY) for length, start in starts.items()}
        outage = np.zeros(len(starts[MINUTE]), dtype=bool)
        down = int(rng.integers(5, 50))
        outage[down : down + 7] = True
        return cls(starts[DAY], starts[HOUR], starts[MINUTE], returns, outage)


def price_rows(rng: np.random.Generator, listing: Listing, spans: Spans, market: Market) -> Iterator[tuple[str, Any]]:
    """Yield the prices of some coins: minutes, and longer periods from before the shorter begin."""
    coins = listing.coins
    end = np.log(coins.price)
    by_minute = draw_returns(rng, market.returns[MINUTE], coins, MINUTE)
    minute = draw_minutes(rng, coins, market.minutes, walk_back(coins, by_minute, end), market.outage)
    end = end - by_minute.sum(axis=1)
    by_hour = draw_returns(rng, market.returns[HOUR], coins, HOUR)
    hour = draw_periods(rng, coins, market.hours, HOUR, walk_back(coins, by_hour, end), by_hour)
    end = end - by_hour.sum(axis=1)
    by_day = draw_returns(rng, market.returns[DAY], coins, DAY)
    day = draw_periods(rng, coins, market.days, DAY, walk_back(coins, by_day, end), by_day)
    first_week = max(spans.months, spans.end - WEEKS * 7 * DAY)
    week = day.fold(monday_of(day.start)).between(first_week, spans.first_month)
    month = day.fold(month_of(day.start)).between(spans.months, spans.first_month)
    yield "prices.minute", minute_rows(listing, minute)
    yield "prices.minute.hourly", period_rows(listing, hour, "hour_ts")
    yield "prices.minute.daily", period_rows(listing, day.between(spans.days, spans.hours), "day_ts")
    yield "prices.minute.weekly", period_rows(listing, week, "week_ts")
    yield "prices.minute.monthly", period_rows(listing, month, "month_ts")


def monday_of(starts: Numbers) -> Numbers:
    # 1970-01-05 was a Monday.
    monday: Numbers = starts - (starts - 4 * DAY) % (7 * DAY)
    return monday


def month_of(starts: Numbers) -> Numbers:
    start: Numbers = starts.astype("M8[us]").astype("M8[M]").astype("M8[us]").astype("i8")
    return start


def minute_rows(listing: Listing, minute: Periods) -> Any:
    coin, period = np.nonzero(minute.samples)
    at = minute.start[period]
    # The source had the price some seconds into the minute.
    changed = at + (coin * 7919 + period * 104729) % 50 * 1_000_000
    return pa.table(
        {
            **_key(listing, coin, "minute_ts", at),
            "price_usd": prices(minute.close[coin, period], listing.digits[coin]),
            **_figures(listing, minute, coin, period),
            "source_ts": instants(changed),
            "created_at": instants(at + MINUTE),
            "updated_at": instants(at + MINUTE),
        }
    )


def period_rows(listing: Listing, periods: Periods, bucket: str) -> Any:
    coin, period = np.nonzero(periods.samples)
    digits = listing.digits[coin]
    return pa.table(
        {
            **_key(listing, coin, bucket, periods.start[period]),
            "samples": periods.samples[coin, period],
            "first_at": instants(periods.first_at[coin, period]),
            "last_at": instants(periods.last_at[coin, period]),
            "open_usd": prices(periods.open[coin, period], digits),
            "high_usd": prices(periods.high[coin, period], digits),
            "low_usd": prices(periods.low[coin, period], digits),
            "price_usd": prices(periods.close[coin, period], digits),
            **_figures(listing, periods, coin, period),
            "created_at": instants(periods.first_at[coin, period] + MINUTE),
            "updated_at": instants(periods.last_at[coin, period] + MINUTE),
        }
    )


def _key(listing: Listing, coin: Numbers, bucket: str, start: Numbers) -> dict[str, Any]:
    names = pa.DictionaryArray.from_arrays(pa.array(coin.astype("i4")), pa.array(listing.ids)).dictionary_decode()
    return {"coin_id": names, bucket: instants(start)}


def _figures(listing: Listing, periods: Periods, coin: Numbers, period: Numbers) -> dict[str, Any]:
    unranked = listing.rank[coin] == 0
    return {
        "market_cap_usd": pa.array(periods.cap[coin, period], pa.int64(), mask=unranked),
        "volume_24h_usd": pa.array(periods.volume[coin, period], pa.int64()),
        "coin_rank": pa.array(listing.rank[coin], pa.int32(), mask=unranked),
    }


def prices(units: Numbers, digits: Numbers) -> Any:
    """Return prices as text, each with as many digits after the point as its coin has."""
    order = np.argsort(digits, kind="stable")
    parts = []
    for scale in np.unique(digits):
        whole = pa.array(units[digits == scale]).cast(pa.decimal128(19, 0))
        shifted = pa.Array.from_buffers(pa.decimal128(19, int(scale)), len(whole), whole.buffers())
        parts.append(shifted.cast(pa.string()))
    back = np.empty(len(order), dtype="i8")
    back[order] = np.arange(len(order))
    return pa.concat_arrays(parts).take(pa.array(back)) if parts else pa.array([], pa.string())
