"""Sample data of the validators pack: an epoch by epoch account of a set of validators, up to an anchor in time.

Validators earn what the chain's rules pay, miss attestations in bursts and when their operator has an outage, propose, serve in a
sync committee, are swept, exit and get slashed. Blocks carry a few missed slots and short reorgs. Alerts follow from what happens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isqrt
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.packs.sampling import Numbers, Rows, chosen, constant, generator, hex_texts, instants, microseconds, of_scale
from chainstrata.packs.validators.model import ProposalOutcome, ValidatorStatus
from chainstrata.packs.validators.sample_alerts import Watch
from chainstrata.packs.validators.sample_chain import SLOTS_PER_EPOCH, Chain, make_chain, slot_micros

GENESIS = datetime(2020, 12, 1, 12, 0, 23, tzinfo=UTC)
ETH = 10**9
"""Gwei in an ether."""
ACTIVE_STAKE = 35_000_000 * ETH
BASE_REWARD = 64 * ETH // isqrt(ACTIVE_STAKE)
"""Gwei that an ether of effective balance is rewarded by in an epoch if all goes well, before the weights."""
SOURCE_WEIGHT, TARGET_WEIGHT, HEAD_WEIGHT, WEIGHTS = 14, 26, 14, 64
PARTICIPATION = 995
"""Per mille of the stake that votes as well: what the chain pays is scaled by it."""
HEARTBEAT_EPOCHS = 225
NEVER = np.iinfo(np.int64).max
STATUSES = list(ValidatorStatus)
CODE = {status: code for code, status in enumerate(STATUSES)}
OPERATORS = ("northwind", "lagoon", "stonepine", "halo-staking", "kite", "solo")
LABELS = ("institutional", "retail", "treasury")


@dataclass(frozen=True, slots=True)
class Size:
    validators: int
    epochs: int
    reorgs: int


SIZES = {"small": Size(120, 450, 2), "medium": Size(2_000, 675, 4), "large": Size(1_000_000, 3, 1)}
OTHER_STATUSES = {
    ValidatorStatus.PENDING_INITIALIZED: 0.002,
    ValidatorStatus.PENDING_QUEUED: 0.005,
    ValidatorStatus.ACTIVE_EXITING: 0.003,
    ValidatorStatus.ACTIVE_SLASHED: 0.0005,
    ValidatorStatus.EXITED_UNSLASHED: 0.004,
    ValidatorStatus.EXITED_SLASHED: 0.0005,
    ValidatorStatus.WITHDRAWAL_POSSIBLE: 0.003,
    ValidatorStatus.WITHDRAWAL_DONE: 0.02,
}
"""Share of the validators in each status but the usual; at least one is in each."""


@dataclass(slots=True)
class Validators:
    """Who takes part, one place in every array for each. Epochs that are not set are `NEVER`."""

    index: Numbers
    operator: Numbers
    label: Numbers
    credential: Numbers
    effective: Numbers
    balance: Numbers
    status: Numbers
    status_before: Numbers
    changed: Numbers
    eligible: Numbers
    activated: Numbers
    exits: Numbers
    withdrawable: Numbers

    def __len__(self) -> int:
        return len(self.index)

    def status_in(self, epoch: int) -> Numbers:
        return np.where(self.changed > epoch, self.status_before, self.status)


def make(scale: str, seed: int, anchor: datetime) -> Iterator[tuple[str, Any]]:
    """Yield (dataset, table), parents first; equal arguments, equal rows. Nothing is later than `anchor`."""
    size = of_scale(SIZES, scale)
    rng = generator("validators", scale, seed)
    head = (microseconds(anchor) - microseconds(GENESIS)) // slot_micros(1)
    chain = make_chain(rng, microseconds(GENESIS), head, size.epochs, size.reorgs)
    people = make_validators(rng, size, chain)
    proposals = make_proposals(rng, people, chain)
    credentials = make_credentials(rng, people)
    yield "validators.validators", validator_rows(rng, people, chain, credentials)
    yield "validators.records", _record_rows(people, chain, credentials)
    yield "validators.blocks", chain.block_rows(proposals.slot, proposals.proposer)
    yield "validators.reorgs", chain.reorg_rows()
    yield "validators.proposals", proposal_rows(proposals, chain)
    watch = Watch(rng, people.index, chain.clock)
    yield from _live(rng, people, chain, proposals, watch)
    watch.note_slashing(people.index[(people.status == CODE[ValidatorStatus.ACTIVE_SLASHED]) & (people.changed > 0)], chain.middle)
    watch.note_reorgs(chain.reorg_slots)
    yield "validators.alerts", watch.rows()


# Who takes part ------------------------------------------------------------------------------------------------------
def make_validators(rng: np.random.Generator, size: Size, chain: Chain) -> Validators:
    rows = size.validators
    operator = rng.choice(len(OPERATORS), rows, p=(0.34, 0.26, 0.16, 0.12, 0.08, 0.04))
    credential = rng.choice(3, rows, p=(0.04, 0.72, 0.24))
    stake = np.clip(np.rint(32 * rng.lognormal(1.2, 1.1, rows)), 33, 2048).astype("i8")
    effective = np.where(credential == 2, stake, 32) * ETH
    effective[np.argmax(effective)] = 2048 * ETH
    credential[np.argmax(effective)] = 2
    status = np.full(rows, CODE[ValidatorStatus.ACTIVE_ONGOING])
    order, at = rng.permutation(np.flatnonzero(effective <= 32 * ETH)), 0
    for other, share in OTHER_STATUSES.items():
        count = max(1, round(rows * share))
        status[order[at : at + count]] = CODE[other]
        at += count
    people = Validators(
        index=100_000 + np.arange(rows, dtype="i8"),
        operator=operator,
        label=rng.integers(0, len(LABELS), rows),
        credential=credential,
        effective=effective,
        balance=_first_balances(rng, credential, effective, status),
        status=status,
        status_before=status.copy(),
        changed=np.zeros(rows, dtype="i8"),
        eligible=rng.integers(0, chain.first_epoch // 2, rows),
        activated=np.zeros(rows, dtype="i8"),
        exits=np.full(rows, NEVER),
        withdrawable=np.full(rows, NEVER),
    )
    _set_epochs(people, chain)
    _change_two(people, chain)
    return people


def _first_balances(rng: np.random.Generator, credential: Numbers, effective: Numbers, status: Numbers) -> Numbers:
    above = np.choose(
        credential, (rng.integers(1, 5 * ETH, len(status)), rng.integers(1, ETH // 50, len(status)), rng.integers(1, ETH, len(status)))
    )
    balance = effective + above
    balance[np.isin(status, [CODE[ValidatorStatus.PENDING_INITIALIZED], CODE[ValidatorStatus.PENDING_QUEUED]])] = 32 * ETH
    balance[status == CODE[ValidatorStatus.WITHDRAWAL_DONE]] = 0
    return balance


def _set_epochs(people: Validators, chain: Chain) -> None:
    """Give every validator the epochs its status goes with."""
    first, last = chain.first_epoch, chain.last_epoch
    people.activated[:] = people.eligible + 20
    pending = people.status <= CODE[ValidatorStatus.PENDING_QUEUED]
    people.activated[pending] = NEVER
    people.eligible[people.status == CODE[ValidatorStatus.PENDING_INITIALIZED]] = NEVER
    people.eligible[people.status == CODE[ValidatorStatus.PENDING_QUEUED]] = first
    leaving = {
        ValidatorStatus.ACTIVE_EXITING: (last + 40, last + 296),
        ValidatorStatus.ACTIVE_SLASHED: (last + 5, last + 8192),
        ValidatorStatus.EXITED_UNSLASHED: (first - 20, last + 200),
        ValidatorStatus.EXITED_SLASHED: (first - 300, last + 5000),
        ValidatorStatus.WITHDRAWAL_POSSIBLE: (first - 500, first - 244),
        ValidatorStatus.WITHDRAWAL_DONE: (first - 3000, first - 2744),
    }
    for status, (exits, withdrawable) in leaving.items():
        mine = people.status == CODE[status]
        people.exits[mine], people.withdrawable[mine] = exits, withdrawable
    people.effective[people.status == CODE[ValidatorStatus.WITHDRAWAL_DONE]] = 0


def _change_two(people: Validators, chain: Chain) -> None:
    """Let one validator be slashed in the middle of the time told of, and one leave."""
    slashed = np.argmax(people.status == CODE[ValidatorStatus.ACTIVE_SLASHED])
    left = np.argmax(people.status == CODE[ValidatorStatus.EXITED_UNSLASHED])
    people.status_before[slashed], people.changed[slashed] = CODE[ValidatorStatus.ACTIVE_ONGOING], chain.middle
    people.status_before[left], people.changed[left] = CODE[ValidatorStatus.ACTIVE_EXITING], chain.middle
    people.exits[left] = chain.middle


def _epochs(values: Numbers) -> Any:
    return pa.array(values, pa.int64(), mask=values == NEVER)


def _life(people: Validators, chosen_rows: Numbers) -> dict[str, Any]:
    return {
        "activation_eligibility_epoch": _epochs(people.eligible[chosen_rows]),
        "activation_epoch": _epochs(people.activated[chosen_rows]),
        "exit_epoch": _epochs(people.exits[chosen_rows]),
        "withdrawable_epoch": _epochs(people.withdrawable[chosen_rows]),
    }


def make_credentials(rng: np.random.Generator, people: Validators) -> Any:
    """Return withdrawal credentials: a hash behind 0x00, or a byte of kind and an address."""
    tails = hex_texts(rng, len(people), 20, "").to_pylist()
    heads = ("0x00" + "5a" * 11, "0x01" + "0" * 22, "0x02" + "0" * 22)
    return pa.array([heads[kind] + tail for kind, tail in zip(people.credential.tolist(), tails, strict=True)])


def validator_rows(rng: np.random.Generator, people: Validators, chain: Chain, credentials: Any) -> Any:
    rows = len(people)
    slot = np.maximum(people.changed, chain.first_epoch) * SLOTS_PER_EPOCH
    names = [f"{OPERATORS[code]}-{number:06d}" for number, code in enumerate(people.operator.tolist())]
    return pa.table(
        {
            "validator_index": people.index,
            "pubkey": hex_texts(rng, rows, 48),
            "name": pa.array(names, mask=people.operator == len(OPERATORS) - 1),
            "operator": chosen(people.operator, OPERATORS),
            "label": chosen(people.label, LABELS),
            "status": chosen(people.status, ValidatorStatus),
            "withdrawal_credentials": credentials,
            "effective_balance": people.effective,
            "slashed": np.isin(people.status, [CODE[ValidatorStatus.ACTIVE_SLASHED], CODE[ValidatorStatus.EXITED_SLASHED]]),
            **_life(people, np.arange(rows)),
            "metadata": chosen(people.label, ['{"client": "lighthouse"}', '{"client": "teku"}', '{"client": "prysm"}']),
            "slot": slot,
            "block_root": chain.roots_at(slot),
            "finalized": slot <= chain.final_slot,
        }
    )


def _record_rows(people: Validators, chain: Chain, credentials: Any) -> Any:
    """Return the records from before the changes; the present ones follow from the validators themselves."""
    mine = np.flatnonzero(people.changed > 0)
    slot = np.full(len(mine), chain.first_epoch * SLOTS_PER_EPOCH)
    life = _life(people, mine)
    slashed = people.status[mine] == CODE[ValidatorStatus.ACTIVE_SLASHED]
    for name in ("exit_epoch", "withdrawable_epoch"):
        life[name] = pa.array(life[name].to_pylist(), pa.int64(), mask=slashed)
    return pa.table(
        {
            "validator_index": people.index[mine],
            "slot": slot,
            "status": chosen(people.status_before[mine], ValidatorStatus),
            "slashed": np.zeros(len(mine), dtype=bool),
            "withdrawal_credentials": credentials.take(pa.array(mine)),
            **life,
            "block_root": chain.roots_at(slot),
            "finalized": constant(True, len(mine)),
        }
    )


# Proposals -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Proposals:
    slot: Numbers
    place: Numbers
    proposer: Numbers
    outcome: Numbers
    reward: Numbers


def make_proposals(rng: np.random.Generator, people: Validators, chain: Chain) -> Proposals:
    """Let followed validators propose about as often as their share of the chain says, in some missed and lost slots too."""
    share = min(1.0, len(people) / max(len(people), 20_000))
    mine = rng.random(len(chain.slots)) < share
    mine[0] = False
    mine |= np.isin(chain.slots, chain.reorg_slots)
    mine[np.flatnonzero(chain.missed & ~np.isin(chain.slots, chain.reorg_slots))[:1]] = True
    slot = chain.slots[mine]
    place = rng.choice(np.flatnonzero(people.status == CODE[ValidatorStatus.ACTIVE_ONGOING]), len(slot))
    outcome = np.where(
        chain.missed[mine], list(ProposalOutcome).index(ProposalOutcome.MISSED), list(ProposalOutcome).index(ProposalOutcome.PROPOSED)
    )
    outcome[np.isin(slot, chain.reorg_slots)] = list(ProposalOutcome).index(ProposalOutcome.ORPHANED)
    reward = rng.normal(40_000_000, 3_000_000, len(slot)).astype("i8")
    return Proposals(slot, place, people.index[place], outcome, reward)


def proposal_rows(proposals: Proposals, chain: Chain) -> Any:
    paid = proposals.outcome == list(ProposalOutcome).index(ProposalOutcome.PROPOSED)
    sync = proposals.reward // 8
    nothing = np.zeros(len(paid), dtype="i8")
    return pa.table(
        {
            "slot": proposals.slot,
            "validator_index": proposals.proposer,
            "ts": instants(chain.clock(proposals.slot)),
            "epoch": proposals.slot // SLOTS_PER_EPOCH,
            "outcome": chosen(proposals.outcome, ProposalOutcome),
            "reward_total": pa.array(proposals.reward, mask=~paid),
            "reward_attestations": pa.array(proposals.reward - sync, mask=~paid),
            "reward_sync_aggregate": pa.array(sync, mask=~paid),
            "reward_proposer_slashings": pa.array(nothing, mask=~paid),
            "reward_attester_slashings": pa.array(nothing, mask=~paid),
            "block_root": chain.proposed_roots(proposals.slot),
            "finalized": proposals.slot <= chain.final_slot,
        }
    )


# Epoch by epoch ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Votes:
    """What became of one epoch's attestations."""

    active: Numbers
    included: Numbers
    source: Numbers
    target: Numbers
    head: Numbers
    distance: Numbers


class Duty:
    """Decides epoch by epoch who attests, and how well: single misses, bursts, and outages of a whole operator."""

    def __init__(self, rng: np.random.Generator, people: Validators, epochs: int) -> None:
        self._rng = rng
        self._people = people
        self._down_until = np.zeros(len(people), dtype="i8")
        self._outage = int(epochs * 0.7)
        self._passed = 0

    def next(self, epoch: int) -> Votes:
        rng, people, rows = self._rng, self._people, len(self._people)
        bursts = np.flatnonzero(rng.random(rows) < 0.0008)
        self._down_until[bursts] = epoch + rng.geometric(1 / 7, len(bursts))
        if self._passed == self._outage:
            self._down_until[people.operator == 2] = epoch + 9
        self._passed += 1
        active = (people.activated <= epoch) & (epoch < people.exits)
        slashed = (people.status == CODE[ValidatorStatus.ACTIVE_SLASHED]) & (people.changed <= epoch)
        included = active & ~slashed & (self._down_until <= epoch) & (rng.random(rows) > 0.003)
        late = rng.random(rows) < 0.012
        distance = np.where(late, 1 + rng.geometric(0.5, rows), 1)
        target = included & (rng.random(rows) > 0.001)
        return Votes(active, included, included, target, target & (rng.random(rows) > 0.01), np.minimum(distance, 30))


def _live(rng: np.random.Generator, people: Validators, chain: Chain, proposals: Proposals, watch: Watch) -> Iterator[tuple[str, Any]]:
    """Yield snapshots and duties of every epoch. An epoch's votes are settled two epochs later, as on the chain."""
    snapshots, duties = Rows("validators.snapshots"), Rows("validators.duties")
    sync = rng.choice(np.flatnonzero(people.status == CODE[ValidatorStatus.ACTIVE_ONGOING]), max(2, len(people) // 50_000), replace=False)
    duty = Duty(rng, people, len(chain.epochs))
    pending = [duty.next(chain.first_epoch - 2), duty.next(chain.first_epoch - 1)]
    for epoch in chain.epochs.tolist():
        pending.append(duty.next(epoch))
        settled = pending.pop(0)
        slots = np.full(len(people), epoch * SLOTS_PER_EPOCH)
        snapshots.add(snapshot_columns(rng, people, chain, epoch, slots, settled, proposals, sync))
        watch.note(epoch - 2, settled.active, settled.included)
        if epoch < chain.last_epoch:
            duties.add(duty_columns(rng, people, chain, epoch, pending[-1]))
        yield from snapshots.full()
        yield from duties.full()
    yield from snapshots.rest()
    yield from duties.rest()


def _rewards(people: Validators, votes: Votes) -> dict[str, Numbers]:
    """Return what an epoch's votes earned and could have, by the chain's rules: a missed source or target costs its weight."""
    base = people.effective // ETH * BASE_REWARD
    ideal = {
        name: base * weight * PARTICIPATION // (WEIGHTS * 1000)
        for name, weight in (("head", HEAD_WEIGHT), ("target", TARGET_WEIGHT), ("source", SOURCE_WEIGHT))
    }
    in_time = votes.distance <= 5
    return {
        "reward_head": np.where(votes.head & (votes.distance == 1), ideal["head"], 0),
        "reward_target": np.where(votes.target, ideal["target"], -(base * TARGET_WEIGHT // WEIGHTS)),
        "reward_source": np.where(votes.source & in_time, ideal["source"], -(base * SOURCE_WEIGHT // WEIGHTS)),
        "reward_inactivity": np.zeros(len(people), dtype="i8"),
        **{f"ideal_{name}": values for name, values in ideal.items()},
    }


def snapshot_columns(
    rng: np.random.Generator,
    people: Validators,
    chain: Chain,
    epoch: int,
    slots: Numbers,
    votes: Votes,
    proposals: Proposals,
    sync: Numbers,
) -> dict[str, Any]:
    """Return what an epoch changes of validators, each read in a slot of its own. Their balances are changed by it."""
    rewards = _rewards(people, votes)
    earned = rewards["reward_head"] + rewards["reward_target"] + rewards["reward_source"]
    people.balance += np.where(votes.active, earned, 0)
    proposed, missed, proposer_reward = _blocks_of(people, proposals, epoch)
    sync_reward = np.zeros(len(people), dtype="i8")
    sync_reward[sync] = 20_300 * (SLOTS_PER_EPOCH - 2 * rng.binomial(SLOTS_PER_EPOCH, 0.01, len(sync)))
    people.balance += proposer_reward + sync_reward
    slashed_now = (people.changed == epoch) & (people.status == CODE[ValidatorStatus.ACTIVE_SLASHED])
    people.balance -= np.where(slashed_now, people.effective // 4096, 0)
    swept = (people.credential == 1) & votes.active & (people.balance > 32 * ETH) & (rng.random(len(people)) < 1 / 2025)
    people.balance[swept] = 32 * ETH
    beat = (people.index + epoch) % HEARTBEAT_EPOCHS == 0
    shown = np.flatnonzero(votes.active | beat | (people.changed == epoch) | (epoch == chain.first_epoch))
    idle = ~votes.active[shown]
    rows, slot = len(shown), slots[shown]
    counts = {"due_attestations": votes.active, "missed_attestations": votes.active & ~votes.included}
    happened = {"proposer_reward": proposer_reward, "proposed_blocks": proposed, "missed_blocks": missed}
    return {
        "validator_index": people.index[shown],
        "ts": instants(chain.clock(slot)),
        "slot": slot,
        "epoch": np.full(rows, epoch),
        "balance": people.balance[shown],
        "effective_balance": people.effective[shown],
        "status": chosen(people.status_in(epoch)[shown], ValidatorStatus),
        "finalized": slot <= chain.final_slot,
        "block_root": chain.roots_at(slot),
        "rewards_epoch": pa.array(np.full(rows, epoch - 2), mask=idle),
        **{name: pa.array(values[shown], mask=idle) for name, values in rewards.items()},
        **{name: pa.array(values[shown].astype("i2"), mask=idle) for name, values in counts.items()},
        **{name: pa.array(values[shown], mask=idle | (proposed + missed == 0)[shown]) for name, values in happened.items()},
        "sync_reward": pa.array(sync_reward[shown], mask=(sync_reward == 0)[shown]),
    }


def _blocks_of(people: Validators, proposals: Proposals, epoch: int) -> tuple[Numbers, Numbers, Numbers]:
    """Return blocks proposed, missed, and what the former earned, since the snapshot of the epoch before."""
    mine = proposals.slot // SLOTS_PER_EPOCH == epoch - 1
    made = mine & (proposals.outcome == list(ProposalOutcome).index(ProposalOutcome.PROPOSED))
    proposed, missed = np.zeros(len(people), dtype="i2"), np.zeros(len(people), dtype="i2")
    reward = np.zeros(len(people), dtype="i8")
    np.add.at(proposed, proposals.place[made], 1)
    np.add.at(missed, proposals.place[mine & ~made], 1)
    np.add.at(reward, proposals.place[made], proposals.reward[made])
    return proposed, missed, reward


def duty_columns(rng: np.random.Generator, people: Validators, chain: Chain, epoch: int, votes: Votes) -> dict[str, Any]:
    mine = np.flatnonzero(votes.active)
    rows, first = len(mine), epoch * SLOTS_PER_EPOCH
    slot = first + rng.permutation(rows) % SLOTS_PER_EPOCH
    included = votes.included[mine]
    inclusion = slot + votes.distance[mine]
    seen = included | (rng.random(rows) < 0.2)
    return {
        "validator_index": people.index[mine],
        "ts": instants(np.full(rows, chain.clock(first))),
        "epoch": np.full(rows, epoch),
        "slot": slot,
        "committee_index": (np.arange(rows) // SLOTS_PER_EPOCH % 64).astype("i4"),
        "committee_position": (np.arange(rows) // SLOTS_PER_EPOCH // 64).astype("i4"),
        "status": chosen(people.status_in(epoch)[mine], ValidatorStatus),
        "seen": seen,
        "included": included,
        "inclusion_slot": pa.array(inclusion, mask=~included),
        "correct_source": pa.array(votes.source[mine], mask=~included),
        "correct_target": pa.array(votes.target[mine], mask=~included),
        "correct_head": pa.array(votes.head[mine], mask=~included),
        "block_root": chain.roots_at(inclusion, ~included),
        "finalized": np.full(rows, first + 2 * SLOTS_PER_EPOCH <= chain.final_slot),
    }
