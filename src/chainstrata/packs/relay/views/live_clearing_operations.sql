-- live_clearing_operations
-- Clearing operations that were not deleted: what applications read and write.
CREATE VIEW relay.live_clearing_operations WITH (security_invoker = true) AS
SELECT
    operation_id, wallet_address, chain_id, port, channel, status, packets_targeted, packets_cleared, packets_failed,
    fee_denom, fee_decimals, service_fee, gas_fee, payment_tx_hash, clearing_tx_hash, error_message,
    started_at, completed_at, duration, metadata, created_at, updated_at
FROM relay.clearing_operations
WHERE deleted_at IS NULL;
