"""Each mistake in a declaration is named with its dataset and field."""

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
import sqlalchemy as sa

from chainstrata import model
from chainstrata.errors import DeclarationError, UnknownName
from chainstrata.model import (
    INSTANT,
    PRICE,
    Catalog,
    ChangeOnly,
    Conflict,
    Dataset,
    Interval,
    Late,
    Lifecycle,
    Measure,
    Mirror,
    OnConflict,
    Pack,
    Parent,
    Rollup,
    Spelling,
    SqlKind,
    column,
    count,
    created_at,
    days,
    distinct,
    hours,
    index,
    last,
    mean,
    metadata,
    minutes,
    months,
    ohlc,
    percentiles,
    rollup_table,
    spelled,
    time_mean,
    total,
    updated_at,
    weeks,
)
from chainstrata.model.columns import led_by
from chainstrata.model.pack import parse_sql_object

HERE = "chainstrata.packs.strata"


def table(meta: sa.MetaData, name: str = "minute_close", key: tuple[str, ...] = ("coin_id", "minute_ts"), **options: Any) -> sa.Table:
    options.setdefault("postgresql_partition_by", "RANGE (minute_ts)")
    return sa.Table(
        name,
        meta,
        column("coin_id", sa.Text, doc="Coin."),
        column("minute_ts", INSTANT, doc="Minute."),
        column("local_ts", sa.TIMESTAMP, doc="A time without a zone."),
        column("price_usd", PRICE, doc="Price."),
        column("market_cap_usd", PRICE, nullable=True, doc="Market capitalisation."),
        column("volume_24h_usd", PRICE, rolling=hours(24), doc="Volume of the last 24 hours."),
        sa.PrimaryKeyConstraint(*key, name=f"{name}_pkey"),
        comment="One row per coin and minute.",
        **options,
    )


def minute(meta: sa.MetaData, **changes: Any) -> Dataset:
    raw = changes.pop("table", None)
    own = table(meta) if raw is None else raw
    return replace(Dataset(own, name="minute", time="minute_ts", entity=["coin_id"], lifecycle=Lifecycle(partition=hours(1))), **changes)


def load(make: Callable[[sa.MetaData], list[Dataset]]) -> Catalog:
    meta = metadata("demo")
    return Catalog([Pack("demo", HERE, "A pack.", meta, make(meta), requires=())])


def timed(*measures: Measure, name: str = "hourly", every: Interval | None = None, **changes: Any) -> Rollup:
    rollup = Rollup(name, every or hours(1), ["coin_id"], [last("price_usd"), *measures], late=Late.QUARANTINE)
    return replace(rollup, **changes)


LAST = [last("price_usd")]
MISTAKES: dict[str, tuple[Callable[[sa.MetaData], list[Dataset]], str]] = {
    "key without time": (
        lambda m: [minute(m, table=table(m, "t", key=("coin_id",)))],
        "demo.minute: table: the primary key ('coin_id',) lacks the time column 'minute_ts'",
    ),
    "no time": (lambda m: [minute(m, time="")], "demo.minute: time: a partitioned dataset needs a time column"),
    "time without zone": (lambda m: [minute(m, time="local_ts", lifecycle=Lifecycle())], "demo.minute: time: local_ts is TIMESTAMP()"),
    "unknown time": (lambda m: [minute(m, time="ts", lifecycle=Lifecycle())], "demo.minute: time: unknown column 'ts'"),
    "unknown entity": (lambda m: [minute(m, entity=["coin"])], "demo.minute: entity: unknown column 'coin'"),
    "unknown key of a roll-up": (
        lambda m: [minute(m, rollups=[Rollup("hourly", hours(1), ["coin"], LAST)])],
        "demo.minute: rollups.hourly.by: unknown column 'coin'",
    ),
    "unknown column of a measure": (
        lambda m: [minute(m, rollups=[Rollup("hourly", hours(1), ["coin_id"], [last("prize")])])],
        "demo.minute: rollups.hourly.prize_last: unknown column 'prize'",
    ),
    "two datasets with one name": (
        lambda m: [minute(m), minute(m, table=table(m, "other"))],
        "demo.minute: name: two datasets have this name",
    ),
    "partition not said by the table": (
        lambda m: [minute(m, table=table(m, "t", postgresql_partition_by=None))],
        "demo.minute: lifecycle.partition: the table says PARTITION BY None, the lifecycle means RANGE (minute_ts)",
    ),
    "kept shorter than a bucket": (
        lambda m: [minute(m, lifecycle=Lifecycle(hours(1), keep=minutes(60)), rollups=[Rollup("daily", days(1), ["coin_id"], LAST)])],
        "demo.minute: rollups.daily: a bucket of 1 day needs rows that demo.minute keeps only for 60 minutes",
    ),
    "a month from weeks": (
        lambda m: [
            minute(
                m,
                rollups=[
                    Rollup("weekly", weeks(1), ["coin_id"], LAST),
                    Rollup("monthly", months(1), ["coin_id"], LAST, source="weekly"),
                ],
            )
        ],
        "demo.minute: rollups.monthly.source: 1 month cannot be folded from 1 week",
    ),
    "a sum of a rolling figure": (
        lambda m: [minute(m, rollups=[Rollup("hourly", hours(1), ["coin_id"], [total("volume_24h_usd")])])],
        "demo.minute: rollups.hourly.volume_24h_usd_total: volume_24h_usd already covers 24 hours at every row",
    ),
    "a sum of text": (
        lambda m: [minute(m, rollups=[Rollup("hourly", hours(1), [], [total("coin_id")])])],
        "demo.minute: rollups.hourly.coin_id_total: coin_id is Text(), not a number",
    ),
    "a mean over time of several coins": (
        lambda m: [minute(m, rollups=[timed(time_mean("price_usd", holds=hours(1)), by=[])])],
        "demo.minute: rollups.hourly.price_usd: needs one row of a key at a time, and nothing tells several",
    ),
    "a mean over time without what held last": (
        lambda m: [minute(m, rollups=[timed(time_mean("price_usd", held="close", holds=hours(1)))])],
        "demo.minute: rollups.hourly.price_usd: needs the last price_usd in 'close'",
    ),
    "a mean over time that takes in late rows": (
        lambda m: [minute(m, rollups=[timed(time_mean("price_usd", holds=hours(1)), late=Late.MERGE)])],
        "demo.minute: rollups.hourly.price_usd: cannot take a row in between others that have left",
    ),
    "a mean over time of some rows": (
        lambda m: [minute(m, rollups=[timed(time_mean("price_usd", holds=hours(1)), where=sa.column("price_usd") > 1)])],
        "demo.minute: rollups.hourly.price_usd: cannot leave rows out",
    ),
    "a mean over time that holds for ever": (
        lambda m: [minute(m, rollups=[timed(time_mean("price_usd"))])],
        "demo.minute: rollups.hourly.price_usd: does not say how long a value holds",
    ),
    "a mean over time that holds for a month": (
        lambda m: [minute(m, rollups=[timed(time_mean("price_usd", holds=months(1)))])],
        "demo.minute: rollups.hourly.price_usd: does not say how long a value holds",
    ),
    "a mean over time of text": (
        lambda m: [minute(m, rollups=[timed(time_mean("coin_id", holds=hours(1)), last("coin_id"))])],
        "demo.minute: rollups.hourly.coin_id: coin_id is Text(), not a number",
    ),
    "two means over time that hold for other spans": (
        lambda m: [
            minute(
                m,
                rollups=[
                    timed(time_mean("price_usd", holds=hours(1))),
                    timed(time_mean("price_usd", holds=hours(2)), name="daily", every=days(1), source="hourly"),
                ],
            )
        ],
        "demo.minute: rollups.daily.price_usd: hourly does not keep the same",
    ),
    "two roll-ups with one name": (
        lambda m: [
            minute(m, rollups=[Rollup("hourly", hours(1), ["coin_id"], LAST), Rollup("hourly", hours(2), ["coin_id"], LAST, table="x")])
        ],
        "demo.minute: rollups.hourly: two roll-ups have this name",
    ),
    "two measures in one column": (
        lambda m: [minute(m, rollups=[Rollup("hourly", hours(1), ["coin_id"], [last("price_usd"), last("price_usd")])])],
        "demo.minute: rollups.hourly: two measures store a column 'price_usd_last'",
    ),
    "unknown source": (
        lambda m: [minute(m, rollups=[Rollup("daily", days(1), ["coin_id"], LAST, source="hourly")])],
        "demo.minute: rollups.daily.source: unknown roll-up 'hourly'",
    ),
    "a measure its source lacks": (
        lambda m: [
            minute(
                m,
                rollups=[
                    Rollup("hourly", hours(1), ["coin_id"], LAST),
                    Rollup("daily", days(1), ["coin_id"], [mean("price_usd")], source="hourly"),
                ],
            )
        ],
        "demo.minute: rollups.daily: hourly does not keep price_usd_count, price_usd_sum",
    ),
    "keep shorter than a partition": (
        lambda m: [minute(m, lifecycle=Lifecycle(hours(1), keep=minutes(5)))],
        "demo.minute: lifecycle.keep: 5 minutes is shorter than a partition of 1 hour",
    ),
    "terminal rows of partitions": (
        lambda m: [minute(m, lifecycle=Lifecycle(hours(1), terminal="true"))],
        "demo.minute: lifecycle.terminal: a partition leaves as a whole",
    ),
    "newest of what": (
        lambda m: [minute(m, conflict=Conflict(OnConflict.NEWEST))],
        "demo.minute: conflict.version: newest needs the column",
    ),
    "a parent nobody declared": (
        lambda m: [minute(m, parents=[Parent("demo.coins", [("coin_id", "id")])])],
        "demo.minute: parents: unknown dataset 'demo.coins'",
    ),
    "changes of no entity": (
        lambda m: [minute(m, entity=[], change_only=ChangeOnly(hours(1)))],
        "demo.minute: change_only: needs entity and time",
    ),
    "unknown column of a mirror": (
        lambda m: [minute(m, mirror=Mirror(order_by=["id"]))],
        "demo.minute: mirror.order_by: unknown column 'id'",
    ),
    "a column without meaning": (
        lambda m: [Dataset(sa.Table("t", m, sa.Column("id", sa.BigInteger, primary_key=True), comment="A row."), name="t")],
        "demo.t: table.id: has no meaning given",
    ),
    "an index without reason": (
        lambda m: [
            Dataset(
                sa.Table("t", m, column("id", sa.BigInteger, primary_key=True, doc="Id."), sa.Index("idx_t", "id"), comment="A row."),
                name="t",
            )
        ],
        "demo.t: table.idx_t: does not say why it is there",
    ),
}


@pytest.mark.parametrize(("make", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_with_dataset_and_field(make: Callable[[sa.MetaData], list[Dataset]], message: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        load(make)
    assert raised.value.message.startswith(message)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(DeclarationError) as raised:
        load(lambda m: [minute(m, entity=["coin"], mirror=Mirror(order_by=["id"]))])
    assert "unknown column 'coin'" in raised.value.message
    assert "mirror.order_by" in raised.value.hint


def test_a_sound_declaration_draws_up_every_table() -> None:
    measures = [
        ohlc("price_usd"),
        last("volume_24h_usd"),
        mean("price_usd"),
        count("rows"),
        distinct("coin_id"),
        percentiles("price_usd", 0.5, 0.999),
    ]
    meta = metadata("demo")
    rollups = [
        Rollup(
            "hourly", hours(1), ["coin_id"], measures, table="hourly_close", bucket="hour_ts", lifecycle=Lifecycle(days(1), keep=days(1))
        ),
        Rollup("monthly", months(1), ["coin_id"], measures, source="hourly", incremental=True, late=Late.QUARANTINE),
    ]
    dataset = minute(
        meta,
        table=table(meta, "minutes"),
        lifecycle=Lifecycle(hours(1), keep=minutes(60)),
        rollups=rollups,
    )
    catalog = Catalog([Pack("demo", HERE, "A pack.", meta, [dataset], requires=())])
    assert set(meta.tables) == {
        "demo.minutes",
        "demo.minutes__dirty",
        "demo.hourly_close",
        "demo.hourly_close__carried",
        "demo.hourly_close__dirty",
        "demo.minutes_monthly",
        "demo.minutes_monthly__carried",
    }
    hourly = catalog.pack("demo").rollup_table(dataset, rollups[0])
    assert hourly.primary_key.columns.keys() == ["coin_id", "hour_ts"]
    assert {"price_usd_mean", "price_usd_p50", "price_usd_p99_9", "coin_id_distinct"} <= set(hourly.c.keys())
    assert all(c.comment for c in hourly.c)
    assert catalog.rollup("demo.minute.monthly") == (dataset, rollups[1])


def test_a_foreign_key_of_the_raw_table_goes_with_its_column() -> None:
    meta = metadata("demo")
    sa.Table("coins", meta, column("coin_id", sa.Text, primary_key=True, doc="Coin."), comment="A coin.")
    raw = table(meta, "minute_close")
    raw.append_constraint(sa.ForeignKeyConstraint(["coin_id"], ["demo.coins.coin_id"], name="fk_minute_close_coin"))
    dataset = minute(meta, table=raw, rollups=[Rollup("hourly", hours(1), ["coin_id"], LAST, table="hourly_close")])
    Pack("demo", HERE, "A pack.", meta, [dataset], requires=())
    assert [fk.name for fk in meta.tables["demo.hourly_close"].foreign_key_constraints] == ["fk_hourly_close_coin"]


def test_an_unknown_name_suggests_the_nearest() -> None:
    catalog = load(lambda m: [minute(m)])
    with pytest.raises(UnknownName, match=r"unknown dataset 'demo\.minutes'") as raised:
        catalog.dataset("demo.minutes")
    assert raised.value.hint == "Did you mean demo.minute?"


def test_index_keeps_its_reason() -> None:
    assert index("idx", "a", why="because").info == {"why": "because"}


def test_no_module_hides_a_name_of_the_package() -> None:
    names = set(model.__all__)
    modules = {path.name.removesuffix(".py") for path in files(model).iterdir()}
    assert names & modules == set(), "importing such a module puts it in the place of the name"


@pytest.mark.parametrize(
    ("stamps", "function"),
    [
        pytest.param((created_at, updated_at), "stamp_row", id="both"),
        pytest.param((updated_at,), "touch_updated_at", id="last write only"),
        pytest.param((created_at,), None, id="first write only"),
    ],
)
def test_a_table_that_says_when_it_was_written_gets_the_trigger(
    stamps: tuple[Callable[[], sa.Column[Any]], ...], function: str | None
) -> None:
    meta = metadata("prices")
    made = sa.Table(
        "coins", meta, column("coin_id", sa.Text, primary_key=True, doc="Coin."), *(stamp() for stamp in stamps), comment="Coin."
    )
    pack = Pack("prices", HERE, "Prices.", meta, [Dataset(made, "coins")])
    triggers = {item.name: item for item in pack.sql_objects() if item.kind is SqlKind.TRIGGER}
    if function is None:
        assert triggers == {}
    else:
        assert triggers["coins__stamp"].table == "prices.coins"
        assert f'EXECUTE FUNCTION "strata"."{function}"()' in triggers["coins__stamp"].sql


def test_a_bucket_has_what_every_row_has() -> None:
    hourly = Rollup("hourly", hours(1), ["coin_id"], [ohlc("price_usd"), last("market_cap_usd")])
    buckets = rollup_table(hourly, table(metadata("prices")), metadata("prices"))
    assert not buckets.c.price_usd_close.nullable
    assert buckets.c.market_cap_usd_last.nullable


@pytest.mark.parametrize(
    ("partition", "indexes", "led"),
    [
        (None, [], ["idx_minute_close_hourly_time"]),
        (months(1), [], ["idx_minute_close_hourly_time"]),
        (hours(2), [], []),
        (months(1), [sa.Index("idx_own", "bucket", "price_usd_last")], ["idx_own"]),
        (months(1), [sa.Index("idx_other", "price_usd_last")], ["idx_minute_close_hourly_time"]),
    ],
    ids=["many buckets", "many in a partition", "few in a partition", "declared", "another one"],
)
def test_buckets_are_found_by_their_time(partition: Interval | None, indexes: list[sa.Index], led: list[str]) -> None:
    hourly = Rollup("hourly", hours(1), ["coin_id"], [last("price_usd")], lifecycle=Lifecycle(partition=partition), indexes=indexes)
    made = rollup_table(hourly, table(metadata("prices")), metadata("prices"))
    assert [found.name for found in led_by(made, "bucket")] == led


def test_the_index_of_a_materialized_view_is_an_object_of_its_own() -> None:
    text = "-- mv_day_key\n-- Refreshed while it is read.\n-- requires: mv_day\nCREATE UNIQUE INDEX mv_day_key ON prices.mv_day (day);\n"
    made = parse_sql_object(text, "prices", "mv_day_key.sql")
    assert (made.kind, made.table, made.requires) == (SqlKind.INDEX, "prices.mv_day", ("mv_day",))
    assert (made.doc, made.sql) == ("Refreshed while it is read.", "CREATE UNIQUE INDEX mv_day_key ON prices.mv_day (day);")
    with pytest.raises(DeclarationError, match="must name its table with the schema"):
        parse_sql_object(text.replace("prices.", ""), "prices", "mv_day_key.sql")


def test_a_sql_file_is_its_name_its_meaning_and_one_statement() -> None:
    parsed = parse_sql_object(
        "-- twice\n-- Doubles a number,\n-- exactly.\n-- requires: once, half\nCREATE FUNCTION a.twice()\n-- no\nX", "a", "twice.sql"
    )
    assert (parsed.full_name, parsed.kind, parsed.requires) == ("a.twice", SqlKind.FUNCTION, ("once", "half"))
    assert parsed.doc == "Doubles a number, exactly."
    assert parsed.sql == "CREATE FUNCTION a.twice()\n-- no\nX"


def test_a_trigger_says_which_table_it_is_on() -> None:
    parsed = parse_sql_object("-- t\n-- Why.\nCREATE TRIGGER t\nAFTER INSERT ON a.b FOR EACH ROW", "a", "t.sql")
    assert (parsed.kind, parsed.table) == (SqlKind.TRIGGER, "a.b")
    with pytest.raises(DeclarationError, match=r"a: t\.sql: must name its table with the schema"):
        parse_sql_object("-- t\n-- Why.\nCREATE TRIGGER t AFTER INSERT ON b FOR EACH ROW", "a", "t.sql")


@pytest.mark.parametrize("text", ["CREATE VIEW a.t", "-- u\n-- Why.\nCREATE VIEW a.t", "-- t\nCREATE VIEW a.t", "-- t\n-- Why.\nSELECT 1"])
def test_a_sql_file_without_name_meaning_or_create_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match=r"a: t\.sql: must open with"):
        parse_sql_object(text, "a", "t.sql")


def test_a_spelling_keeps_length_and_characters_apart() -> None:
    made = spelled("t_hash_form", "hash", Spelling("0x[0-9a-f]*", 66, 66), Spelling("[0-9A-Z]*", 2, 64), empty=True)
    assert str(made.sqltext) == (
        "(hash = '') OR (length(hash) = 66 AND hash ~ '^0x[0-9a-f]*$') OR (length(hash) BETWEEN 2 AND 64 AND hash ~ '^[0-9A-Z]*$')"
    )
    assert (
        str(spelled("t_id_form", "id", Spelling("[a-z]*:0x[0-9]*", 4, 9)).sqltext)
        == "length(id) BETWEEN 4 AND 9 AND id ~ '^[a-z]*:0x[0-9]*$'"
    )
    assert str(spelled("t_hash_form", "hash", Spelling("[0-9]*", 1, 2)).sqltext) == "length(hash) BETWEEN 1 AND 2 AND hash ~ '^[0-9]*$'"
