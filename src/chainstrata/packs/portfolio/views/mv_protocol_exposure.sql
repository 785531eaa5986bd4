-- mv_protocol_exposure
-- One protocol: how many users have how much in it, and its share of everything they hold.
CREATE MATERIALIZED VIEW portfolio.mv_protocol_exposure AS
SELECT
    p.protocol_id,
    p.category,
    p.risk_level,
    count(DISTINCT h.user_id) AS users,
    count(h.user_id) AS holdings,
    coalesce(sum(h.value_usd) FILTER (WHERE h.position_type <> 'borrowed'), 0) AS assets_usd,
    coalesce(sum(h.value_usd) FILTER (WHERE h.position_type = 'borrowed'), 0) AS debts_usd,
    coalesce(sum(h.value_usd) FILTER (WHERE h.position_type <> 'borrowed'), 0)
        / nullif(sum(sum(h.value_usd) FILTER (WHERE h.position_type <> 'borrowed')) OVER (), 0) AS share
FROM portfolio.protocols AS p
LEFT JOIN portfolio.portfolio_holdings AS h ON h.protocol_id = p.protocol_id AND h.amount > 0
GROUP BY p.protocol_id;
