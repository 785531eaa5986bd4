-- end_backfill_job_status
-- When a job ended follows from its status.
-- requires: end_backfill_job
CREATE TRIGGER end_backfill_job_status
BEFORE INSERT OR UPDATE OF status, completed_at ON insights.backfill_jobs
FOR EACH ROW EXECUTE FUNCTION insights.end_backfill_job();
