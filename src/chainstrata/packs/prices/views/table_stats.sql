-- table_stats
-- Size and activity of every table of the pack, partitions summed into their parent: the parent itself stores nothing.
CREATE VIEW prices.table_stats AS
SELECT
    n.nspname AS schemaname,
    c.relname AS tablename,
    pg_catalog.pg_size_pretty(sums.size_bytes) AS size,
    sums.size_bytes,
    sums.partitions,
    sums.inserts,
    sums.updates,
    sums.deletes,
    sums.live_tuples
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT
        pg_catalog.sum(pg_catalog.pg_total_relation_size(leaf.oid))::bigint AS size_bytes,
        pg_catalog.count(*) FILTER (WHERE leaf.oid <> c.oid) AS partitions,
        pg_catalog.sum(pg_catalog.pg_stat_get_tuples_inserted(leaf.oid))::bigint AS inserts,
        pg_catalog.sum(pg_catalog.pg_stat_get_tuples_updated(leaf.oid))::bigint AS updates,
        pg_catalog.sum(pg_catalog.pg_stat_get_tuples_deleted(leaf.oid))::bigint AS deletes,
        pg_catalog.sum(pg_catalog.pg_stat_get_live_tuples(leaf.oid))::bigint AS live_tuples
    -- A plain table is no tree; its own oid stands for it. A partitioned one stores nothing, so its own oid adds nothing.
    FROM (
        SELECT c.oid
        UNION
        SELECT tree.relid FROM pg_catalog.pg_partition_tree(c.oid) AS tree WHERE tree.isleaf
    ) AS leaf
) AS sums
WHERE n.nspname = 'prices' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY sums.size_bytes DESC, c.relname;
