-- sketch_registers
-- Folds keys of values into a distinct sketch: the highest rank of each register.
CREATE FUNCTION strata.sketch_registers(keys integer[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT coalesce(jsonb_object_agg(register, rank), '{}')
    FROM (
        SELECT key / 64 AS register, max(key % 64) AS rank
        FROM unnest(keys) AS key WHERE key IS NOT NULL GROUP BY key / 64
    ) AS ranked
)
