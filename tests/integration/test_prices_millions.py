"""Ten thousand coins, three million prices over ten years: taken in, folded and asked without waiting."""

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import quantiles
from time import perf_counter
from typing import LiteralString

import pytest

from chainstrata import partitions
from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.ingest import Ingest
from chainstrata.model import Catalog
from chainstrata.packs.prices.repository import Prices
from chainstrata.packs.prices.timeframes import Timeframe
from chainstrata.rollups import Rollups
from tests.fixtures.postgres import NewDatabase

LOGGER = logging.getLogger(__name__)
COINS = 10_000
LIMIT_SECONDS = 0.2
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
DAY = HOUR.replace(hour=0)
YEARS = 10
COIN: LiteralString = """
    INSERT INTO prices.coin_priorities (coin_id, market_cap_rank, symbol, name)
    SELECT 'coin-' || n, n, 'c' || n, 'Coin ' || n FROM generate_series(1, %(coins)s) AS n
"""
MINUTES: LiteralString = """
    INSERT INTO prices.minute_close (coin_id, minute_ts, price_usd, market_cap_usd, volume_24h_usd, coin_rank)
    SELECT 'coin-' || n, at, n + extract(minute FROM at) / 100, n * 1e6, n * 1e4, n
    FROM generate_series(%(lo)s::timestamptz, %(hi)s::timestamptz, interval '1 minute') AS at, generate_series(1, %(coins)s) AS n
"""
# Periods long past, each as it was folded.
PAST: tuple[tuple[LiteralString, LiteralString, LiteralString, datetime], ...] = (
    ("hourly_close", "hour_ts", "1 hour", HOUR - timedelta(hours=23)),
    ("daily_close", "day_ts", "1 day", DAY - timedelta(days=6)),
    ("weekly_close", "week_ts", "7 days", DAY - timedelta(days=DAY.weekday()) - timedelta(weeks=51)),
    ("monthly_close", "month_ts", "1 month", DAY.replace(day=1, year=DAY.year - YEARS)),
)
PERIODS: dict[LiteralString, LiteralString] = {
    table: f"""
    INSERT INTO prices.{table} (coin_id, {column}, samples, first_at, last_at, open_usd, high_usd, low_usd, price_usd)
    SELECT 'coin-' || n, at AT TIME ZONE 'UTC', 1, at AT TIME ZONE 'UTC', at AT TIME ZONE 'UTC', n, n, n, n
    FROM generate_series(%(lo)s::timestamptz AT TIME ZONE 'UTC', (%(hi)s::timestamptz - interval '{step}') AT TIME ZONE 'UTC', interval '{step}')
        AS at, generate_series(1, %(coins)s) AS n
    """
    for table, column, step, _ in PAST
}


async def fill(database: Database, catalog: Catalog) -> None:
    await partitions.ensure(database, catalog.dataset("prices.minute"), HOUR - timedelta(hours=1), HOUR + timedelta(hours=1))
    for rollup, (_, _, _, first) in zip(("hourly", "daily", "weekly", "monthly"), PAST, strict=True):
        if rollup != "weekly":
            await partitions.ensure_named(database, catalog, f"prices.minute.{rollup}", first, HOUR)
    await database.execute(COIN, {"coins": COINS})
    async with database.transaction() as connection:
        # Every coin is there, and what is past is folded: what the triggers would do is done.
        await connection.execute("SET LOCAL session_replication_role = replica")
        last = HOUR + timedelta(minutes=49)
        await connection.execute(MINUTES, {"lo": HOUR - timedelta(hours=1), "hi": last, "coins": COINS})
        for table, _, _, first in PAST:
            await connection.execute(PERIODS[table], {"lo": first, "hi": HOUR, "coins": COINS})
    await database.execute("VACUUM ANALYZE")


async def measure(operation: Callable[[int], Awaitable[object]]) -> float:
    """Return how long it takes at the 95th percentile, over coins that were not asked about before."""
    taken = []
    for number in range(60):
        began = perf_counter()
        found = await operation(number)
        taken.append(perf_counter() - began)
        assert found
    return quantiles(taken, n=20)[-1]


def coin(number: int) -> str:
    return f"coin-{number * 7919 % COINS + 1}"


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.conforms("S3-05")
async def test_millions_of_prices_are_taken_in_folded_and_asked(new_database: NewDatabase, pack_template: str, catalog: Catalog) -> None:
    options = PoolOptions(min_size=1, max_size=5, acquire_timeout=20, statement_timeout=600)
    async with Database(await new_database(pack_template), options=options) as database:
        await fill(database, catalog)
        tables = ("minute_close", *PERIODS)
        counts = [await database.fetch_value(f"SELECT count(*) FROM prices.{table}") for table in tables]
        assert sum(counts) > 3_000_000
        # A minute of all coins comes in, and every timeframe has it.
        rollups, at = Rollups(database, catalog), HOUR + timedelta(minutes=50)
        began = perf_counter()
        rows = [{"coin_id": f"coin-{n}", "minute_ts": at, "price_usd": Decimal(n) / 3} for n in range(1, COINS + 1)]
        answer = await Ingest(database, catalog, rollups).ingest("prices.minute", rows)
        assert answer.accepted == COINS
        taken_in = perf_counter() - began
        await rollups.refresh(["prices.minute"])
        folded = perf_counter() - began - taken_in
        hour = await database.fetch_one("SELECT * FROM prices.hourly_close WHERE coin_id = 'coin-7' AND hour_ts = %(hour)s", {"hour": HOUR})
        assert (hour.samples, hour.open_usd, hour.price_usd) == (51, Decimal(7), Decimal(7) / 3)
        prices = Prices(catalog.pack("prices"), database, rollups.read)
        operations: dict[str, Callable[[int], Awaitable[object]]] = {
            "latest": lambda n: prices.latest_prices([coin(n + k) for k in range(100)]),
            "leading": lambda n: prices.top_coins(100, n * 100),
            "minutes": lambda n: prices.price_history(coin(n), HOUR, timeframe=Timeframe.MINUTE),
            "hours": lambda n: prices.price_history(coin(n), HOUR - timedelta(hours=20), timeframe=Timeframe.HOURLY),
            "days": lambda n: prices.price_history(coin(n), DAY - timedelta(days=5), timeframe=Timeframe.DAILY),
            "weeks": lambda n: prices.price_history(coin(n), DAY - timedelta(weeks=40), timeframe=Timeframe.WEEKLY),
            "months": lambda n: prices.price_history(coin(n), DAY.replace(year=DAY.year - YEARS + 1, day=1), timeframe=Timeframe.MONTHLY),
        }
        found = {name: await measure(operation) for name, operation in operations.items()}
    LOGGER.info("taken in after %.2f s, folded after %.2f s more", taken_in, folded)
    LOGGER.info("at the 95th percentile, ms: %s", {name: round(seconds * 1000, 1) for name, seconds in found.items()})
    assert {name: seconds for name, seconds in found.items() if seconds >= LIMIT_SECONDS} == {}
    assert taken_in + folded < 12, "done before the minute is over"
