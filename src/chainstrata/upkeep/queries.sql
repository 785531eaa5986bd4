-- list_views
-- Materialized views, whether they have rows yet, whether a unique index lets them be refreshed while they are read, and which of them
-- they are made of, directly or through plain views.
WITH RECURSIVE made_of (oid, source) AS (
    SELECT r.ev_class, d.refobjid
    FROM pg_depend AS d
    JOIN pg_rewrite AS r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
    UNION
    SELECT m.oid, d.refobjid
    FROM made_of AS m
    JOIN pg_class AS v ON v.oid = m.source AND v.relkind = 'v'
    JOIN pg_rewrite AS r ON r.ev_class = v.oid
    JOIN pg_depend AS d ON d.objid = r.oid AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
    WHERE d.refobjid <> r.ev_class
)
SELECT
    n.nspname AS schema, c.relname AS name, c.relispopulated AS populated,
    EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
    ) AS unique_index,
    ARRAY(
        SELECT DISTINCT sn.nspname || '.' || s.relname
        FROM made_of AS m JOIN pg_class AS s ON s.oid = m.source AND s.relkind = 'm' JOIN pg_namespace AS sn ON sn.oid = s.relnamespace
        WHERE m.oid = c.oid
    ) AS needs
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND n.nspname = ANY(%(schemas)s)
ORDER BY 1, 2;

-- list_statistics
-- Tables and partitions with what changed since they were analyzed; a partitioned table sums up its partitions.
WITH leaf AS (
    SELECT
        c.oid, n.nspname AS schema, c.relname AS name, pg_partition_root(c.oid) AS root,
        greatest(c.reltuples, s.n_live_tup, 0)::bigint AS rows, coalesce(s.n_mod_since_analyze, 0) AS changed,
        greatest(s.last_analyze, s.last_autoanalyze) AS analyzed_at
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND n.nspname = ANY(%(schemas)s)
)
SELECT schema, name, false AS partitioned, rows, changed, analyzed_at, NULL::timestamptz AS partitions_analyzed_at, now() AS now FROM leaf
UNION ALL
SELECT
    n.nspname, c.relname, true, coalesce(sum(leaf.rows), 0)::bigint, coalesce(sum(leaf.changed), 0)::bigint,
    greatest(s.last_analyze, s.last_autoanalyze), max(leaf.analyzed_at), now()
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN leaf ON leaf.root = c.oid
LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
WHERE c.relkind = 'p' AND NOT c.relispartition AND n.nspname = ANY(%(schemas)s)
GROUP BY n.nspname, c.relname, s.last_analyze, s.last_autoanalyze;

-- find_measure
-- The schema in which pgstattuple's functions are, if it is installed.
SELECT n.nspname AS schema FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'pgstattuple';

-- estimate_indexes
-- B-tree indexes with the size they would have if built anew, from the planner's statistics. Values in several rows of one key are kept
-- once, which is not taken into account, so it errs on the side of less to gain.
SELECT
    n.nspname AS schema, i.relname AS name, tn.nspname || '.' || t.relname AS table, pg_relation_size(i.oid) AS size_bytes,
    greatest(0, pg_relation_size(i.oid) - (ceil(
        greatest(i.reltuples, 0) * (
            -- A line pointer, the head of an entry, its values rounded up to eight bytes; leaves are filled to 90 percent.
            4 + 8 + 8 * ceil(coalesce((
                SELECT sum(coalesce(st.avg_width, CASE WHEN a.attlen > 0 THEN a.attlen ELSE 32 END))
                FROM pg_attribute AS a
                LEFT JOIN pg_attribute AS ta ON ta.attrelid = t.oid AND ta.attnum = x.indkey[a.attnum - 1]
                LEFT JOIN pg_stats AS st ON st.schemaname = tn.nspname AND st.tablename = t.relname AND st.attname = ta.attname
                    AND NOT st.inherited
                WHERE a.attrelid = i.oid
            ), 8) / 8.0)
        ) / 0.9 / (current_setting('block_size')::int - 40)
    ) + 2)::bigint * current_setting('block_size')::int) AS reclaimable_bytes,
    false AS measured
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid AND i.relkind = 'i' AND i.relpersistence = 'p'
JOIN pg_class AS t ON t.oid = x.indrelid
JOIN pg_namespace AS n ON n.oid = i.relnamespace
JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
JOIN pg_am AS m ON m.oid = i.relam AND m.amname = 'btree'
WHERE x.indisvalid AND i.reltuples >= 0 AND n.nspname = ANY(%(schemas)s) AND pg_relation_size(i.oid) >= %(minimum)s;

-- list_leftovers
-- Indexes that a rebuild left behind when it was cut short. Nothing uses them.
SELECT n.nspname AS schema, i.relname AS name
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid AND i.relkind = 'i'
JOIN pg_namespace AS n ON n.oid = i.relnamespace
WHERE NOT x.indisvalid AND n.nspname = ANY(%(schemas)s) AND i.relname ~ '_cc(new|old)[0-9]*$'
ORDER BY 1, 2;

-- index_size
-- The size of an index.
SELECT pg_relation_size(to_regclass(format('%%I.%%I', %(schema)s::text, %(name)s::text))) AS size;
