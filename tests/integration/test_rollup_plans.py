"""How PostgreSQL brings roll-ups up to date: every row is read once, the ends of buckets are looked up, other partitions are not touched.

And how it reads them: a question for one key touches the rows of that key.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from psycopg import sql

from chainstrata.engines.postgres import Connection
from chainstrata.model import Catalog
from chainstrata.rollups import Rollups, reading
from chainstrata.rollups.model import Level, Source
from chainstrata.rollups.planner import find_sources
from chainstrata.rollups.statements import refresh_pairs, refresh_range
from tests.fixtures.prices_pack import CLOSES, add_coins, fill_closes

# A day that has its partition, and so have those before and after it.
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)
HOUR = timedelta(hours=1)
PARTITION = f"validator_snapshots_y{DAY:%Y}m{DAY:%m}d{DAY:%d}"


def snapshots(catalog: Catalog) -> tuple[Source, Level]:
    source = next(one for one in find_sources(catalog) if one.name == "validators.snapshots")
    return source, source.children[0]


async def scans(connection: Connection, statement: sql.Composable, params: Mapping[str, Any]) -> Counter[str]:
    """Return how often the plan of a statement comes to each partition of the snapshots."""
    [plan] = await connection.fetch_value(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(statement), params)
    found = (node.get("Relation Name", "") for node in walk(plan["Plan"]))
    return Counter(name for name in found if name.startswith("validator_snapshots_y"))


def walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from walk(child)


async def test_whole_buckets_are_read_once_and_their_first_and_last_rows_looked_up(rows: Connection, catalog: Catalog) -> None:
    source, level = snapshots(catalog)
    span = {"lo": DAY, "hi": DAY + timedelta(days=1), "gone_before": "-infinity"}
    assert await scans(rows, refresh_range(source, level, carried=False), span) == {PARTITION: 3}


async def test_single_buckets_touch_no_partition_but_theirs(rows: Connection, catalog: Catalog) -> None:
    source, level = snapshots(catalog)
    starts = [DAY + timedelta(hours=hour) for hour in (6, 16)]
    params = {"key_0": [1, 2], "lo": starts, "hi": [start + HOUR for start in starts], "gone_before": "-infinity"}
    params |= {"first_lo": starts[0], "last_hi": starts[-1] + HOUR}
    assert await scans(rows, refresh_pairs(source, level, carried=False), params) == {PARTITION: 3}


def test_nothing_is_looked_up_where_another_index_could_be_taken_for_the_key(catalog: Catalog) -> None:
    """An index on the day alone, in a partition without statistics: each look-up would read the day of all coins."""
    sources = {source.name: source for source in find_sources(catalog)}
    looked_up = {}
    for name in ("prices.minute", "prices.minute.daily", "validators.snapshots"):
        source = sources[name]
        statements = [make(source, level, carried=False) for level in source.children for make in (refresh_range, refresh_pairs)]
        looked_up[name] = {"OFFSET 0" in statement.as_string() for statement in statements}
    assert looked_up == {"prices.minute": {True}, "prices.minute.daily": {False}, "validators.snapshots": {True}}


READ = "PREPARE read_live (text, timestamptz, timestamptz, timestamptz) AS {}"
MARKED = """
    INSERT INTO prices.minute_close (coin_id, minute_ts, price_usd)
    SELECT 'coin-' || n, date_trunc('hour', now(), 'UTC') + interval '30.5 minutes', 2 FROM generate_series(100, 200) AS n
"""

COUNTED = "SELECT count(*) FROM prices.{} WHERE coin_id = 'coin-150'"


async def count_touched(
    connection: Connection, execute: sql.Composable, params: Mapping[str, Any] | None = None, tables: Collection[str] = CLOSES
) -> float:
    """Run a statement and return how many rows of these tables it came to, wanted or not."""
    [plan] = await connection.fetch_value(sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) {}").format(execute), params)
    read = [node for node in walk(plan["Plan"]) if node.get("Relation Name", "").partition("_y")[0] in tables]
    passed = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return float(sum(node.get(one, 0) * node["Actual Loops"] for node in read for one in passed))


async def test_a_question_for_one_key_touches_its_rows_alone(rows: Connection, catalog: Catalog) -> None:
    """All keys have buckets, and many have rows that are not folded yet: so does the one that is asked for."""
    await add_coins(rows, 4000)
    # Few periods: what counts is how many keys are in each.
    await fill_closes(rows, 4000, most=7)
    await rows.execute("DELETE FROM prices.minute_close__dirty")
    await rows.execute(MARKED)
    own = sum([await rows.fetch_value(sql.SQL(COUNTED).format(sql.Identifier(table))) for table in CLOSES])
    rows_read: dict[tuple[str, str], float] = {}
    for name in ("hourly", "daily", "weekly", "monthly"):
        for plans in ("force_custom_plan", "force_generic_plan"):
            await rows.execute(sql.SQL("SELECT set_config('plan_cache_mode', {}, true)").format(sql.Literal(plans)))
            rows_read[name, plans] = await count_touched(rows, await prepare_reading(rows, catalog, name))
            await rows.execute("DEALLOCATE read_live")
    # The minutes of the hour are read once, and twice more for its first and last one.
    assert {asked: read for asked, read in rows_read.items() if not 0 < read <= 3 * own} == {}


async def prepare_reading(connection: Connection, catalog: Catalog, name: str) -> sql.Composable:
    """Prepare the live reading of one coin's roll-up, and return how to ask for the bucket under way, those beside it included."""
    path = Rollups(cast(Any, None), catalog).path(f"prices.minute.{name}")
    query = reading.live(path, reading.Slice(("coin_id",), ("coin_id",))).as_string()
    for place, parameter in enumerate(("only_coin_id", "lo", "since", "hi"), 1):
        query = query.replace(f"%({parameter})s", f"${place}")
    await connection.execute(sql.SQL(READ).format(sql.SQL(cast(Any, query))))
    every = path[-1][1].rollup.every
    now = every.floor(await connection.fetch_value("SELECT now()"))
    values = sql.SQL(", ").join(map(sql.Literal, ["coin-150", every.shift(now, -1), every.shift(now, -1), every.shift(now, 2)]))
    execute = sql.SQL("EXECUTE read_live ({})").format(values)
    assert {row.coin_id for row in await connection.fetch_all(execute)} == {"coin-150"}
    return execute


HOURS = """
    INSERT INTO validators.validator_snapshots_hourly ({columns})
    SELECT {values} FROM generate_series({first}, {last}, interval '1 hour') AS hour, generate_series(1, {validators}) AS validator
"""


async def fill_hours(connection: Connection, level: Level, first: datetime, last: datetime, validators: int) -> None:
    """Give every hour of these validators, as they would come: hour after hour."""
    given = {"validator_index": sql.SQL("validator"), "bucket": sql.SQL("hour"), "samples": sql.SQL("1"), "first_at": sql.SQL("hour")}
    given["last_at"] = given["first_at"]
    wanted = [
        one for one in level.table.c if one.name in given or (not one.nullable and one.server_default is None and one.computed is None)
    ]
    parts = {
        "columns": sql.SQL(", ").join(sql.Identifier(one.name) for one in wanted),
        "values": sql.SQL(", ").join(given.get(one.name, sql.SQL("1")) for one in wanted),
        "first": sql.Literal(first),
        "last": sql.Literal(last),
        "validators": sql.Literal(validators),
    }
    # No validators are there to refer to.
    await connection.execute("SET LOCAL session_replication_role = replica")
    await connection.execute(sql.SQL(HOURS).format(**parts))
    # As autovacuum does: it needs statistics, and has the index take in what is new.
    await connection.execute("ANALYZE validators.validator_snapshots_hourly")
    await connection.execute(
        "SELECT brin_summarize_new_values(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " JOIN pg_am ON pg_am.oid = relam WHERE amname = 'brin' AND relkind = 'i'"
        " AND indrelid IN (SELECT relid FROM pg_partition_tree('validators.validator_snapshots_hourly'))"
    )


async def test_a_refresh_of_an_hour_or_a_day_does_not_read_the_month(rows: Connection, catalog: Catalog) -> None:
    sources = {source.name: source for source in find_sources(catalog)}
    month = DAY.replace(day=1)
    validators, hours = 150, 28 * 24
    await fill_hours(rows, sources["validators.snapshots"].children[0], month, month + timedelta(hours=hours - 1), validators)
    read = {}
    for name, width in (("validators.snapshots", HOUR), ("validators.snapshots.hourly", 24 * HOUR)):
        span = {"lo": month + timedelta(days=20), "hi": month + timedelta(days=20) + width, "gone_before": "-infinity"}
        statement = refresh_range(sources[name], sources[name].children[0], carried=False)
        read[name] = await count_touched(rows, statement, span, {"validator_snapshots_hourly"})
    # An hour is compared with what is kept; a day is folded from its hours, and the ends of each are looked up.
    assert 0 < read["validators.snapshots"] < validators * hours / 20
    assert 0 < read["validators.snapshots.hourly"] < validators * hours / 5


def test_a_level_is_read_once_by_the_one_above(catalog: Catalog) -> None:
    """Joined with itself, a plan for few rows would fold it again for each of them."""
    for name in ("hourly", "daily", "weekly", "monthly"):
        path = Rollups(cast(Any, None), catalog).path(f"prices.minute.{name}")
        text = reading.live(path).as_string()
        assert [text.count(f'"live_{depth}"') for depth in range(len(path))] == [2] * len(path)
