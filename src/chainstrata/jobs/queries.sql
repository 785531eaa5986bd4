-- register
-- Makes a job known, due at its next time; one that is known is due no later than that.
INSERT INTO strata.job AS known (name, due_at) VALUES (%(name)s, %(due_at)s)
ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at WHERE known.due_at > excluded.due_at;

-- lock_due
-- The jobs that are due, for whoever asks first.
SELECT name, now() AS now FROM strata.job
WHERE due_at <= now() AND paused_at IS NULL AND name = ANY(%(names)s)
ORDER BY due_at, name
FOR UPDATE SKIP LOCKED;

-- next_due
-- Seconds until the next job is due.
SELECT extract(epoch FROM min(due_at) - now())::float8 FROM strata.job WHERE paused_at IS NULL AND name = ANY(%(names)s);

-- lock_job
-- Holds up others that would put the same job into the queue.
SELECT paused_at, now() AS now FROM strata.job WHERE name = %(name)s FOR UPDATE;

-- set_due
-- When a job is due next.
UPDATE strata.job SET due_at = %(due_at)s WHERE name = %(name)s;

-- due_sooner
-- Makes a job due after a pause, if it is not due before that.
UPDATE strata.job SET due_at = now() + %(pause)s WHERE name = %(name)s AND due_at > now() + %(pause)s;

-- pause_job
-- Pauses a job; one that is paused stays so since when it was.
UPDATE strata.job SET paused_at = coalesce(paused_at, now()) WHERE name = %(name)s;

-- resume_job
-- Ends the pause of a job, which is then due at its next time.
UPDATE strata.job SET paused_at = NULL, due_at = %(due_at)s WHERE name = %(name)s AND paused_at IS NOT NULL;

-- enqueue
-- Puts a job into the queue, unless it waits there already.
SELECT unnest(procrastinate.procrastinate_defer_jobs_v1(ARRAY[
    ROW(%(queue)s, %(task)s, 0, %(name)s, %(name)s, %(args)s, NULL)::procrastinate.procrastinate_job_to_defer_v1
])) AS id
WHERE NOT EXISTS (SELECT FROM procrastinate.procrastinate_jobs WHERE queueing_lock = %(name)s AND status = 'todo');

-- dequeue
-- Takes a job that waits out of the queue.
DELETE FROM procrastinate.procrastinate_jobs WHERE queue_name = %(queue)s AND queueing_lock = %(name)s AND status = 'todo';

-- list_jobs
-- Every known job: when it is due, whether it waits in the queue, its last run and whether somebody is at it, and how many ended
-- badly since one went well.
SELECT
    j.name, j.due_at, j.paused_at, now() AS now,
    (
        SELECT min(e.at) FROM procrastinate.procrastinate_jobs AS q JOIN procrastinate.procrastinate_events AS e ON e.job_id = q.id
        WHERE q.queueing_lock = j.name AND q.queue_name = %(queue)s AND q.status = 'todo'
    ) AS queued_at,
    last.id, last.asked_by, last.worker, last.state, last.started_at, last.finished_at, last.result, last.error, last.error_code,
    last.retryable,
    EXISTS (
        SELECT FROM pg_locks AS l
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended(%(lock)s || j.name, 0)
    ) AS held,
    (
        SELECT count(*) FROM strata.job_run AS bad
        WHERE bad.job = j.name AND bad.state IN ('failed', 'lost')
            AND bad.id > coalesce((SELECT max(good.id) FROM strata.job_run AS good WHERE good.job = j.name AND good.state = 'succeeded'), 0)
    ) AS failures
FROM strata.job AS j
LEFT JOIN LATERAL (SELECT r.* FROM strata.job_run AS r WHERE r.job = j.name ORDER BY r.id DESC LIMIT 1) AS last ON true
WHERE j.name = ANY(%(names)s)
ORDER BY j.name;

-- list_runs
-- The last runs of a job, newest first.
SELECT id, job, asked_by, worker, state, started_at, finished_at, result, error, error_code, retryable, now() AS now
FROM strata.job_run WHERE job = %(name)s ORDER BY id DESC LIMIT %(limit)s;

-- add_run
-- A run that begins.
INSERT INTO strata.job_run (job, asked_by, worker, queue_id) VALUES (%(name)s, %(asked_by)s, %(worker)s, %(queue_id)s)
RETURNING id, now() AS started_at;

-- finish_run
-- How a run ended, unless it was given up as lost.
UPDATE strata.job_run
SET state = %(state)s, finished_at = now(), result = %(result)s, error = %(error)s, error_code = %(code)s, retryable = %(retryable)s
WHERE id = %(id)s AND state = 'running'
RETURNING id, job, asked_by, worker, state, started_at, finished_at, result, error, error_code, retryable, now() AS now;

-- find_running
-- The run of a job that is under way.
SELECT worker, started_at FROM strata.job_run WHERE job = %(name)s AND state = 'running';

-- list_silent
-- Jobs that a worker took which has given no sign of life for longer than a lease.
SELECT q.id, q.queueing_lock AS name, coalesce(q.args ->> 'asked_by', 'schedule') AS asked_by
FROM procrastinate.procrastinate_jobs AS q
LEFT JOIN procrastinate.procrastinate_workers AS w ON w.id = q.worker_id
WHERE q.status = 'doing' AND q.queue_name = %(queue)s AND (w.id IS NULL OR w.last_heartbeat < now() - make_interval(secs => %(seconds)s));

-- list_running
-- Runs on record as under way that did not come from the queue, or whose place in it is gone.
SELECT r.job AS name FROM strata.job_run AS r
WHERE r.state = 'running' AND NOT EXISTS (
    SELECT FROM procrastinate.procrastinate_jobs AS q WHERE q.id = r.queue_id AND q.status = 'doing'
);

-- lose_runs
-- Gives up the run of a job whose worker ended.
UPDATE strata.job_run SET state = 'lost', finished_at = now(), error = %(lost)s, retryable = true
WHERE job = %(name)s AND state = 'running';

-- count_failures
-- How many runs of a job ended badly since one went well.
SELECT count(*) FROM strata.job_run
WHERE job = %(name)s AND state IN ('failed', 'lost')
    AND id > coalesce((SELECT max(good.id) FROM strata.job_run AS good WHERE good.job = %(name)s AND good.state = 'succeeded'), 0);

-- remove_queued
-- Takes a job that nobody works on any more out of the queue.
DELETE FROM procrastinate.procrastinate_jobs WHERE id = %(id)s AND status = 'doing';

-- forget_ended
-- Removes from the queue what ended longer ago than that, by whatever name; what is done is usually gone at once.
DELETE FROM procrastinate.procrastinate_jobs AS q
WHERE q.status NOT IN ('todo', 'doing') AND NOT EXISTS (
    SELECT FROM procrastinate.procrastinate_events AS e WHERE e.job_id = q.id AND e.at > now() - %(age)s
);

-- forget_workers
-- Removes workers that have been silent for longer than that and have nothing in hand.
DELETE FROM procrastinate.procrastinate_workers AS w
WHERE w.last_heartbeat < now() - %(age)s AND NOT EXISTS (SELECT FROM procrastinate.procrastinate_jobs AS q WHERE q.worker_id = w.id);
