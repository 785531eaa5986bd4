-- add_key
-- Keep a new key; nothing comes back if its name is in use.
INSERT INTO strata.api_key (name, prefix, hash, role, expires_at)
VALUES (%(name)s, %(prefix)s, %(hash)s, %(role)s, %(expires_at)s)
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING id, name, prefix, role, 'active' AS state, created_at, expires_at, revoked_at;

-- revoke_expired_name
-- Free the name of a key whose time is over.
UPDATE strata.api_key SET revoked_at = now() WHERE name = %(name)s AND revoked_at IS NULL AND expires_at <= now();

-- find_key
-- A key by its open part, with its hash.
SELECT id, name, prefix, hash, role, expires_at, revoked_at FROM strata.api_key WHERE prefix = %(prefix)s;

-- list_keys
-- All keys, the newest first.
SELECT id, name, prefix, role,
       CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired' ELSE 'active' END AS state,
       created_at, expires_at, revoked_at
FROM strata.api_key ORDER BY id DESC;

-- count_keys
-- How many keys were ever made.
SELECT count(*) FROM strata.api_key;

-- lock_first_key
-- Only one process makes the first key.
SELECT pg_advisory_xact_lock(hashtextextended('chainstrata:first-key', 0));

-- revoke_key
-- Take a key back, by its name or its open part.
UPDATE strata.api_key SET revoked_at = now() WHERE (name = %(key)s OR prefix = %(key)s) AND revoked_at IS NULL
RETURNING id, name, prefix, role, 'revoked' AS state, created_at, expires_at, revoked_at;

-- record
-- Write an entry, once.
INSERT INTO strata.audit (id, at, actor, key_id, request, action, object, outcome, detail, settled_at)
VALUES (%(id)s, %(at)s, %(actor)s, %(key_id)s, %(request)s, %(action)s, %(object)s, %(outcome)s, %(detail)s,
        CASE WHEN %(outcome)s::text = 'begun' THEN NULL ELSE clock_timestamp() END)
ON CONFLICT (id) DO UPDATE SET outcome = excluded.outcome, detail = excluded.detail, settled_at = excluded.settled_at
WHERE audit.outcome = 'begun' AND excluded.outcome <> 'begun';

-- list_entries
-- Entries, the newest first, from before a moment on.
SELECT id, at, actor, key_id, request, action, object, outcome, detail, settled_at FROM strata.audit
WHERE (%(before)s::timestamptz IS NULL OR at < %(before)s::timestamptz) AND (%(actor)s::text IS NULL OR actor = %(actor)s::text)
ORDER BY at DESC, id LIMIT %(most)s;
