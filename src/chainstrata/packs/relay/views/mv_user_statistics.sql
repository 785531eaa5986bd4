-- mv_user_statistics
-- One wallet: its clearing operations, how they went, how long they took, and what it paid. Deleted operations are left out.
CREATE MATERIALIZED VIEW relay.mv_user_statistics AS
WITH paid AS (
    SELECT wallet_address, jsonb_object_agg(fee_denom, units::text) AS fees
    FROM (
        SELECT wallet_address, fee_denom, sum(service_fee + gas_fee) AS units
        FROM relay.clearing_operations
        WHERE deleted_at IS NULL AND fee_denom IS NOT NULL
        GROUP BY wallet_address, fee_denom
    ) AS by_denom
    GROUP BY wallet_address
)
SELECT
    o.wallet_address,
    count(*) AS operations,
    count(*) FILTER (WHERE o.status IN ('succeeded', 'partial')) AS succeeded,
    count(*) FILTER (WHERE o.status = 'failed') AS failed,
    count(*) FILTER (WHERE o.completed_at IS NULL) AS open,
    sum(o.packets_targeted) AS packets_targeted,
    sum(o.packets_cleared) AS packets_cleared,
    sum(o.packets_cleared)::numeric / nullif(sum(o.packets_cleared + o.packets_failed), 0) AS success_rate,
    extract(epoch FROM avg(o.duration)) AS mean_seconds,
    count(DISTINCT o.chain_id) AS chains,
    coalesce(p.fees, '{}'::jsonb) AS fees,
    min(o.created_at) AS first_at,
    max(o.created_at) AS last_at
FROM relay.clearing_operations AS o
LEFT JOIN paid AS p USING (wallet_address)
WHERE o.deleted_at IS NULL
GROUP BY o.wallet_address, p.fees;
