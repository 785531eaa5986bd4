-- packet_flow_fold_insert
-- Events that are written are folded into their packets.
-- requires: packet_flow_fold
CREATE TRIGGER packet_flow_fold_insert
AFTER INSERT ON relay.packet_events
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION relay.packet_flow_fold();
