-- mark_stuck_packets
-- Marks as stuck what has waited too long since it was sent or received, and returns how many were newly marked. A packet that
-- moves again loses the mark by itself.
CREATE FUNCTION relay.mark_stuck_packets(waiting interval DEFAULT '30 minutes', at timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog
BEGIN ATOMIC
    WITH waited AS (
        SELECT src_chain_id, src_port, src_channel, sequence
        FROM relay.packet_flow
        WHERE status IN ('pending', 'received') AND created_at < at - waiting AND greatest(created_at, received_at) < at - waiting
        ORDER BY src_chain_id, src_port, src_channel, sequence
        -- What is being written at this moment moves, so it is not stuck.
        FOR NO KEY UPDATE SKIP LOCKED
    ),
    marked AS (
        UPDATE relay.packet_flow AS p SET status = 'stuck', stuck_at = at
        FROM waited
        WHERE (p.src_chain_id, p.src_port, p.src_channel, p.sequence)
            = (waited.src_chain_id, waited.src_port, waited.src_channel, waited.sequence)
        RETURNING 1
    )
    SELECT count(*) FROM marked;
END;
