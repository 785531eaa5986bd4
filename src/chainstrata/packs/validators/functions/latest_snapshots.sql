-- latest_snapshots
-- The newest snapshot of each of some validators, up to an instant: one index probe each, never a scan of the series.
CREATE FUNCTION validators.latest_snapshots(p_validators bigint[], p_as_of timestamptz DEFAULT 'infinity')
RETURNS SETOF validators.validator_snapshots
LANGUAGE sql
STABLE
SET search_path = pg_catalog
AS $$
    SELECT s.*
    FROM (SELECT DISTINCT unnest(p_validators) AS validator_index) AS wanted
    CROSS JOIN LATERAL (
        SELECT * FROM validators.validator_snapshots AS s
        WHERE s.validator_index = wanted.validator_index AND s.ts <= p_as_of
        ORDER BY s.ts DESC LIMIT 1
    ) AS s
    ORDER BY s.validator_index
$$;
