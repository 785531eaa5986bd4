-- check_index_bloat
-- How densely the B-tree indexes of at least a size are filled, and what rebuilding them would give back, the most first. A rebuild
-- is `REINDEX INDEX CONCURRENTLY`, which a client runs, outside a transaction; writers go on. Reads every page of each index.
CREATE FUNCTION strata.check_index_bloat(minimum_bytes bigint DEFAULT 1048576)
RETURNS TABLE (
    schema_name text, table_name text, index_name text, size_bytes bigint, density_percent numeric, reclaimable_bytes bigint, advice text
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog
AS $$
DECLARE
    place text := (
        SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
        WHERE e.extname = 'pgstattuple'
    );
BEGIN
    IF place IS NULL THEN
        advice := 'density is not measured: CREATE EXTENSION pgstattuple in this database';
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        $query$
            SELECT measured.nspname::text, measured.table_name::text, measured.index_name::text, measured.size, measured.density,
                measured.reclaimable,
                CASE
                    WHEN measured.density < 50 THEN format('REINDEX INDEX CONCURRENTLY %%I.%%I', measured.nspname, measured.index_name)
                    ELSE 'fine'
                END
            FROM (
                SELECT n.nspname, t.relname AS table_name, c.relname AS index_name, pg_relation_size(c.oid) AS size,
                    round(nullif(s.avg_leaf_density, 'NaN')::numeric, 1) AS density,
                    -- Leaves are filled to 90 percent when an index is built.
                    greatest(pg_relation_size(c.oid) * (1 - coalesce(nullif(s.avg_leaf_density, 'NaN'), 90) / 90), 0)::bigint AS reclaimable
                FROM pg_index AS i
                JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i'
                JOIN pg_class AS t ON t.oid = i.indrelid
                JOIN pg_namespace AS n ON n.oid = c.relnamespace
                JOIN pg_am AS a ON a.oid = c.relam AND a.amname = 'btree'
                CROSS JOIN LATERAL %s.pgstatindex(c.oid::regclass) AS s
                WHERE i.indisvalid AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relpersistence = 'p'
                    AND pg_relation_size(c.oid) >= $1
            ) AS measured
            ORDER BY measured.reclaimable DESC, 1, 2, 3
        $query$,
        place
    ) USING minimum_bytes;
END
$$;
