"""Questions about portfolios: what a user holds, what it is worth and was, and how it moved."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from chainstrata.engines.postgres import load_queries
from chainstrata.packs.portfolio.market import Market
from chainstrata.packs.portfolio.rows import Asset, PortfolioHolding, PortfolioSnapshot, Tables, TransactionHistory
from chainstrata.packs.repository import question

QUERIES: Final = load_queries("chainstrata.packs.portfolio")
_HOLDINGS: Final = "a holding is written over by its next observation; transactions and snapshots tell what was"
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class PortfolioValue:
    """What a portfolio is worth now. `unpriced` holdings are in no sum."""

    assets_usd: Decimal
    debts_usd: Decimal
    net_usd: Decimal
    holdings: int
    unpriced: int
    observed_at: datetime | None


@dataclass(frozen=True, slots=True)
class AssetFlow:
    """What came and went of one asset. `unpriced` movements are in the quantities and in no value."""

    asset_id: str
    movements: int
    quantity_in: Decimal
    quantity_out: Decimal
    value_in_usd: Decimal
    value_out_usd: Decimal
    unpriced: int


@dataclass(frozen=True, slots=True)
class Holder:
    user_id: UUID
    quantity: Decimal


class Portfolio(Tables):
    """The portfolio pack."""

    @question(now=_HOLDINGS, user_id=_NOBODY)
    async def holdings_of(self, user_id: UUID, limit: int = 1000) -> list[PortfolioHolding]:
        """Return what a user holds, the most valuable first."""
        return await self._all(QUERIES.list_holdings, PortfolioHolding, user_id=user_id, limit=limit)

    @question(now=_HOLDINGS, user_id=_NOBODY)
    async def value(self, user_id: UUID) -> PortfolioValue:
        """Return what a user's portfolio is worth now."""
        found = await self._one(QUERIES.get_portfolio_value, PortfolioValue, user_id=user_id)
        if found is None:
            raise AssertionError("one row always")
        return found

    @question(of="transactions", upto="until", user_id=_NOBODY)
    async def history(
        self,
        user_id: UUID,
        since: datetime | None = None,
        until: datetime | None = None,
        asset_id: str | None = None,
        limit: int = 100,
    ) -> list[TransactionHistory]:
        """Return a user's movements over a span of time, by default all, newest first; of one asset or of all."""
        begin, end = _span(since, until)
        return await self._all(
            QUERIES.list_history, TransactionHistory, user_id=user_id, asset_id=asset_id, since=begin, until=end, limit=limit
        )

    @question(of="transactions", upto="until", user_id=_NOBODY)
    async def flows(self, user_id: UUID, since: datetime | None = None, until: datetime | None = None) -> list[AssetFlow]:
        """Return what came to and left a user's wallets over a span of time, by default of 30 days, by asset."""
        now = datetime.now(UTC)
        end = until or now
        begin = since or min(end, now) - timedelta(days=30)
        return await self._all(QUERIES.list_flows, AssetFlow, user_id=user_id, since=begin, until=end)

    @question(of="transactions", chain="ethereum", tx_hash="0x" + "00" * 32)
    async def transaction(self, chain: str, tx_hash: str, as_of: datetime | None = None) -> list[TransactionHistory]:
        """Return every movement of one transaction that is recorded, in the order of its logs."""
        until = as_of or datetime.max.replace(tzinfo=UTC)
        return await self._all(QUERIES.list_transaction, TransactionHistory, chain=chain, tx_hash=tx_hash, until=until)

    @question(of="snapshots", upto="until", user_id=_NOBODY)
    async def value_history(self, user_id: UUID, since: datetime | None = None, until: datetime | None = None) -> list[PortfolioSnapshot]:
        """Return how much a user's portfolio was worth over a span of time, by default always."""
        begin, end = _span(since, until)
        return await self._all(QUERIES.list_value_history, PortfolioSnapshot, user_id=user_id, since=begin, until=end)

    @question(now=_HOLDINGS, asset_id="ethereum:native")
    async def holders(self, asset_id: str, limit: int = 100) -> list[Holder]:
        """Return who holds an asset, and how much, the largest first."""
        return await self._all(QUERIES.list_holders, Holder, asset_id=asset_id, limit=limit)

    @question(now="an asset is written over as what is known of it changes", text="usd coin")
    async def search_assets(self, text: str, limit: int = 20) -> list[Asset]:
        """Return assets whose ticker or name is like a text, typing errors included, the likest first."""
        return await self._all(QUERIES.search_assets, Asset, text=text, limit=limit)

    @question(of="transactions", upto="until", protocol_id="aave-v3")
    async def protocol_activity(
        self, protocol_id: str, since: datetime | None = None, until: datetime | None = None, limit: int = 100
    ) -> list[TransactionHistory]:
        """Return what was done through a protocol over a span of time, by default always, newest first."""
        begin, end = _span(since, until)
        return await self._all(
            QUERIES.list_protocol_activity, TransactionHistory, protocol_id=protocol_id, since=begin, until=end, limit=limit
        )


def _span(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    return since or datetime.min.replace(tzinfo=UTC), until or datetime.max.replace(tzinfo=UTC)


REPOSITORY = Portfolio
COLUMNAR = Market
