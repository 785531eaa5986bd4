"""Means weighted by time, kept in roll-ups, against a plain-Python account of what held when.

Rows come in order, late and again, are corrected, deleted and moved by SQL, and leave with their partitions; roll-ups are read live, as
they are kept, in part and in pages.
"""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from chainstrata.engines.postgres import Database
from chainstrata.ingest import Ingest
from chainstrata.model import Interval
from chainstrata.node import Platform
from chainstrata.rollups import Rollups
from tests.fixtures.api import aclosing_platform, make_platform, open_client
from tests.fixtures.meters import HEARTBEAT, PART, PARTS, START, create_meters, meter_catalog

CATALOG = meter_catalog()
END = PART.shift(START, PARTS)
SPAN = int((END - START).total_seconds())
HOLDS = timedelta(seconds=HEARTBEAT.seconds)
MICROSECOND = timedelta(microseconds=1)
METERS = (1, 2, 3)
WEIGHED = ("reading", "price", "heat")
LEVELS = ("hourly", "daily", "weekly")


@dataclass(frozen=True)
class Row:
    meter: int
    ts: datetime
    reading: int
    price: Decimal | None
    heat: float | None


def expect(rows: list[Row], every: Interval) -> dict[tuple[int, datetime], dict[str, tuple[Fraction | None, Fraction]]]:
    """Return, for every bucket with rows, the mean of each column and the seconds it speaks of."""
    found = {}
    for meter in METERS:
        own = sorted((row for row in rows if row.meter == meter), key=lambda row: row.ts)
        ends = [after.ts for after in own[1:]] + [datetime.max.replace(tzinfo=START.tzinfo)] * bool(own)
        spans = [(row, row.ts, min(end, row.ts + HOLDS)) for row, end in zip(own, ends, strict=True)]
        for bucket in {every.floor(row.ts) for row in own}:
            stop = every.shift(bucket)
            parts = [(row, (min(hi, stop) - max(lo, bucket)) // MICROSECOND) for row, lo, hi in spans if lo < stop and hi > bucket]
            found[meter, bucket] = {name: _mean([(getattr(row, name), width) for row, width in parts]) for name in WEIGHED}
    return found


def _mean(parts: list[tuple[Any, int]]) -> tuple[Fraction | None, Fraction]:
    known = [(Fraction(value), width) for value, width in parts if value is not None]
    weight = sum(width for _, width in known)
    return (sum((value * width for value, width in known), Fraction(0)) / weight if weight else None), Fraction(weight, 10**6)


@dataclass
class Series:
    """One dataset under random changes. `departed` are rows that left and count still."""

    database: Database
    name: str
    table: str
    dice: random.Random
    gone: int = 0
    departed: list[Row] = field(default_factory=list)
    head: int = 0

    def __post_init__(self) -> None:
        self.rollups = Rollups(self.database, CATALOG)
        self.ingest = Ingest(self.database, CATALOG, self.rollups)

    @property
    def since(self) -> datetime:
        return PART.shift(START, self.gone)

    async def rows(self) -> list[Row]:
        query = sql.SQL("SELECT meter, ts, reading, price, heat FROM {}").format(sql.Identifier("meters", self.table))
        return [Row(*row) for row in await self.database.fetch_all(query)]

    def make(self, second: int, meter: int | None = None) -> dict[str, Any]:
        dice = self.dice
        at = START + timedelta(seconds=min(second, SPAN - 1), microseconds=dice.randrange(10**6))
        price = dice.choice([None, Decimal("1.5"), Decimal(dice.randrange(1, 10**6)) / 10**5])
        heat = dice.choice([None, 0.5, dice.random()])
        return {"meter": meter or dice.choice(METERS), "ts": at, "reading": dice.randrange(1, 4), "price": price, "heat": heat}

    async def forward(self) -> None:
        """What comes in order is added to the buckets; several rows of a meter in one batch too."""
        rows = []
        for _ in range(self.dice.randrange(1, 12)):
            self.head = min(SPAN - 1, self.head + self.dice.choice([7, 200, 900, 4000, 30_000]))
            rows.append(self.make(self.head))
        await self._take(rows)

    async def late(self) -> None:
        await self._take([self.make(self.dice.randrange(SPAN)) for _ in range(self.dice.randrange(1, 12))])

    async def _take(self, rows: list[dict[str, Any]]) -> None:
        answer = await self.ingest.ingest(self.name, rows)
        assert (answer.rows, answer.quarantined) == (len(rows), sum(row["ts"] < self.since for row in rows))
        assert answer.merged == 0

    async def change(self, text: str) -> None:
        """Change some rows by SQL; none of those that have left are touched."""
        statement = sql.SQL(text).format(table=sql.Identifier("meters", self.table))
        await self.database.execute(statement, {"part": self.dice.randrange(5), "reading": self.dice.randrange(1, 9)})

    async def insert(self) -> None:
        row = self.make(self.dice.randrange(SPAN))
        if row["ts"] >= self.since:
            statement = sql.SQL(
                "INSERT INTO {} (meter, ts, reading, price, heat) VALUES (%(meter)s, %(ts)s, %(reading)s, %(price)s, %(heat)s)"
            ).format(sql.Identifier("meters", self.table))
            await self.database.execute(statement, row)

    async def age(self) -> None:
        """The oldest partition leaves with its rows; a week then lacks its beginning, which is carried."""
        if self.gone == PARTS - 1:
            return
        await self.rollups.refresh()
        until = PART.shift(self.since)
        self.departed += [row for row in await self.rows() if row.ts < until]
        async with self.database.transaction() as connection:
            await self.rollups.let_go(connection, self.name, until)
            await connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("meters", f"{self.table}_{self.gone}")))
        self.gone += 1
        # What it knew of the series is as it was; another one learns it anew.
        self.ingest = Ingest(self.database, CATALOG, self.rollups)

    async def act(self) -> None:
        match self.dice.randrange(10):
            case 0 | 1 | 2:
                await self.forward()
            case 3 | 4:
                await self.late()
            case 5:
                await self.insert()
            case 6:
                await self.change("UPDATE {table} SET reading = %(reading)s WHERE extract(minute FROM ts)::int %% 5 = %(part)s")
            case 7:
                await self.change("DELETE FROM {table} WHERE extract(minute FROM ts)::int %% 13 = %(part)s")
            case 8:
                await self.rollups.refresh()
            case _:
                await self.check(live=True)

    async def check(self, *, live: bool) -> None:
        rows = [*await self.rows(), *self.departed]
        for level in LEVELS:
            every = CATALOG.dataset(self.name).rollup(level).every
            expected = expect(rows, every)
            start, end = START - timedelta(days=8), END + timedelta(days=8)
            found = await self.rollups.read(f"{self.name}.{level}", start, end, live=live)
            assert [(row.meter, row.bucket) for row in found] == sorted(expected)
            for row in found:
                assert_means(row, expected[row.meter, row.bucket])
            if found:
                await self._check_parts(f"{self.name}.{level}", found, live=live)

    async def _check_parts(self, name: str, whole: list[Any], *, live: bool) -> None:
        """What is read in part is the same: from a bucket on, of one meter, in pages."""
        some = self.dice.choice(whole)
        end = END + timedelta(days=8)
        assert await self.rollups.read(name, some.bucket, end, live=live) == [row for row in whole if row.bucket >= some.bucket]
        only = await self.rollups.read(name, some.bucket, end, live=live, keys={"meter": [some.meter]})
        assert only == [row for row in whole if row.meter == some.meter and row.bucket >= some.bucket]
        after = (str(some.meter), some.bucket.isoformat())
        page = await self.rollups.read(name, START - timedelta(days=8), end, live=live, after=after, limit=3)
        assert page == [row for row in whole if (row.meter, row.bucket) > (some.meter, some.bucket)][:3]


def assert_means(row: Any, expected: dict[str, tuple[Fraction | None, Fraction]]) -> None:
    for name, (value, covered) in expected.items():
        assert Fraction(getattr(row, f"{name}_time_covered")) == covered, (name, row)
        found = getattr(row, f"{name}_time_mean")
        close = found is None if value is None else abs(Fraction(str(found)) - value) < Fraction(1, 10**12)
        assert close, (name, found, value, row)


@pytest.fixture
async def meters(conninfo: str, database: Database) -> Database:
    await create_meters(conninfo, CATALOG)
    return database


async def wander(database: Database, seed: int, steps: int) -> None:
    for name, table in (("meters.readings", "reading"), ("meters.changes", "change")):
        series = Series(database, name, table, random.Random(f"{seed} {table}"))
        for step in range(steps):
            await series.act()
            if step % (steps // PARTS) == steps // PARTS - 1:
                await series.age()
        await series.check(live=True)
        await series.rollups.refresh()
        await series.check(live=False)
        assert await series.rollups.verify([name]) == []
        await series.rollups.rebuild(name)
        await series.check(live=False)


async def test_means_are_what_held_and_for_how_long(meters: Database) -> None:
    await wander(meters, 1, 32)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10, 40))
async def test_means_are_what_held_and_for_how_long_at_length(meters: Database, seed: int) -> None:
    await wander(meters, seed, 120)


async def test_rows_in_order_are_added_and_nothing_is_left_to_fold(meters: Database) -> None:
    series = Series(meters, "meters.changes", "change", random.Random(3))
    while series.head < SPAN / 2:
        await series.forward()
    assert await meters.fetch_value("SELECT count(*) FROM meters.change__dirty") == 0
    assert await meters.fetch_value("SELECT count(*) FROM meters.change_weekly") > 0
    await series.check(live=True)


@pytest.fixture
async def platform(meters: Database, conninfo: str, tmp_path: Path) -> AsyncIterator[Platform]:
    async with aclosing_platform(make_platform(meters, conninfo, CATALOG, tmp_path)) as made:
        yield made


async def test_means_are_read_over_http(platform: Platform) -> None:
    series = Series(platform.database, "meters.changes", "change", random.Random(4))
    for _ in range(6):
        await series.forward()
    found = await platform.rollups.read("meters.changes.hourly", START, END)
    async with open_client(platform) as client:
        params = {"from": START.isoformat(), "to": END.isoformat(), "columns": "price_time_mean,price_time_covered"}
        answer = await client.get("/api/v1/rollups/meters.changes.hourly", params=params)
        assert answer.status_code == 200, answer.text
        told = [(one["meter"], one["price_time_mean"], Decimal(one["price_time_covered"])) for one in answer.json()["data"]]
        mean = [None if row.price_time_mean is None else str(row.price_time_mean) for row in found]
        assert told == [(row.meter, text, row.price_time_covered) for row, text in zip(found, mean, strict=True)]
        whole = await client.get("/api/v1/rollups/meters.changes.hourly", params={**params, "columns": ""})
        assert {"reading_time_mean", "heat_time_mean"} <= whole.json()["data"][0].keys()


async def test_an_open_bucket_is_weighed_up_to_now(meters: Database, conninfo: str) -> None:
    """Half of what is to come must not count as if it had been."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        now = (await (await connection.execute("SELECT now()")).fetchone() or [None])[0]
        assert isinstance(now, datetime)
        day = PART.floor(now)
        await connection.execute(
            sql.SQL("CREATE TABLE meters.change_now PARTITION OF meters.change FOR VALUES FROM ({}) TO ({})").format(
                sql.Literal(PART.shift(day, -1).isoformat()), sql.Literal(PART.shift(day, 2).isoformat())
            )
        )
    series = Series(meters, "meters.changes", "change", random.Random(5))
    rows = [{"meter": 1, "ts": now - timedelta(seconds=back), "reading": value} for back, value in ((20, 4), (10, 8))]
    await series.ingest.ingest("meters.changes", rows)
    [row] = await series.rollups.read("meters.changes.weekly", now, now + timedelta(days=1))
    waited = float(row.reading_time_covered) - 20
    assert 0 <= waited < 60
    assert float(row.reading_time_mean) == pytest.approx((4 * 10 + 8 * (10 + waited)) / (20 + waited))
    assert row.is_open
