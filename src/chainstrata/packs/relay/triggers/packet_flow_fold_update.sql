-- packet_flow_fold_update
-- Events that are corrected correct their packets.
-- requires: packet_flow_fold
CREATE TRIGGER packet_flow_fold_update
AFTER UPDATE ON relay.packet_events
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION relay.packet_flow_fold();
