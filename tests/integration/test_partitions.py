"""Partitions on a real server: made by declaration, in UTC, without standing in anybody's way."""

import asyncio
from datetime import UTC, datetime, timedelta
from time import monotonic

import psycopg
import pytest
from psycopg import sql

from chainstrata import partitions
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.maintenance import MaintenanceBusy, Patience, exclusive, maintenance
from chainstrata.engines.postgres.partitioning import Partition, Span, State, list_partitions
from chainstrata.model import Catalog, Lifecycle, days, hours, months
from chainstrata.partitions import Action, NotPartitioned, Options, ProblemCode
from tests.fixtures.demo import create_demo, demo_catalog, with_lifecycle
from tests.fixtures.timescale import OWN_PARTITIONS_ONLY, TIMESCALE

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)


@pytest.fixture
async def catalog(database: Database, backend: str) -> Catalog:
    """Give a catalog whose tables exist, still without partitions."""
    declared = demo_catalog()
    await create_demo(database, declared, timescale=backend == TIMESCALE)
    return declared


async def spans(database: Database, table: str = "prices") -> list[tuple[str, str]]:
    async with database.connection() as connection:
        found = await list_partitions(connection, "demo", table)
    return [(one.name, str(one.span)) for one in found]


async def insert(database: Database, *instants: datetime, coin: str = "btc") -> None:
    await database.execute("INSERT INTO demo.coins VALUES (%(coin)s) ON CONFLICT DO NOTHING", {"coin": coin})
    for instant in instants:
        await database.execute("INSERT INTO demo.prices VALUES (%(coin)s, %(ts)s, 1.5)", {"coin": coin, "ts": instant})


@pytest.mark.conforms("S3-01", "S3-09", "S3-10", "S3-12", "S3-52", "S3-53")
@pytest.mark.oldest
async def test_applying_makes_what_is_declared_and_then_nothing(database: Database, catalog: Catalog) -> None:
    problems = await partitions.verify(database, catalog, now=NOW)
    assert {problem.code for problem in problems} == {ProblemCode.FEW_AHEAD}
    planned = await partitions.plan(database, catalog, now=NOW)
    assert await spans(database) == []
    assert await partitions.apply(database, catalog, now=NOW) == planned
    assert await partitions.apply(database, catalog, now=NOW) == []
    assert await partitions.verify(database, catalog, now=NOW) == []
    assert await spans(database) == [
        ("prices_y2026m03d09", "2026-03-09 to 2026-03-10"),
        ("prices_y2026m03d10", "2026-03-10 to 2026-03-11"),
        ("prices_y2026m03d11", "2026-03-11 to 2026-03-12"),
        ("prices_y2026m03d12", "2026-03-12 to 2026-03-13"),
        ("prices_y2026m03d13", "2026-03-13 to 2026-03-14"),
    ]
    assert [name for name, _ in await spans(database, "prices_hourly")] == [
        "prices_hourly_y2026m02", "prices_hourly_y2026m03", "prices_hourly_y2026m04", "prices_hourly_y2026m05",
    ]  # fmt: skip


async def test_a_partition_has_all_the_table_has(database: Database, catalog: Catalog, backend: str) -> None:
    await partitions.apply(database, catalog, now=NOW)
    await insert(database, NOW)
    rows = await database.fetch_all(
        "SELECT contype::text, count(*) FROM pg_constraint WHERE conrelid = 'demo.prices_y2026m03d10'::regclass AND contype <> 'n' GROUP BY 1"
    )
    # The bounds of a chunk are a check of their own.
    assert dict(tuple(row) for row in rows) == {"p": 1, "f": 1, "c": 2 if backend == TIMESCALE else 1}
    assert (
        await database.fetch_value("SELECT count(*) FROM pg_index WHERE indrelid = 'demo.prices_y2026m03d10'::regclass AND indisvalid") == 2
    )


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("style", ["ISO, MDY", "SQL, DMY", "German"])
async def test_bounds_are_utc_whatever_the_session_says(database: Database, catalog: Catalog, conninfo: str, zone: str, style: str) -> None:
    """D3-16: literals without an offset moved with the session and left holes or overlaps."""
    name = psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"]
    for setting, value in (("TimeZone", zone), ("DateStyle", style)):
        await database.execute(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(sql.Identifier(str(name)), sql.SQL(setting), sql.Literal(value))
        )
    foreign = psycopg.conninfo.make_conninfo(conninfo, options=f"-c timezone={zone}")
    async with Database(foreign) as other:
        assert await other.fetch_value("SHOW timezone") == zone
        await partitions.apply(other, catalog, now=NOW)
        assert (await spans(other))[1] == ("prices_y2026m03d10", "2026-03-10 to 2026-03-11")
    await insert(database, NOW.replace(hour=0, minute=0), NOW.replace(hour=23, minute=59))
    assert await database.fetch_value("SELECT count(*) FROM demo.prices_y2026m03d10") == 2


async def test_names_say_nothing(database: Database, catalog: Catalog) -> None:
    """D3-6, D3-7: tables that merely look like partitions, and partitions that do not look like any."""
    await partitions.apply(database, catalog, now=NOW)
    await database.execute("ALTER TABLE demo.prices_y2026m03d13 RENAME TO prices_yesterday")
    await database.execute('ALTER TABLE demo.prices_y2026m03d12 RENAME TO "prices_y1999m01d01"')
    await database.execute('CREATE TABLE demo."prices_y2026m03d14" (id int)')
    await database.execute('CREATE TABLE demo."pricesXy2026m03d15" (id int)')
    await database.execute("CREATE SCHEMA other")
    await database.execute("CREATE TABLE other.prices (LIKE demo.prices) PARTITION BY RANGE (ts)")
    await database.execute("CREATE TABLE other.p1 PARTITION OF other.prices FOR VALUES FROM ('2000-01-01+00') TO ('2001-01-01+00')")
    steps = await partitions.apply(database, catalog, now=NOW + timedelta(days=1))
    assert [(step.partition.name, str(step.partition.span)) for step in steps] == [("prices_y2026m03d14_2", "2026-03-14 to 2026-03-15")]


async def test_open_transactions_of_readers_and_writers_do_not_hold_it_up(database: Database, catalog: Catalog) -> None:
    """ATTACH asks for no lock that reading or writing the table conflicts with, so a single try must do."""
    await partitions.apply(database, catalog, now=NOW)
    await insert(database, NOW)
    at_once = Options(Patience(first=0.001, longest=0.001, deadline=0))
    async with database.connection() as reader, database.connection() as writer, reader.begin(), writer.begin():
        await reader.fetch_all("SELECT * FROM demo.prices")
        await writer.execute("INSERT INTO demo.prices VALUES ('btc', %(ts)s, 2)", {"ts": NOW + timedelta(minutes=1)})
        steps = await partitions.apply(database, catalog, ["demo.prices"], now=NOW + timedelta(days=2), options=at_once)
    assert [step.action for step in steps] == [Action.CREATE] * 2


async def test_a_writer_of_a_referenced_table_is_given_way_to(database: Database, catalog: Catalog) -> None:
    """A foreign key needs a lock on the table it points to; whoever queues behind that waits for a moment only."""
    await insert_coin(database, "eth")
    stalls: list[float] = []
    released = asyncio.Event()

    async def hold() -> None:
        async with database.transaction() as connection:
            await connection.execute("UPDATE demo.coins SET id = id")
            await released.wait()

    async def write() -> None:
        while not applying.done():
            started = monotonic()
            await insert_coin(database, f"coin-{len(stalls)}")
            stalls.append(monotonic() - started)
            if len(stalls) == 200:
                released.set()

    holder = asyncio.create_task(hold())
    await asyncio.wait_for(
        until(database, "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'demo.coins'::regclass AND mode = 'RowExclusiveLock'"), 10
    )
    applying = asyncio.create_task(partitions.apply(database, catalog, now=NOW, options=Options(Patience(0.02, 0.1, 60))))
    await asyncio.gather(holder, write(), applying)
    assert len(applying.result()) == 9
    assert max(stalls) < 1.0, f"longest stall {max(stalls):.3f} s"


async def insert_coin(database: Database, coin: str) -> None:
    await database.execute("INSERT INTO demo.coins VALUES (%(coin)s)", {"coin": coin})


async def until(database: Database, condition: str) -> None:
    while not await database.fetch_value(condition):  # type: ignore[arg-type]  # a literal of this file
        pass


async def test_several_workers_at_once_do_it_once(database: Database, catalog: Catalog) -> None:
    done = await asyncio.gather(*(partitions.apply(database, catalog, now=NOW) for _ in range(4)))
    assert max(len(steps) for steps in done) <= 9
    assert sum(len(steps) for steps in done) == 9


async def test_a_busy_table_is_named(database: Database, catalog: Catalog) -> None:
    async with maintenance(database) as connection, exclusive(connection, "partitions.demo.prices"), maintenance(database) as other:
        with pytest.raises(MaintenanceBusy, match=r"partitions\.demo\.prices"):
            async with exclusive(other, "partitions.demo.prices", wait=0.2):
                pass
    async with maintenance(database) as connection, exclusive(connection, "partitions.demo.prices", wait=0):
        pass


@pytest.mark.conforms("S2-105")
async def test_a_changed_interval_starts_where_the_old_partitions_end(database: Database, catalog: Catalog) -> None:
    await partitions.apply(database, catalog, now=NOW)
    before = await spans(database)
    hourly = with_lifecycle(catalog, partition=hours(1), premake=4)
    assert await partitions.apply(database, hourly, ["demo.prices"], now=NOW) == []
    later = NOW.replace(day=13, hour=22)
    steps = await partitions.apply(database, hourly, ["demo.prices"], now=later)
    assert [step.partition.name for step in steps] == ["prices_y2026m03d14h00", "prices_y2026m03d14h01", "prices_y2026m03d14h02"]
    assert (await spans(database))[:5] == before
    await insert(database, later, later + timedelta(hours=3), later - timedelta(days=3))
    codes = [problem.code for problem in await partitions.verify(database, hourly, ["demo.prices"], now=later)]
    assert codes == [ProblemCode.OTHER_WIDTH]


WIDTHS = {
    "day to hour": (days(1), hours(1)),
    "hour to day": (hours(1), days(1)),
    "month to day": (months(1), days(1)),
    "day to month": (days(1), months(1)),
    "hour to month": (hours(1), months(1)),
}


@pytest.mark.conforms("S2-105")
@pytest.mark.parametrize("change", WIDTHS)
async def test_a_changed_width_takes_over_at_the_next_boundary_and_so_does_the_way_back(
    database: Database, backend: str, change: str
) -> None:
    """Nothing that is there is touched, no instant is left out, and the first piece is cut to where the new width begins."""
    first, second = WIDTHS[change]
    declared = demo_catalog(Lifecycle(partition=first, premake=3))
    await create_demo(database, declared, timescale=backend == TIMESCALE)
    await partitions.apply(database, declared, ["demo.prices"], now=NOW)
    for width in (second, first):
        before = await attached(database)
        end = before[-1].span.end
        # The old ones end here, and the feed goes on.
        await partitions.apply(database, with_lifecycle(declared, partition=width), ["demo.prices"], now=end)
        after = await attached(database)
        assert {(one.oid, one.name, one.span) for one in before} <= {(one.oid, one.name, one.span) for one in after}
        # A wider one also asks for the span before the present one, which may begin before the oldest.
        made = [one for one in after if one.span.start >= end]
        assert [one.span.start for one in made] == [end, *(one.span.end for one in made[:-1])]
        assert made[0].span.end == width.shift(width.floor(end))
        assert all(one.span.end == width.shift(one.span.start) == width.floor(one.span.end) for one in made[1:])
        edges = [end - timedelta(microseconds=1), *(one.span.start for one in made), made[-1].span.end - timedelta(microseconds=1)]
        await insert(database, *edges, coin=f"when {width}")
    assert await database.fetch_value("SELECT count(*) FROM demo.prices") > 8


async def attached(database: Database) -> list[Partition]:
    async with database.connection() as connection:
        return await list_partitions(connection, "demo", "prices")


@pytest.mark.conforms("S1-31")
async def test_ensure_covers_a_past_range(database: Database, catalog: Catalog) -> None:
    dataset = catalog.dataset("demo.prices")
    steps = await partitions.ensure(database, dataset, datetime(2020, 5, 1, 7, tzinfo=UTC), datetime(2020, 5, 3, tzinfo=UTC))
    assert [step.partition.name for step in steps] == ["prices_y2020m05d01", "prices_y2020m05d02", "prices_hourly_y2020m05"]
    assert await partitions.ensure(database, dataset, datetime(2020, 5, 1, tzinfo=UTC), datetime(2020, 5, 2, tzinfo=UTC)) == []
    await insert(database, datetime(2020, 5, 2, 23, 59, 59, tzinfo=UTC))


@OWN_PARTITIONS_ONLY
@pytest.mark.oldest
async def test_a_detachment_that_was_cut_short_is_finished(database: Database, catalog: Catalog, conninfo: str) -> None:
    await partitions.apply(database, catalog, now=NOW)
    await insert(database, NOW)
    async with database.connection() as reader:
        async with reader.begin():
            await reader.fetch_all("SELECT * FROM demo.prices")
            async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as breaking:
                await breaking.execute("SET lock_timeout = '50ms'")
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    await breaking.execute("ALTER TABLE demo.prices DETACH PARTITION demo.prices_y2026m03d10 CONCURRENTLY")
        pending = [problem.code for problem in await partitions.verify(database, catalog, now=NOW)]
        assert pending == [ProblemCode.FEW_AHEAD, ProblemCode.DETACH_PENDING, ProblemCode.GAP]
    steps = await partitions.apply(database, catalog, now=NOW)
    assert [(step.action, step.partition.name) for step in steps] == [
        (Action.FINALIZE, "prices_y2026m03d10"),
        (Action.CREATE, "prices_y2026m03d10_2"),
    ]
    assert await database.fetch_value("SELECT count(*) FROM demo.prices_y2026m03d10") == 1


@OWN_PARTITIONS_ONLY
async def test_tables_that_cannot_take_partitions_are_told_apart(database: Database, catalog: Catalog) -> None:
    await database.execute("DROP TABLE demo.prices")
    with pytest.raises(NotPartitioned, match=r"demo\.prices of demo\.prices does not exist"):
        await partitions.apply(database, catalog, ["demo.prices"])
    await database.execute("CREATE TABLE demo.prices (coin_id text, ts timestamptz)")
    with pytest.raises(NotPartitioned, match="is a plain table") as caught:
        await partitions.plan(database, catalog, ["demo.prices"])
    assert "partitions adopt" in caught.value.hint
    await database.execute("DROP TABLE demo.prices")
    await database.execute("CREATE TABLE demo.prices (coin_id text, ts bigint) PARTITION BY RANGE (ts)")
    problems = await partitions.verify(database, catalog, ["demo.prices"])
    assert [problem.code for problem in problems if problem.table == "demo.prices"] == [ProblemCode.WRONG_KEY]


@OWN_PARTITIONS_ONLY
async def test_odd_bounds_are_read(database: Database, catalog: Catalog) -> None:
    for name, bounds in {
        "oldest": "FROM (MINVALUE) TO ('-infinity')",
        "old": "FROM ('-infinity') TO ('0001-05-05 BC')",
        "middle": "FROM ('2026-03-10 13:30+01') TO ('2026-03-10 18:00:30+05:30')",
        "far": "FROM ('20000-01-01') TO ('infinity')",
        "rest": "DEFAULT",
    }.items():
        values = sql.SQL(bounds if bounds == "DEFAULT" else f"FOR VALUES {bounds}")  # type: ignore[arg-type]  # literals of this test
        await database.execute(sql.SQL("CREATE TABLE demo.{} PARTITION OF demo.prices {}").format(sql.Identifier(name), values))
    async with database.connection() as connection:
        found = {one.name: one for one in await list_partitions(connection, "demo", "prices")}
    assert found["rest"].default
    assert {name: str(one.span) for name, one in found.items()} == {
        "oldest": "the beginning to the beginning",
        "old": "the beginning to the beginning",
        "middle": "2026-03-10 12:30 to 2026-03-10 12:30:30",
        "far": "the end to the end",
        "rest": "the beginning to the end",
    }


async def test_sql_can_be_run_by_hand(database: Database, catalog: Catalog, conninfo: str) -> None:
    """What `--sql` prints does what the command would have done."""
    script = "\n".join(partitions.render(await partitions.plan(database, catalog, now=NOW)))
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await connection.execute(script.encode())
    assert await partitions.plan(database, catalog, now=NOW) == []


async def test_list_shows_sizes_and_states(database: Database, catalog: Catalog) -> None:
    await partitions.apply(database, catalog, now=NOW)
    listed = {table.name: found for table, found in await partitions.list_all(database, catalog)}
    assert set(listed) == {"demo.prices", "demo.prices.hourly"}
    assert all(
        isinstance(one, Partition) and one.state is State.ATTACHED and one.size_bytes > 0 and one.oid for one in listed["demo.prices"]
    )
    assert listed["demo.prices"][0].span == Span(NOW.replace(day=9, hour=0, minute=0), NOW.replace(day=10, hour=0, minute=0))


async def test_days_later_only_what_is_new_is_made(database: Database, catalog: Catalog) -> None:
    await partitions.apply(database, catalog, now=NOW)
    for day in range(1, 5):
        steps = await partitions.apply(database, catalog, ["demo.prices"], now=NOW + timedelta(days=day))
        assert [step.partition.span.start for step in steps] == [days(1).floor(NOW) + timedelta(days=day + 3)]
