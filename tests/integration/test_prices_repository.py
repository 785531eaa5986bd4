"""Questions about prices: the latest, in the width that fits, the leading coins; runs of the collector and use of the source."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chainstrata import partitions
from chainstrata.engines.postgres import Connection, Database
from chainstrata.engines.postgres.errors import CheckViolation, ForeignKeyViolation
from chainstrata.errors import UsageError
from chainstrata.model import Catalog, Interval, days, hours, minutes
from chainstrata.packs.prices.model import CollectionState, CollectionType
from chainstrata.packs.prices.repository import Prices
from chainstrata.packs.prices.rows import NewCoinPriority, NewMinuteClose
from chainstrata.packs.prices.timeframes import Timeframe, choose, kept
from chainstrata.packs.repository import RowNotFound
from chainstrata.rollups import Rollups

NOW = datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture
def prices(rows: Connection, catalog: Catalog) -> Prices:
    return Prices(catalog.pack("prices"), rows)


def price(coin: str, minutes: int, usd: str, **more: Any) -> NewMinuteClose:
    return NewMinuteClose(coin_id=coin, minute_ts=NOW - timedelta(minutes=minutes), price_usd=Decimal(usd), **more)


async def add_coins(prices: Prices, *coins: str) -> None:
    for rank, coin in enumerate(coins, start=1):
        await prices.coins.create(NewCoinPriority(coin_id=coin, market_cap_rank=rank))


async def test_the_latest_price_of_each_coin(prices: Prices) -> None:
    await add_coins(prices, "bitcoin", "ether", "pepe")
    rows = [price("bitcoin", 3, "1"), price("bitcoin", 1, "2"), price("ether", 2, "0.00000000123")]
    await prices.minute.batch().add(*rows).write()
    found = await prices.latest_prices(["ether", "bitcoin", "ether", "pepe", "none"])
    assert [(row.coin_id, row.price_usd) for row in found] == [("bitcoin", Decimal(2)), ("ether", Decimal("0.00000000123"))]
    assert [row.coin_id for row in await prices.minute.latest()] == ["bitcoin", "ether"]
    with pytest.raises(ForeignKeyViolation) as lost:
        await prices.minute.create(price("unlisted", 1, "1"))
    assert "in prices.coin_priorities: create it first" in lost.value.hint


@pytest.mark.conforms("S3-65")
async def test_a_price_written_again_keeps_the_time_it_was_first_recorded(packs: Database, catalog: Catalog) -> None:
    prices = Prices(catalog.pack("prices"), packs)
    await add_coins(prices, "bitcoin")
    first = await prices.minute.upsert(price("bitcoin", 1, "1", source_ts=NOW))
    again = await prices.minute.upsert(price("bitcoin", 1, "2", source_ts=NOW + timedelta(seconds=1)))
    older = await prices.minute.upsert(price("bitcoin", 1, "3", source_ts=NOW - timedelta(seconds=1)))
    assert (again.price_usd, again.created_at) == (Decimal(2), first.created_at)
    assert again.updated_at > first.updated_at
    assert older == again
    coin = await prices.coins.upsert(NewCoinPriority(coin_id="bitcoin", symbol="btc"))
    assert (coin.symbol, coin.market_cap_rank, coin.created_at < coin.updated_at) == ("btc", 1, True)


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("back", "span", "points", "timeframe"),
    [
        (timedelta(minutes=50), timedelta(minutes=50), 500, Timeframe.MINUTE),
        (timedelta(minutes=50), timedelta(minutes=50), 20, Timeframe.HOURLY),
        (timedelta(hours=23), timedelta(hours=1), 500, Timeframe.HOURLY),
        (timedelta(hours=25), timedelta(hours=25), 500, Timeframe.DAILY),
        (6 * DAY, 6 * DAY, 500, Timeframe.DAILY),
        (6 * DAY, 6 * DAY, 3, Timeframe.WEEKLY),
        (8 * DAY, 8 * DAY, 500, Timeframe.WEEKLY),
        (300 * DAY, 300 * DAY, 20, Timeframe.MONTHLY),
        (3000 * DAY, 3000 * DAY, 500, Timeframe.MONTHLY),
        (30_000 * DAY, 30_000 * DAY, 1, Timeframe.MONTHLY),
    ],
)
def test_the_finest_width_is_taken_that_is_kept_and_not_too_many(
    catalog: Catalog, back: timedelta, span: timedelta, points: int, timeframe: Timeframe
) -> None:
    choices = kept(catalog.dataset("prices.minute"))
    assert choose(choices, NOW - back, NOW - back + span, now=NOW, points=points) is timeframe


async def test_a_span_is_answered_in_the_width_that_fits_open_hours_included(packs: Database, catalog: Catalog) -> None:
    rollups = Rollups(packs, catalog)
    prices = Prices(catalog.pack("prices"), packs, rollups.read)
    await add_coins(prices, "bitcoin")
    values = {minutes: Decimal(100 + minutes) / 7 for minutes in range(40, -1, -1)}
    await prices.minute.batch().add_all(price("bitcoin", minutes, str(value)) for minutes, value in values.items()).write()
    since = NOW - timedelta(minutes=40)
    fine = await prices.price_history("bitcoin", since, NOW + timedelta(minutes=1))
    assert [(one.timeframe, one.price_usd) for one in fine] == [(Timeframe.MINUTE, value) for value in values.values()]
    hourly = await prices.price_history("bitcoin", since, NOW + timedelta(minutes=1), points=10)
    assert {one.timeframe for one in hourly} == {Timeframe.HOURLY}
    assert (hourly[0].open_usd, hourly[-1].price_usd) == (values[40], values[0])
    assert sum(one.samples for one in hourly) == 41
    assert hourly[-1].is_open is (hourly[-1].ts + timedelta(hours=1) > datetime.now(UTC)), "an hour may have turned since NOW"
    assert max(one.high_usd for one in hourly) == values[40]
    await rollups.refresh()
    async with packs.transaction() as connection:
        own = await prices.using(connection).price_history("bitcoin", since, timeframe=Timeframe.DAILY)
    assert sum(one.samples for one in own) == 41
    with pytest.raises(UsageError, match="before it starts"):
        await prices.price_history("bitcoin", NOW, since)


def points(values: dict[datetime, Decimal], every: Interval, as_of: datetime) -> list[tuple[datetime, Decimal, Decimal, int]]:
    """Return start, first and last price and number of what had ended by then."""
    spans: dict[datetime, list[Decimal]] = {}
    for moment in sorted(values):
        spans.setdefault(every.floor(moment), []).append(values[moment])
    return [(start, own[0], own[-1], len(own)) for start, own in spans.items() if every.shift(start) <= as_of]


async def test_as_of_a_time_only_what_had_ended_by_then_is_told(packs: Database, catalog: Catalog) -> None:
    prices = Prices(catalog.pack("prices"), packs, Rollups(packs, catalog).read)
    await add_coins(prices, "bitcoin")
    start = hours(1).floor(NOW) - timedelta(hours=5)
    await partitions.ensure(packs, catalog.dataset("prices.minute"), start, NOW)
    values = {start + timedelta(minutes=minute): Decimal(100 + minute) / 7 for minute in range(0, 240, 3)}
    await (
        prices.minute.batch().add_all(NewMinuteClose(coin_id="bitcoin", minute_ts=ts, price_usd=one) for ts, one in values.items()).write()
    )
    until, widths = start + timedelta(hours=4), {Timeframe.MINUTE: minutes(1), Timeframe.HOURLY: hours(1), Timeframe.DAILY: days(1)}
    for back in (0, 1, 59, 60, 61, 90, 3600, 3601, 5000, 14_399):
        as_of = until - timedelta(seconds=back)
        for timeframe, every in widths.items():
            told = [
                (one.ts, one.open_usd, one.price_usd, one.samples)
                for one in await prices.price_history("bitcoin", start, until, timeframe, as_of=as_of)
            ]
            assert told == points(values, every, as_of), (back, timeframe)
        latest = await prices.latest_prices(["bitcoin"], as_of)
        assert [(row.minute_ts, row.price_usd) for row in latest] == [max((ts, one) for ts, one in values.items() if ts <= as_of)]
    assert await prices.price_history("bitcoin", start, as_of=start) == []
    assert await prices.price_history("bitcoin", start, as_of=start - timedelta(days=1)) == []
    assert await prices.latest_prices(["bitcoin"], start - timedelta(minutes=1)) == []


async def test_leading_coins_come_page_by_page(prices: Prices) -> None:
    await add_coins(prices, *(f"coin-{number}" for number in range(1, 8)))
    await prices.coins.create(NewCoinPriority(coin_id="unranked"))
    first = await prices.top_coins(3)
    assert [coin.coin_id for coin in first] == ["coin-1", "coin-2", "coin-3"]
    assert [coin.market_cap_rank for coin in await prices.top_coins(3, after_rank=3)] == [4, 5, 6]
    await prices.coins.update("coin-5", last_updated=NOW - DAY)
    assert [coin.coin_id for coin in await prices.stale_coins(NOW - timedelta(hours=1))] == ["coin-5"]


async def test_runs_of_the_collector(prices: Prices) -> None:
    run = await prices.start_collection(CollectionType.CONTINUOUS, at=NOW)
    assert (run.status, run.end_time) == (CollectionState.RUNNING, None)
    await prices.advance_collection(run.id, processed=100, calls=2)
    run = await prices.advance_collection(run.id, processed=50, failed=3, calls=1)
    assert (run.coins_processed, run.coins_failed, run.api_calls_made) == (150, 3, 3)
    ended = await prices.end_collection(run.id, CollectionState.FAILED, error="429", batches=[{"n": 1}], at=NOW + timedelta(minutes=1))
    assert (ended.status, ended.error_message, ended.batch_details) == (CollectionState.FAILED, "429", [{"n": 1}])
    for late in (prices.advance_collection(run.id), prices.end_collection(run.id, CollectionState.COMPLETED)):
        with pytest.raises(RowNotFound, match="runs that have not ended"):
            await late
    other = await prices.start_collection(CollectionType.MANUAL, at=NOW + timedelta(minutes=2))
    assert [one.id for one in await prices.collections()] == [other.id, run.id]
    assert [one.id for one in await prices.collections(CollectionType.CONTINUOUS, CollectionState.FAILED)] == [run.id]
    with pytest.raises(UsageError, match="does not end by running"):
        await prices.end_collection(other.id, CollectionState.RUNNING)
    with pytest.raises(CheckViolation) as wrong:
        await prices.end_collection(other.id, CollectionState.COMPLETED, at=NOW)
    assert "end_time >= start_time" in wrong.value.hint


@pytest.mark.conforms("S3-26")
async def test_calls_to_the_source_add_up_by_day_exactly(packs: Database, catalog: Catalog) -> None:
    prices = Prices(catalog.pack("prices"), packs)
    at = datetime(2026, 11, 20, 23, 59, tzinfo=UTC)
    first = await prices.record_api_calls(successful=3, response_ms=1000, timed=3, calls_this_minute=2, at=at)
    day = await prices.record_api_calls(failed=1, rate_limited=2, response_ms=1, timed=1, calls_this_minute=1, at=at)
    assert (day.total_calls, day.successful_calls, day.failed_calls, day.rate_limited_calls) == (6, 3, 1, 2)
    assert (day.average_response_time, day.peak_calls_per_minute, day.created_at) == (Decimal("250.25"), 2, first.created_at)
    await prices.record_api_calls(successful=1, at=at + timedelta(minutes=1))
    days = await prices.api_usage_by_day(date(2026, 11, 1), date(2026, 11, 30))
    assert [(one.date, one.total_calls) for one in days] == [(date(2026, 11, 21), 1), (date(2026, 11, 20), 6)]
    with pytest.raises(CheckViolation) as wrong:
        await prices.record_api_calls(successful=-10, at=at)
    assert "successful_calls >= 0" in wrong.value.hint
