-- merge_counts
-- Merges quantile sketches: the counts of each cell are added. Nothing but NULL merges into NULL, as no row at all folds into it.
CREATE FUNCTION strata.merge_counts(sketches jsonb[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT CASE WHEN array_length(array_remove(sketches, NULL), 1) > 0 THEN coalesce(jsonb_object_agg(cell, times), '{}') END
    FROM (
        SELECT entry.key AS cell, sum(entry.value::bigint) AS times
        FROM unnest(sketches) AS sketch, jsonb_each_text(sketch) AS entry
        GROUP BY entry.key
    ) AS counted
)
