"""What the relay samples are about: chains, the channels between them, relayers of different quality, and the people who send."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.packs.sampling import Numbers, chosen, constant, microseconds, spread, spread_texts


@dataclass(frozen=True, slots=True)
class ChainKind:
    chain_id: str
    name: str
    prefix: str
    fee_denom: str
    genesis: datetime
    block_micros: int


CHAINS = (
    ChainKind("osmosis-1", "Osmosis", "osmo", "uosmo", datetime(2021, 6, 18, 17, tzinfo=UTC), 1_600_000),
    ChainKind("cosmoshub-4", "Cosmos Hub", "cosmos", "uatom", datetime(2019, 12, 11, 16, 11, 34, tzinfo=UTC), 5_900_000),
    ChainKind("noble-1", "Noble", "noble", "uusdc", datetime(2023, 3, 24, tzinfo=UTC), 1_700_000),
    ChainKind("neutron-1", "Neutron", "neutron", "untrn", datetime(2023, 5, 10, 15, tzinfo=UTC), 1_300_000),
    ChainKind("celestia", "Celestia", "celestia", "utia", datetime(2023, 10, 31, 14, tzinfo=UTC), 6_000_000),
    ChainKind("stride-1", "Stride", "stride", "ustrd", datetime(2022, 9, 4, 15, tzinfo=UTC), 3_200_000),
    ChainKind("juno-1", "Juno", "juno", "ujuno", datetime(2021, 10, 1, 15, tzinfo=UTC), 2_700_000),
    ChainKind("injective-1", "Injective", "inj", "inj", datetime(2021, 11, 8, tzinfo=UTC), 700_000),
    ChainKind("dydx-mainnet-1", "dYdX Chain", "dydx", "adydx", datetime(2023, 10, 26, 17, tzinfo=UTC), 1_100_000),
)
IDS = [chain.chain_id for chain in CHAINS]
GENESIS = np.array([microseconds(chain.genesis) for chain in CHAINS])
BLOCK = np.array([chain.block_micros for chain in CHAINS])


@dataclass(frozen=True, slots=True)
class Link:
    """A channel between two chains: its number on each, what mostly moves, and how much goes on."""

    one: str
    one_channel: str
    two: str
    two_channel: str
    denoms: tuple[str, str]
    weight: float


def _voucher(name: str) -> str:
    return f"transfer/channel-0/{name}"


LINKS = (
    Link("osmosis-1", "channel-0", "cosmoshub-4", "channel-141", ("uosmo", "uatom"), 24),
    Link("osmosis-1", "channel-750", "noble-1", "channel-1", (_voucher("uusdc"), "uusdc"), 22),
    Link("osmosis-1", "channel-874", "neutron-1", "channel-10", ("uosmo", "untrn"), 9),
    Link("osmosis-1", "channel-6994", "celestia", "channel-2", (_voucher("utia"), "utia"), 13),
    Link("osmosis-1", "channel-326", "stride-1", "channel-5", ("uosmo", "stuosmo"), 6),
    Link("osmosis-1", "channel-42", "juno-1", "channel-0", ("uosmo", "ujuno"), 3),
    Link("osmosis-1", "channel-122", "injective-1", "channel-8", ("uosmo", "inj"), 6),
    Link("cosmoshub-4", "channel-536", "noble-1", "channel-4", ("uatom", "uusdc"), 6),
    Link("noble-1", "channel-33", "dydx-mainnet-1", "channel-0", ("uusdc", "adydx"), 8),
    Link("cosmoshub-4", "channel-569", "neutron-1", "channel-1", ("uatom", "untrn"), 3),
)


@dataclass(frozen=True, slots=True)
class Lanes:
    """Both directions of every link: a packet goes along one lane."""

    source: Numbers
    target: Numbers
    source_channel: Numbers
    target_channel: Numbers
    denom: Numbers
    weight: Numbers


CHANNELS = sorted({channel for link in LINKS for channel in (link.one_channel, link.two_channel)})
DENOMS = sorted({denom for link in LINKS for denom in link.denoms})


def _lanes() -> Lanes:
    rows = []
    for link in LINKS:
        one, two = (IDS.index(link.one), CHANNELS.index(link.one_channel)), (IDS.index(link.two), CHANNELS.index(link.two_channel))
        for (here, own), (there, other), denom in ((one, two, link.denoms[0]), (two, one, link.denoms[1])):
            rows.append((here, there, own, other, DENOMS.index(denom), link.weight))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Lanes(*columns)


LANES = _lanes()


@dataclass(frozen=True, slots=True)
class Operator:
    """A relayer: how often it is first, its delay in seconds, and how often it comes when another was there."""

    name: str
    share: float
    delay: float
    spread: float
    late: float


OPERATORS = (
    Operator("swift", 0.34, 5, 0.35, 0.05),
    Operator("harbour", 0.24, 8, 0.4, 0.08),
    Operator("meridian", 0.16, 11, 0.5, 0.1),
    Operator("copperline", 0.11, 16, 0.6, 0.22),
    Operator("tidewater", 0.08, 28, 0.8, 0.3),
    Operator("eager", 0.05, 12, 0.6, 1.0),
    Operator("weekend", 0.02, 95, 1.0, 0.25),
)
SHARE = np.array([operator.share for operator in OPERATORS])
DELAY = np.array([operator.delay for operator in OPERATORS])
SPREAD = np.array([operator.spread for operator in OPERATORS])
LATE = np.array([operator.late for operator in OPERATORS])


def heights(chain: Numbers, micros: Numbers) -> Numbers:
    """Return the heights of the first blocks of chains from given instants on."""
    found: Numbers = -((GENESIS[chain] - micros) // BLOCK[chain])
    return found


def block_times(chain: Numbers, height: Numbers) -> Numbers:
    found: Numbers = GENESIS[chain] + height * BLOCK[chain]
    return found


def block_hashes(chain: Numbers, height: Numbers) -> Any:
    return spread_texts(height * len(CHAINS) + chain, 32, "", upper=True)


# Accounts ------------------------------------------------------------------------------------------------------------
CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def _checksum(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, part in enumerate(GENERATOR):
            check ^= part if top >> bit & 1 else 0
    return check


def bech32(prefix: str, raw: bytes) -> str:
    """Return 20 bytes as an account address of a chain: base 32 behind its prefix, with a checksum."""
    bits = int.from_bytes(raw)
    letters = [bits >> shift & 31 for shift in range(len(raw) * 8 - 5, -1, -5)]
    head = [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]
    check = _checksum([*head, *letters, *[0] * 6]) ^ 1
    tail = [check >> 5 * (5 - place) & 31 for place in range(6)]
    return f"{prefix}1{''.join(CHARSET[letter] for letter in [*letters, *tail])}"


class Accounts:
    """The accounts of some owners on every chain, each made once."""

    def __init__(self, first_key: int, owners: int) -> None:
        raw = spread(np.arange(first_key, first_key + owners), 20)
        self._owners = owners
        self._texts = pa.array([bech32(chain.prefix, raw[owner].tobytes()) for chain in CHAINS for owner in range(owners)])

    def at(self, chain: Numbers, owner: Numbers) -> Any:
        """Return the addresses of owners on chains."""
        return self._texts.take(pa.array(chain * self._owners + owner))


# Tables --------------------------------------------------------------------------------------------------------------
def chain_rows() -> Any:
    return pa.table(
        {
            "chain_id": IDS,
            "name": [chain.name for chain in CHAINS],
            "account_prefix": [chain.prefix for chain in CHAINS],
            "fee_denom": [chain.fee_denom for chain in CHAINS],
        }
    )


def channel_rows() -> Any:
    count = len(LANES.source)
    return pa.table(
        {
            "chain_id": chosen(LANES.source, IDS),
            "port": constant("transfer", count),
            "channel": chosen(LANES.source_channel, CHANNELS),
            "counterparty_chain_id": chosen(LANES.target, IDS),
            "counterparty_port": constant("transfer", count),
            "counterparty_channel": chosen(LANES.target_channel, CHANNELS),
            "connection_id": chosen(np.arange(count), [f"connection-{number * 7 + 1}" for number in range(count)]),
        }
    )
