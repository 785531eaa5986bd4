"""Create initial schema."""

import sqlalchemy as sa

from chainstrata.migrate import op, pgtype

revision = "prices_0001"
down_revision = None
branch_labels = ("prices",)
depends_on = ("strata_0001",)


def upgrade() -> None:
    op.create_schema(
        "prices",
        comment="Coin prices by the minute, folded into hours, days, weeks and months, and the runs of their collector.",
    )
    op.create_enum("prices.collection_state", ["running", "completed", "failed", "cancelled"])
    op.create_enum("prices.collection_type", ["complete", "continuous", "priority_refresh", "manual"])
    op.create_table(
        "api_usage_stats",
        sa.Column("date", sa.Date(), nullable=False, comment="The day, UTC."),
        sa.Column("total_calls", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Calls made to the price source."),
        sa.Column(
            "successful_calls",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Calls that were answered with data.",
        ),
        sa.Column(
            "failed_calls",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Calls that failed for another reason than the rate limit.",
        ),
        sa.Column(
            "rate_limited_calls",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Calls that the source refused as too many (429).",
        ),
        sa.Column(
            "response_time_ms_sum",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Response times of all answered calls together.",
        ),
        sa.Column(
            "response_time_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Calls whose response time is in that sum.",
        ),
        sa.Column(
            "average_response_time",
            sa.Numeric(),
            sa.Computed("response_time_ms_sum::numeric / NULLIF(response_time_count, 0)", persisted=True),
            nullable=True,
            comment="Mean response time in milliseconds, from sum and count: days are merged by adding those, never by averaging this.",
        ),
        sa.Column(
            "peak_calls_per_minute",
            sa.Integer(),
            nullable=True,
            comment="Most calls made in any one minute, to hold against the source's limit.",
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was first written; never changes.",
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was last written.",
        ),
        sa.PrimaryKeyConstraint("date", name="api_usage_stats_pkey"),
        sa.CheckConstraint(
            "successful_calls >= 0 AND failed_calls >= 0 AND rate_limited_calls >= 0 AND total_calls >= successful_calls + failed_calls + rate_limited_calls",
            name="chk_api_usage_counts",
        ),
        sa.CheckConstraint("peak_calls_per_minute >= 0 AND peak_calls_per_minute <= total_calls", name="chk_api_usage_peak"),
        sa.CheckConstraint(
            "response_time_ms_sum >= 0 AND response_time_count >= 0 AND response_time_count <= total_calls",
            name="chk_api_usage_times",
        ),
        schema="prices",
        comment="One day of calls to the price source.",
    )
    op.create_table(
        "coin_priorities",
        sa.Column("coin_id", sa.Text(), nullable=False, comment="The coin's name at the price source, such as bitcoin."),
        sa.Column(
            "market_cap_rank",
            sa.Integer(),
            nullable=True,
            comment="Rank by market capitalisation, 1 the highest: what is collected first. NULL: the source ranks it not, or it is not known yet.",
        ),
        sa.Column(
            "market_cap_usd",
            sa.Numeric(),
            nullable=True,
            comment="Market capitalisation in US dollars, as the source last gave it.",
        ),
        sa.Column("symbol", sa.Text(), nullable=True, comment="Ticker, such as btc. Not unique: several coins may share one."),
        sa.Column("name", sa.Text(), nullable=True, comment="Name for people. NULL until the coin's own data arrived."),
        sa.Column("image_url", sa.Text(), nullable=True, comment="Address of the coin's picture at the source."),
        sa.Column(
            "last_updated",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the source last changed the coin's figures.",
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was first written; never changes.",
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was last written.",
        ),
        sa.PrimaryKeyConstraint("coin_id", name="coin_priorities_pkey"),
        sa.CheckConstraint("market_cap_usd >= 0 AND market_cap_usd < 'Infinity'::numeric", name="chk_market_cap_positive"),
        sa.CheckConstraint("market_cap_rank > 0", name="chk_market_cap_rank_positive"),
        schema="prices",
        comment="One coin that is collected: its rank, which decides how soon, and what is known of it.",
    )
    op.create_index(
        "idx_coin_priorities_rank",
        "coin_priorities",
        ["market_cap_rank"],
        schema="prices",
        comment="Coins in the order of their rank, page by page.",
    )
    op.create_index(
        "idx_coin_priorities_rank_active",
        "coin_priorities",
        ["market_cap_rank"],
        schema="prices",
        postgresql_where=sa.text("market_cap_rank <= 1000"),
        comment="The thousand leading coins, which every collection asks for: small enough to stay in memory.",
    )
    op.create_index(
        "idx_coin_priorities_updated",
        "coin_priorities",
        [sa.text("last_updated DESC")],
        schema="prices",
        comment="Coins that changed last, and those that grew stale.",
    )
    op.create_table(
        "collection_status",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Number of the run."),
        sa.Column("collection_type", pgtype("prices.collection_type"), nullable=False, comment="Why the collector ran."),
        sa.Column("start_time", sa.TIMESTAMP(timezone=True), nullable=False, comment="When the run began."),
        sa.Column("end_time", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it ended; NULL while it runs."),
        sa.Column("coins_processed", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Coins whose price was stored."),
        sa.Column(
            "coins_failed",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Coins that were asked for and gave no usable price.",
        ),
        sa.Column(
            "api_calls_made",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Calls made to the price source, repeated ones included.",
        ),
        sa.Column(
            "status",
            pgtype("prices.collection_state"),
            server_default=sa.text("'running'::prices.collection_state"),
            nullable=False,
            comment="Where the run stands.",
        ),
        sa.Column("error_message", sa.Text(), nullable=True, comment="Why it failed."),
        sa.Column("batch_details", pgtype("jsonb"), nullable=True, comment="What each batch of the run did, as the collector wrote it."),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was first written; never changes.",
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was last written.",
        ),
        sa.PrimaryKeyConstraint("id", name="collection_status_pkey"),
        sa.CheckConstraint("coins_processed >= 0 AND coins_failed >= 0 AND api_calls_made >= 0", name="chk_collection_counts"),
        sa.CheckConstraint("end_time >= start_time AND (status <> 'running' OR end_time IS NULL)", name="chk_collection_end"),
        schema="prices",
        comment="One run of the price collector: what it was for, how far it came, what it cost.",
    )
    op.create_index(
        "idx_collection_status_start_time",
        "collection_status",
        [sa.text("start_time DESC")],
        schema="prices",
        comment="The latest runs.",
    )
    op.create_index(
        "idx_collection_status_type_status",
        "collection_status",
        ["collection_type", "status"],
        schema="prices",
        comment="Runs of a kind that still run, or that failed.",
    )
    op.create_table(
        "daily_close",
        sa.Column("coin_id", sa.Text(), nullable=False, comment="The coin."),
        sa.Column("day_ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the day, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("first_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the first raw row in the bucket."),
        sa.Column("last_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the last raw row in the bucket."),
        sa.Column("open_usd", sa.Numeric(), nullable=False, comment="First price_usd of the bucket."),
        sa.Column("high_usd", sa.Numeric(), nullable=False, comment="Highest price_usd of the bucket."),
        sa.Column("low_usd", sa.Numeric(), nullable=False, comment="Lowest price_usd of the bucket."),
        sa.Column("price_usd", sa.Numeric(), nullable=False, comment="Last price_usd of the bucket."),
        sa.Column("market_cap_usd", sa.Numeric(), nullable=True, comment="Last market_cap_usd of the bucket."),
        sa.Column("volume_24h_usd", sa.Numeric(), nullable=True, comment="Last volume_24h_usd of the bucket."),
        sa.Column("coin_rank", sa.Integer(), nullable=True, comment="Last coin_rank of the bucket."),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the bucket was first written; never changes.",
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the bucket was last written.",
        ),
        sa.PrimaryKeyConstraint("coin_id", "day_ts", name="daily_close_pkey"),
        sa.ForeignKeyConstraint(["coin_id"], ["prices.coin_priorities.coin_id"], name="fk_daily_close_coin"),
        sa.CheckConstraint("coin_rank > 0", name="chk_coin_rank_positive"),
        sa.CheckConstraint("market_cap_usd >= 0 AND market_cap_usd < 'Infinity'::numeric", name="chk_market_cap_positive"),
        sa.CheckConstraint("price_usd > 0 AND price_usd < 'Infinity'::numeric", name="chk_price_positive"),
        sa.CheckConstraint(
            "low_usd > 0 AND low_usd <= open_usd AND low_usd <= price_usd AND open_usd <= high_usd AND price_usd <= high_usd",
            name="chk_price_range",
        ),
        sa.CheckConstraint("samples > 0", name="chk_samples_positive"),
        sa.CheckConstraint("volume_24h_usd >= 0 AND volume_24h_usd < 'Infinity'::numeric", name="chk_volume_positive"),
        schema="prices",
        comment="One day (UTC) of one coin, folded from its hours.",
        postgresql_partition_by="RANGE (day_ts)",
    )
    op.create_index(
        "idx_daily_close_time",
        "daily_close",
        ["day_ts"],
        schema="prices",
        comment="All coins of one day or of several, and the newest day there is.",
    )
    op.create_table(
        "daily_close__carried",
        sa.Column("coin_id", sa.Text(), nullable=False, comment="The coin."),
        sa.Column("day_ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the day, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("first_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the first raw row in the bucket."),
        sa.Column("last_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the last raw row in the bucket."),
        sa.Column("open_usd", sa.Numeric(), nullable=False, comment="First price_usd of the bucket."),
        sa.Column("high_usd", sa.Numeric(), nullable=False, comment="Highest price_usd of the bucket."),
        sa.Column("low_usd", sa.Numeric(), nullable=False, comment="Lowest price_usd of the bucket."),
        sa.Column("price_usd", sa.Numeric(), nullable=False, comment="Last price_usd of the bucket."),
        sa.Column("market_cap_usd", sa.Numeric(), nullable=True, comment="Last market_cap_usd of the bucket."),
        sa.Column("volume_24h_usd", sa.Numeric(), nullable=True, comment="Last volume_24h_usd of the bucket."),
        sa.Column("coin_rank", sa.Integer(), nullable=True, comment="Last coin_rank of the bucket."),
        sa.PrimaryKeyConstraint("coin_id", "day_ts", name="daily_close__carried_pkey"),
        schema="prices",
        comment="One row per bucket of daily_close that rows no longer there have contributed to.",
    )
    op.create_table(
        "daily_close__dirty",
        sa.Column("coin_id", sa.Text(), nullable=True, comment="The coin_id touched; NULL for all."),
        sa.Column("lo", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the range touched."),
        sa.Column("hi", sa.TIMESTAMP(timezone=True), nullable=False, comment="End of the range touched, exclusive."),
        sa.Column(
            "marked_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the writer touched it.",
        ),
        schema="prices",
        comment="One row per range of daily_close whose roll-ups are behind.",
    )
    op.create_table(
        "hourly_close",
        sa.Column("coin_id", sa.Text(), nullable=False, comment="The coin."),
        sa.Column("hour_ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the hour, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("first_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the first raw row in the bucket."),
        sa.Column("last_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the last raw row in the bucket."),
        sa.Column("open_usd", sa.Numeric(), nullable=False, comment="First price_usd of the bucket."),
        sa.Column("high_usd", sa.Numeric(), nullable=False, comment="Highest price_usd of the bucket."),
        sa.Column("low_usd", sa.Numeric(), nullable=False, comment="Lowest price_usd of the bucket."),
        sa.Column("price_usd", sa.Numeric(), nullable=False, comment="Last price_usd of the bucket."),
        sa.Column("market_cap_usd", sa.Numeric(), nullable=True, comment="Last market_cap_usd of the bucket."),
        sa.Column("volume_24h_usd", sa.Numeric(), nullable=True, comment="Last volume_24h_usd of the bucket."),
        sa.Column("coin_rank", sa.Integer(), nullable=True, comment="Last coin_rank of the bucket."),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the bucket was first written; never changes.",
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the bucket was last written.",
        ),
        sa.PrimaryKeyConstraint("coin_id", "hour_ts", name="hourly_close_pkey"),
        sa.ForeignKeyConstraint(["coin_id"], ["prices.coin_priorities.coin_id"], name="fk_hourly_close_coin"),
        sa.CheckConstraint("coin_rank > 0", name="chk_coin_rank_positive"),
        sa.CheckConstraint("market_cap_usd >= 0 AND market_cap_usd < 'Infinity'::numeric", name="chk_market_cap_positive"),
        sa.CheckConstraint("price_usd > 0 AND price_usd < 'Infinity'::numeric", name="chk_price_positive"),
        sa.CheckConstraint(
            "low_usd > 0 AND low_usd <= open_usd AND low_usd <= price_usd AND open_usd <= high_usd AND price_usd <= high_usd",
            name="chk_price_range",
        ),
        sa.CheckConstraint("samples > 0", name="chk_samples_positive"),
        sa.CheckConstraint("volume_24h_usd >= 0 AND volume_24h_usd < 'Infinity'::numeric", name="chk_volume_positive"),
        schema="prices",
        comment="One hour of one coin: open, high, low and close of its price, and its last market figures.",
        postgresql_partition_by="RANGE (hour_ts)",
    )
    op.create_index(
        "idx_hourly_close_time",
        "hourly_close",
        ["hour_ts"],
        schema="prices",
        comment="All coins of one hour or of several, and the newest hour there is.",
    )
    op.create_table(
        "hourly_close__carried",
        sa.Column("coin_id", sa.Text(), nullable=False, comment="The coin."),
        sa.Column("hour_ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the hour, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("first_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the first raw row in the bucket."),
        sa.Column("last_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the last raw row in the bucket."),
        sa.Column("open_usd", sa.Numeric(), nullable=False, comment="First price_usd of the bucket."),
        sa.Column("high_usd", sa.Numeric(), nullable=False, comment="Highest price_usd of the bucket."),
        sa.Column("low_usd", sa.Numeric(), nullable=False, comment="Lowest price_usd of the bucket."),
        sa.Column("price_usd", sa.Numeric(), nullable=False, comment="Last price_usd of the bucket."),
        sa.Column("market_cap_usd", sa.Numeric(), nullable=True, comment="Last market_cap_usd of the bucket."),
        sa.Column("volume_24h_usd", sa.Numeric(), nullable=True, comment="Last volume_24h_usd of the bucket."),
        sa.Column("coin_rank", sa.Integer(), nullable=True, comment="Last coin_rank of the bucket."),
        sa.PrimaryKeyConstraint("coin_id", "hour_ts", name="hourly_close__carried_pkey"),
        schema="prices",
        comment="One row per bucket of hourly_close that rows no longer there have contributed to.",
    )
    op.create_table(
        "hourly_close__dirty",
        sa.Column("coin_id", sa.Text(), nullable=True, comment="The coin_id touched; NULL for all."),
        sa.Column("lo", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the range touched."),
        sa.Column("hi", sa.TIMESTAMP(timezone=True), nullable=False, comment="End of the range touched, exclusive."),
        sa.Column(
            "marked_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the writer touched it.",
        ),
        schema="prices",
        comment="One row per range of hourly_close whose roll-ups are behind.",
    )
    op.create_table(
        "minute_close",
        sa.Column("coin_id", sa.Text(), nullable=False, comment="The coin."),
        sa.Column("minute_ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the minute, UTC."),
        sa.Column(
            "price_usd",
            sa.Numeric(),
            nullable=False,
            comment="Last price of the minute in US dollars, with every digit the source gave.",
        ),
        sa.Column("market_cap_usd", sa.Numeric(), nullable=True, comment="Market capitalisation in US dollars."),
        sa.Column(
            "volume_24h_usd",
            sa.Numeric(),
            nullable=True,
            comment="US dollars traded in the 24 hours before. Every row covers a whole day, so it is never summed over rows.",
        ),
        sa.Column("coin_rank", sa.Integer(), nullable=True, comment="Rank by market capitalisation at that minute."),
        sa.Column(
            "source_ts",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the source last changed these figures; of two deliveries of a minute the later one by this time stands.",
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was first written; never changes.",
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was last written.",
        ),
        sa.PrimaryKeyConstraint("coin_id", "minute_ts", name="minute_close_pkey"),
        sa.ForeignKeyConstraint(["coin_id"], ["prices.coin_priorities.coin_id"], name="fk_minute_close_coin"),
        sa.CheckConstraint("coin_rank > 0", name="chk_coin_rank_positive"),
        sa.CheckConstraint("market_cap_usd >= 0 AND market_cap_usd < 'Infinity'::numeric", name="chk_market_cap_positive"),
        sa.CheckConstraint("price_usd > 0 AND price_usd < 'Infinity'::numeric", name="chk_price_positive"),
        sa.CheckConstraint("volume_24h_usd >= 0 AND volume_24h_usd < 'Infinity'::numeric", name="chk_volume_positive"),
        schema="prices",
        comment="One price of one coin in one minute, with the market figures that came with it.",
        postgresql_partition_by="RANGE (minute_ts)",
    )
    op.create_index(
        "idx_minute_close_time",
        "minute_close",
        ["minute_ts"],
        schema="prices",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "true", "pages_per_range": "16"},
        comment="All coins of a minute. Minutes arrive in order, so a block range index finds them and costs the writer next to nothing.",
    )
    op.create_table(
        "minute_close__dirty",
        sa.Column("coin_id", sa.Text(), nullable=True, comment="The coin_id touched; NULL for all."),
        sa.Column("lo", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the range touched."),
        sa.Column("hi", sa.TIMESTAMP(timezone=True), nullable=False, comment="End of the range touched, exclusive."),
        sa.Column(
            "marked_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the writer touched it.",
        ),
        schema="prices",
        comment="One row per range of minute_close whose roll-ups are behind.",
    )
    op.create_table(
        "monthly_close",
        sa.Column("coin_id", sa.Text(), nullable=False, comment="The coin."),
        sa.Column("month_ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the month, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("first_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the first raw row in the bucket."),
        sa.Column("last_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the last raw row in the bucket."),
        sa.Column("open_usd", sa.Numeric(), nullable=False, comment="First price_usd of the bucket."),
        sa.Column("high_usd", sa.Numeric(), nullable=False, comment="Highest price_usd of the bucket."),
        sa.Column("low_usd", sa.Numeric(), nullable=False, comment="Lowest price_usd of the bucket."),
        sa.Column("price_usd", sa.Numeric(), nullable=False, comment="Last price_usd of the bucket."),
        sa.Column("market_cap_usd", sa.Numeric(), nullable=True, comment="Last market_cap_usd of the bucket."),
        sa.Column("volume_24h_usd", sa.Numeric(), nullable=True, comment="Last volume_24h_usd of the bucket."),
        sa.Column("coin_rank", sa.Integer(), nullable=True, comment="Last coin_rank of the bucket."),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the bucket was first written; never changes.",
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the bucket was last written.",
        ),
        sa.PrimaryKeyConstraint("coin_id", "month_ts", name="monthly_close_pkey"),
        sa.ForeignKeyConstraint(["coin_id"], ["prices.coin_priorities.coin_id"], name="fk_monthly_close_coin"),
        sa.CheckConstraint("coin_rank > 0", name="chk_coin_rank_positive"),
        sa.CheckConstraint("market_cap_usd >= 0 AND market_cap_usd < 'Infinity'::numeric", name="chk_market_cap_positive"),
        sa.CheckConstraint("price_usd > 0 AND price_usd < 'Infinity'::numeric", name="chk_price_positive"),
        sa.CheckConstraint(
            "low_usd > 0 AND low_usd <= open_usd AND low_usd <= price_usd AND open_usd <= high_usd AND price_usd <= high_usd",
            name="chk_price_range",
        ),
        sa.CheckConstraint("samples > 0", name="chk_samples_positive"),
        sa.CheckConstraint("volume_24h_usd >= 0 AND volume_24h_usd < 'Infinity'::numeric", name="chk_volume_positive"),
        schema="prices",
        comment="One calendar month (UTC) of one coin, taken in day by day, because days leave before their month closes.",
        postgresql_partition_by="RANGE (month_ts)",
    )
    op.create_index(
        "idx_monthly_close_time",
        "monthly_close",
        ["month_ts"],
        schema="prices",
        comment="All coins of one month or of several, and the newest month there is.",
    )
    op.create_table(
        "monthly_close__carried",
        sa.Column("coin_id", sa.Text(), nullable=False, comment="The coin."),
        sa.Column("month_ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the month, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("first_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the first raw row in the bucket."),
        sa.Column("last_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the last raw row in the bucket."),
        sa.Column("open_usd", sa.Numeric(), nullable=False, comment="First price_usd of the bucket."),
        sa.Column("high_usd", sa.Numeric(), nullable=False, comment="Highest price_usd of the bucket."),
        sa.Column("low_usd", sa.Numeric(), nullable=False, comment="Lowest price_usd of the bucket."),
        sa.Column("price_usd", sa.Numeric(), nullable=False, comment="Last price_usd of the bucket."),
        sa.Column("market_cap_usd", sa.Numeric(), nullable=True, comment="Last market_cap_usd of the bucket."),
        sa.Column("volume_24h_usd", sa.Numeric(), nullable=True, comment="Last volume_24h_usd of the bucket."),
        sa.Column("coin_rank", sa.Integer(), nullable=True, comment="Last coin_rank of the bucket."),
        sa.PrimaryKeyConstraint("coin_id", "month_ts", name="monthly_close__carried_pkey"),
        schema="prices",
        comment="One row per bucket of monthly_close that rows no longer there have contributed to.",
    )
    op.create_table(
        "weekly_close",
        sa.Column("coin_id", sa.Text(), nullable=False, comment="The coin."),
        sa.Column("week_ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the week, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("first_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the first raw row in the bucket."),
        sa.Column("last_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the last raw row in the bucket."),
        sa.Column("open_usd", sa.Numeric(), nullable=False, comment="First price_usd of the bucket."),
        sa.Column("high_usd", sa.Numeric(), nullable=False, comment="Highest price_usd of the bucket."),
        sa.Column("low_usd", sa.Numeric(), nullable=False, comment="Lowest price_usd of the bucket."),
        sa.Column("price_usd", sa.Numeric(), nullable=False, comment="Last price_usd of the bucket."),
        sa.Column("market_cap_usd", sa.Numeric(), nullable=True, comment="Last market_cap_usd of the bucket."),
        sa.Column("volume_24h_usd", sa.Numeric(), nullable=True, comment="Last volume_24h_usd of the bucket."),
        sa.Column("coin_rank", sa.Integer(), nullable=True, comment="Last coin_rank of the bucket."),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the bucket was first written; never changes.",
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the bucket was last written.",
        ),
        sa.PrimaryKeyConstraint("coin_id", "week_ts", name="weekly_close_pkey"),
        sa.ForeignKeyConstraint(["coin_id"], ["prices.coin_priorities.coin_id"], name="fk_weekly_close_coin"),
        sa.CheckConstraint("coin_rank > 0", name="chk_coin_rank_positive"),
        sa.CheckConstraint("market_cap_usd >= 0 AND market_cap_usd < 'Infinity'::numeric", name="chk_market_cap_positive"),
        sa.CheckConstraint("price_usd > 0 AND price_usd < 'Infinity'::numeric", name="chk_price_positive"),
        sa.CheckConstraint(
            "low_usd > 0 AND low_usd <= open_usd AND low_usd <= price_usd AND open_usd <= high_usd AND price_usd <= high_usd",
            name="chk_price_range",
        ),
        sa.CheckConstraint("samples > 0", name="chk_samples_positive"),
        sa.CheckConstraint("volume_24h_usd >= 0 AND volume_24h_usd < 'Infinity'::numeric", name="chk_volume_positive"),
        schema="prices",
        comment="One ISO week (Monday 00:00 UTC to the next) of one coin, folded from its days.",
    )
    op.create_index(
        "idx_weekly_close_time",
        "weekly_close",
        ["week_ts"],
        schema="prices",
        comment="All coins of one week or of several, and the newest week there is.",
    )
    op.create_table(
        "weekly_close__carried",
        sa.Column("coin_id", sa.Text(), nullable=False, comment="The coin."),
        sa.Column("week_ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="Start of the week, UTC."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Number of raw rows in the bucket."),
        sa.Column("first_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the first raw row in the bucket."),
        sa.Column("last_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="Time of the last raw row in the bucket."),
        sa.Column("open_usd", sa.Numeric(), nullable=False, comment="First price_usd of the bucket."),
        sa.Column("high_usd", sa.Numeric(), nullable=False, comment="Highest price_usd of the bucket."),
        sa.Column("low_usd", sa.Numeric(), nullable=False, comment="Lowest price_usd of the bucket."),
        sa.Column("price_usd", sa.Numeric(), nullable=False, comment="Last price_usd of the bucket."),
        sa.Column("market_cap_usd", sa.Numeric(), nullable=True, comment="Last market_cap_usd of the bucket."),
        sa.Column("volume_24h_usd", sa.Numeric(), nullable=True, comment="Last volume_24h_usd of the bucket."),
        sa.Column("coin_rank", sa.Integer(), nullable=True, comment="Last coin_rank of the bucket."),
        sa.PrimaryKeyConstraint("coin_id", "week_ts", name="weekly_close__carried_pkey"),
        schema="prices",
        comment="One row per bucket of weekly_close that rows no longer there have contributed to.",
    )
    op.create_function(
        "prices.minute_close__mark()",
        """
CREATE FUNCTION "prices"."minute_close__mark"() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
    INSERT INTO "prices"."minute_close__dirty" ("coin_id", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "coin_id", date_bin('3600 seconds'::interval, "minute_ts", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM new_rows),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{prices.minute.hourly}')
                 )
             )
        SELECT "coin_id", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::TEXT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO "prices"."minute_close__dirty" ("coin_id", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "coin_id", date_bin('3600 seconds'::interval, "minute_ts", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM old_rows),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{prices.minute.hourly}')
                 )
             )
        SELECT "coin_id", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::TEXT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO "prices"."minute_close__dirty" ("coin_id", lo, hi)
        WITH pairs AS MATERIALIZED (SELECT DISTINCT "coin_id", date_bin('3600 seconds'::interval, "minute_ts", '1970-01-05T00:00:00+00:00'::timestamptz) AS lo FROM (TABLE new_rows UNION ALL TABLE old_rows) AS touched),
             dense AS MATERIALIZED (
                 SELECT lo FROM pairs GROUP BY lo HAVING count(*) > (
                     SELECT coalesce(max(most_keys), 256) FROM strata.rollup_state WHERE rollup = ANY ('{prices.minute.hourly}')
                 )
             )
        SELECT "coin_id", lo, ("lo" + '3600 seconds'::interval) FROM pairs WHERE lo NOT IN (SELECT lo FROM dense)
        UNION ALL
        SELECT NULL::TEXT, lo, ("lo" + '3600 seconds'::interval) FROM dense;
    ELSE
        INSERT INTO "prices"."minute_close__dirty" (lo, hi) VALUES ('-infinity', 'infinity');
    END IF;
    RETURN NULL;
END
$$
""",
        comment="Marks the roll-ups of prices.minute that a statement touched.",
    )
    op.create_view(
        "prices.table_stats",
        """
CREATE VIEW prices.table_stats AS
SELECT
    n.nspname AS schemaname,
    c.relname AS tablename,
    pg_catalog.pg_size_pretty(sums.size_bytes) AS size,
    sums.size_bytes,
    sums.partitions,
    sums.inserts,
    sums.updates,
    sums.deletes,
    sums.live_tuples
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT
        pg_catalog.sum(pg_catalog.pg_total_relation_size(leaf.oid))::bigint AS size_bytes,
        pg_catalog.count(*) FILTER (WHERE leaf.oid <> c.oid) AS partitions,
        pg_catalog.sum(pg_catalog.pg_stat_get_tuples_inserted(leaf.oid))::bigint AS inserts,
        pg_catalog.sum(pg_catalog.pg_stat_get_tuples_updated(leaf.oid))::bigint AS updates,
        pg_catalog.sum(pg_catalog.pg_stat_get_tuples_deleted(leaf.oid))::bigint AS deletes,
        pg_catalog.sum(pg_catalog.pg_stat_get_live_tuples(leaf.oid))::bigint AS live_tuples
    -- A plain table is no tree; its own oid stands for it. A partitioned one stores nothing, so its own oid adds nothing.
    FROM (
        SELECT c.oid
        UNION
        SELECT tree.relid FROM pg_catalog.pg_partition_tree(c.oid) AS tree WHERE tree.isleaf
    ) AS leaf
) AS sums
WHERE n.nspname = 'prices' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY sums.size_bytes DESC, c.relname;
""",
        comment="Size and activity of every table of the pack, partitions summed into their parent: the parent itself stores nothing.",
    )
    op.create_trigger(
        "api_usage_stats__stamp",
        "prices.api_usage_stats",
        """
CREATE TRIGGER "api_usage_stats__stamp" BEFORE UPDATE ON "prices"."api_usage_stats" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of prices.api_usage was written true.",
    )
    op.create_trigger(
        "coin_priorities__stamp",
        "prices.coin_priorities",
        """
CREATE TRIGGER "coin_priorities__stamp" BEFORE UPDATE ON "prices"."coin_priorities" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of prices.coins was written true.",
    )
    op.create_trigger(
        "collection_status__stamp",
        "prices.collection_status",
        """
CREATE TRIGGER "collection_status__stamp" BEFORE UPDATE ON "prices"."collection_status" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of prices.collection was written true.",
    )
    op.create_trigger(
        "minute_close__mark_delete",
        "prices.minute_close",
        """
CREATE TRIGGER "minute_close__mark_delete" AFTER DELETE ON "prices"."minute_close" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "prices"."minute_close__mark"()
""",
        comment="Marks the roll-ups of prices.minute that a statement touched.",
    )
    op.create_trigger(
        "minute_close__mark_insert",
        "prices.minute_close",
        """
CREATE TRIGGER "minute_close__mark_insert" AFTER INSERT ON "prices"."minute_close" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "prices"."minute_close__mark"()
""",
        comment="Marks the roll-ups of prices.minute that a statement touched.",
    )
    op.create_trigger(
        "minute_close__mark_truncate",
        "prices.minute_close",
        """
CREATE TRIGGER "minute_close__mark_truncate" AFTER TRUNCATE ON "prices"."minute_close" FOR EACH STATEMENT EXECUTE FUNCTION "prices"."minute_close__mark"()
""",
        comment="Marks the roll-ups of prices.minute that a statement touched.",
    )
    op.create_trigger(
        "minute_close__mark_update",
        "prices.minute_close",
        """
CREATE TRIGGER "minute_close__mark_update" AFTER UPDATE ON "prices"."minute_close" REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "prices"."minute_close__mark"()
""",
        comment="Marks the roll-ups of prices.minute that a statement touched.",
    )
    op.create_trigger(
        "minute_close__stamp",
        "prices.minute_close",
        """
CREATE TRIGGER "minute_close__stamp" BEFORE UPDATE ON "prices"."minute_close" FOR EACH ROW EXECUTE FUNCTION "strata"."stamp_row"()
""",
        comment="Keeps the times a row of prices.minute was written true.",
    )
    op.set_policy("prices.api_usage", {"table": "prices.api_usage_stats"})
    op.set_policy(
        "prices.coins",
        {
            "cache": {"tags": ["coin:{coin_id}"], "ttl": "5 minutes"},
            "conflict": {
                "columns": ["market_cap_rank", "market_cap_usd", "symbol", "name", "image_url", "last_updated"],
                "policy": "merge",
            },
            "entity": ["coin_id"],
            "mirror": {"order_by": ["coin_id"]},
            "table": "prices.coin_priorities",
            "topic": "prices.coins",
        },
    )
    op.set_policy(
        "prices.collection",
        {"lifecycle": {"keep": "30 days", "terminal": "status <> 'running'"}, "table": "prices.collection_status", "time": "start_time"},
    )
    op.set_policy(
        "prices.minute",
        {
            "cache": {"tags": ["coin:{coin_id}"], "ttl": "5 minutes"},
            "conflict": {"policy": "newest", "version": "source_ts"},
            "entity": ["coin_id"],
            "lifecycle": {"keep": "60 minutes", "partition": "1 hour", "premake": 24},
            "mirror": {"order_by": ["coin_id", "minute_ts"]},
            "parents": [{"columns": [["coin_id", "coin_id"]], "dataset": "prices.coins"}],
            "rollups": [
                {
                    "bucket": "hour_ts",
                    "by": ["coin_id"],
                    "doc": "One hour of one coin: open, high, low and close of its price, and its last market figures.",
                    "every": "1 hour",
                    "lifecycle": {"keep": "24 hours", "partition": "1 day", "premake": 7},
                    "measures": [
                        {
                            "column": "price_usd",
                            "kind": "ohlc",
                            "name": "price_usd",
                            "names": ["open_usd", "high_usd", "low_usd", "price_usd"],
                        },
                        {"column": "market_cap_usd", "kind": "last", "name": "market_cap_usd"},
                        {"column": "volume_24h_usd", "kind": "last", "name": "volume_24h_usd"},
                        {"column": "coin_rank", "kind": "last", "name": "coin_rank"},
                    ],
                    "name": "hourly",
                    "table": "hourly_close",
                },
                {
                    "bucket": "day_ts",
                    "by": ["coin_id"],
                    "doc": "One day (UTC) of one coin, folded from its hours.",
                    "every": "1 day",
                    "lifecycle": {"keep": "7 days", "partition": "1 day", "premake": 7},
                    "measures": [
                        {
                            "column": "price_usd",
                            "kind": "ohlc",
                            "name": "price_usd",
                            "names": ["open_usd", "high_usd", "low_usd", "price_usd"],
                        },
                        {"column": "market_cap_usd", "kind": "last", "name": "market_cap_usd"},
                        {"column": "volume_24h_usd", "kind": "last", "name": "volume_24h_usd"},
                        {"column": "coin_rank", "kind": "last", "name": "coin_rank"},
                    ],
                    "name": "daily",
                    "source": "hourly",
                    "table": "daily_close",
                },
                {
                    "bucket": "week_ts",
                    "by": ["coin_id"],
                    "doc": "One ISO week (Monday 00:00 UTC to the next) of one coin, folded from its days.",
                    "every": "1 week",
                    "lifecycle": {"keep": "52 weeks"},
                    "measures": [
                        {
                            "column": "price_usd",
                            "kind": "ohlc",
                            "name": "price_usd",
                            "names": ["open_usd", "high_usd", "low_usd", "price_usd"],
                        },
                        {"column": "market_cap_usd", "kind": "last", "name": "market_cap_usd"},
                        {"column": "volume_24h_usd", "kind": "last", "name": "volume_24h_usd"},
                        {"column": "coin_rank", "kind": "last", "name": "coin_rank"},
                    ],
                    "name": "weekly",
                    "source": "daily",
                    "table": "weekly_close",
                },
                {
                    "bucket": "month_ts",
                    "by": ["coin_id"],
                    "doc": "One calendar month (UTC) of one coin, taken in day by day, because days leave before their month closes.",
                    "every": "1 month",
                    "incremental": True,
                    "lifecycle": {"partition": "1 year", "premake": 2},
                    "measures": [
                        {
                            "column": "price_usd",
                            "kind": "ohlc",
                            "name": "price_usd",
                            "names": ["open_usd", "high_usd", "low_usd", "price_usd"],
                        },
                        {"column": "market_cap_usd", "kind": "last", "name": "market_cap_usd"},
                        {"column": "volume_24h_usd", "kind": "last", "name": "volume_24h_usd"},
                        {"column": "coin_rank", "kind": "last", "name": "coin_rank"},
                    ],
                    "name": "monthly",
                    "source": "daily",
                    "table": "monthly_close",
                },
            ],
            "table": "prices.minute_close",
            "time": "minute_ts",
            "topic": "prices.minute",
        },
    )


def downgrade() -> None:
    op.drop_view("prices.table_stats")
    op.remove_policy("prices.minute")
    op.remove_policy("prices.collection")
    op.remove_policy("prices.coins")
    op.remove_policy("prices.api_usage")
    op.drop_table("minute_close", schema="prices")
    op.drop_function("prices.minute_close__mark()")
    op.drop_table("weekly_close__carried", schema="prices")
    op.drop_table("weekly_close", schema="prices")
    op.drop_table("monthly_close__carried", schema="prices")
    op.drop_table("monthly_close", schema="prices")
    op.drop_table("minute_close__dirty", schema="prices")
    op.drop_table("hourly_close__dirty", schema="prices")
    op.drop_table("hourly_close__carried", schema="prices")
    op.drop_table("hourly_close", schema="prices")
    op.drop_table("daily_close__dirty", schema="prices")
    op.drop_table("daily_close__carried", schema="prices")
    op.drop_table("daily_close", schema="prices")
    op.drop_table("collection_status", schema="prices")
    op.drop_table("coin_priorities", schema="prices")
    op.drop_table("api_usage_stats", schema="prices")
    op.drop_enum("prices.collection_type")
    op.drop_enum("prices.collection_state")
    op.drop_schema("prices")
