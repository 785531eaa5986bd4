"""Fixtures of the engines these tests run on."""

from tests.fixtures.postgres import conninfo, database, home, make_config, new_database, server, statements, template

__all__ = ["conninfo", "database", "home", "make_config", "new_database", "server", "statements", "template"]
