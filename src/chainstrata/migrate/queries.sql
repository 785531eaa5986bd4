-- list_schemas
-- The schemas that are there, with their comments.
SELECT n.nspname AS name, coalesce(obj_description(n.oid, 'pg_namespace'), '') AS comment
FROM pg_namespace AS n
WHERE n.nspname = ANY(%(schemas)s);

-- list_extensions
-- Every extension but the language that is always there, and the schema its objects are in.
SELECT e.extname AS name, n.nspname AS schema
FROM pg_extension AS e
JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname <> 'plpgsql';

-- list_queues
-- The comment of the job queue's schema, which says its version.
SELECT coalesce(obj_description(n.oid, 'pg_namespace'), '') AS comment FROM pg_namespace AS n WHERE n.nspname = %(queue)s;

-- list_enums
-- Enum types with their values in order.
SELECT n.nspname AS schema, t.typname AS name,
       array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS labels,
       coalesce(obj_description(t.oid, 'pg_type'), '') AS comment
FROM pg_type AS t
JOIN pg_namespace AS n ON n.oid = t.typnamespace
JOIN pg_enum AS e ON e.enumtypid = t.oid
WHERE n.nspname = ANY(%(schemas)s)
GROUP BY n.nspname, t.typname, t.oid;

-- list_domains
-- Domain types with their base type and checks; the checks as pairs of name and condition.
SELECT n.nspname AS schema, t.typname AS name, format_type(t.typbasetype, t.typtypmod) AS base,
       t.typnotnull AS not_null, coalesce(t.typdefault, '') AS default_value,
       coalesce(
           (SELECT array_agg(ARRAY[c.conname::text, pg_get_expr(c.conbin, 0)] ORDER BY c.conname)
            FROM pg_constraint AS c WHERE c.contypid = t.oid AND c.contype = 'c'),
           '{}'
       ) AS checks,
       coalesce(obj_description(t.oid, 'pg_type'), '') AS comment
FROM pg_type AS t
JOIN pg_namespace AS n ON n.oid = t.typnamespace
WHERE t.typtype = 'd' AND n.nspname = ANY(%(schemas)s);

-- list_tables
-- Tables, plain and partitioned; partitions belong to their parent and are left out, as do chunks and what they keep by columns.
SELECT n.nspname AS schema, c.relname AS name,
       coalesce(obj_description(c.oid, 'pg_class'), '') AS comment,
       coalesce(pg_get_partkeydef(c.oid), '') AS partition_by,
       coalesce(c.reloptions, '{}') AS options,
       c.relpersistence = 'u' AS unlogged
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_inherits AS chunk WHERE chunk.inhrelid = c.oid)
  AND NOT EXISTS (SELECT FROM pg_attribute AS packed WHERE packed.attrelid = c.oid AND packed.attname = '_ts_meta_count')
  AND n.nspname = ANY(%(schemas)s)
  AND c.oid IS DISTINCT FROM to_regclass('strata.alembic_version');

-- list_columns
-- Columns of tables, in their order.
SELECT n.nspname AS schema, c.relname AS table_name, a.attname AS name,
       format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS not_null,
       coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS expression,
       a.attgenerated::text AS generated,
       a.attidentity::text AS identity,
       CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text ELSE '' END AS collation,
       coalesce(col_description(c.oid, a.attnum), '') AS comment
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_inherits AS chunk WHERE chunk.inhrelid = c.oid)
  AND NOT EXISTS (SELECT FROM pg_attribute AS packed WHERE packed.attrelid = c.oid AND packed.attname = '_ts_meta_count')
  AND n.nspname = ANY(%(schemas)s)
  AND a.attnum > 0 AND NOT a.attisdropped
  AND c.oid IS DISTINCT FROM to_regclass('strata.alembic_version')
ORDER BY c.oid, a.attnum;

-- list_constraints
-- Keys, checks, foreign keys and exclusions of tables. NOT NULL is told with the column.
SELECT n.nspname AS schema, c.relname AS table_name, con.conname AS name, con.contype::text AS kind,
       pg_get_constraintdef(con.oid) AS definition,
       con.convalidated AS valid,
       CASE WHEN con.contype = 'c' THEN pg_get_expr(con.conbin, con.conrelid) ELSE '' END AS condition,
       coalesce(
           (SELECT array_agg(a.attname::text ORDER BY k.place)
            FROM unnest(con.conkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute AS a ON a.attrelid = con.conrelid AND a.attnum = k.number),
           '{}'
       ) AS columns,
       coalesce(fn.nspname, '') AS target_schema, coalesce(fc.relname, '') AS target_table,
       coalesce(
           (SELECT array_agg(a.attname::text ORDER BY k.place)
            FROM unnest(con.confkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute AS a ON a.attrelid = con.confrelid AND a.attnum = k.number),
           '{}'
       ) AS target_columns,
       con.confdeltype::text AS on_delete, con.confupdtype::text AS on_update,
       con.condeferrable AS deferrable, con.condeferred AS deferred,
       coalesce(obj_description(con.oid, 'pg_constraint'), '') AS comment
FROM pg_constraint AS con
JOIN pg_class AS c ON c.oid = con.conrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_class AS fc ON fc.oid = con.confrelid
LEFT JOIN pg_namespace AS fn ON fn.oid = fc.relnamespace
WHERE con.contype IN ('p', 'u', 'c', 'f', 'x') AND con.conparentid = 0 AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_inherits AS chunk WHERE chunk.inhrelid = c.oid)
  AND NOT EXISTS (SELECT FROM pg_attribute AS packed WHERE packed.attrelid = c.oid AND packed.attname = '_ts_meta_count')
  AND n.nspname = ANY(%(schemas)s)
  AND c.oid IS DISTINCT FROM to_regclass('strata.alembic_version')
ORDER BY c.oid, con.conname;

-- list_indexes
-- Indexes that are not a constraint's, of tables and materialized views; `tail` is what the definition says after the table.
SELECT n.nspname AS schema, c.relname AS table_name, i.relname AS name, x.indisunique AS is_unique, am.amname AS method,
       pg_get_indexdef(i.oid) AS definition,
       substr(
           pg_get_indexdef(i.oid),
           length(format('CREATE %%sINDEX %%I ON %%s%%I.%%I USING %%I ', CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, i.relname,
               CASE WHEN i.relkind = 'I' THEN 'ONLY ' ELSE '' END, n.nspname, c.relname, am.amname)) + 1
       ) AS tail,
       coalesce(
           (SELECT array_agg(a.attname::text ORDER BY k.place)
            FROM unnest(x.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.number
            WHERE k.place > x.indnkeyatts),
           '{}'
       ) AS include,
       coalesce(pg_get_expr(x.indpred, x.indrelid), '') AS predicate,
       coalesce(i.reloptions, '{}') AS options,
       x.indnullsnotdistinct AS nulls_not_distinct,
       x.indisvalid AND x.indisready AS valid,
       coalesce(obj_description(i.oid, 'pg_class'), '') AS comment
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_class AS c ON c.oid = x.indrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_am AS am ON am.oid = i.relam
WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_inherits AS chunk WHERE chunk.inhrelid = c.oid)
  AND NOT EXISTS (SELECT FROM pg_attribute AS packed WHERE packed.attrelid = c.oid AND packed.attname = '_ts_meta_count')
  AND n.nspname = ANY(%(schemas)s)
  AND c.oid IS DISTINCT FROM to_regclass('strata.alembic_version')
  AND NOT EXISTS (SELECT FROM pg_constraint AS con WHERE con.conindid = i.oid AND con.contype IN ('p', 'u', 'x'))
ORDER BY i.relname;

-- list_broken_indexes
-- Indexes of partitions that are invalid, and partitions without their part of the parent's index: it then serves nobody.
SELECT n.nspname AS schema, c.relname AS table_name, coalesce(i.relname, '') AS name, p.relname AS parent_name
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_inherits AS h ON h.inhrelid = c.oid
JOIN pg_index AS px ON px.indrelid = h.inhparent
JOIN pg_class AS p ON p.oid = px.indexrelid
LEFT JOIN pg_inherits AS ih ON ih.inhparent = px.indexrelid
      AND EXISTS (SELECT FROM pg_index AS own WHERE own.indexrelid = ih.inhrelid AND own.indrelid = c.oid)
LEFT JOIN pg_index AS x ON x.indexrelid = ih.inhrelid
LEFT JOIN pg_class AS i ON i.oid = x.indexrelid
WHERE c.relispartition AND n.nspname = ANY(%(schemas)s) AND (x.indexrelid IS NULL OR NOT x.indisvalid)
ORDER BY n.nspname, c.relname, p.relname;

-- list_functions
-- Functions and procedures, but for those an extension brought.
SELECT n.nspname AS schema, p.proname AS name, pg_get_function_identity_arguments(p.oid) AS arguments,
       pg_get_functiondef(p.oid) AS definition, p.prokind::text AS kind,
       pg_get_function_result(p.oid) AS result,
       coalesce(obj_description(p.oid, 'pg_proc'), '') AS comment
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.prokind IN ('f', 'p', 'w') AND n.nspname = ANY(%(schemas)s)
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e');

-- list_views
-- Views and materialized views.
SELECT n.nspname AS schema, c.relname AS name, c.relkind = 'm' AS materialized,
       pg_get_viewdef(c.oid) AS query, coalesce(c.reloptions, '{}') AS options,
       (SELECT array_agg(ARRAY[a.attname::text, format_type(a.atttypid, a.atttypmod)] ORDER BY a.attnum)
        FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       coalesce(obj_description(c.oid, 'pg_class'), '') AS comment
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname = ANY(%(schemas)s)
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');

-- list_triggers
-- Triggers of tables, but for those PostgreSQL made itself and those that partitions have from their parent.
SELECT n.nspname AS schema, c.relname AS table_name, t.tgname AS name, pg_get_triggerdef(t.oid) AS definition,
       t.tgenabled::text AS enabled, coalesce(obj_description(t.oid, 'pg_trigger'), '') AS comment
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgname NOT IN ('strata_stray', 'strata_sealed_truncate') AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_inherits AS chunk WHERE chunk.inhrelid = c.oid)
  AND NOT EXISTS (SELECT FROM pg_attribute AS packed WHERE packed.attrelid = c.oid AND packed.attname = '_ts_meta_count')
  AND n.nspname = ANY(%(schemas)s);

-- list_dependencies
-- Which object needs which: an object is known by its kind and full name. Foreign keys do not count; they are added later.
WITH owner AS (
    SELECT 'pg_class'::regclass AS classid, c.oid AS objid, CASE WHEN c.relkind IN ('v', 'm') THEN 'view' ELSE 'table' END AS kind,
           format('%%s.%%s', n.nspname, c.relname) AS name
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_inherits AS chunk WHERE chunk.inhrelid = c.oid)
  AND NOT EXISTS (SELECT FROM pg_attribute AS packed WHERE packed.attrelid = c.oid AND packed.attname = '_ts_meta_count')
  AND n.nspname = ANY(%(schemas)s)
    UNION ALL
    SELECT 'pg_type'::regclass, c.reltype, CASE WHEN c.relkind IN ('v', 'm') THEN 'view' ELSE 'table' END,
           format('%%s.%%s', n.nspname, c.relname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_inherits AS chunk WHERE chunk.inhrelid = c.oid)
  AND NOT EXISTS (SELECT FROM pg_attribute AS packed WHERE packed.attrelid = c.oid AND packed.attname = '_ts_meta_count')
  AND n.nspname = ANY(%(schemas)s)
    UNION ALL
    SELECT 'pg_class'::regclass, x.indexrelid, CASE WHEN c.relkind = 'm' THEN 'view' ELSE 'table' END, format('%%s.%%s', n.nspname, c.relname)
    FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(%(schemas)s)
    UNION ALL
    SELECT 'pg_constraint'::regclass, con.oid, 'table', format('%%s.%%s', n.nspname, c.relname)
    FROM pg_constraint AS con JOIN pg_class AS c ON c.oid = con.conrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE con.contype <> 'f' AND n.nspname = ANY(%(schemas)s)
    UNION ALL
    SELECT 'pg_attrdef'::regclass, d.oid, 'table', format('%%s.%%s', n.nspname, c.relname)
    FROM pg_attrdef AS d JOIN pg_class AS c ON c.oid = d.adrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(%(schemas)s)
    UNION ALL
    SELECT 'pg_rewrite'::regclass, r.oid, 'view', format('%%s.%%s', n.nspname, c.relname)
    FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(%(schemas)s)
    UNION ALL
    SELECT 'pg_trigger'::regclass, t.oid, 'trigger', format('%%s.%%s.%%s', n.nspname, c.relname, t.tgname)
    FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE NOT t.tgisinternal AND n.nspname = ANY(%(schemas)s)
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, 'function', format('%%s.%%s(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname = ANY(%(schemas)s)
    UNION ALL
    SELECT 'pg_type'::regclass, v.oid, CASE WHEN t.typtype = 'd' THEN 'domain' ELSE 'enum' END, format('%%s.%%s', n.nspname, t.typname)
    FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace CROSS JOIN LATERAL (VALUES (t.oid), (t.typarray)) AS v (oid)
    WHERE t.typtype IN ('d', 'e') AND v.oid <> 0 AND n.nspname = ANY(%(schemas)s)
)
SELECT DISTINCT needs.kind AS kind, needs.name AS name, needed.kind AS needed_kind, needed.name AS needed_name
FROM pg_depend AS d
JOIN owner AS needs ON needs.classid = d.classid AND needs.objid = d.objid
JOIN owner AS needed ON needed.classid = d.refclassid AND needed.objid = d.refobjid
WHERE (needs.kind, needs.name) <> (needed.kind, needed.name);

-- list_policies
-- What the database was migrated to, by dataset.
SELECT name, policy FROM strata.dataset ORDER BY name;

-- has_policies
-- Whether the table of policies is there.
SELECT to_regclass('strata.dataset') IS NOT NULL;

-- describe_timescale
-- TimescaleDB as the database has it; no row where it has none. Its licence says which of its functions there are.
SELECT extversion AS version, current_setting('timescaledb.license') AS license FROM pg_extension WHERE extname = 'timescaledb';

-- list_hypertables
-- Tables that are hypertables, with the column that partitions them.
SELECT hypertable_schema::text AS schema, hypertable_name::text AS name, quote_ident(primary_dimension) AS column_name
FROM timescaledb_information.hypertables
WHERE hypertable_schema = ANY (%(schemas)s);
