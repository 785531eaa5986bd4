-- distinct_key
-- The register of a value in a distinct sketch of 2048 registers, and the rank it brings: register * 64 + rank.
CREATE FUNCTION strata.distinct_key(value text) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT ((hash >> 53) & 2047)::integer * 64
        + 54 - CASE WHEN hash & 9007199254740991 = 0 THEN 0 ELSE floor(log(2, (hash & 9007199254740991)::numeric))::integer + 1 END
    FROM (SELECT hashtextextended(value, 0) AS hash) AS hashed
)
