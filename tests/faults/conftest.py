"""Fixtures of the engines these tests run on."""

from tests.fixtures.disks import make_disk
from tests.fixtures.postgres import begun, conninfo, database, home, make_config, new_database, pristine, server, statements, template

__all__ = [
    "begun",
    "conninfo",
    "database",
    "home",
    "make_config",
    "make_disk",
    "new_database",
    "pristine",
    "server",
    "statements",
    "template",
]
