-- open_alerts
-- Unresolved alerts with what people call the validator and who runs it.
CREATE VIEW validators.open_alerts AS
SELECT
    a.id, a.alert_type, a.severity, a.raised_at, a.last_seen_at, a.occurrences, a.resolution_status, a.acknowledged_by, a.message,
    a.validator_index, v.name, v.operator, v.label
FROM validators.alerts AS a
LEFT JOIN validators.validators AS v ON v.validator_index = a.validator_index
WHERE a.resolution_status IN ('open', 'acknowledged');
