"""The prices pack on a real server: what its tables hold, refuse, and how their questions are answered."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString

import pytest
from psycopg import sql

from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.errors import BadValue, CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation
from chainstrata.model import Catalog, Unit
from chainstrata.packs.prices.model import CollectionState, CollectionType
from tests.fixtures.prices_pack import CLOSES, add_close, add_coins

VALUES = {
    "price_usd": "numeric",
    "market_cap_usd": "numeric",
    "volume_24h_usd": "numeric",
    "coin_rank": "integer",
    "created_at": "timestamp with time zone",
    "updated_at": "timestamp with time zone",
}


async def columns(connection: Connection, table: str) -> dict[str, tuple[str, bool]]:
    """Return type and nullability of every column."""
    found = await connection.fetch_all(
        "SELECT attname, format_type(atttypid, atttypmod) AS type, NOT attnotnull AS nullable FROM pg_attribute "
        "WHERE attrelid = %(table)s::regclass AND attnum > 0 ORDER BY attnum",
        {"table": f"prices.{table}"},
    )
    return {row.attname: (row.type, row.nullable) for row in found}


@pytest.mark.conforms("S3-06", "S3-07")
async def test_a_minute_has_what_was_asked(rows: Connection) -> None:
    found = await columns(rows, "minute_close")
    assert list(found) == [
        "coin_id",
        "minute_ts",
        "price_usd",
        "market_cap_usd",
        "volume_24h_usd",
        "coin_rank",
        "source_ts",
        "created_at",
        "updated_at",
    ]
    assert found["coin_id"] == ("text", False)
    assert found["minute_ts"] == ("timestamp with time zone", False)
    assert [name for name, (_, nullable) in found.items() if nullable] == ["market_cap_usd", "volume_24h_usd", "coin_rank"]


@pytest.mark.conforms("S3-07", "S3-12", "S3-13", "S3-14", "S3-15")
@pytest.mark.parametrize("table", CLOSES)
async def test_no_price_is_rounded_away(rows: Connection, table: LiteralString) -> None:
    await add_coins(rows)
    price = Decimal("0.00000000123000000000000000000000000000000001")
    await add_close(rows, table, price, market_cap_usd=Decimal("1555886872303.125"), volume_24h_usd=Decimal(10) ** 25)
    row = await rows.fetch_one(sql.SQL("SELECT price_usd, market_cap_usd, volume_24h_usd FROM prices.{}").format(sql.Identifier(table)))
    assert (row.price_usd, row.market_cap_usd, row.volume_24h_usd) == (price, Decimal("1555886872303.125"), Decimal(10) ** 25)


@pytest.mark.conforms("S3-02", "S3-08", "S3-12", "S3-13", "S3-14", "S3-15", "S3-16")
@pytest.mark.parametrize("table", CLOSES)
async def test_all_five_tables_have_the_same_values_and_form_of_key(rows: Connection, catalog: Catalog, table: LiteralString) -> None:
    found = await columns(rows, table)
    assert {name: found[name][0] for name in VALUES} == VALUES
    assert [name for name in VALUES if found[name][1]] == ["market_cap_usd", "volume_24h_usd", "coin_rank"]
    key = await rows.fetch_one(
        "SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint WHERE conrelid = %(table)s::regclass AND contype = 'p'",
        {"table": f"prices.{table}"},
    )
    assert (key.conname, key.definition) == (f"{table}_pkey", f"PRIMARY KEY (coin_id, {CLOSES[table]})")
    partitioned = await rows.fetch_value("SELECT pg_get_partkeydef(%(table)s::regclass)", {"table": f"prices.{table}"})
    # Weeks are kept for less than the year a partition of theirs would span.
    assert partitioned == (None if table == "weekly_close" else f"RANGE ({CLOSES[table]})")


@pytest.mark.conforms("S3-08")
async def test_a_second_row_of_a_minute_is_refused(rows: Connection) -> None:
    await add_coins(rows)
    await add_close(rows, "minute_close")
    with pytest.raises(UniqueViolation) as caught:
        await add_close(rows, "minute_close", 2)
    assert re.fullmatch(r"minute_close_y\d{4}m\d\dd\d\dh\d\d_pkey", caught.value.constraint)


@pytest.mark.conforms("S3-09", "S3-10", "S3-11", "S3-12", "S3-13", "S3-15")
@pytest.mark.parametrize(
    ("table", "ahead", "pattern"),
    [
        ("minute_close", timedelta(hours=23), "%Yy%mm%dd%Hh"),
        ("hourly_close", timedelta(days=6), "%Yy%mm%dd"),
        ("daily_close", timedelta(days=6), "%Yy%mm%dd"),
        ("monthly_close", timedelta(days=365), "%Yy"),
    ],
)
async def test_partitions_cover_the_present_and_what_comes(rows: Connection, table: LiteralString, ahead: timedelta, pattern: str) -> None:
    found = await rows.fetch_all(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = %(table)s::regclass", {"table": f"prices.{table}"}
    )
    names = {row.name.removeprefix("prices.") for row in found}
    # y2026m11d21h02: every figure behind its letter.
    parts = re.sub(r"%(\w)(\w)", r"\2%\1", pattern)
    for instant in (datetime.now(UTC), datetime.now(UTC) + ahead):
        assert f"{table}_{instant.strftime(parts)}" in names


@pytest.mark.conforms("S3-14")
async def test_a_week_starts_on_monday_and_a_month_comes_from_days(catalog: Catalog) -> None:
    minute = catalog.dataset("prices.minute")
    weekly, monthly = minute.rollup("weekly"), minute.rollup("monthly")
    assert weekly.every.floor(datetime(2025, 3, 1, tzinfo=UTC)) == datetime(2025, 2, 24, tzinfo=UTC)
    assert "Monday 00:00 UTC" in weekly.doc
    assert (monthly.source, monthly.every.unit, monthly.incremental) == ("daily", Unit.MONTH, True)


@pytest.mark.conforms("S3-06", "S3-12", "S3-13", "S3-14", "S3-15")
def test_each_period_is_kept_as_long_as_was_asked(catalog: Catalog) -> None:
    minute = catalog.dataset("prices.minute")
    kept = {rollup.name: rollup.lifecycle.keep and str(rollup.lifecycle.keep) for rollup in minute.rollups}
    assert str(minute.lifecycle.keep) == "60 minutes"
    assert kept == {"hourly": "24 hours", "daily": "7 days", "weekly": "52 weeks", "monthly": None}
    runs = catalog.dataset("prices.collection").lifecycle
    assert (str(runs.keep), runs.terminal) == ("30 days", "status <> 'running'")


@pytest.mark.conforms("S3-17")
@pytest.mark.parametrize("table", [table for table in CLOSES if table != "minute_close"])
async def test_a_period_has_open_high_low_and_close(rows: Connection, table: LiteralString) -> None:
    await add_coins(rows)
    await add_close(rows, table, Decimal(5), open_usd=4, high_usd=9, low_usd=3)
    for wrong in ({"high_usd": Decimal("4.9")}, {"low_usd": Decimal("5.1")}, {"open_usd": 10}, {"low_usd": 0}):
        assignments = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in wrong)
        with pytest.raises(CheckViolation) as caught:
            async with rows.savepoint():
                await rows.execute(sql.SQL("UPDATE prices.{} SET {}").format(sql.Identifier(table), assignments), wrong)
        assert caught.value.constraint == "chk_price_range"


@pytest.mark.conforms("S3-17")
def test_a_rolling_volume_is_kept_as_its_last_value(catalog: Catalog) -> None:
    for rollup in catalog.dataset("prices.minute").rollups:
        assert {measure.column: measure.kind.value for measure in rollup.measures} == {
            "price_usd": "ohlc", "market_cap_usd": "last", "volume_24h_usd": "last", "coin_rank": "last",
        }  # fmt: skip


@pytest.mark.conforms("S3-18")
async def test_a_coin_may_be_known_by_its_name_alone(rows: Connection) -> None:
    await rows.execute("INSERT INTO prices.coin_priorities (coin_id) VALUES ('new-coin')")
    row = await rows.fetch_one("SELECT * FROM prices.coin_priorities")
    assert (row.market_cap_rank, row.market_cap_usd, row.symbol, row.name, row.image_url) == (None,) * 5
    assert row.created_at == row.updated_at == row.last_updated
    with pytest.raises(UniqueViolation) as caught:
        await rows.execute("INSERT INTO prices.coin_priorities (coin_id) VALUES ('new-coin')")
    assert caught.value.constraint == "coin_priorities_pkey"


# Each constraint by its name: what is refused, and that what lies beside it is not.
NOT_POSITIVE = [0, -1, "NaN", "Infinity", "-Infinity"]


@pytest.mark.conforms("S3-49")
@pytest.mark.parametrize("table", CLOSES)
@pytest.mark.parametrize("price", NOT_POSITIVE)
async def test_a_price_is_a_positive_number(rows: Connection, table: LiteralString, price: Any) -> None:
    await add_coins(rows)
    # The range of a roll-up is made to fit, so that it is the price that does not.
    bounds = {} if table == "minute_close" else {"open_usd": 1, "high_usd": Decimal("Infinity"), "low_usd": 1}
    with pytest.raises(CheckViolation) as caught:
        await add_close(rows, table, Decimal(price), **bounds)
    expected = {"chk_price_positive"} | ({"chk_price_range"} if table != "minute_close" else set())
    assert caught.value.constraint in expected


@pytest.mark.conforms("S3-47", "S3-48")
@pytest.mark.parametrize("table", CLOSES)
@pytest.mark.parametrize(
    ("column", "value", "constraint"),
    [
        ("market_cap_usd", Decimal("-0.01"), "chk_market_cap_positive"),
        ("market_cap_usd", Decimal("NaN"), "chk_market_cap_positive"),
        ("volume_24h_usd", Decimal(-1), "chk_volume_positive"),
        ("volume_24h_usd", Decimal("Infinity"), "chk_volume_positive"),
        ("coin_rank", 0, "chk_coin_rank_positive"),
    ],
)
async def test_figures_that_cannot_be_are_refused(rows: Connection, table: LiteralString, column: str, value: Any, constraint: str) -> None:
    await add_coins(rows)
    with pytest.raises(CheckViolation) as caught:
        async with rows.savepoint():
            await add_close(rows, table, **{column: value})
    assert caught.value.constraint == constraint
    await add_close(rows, table, **{column: 1 if column == "coin_rank" else 0})


@pytest.mark.conforms("S3-47", "S3-48")
@pytest.mark.parametrize(
    ("column", "value", "constraint"),
    [("market_cap_rank", 0, "chk_market_cap_rank_positive"), ("market_cap_usd", -1, "chk_market_cap_positive")],
)
async def test_a_coin_has_a_positive_rank_and_no_negative_value(
    rows: Connection, column: LiteralString, value: int, constraint: str
) -> None:
    statement = sql.SQL("INSERT INTO prices.coin_priorities (coin_id, {}) VALUES ('c', %(value)s)").format(sql.Identifier(column))
    with pytest.raises(CheckViolation) as caught:
        async with rows.savepoint():
            await rows.execute(statement, {"value": value})
    assert caught.value.constraint == constraint
    await rows.execute(statement, {"value": value + 1})


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(table, marks=pytest.mark.conforms(identity))
        for table, identity in zip(CLOSES, ("S3-42", "S3-43", "S3-44", "S3-45", "S3-46"), strict=True)
    ],
)
@pytest.mark.conforms("S3-42", "S3-43", "S3-44", "S3-45", "S3-46")
async def test_a_price_is_of_a_coin_that_exists(rows: Connection, table: LiteralString) -> None:
    with pytest.raises(ForeignKeyViolation) as caught:
        async with rows.savepoint():
            await add_close(rows, table)
    assert caught.value.constraint == f"fk_{table}_coin"
    await add_coins(rows)
    await add_close(rows, table)
    with pytest.raises(ForeignKeyViolation):
        await rows.execute("DELETE FROM prices.coin_priorities")


@pytest.mark.conforms("S3-21")
async def test_a_run_of_the_collector_has_what_was_asked(rows: Connection) -> None:
    asked = [
        "id",
        "collection_type",
        "start_time",
        "end_time",
        "coins_processed",
        "coins_failed",
        "api_calls_made",
        "status",
        "error_message",
    ]
    assert list(await columns(rows, "collection_status"))[: len(asked) + 2] == [*asked, "batch_details", "created_at"]
    await rows.execute(
        "INSERT INTO prices.collection_status (collection_type, start_time, batch_details) VALUES ('complete', now(), %(details)s::jsonb)",
        {"details": '{"batches": [{"page": 1, "coins": 250}]}'},
    )
    row = await rows.fetch_one("SELECT * FROM prices.collection_status")
    assert (row.status, row.end_time, row.coins_processed, row.coins_failed, row.api_calls_made) == ("running", None, 0, 0, 0)
    assert row.batch_details["batches"][0]["coins"] == 250


INSERT_RUN: LiteralString = "INSERT INTO prices.collection_status (collection_type, status, start_time) VALUES (%(kind)s, %(state)s, now())"


@pytest.mark.conforms("S3-22", "S3-51")
async def test_the_kind_of_a_run_is_one_of_four(rows: Connection) -> None:
    for kind in CollectionType:
        await rows.execute(INSERT_RUN, {"kind": kind, "state": "completed"})
    found = await rows.fetch_value("SELECT enum_range(NULL::prices.collection_type)::text[]")
    assert found == ["complete", "continuous", "priority_refresh", "manual"]
    with pytest.raises(BadValue, match="collection_type"):
        await rows.execute(INSERT_RUN, {"kind": "hourly", "state": "completed"})


@pytest.mark.conforms("S3-23", "S3-50")
async def test_the_state_of_a_run_is_one_of_four(rows: Connection) -> None:
    for state in CollectionState:
        await rows.execute(INSERT_RUN, {"kind": "manual", "state": state})
    found = await rows.fetch_value("SELECT enum_range(NULL::prices.collection_state)::text[]")
    assert found == ["running", "completed", "failed", "cancelled"]
    with pytest.raises(BadValue, match="collection_state"):
        await rows.execute(INSERT_RUN, {"kind": "manual", "state": "paused"})


@pytest.mark.conforms("S3-21")
@pytest.mark.parametrize(
    ("assignment", "constraint"),
    [
        ("coins_failed = -1", "chk_collection_counts"),
        ("api_calls_made = -1", "chk_collection_counts"),
        ("end_time = start_time - interval '1 second', status = 'failed'", "chk_collection_end"),
        ("end_time = start_time", "chk_collection_end"),
    ],
)
async def test_a_run_that_cannot_be_is_refused(rows: Connection, assignment: LiteralString, constraint: str) -> None:
    await rows.execute(INSERT_RUN, {"kind": "manual", "state": "running"})
    with pytest.raises(CheckViolation) as caught:
        await rows.execute(sql.SQL("UPDATE prices.collection_status SET {}").format(sql.SQL(assignment)))
    assert caught.value.constraint == constraint


@pytest.mark.conforms("S3-26", "S3-28")
async def test_days_of_usage_are_merged_without_averaging_averages(rows: Connection) -> None:
    await rows.execute(
        """
        INSERT INTO prices.api_usage_stats (date, total_calls, successful_calls, failed_calls, rate_limited_calls,
            response_time_ms_sum, response_time_count, peak_calls_per_minute)
        VALUES ('2026-01-01', 2, 1, 1, 0, 200, 1, 2), ('2026-01-02', 100, 90, 0, 10, 9900, 99, 30)
        """
    )
    days = await rows.fetch_all("SELECT date, average_response_time FROM prices.api_usage_stats ORDER BY date")
    assert [(row.date, row.average_response_time) for row in days] == [(date(2026, 1, 1), 200), (date(2026, 1, 2), 100)]
    both = await rows.fetch_one(
        """
        SELECT sum(response_time_ms_sum) / sum(response_time_count) AS mean, max(peak_calls_per_minute) AS peak,
            sum(rate_limited_calls)::numeric / sum(total_calls) AS limited
        FROM prices.api_usage_stats
        """
    )
    assert (both.mean, both.peak) == (101, 30)
    assert both.limited == pytest.approx(Decimal(10) / 102)
    await rows.execute("INSERT INTO prices.api_usage_stats (date) VALUES ('2026-01-03')")
    assert await rows.fetch_value("SELECT average_response_time FROM prices.api_usage_stats WHERE date = '2026-01-03'") is None


@pytest.mark.conforms("S3-26", "S3-27")
@pytest.mark.parametrize(
    ("columns", "values", "constraint"),
    [
        ("date, total_calls", "'2026-01-01', 0", "api_usage_stats_pkey"),
        ("date, total_calls, failed_calls", "'2026-01-02', 1, 2", "chk_api_usage_counts"),
        ("date, total_calls, rate_limited_calls", "'2026-01-02', 1, -1", "chk_api_usage_counts"),
        ("date, total_calls, response_time_count", "'2026-01-02', 1, 2", "chk_api_usage_times"),
        ("date, total_calls, peak_calls_per_minute", "'2026-01-02', 1, 2", "chk_api_usage_peak"),
    ],
)
async def test_a_day_of_usage_that_cannot_be_is_refused(
    rows: Connection, columns: LiteralString, values: LiteralString, constraint: str
) -> None:
    await rows.execute("INSERT INTO prices.api_usage_stats (date) VALUES ('2026-01-01')")
    with pytest.raises((CheckViolation, UniqueViolation)) as caught:
        await rows.execute(sql.SQL("INSERT INTO prices.api_usage_stats ({}) VALUES ({})").format(sql.SQL(columns), sql.SQL(values)))
    assert caught.value.constraint == constraint


@pytest.mark.conforms("S3-65")
@pytest.mark.parametrize("table", ["minute_close", "coin_priorities", "collection_status", "api_usage_stats"])
async def test_writing_a_row_again_keeps_when_it_was_first_written(packs: Database, table: LiteralString) -> None:
    name = sql.Identifier("prices", table)
    async with packs.transaction() as connection:
        await add_coins(connection)
        await add_close(connection, "minute_close")
        await connection.execute(INSERT_RUN, {"kind": "manual", "state": "running"})
        await connection.execute("INSERT INTO prices.api_usage_stats (date) VALUES ('2026-01-01')")
    first = await packs.fetch_one(sql.SQL("SELECT created_at, updated_at FROM {}").format(name))
    await packs.execute(sql.SQL("UPDATE {} SET created_at = '2000-01-01Z', updated_at = '2000-01-01Z'").format(name))
    second = await packs.fetch_one(sql.SQL("SELECT created_at, updated_at FROM {}").format(name))
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at


@pytest.mark.conforms("S3-65")
async def test_a_price_delivered_again_replaces_the_figures_alone(packs: Database) -> None:
    async with packs.transaction() as connection:
        await add_coins(connection)
        await add_close(connection, "minute_close", 5)
    first = await packs.fetch_one("SELECT * FROM prices.minute_close")
    await packs.execute(
        """
        INSERT INTO prices.minute_close (coin_id, minute_ts, price_usd) SELECT coin_id, minute_ts, 6 FROM prices.minute_close
        ON CONFLICT (coin_id, minute_ts) DO UPDATE SET price_usd = excluded.price_usd, created_at = excluded.created_at
        """
    )
    second = await packs.fetch_one("SELECT * FROM prices.minute_close")
    assert (second.price_usd, second.created_at) == (6, first.created_at)


async def test_a_minute_without_a_price_is_none(rows: Connection) -> None:
    await add_coins(rows)
    with pytest.raises(NotNullViolation) as caught:
        await add_close(rows, "minute_close", None)
    assert caught.value.column == "price_usd"


@pytest.mark.conforms("S3-60")
async def test_sizes_and_activity_are_summed_over_partitions(packs: Database) -> None:
    async with packs.transaction() as connection:
        await add_coins(connection, 100)
        await connection.execute(
            """
            INSERT INTO prices.minute_close (coin_id, minute_ts, price_usd)
            SELECT 'coin-' || coin, date_trunc('hour', now(), 'UTC') + hour * interval '1 hour', 1
            FROM generate_series(1, 100) AS coin, generate_series(0, 2) AS hour
            """
        )
        await connection.execute("UPDATE prices.minute_close SET price_usd = 2 WHERE coin_id = 'coin-1'")
        await connection.execute("DELETE FROM prices.minute_close WHERE coin_id = 'coin-2'")
        # Counts are reported when a transaction ends, but not oftener than once a second unless asked to.
        await connection.execute("SELECT pg_stat_force_next_flush()")
    stats = {row.tablename: row for row in await packs.fetch_all("SELECT * FROM prices.table_stats")}
    minute = stats["minute_close"]
    assert (minute.inserts, minute.updates, minute.deletes, minute.live_tuples) == (300, 3, 3, 297)
    size = await packs.fetch_value("SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('prices.minute_close')")
    assert minute.size_bytes == size
    assert minute.partitions == await packs.fetch_value(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'prices.minute_close'::regclass"
    )
    assert minute.size == await packs.fetch_value("SELECT pg_size_pretty(%(size)s::bigint)", {"size": size})
    assert stats["coin_priorities"].inserts == 100
    assert {*CLOSES, "coin_priorities", "collection_status", "api_usage_stats"} <= set(stats)
    assert not any("_y2" in name for name in stats)
