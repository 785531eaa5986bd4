-- refuse_sealed_chunks
-- Refuses TRUNCATE of a hypertable of TimescaleDB that has sealed chunks. It drops all chunks and asks none of them.
CREATE FUNCTION strata.refuse_sealed_chunks() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    sealed text;
BEGIN
    SELECT t.tgrelid::regclass::text INTO sealed
    FROM pg_inherits AS i
    JOIN pg_trigger AS t ON t.tgrelid = i.inhrelid
    WHERE i.inhparent = TG_RELID AND t.tgname = 'strata_sealed'
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'partition % is sealed, its rows cannot change any more', sealed
        USING ERRCODE = 'check_violation', CONSTRAINT = 'partition_sealed', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
            HINT = 'It is leaving, or was put back from the archive. DELETE takes the rows of the others.';
    END IF;
    RETURN NULL;
END
$$
