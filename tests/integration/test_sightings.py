"""What was seen without a row is forgotten with the rows it tells about, and not before."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.partitioning import Span
from chainstrata.engines.storage import LocalStorage
from chainstrata.ingest import Ingest
from chainstrata.model import days
from chainstrata.node.retention import RollupNeeds
from chainstrata.retention import Options, Retention
from chainstrata.retention.archives import Archives
from chainstrata.rollups import Rollups
from tests.fixtures.meters import PART, PARTS, START, create_meters, meter_catalog

# A week of roll-ups needs its rows; two of the four days leave all the same, because what they gave is carried.
CATALOG = meter_catalog(keep=days(1))
STEP = timedelta(minutes=50)
STEPS = int(PARTS * 24 * 60 / 50)
METERS = 20
NAME = "meters.changes"


async def as_of(database: Database, at: datetime) -> list[tuple[Any, ...]]:
    query = "SELECT meter, ts, reading, seen_at FROM meters.change__as_of(%(at)s, %(all)s)"
    return [tuple(row) for row in await database.fetch_all(query, {"at": at, "all": list(range(METERS))})]


async def fill(database: Database, rollups: Rollups) -> None:
    """Read all meters again and again: most stay as they are, some are not seen for a while, some rows are taken back."""
    ingest = Ingest(database, CATALOG, rollups)
    for step in range(STEPS):
        at = START + STEP * step
        await ingest.ingest(
            NAME,
            [{"meter": meter, "ts": at, "reading": step // (7 + meter)} for meter in range(METERS) if (step // 10 + meter) % 5],
        )
        if step % 30 == 29:
            await database.execute(
                "DELETE FROM meters.change WHERE meter = %(meter)s AND ts > %(at)s", {"meter": step % 7, "at": at - 12 * STEP}
            )


async def count(database: Database, condition: str = "true") -> int:
    return int(await database.fetch_value(f"SELECT count(*) FROM meters.change__seen WHERE {condition}"))


@pytest.mark.conforms("S0-44")
async def test_sightings_leave_with_the_rows_they_tell_about(database: Database, conninfo: str, tmp_path: Path) -> None:
    await create_meters(conninfo, CATALOG)
    rollups = Rollups(database, CATALOG)
    await fill(database, rollups)
    storage = LocalStorage(tmp_path / "archive")
    needs = [RollupNeeds(rollups)]
    retention = Retention(database, CATALOG, storage, dependants=needs, options=Options(release_wait=20))
    moments = [START + STEP * step / 2 for step in range(STEPS * 2)]
    before = {at: await as_of(database, at) for at in moments}
    records = await count(database)
    taken_back = await count(database, "until IS NOT NULL")
    assert taken_back

    # Nothing is old enough: nothing goes.
    await retention.run([NAME], now=START + timedelta(days=1))
    assert await count(database) == records

    await rollups.refresh()
    outcome = await retention.run([NAME], now=PART.shift(START, 3))
    assert len(outcome.departed) == 2
    cut = PART.shift(START, 2)
    assert await database.fetch_value("SELECT min(ts) FROM meters.change") >= cut
    assert await count(database, f"ts < '{cut.isoformat()}' AND until IS NULL") == 0
    assert 0 < await count(database) < records * 2 / 3
    assert await count(database, "until IS NOT NULL") < taken_back
    for at, rows in before.items():
        assert await as_of(database, at) == [row for row in rows if row[1] >= cut], at

    # What was put back has room for its sightings again, and nothing more is forgotten for its sake.
    left = await count(database)
    await Archives(database, CATALOG, storage).restore(NAME, Span(PART.shift(START), cut))
    await retention.run([NAME], now=PART.shift(START, 3))
    assert await count(database) == left
    for at in moments:
        told = [(meter, ts, reading) for meter, ts, reading, _ in await as_of(database, at)]
        assert told == [row[:3] for row in before[at] if row[1] >= PART.shift(START)]
