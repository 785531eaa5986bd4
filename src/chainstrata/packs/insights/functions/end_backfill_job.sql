-- end_backfill_job
-- Trigger function: a job that ends gets the time it did, unless one is given; a job that is resumed loses it.
CREATE FUNCTION insights.end_backfill_job() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    IF NEW.status NOT IN ('completed', 'failed', 'cancelled') THEN
        NEW.completed_at := NULL;
    ELSIF TG_OP = 'UPDATE' AND NEW.status <> OLD.status AND NEW.completed_at IS NOT DISTINCT FROM OLD.completed_at THEN
        NEW.completed_at := clock_timestamp();
    ELSE
        NEW.completed_at := coalesce(NEW.completed_at, clock_timestamp());
    END IF;
    RETURN NEW;
END
$$;
