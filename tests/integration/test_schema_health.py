"""The health of a migrated schema: version, drift, invalid indexes, migrations edited, missing or stopped half way."""

import pytest

from chainstrata.config import load_config
from chainstrata.engines.postgres import Database, Target
from chainstrata.model import Catalog
from chainstrata.monitor import SchemaVersion, Severity
from chainstrata.node import Platform
from chainstrata.node.watch import Watch, inspect_drift, inspect_schema
from chainstrata.packs import load_catalog


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(["relay"])


@pytest.fixture
async def platform(database: Database, conninfo: str, catalog: Catalog) -> Platform:
    """Give a platform whose schema is migrated."""
    one = Platform(load_config(environment={}), catalog, database, Target(conninfo, "url"))
    await one.migrate_up()
    await one.make_partitions()
    return one


@pytest.mark.conforms("S1-36")
async def test_a_migrated_schema_is_healthy_and_tells_its_versions(platform: Platform) -> None:
    await Watch(platform).look()
    status = await platform.status()
    assert status.findings == ()
    versions = {pack.name: pack.schema for pack in status.packs}
    assert versions.keys() == {"strata", "relay"}
    for name, version in versions.items():
        assert version == SchemaVersion(name, version.newest if version else "", version.newest if version else "", 0)
        assert version is not None
        assert version.newest.startswith(f"{name}_0")


@pytest.mark.conforms("S1-36")
@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE strata.migration SET checksum = repeat('0', 64) WHERE pack = 'relay'", "migration_edited"),
        ("UPDATE strata.migration SET status = 'failed', error = 'disk full' WHERE pack = 'relay'", "migration_failed"),
        ("UPDATE strata.migration SET status = 'running' WHERE pack = 'relay'", "migration_stopped"),
        ("UPDATE strata.migration SET revision = 'relay_9999' WHERE pack = 'relay'", "migration_missing"),
    ],
)
async def test_a_history_that_is_not_right_is_found(platform: Platform, statement: str, code: str) -> None:
    await platform.database.execute(statement)  # type: ignore[arg-type]  # a literal of this file
    found = await inspect_schema(platform)
    assert (Severity.ERROR, code) in {(finding.severity, finding.code) for finding in found}
    assert all(finding.hint for finding in found)
    await Watch(platform).look()
    assert not (await platform.status()).healthy


@pytest.mark.conforms("S1-36")
async def test_drift_and_broken_indexes_are_found(platform: Platform) -> None:
    assert await inspect_drift(platform) == []
    await platform.database.execute("ALTER TABLE relay.chains ADD COLUMN stray int")
    await platform.database.execute("CREATE INDEX idx_broken ON ONLY relay.packet_events (block_height)")
    assert any("relay.chains" in finding.object for finding in await inspect_drift(platform))
    assert "relay.idx_broken" in {finding.object for finding in (await platform.status()).findings}
