-- missed_streaks
-- Runs of attestations that no block included, at least so many epochs in a row, by validators that were active, within a span of time.
-- `ongoing` is a run that reaches the validator's last duty in the span: one to wake someone for.
CREATE FUNCTION validators.missed_streaks(p_from timestamptz, p_to timestamptz, p_at_least integer DEFAULT 3)
RETURNS TABLE (
    validator_index bigint,
    first_epoch bigint,
    last_epoch bigint,
    missed bigint,
    not_seen bigint,
    ongoing boolean
)
LANGUAGE sql
STABLE
SET search_path = pg_catalog
AS $$
    WITH duties AS (
        SELECT d.validator_index, d.epoch, d.included, d.miss_reason,
            count(*) FILTER (WHERE d.included) OVER (PARTITION BY d.validator_index ORDER BY d.epoch) AS run,
            max(d.epoch) OVER (PARTITION BY d.validator_index) AS newest
        FROM validators.attestation_duties AS d
        WHERE d.ts >= p_from AND d.ts < p_to AND d.miss_reason IS DISTINCT FROM 'not_active'
    )
    SELECT validator_index, min(epoch), max(epoch), count(*), count(*) FILTER (WHERE miss_reason = 'not_seen'), max(epoch) = max(newest)
    FROM duties
    WHERE NOT included
    GROUP BY validator_index, run
    HAVING count(*) >= p_at_least
    ORDER BY count(*) DESC, validator_index, min(epoch)
$$;
