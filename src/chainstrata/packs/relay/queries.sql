-- list_operations
-- A wallet's clearing operations that are not deleted, in one status or in any, newest first.
SELECT * FROM relay.clearing_operations
WHERE deleted_at IS NULL AND wallet_address = %(wallet)s
    AND (%(status)s::relay.operation_status IS NULL OR status = %(status)s::relay.operation_status)
    AND created_at < %(before)s
ORDER BY created_at DESC, operation_id
LIMIT %(limit)s;

-- list_stuck_packets
-- Open packets found stuck, of one chain or of all, those that expire first at the top, with the command that clears each.
SELECT * FROM relay.stuck_packets
WHERE %(chain)s::text IS NULL OR src_chain_id = %(chain)s
ORDER BY timeout_at NULLS LAST, src_chain_id, src_port, src_channel, sequence
LIMIT %(limit)s;

-- list_channel_backlog
-- Channels with open packets, the longest backlog first.
SELECT * FROM relay.channel_backlog
ORDER BY backlog_size DESC, src_chain_id, src_port, src_channel
LIMIT %(limit)s;

-- list_packets_of
-- Packets that an address sent or is to get, newest first.
SELECT * FROM (
    (SELECT * FROM relay.packet_flow WHERE sender = %(address)s AND created_at < %(before)s ORDER BY created_at DESC LIMIT %(limit)s)
    UNION
    (SELECT * FROM relay.packet_flow WHERE receiver = %(address)s AND created_at < %(before)s ORDER BY created_at DESC LIMIT %(limit)s)
) AS packets
ORDER BY created_at DESC, src_chain_id, src_port, src_channel, sequence
LIMIT %(limit)s;

-- list_packet_life
-- What happened to one packet, in order of time.
SELECT * FROM relay.packet_events
WHERE src_chain_id = %(chain)s AND src_port = %(port)s AND src_channel = %(channel)s AND sequence = %(sequence)s
    AND block_time <= %(until)s
ORDER BY block_time, chain_id, tx_hash, event_index;

-- get_health_score
-- A chain's health from 0 to 100 as of an instant.
SELECT relay.calculate_network_health_score(%(chain)s, %(at)s);

-- list_top_relayers
-- Relayers of a day by reputation, the best first.
SELECT * FROM relay.relayer_performance
WHERE date = date_trunc('day', %(day)s::timestamptz, 'UTC')
ORDER BY reputation_score DESC NULLS LAST, chain_id, relayer
LIMIT %(limit)s;

-- list_congested_channels
-- Channels of an hour by congestion, the worst first.
SELECT * FROM relay.channel_performance
WHERE hour = date_trunc('hour', %(hour)s::timestamptz, 'UTC')
ORDER BY congestion_score DESC NULLS LAST, src_chain_id, src_port, src_channel
LIMIT %(limit)s;

-- list_query_performance
-- What the statements whose text is like a pattern cost, the costliest first; where nobody collects that, one row says so.
SELECT * FROM strata.analyze_query_performance(%(pattern)s) LIMIT %(limit)s;
