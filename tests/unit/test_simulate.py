"""Streams: the same for the same arguments, at their rate, true to what they tell of; and what is done to their rows on the way."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import islice, pairwise, takewhile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from chainstrata.errors import UsageError
from chainstrata.model import Catalog
from chainstrata.packs import load_catalog
from chainstrata.packs.sampling import Tick, instants
from chainstrata.simulate import Options, packs_with_streams
from chainstrata.simulate.planner import LATEST, Batch, Kind, Series, plan

START = datetime(2026, 11, 20, 17, 31, 7, tzinfo=UTC)
CATALOG: Catalog = load_catalog()
PACKS = packs_with_streams(CATALOG)
SECOND = 1_000_000


def stream(pack: str, seed: int = 3, rate: float = 300, seconds: float = 120, start: datetime = START) -> list[Tick]:
    ticks = import_module(f"chainstrata.packs.{pack}.stream").stream(seed, start, rate)
    first = next(ticks)
    return [first, *takewhile(lambda tick: tick.start < first.start + seconds * SECOND, ticks)]


def rows_of(ticks: list[Tick]) -> dict[str, Any]:
    pieces: dict[str, list[Any]] = {}
    for tick in ticks:
        for name, rows in tick.tables:
            pieces.setdefault(name, []).append(rows)
    return {name: pa.concat_tables(tables) for name, tables in pieces.items()}


def test_every_pack_has_a_stream() -> None:
    assert [pack.name for pack in CATALOG.packs if pack.name != "strata"] == PACKS


@pytest.mark.parametrize("pack", PACKS)
def test_equal_arguments_give_equal_rows_and_another_seed_others(pack: str) -> None:
    one, again, other = (rows_of(stream(pack, seed)) for seed in (3, 3, 4))
    assert one.keys() == again.keys()
    assert [name for name in one if not one[name].equals(again[name])] == []
    fixed = {"relay.chains", "relay.channels", "portfolio.protocols"}
    assert [name for name in one if name not in fixed and name in other and one[name].equals(other[name])] == []


@pytest.mark.parametrize("pack", PACKS)
def test_a_stream_gives_the_rows_a_second_it_is_asked_for(pack: str) -> None:
    ticks = [tick for tick in stream(pack, rate=400, seconds=390) if tick.end > tick.start]
    rows = sum(rows.num_rows for tick in ticks for _, rows in tick.tables)
    seconds = (ticks[-1].end - ticks[0].start) / SECOND
    assert rows / seconds == pytest.approx(400, rel=0.05)


@pytest.mark.parametrize("pack", PACKS)
def test_ticks_follow_each_other_and_hold_rows_that_fit_their_tables(pack: str) -> None:
    ticks = stream(pack)
    timed = [tick for tick in ticks if tick.end > tick.start]
    assert all(one.end == next_.start for one, next_ in pairwise(timed))
    assert 0 <= START.timestamp() * SECOND - timed[0].start < 61 * SECOND
    for name, rows in rows_of(ticks).items():
        dataset = CATALOG.dataset(name)
        settable = {column.name: column for column in dataset.table.c if column.computed is None}
        assert set(rows.column_names) <= set(settable), name
        needed = {column.name for column in settable.values() if not column.nullable and column.server_default is None}
        assert needed <= set(rows.column_names), name
        assert [column for column in rows.column_names if rows[column].null_count and not settable[column].nullable] == [], name
        if dataset.partitioned:
            keys = rows.select(list(dataset.key))
            assert keys.group_by(list(dataset.key)).aggregate([]).num_rows == rows.num_rows, f"{name} repeats a key"


# Validators ----------------------------------------------------------------------------------------------------------
def test_a_chain_is_told_slot_by_slot_and_leaves_a_branch_now_and_then() -> None:
    told = rows_of(stream("validators", rate=5, seconds=40 * 384))
    blocks = told["validators.blocks"].to_pylist()
    heads = {}
    for block in blocks:
        heads[block["root"]] = block
    canonical = sorted((block for block in heads.values() if block["canonical"]), key=lambda block: block["slot"])
    for parent, block in pairwise(canonical):
        assert block["parent_root"] == parent["root"], block["slot"]
    reorgs = told["validators.reorgs"].to_pylist()
    assert reorgs
    for reorg in reorgs:
        # First it was the head, then it was taken back, by the block of the reorg's slot.
        assert [block["canonical"] for block in blocks if block["root"] == reorg["old_head_block"]] == [True, False]
        assert heads[reorg["new_head_block"]]["slot"] == reorg["slot"]
    snapshots = told["validators.snapshots"]
    assert len(np.unique(snapshots["slot"].to_numpy() % 32)) == 32
    missed = pc.sum(snapshots["missed_attestations"]).as_py()
    assert 0 < missed < 0.2 * pc.sum(snapshots["due_attestations"]).as_py()


def test_blocks_do_not_depend_on_how_many_take_part() -> None:
    few, many = (rows_of(stream("validators", rate=rate, seconds=600))["validators.blocks"] for rate in (5, 500))
    assert few["root"].equals(many["root"])


def test_who_misses_three_times_in_a_row_is_alerted_of_until_it_attests_again() -> None:
    told = rows_of(stream("validators", rate=30, seconds=60 * 384))
    lives: dict[str, list[dict[str, Any]]] = {}
    for alert in told["validators.alerts"].to_pylist():
        lives.setdefault(alert["id"], []).append(alert)
    assert len(lives) > 3
    assert any(life[-1]["resolved_at"] for life in lives.values())
    for life in lives.values():
        assert [one["occurrences"] for one in life] == sorted(one["occurrences"] for one in life)
        assert {one["resolved_at"] is None for one in life[:-1]} <= {True}
        assert len({(one["dedupe_key"], one["raised_at"]) for one in life}) == 1
    assert len({life[0]["dedupe_key"] for life in lives.values()}) == len(lives)
    known = set(told["validators.validators"]["validator_index"].to_pylist())
    assert {life[0]["validator_index"] for life in lives.values()} <= known


# Relay ---------------------------------------------------------------------------------------------------------------
def test_packets_live_their_lives() -> None:
    told = rows_of(stream("relay", rate=100, seconds=1_200))["relay.packet_events"]
    lives: dict[tuple[Any, ...], list[str]] = {}
    names = ("src_chain_id", "src_channel", "sequence", "event_type", "redundant")
    for row in zip(*(told[name].to_pylist() for name in names), strict=True):
        if not row[-1]:
            lives.setdefault(row[:3], []).append(row[3])
    sent = [life for life in lives.values() if life[0] == "send_packet"]
    ends = Counter(life[-1] for life in sent)
    assert ends["acknowledge_packet"] > 0.9 * len(sent)
    assert ends["timeout_packet"] > 0
    assert ends["send_packet"] > 0, "none waits"
    assert all(len(set(life)) == len(life) for life in lives.values())


# Prices --------------------------------------------------------------------------------------------------------------
def test_prices_walk_together_with_gaps_and_micro_prices() -> None:
    told = rows_of(stream("prices", rate=2, seconds=4 * 3600))["prices.minute"]
    coins: dict[str, dict[int, float]] = {}
    for coin, at, price in zip(told["coin_id"].to_pylist(), told["minute_ts"].to_pylist(), told["price_usd"].to_pylist(), strict=True):
        coins.setdefault(coin, {})[int(at.timestamp())] = float(price)
    minutes = sorted(coins["bitcoin"].keys() & coins["ethereum"].keys() & coins["solana"].keys())
    moves = np.diff(np.log([[coins[name][at] for at in minutes] for name in ("bitcoin", "ethereum", "solana")]), axis=1)
    assert np.corrcoef(moves)[0, 1] > 0.05
    assert len(minutes) < 240
    assert min(min(series.values()) for series in coins.values()) < 1e-8


# Portfolios ----------------------------------------------------------------------------------------------------------
def test_nobody_spends_what_is_not_there() -> None:
    told = rows_of(stream("portfolio", rate=50, seconds=120))
    assert min(int(amount) for amount in told["portfolio.holdings"]["amount"].to_pylist()) >= 0
    users = set(told["portfolio.users"]["user_id"].to_pylist())
    assert set(told["portfolio.transactions"]["user_id"].to_pylist()) <= users
    later = rows_of(stream("portfolio", rate=50, seconds=1, start=START + timedelta(seconds=1)))["portfolio.users"]
    assert not users & set(later["user_id"].to_pylist())


def test_each_midnight_says_what_portfolios_are_worth() -> None:
    start = datetime(2026, 11, 20, 23, 59, 1, tzinfo=UTC)
    told = rows_of(stream("portfolio", rate=50, seconds=120, start=start))
    worth, people = told["portfolio.snapshots"], told["portfolio.users"].num_rows
    assert set(worth["snapshot_date"].to_pylist()) == {datetime(2026, 11, 21, tzinfo=UTC)}
    assert worth.num_rows == people
    assert pc.sum(worth["assets_usd"]).as_py() > 0
    assert 0 < pc.sum(pc.greater(worth["holdings"], 0)).as_py() < people
    assert "portfolio.snapshots" not in rows_of(stream("portfolio", rate=50, seconds=120))


# Insights ------------------------------------------------------------------------------------------------------------
def test_every_user_says_something_once() -> None:
    told = rows_of(stream("insights", rate=100, seconds=600))["insights.feedback"]
    assert len(set(told["user_id"].to_pylist())) == told.num_rows > 100
    later = rows_of(stream("insights", rate=100, seconds=600, start=START + timedelta(minutes=3)))["insights.feedback"]
    assert not set(told["user_id"].to_pylist()) & set(later["user_id"].to_pylist())


# What is done to rows ------------------------------------------------------------------------------------------------
TICK = 10 * SECOND
SERIES = {"demo.rows": Series("name", "ts")}


def counting(ticks: int, rows: int) -> Iterator[Tick]:
    """Yield rows that are numbered from 0 on."""
    begin = int(START.timestamp()) * SECOND
    yield Tick(begin, begin, [("demo.names", pa.table({"name": ["n"]}))])
    for number in range(ticks):
        start = begin + number * TICK
        names = pa.array(np.arange(number * rows, (number + 1) * rows)).cast(pa.string())
        yield Tick(start, start + TICK, [("demo.rows", pa.table({"name": names, "ts": instants(np.full(rows, start))}))])


def sent(batches: list[Batch], kind: Kind | None = None) -> list[Any]:
    return [
        name
        for batch in batches
        for part in batch.parts
        if part.dataset == "demo.rows"
        for name, own in zip(part.rows["name"].to_pylist(), part.kinds.tolist(), strict=True)
        if kind is None or own == kind
    ]


def test_a_plain_stream_is_sent_evenly_and_whole() -> None:
    batches = list(plan(counting(6, 100), Options(rate=10, speed=10), SERIES, every=0.25))
    assert batches[0].is_base
    assert [batch.after for batch in batches[1:]] == pytest.approx([n * 0.25 for n in range(24)])
    assert {sum(part.rows.num_rows for part in batch.parts) for batch in batches[1:]} == {25}
    assert sent(batches) == [str(n) for n in range(600)]


def test_ticks_that_are_short_go_together() -> None:
    batches = list(plan(counting(40, 10), Options(rate=10, speed=400), SERIES, every=0.25))
    assert [batch.after for batch in batches[1:]] == pytest.approx([n * 0.25 for n in range(4)])
    assert {sum(part.rows.num_rows for part in batch.parts) for batch in batches[1:]} == {100}
    assert sent(batches) == [str(n) for n in range(400)]


def test_late_doubled_and_broken_rows_come_as_often_as_asked_and_none_is_lost() -> None:
    options = Options(rate=10, speed=10, late=0.1, duplicates=0.2, malformed=0.05)
    batches = list(plan(counting(30, 200), options, SERIES, every=1.0))
    plain, late, doubled = (sent(batches, kind) for kind in (Kind.PLAIN, Kind.LATE, Kind.DUPLICATE))
    assert sorted([*plain, *late], key=int) == [str(n) for n in range(6000)]
    assert set(doubled) <= set(plain)
    assert len(late) == pytest.approx(600, rel=0.15)
    assert len(doubled) == pytest.approx(1080, rel=0.15)
    broken = sent(batches, Kind.MALFORMED)
    assert len(broken) == pytest.approx(300, rel=0.25)
    assert 0.3 < broken.count(None) / len(broken) < 0.7
    assert [str(batch.parts) for batch in plan(counting(30, 200), options, SERIES, every=1.0)] == [str(batch.parts) for batch in batches]
    for number, batch in enumerate(batches[1:-1]):
        for part in batch.parts:
            rows = zip(part.rows["name"].to_pylist(), part.kinds.tolist(), strict=True)
            ages = {number - int(name) // 200 for name, kind in rows if kind == Kind.LATE}
            assert ages <= set(range(1, LATEST + 1))


def test_a_stream_ends_with_its_span_and_sends_what_was_held_back() -> None:
    options = Options(rate=10, speed=10, span=timedelta(seconds=2.5), late=0.5)
    batches = list(plan(counting(100, 100), options, SERIES, every=0.25))
    assert max(batch.after for batch in batches) == 2.5
    numbers = sorted(map(int, sent(batches)))
    assert numbers[:200] == list(range(200))
    assert len(numbers) == len(set(numbers)) < 300


def test_without_end_nothing_is_made_before_it_is_wanted() -> None:
    def endless() -> Iterator[Tick]:
        yield from counting(10**9, 1)

    assert len(list(islice(plan(endless(), Options(speed=10), SERIES, every=1.0), 50))) == 50


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rate": 0}, "rate must be positive (got 0)"),
        ({"speed": -1}, "speed must be positive (got -1)"),
        ({"late": 1.5}, "late must be a share from 0 to 1 (got 1.5)"),
        ({"seed": -1}, "seed must not be negative (got -1)"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Options(**given)  # type: ignore[arg-type]
    assert caught.value.message == said
