-- refuse_overlap
-- Trigger function: the chunks of a job lie within it and never over each other. Holds the job, so that two who add chunks see each other's.
CREATE FUNCTION insights.refuse_overlap() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    job record;
BEGIN
    SELECT start_block, end_block INTO job FROM insights.backfill_jobs WHERE id = NEW.job_id FOR NO KEY UPDATE;
    IF NEW.from_block < job.start_block OR NEW.to_block > job.end_block THEN
        RAISE EXCEPTION 'the chunk from % to % is not within its job, which is from % to %',
            NEW.from_block, NEW.to_block, job.start_block, job.end_block
            USING ERRCODE = 'check_violation', SCHEMA = 'insights', TABLE = 'backfill_ranges', CONSTRAINT = 'backfill_ranges_within_job';
    END IF;
    IF EXISTS (
        SELECT FROM (
            SELECT to_block FROM insights.backfill_ranges
            WHERE job_id = NEW.job_id AND from_block < NEW.from_block ORDER BY from_block DESC LIMIT 1
        ) AS before WHERE before.to_block > NEW.from_block
    ) OR EXISTS (
        SELECT FROM insights.backfill_ranges
        WHERE job_id = NEW.job_id AND from_block > NEW.from_block AND from_block < NEW.to_block
    ) THEN
        RAISE EXCEPTION 'the chunk from % to % lies over another one of its job', NEW.from_block, NEW.to_block
            USING ERRCODE = 'exclusion_violation', SCHEMA = 'insights', TABLE = 'backfill_ranges', CONSTRAINT = 'backfill_ranges_apart';
    END IF;
    RETURN NEW;
END
$$;
