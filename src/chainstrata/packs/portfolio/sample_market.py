"""What the portfolio samples are about: chains, assets with prices that wander, protocols."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.packs.portfolio.model import AssetType, PositionType, ProtocolCategory, RiskLevel
from chainstrata.packs.sampling import Numbers, chosen, constant, decimals, instants, microseconds, pc, spread_letters, spread_texts

DAY = 86_400_000_000
PLACES = 8
"""Prices have eight places."""


@dataclass(frozen=True, slots=True)
class ChainKind:
    """A chain: its first block, how long a block takes, and how its addresses and hashes look."""

    name: str
    genesis: datetime
    block_micros: int
    family: str = "evm"


CHAINS = (
    ChainKind("ethereum", datetime(2022, 9, 15, 6, 42, 42, tzinfo=UTC), 12_000_000),
    ChainKind("arbitrum", datetime(2021, 5, 28, tzinfo=UTC), 250_000),
    ChainKind("base", datetime(2023, 6, 15, tzinfo=UTC), 2_000_000),
    ChainKind("optimism", datetime(2021, 11, 11, tzinfo=UTC), 2_000_000),
    ChainKind("polygon", datetime(2020, 5, 30, tzinfo=UTC), 2_100_000),
    ChainKind("bsc", datetime(2020, 8, 29, tzinfo=UTC), 750_000),
    ChainKind("bitcoin", datetime(2009, 1, 3, 18, 15, 5, tzinfo=UTC), 600_000_000, "bitcoin"),
    ChainKind("solana", datetime(2020, 3, 16, tzinfo=UTC), 400_000, "solana"),
)
CHAIN_NAMES = [chain.name for chain in CHAINS]
EVM = np.array([chain.family == "evm" for chain in CHAINS])


@dataclass(frozen=True, slots=True)
class AssetKind:
    """An asset: what is known of it, its price at the start, how much that moves in a day, and how often people use it."""

    asset_id: str
    symbol: str
    name: str
    decimals: int
    kind: AssetType
    risk: RiskLevel | None
    price: float
    daily: float
    weight: float
    price_id: str | None = None

    @property
    def chain(self) -> int:
        return CHAIN_NAMES.index(self.asset_id.partition(":")[0])


def _native(chain: str, symbol: str, name: str, places: int, price: float, weight: float, price_id: str) -> AssetKind:
    return AssetKind(f"{chain}:native", symbol, name, places, AssetType.NATIVE, RiskLevel.LOW, price, 0.03, weight, price_id)


def _stable(asset_id: str, symbol: str, name: str, places: int, weight: float, price_id: str) -> AssetKind:
    return AssetKind(asset_id, symbol, name, places, AssetType.STABLECOIN, RiskLevel.MINIMAL, 1, 0.0004, weight, price_id)


def _token(address: str, symbol: str, name: str, places: int, price: float, weight: float, price_id: str, **other: Any) -> AssetKind:
    kind, risk, daily = other.get("kind", AssetType.TOKEN), other.get("risk", RiskLevel.MEDIUM), other.get("daily", 0.045)
    return AssetKind(address, symbol, name, places, kind, risk, price, daily, weight, price_id)


USDC = "usd-coin"
ETH_PRICE, BTC_PRICE = 3_400.0, 96_000.0
ASSETS = (
    _native("ethereum", "ETH", "Ether", 18, ETH_PRICE, 14, "ethereum"),
    _native("arbitrum", "ETH", "Ether", 18, ETH_PRICE, 6, "ethereum"),
    _native("base", "ETH", "Ether", 18, ETH_PRICE, 6, "ethereum"),
    _native("optimism", "ETH", "Ether", 18, ETH_PRICE, 3, "ethereum"),
    _native("polygon", "POL", "Polygon", 18, 0.48, 3, "polygon-ecosystem-token"),
    _native("bsc", "BNB", "BNB", 18, 640, 4, "binancecoin"),
    _native("bitcoin", "BTC", "Bitcoin", 8, BTC_PRICE, 7, "bitcoin"),
    _native("solana", "SOL", "Solana", 9, 210, 6, "solana"),
    _stable("ethereum:0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", "USDC", "USD Coin", 6, 11, USDC),
    _stable("arbitrum:0xaf88d065e77c8cc2239327c5edb3a432268e5831", "USDC", "USD Coin", 6, 5, USDC),
    _stable("base:0x833589fcd6edb6e08f4c7c32d4f71b54bda02913", "USDC", "USD Coin", 6, 5, USDC),
    _stable("polygon:0x3c499c542cef5e3811e1192ce70d8cc03d5c3359", "USDC", "USD Coin", 6, 3, USDC),
    _stable("solana:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "USDC", "USD Coin", 6, 4, USDC),
    _stable("ethereum:0xdac17f958d2ee523a2206206994597c13d831ec7", "USDT", "Tether USD", 6, 9, "tether"),
    _stable("bsc:0x55d398326f99059ff775485246999027b3197955", "USDT", "Tether USD", 18, 4, "tether"),
    _stable("ethereum:0x6b175474e89094c44da98b954eedeac495271d0f", "DAI", "Dai Stablecoin", 18, 4, "dai"),
    _token(
        "ethereum:0x2260fac5e5542a773aa44fbcfedf7c193bc2c599",
        "WBTC",
        "Wrapped BTC",
        8,
        BTC_PRICE,
        3,
        "wrapped-bitcoin",
        kind=AssetType.WRAPPED,
        risk=RiskLevel.LOW,
        daily=0.025,
    ),
    _token(
        "ethereum:0xae7ab96520de3a18e5e111b5eaab095312d7fe84",
        "stETH",
        "Liquid staked Ether",
        18,
        ETH_PRICE,
        4,
        "staked-ether",
        kind=AssetType.LIQUID_STAKING,
        risk=RiskLevel.LOW,
        daily=0.03,
    ),
    _token("ethereum:0x1f9840a85d5af5bf1d1762f925bdaddc4201f984", "UNI", "Uniswap", 18, 11, 3, "uniswap"),
    _token("ethereum:0x514910771af9ca656af840dff83e8264ecf986ca", "LINK", "Chainlink", 18, 19, 3, "chainlink"),
    _token("ethereum:0x7fc66500c84a76ad7e9c93437bfc5ac33e2ddae9", "AAVE", "Aave", 18, 290, 2, "aave"),
    _token("arbitrum:0x912ce59144191c1204e64559fe8253a0e49e6548", "ARB", "Arbitrum", 18, 0.82, 3, "arbitrum"),
    _token("optimism:0x4200000000000000000000000000000000000042", "OP", "Optimism", 18, 1.9, 2, "optimism"),
    _token(
        "ethereum:0x95ad61b0a150d79219dcf64e1e6cc01f0b64c4ce",
        "SHIB",
        "Shiba Inu",
        18,
        0.000024,
        3,
        "shiba-inu",
        risk=RiskLevel.HIGH,
        daily=0.08,
    ),
    _token(
        "ethereum:0xb4e16d0168e52d35cacd2c6185b44281ec28c9dc",
        "UNI-V2",
        "Uniswap V2 USDC-ETH",
        18,
        118_000_000,
        1,
        "uniswap-v2-usdc-eth",
        kind=AssetType.LP,
        risk=RiskLevel.MEDIUM,
        daily=0.015,
    ),
    AssetKind(
        "ethereum:0xbc4ca0eda7647a8ab7c2061c2e118a18a936f13d", "BAYC", "Bored Ape", 0, AssetType.NFT, RiskLevel.HIGH, 41_000, 0.05, 0.3
    ),
    # What nobody asked for: sent to many, with a name like an invitation and a supply up to the last unit of 256 bits.
    AssetKind(
        "ethereum:0x5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e",
        "CLAIM",
        "Claim your reward at reward.example",
        18,
        AssetType.TOKEN,
        RiskLevel.EXTREME,
        0,
        0,
        2,
    ),
)
SPAM = len(ASSETS) - 1
PRICED = np.array([asset.price > 0 for asset in ASSETS])
DECIMALS = np.array([asset.decimals for asset in ASSETS])
STEPS = np.minimum(DECIMALS, 6)
"""Decimals that amounts of the sample make use of; the rest of the places are zeros."""
CHAIN_OF = np.array([asset.chain for asset in ASSETS])


@dataclass(frozen=True, slots=True)
class ProtocolKind:
    protocol_id: str
    name: str
    category: ProtocolCategory
    risk: RiskLevel | None
    chains: tuple[str, ...]
    tvl: int
    position: PositionType | None = None


ETHEREUM, ROLLUPS = ("ethereum",), ("arbitrum", "base", "optimism", "polygon")
PROTOCOLS = (
    ProtocolKind("wallet", "Wallet", ProtocolCategory.WALLET, RiskLevel.MINIMAL, (), 0, PositionType.WALLET),
    ProtocolKind("aave-v3", "Aave V3", ProtocolCategory.LENDING, RiskLevel.LOW, ETHEREUM + ROLLUPS, 27_400_000_000, PositionType.SUPPLIED),
    ProtocolKind("venus", "Venus", ProtocolCategory.LENDING, RiskLevel.MEDIUM, ("bsc",), 1_900_000_000, PositionType.SUPPLIED),
    ProtocolKind(
        "kamino-lend", "Kamino Lend", ProtocolCategory.LENDING, RiskLevel.MEDIUM, ("solana",), 2_100_000_000, PositionType.SUPPLIED
    ),
    ProtocolKind("lido", "Lido", ProtocolCategory.LIQUID_STAKING, RiskLevel.LOW, ETHEREUM, 31_000_000_000, PositionType.STAKED),
    ProtocolKind("eigenlayer", "EigenLayer", ProtocolCategory.RESTAKING, RiskLevel.MEDIUM, ETHEREUM, 11_500_000_000, PositionType.LOCKED),
    ProtocolKind(
        "uniswap-v3", "Uniswap V3", ProtocolCategory.DEX, RiskLevel.LOW, ETHEREUM + ROLLUPS, 4_300_000_000, PositionType.LIQUIDITY
    ),
    ProtocolKind("curve-dex", "Curve DEX", ProtocolCategory.DEX, RiskLevel.LOW, ETHEREUM + ROLLUPS, 2_200_000_000, PositionType.LIQUIDITY),
    ProtocolKind("yearn-finance", "Yearn Finance", ProtocolCategory.YIELD, RiskLevel.MEDIUM, ETHEREUM, 340_000_000, PositionType.SUPPLIED),
    ProtocolKind("gmx-v2-perps", "GMX V2 Perps", ProtocolCategory.DERIVATIVES, RiskLevel.HIGH, ("arbitrum",), 480_000_000),
    ProtocolKind("across", "Across", ProtocolCategory.BRIDGE, RiskLevel.MEDIUM, ETHEREUM + ROLLUPS, 120_000_000),
    ProtocolKind("sky-lending", "Sky Lending", ProtocolCategory.CDP, RiskLevel.LOW, ETHEREUM, 5_600_000_000),
    ProtocolKind("unnamed-farm", "Unnamed Farm", ProtocolCategory.OTHER, None, ("bsc",), 900_000),
)
PROTOCOL_IDS = [protocol.protocol_id for protocol in PROTOCOLS]
WALLET, BRIDGE, SWAPS = 0, PROTOCOL_IDS.index("across"), PROTOCOL_IDS.index("uniswap-v3")


def home_of(asset: AssetKind) -> int:
    """Return the protocol people put an asset into, the wallet for what stays there."""
    chain = asset.asset_id.partition(":")[0]
    if asset.kind is AssetType.LIQUID_STAKING:
        return PROTOCOL_IDS.index("eigenlayer")
    if asset.kind is AssetType.LP:
        return PROTOCOL_IDS.index("curve-dex")
    if asset.asset_id == "ethereum:native":
        return PROTOCOL_IDS.index("lido")
    if asset.kind in (AssetType.NFT, AssetType.LP) or not asset.price or chain == "bitcoin":
        return WALLET
    return PROTOCOL_IDS.index({"bsc": "venus", "solana": "kamino-lend"}.get(chain, "aave-v3"))


HOME = np.array([home_of(asset) for asset in ASSETS])
LENDS = np.array([PROTOCOLS[home].category is ProtocolCategory.LENDING for home in HOME])
POSITION = [(PROTOCOLS[home].position or PositionType.WALLET).value for home in HOME]


class Prices:
    """The price of every asset on every day, wandering from where it starts; equal coins have one price on all chains."""

    def __init__(self, rng: np.random.Generator, first_day: int, days: int) -> None:
        self.first_day = first_day
        shocks = rng.normal(0, 1, (days + 1, len(ASSETS)))
        same = {asset.price_id: place for place, asset in reversed(list(enumerate(ASSETS))) if asset.price_id}
        leaders = np.array([same[asset.price_id] if asset.price_id else place for place, asset in enumerate(ASSETS)])
        daily = np.array([asset.daily for asset in ASSETS])
        level = np.array([asset.price for asset in ASSETS])
        self.units: Numbers = np.rint(level * np.exp(np.cumsum(shocks[:, leaders] * daily, axis=0)) * 10**PLACES).astype("i8")

    def at(self, micros: Numbers, asset: Numbers) -> Numbers:
        """Return prices in units of the last place; 0 where there is none."""
        found: Numbers = self.units[np.clip(micros // DAY - self.first_day, 0, len(self.units) - 1), asset]
        return found

    def column(self, micros: Numbers, asset: Numbers) -> Any:
        units = self.at(micros, asset)
        return decimals(units, PLACES, units == 0)


def heights(chain: Numbers, micros: Numbers) -> Numbers:
    """Return the heights of the last blocks of chains until given instants."""
    genesis = np.array([microseconds(each.genesis) for each in CHAINS])
    width = np.array([each.block_micros for each in CHAINS])
    found: Numbers = (micros - genesis[chain]) // width[chain]
    return found


def block_times(chain: Numbers, height: Numbers) -> Numbers:
    genesis = np.array([microseconds(each.genesis) for each in CHAINS])
    width = np.array([each.block_micros for each in CHAINS])
    found: Numbers = genesis[chain] + height * width[chain]
    return found


BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32 = "023456789acdefghjklmnpqrstuvwxyz"


def _by_family(chain: Numbers, evm: Any, bitcoin: Any, solana: Any) -> Any:
    family = np.array([each.family for each in CHAINS])[chain]
    return pc.if_else(pa.array(family == "evm"), evm, pc.if_else(pa.array(family == "bitcoin"), bitcoin, solana))


def block_hashes(chain: Numbers, height: Numbers) -> Any:
    """Return hashes of blocks as each chain prints them."""
    keys = height * len(CHAINS) + chain
    hexes = spread_texts(keys, 32, "")
    return _by_family(chain, pc.binary_join_element_wise("0x", hexes, ""), hexes, spread_letters(keys, 44, BASE58))


def transaction_hashes(chain: Numbers, keys: Numbers) -> Any:
    """Return hashes of transactions as each chain prints them."""
    hexes = spread_texts(keys, 32, "")
    return _by_family(chain, pc.binary_join_element_wise("0x", hexes, ""), hexes, spread_letters(keys, 88, BASE58))


def addresses(chain: Numbers, keys: Numbers) -> Any:
    """Return addresses by their owners' keys: one for all EVM chains, others for the rest."""
    return _by_family(chain, spread_texts(keys, 20), spread_letters(keys, 38, BECH32, "bc1q"), spread_letters(keys, 44, BASE58))


def protocol_rows() -> Any:
    count = len(PROTOCOLS)
    return pa.table(
        {
            "protocol_id": [protocol.protocol_id for protocol in PROTOCOLS],
            "name": [protocol.name for protocol in PROTOCOLS],
            "category": [protocol.category.value for protocol in PROTOCOLS],
            "risk_level": [protocol.risk.value if protocol.risk else None for protocol in PROTOCOLS],
            "chains": pa.array([list(protocol.chains) for protocol in PROTOCOLS], pa.list_(pa.string())),
            "tvl_usd": [protocol.tvl or None for protocol in PROTOCOLS],
            "metadata": constant('{"source": "sample"}', count),
        }
    )


def asset_rows(prices: Prices, now: int) -> Any:
    place = np.arange(len(ASSETS))
    return pa.table(
        {
            "asset_id": [asset.asset_id for asset in ASSETS],
            "symbol": [asset.symbol for asset in ASSETS],
            "name": [asset.name for asset in ASSETS],
            "decimals": DECIMALS,
            "asset_type": [asset.kind.value for asset in ASSETS],
            "risk_level": [asset.risk.value if asset.risk else None for asset in ASSETS],
            "price_id": [asset.price_id for asset in ASSETS],
            "price_usd": prices.column(np.full(len(place), now), place),
            "price_at": instants(np.full(len(place), now), ~PRICED),
            "price_confidence": chosen(PRICED.astype("i4"), ["0", "0.99"], ~PRICED),
        }
    )
