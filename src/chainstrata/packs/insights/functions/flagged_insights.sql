-- flagged_insights
-- Insights flagged at least so often, with the kinds of flags, the most flagged first.
CREATE FUNCTION insights.flagged_insights(p_at_least integer DEFAULT 3)
RETURNS TABLE (
    insight_id text,
    flag_count bigint,
    flag_types insights.flag_type[]
)
LANGUAGE sql
STABLE
SET search_path = pg_catalog
AS $$
    SELECT f.insight_id, count(*), array_agg(DISTINCT f.flag_type ORDER BY f.flag_type)
    FROM insights.insight_feedback AS f
    WHERE f.flag_type IS NOT NULL
    GROUP BY f.insight_id
    HAVING count(*) >= p_at_least
    ORDER BY count(*) DESC, f.insight_id
$$;
