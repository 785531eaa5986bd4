"""What real nodes answered fits the tables, to the last digit. Set CHAINSTRATA_REAL_DATA to where the recorded answers are."""

import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from chainstrata import partitions
from chainstrata.engines.postgres import Database
from chainstrata.ingest import copy_rows, describe_table
from chainstrata.model import Catalog
from tools.tree import ROOT

REAL = Path(os.environ.get("CHAINSTRATA_REAL_DATA", ROOT.parent / "shared" / "data"))  # noqa: TID251
FAR_FUTURE = 2**64 - 1
COIN = 10**8


def read(name: str) -> Any:
    """Return a recorded answer; numbers with a point as decimals, never as floats."""
    path = REAL / name
    if not path.exists():
        pytest.skip(f"no recorded answers: {path.parent} is not there")
    return json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)


def beacon(name: str) -> Any:
    return read(f"beacon/{name}.json")["response"]


def slot_of(name: str) -> int:
    path = read(f"beacon/{name}.json")["path"]
    return int(next(part for part in path.split("/") if part.isdigit()))


def clock(slot: int) -> datetime:
    genesis, spec = beacon("genesis")["data"], beacon("spec")["data"]
    return datetime.fromtimestamp(int(genesis["genesis_time"]), UTC) + timedelta(seconds=int(spec["SECONDS_PER_SLOT"]) * slot)


def epoch(value: str) -> int | None:
    return None if int(value) == FAR_FUTURE else int(value)


EPOCHS = ("activation_eligibility_epoch", "activation_epoch", "exit_epoch", "withdrawable_epoch")


def validator_row(entry: dict[str, Any], state: dict[str, Any], slot: int) -> dict[str, Any]:
    own = entry["validator"]
    return {
        "validator_index": int(entry["index"]),
        "pubkey": own["pubkey"],
        "status": entry["status"],
        "withdrawal_credentials": own["withdrawal_credentials"],
        "effective_balance": int(own["effective_balance"]),
        "slashed": own["slashed"],
        **{name: epoch(own[name]) for name in EPOCHS},
        "slot": slot,
        "execution_optimistic": state["execution_optimistic"],
        "finalized": state["finalized"],
    }


def table(rows: list[dict[str, Any]]) -> Any:
    """Return rows as a table of exact types; a column of nothing but NULLs is one of whole numbers."""
    made = pa.Table.from_pylist(rows)
    return made.cast(pa.schema([field.with_type(pa.int64()) if pa.types.is_null(field.type) else field for field in made.schema]))


async def write(database: Database, catalog: Catalog, name: str, rows: list[dict[str, Any]]) -> None:
    dataset = catalog.dataset(name)
    if dataset.partitioned:
        times = [row[dataset.time] for row in rows]
        await partitions.ensure(database, dataset, min(times), max(times))
    async with database.transaction() as connection:
        where = await describe_table(connection, dataset.schema, dataset.table.name)
        await copy_rows(connection, where, table(rows))


@pytest.mark.conforms("S0-05", "S0-06", "S0-07", "S0-09")
async def test_a_whole_state_of_validators(packs: Database, catalog: Catalog) -> None:
    state, slot = beacon("validators"), slot_of("validators")
    rows = [validator_row(entry, state, slot) for entry in state["data"]]
    await write(packs, catalog, "validators.validators", rows)
    columns = ", ".join(rows[0])
    found = await packs.fetch_all(f"SELECT {columns} FROM validators.validators ORDER BY validator_index")
    assert [row._asdict() for row in found] == sorted(rows, key=lambda row: row["validator_index"])
    assert await packs.fetch_value("SELECT count(*) FROM validators.validator_records") == len(rows)
    kinds = {"0x00": "bls", "0x01": "execution", "0x02": "compounding"}
    counts: dict[str, int] = {}
    for row in rows:
        kind = kinds.get(row["withdrawal_credentials"][:4], "other")
        counts[kind] = counts.get(kind, 0) + 1
    by_kind = await packs.fetch_all("SELECT credential_type::text, count(*) FROM validators.validators GROUP BY credential_type")
    assert dict(by_kind) == counts


def snapshot_rows() -> list[dict[str, Any]]:
    """Return a snapshot of every validator, with what the epoch before the last one's attestations earned."""
    state, slot = beacon("validators"), slot_of("validators")
    rewards, rewards_epoch = beacon("attestation_rewards")["data"], slot_of("attestation_rewards")
    ideals = {entry["effective_balance"]: entry for entry in rewards["ideal_rewards"]}
    totals = {entry["validator_index"]: entry for entry in rewards["total_rewards"]}
    spec = beacon("spec")["data"]
    slots_per_epoch = int(spec.get("SLOTS_PER_EPOCH", 32))
    rows = []
    for entry in state["data"]:
        row: dict[str, Any] = {
            "validator_index": int(entry["index"]),
            "ts": clock(slot),
            "slot": slot,
            "epoch": slot // slots_per_epoch,
            "balance": int(entry["balance"]),
            "effective_balance": int(entry["validator"]["effective_balance"]),
            "status": entry["status"],
            "finalized": state["finalized"],
        }
        earned, ideal = totals.get(entry["index"]), ideals.get(entry["validator"]["effective_balance"])
        names = ("head", "target", "source")
        row |= {"rewards_epoch": rewards_epoch if earned else None, "reward_inactivity": int(earned["inactivity"]) if earned else None}
        row |= {f"reward_{name}": int(earned[name]) if earned else None for name in names}
        row |= {f"ideal_{name}": int(ideal[name]) if earned and ideal else None for name in names}
        rows.append(row)
    return rows


@pytest.mark.conforms("S0-12", "S0-13", "S0-15")
async def test_effectiveness_of_a_whole_epoch(packs: Database, catalog: Catalog) -> None:
    rows = {row["validator_index"]: row for row in snapshot_rows()}
    await write(packs, catalog, "validators.snapshots", list(rows.values()))
    found = await packs.fetch_all("SELECT * FROM validators.validator_snapshots")
    assert {row.validator_index: row.balance for row in found} == {index: row["balance"] for index, row in rows.items()}
    settled, earned_all, ideal_all = 0, 0, 0
    for row in found:
        told = rows[row.validator_index]
        if told["rewards_epoch"] is None:
            assert (row.earned_reward, row.effectiveness) == (None, None)
            continue
        earned = sum(told[f"reward_{name}"] for name in ("head", "target", "source", "inactivity"))
        ideal = sum(told[f"ideal_{name}"] for name in ("head", "target", "source"))
        assert (row.earned_reward, row.ideal_reward, row.effectiveness) == (earned, ideal, earned / ideal)
        settled, earned_all, ideal_all = settled + 1, earned_all + earned, ideal_all + ideal
    at = found[0].ts
    network = await packs.fetch_one(
        "SELECT sum(epochs) AS epochs, sum(earned_reward) / sum(ideal_reward) AS effectiveness"
        " FROM validators.effectiveness_between(%(at)s, %(at)s::timestamptz + interval '1 second')",
        {"at": at},
    )
    assert network.epochs == settled > 0
    assert abs(Fraction(network.effectiveness) - Fraction(earned_all, ideal_all)) < Fraction(1, 10**15)


async def test_blocks_and_proposals(packs: Database, catalog: Catalog) -> None:
    headers = [beacon(name) for name in ("header", "header_finalized")]
    rows = []
    for header in headers:
        message = header["data"]["header"]["message"]
        slot = int(message["slot"])
        rows.append(
            {
                "root": header["data"]["root"],
                "slot": slot,
                "epoch": slot // 32,
                "ts": clock(slot),
                "parent_root": message["parent_root"],
                "state_root": message["state_root"],
                "body_root": message["body_root"],
                "proposer_index": int(message["proposer_index"]),
                "canonical": header["data"]["canonical"],
                "finalized": header["finalized"] or header is headers[1],
                "execution_optimistic": header["execution_optimistic"],
            }
        )
    await write(packs, catalog, "validators.blocks", rows)
    duties = beacon("proposer_duties")
    followed = sorted({int(duty["validator_index"]) for duty in duties["data"]})
    await write(packs, catalog, "validators.validators", [{"validator_index": index} for index in followed])
    proposals = [
        {
            "slot": int(duty["slot"]),
            "validator_index": int(duty["validator_index"]),
            "ts": clock(int(duty["slot"])),
            "epoch": int(duty["slot"]) // 32,
            "dependent_root": duties["dependent_root"],
        }
        for duty in duties["data"]
    ]
    await write(packs, catalog, "validators.proposals", proposals)
    status = await packs.fetch_one("SELECT head_root, finalized_root FROM validators.chain_status")
    assert status == (rows[0]["root"], rows[1]["root"])
    matching = await packs.fetch_value(
        "SELECT count(*) FROM validators.proposals p JOIN validators.chain_blocks b USING (slot) WHERE p.validator_index = b.proposer_index"
    )
    known = {row["slot"]: row["proposer_index"] for row in rows}
    assert matching == sum(known.get(row["slot"]) == row["validator_index"] for row in proposals)


def sats(coins: Decimal) -> int:
    exact = coins * COIN
    assert exact == int(exact), f"{coins} has more than eight decimals"
    return int(exact)


def expected(name: str) -> list[dict[str, Any]]:
    path = REAL / "bitcoin" / name
    if not path.exists():
        pytest.skip(f"no recorded answers: {path.parent} is not there")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def bitcoin_blocks() -> list[dict[str, Any]]:
    paths = sorted((REAL / "bitcoin").glob("getblock_*_2.json"))
    if not paths:
        pytest.skip("no recorded answers: no getblock")
    return [read(str(path.relative_to(REAL))) for path in paths]


def block_row(block: dict[str, Any]) -> dict[str, Any]:
    return {
        "hash": block["hash"],
        "height": block["height"],
        "previous_hash": block.get("previousblockhash"),
        "block_time": datetime.fromtimestamp(block["time"], UTC),
        "median_time": datetime.fromtimestamp(block["mediantime"], UTC),
        "version": block["version"],
        "merkle_root": block["merkleroot"],
        "nonce": block["nonce"],
        "bits": block["bits"],
        "difficulty": str(block["difficulty"]),
        "chainwork": block["chainwork"],
        "size": block["size"],
        "stripped_size": block["strippedsize"],
        "weight": block["weight"],
        "transaction_count": len(block["tx"]),
        "coinbase_param": block["tx"][0]["vin"][0]["coinbase"],
        "output_sats": sum(sats(Decimal(out["value"])) for tx in block["tx"] for out in tx["vout"]),
        "canonical": block["confirmations"] >= 0,
    }


def transaction_row(block: dict[str, Any], position: int, tx: dict[str, Any]) -> dict[str, Any]:
    coinbase = "coinbase" in tx["vin"][0]
    return {
        "txid": tx["txid"],
        "block_hash": block["hash"],
        "block_time": datetime.fromtimestamp(block["time"], UTC),
        "height": block["height"],
        "position": position,
        "wtxid": tx["hash"],
        "version": tx["version"],
        "lock_time": tx["locktime"],
        "size": tx["size"],
        "virtual_size": tx["vsize"],
        "coinbase": coinbase,
        "input_count": 0 if coinbase else len(tx["vin"]),
        "output_count": len(tx["vout"]),
        "output_sats": sum(sats(Decimal(out["value"])) for out in tx["vout"]),
    }


async def test_blocks_and_transactions_of_bitcoin(packs: Database, catalog: Catalog) -> None:
    raw = bitcoin_blocks()
    await write(packs, catalog, "insights.blocks", [block_row(block) for block in raw])
    rows = [transaction_row(block, position, tx) for block in raw for position, tx in enumerate(block["tx"])]
    await write(packs, catalog, "insights.transactions", rows)
    blocks = {row.hash: row for row in await packs.fetch_all("SELECT * FROM insights.blocks")}
    for wanted in expected("expected_blocks.json"):
        row = blocks[wanted["hash"]]
        assert (row.height, row.size, row.stripped_size, row.weight) == tuple(
            wanted[name] for name in ("number", "size", "stripped_size", "weight")
        )
        assert (row.merkle_root, row.bits, row.coinbase_param) == (wanted["merkle_root"], wanted["bits"], wanted["coinbase_param"])
        assert (f"{row.nonce:x}", row.transaction_count) == (wanted["nonce"], wanted["transaction_count"])
        assert row.block_time.timestamp() == wanted["timestamp"]
    found = {row.txid: row for row in await packs.fetch_all("SELECT * FROM insights.chain_transactions")}
    for wanted in expected("expected_transactions.json"):
        row = found[wanted["hash"]]
        assert (row.height, row.block_hash, row.position) == (wanted["block_number"], wanted["block_hash"], wanted["index"])
        assert (row.output_sats, row.output_count, row.input_count) == (
            wanted["output_value"],
            wanted["output_count"],
            wanted["input_count"],
        )
        assert (row.coinbase, row.size, row.virtual_size) == (wanted["is_coinbase"], wanted["size"], wanted["virtual_size"])
    assert len(found) == len(rows)
