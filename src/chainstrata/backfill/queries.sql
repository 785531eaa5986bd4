-- add_job
-- A job whose chunks are added in the same transaction.
INSERT INTO insights.backfill_jobs (job_type, start_block, end_block, current_block, created_by)
VALUES (%(kind)s, %(start)s, %(end)s, %(start)s, %(created_by)s)
RETURNING id;

-- lock_job
-- A job, held so that nobody else changes it or takes chunks of it meanwhile.
SELECT id, job_type, status, start_block, end_block FROM insights.backfill_jobs WHERE id = %(job)s FOR NO KEY UPDATE;

-- find_overlap
-- A job of the same kind that is under way over some of the same positions.
SELECT id FROM insights.backfill_jobs
WHERE job_type = %(kind)s AND status IN ('pending', 'running', 'paused') AND start_block < %(end)s AND end_block > %(start)s
LIMIT 1;

-- list_claimable
-- Jobs with a chunk that can be taken now, the oldest first.
SELECT j.id FROM insights.backfill_jobs AS j
WHERE j.status IN ('pending', 'running') AND j.job_type = ANY(%(kinds)s) AND (%(job)s::uuid IS NULL OR j.id = %(job)s) AND (
    EXISTS (
        SELECT FROM insights.backfill_ranges AS r
        WHERE r.job_id = j.id AND r.status = 'pending' AND (r.not_before IS NULL OR r.not_before <= now())
    ) OR EXISTS (
        SELECT FROM insights.backfill_ranges AS r WHERE r.job_id = j.id AND r.status = 'running' AND r.leased_until < now()
    )
)
ORDER BY j.started_at, j.id;

-- claim_chunk
-- Takes the first chunk of a job that waits, or whose worker is gone. The caller has the job.
UPDATE insights.backfill_ranges AS r
SET status = 'running', attempts = r.attempts + 1, leased_by = %(worker)s, leased_until = now() + %(lease)s, heartbeat_at = now(),
    started_at = now(), not_before = NULL
WHERE r.job_id = %(job)s AND r.from_block = (
    SELECT min(c.from_block) FROM (
        (
            SELECT from_block FROM insights.backfill_ranges
            WHERE job_id = %(job)s AND status = 'pending' AND (not_before IS NULL OR not_before <= now()) ORDER BY from_block LIMIT 1
        )
        UNION ALL
        SELECT from_block FROM insights.backfill_ranges WHERE job_id = %(job)s AND status = 'running' AND leased_until < now()
    ) AS c
)
RETURNING r.job_id AS job, r.from_block AS start, r.to_block AS end, r.attempts AS attempt;

-- begin_job
-- A job whose first chunk was taken.
UPDATE insights.backfill_jobs SET status = 'running' WHERE id = %(job)s AND status = 'pending';

-- keep_chunk
-- A sign of life of a chunk's worker; nothing if the chunk is no longer its.
UPDATE insights.backfill_ranges SET leased_until = now() + %(lease)s, heartbeat_at = now()
WHERE job_id = %(job)s AND from_block = %(start)s AND leased_by = %(worker)s AND attempts = %(attempt)s AND status = 'running'
RETURNING from_block;

-- finish_chunk
-- A chunk that is done; nothing if it is no longer its worker's.
UPDATE insights.backfill_ranges
SET status = 'done', completed_at = now(), rows_written = %(rows)s, leased_by = NULL, leased_until = NULL,
    heartbeat_at = NULL, last_error = NULL
WHERE job_id = %(job)s AND from_block = %(start)s AND leased_by = %(worker)s AND attempts = %(attempt)s AND status = 'running'
RETURNING from_block;

-- release_chunk
-- A chunk that was not done: failed, or to be tried again no earlier than that; nothing if it is no longer its worker's.
UPDATE insights.backfill_ranges
SET status = %(status)s::insights.range_status, not_before = now() + %(pause)s, last_error = coalesce(%(error)s, last_error),
    attempts = attempts - %(untried)s, leased_by = NULL, leased_until = NULL, heartbeat_at = NULL
WHERE job_id = %(job)s AND from_block = %(start)s AND leased_by = %(worker)s AND attempts = %(attempt)s AND status = 'running'
RETURNING from_block;

-- advance_job
-- How far a job is: everything below its first chunk that is not done, from where it was on.
UPDATE insights.backfill_jobs AS j
SET current_block = greatest(j.current_block, coalesce((
    SELECT min(r.from_block) FROM insights.backfill_ranges AS r
    WHERE r.job_id = j.id AND r.from_block >= j.current_block AND r.status <> 'done'
), j.end_block)), error_message = coalesce(%(error)s, j.error_message)
WHERE j.id = %(job)s;

-- is_open
-- Whether chunks of a job wait or are in hand.
SELECT EXISTS (SELECT FROM insights.backfill_ranges WHERE job_id = %(job)s AND status = 'pending')
    OR EXISTS (SELECT FROM insights.backfill_ranges WHERE job_id = %(job)s AND status = 'running');

-- has_failed
-- Whether chunks of a job failed.
SELECT EXISTS (SELECT FROM insights.backfill_ranges WHERE job_id = %(job)s AND status = 'failed');

-- set_status
-- Moves a job to another status.
UPDATE insights.backfill_jobs SET status = %(status)s::insights.job_status, error_message = coalesce(%(error)s, error_message),
    estimated_completion = CASE WHEN %(status)s = 'running' THEN estimated_completion END
WHERE id = %(job)s;

-- release_job
-- Takes the chunks of a job from their workers, who notice with their next sign of life.
UPDATE insights.backfill_ranges
SET status = 'pending', attempts = attempts - 1, leased_by = NULL, leased_until = NULL, heartbeat_at = NULL
WHERE job_id = %(job)s AND status = 'running';

-- retry_failed
-- Failed chunks, to be tried afresh.
UPDATE insights.backfill_ranges SET status = 'pending', attempts = 0, not_before = NULL WHERE job_id = %(job)s AND status = 'failed';

-- measure
-- What was done of a job lately, in how many seconds, and what is left.
SELECT
    coalesce(sum(to_block - from_block) FILTER (WHERE lately), 0)::bigint AS done,
    coalesce(extract(epoch FROM now() - min(started_at) FILTER (WHERE lately)), 0)::float8 AS seconds,
    coalesce(sum(to_block - from_block) FILTER (WHERE status <> 'done'), 0)::bigint AS left,
    now() AS now
FROM (
    SELECT *, status = 'done' AND completed_at > now() - %(window)s AS lately FROM insights.backfill_ranges WHERE job_id = %(job)s
) AS chunks;

-- set_expected
-- When a running job will be done.
UPDATE insights.backfill_jobs SET estimated_completion = %(expected_at)s WHERE id = %(job)s AND status = 'running';

-- list_progress
-- Jobs with their chunks by what they are at; newest first.
SELECT
    j.id AS job, j.job_type AS kind, j.status, j.start_block AS start, j.end_block AS end, j.current_block AS current, j.started_at,
    j.completed_at, coalesce(j.created_by, '') AS created_by, coalesce(j.error_message, '') AS error, j.estimated_completion AS expected_at,
    r.pending, r.running, r.done, r.failed, r.positions_done, r.rows, r.recent, r.recent_seconds
FROM insights.backfill_jobs AS j
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE status = 'pending') AS pending, count(*) FILTER (WHERE status = 'running') AS running,
        count(*) FILTER (WHERE status = 'done') AS done, count(*) FILTER (WHERE status = 'failed') AS failed,
        coalesce(sum(to_block - from_block) FILTER (WHERE status = 'done'), 0)::bigint AS positions_done,
        coalesce(sum(rows_written), 0)::bigint AS rows,
        coalesce(sum(to_block - from_block) FILTER (WHERE status = 'done' AND completed_at > now() - %(window)s), 0)::bigint AS recent,
        coalesce(extract(epoch FROM now() - min(started_at) FILTER (WHERE status = 'done' AND completed_at > now() - %(window)s)), 0)::float8
            AS recent_seconds
    FROM insights.backfill_ranges WHERE job_id = j.id
) AS r
WHERE (%(job)s::uuid IS NULL OR j.id = %(job)s)
    AND (%(kind)s::text IS NULL OR j.job_type = %(kind)s)
    AND (%(status)s::text IS NULL OR j.status = %(status)s::insights.job_status)
ORDER BY j.started_at DESC, j.id
LIMIT %(limit)s;

-- count_held
-- Chunks of a job that a worker has in hand.
SELECT count(*) FROM insights.backfill_ranges WHERE job_id = %(job)s AND status = 'running' AND leased_until > now();

-- list_failures
-- Why chunks of a job failed or are to be tried again.
SELECT from_block AS start, to_block AS end, status, attempts, last_error AS error FROM insights.backfill_ranges
WHERE job_id = %(job)s AND last_error IS NOT NULL ORDER BY from_block LIMIT %(limit)s;
