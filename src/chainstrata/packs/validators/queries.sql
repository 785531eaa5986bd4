-- get_validator
-- One validator by its index.
SELECT * FROM validators.validators WHERE validator_index = %(validator_index)s;

-- get_validator_by_pubkey
-- One validator by its public key, in lower case.
SELECT * FROM validators.validators WHERE pubkey = lower(%(pubkey)s);

-- list_validators_of_operator
-- The validators of an operator, of one label or of all, by index after the last one seen.
SELECT * FROM validators.validators
WHERE operator = %(operator)s AND (%(label)s::text IS NULL OR label = %(label)s) AND validator_index > %(after)s
ORDER BY validator_index
LIMIT %(limit)s;

-- list_validators_in_status
-- The validators in one status, by index after the last one seen.
SELECT * FROM validators.validators
WHERE status = %(status)s::validators.validator_status AND validator_index > %(after)s
ORDER BY validator_index
LIMIT %(limit)s;

-- list_snapshots_of_validator
-- Snapshots of one validator over a span of time, newest first.
SELECT * FROM validators.validator_snapshots
WHERE validator_index = %(validator_index)s AND ts >= %(since)s AND ts < %(until)s
ORDER BY ts DESC
LIMIT %(limit)s;

-- list_snapshots_between
-- Snapshots of all validators over a span of time.
SELECT * FROM validators.validator_snapshots
WHERE ts >= %(since)s AND ts < %(until)s
ORDER BY ts, validator_index;

-- list_missed_duties
-- Attestations that no block included over a span of time, with the reason and whom to ask.
SELECT d.validator_index, v.name, v.operator, v.label, d.epoch, d.slot, d.miss_reason
FROM validators.attestation_duties AS d
LEFT JOIN validators.validators AS v ON v.validator_index = d.validator_index
WHERE d.ts >= %(since)s AND d.ts < %(until)s AND NOT d.included AND d.miss_reason <> 'not_active'
ORDER BY d.ts, d.validator_index;

-- list_missing_often
-- Validators that missed at least so many attestations over a span of time: N of M, where `missed_streaks` is N in a row.
SELECT validator_index, count(*) AS duties, count(*) FILTER (WHERE NOT included) AS missed
FROM validators.attestation_duties
WHERE ts >= %(since)s AND ts < %(until)s AND miss_reason IS DISTINCT FROM 'not_active'
GROUP BY validator_index
HAVING count(*) FILTER (WHERE NOT included) >= %(at_least)s
ORDER BY missed DESC, validator_index;

-- list_alerts
-- Alerts by any of state, severity, type and validator, over a span of time, newest first.
SELECT * FROM validators.alerts
WHERE (%(resolution_status)s::validators.alert_resolution IS NULL OR resolution_status = %(resolution_status)s::validators.alert_resolution)
    AND (%(severity)s::validators.alert_severity IS NULL OR severity >= %(severity)s::validators.alert_severity)
    AND (%(alert_type)s::validators.alert_type IS NULL OR alert_type = %(alert_type)s::validators.alert_type)
    AND (%(validator_index)s::bigint IS NULL OR validator_index = %(validator_index)s)
    AND raised_at >= %(since)s AND raised_at < %(until)s
ORDER BY raised_at DESC, id
LIMIT %(limit)s;

-- list_unresolved_alerts
-- Unresolved alerts of at least a severity, the gravest and newest first.
SELECT * FROM validators.open_alerts
WHERE severity >= %(severity)s::validators.alert_severity
ORDER BY severity DESC, raised_at DESC
LIMIT %(limit)s;

-- raise_alert
-- Raises an alert, or counts it once more if the same one is unresolved. A graver sighting makes it graver.
INSERT INTO validators.alerts AS a (alert_type, severity, validator_index, slot, epoch, message, details, dedupe_key, raised_at, last_seen_at)
VALUES (
    %(alert_type)s, %(severity)s, %(validator_index)s, %(slot)s, %(epoch)s, %(message)s, %(details)s, %(dedupe_key)s, %(at)s, %(at)s)
ON CONFLICT (dedupe_key) WHERE resolution_status IN ('open', 'acknowledged') DO UPDATE SET
    occurrences = a.occurrences + 1,
    last_seen_at = greatest(a.last_seen_at, excluded.last_seen_at),
    severity = greatest(a.severity, excluded.severity),
    message = excluded.message,
    details = excluded.details
RETURNING a.id, a.occurrences;

-- acknowledge_alert
-- Someone takes an open alert on.
UPDATE validators.alerts
SET resolution_status = 'acknowledged', acknowledged_at = %(at)s, acknowledged_by = %(by)s
WHERE id = %(id)s AND resolution_status = 'open'
RETURNING id;

-- resolve_alert
-- Ends an unresolved alert: resolved, or dismissed as no trouble at all.
UPDATE validators.alerts
SET resolution_status = %(resolution_status)s, resolved_at = %(at)s, resolved_by = %(by)s, resolution_note = %(note)s
WHERE id = %(id)s AND resolution_status IN ('open', 'acknowledged')
RETURNING id;

-- count_unresolved_alerts
-- Unresolved alerts by severity.
SELECT severity, count(*) AS alerts
FROM validators.alerts
WHERE resolution_status IN ('open', 'acknowledged')
GROUP BY severity
ORDER BY severity DESC;

-- list_effectiveness
-- What each validator earned over a span of time, of what it could have.
SELECT * FROM validators.effectiveness_between(%(since)s, %(until)s, %(validators)s::bigint[]);

-- list_missed_streaks
-- Runs of attestations missed in a row, the longest first.
SELECT * FROM validators.missed_streaks(%(since)s, %(until)s, %(at_least)s::integer);
