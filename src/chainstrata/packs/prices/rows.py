"""Rows of the prices pack as frozen dataclasses, and its tables.

Written by `make docs` from the declarations; edits are lost. A field of a new row that is None is left to the column's default.
"""

import datetime as dt
import decimal
from dataclasses import dataclass
from typing import Any

from chainstrata.packs.prices import model
from chainstrata.packs.repository import Buckets, Repository, Table


@dataclass(frozen=True, slots=True)
class CoinPriority:
    """One coin that is collected: its rank, which decides how soon, and what is known of it."""

    coin_id: str
    market_cap_rank: int | None
    market_cap_usd: decimal.Decimal | None
    symbol: str | None
    name: str | None
    image_url: str | None
    last_updated: dt.datetime
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCoinPriority:
    """A row to be written, as `CoinPriority`."""

    coin_id: str
    market_cap_rank: int | None = None
    market_cap_usd: decimal.Decimal | None = None
    symbol: str | None = None
    name: str | None = None
    image_url: str | None = None
    last_updated: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class MinuteClose:
    """One price of one coin in one minute, with the market figures that came with it."""

    coin_id: str
    minute_ts: dt.datetime
    price_usd: decimal.Decimal
    market_cap_usd: decimal.Decimal | None
    volume_24h_usd: decimal.Decimal | None
    coin_rank: int | None
    source_ts: dt.datetime
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMinuteClose:
    """A row to be written, as `MinuteClose`."""

    coin_id: str
    minute_ts: dt.datetime
    price_usd: decimal.Decimal
    market_cap_usd: decimal.Decimal | None = None
    volume_24h_usd: decimal.Decimal | None = None
    coin_rank: int | None = None
    source_ts: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class HourlyClose:
    """One hour of one coin: open, high, low and close of its price, and its last market figures."""

    coin_id: str
    hour_ts: dt.datetime
    samples: int
    first_at: dt.datetime
    last_at: dt.datetime
    open_usd: decimal.Decimal
    high_usd: decimal.Decimal
    low_usd: decimal.Decimal
    price_usd: decimal.Decimal
    market_cap_usd: decimal.Decimal | None
    volume_24h_usd: decimal.Decimal | None
    coin_rank: int | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class DailyClose:
    """One day (UTC) of one coin, folded from its hours."""

    coin_id: str
    day_ts: dt.datetime
    samples: int
    first_at: dt.datetime
    last_at: dt.datetime
    open_usd: decimal.Decimal
    high_usd: decimal.Decimal
    low_usd: decimal.Decimal
    price_usd: decimal.Decimal
    market_cap_usd: decimal.Decimal | None
    volume_24h_usd: decimal.Decimal | None
    coin_rank: int | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class WeeklyClose:
    """One ISO week (Monday 00:00 UTC to the next) of one coin, folded from its days."""

    coin_id: str
    week_ts: dt.datetime
    samples: int
    first_at: dt.datetime
    last_at: dt.datetime
    open_usd: decimal.Decimal
    high_usd: decimal.Decimal
    low_usd: decimal.Decimal
    price_usd: decimal.Decimal
    market_cap_usd: decimal.Decimal | None
    volume_24h_usd: decimal.Decimal | None
    coin_rank: int | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class MonthlyClose:
    """One calendar month (UTC) of one coin, taken in day by day, because days leave before their month closes."""

    coin_id: str
    month_ts: dt.datetime
    samples: int
    first_at: dt.datetime
    last_at: dt.datetime
    open_usd: decimal.Decimal
    high_usd: decimal.Decimal
    low_usd: decimal.Decimal
    price_usd: decimal.Decimal
    market_cap_usd: decimal.Decimal | None
    volume_24h_usd: decimal.Decimal | None
    coin_rank: int | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class CollectionStatus:
    """One run of the price collector: what it was for, how far it came, what it cost."""

    id: int
    collection_type: model.CollectionType
    start_time: dt.datetime
    end_time: dt.datetime | None
    coins_processed: int
    coins_failed: int
    api_calls_made: int
    status: model.CollectionState
    error_message: str | None
    batch_details: Any | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCollectionStatus:
    """A row to be written, as `CollectionStatus`."""

    id: int | None = None
    collection_type: model.CollectionType
    start_time: dt.datetime
    end_time: dt.datetime | None = None
    coins_processed: int | None = None
    coins_failed: int | None = None
    api_calls_made: int | None = None
    status: model.CollectionState | None = None
    error_message: str | None = None
    batch_details: Any = None


@dataclass(frozen=True, slots=True)
class ApiUsageStats:
    """One day of calls to the price source."""

    date: dt.date
    total_calls: int
    successful_calls: int
    failed_calls: int
    rate_limited_calls: int
    response_time_ms_sum: int
    response_time_count: int
    average_response_time: decimal.Decimal | None
    peak_calls_per_minute: int | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiUsageStats:
    """A row to be written, as `ApiUsageStats`."""

    date: dt.date
    total_calls: int | None = None
    successful_calls: int | None = None
    failed_calls: int | None = None
    rate_limited_calls: int | None = None
    response_time_ms_sum: int | None = None
    response_time_count: int | None = None
    peak_calls_per_minute: int | None = None


class Tables(Repository):
    """The tables and roll-ups of the prices pack."""

    @property
    def coins(self) -> Table[CoinPriority, NewCoinPriority]:
        """One coin that is collected: its rank, which decides how soon, and what is known of it."""
        return self._table("coins", CoinPriority, NewCoinPriority)

    @property
    def minute(self) -> Table[MinuteClose, NewMinuteClose]:
        """One price of one coin in one minute, with the market figures that came with it."""
        return self._table("minute", MinuteClose, NewMinuteClose)

    @property
    def minute_hourly(self) -> Buckets[HourlyClose]:
        """One hour of one coin: open, high, low and close of its price, and its last market figures."""
        return self._bucket_table("minute", "hourly", HourlyClose)

    @property
    def minute_daily(self) -> Buckets[DailyClose]:
        """One day (UTC) of one coin, folded from its hours."""
        return self._bucket_table("minute", "daily", DailyClose)

    @property
    def minute_weekly(self) -> Buckets[WeeklyClose]:
        """One ISO week (Monday 00:00 UTC to the next) of one coin, folded from its days."""
        return self._bucket_table("minute", "weekly", WeeklyClose)

    @property
    def minute_monthly(self) -> Buckets[MonthlyClose]:
        """One calendar month (UTC) of one coin, taken in day by day, because days leave before their month closes."""
        return self._bucket_table("minute", "monthly", MonthlyClose)

    @property
    def collection(self) -> Table[CollectionStatus, NewCollectionStatus]:
        """One run of the price collector: what it was for, how far it came, what it cost."""
        return self._table("collection", CollectionStatus, NewCollectionStatus)

    @property
    def api_usage(self) -> Table[ApiUsageStats, NewApiUsageStats]:
        """One day of calls to the price source."""
        return self._table("api_usage", ApiUsageStats, NewApiUsageStats)
