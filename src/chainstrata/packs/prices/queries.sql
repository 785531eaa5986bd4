-- list_latest_minutes
-- The newest price of each of these coins up to an instant, among the minutes that are kept: one look into each coin's part of the key's index.
SELECT newest.* FROM (SELECT DISTINCT unnest(%(coins)s::text[]) AS coin_id) AS wanted
CROSS JOIN LATERAL (
    SELECT * FROM prices.minute_close AS m
    WHERE m.coin_id = wanted.coin_id AND m.minute_ts <= %(until)s
    ORDER BY m.minute_ts DESC
    LIMIT 1
) AS newest
ORDER BY newest.coin_id;

-- list_minutes
-- The minutes of one coin over a span of time.
SELECT * FROM prices.minute_close
WHERE coin_id = %(coin_id)s AND minute_ts >= %(since)s AND minute_ts < %(until)s
ORDER BY minute_ts;

-- list_top_coins
-- Coins by rank, from a rank on.
SELECT * FROM prices.coin_priorities
WHERE market_cap_rank > %(after_rank)s
ORDER BY market_cap_rank, coin_id
LIMIT %(limit)s;

-- list_stale_coins
-- Ranked coins whose figures the source has not changed since an instant, the longest ago first.
SELECT * FROM prices.coin_priorities
WHERE last_updated < %(before)s AND market_cap_rank IS NOT NULL
ORDER BY last_updated, coin_id
LIMIT %(limit)s;

-- start_collection
-- Notes that a run of the collector begins.
INSERT INTO prices.collection_status (collection_type, start_time) VALUES (%(collection_type)s, %(at)s)
RETURNING *;

-- advance_collection
-- Adds what a run has done since it was last noted; a run that has ended is left as it is.
UPDATE prices.collection_status
SET coins_processed = coins_processed + %(processed)s,
    coins_failed = coins_failed + %(failed)s,
    api_calls_made = api_calls_made + %(calls)s
WHERE id = %(id)s AND status = 'running'
RETURNING *;

-- end_collection
-- Ends a run that has not ended.
UPDATE prices.collection_status
SET status = %(status)s, end_time = %(at)s, error_message = %(error_message)s,
    batch_details = coalesce(%(batch_details)s, batch_details)
WHERE id = %(id)s AND status = 'running'
RETURNING *;

-- list_collections
-- Runs of the collector, of one kind and state or of any, newest first.
SELECT * FROM prices.collection_status
WHERE (%(collection_type)s::prices.collection_type IS NULL OR collection_type = %(collection_type)s::prices.collection_type)
    AND (%(status)s::prices.collection_state IS NULL OR status = %(status)s::prices.collection_state)
    AND start_time < %(before)s
ORDER BY start_time DESC, id DESC
LIMIT %(limit)s;

-- record_api_calls
-- Adds calls to the day they were made on; the day was first recorded when it was.
INSERT INTO prices.api_usage_stats AS u (
    date, total_calls, successful_calls, failed_calls, rate_limited_calls, response_time_ms_sum, response_time_count, peak_calls_per_minute)
VALUES (
    (%(at)s::timestamptz AT TIME ZONE 'UTC')::date, %(successful)s + %(failed)s + %(rate_limited)s, %(successful)s, %(failed)s,
    %(rate_limited)s, %(response_ms)s, %(timed)s, %(calls_this_minute)s)
ON CONFLICT (date) DO UPDATE SET
    total_calls = u.total_calls + excluded.total_calls,
    successful_calls = u.successful_calls + excluded.successful_calls,
    failed_calls = u.failed_calls + excluded.failed_calls,
    rate_limited_calls = u.rate_limited_calls + excluded.rate_limited_calls,
    response_time_ms_sum = u.response_time_ms_sum + excluded.response_time_ms_sum,
    response_time_count = u.response_time_count + excluded.response_time_count,
    peak_calls_per_minute = greatest(u.peak_calls_per_minute, excluded.peak_calls_per_minute)
RETURNING *;

-- list_api_usage
-- Use of the price source by day, newest first.
SELECT * FROM prices.api_usage_stats
WHERE date >= %(since)s AND date <= %(until)s
ORDER BY date DESC;
