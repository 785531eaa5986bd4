"""Blocks of the sampled beacon chain, with missed slots and short reorgs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.packs.sampling import Numbers, constant, hex_texts, instants

SLOTS_PER_EPOCH = 32
SECONDS_PER_SLOT = 12
FINALITY_EPOCHS = 2


def slot_micros(slots: Any) -> Any:
    """Return how long so many slots last, in microseconds."""
    return slots * SECONDS_PER_SLOT * 1_000_000


@dataclass(frozen=True, slots=True)
class Chain:
    """One place in every array for each slot. `roots` has one root for each, of which the missed slots' are not used."""

    genesis: int
    epochs: Numbers
    slots: Numbers
    missed: Numbers
    roots: Any
    states: Any
    orphans: Any
    reorg_slots: Numbers
    before: str
    proposers: Numbers

    @property
    def first_epoch(self) -> int:
        return int(self.epochs[0])

    @property
    def last_epoch(self) -> int:
        return int(self.epochs[-1])

    @property
    def middle(self) -> int:
        """The epoch in the middle of the time told of."""
        return int(self.epochs[len(self.epochs) // 2])

    @property
    def final_slot(self) -> int:
        return (self.last_epoch - FINALITY_EPOCHS) * SLOTS_PER_EPOCH

    def clock(self, slots: Any) -> Any:
        """Return when slots start, in microseconds since 1970."""
        return self.genesis + slot_micros(slots)

    def _latest(self, slots: Any) -> Numbers:
        """Return the place of the newest canonical block at or before each slot."""
        newest: Numbers = np.maximum.accumulate(np.where(self.missed, 0, np.arange(len(self.slots))))
        found: Numbers = newest[np.clip(np.asarray(slots) - self.slots[0], 0, len(self.slots) - 1)]
        return found

    def roots_at(self, slots: Any, null: Any = None) -> Any:
        """Return the roots of the states at some slots: of the newest canonical block of each."""
        return self.roots.take(pa.array(self._latest(slots), mask=null))

    def root_at(self, slot: int) -> str:
        return str(self.roots[int(self._latest(slot))])

    def proposed_roots(self, slots: Numbers) -> Any:
        """Return what was proposed in some slots: the canonical block, the orphan, or nothing."""
        place = slots - self.slots[0]
        lost = np.searchsorted(self.reorg_slots, slots)
        orphaned = np.isin(slots, self.reorg_slots)
        both = pa.concat_arrays([self.roots, self.orphans])
        return both.take(pa.array(np.where(orphaned, len(self.slots) + lost, place), mask=self.missed[place] & ~orphaned))

    def _parents(self, slots: Numbers) -> Any:
        place = slots - self.slots[0]
        latest = self._latest(slots - 1)
        known = pa.concat_arrays([self.roots, pa.array([self.before])])
        return known.take(pa.array(np.where(place > 0, latest, len(self.slots))))

    def block_rows(self, followed_slots: Numbers, followed: Numbers) -> Any:
        """Return all blocks, orphans too; some slots are of proposers that are followed."""
        proposers = self.proposers.copy()
        proposers[followed_slots - self.slots[0]] = followed
        there = ~self.missed
        lost = self.reorg_slots - self.slots[0]
        slot = np.concatenate([self.slots[there], self.reorg_slots])
        rows = len(slot)
        canonical = np.arange(rows) < rows - len(lost)
        return pa.table(
            {
                "root": pa.concat_arrays([self.roots.filter(pa.array(there)), self.orphans]),
                "slot": slot,
                "epoch": slot // SLOTS_PER_EPOCH,
                "ts": instants(self.clock(slot)),
                "parent_root": self._parents(slot),
                "state_root": self.states.take(pa.array(slot - self.slots[0])),
                "proposer_index": np.concatenate([proposers[there], proposers[lost]]),
                "canonical": canonical,
                "finalized": canonical & (slot <= self.final_slot),
            }
        )

    def reorg_rows(self) -> Any:
        """Return the reorgs: a block came late, the next one was built past it."""
        after = self.reorg_slots + 1
        ancestor = self._latest(self.reorg_slots)
        rows = len(after)
        return pa.table(
            {
                "slot": after,
                "old_head_block": self.orphans,
                "new_head_block": self.roots.take(pa.array(after - self.slots[0])),
                "epoch": after // SLOTS_PER_EPOCH,
                "depth": after - self.slots[ancestor],
                "detected_at": instants(self.clock(after) + 4_000_000),
                "ancestor_slot": self.slots[ancestor],
                "ancestor_root": self.roots.take(pa.array(ancestor)),
                "orphaned_blocks": constant(1, rows, pa.int32()),
                "removed_rows": np.zeros(rows, dtype="i8"),
                "rewound_at": instants(self.clock(after) + 4_200_000),
            }
        )


def make_chain(rng: np.random.Generator, genesis: int, head: int, epochs: int, reorgs: int) -> Chain:
    """Return the chain of so many epochs up to a head slot. The first and last slots of an epoch and the head always have a block."""
    last = head // SLOTS_PER_EPOCH
    first = last - epochs + 1
    slots = np.arange(first * SLOTS_PER_EPOCH, head + 1, dtype="i8")
    inner = (slots % SLOTS_PER_EPOCH > 1) & (slots % SLOTS_PER_EPOCH < SLOTS_PER_EPOCH - 1) & (slots < head)
    missed = inner & (rng.random(len(slots)) < 0.01)
    able = np.flatnonzero(inner & ~missed & ~np.roll(missed, -1) & ~np.roll(missed, 1))
    lost = np.sort(rng.choice(able, min(reorgs, len(able)), replace=False))
    lost = lost[np.concatenate([[True], np.diff(lost) > 2])] if len(lost) else lost
    missed[lost] = True
    return Chain(
        genesis=genesis,
        epochs=np.arange(first, last + 1, dtype="i8"),
        slots=slots,
        missed=missed,
        roots=hex_texts(rng, len(slots), 32),
        states=hex_texts(rng, len(slots), 32),
        orphans=hex_texts(rng, len(lost), 32),
        reorg_slots=slots[lost],
        before=str(hex_texts(rng, 1, 32)[0]),
        proposers=rng.integers(1_200_000, 2_000_000, len(slots)),
    )
