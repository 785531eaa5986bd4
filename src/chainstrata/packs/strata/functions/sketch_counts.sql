-- sketch_counts
-- Folds cells of numbers into a quantile sketch: how often each cell occurs.
CREATE FUNCTION strata.sketch_counts(cells integer[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT coalesce(jsonb_object_agg(cell, times), '{}')
    FROM (SELECT cell, count(*) AS times FROM unnest(cells) AS cell WHERE cell IS NOT NULL GROUP BY cell) AS counted
)
