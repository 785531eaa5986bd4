-- transaction_keys_follow
-- Trigger function: keeps one key for each row of the transaction history, in the statement that writes it. A movement that stands in
-- the history under another time already is refused by transaction_keys_pkey, since no key of a partitioned table can see it.
CREATE FUNCTION portfolio.transaction_keys_follow() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    -- In the order of the key, so that two writers who bring the same movements wait for each other instead of deadlocking.
    IF TG_OP = 'INSERT' THEN
        INSERT INTO portfolio.transaction_keys (chain, tx_hash, log_index, block_timestamp)
        SELECT chain, tx_hash, log_index, block_timestamp FROM new_rows ORDER BY chain, tx_hash, log_index;
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM portfolio.transaction_keys AS k USING old_rows AS gone
        WHERE (k.chain, k.tx_hash, k.log_index, k.block_timestamp) = (gone.chain, gone.tx_hash, gone.log_index, gone.block_timestamp);
    ELSIF TG_OP = 'UPDATE' THEN
        DELETE FROM portfolio.transaction_keys AS k
        USING (
            SELECT chain, tx_hash, log_index, block_timestamp FROM old_rows
            EXCEPT
            SELECT chain, tx_hash, log_index, block_timestamp FROM new_rows
        ) AS gone
        WHERE (k.chain, k.tx_hash, k.log_index, k.block_timestamp) = (gone.chain, gone.tx_hash, gone.log_index, gone.block_timestamp);
        INSERT INTO portfolio.transaction_keys (chain, tx_hash, log_index, block_timestamp)
        SELECT chain, tx_hash, log_index, block_timestamp FROM new_rows
        EXCEPT
        SELECT chain, tx_hash, log_index, block_timestamp FROM old_rows
        ORDER BY chain, tx_hash, log_index;
    ELSIF EXISTS (SELECT FROM portfolio.transaction_keys) THEN
        TRUNCATE portfolio.transaction_keys;
    END IF;
    RETURN NULL;
END
$$;
