"""Fixtures of the engines these tests run on."""

from tests.fixtures.changing import begun_pack, lab, package
from tests.fixtures.clickhouse import columnar, columnar_options, columnar_server
from tests.fixtures.kinds import kinds
from tests.fixtures.packs import catalog, hour_of_template, pack_template, packs, rows, shared_packs
from tests.fixtures.postgres import begun, conninfo, database, home, make_config, new_database, pristine, server, statements, template
from tests.fixtures.samples import sampled, samples
from tests.fixtures.timescale import backend, has_timescale

__all__ = [
    "backend",
    "begun",
    "begun_pack",
    "catalog",
    "columnar",
    "columnar_options",
    "columnar_server",
    "conninfo",
    "database",
    "has_timescale",
    "home",
    "hour_of_template",
    "kinds",
    "lab",
    "make_config",
    "new_database",
    "pack_template",
    "package",
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
