-- list_running_jobs
-- Jobs that are running, newest first.
SELECT * FROM insights.backfill_jobs WHERE status = 'running' ORDER BY started_at DESC;

-- get_job_progress
-- How far one job is.
SELECT id, job_type, status, progress_percentage, start_block, current_block, end_block, estimated_completion, error_message
FROM insights.backfill_jobs
WHERE id = %(id)s;

-- list_failed_jobs
-- Jobs that failed since an instant, by when they failed: one that began long before is among them.
SELECT * FROM insights.backfill_jobs
WHERE status = 'failed' AND completed_at > %(since)s
ORDER BY completed_at DESC;

-- list_jobs
-- The history of jobs, of one kind or of all, newest first.
SELECT * FROM insights.backfill_jobs
WHERE (%(job_type)s::text IS NULL OR job_type = %(job_type)s) AND started_at < %(before)s
ORDER BY started_at DESC
LIMIT %(limit)s;

-- create_job
-- Creates a job that has fetched nothing yet.
INSERT INTO insights.backfill_jobs (job_type, start_block, end_block, current_block, created_by)
VALUES (%(job_type)s, %(start_block)s, %(end_block)s, %(start_block)s, %(created_by)s)
RETURNING id;

-- advance_job
-- Notes how far a running job is, and when it will be done at the rate measured.
UPDATE insights.backfill_jobs
SET current_block = %(current_block)s, estimated_completion = %(estimated_completion)s
WHERE id = %(id)s AND status = 'running' AND current_block <= %(current_block)s
RETURNING progress_percentage;

-- set_job_status
-- Moves a job to another status; why, where it matters.
UPDATE insights.backfill_jobs
SET status = %(status)s, error_message = coalesce(%(error_message)s, error_message)
WHERE id = %(id)s
RETURNING completed_at;

-- give_feedback
-- What a user thinks of an insight; giving it again replaces it.
INSERT INTO insights.insight_feedback (insight_id, user_id, rating, comment, flag_type, flag_reason)
VALUES (%(insight_id)s, %(user_id)s, %(rating)s, %(comment)s, %(flag_type)s, %(flag_reason)s)
ON CONFLICT ON CONSTRAINT uq_insight_user_feedback DO UPDATE SET
    rating = excluded.rating,
    comment = excluded.comment,
    flag_type = excluded.flag_type,
    flag_reason = excluded.flag_reason
RETURNING id, created_at, updated_at;

-- get_insight_statistics
-- Ratings, their mean, comments and flags of one insight.
SELECT * FROM insights.insight_statistics(%(insight_id)s);

-- list_rating_distribution
-- How often each rating was given to one insight.
SELECT rating, count(*) AS count
FROM insights.insight_feedback
WHERE insight_id = %(insight_id)s AND rating IS NOT NULL
GROUP BY rating
ORDER BY rating;

-- list_recent_comments
-- The latest comments on one insight.
SELECT user_id, comment, created_at
FROM insights.insight_feedback
WHERE insight_id = %(insight_id)s AND comment IS NOT NULL
ORDER BY created_at DESC
LIMIT %(limit)s;

-- list_feedback_of_user
-- What one user said, newest first.
SELECT * FROM insights.insight_feedback
WHERE user_id = %(user_id)s AND created_at < %(before)s
ORDER BY created_at DESC
LIMIT %(limit)s;

-- list_flagged_insights
-- Insights flagged at least so often, with the kinds of flags.
SELECT insight_id, flag_count, flag_types::text[] AS flag_types FROM insights.flagged_insights(%(at_least)s::integer);

-- list_recent_metrics
-- One type of metric of one service since an instant, newest first.
SELECT timestamp, instance, metric_value, unit
FROM insights.system_metrics
WHERE service_name = %(service_name)s AND metric_type = %(metric_type)s AND timestamp > %(since)s AND timestamp <= %(until)s
ORDER BY timestamp DESC, instance;

-- list_hourly_metrics
-- Mean, lowest and highest value by hour of one type of metric of one service, from the measurements.
SELECT date_bin('1 hour', timestamp, 'epoch'::timestamptz) AS hour, unit,
    avg(metric_value) AS avg_value, min(metric_value) AS min_value, max(metric_value) AS max_value, count(*) AS samples
FROM insights.system_metrics
WHERE service_name = %(service_name)s AND metric_type = %(metric_type)s AND timestamp > %(since)s AND timestamp <= %(until)s
GROUP BY hour, unit
ORDER BY hour, unit;

-- list_metrics_at
-- Every metric of one service within a window that starts at an instant.
SELECT metric_type, instance, timestamp, metric_value, unit, metric_metadata
FROM insights.system_metrics
WHERE service_name = %(service_name)s AND timestamp >= %(at)s AND timestamp <= %(at)s::timestamptz + %(window)s::interval
    AND timestamp <= %(until)s
ORDER BY metric_type, timestamp, instance;

-- list_services_above
-- Services whose mean of one type of metric since an instant is above a limit, the highest first.
SELECT service_name, avg(metric_value) AS avg_value, count(*) AS samples
FROM insights.system_metrics
WHERE metric_type = %(metric_type)s AND unit = %(unit)s AND timestamp > %(since)s AND timestamp <= %(until)s
GROUP BY service_name
HAVING avg(metric_value) > %(limit)s
ORDER BY avg_value DESC, service_name;

-- list_metrics_between
-- Every metric over a span of time.
SELECT * FROM insights.system_metrics
WHERE timestamp >= %(since)s AND timestamp < %(until)s
ORDER BY timestamp, service_name, metric_type, instance;
