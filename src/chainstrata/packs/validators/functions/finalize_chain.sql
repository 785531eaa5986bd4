-- finalize_chain
-- Marks the canonical blocks up to a finalized checkpoint as final and returns how many were not so yet. A checkpoint that is not
-- canonical here is refused (finalized_is_canonical): the reorg towards it comes first.
CREATE FUNCTION validators.finalize_chain(p_root text) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    v_slot bigint;
    v_marked bigint;
BEGIN
    SELECT slot INTO v_slot FROM validators.chain_blocks WHERE root = p_root AND canonical;
    IF v_slot IS NULL THEN
        RAISE EXCEPTION 'block % is not on the chain', p_root
            USING ERRCODE = 'integrity_constraint_violation', SCHEMA = 'validators', TABLE = 'chain_blocks',
            CONSTRAINT = 'finalized_is_canonical', HINT = 'Add the block, or apply the reorg towards it, first.';
    END IF;
    UPDATE validators.chain_blocks SET finalized = true WHERE canonical AND NOT finalized AND slot <= v_slot;
    GET DIAGNOSTICS v_marked = ROW_COUNT;
    RETURN v_marked;
END
$$;
