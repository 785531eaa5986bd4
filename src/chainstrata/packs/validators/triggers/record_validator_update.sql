-- record_validator_update
-- A further record of validators whose status, slashing, credentials or epochs changed.
-- requires: record_validator
CREATE TRIGGER record_validator_update
AFTER UPDATE ON validators.validators
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION validators.record_validator();
