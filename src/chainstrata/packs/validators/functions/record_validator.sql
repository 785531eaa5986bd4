-- record_validator
-- Trigger function: keeps a row in validator_records for each change of a validator's record, under the slot that showed it.
CREATE FUNCTION validators.record_validator() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO validators.validator_records AS r (
            validator_index, slot, status, slashed, withdrawal_credentials, activation_eligibility_epoch, activation_epoch, exit_epoch,
            withdrawable_epoch, block_root, execution_optimistic, finalized)
        SELECT validator_index, slot, status, slashed, withdrawal_credentials, activation_eligibility_epoch, activation_epoch, exit_epoch,
            withdrawable_epoch, block_root, execution_optimistic, finalized
        FROM new_rows
        WHERE slot IS NOT NULL AND pubkey IS NOT NULL
        ORDER BY validator_index
        ON CONFLICT (validator_index, slot) DO NOTHING;
    ELSE
        INSERT INTO validators.validator_records AS r (
            validator_index, slot, status, slashed, withdrawal_credentials, activation_eligibility_epoch, activation_epoch, exit_epoch,
            withdrawable_epoch, block_root, execution_optimistic, finalized)
        SELECT n.validator_index, n.slot, n.status, n.slashed, n.withdrawal_credentials, n.activation_eligibility_epoch,
            n.activation_epoch, n.exit_epoch, n.withdrawable_epoch, n.block_root, n.execution_optimistic, n.finalized
        FROM new_rows AS n
        JOIN old_rows AS o ON o.validator_index = n.validator_index
        WHERE n.slot IS NOT NULL AND n.pubkey IS NOT NULL
            AND (n.status, n.slashed, n.withdrawal_credentials, n.activation_eligibility_epoch, n.activation_epoch, n.exit_epoch,
                n.withdrawable_epoch)
            IS DISTINCT FROM
                (o.status, o.slashed, o.withdrawal_credentials, o.activation_eligibility_epoch, o.activation_epoch, o.exit_epoch,
                o.withdrawable_epoch)
        ORDER BY n.validator_index
        ON CONFLICT (validator_index, slot) DO UPDATE SET
            status = excluded.status,
            slashed = excluded.slashed,
            withdrawal_credentials = excluded.withdrawal_credentials,
            activation_eligibility_epoch = excluded.activation_eligibility_epoch,
            activation_epoch = excluded.activation_epoch,
            exit_epoch = excluded.exit_epoch,
            withdrawable_epoch = excluded.withdrawable_epoch,
            block_root = excluded.block_root,
            execution_optimistic = excluded.execution_optimistic,
            finalized = excluded.finalized;
    END IF;
    RETURN NULL;
END
$$;
