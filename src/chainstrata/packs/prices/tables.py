"""Tables of the prices pack: coins, minutes and their roll-ups, runs of the collector, use of the price source.

A minute is kept an hour, an hour a day, a day a week, a week a year, a month for ever. Each is folded from the one before;
months from days, because weeks straddle them, and day by day, because days leave before their month closes.
"""

import sqlalchemy as sa

from chainstrata.model import (
    INSTANT,
    JSON,
    PRICE,
    CachePolicy,
    Dataset,
    Lifecycle,
    Mirror,
    Parent,
    Rollup,
    check,
    column,
    created_at,
    days,
    enum,
    hours,
    index,
    last,
    merge,
    metadata,
    minutes,
    months,
    newest,
    ohlc,
    reference,
    updated_at,
    weeks,
    years,
)
from chainstrata.packs.prices.model import CollectionState, CollectionType

SCHEMA = "prices"
METADATA = metadata(SCHEMA)


collection_type = enum("collection_type", CollectionType, schema=SCHEMA)
collection_state = enum("collection_state", CollectionState, schema=SCHEMA)
ENUMS = (collection_type, collection_state)

# NaN and Infinity are values of NUMERIC, and both pass a bare `> 0`.
FINITE = "'Infinity'::numeric"


def market_checks() -> list[sa.CheckConstraint]:
    """Return what holds for a price and the figures beside it, in a minute as in a month."""
    return [
        check("chk_price_positive", f"price_usd > 0 AND price_usd < {FINITE}"),
        check("chk_market_cap_positive", f"market_cap_usd >= 0 AND market_cap_usd < {FINITE}"),
        check("chk_volume_positive", f"volume_24h_usd >= 0 AND volume_24h_usd < {FINITE}"),
        check("chk_coin_rank_positive", "coin_rank > 0"),
    ]


coin_priorities = sa.Table(
    "coin_priorities",
    METADATA,
    column("coin_id", sa.Text(), doc="The coin's name at the price source, such as bitcoin."),
    column(
        "market_cap_rank",
        sa.Integer(),
        nullable=True,
        doc="Rank by market capitalisation, 1 the highest: what is collected first. NULL: the source ranks it not, or it is not known yet.",
    ),
    column("market_cap_usd", PRICE, nullable=True, doc="Market capitalisation in US dollars, as the source last gave it."),
    column("symbol", sa.Text(), nullable=True, doc="Ticker, such as btc. Not unique: several coins may share one."),
    column("name", sa.Text(), nullable=True, doc="Name for people. NULL until the coin's own data arrived."),
    column("image_url", sa.Text(), nullable=True, doc="Address of the coin's picture at the source."),
    column("last_updated", INSTANT, server_default=sa.func.now(), doc="When the source last changed the coin's figures."),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("coin_id", name="coin_priorities_pkey"),
    check("chk_market_cap_rank_positive", "market_cap_rank > 0"),
    check("chk_market_cap_positive", f"market_cap_usd >= 0 AND market_cap_usd < {FINITE}"),
    index("idx_coin_priorities_rank", "market_cap_rank", why="Coins in the order of their rank, page by page."),
    index("idx_coin_priorities_updated", sa.text("last_updated DESC"), why="Coins that changed last, and those that grew stale."),
    index(
        "idx_coin_priorities_rank_active",
        "market_cap_rank",
        postgresql_where=sa.text("market_cap_rank <= 1000"),
        why="The thousand leading coins, which every collection asks for: small enough to stay in memory.",
    ),
    comment="One coin that is collected: its rank, which decides how soon, and what is known of it.",
)

minute_close = sa.Table(
    "minute_close",
    METADATA,
    column("coin_id", sa.Text(), doc="The coin."),
    column("minute_ts", INSTANT, doc="Start of the minute, UTC."),
    column("price_usd", PRICE, doc="Last price of the minute in US dollars, with every digit the source gave."),
    column("market_cap_usd", PRICE, nullable=True, doc="Market capitalisation in US dollars."),
    column(
        "volume_24h_usd",
        PRICE,
        nullable=True,
        rolling=hours(24),
        doc="US dollars traded in the 24 hours before. Every row covers a whole day, so it is never summed over rows.",
    ),
    column("coin_rank", sa.Integer(), nullable=True, doc="Rank by market capitalisation at that minute."),
    column(
        "source_ts",
        INSTANT,
        server_default=sa.func.now(),
        doc="When the source last changed these figures; of two deliveries of a minute the later one by this time stands.",
    ),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("coin_id", "minute_ts", name="minute_close_pkey"),
    reference("fk_minute_close_coin", ["coin_id"], [f"{SCHEMA}.coin_priorities.coin_id"]),
    *market_checks(),
    index(
        "idx_minute_close_time",
        "minute_ts",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 16, "autosummarize": True},
        why="All coins of a minute. Minutes arrive in order, so a block range index finds them and costs the writer next to nothing.",
    ),
    comment="One price of one coin in one minute, with the market figures that came with it.",
    postgresql_partition_by="RANGE (minute_ts)",
)

MEASURES = (
    ohlc("price_usd", names=("open_usd", "high_usd", "low_usd", "price_usd")),
    last("market_cap_usd", name="market_cap_usd"),
    last("volume_24h_usd", name="volume_24h_usd"),
    last("coin_rank", name="coin_rank"),
)


def period_checks() -> list[sa.CheckConstraint]:
    """Return what holds for every roll-up: the figures of a minute, and a range that holds open and close."""
    within = "low_usd > 0 AND low_usd <= open_usd AND low_usd <= price_usd AND open_usd <= high_usd AND price_usd <= high_usd"
    return [*market_checks(), check("chk_price_range", within), check("chk_samples_positive", "samples > 0")]


def time_index(table: str, bucket: str) -> sa.Index:
    # A btree, not a block range index: an open bucket is written again and again, so its row does not stay where it was put.
    period = bucket.removesuffix("_ts")
    return index(f"idx_{table}_time", bucket, why=f"All coins of one {period} or of several, and the newest {period} there is.")


ROLLUPS = (
    Rollup(
        "hourly",
        every=hours(1),
        by=["coin_id"],
        measures=MEASURES,
        table="hourly_close",
        bucket="hour_ts",
        doc="One hour of one coin: open, high, low and close of its price, and its last market figures.",
        lifecycle=Lifecycle(partition=days(1), premake=7, keep=hours(24)),
        checks=period_checks(),
        indexes=[time_index("hourly_close", "hour_ts")],
    ),
    Rollup(
        "daily",
        every=days(1),
        by=["coin_id"],
        measures=MEASURES,
        source="hourly",
        table="daily_close",
        bucket="day_ts",
        doc="One day (UTC) of one coin, folded from its hours.",
        lifecycle=Lifecycle(partition=days(1), premake=7, keep=days(7)),
        checks=period_checks(),
        indexes=[time_index("daily_close", "day_ts")],
    ),
    Rollup(
        "weekly",
        every=weeks(1),
        by=["coin_id"],
        measures=MEASURES,
        source="daily",
        table="weekly_close",
        bucket="week_ts",
        doc="One ISO week (Monday 00:00 UTC to the next) of one coin, folded from its days.",
        # Not partitioned: a year would outlast the 52 weeks, and 52 rows for each coin are one small table.
        lifecycle=Lifecycle(keep=weeks(52)),
        checks=period_checks(),
        indexes=[time_index("weekly_close", "week_ts")],
    ),
    Rollup(
        "monthly",
        every=months(1),
        by=["coin_id"],
        measures=MEASURES,
        source="daily",
        table="monthly_close",
        bucket="month_ts",
        doc="One calendar month (UTC) of one coin, taken in day by day, because days leave before their month closes.",
        # The one table that grows for ever: a past year is a partition of its own, vacuumed and backed up once.
        lifecycle=Lifecycle(partition=years(1), premake=2),
        incremental=True,
        checks=period_checks(),
        indexes=[time_index("monthly_close", "month_ts")],
    ),
)

collection_status = sa.Table(
    "collection_status",
    METADATA,
    column("id", sa.BigInteger(), sa.Identity(), doc="Number of the run."),
    column("collection_type", collection_type, doc="Why the collector ran."),
    column("start_time", INSTANT, doc="When the run began."),
    column("end_time", INSTANT, nullable=True, doc="When it ended; NULL while it runs."),
    column("coins_processed", sa.BigInteger(), server_default=sa.text("0"), doc="Coins whose price was stored."),
    column("coins_failed", sa.BigInteger(), server_default=sa.text("0"), doc="Coins that were asked for and gave no usable price."),
    column("api_calls_made", sa.BigInteger(), server_default=sa.text("0"), doc="Calls made to the price source, repeated ones included."),
    column("status", collection_state, server_default=CollectionState.RUNNING.value, doc="Where the run stands."),
    column("error_message", sa.Text(), nullable=True, doc="Why it failed."),
    column("batch_details", JSON, nullable=True, doc="What each batch of the run did, as the collector wrote it."),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("id", name="collection_status_pkey"),
    check("chk_collection_counts", "coins_processed >= 0 AND coins_failed >= 0 AND api_calls_made >= 0"),
    check("chk_collection_end", "end_time >= start_time AND (status <> 'running' OR end_time IS NULL)"),
    index("idx_collection_status_start_time", sa.text("start_time DESC"), why="The latest runs."),
    index("idx_collection_status_type_status", "collection_type", "status", why="Runs of a kind that still run, or that failed."),
    comment="One run of the price collector: what it was for, how far it came, what it cost.",
)

api_usage_stats = sa.Table(
    "api_usage_stats",
    METADATA,
    column("date", sa.Date(), doc="The day, UTC."),
    column("total_calls", sa.BigInteger(), server_default=sa.text("0"), doc="Calls made to the price source."),
    column("successful_calls", sa.BigInteger(), server_default=sa.text("0"), doc="Calls that were answered with data."),
    column("failed_calls", sa.BigInteger(), server_default=sa.text("0"), doc="Calls that failed for another reason than the rate limit."),
    column("rate_limited_calls", sa.BigInteger(), server_default=sa.text("0"), doc="Calls that the source refused as too many (429)."),
    column("response_time_ms_sum", sa.BigInteger(), server_default=sa.text("0"), doc="Response times of all answered calls together."),
    column("response_time_count", sa.BigInteger(), server_default=sa.text("0"), doc="Calls whose response time is in that sum."),
    column(
        "average_response_time",
        PRICE,
        sa.Computed("response_time_ms_sum::numeric / NULLIF(response_time_count, 0)", persisted=True),
        nullable=True,
        doc="Mean response time in milliseconds, from sum and count: days are merged by adding those, never by averaging this.",
    ),
    column(
        "peak_calls_per_minute", sa.Integer(), nullable=True, doc="Most calls made in any one minute, to hold against the source's limit."
    ),
    created_at(),
    updated_at(),
    sa.PrimaryKeyConstraint("date", name="api_usage_stats_pkey"),
    check(
        "chk_api_usage_counts",
        "successful_calls >= 0 AND failed_calls >= 0 AND rate_limited_calls >= 0"
        " AND total_calls >= successful_calls + failed_calls + rate_limited_calls",
    ),
    check("chk_api_usage_times", "response_time_ms_sum >= 0 AND response_time_count >= 0 AND response_time_count <= total_calls"),
    check("chk_api_usage_peak", "peak_calls_per_minute >= 0 AND peak_calls_per_minute <= total_calls"),
    comment="One day of calls to the price source.",
)

DATASETS = (
    Dataset(
        coin_priorities,
        "coins",
        entity=["coin_id"],
        conflict=merge("market_cap_rank", "market_cap_usd", "symbol", "name", "image_url", "last_updated"),
        mirror=Mirror(order_by=["coin_id"]),
        cache=CachePolicy(ttl=minutes(5), tags=["coin:{coin_id}"]),
        topic="prices.coins",
    ),
    Dataset(
        minute_close,
        "minute",
        time="minute_ts",
        entity=["coin_id"],
        lifecycle=Lifecycle(partition=hours(1), premake=24, keep=minutes(60)),
        rollups=ROLLUPS,
        conflict=newest("source_ts"),
        parents=[Parent("prices.coins", [("coin_id", "coin_id")])],
        mirror=Mirror(order_by=["coin_id", "minute_ts"]),
        cache=CachePolicy(ttl=minutes(5), tags=["coin:{coin_id}"]),
        topic="prices.minute",
    ),
    Dataset(
        collection_status,
        "collection",
        time="start_time",
        lifecycle=Lifecycle(keep=days(30), terminal="status <> 'running'"),
    ),
    Dataset(api_usage_stats, "api_usage"),
)
