-- describe_table
-- What a table is: whether it is partitioned, and by which single column.
SELECT c.oid::bigint AS oid,
       c.relkind = 'p' AS partitioned,
       coalesce(a.attname, '') AS column_name,
       coalesce(t.typname, '') AS column_type,
       EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') AS has_timescale
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid AND p.partstrat = 'r' AND p.partnatts = 1
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
LEFT JOIN pg_type t ON t.oid = a.atttypid
WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind IN ('r', 'p');

-- list_partitions
-- The partitions of one table with their bounds as instants, oldest first. What no datetime can hold is cut to %(beginning)s and %(end)s.
WITH bound AS (
    SELECT c.oid, n.nspname, c.relname, c.reltuples, i.inhdetachpending,
           pg_get_expr(c.relpartbound, c.oid) AS text
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class parent ON parent.oid = i.inhparent
    JOIN pg_namespace parent_schema ON parent_schema.oid = parent.relnamespace
    WHERE parent_schema.nspname = %(schema)s AND parent.relname = %(table)s AND parent.relkind = 'p'
), ends AS (
    SELECT bound.*, regexp_match(text, $$FROM \('?(.*?)'?\) TO \('?(.*?)'?\)$$) AS part
    FROM bound
), instants AS (
    SELECT ends.*,
           replace(part[1], 'MINVALUE', '-infinity')::timestamptz AS lower_bound,
           replace(part[2], 'MAXVALUE', 'infinity')::timestamptz AS upper_bound
    FROM ends
)
SELECT oid::bigint AS oid, nspname AS schema, relname AS name, inhdetachpending AS detaching,
       coalesce(text = 'DEFAULT', false) AS is_default,
       least(greatest(coalesce(lower_bound, '-infinity'), %(beginning)s), %(end)s) AS lower_bound,
       least(greatest(coalesce(upper_bound, 'infinity'), %(beginning)s), %(end)s) AS upper_bound,
       coalesce(pg_total_relation_size(oid), 0) AS size_bytes,
       greatest(reltuples, 0)::bigint AS rows_estimate, '' AS chunked_by, false AS compressed
FROM instants
ORDER BY instants.lower_bound NULLS FIRST, name;

-- has_timescale
-- Whether the database has TimescaleDB, and so may have hypertables.
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb');

-- describe_hypertable
-- The time column of a hypertable that has no other dimension. No row for any other table.
SELECT min(d.column_name)::text AS column_name, min(t.typname)::text AS column_type, bool_and(h.compression_enabled) AS compressible
FROM timescaledb_information.dimensions d
JOIN timescaledb_information.hypertables h USING (hypertable_schema, hypertable_name)
JOIN pg_type t ON t.oid = d.column_type
WHERE d.hypertable_schema = %(schema)s AND d.hypertable_name = %(table)s
HAVING count(*) = 1;

-- list_chunks
-- The chunks of one hypertable with their bounds as instants, oldest first.
SELECT c.oid::bigint AS oid, k.chunk_schema::text AS schema, k.chunk_name::text AS name, false AS detaching, false AS is_default,
       least(greatest(coalesce(k.range_start, '-infinity'), %(beginning)s), %(end)s) AS lower_bound,
       least(greatest(coalesce(k.range_end, 'infinity'), %(beginning)s), %(end)s) AS upper_bound,
       pg_total_relation_size(c.oid) AS size_bytes,
       greatest(c.reltuples, 0)::bigint AS rows_estimate, k.primary_dimension::text AS chunked_by,
       -- What came later lies beside it as rows, until it is compressed again: 2 stands for out of order, 8 for such rows.
       CASE WHEN k.is_compressed THEN _timescaledb_functions.chunk_status(c.oid) & 10 = 0 ELSE false END AS compressed
FROM timescaledb_information.chunks k
JOIN pg_namespace n ON n.nspname = k.chunk_schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = k.chunk_name
WHERE k.hypertable_schema = %(schema)s AND k.hypertable_name = %(table)s
ORDER BY k.range_start NULLS FIRST, name;

-- names_in_use
-- Every name in a schema that a new relation could clash with.
SELECT c.relname AS name
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND starts_with(c.relname, %(prefix)s);

-- detach_state
-- Whether a table is a partition of another, and whether a detachment of it is pending. No row when it is not one.
SELECT i.inhdetachpending AS detaching
FROM pg_inherits i
WHERE i.inhrelid = %(oid)s::bigint::oid;

-- name_of
-- The schema and name a table has now. No row when it is gone.
SELECT n.nspname AS schema, c.relname AS name
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = %(oid)s::bigint::oid;
