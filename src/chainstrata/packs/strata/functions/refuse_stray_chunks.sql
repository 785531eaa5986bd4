-- refuse_stray_chunks
-- Refuses rows of a hypertable of TimescaleDB that no declared partition takes, as PostgreSQL does. TimescaleDB makes a chunk for
-- them by itself, under the prefix it was given for such.
CREATE FUNCTION strata.refuse_stray_chunks() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = TG_RELID AND starts_with(c.relname, '_stray_')
    ) THEN
        RAISE EXCEPTION 'no partition of relation % found for row', quote_ident(TG_TABLE_NAME)
        USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
            HINT = 'It is too old or too far ahead. Its partition is made by `chainstrata partitions apply`, or left already.';
    END IF;
    RETURN NULL;
END
$$
