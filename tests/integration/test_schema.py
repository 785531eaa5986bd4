"""The schema that migrating builds, the one that is declared, and the way back to nothing."""

import asyncio
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from chainstrata.engines.postgres.locate import locate_binaries
from chainstrata.migrate import Site, create_declared, down, lint, make, snapshot, status, up, verify
from chainstrata.migrate.compare import compare
from chainstrata.migrate.schema import Key, Kind, Snapshot
from chainstrata.migrate.scripts import pack_folder
from chainstrata.model import Catalog
from chainstrata.packs import load_catalog
from tests.fixtures.postgres import MakeConfig, NewDatabase
from tools.tree import list_files

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


@pytest.mark.conforms("S0-31", "S1-25", "S2-75", "S4-76")
@pytest.mark.oldest
async def test_built_by_migrating_equals_built_from_declarations(site: Site, new_database: NewDatabase) -> None:
    await up(site)
    assert differences(await take(site.conninfo), await declared(new_database)) == []


@pytest.mark.conforms("S4-77")
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


@pytest.mark.conforms("S0-32", "S0-33", "S0-34", "S4-69", "S4-71", "S4-72", "S4-73", "S4-74")
@pytest.mark.parametrize("pack", [pack.name for pack in CATALOG.packs if pack.name != "strata"])
async def test_a_pack_alone_is_made_by_its_own_revisions(site: Site, pack: str) -> None:
    """Tables, indexes and constraints of one pack, from the Alembic revisions in its directory."""
    done = await up(site, pack)
    assert {one.pack for one in done.finished} == {"strata", pack}
    folders = [str(pack_folder(CATALOG.pack(name))) for name in ("strata", pack)]
    scripts = ScriptDirectory(folders[0], version_locations=folders).walk_revisions()
    assert {one.revision for one in done.finished} == {script.revision for script in scripts}
    made = set(await take(site.conninfo))
    for table in CATALOG.pack(pack).metadata.tables.values():
        assert Key(Kind.TABLE, table.fullname) in made
        assert {Key(Kind.INDEX, f"{table.schema}.{index.name}") for index in table.indexes} <= made
        # Without a primary key SQLAlchemy has an empty one.
        named = {
            str(constraint.name)
            for constraint in table.constraints
            if not isinstance(constraint, sa.PrimaryKeyConstraint) or constraint.columns
        }
        assert {Key(Kind.CONSTRAINT, f"{table.fullname}.{name}") for name in named} <= made


@pytest.mark.conforms("S1-24")
async def test_the_whole_schema_as_one_script(site: Site, new_database: NewDatabase) -> None:
    script = (await up(site, from_base=True)).sql
    assert script == (await up(site, dry_run=True)).sql
    program, pipe = locate_binaries().tool("psql"), asyncio.subprocess.PIPE
    psql = await asyncio.create_subprocess_exec(program, "-X", "-q", "-d", site.conninfo, "-f", "-", stdin=pipe, stdout=pipe, stderr=pipe)
    _, errors = await psql.communicate(script.encode())
    assert (psql.returncode, errors.decode()) == (0, "")
    assert differences(await take(site.conninfo), await declared(new_database)) == []
    assert (await up(site)).finished == []


@pytest.mark.conforms("S4-75")
def test_alembic_needs_no_set_up() -> None:
    assert [path for path in list_files() if path.name in ("alembic.ini", "env.py", "script.py.mako")] == []


async def test_lint_has_nothing_to_object_to(site: Site) -> None:
    assert list(map(str, await lint(site, every=True))) == []


async def test_a_pack_that_is_no_longer_in_use_is_let_be(site: Site) -> None:
    await up(site)
    fewer = replace(site, catalog=Catalog([CATALOG.pack("strata"), CATALOG.pack("prices")]))
    assert (await up(fewer)).finished == []
    assert (await verify(fewer)).ok
    assert [one.pack for one in (await status(fewer)).packs] == ["strata", "prices"]
