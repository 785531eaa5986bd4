-- describe_plain
-- What a table is, as far as it matters to whoever wants to make partitions of it.
SELECT c.oid::bigint AS oid, c.relkind::text AS kind, c.relpersistence::text AS persistence, c.relreplident::text AS replica_identity,
       c.relrowsecurity OR EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid) AS row_security,
       EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent)) AS inherits,
       greatest(c.reltuples, 0)::bigint AS rows_estimate, pg_total_relation_size(c.oid) AS size_bytes,
       quote_ident(pg_get_userbyid(c.relowner)) AS owner, obj_description(c.oid, 'pg_class') AS comment
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind IN ('r', 'p');

-- list_plain_columns
-- The columns of a table in their order.
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null, a.attgenerated <> '' AS generated,
       a.attidentity::text AS identity, a.attacl IS NOT NULL AS granted,
       pg_get_serial_sequence(format('%%I.%%I', n.nspname, c.relname), a.attname) AS sequence
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.attrelid = %(oid)s::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;

-- list_indexes
-- The indexes of a table. Columns are NULL where there is an expression.
SELECT i.indexrelid::bigint AS oid, c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition, i.indisprimary AS is_primary,
       i.indisunique AS is_unique, i.indisexclusion AS excludes, i.indisvalid AS valid, i.indpred IS NOT NULL AS partial,
       co.conname AS constraint_name, pg_get_constraintdef(co.oid) AS constraint_definition,
       obj_description(i.indexrelid, 'pg_class') AS comment,
       CASE WHEN i.indexprs IS NULL THEN ARRAY(
           SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number WHERE k.place <= i.indnkeyatts ORDER BY k.place
       ) END AS columns
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
LEFT JOIN pg_constraint co ON co.conindid = i.indexrelid AND co.conrelid = i.indrelid AND co.contype IN ('p', 'u', 'x')
WHERE i.indrelid = %(oid)s::bigint::oid
ORDER BY NOT i.indisprimary, c.relname;

-- list_references
-- The foreign keys and checks of a table.
SELECT conname AS name, contype::text AS kind, pg_get_constraintdef(oid) AS definition, convalidated AS validated
FROM pg_constraint
WHERE conrelid = %(oid)s::bigint::oid AND contype IN ('f', 'c')
ORDER BY conname;

-- list_referrers
-- Who refers to a table by foreign key, or publishes it by name, or hangs on it in a way that cannot be moved.
SELECT format('%%s refers to it by %%I', conrelid::regclass, conname) AS reason
FROM pg_constraint WHERE confrelid = %(oid)s::bigint::oid AND contype = 'f' AND conrelid <> confrelid
UNION ALL
SELECT format('it refers to itself by %%I', conname) FROM pg_constraint WHERE confrelid = %(oid)s::bigint::oid AND conrelid = confrelid
UNION ALL
SELECT format('publication %%I names it', p.pubname) FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
WHERE r.prrelid = %(oid)s::bigint::oid
UNION ALL
SELECT DISTINCT format('materialized view %%s reads it', v.oid::regclass)
FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %(oid)s::bigint::oid AND v.relkind = 'm'
UNION ALL
SELECT DISTINCT format('function %%s is bound to it', d.objid::regprocedure)
FROM pg_depend d
WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %(oid)s::bigint::oid
UNION ALL
SELECT format('it has rule %%I', rulename) FROM pg_rewrite WHERE ev_class = %(oid)s::bigint::oid;

-- list_triggers
-- The triggers people made on a table.
SELECT t.tgname AS name, pg_get_triggerdef(t.oid) AS definition, t.tgenabled::text AS enabled,
       (t.tgtype & 1) = 1 AND (t.tgoldtable IS NOT NULL OR t.tgnewtable IS NOT NULL) AS row_with_tables
FROM pg_trigger t
WHERE t.tgrelid = %(oid)s::bigint::oid AND NOT t.tgisinternal AND NOT starts_with(t.tgname, %(own)s)
ORDER BY t.tgname;

-- list_views
-- The views that read a table, with what makes them anew.
SELECT DISTINCT n.nspname AS schema, v.relname AS name, pg_get_viewdef(v.oid) AS definition, array_to_string(v.reloptions, ', ') AS options
FROM pg_depend d
JOIN pg_rewrite r ON r.oid = d.objid
JOIN pg_class v ON v.oid = r.ev_class
JOIN pg_namespace n ON n.oid = v.relnamespace
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %(oid)s::bigint::oid AND v.relkind = 'v'
ORDER BY 1, 2;

-- list_grants
-- What others may do with a table, as GRANT says it.
SELECT format('GRANT %%s ON TABLE %%s TO %%s%%s', a.privilege_type, %(target)s::text,
              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
              CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement
FROM pg_class c, aclexplode(c.relacl) AS a
WHERE c.oid = %(oid)s::bigint::oid AND a.grantee <> c.relowner;

-- list_partition_names
-- The partitions of a table, without their bounds.
SELECT n.nspname AS schema, c.relname AS name
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.inhparent = to_regclass(%(table)s)
ORDER BY c.relname;

-- table_exists
-- Whether there is a table of that name, and which kind.
SELECT (SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%(table)s));

-- has_constraint
-- Whether a table has a constraint of that name.
SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass(%(table)s) AND conname = %(name)s);
