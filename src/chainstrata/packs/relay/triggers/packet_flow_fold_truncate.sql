-- packet_flow_fold_truncate
-- An emptied stream leaves no packets.
-- requires: packet_flow_fold
CREATE TRIGGER packet_flow_fold_truncate
AFTER TRUNCATE ON relay.packet_events
FOR EACH STATEMENT EXECUTE FUNCTION relay.packet_flow_fold();
