-- merge_registers
-- Merges distinct sketches: the highest rank of each register stays. Nothing but NULL merges into NULL, as no row at all folds into it.
CREATE FUNCTION strata.merge_registers(sketches jsonb[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT CASE WHEN array_length(array_remove(sketches, NULL), 1) > 0 THEN coalesce(jsonb_object_agg(register, rank), '{}') END
    FROM (
        SELECT entry.key AS register, max(entry.value::integer) AS rank
        FROM unnest(sketches) AS sketch, jsonb_each_text(sketch) AS entry
        GROUP BY entry.key
    ) AS ranked
)
