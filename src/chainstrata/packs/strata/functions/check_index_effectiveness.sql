-- check_index_effectiveness
-- Which indexes earn their keep: one row per index of the tables in the given schema (all but the system's for NULL), those of
-- partitions summed under their parent's, the largest of the least useful first. Counts are those since the statistics were reset.
CREATE FUNCTION strata.check_index_effectiveness(in_schema text DEFAULT NULL)
RETURNS TABLE (
    schema_name text, table_name text, index_name text, size_bytes bigint, scans bigint, rows_read bigint, rows_fetched bigint,
    table_writes bigint, verdict text, reason text
)
LANGUAGE sql STABLE
SET search_path = pg_catalog
BEGIN ATOMIC
    WITH whole AS (
        SELECT i.*, n.nspname, t.relname AS table_name, c.relname AS index_name, c.relam,
            (string_to_array(i.indkey::text, ' '))[:i.indnkeyatts] AS keys,
            (string_to_array(i.indclass::text, ' '))[:i.indnkeyatts] AS classes,
            (string_to_array(i.indoption::text, ' '))[:i.indnkeyatts] AS options
        FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indexrelid
        JOIN pg_class AS t ON t.oid = i.indrelid
        JOIN pg_namespace AS n ON n.oid = t.relnamespace
        WHERE NOT c.relispartition
            AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            AND n.nspname !~ '^pg_(toast|temp_)'
            AND (in_schema IS NULL OR n.nspname = in_schema)
    ),
    counted AS (
        SELECT w.indexrelid,
            sum(pg_relation_size(leaf.relid))::bigint AS size_bytes,
            coalesce(sum(s.idx_scan), 0)::bigint AS scans,
            coalesce(sum(s.idx_tup_read), 0)::bigint AS rows_read,
            coalesce(sum(s.idx_tup_fetch), 0)::bigint AS rows_fetched,
            coalesce(sum(u.n_tup_ins + u.n_tup_upd - u.n_tup_hot_upd), 0)::bigint AS table_writes
        FROM whole AS w
        -- A plain index is no part of a tree, so the function gives nothing for it.
        CROSS JOIN LATERAL (
            SELECT tree.relid FROM pg_partition_tree(w.indexrelid) AS tree WHERE tree.isleaf
            UNION
            SELECT w.indexrelid
        ) AS leaf
        LEFT JOIN pg_stat_all_indexes AS s ON s.indexrelid = leaf.relid
        LEFT JOIN pg_stat_all_tables AS u ON u.relid = s.relid
        GROUP BY w.indexrelid
    ),
    judged AS (
        SELECT w.*, c.size_bytes, c.scans, c.rows_read, c.rows_fetched, c.table_writes, covering.name AS covered_by, covering.alike
        FROM whole AS w
        JOIN counted AS c USING (indexrelid)
        LEFT JOIN LATERAL (
            SELECT o.index_name AS name,
                -- A B-tree is read both ways, so the same order turned round serves as well.
                o.options[:w.indnkeyatts] = w.options
                OR o.options[:w.indnkeyatts]
                    = ARRAY(SELECT (3 - part::integer)::text FROM unnest(w.options) WITH ORDINALITY AS each (part, nr) ORDER BY nr) AS alike
            FROM whole AS o
            WHERE o.indrelid = w.indrelid AND o.indexrelid <> w.indexrelid AND o.relam = w.relam
                AND o.indisvalid AND w.indexprs IS NULL AND o.indexprs IS NULL AND w.indnkeyatts = w.indnatts
                AND pg_get_expr(o.indpred, o.indrelid) IS NOT DISTINCT FROM pg_get_expr(w.indpred, w.indrelid)
                AND o.keys[:w.indnkeyatts] = w.keys AND o.classes[:w.indnkeyatts] = w.classes
                -- Of two that are equal only the later one is called a duplicate.
                AND (o.indnatts > w.indnkeyatts OR o.indisunique OR o.indexrelid < w.indexrelid)
            ORDER BY alike DESC, o.index_name
            LIMIT 1
        ) AS covering ON true
    )
    SELECT j.nspname::text, j.table_name::text, j.index_name::text, j.size_bytes, j.scans, j.rows_read, j.rows_fetched, j.table_writes,
        verdict.name, verdict.reason
    FROM judged AS j
    CROSS JOIN LATERAL (
        SELECT * FROM (VALUES
            (1, NOT j.indisvalid, 'invalid', 'a build failed or has not ended: it is written and never read'),
            (2, NOT j.indisunique AND j.alike, 'duplicate', format('%s begins with the same columns', j.covered_by)),
            (2, NOT j.indisunique AND NOT j.alike, 'duplicate',
                format('%s begins with the same columns; only ORDER BY over them in opposite directions needs this one', j.covered_by)),
            (3, j.indisunique AND j.scans = 0, 'constraint', 'never read, but keeps its columns unique'),
            (4, j.scans = 0, 'unused', 'never read since the statistics were reset'),
            (5, j.scans * 100 < j.table_writes AND NOT j.indisunique, 'seldom', 'written more than a hundred times for each read'),
            (6, true, 'useful', 'read often enough for what it costs')
        ) AS verdicts (rank, holds, name, reason)
        WHERE holds ORDER BY rank LIMIT 1
    ) AS verdict
    ORDER BY verdict.rank, j.size_bytes DESC, 1, 2, 3;
END;
