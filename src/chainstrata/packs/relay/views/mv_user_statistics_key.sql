-- mv_user_statistics_key
-- The statistics of one wallet; and what lets the view be refreshed while it is read.
-- requires: mv_user_statistics
CREATE UNIQUE INDEX mv_user_statistics_key ON relay.mv_user_statistics (wallet_address);
