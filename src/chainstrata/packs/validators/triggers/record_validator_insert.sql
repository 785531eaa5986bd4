-- record_validator_insert
-- The first record of validators that are new.
-- requires: record_validator
CREATE TRIGGER record_validator_insert
AFTER INSERT ON validators.validators
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION validators.record_validator();
