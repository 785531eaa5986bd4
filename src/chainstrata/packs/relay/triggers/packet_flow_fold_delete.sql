-- packet_flow_fold_delete
-- Events that are taken back, as by a reorg, are taken back from their packets.
-- requires: packet_flow_fold
CREATE TRIGGER packet_flow_fold_delete
AFTER DELETE ON relay.packet_events
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION relay.packet_flow_fold();
