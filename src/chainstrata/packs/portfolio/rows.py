"""Rows of the portfolio pack as frozen dataclasses, and its tables.

Written by `make docs` from the declarations; edits are lost. A field of a new row that is None is left to the column's default.
"""

import datetime as dt
import decimal
import uuid
from dataclasses import dataclass
from typing import Any

from chainstrata.packs.portfolio import model
from chainstrata.packs.repository import Repository, Table


@dataclass(frozen=True, slots=True)
class User:
    """One account."""

    user_id: uuid.UUID
    handle: str
    display_name: str | None
    email: str | None
    base_currency: str
    risk_tolerance: model.RiskLevel
    deactivated_at: dt.datetime | None
    metadata: Any
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """A row to be written, as `User`."""

    user_id: uuid.UUID | None = None
    handle: str
    display_name: str | None = None
    email: str | None = None
    base_currency: str | None = None
    risk_tolerance: model.RiskLevel | None = None
    deactivated_at: dt.datetime | None = None
    metadata: Any = None


@dataclass(frozen=True, slots=True)
class Wallet:
    """One address of a user on one chain."""

    chain: str
    address: str
    user_id: uuid.UUID
    label: str | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWallet:
    """A row to be written, as `Wallet`."""

    chain: str
    address: str
    user_id: uuid.UUID
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Protocol:
    """One protocol that assets can be in."""

    protocol_id: str
    name: str | None
    category: model.ProtocolCategory
    risk_level: model.RiskLevel | None
    chains: list[str]
    website: str | None
    tvl_usd: decimal.Decimal | None
    retired_at: dt.datetime | None
    metadata: Any
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProtocol:
    """A row to be written, as `Protocol`."""

    protocol_id: str
    name: str | None = None
    category: model.ProtocolCategory | None = None
    risk_level: model.RiskLevel | None = None
    chains: list[str] | None = None
    website: str | None = None
    tvl_usd: decimal.Decimal | None = None
    retired_at: dt.datetime | None = None
    metadata: Any = None


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset on one chain."""

    asset_id: str
    chain: str
    address: str
    symbol: str | None
    name: str | None
    decimals: int
    asset_type: model.AssetType
    risk_level: model.RiskLevel | None
    price_id: str | None
    price_usd: decimal.Decimal | None
    price_at: dt.datetime | None
    price_confidence: decimal.Decimal | None
    metadata: Any
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAsset:
    """A row to be written, as `Asset`."""

    asset_id: str
    symbol: str | None = None
    name: str | None = None
    decimals: int
    asset_type: model.AssetType | None = None
    risk_level: model.RiskLevel | None = None
    price_id: str | None = None
    price_usd: decimal.Decimal | None = None
    price_at: dt.datetime | None = None
    price_confidence: decimal.Decimal | None = None
    metadata: Any = None


@dataclass(frozen=True, slots=True)
class PortfolioHolding:
    """One asset of one user in one wallet and one protocol, as of a block."""

    user_id: uuid.UUID
    chain: str
    wallet_address: str
    asset_id: str
    protocol_id: str
    position_type: model.PositionType
    amount: int
    decimals: int
    quantity: decimal.Decimal
    price_usd: decimal.Decimal | None
    value_usd: decimal.Decimal | None
    cost_basis_usd: decimal.Decimal | None
    block_number: int
    block_hash: str
    observed_at: dt.datetime
    final: bool
    metadata: Any
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPortfolioHolding:
    """A row to be written, as `PortfolioHolding`."""

    user_id: uuid.UUID
    chain: str
    wallet_address: str
    asset_id: str
    protocol_id: str | None = None
    position_type: model.PositionType | None = None
    amount: int
    decimals: int
    price_usd: decimal.Decimal | None = None
    cost_basis_usd: decimal.Decimal | None = None
    block_number: int
    block_hash: str
    observed_at: dt.datetime
    final: bool | None = None
    metadata: Any = None


@dataclass(frozen=True, slots=True)
class TransactionHistory:
    """One movement of one asset of one user: one log of a transaction, or its own value or fee."""

    chain: str
    tx_hash: str
    log_index: int
    block_timestamp: dt.datetime
    block_number: int
    block_hash: str
    user_id: uuid.UUID
    counterparty_user_id: uuid.UUID | None
    wallet_address: str
    counterparty_address: str | None
    transaction_type: model.TransactionType
    direction: int
    asset_id: str
    protocol_id: str | None
    amount: int
    decimals: int
    quantity: decimal.Decimal
    price_usd: decimal.Decimal | None
    value_usd: decimal.Decimal | None
    final: bool
    metadata: Any
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTransactionHistory:
    """A row to be written, as `TransactionHistory`."""

    chain: str
    tx_hash: str
    log_index: int
    block_timestamp: dt.datetime
    block_number: int
    block_hash: str
    user_id: uuid.UUID
    counterparty_user_id: uuid.UUID | None = None
    wallet_address: str
    counterparty_address: str | None = None
    transaction_type: model.TransactionType
    asset_id: str
    protocol_id: str | None = None
    amount: int
    decimals: int
    price_usd: decimal.Decimal | None = None
    final: bool | None = None
    metadata: Any = None


@dataclass(frozen=True, slots=True)
class PortfolioSnapshot:
    """One valuation of one user's whole portfolio."""

    user_id: uuid.UUID
    snapshot_date: dt.datetime
    assets_usd: decimal.Decimal
    debts_usd: decimal.Decimal
    net_usd: decimal.Decimal
    holdings: int
    unpriced: int
    by_chain: Any
    by_category: Any
    as_of: Any
    final: bool
    metadata: Any
    created_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPortfolioSnapshot:
    """A row to be written, as `PortfolioSnapshot`."""

    user_id: uuid.UUID
    snapshot_date: dt.datetime
    assets_usd: decimal.Decimal
    debts_usd: decimal.Decimal | None = None
    holdings: int
    unpriced: int | None = None
    by_chain: Any = None
    by_category: Any = None
    as_of: Any = None
    final: bool | None = None
    metadata: Any = None


class Tables(Repository):
    """The tables and roll-ups of the portfolio pack."""

    @property
    def users(self) -> Table[User, NewUser]:
        """One account."""
        return self._table("users", User, NewUser)

    @property
    def wallets(self) -> Table[Wallet, NewWallet]:
        """One address of a user on one chain."""
        return self._table("wallets", Wallet, NewWallet)

    @property
    def protocols(self) -> Table[Protocol, NewProtocol]:
        """One protocol that assets can be in."""
        return self._table("protocols", Protocol, NewProtocol)

    @property
    def assets(self) -> Table[Asset, NewAsset]:
        """One asset on one chain."""
        return self._table("assets", Asset, NewAsset)

    @property
    def holdings(self) -> Table[PortfolioHolding, NewPortfolioHolding]:
        """One asset of one user in one wallet and one protocol, as of a block."""
        return self._table("holdings", PortfolioHolding, NewPortfolioHolding)

    @property
    def transactions(self) -> Table[TransactionHistory, NewTransactionHistory]:
        """One movement of one asset of one user: one log of a transaction, or its own value or fee."""
        return self._table("transactions", TransactionHistory, NewTransactionHistory)

    @property
    def snapshots(self) -> Table[PortfolioSnapshot, NewPortfolioSnapshot]:
        """One valuation of one user's whole portfolio."""
        return self._table("snapshots", PortfolioSnapshot, NewPortfolioSnapshot)
