"""Archives on a real server: whatever PostgreSQL can hold comes back as it was, and what is not whole is found out."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from sqlalchemy.dialects import postgresql as pg

from chainstrata import partitions
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.partitioning import Span
from chainstrata.engines.storage import LocalStorage
from chainstrata.errors import UnknownName
from chainstrata.migrate import create_declared
from chainstrata.model import INSTANT, UINT256, Catalog, Dataset, Lifecycle, Pack, column, days, metadata
from chainstrata.packs.strata import pack as strata
from chainstrata.retention import ArchiveInUse, ArchiveState, Options, Retention
from chainstrata.retention.archive.reading import Question
from chainstrata.retention.archives import Archives
from tests.fixtures.timescale import TIMESCALE

NOW = datetime(2026, 3, 20, 2, tzinfo=UTC)
OLD = datetime(2026, 3, 1, tzinfo=UTC)
DAY = Span(OLD, OLD + timedelta(days=1))


def every_type() -> Catalog:
    """Return a dataset with a column of every kind there is."""
    tables = metadata("kinds")
    table = sa.Table(
        "rows",
        tables,
        column("id", sa.Integer, doc="Number."),
        column("ts", INSTANT, doc="Time."),
        column("small", sa.SmallInteger, nullable=True, doc="."),
        column("big", sa.BigInteger, nullable=True, doc="."),
        column("price", sa.Numeric, nullable=True, doc="."),
        column("fixed", sa.Numeric(20, 8), nullable=True, doc="."),
        column("broad", sa.Numeric(60, 10), nullable=True, doc="."),
        column("units", UINT256, nullable=True, doc="."),
        column("real", sa.REAL, nullable=True, doc="."),
        column("double", sa.Double, nullable=True, doc="."),
        column("flag", sa.Boolean, nullable=True, doc="."),
        column("text", sa.Text, nullable=True, doc="."),
        column("padded", sa.CHAR(5), nullable=True, doc="."),
        column("day", sa.Date, nullable=True, doc="."),
        column("local", sa.TIMESTAMP, nullable=True, doc="."),
        column("other_time", INSTANT, nullable=True, doc="."),
        column("wait", pg.INTERVAL, nullable=True, doc="."),
        column("uuid", sa.Uuid, nullable=True, doc="."),
        column("data", pg.JSONB, nullable=True, doc="."),
        column("raw", sa.LargeBinary, nullable=True, doc="."),
        column("tags", pg.ARRAY(sa.Text), nullable=True, doc="."),
        column("doubled", sa.BigInteger, sa.Computed("id * 2", persisted=True), doc="."),
        sa.PrimaryKeyConstraint("id", "ts", name="rows_pkey"),
        comment="One row per test.",
        postgresql_partition_by="RANGE (ts)",
    )
    lifecycle = Lifecycle(partition=days(1), premake=1, keep=days(7))
    return Catalog(
        [
            strata,
            Pack("kinds", "tests.fixtures", "For tests.", tables, [Dataset(table, "rows", time="ts", entity=["id"], lifecycle=lifecycle)]),
        ]
    )


@pytest.fixture
async def catalog(database: Database, backend: str) -> Catalog:
    """Give the catalog with its tables and an empty partition for the first of March."""
    declared = every_type()
    if backend == TIMESCALE:
        await database.execute("CREATE EXTENSION timescaledb")
    async with database.connection() as connection:
        await create_declared(connection.driver, declared, timescale=backend == TIMESCALE)
    await partitions.apply(database, declared, now=NOW)
    await partitions.ensure(database, declared.dataset("kinds.rows"), OLD, OLD + timedelta(hours=1))
    return declared


def keeper(database: Database, catalog: Catalog, path: Path) -> Retention:
    return Retention(database, catalog, LocalStorage(path), options=Options(release_wait=0.1))


def archives_of(database: Database, catalog: Catalog, path: Path) -> Archives:
    return Archives(database, catalog, LocalStorage(path))


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def decimals(whole: int, places: int) -> st.SearchStrategy[Any]:
    """Digits before and after the point, up to so many."""
    wholes, fractions = st.integers(-(10**whole) + 1, 10**whole - 1), st.integers(0, 10**places - 1)
    return optional(st.builds(lambda number, fraction: f"{number}.{fraction:0{places}}", wholes, fractions))


times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
documents = st.recursive(st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


def interval(delta: timedelta) -> str:
    return f"{delta.days} days {delta.seconds} seconds {delta.microseconds} microseconds"


rows = st.fixed_dictionaries(
    {
        "small": optional(st.integers(-(2**15), 2**15 - 1)),
        "big": optional(st.integers(-(2**63), 2**63 - 1)),
        "price": st.one_of(decimals(12, 9), decimals(3, 30), decimals(60, 4), st.just("1.5000"), st.just("0")),
        "fixed": decimals(12, 8),
        "broad": decimals(50, 10),
        "units": optional(st.integers(0, 2**256 - 1).map(str)),
        "real": optional(st.floats(width=32).map(repr)),
        "double": optional(st.floats().map(repr)),
        "flag": optional(st.booleans()),
        "text": optional(texts),
        "padded": optional(st.text("ab ", max_size=5)),
        "day": optional(st.dates().map(str)),
        "local": optional(times.map(str)),
        "other_time": optional(times.map(lambda at: f"{at}+00")),
        "wait": optional(st.timedeltas(timedelta(-10000), timedelta(10000)).map(interval)),
        "uuid": optional(st.uuids().map(str)),
        "data": optional(documents),
        "raw": optional(st.binary(max_size=8).map(lambda raw: "\\x" + raw.hex())),
        "tags": optional(st.lists(optional(texts), max_size=3)),
    }
)
unusual = st.fixed_dictionaries(
    {
        "price": st.sampled_from(["NaN", "1", "Infinity", "1e-90"]),
        "other_time": st.sampled_from(["infinity", "-infinity", "2026-01-01+00", "4000-01-01 BC"]),
        "day": st.sampled_from(["infinity", "2026-01-01", "20000-01-01"]),
        "text": st.sampled_from(["", "\\N", "NULL", "nan", "\r\n", '"', "a,b"]),
    }
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(some=st.lists(rows | unusual, min_size=1, max_size=8))
@pytest.mark.conforms("S4-86")
async def test_every_value_comes_back_as_it_was(
    database: Database, catalog: Catalog, tmp_path_factory: Any, some: list[dict[str, Any]]
) -> None:
    """Out to the archive and in again, held against a copy of the rows that never left the server."""
    path = tmp_path_factory.mktemp("archive")
    await begin_anew(database, catalog)
    await insert(database, some)
    await database.execute("DROP TABLE IF EXISTS public.before")
    await database.execute("CREATE TABLE public.before AS SELECT * FROM kinds.rows")
    outcome = await keeper(database, catalog, path).run(now=NOW)
    assert [departed.rows for departed in outcome.departed] == [len(some)], outcome
    assert await database.fetch_value("SELECT count(*) FROM kinds.rows") == 0
    archives = archives_of(database, catalog, path)
    read = [batch async for batch in archives.read("kinds.rows", Question(DAY))]
    assert sum(batch.num_rows for batch in read) == len(some)
    await archives.restore("kinds.rows", DAY)
    for one, other in (("public.before", "kinds.rows"), ("kinds.rows", "public.before")):
        statement = f"SELECT count(*) FROM (SELECT {COMPARED} FROM {one} EXCEPT ALL SELECT {COMPARED} FROM {other}) AS missing"
        assert await database.fetch_value(statement) == 0  # type: ignore[arg-type]  # names of this file


COMPARED = (
    (
        "id, ts, small, big, price::text = 'x', trim_scale(price)::text, fixed::text, broad::text, units::text, real::text, double::text, flag, text,"
        " padded::bytea, day, local, other_time, wait::text, uuid, data::text, raw, tags::text, doubled"
    )
    .replace("price::text = 'x', ", "")
    .replace("padded::bytea", "octet_length(padded), padded::text")
)


async def begin_anew(database: Database, catalog: Catalog) -> None:
    """Leave nothing of the example before."""
    rows = await database.fetch_all("SELECT relname FROM pg_class WHERE relname LIKE 'rows\\_y2026m03d01%%' AND relkind = 'r'")
    for row in rows:
        await database.execute(sql.SQL("DROP TABLE kinds.{}").format(sql.Identifier(row.relname)))
    await database.execute("TRUNCATE strata.hold, strata.archive, strata.departure")
    await partitions.ensure(database, catalog.dataset("kinds.rows"), OLD, OLD + timedelta(hours=1))


async def insert(database: Database, some: list[dict[str, Any]]) -> None:
    import json

    content = [{"id": place, "ts": (OLD + timedelta(minutes=7 * place)).isoformat(), **row} for place, row in enumerate(some)]
    names = "id, ts, small, big, price, fixed, broad, units, real, double, flag, text, padded, day, local, other_time, wait, uuid, data, raw, tags"
    statement = f"INSERT INTO kinds.rows ({names}) SELECT {names} FROM jsonb_populate_recordset(NULL::kinds.rows, %(content)s::jsonb)"
    await database.execute(statement, {"content": json.dumps(content)})  # type: ignore[arg-type]  # names of this file


async def test_each_column_is_written_as_it_takes_least_room(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    """Deltas for times in order, a dictionary for what repeats, split bytes for floats that do not."""
    await database.execute(
        "INSERT INTO kinds.rows (id, ts, big, double, text) SELECT i, %(old)s::timestamptz + i * interval '1 s', i * 12345678901,"
        " 1 + random(), md5((random() * 50)::int::text) FROM generate_series(1, 20000) i",
        {"old": OLD},
    )
    await keeper(database, catalog, tmp_path).run(now=NOW)
    [path] = tmp_path.rglob("*.parquet")
    group = pq.ParquetFile(path).metadata.row_group(0)
    encodings = {column.path_in_schema: set(column.encodings) for column in map(group.column, range(group.num_columns))}
    assert all("DELTA_BINARY_PACKED" in encodings[name] for name in ("id", "ts", "big", "doubled"))
    assert "BYTE_STREAM_SPLIT" in encodings["double"]
    assert "RLE_DICTIONARY" in encodings["text"]
    rows = pq.read_table(path)
    assert rows.num_rows == 20000
    assert pa.compute.sum(rows["big"]).as_py() == sum(range(20001)) * 12345678901


# What archives are good for ------------------------------------------------------------------------------------------
@pytest.fixture
async def three_days(database: Database, catalog: Catalog, tmp_path: Path) -> Archives:
    """Give the archives of three days of a hundred rows each; prices get finer from day to day."""
    await partitions.ensure(database, catalog.dataset("kinds.rows"), OLD, OLD + timedelta(days=3))
    for day, places in enumerate((2, 19, 40)):
        await database.execute(
            "INSERT INTO kinds.rows (id, ts, price, text)"
            " SELECT i, %(start)s + i * interval '10 min', round(1 + i / 10::numeric ^ %(places)s, %(places)s), 'day' || %(day)s"
            " FROM generate_series(1, 100) i",
            {"start": OLD + timedelta(days=day), "places": places, "day": day},
        )
    outcome = await keeper(database, catalog, tmp_path).run(now=NOW)
    assert [departed.rows for departed in outcome.departed] == [100, 100, 100]
    return archives_of(database, catalog, tmp_path)


async def collect(archives: Archives, question: Question) -> pa.Table:
    schema = await archives.schema("kinds.rows", question)
    return pa.Table.from_batches([batch async for batch in archives.read("kinds.rows", question)], schema)


async def test_archived_rows_are_read_through_the_name_of_the_dataset(three_days: Archives) -> None:
    everything = Span(OLD, OLD + timedelta(days=3))
    table = await collect(three_days, Question(everything, ("ts", "price", "text")))
    assert (table.num_rows, table.schema.names) == (300, ["ts", "price", "text"])
    # One schema for files whose decimals have 18, 19 and 40 places, without a digit lost.
    assert table.schema.field("price").type == pa.decimal256(76, 40)
    assert table.column("price")[299].as_py() == Decimal("1." + "0" * 37 + "100")
    some = await collect(three_days, Question(Span(OLD + timedelta(hours=1), OLD + timedelta(days=1, hours=1)), ("id",)))
    assert some.num_rows == 95 + 5
    named = await collect(three_days, Question(everything, ("id", "text"), {"id": [7, 8], "text": ["day1"]}))
    assert named.to_pylist() == [{"id": 7, "text": "day1"}, {"id": 8, "text": "day1"}]
    with pytest.raises(UnknownName):
        await collect(three_days, Question(everything, ("prise",)))


async def test_a_column_added_later_is_empty_in_old_archives(
    database: Database, catalog: Catalog, three_days: Archives, tmp_path: Path
) -> None:
    await database.execute("ALTER TABLE kinds.rows ADD COLUMN added text")
    await database.execute("ALTER TABLE kinds.rows DROP COLUMN text")
    span = Span(OLD + timedelta(days=3), OLD + timedelta(days=4))
    await partitions.ensure(database, catalog.dataset("kinds.rows"), span.start, span.end)
    await database.execute("INSERT INTO kinds.rows (id, ts, added) VALUES (1, %(ts)s, 'new')", {"ts": span.start})
    await keeper(database, catalog, tmp_path).run(now=NOW)
    table = await collect(three_days, Question(Span(OLD, span.end), ("id", "text", "added"), {"id": [1]}))
    assert [(row["text"], row["added"]) for row in table.to_pylist()] == [("day0", None), ("day1", None), ("day2", None), (None, "new")]
    restored = await three_days.restore("kinds.rows", DAY)
    assert list(restored.values()) == ["kinds.rows_y2026m03d01"]
    assert await database.fetch_value("SELECT count(*) FROM kinds.rows WHERE added IS NULL") == 100


@pytest.mark.conforms("S4-86")
async def test_an_archive_can_be_read_by_anybody(three_days: Archives, tmp_path: Path) -> None:
    [first, *_] = await three_days.list()
    manifest = await three_days.show(first)
    assert (manifest.rows, manifest.dataset, manifest.sorted_by) == (100, "kinds.rows", ("id", "ts"))
    assert (manifest.first_time, manifest.last_time) == ("2026-03-01T00:10:00Z", "2026-03-01T16:40:00Z")
    assert (manifest.first_key[0], manifest.last_key[0]) == ("1", "100")
    file = tmp_path / first.directory / manifest.files[0].name
    table = pq.read_table(file)
    assert table.column("id").to_pylist() == list(range(1, 101))
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "ZSTD"
    encodings = {column.name: column.form["encoding"] for column in manifest.columns}
    assert {name for name, encoding in encodings.items() if encoding == "text"} == {
        "units", "text", "padded", "wait", "uuid", "data", "raw", "tags",
    }  # fmt: skip


async def test_a_restored_period_is_held_and_leaves_again(
    database: Database, catalog: Catalog, three_days: Archives, tmp_path: Path
) -> None:
    [first, *_] = await three_days.list()
    assert await three_days.restore("kinds.rows", DAY) == {first.id: "kinds.rows_y2026m03d01"}
    assert [one.state for one in await three_days.list()] == [ArchiveState.RESTORED, ArchiveState.SERVING, ArchiveState.SERVING]
    assert (await collect(three_days, Question(DAY))).num_rows == 0
    assert await database.fetch_value("SELECT count(*) FROM kinds.rows") == 100
    outcome = await keeper(database, catalog, tmp_path).run(now=NOW)
    assert outcome.departed == ()
    assert "put back from archive" in str(outcome.blocked[0])
    [hold] = await three_days.holds()
    await three_days.lift(hold.id)
    with pytest.raises(UnknownName):
        await three_days.lift(hold.id)
    await database.execute("UPDATE kinds.rows SET text = 'mended' WHERE id = 5")
    outcome = await keeper(database, catalog, tmp_path).run(now=NOW)
    assert [departed.rows for departed in outcome.departed] == [100]
    assert outcome.archives_deleted == 1
    assert [one.state for one in await three_days.list()] == [ArchiveState.SERVING] * 3
    mended = await collect(three_days, Question(DAY, ("text",), {"id": [5]}))
    assert mended.to_pylist() == [{"text": "mended"}]
    verified = await three_days.verify()
    assert [check.differences for check in verified.checked] == [()] * 3
    assert verified.unknown == ()


async def test_a_period_that_is_taken_is_not_put_back(database: Database, catalog: Catalog, three_days: Archives) -> None:
    await partitions.ensure(database, catalog.dataset("kinds.rows"), OLD, OLD + timedelta(hours=1))
    await database.execute("INSERT INTO kinds.rows (id, ts) VALUES (1, %(ts)s)", {"ts": OLD})
    with pytest.raises(ArchiveInUse, match="rows_y2026m03d01 stands there"):
        await three_days.restore("kinds.rows", DAY)
    assert (await collect(three_days, Question(DAY))).num_rows == 100


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


async def test_verify_finds_what_is_not_whole(three_days: Archives, tmp_path: Path) -> None:
    first, second, third = await three_days.list()
    damage(next((tmp_path / first.directory).glob("*.parquet")))
    next((tmp_path / second.directory).glob("*.parquet")).unlink()
    damage(tmp_path / third.directory / "manifest.json")
    (tmp_path / "kinds.rows" / "stray").mkdir()
    (tmp_path / "kinds.rows" / "stray" / "manifest.json").write_text("{}")
    verified = await three_days.verify()
    problems = [check.differences[0] for check in verified.checked]
    assert "was changed: it has SHA-256" in problems[0]
    assert "does not exist" in problems[1]
    assert "manifest.json was changed" in problems[2]
    assert verified.unknown == ("kinds.rows/stray",)


class Rotting(LocalStorage):
    """A disk that changes a bit of every file as soon as it is written."""

    def stage(self, directory: str) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def staged() -> Any:
            with LocalStorage.stage(self, directory) as inner:
                yield inner
            damage(next((Path(self.url) / directory).glob("*.parquet")))

        return staged()


@pytest.mark.conforms("S4-80", "S4-81")
async def test_nothing_leaves_whose_archive_reads_otherwise(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    await insert(database, [{"text": "a"}, {"text": "b"}])
    rotten = Retention(database, catalog, Rotting(tmp_path), options=Options(release_wait=0.1))
    outcome = await rotten.run(now=NOW)
    assert outcome.departed == ()
    assert "archive_mismatch" in str(outcome.blocked[0])
    assert await database.fetch_value("SELECT count(*) FROM kinds.rows") == 2
    assert list(tmp_path.rglob("*.parquet")) == []
    outcome = await keeper(database, catalog, tmp_path).run(now=NOW)
    assert [departed.rows for departed in outcome.departed] == [2]


async def test_an_archive_is_deleted_when_it_was_kept_long_enough(
    database: Database, catalog: Catalog, three_days: Archives, tmp_path: Path
) -> None:
    """Kept hot for 7 days and archived for 10: deleted at the age of 17 days."""
    declared = every_type()
    plain = declared.dataset("kinds.rows")
    kept = Dataset(
        plain.table,
        "rows",
        time="ts",
        entity=["id"],
        lifecycle=Lifecycle(partition=days(1), premake=1, keep=days(7), keep_archived=days(10)),
    )
    changed = Catalog([strata, Pack("kinds", "tests.fixtures", "For tests.", plain.table.metadata, [kept])])
    limit = OLD + timedelta(days=19)
    plan = await keeper(database, changed, tmp_path).plan(now=limit)
    assert [archive.span.end for archive in plan.expired_archives] == [OLD + timedelta(days=1), OLD + timedelta(days=2)]
    assert (await keeper(database, changed, tmp_path).run(now=limit)).archives_deleted == 2
    assert [archive.span.start for archive in await three_days.list()] == [OLD + timedelta(days=2)]
    assert len(list(tmp_path.rglob("manifest.json"))) == 1


async def test_two_runs_at_once_do_it_once(database: Database, catalog: Catalog, tmp_path: Path) -> None:
    await insert(database, [{"text": "a"}, {"text": "b"}])
    outcomes = await asyncio.gather(*(keeper(database, catalog, tmp_path).run(now=NOW) for _ in range(2)))
    assert sorted(len(outcome.departed) for outcome in outcomes) == [0, 1]
