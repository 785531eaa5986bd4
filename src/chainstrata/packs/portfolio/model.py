"""The closed lists of the portfolio pack: the one source of its database enums, its API and its code."""

from enum import StrEnum

WALLET = "wallet"
"""The protocol of what a user simply has: a holding that is in no protocol is in this one."""


class AssetType(StrEnum):
    """What kind of asset it is."""

    NATIVE = "native"
    TOKEN = "token"  # noqa: S105 - a kind of asset
    STABLECOIN = "stablecoin"
    WRAPPED = "wrapped"
    LIQUID_STAKING = "liquid_staking"
    LP = "lp"
    RECEIPT = "receipt"
    DEBT = "debt"
    NFT = "nft"


class TransactionType(StrEnum):
    """What a movement was for. Each says by itself which way the asset went."""

    TRANSFER_IN = "transfer_in"
    TRANSFER_OUT = "transfer_out"
    SWAP_IN = "swap_in"
    SWAP_OUT = "swap_out"
    BRIDGE_IN = "bridge_in"
    BRIDGE_OUT = "bridge_out"
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    STAKE = "stake"
    UNSTAKE = "unstake"
    BORROW = "borrow"
    REPAY = "repay"
    LIQUIDATION = "liquidation"
    REWARD = "reward"
    MINT = "mint"
    BURN = "burn"
    FEE = "fee"

    @property
    def direction(self) -> int:
        """1 for what came to the user's wallet, -1 for what left it, 0 for what a protocol took from a position in it."""
        return 1 if self in INCOMING else 0 if self is TransactionType.LIQUIDATION else -1


INCOMING = (
    TransactionType.TRANSFER_IN,
    TransactionType.SWAP_IN,
    TransactionType.BRIDGE_IN,
    TransactionType.WITHDRAWAL,
    TransactionType.UNSTAKE,
    TransactionType.BORROW,
    TransactionType.REWARD,
    TransactionType.MINT,
)


class ProtocolCategory(StrEnum):
    """What a protocol does."""

    WALLET = "wallet"
    DEX = "dex"
    LENDING = "lending"
    STAKING = "staking"
    LIQUID_STAKING = "liquid_staking"
    RESTAKING = "restaking"
    YIELD = "yield"
    DERIVATIVES = "derivatives"
    CDP = "cdp"
    BRIDGE = "bridge"
    RWA = "rwa"
    NFT = "nft"
    OTHER = "other"


class RiskLevel(StrEnum):
    """How risky something is, in order: the database compares them so too."""

    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    EXTREME = "extreme"


class PositionType(StrEnum):
    """In what way an asset is held in a protocol. What is borrowed is owed, and counts against the user."""

    WALLET = "wallet"
    SUPPLIED = "supplied"
    BORROWED = "borrowed"
    STAKED = "staked"
    LOCKED = "locked"
    LIQUIDITY = "liquidity"
    REWARD = "reward"
