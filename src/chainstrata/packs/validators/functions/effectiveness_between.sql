-- effectiveness_between
-- What validators earned of what they could over a span of time, from the snapshots: all of them, or some. A quotient of sums, so that
-- each epoch weighs what it could earn.
CREATE FUNCTION validators.effectiveness_between(p_from timestamptz, p_to timestamptz, p_validators bigint[] DEFAULT NULL)
RETURNS TABLE (
    validator_index bigint,
    epochs bigint,
    earned_reward numeric,
    ideal_reward numeric,
    effectiveness numeric,
    due_attestations bigint,
    missed_attestations bigint
)
LANGUAGE sql
STABLE
SET search_path = pg_catalog
AS $$
    SELECT s.validator_index, count(s.rewards_epoch), sum(s.earned_reward), sum(s.ideal_reward),
        sum(s.earned_reward) / nullif(sum(s.ideal_reward), 0),
        coalesce(sum(s.due_attestations), 0), coalesce(sum(s.missed_attestations), 0)
    FROM validators.validator_snapshots AS s
    WHERE s.ts >= p_from AND s.ts < p_to AND (p_validators IS NULL OR s.validator_index = ANY (p_validators))
    GROUP BY s.validator_index
    ORDER BY s.validator_index
$$;
