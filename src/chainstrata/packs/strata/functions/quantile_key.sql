-- quantile_key
-- The cell of a number in a quantile sketch: cells grow by 2 %, so that the middle of one is within 1 % of the number.
-- Cells are ordered as their numbers are; 0 is the number 0.
CREATE FUNCTION strata.quantile_key(number double precision) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN CASE
    WHEN number > 0 THEN 50000 + ceil(ln(number) / ln(1.02::double precision))::integer
    WHEN number < 0 THEN -50000 - ceil(ln(-number) / ln(1.02::double precision))::integer
    ELSE 0
END
