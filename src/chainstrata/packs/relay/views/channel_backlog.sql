-- channel_backlog
-- One channel with open packets: how many, the oldest of them, and how many are stuck. Counted from the packets, so it survives the
-- restart of any relayer.
CREATE VIEW relay.channel_backlog WITH (security_invoker = true) AS
SELECT
    src_chain_id, src_port, src_channel,
    count(*) AS backlog_size,
    min(sequence) AS backlog_oldest_sequence,
    min(created_at) AS backlog_oldest_at,
    min(timeout_at) AS first_timeout_at,
    count(*) FILTER (WHERE status = 'stuck') AS stuck
FROM relay.packet_flow
WHERE status IN ('pending', 'received', 'stuck')
GROUP BY src_chain_id, src_port, src_channel;
