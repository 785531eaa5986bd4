-- merge_registers
-- Merges distinct sketches: the highest rank of each register stays.
CREATE FUNCTION strata.merge_registers(sketches jsonb[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT coalesce(jsonb_object_agg(register, rank), '{}')
    FROM (
        SELECT entry.key AS register, max(entry.value::integer) AS rank
        FROM unnest(sketches) AS sketch, jsonb_each_text(sketch) AS entry
        GROUP BY entry.key
    ) AS ranked
)
