-- portfolio_holdings_wallet
-- Once for each statement, before its rows: a holding can refer to the protocol `wallet` on an empty database too.
-- requires: provide_wallet
CREATE TRIGGER portfolio_holdings_wallet
BEFORE INSERT OR UPDATE ON portfolio.portfolio_holdings
FOR EACH STATEMENT EXECUTE FUNCTION portfolio.provide_wallet();
