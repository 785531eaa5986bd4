-- touch_updated_at
-- Trigger function: sets updated_at to the moment of the change. A clock, not the start of the transaction, so that a row changed
-- twice in one transaction shows it.
CREATE FUNCTION strata.touch_updated_at() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
