"""Blocks and transactions of the sampled UTXO chain, with one fork of two blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.packs.sampling import Numbers, Rows, constant, hex_texts, instants

SECOND = 1_000_000
COIN = 100_000_000
SUBSIDY = 50 * COIN
HALVING = 210_000
FORKED = 2
DEPTH = 6
"""Blocks on top of one that make it final."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The canonical blocks in order, then the blocks of the branch that lost."""

    height: Numbers
    hashes: Any
    previous: Any
    times: Numbers
    counts: Numbers
    canonical: Numbers
    fork: int
    """Height both branches share."""

    def __len__(self) -> int:
        return len(self.height)

    @property
    def final(self) -> Numbers:
        final: Numbers = self.canonical & (self.height <= self.height.max() - DEPTH)
        return final


def make_chain(rng: np.random.Generator, now: int, tip: int, blocks: int, transactions: int) -> Chain:
    """Return a chain whose newest block is at most as new as `now`, about ten minutes between two."""
    height = np.arange(tip - blocks + 1, tip + 1, dtype="i8")
    gaps = rng.exponential(600 * SECOND, blocks).astype("i8")
    gaps[-1] = 0
    times = (now - np.cumsum(gaps[::-1])[::-1]) // SECOND * SECOND
    # A header's time may be before that of the block it builds on.
    times[blocks // 2] = times[blocks // 2 - 1] - 30 * SECOND
    hashes = _block_hashes(rng, blocks + FORKED)
    at = blocks // 3
    before = _block_hashes(rng, 1)
    parents = np.concatenate([np.arange(-1, blocks - 1), [at, *range(blocks, blocks + FORKED - 1)]])
    known = pa.concat_arrays([hashes, before])
    lost = height[at] + 1 + np.arange(FORKED)
    return Chain(
        height=np.concatenate([height, lost]),
        hashes=hashes,
        previous=known.take(pa.array(np.where(parents < 0, len(hashes), parents))),
        times=np.concatenate([times, times[at] + 600 * SECOND * (1 + np.arange(FORKED))]),
        counts=np.maximum(1, rng.poisson(transactions, blocks + FORKED)),
        canonical=np.arange(blocks + FORKED) < blocks,
        fork=int(height[at]),
    )


def _block_hashes(rng: np.random.Generator, rows: int) -> Any:
    return hex_texts(rng, rows, 22, "0" * 20)


def block_rows(rng: np.random.Generator, chain: Chain) -> Any:
    """Return the blocks, those of the branch that lost too."""
    rows = len(chain)
    size = chain.counts * 400 + rng.integers(250, 900, rows)
    return pa.table(
        {
            "hash": chain.hashes,
            "height": chain.height,
            "previous_hash": chain.previous,
            "block_time": instants(chain.times),
            "version": rng.choice(np.array([0x20000000, 0x2001A000, 0x3FFFE000]), rows),
            "merkle_root": hex_texts(rng, rows, 32, ""),
            "nonce": rng.integers(0, 2**32, rows),
            "bits": constant("17020f79", rows),
            "difficulty": constant("136871328442031.1", rows).cast(pa.decimal128(20, 1)),
            "size": size,
            "stripped_size": size // 2,
            "weight": size // 2 * 3 + size,
            "transaction_count": chain.counts,
            "canonical": chain.canonical,
            "finalized": chain.final,
        }
    )


def reorg_rows(chain: Chain) -> Any:
    """Return the one change of branch there was: the chain had followed the blocks that lost."""
    winner = int(np.flatnonzero(chain.canonical & (chain.height == chain.fork + FORKED + 1))[0])
    return pa.table(
        {
            "old_tip": chain.hashes.slice(len(chain) - 1, 1),
            "new_tip": chain.hashes.slice(winner, 1),
            "fork_height": [chain.fork],
            "orphaned_blocks": pa.array([FORKED], pa.int32()),
            "adopted_blocks": pa.array([FORKED + 1], pa.int32()),
            "applied_at": instants(chain.times[winner : winner + 1] + 3 * SECOND),
        }
    )


def transaction_tables(rng: np.random.Generator, chain: Chain) -> Iterator[tuple[str, Any]]:
    """Yield the transactions of all blocks: a coinbase that collects the fees, then transfers of every size."""
    rows = Rows("insights.transactions")
    for block in range(len(chain)):
        rows.add(_transactions_of(rng, chain, block))
        yield from rows.full()
    yield from rows.rest()


def _transactions_of(rng: np.random.Generator, chain: Chain, block: int) -> dict[str, Any]:
    count, height = int(chain.counts[block]), int(chain.height[block])
    coinbase = np.arange(count) == 0
    inputs = np.where(coinbase, 0, rng.geometric(0.5, count)).astype("i4")
    outputs = (1 + rng.geometric(0.6, count)).astype("i4")
    virtual = 11 + 68 * inputs + 31 * outputs
    fee = np.where(coinbase, 0, np.rint(virtual * rng.lognormal(1.8, 0.9, count))).astype("i8")
    spent = np.where(coinbase, 0, fee + np.rint(COIN * rng.lognormal(-3, 2.5, count))).astype("i8")
    given = spent - fee
    given[0] = (SUBSIDY >> height // HALVING) + int(fee.sum())
    return {
        "txid": hex_texts(rng, count, 32, ""),
        "block_hash": constant(str(chain.hashes[block]), count),
        "block_time": instants(np.full(count, chain.times[block])),
        "height": np.full(count, height),
        "position": np.arange(count, dtype="i4"),
        "wtxid": hex_texts(rng, count, 32, ""),
        "version": np.full(count, 2),
        "lock_time": np.zeros(count, dtype="i8"),
        "size": virtual + 40 * inputs,
        "virtual_size": virtual,
        "weight": virtual * 4,
        "coinbase": coinbase,
        "input_count": inputs,
        "output_count": outputs,
        "input_sats": pa.array(spent, mask=coinbase),
        "output_sats": given,
        "fee_sats": pa.array(fee, mask=coinbase),
    }
