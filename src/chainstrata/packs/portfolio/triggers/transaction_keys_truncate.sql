-- transaction_keys_truncate
-- An emptied history leaves no keys.
-- requires: transaction_keys_follow
CREATE TRIGGER transaction_keys_truncate
AFTER TRUNCATE ON portfolio.transaction_history
FOR EACH STATEMENT EXECUTE FUNCTION portfolio.transaction_keys_follow();
