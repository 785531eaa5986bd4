"""Fixtures of the tests that use the product as its users do."""

from tests.fixtures.checkout import copy
from tests.fixtures.installed import installed
from tests.fixtures.postgres import begun, conninfo, home, new_database, pristine, server, template

__all__ = ["begun", "conninfo", "copy", "home", "installed", "new_database", "pristine", "server", "template"]
