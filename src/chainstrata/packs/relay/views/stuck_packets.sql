-- stuck_packets
-- One open packet found stuck: since when, who tried in vain, how long until it expires, and the command that clears it with Hermes.
CREATE VIEW relay.stuck_packets WITH (security_invoker = true) AS
SELECT
    src_chain_id, src_port, src_channel, sequence, dst_chain_id, dst_port, dst_channel,
    CASE WHEN received_at IS NULL THEN 'delivery' ELSE 'acknowledgement' END AS waits_for,
    created_at, received_at, stuck_at,
    now() - created_at AS waiting,
    timeout_at,
    timeout_at - now() AS expires_in,
    relayer, redundant_relays, denom, amount, sender, receiver,
    format(
        'hermes clear packets --chain %s --port %s --channel %s --packet-sequences %s', src_chain_id, src_port, src_channel, sequence
    ) AS command
FROM relay.packet_flow
WHERE status = 'stuck';
