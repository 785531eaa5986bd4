-- finalize_blocks
-- Marks canonical blocks with at least so many on top of them as final and returns how many were not so yet.
CREATE FUNCTION insights.finalize_blocks(p_depth integer DEFAULT 6) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    v_marked bigint;
BEGIN
    UPDATE insights.blocks SET finalized = true
    WHERE canonical AND NOT finalized AND height <= (SELECT max(height) FROM insights.blocks WHERE canonical) - p_depth;
    GET DIAGNOSTICS v_marked = ROW_COUNT;
    RETURN v_marked;
END
$$;
