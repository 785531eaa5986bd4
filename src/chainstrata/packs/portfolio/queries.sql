-- list_holdings
-- What a user holds, the most valuable first; what is not priced comes last.
SELECT * FROM portfolio.portfolio_holdings
WHERE user_id = %(user_id)s AND amount > 0
ORDER BY value_usd DESC NULLS LAST, chain, wallet_address, asset_id, protocol_id, position_type
LIMIT %(limit)s;

-- get_portfolio_value
-- What a user's portfolio is worth now: assets, debts, and how many holdings have no price and so are in neither.
SELECT
    coalesce(sum(value_usd) FILTER (WHERE position_type <> 'borrowed'), 0) AS assets_usd,
    coalesce(sum(value_usd) FILTER (WHERE position_type = 'borrowed'), 0) AS debts_usd,
    coalesce(sum(CASE WHEN position_type = 'borrowed' THEN -value_usd ELSE value_usd END), 0) AS net_usd,
    count(*) AS holdings,
    count(*) FILTER (WHERE value_usd IS NULL) AS unpriced,
    max(observed_at) AS observed_at
FROM portfolio.portfolio_holdings
WHERE user_id = %(user_id)s AND amount > 0;

-- list_history
-- A user's movements before a place in time, newest first; of one asset or of all.
SELECT * FROM portfolio.transaction_history
WHERE user_id = %(user_id)s
    AND (%(asset_id)s::text IS NULL OR asset_id = %(asset_id)s)
    AND block_timestamp >= %(since)s AND block_timestamp < %(until)s
ORDER BY block_timestamp DESC, chain, tx_hash, log_index
LIMIT %(limit)s;

-- list_flows
-- What came to and left a user's wallets over a span of time, by asset.
SELECT
    asset_id,
    count(*) AS movements,
    coalesce(sum(quantity) FILTER (WHERE direction = 1), 0) AS quantity_in,
    coalesce(sum(quantity) FILTER (WHERE direction = -1), 0) AS quantity_out,
    coalesce(sum(value_usd) FILTER (WHERE direction = 1), 0) AS value_in_usd,
    coalesce(sum(value_usd) FILTER (WHERE direction = -1), 0) AS value_out_usd,
    count(*) FILTER (WHERE value_usd IS NULL) AS unpriced
FROM portfolio.transaction_history
WHERE user_id = %(user_id)s AND block_timestamp >= %(since)s AND block_timestamp < %(until)s
GROUP BY asset_id
ORDER BY asset_id;

-- list_transaction
-- Every movement of one transaction that is recorded, in the order of its logs.
SELECT t.* FROM portfolio.transaction_keys AS k
JOIN portfolio.transaction_history AS t USING (chain, tx_hash, log_index, block_timestamp)
WHERE k.chain = %(chain)s AND k.tx_hash = %(tx_hash)s AND t.block_timestamp <= %(until)s
ORDER BY t.log_index;

-- list_value_history
-- How much a user's portfolio was worth over a span of time.
SELECT * FROM portfolio.portfolio_snapshots
WHERE user_id = %(user_id)s AND snapshot_date >= %(since)s AND snapshot_date < %(until)s
ORDER BY snapshot_date;

-- list_holders
-- Who holds an asset, and how much, the largest first.
SELECT user_id, sum(quantity) AS quantity FROM portfolio.portfolio_holdings
WHERE asset_id = %(asset_id)s AND amount > 0
GROUP BY user_id
ORDER BY quantity DESC, user_id
LIMIT %(limit)s;

-- search_assets
-- Assets whose ticker or name is like a text, typing errors included, the likest first.
SELECT * FROM portfolio.assets
WHERE symbol %% %(text)s OR name %% %(text)s
ORDER BY greatest(similarity(symbol, %(text)s), similarity(name, %(text)s)) DESC, asset_id
LIMIT %(limit)s;

-- list_protocol_activity
-- What was done through a protocol before a place in time, newest first.
SELECT * FROM portfolio.transaction_history
WHERE protocol_id = %(protocol_id)s AND block_timestamp >= %(since)s AND block_timestamp < %(until)s
ORDER BY block_timestamp DESC, chain, tx_hash, log_index
LIMIT %(limit)s;
