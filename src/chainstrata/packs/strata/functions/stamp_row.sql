-- stamp_row
-- Trigger function: an updated row keeps the time it was first written and gets the present as its last. A clock, not the start of the
-- transaction, so that a row changed twice in one transaction shows it.
CREATE FUNCTION strata.stamp_row() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    NEW.created_at := OLD.created_at;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
