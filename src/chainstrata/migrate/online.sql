-- show_lock_timeout
-- How long this session waits for a lock.
SELECT current_setting('lock_timeout');

-- find_relation
-- What a table is.
SELECT c.relkind = 'p' AS partitioned FROM pg_class AS c WHERE c.oid = to_regclass(%(table)s);

-- find_index
-- An index by name: the table it is on, whether it can be used.
SELECT format('%%s.%%s', tn.nspname, t.relname) AS table_name, x.indisvalid AND x.indisready AS valid, i.relkind = 'I' AS partitioned
FROM pg_class AS i
JOIN pg_namespace AS n ON n.oid = i.relnamespace
JOIN pg_index AS x ON x.indexrelid = i.oid
JOIN pg_class AS t ON t.oid = x.indrelid
JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
WHERE n.nspname = %(schema)s AND i.relname = %(name)s;

-- find_constraint
-- A constraint of a table by name.
SELECT convalidated AS valid FROM pg_constraint WHERE conrelid = %(table)s::regclass AND conname = %(name)s;

-- is_not_null
-- Whether a column refuses NULL.
SELECT attnotnull FROM pg_attribute WHERE attrelid = %(table)s::regclass AND attname = %(column)s;

-- list_partitions
-- Direct partitions of a table.
SELECT n.nspname AS schema, c.relname AS name
FROM pg_inherits AS h
JOIN pg_class AS c ON c.oid = h.inhrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE h.inhparent = %(table)s::regclass AND NOT h.inhdetachpending
ORDER BY c.relname;

-- list_leaves
-- The tables that hold the rows of a table: its partitions to the last, or the table itself.
SELECT n.nspname AS schema, c.relname AS name
FROM (
    SELECT tree.relid FROM pg_partition_tree(%(table)s::regclass) AS tree WHERE tree.isleaf
    UNION
    SELECT %(table)s::regclass WHERE NOT EXISTS (SELECT FROM pg_partition_tree(%(table)s::regclass))
) AS leaf
JOIN pg_class AS c ON c.oid = leaf.relid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
ORDER BY n.nspname, c.relname;

-- list_unattached
-- Direct partitions without a valid part of their parent's index.
SELECT n.nspname AS schema, c.relname AS name
FROM pg_inherits AS h
JOIN pg_class AS c ON c.oid = h.inhrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE h.inhparent = %(table)s::regclass AND NOT h.inhdetachpending
  AND NOT EXISTS (
      SELECT FROM pg_inherits AS ih JOIN pg_index AS x ON x.indexrelid = ih.inhrelid
      WHERE ih.inhparent = %(index)s::regclass AND x.indrelid = c.oid AND x.indisvalid
  )
ORDER BY c.relname;

-- find_attached
-- One part of an index that is attached to it.
SELECT h.inhrelid::regclass::text AS name FROM pg_inherits AS h WHERE h.inhparent = %(index)s::regclass ORDER BY 1 LIMIT 1;

-- count_pages
-- Size of a table in pages.
SELECT pg_relation_size(%(table)s::regclass) / current_setting('block_size')::bigint;

-- list_enum_labels
-- Values of an enum in order.
SELECT enumlabel AS label FROM pg_enum WHERE enumtypid = %(enum)s::regtype ORDER BY enumsortorder;

-- plan_enum_replacement
-- The statements that give an enum other values, in order: what is written in terms of the type goes and comes back around it.
WITH RECURSIVE kind AS (
    SELECT t.oid, t.typarray, n.nspname AS schema, t.typname AS name, t.typname || '__old' AS old_name,
           obj_description(t.oid, 'pg_type') AS comment
    FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
    WHERE t.oid = %(enum)s::regtype AND t.typtype = 'e'
),
typed AS (
    SELECT a.attrelid, a.attnum, a.attname, a.attgenerated <> '' AS generated, a.atttypid = kind.typarray AS is_array
    FROM pg_attribute AS a
    JOIN kind ON a.atttypid IN (kind.oid, kind.typarray)
    JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT a.attisdropped
),
computed AS (
    SELECT a.attrelid, a.attnum, a.attname, pg_get_expr(d.adbin, d.adrelid) AS expression, format_type(a.atttypid, a.atttypmod) AS type,
           a.attgenerated, a.attnotnull, col_description(a.attrelid, a.attnum) AS comment
    FROM pg_attribute AS a
    JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE a.attgenerated <> '' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND (
        (a.attrelid, a.attnum) IN (SELECT attrelid, attnum FROM typed)
        OR EXISTS (
            SELECT FROM pg_depend AS x
            WHERE x.classid = 'pg_attrdef'::regclass AND x.objid = d.oid AND (
                (x.refclassid = 'pg_type'::regclass AND x.refobjid IN (SELECT oid FROM kind))
                OR (x.refclassid = 'pg_class'::regclass AND (x.refobjid, x.refobjsubid) IN (SELECT attrelid, attnum::int FROM typed))
            )
        )
    )
),
touched AS (
    SELECT attrelid, attnum::int FROM typed UNION SELECT attrelid, attnum::int FROM computed
),
needing AS (
    SELECT DISTINCT x.classid, x.objid
    FROM pg_depend AS x
    WHERE (x.refclassid = 'pg_type'::regclass AND x.refobjid IN (SELECT oid FROM kind UNION SELECT typarray FROM kind))
       OR (x.refclassid = 'pg_class'::regclass AND (x.refobjid, x.refobjsubid) IN (SELECT attrelid, attnum FROM touched))
),
viewed (oid, depth) AS (
    SELECT r.ev_class, 1 FROM needing JOIN pg_rewrite AS r ON needing.classid = 'pg_rewrite'::regclass AND needing.objid = r.oid
    UNION
    SELECT r.ev_class, viewed.depth + 1
    FROM viewed
    JOIN pg_depend AS x ON x.refclassid = 'pg_class'::regclass AND x.refobjid = viewed.oid AND x.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite AS r ON r.oid = x.objid
    WHERE r.ev_class <> viewed.oid
),
view AS (
    SELECT v.oid, v.depth, CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS word, c.oid::regclass::text AS name,
           coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '') AS options, obj_description(c.oid, 'pg_class') AS comment
    FROM (SELECT oid, max(depth) AS depth FROM viewed GROUP BY oid) AS v JOIN pg_class AS c ON c.oid = v.oid
),
rule AS (
    SELECT con.oid, con.conrelid, con.conname, con.contype, obj_description(con.oid, 'pg_constraint') AS comment
    FROM pg_constraint AS con JOIN pg_class AS c ON c.oid = con.conrelid
    WHERE con.conparentid = 0 AND con.coninhcount = 0 AND NOT c.relispartition AND (
        (con.contype = 'c' AND con.oid IN (SELECT objid FROM needing WHERE classid = 'pg_constraint'::regclass))
        OR (con.contype IN ('p', 'u') AND EXISTS (SELECT FROM computed AS g WHERE g.attrelid = con.conrelid AND g.attnum = ANY(con.conkey)))
    )
),
index AS (
    SELECT i.oid, i.oid::regclass::text AS name, x.indrelid, obj_description(i.oid, 'pg_class') AS comment
    FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_class AS c ON c.oid = x.indrelid
    WHERE NOT i.relispartition AND NOT c.relispartition
      AND NOT EXISTS (SELECT FROM pg_constraint AS con WHERE con.conindid = i.oid AND con.contype IN ('p', 'u', 'x'))
      AND (i.oid IN (SELECT objid FROM needing WHERE classid = 'pg_class'::regclass) OR x.indrelid IN (SELECT oid FROM view))
),
trigger AS (
    SELECT t.oid, t.tgname, t.tgrelid, obj_description(t.oid, 'pg_trigger') AS comment
    FROM pg_trigger AS t
    WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.oid IN (SELECT objid FROM needing WHERE classid = 'pg_trigger'::regclass)
),
routine AS (
    SELECT p.oid, CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END AS word,
           format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS signature,
           obj_description(p.oid, 'pg_proc') AS comment
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE p.oid IN (SELECT objid FROM needing WHERE classid = 'pg_proc'::regclass)
),
default_value AS (
    SELECT typed.attrelid, typed.attname, pg_get_expr(d.adbin, d.adrelid) AS expression
    FROM typed JOIN pg_attrdef AS d ON d.adrelid = typed.attrelid AND d.adnum = typed.attnum
    WHERE NOT typed.generated
),
step (place, part, statement) AS (
    SELECT 10, -depth, format('DROP %%s %%s', word, name) FROM view
    UNION ALL SELECT 20, 0, format('DROP TRIGGER %%I ON %%s', tgname, tgrelid::regclass) FROM trigger
    UNION ALL SELECT 25, 0, format('DROP %%s %%s', word, signature) FROM routine
    UNION ALL SELECT 30, 0, format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname) FROM rule
    UNION ALL SELECT 40, 0, format('DROP INDEX %%s', name) FROM index WHERE indrelid NOT IN (SELECT oid FROM view)
    UNION ALL SELECT 50, 0, format('ALTER TABLE %%s DROP COLUMN %%I', attrelid::regclass, attname) FROM computed
    UNION ALL SELECT 60, 0, format('ALTER TABLE %%s ALTER COLUMN %%I DROP DEFAULT', attrelid::regclass, attname) FROM default_value
    UNION ALL SELECT 70, 0, format('ALTER TYPE %%I.%%I RENAME TO %%I', schema, name, old_name) FROM kind
    UNION ALL SELECT 80, 0, format('CREATE TYPE %%I.%%I AS ENUM (%%s)', schema, name,
        (SELECT string_agg(quote_literal(label), ', ' ORDER BY place) FROM unnest(%(labels)s::text[]) WITH ORDINALITY AS l (label, place)))
        FROM kind
    UNION ALL SELECT 85, 0, format('COMMENT ON TYPE %%I.%%I IS %%L', schema, name, comment) FROM kind WHERE comment IS NOT NULL
    UNION ALL SELECT 90, typed.attnum, format('ALTER TABLE %%s ALTER COLUMN %%I TYPE %%I.%%I%%s USING %%I::text%%s::%%I.%%I%%s', attrelid::regclass, attname,
        schema, name, CASE WHEN is_array THEN '[]' ELSE '' END, attname, CASE WHEN is_array THEN '[]' ELSE '' END,
        schema, name, CASE WHEN is_array THEN '[]' ELSE '' END)
        FROM typed, kind WHERE NOT generated
    UNION ALL SELECT 100, 0, format('ALTER TABLE %%s ALTER COLUMN %%I SET DEFAULT %%s', attrelid::regclass, attname, expression) FROM default_value
    UNION ALL SELECT 110, attnum, format('ALTER TABLE %%s ADD COLUMN %%I %%s%%s GENERATED ALWAYS AS (%%s) %%s', attrelid::regclass, attname, type,
        CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END, expression, CASE attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END)
        FROM computed
    UNION ALL SELECT 115, 0, format('COMMENT ON COLUMN %%s.%%I IS %%L', attrelid::regclass, attname, comment) FROM computed WHERE comment IS NOT NULL
    UNION ALL SELECT 120, 0, format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM rule
    UNION ALL SELECT 125, 0, format('COMMENT ON CONSTRAINT %%I ON %%s IS %%L', conname, conrelid::regclass, comment)
        FROM rule WHERE comment IS NOT NULL
    UNION ALL SELECT 130, 0, replace(pg_get_indexdef(oid), ' ON ONLY ', ' ON ') FROM index WHERE indrelid NOT IN (SELECT oid FROM view)
    UNION ALL SELECT 140, 0, pg_get_triggerdef(oid) FROM trigger
    UNION ALL SELECT 145, 0, format('COMMENT ON TRIGGER %%I ON %%s IS %%L', tgname, tgrelid::regclass, comment)
        FROM trigger WHERE comment IS NOT NULL
    UNION ALL SELECT 147, 0, pg_get_functiondef(oid) FROM routine
    UNION ALL SELECT 148, 0, format('COMMENT ON %%s %%s IS %%L', word, signature, comment) FROM routine WHERE comment IS NOT NULL
    UNION ALL SELECT 150, depth, format('CREATE %%s %%s%%s AS %%s', word, name, options, rtrim(pg_get_viewdef(oid), ';')) FROM view
    UNION ALL SELECT 155, 0, format('COMMENT ON %%s %%s IS %%L', word, name, comment) FROM view WHERE comment IS NOT NULL
    UNION ALL SELECT 160, 0, pg_get_indexdef(oid) FROM index WHERE indrelid IN (SELECT oid FROM view)
    UNION ALL SELECT 165, 0, format('COMMENT ON INDEX %%s IS %%L', name, comment) FROM index WHERE comment IS NOT NULL
    UNION ALL SELECT 170, 0, format('DROP TYPE %%I.%%I', schema, old_name) FROM kind
)
SELECT statement FROM step ORDER BY place, part, statement;

-- list_parts
-- The parts of an index on partitions, by the partition they are on.
SELECT tree.relid::regclass::text AS full_name, n.nspname AS schema, i.relname AS name, c.relname AS partition
FROM pg_partition_tree(%(index)s::regclass) AS tree
JOIN pg_class AS i ON i.oid = tree.relid
JOIN pg_namespace AS n ON n.oid = i.relnamespace
JOIN pg_index AS x ON x.indexrelid = i.oid
JOIN pg_class AS c ON c.oid = x.indrelid
WHERE tree.level > 0
ORDER BY i.relname;

-- list_part_constraints
-- Partitions that have a constraint of this name of their own making, as they have foreign keys.
SELECT n.nspname AS schema, c.relname AS name
FROM pg_partition_tree(%(table)s::regclass) AS tree
JOIN pg_class AS c ON c.oid = tree.relid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_constraint AS con ON con.conrelid = c.oid AND con.conname = %(name)s
WHERE tree.level > 0
ORDER BY c.relname;
