-- live_clearing_operations_delete
-- DELETE on the live operations marks; on the table itself it removes, which is for those who must erase.
-- requires: soft_delete_operation, live_clearing_operations
CREATE TRIGGER live_clearing_operations_delete
INSTEAD OF DELETE ON relay.live_clearing_operations
FOR EACH ROW EXECUTE FUNCTION relay.soft_delete_operation();
