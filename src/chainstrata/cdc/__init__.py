"""Change capture: what is committed in PostgreSQL, read from its log and carried to sinks in order, effectively once."""
