"""Questions about the market, answered by the columnar engine. What each figure means stands in the pack's README."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from chainstrata.engines.clickhouse import Columnar
from chainstrata.engines.postgres import load_queries

QUERIES: Final = load_queries("chainstrata.packs.portfolio", "columnar.sql")


class Market:
    """The questions. Every method returns rows as named tuples; money in them is exact."""

    def __init__(self, columnar: Columnar) -> None:
        self.columnar = columnar

    async def _ask(self, query: str, **params: Any) -> Sequence[Any]:
        return await self.columnar.query_rows(QUERIES[query].sql.rstrip().rstrip(";"), params)

    async def price_metrics(self, asset_id: str, since: datetime, until: datetime) -> Sequence[Any]:
        """Return five-minute prices of an asset: open, high, low, close, mean, volatility, trend."""
        return await self._ask("price_metrics", asset_id=asset_id, since=since, until=until)

    async def top_movers(self, at: datetime, *, by_day: bool = False, limit: int = 20) -> Sequence[Any]:
        """Return the assets whose price changed most, over the hour before or over the day."""
        return await self._ask("top_movers", at=at, by_day=by_day, limit=limit)

    async def tvl_changes(self, at: datetime, *, hours: int = 24, threshold: float = 0.1) -> Sequence[Any]:
        """Return what is locked in each protocol and its change; `alarming` where that is at least the threshold."""
        return await self._ask("tvl_changes", at=at, hours=hours, threshold=threshold)

    async def best_yields(
        self, since: datetime, until: datetime, *, least_tvl_usd: Decimal = Decimal(1_000_000), limit: int = 10
    ) -> Sequence[Any]:
        """Return the best pools of each strategy, by a score that takes spread and risk off."""
        return await self._ask("best_yields", since=since, until=until, least_tvl_usd=least_tvl_usd, limit=limit)

    async def cross_chain(self, at: datetime) -> Sequence[Any]:
        """Return the chains side by side over the day before."""
        return await self._ask("cross_chain", at=at)

    async def market_share(self, at: datetime) -> Sequence[Any]:
        """Return each protocol's part of what is locked in its kind."""
        return await self._ask("market_share", at=at)

    async def sandwiches(self, since: datetime, until: datetime, *, limit: int = 1000) -> Sequence[Any]:
        """Return swaps around another's."""
        return await self._ask("sandwiches", since=since, until=until, limit=limit)

    async def arbitrages(self, since: datetime, until: datetime, *, limit: int = 1000) -> Sequence[Any]:
        """Return transactions that went in a circle and came out with more."""
        return await self._ask("arbitrages", since=since, until=until, limit=limit)

    async def sentiment(self, since: datetime, until: datetime) -> Sequence[Any]:
        """Return the tone about each asset, beside that of the span before."""
        return await self._ask("sentiment", before=since - (until - since), since=since, until=until)

    async def risk(self, at: datetime) -> Sequence[Any]:
        """Return protocols by how risky they look."""
        return await self._ask("risk", at=at)
