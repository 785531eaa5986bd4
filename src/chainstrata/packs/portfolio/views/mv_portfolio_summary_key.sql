-- mv_portfolio_summary_key
-- The summary of one user; and what lets the view be refreshed while it is read.
-- requires: mv_portfolio_summary
CREATE UNIQUE INDEX mv_portfolio_summary_key ON portfolio.mv_portfolio_summary (user_id);
