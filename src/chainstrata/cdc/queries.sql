-- list_types
-- Every type that values may be of, with what a domain is over and an array is of.
SELECT oid::bigint AS oid, typname, typtype::text AS kind, typbasetype::bigint AS over, typtypmod AS over_modifier, typelem::bigint AS element
FROM pg_type;

-- describe_source
-- The columns of a table as they are now, in order; `key` is its primary key.
SELECT a.attname AS name, a.atttypid::bigint AS type_oid, a.atttypmod AS modifier, NOT a.attnotnull AS nullable,
    a.atthasdef AND a.attgenerated = '' AS has_default, a.attgenerated <> '' AS generated,
    coalesce(a.attnum = ANY (k.conkey), false) AS key
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;

-- list_files
-- The files a table's rows are in, by partition: a new one for a table that was rewritten or truncated.
SELECT c.oid::bigint AS oid, pg_relation_filenode(c.oid)::bigint AS file FROM pg_class c
WHERE c.relkind = 'r' AND (c.oid = to_regclass(%(table)s) OR c.oid IN (SELECT relid FROM pg_partition_tree(to_regclass(%(table)s))));

-- show_server
-- Whether changes can be captured here, and where the log stands.
SELECT current_setting('wal_level') AS wal_level, pg_is_in_recovery() AS standby, current_setting('server_version_num')::int AS version,
    (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS log_end;

-- database_number
-- The number of this database on its server.
SELECT oid::bigint FROM pg_database WHERE datname = current_database();

-- log_end
-- Where the log ends now.
SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint;

-- list_published
-- The tables of a publication, roots for partitions.
SELECT schemaname || '.' || tablename AS name FROM pg_publication_tables WHERE pubname = %(publication)s;

-- show_publication
-- A publication, if it is there.
SELECT pubviaroot AND pubinsert AND pubupdate AND pubdelete AND pubtruncate AND coalesce(to_jsonb(p) ->> 'pubgencols', 's') = 's' AS right
FROM pg_publication p WHERE pubname = %(publication)s;

-- sends_generated
-- Whether generated columns are published. Before version 18 there is no such thing.
SELECT coalesce(
    (SELECT coalesce(to_jsonb(p) ->> 'pubgencols' = 's', false) FROM pg_publication p WHERE pubname = %(publication)s),
    current_setting('server_version_num')::int >= 180000
);

-- list_missing
-- Those of the named tables that are not there yet.
SELECT name FROM unnest(%(tables)s::text[]) AS name WHERE to_regclass(name) IS NULL;

-- show_slot
-- The slot, and what it keeps from being forgotten. `kept_bytes` is the log it holds on to, `safe_bytes` what may come before it is given up.
SELECT plugin, active, (confirmed_flush_lsn - '0/0'::pg_lsn)::bigint AS confirmed, wal_status, safe_wal_size AS safe_bytes,
    (pg_current_wal_insert_lsn() - restart_lsn)::bigint AS kept_bytes,
    (pg_current_wal_insert_lsn() - confirmed_flush_lsn)::bigint AS behind_bytes
FROM pg_replication_slots WHERE slot_name = %(slot)s AND database = current_database();

-- create_slot
-- A slot from now on.
SELECT (lsn - '0/0'::pg_lsn)::bigint FROM pg_create_logical_replication_slot(%(slot)s, 'pgoutput');

-- create_failover_slot
-- A slot from now on, which standbys keep a copy of.
SELECT (lsn - '0/0'::pg_lsn)::bigint FROM pg_create_logical_replication_slot(%(slot)s, 'pgoutput', false, false, true);

-- drop_slot
-- Drop the slot, if it is there and nobody reads it.
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
WHERE slot_name = %(slot)s AND database = current_database() AND NOT active;

-- lock_capture
-- Be the one that captures this database, or learn that another is.
SELECT pg_try_advisory_lock(hashtextextended('chainstrata.cdc', 0));

-- is_captured
-- Whether somebody is the one that captures this database. The slot is free for a moment whenever the log is opened anew, the lock is not.
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32 | objid::bigint) = hashtextextended('chainstrata.cdc', 0)
);

-- write_heartbeat
-- Put a mark into the log, which comes by like any change.
SELECT pg_logical_emit_message(false, %(prefix)s, extract(epoch FROM clock_timestamp())::text);

-- add_datasets
-- Note datasets that are mirrored from now on: each begins with its copy.
INSERT INTO strata.cdc_dataset (dataset, state) SELECT name, 'waiting' FROM unnest(%(datasets)s::text[]) AS name ON CONFLICT DO NOTHING;

-- list_datasets
-- Every mirrored dataset as it is kept.
SELECT dataset, state, since, error_code, error, hint, copied_rows, rows, dead_letters, errors, applied_lsn, applied_at,
    lag_p50, lag_p95, lag_p99, origin
FROM strata.cdc_dataset ORDER BY dataset;

-- show_origins
-- What each published table is: its number, that of its entry in the publication, and its columns.
SELECT n.nspname || '.' || c.relname AS name, c.oid::bigint AS relation, r.oid::bigint AS published,
    (SELECT coalesce(jsonb_object_agg(a.attname, jsonb_build_object('number', a.attnum, 'type_oid', a.atttypid::bigint,
            'modifier', a.atttypmod, 'type', format_type(a.atttypid, a.atttypmod))), '{}')
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
FROM pg_publication p
JOIN pg_publication_rel r ON r.prpubid = p.oid
JOIN pg_class c ON c.oid = r.prrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.pubname = %(publication)s;

-- note_origin
-- Note what the rows of a mirror are read from.
UPDATE strata.cdc_dataset SET origin = %(origin)s WHERE dataset = %(dataset)s;

-- set_state
-- Bring a dataset into a state, from one of those it may come from.
UPDATE strata.cdc_dataset SET state = %(state)s, since = now(), error_code = %(error_code)s, error = %(error)s, hint = %(hint)s
WHERE dataset = %(dataset)s AND state = ANY (%(from)s) RETURNING dataset;

-- pause
-- Let datasets wait that are followed now.
UPDATE strata.cdc_dataset SET state = 'paused', since = now() WHERE dataset = ANY (%(datasets)s) AND state = 'streaming' RETURNING dataset;

-- resume
-- Let datasets go on that wait: with their copy if that was not begun or is not whole, else with the changes since.
UPDATE strata.cdc_dataset m
SET state = CASE WHEN NOT EXISTS (SELECT FROM strata.cdc_chunk c WHERE c.dataset = m.dataset) THEN 'waiting'
        WHEN EXISTS (SELECT FROM strata.cdc_chunk c WHERE c.dataset = m.dataset AND c.done_at IS NULL) THEN 'copying'
        ELSE 'streaming' END,
    since = now(), error_code = NULL, error = NULL, hint = NULL
WHERE dataset = ANY (%(datasets)s) AND state IN ('paused', 'stopped') RETURNING dataset;

-- begin_anew
-- Forget what was copied and counted of a dataset.
UPDATE strata.cdc_dataset
SET state = 'waiting', since = now(), error_code = NULL, error = NULL, hint = NULL, copied_rows = 0, rows = 0, dead_letters = 0, errors = 0,
    applied_lsn = NULL, applied_at = NULL, lag_p50 = NULL, lag_p95 = NULL, lag_p99 = NULL
WHERE dataset = %(dataset)s RETURNING dataset;

-- forget_dataset
-- Forget a dataset that is declared to be mirrored no more.
DELETE FROM strata.cdc_dataset WHERE dataset = %(dataset)s;

-- list_released
-- The times of partitions that nothing keeps any more: they may be dropped at any moment.
SELECT lower_bound, upper_bound FROM strata.departure
WHERE dataset = %(dataset)s AND released_at IS NOT NULL AND dropped_at IS NULL AND abandoned_at IS NULL;

-- note_progress
-- Note how far a dataset is and how it goes.
UPDATE strata.cdc_dataset
SET applied_lsn = %(lsn)s, applied_at = now(), rows = rows + %(rows)s, dead_letters = dead_letters + %(dead_letters)s,
    error_code = CASE WHEN state <> 'streaming' THEN error_code END, error = CASE WHEN state <> 'streaming' THEN error END,
    hint = CASE WHEN state <> 'streaming' THEN hint END,
    lag_p50 = coalesce(%(lag_p50)s, lag_p50), lag_p95 = coalesce(%(lag_p95)s, lag_p95), lag_p99 = coalesce(%(lag_p99)s, lag_p99)
WHERE dataset = %(dataset)s;

-- note_failure
-- Note what keeps datasets from going on that are followed, while it is tried again.
UPDATE strata.cdc_dataset SET errors = errors + 1, error_code = %(error_code)s, error = %(error)s, hint = %(hint)s
WHERE dataset = ANY (%(datasets)s) AND state IN ('waiting', 'copying', 'streaming');

-- add_copied
-- Count rows of a copy.
UPDATE strata.cdc_dataset SET copied_rows = copied_rows + %(rows)s WHERE dataset = %(dataset)s;

-- drop_chunks
-- Forget the pieces of a copy.
DELETE FROM strata.cdc_chunk WHERE dataset = %(dataset)s;

-- add_chunk
-- Plan a piece of a copy.
INSERT INTO strata.cdc_chunk (dataset, number, lower, upper) VALUES (%(dataset)s, %(number)s, %(lower)s, %(upper)s);

-- list_chunks
-- The pieces of a copy, in order.
SELECT number, lower, upper, rows, done_at IS NOT NULL AS done FROM strata.cdc_chunk WHERE dataset = %(dataset)s ORDER BY number;

-- end_chunk
-- A piece of a copy is in the mirror.
UPDATE strata.cdc_chunk SET rows = %(rows)s, done_at = now() WHERE dataset = %(dataset)s AND number = %(number)s;

-- put_aside
-- Keep an event that a sink could not take; the same one again is counted where it stands.
INSERT INTO strata.cdc_dead_letter (dataset, sink, lsn, row_key, reason, detail, content)
VALUES (%(dataset)s, %(sink)s, %(lsn)s, %(row_key)s, %(reason)s, %(detail)s, %(content)s)
ON CONFLICT (dataset, sink, lsn, row_key) WHERE state = 'held'
DO UPDATE SET tries = cdc_dead_letter.tries + 1, reason = excluded.reason, detail = excluded.detail;

-- list_dead
-- Events that were put aside, newest first.
SELECT id, dataset, sink, lsn, row_key, reason, detail, content, first_seen, tries, state FROM strata.cdc_dead_letter
WHERE (cardinality(%(datasets)s::text[]) = 0 OR dataset = ANY (%(datasets)s)) AND state = ANY (%(states)s)
    AND (cardinality(%(ids)s::bigint[]) = 0 OR id = ANY (%(ids)s)) AND (%(before)s::bigint IS NULL OR id < %(before)s)
ORDER BY id DESC LIMIT %(most)s;

-- settle_dead
-- Events that were taken after all, or given up.
UPDATE strata.cdc_dead_letter SET state = %(state)s, settled_at = now()
WHERE state = 'held' AND (cardinality(%(ids)s::bigint[]) = 0 OR id = ANY (%(ids)s))
    AND (cardinality(%(datasets)s::text[]) = 0 OR dataset = ANY (%(datasets)s));

-- hold_mirror
-- One mirror as it is kept, and as it will be kept until this transaction ends: whoever begins it anew waits.
SELECT state, error, coalesce((applied_lsn::pg_lsn - '0/0'::pg_lsn)::bigint, 0) AS lsn, origin FROM strata.cdc_dataset
WHERE dataset = %(dataset)s FOR SHARE;

-- show_mirror
-- One mirror as it is kept, and how far it is as a position; none where it was never begun.
SELECT state, error, coalesce((applied_lsn::pg_lsn - '0/0'::pg_lsn)::bigint, 0) AS lsn, origin FROM strata.cdc_dataset WHERE dataset = %(dataset)s;
