"""A reorg takes back exactly what was read from the branch that was left, whatever branches there are."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chainstrata.engines.postgres import Connection
from chainstrata.packs.validators.tables import attestation_duties, chain_blocks, proposals, validator_snapshots, validators
from tests.fixtures.rows import insert, refused

GENESIS = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
EPOCH_SLOTS = 4
PUBKEY = "0x" + "8a" * 48
CREDENTIALS = "0x01" + "0" * 62


def root(name: str) -> str:
    return "0x" + name.encode().hex().ljust(64, "0")


def at(slot: int) -> datetime:
    return GENESIS + timedelta(seconds=12 * slot)


async def add_block(connection: Connection, name: str, slot: int, parent: str, *, canonical: bool, finalized: bool = False) -> None:
    await insert(
        connection,
        chain_blocks,
        root=root(name),
        slot=slot,
        epoch=slot // EPOCH_SLOTS,
        ts=at(slot),
        parent_root=root(parent),
        proposer_index=slot,
        canonical=canonical,
        finalized=finalized,
    )


async def add_snapshot(connection: Connection, slot: int, block: str | None, validator: int = 1) -> None:
    epoch = slot // EPOCH_SLOTS
    read_from = root(block) if block else None
    values = {"validator_index": validator, "ts": at(slot), "slot": slot, "epoch": epoch, "balance": slot, "block_root": read_from}
    await insert(connection, validator_snapshots, **values)


@pytest.fixture
async def fork(rows: Connection) -> Connection:
    """Give a chain a-b-c-d with blocks x and y built on b, of which only the former is followed; a is final."""
    await add_block(rows, "a", 0, "-", canonical=True, finalized=True)
    for name, slot, parent in (("b", 5, "a"), ("c", 6, "b"), ("d", 8, "c")):
        await add_block(rows, name, slot, parent, canonical=True)
    for name, slot, parent in (("x", 7, "b"), ("y", 9, "x")):
        await add_block(rows, name, slot, parent, canonical=False)
    return rows


async def apply(connection: Connection, old: str, new: str) -> Any:
    return await connection.fetch_one("SELECT * FROM validators.apply_reorg(%(old)s, %(new)s)", {"old": root(old), "new": root(new)})


async def canonical(connection: Connection) -> set[str]:
    found = await connection.fetch_all("SELECT root FROM validators.chain_blocks WHERE canonical")
    return {row.root for row in found}


@pytest.mark.conforms("S0-59")
async def test_the_chain_moves_to_the_branch_of_the_new_head(fork: Connection) -> None:
    reorg = await apply(fork, "d", "y")
    assert await canonical(fork) == {root(name) for name in "abxy"}
    assert (reorg.ancestor_root, reorg.ancestor_slot, reorg.orphaned_blocks, reorg.depth) == (root("b"), 5, 2, 4)
    assert reorg.rewound_at is not None


@pytest.mark.conforms("S0-59")
async def test_snapshots_read_from_the_branch_left_are_removed_and_no_others(fork: Connection) -> None:
    for slot, block in ((5, "b"), (6, "c"), (7, "c"), (8, "d"), (9, None), (10, "y")):
        await add_snapshot(fork, slot, block)
    await add_snapshot(fork, 4, None)
    reorg = await apply(fork, "d", "y")
    left = await fork.fetch_all("SELECT slot FROM validators.validator_snapshots ORDER BY slot")
    assert ([row.slot for row in left], reorg.removed_rows) == ([4, 5, 10], 4)


@pytest.mark.conforms("S0-59")
async def test_rollups_learn_of_what_was_removed(fork: Connection) -> None:
    await add_snapshot(fork, 8, "d", validator=7)
    await fork.execute("DELETE FROM validators.validator_snapshots__dirty")
    await apply(fork, "d", "y")
    marks = await fork.fetch_all("SELECT validator_index, lo, hi FROM validators.validator_snapshots__dirty")
    assert [(row.validator_index, row.lo <= at(8) < row.hi) for row in marks] == [(7, True)]


@pytest.mark.conforms("S0-59")
async def test_inclusions_in_the_branch_left_are_reopened(fork: Connection) -> None:
    right = {"included": True, "correct_source": True, "correct_target": True, "correct_head": True}
    duties = {1: (5, 6, "c"), 2: (4, 5, "b"), 3: (4, 8, "d")}
    for validator, (slot, inclusion, block) in duties.items():
        where = {"validator_index": validator, "ts": at(4), "epoch": 1, "slot": slot, "inclusion_slot": inclusion}
        await insert(fork, attestation_duties, **where, block_root=root(block), **right)
    await apply(fork, "d", "y")
    found = await fork.fetch_all(
        "SELECT validator_index, included, inclusion_slot, block_root, miss_reason::text FROM validators.attestation_duties ORDER BY 1"
    )
    assert found == [(1, False, None, None, "not_included"), (2, True, 5, root("b"), None), (3, False, None, None, "not_included")]


@pytest.mark.conforms("S0-59")
async def test_proposals_are_lost_and_come_back(fork: Connection) -> None:
    await insert(fork, validators, validator_index=1)
    for slot, block in ((5, "b"), (6, "c"), (7, "x")):
        outcome = "orphaned" if block == "x" else "proposed"
        duty = {"slot": slot, "validator_index": 1, "ts": at(slot), "epoch": 1, "outcome": outcome, "block_root": root(block)}
        await insert(fork, proposals, **duty)
    outcomes = "SELECT slot, outcome::text FROM validators.proposals ORDER BY slot"
    await apply(fork, "d", "y")
    assert await fork.fetch_all(outcomes) == [(5, "proposed"), (6, "orphaned"), (7, "proposed")]
    await apply(fork, "y", "d")
    assert await fork.fetch_all(outcomes) == [(5, "proposed"), (6, "proposed"), (7, "orphaned")]


@pytest.mark.conforms("S0-59", "S0-09")
async def test_a_validator_gets_the_record_back_it_had_before(fork: Connection) -> None:
    known = {"pubkey": PUBKEY, "withdrawal_credentials": CREDENTIALS, "effective_balance": 32 * 10**9}
    await insert(fork, validators, validator_index=1, status="active_ongoing", slot=5, block_root=root("b"), name="kite", **known)
    await fork.execute(
        "UPDATE validators.validators SET status = 'active_slashed', slashed = true, exit_epoch = 9, slot = 8, block_root = %(root)s",
        {"root": root("d")},
    )
    await apply(fork, "d", "y")
    row = await fork.fetch_one("SELECT * FROM validators.validators")
    assert (row.status, row.slashed, row.exit_epoch, row.slot, row.block_root) == ("active_ongoing", False, None, 5, root("b"))
    assert (row.name, row.pubkey, row.effective_balance) == ("kite", PUBKEY, 32 * 10**9)
    assert await fork.fetch_all("SELECT slot FROM validators.validator_records") == [(5,)]


@pytest.mark.conforms("S0-59")
async def test_applying_a_reorg_again_changes_nothing(fork: Connection) -> None:
    first = await apply(fork, "d", "y")
    await add_block(fork, "z", 12, "y", canonical=True)
    await add_snapshot(fork, 12, "z")
    assert await apply(fork, "d", "y") == first
    assert await canonical(fork) == {root(name) for name in "abxyz"}
    assert await fork.fetch_value("SELECT count(*) FROM validators.validator_snapshots") == 1


@pytest.mark.conforms("S0-59")
async def test_what_the_node_told_of_a_reorg_stays_beside_what_was_found(fork: Connection) -> None:
    told = {"slot": 9, "old": root("d"), "new": root("y"), "depth": 3}
    await fork.execute(
        "INSERT INTO validators.reorgs (slot, old_head_block, new_head_block, epoch, depth) VALUES (%(slot)s, %(old)s, %(new)s, 2, %(depth)s)",
        told,
    )
    reorg = await apply(fork, "d", "y")
    assert (reorg.depth, reorg.ancestor_slot) == (3, 5)
    assert await fork.fetch_value("SELECT count(*) FROM validators.reorgs") == 1


async def test_a_branch_that_does_not_meet_the_chain_is_refused(fork: Connection) -> None:
    await add_block(fork, "s", 11, "not there", canonical=False)
    for head in ("s", "never heard of"):
        async with refused(fork, "reorg_branch_known"):
            await apply(fork, "d", head)
    assert await canonical(fork) == {root(name) for name in "abcd"}


async def test_a_final_block_is_never_left(fork: Connection) -> None:
    await add_snapshot(fork, 8, "d")
    assert await fork.fetch_value("SELECT validators.finalize_chain(%(root)s)", {"root": root("c")}) == 2
    async with refused(fork, "chain_blocks_final_is_canonical"):
        await apply(fork, "d", "y")
    assert await canonical(fork) == {root(name) for name in "abcd"}
    assert await fork.fetch_value("SELECT count(*) FROM validators.validator_snapshots") == 1
    assert await fork.fetch_value("SELECT validators.finalize_chain(%(root)s)", {"root": root("c")}) == 0


async def test_only_a_block_of_the_chain_can_become_final(fork: Connection) -> None:
    async with refused(fork, "finalized_is_canonical"):
        await fork.fetch_value("SELECT validators.finalize_chain(%(root)s)", {"root": root("y")})


async def test_a_slot_has_one_canonical_block(fork: Connection) -> None:
    async with refused(fork, "chain_blocks_canonical_slot_key"):
        await add_block(fork, "c2", 6, "b", canonical=True)
    await add_block(fork, "c2", 6, "b", canonical=False)


@dataclass
class Tree:
    """Blocks as plain Python keeps them."""

    parent: dict[str, str] = field(default_factory=dict)
    slot: dict[str, int] = field(default_factory=lambda: {"b0": 0})

    def chain(self, head: str) -> list[str]:
        chain = [head]
        while chain[-1] in self.parent:
            chain.append(self.parent[chain[-1]])
        return chain


@pytest.mark.conforms("S0-59")
@pytest.mark.parametrize("seed", range(12))
async def test_any_history_of_branches_leaves_what_plain_python_leaves(rows: Connection, seed: int) -> None:
    rng = random.Random(seed)
    tree, head = Tree(), "b0"
    snapshots: dict[int, str] = {}
    await add_block(rows, "b0", 0, "-", canonical=True, finalized=True)
    for number in range(1, 25):
        name = f"b{number}"
        on = head if rng.random() < 0.6 else rng.choice(list(tree.slot))
        tree.parent[name], tree.slot[name] = on, tree.slot[on] + rng.randint(1, 3)
        grows = on == head and rng.random() < 0.8
        await add_block(rows, name, tree.slot[name], on, canonical=grows)
        if grows:
            head = name
        elif rng.random() < 0.5 and tree.parent[name] != head:
            old, head = head, name
            await apply(rows, old, head)
            kept = set(tree.chain(head))
            snapshots = {slot: block for slot, block in snapshots.items() if block in kept}
        if rng.random() < 0.7 and tree.slot[head] not in snapshots:
            await add_snapshot(rows, tree.slot[head], head)
            snapshots[tree.slot[head]] = head
    assert await canonical(rows) == {root(name) for name in tree.chain(head)}
    found = await rows.fetch_all("SELECT slot, block_root FROM validators.validator_snapshots")
    assert {row.slot: row.block_root for row in found} == {slot: root(block) for slot, block in snapshots.items()}
