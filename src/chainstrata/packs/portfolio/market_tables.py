"""Market data of the portfolio pack: six datasets that live in the columnar engine, and what is kept of their rows.

Money is exact: prices with 24 digits behind the point, sums of money with 18, amounts of tokens as raw units. What is a statistic
of them (a volatility, a slope, a score) is a floating number, and only that. Codecs are those that measured best on rows like these;
`chainstrata columnar report` measures them on yours.
"""

from chainstrata.model import months, years
from chainstrata.model.columnar import ColumnarDataset, Digest, Field, SkipIndex

PACK = "portfolio"
NAME = "LowCardinality(String)"
MONEY = "Decimal(38, 18)"
PRICE = "Decimal(38, 24)"
MOMENT = "DateTime64(6, 'UTC')"
EVENTS = ("swap", "transfer", "deposit", "withdrawal", "borrow", "repay", "liquidation", "mint", "burn", "flash_loan")
STRATEGIES = ("lending", "liquidity", "staking", "restaking", "vault", "other")


def _moment(doc: str) -> Field:
    return Field("ts", MOMENT, doc, "DoubleDelta, ZSTD(1)")


def _name(name: str, doc: str) -> Field:
    return Field(name, NAME, doc)


def _money(name: str, doc: str, *, known: bool = True) -> Field:
    return Field(name, MONEY if known else f"Nullable({MONEY})", doc, "ZSTD(3)", least=0)


price_data_raw = ColumnarDataset(
    PACK,
    "price_data_raw",
    "One price of one asset as one source gave it.",
    [
        _name("asset_id", "The asset, as `chain:address`."),
        _name("source", "Who says so."),
        _moment("When the price was true."),
        _name("chain", "The chain of the asset."),
        Field("price_usd", PRICE, "Price of a whole asset, US dollars.", "ZSTD(3)", least=0),
        _money("volume_24h_usd", "Traded over the 24 hours before, US dollars. NULL: not said.", known=False),
        _money("market_cap_usd", "Worth of all of it, US dollars. NULL: not said.", known=False),
    ],
    key=["asset_id", "source", "ts"],
    time="ts",
    indexes=[
        SkipIndex("price_usd_minmax", "price_usd", "minmax", "Prices beyond a bound, to find what cannot be right."),
        SkipIndex("chain_set", "chain", "set(100)", "All assets of a chain, though rows are sorted by asset."),
    ],
    keep=years(2),
    digests=[
        Digest(
            "mv_price_metrics_5min",
            300,
            ["asset_id"],
            [
                ("samples_state", "AggregateFunction(count)", "countState()"),
                ("total_state", f"AggregateFunction(sum, {PRICE})", "sumState(price_usd)"),
                ("opened_state", f"AggregateFunction(argMin, {PRICE}, {MOMENT})", "argMinState(price_usd, ts)"),
                ("closed_state", f"AggregateFunction(argMax, {PRICE}, {MOMENT})", "argMaxState(price_usd, ts)"),
                ("lowest_state", f"AggregateFunction(min, {PRICE})", "minState(price_usd)"),
                ("highest_state", f"AggregateFunction(max, {PRICE})", "maxState(price_usd)"),
                ("spread_state", "AggregateFunction(stddevPopStable, Float64)", "stddevPopStableState(toFloat64(price_usd))"),
                (
                    "slope_state",
                    "AggregateFunction(simpleLinearRegression, Float64, Float64)",
                    "simpleLinearRegressionState(toFloat64(ts - toStartOfFiveMinutes(ts)) / 3600, toFloat64(price_usd))",
                ),
            ],
            [
                ("samples", "countMerge(samples_state)"),
                ("open", "argMinMerge(opened_state)"),
                ("high", "maxMerge(highest_state)"),
                ("low", "minMerge(lowest_state)"),
                ("close", "argMaxMerge(closed_state)"),
                ("mean", "toFloat64(sumMerge(total_state)) / countMerge(samples_state)"),
                (
                    "volatility",
                    "stddevPopStableMerge(spread_state) / nullIf(toFloat64(sumMerge(total_state)) / countMerge(samples_state), 0)",
                ),
                ("trend_per_hour", "if(countMerge(samples_state) > 1, simpleLinearRegressionMerge(slope_state).1, 0)"),
            ],
            "Prices of every five minutes: open, high, low, close, mean, volatility (standard deviation over mean) and trend.",
        )
    ],
)

liquidity_pools = ColumnarDataset(
    PACK,
    "liquidity_pools",
    "The state of one pool at a time.",
    [
        _name("chain", "The chain it is on."),
        _name("protocol_id", "The protocol it belongs to, by its slug."),
        Field("pool_id", "String", "Its contract.", "ZSTD(1)"),
        _moment("When it was so."),
        _name("token0", "First asset."),
        _name("token1", "Second asset."),
        Field("reserve0", "UInt256", "Units of the first asset in it.", "ZSTD(3)"),
        Field("reserve1", "UInt256", "Units of the second asset in it.", "ZSTD(3)"),
        _money("tvl_usd", "Worth of both, US dollars."),
        _money("volume_24h_usd", "Traded over the 24 hours before, US dollars.", known=False),
        Field("fee_bps", "UInt32", "Fee of a trade, in hundredths of a percent.", "T64, ZSTD(1)", most=10_000),
    ],
    key=["chain", "protocol_id", "pool_id", "ts"],
    time="ts",
    indexes=[SkipIndex("tokens_bloom", "[token0, token1]", "bloom_filter(0.01)", "Pools that hold an asset.")],
    keep=years(2),
)

protocol_tvl_history = ColumnarDataset(
    PACK,
    "protocol_tvl_history",
    "What is locked in one protocol on one chain at a time.",
    [
        _name("protocol_id", "The protocol, by its slug."),
        _name("chain", "The chain."),
        _moment("When it was so."),
        _name("category", "What the protocol does."),
        _money("tvl_usd", "Value locked, US dollars."),
        _money("borrowed_usd", "Of that lent out, US dollars.", known=False),
        Field(
            "security_score",
            "Nullable(UInt8)",
            "How safe the source holds it: 0 not at all, 100 wholly. NULL: not judged.",
            least=0,
            most=100,
        ),
    ],
    key=["protocol_id", "chain", "ts"],
    time="ts",
    indexes=[SkipIndex("category_set", "category", "set(50)", "Protocols of one kind.")],
    keep=years(5),
    digests=[
        Digest(
            "mv_protocol_tvl_realtime",
            300,
            ["protocol_id", "chain"],
            [
                ("samples_state", "AggregateFunction(count)", "countState()"),
                ("opened_state", f"AggregateFunction(argMin, {MONEY}, {MOMENT})", "argMinState(tvl_usd, ts)"),
                ("closed_state", f"AggregateFunction(argMax, {MONEY}, {MOMENT})", "argMaxState(tvl_usd, ts)"),
                ("lowest_state", f"AggregateFunction(min, {MONEY})", "minState(tvl_usd)"),
                ("highest_state", f"AggregateFunction(max, {MONEY})", "maxState(tvl_usd)"),
            ],
            [
                ("samples", "countMerge(samples_state)"),
                ("open_usd", "argMinMerge(opened_state)"),
                ("low_usd", "minMerge(lowest_state)"),
                ("high_usd", "maxMerge(highest_state)"),
                ("tvl_usd", "argMaxMerge(closed_state)"),
            ],
            "Value locked of every five minutes, by protocol and chain.",
        )
    ],
)

transaction_events = ColumnarDataset(
    PACK,
    "transaction_events",
    "One event of one transaction on one chain.",
    [
        _name("chain", "The chain."),
        Field("block_number", "UInt64", "Its block.", "DoubleDelta, ZSTD(1)"),
        Field("tx_index", "UInt32", "Place of its transaction in the block.", "T64, ZSTD(1)"),
        Field("log_index", "UInt32", "Place of the event in the block.", "T64, ZSTD(1)"),
        _moment("Time of the block."),
        Field("tx_hash", "String", "Its transaction.", "ZSTD(1)"),
        Field("event_type", NAME, "What happened.", choices=EVENTS),
        _name("protocol_id", "The protocol, by its slug."),
        Field("pool_id", "String", "The pool it happened in; empty: in none.", "ZSTD(1)"),
        Field("sender", "String", "Who caused it.", "ZSTD(1)"),
        _name("token_in", "Asset that was given; empty: none."),
        _name("token_out", "Asset that was got; empty: none."),
        Field("amount_in", "UInt256", "Units given.", "ZSTD(3)"),
        Field("amount_out", "UInt256", "Units got.", "ZSTD(3)"),
        _money("value_usd", "Worth of it, US dollars. NULL: nobody knew a price.", known=False),
    ],
    key=["chain", "block_number", "tx_index", "log_index", "ts"],
    time="ts",
    indexes=[
        SkipIndex("tx_hash_bloom", "tx_hash", "bloom_filter(0.01)", "One transaction by its hash.", 1),
        SkipIndex("sender_bloom", "sender", "bloom_filter(0.01)", "What one address did."),
        SkipIndex("event_type_set", "event_type", "set(16)", "Events of one kind."),
    ],
    keep=years(2),
)

yield_history = ColumnarDataset(
    PACK,
    "yield_history",
    "What one pool paid at a time.",
    [
        Field("strategy", NAME, "How the yield is earned.", choices=STRATEGIES),
        _name("protocol_id", "The protocol, by its slug."),
        _name("chain", "The chain."),
        Field("pool_id", "String", "The pool.", "ZSTD(1)"),
        _moment("When it was so."),
        _name("asset_id", "The asset that earns."),
        Field("apy", "Decimal(18, 8)", "Yield of a year as a fraction, interest on interest: 0.05 is 5 %.", "ZSTD(3)", least=-1),
        _money("tvl_usd", "What is in it, US dollars."),
        Field(
            "risk_score", "Nullable(UInt8)", "How risky the source holds it: 0 not at all, 100 wholly. NULL: not judged.", least=0, most=100
        ),
    ],
    key=["strategy", "protocol_id", "chain", "pool_id", "ts"],
    time="ts",
    indexes=[
        SkipIndex("asset_set", "asset_id", "set(200)", "Yields of one asset."),
        SkipIndex("apy_minmax", "apy", "minmax", "Yields above a bound."),
    ],
    keep=years(2),
    digests=[
        Digest(
            "mv_best_yields_by_strategy",
            3600,
            ["strategy", "protocol_id", "chain", "pool_id"],
            [
                ("samples_state", "AggregateFunction(count)", "countState()"),
                ("mean_state", "AggregateFunction(avg, Float64)", "avgState(toFloat64(apy))"),
                ("spread_state", "AggregateFunction(stddevPopStable, Float64)", "stddevPopStableState(toFloat64(apy))"),
                ("lastly_state", f"AggregateFunction(argMax, Decimal(18, 8), {MOMENT})", "argMaxState(apy, ts)"),
                ("locked_state", f"AggregateFunction(argMax, {MONEY}, {MOMENT})", "argMaxState(tvl_usd, ts)"),
                ("risk_state", f"AggregateFunction(argMax, UInt8, {MOMENT})", "argMaxState(ifNull(risk_score, 50), ts)"),
            ],
            [
                ("samples", "countMerge(samples_state)"),
                ("mean_apy", "avgMerge(mean_state)"),
                ("stddev_apy", "stddevPopStableMerge(spread_state)"),
                ("apy", "argMaxMerge(lastly_state)"),
                ("tvl_usd", "argMaxMerge(locked_state)"),
                ("risk_score", "argMaxMerge(risk_state)"),
            ],
            "Yields of every hour, by pool; one nobody judged counts as half risky.",
        )
    ],
)

market_sentiment = ColumnarDataset(
    PACK,
    "market_sentiment",
    "What people said of one asset in one place over a short time.",
    [
        _name("asset_id", "The asset."),
        _name("source", "Where: the network and the channel."),
        _moment("End of that time."),
        Field("score", "Decimal(9, 6)", "Tone of what was said: -1 all bad, 1 all good.", "ZSTD(3)", least=-1, most=1),
        Field("mentions", "UInt64", "How often the asset was spoken of.", "T64, ZSTD(1)"),
        Field("positive", "UInt64", "Of those well.", "T64, ZSTD(1)"),
        Field("negative", "UInt64", "Of those ill.", "T64, ZSTD(1)"),
    ],
    key=["asset_id", "source", "ts"],
    time="ts",
    indexes=[SkipIndex("mentions_minmax", "mentions", "minmax", "When an asset was spoken of a lot.")],
    keep=months(12),
)

COLUMNAR = (price_data_raw, liquidity_pools, protocol_tvl_history, transaction_events, yield_history, market_sentiment)
