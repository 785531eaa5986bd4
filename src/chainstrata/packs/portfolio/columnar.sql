-- price_metrics
-- Prices of an asset in five-minute buckets over a span of time: open, high, low, close, mean, volatility, trend.
SELECT asset_id, bucket, samples, open, high, low, close, mean, volatility, trend_per_hour
FROM portfolio__mv_price_metrics_5min
WHERE asset_id = {asset_id:String} AND bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
ORDER BY bucket;

-- top_movers
-- Assets whose price changed most up to a moment, over an hour and over a day. A price counts for a moment if it is at most an hour older.
SELECT
    asset_id,
    price_usd,
    if(known_1h, toFloat64(price_usd) / nullIf(toFloat64(price_1h), 0) - 1, NULL) AS change_1h,
    if(known_24h, toFloat64(price_usd) / nullIf(toFloat64(price_24h), 0) - 1, NULL) AS change_24h
FROM (
    SELECT
        asset_id,
        argMaxIf(raw.price_usd, (raw.ts, raw.source), ts > {at:DateTime64(6, 'UTC')} - INTERVAL 1 HOUR) AS price_usd,
        argMaxIf(raw.price_usd, (raw.ts, raw.source), ts <= {at:DateTime64(6, 'UTC')} - INTERVAL 1 HOUR AND ts > {at:DateTime64(6, 'UTC')} - INTERVAL 2 HOUR) AS price_1h,
        argMaxIf(raw.price_usd, (raw.ts, raw.source), ts <= {at:DateTime64(6, 'UTC')} - INTERVAL 24 HOUR) AS price_24h,
        countIf(ts > {at:DateTime64(6, 'UTC')} - INTERVAL 1 HOUR) > 0 AS known_now,
        countIf(ts <= {at:DateTime64(6, 'UTC')} - INTERVAL 1 HOUR AND ts > {at:DateTime64(6, 'UTC')} - INTERVAL 2 HOUR) > 0 AS known_1h,
        countIf(ts <= {at:DateTime64(6, 'UTC')} - INTERVAL 24 HOUR) > 0 AS known_24h
    FROM portfolio__price_data_raw AS raw
    WHERE ts <= {at:DateTime64(6, 'UTC')} AND ts > {at:DateTime64(6, 'UTC')} - INTERVAL 25 HOUR
        AND (ts > {at:DateTime64(6, 'UTC')} - INTERVAL 2 HOUR OR ts <= {at:DateTime64(6, 'UTC')} - INTERVAL 24 HOUR)
    GROUP BY asset_id
)
WHERE known_now AND (known_1h OR known_24h)
ORDER BY abs(ifNull(if({by_day:Bool}, change_24h, change_1h), 0)) DESC, asset_id
LIMIT {limit:UInt32};

-- tvl_changes
-- What is locked in each protocol on each chain at a moment, its change over some hours, and whether that is more than expected.
SELECT
    protocol_id,
    chain,
    tvl_usd,
    tvl_before_usd,
    toFloat64(tvl_usd) / nullIf(toFloat64(tvl_before_usd), 0) - 1 AS change,
    toBool(ifNull(abs(change) >= {threshold:Float64}, 1)) AS alarming
FROM (
    SELECT protocol_id, chain, argMax(latest.tvl_usd, latest.bucket) AS tvl_usd
    FROM portfolio__mv_protocol_tvl_realtime AS latest
    WHERE bucket <= {at:DateTime('UTC')} AND bucket > {at:DateTime('UTC')} - toIntervalHour({hours:UInt32})
    GROUP BY protocol_id, chain
) AS later
INNER JOIN (
    SELECT protocol_id, chain, argMax(older.tvl_usd, older.bucket) AS tvl_before_usd
    FROM portfolio__mv_protocol_tvl_realtime AS older
    WHERE bucket <= {at:DateTime('UTC')} - toIntervalHour({hours:UInt32})
        AND bucket > {at:DateTime('UTC')} - toIntervalHour(2 * {hours:UInt32})
    GROUP BY protocol_id, chain
) AS earlier USING (protocol_id, chain)
ORDER BY abs(ifNull(change, 1)) DESC, protocol_id, chain;

-- best_yields
-- The best pools of each strategy over a span of time: mean yield less its spread, less what risk takes of it. Small pools are left out.
SELECT
    strategy,
    protocol_id,
    chain,
    pool_id,
    mean_apy,
    stddev_apy,
    tvl_usd,
    risk_score,
    (mean_apy - stddev_apy) * (1 - risk_score / 100) AS score
FROM (
    SELECT
        strategy,
        protocol_id,
        chain,
        pool_id,
        avgMerge(mean_state) AS mean_apy,
        stddevPopStableMerge(spread_state) AS stddev_apy,
        argMaxMerge(locked_state) AS tvl_usd,
        argMaxMerge(risk_state) AS risk_score
    FROM portfolio__mv_best_yields_by_strategy__states FINAL
    WHERE bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
    GROUP BY strategy, protocol_id, chain, pool_id
)
WHERE tvl_usd >= {least_tvl_usd:Decimal(38, 18)}
ORDER BY strategy, score DESC, protocol_id, chain, pool_id
LIMIT {limit:UInt32} BY strategy;

-- cross_chain
-- Chains side by side over the day before a moment: value locked, traded in pools, events and their worth, yield weighted by what earns it.
SELECT
    chain,
    sum(tvl) AS tvl_usd,
    sum(volume) AS volume_24h_usd,
    sum(events) AS events_24h,
    sum(worth) AS events_value_usd,
    sum(earned) / nullIf(sum(earning), 0) AS mean_apy
FROM (
    SELECT chain, argMax(tvl_usd, ts) AS tvl, toDecimal128(0, 18) AS volume, 0 AS events, toDecimal128(0, 18) AS worth, 0. AS earned, 0. AS earning
    FROM portfolio__protocol_tvl_history
    WHERE ts <= {at:DateTime64(6, 'UTC')} AND ts > {at:DateTime64(6, 'UTC')} - INTERVAL 1 DAY
    GROUP BY chain, protocol_id
    UNION ALL
    SELECT chain, toDecimal128(0, 18), ifNull(argMax(volume_24h_usd, ts), toDecimal128(0, 18)), 0, toDecimal128(0, 18), 0., 0.
    FROM portfolio__liquidity_pools
    WHERE ts <= {at:DateTime64(6, 'UTC')} AND ts > {at:DateTime64(6, 'UTC')} - INTERVAL 1 DAY
    GROUP BY chain, protocol_id, pool_id
    UNION ALL
    SELECT chain, toDecimal128(0, 18), toDecimal128(0, 18), count(), ifNull(sum(value_usd), toDecimal128(0, 18)), 0., 0.
    FROM portfolio__transaction_events
    WHERE ts <= {at:DateTime64(6, 'UTC')} AND ts > {at:DateTime64(6, 'UTC')} - INTERVAL 1 DAY
    GROUP BY chain
    UNION ALL
    SELECT chain, toDecimal128(0, 18), toDecimal128(0, 18), 0, toDecimal128(0, 18),
        argMax(toFloat64(apy) * toFloat64(tvl_usd), ts), argMax(toFloat64(tvl_usd), ts)
    FROM portfolio__yield_history
    WHERE ts <= {at:DateTime64(6, 'UTC')} AND ts > {at:DateTime64(6, 'UTC')} - INTERVAL 1 DAY
    GROUP BY chain, strategy, protocol_id, pool_id
)
GROUP BY chain
ORDER BY tvl_usd DESC, chain;

-- market_share
-- Each protocol's part of what is locked in protocols of its kind at a moment, over all chains.
SELECT category, protocol_id, tvl_usd, toFloat64(tvl_usd) / nullIf(toFloat64(sum(tvl_usd) OVER (PARTITION BY category)), 0) AS share
FROM (
    SELECT category, protocol_id, sum(tvl) AS tvl_usd
    FROM (
        SELECT protocol_id, chain, argMax(history.category, history.ts) AS category, argMax(history.tvl_usd, history.ts) AS tvl
        FROM portfolio__protocol_tvl_history AS history
        WHERE ts <= {at:DateTime64(6, 'UTC')} AND ts > {at:DateTime64(6, 'UTC')} - INTERVAL 1 DAY
        GROUP BY protocol_id, chain
    )
    GROUP BY category, protocol_id
)
ORDER BY category, share DESC, protocol_id;

-- sandwiches
-- Swaps of one sender around another's in one pool and block, in the same direction before and the other way after.
SELECT
    front.chain AS chain,
    front.block_number AS block_number,
    front.pool_id AS pool_id,
    front.sender AS attacker,
    front.tx_hash AS front_tx,
    victim.tx_hash AS victim_tx,
    back.tx_hash AS back_tx,
    toInt256(back.amount_out) - toInt256(front.amount_in) AS profit_units,
    front.token_in AS profit_token
FROM portfolio__transaction_events AS front
INNER JOIN portfolio__transaction_events AS victim
    ON victim.chain = front.chain AND victim.block_number = front.block_number AND victim.pool_id = front.pool_id
        AND victim.event_type = front.event_type AND victim.token_in = front.token_in AND victim.token_out = front.token_out
INNER JOIN portfolio__transaction_events AS back
    ON back.chain = front.chain AND back.block_number = front.block_number AND back.pool_id = front.pool_id
        AND back.event_type = front.event_type AND back.sender = front.sender
        AND back.token_in = front.token_out AND back.token_out = front.token_in
WHERE front.event_type = 'swap' AND front.pool_id != ''
    AND front.ts >= {since:DateTime64(6, 'UTC')} AND front.ts < {until:DateTime64(6, 'UTC')}
    AND victim.ts >= {since:DateTime64(6, 'UTC')} AND victim.ts < {until:DateTime64(6, 'UTC')}
    AND back.ts >= {since:DateTime64(6, 'UTC')} AND back.ts < {until:DateTime64(6, 'UTC')}
    AND victim.sender != front.sender AND front.tx_index < victim.tx_index AND victim.tx_index < back.tx_index
ORDER BY chain, block_number, pool_id, attacker, front_tx, victim_tx, back_tx
LIMIT {limit:UInt32};

-- arbitrages
-- Transactions whose swaps lead through several pools back to the asset they began with, and more of it.
SELECT
    chain,
    tx_hash,
    any(sender) AS sender,
    min(ts) AS at,
    count() AS swaps,
    uniqExact(pool_id) AS pools,
    argMin(token_in, log_index) AS token,
    toInt256(argMax(amount_out, log_index)) - toInt256(argMin(amount_in, log_index)) AS profit_units
FROM portfolio__transaction_events
WHERE event_type = 'swap' AND ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
GROUP BY chain, tx_hash
HAVING swaps > 1 AND pools > 1 AND argMax(token_out, log_index) = token AND profit_units > 0
ORDER BY at, chain, tx_hash
LIMIT {limit:UInt32};

-- sentiment
-- The tone about each asset over a span of time, each mention counting alike, beside the span before of the same length.
SELECT
    asset_id,
    sumIf(said.mentions, said.ts >= {since:DateTime64(6, 'UTC')}) AS mentions,
    sumIf(said.mentions, said.ts < {since:DateTime64(6, 'UTC')}) AS mentions_before,
    sumIf(toFloat64(said.score) * said.mentions, said.ts >= {since:DateTime64(6, 'UTC')}) / nullIf(sumIf(said.mentions, said.ts >= {since:DateTime64(6, 'UTC')}), 0) AS score,
    sumIf(toFloat64(said.score) * said.mentions, said.ts < {since:DateTime64(6, 'UTC')}) / nullIf(sumIf(said.mentions, said.ts < {since:DateTime64(6, 'UTC')}), 0) AS score_before,
    sumIf(said.positive, said.ts >= {since:DateTime64(6, 'UTC')}) AS positive,
    sumIf(said.negative, said.ts >= {since:DateTime64(6, 'UTC')}) AS negative
FROM portfolio__market_sentiment AS said
WHERE said.ts >= {before:DateTime64(6, 'UTC')} AND said.ts < {until:DateTime64(6, 'UTC')}
GROUP BY asset_id
HAVING mentions > 0
ORDER BY mentions DESC, asset_id;

-- risk
-- Protocols by how risky they look at a moment, 0 to 100: judged safety, fall from the highest of 30 days, what is lent out, dependence on one chain.
SELECT
    protocol_id,
    tvl_usd,
    security_score,
    drawdown,
    utilization,
    concentration,
    100 * (0.4 * (1 - security_score / 100) + 0.25 * drawdown + 0.2 * least(utilization, 1) + 0.15 * concentration) AS risk
FROM (
    SELECT
        protocol_id,
        sum(now_usd) AS tvl_usd,
        toFloat64(min(safe)) AS security_score,
        greatest(0, 1 - toFloat64(sum(now_usd)) / nullIf(toFloat64(sum(top_usd)), 0)) AS drawdown,
        toFloat64(sum(lent)) / nullIf(toFloat64(sum(now_usd)), 0) AS utilization,
        sum(pow(toFloat64(now_usd), 2)) / nullIf(pow(toFloat64(sum(now_usd)), 2), 0) AS concentration
    FROM (
        SELECT
            protocol_id,
            chain,
            argMax(tvl_usd, ts) AS now_usd,
            max(tvl_usd) AS top_usd,
            ifNull(argMax(tuple(history.borrowed_usd), history.ts).1, toDecimal128(0, 18)) AS lent,
            ifNull(argMax(tuple(history.security_score), history.ts).1, 50) AS safe
        FROM portfolio__protocol_tvl_history AS history
        WHERE ts <= {at:DateTime64(6, 'UTC')} AND ts > {at:DateTime64(6, 'UTC')} - INTERVAL 30 DAY
        GROUP BY protocol_id, chain
    )
    GROUP BY protocol_id
)
WHERE tvl_usd > 0
ORDER BY risk DESC, protocol_id;
