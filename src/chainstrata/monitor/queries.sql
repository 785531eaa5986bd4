-- describe_server
-- The server as a whole: version, age, connections, and how far its oldest row is from wrap-around.
SELECT current_setting('server_version')                            AS version,
       pg_postmaster_start_time()                                   AS started,
       current_setting('max_connections')::int                      AS max_connections,
       (SELECT sum(numbackends)::int FROM pg_stat_database)         AS connections,
       pg_is_in_recovery()                                          AS in_recovery,
       current_database()                                           AS database,
       (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()) AS oldest_xid_age;

-- ask_server
-- Whether the server answers, and whether it takes writes.
SELECT pg_is_in_recovery() AS in_recovery;

-- list_tables
-- Every table in the given schemas with its parent, and what the server's statistics say of it.
SELECT c.oid::int8                                    AS oid,
       i.inhparent::int8                              AS parent,
       n.nspname                                      AS schema,
       c.relname                                      AS name,
       c.relkind = 'r'                                AS holds_rows,
       c.relfilenode::int8                            AS file,
       c.relpages                                     AS pages,
       c.reltuples                                    AS planner_rows,
       pg_stat_get_live_tuples(c.oid)                 AS live_rows,
       pg_stat_get_dead_tuples(c.oid)                 AS dead_rows,
       pg_stat_get_tuples_inserted(c.oid)             AS inserted,
       pg_stat_get_tuples_updated(c.oid)              AS updated,
       pg_stat_get_tuples_deleted(c.oid)              AS deleted,
       greatest(pg_stat_get_last_analyze_time(c.oid),
                pg_stat_get_last_autoanalyze_time(c.oid)) AS analyzed
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE n.nspname = ANY (%(schemas)s) AND c.relkind IN ('r', 'p')
ORDER BY n.nspname, c.relname;

-- measure
-- Bytes on disk of the given tables: rows alone, rows with their long values, indexes.
SELECT t.oid::int8 AS oid, pg_relation_size(t.oid) AS heap_bytes, pg_table_size(t.oid) AS table_bytes, pg_indexes_size(t.oid) AS index_bytes
FROM unnest(%(tables)s::oid[]) AS t (oid);

-- list_broken_indexes
-- Indexes left invalid or unready by a build that was cut short; they cost writes and serve no read.
SELECT n.nspname AS schema, i.relname AS name, c.relname AS table_name, x.indisvalid AS valid
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE n.nspname = ANY (%(schemas)s) AND NOT (x.indisvalid AND x.indisready);

-- list_unproven_constraints
-- Constraints that hold for new rows but were never checked against the old ones.
SELECT n.nspname AS schema, k.conname AS name, c.relname AS table_name
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY (%(schemas)s) AND NOT k.convalidated AND k.contype IN ('c', 'f', 'n') AND NOT c.relispartition;

-- list_worn_sequences
-- Sequences that have used up most of their numbers.
SELECT schemaname AS schema, sequencename AS name, last_value, max_value
FROM pg_sequences
WHERE schemaname = ANY (%(schemas)s) AND last_value > 0.8 * max_value::numeric;
