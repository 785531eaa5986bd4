"""What mirrors have that nobody else has stays when they are made anew, and a mirror that is ended is followed no more."""

import psycopg
import pytest

from chainstrata.cdc import Mirrors
from chainstrata.cdc.errors import DatasetStopped, HistoryAtRisk
from chainstrata.cdc.history import find_misfit, list_spans
from chainstrata.cdc.mirror import MirrorSink
from chainstrata.cdc.store import Store
from chainstrata.engines.clickhouse import Columnar
from chainstrata.engines.postgres import Database
from chainstrata.errors import UsageError
from chainstrata.node.cdc import MirrorNeeds
from chainstrata.retention import Leaving
from tests.fixtures.mirrored import following, mirrored, mirrored_catalog, show

ACCOUNTS, ENTRIES, TICKS = "demo.accounts", "demo.entries", "demo.ticks"


async def depart(database: Database, mirrors: Mirrors, day: str) -> None:
    """Let a day leave the source, its partition being dropped."""
    rows = await database.fetch_all(f"SELECT DISTINCT tableoid::regclass::text AS name FROM demo.tick WHERE ts::date = '{day}'")
    for row in rows:
        await database.execute(f"DROP TABLE {row.name}")
    await mirrors.wait([TICKS])


async def prices(columnar: Columnar) -> list[int]:
    return sorted(int(row["price"]) for row in await show(columnar, "demo__ticks"))


async def published(database: Database) -> list[str]:
    rows = await database.fetch_all("SELECT tablename FROM pg_publication_tables WHERE pubname = 'chainstrata' ORDER BY 1")
    return [row.tablename for row in rows]


async def test_a_mirror_that_is_copied_anew_keeps_the_rows_that_only_it_has(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors, following(mirrors):
        await mirrors.wait()
        await database.execute("INSERT INTO demo.tick VALUES ('btc', '2026-03-20', 1), ('eth', '2026-03-20', 2), ('btc', '2026-03-21', 3)")
        await mirrors.wait()
        await database.execute("UPDATE demo.tick SET price = 5 WHERE price = 2")
        await depart(database, mirrors, "2026-03-20")
        # A column that its old rows must not get a value made up for.
        await database.execute("ALTER TABLE demo.tick ADD COLUMN venue text NOT NULL DEFAULT 'here'")
        await mirrors.resync([TICKS])
        await mirrors.wait()
        assert await prices(columnar) == [1, 3, 5]
        assert sorted(str(row["venue"]) for row in await show(columnar, "demo__ticks")) == ["None", "None", "here"]
        [found] = await mirrors.reconcile([TICKS])
        assert (found.agrees, found.departed, found.source_rows) == (True, 2, 1)
        assert await columnar.fetch_value("SELECT count() FROM system.tables WHERE name LIKE '%__kept'") == 0
        # Whatever comes of one of them later stands above it.
        await database.execute("CREATE TABLE demo.again PARTITION OF demo.tick FOR VALUES FROM ('2026-03-20') TO ('2026-03-21')")
        await database.execute("INSERT INTO demo.tick VALUES ('btc', '2026-03-20', 7)")
        await mirrors.wait()
        assert await prices(columnar) == [3, 5, 7]


async def test_history_survives_a_copy_that_is_cut_short_anywhere(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:
        ticks = mirrored_catalog().dataset(TICKS)
        async with following(mirrors):
            await mirrors.wait()
            await database.execute("INSERT INTO demo.tick VALUES ('btc', '2026-03-20', 1), ('btc', '2026-03-21', 3)")
            await mirrors.wait()
            await depart(database, mirrors, "2026-03-20")
        sink = MirrorSink(columnar)
        spans = await list_spans(database, ticks)
        for cut in ("aside", "dropped", "made", "back", "forgotten"):
            await mirrors.resync([TICKS])
            if cut == "aside":
                await sink._history.put_aside(ticks, spans)
            else:
                await sink.clear(ticks, spans)
            if cut == "dropped":
                await sink._drop(ticks)
            if cut == "back":
                kept, rows = "demo__ticks__rows__kept", "demo__ticks__rows"
                await columnar.execute(f"INSERT INTO {rows} SELECT * FROM {kept}")
            if cut == "forgotten":
                await sink.put_back(ticks)
            assert (await sink._history.count(ticks, spans)) == 1
            async with following(mirrors):
                await mirrors.wait()
                assert await prices(columnar) == [1, 3], cut
                assert [one for one in await mirrors.reconcile() if not one.agrees] == []


async def test_rows_of_a_partition_that_may_go_at_any_moment_are_kept_too(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors, following(mirrors):
        await database.execute("INSERT INTO demo.tick VALUES ('btc', '2026-03-20', 1), ('btc', '2026-03-21', 3)")
        await mirrors.wait()
        name = await database.fetch_value("SELECT tableoid::regclass::text FROM demo.tick WHERE price = 1")
        await database.execute(
            "INSERT INTO strata.departure (dataset, table_schema, table_name, lower_bound, upper_bound, sealed_lsn, archived_at, released_at)"
            " VALUES ('demo.ticks', 'demo', %(name)s, '2026-03-20Z', '2026-03-21Z', '0/0', now(), now())",
            {"name": name.partition(".")[2]},
        )
        ticks = mirrored_catalog().dataset(TICKS)
        every, staying = await list_spans(database, ticks), await list_spans(database, ticks, staying=True)
        assert every is not None and staying is not None  # noqa: PT018  # for the type checker
        assert (len(every), len(staying)) == (1, 2)
        await mirrors.resync([TICKS])
        await mirrors.wait()
        assert await prices(columnar) == [1, 3]
        assert [one for one in await mirrors.reconcile() if not one.agrees] == []


async def test_history_that_does_not_fit_any_more_stays_aside_until_it_is_given_up(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors, following(mirrors):
        await mirrors.wait()
        await database.execute("INSERT INTO demo.tick VALUES ('btc', '2026-03-20', 1), ('btc', '2026-03-21', 3)")
        await mirrors.wait()
        await depart(database, mirrors, "2026-03-20")
        await columnar.execute("ALTER TABLE demo__ticks__rows RENAME COLUMN price TO cost")
        await mirrors.resync([TICKS])
        with pytest.raises(DatasetStopped, match="they have no price"):
            await mirrors.wait([TICKS])
        # Nothing was copied yet, so that going on is to begin.
        await mirrors.resume([TICKS])
        with pytest.raises(DatasetStopped, match="they have no price"):
            await mirrors.wait([TICKS])
        with pytest.raises(HistoryAtRisk, match=r"1 of demo\.ticks"):
            await mirrors.end([TICKS], drop_table=True)
        await mirrors.end([TICKS], drop_table=True, lose_history=True)
        await mirrors.resync([TICKS])
        await mirrors.wait()
        assert await prices(columnar) == [3]


@pytest.mark.parametrize(
    ("held", "wanted", "problem"),
    [
        pytest.param({"a": "Int64"}, {"a": "Int64"}, "", id="the same"),
        pytest.param({"a": "Int64", "b": "String"}, {"a": "Int64"}, "", id="a column less"),
        pytest.param({"a": "Int64"}, {"a": "Nullable(Int64)", "b": "Nullable(String)"}, "", id="may be empty now"),
        pytest.param({"a": "Nullable(Int64)"}, {"a": "Int64"}, "their a is Nullable(Int64), and it is to be Int64", id="may not any more"),
        pytest.param({"a": "Int64"}, {"a": "Int32"}, "their a is Int64, and it is to be Int32", id="another type"),
        pytest.param({"a": "Int64"}, {"a": "Int64", "b": "String"}, "they have no b, which is String", id="a column more"),
    ],
)
def test_history_fits_only_where_no_value_is_bent_or_made_up(held: dict[str, str], wanted: dict[str, str], problem: str) -> None:
    assert find_misfit(held, wanted) == problem


async def test_a_mirror_that_is_ended_is_left_alone_and_the_last_takes_the_slot_along(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors, following(mirrors):
        await database.execute("INSERT INTO demo.account VALUES ('a', 1)")
        await mirrors.wait()
        slot = (await mirrors.status()).slot
        planned = await mirrors.end([ACCOUNTS], drop_table=True, dry_run=True)
        assert (planned.done, planned.slot_dropped, planned.mirrors[0].rows, planned.mirrors[0].table) == (False, False, 1, "dropped")
        assert await published(database) == ["account", "entry", "tick"]
        done = await mirrors.end([ACCOUNTS])
        assert (done.done, done.slot_dropped, done.mirrors[0].state, done.mirrors[0].table) == (True, False, "streaming", "kept")
        assert await published(database) == ["entry", "tick"]
        await database.execute("INSERT INTO demo.account VALUES ('b', 1)")
        await database.execute("INSERT INTO demo.tick VALUES ('btc', '2026-03-20', 1)")
        await mirrors.wait()
        assert [row["name"] for row in await show(columnar, "demo__accounts")] == ["a"]
        assert await prices(columnar) == [1]
        # Nobody waits for it, and who asks for it is told.
        with pytest.raises(DatasetStopped, match="its mirror was ended"):
            await mirrors.wait([ACCOUNTS])
        assert len(await mirrors.reconcile()) == 2
        [tick] = (await mirrors.end([TICKS], dry_run=True)).mirrors
        await mirrors.end([ENTRIES, TICKS], drop_table=True)
        assert tick.rows == 1
        assert await published(database) == []
        assert await database.fetch_value("SELECT count(*) FROM pg_replication_slots WHERE slot_name = %(slot)s", {"slot": slot}) == 0
        assert await columnar.fetch_value("SELECT count() FROM system.tables WHERE name LIKE 'demo\\_\\_%'") == 2
        needs = MirrorNeeds(database, mirrored_catalog())
        spans = await list_spans(database, mirrored_catalog().dataset(TICKS))
        assert spans is not None
        assert await needs.blocks(Leaving(TICKS, spans[0], "tick", "F/0")) is None
        # And back again.
        assert await mirrors.resync([ACCOUNTS, TICKS]) == [ACCOUNTS, TICKS]
        await mirrors.wait()
        assert [row["name"] for row in await show(columnar, "demo__accounts")] == ["a", "b"]
        assert [one for one in await mirrors.reconcile() if not one.agrees] == []
        assert await published(database) == ["account", "tick"]


async def test_an_end_while_nobody_follows_and_one_that_was_cut_short(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:
        async with following(mirrors):
            await mirrors.wait()
        await mirrors.end([ACCOUNTS])
        assert await published(database) == ["entry", "tick"]
        # Whoever follows next finds what is on record.
        await Store(database).end(ENTRIES, forget=False)
        async with following(mirrors):
            await mirrors.wait()
            assert await published(database) == ["tick"]
        assert (await mirrors.end([TICKS])).slot_dropped
        assert await database.fetch_value("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 0
        # Again is no harm.
        assert (await mirrors.end([TICKS], drop_table=True)).mirrors[0].state == "ended"


async def test_a_mirror_that_is_declared_no_more_is_ended_by_its_name(database: Database, columnar: Columnar) -> None:
    async with mirrored(database, columnar) as mirrors:
        async with await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as connection:
            await connection.execute("INSERT INTO strata.cdc_dataset (dataset, state) VALUES ('demo.former', 'lost')")
        with pytest.raises(UsageError, match="declares no mirror any more"):
            await mirrors.end(["demo.former"], drop_table=True)
        done = await mirrors.end(["demo.former"])
        assert [(one.dataset, one.state) for one in done.mirrors] == [("demo.former", "lost")]
        assert await database.fetch_value("SELECT count(*) FROM strata.cdc_dataset WHERE dataset = 'demo.former'") == 0
