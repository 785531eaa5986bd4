"""create initial schema."""

from chainstrata.model.columnar import (
    ColumnarColumn,
    ColumnarTable,
    ColumnarView,
    Create,
)

CHANGES = [
    Create(
        item=ColumnarTable(
            name="prices__coins__rows",
            columns=[
                ColumnarColumn(
                    name="coin_id",
                    type="String",
                    doc="The coin's name at the price source, such as bitcoin.",
                    codec="ZSTD(1)",
                ),
                ColumnarColumn(
                    name="market_cap_rank",
                    type="Nullable(Int32)",
                    doc="Rank by market capitalisation, 1 the highest: what is collected first. NULL: the source ranks it not, or it is not known yet.",
                    codec="T64, ZSTD(1)",
                ),
                ColumnarColumn(
                    name="market_cap_usd",
                    type="Nullable(Decimal(76, 38))",
                    doc="Market capitalisation in US dollars, as the source last gave it.",
                    codec="ZSTD(1)",
                ),
                ColumnarColumn(
                    name="symbol",
                    type="Nullable(String)",
                    doc="Ticker, such as btc. Not unique: several coins may share one.",
                    codec="ZSTD(1)",
                ),
                ColumnarColumn(
                    name="name",
                    type="Nullable(String)",
                    doc="Name for people. NULL until the coin's own data arrived.",
                    codec="ZSTD(1)",
                ),
                ColumnarColumn(
                    name="image_url",
                    type="Nullable(String)",
                    doc="Address of the coin's picture at the source.",
                    codec="ZSTD(1)",
                ),
                ColumnarColumn(
                    name="last_updated",
                    type="DateTime64(6, 'UTC')",
                    doc="When the source last changed the coin's figures.",
                    codec="DoubleDelta, ZSTD(1)",
                ),
                ColumnarColumn(
                    name="created_at",
                    type="DateTime64(6, 'UTC')",
                    doc="When the row was first written; never changes.",
                    codec="DoubleDelta, ZSTD(1)",
                ),
                ColumnarColumn(
                    name="updated_at",
                    type="DateTime64(6, 'UTC')",
                    doc="When the row was last written.",
                    codec="DoubleDelta, ZSTD(1)",
                ),
                ColumnarColumn(
                    name="_version",
                    type="UInt64",
                    doc="Position of the commit that wrote it; the higher one stands.",
                    codec="DoubleDelta, ZSTD(1)",
                ),
                ColumnarColumn(name="_deleted", type="UInt8", doc="1: the row is gone.", codec="ZSTD(1)", default="0"),
            ],
            engine="ReplacingMergeTree(_version, _deleted)",
            order_by=["coin_id"],
            doc="Every version of the rows of prices.coins; prices__coins shows the newest.",
        ),
    ),
    Create(
        item=ColumnarTable(
            name="prices__minute__rows",
            columns=[
                ColumnarColumn(name="coin_id", type="String", doc="The coin.", codec="ZSTD(1)"),
                ColumnarColumn(
                    name="minute_ts",
                    type="DateTime64(6, 'UTC')",
                    doc="Start of the minute, UTC.",
                    codec="DoubleDelta, ZSTD(1)",
                ),
                ColumnarColumn(
                    name="price_usd",
                    type="Decimal(76, 38)",
                    doc="Last price of the minute in US dollars, with every digit the source gave.",
                    codec="ZSTD(1)",
                ),
                ColumnarColumn(
                    name="market_cap_usd",
                    type="Nullable(Decimal(76, 38))",
                    doc="Market capitalisation in US dollars.",
                    codec="ZSTD(1)",
                ),
                ColumnarColumn(
                    name="volume_24h_usd",
                    type="Nullable(Decimal(76, 38))",
                    doc="US dollars traded in the 24 hours before. Every row covers a whole day, so it is never summed over rows.",
                    codec="ZSTD(1)",
                ),
                ColumnarColumn(
                    name="coin_rank",
                    type="Nullable(Int32)",
                    doc="Rank by market capitalisation at that minute.",
                    codec="T64, ZSTD(1)",
                ),
                ColumnarColumn(
                    name="source_ts",
                    type="DateTime64(6, 'UTC')",
                    doc="When the source last changed these figures; of two deliveries of a minute the later one by this time stands.",
                    codec="DoubleDelta, ZSTD(1)",
                ),
                ColumnarColumn(
                    name="created_at",
                    type="DateTime64(6, 'UTC')",
                    doc="When the row was first written; never changes.",
                    codec="DoubleDelta, ZSTD(1)",
                ),
                ColumnarColumn(
                    name="updated_at",
                    type="DateTime64(6, 'UTC')",
                    doc="When the row was last written.",
                    codec="DoubleDelta, ZSTD(1)",
                ),
                ColumnarColumn(
                    name="_version",
                    type="UInt64",
                    doc="Position of the commit that wrote it; the higher one stands.",
                    codec="DoubleDelta, ZSTD(1)",
                ),
                ColumnarColumn(name="_deleted", type="UInt8", doc="1: the row is gone.", codec="ZSTD(1)", default="0"),
            ],
            engine="ReplacingMergeTree(_version, _deleted)",
            order_by=["coin_id", "minute_ts"],
            partition_by="toYYYYMM(`minute_ts`)",
            doc="Every version of the rows of prices.minute; prices__minute shows the newest.",
        ),
    ),
    Create(
        item=ColumnarView(
            name="prices__coins",
            query="SELECT `coin_id`, `market_cap_rank`, `market_cap_usd`, `symbol`, `name`, `image_url`, `last_updated`, `created_at`, `updated_at` FROM {database}.`prices__coins__rows` FINAL",
            doc="One coin that is collected: its rank, which decides how soon, and what is known of it.",
            requires=["prices__coins__rows"],
        ),
    ),
    Create(
        item=ColumnarView(
            name="prices__minute",
            query="SELECT `coin_id`, `minute_ts`, `price_usd`, `market_cap_usd`, `volume_24h_usd`, `coin_rank`, `source_ts`, `created_at`, `updated_at` FROM {database}.`prices__minute__rows` FINAL",
            doc="One price of one coin in one minute, with the market figures that came with it.",
            requires=["prices__minute__rows"],
        ),
    ),
]
