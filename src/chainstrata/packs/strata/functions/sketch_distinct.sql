-- sketch_distinct
-- About how many different values went into a distinct sketch: HyperLogLog over 2048 registers, counted linearly when few.
CREATE FUNCTION strata.sketch_distinct(sketch jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT round(CASE
        WHEN empty > 0 AND raw <= 5120 THEN 2048 * ln(2048.0::double precision / empty)
        ELSE raw
    END)::bigint
    FROM (
        SELECT 2048 - count(*) AS empty,
               0.7213 / (1 + 1.079 / 2048) * 2048 * 2048
                   / (2048 - count(*) + coalesce(sum(power(2.0::double precision, -entry.value::integer)), 0)) AS raw
        FROM jsonb_each_text(sketch) AS entry
    ) AS estimated
)
