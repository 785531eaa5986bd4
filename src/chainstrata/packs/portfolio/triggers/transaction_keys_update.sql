-- transaction_keys_update
-- A movement that is moved to another block takes its key along.
-- requires: transaction_keys_follow
CREATE TRIGGER transaction_keys_update
AFTER UPDATE ON portfolio.transaction_history
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION portfolio.transaction_keys_follow();
