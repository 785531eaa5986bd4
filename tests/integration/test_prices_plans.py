"""How questions to the prices pack are answered: by the index made for each, from the newest partitions, without a second index."""

from datetime import UTC, datetime, timedelta

import pytest

from chainstrata.engines.postgres.connection import Connection
from tests.fixtures.plans import explain
from tests.fixtures.prices_pack import CLOSES, add_coins, fill_closes


@pytest.fixture
async def filled(rows: Connection) -> Connection:
    """Give coins and periods enough that reading everything costs more than looking it up."""
    await add_coins(rows, 3000)
    await fill_closes(rows, 600)
    return rows


MINUTE = "SELECT * FROM prices.minute_close WHERE minute_ts = date_trunc('hour', now(), 'UTC') + interval '30 minutes'"
ANSWERS = {
    "SELECT * FROM prices.coin_priorities WHERE market_cap_rank > 2000 ORDER BY market_cap_rank LIMIT 100": "idx_coin_priorities_rank",
    "SELECT * FROM prices.coin_priorities WHERE market_cap_rank <= 100": "idx_coin_priorities_rank_active",
    "SELECT * FROM prices.coin_priorities ORDER BY last_updated DESC LIMIT 50": "idx_coin_priorities_updated",
    MINUTE: "idx_minute_close_time",
    "SELECT * FROM prices.hourly_close WHERE hour_ts = date_trunc('day', now(), 'UTC')": "idx_hourly_close_time",
    "SELECT * FROM prices.daily_close ORDER BY day_ts DESC LIMIT 10": "idx_daily_close_time",
    "SELECT * FROM prices.weekly_close WHERE week_ts = date_trunc('year', now(), 'UTC')": "idx_weekly_close_time",
    "SELECT * FROM prices.monthly_close WHERE month_ts = date_trunc('year', now(), 'UTC')": "idx_monthly_close_time",
}


@pytest.mark.conforms("S3-19", "S3-20", "S3-34", "S3-35", "S3-36", "S3-37", "S3-38", "S3-41")
async def test_each_question_is_answered_by_the_index_made_for_it(filled: Connection) -> None:
    answered = {query: (await explain(filled, query)).indexes for query in ANSWERS}
    assert answered == {query: {index} for query, index in ANSWERS.items()}


@pytest.mark.conforms("S3-03", "S3-29", "S3-30", "S3-31", "S3-32", "S3-33")
async def test_a_coin_over_time_is_read_from_the_primary_key_in_either_direction(filled: Connection) -> None:
    """Why there is no index on (coin, time descending): it would repeat the key."""
    for table, column in CLOSES.items():
        for order in ("", " DESC"):
            plan = await explain(filled, f"SELECT * FROM prices.{table} WHERE coin_id = 'coin-7' ORDER BY {column}{order} LIMIT 5")
            # In partitions with nothing in them yet, one index is as good as another.
            assert f"{table}_pkey" in plan.indexes
            assert "Sort" not in plan.nodes
        led = await filled.fetch_all(
            "SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_attribute AS a ON a.attrelid = i.indrelid"
            " WHERE i.indrelid = %(table)s::regclass AND a.attname = 'coin_id' AND i.indkey[0] = a.attnum",
            {"table": f"prices.{table}"},
        )
        assert [row.relname for row in led] == [f"{table}_pkey"]


@pytest.mark.conforms("S3-39", "S3-40")
@pytest.mark.parametrize(
    ("table", "column", "recent", "pattern"),
    [
        ("minute_close", "minute_ts", timedelta(minutes=10), "y%Ym%md%dh%H"),
        ("hourly_close", "hour_ts", timedelta(hours=12), "y%Ym%md%d"),
    ],
)
async def test_the_most_recent_periods_are_read_from_the_newest_partitions_alone(
    filled: Connection, table: str, column: str, recent: timedelta, pattern: str
) -> None:
    """Why there is no partial index on what is recent: the partition is that index, and it moves by itself."""
    query = f"SELECT * FROM prices.{table} WHERE {column} >= now() - interval '{recent}' AND {column} <= now()"
    # The transaction, and with it its now(), began a little before.
    now, before = datetime.now(UTC), timedelta(minutes=1)
    allowed = {f"{table}_{edge.strftime(pattern)}" for edge in (now - recent - before, now - recent, now - before, now)}
    read = (await explain(filled, query)).tables
    assert read <= allowed
    assert read


@pytest.mark.conforms("S3-03", "S3-24", "S3-25")
async def test_runs_are_found_by_start_and_by_kind_and_state(rows: Connection) -> None:
    await rows.execute(
        """
        INSERT INTO prices.collection_status (collection_type, status, start_time)
        SELECT 'continuous', (CASE WHEN n % 1000 = 0 THEN 'failed' ELSE 'completed' END)::prices.collection_state, now() - n * interval '1 minute'
        FROM generate_series(1, 20000) AS n
        """
    )
    await rows.execute("ANALYZE prices.collection_status")
    latest = await explain(rows, "SELECT * FROM prices.collection_status ORDER BY start_time DESC LIMIT 20")
    failed = await explain(rows, "SELECT * FROM prices.collection_status WHERE collection_type = 'continuous' AND status = 'failed'")
    assert latest.indexes == {"idx_collection_status_start_time"}
    assert failed.indexes == {"idx_collection_status_type_status"}


@pytest.mark.conforms("S3-27")
async def test_a_day_of_usage_is_found_through_its_key(rows: Connection) -> None:
    await rows.execute("INSERT INTO prices.api_usage_stats (date) SELECT '2000-01-01'::date + n FROM generate_series(1, 9000) AS n")
    await rows.execute("ANALYZE prices.api_usage_stats")
    latest = await explain(rows, "SELECT * FROM prices.api_usage_stats ORDER BY date DESC LIMIT 30")
    one = await explain(rows, "SELECT * FROM prices.api_usage_stats WHERE date = '2010-01-01'")
    assert latest.indexes == one.indexes == {"api_usage_stats_pkey"}


async def test_no_index_repeats_the_beginning_of_another(rows: Connection) -> None:
    repeated = await rows.fetch_all(
        """
        SELECT a.indexrelid::regclass::text AS one, b.indexrelid::regclass::text AS other
        FROM pg_index AS a
        JOIN pg_index AS b ON a.indrelid = b.indrelid AND a.indexrelid <> b.indexrelid
        JOIN pg_class AS c ON c.oid = a.indrelid AND c.relnamespace = 'prices'::regnamespace AND NOT c.relispartition
        WHERE a.indpred IS NULL AND b.indpred IS NULL AND a.indkey::int2[] = (b.indkey::int2[])[0:a.indnkeyatts - 1]
        """
    )
    assert repeated == []
