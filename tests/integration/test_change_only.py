"""Stored change-only, everything reads as if every row had been stored: at any instant, late, corrected and deleted rows included."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.ingest import Ingest
from chainstrata.rollups import Rollups
from tests.fixtures.meters import HEARTBEAT, START, create_meters, meter_catalog
from tests.fixtures.postgres import Server

CATALOG = meter_catalog()
STEP = timedelta(minutes=90)
STEPS = 30
Values = tuple[int, Decimal | None, str | None]

METERS = st.integers(0, 3)
TICKS = st.integers(0, STEPS - 1)
READINGS = st.integers(1, 2)
PRICES = st.sampled_from([None, Decimal("1.5")])
STATES = st.sampled_from([None, "ok"])
ROWS = st.lists(st.tuples(METERS, TICKS, READINGS, PRICES, STATES), min_size=1, max_size=12)
STREAMS = st.tuples(METERS, st.integers(0, STEPS - 8), READINGS, st.integers(2, 8)).map(
    lambda s: [(s[0], s[1] + n, s[2], None, None) for n in range(s[3])]
)
ACTIONS = st.one_of(
    st.tuples(st.just("ingest"), st.integers(0, 1), ROWS | STREAMS),
    st.tuples(st.just("ingest"), st.integers(0, 1), STREAMS),
    st.tuples(st.just("both"), ROWS, ROWS),
    st.tuples(st.just("delete"), METERS, TICKS),
    st.tuples(st.just("insert"), METERS, TICKS, READINGS),
    st.tuples(st.just("correct"), METERS, TICKS, READINGS),
    st.tuples(st.just("restart")),
)


def moment(tick: int) -> datetime:
    return START + STEP * tick


@dataclass
class Oracle:
    """Every observation there ever was, by meter and tick."""

    seen: dict[int, dict[int, Values]] = field(default_factory=lambda: {meter: {} for meter in range(4)})

    def take(self, rows: list[tuple[Any, ...]]) -> None:
        for meter, tick, reading, price, state in rows:
            old = self.seen[meter].get(tick, (None, None, None))
            self.seen[meter][tick] = (reading, price if price is not None else old[1], state if state is not None else old[2])

    def run_of(self, meter: int, tick: int, stored: list[int]) -> list[int]:
        """Return the observations that a stored row stands for."""
        end = min((other for other in stored if other > tick), default=STEPS)
        return [other for other in self.seen[meter] if tick <= other < end]

    def as_of(self, tick: int) -> list[tuple[Any, ...]]:
        found = []
        for meter, own in self.seen.items():
            before = [other for other in own if other <= tick]
            if before:
                found.append((meter, *own[max(before)], moment(max(before))))
        return found


class World:
    """A database of meters, two writers, and what should be in it."""

    def __init__(self, runner: asyncio.Runner, conninfo: str) -> None:
        self.runner = runner
        self.database = Database(conninfo, options=PoolOptions(min_size=1, max_size=4))
        self.rollups = Rollups(self.database, CATALOG)
        self.oracle = Oracle()
        self.writers: list[Ingest] = []

    async def begin(self) -> None:
        await self.database.execute("TRUNCATE meters.change, meters.change_hourly, meters.change_daily, meters.change_weekly")
        await self.rollups.refresh()
        self.oracle = Oracle()
        self.restart()

    def restart(self) -> None:
        self.writers = [Ingest(self.database, CATALOG, self.rollups) for _ in range(2)]

    async def stored(self, meter: int) -> list[int]:
        rows = await self.database.fetch_all("SELECT ts FROM meters.change WHERE meter = %(meter)s ORDER BY ts", {"meter": meter})
        return [(row.ts - START) // STEP for row in rows]

    async def ingest(self, writer: int, rows: list[tuple[Any, ...]]) -> None:
        given = [
            {"meter": meter, "ts": moment(tick), "reading": reading, "price": price, "state": state, "round": place}
            for place, (meter, tick, reading, price, state) in enumerate(rows)
        ]
        answer = await self.writers[writer].ingest("meters.changes", given)
        assert (answer.rows, answer.quarantined) == (len(rows), 0)

    async def act(self, action: tuple[Any, ...]) -> None:
        match action:
            case ("ingest", writer, rows):
                await self.ingest(writer, rows)
                self.oracle.take(rows)
            case ("both", one, other):
                # Of a row both give, either may win: it is given once.
                keys = {row[:2] for row in one} | {(meter, tick) for meter, own in self.oracle.seen.items() for tick in own}
                rest = [row for row in other if row[:2] not in keys]
                await asyncio.gather(*(self.ingest(writer, rows) for writer, rows in enumerate((one, rest)) if rows))
                self.oracle.take([*one, *rest])
            case ("restart",):
                self.restart()
            case (what, meter, tick, *value):
                await self.change(what, meter, tick, value)

    async def change(self, what: str, meter: int, tick: int, value: list[int]) -> None:
        """Do by SQL what others do: a row stands for the sightings up to the next one."""
        stored = await self.stored(meter)
        key = {"meter": meter, "at": moment(tick), "value": value[0] if value else None}
        own = self.oracle.seen[meter]
        if what == "delete" and tick in stored:
            await self.database.execute("DELETE FROM meters.change WHERE meter = %(meter)s AND ts = %(at)s", key)
            for other in self.oracle.run_of(meter, tick, stored):
                del own[other]
        elif what == "correct" and tick in stored:
            await self.database.execute("UPDATE meters.change SET reading = %(value)s WHERE meter = %(meter)s AND ts = %(at)s", key)
            for other in self.oracle.run_of(meter, tick, stored):
                own[other] = (value[0], *own[other][1:])
        elif what == "insert" and tick not in stored:
            await self.database.execute("INSERT INTO meters.change (meter, ts, reading) VALUES (%(meter)s, %(at)s, %(value)s)", key)
            own[tick] = (value[0], None, None)

    async def check(self) -> None:
        for tick in range(0, STEPS, 3):
            rows = await self.database.fetch_all(
                "SELECT meter, reading, price, state, seen_at FROM meters.change__as_of(%(at)s, '{0,1,2,3}')", {"at": moment(tick)}
            )
            assert [tuple(row) for row in rows] == self.oracle.as_of(tick), tick
        rows = await self.database.fetch_all("SELECT meter, reading, price, state, seen_at FROM meters.change__latest ORDER BY meter")
        assert [tuple(row) for row in rows] == self.oracle.as_of(STEPS)
        for meter, own in self.oracle.seen.items():
            stored = await self.stored(meter)
            # Any value is found within a heartbeat of where it is asked for.
            assert all(
                any(moment(tick) - moment(row) < timedelta(seconds=HEARTBEAT.seconds) for row in stored if row <= tick) for tick in own
            )
        assert await self.rollups.verify() == []


WORLD: list[World] = []


@pytest.fixture
def world(server: Server) -> Iterator[World]:
    """Give a world of this test's own, and the loop it is reached through."""
    name = f"chainstrata_changes_{os.getpid()}_{os.urandom(4).hex()}"
    with psycopg.connect(server.connect_to("postgres"), autocommit=True) as connection, asyncio.Runner() as runner:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        runner.run(create_meters(server.connect_to(name), CATALOG))
        made = World(runner, server.connect_to(name))
        runner.run(made.database.__aenter__())
        yield made
        runner.run(made.database.__aexit__(None, None, None))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def run(world: World, examples: int) -> None:
    # Shrinking takes longer than reading the actions of a failure.
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(ACTIONS, min_size=1, max_size=14))
    def reads_as_if_all_were_stored(actions: list[tuple[Any, ...]]) -> None:
        async def work() -> None:
            await world.begin()
            for action in actions:
                await world.act(action)
            await world.check()

        world.runner.run(work())

    reads_as_if_all_were_stored()


@pytest.mark.conforms("S0-44")
def test_everything_reads_as_if_all_rows_were_stored(world: World) -> None:
    run(world, 25)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_everything_reads_as_if_all_rows_were_stored_at_length(world: World) -> None:
    run(world, 300)


@pytest.mark.conforms("S0-44", "S0-47")
def test_what_does_not_change_is_not_stored_but_seen(world: World) -> None:
    async def work() -> None:
        await world.begin()
        ingest = world.writers[0]
        first = await ingest.ingest("meters.changes", pa.table(slot(0, 3000)))
        assert (first.accepted, first.unchanged) == (3000, 0)
        second = await ingest.ingest("meters.changes", pa.table(slot(1, 3000, changed=7)))
        assert (second.accepted, second.unchanged) == (7, 2993)
        again = await ingest.ingest("meters.changes", pa.table(slot(1, 3000, changed=7)))
        assert (again.accepted, again.updated, again.unchanged) == (0, 0, 3000)
        # Some are not seen at all in the third slot.
        some = await ingest.ingest("meters.changes", pa.table(slot(2, 2000, changed=7)))
        assert (some.accepted, some.unchanged) == (0, 2000)
        rows = await world.database.fetch_all("SELECT meter, ts, reading, seen_at FROM meters.change__latest_of('{0, 6, 7, 2500}')")
        assert [tuple(row) for row in rows] == [
            (0, slot_time(1), 1, slot_time(2)),
            (6, slot_time(1), 7, slot_time(2)),
            (7, slot_time(0), 7, slot_time(2)),
            (2500, slot_time(0), 2500, slot_time(1)),
        ]
        assert await world.database.fetch_value("SELECT count(*) FROM meters.change") == 3007
        # Added to the roll-ups as they came, with nothing left to fold.
        assert await world.database.fetch_value("SELECT count(*) FROM meters.change__dirty") == 0
        assert await world.database.fetch_value("SELECT sum(samples) FROM meters.change_hourly") == 3007
        assert await world.rollups.verify() == []

    world.runner.run(work())


@pytest.mark.conforms("S0-55")
def test_a_refresh_under_way_leaves_what_comes_to_the_next(world: World) -> None:
    async def work() -> None:
        await world.begin()
        ingest = world.writers[0]
        await ingest.ingest("meters.changes", pa.table(slot(0, 100)))
        async with world.database.connection() as busy:
            await busy.execute("SELECT pg_advisory_lock(hashtextextended('strata.rollups.meters.changes', 0))")
            await ingest.ingest("meters.changes", pa.table(slot(1, 100, changed=50)))
            await busy.execute("SELECT pg_advisory_unlock_all()")
        assert await world.database.fetch_value("SELECT sum(samples) FROM meters.change_hourly") == 100
        assert await world.database.fetch_value("SELECT count(*) FROM meters.change__dirty") > 0
        # What is added while marks stand is folded again with them.
        await ingest.ingest("meters.changes", pa.table(slot(2, 100, changed=20)))
        await world.rollups.refresh()
        assert await world.database.fetch_value("SELECT sum(samples) FROM meters.change_hourly") == 180
        assert await world.rollups.verify() == []

    world.runner.run(work())


def test_what_a_roll_up_does_not_take_is_marked_and_not_lost(world: World) -> None:
    async def work() -> None:
        await world.begin()
        await world.database.execute("ALTER TABLE meters.change_hourly ADD CONSTRAINT nothing CHECK (samples < 0) NOT VALID")
        answer = await world.writers[0].ingest("meters.changes", pa.table(slot(0, 100)))
        assert (answer.accepted, answer.quarantined) == (100, 0)
        await world.database.execute("ALTER TABLE meters.change_hourly DROP CONSTRAINT nothing")
        await world.rollups.refresh()
        assert await world.database.fetch_value("SELECT sum(samples) FROM meters.change_hourly") == 100

    world.runner.run(work())


@pytest.mark.parametrize("meter", [None, "gas", "2.5", str(2**70)])
def test_a_row_of_no_entity_goes_to_quarantine_and_the_rest_goes_on(world: World, meter: str | None) -> None:
    async def work() -> None:
        await world.begin()
        rows = slot(0, 50)
        rows["meter"] = pa.array([*map(str, range(49)), meter])
        answer = await world.writers[0].ingest("meters.changes", pa.table(rows))
        assert (answer.accepted, answer.quarantined) == (49, 1)
        assert await world.database.fetch_value("SELECT count(*) FROM meters.change") == 49

    world.runner.run(work())


def slot(number: int, meters: int, changed: int = 0) -> dict[str, Any]:
    """Return the columns of a reading of all meters, some of which read one more."""
    meter = np.arange(meters)
    return {
        "meter": meter,
        "ts": pa.array([slot_time(number)] * meters, pa.timestamp("us", "UTC")),
        "reading": meter + (meter < changed),
        "price": pa.array(["1.50"] * meters),
        "round": np.full(meters, number),
    }


def slot_time(number: int) -> datetime:
    return START + timedelta(seconds=12 * number)
