-- list_quarantine
-- Rows in quarantine, newest first.
SELECT id, dataset, reason, detail, content::text AS content, original, source, batch, row_time, first_seen, last_seen, times, state, settled_at
FROM strata.quarantine
WHERE (%(datasets)s::text[] = '{}' OR dataset = ANY (%(datasets)s))
  AND (%(reasons)s::text[] = '{}' OR reason = ANY (%(reasons)s))
  AND state = ANY (%(states)s::text[])
  AND id < %(before)s
ORDER BY id DESC
LIMIT %(most)s;

-- count_quarantine
-- How many rows are held, by dataset and reason, with the oldest and the latest.
SELECT dataset, reason, count(*) AS rows, sum(times)::bigint AS times, min(first_seen) AS first_seen, max(last_seen) AS last_seen,
       min(row_time) AS earliest, max(row_time) AS latest
FROM strata.quarantine
WHERE state = 'held' AND (%(datasets)s::text[] = '{}' OR dataset = ANY (%(datasets)s))
GROUP BY dataset, reason
ORDER BY dataset, reason;

-- pick_held
-- The next rows of a dataset to replay, locked. With `covered`, only those whose time has a partition, or that have no time.
SELECT id, ARRAY(SELECT jsonb_object_keys(content)) AS columns
FROM strata.quarantine
WHERE state = 'held' AND dataset = %(dataset)s AND id > %(after)s AND jsonb_typeof(content) = 'object'
  AND (%(ids)s::bigint[] = '{}' OR id = ANY (%(ids)s))
  AND (%(reasons)s::text[] = '{}' OR reason = ANY (%(reasons)s))
  AND (NOT %(covered)s OR row_time IS NULL OR EXISTS (
      SELECT FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS span (lower_bound, upper_bound)
      WHERE row_time >= lower_bound AND row_time < upper_bound
  ))
ORDER BY id
LIMIT %(most)s
FOR UPDATE SKIP LOCKED;

-- times_held
-- From when to when the held rows of a dataset are, day by day. What is beyond every calendar, as an end of time often is, has no partition.
SELECT date_trunc('day', row_time, 'UTC') AS day, min(row_time) AS earliest, max(row_time) AS latest
FROM strata.quarantine
WHERE state = 'held' AND dataset = %(dataset)s AND row_time >= %(first)s AND row_time < %(last)s
  AND (%(ids)s::bigint[] = '{}' OR id = ANY (%(ids)s))
  AND (%(reasons)s::text[] = '{}' OR reason = ANY (%(reasons)s))
GROUP BY day
ORDER BY day;

-- count_left
-- How many rows of a dataset are still held, by reason.
SELECT reason, count(*) AS rows
FROM strata.quarantine
WHERE state = 'held' AND dataset = %(dataset)s
  AND (%(ids)s::bigint[] = '{}' OR id = ANY (%(ids)s))
  AND (%(reasons)s::text[] = '{}' OR reason = ANY (%(reasons)s))
GROUP BY reason;

-- settle
-- Note that rows are in their table after all.
UPDATE strata.quarantine SET state = 'replayed', settled_at = now() WHERE id = ANY (%(ids)s) AND state = 'held';

-- still_held
-- Note why a row could not be replayed.
UPDATE strata.quarantine SET reason = %(reason)s, detail = %(detail)s, last_seen = now() WHERE id = %(id)s AND state = 'held';

-- drop_held
-- Give held rows up. They stay on record as dropped.
UPDATE strata.quarantine SET state = 'dropped', settled_at = now()
WHERE state = 'held'
  AND (%(ids)s::bigint[] = '{}' OR id = ANY (%(ids)s))
  AND (%(datasets)s::text[] = '{}' OR dataset = ANY (%(datasets)s))
  AND (%(reasons)s::text[] = '{}' OR reason = ANY (%(reasons)s));
