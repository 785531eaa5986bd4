-- sketch_quantile
-- The number below which a share of all numbers of a quantile sketch lie, within 1 %; NULL for an empty sketch.
CREATE FUNCTION strata.sketch_quantile(sketch jsonb, share double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT CASE
        WHEN cell > 0 THEN 2 * exp((cell - 50000) * ln(1.02::double precision)) / 2.02
        WHEN cell < 0 THEN -2 * exp((-cell - 50000) * ln(1.02::double precision)) / 2.02
        ELSE 0
    END
    FROM (
        SELECT entry.key::integer AS cell,
               sum(entry.value::bigint) OVER (ORDER BY entry.key::integer) AS reached,
               sum(entry.value::bigint) OVER () AS whole
        FROM jsonb_each_text(sketch) AS entry
    ) AS cells
    WHERE reached >= greatest(1, ceil(share * whole))
    ORDER BY cell
    LIMIT 1
)
