-- analyze_query_performance
-- What the statements whose text matches a LIKE pattern cost, the costliest first. Where the statistics are not collected there is one
-- row that says why in `advice`, and nothing else.
CREATE FUNCTION strata.analyze_query_performance(pattern text DEFAULT '%')
RETURNS TABLE (
    query_id bigint, query text, calls bigint, rows_returned bigint, total_ms numeric, mean_ms numeric, max_ms numeric,
    stddev_ms numeric, cache_hit_ratio numeric, advice text
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog
AS $$
DECLARE
    place text := (
        SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_stat_statements'
    );
BEGIN
    IF place IS NULL THEN
        advice := 'statistics are not collected: CREATE EXTENSION pg_stat_statements in this database';
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        $query$
            SELECT
                s.queryid, s.query, s.calls, s.rows,
                round(s.total_exec_time::numeric, 3), round(s.mean_exec_time::numeric, 3), round(s.max_exec_time::numeric, 3),
                round(s.stddev_exec_time::numeric, 3),
                round(s.shared_blks_hit::numeric / nullif(s.shared_blks_hit + s.shared_blks_read, 0), 4),
                CASE
                    WHEN s.mean_exec_time > 200 THEN 'slow: more than 200 ms on average; look at its plan'
                    WHEN s.max_exec_time > 10 * s.mean_exec_time AND s.max_exec_time > 200 THEN 'uneven: look for locks and cold reads'
                    WHEN s.shared_blks_read > s.shared_blks_hit THEN 'cold: reads more from disk than from memory'
                    WHEN s.temp_blks_written > 0 THEN 'spills: sorts or hashes on disk; more work_mem would hold them'
                    ELSE 'fine'
                END
            FROM %s.pg_stat_statements AS s
            WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND s.query LIKE $1
            ORDER BY s.total_exec_time DESC
        $query$,
        place
    ) USING pattern;
EXCEPTION
    WHEN object_not_in_prerequisite_state THEN
        advice := 'statistics are not collected: add pg_stat_statements to shared_preload_libraries and restart the server';
        RETURN NEXT;
END
$$;
