"""The database and the packs that settings mean."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chainstrata.config import PACKS, Config
from chainstrata.engines.postgres import open_target
from chainstrata.migrate.model import Site
from chainstrata.packs import load_catalog


@asynccontextmanager
async def open_site(config: Config) -> AsyncIterator[Site]:
    """What these settings say to work on: the database of `postgres.url`, the running node's, or an embedded one started for this."""
    catalog = load_catalog([*config[PACKS]])
    async with open_target(config) as target:
        yield Site(target.conninfo, catalog, config)


def offline_site(config: Config) -> Site:
    """Return the same without a database, for what only looks at files."""
    return Site("", load_catalog([*config[PACKS]]), config)
