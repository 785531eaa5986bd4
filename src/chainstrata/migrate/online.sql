-- show_lock_timeout
-- How long this session waits for a lock.
SELECT current_setting('lock_timeout');

-- find_relation
-- What a table is.
SELECT c.relkind = 'p' AS partitioned FROM pg_class AS c WHERE c.oid = %(table)s::regclass;

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

-- count_pages
-- Size of a table in pages.
SELECT pg_relation_size(%(table)s::regclass) / current_setting('block_size')::bigint;

-- list_enum_labels
-- Values of an enum in order.
SELECT enumlabel AS label FROM pg_enum WHERE enumtypid = %(enum)s::regtype ORDER BY enumsortorder;

-- plan_enum_replacement
-- The statements that give an enum other values, in order.
SELECT 'SELECT 1' AS statement WHERE %(enum)s::text IS NULL AND %(labels)s::text[] IS NULL;
