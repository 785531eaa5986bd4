"""Streams sent through the way all rows go: what is said of them is what the database holds."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from chainstrata import partitions
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ConfigError, UnknownName
from chainstrata.ingest import Ingest, TryLater
from chainstrata.model import Catalog
from chainstrata.node.demo import demo_services
from chainstrata.packs import load_catalog
from chainstrata.rollups import Rollups
from chainstrata.simulate import Options, Report, Simulation, packs_with_streams
from tests.fixtures.api import make_platform
from tests.fixtures.node import COMMAND, clean_environment
from tests.fixtures.packs import OPTIONS

START = datetime(2026, 3, 10, 12, 34, 56, tzinfo=UTC)
LATER = START + timedelta(days=1)
QUARANTINED = "SELECT count(*) FROM strata.quarantine WHERE dataset LIKE %(pack)s"


class Streams:
    """Streams wired as the platform wires them."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self.database = database
        self.catalog = catalog
        self.rollups = Rollups(database, catalog, self.ensure)
        self.ingest = Ingest(database, catalog, self.rollups).ingest
        self.run = Simulation(catalog, self.ingest, self.ensure).run

    async def ensure(self, name: str, lo: datetime, hi: datetime) -> None:
        await partitions.ensure_named(self.database, self.catalog, name, lo, hi)

    async def count(self, dataset: str) -> int:
        table = self.catalog.dataset(dataset).table
        counted = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(str(table.schema), table.name))
        return int(await self.database.fetch_value(counted))

    async def count_insights(self) -> int:
        """Return how many rows there are of all that the stream of insights tells."""
        return await self.count("insights.metrics") + await self.count("insights.feedback")


@pytest.fixture
async def streams(shared_packs: str, catalog: Catalog) -> AsyncIterator[Streams]:
    """Give the streams, all into one database: packs keep out of each other's way."""
    async with Database(shared_packs, options=OPTIONS) as database:
        yield Streams(database, catalog)


@pytest.mark.conforms("S1-188")
@pytest.mark.parametrize("pack", packs_with_streams(load_catalog()))
async def test_what_is_said_of_rows_is_what_the_database_holds(streams: Streams, pack: str) -> None:
    seen: list[int] = []
    options = Options(rate=1_000, speed=60, span=timedelta(seconds=2), start=START, late=0.05, duplicates=0.1, malformed=0.01)
    report = await streams.run(pack, options, progress=lambda report: seen.append(report.total.sent))
    total = report.total
    assert total.sent - report.begun == pytest.approx(2_000, rel=0.25)
    assert seen == sorted(seen)
    assert total.sent == total.accepted + total.updated + total.unchanged + total.merged + total.quarantined + total.spooled
    assert min(total.late, total.duplicates, total.malformed) > 0
    assert total.quarantined == total.malformed == await streams.database.fetch_value(QUARANTINED, {"pack": f"{pack}.%"})
    assert total.unchanged >= total.duplicates
    for name, counts in report.datasets.items():
        # Rows that others stand on are added by these, too.
        parents = name in {parent.dataset for each in streams.catalog.pack(pack).datasets for parent in each.parents}
        held = await streams.count(name)
        assert held >= counts.accepted if parents else held == counts.accepted, name
    assert await streams.rollups.verify([dataset.full_name for dataset in streams.catalog.pack(pack).datasets if dataset.rollups]) == []


async def test_the_same_again_changes_nothing(streams: Streams) -> None:
    options = Options(rate=200, speed=60, span=timedelta(seconds=1), start=LATER, seed=5)
    first = await streams.run("insights", options)
    again = await streams.run("insights", options)
    assert first.total.accepted == first.total.sent == again.total.sent == again.total.unchanged > 0


async def test_a_stream_goes_on_until_it_is_stopped(streams: Streams) -> None:
    stop = asyncio.Event()

    def look(report: Report) -> None:
        if report.total.sent > 300:
            stop.set()

    start = LATER + timedelta(days=1)
    before = await streams.count_insights()
    async with asyncio.timeout(60):
        report = await streams.run("insights", Options(rate=500, start=start), stop=stop, progress=look)
    assert report.total.sent == report.total.accepted == await streams.count_insights() - before


async def test_rows_that_are_turned_away_are_sent_again(streams: Streams) -> None:
    refused = 0

    async def send(dataset: str, rows: Any, *, batch: str = "", origin: str = "") -> Any:
        nonlocal refused
        refused += 1
        if refused % 3 == 2:
            raise TryLater("no room", after=0.01)
        return await streams.ingest(dataset, rows, batch=batch, origin=origin)

    before = await streams.count_insights()
    options = Options(rate=200, speed=60, span=timedelta(seconds=1), start=LATER + timedelta(days=2))
    report = await Simulation(streams.catalog, send, streams.ensure).run("insights", options)
    assert refused > 3
    assert report.total.sent == report.total.accepted == await streams.count_insights() - before


async def test_a_pack_without_a_stream_is_named(streams: Streams) -> None:
    with pytest.raises(UnknownName, match="unknown pack with a stream 'strata'"):
        await streams.run("strata")


async def test_a_node_in_production_does_not_make_rows_up(streams: Streams, shared_packs: str, catalog: Catalog, tmp_path: Path) -> None:
    platform = make_platform(streams.database, shared_packs, catalog, tmp_path, node__demo=True)
    assert [service.name for service in demo_services(platform)] == [f"demo {pack}" for pack in packs_with_streams(catalog)]
    assert list(demo_services(make_platform(streams.database, shared_packs, catalog, tmp_path))) == []
    production = make_platform(streams.database, shared_packs, catalog, tmp_path, node__demo=True, mode="production")
    with pytest.raises(ConfigError, match=r"node\.demo"):
        list(demo_services(production))


async def test_the_command_ends_with_its_account_when_it_is_interrupted(streams: Streams, shared_packs: str, home: Path) -> None:
    def start_command() -> "subprocess.Popen[str]":
        return subprocess.Popen([*COMMAND, *command], env=environment, cwd="/", stdout=subprocess.PIPE, text=True)

    before = await streams.count_insights()
    start = LATER + timedelta(days=3)
    command = ["simulate", "insights", "--rate", "100", "--speed", "20", "--start", start.isoformat(), "--json"]
    environment = clean_environment(CHAINSTRATA_POSTGRES_URL=shared_packs, CHAINSTRATA_HOME=str(home))
    process = start_command()
    try:
        async with asyncio.timeout(60):
            while await streams.count_insights() == before:
                assert not await happened(asyncio.Event(), 0.1)
        process.send_signal(signal.SIGINT)
        said, _ = await asyncio.to_thread(process.communicate, timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, said
    told = json.loads(said)
    assert told["total"]["sent"] == told["total"]["accepted"] == await streams.count_insights() - before
    assert told["start"] == start.isoformat().replace("+00:00", "Z")
