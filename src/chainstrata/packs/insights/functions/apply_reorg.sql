-- apply_reorg
-- Moves the chain to the branch of a new tip: its blocks become canonical, those of the branch left do not stay so; transactions follow
-- their block. The branch must be in blocks, not canonical yet. One that does not meet the chain is refused (reorg_branch_known), and so
-- is leaving a final block (blocks_final_is_canonical). Returns the row of reorgs, or NULL where the tip is on the chain already.
CREATE FUNCTION insights.apply_reorg(p_new_tip text) RETURNS insights.reorgs
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    v_fork text;
    v_fork_height bigint;
    v_old_tip text;
    v_adopted text[];
    v_orphaned text[];
    v_reorg insights.reorgs;
BEGIN
    -- One reorg at a time: two at once would read each other's half-made chain.
    PERFORM pg_advisory_xact_lock(hashtextextended('insights.apply_reorg', 0));
    WITH RECURSIVE branch AS (
        SELECT b.hash, b.previous_hash, b.canonical FROM insights.blocks AS b WHERE b.hash = p_new_tip
        UNION ALL
        SELECT b.hash, b.previous_hash, b.canonical
        FROM branch
        JOIN insights.blocks AS b ON b.hash = branch.previous_hash
        WHERE NOT branch.canonical
    )
    SELECT coalesce(array_agg(hash) FILTER (WHERE NOT canonical), '{}'), max(hash) FILTER (WHERE canonical)
    INTO v_adopted, v_fork
    FROM branch;
    IF v_fork IS NULL THEN
        RAISE EXCEPTION 'the branch of % does not meet the chain', p_new_tip
            USING ERRCODE = 'integrity_constraint_violation', SCHEMA = 'insights', TABLE = 'blocks', CONSTRAINT = 'reorg_branch_known',
            HINT = 'Add the blocks between the new tip and the chain to blocks first.';
    END IF;
    IF v_fork = p_new_tip THEN
        RETURN NULL;
    END IF;
    SELECT height INTO v_fork_height FROM insights.blocks WHERE hash = v_fork;
    SELECT coalesce(array_agg(hash ORDER BY height), '{}') INTO v_orphaned
    FROM insights.blocks WHERE canonical AND height > v_fork_height;
    v_old_tip := coalesce(v_orphaned[cardinality(v_orphaned)], v_fork);
    UPDATE insights.blocks SET canonical = false WHERE hash = ANY (v_orphaned);
    UPDATE insights.blocks SET canonical = true WHERE hash = ANY (v_adopted);
    INSERT INTO insights.reorgs AS r (old_tip, new_tip, fork_height, orphaned_blocks, adopted_blocks)
    VALUES (v_old_tip, p_new_tip, v_fork_height, cardinality(v_orphaned), cardinality(v_adopted))
    ON CONFLICT (old_tip, new_tip) DO UPDATE SET applied_at = clock_timestamp()
    RETURNING * INTO v_reorg;
    RETURN v_reorg;
END
$$;
