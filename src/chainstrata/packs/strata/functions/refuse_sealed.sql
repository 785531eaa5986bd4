-- refuse_sealed
-- Refuses every change of a partition that is about to leave, or was put back from the archive: what is archived must be what
-- was there to the last, and roll-ups have it in for good.
CREATE FUNCTION strata.refuse_sealed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    RAISE EXCEPTION 'partition %.% is sealed, its rows cannot change any more', quote_ident(TG_TABLE_SCHEMA), quote_ident(TG_TABLE_NAME)
    USING ERRCODE = 'check_violation', CONSTRAINT = 'partition_sealed', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
        HINT = 'It is leaving, or was put back from the archive. A row this old is late: it belongs in the roll-ups or in quarantine.';
END
$$
