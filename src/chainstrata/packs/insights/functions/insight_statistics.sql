-- insight_statistics
-- Ratings, their exact mean, comments and flags of one insight. One row always: an insight nobody spoke of has none of each.
CREATE FUNCTION insights.insight_statistics(p_insight_id text)
RETURNS TABLE (
    insight_id text,
    total_ratings bigint,
    average_rating numeric,
    total_comments bigint,
    total_flags bigint
)
LANGUAGE sql
STABLE
SET search_path = pg_catalog
AS $$
    SELECT p_insight_id, count(rating), avg(rating), count(comment), count(flag_type)
    FROM insights.insight_feedback AS f
    WHERE f.insight_id = p_insight_id
$$;
