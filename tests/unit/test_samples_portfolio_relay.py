"""Sample data of portfolios and packets: the same for the same arguments, and true to what a ledger and a protocol allow."""

import hashlib
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib import import_module
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from chainstrata.model import Pack
from chainstrata.packs.portfolio import pack as portfolio
from chainstrata.packs.portfolio.model import PositionType, TransactionType
from chainstrata.packs.relay import pack as relay
from chainstrata.packs.relay.model import OperationStatus, PacketEvent, PacketStatus
from chainstrata.packs.relay.sample_network import bech32

ANCHOR = datetime(2026, 11, 20, 17, 31, 7, tzinfo=UTC)
PACKS = [pytest.param(pack, id=pack.name) for pack in (portfolio, relay)]


def make(pack: Pack, seed: int = 7, anchor: datetime = ANCHOR, scale: str = "small") -> dict[str, pa.Table]:
    pieces: dict[str, list[pa.Table]] = {}
    for name, table in import_module(f"{pack.package}.sample").make(scale, seed, anchor):
        pieces.setdefault(name, []).append(table)
    return {name: pa.concat_tables(tables) for name, tables in pieces.items()}


@pytest.fixture(scope="module")
def told() -> dict[str, pa.Table]:
    return make(portfolio) | make(relay)


@pytest.mark.conforms("S1-23")
@pytest.mark.parametrize("pack", PACKS)
def test_equal_arguments_give_equal_rows_and_others_do_not(pack: Pack, told: dict[str, pa.Table]) -> None:
    again, other, later = make(pack), make(pack, seed=8), make(pack, anchor=ANCHOR + timedelta(days=1))
    # Which chains and protocols there are does not depend on chance.
    fixed = {"portfolio.protocols", "relay.chains", "relay.channels"}
    for name, table in again.items():
        assert table.equals(told[name]), name
        assert name in fixed or not (table.equals(other[name]) or table.equals(later[name])), name


@pytest.mark.parametrize("pack", PACKS)
def test_every_dataset_has_rows_that_fit_its_columns(pack: Pack, told: dict[str, pa.Table]) -> None:
    for dataset in pack.datasets:
        table = told[dataset.full_name]
        settable = {column.name: column for column in dataset.table.c if column.computed is None}
        assert set(table.column_names) <= set(settable), dataset.full_name
        needed = {name for name, column in settable.items() if not column.nullable and column.server_default is None}
        assert needed <= set(table.column_names), dataset.full_name
        assert [name for name in table.column_names if table[name].null_count and not settable[name].nullable] == [], dataset.full_name
        keys = table.select(list(dataset.key))
        assert keys.group_by(list(dataset.key)).aggregate([]).num_rows == table.num_rows > 0, f"{dataset.full_name} repeats a key"


@pytest.mark.parametrize("pack", PACKS)
def test_nothing_is_later_than_the_anchor(pack: Pack, told: dict[str, pa.Table]) -> None:
    for dataset in pack.datasets:
        if dataset.time:
            newest = pc.max(told[dataset.full_name][dataset.time]).as_py()
            assert newest <= ANCHOR, dataset.full_name
            # Packets are given only where their events have left; the others follow from theirs.
            assert newest > ANCHOR - timedelta(days=3) or dataset.name == "packet_flow", dataset.full_name


@pytest.mark.parametrize(
    ("dataset", "column", "values"),
    [
        ("portfolio.transactions", "transaction_type", set(TransactionType)),
        ("portfolio.holdings", "position_type", set(PositionType) - {PositionType.REWARD}),
        ("relay.packet_events", "event_type", set(PacketEvent)),
        ("relay.packet_flow", "status", set(PacketStatus) - {PacketStatus.PENDING, PacketStatus.RECEIVED}),
        ("relay.clearing_operations", "status", set(OperationStatus)),
    ],
)
def test_every_state_comes_up(told: dict[str, pa.Table], dataset: str, column: str, values: set[StrEnum]) -> None:
    assert {value.value for value in values} <= set(pc.unique(told[dataset][column]).to_pylist())


def test_holdings_are_what_the_transactions_come_to_and_nobody_spends_what_is_not_there(told: dict[str, pa.Table]) -> None:
    balance: dict[tuple[str, ...], int] = defaultdict(int)
    for row in told["portfolio.transactions"].sort_by("block_timestamp").to_pylist():
        amount = int(row["amount"]) * TransactionType(row["transaction_type"]).direction
        balance[row["user_id"], row["wallet_address"], row["asset_id"]] += amount
        if row["counterparty_user_id"]:
            balance[row["counterparty_user_id"], row["counterparty_address"], row["asset_id"]] -= amount
    held = {
        (row["user_id"], row["wallet_address"], row["asset_id"]): int(row["amount"])
        for row in told["portfolio.holdings"].to_pylist()
        if row["position_type"] == PositionType.WALLET
    }
    assert held == balance
    assert min(held.values()) >= 0


def test_amounts_go_up_to_the_last_unit_of_256_bits(told: dict[str, pa.Table]) -> None:
    assert str(2**256 - 1) in told["portfolio.holdings"]["amount"].to_pylist()


def test_users_are_on_several_chains(told: dict[str, pa.Table]) -> None:
    by_user = Counter(told["portfolio.wallets"]["user_id"].to_pylist())
    assert sum(count > 1 for count in by_user.values()) > len(by_user) / 2


def test_a_transaction_is_in_one_block_and_holds_each_position_once(told: dict[str, pa.Table]) -> None:
    blocks: dict[tuple[str, str], set[Any]] = defaultdict(set)
    for row in told["portfolio.transactions"].to_pylist():
        blocks[row["chain"], row["tx_hash"]].add((row["block_hash"], row["block_number"], row["block_timestamp"]))
    assert max(map(len, blocks.values())) == 1
    assert len(blocks) < told["portfolio.transactions"].num_rows, "some transactions move several things"


def test_a_packet_is_sent_before_it_arrives_and_ends_once(told: dict[str, pa.Table]) -> None:
    lives: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in told["relay.packet_events"].sort_by("block_time").to_pylist():
        lives[row["src_chain_id"], row["src_channel"], row["sequence"]].append(row)
    for life in lives.values():
        kinds = [row["event_type"] for row in life if not row["redundant"]]
        assert life[0]["event_type"] == PacketEvent.SEND
        assert sorted(kinds) == sorted(set(kinds)), "each but the redundant ones happens once"
        assert (PacketEvent.RECEIVE in kinds) == (PacketEvent.WRITE_ACK in kinds)
        assert not {PacketEvent.ACKNOWLEDGE.value, PacketEvent.TIMEOUT.value} <= set(kinds)
        if PacketEvent.ACKNOWLEDGE in kinds:
            assert PacketEvent.RECEIVE in kinds
    ended = [{row["event_type"] for row in life} & {PacketEvent.ACKNOWLEDGE.value, PacketEvent.TIMEOUT.value} for life in lives.values()]
    assert 0.9 < sum(map(bool, ended)) / len(ended) < 1, "most have ended, some wait"


def test_sequences_of_a_channel_have_no_gap(told: dict[str, pa.Table]) -> None:
    sent: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in told["relay.packet_events"].to_pylist():
        if row["event_type"] == PacketEvent.SEND:
            sent[row["src_chain_id"], row["src_channel"]].append(row["sequence"])
    for numbers in sent.values():
        assert sorted(numbers) == list(range(min(numbers), max(numbers) + 1))


def test_relayers_differ(told: dict[str, pa.Table]) -> None:
    came: Counter[str] = Counter()
    late: Counter[str] = Counter()
    for row in told["relay.packet_events"].to_pylist():
        if row["event_type"] == PacketEvent.RECEIVE and row["chain_id"] == "osmosis-1":
            came[row["relayer"]] += 1
            late[row["relayer"]] += row["redundant"]
    shares = sorted(late[name] / count for name, count in came.items() if count > 50)
    assert shares[0] < 0.1
    assert shares[-1] > 0.5


def test_accounts_carry_the_checksum_wallets_ask_for() -> None:
    assert bech32("a", b"") == "a12uel5l"
    module = hashlib.sha256(b"bonded_tokens_pool").digest()[:20]
    assert bech32("cosmos", module) == "cosmos1fl48vsnmsdzcv85q5d2q4z5ajdha8yu34mf0eh"
