-- transaction_keys_delete
-- A movement that is taken back, as by a reorg, gives its key free.
-- requires: transaction_keys_follow
CREATE TRIGGER transaction_keys_delete
AFTER DELETE ON portfolio.transaction_history
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION portfolio.transaction_keys_follow();
