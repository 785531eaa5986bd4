-- packet_status
-- Where a packet is, from the facts known of it. An acknowledgement outweighs a timeout: only one of them can be true, and the
-- destination wrote the first. Stuck is no fact of a chain and is added by mark_stuck_packets.
CREATE FUNCTION relay.packet_status(
    received_at timestamptz, acknowledged_at timestamptz, success boolean, timed_out_at timestamptz
) RETURNS relay.packet_status
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog
RETURN CASE
    WHEN acknowledged_at IS NOT NULL AND success IS FALSE THEN 'failed'::relay.packet_status
    WHEN acknowledged_at IS NOT NULL THEN 'acknowledged'
    WHEN timed_out_at IS NOT NULL THEN 'timed_out'
    WHEN received_at IS NOT NULL THEN 'received'
    ELSE 'pending'
END;
