-- soft_delete_operation
-- Trigger function: a clearing operation deleted from the view of live ones is marked as deleted, and stays.
CREATE FUNCTION relay.soft_delete_operation() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    UPDATE relay.clearing_operations SET deleted_at = clock_timestamp()
    WHERE operation_id = OLD.operation_id AND deleted_at IS NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN OLD;
END
$$;
