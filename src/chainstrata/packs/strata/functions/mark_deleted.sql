-- mark_deleted
-- Marks the time of a deleted row as dirty, for every key: for tables whose statements do not tell what they deleted. The trigger
-- names the table of marks and the column of the time.
CREATE FUNCTION strata.mark_deleted() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    EXECUTE format('INSERT INTO %s (lo, hi) SELECT ($1).%I, ($1).%I + interval ''1 microsecond''', TG_ARGV[0], TG_ARGV[1], TG_ARGV[1])
    USING OLD;
    RETURN NULL;
END
$$
