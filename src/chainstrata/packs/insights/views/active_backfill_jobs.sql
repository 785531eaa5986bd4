-- active_backfill_jobs
-- Jobs that have not ended, with their chunks by state.
CREATE VIEW insights.active_backfill_jobs AS
SELECT
    j.*,
    r.chunks, r.chunks_done, r.chunks_failed, r.chunks_running, r.rows_written
FROM insights.backfill_jobs AS j
LEFT JOIN LATERAL (
    SELECT
        count(*) AS chunks,
        count(*) FILTER (WHERE status = 'done') AS chunks_done,
        count(*) FILTER (WHERE status = 'failed') AS chunks_failed,
        count(*) FILTER (WHERE status = 'running') AS chunks_running,
        coalesce(sum(rows_written), 0) AS rows_written
    FROM insights.backfill_ranges AS r
    WHERE r.job_id = j.id
) AS r ON true
WHERE j.status IN ('pending', 'running', 'paused');
