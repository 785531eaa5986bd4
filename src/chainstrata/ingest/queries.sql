-- describe_columns
-- The columns of a table that can be written, each with the chain of types behind it: a domain leads to what it is over, an array to
-- its elements.
WITH RECURSIVE level AS (
    SELECT a.attnum, 0 AS depth, a.atttypid AS oid, a.atttypmod AS typmod
    FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    UNION ALL
    SELECT
        level.attnum,
        level.depth + 1,
        CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END,
        CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE level.typmod END
    FROM level
    JOIN pg_catalog.pg_type AS t ON t.oid = level.oid
    WHERE t.typtype = 'd' OR (t.typcategory = 'A' AND t.typelem <> 0)
)
SELECT
    a.attnum,
    a.attname,
    a.attnotnull,
    a.attidentity <> '' AS identity,
    a.atthasdef AS has_default,
    level.oid::bigint AS oid,
    level.typmod,
    t.typname,
    t.typtype::text AS typtype,
    t.typcategory = 'A' AS is_array
FROM level
JOIN pg_catalog.pg_type AS t ON t.oid = level.oid
JOIN pg_catalog.pg_class AS c ON c.relname = %(table)s
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = %(schema)s
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = level.attnum
ORDER BY a.attnum, level.depth;

-- claim_batch
-- Take a batch's name, or return the answer it was given before. Of two that take it at once the second waits for the first.
INSERT INTO strata.ingest_batch AS taken (dataset, batch) VALUES (%(dataset)s, %(batch)s)
ON CONFLICT (dataset, batch) DO UPDATE SET taken_at = taken.taken_at
RETURNING answer;

-- note_receipt
-- Take names that nobody else has, and forget others. One that is taken means that another wrote the rows: this transaction fails.
WITH known AS (DELETE FROM strata.ingest_batch WHERE dataset = %(dataset)s AND batch = ANY (%(known)s::text[]))
INSERT INTO strata.ingest_batch (dataset, batch, answer)
SELECT %(dataset)s, name, jsonb_build_object('dataset', %(dataset)s::text) FROM unnest(%(names)s::text[]) AS name;

-- find_batch
-- What became of a batch so far.
SELECT answer FROM strata.ingest_batch WHERE dataset = %(dataset)s AND batch = %(batch)s;

-- settle_batch
-- Note what became of a batch.
UPDATE strata.ingest_batch SET answer = %(answer)s WHERE dataset = %(dataset)s AND batch = %(batch)s;

-- current_lsn
-- How far the log is written: not before anything committed so far.
SELECT pg_current_wal_insert_lsn()::text;
