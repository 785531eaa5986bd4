"""Quarantine on a real server: rows that were not taken are kept exactly, counted, and go in once they fit."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from chainstrata import partitions
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.errors import StatementFailed
from chainstrata.errors import UnknownName, UsageError
from chainstrata.model import Catalog, Conflict, Dataset, Pack, ignore, merge, newest
from chainstrata.packs.strata import pack as strata
from chainstrata.packs.strata.quarantine import Reason, Refused, add_relation, add_rows, reason_for
from tests.fixtures.demo import create_demo, demo_catalog

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
OLD = datetime(2020, 5, 1, 7, tzinfo=UTC)
MAX_UINT256 = 2**256 - 1


@pytest.fixture
async def catalog(database: Database) -> Catalog:
    """Give a catalog whose tables exist, with partitions around `NOW`, and a coin."""
    declared = demo_catalog()
    await create_demo(database, declared)
    await partitions.apply(database, declared, now=NOW)
    await database.execute("INSERT INTO demo.coins VALUES ('btc')")
    return declared


def refused(at: datetime, price: str = "1.5", reason: Reason = Reason.NO_PARTITION, coin: str = "btc") -> Refused:
    return Refused(reason, "no partition takes it", f'{{"coin_id": "{coin}", "ts": "{at.isoformat()}", "price": {price}}}', None, at)


async def hold(database: Database, *rows: Refused, batch: str | None = None) -> None:
    async with database.transaction() as connection:
        await add_rows(connection, "demo.prices", rows, source="test", batch=batch)


@pytest.mark.conforms("S3-62")
async def test_a_row_outside_every_partition_goes_in_once_one_exists(database: Database, catalog: Catalog) -> None:
    with pytest.raises(StatementFailed) as caught:
        await database.execute("INSERT INTO demo.prices VALUES ('btc', %(ts)s, 1.5)", {"ts": OLD})
    assert reason_for(caught.value) is Reason.NO_PARTITION
    await hold(database, refused(OLD), refused(OLD + timedelta(days=1)))
    [count] = await partitions.count_held(database)
    assert (count.dataset, count.reason, count.rows, count.earliest, count.latest) == (
        "demo.prices", "no_partition", 2, OLD, OLD + timedelta(days=1),
    )  # fmt: skip
    assert await partitions.replay(database, catalog, "demo.prices") == partitions.Replayed(0, {"no_partition": 2})
    await partitions.ensure(database, catalog.dataset("demo.prices"), OLD, OLD + timedelta(hours=1))
    assert await partitions.replay(database, catalog, "demo.prices") == partitions.Replayed(1, {"no_partition": 1})
    assert await partitions.replay(database, catalog, "demo.prices") == partitions.Replayed(0, {"no_partition": 1})
    assert await partitions.replay(database, catalog, "demo.prices", make_partitions=True) == partitions.Replayed(1, {})
    assert await database.fetch_value("SELECT count(*) FROM demo.prices") == 2
    states = [held.state for held in await partitions.list_held(database, states=["held", "replayed"])]
    assert states == ["replayed", "replayed"]


async def test_partitions_are_made_where_rows_are_and_not_between(database: Database, catalog: Catalog) -> None:
    days = [OLD - timedelta(days=40_000), OLD, OLD + timedelta(days=1), OLD + timedelta(days=2), OLD + timedelta(days=900)]
    await hold(database, *map(refused, days))
    before = len(await partitions.list_all(database, catalog, ["demo.prices"]))
    assert (await partitions.replay(database, catalog, "demo.prices", make_partitions=True)).replayed == 5
    [(_, found), *_] = await partitions.list_all(database, catalog, ["demo.prices"])
    assert len([one for one in found if one.span.start < OLD + timedelta(days=1000)]) == 5
    assert len(await partitions.list_all(database, catalog, ["demo.prices"])) == before


@pytest.mark.parametrize("moment", [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
async def test_a_row_of_the_end_of_time_holds_up_no_other(database: Database, catalog: Catalog, moment: datetime) -> None:
    content = f'{{"coin_id": "btc", "ts": "{moment.isoformat()}", "price": 1}}'
    await hold(database, Refused(Reason.NO_PARTITION, "", content, None, moment), refused(OLD))
    done = await partitions.replay(database, catalog, "demo.prices", make_partitions=True)
    assert done == partitions.Replayed(1, {"no_partition": 1})
    with pytest.raises(UsageError, match="no partitions can be made"):
        await partitions.ensure(database, catalog.dataset("demo.prices"), moment, moment)


async def test_the_same_row_again_is_counted(database: Database, catalog: Catalog) -> None:
    await hold(database, refused(OLD), refused(OLD), refused(OLD, "2"), batch="1")
    await hold(database, refused(OLD), batch="2")
    rows = await partitions.list_held(database, datasets=["demo.prices"])
    assert [(row.times, row.batch) for row in rows if "1.5" in (row.content or "")] == [(3, "2")]
    assert len(rows) == 2
    assert [row.id for row in await partitions.list_held(database, before=rows[0].id)] == [rows[1].id]
    [count] = await partitions.count_held(database, datasets=["demo.prices"])
    assert (count.rows, count.times) == (2, 4)


async def test_numbers_and_text_stay_exact(database: Database, catalog: Catalog) -> None:
    numbers = f'"price": 0.000000001230, "supply": {MAX_UINT256}, "height": "18446744073709551615"'
    row = f'{{"coin_id": "btc", "ts": "{NOW.isoformat()}", {numbers}, "source": "é\\t\\"q\\""}}'
    await hold(database, Refused(Reason.NO_PARENT, "was not there yet", row, row))
    assert (await partitions.replay(database, catalog, "demo.prices")).replayed == 1
    stored = await database.fetch_one("SELECT price, supply, height, source FROM demo.prices")
    assert tuple(stored) == (Decimal("0.000000001230"), Decimal(MAX_UINT256), Decimal(2**64 - 1), 'é\t"q"')
    assert str(stored.price) == "1.230E-9"
    [held] = await partitions.list_held(database, states=["replayed"])
    assert held.original == row


async def test_what_the_server_cannot_store_as_a_row_is_kept_as_text(database: Database, catalog: Catalog) -> None:
    await hold(
        database,
        Refused(Reason.BAD_VALUE, "holds a NUL", r'{"coin_id": "a\u0000b"}'),
        Refused(Reason.MALFORMED, "is no JSON", None, "garbage\0{"),
    )
    texts = {held.original for held in await partitions.list_held(database)}
    assert texts == {r'{"coin_id": "a\u0000b"}', r"garbage\u0000{"}
    assert await partitions.replay(database, catalog, "demo.prices") == partitions.Replayed(0, {"bad_value": 1, "malformed": 1})


async def test_one_bad_row_holds_up_no_other(database: Database, catalog: Catalog) -> None:
    rows = [refused(NOW + timedelta(minutes=minute)) for minute in range(20)]
    bad = [
        refused(NOW + timedelta(hours=1), "-1"),
        refused(NOW + timedelta(hours=2), '"x"'),
        refused(NOW + timedelta(hours=3), coin="unknown"),
        refused(NOW, "7"),
        refused(OLD),
    ]
    await hold(database, *rows, *bad)
    outcome = await partitions.replay(database, catalog, "demo.prices", batch=7)
    assert outcome.replayed == 20
    assert outcome.held == {"constraint": 1, "bad_value": 1, "no_parent": 1, "duplicate": 1, "no_partition": 1}
    details = {held.reason: held.detail for held in await partitions.list_held(database)}
    assert "price_positive" in details["constraint"]
    assert "unknown" in details["no_parent"]


async def test_rows_name_only_some_columns(database: Database, catalog: Catalog) -> None:
    content = f'{{"coin_id": "btc", "ts": "{NOW.isoformat()}", "price": 1, "colour": "red"}}'
    await hold(database, Refused(Reason.NO_PARTITION, "", content, None, NOW), refused(NOW + timedelta(minutes=1)))
    assert (await partitions.replay(database, catalog, "demo.prices")).replayed == 2


@pytest.mark.parametrize(
    ("conflict", "expected"),
    [(Conflict(), Decimal(1)), (ignore(), Decimal(1)), (newest("height"), Decimal(3)), (merge("price"), Decimal(3))],
)
async def test_a_taken_key_is_met_as_declared(database: Database, catalog: Catalog, conflict: Conflict, expected: Decimal) -> None:
    plain = catalog.dataset("demo.prices")
    declared = Dataset(plain.table, "prices", time="ts", entity=["coin_id"], lifecycle=plain.lifecycle, conflict=conflict)
    changed = Catalog(
        [strata, Pack("demo", "tests.fixtures", "For tests.", plain.table.metadata, [catalog.dataset("demo.coins"), declared])]
    )
    await database.execute("INSERT INTO demo.prices VALUES ('btc', %(ts)s, 1, NULL, 5)", {"ts": NOW})
    for price, height in ((2, 4), (3, 6)):
        row = {"coin_id": "btc", "ts": NOW.isoformat(), "price": price, "height": height}
        await hold(database, Refused(Reason.DUPLICATE, "", json.dumps(row), None, NOW))
    await partitions.replay(database, changed, "demo.prices")
    assert await database.fetch_value("SELECT price FROM demo.prices") == expected
    left = await partitions.count_held(database)
    assert [count.rows for count in left] == ([2] if conflict == Conflict() else [])


async def test_a_relation_goes_to_quarantine_within_the_server(database: Database, catalog: Catalog) -> None:
    async with database.transaction() as connection:
        await connection.execute("CREATE TEMP TABLE staged (LIKE demo.prices) ON COMMIT DROP")
        await connection.execute("INSERT INTO staged SELECT 'btc', '2020-05-01 07:00+00', 1.50, NULL, NULL FROM generate_series(1, 3)")
        await connection.execute("INSERT INTO staged SELECT 'btc', '2020-05-01 08:00+00'::timestamptz, 2")
        added = await add_relation(
            connection, "demo.prices", sql.Identifier("staged"), Reason.LATE, "its day has left", time="ts", batch="b"
        )
    assert added == 4
    rows = await partitions.list_held(database, reasons=["late"])
    assert sorted((row.times, row.row_time) for row in rows) == [(1, OLD + timedelta(hours=1)), (3, OLD)]
    assert (await partitions.replay(database, catalog, "demo.prices", make_partitions=True)).replayed == 2
    assert str(await database.fetch_value("SELECT price FROM demo.prices ORDER BY ts LIMIT 1")) == "1.50"


async def test_rows_can_be_given_up(database: Database, catalog: Catalog) -> None:
    await hold(database, refused(OLD), refused(OLD, "2", Reason.LATE), refused(OLD, "3"))
    with pytest.raises(UsageError, match="which rows"):
        await partitions.drop_held(database)
    assert await partitions.drop_held(database, reasons=["late"]) == 1
    first = (await partitions.list_held(database))[-1]
    assert await partitions.drop_held(database, ids=[first.id]) == 1
    assert await partitions.drop_held(database, ids=[first.id]) == 0
    assert len(await partitions.list_held(database, states=["dropped"])) == 2
    await hold(database, refused(OLD))
    assert [held.times for held in await partitions.list_held(database) if held.content == first.content] == [1]


async def test_an_unknown_dataset_is_named(database: Database, catalog: Catalog) -> None:
    with pytest.raises(UnknownName):
        await partitions.replay(database, catalog, "demo.price")


async def test_several_replays_at_once_put_each_row_in_once(database: Database, catalog: Catalog) -> None:
    await hold(database, *(refused(NOW + timedelta(seconds=second)) for second in range(500)))
    outcomes = await asyncio.gather(*(partitions.replay(database, catalog, "demo.prices", batch=20) for _ in range(3)))
    assert sum(outcome.replayed for outcome in outcomes) == 500
    assert await database.fetch_value("SELECT count(*) FROM demo.prices") == 500


times = st.datetimes(datetime(2026, 3, 8), datetime(2026, 3, 16)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001
prices = st.decimals("-2", "1000000", places=9, allow_nan=False)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["btc", "nobody"]), times, prices), max_size=30), st.integers(1, 10))
async def test_nothing_is_lost_or_doubled(
    database: Database, catalog: Catalog, rows: list[tuple[str, datetime, Decimal]], batch: int
) -> None:
    """Held against a plain oracle: every row is in its table or still held, exactly once."""
    await database.execute("TRUNCATE demo.prices, strata.quarantine")
    await hold(database, *(refused(at, f"{price:f}", coin=coin) for coin, at, price in rows))
    different = {(coin, at, f"{price:f}") for coin, at, price in rows}
    fitting = {
        (coin, at)
        for coin, at, price in different
        if coin == "btc" and Decimal(price) > 0 and NOW.replace(day=9, hour=0, minute=0) <= at < NOW.replace(day=14, hour=0, minute=0)
    }
    outcome = await partitions.replay(database, catalog, "demo.prices", batch=batch)
    stored = {(row.coin_id, row.ts) for row in await database.fetch_all("SELECT coin_id, ts FROM demo.prices")}
    assert stored == fitting
    assert outcome.replayed == len(fitting)
    assert sum(outcome.held.values()) == len(different) - len(fitting)
