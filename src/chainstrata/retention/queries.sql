-- list_columns
-- The columns of a table in order, a domain as its base type, with the precision of numbers.
WITH RECURSIVE base AS (
    SELECT a.attnum, a.attname, a.atttypid AS type, a.atttypmod AS modifier, a.attgenerated <> '' AS generated,
           format_type(a.atttypid, a.atttypmod) AS declared
    FROM pg_attribute a
    WHERE a.attrelid = %(oid)s::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT base.attnum, base.attname, t.typbasetype, t.typtypmod, base.generated, base.declared
    FROM base
    JOIN pg_type t ON t.oid = base.type AND t.typtype = 'd'
)
SELECT base.attname AS name, base.attnum::int AS position, t.typname AS type, base.declared, base.generated,
       CASE WHEN t.typname = 'numeric' AND modifier >= 4 THEN ((modifier - 4) >> 16) & 65535 END AS digits,
       CASE WHEN t.typname = 'numeric' AND modifier >= 4 THEN (((modifier - 4) & 2047) # 1024) - 1024 END AS scale
FROM base
JOIN pg_type t ON t.oid = base.type
WHERE t.typtype <> 'd'
ORDER BY base.attnum;

-- list_sealed
-- The tables of a schema that carry our seal, whether they are attached anywhere or not.
SELECT c.oid::bigint AS oid, c.relname AS name, pg_total_relation_size(c.oid) AS size_bytes,
       EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) AS attached
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgname = 'strata_sealed' AND n.nspname = %(schema)s;

-- list_departures
-- Departures of a dataset or roll-up that are under way.
SELECT id, table_name, lower_bound, upper_bound, sealed_lsn, archive_id, archived_at IS NOT NULL AS archived,
       released_at IS NOT NULL AS released
FROM strata.departure
WHERE dataset = %(dataset)s AND dropped_at IS NULL AND abandoned_at IS NULL
ORDER BY lower_bound;

-- open_departure
-- Note that a partition is sealed; one that was open already begins anew.
INSERT INTO strata.departure AS d (dataset, table_schema, table_name, lower_bound, upper_bound, sealed_lsn, size_bytes)
VALUES (%(dataset)s, %(schema)s, %(table)s, %(lower)s, %(upper)s, pg_current_wal_insert_lsn()::text, %(size_bytes)s)
ON CONFLICT (table_schema, table_name) WHERE dropped_at IS NULL AND abandoned_at IS NULL DO UPDATE
SET sealed_at = now(), sealed_lsn = excluded.sealed_lsn, archive_id = NULL, archived_at = NULL,
    lower_bound = excluded.lower_bound, upper_bound = excluded.upper_bound, size_bytes = excluded.size_bytes
RETURNING id, sealed_lsn;

-- abandon_departure
-- Note that a partition is kept after all.
UPDATE strata.departure SET abandoned_at = now() WHERE id = %(id)s;

-- archived_departure
-- Note that the rows of a departure are archived, or need no archive.
UPDATE strata.departure SET archived_at = now(), archive_id = %(archive)s, rows = %(rows)s WHERE id = %(id)s;

-- release_departure
-- Note that everything that needed the rows let go of them.
UPDATE strata.departure SET released_at = now() WHERE id = %(id)s;

-- drop_departure
-- Note that a partition is gone, and let its archive answer for it.
WITH gone AS (
    UPDATE strata.departure SET dropped_at = now() WHERE id = %(id)s RETURNING archive_id, table_schema, table_name
), served AS (
    UPDATE strata.archive SET state = 'serving', settled_at = now()
    FROM gone WHERE archive.id = gone.archive_id AND archive.state = 'ready'
)
UPDATE strata.archive SET state = 'deleting', settled_at = now()
FROM gone
WHERE archive.state = 'restored' AND archive.table_schema = gone.table_schema AND archive.table_name = gone.table_name;

-- begin_archive
-- Note that an archive is about to be written.
INSERT INTO strata.archive (dataset, table_schema, table_name, lower_bound, upper_bound, url, directory, state, settled_at)
VALUES (%(dataset)s, %(schema)s, %(table)s, %(lower)s, %(upper)s, %(url)s, %(directory)s, 'writing', now())
RETURNING id;

-- complete_archive
-- Note that an archive was written, read back and found equal to its rows.
UPDATE strata.archive
SET state = %(state)s, rows = %(rows)s, size_bytes = %(size_bytes)s, manifest_sha256 = %(sha256)s,
    lower_bound = %(lower)s, upper_bound = %(upper)s, written_at = now(), verified_at = now(), settled_at = now()
WHERE id = %(id)s AND state = 'writing';

-- list_archives
-- Archives by dataset, span and state, oldest rows first.
SELECT id, dataset, table_schema, table_name, lower_bound, upper_bound, rows, size_bytes, url, directory, manifest_sha256, state,
       written_at, verified_at
FROM strata.archive
WHERE (%(datasets)s::text[] = '{}' OR dataset = ANY (%(datasets)s))
  AND state = ANY (%(states)s::text[])
  AND lower_bound < %(upper)s AND upper_bound > %(lower)s
ORDER BY dataset, lower_bound, id;

-- list_serving
-- Archives that answer for rows that are not in their table at this very snapshot: dropped, or just detached.
SELECT id, dataset, table_schema, table_name, lower_bound, upper_bound, rows, size_bytes, url, directory, manifest_sha256, state,
       written_at, verified_at
FROM strata.archive a
LEFT JOIN LATERAL (
    SELECT i.inhrelid IS NOT NULL AND NOT i.inhdetachpending AS attached
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
    WHERE n.nspname = a.table_schema AND c.relname = a.table_name
) AS t ON true
WHERE dataset = %(dataset)s
  AND lower_bound < %(upper)s AND upper_bound > %(lower)s
  AND (state = 'serving'
       OR state = 'restored' AND t.attached IS NULL
       OR state = 'ready' AND t.attached IS NOT TRUE AND EXISTS (
           SELECT FROM strata.departure d WHERE d.archive_id = a.id AND d.released_at IS NOT NULL
       ))
ORDER BY lower_bound, id;

-- settle_archives
-- Bring archives into another state.
UPDATE strata.archive SET state = %(state)s, settled_at = now() WHERE id = ANY (%(ids)s) AND state = ANY (%(from)s::text[]);

-- forget_archive
-- Take an archive that was never completed off the record.
DELETE FROM strata.archive WHERE id = %(id)s AND state = 'writing';

-- verified_archive
-- Note that an archive was read back whole.
UPDATE strata.archive SET verified_at = now() WHERE id = %(id)s;

-- list_leftovers
-- Archives whose writing or deletion was cut short.
SELECT id, url, directory, state FROM strata.archive
WHERE state IN ('writing', 'deleting') AND (%(dataset)s::text IS NULL OR dataset = %(dataset)s)
ORDER BY id;

-- list_holds
-- Holds that are in force, on some datasets or on all.
SELECT id, dataset, lower_bound, upper_bound, reason, until, created_at
FROM strata.hold
WHERE released_at IS NULL AND (until IS NULL OR until > now())
  AND (%(datasets)s::text[] = '{}' OR dataset = ANY (%(datasets)s))
ORDER BY dataset, lower_bound, id;

-- add_hold
-- Keep rows of a span of time, whatever their age.
INSERT INTO strata.hold (dataset, lower_bound, upper_bound, reason, until)
VALUES (%(dataset)s, %(lower)s, %(upper)s, %(reason)s, %(until)s)
RETURNING id;

-- lift_hold
-- End a hold.
UPDATE strata.hold SET released_at = now() WHERE id = %(id)s AND released_at IS NULL;

-- list_references
-- Foreign keys of other tables that point at a table, with their columns.
SELECT con.conname AS name, n.nspname AS schema, c.relname AS table,
       ARRAY(SELECT a.attname FROM unnest(con.conkey) WITH ORDINALITY k (num, place)
             JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.num ORDER BY place) AS columns,
       ARRAY(SELECT a.attname FROM unnest(con.confkey) WITH ORDINALITY k (num, place)
             JOIN pg_attribute a ON a.attrelid = con.confrelid AND a.attnum = k.num ORDER BY place) AS targets
FROM pg_constraint con
JOIN pg_class c ON c.oid = con.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE con.contype = 'f' AND con.conparentid = 0 AND con.confrelid = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text));

-- schema_version
-- The revision a pack's schema is at, as far as it was made by migrations.
SELECT revision FROM strata.migration
WHERE pack = %(pack)s AND status = 'applied' AND direction = 'up'
ORDER BY finished_at DESC NULLS LAST LIMIT 1;

-- list_foreign_keys
-- Foreign keys of a table, as statements write them.
SELECT conname AS name, pg_get_constraintdef(oid) AS definition
FROM pg_constraint
WHERE contype = 'f' AND conparentid = 0 AND conrelid = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text));

-- find_restoring
-- The table an archive was being put back into when that was cut short, by its comment.
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
WHERE n.nspname = %(schema)s AND d.description = %(mark)s AND c.relkind = 'r'
  AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid);

-- restored_archive
-- Note that the rows of an archive are back in their table.
UPDATE strata.archive SET state = %(state)s, table_name = %(table)s, settled_at = now() WHERE id = %(id)s AND state = 'serving';
