-- begin_load
-- Notes that the sample of a pack is about to be loaded; gives what is noted already.
INSERT INTO strata.sample_load (pack, scale, seed, anchor) VALUES (%(pack)s, %(scale)s, %(seed)s, %(anchor)s)
ON CONFLICT (pack) DO UPDATE SET pack = excluded.pack
RETURNING pack, scale, seed, anchor, parts, rows_written, finished_at;

-- find_load
-- What is noted of the sample of a pack.
SELECT pack, scale, seed, anchor, parts, rows_written, finished_at FROM strata.sample_load WHERE pack = %(pack)s;

-- list_loads
-- Every pack that holds sample data.
SELECT pack, scale, seed, anchor, parts, rows_written, finished_at FROM strata.sample_load ORDER BY pack;

-- claim_part
-- Locks the note of a load, and says how many parts are written.
SELECT parts FROM strata.sample_load WHERE pack = %(pack)s FOR UPDATE;

-- finish_part
-- Notes one more part.
UPDATE strata.sample_load SET parts = parts + 1, rows_written = rows_written + %(rows)s WHERE pack = %(pack)s;

-- finish_load
-- Notes that all parts are written.
UPDATE strata.sample_load SET finished_at = now() WHERE pack = %(pack)s;

-- forget_load
-- Takes back the note of a load.
DELETE FROM strata.sample_load WHERE pack = %(pack)s;

-- forget_rollups
-- Takes back what is noted of the roll-ups of a pack: its tables are empty, so nothing of theirs has left.
DELETE FROM strata.rollup_source WHERE split_part(source, '.', 1) = %(pack)s;

-- advance_identity
-- Lets a column that counts by itself go on after the highest value that was given.
SELECT setval(pg_get_serial_sequence(%(table)s, %(column)s), %(highest)s);
