"""The sample of the prices pack: shapes that make trouble are in it, and the payload of the real source fits the tables."""

import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from chainstrata.engines.postgres import Connection
from chainstrata.ingest import copy_rows, describe_table
from chainstrata.packs.prices import sample
from tools.tree import ROOT

ANCHOR = datetime(2026, 3, 10, 12, 34, 56, tzinfo=UTC)


def make(seed: int = 1, scale: str = "small") -> dict[str, Any]:
    pieces: dict[str, list[Any]] = {}
    for name, table in sample.make(scale, seed, ANCHOR):
        pieces.setdefault(name, []).append(table)
    return {name: pa.concat_tables(tables) for name, tables in pieces.items()}


@pytest.fixture(scope="module")
def tables() -> dict[str, Any]:
    return make()


def test_the_same_arguments_give_the_same_rows_and_others_do_not(tables: dict[str, Any]) -> None:
    assert all(table.equals(tables[name]) for name, table in make().items())
    assert not make(seed=2)["prices.minute"].equals(tables["prices.minute"])


def test_nothing_is_later_than_the_anchor(tables: dict[str, Any]) -> None:
    minutes = tables["prices.minute"]["minute_ts"].to_pylist()
    assert max(minutes) == ANCHOR.replace(second=0)
    assert max(tables["prices.collection"]["start_time"].to_pylist()) <= ANCHOR


def test_prices_reach_from_large_to_micro_and_keep_their_digits(tables: dict[str, Any]) -> None:
    prices = [Decimal(text) for text in tables["prices.minute"]["price_usd"].to_pylist()]
    assert max(prices) > 10_000
    assert min(prices) < Decimal("0.00000001")
    assert all(price > 0 for price in prices)
    assert any(f"{price:.11f}" == "0.00000000123" for price in prices)


def test_some_coins_have_no_rank_some_are_stale_and_minutes_are_missing(tables: dict[str, Any]) -> None:
    coins, minutes = tables["prices.coins"], tables["prices.minute"]
    unranked = {row["coin_id"] for row in coins.to_pylist() if row["market_cap_rank"] is None}
    assert 0 < len(unranked) < coins.num_rows / 4
    last = {row["coin_id"]: row["minute_ts"] for row in minutes.sort_by("minute_ts").select(["coin_id", "minute_ts"]).to_pylist()}
    stale = [coin for coin in coins["coin_id"].to_pylist() if last.get(coin, ANCHOR - timedelta(days=9)) < ANCHOR - timedelta(minutes=20)]
    assert 0 < len(stale) < coins.num_rows / 4
    all_of_them = coins.num_rows * 155
    assert 0.85 * all_of_them < minutes.num_rows < 0.99 * all_of_them
    present = set(minutes["minute_ts"].to_pylist())
    assert len(present) == 155 - 7


def test_coins_walk_together(tables: dict[str, Any]) -> None:
    days = tables["prices.minute.daily"].select(["coin_id", "day_ts", "price_usd"]).to_pylist()
    closes = {(row["coin_id"], row["day_ts"]): float(row["price_usd"]) for row in days}
    when = sorted({day for _, day in closes})
    returns = [np.diff(np.log([closes[coin, day] for day in when])) for coin in ("bitcoin", "ethereum", "solana", "tether")]
    correlation = np.corrcoef(returns[:3])
    assert correlation[0, 1] > 0.2
    assert correlation[0, 2] > 0.2
    assert np.std(returns[3]) < np.std(returns[0]) / 10


def read_real() -> list[dict[str, Any]]:
    given = os.environ.get("CHAINSTRATA_REAL_DATA", ROOT.parent / "shared" / "data")  # noqa: TID251
    place = Path(given) / "coingecko" / "coins_markets.json"
    if not place.is_file():
        pytest.skip("no payload of the real source at hand; CHAINSTRATA_REAL_DATA names the directory")
    coins: list[dict[str, Any]] = json.loads(place.read_text(encoding="utf-8"), parse_float=Decimal)
    return coins


@pytest.mark.conforms("S3-07", "S3-18", "S3-28")
async def test_the_payload_of_the_real_source_fits_exactly(rows: Connection) -> None:
    payload = [coin for coin in read_real() if coin["current_price"] is not None]
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    changed = [datetime.fromisoformat(coin["last_updated"]) for coin in payload]
    names = [coin["id"] for coin in payload]
    caps = [None if coin["market_cap"] is None else str(coin["market_cap"]) for coin in payload]
    coins = {
        "coin_id": names,
        "market_cap_rank": pa.array([coin["market_cap_rank"] for coin in payload], pa.int32()),
        "market_cap_usd": pa.array(caps, pa.string()),
        "symbol": [coin["symbol"] for coin in payload],
        "name": [coin["name"] for coin in payload],
        "image_url": [coin["image"] for coin in payload],
        "last_updated": pa.array(changed, pa.timestamp("us", tz="UTC")),
    }
    minutes = {
        "coin_id": names,
        "minute_ts": pa.array([now] * len(payload), pa.timestamp("us", tz="UTC")),
        "price_usd": [str(coin["current_price"]) for coin in payload],
        "market_cap_usd": pa.array(caps, pa.string()),
        "volume_24h_usd": pa.array([None if coin["total_volume"] is None else str(coin["total_volume"]) for coin in payload], pa.string()),
        "coin_rank": pa.array([coin["market_cap_rank"] for coin in payload], pa.int32()),
        "source_ts": pa.array(changed, pa.timestamp("us", tz="UTC")),
    }
    for table, columns in (("coin_priorities", coins), ("minute_close", minutes)):
        await copy_rows(rows, await describe_table(rows, "prices", table), pa.table(columns))
    found = await rows.fetch_all("SELECT coin_id, price_usd, market_cap_usd, volume_24h_usd, source_ts FROM prices.minute_close")
    wanted = [(coin["id"], coin["current_price"], coin["market_cap"], coin["total_volume"]) for coin in payload]
    assert sorted((row.coin_id, row.price_usd, row.market_cap_usd, row.volume_24h_usd) for row in found) == sorted(wanted)
    assert sorted(row.source_ts for row in found) == sorted(changed)
