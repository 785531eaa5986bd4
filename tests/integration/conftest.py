"""Fixtures of the engines these tests run on."""

from tests.fixtures.packs import catalog, pack_template, packs, rows, shared_packs
from tests.fixtures.postgres import begun, conninfo, database, home, make_config, new_database, pristine, server, statements, template
from tests.fixtures.samples import sampled, samples

__all__ = [
    "begun",
    "catalog",
    "conninfo",
    "database",
    "home",
    "make_config",
    "new_database",
    "pack_template",
    "packs",
    "pristine",
    "rows",
    "sampled",
    "samples",
    "server",
    "shared_packs",
    "statements",
    "template",
]
