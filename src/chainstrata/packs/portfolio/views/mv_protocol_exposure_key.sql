-- mv_protocol_exposure_key
-- The exposure to one protocol; and what lets the view be refreshed while it is read.
-- requires: mv_protocol_exposure
CREATE UNIQUE INDEX mv_protocol_exposure_key ON portfolio.mv_protocol_exposure (protocol_id);
