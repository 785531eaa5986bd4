"""Fixtures of the engines these tests run on."""

from tests.fixtures.postgres import begun, conninfo, database, home, make_config, new_database, pristine, server, statements, template

__all__ = ["begun", "conninfo", "database", "home", "make_config", "new_database", "pristine", "server", "statements", "template"]
