-- operator_summary
-- Validators, effective balance and unresolved alerts by operator, label and status.
CREATE VIEW validators.operator_summary AS
SELECT
    v.operator,
    v.label,
    v.status,
    count(*) AS validators,
    sum(v.effective_balance) AS effective_balance,
    count(*) FILTER (WHERE v.slashed) AS slashed,
    coalesce(sum(a.unresolved), 0) AS unresolved_alerts
FROM validators.validators AS v
LEFT JOIN (
    SELECT validator_index, count(*) AS unresolved
    FROM validators.alerts
    WHERE resolution_status IN ('open', 'acknowledged')
    GROUP BY validator_index
) AS a ON a.validator_index = v.validator_index
GROUP BY v.operator, v.label, v.status;
