-- mv_portfolio_summary
-- One user: what the portfolio is worth, how it is spread, and how much of it is riskier than the user wants.
CREATE MATERIALIZED VIEW portfolio.mv_portfolio_summary AS
WITH held AS (
    SELECT
        h.user_id,
        h.asset_id,
        h.chain,
        h.protocol_id,
        h.value_usd,
        h.position_type = 'borrowed' AS owed,
        greatest(a.risk_level, p.risk_level) AS risk_level,
        h.observed_at,
        h.final
    FROM portfolio.portfolio_holdings AS h
    JOIN portfolio.assets AS a USING (asset_id)
    JOIN portfolio.protocols AS p USING (protocol_id)
    WHERE h.amount > 0
),
largest AS (
    SELECT DISTINCT ON (user_id) user_id, asset_id, sum(value_usd) AS value_usd
    FROM held
    WHERE NOT owed AND value_usd IS NOT NULL
    GROUP BY user_id, asset_id
    ORDER BY user_id, sum(value_usd) DESC, asset_id
),
summed AS (
    SELECT
        user_id,
        count(*) AS holdings,
        count(*) FILTER (WHERE value_usd IS NULL) AS unpriced,
        count(DISTINCT chain) AS chains,
        count(DISTINCT protocol_id) FILTER (WHERE protocol_id <> 'wallet') AS protocols,
        coalesce(sum(value_usd) FILTER (WHERE NOT owed), 0) AS assets_usd,
        coalesce(sum(value_usd) FILTER (WHERE owed), 0) AS debts_usd,
        max(risk_level) AS riskiest,
        max(observed_at) AS observed_at,
        bool_and(final) AS final
    FROM held
    GROUP BY user_id
),
risky AS (
    SELECT held.user_id, sum(held.value_usd) AS value_usd
    FROM held
    JOIN portfolio.users AS u USING (user_id)
    WHERE NOT held.owed AND held.risk_level > u.risk_tolerance
    GROUP BY held.user_id
)
SELECT
    u.user_id,
    coalesce(s.holdings, 0) AS holdings,
    coalesce(s.unpriced, 0) AS unpriced,
    coalesce(s.chains, 0) AS chains,
    coalesce(s.protocols, 0) AS protocols,
    coalesce(s.assets_usd, 0) AS assets_usd,
    coalesce(s.debts_usd, 0) AS debts_usd,
    coalesce(s.assets_usd - s.debts_usd, 0) AS net_usd,
    l.asset_id AS largest_asset,
    l.value_usd / nullif(s.assets_usd, 0) AS largest_share,
    s.riskiest,
    coalesce(r.value_usd, 0) AS risky_usd,
    s.observed_at,
    s.final
FROM portfolio.users AS u
LEFT JOIN summed AS s USING (user_id)
LEFT JOIN largest AS l USING (user_id)
LEFT JOIN risky AS r USING (user_id);
