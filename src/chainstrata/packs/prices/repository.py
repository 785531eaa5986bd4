"""Questions about prices: the latest, over a span of time in the width that fits it, the leading coins, and what collecting them costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

from psycopg.types.json import Jsonb

from chainstrata.engines.postgres import Connection, load_queries
from chainstrata.errors import UsageError
from chainstrata.model import minutes
from chainstrata.packs.prices.model import CollectionState, CollectionType
from chainstrata.packs.prices.rows import ApiUsageStats, CoinPriority, CollectionStatus, MinuteClose, Tables
from chainstrata.packs.prices.timeframes import Timeframe, choose, kept
from chainstrata.packs.repository import Buckets, RowNotFound, question

QUERIES: Final = load_queries("chainstrata.packs.prices")
T = TypeVar("T")
_MINUTE: Final = minutes(1)
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)
_RANKS: Final = "rank and figures of a coin are written over by newer ones"


@dataclass(frozen=True, slots=True)
class PricePoint:
    """The price of a coin over one minute, hour, day, week or month that starts at `ts`. `is_open`: it has not ended."""

    coin_id: str
    timeframe: Timeframe
    ts: datetime
    open_usd: Decimal
    high_usd: Decimal
    low_usd: Decimal
    price_usd: Decimal
    market_cap_usd: Decimal | None
    volume_24h_usd: Decimal | None
    coin_rank: int | None
    samples: int
    is_open: bool


class Prices(Tables):
    """The prices pack."""

    @question(of="minute", coins=["bitcoin", "ethereum"])
    async def latest_prices(self, coins: Sequence[str], as_of: datetime | None = None) -> list[MinuteClose]:
        """Return the newest price of each of these coins among the minutes that are kept, up to an instant."""
        return await self._all(QUERIES.list_latest_minutes, MinuteClose, coins=list(coins), until=as_of or _END_OF_TIME)

    @question(of="minute", coin_id="bitcoin", since="2026-11-20T10:00:00Z", until="2026-11-20T17:00:00Z")
    async def price_history(
        self,
        coin_id: str,
        since: datetime,
        until: datetime | None = None,
        timeframe: Timeframe | None = None,
        points: int = 500,
        as_of: datetime | None = None,
    ) -> list[PricePoint]:
        """Return the prices of a coin over a span of time, with what is not folded yet.

        Without a timeframe the finest is taken that is still kept for the whole span and gives no more than so many points. With `as_of`,
        the minutes, hours, days, weeks or months that had ended by then, with the prices about them as they are known now.
        """
        now = datetime.now(UTC)
        end = until or (now if as_of is None else min(as_of, now))
        if end <= since and (until is not None or as_of is None):
            raise UsageError(f"the span ends at {end.isoformat()}, before it starts", hint="Give `until` after `since`.")
        chosen = timeframe or choose(kept(self.minute.dataset), since, end, now=now, points=points)
        if as_of is not None:
            # One that had begun by then is made of later prices too.
            width = _MINUTE if chosen is Timeframe.MINUTE else self._rollup(chosen).rollup.every
            end = min(end, width.floor(as_of))
        if end <= since:
            return []
        if chosen is Timeframe.MINUTE:
            found = await self._all(QUERIES.list_minutes, MinuteClose, coin_id=coin_id, since=since, until=end)
            return [_minute(row, now) for row in found]
        buckets = self._rollup(chosen)
        if isinstance(self.source, Connection):
            rows: Sequence[Any] = await buckets.between(since, end, coin_id=coin_id).all()
        else:
            rows = await buckets.live(since, end, coin_id=[coin_id])
        return [_bucket(row, chosen, buckets.time) for row in rows]

    def _rollup(self, timeframe: Timeframe) -> Buckets[Any]:
        found: dict[Timeframe, Buckets[Any]] = {
            Timeframe.HOURLY: self.minute_hourly,
            Timeframe.DAILY: self.minute_daily,
            Timeframe.WEEKLY: self.minute_weekly,
            Timeframe.MONTHLY: self.minute_monthly,
        }
        return found[timeframe]

    @question(now=_RANKS, limit=10)
    async def top_coins(self, limit: int = 100, after_rank: int = 0) -> list[CoinPriority]:
        """Return coins by rank, from a rank on."""
        return await self._all(QUERIES.list_top_coins, CoinPriority, limit=limit, after_rank=after_rank)

    @question(now=_RANKS, before="2026-11-20T00:00:00Z")
    async def stale_coins(self, before: datetime, limit: int = 100) -> list[CoinPriority]:
        """Return ranked coins whose figures the source has not changed since an instant, the longest ago first."""
        return await self._all(QUERIES.list_stale_coins, CoinPriority, before=before, limit=limit)

    # Runs of the collector -------------------------------------------------------------------------------------------

    async def start_collection(self, collection_type: CollectionType, *, at: datetime | None = None) -> CollectionStatus:
        """Note that a run of the collector begins."""
        return _there(await self._one(QUERIES.start_collection, CollectionStatus, collection_type=collection_type, at=at or _now()))

    async def advance_collection(self, run: int, *, processed: int = 0, failed: int = 0, calls: int = 0) -> CollectionStatus:
        """Add what a run has done since it was last noted; raise `RowNotFound` for one that has ended."""
        found = await self._one(QUERIES.advance_collection, CollectionStatus, id=run, processed=processed, failed=failed, calls=calls)
        return _running(found, run)

    async def end_collection(
        self, run: int, status: CollectionState, *, error: str | None = None, batches: Any = None, at: datetime | None = None
    ) -> CollectionStatus:
        """End a run: completed, failed with the reason, or cancelled; raise `RowNotFound` for one that has ended."""
        if status is CollectionState.RUNNING:
            raise UsageError("a run does not end by running", hint="Give completed, failed or cancelled.")
        details = None if batches is None else Jsonb(batches)
        found = await self._one(
            QUERIES.end_collection, CollectionStatus, id=run, status=status, error_message=error, batch_details=details, at=at or _now()
        )
        return _running(found, run)

    @question(now="a run of the collector is written over as it goes on")
    async def collections(
        self,
        collection_type: CollectionType | None = None,
        status: CollectionState | None = None,
        before: datetime | None = None,
        limit: int = 100,
    ) -> list[CollectionStatus]:
        """Return runs of the collector, of one kind and state or of any, newest first."""
        return await self._all(
            QUERIES.list_collections,
            CollectionStatus,
            collection_type=collection_type,
            status=status,
            before=before or _END_OF_TIME,
            limit=limit,
        )

    # Use of the price source -----------------------------------------------------------------------------------------

    async def record_api_calls(
        self,
        *,
        successful: int = 0,
        failed: int = 0,
        rate_limited: int = 0,
        response_ms: int = 0,
        timed: int = 0,
        calls_this_minute: int | None = None,
        at: datetime | None = None,
    ) -> ApiUsageStats:
        """Add calls to the day they were made on. `response_ms` is the sum over `timed` calls, so that days can be merged exactly."""
        found = await self._one(
            QUERIES.record_api_calls,
            ApiUsageStats,
            successful=successful,
            failed=failed,
            rate_limited=rate_limited,
            response_ms=response_ms,
            timed=timed,
            calls_this_minute=calls_this_minute,
            at=at or _now(),
        )
        return _there(found)

    @question(now="the calls of a day are added up in place")
    async def api_usage_by_day(self, since: date | None = None, until: date | None = None) -> list[ApiUsageStats]:
        """Return the use of the price source by day, by default of the last 30 days, newest first."""
        end = until or _now().date()
        return await self._all(QUERIES.list_api_usage, ApiUsageStats, since=since or end - timedelta(days=30), until=end)


def _now() -> datetime:
    return datetime.now(UTC)


def _there(found: T | None) -> T:
    if found is None:
        raise AssertionError("writing gives the row")
    return found


def _running(found: CollectionStatus | None, run: int) -> CollectionStatus:
    if found is None:
        raise RowNotFound("runs that have not ended", {"id": run}, hint="See `collections`; a run ends once.")
    return found


def _minute(row: MinuteClose, now: datetime) -> PricePoint:
    price = row.price_usd
    return PricePoint(
        row.coin_id,
        Timeframe.MINUTE,
        row.minute_ts,
        price,
        price,
        price,
        price,
        row.market_cap_usd,
        row.volume_24h_usd,
        row.coin_rank,
        1,
        row.minute_ts + timedelta(minutes=1) > now,
    )


def _bucket(row: Any, timeframe: Timeframe, time: str) -> PricePoint:
    return PricePoint(
        row.coin_id,
        timeframe,
        getattr(row, time),
        row.open_usd,
        row.high_usd,
        row.low_usd,
        row.price_usd,
        row.market_cap_usd,
        row.volume_24h_usd,
        row.coin_rank,
        row.samples,
        getattr(row, "is_open", False),
    )


REPOSITORY = Prices
