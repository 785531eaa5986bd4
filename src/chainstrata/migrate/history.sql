-- has_history
-- Whether this database has met migrations before.
SELECT to_regclass('strata.migration') IS NOT NULL;

-- list_records
-- What is known of revisions here, in the order they were begun.
SELECT revision, pack, checksum, status, direction, step, steps, started_at, finished_at, seconds, error
FROM strata.migration ORDER BY started_at, revision;

-- begin
-- Notes that a revision is under way.
INSERT INTO strata.migration (revision, pack, checksum, status, direction, step, steps, started_at)
VALUES (%(revision)s, %(pack)s, %(checksum)s, 'running', %(direction)s, %(step)s, %(steps)s, clock_timestamp())
ON CONFLICT (revision) DO UPDATE
SET pack = EXCLUDED.pack, checksum = EXCLUDED.checksum, status = EXCLUDED.status, direction = EXCLUDED.direction, step = EXCLUDED.step,
    steps = EXCLUDED.steps, started_at = EXCLUDED.started_at, finished_at = NULL, seconds = NULL, error = NULL;

-- advance
-- Notes that a step is done.
UPDATE strata.migration SET step = %(step)s WHERE revision = %(revision)s;

-- fail
-- Notes why a revision stopped.
UPDATE strata.migration
SET status = 'failed', finished_at = clock_timestamp(), seconds = EXTRACT(epoch FROM clock_timestamp() - started_at), error = %(error)s
WHERE revision = %(revision)s;

-- finish_up
-- Notes that a revision is applied.
UPDATE strata.migration
SET status = 'applied', step = steps, finished_at = clock_timestamp(), seconds = EXTRACT(epoch FROM clock_timestamp() - started_at)
WHERE revision = %(revision)s;

-- finish_down
-- Forgets a revision that was undone.
DELETE FROM strata.migration WHERE revision = %(revision)s;

-- clear_heads
-- Empties Alembic's version table.
DELETE FROM strata.alembic_version;

-- add_heads
-- Fills Alembic's version table.
INSERT INTO strata.alembic_version (version_num) SELECT unnest(%(heads)s::text[]);

-- try_lock
-- Takes the lock of migrations, if it is free.
SELECT pg_try_advisory_lock(%(key)s);

-- find_holder
-- Who holds the lock of migrations, and since when its session is at it.
SELECT a.pid, a.application_name, a.backend_start
FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid = (%(key)s::bigint >> 32)::int::oid AND l.objid = (%(key)s::bigint & 4294967295)::bigint::oid AND l.objsubid = 1;

-- list_extension_schemas
-- Where extensions have put their types and operators.
SELECT DISTINCT n.nspname AS name FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE n.nspname <> 'pg_catalog' ORDER BY n.nspname;
