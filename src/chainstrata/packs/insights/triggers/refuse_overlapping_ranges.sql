-- refuse_overlapping_ranges
-- No two chunks of a job have a block in common, and none has one the job has not.
-- requires: refuse_overlap
CREATE TRIGGER refuse_overlapping_ranges
AFTER INSERT OR UPDATE OF job_id, from_block, to_block ON insights.backfill_ranges
FOR EACH ROW EXECUTE FUNCTION insights.refuse_overlap();
