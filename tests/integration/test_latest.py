"""The last row of every entity is at hand, whoever wrote, corrected, moved or deleted rows, and in whatever order."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.ingest import Ingest
from chainstrata.packs.repository import Repository
from chainstrata.query import Reader, Wanted
from chainstrata.rollups import Rollups
from tests.fixtures.api import make_platform, open_client
from tests.fixtures.meters import START, create_meters, meter_catalog
from tests.fixtures.postgres import NewDatabase
from tests.fixtures.rows import find_indexes

CATALOG = meter_catalog()
BOTH = pytest.mark.parametrize(("dataset", "table"), [("meters.readings", "reading"), ("meters.changes", "change")])


@pytest.fixture
async def meters(new_database: NewDatabase) -> AsyncIterator[Database]:
    conninfo = await new_database()
    await create_meters(conninfo, CATALOG)
    async with Database(conninfo, options=PoolOptions(min_size=1, max_size=6)) as database:
        yield database


@pytest.fixture
def ingest(meters: Database) -> Ingest:
    return Ingest(meters, CATALOG, Rollups(meters, CATALOG))


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def reading(meter: int, minute: float, value: int | None = None, **more: Any) -> dict[str, Any]:
    return {"meter": meter, "ts": at(minute), "reading": int(minute * 7) if value is None else value, **more}


async def is_true(database: Database, table: str) -> list[Any]:
    """Hold what is at hand, by either way of reading it, against the series; return it."""
    expected = await database.fetch_all(f"SELECT DISTINCT ON (meter) * FROM meters.{table} ORDER BY meter, ts DESC")
    found = await database.fetch_all(f"SELECT * FROM meters.{table}__latest ORDER BY meter")
    assert [tuple(row)[:-1] for row in found] == [tuple(row) for row in expected]
    assert all(row.seen_at >= row.ts for row in found)
    some = [row.meter for row in found][::3]
    by_key = await database.fetch_all(f"SELECT * FROM meters.{table}__latest_of(%(some)s)", {"some": some})
    assert by_key == found[::3]
    return found


@BOTH
async def test_ingest_keeps_the_last_rows_at_hand(meters: Database, ingest: Ingest, dataset: str, table: str) -> None:
    await ingest.ingest(dataset, [reading(meter, 1) for meter in (-1, 0, 5, 1023, 1024, 2**40)])
    assert len(await is_true(meters, table)) == 6
    await ingest.ingest(dataset, [reading(5, 3), reading(5, 2), reading(7, 1.5)])
    found = await is_true(meters, table)
    assert [row.ts for row in found if row.meter == 5] == [at(3)]
    await ingest.ingest(dataset, [reading(5, 0.5), reading(1024, 0.5)])
    assert await is_true(meters, table) == found


async def test_the_api_tells_when_each_was_last_seen_changed_or_not(meters: Database, ingest: Ingest, tmp_path: Path) -> None:
    for minute, values in ((1, (5, 5, 5)), (2, (5, 5, 6)), (3, (5, 7, None))):
        rows = [reading(meter, minute, value) for meter, value in enumerate(values, 1) if value is not None]
        await ingest.ingest("meters.changes", rows)

    async def latest(dataset: str = "meters.changes", **params: Any) -> list[Any]:
        answer = (await client.get(f"/api/v1/datasets/{dataset}/latest", params=params)).json()
        return [(row["meter"], datetime.fromisoformat(row["ts"]), datetime.fromisoformat(row["seen_at"])) for row in answer["data"]]

    async with open_client(make_platform(meters, meters.conninfo, CATALOG, tmp_path)) as client:
        now = [(1, at(1), at(3)), (2, at(3), at(3)), (3, at(2), at(2))]
        assert await latest() == now
        assert await latest(columns="reading", limit=2) == now[:2]
        assert await latest(filter=["meter:3", "meter:2"]) == now[1:]
        then = [(1, at(1), at(2)), (2, at(1), at(2)), (3, at(2), at(2))]
        assert await latest(as_of=at(2.5).isoformat()) == then
        assert await latest(as_of=at(2.5).isoformat(), filter="meter:2") == then[1:2]
        # Rows that are not the last ones stand for what was seen before the next.
        assert await latest(filter=f"ts:{at(1).isoformat()}") == [(1, at(1), at(3)), (2, at(1), at(2)), (3, at(1), at(1))]
        stored_whole = (await client.get("/api/v1/datasets/meters.readings/latest")).json()
        assert all("seen_at" not in row for row in stored_whole["data"])


@BOTH
async def test_statements_of_others_keep_it_too(meters: Database, ingest: Ingest, dataset: str, table: str) -> None:
    await ingest.ingest(dataset, [reading(meter, minute) for meter in range(5) for minute in range(3)])
    values = {"at": at(9)}
    await meters.execute(f"INSERT INTO meters.{table} SELECT meter, %(at)s, 1 FROM generate_series(3, 2000, 100) AS meter", values)
    assert len(await is_true(meters, table)) == 24
    await meters.execute(f"UPDATE meters.{table} SET reading = 99 WHERE meter = 3")
    assert (await is_true(meters, table))[3].reading == 99
    await meters.execute(f"UPDATE meters.{table} SET ts = ts + interval '2 days' WHERE meter IN (1, 3)")
    await meters.execute(f"UPDATE meters.{table} SET meter = meter + 3000 WHERE meter = 2")
    await is_true(meters, table)
    await meters.execute(f"DELETE FROM meters.{table} WHERE ts > %(at)s", values)
    await is_true(meters, table)
    await meters.execute(f"DELETE FROM meters.{table} WHERE ts = %(at)s", values)
    assert [row.meter for row in await is_true(meters, table)] == [0, 4, 3002]
    await meters.execute(f"TRUNCATE meters.{table}")
    assert await is_true(meters, table) == []


@BOTH
async def test_an_entity_goes_with_its_last_row(meters: Database, ingest: Ingest, dataset: str, table: str) -> None:
    day = 24 * 60
    await ingest.ingest(dataset, [reading(1, 5), reading(2, 5), reading(2, day + 5)])
    await meters.execute(f"DROP TABLE meters.{table}_0")
    assert [row.meter for row in await is_true(meters, table)] == [2]
    await ingest.ingest(dataset, [reading(1, day + 1), reading(2, day + 1)])
    assert [row.ts for row in await is_true(meters, table)] == [at(day + 1), at(day + 5)]


@BOTH
async def test_writers_at_once(meters: Database, dataset: str, table: str) -> None:
    """Batches of the same meters, late ones among them, by several writers and by SQL."""
    dice = random.Random(3)
    writers = [Ingest(meters, CATALOG), Ingest(meters, CATALOG)]

    async def write(writer: Ingest, own: int) -> None:
        for number in range(8):
            minutes = [dice.randrange(2000) + own / 10 + number / 100 for _ in range(40)]
            await writer.ingest(dataset, [reading(dice.randrange(3000), minute) for minute in minutes])

    async def correct() -> None:
        for _ in range(8):
            await meters.execute(
                f"DELETE FROM meters.{table} WHERE (meter, ts) IN (SELECT meter, max(ts) FROM meters.{table} GROUP BY meter LIMIT 5)"
            )
            await meters.execute(
                f"INSERT INTO meters.{table} SELECT generate_series(0, 3000, 250), clock_timestamp() - clock_timestamp() + %(at)s, 1"
                " ON CONFLICT DO NOTHING",
                {"at": at(dice.randrange(2000))},
            )

    await asyncio.gather(write(writers[0], 1), write(writers[1], 2), correct())
    assert len(await is_true(meters, table)) > 100


@pytest.mark.conforms("S0-45")
async def test_one_entity_is_found_by_key_alone(meters: Database, ingest: Ingest) -> None:
    await ingest.ingest("meters.readings", [reading(meter << 10, minute) for minute in range(10) for meter in range(3000)])
    await meters.execute("ANALYZE meters.reading, meters.reading__state")
    body = await meters.fetch_value("SELECT prosrc FROM pg_proc WHERE oid = 'meters.reading__latest_of(bigint[])'::regprocedure")
    async with meters.connection() as connection:
        used = await find_indexes(connection, body.replace("p_entities", "ARRAY[17408, 1024000]::bigint[]"))
    assert used == {"reading__state_pkey", "reading_pkey"}


@BOTH
async def test_readers_are_told_by_it(meters: Database, ingest: Ingest, dataset: str, table: str) -> None:
    await ingest.ingest(dataset, [reading(meter, minute) for meter in (-1, 0, 5, 1023, 1024, 2**40) for minute in (1, 2, 3)])
    declared = CATALOG.dataset(dataset)
    repository = Repository(CATALOG.pack("meters"), meters).table(declared.name)
    reader = Reader(meters, CATALOG)
    expected = [-1, 0, 5, 1023, 1024, 2**40]

    async def read(**wanted: Any) -> list[tuple[Any, ...]]:
        rows, cursor = [], ""
        while cursor is not None:
            page = await reader.latest(dataset, Wanted(limit=2, cursor=cursor, **wanted))
            rows += [json.loads(row) for row in page.rows]
            cursor = page.next
        return [(int(row["meter"]), datetime.fromisoformat(row["ts"]), int(row["reading"])) for row in rows]

    assert await read() == [(meter, at(3), 21) for meter in expected]
    assert await read(filters={"meter": ["1024", "5", "5", "77"]}) == [(5, at(3), 21), (1024, at(3), 21)]
    assert await read(as_of=at(2)) == [(meter, at(2), 14) for meter in expected]
    assert [(row.meter, row.ts) for row in await repository.latest()] == [(meter, at(3)) for meter in expected]
    assert [(row.meter, row.ts) for row in await repository.latest(1024, 5, 5, 77)] == [(5, at(3)), (1024, at(3))]
    assert [(row.meter, row.ts) for row in await repository.latest(5, at=at(2))] == [(5, at(2))]
    # What is not there any more makes a page no shorter while others follow.
    await meters.execute(f"CREATE TABLE meters.gone AS SELECT * FROM meters.{table}__state")
    await meters.execute(f"DELETE FROM meters.{table} WHERE meter IN (0, 1023)")
    back = "at = g.at, seen_at = g.seen_at, seen = g.seen FROM meters.gone AS g WHERE g.block = t.block"
    await meters.execute(f"UPDATE meters.{table}__state AS t SET {back}")
    assert [row[0] for row in await read()] == [-1, 5, 1024, 2**40]
    # It is what they read by.
    await meters.execute(f"DELETE FROM meters.{table}__state")
    assert (await read(), await repository.latest(5)) == ([], [])
