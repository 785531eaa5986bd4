-- packet_flow_fold
-- Trigger function: folds events into the packets they are about, in the statement that writes them. Every part of the fold gives the
-- same in whatever order events arrive, and an event seen again changes nothing. A deleted or corrected event is taken back: what it
-- told is folded anew from the events that are still there; what only events told that have left since stays as it is.
-- requires: packet_status
CREATE FUNCTION relay.packet_flow_fold() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    -- %1$s: the events. %2$s: what holds for created_at of a packet known already. Packets are taken in the order of their key,
    -- so that collectors of two chains wait for each other instead of deadlocking.
    fold CONSTANT text := $fold$
        INSERT INTO relay.packet_flow AS p (
            src_chain_id, src_port, src_channel, sequence, dst_chain_id, dst_port, dst_channel,
            status, created_at, sent_at, received_at, acknowledged_at, timed_out_at, success, relayer, received_tx_hash, redundant_relays,
            ordering, timeout_height, timeout_revision, timeout_timestamp, denom, amount, sender, receiver, memo
        )
        SELECT
            src_chain_id, src_port, src_channel, sequence, dst_chain_id, dst_port, dst_channel,
            relay.packet_status(received_at, acknowledged_at, success, timed_out_at),
            created_at, sent_at, received_at, acknowledged_at, timed_out_at, success, relayer, received_tx_hash, redundant_relays,
            ordering, timeout_height, timeout_revision, timeout_timestamp, denom, amount, sender, receiver, memo
        FROM (
            SELECT
                src_chain_id, src_port, src_channel, sequence,
                max(dst_chain_id) AS dst_chain_id, max(dst_port) AS dst_port, max(dst_channel) AS dst_channel,
                coalesce(
                    min(block_time) FILTER (WHERE event_type = 'send_packet'), min(coalesce(sent_at, block_time))
                ) AS created_at,
                min(block_time) FILTER (WHERE event_type = 'send_packet') AS sent_at,
                (array_agg(block_time ORDER BY redundant, block_time, tx_hash) FILTER (WHERE event_type = 'recv_packet'))[1]
                    AS received_at,
                min(block_time) FILTER (WHERE event_type = 'acknowledge_packet') AS acknowledged_at,
                min(block_time) FILTER (WHERE event_type = 'timeout_packet') AS timed_out_at,
                bool_and(success) AS success,
                (array_agg(CASE WHEN NOT redundant THEN relayer END ORDER BY redundant, block_time, tx_hash)
                    FILTER (WHERE event_type = 'recv_packet'))[1] AS relayer,
                (array_agg(tx_hash ORDER BY redundant, block_time, tx_hash) FILTER (WHERE event_type = 'recv_packet'))[1]
                    AS received_tx_hash,
                count(*) FILTER (WHERE event_type = 'recv_packet' AND redundant) AS redundant_relays,
                max(ordering) AS ordering,
                max(timeout_height) AS timeout_height, max(timeout_revision) AS timeout_revision,
                max(timeout_timestamp) AS timeout_timestamp,
                max(denom) AS denom, max(amount) AS amount, max(sender) AS sender, max(receiver) AS receiver, max(memo) AS memo
            FROM %1$s AS e
            GROUP BY src_chain_id, src_port, src_channel, sequence
        ) AS told
        ORDER BY src_chain_id, src_port, src_channel, sequence
        ON CONFLICT (src_chain_id, src_port, src_channel, sequence) DO UPDATE SET
            dst_chain_id = greatest(p.dst_chain_id, excluded.dst_chain_id),
            dst_port = greatest(p.dst_port, excluded.dst_port),
            dst_channel = greatest(p.dst_channel, excluded.dst_channel),
            status = CASE
                WHEN p.status = 'stuck' AND num_nulls(excluded.acknowledged_at, excluded.timed_out_at) = 2
                    AND (excluded.received_at IS NULL OR p.received_at IS NOT NULL) THEN p.status
                ELSE relay.packet_status(
                    coalesce(p.received_at, excluded.received_at), least(p.acknowledged_at, excluded.acknowledged_at),
                    least(p.success, excluded.success), least(p.timed_out_at, excluded.timed_out_at)
                )
            END,
            stuck_at = CASE
                WHEN num_nulls(excluded.acknowledged_at, excluded.timed_out_at) = 2
                    AND (excluded.received_at IS NULL OR p.received_at IS NOT NULL) THEN p.stuck_at
            END,
            created_at = coalesce(least(p.sent_at, excluded.sent_at), %2$s),
            sent_at = least(p.sent_at, excluded.sent_at),
            (received_at, relayer, received_tx_hash) = (
                SELECT earlier.received_at, earlier.relayer, earlier.received_tx_hash
                FROM (VALUES
                    (p.received_at, p.relayer, p.received_tx_hash),
                    (excluded.received_at, excluded.relayer, excluded.received_tx_hash)
                ) AS earlier (received_at, relayer, received_tx_hash)
                ORDER BY earlier.received_at IS NULL, earlier.relayer IS NULL, earlier.received_at, earlier.received_tx_hash
                LIMIT 1
            ),
            acknowledged_at = least(p.acknowledged_at, excluded.acknowledged_at),
            timed_out_at = least(p.timed_out_at, excluded.timed_out_at),
            success = least(p.success, excluded.success),
            redundant_relays = p.redundant_relays + excluded.redundant_relays,
            ordering = greatest(p.ordering, excluded.ordering),
            timeout_height = greatest(p.timeout_height, excluded.timeout_height),
            timeout_revision = greatest(p.timeout_revision, excluded.timeout_revision),
            timeout_timestamp = greatest(p.timeout_timestamp, excluded.timeout_timestamp),
            denom = greatest(p.denom, excluded.denom),
            amount = greatest(p.amount, excluded.amount),
            sender = greatest(p.sender, excluded.sender),
            receiver = greatest(p.receiver, excluded.receiver),
            memo = greatest(p.memo, excluded.memo)
    $fold$;
    -- The packets a statement touched, and by which kinds of event.
    touched CONSTANT text := format(
        $touched$(
            SELECT
                src_chain_id, src_port, src_channel, sequence,
                bool_or(event_type = 'send_packet') AS sent,
                bool_or(event_type = 'recv_packet') AS received,
                bool_or(event_type IN ('write_acknowledgement', 'acknowledge_packet')) AS acknowledged,
                bool_or(event_type = 'timeout_packet') AS timed_out
            FROM (TABLE old_rows%s) AS events
            GROUP BY src_chain_id, src_port, src_channel, sequence
        )$touched$,
        CASE TG_OP WHEN 'UPDATE' THEN ' UNION ALL TABLE new_rows' ELSE '' END
    );
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        -- Nothing to do where one statement emptied both; and a table cannot be emptied while its own triggers wait.
        IF EXISTS (SELECT FROM relay.packet_flow) THEN
            TRUNCATE relay.packet_flow;
        END IF;
        RETURN NULL;
    ELSIF TG_OP = 'INSERT' THEN
        EXECUTE format(fold, 'new_rows', 'least(p.created_at, excluded.created_at)');
        RETURN NULL;
    END IF;
    EXECUTE format(
        $back$
            UPDATE relay.packet_flow AS p SET
                sent_at = CASE WHEN NOT t.sent THEN p.sent_at END,
                received_at = CASE WHEN NOT t.received THEN p.received_at END,
                relayer = CASE WHEN NOT t.received THEN p.relayer END,
                received_tx_hash = CASE WHEN NOT t.received THEN p.received_tx_hash END,
                redundant_relays = 0,
                acknowledged_at = CASE WHEN NOT t.acknowledged THEN p.acknowledged_at END,
                success = CASE WHEN NOT t.acknowledged THEN p.success END,
                timed_out_at = CASE WHEN NOT t.timed_out THEN p.timed_out_at END,
                stuck_at = NULL,
                status = relay.packet_status(
                    CASE WHEN NOT t.received THEN p.received_at END,
                    CASE WHEN NOT t.acknowledged THEN p.acknowledged_at END,
                    CASE WHEN NOT t.acknowledged THEN p.success END,
                    CASE WHEN NOT t.timed_out THEN p.timed_out_at END
                )
            FROM %s AS t
            WHERE (p.src_chain_id, p.src_port, p.src_channel, p.sequence) = (t.src_chain_id, t.src_port, t.src_channel, t.sequence)
        $back$,
        touched
    );
    EXECUTE format(
        fold,
        format('(SELECT e.* FROM relay.packet_events AS e JOIN %s AS t USING (src_chain_id, src_port, src_channel, sequence))', touched),
        'excluded.created_at'
    );
    EXECUTE format(
        $gone$
            DELETE FROM relay.packet_flow AS p USING %s AS t
            WHERE (p.src_chain_id, p.src_port, p.src_channel, p.sequence) = (t.src_chain_id, t.src_port, t.src_channel, t.sequence)
                AND num_nulls(p.sent_at, p.received_at, p.acknowledged_at, p.timed_out_at) = 4
                AND NOT EXISTS (
                    SELECT FROM relay.packet_events AS e
                    WHERE (e.src_chain_id, e.src_port, e.src_channel, e.sequence) = (p.src_chain_id, p.src_port, p.src_channel, p.sequence)
                )
        $gone$,
        touched
    );
    RETURN NULL;
END
$$;
