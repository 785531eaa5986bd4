-- list_scratch
-- Scratch databases of this server.
SELECT datname AS name FROM pg_database WHERE starts_with(datname, %(prefix)s);
