-- provide_wallet
-- Trigger function: makes sure that there is the protocol `wallet`, in which every holding is that is in no protocol.
CREATE FUNCTION portfolio.provide_wallet() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    INSERT INTO portfolio.protocols (protocol_id, name, category) VALUES ('wallet', 'Wallet', 'wallet')
    ON CONFLICT (protocol_id) DO NOTHING;
    RETURN NULL;
END
$$;
