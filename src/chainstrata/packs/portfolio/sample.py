"""Sample data of the portfolio pack: users with wallets on several chains, what they did, what they hold by it, and what it was worth.

Holdings are what the transactions come to, to the last unit, and snapshots what holdings were worth. Transactions are of main chains
only: what a reorg undid or a source delivered twice is not among them. Keys of the history and the views follow by themselves.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.packs.portfolio.model import PositionType, ProtocolCategory, RiskLevel, TransactionType
from chainstrata.packs.portfolio.sample_ledger import CODE, NOBODY, TYPES, Held, Ledger, Slots, held_at, make_ledger
from chainstrata.packs.portfolio.sample_market import (
    ASSETS,
    BRIDGE,
    CHAIN_NAMES,
    CHAIN_OF,
    DAY,
    DECIMALS,
    HOME,
    PLACES,
    POSITION,
    PRICED,
    PROTOCOL_IDS,
    PROTOCOLS,
    SPAM,
    STEPS,
    SWAPS,
    WALLET,
    Prices,
    addresses,
    asset_rows,
    block_hashes,
    block_times,
    heights,
    protocol_rows,
    transaction_hashes,
)
from chainstrata.packs.sampling import (
    BATCH_ROWS,
    Numbers,
    Rows,
    chosen,
    constant,
    decimals,
    generator,
    instants,
    microseconds,
    of_scale,
    pc,
    uuids,
)

FINAL_AFTER = 20 * 60 * 1_000_000
LARGEST = str(2**256 - 1)


@dataclass(frozen=True, slots=True)
class Size:
    users: int
    movements: float
    days: int
    between: int
    """Movements in a slot on average, and days from one valuation to the next."""


SIZES = {"small": Size(200, 9, 90, 1), "medium": Size(5_000, 18, 365, 7), "large": Size(50_000, 18, 400, 7)}


@dataclass(frozen=True, slots=True)
class People:
    """The users: their identifiers, and the number that addresses and handles of the first of them are made from."""

    ids: Any
    first: int

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, user: Numbers, null: Any = None) -> Any:
        return self.ids.take(pa.array(user, mask=null))

    def addresses(self, chain: Numbers, user: Numbers) -> Any:
        return addresses(chain, self.first + user)


def make(scale: str, seed: int, anchor: datetime) -> Iterator[tuple[str, Any]]:
    """Yield (dataset, table), parents first; equal arguments, equal rows. Nothing is later than `anchor`."""
    size = of_scale(SIZES, scale)
    rng = generator("portfolio", scale, seed)
    now = microseconds(anchor)
    first = now - size.days * DAY
    prices = Prices(rng, first // DAY, size.days)
    ledger = make_ledger(rng, size.users, size.movements, first, now, prices)
    people = People(uuids(rng, size.users), 0)
    yield "portfolio.users", user_rows(rng, people, first)
    yield "portfolio.wallets", wallet_rows(ledger.slots, people, first)
    yield "portfolio.protocols", protocol_rows()
    yield "portfolio.assets", asset_rows(prices, now)
    yield from _holdings(rng, ledger, people, prices, now)
    yield from _transactions(ledger, people, prices, now)
    yield from _snapshots(ledger, people, prices, range(first // DAY * DAY + DAY, now + 1, size.between * DAY), now)


# Users and wallets ---------------------------------------------------------------------------------------------------
FIRST_NAMES = (
    "Ana",
    "Bo",
    "Chidi",
    "Dara",
    "Emil",
    "Fatima",
    "Goran",
    "Hana",
    "Ines",
    "Jun",
    "Kofi",
    "Lena",
    "Mira",
    "Noor",
    "Oskar",
    "Priya",
)
LAST_NAMES = (
    "Abara",
    "Berg",
    "Castro",
    "Dvorak",
    "Eriksen",
    "Fischer",
    "Garcia",
    "Haddad",
    "Ito",
    "Jansen",
    "Kaur",
    "Lopez",
    "Moreau",
    "Novak",
)
CURRENCIES = ("USD", "EUR", "GBP", "JPY", "BRL")


def user_rows(rng: np.random.Generator, people: People, first: int) -> Any:
    count = len(people)
    given, family = rng.integers(0, len(FIRST_NAMES), count), rng.integers(0, len(LAST_NAMES), count)
    number = pa.array(people.first + np.arange(count)).cast(pa.string())
    names = (chosen(given, FIRST_NAMES), chosen(family, LAST_NAMES))
    handles = pc.binary_join_element_wise(pc.utf8_lower(names[0]), number, ".")
    mails = pc.binary_join_element_wise(handles, "example.org", "@")
    closed = rng.random(count) < 0.02
    return pa.table(
        {
            "user_id": people.ids,
            "handle": handles,
            "display_name": pc.binary_join_element_wise(*names, " "),
            "email": pc.if_else(pa.array(rng.random(count) < 0.7), mails, pa.scalar(None, pa.string())),
            "base_currency": chosen(rng.choice(len(CURRENCIES), count, p=(0.55, 0.25, 0.1, 0.05, 0.05)), CURRENCIES),
            "risk_tolerance": chosen(rng.choice(len(RiskLevel), count, p=(0.08, 0.27, 0.4, 0.2, 0.05)), RiskLevel),
            "deactivated_at": instants(np.full(count, first + 30 * DAY), ~closed),
            "metadata": chosen(rng.integers(0, 2, count), ['{"theme": "dark"}', '{"theme": "light", "alerts": true}']),
            "created_at": instants(first - rng.integers(0, 400 * DAY, count)),
        }
    )


def wallet_rows(slots: Slots, people: People, first: int) -> Any:
    owned = np.unique(slots.user * len(CHAIN_NAMES) + CHAIN_OF[slots.asset])
    user, chain = owned // len(CHAIN_NAMES), owned % len(CHAIN_NAMES)
    return pa.table(
        {
            "chain": chosen(chain, CHAIN_NAMES),
            "address": people.addresses(chain, user),
            "user_id": people.at(user),
            "label": chosen(user % 3, ["main", "cold storage", "trading"], user % 4 == 0),
            "created_at": instants(np.full(len(user), first)),
        }
    )


# Amounts -------------------------------------------------------------------------------------------------------------
ZEROS = [asset.decimals - int(steps) for asset, steps in zip(ASSETS, STEPS, strict=True)]


def _amounts(amount: Numbers, asset: Numbers, slot: Numbers) -> Any:
    """Return amounts in smallest units, as text: they may be as large as 256 bits allow, and some unsolicited ones are."""
    zeros = chosen(asset, ["0" * places for places in ZEROS])
    texts = pc.if_else(pa.array(amount == 0), "0", pc.binary_join_element_wise(pa.array(amount).cast(pa.string()), zeros, ""))
    spam = pc.if_else(pa.array(slot % 2 == 0), LARGEST, "1000000000" + "0" * ASSETS[SPAM].decimals)
    return pc.if_else(pa.array(asset == SPAM), spam, texts)


def _dollars(amount: Numbers, asset: Numbers, micros: Numbers, prices: Prices) -> Numbers:
    """Return values in cents."""
    found: Numbers = np.rint(amount / 10.0 ** STEPS[asset] * prices.at(micros, asset) / 10 ** (PLACES - 2)).astype("i8")
    return found


# Holdings ------------------------------------------------------------------------------------------------------------
def _holdings(rng: np.random.Generator, ledger: Ledger, people: People, prices: Prices, now: int) -> Iterator[tuple[str, Any]]:
    """Yield what every slot has come to: in the wallet, in the protocol it was put into, and owed to that."""
    slots = ledger.slots
    everything = np.arange(len(slots))
    rows = Rows("portfolio.holdings")
    placed, owed = np.flatnonzero(slots.placed), np.flatnonzero(slots.owed)
    kinds = ((everything, slots.wallet, ""), (placed, slots.placed, "placed"), (owed, slots.owed, PositionType.BORROWED.value))
    for some, amounts, kind in kinds:
        for start in range(0, len(some), BATCH_ROWS):
            part = some[start : start + BATCH_ROWS]
            observed = now - rng.integers(0, 45 * 60 * 1_000_000, len(part))
            rows.add(holding_columns(rng, slots, people, prices, part, amounts, kind, observed, now))
            yield from rows.full()
    yield from rows.rest()


def holding_columns(
    rng: np.random.Generator,
    slots: Slots,
    people: People,
    prices: Prices,
    slot: Numbers,
    amounts: Numbers,
    kind: str,
    seen: Numbers,
    now: int,
) -> Mapping[str, Any]:
    """Return what some slots have come to, each as of the last block when it was seen."""
    asset, user = slots.asset[slot], slots.user[slot]
    chain, amount = CHAIN_OF[asset], amounts[slot]
    height = heights(chain, seen)
    observed = block_times(chain, height)
    micros = np.full(len(slot), now)
    paid = (_dollars(amount, asset, micros, prices) * rng.uniform(0.6, 1.3, len(slot))).astype("i8")
    unknown = (rng.random(len(slot)) < 0.3) | ~PRICED[asset] | (kind == PositionType.BORROWED)
    return {
        "user_id": people.at(user),
        "chain": chosen(chain, CHAIN_NAMES),
        "wallet_address": people.addresses(chain, user),
        "asset_id": chosen(asset, [each.asset_id for each in ASSETS]),
        "protocol_id": chosen(HOME[asset] if kind else np.full(len(slot), WALLET), PROTOCOL_IDS),
        "position_type": chosen(asset, POSITION) if kind == "placed" else constant(kind or PositionType.WALLET.value, len(slot)),
        "amount": _amounts(amount, asset, slot),
        "decimals": DECIMALS[asset].astype("i2"),
        "price_usd": prices.column(micros, asset),
        "cost_basis_usd": decimals(paid, 2, unknown),
        "block_number": height,
        "block_hash": block_hashes(chain, height),
        "observed_at": instants(observed),
        "final": observed < now - FINAL_AFTER,
        "metadata": constant('{"health_factor": "1.84"}' if kind == PositionType.BORROWED else "{}", len(slot)),
    }


# Transactions --------------------------------------------------------------------------------------------------------
THROUGH_HOME = [
    CODE[kind]
    for kind in (
        TransactionType.DEPOSIT,
        TransactionType.WITHDRAWAL,
        TransactionType.STAKE,
        TransactionType.UNSTAKE,
        TransactionType.BORROW,
        TransactionType.REPAY,
        TransactionType.LIQUIDATION,
    )
]
THROUGH_SWAPS = [CODE[TransactionType.SWAP_IN], CODE[TransactionType.SWAP_OUT]]
THROUGH_BRIDGE = [CODE[TransactionType.BRIDGE_IN], CODE[TransactionType.BRIDGE_OUT]]
ONE_SIDED = [CODE[TransactionType.MINT], CODE[TransactionType.BURN], CODE[TransactionType.FEE]]
STRANGERS = 10**9
"""Keys of addresses from here on belong to nobody we know."""


def _transactions(ledger: Ledger, people: People, prices: Prices, now: int) -> Iterator[tuple[str, Any]]:
    """Yield the history in the order it happened."""
    order = np.argsort(ledger.micros, kind="stable")
    for start in range(0, len(order), BATCH_ROWS):
        yield "portfolio.transactions", pa.table(transaction_columns(ledger, people, prices, order[start : start + BATCH_ROWS], now))


def transaction_columns(ledger: Ledger, people: People, prices: Prices, at: Numbers, now: int) -> dict[str, Any]:
    asset, user, kind, micros, height = ledger.asset[at], ledger.user[at], ledger.kind[at], ledger.micros[at], ledger.height[at]
    chain = CHAIN_OF[asset]
    to = ledger.counterparty[at]
    known = to != NOBODY
    other = np.where(known, ledger.slots.user[to], STRANGERS + ledger.transaction[at] % 50_000)
    through = np.select(
        [np.isin(kind, THROUGH_HOME), np.isin(kind, THROUGH_SWAPS), np.isin(kind, THROUGH_BRIDGE)], [HOME[asset], SWAPS, BRIDGE], WALLET
    )
    return {
        "chain": chosen(chain, CHAIN_NAMES),
        "tx_hash": transaction_hashes(chain, ledger.transaction[at]),
        "log_index": ledger.log[at].astype("i4"),
        "block_timestamp": instants(micros),
        "block_number": height,
        "block_hash": block_hashes(chain, height),
        "user_id": people.at(user),
        "counterparty_user_id": people.at(np.where(known, other, 0), ~known),
        "wallet_address": people.addresses(chain, user),
        "counterparty_address": pc.if_else(
            pa.array(np.isin(kind, ONE_SIDED)), pa.scalar(None, pa.string()), people.addresses(chain, other)
        ),
        "transaction_type": chosen(kind, [each.value for each in TYPES]),
        "asset_id": chosen(asset, [each.asset_id for each in ASSETS]),
        "protocol_id": chosen(through, PROTOCOL_IDS, through == WALLET),
        "amount": _amounts(ledger.amount[at], asset, ledger.slot[at]),
        "decimals": DECIMALS[asset].astype("i2"),
        "price_usd": prices.column(micros, asset),
        "final": micros < now - FINAL_AFTER,
        "metadata": chosen((kind == CODE[TransactionType.FEE]).astype("i4"), ["{}", '{"gas_used": 21000}']),
        "created_at": instants(np.minimum(micros + 5_000_000, now)),
    }


# Snapshots -----------------------------------------------------------------------------------------------------------
CATEGORIES = [category.value for category in ProtocolCategory]
CATEGORY_OF = np.array([CATEGORIES.index(protocol.category.value) for protocol in PROTOCOLS])


def _snapshots(ledger: Ledger, people: People, prices: Prices, midnights: range, now: int) -> Iterator[tuple[str, Any]]:
    """Yield every portfolio at every midnight."""
    rows = Rows("portfolio.snapshots")
    for midnight in midnights:
        rows.add(snapshot_columns(held_at(ledger, midnight), ledger.slots, people, prices, midnight, now))
        yield from rows.full()
    yield from rows.rest()


def snapshot_columns(held: Held, slots: Slots, people: People, prices: Prices, midnight: int, now: int) -> Mapping[str, Any]:
    """Return every portfolio at a midnight, by what its slots held then."""
    users = len(people)
    micros = np.full(len(slots), midnight)
    wallet, placed, owed = (_dollars(amount, slots.asset, micros, prices) for amount in (held.wallet, held.placed, held.owed))

    def summed(values: Numbers, width: int, place: Numbers) -> Numbers:
        table: Numbers = np.bincount(slots.user * width + place, values, users * width).astype("i8").reshape(users, width)
        return table

    nowhere = np.zeros(len(slots), dtype="i8")
    chain = CHAIN_OF[slots.asset]
    category = summed(wallet, len(CATEGORIES), nowhere + CATEGORY_OF[WALLET])
    category += summed(placed - owed, len(CATEGORIES), CATEGORY_OF[HOME[slots.asset]])
    counts = summed(held.there & PRICED[slots.asset], 1, nowhere) + summed((held.placed > 0) * 1, 1, nowhere)
    as_of = heights(np.arange(len(CHAIN_NAMES)), np.full(len(CHAIN_NAMES), midnight))
    return {
        "user_id": people.ids,
        "snapshot_date": instants(np.full(users, midnight)),
        "assets_usd": decimals(summed(wallet + placed, 1, nowhere)[:, 0], 2),
        "debts_usd": decimals(summed(owed, 1, nowhere)[:, 0], 2),
        "holdings": (counts + summed((held.owed > 0) * 1, 1, nowhere))[:, 0].astype("i4"),
        "unpriced": summed(held.there & ~PRICED[slots.asset], 1, nowhere)[:, 0].astype("i4"),
        "by_chain": _objects(summed(wallet + placed - owed, len(CHAIN_NAMES), chain), CHAIN_NAMES),
        "by_category": _objects(category, CATEGORIES),
        "as_of": constant(json.dumps(dict(zip(CHAIN_NAMES, as_of.tolist(), strict=True))), users),
        "final": constant(midnight < now - FINAL_AFTER, users),
        "created_at": instants(np.full(users, min(midnight + 600_000_000, now))),
    }


def _objects(cents: Numbers, names: list[str]) -> Any:
    """Return JSON objects of what is not zero, dollars as text by name."""
    parts = []
    for place, name in enumerate(names):
        texts = pc.binary_join_element_wise(f'"{name}": "', decimals(cents[:, place], 2).cast(pa.string()), '", ', "")
        parts.append(pc.if_else(pa.array(cents[:, place] == 0), "", texts))
    inner = pc.utf8_rtrim(pc.binary_join_element_wise(*parts, ""), ", ")
    return pc.binary_join_element_wise("{", inner, "}", "")
