"""A beacon chain as its node tells of it, slot by slot and without end.

A block comes in nearly every slot, and with it what changed of the validators whose turn it is; over an epoch everybody has had theirs.
Duties of the epoch before follow when they are settled. Now and then the chain is left for another branch: the block that was its head
is taken back, with the reorg that says so, when the next one comes. Who misses three times in a row is alerted of, until it attests again.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.packs.sampling import Numbers, Tick, constant, floor_to, generator, microseconds, pc
from chainstrata.packs.validators.model import ValidatorStatus
from chainstrata.packs.validators.sample import (
    CODE,
    GENESIS,
    Duty,
    Proposals,
    Size,
    Validators,
    duty_columns,
    make_credentials,
    make_proposals,
    make_validators,
    proposal_rows,
    snapshot_columns,
    validator_rows,
)
from chainstrata.packs.validators.sample_alerts import Watch
from chainstrata.packs.validators.sample_chain import SLOTS_PER_EPOCH, Chain, make_chain, slot_micros

FEWEST = 120
FIRST_INDEX = 1_000_000
"""Far from the validators of a sample, so that both fit into one pack."""
OUTAGE_AFTER = 225
"""Epochs by whose two thirds an operator has had its outage."""
ROWS_EACH = 1.94
"""Rows of a validator in an epoch: a snapshot and a duty, while it is active."""


def stream(seed: int, start: datetime, rate: float) -> Iterator[Tick]:
    """Yield the slots from the one that `start` is in on, with as many validators as give about `rate` rows a second; equal arguments, equal rows."""
    genesis, slot_length = microseconds(GENESIS), slot_micros(1)
    first = floor_to(microseconds(start), slot_length, genesis)
    first_slot = (first - genesis) // slot_length
    size = Size(max(FEWEST, round(rate * slot_length / 1_000_000 * SLOTS_PER_EPOCH / ROWS_EACH)), 1, 0)
    rng = generator("validators", "stream", seed)
    before = _chain(seed, first_slot // SLOTS_PER_EPOCH - 1, "")
    people = make_validators(rng, size, before)
    people.index += FIRST_INDEX
    known = validator_rows(rng, people, before, make_credentials(rng, people))
    yield Tick(first, first, [("validators.validators", known)])
    for epoch in _epochs(rng, seed, people, before):
        for tick in epoch:
            if tick.start >= first:
                yield tick


def _chain(seed: int, epoch: int, parent: str) -> Chain:
    """Return the blocks of one epoch: the same for every stream of a seed, whatever it begins with and however many take part."""
    rng = np.random.default_rng([seed, epoch])
    chain = make_chain(rng, microseconds(GENESIS), (epoch + 1) * SLOTS_PER_EPOCH - 1, 1, int(rng.random() < 0.2))
    return replace(chain, before=parent or chain.before)


def _epochs(rng: np.random.Generator, seed: int, people: Validators, chain: Chain) -> Iterator[Iterator[Tick]]:
    """Yield the slots of every epoch after that of `chain`. Votes are settled two epochs later, as on the chain."""
    active = np.flatnonzero(people.status == CODE[ValidatorStatus.ACTIVE_ONGOING])
    sync = rng.choice(active, max(2, len(people) // 50_000), replace=False)
    duty, proposals = Duty(rng, people, OUTAGE_AFTER), make_proposals(rng, people, chain)
    votes = [duty.next(chain.first_epoch - 1), duty.next(chain.first_epoch)]
    watch = Watch(np.random.default_rng([seed, *b"alerts"]), people.index, chain.clock)
    for epoch in count(chain.first_epoch + 1):
        duties = duty_columns(rng, people, chain, epoch - 1, votes[-1])
        chain = _chain(seed, epoch, chain.root_at(int(chain.slots[-1])))
        votes.append(duty.next(epoch))
        slots = epoch * SLOTS_PER_EPOCH + people.index % SLOTS_PER_EPOCH
        settled = votes.pop(0)
        snapshots = snapshot_columns(rng, people, chain, epoch, slots, settled, proposals, sync)
        proposals = make_proposals(rng, people, chain)
        watch.note(epoch - 2, settled.active, settled.included)
        alerts = watch.take_news(int(chain.clock(epoch * SLOTS_PER_EPOCH)))
        yield _slots(chain, proposals, pa.table(snapshots), pa.table(duties), alerts)


def _slots(chain: Chain, proposals: Proposals, snapshots: Any, duties: Any, alerts: Any) -> Iterator[Tick]:
    """Yield what an epoch's chain, and the duties of the epoch before, give slot by slot; alerts come as the epoch begins."""
    blocks = chain.block_rows(proposals.slot, proposals.proposer)
    reorgs, proposed = chain.reorg_rows(), proposal_rows(proposals, chain)
    for slot in chain.slots.tolist():
        parts = (
            ("validators.blocks", _told_blocks(blocks, slot, chain.reorg_slots)),
            ("validators.reorgs", _of_slot(reorgs, slot)),
            ("validators.proposals", _of_slot(proposed, slot)),
            ("validators.snapshots", _of_slot(snapshots, slot)),
            ("validators.duties", _of_slot(duties, slot - SLOTS_PER_EPOCH)),
            ("validators.alerts", alerts if slot == chain.slots[0] else alerts.slice(0, 0)),
        )
        yield Tick(chain.clock(slot), chain.clock(slot + 1), [(name, rows) for name, rows in parts if rows.num_rows])


def _told_blocks(blocks: Any, slot: int, reorg_slots: Numbers) -> Any:
    """Return what is told of blocks in a slot: one that will be orphaned is the head still, one that was is taken back."""
    rows = _of_slot(blocks, slot)
    if slot in reorg_slots:
        rows = rows.set_column(rows.schema.get_field_index("canonical"), "canonical", constant(True, rows.num_rows))
    return pa.concat_tables([_of_slot(blocks, slot - 1), rows]) if slot - 1 in reorg_slots else rows


def _of_slot(rows: Any, slot: int) -> Any:
    return rows.filter(pc.equal(rows["slot"], slot))
