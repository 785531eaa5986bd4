"""The schema that migrating builds, the one that is declared, and the way back to nothing."""

from pathlib import Path

import psycopg
import pytest

from chainstrata.migrate import Site, create_declared, down, make, snapshot, up
from chainstrata.migrate.compare import compare
from chainstrata.migrate.schema import Snapshot
from chainstrata.packs import load_catalog
from tests.fixtures.postgres import MakeConfig, NewDatabase

CATALOG = load_catalog()
SCHEMAS = [pack.name for pack in CATALOG.packs]


@pytest.fixture
def site(conninfo: str, make_config: MakeConfig, tmp_path: Path) -> Site:
    # Whatever a test would write belongs to the test.
    return Site(conninfo, CATALOG, make_config(migrate__directory=tmp_path))


async def take(conninfo: str) -> Snapshot:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        return await snapshot(connection, SCHEMAS)


async def declared(new_database: NewDatabase) -> Snapshot:
    conninfo = await new_database()
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await create_declared(connection, CATALOG)
    return await take(conninfo)


def differences(one: Snapshot, other: Snapshot) -> list[str]:
    return [
        f"{change}: {change.before and change.before.definition} / {change.after and change.after.definition}"
        for change in compare(one, other)
    ]


@pytest.mark.conforms("S0-31", "S0-32", "S0-33", "S0-34", "S1-25", "S2-75", "S4-76", "S4-72", "S4-73")
async def test_built_by_migrating_equals_built_from_declarations(site: Site, new_database: NewDatabase) -> None:
    await up(site)
    assert differences(await take(site.conninfo), await declared(new_database)) == []


@pytest.mark.conforms("S0-37", "S4-77")
async def test_down_to_base_and_up_again_equals_it_too(site: Site, new_database: NewDatabase) -> None:
    await up(site)
    await down(site, "base", yes=True)
    own = ("schema strata", "extension", "table strata.migration", "column strata.migration.", "constraint strata.migration.")
    assert [key for key in map(str, await take(site.conninfo)) if not key.startswith(own)] == []
    await up(site)
    assert differences(await take(site.conninfo), await declared(new_database)) == []


async def test_with_nothing_to_do_nothing_is_written(site: Site) -> None:
    await up(site)
    for pack in CATALOG.packs:
        made = await make(site, pack.name)
        assert (list(made.files), list(made.changes)) == ([], [])
