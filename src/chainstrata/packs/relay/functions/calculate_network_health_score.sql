-- calculate_network_health_score
-- A chain's health from 0 to 100: half success, three tenths flow, two tenths speed, over the packets it sent in the 24 hours before
-- and those still open. NULL for a chain without such packets: of it nothing is known.
CREATE FUNCTION relay.calculate_network_health_score(chain text, at timestamptz DEFAULT now()) RETURNS numeric
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog
RETURN (
    SELECT CASE
        WHEN packets = 0 THEN NULL
        WHEN closed = 0 THEN round(100 * (1 - stuck::numeric / packets), 2)
        ELSE round(
            100 * (
                0.5 * accepted / closed
                + 0.3 * (1 - stuck::numeric / packets)
                + 0.2 * 60 / greatest(clear_time, 60)
            ),
            2
        )
    END
    FROM (
        SELECT
            count(*) AS packets,
            count(*) FILTER (WHERE status = 'stuck') AS stuck,
            count(*) FILTER (WHERE status = 'acknowledged') AS accepted,
            count(clear_time) AS closed,
            avg(clear_time) AS clear_time
        FROM (
            SELECT status, clear_time FROM relay.packet_flow
            WHERE src_chain_id = chain AND created_at > at - interval '24 hours' AND created_at <= at
            UNION ALL
            SELECT status, NULL FROM relay.packet_flow
            WHERE src_chain_id = chain AND created_at <= at - interval '24 hours' AND status IN ('pending', 'received', 'stuck')
        ) AS considered
    ) AS counted
);
