"""Longer looks in the background: what they find stands in the status, and a look that fails is a finding."""

import asyncio
from datetime import timedelta

import pytest

from chainstrata import partitions
from chainstrata.config import load_config
from chainstrata.engines.postgres import Database, Target
from chainstrata.errors import UsageError
from chainstrata.monitor import Finding, Severity
from chainstrata.node import Platform
from chainstrata.node.watch import Inspection, Watch, inspect_partitions
from tests.fixtures.demo import create_demo, demo_catalog


@pytest.fixture
async def platform(database: Database, conninfo: str) -> Platform:
    """Give a platform whose tables exist, without partitions."""
    catalog = demo_catalog()
    await create_demo(database, catalog)
    return Platform(load_config(environment={}), catalog, database, Target(conninfo, "url"))


async def test_missing_partitions_are_found_until_they_are_made(platform: Platform) -> None:
    found = await inspect_partitions(platform)
    assert {(finding.severity, finding.code, finding.object) for finding in found} >= {
        (Severity.ERROR, "partitions_few_ahead", "demo.prices")
    }
    await partitions.apply(platform.database, platform.catalog)
    assert await inspect_partitions(platform) == []


async def test_the_watch_keeps_findings_fresh_for_the_status(platform: Platform) -> None:
    stop = asyncio.Event()
    looks = 0

    async def look(_: Platform) -> list[Finding]:
        nonlocal looks
        looks += 1
        if looks == 3:
            stop.set()
        return [Finding(Severity.WARNING, "looked", "demo", f"look {looks}")]

    inspections = [Inspection("demo", timedelta(0), look), Inspection("partitions", timedelta(minutes=1), inspect_partitions)]
    async with asyncio.timeout(20):
        await Watch(platform, inspections).run(stop)
    assert "look 3" in [finding.message for finding in platform.findings]
    status = await platform.status()
    assert not status.healthy
    # Errors come first.
    assert [finding.severity for finding in status.findings] == sorted(finding.severity for finding in status.findings)


async def test_a_look_that_fails_is_a_finding(platform: Platform) -> None:
    async def fail(_: Platform) -> list[Finding]:
        raise UsageError("no way", hint="Try later.")

    stop = asyncio.Event()
    watch = Watch(platform, [Inspection("demo", timedelta(hours=1), fail)])
    running = asyncio.create_task(watch.run(stop))
    async with asyncio.timeout(20):
        while not platform.findings:
            await platform.database.fetch_value("SELECT 1")
    stop.set()
    await running
    assert platform.findings == (Finding(Severity.WARNING, "demo_unknown", "demo", "cannot be looked at: no way", "Try later."),)
