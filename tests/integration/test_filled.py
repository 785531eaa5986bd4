"""Series without holes, against a plain-Python account of what held when: late, corrected and deleted rows included."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from chainstrata.engines.postgres import Database
from chainstrata.ingest import Ingest
from chainstrata.model import Interval, days, hours, minutes, months
from chainstrata.node import Platform
from chainstrata.packs.repository import Filled
from tests.fixtures.api import aclosing_platform, make_platform, open_client
from tests.fixtures.meters import HEARTBEAT, PART, PARTS, START, create_meters, meter_catalog

END = PART.shift(START, PARTS)
SPAN = int((END - START).total_seconds())
METERS = (3, 7, 8)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
async def platform(database: Database, conninfo: str, tmp_path: Path) -> AsyncIterator[Platform]:
    catalog = meter_catalog()
    await create_meters(conninfo, catalog)
    async with aclosing_platform(make_platform(database, conninfo, catalog, tmp_path)) as made:
        yield made


@dataclass(frozen=True)
class Row:
    meter: int
    ts: datetime
    reading: int
    price: Decimal | None


@dataclass(frozen=True)
class Held:
    """What is expected of a bucket."""

    meter: int
    bucket: datetime
    filled: bool
    row: Row
    reading_mean: Fraction | None
    price_mean: Fraction | None


def expect(
    rows: list[Row], every: Interval, since: datetime, until: datetime, as_of: datetime | None, holds: timedelta | None
) -> list[Held]:
    """Return every bucket, second by second as it were: each row holds until the next, `holds` at most."""
    known = [row for row in rows if as_of is None or row.ts <= as_of]
    start, edge = every.floor(since), every.floor(until)
    end = min(edge if edge == until else every.shift(edge), datetime.now(UTC), *([as_of + MICROSECOND] if as_of else []))
    found = []
    for meter in METERS:
        own = sorted((row for row in known if row.meter == meter and row.ts < end), key=lambda row: row.ts)
        ends = [after.ts for after in own[1:]] + [end] * bool(own)
        spans = [(row, row.ts, min(last, row.ts + holds) if holds else last) for row, last in zip(own, ends, strict=True)]
        bucket = start
        while bucket < end:
            stop = min(every.shift(bucket), end)
            parts = [(row, min(hi, stop) - max(lo, bucket)) for row, lo, hi in spans if lo < stop and hi > bucket]
            if parts:
                means = [mean([(getattr(row, name), width) for row, width in parts]) for name in ("reading", "price")]
                found.append(Held(meter, bucket, parts[-1][0].ts < bucket, parts[-1][0], *means))
            bucket = every.shift(bucket)
    return found


def mean(parts: list[tuple[Any, timedelta]]) -> Fraction | None:
    known = [(Fraction(value), width // MICROSECOND) for value, width in parts if value is not None]
    weight = sum(width for _, width in known)
    return sum((value * width for value, width in known), Fraction(0)) / weight if weight else None


def close(found: Any, expected: Fraction | None) -> bool:
    """Whether a figure is right to the last digit that PostgreSQL divides to."""
    return found is None if expected is None else abs(Fraction(str(found)) - expected) < Fraction(1, 10**12)


async def stored(platform: Platform, table: str) -> list[Row]:
    query = sql.SQL("SELECT meter, ts, reading, price FROM {}").format(sql.Identifier("meters", table))
    return [Row(*row) for row in await platform.database.fetch_all(query)]


async def fill(platform: Platform, dice: random.Random, dataset: str, count: int) -> None:
    """Ingest rows in any order: mostly near each other, with silences longer than a heartbeat, values that stay, prices unknown."""
    edges = [dice.randrange(SPAN) for _ in range(6)]
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for _ in range(count):
        second = min(SPAN - 1, max(0, int(dice.gauss(dice.choice(edges), 4000))))
        meter = dice.choice(METERS[:2])
        price = dice.choice([None, Decimal("1.5"), Decimal(dice.randrange(1, 10**6)) / 10**5])
        at = START + timedelta(seconds=second, microseconds=dice.randrange(10**6))
        rows[meter, second] = {"meter": meter, "ts": at, "reading": dice.randrange(1, 4), "price": price}
    listed = list(rows.values())
    dice.shuffle(listed)
    ingest = Ingest(platform.database, platform.catalog, platform.rollups)
    for start in range(0, len(listed), 17):
        await ingest.ingest(dataset, listed[start : start + 17])


QUESTIONS: list[tuple[Interval, datetime, datetime, datetime | None]] = [
    (hours(1), START, END, None),
    (minutes(7), START + timedelta(hours=31, minutes=3), START + timedelta(hours=40), None),
    (hours(6), START + timedelta(days=1, hours=5), END + timedelta(days=30), None),
    (days(1), START - timedelta(days=2), END, START + timedelta(days=2, hours=13, minutes=17)),
    (months(1), START - timedelta(days=40), END + timedelta(days=70), None),
    (hours(1), END, START, None),
]


@pytest.mark.conforms("S0-47")
@pytest.mark.parametrize(("table", "holds"), [("reading", None), ("change", timedelta(seconds=HEARTBEAT.seconds))])
async def test_a_filled_series_is_what_held_and_for_how_long(platform: Platform, table: str, holds: timedelta | None) -> None:
    dice = random.Random(table)
    dataset = f"meters.{table}s"
    await fill(platform, dice, dataset, 300)
    series: Any = platform.repository("meters").table(f"{table}s")
    for change in ("", "UPDATE meters.{} SET reading = 9 WHERE reading = 2", "DELETE FROM meters.{} WHERE extract(minute FROM ts) > 40"):
        if change:
            await platform.database.execute(sql.SQL(change).format(sql.Identifier(table)))  # type: ignore[arg-type]
        rows = await stored(platform, table)
        assert rows
        for every, since, until, as_of in QUESTIONS:
            found: list[Filled[Any]] = await series.filled(
                every, *METERS, since=since, until=until, as_of=as_of, means=["reading", "price"]
            )
            expected = expect(rows, every, since, until, as_of, holds)
            assert [(one.row.meter, one.bucket, one.filled) for one in found] == [(one.meter, one.bucket, one.filled) for one in expected]
            for one, wanted in zip(found, expected, strict=True):
                assert (one.row.ts, one.row.reading, one.row.price) == (wanted.row.ts, wanted.row.reading, wanted.row.price)
                assert close(one.means["reading"], wanted.reading_mean), one
                assert close(one.means["price"], wanted.price_mean), one
            # Of all there are it is the same.
            assert await series.filled(every, since=since, until=until, as_of=as_of, means=["reading", "price"]) == found


async def test_over_http_it_is_the_same(platform: Platform) -> None:
    await fill(platform, random.Random(5), "meters.changes", 120)
    table: Any = platform.repository("meters").table("changes")
    until = START + timedelta(hours=50)
    found = await table.filled(hours(2), 3, 7, since=START, until=until, as_of=START + timedelta(hours=45), means=["price"])
    assert {one.filled for one in found} == {True, False}
    params = {"every": "2h", "filter": ["meter:3", "meter:7"], "from": START.isoformat(), "to": until.isoformat(), "means": "price"}
    params["as_of"] = (START + timedelta(hours=45)).isoformat()
    async with open_client(platform) as client:
        path = "/api/v1/datasets/meters.changes/filled"
        answer = await client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        told = answer.json()["data"]
        assert [
            (one["bucket"], one["filled"], one["meter"], datetime.fromisoformat(one["ts"]), one["price"], one["price_mean"]) for one in told
        ] == [
            (one.bucket.isoformat(), one.filled, one.row.meter, one.row.ts, text(one.row.price), text(one.means["price"])) for one in found
        ]
        for wrong, code in (
            ({"filter": ["reading:1"]}, "filter_unknown"),
            ({"every": "soon"}, "invalid_request"),
            ({"every": "0h"}, "invalid_request"),
            ({"every": "2mo"}, "usage"),
            ({"every": "1s"}, "too_many_buckets"),
            ({"means": "state"}, "unknown_name"),
        ):
            refused = await client.get(path, params={**params, **wrong})
            assert 400 <= refused.status_code < 500, refused.text
            assert refused.json()["error"]["code"] == code, wrong
        refused = await client.get("/api/v1/datasets/strata.quarantine/filled", params=params)
        assert refused.status_code in (404, 422)


def text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)
