-- lock_source
-- Whether this transaction may refresh the roll-ups of a source; nobody else does until it ends.
SELECT pg_try_advisory_xact_lock(hashtextextended('strata.rollups.' || %(source)s, 0));

-- lock_source_waiting
-- Wait until this transaction may refresh the roll-ups of a source.
SELECT pg_advisory_xact_lock(hashtextextended('strata.rollups.' || %(source)s, 0));

-- lock_source_shared
-- Whether this transaction may add to the roll-ups of a source; nobody refreshes them until it ends.
SELECT pg_try_advisory_xact_lock_shared(hashtextextended('strata.rollups.' || %(source)s, 0));

-- list_gone
-- From when on each source still has its rows.
SELECT source, gone_before FROM strata.rollup_source WHERE source = ANY (%(sources)s);

-- set_gone
-- Note that the rows of a source before an instant have left; it never moves back.
INSERT INTO strata.rollup_source AS t (source, gone_before) VALUES (%(source)s, %(gone_before)s)
ON CONFLICT (source) DO UPDATE SET gone_before = greatest(t.gone_before, excluded.gone_before);

-- list_states
-- How far each roll-up is.
SELECT rollup, refreshed_at, refreshed_lsn, seconds, most_keys FROM strata.rollup_state WHERE rollup = ANY (%(rollups)s);

-- record_refresh
-- Note what a refresh of a roll-up did.
INSERT INTO strata.rollup_state AS t (rollup, refreshed_at, refreshed_lsn, buckets_written, buckets_removed, seconds, most_keys)
VALUES (
    %(rollup)s, now(), (SELECT pg_current_wal_insert_lsn()::text), %(written)s, %(removed)s, %(seconds)s, %(most_keys)s
)
ON CONFLICT (rollup) DO UPDATE SET
    refreshed_at = excluded.refreshed_at,
    refreshed_lsn = excluded.refreshed_lsn,
    buckets_written = t.buckets_written + excluded.buckets_written,
    buckets_removed = t.buckets_removed + excluded.buckets_removed,
    seconds = excluded.seconds,
    most_keys = coalesce(excluded.most_keys, t.most_keys);

-- plan_anew
-- Have each statement of this transaction planned for the rows that are there now.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true);
