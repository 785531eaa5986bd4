"""The account of the portfolio samples: who moves what when, such that nobody ever spends what is not there.

A *slot* is one asset in one wallet. Its movements are drawn step by step, all slots at once, and every holding is what they come to.
Amounts are counted in steps of up to six decimals, whole numbers throughout.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainstrata.packs.portfolio.model import TransactionType
from chainstrata.packs.portfolio.sample_market import ASSETS, CHAIN_OF, EVM, HOME, LENDS, PLACES, PRICED, SPAM, STEPS, WALLET, Prices
from chainstrata.packs.portfolio.sample_market import block_times as times_of
from chainstrata.packs.portfolio.sample_market import heights as heights_of
from chainstrata.packs.sampling import Numbers

TYPES = list(TransactionType)
CODE = {kind: code for code, kind in enumerate(TYPES)}
NATIVE = np.array([asset.asset_id.endswith(":native") for asset in ASSETS])
SIDE = np.array([kind.direction for kind in TYPES])
MOST_MOVEMENTS = 60
NOBODY = -1


@dataclass(slots=True)
class Slots:
    """One place in every array for each slot. `movements` follow each other in the ledger, from `first` on."""

    user: Numbers
    asset: Numbers
    first: Numbers
    movements: Numbers
    wallet: Numbers
    placed: Numbers
    owed: Numbers

    def __len__(self) -> int:
        return len(self.user)


@dataclass(slots=True)
class Ledger:
    """One place in every array for each movement; `wallet`, `placed` and `owed` are what its slot came to by it."""

    slots: Slots
    slot: Numbers
    micros: Numbers
    kind: Numbers
    amount: Numbers
    wallet: Numbers
    placed: Numbers
    owed: Numbers
    transaction: Numbers
    log: Numbers
    height: Numbers
    counterparty: Numbers

    @property
    def asset(self) -> Numbers:
        found: Numbers = self.slots.asset[self.slot]
        return found

    @property
    def user(self) -> Numbers:
        found: Numbers = self.slots.user[self.slot]
        return found


def make_ledger(rng: np.random.Generator, users: int, mean_movements: float, first: int, now: int, prices: Prices) -> Ledger:
    """Return the movements of all users between two instants."""
    slots = make_slots(rng, users, mean_movements)
    slot = np.repeat(np.arange(len(slots)), slots.movements)
    # More happens lately than long ago.
    micros = first + ((now - first) * rng.beta(1.6, 1.0, len(slot))).astype("i8")
    ledger = _open_ledger(slots, slot, micros[np.lexsort((micros, slot))])
    for step in range(int(slots.movements.max(initial=0))):
        _move(rng, ledger, np.flatnonzero(slots.movements > step), step, prices)
    _close(rng, ledger, now)
    return ledger


def move_once(rng: np.random.Generator, slots: Slots, at: Numbers, micros: Numbers, now: int, prices: Prices) -> Ledger:
    """Return one movement more in each of some slots, whatever was moved in them before."""
    slots.first[at] = np.arange(len(at))
    ledger = _open_ledger(slots, at, micros)
    _move(rng, ledger, at, 0, prices)
    _close(rng, ledger, now)
    return ledger


def _open_ledger(slots: Slots, slot: Numbers, micros: Numbers) -> Ledger:
    columns = {
        name: np.zeros(len(slot), dtype="i8") for name in ("kind", "amount", "wallet", "placed", "owed", "transaction", "log", "height")
    }
    return Ledger(slots, slot, micros, **columns, counterparty=np.full(len(slot), NOBODY))


def _close(rng: np.random.Generator, ledger: Ledger, now: int) -> None:
    _settle(ledger)
    _pass_on(rng, ledger)
    _place_in_blocks(rng, ledger, now)


def make_slots(rng: np.random.Generator, users: int, mean_movements: float) -> Slots:
    """Give every user some assets; most have few, some have many."""
    weight = np.array([asset.weight for asset in ASSETS])
    # The highest of weighted draws are a weighted choice without repetition, for all users at once.
    ranks = np.argsort(np.log(rng.random((users, len(ASSETS)))) / weight, axis=1)[:, ::-1]
    many = np.clip(rng.geometric(0.18, users), 1, 14)
    user, place = np.nonzero(np.arange(len(ASSETS)) < many[:, None])
    asset = ranks[user, place]
    movements = np.clip(rng.geometric(1 / mean_movements, len(user)), 1, MOST_MOVEMENTS)
    movements[asset == SPAM] = 1
    first = np.concatenate(([0], np.cumsum(movements)[:-1]))
    empty = np.zeros(len(user), dtype="i8")
    return Slots(user, asset, first, movements, empty, empty.copy(), empty.copy())


INCOMING = (TransactionType.TRANSFER_IN, TransactionType.SWAP_IN, TransactionType.BRIDGE_IN, TransactionType.REWARD, TransactionType.MINT)
OUTGOING = (TransactionType.TRANSFER_OUT, TransactionType.SWAP_OUT, TransactionType.BRIDGE_OUT, TransactionType.BURN)


def _move(rng: np.random.Generator, ledger: Ledger, at: Numbers, step: int, prices: Prices) -> None:
    """Draw the movement number `step` of the slots `at`, and note what they come to."""
    slots = ledger.slots
    rows, asset = slots.first[at] + step, slots.asset[at]
    wallet, placed, owed = slots.wallet[at], slots.placed[at], slots.owed[at]
    draw, share = rng.random(len(at)), rng.uniform(0.05, 0.9, len(at))
    lends, placeable = LENDS[asset], HOME[asset] != WALLET
    stakes = placeable & ~lends
    choices: Sequence[tuple[Numbers, TransactionType, Numbers]] = (
        (NATIVE[asset] & (draw < 0.05), TransactionType.FEE, np.minimum(wallet, _fee(rng, asset))),
        (lends & (draw < 0.22), TransactionType.DEPOSIT, (wallet * share).astype("i8")),
        (stakes & (draw < 0.16), TransactionType.STAKE, (wallet * share).astype("i8")),
        (lends & (draw < 0.30), TransactionType.WITHDRAWAL, (placed * share / (1 + (owed > 0))).astype("i8")),
        (stakes & (draw < 0.21), TransactionType.UNSTAKE, (placed * share).astype("i8")),
        (lends & (draw < 0.35), TransactionType.BORROW, np.where(placed // 2 > owed, (placed // 2 - owed) * share, 0).astype("i8")),
        (lends & (draw < 0.39), TransactionType.REPAY, np.minimum(wallet, (owed * share).astype("i8"))),
        (lends & (draw < 0.395) & (owed > 0), TransactionType.LIQUIDATION, placed // 4),
        (draw < 0.62, TransactionType.TRANSFER_OUT, (wallet * share).astype("i8")),
    )
    possible = [condition & (amount > 0) for condition, _, amount in choices]
    kind = np.select(possible, [CODE[each] for _, each, _ in choices], CODE[TransactionType.TRANSFER_IN])
    amount = np.select(possible, [amount for _, _, amount in choices], _income(rng, asset, ledger.micros[rows], prices))
    kind = _vary(rng, kind, asset)
    ledger.kind[rows], ledger.amount[rows] = kind, amount
    slots.wallet[at] = ledger.wallet[rows] = wallet + SIDE[kind] * amount
    into = np.isin(kind, [CODE[TransactionType.DEPOSIT], CODE[TransactionType.STAKE]])
    from_ = np.isin(kind, [CODE[TransactionType.WITHDRAWAL], CODE[TransactionType.UNSTAKE], CODE[TransactionType.LIQUIDATION]])
    slots.placed[at] = ledger.placed[rows] = placed + amount * into - amount * from_
    lent = (kind == CODE[TransactionType.BORROW]).astype("i8") - (kind == CODE[TransactionType.REPAY])
    freed = np.where(kind == CODE[TransactionType.LIQUIDATION], np.minimum(owed, amount), 0)
    slots.owed[at] = ledger.owed[rows] = owed + lent * amount - freed


def _income(rng: np.random.Generator, asset: Numbers, micros: Numbers, prices: Prices) -> Numbers:
    """Return amounts worth a few hundred dollars, some of them much more."""
    dollars = rng.lognormal(6.2, 1.6, len(asset))
    price = np.where(PRICED[asset], prices.at(micros, asset), 10**PLACES) / 10**PLACES
    found: Numbers = np.maximum(1, dollars / price * 10.0 ** STEPS[asset]).astype("i8")
    return found


def _fee(rng: np.random.Generator, asset: Numbers) -> Numbers:
    found: Numbers = np.maximum(1, rng.lognormal(-7.5, 0.8, len(asset)) * 10.0 ** STEPS[asset]).astype("i8")
    return found


def _vary(rng: np.random.Generator, kind: Numbers, asset: Numbers) -> Numbers:
    """Turn some of the plain transfers into swaps, bridges, rewards, mints and burns."""
    draw = rng.random(len(kind))
    incoming = np.select([draw < 0.4, draw < 0.8, draw < 0.88, draw < 0.97], range(4), 4)
    outgoing = np.select([draw < 0.42, draw < 0.86, draw < 0.98], range(3), 3)
    arrives, leaves = kind == CODE[TransactionType.TRANSFER_IN], kind == CODE[TransactionType.TRANSFER_OUT]
    plain = ~EVM[CHAIN_OF[asset]] | (asset == SPAM)
    varied = np.where(arrives & ~plain, np.array([CODE[each] for each in INCOMING])[incoming], kind)
    varied = np.where(leaves & ~plain, np.array([CODE[each] for each in OUTGOING])[outgoing], varied)
    found: Numbers = varied
    return found


def _settle(ledger: Ledger) -> None:
    """Unsolicited tokens have no amount here: theirs may be beyond any machine word, and are written out as text."""
    spam = ledger.asset == SPAM
    ledger.amount[spam] = 0
    ledger.wallet[spam] = 0
    ledger.slots.wallet[ledger.slots.asset == SPAM] = 0


def _pass_on(rng: np.random.Generator, ledger: Ledger) -> None:
    """Let some transfers go to other users: one log, one row, and the other's slot of that asset comes to more from then on."""
    sent = np.flatnonzero((ledger.kind == CODE[TransactionType.TRANSFER_OUT]) & (rng.random(len(ledger.kind)) < 0.12))
    slots = ledger.slots
    order = np.argsort(slots.asset, kind="stable")
    starts = np.searchsorted(slots.asset[order], np.arange(len(ASSETS) + 1))
    asset = ledger.asset[sent]
    width = (starts[asset + 1] - starts[asset]).astype("i8")
    to = order[starts[asset] + (rng.random(len(sent)) * width).astype("i8")]
    other = slots.user[to] != ledger.user[sent]
    sent, to = sent[other], to[other]
    ledger.counterparty[sent] = to
    np.add.at(slots.wallet, to, ledger.amount[sent])


def _place_in_blocks(rng: np.random.Generator, ledger: Ledger, now: int) -> None:
    """Put movements into transactions and blocks; some of a user's on one chain, next to each other in time, share a transaction."""
    chain = CHAIN_OF[ledger.asset]
    order = np.lexsort((ledger.micros, chain, ledger.user))
    user, place = ledger.user[order], chain[order]
    joins = np.zeros(len(order), dtype=bool)
    joins[1:] = (user[1:] == user[:-1]) & (place[1:] == place[:-1]) & EVM[place[1:]] & (rng.random(max(0, len(order) - 1)) < 0.25)
    number = np.cumsum(~joins) - 1
    leader = np.flatnonzero(~joins)[number]
    height = heights_of(place, np.minimum(ledger.micros[order], now))[leader]
    ledger.transaction[order] = number
    ledger.height[order] = height
    ledger.micros[order] = times_of(place, height)
    ledger.log[order] = _positions(order, leader, ledger)


def _positions(order: Numbers, leader: Numbers, ledger: Ledger) -> Numbers:
    """Return positions in the transaction: -2 for a fee and -1 for its own value, each once; logs count on from the block's."""
    within = np.arange(len(order)) - leader
    base = order[leader] % 180 * 5
    found = base + within
    kind, native = ledger.kind[order], NATIVE[ledger.asset[order]]
    for position, special in ((-2, kind == CODE[TransactionType.FEE]), (-1, native & (kind != CODE[TransactionType.FEE]))):
        rows = np.flatnonzero(special)
        _, once = np.unique(leader[rows], return_index=True)
        found[rows[once]] = position
    positions: Numbers = found
    return positions


@dataclass(frozen=True, slots=True)
class Held:
    """What every slot had come to; `there` tells whether anything had moved in it yet."""

    there: Numbers
    wallet: Numbers
    placed: Numbers
    owed: Numbers


def held_at(ledger: Ledger, micros: int) -> Held:
    """Return what every slot had come to by an instant."""
    slots = ledger.slots
    second = 1_000_000
    key = ledger.slot * 2**32 + ledger.micros // second
    last = np.searchsorted(key, np.arange(len(slots)) * 2**32 + micros // second, side="right") - 1
    there = last >= slots.first
    wallet = np.where(there, ledger.wallet[last], 0)
    passed = np.flatnonzero((ledger.counterparty != NOBODY) & (ledger.micros // second <= micros // second))
    np.add.at(wallet, ledger.counterparty[passed], ledger.amount[passed])
    return Held(there, wallet, np.where(there, ledger.placed[last], 0), np.where(there, ledger.owed[last], 0))
