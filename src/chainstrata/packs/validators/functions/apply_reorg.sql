-- apply_reorg
-- Moves the chain to the branch of a new head: its blocks become canonical, those of the branch left do not stay so, and what was read
-- from them is taken back: snapshots are removed, inclusions and proposals reopened, validators set back to their record before. Both
-- branches must be in chain_blocks, the new one not canonical yet. A branch that does not meet the chain is refused (reorg_branch_known),
-- and so is leaving a final block (chain_blocks_final_is_canonical). Doing it again changes nothing. Returns the row of reorgs.
CREATE FUNCTION validators.apply_reorg(p_old_head text, p_new_head text) RETURNS validators.reorgs
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    v_head validators.chain_blocks;
    v_ancestor validators.chain_blocks;
    v_reorg validators.reorgs;
    v_adopted text[];
    v_orphaned text[];
    v_duties_from timestamptz;
    v_removed bigint;
    v_reopened bigint;
BEGIN
    -- One reorg at a time: two at once would read each other's half-made chain.
    PERFORM pg_advisory_xact_lock(hashtextextended('validators.apply_reorg', 0));
    SELECT * INTO v_head FROM validators.chain_blocks WHERE root = p_new_head;
    SELECT * INTO v_reorg FROM validators.reorgs
        WHERE slot = v_head.slot AND old_head_block = p_old_head AND new_head_block = p_new_head;
    IF v_reorg.rewound_at IS NOT NULL AND v_head.canonical THEN
        RETURN v_reorg;
    END IF;

    WITH RECURSIVE branch AS (
        SELECT b.root, b.parent_root, b.canonical FROM validators.chain_blocks AS b WHERE b.root = p_new_head
        UNION ALL
        SELECT b.root, b.parent_root, b.canonical
        FROM branch
        JOIN validators.chain_blocks AS b ON b.root = branch.parent_root
        WHERE NOT branch.canonical
    )
    SELECT array_agg(root) FILTER (WHERE NOT canonical), max(root) FILTER (WHERE canonical)
    INTO v_adopted, v_ancestor.root
    FROM branch;
    IF v_ancestor.root IS NULL THEN
        RAISE EXCEPTION 'the branch of % does not meet the chain', p_new_head
            USING ERRCODE = 'integrity_constraint_violation', SCHEMA = 'validators', TABLE = 'chain_blocks', CONSTRAINT = 'reorg_branch_known',
            HINT = 'Add the blocks between the new head and the chain to chain_blocks first.';
    END IF;
    SELECT * INTO v_ancestor FROM validators.chain_blocks WHERE root = v_ancestor.root;

    SELECT coalesce(array_agg(root), '{}') INTO v_orphaned
    FROM validators.chain_blocks WHERE canonical AND slot > v_ancestor.slot;
    UPDATE validators.chain_blocks SET canonical = false WHERE root = ANY (v_orphaned);
    UPDATE validators.chain_blocks SET canonical = true WHERE root = ANY (v_adopted);

    DELETE FROM validators.validator_snapshots
    WHERE ts > v_ancestor.ts AND slot > v_ancestor.slot AND (block_root = ANY (v_orphaned) OR block_root IS NULL);
    GET DIAGNOSTICS v_removed = ROW_COUNT;
    -- What was seen unchanged since then was seen on the branch left, too.
    PERFORM validators.validator_snapshots__rewind(v_ancestor.ts + interval '1 microsecond');

    -- An attestation is included in its own epoch or the next, so duties before the epoch before the ancestor's cannot be touched.
    SELECT coalesce(max(ts), '-infinity') INTO v_duties_from
    FROM (
        SELECT ts FROM validators.chain_blocks WHERE canonical AND epoch < v_ancestor.epoch - 1 ORDER BY slot DESC LIMIT 1
    ) AS before;
    UPDATE validators.attestation_duties
    SET included = false, inclusion_slot = NULL, block_root = NULL, correct_source = NULL, correct_target = NULL, correct_head = NULL
    WHERE ts > v_duties_from AND block_root = ANY (v_orphaned);
    GET DIAGNOSTICS v_reopened = ROW_COUNT;
    v_removed := v_removed + v_reopened;

    UPDATE validators.proposals SET outcome = 'orphaned' WHERE slot > v_ancestor.slot AND block_root = ANY (v_orphaned);
    UPDATE validators.proposals SET outcome = 'proposed' WHERE slot > v_ancestor.slot AND block_root = ANY (v_adopted);

    DELETE FROM validators.validator_records WHERE slot > v_ancestor.slot AND block_root = ANY (v_orphaned);
    GET DIAGNOSTICS v_reopened = ROW_COUNT;
    v_removed := v_removed + v_reopened;
    UPDATE validators.validators AS v
    SET slot = r.slot, status = coalesce(r.status, v.status), slashed = coalesce(r.slashed, v.slashed),
        withdrawal_credentials = coalesce(r.withdrawal_credentials, v.withdrawal_credentials),
        activation_eligibility_epoch = r.activation_eligibility_epoch, activation_epoch = r.activation_epoch, exit_epoch = r.exit_epoch,
        withdrawable_epoch = r.withdrawable_epoch, block_root = r.block_root
    FROM validators.validators AS touched
    LEFT JOIN LATERAL (
        SELECT * FROM validators.validator_records AS r
        WHERE r.validator_index = touched.validator_index
        ORDER BY r.slot DESC LIMIT 1
    ) AS r ON true
    WHERE touched.block_root = ANY (v_orphaned) AND v.validator_index = touched.validator_index;

    INSERT INTO validators.reorgs AS r (
        slot, old_head_block, new_head_block, epoch, depth, execution_optimistic, ancestor_slot, ancestor_root, orphaned_blocks,
        removed_rows, rewound_at)
    VALUES (
        v_head.slot, p_old_head, p_new_head, v_head.epoch, v_head.slot - v_ancestor.slot, v_head.execution_optimistic, v_ancestor.slot,
        v_ancestor.root, cardinality(v_orphaned), v_removed, clock_timestamp())
    ON CONFLICT (slot, old_head_block, new_head_block) DO UPDATE SET
        ancestor_slot = excluded.ancestor_slot,
        ancestor_root = excluded.ancestor_root,
        orphaned_blocks = excluded.orphaned_blocks,
        removed_rows = excluded.removed_rows,
        rewound_at = excluded.rewound_at
    RETURNING * INTO v_reorg;
    RETURN v_reorg;
END
$$;
