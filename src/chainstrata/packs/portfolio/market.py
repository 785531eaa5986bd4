"""Questions about the market, answered by the columnar engine. What each figure means stands in the pack's README."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from chainstrata.engines.postgres import load_queries
from chainstrata.errors import UsageError
from chainstrata.model import Interval, hours, minutes
from chainstrata.packs.repository import ColumnarRepository, question

QUERIES: Final = load_queries("chainstrata.packs.portfolio", "columnar.sql")
_MOST_HOURS: Final = 24 * 366
_FINE: Final = minutes(5)
_COARSE: Final = hours(1)
"""What five-minute and hourly buckets are as long as."""


@dataclass(frozen=True, slots=True)
class PriceMetrics:
    """Prices of an asset over five minutes. `volatility` is the standard deviation over the mean."""

    asset_id: str
    bucket: datetime
    samples: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    mean: float
    volatility: float | None
    trend_per_hour: float


@dataclass(frozen=True, slots=True)
class Mover:
    """An asset, and by which part its price changed; None where there was no price before."""

    asset_id: str
    price_usd: Decimal
    change_1h: float | None
    change_24h: float | None


@dataclass(frozen=True, slots=True)
class TvlChange:
    protocol_id: str
    chain: str
    tvl_usd: Decimal
    tvl_before_usd: Decimal
    change: float | None
    alarming: bool


@dataclass(frozen=True, slots=True)
class BestYield:
    """A pool: the mean of its yields, their spread, and the score that takes both spread and risk off."""

    strategy: str
    protocol_id: str
    chain: str
    pool_id: str
    mean_apy: float
    stddev_apy: float
    tvl_usd: Decimal
    risk_score: int
    score: float


@dataclass(frozen=True, slots=True)
class ChainFigures:
    chain: str
    tvl_usd: Decimal
    volume_24h_usd: Decimal
    events_24h: int
    events_value_usd: Decimal
    mean_apy: float | None


@dataclass(frozen=True, slots=True)
class MarketShare:
    category: str
    protocol_id: str
    tvl_usd: Decimal
    share: float | None


@dataclass(frozen=True, slots=True)
class Sandwich:
    """Swaps of one sender before and after another's, and what they brought in units of an asset."""

    chain: str
    block_number: int
    pool_id: str
    attacker: str
    front_tx: str
    victim_tx: str
    back_tx: str
    profit_units: int
    profit_token: str


@dataclass(frozen=True, slots=True)
class Arbitrage:
    """A transaction whose swaps came back to the asset they began with, and what was gained in units of it."""

    chain: str
    tx_hash: str
    sender: str
    at: datetime
    swaps: int
    pools: int
    token: str
    profit_units: int


@dataclass(frozen=True, slots=True)
class Sentiment:
    """What was said of an asset, and over the span before of the same length."""

    asset_id: str
    mentions: int
    mentions_before: int
    score: float | None
    score_before: float | None
    positive: int
    negative: int


@dataclass(frozen=True, slots=True)
class ProtocolRisk:
    """How risky a protocol looks, 0 to 100, and of what that is made."""

    protocol_id: str
    tvl_usd: Decimal
    security_score: float
    drawdown: float
    utilization: float
    concentration: float
    risk: float


def _ended(every: Interval, until: datetime, as_of: datetime | None) -> datetime:
    """Return where a span ends so that only buckets are in it that had ended: one that had begun is made of later rows too."""
    return until if as_of is None else min(until, every.floor(as_of))


class Market(ColumnarRepository):
    """The questions. Money in their answers is exact."""

    @question(asset_id="bitcoin:native", since="2026-03-02T12:00:00Z", until="2026-03-02T18:00:00Z")
    async def price_metrics(self, asset_id: str, since: datetime, until: datetime, as_of: datetime | None = None) -> list[PriceMetrics]:
        """Return five-minute prices of an asset: open, high, low, close, mean, volatility, trend.

        With `as_of`, of the five minutes that had ended by then.
        """
        end = _ended(_FINE, until, as_of)
        return await self._all(QUERIES["price_metrics"], PriceMetrics, asset_id=asset_id, since=since, until=end)

    @question(upto="at", at="2026-03-02T18:00:00Z", limit=3)
    async def top_movers(self, at: datetime, by_day: bool = False, limit: int = 20) -> list[Mover]:
        """Return the assets whose price changed most, over the hour before or over the day."""
        return await self._all(QUERIES["top_movers"], Mover, at=at, by_day=by_day, limit=limit)

    @question(at="2026-03-02T18:00:00Z", threshold=0.05)
    async def tvl_changes(self, at: datetime, hours: int = 24, threshold: float = 0.1, as_of: datetime | None = None) -> list[TvlChange]:
        """Return what is locked in each protocol and its change; `alarming` where that is at least the threshold.

        It is told for every five minutes, those of the moment included; with `as_of`, for those that had ended by then.
        """
        if not 1 <= hours <= _MOST_HOURS:
            raise UsageError(f"a change is over 1 to {_MOST_HOURS} hours (got {hours})")
        # By their start, and the last ones that had ended are still in.
        last = at if as_of is None else min(at, _FINE.shift(_FINE.floor(as_of), -1))
        return await self._all(QUERIES["tvl_changes"], TvlChange, at=last, hours=hours, threshold=threshold)

    @question(since="2026-03-01T18:00:00Z", until="2026-03-02T18:00:00Z", limit=2)
    async def best_yields(
        self,
        since: datetime,
        until: datetime,
        least_tvl_usd: Decimal = Decimal(1_000_000),
        limit: int = 10,
        as_of: datetime | None = None,
    ) -> list[BestYield]:
        """Return the best pools of each strategy, by a score that takes spread and risk off. With `as_of`, of hours that had ended by then."""
        end = _ended(_COARSE, until, as_of)
        return await self._all(QUERIES["best_yields"], BestYield, since=since, until=end, least_tvl_usd=least_tvl_usd, limit=limit)

    @question(upto="at", at="2026-03-02T18:00:00Z")
    async def cross_chain(self, at: datetime) -> list[ChainFigures]:
        """Return the chains side by side over the day before."""
        return await self._all(QUERIES["cross_chain"], ChainFigures, at=at)

    @question(upto="at", at="2026-03-02T18:00:00Z")
    async def market_share(self, at: datetime) -> list[MarketShare]:
        """Return each protocol's part of what is locked in its kind."""
        return await self._all(QUERIES["market_share"], MarketShare, at=at)

    @question(upto="until", since="2026-03-02T17:00:00Z", until="2026-03-02T18:00:00Z", limit=10)
    async def sandwiches(self, since: datetime, until: datetime, limit: int = 1000) -> list[Sandwich]:
        """Return swaps around another's."""
        return await self._all(QUERIES["sandwiches"], Sandwich, since=since, until=until, limit=limit)

    @question(upto="until", since="2026-03-02T17:00:00Z", until="2026-03-02T18:00:00Z", limit=10)
    async def arbitrages(self, since: datetime, until: datetime, limit: int = 1000) -> list[Arbitrage]:
        """Return transactions that went in a circle and came out with more."""
        return await self._all(QUERIES["arbitrages"], Arbitrage, since=since, until=until, limit=limit)

    @question(upto="until", since="2026-03-01T22:00:00Z", until="2026-03-02T18:00:00Z")
    async def sentiment(self, since: datetime, until: datetime) -> list[Sentiment]:
        """Return the tone about each asset, beside that of the span before."""
        return await self._all(QUERIES["sentiment"], Sentiment, before=since - (until - since), since=since, until=until)

    @question(upto="at", at="2026-03-02T18:00:00Z")
    async def risk(self, at: datetime) -> list[ProtocolRisk]:
        """Return protocols by how risky they look."""
        return await self._all(QUERIES["risk"], ProtocolRisk, at=at)
