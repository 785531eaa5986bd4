-- transaction_keys_insert
-- Every movement that is written takes its key.
-- requires: transaction_keys_follow
CREATE TRIGGER transaction_keys_insert
AFTER INSERT ON portfolio.transaction_history
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION portfolio.transaction_keys_follow();
