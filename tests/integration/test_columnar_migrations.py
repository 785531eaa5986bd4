# ruff: noqa: E501  # declarations
"""Columnar revisions on the real engine: there and back, interrupted, edited, compared with the declarations."""

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from chainstrata.engines.clickhouse import Columnar
from chainstrata.errors import UsageError
from chainstrata.migrate import columnar as steps
from chainstrata.migrate.errors import HistoryUnusable, MigrationEdited, MigrationFailed, NeedsConsent
from chainstrata.migrate.model import Direction, Status
from chainstrata.model import Catalog, Pack
from chainstrata.model.columnar import ColumnarColumn, ColumnarObject, ColumnarTable, ColumnarView, SkipIndex
from chainstrata.packs import load_catalog

TRADES = ColumnarTable(
    "demo__trades",
    [
        ColumnarColumn("at", "DateTime64(6, 'UTC')", "When.", "DoubleDelta, ZSTD(1)"),
        ColumnarColumn("units", "UInt64", "How many.", "T64, ZSTD(1)"),
    ],
    "MergeTree",
    ["at"],
    partition_by="toYYYYMM(at)",
    ttl="toDateTime(at) + INTERVAL 1 YEAR",
    doc="It's one trade.",
)
TOTALS = ColumnarView(
    "demo__totals", "SELECT toDate(at) AS day, sum(units) AS units FROM {database}.`demo__trades` GROUP BY day", "By day.", ["demo__trades"]
)


def catalog_of(*objects: ColumnarObject) -> Catalog:
    strata = load_catalog(["strata"]).pack("strata")
    return Catalog(
        [replace(strata, columnar_objects=()), Pack("demo", "chainstrata.packs.strata", "A demo.", sa.MetaData(), columnar_objects=objects)]
    )


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    return {"strata": tmp_path / "strata", "demo": tmp_path / "demo"}


@pytest.fixture(scope="module")
def everything() -> Catalog:
    return load_catalog()


def test_the_revisions_make_what_the_packs_declare(everything: Catalog) -> None:
    """Nothing was declared without its revision."""
    for pack in everything.packs:
        assert steps.make(everything, pack.name) == (None, [])


@pytest.mark.conforms("S1-54", "S1-55", "S1-58", "S1-59", "S1-60")
async def test_every_revision_up_verified_down_and_up_again(columnar: Columnar) -> None:
    catalog = load_catalog(["portfolio"])
    assert {one.status for one in await steps.status(columnar, catalog)} == {Status.PENDING}
    done = await steps.up(columnar, catalog)
    assert [one.revision for one in done] == ["strata_columnar_0001", "portfolio_columnar_0001"]
    assert await steps.up(columnar, catalog) == []
    assert await steps.verify(columnar, catalog) == []
    kinds = await columnar.query_rows(
        "SELECT splitByChar('(', type_full)[1] AS kind FROM system.data_skipping_indices WHERE database = currentDatabase()"
    )
    assert {row.kind for row in kinds} == {"minmax", "set", "bloom_filter"}
    engines = "SELECT DISTINCT engine, partition_key FROM system.tables WHERE database = currentDatabase() AND name LIKE 'portfolio__price%__rows'"
    assert [tuple(row) for row in await columnar.query_rows(engines)] == [("ReplacingMergeTree", "toYYYYMM(ts)")]
    with pytest.raises(NeedsConsent):
        await steps.down(columnar, catalog, "base")
    undone = await steps.down(columnar, catalog, "base", yes=True)
    assert {one.direction for one in undone} == {Direction.DOWN}
    left = await columnar.query_rows("SELECT name FROM system.tables WHERE database = currentDatabase()")
    assert [row.name for row in left] == ["strata__migration"]
    assert len(await steps.up(columnar, catalog, packs=["portfolio"])) == 1


async def test_a_changed_declaration_there_and_back_with_rows(columnar: Columnar, folders: dict[str, Path]) -> None:
    first, changed = catalog_of(TRADES, TOTALS), catalog_of(
        replace(
            TRADES,
            columns=[TRADES.columns[0], replace(TRADES.columns[1], codec="ZSTD(3)", doc="How many, whole."), ColumnarColumn("note", "Nullable(String)", "A word.")],
            indexes=[SkipIndex("units_minmax", "units", "minmax", "Large ones.")],
            ttl="",
        ),
        replace(TOTALS, query=TOTALS.query.replace("sum(units)", "max(units)")),
    )  # fmt: skip
    steps.make(first, "demo", folders=folders)
    await steps.up(columnar, first, folders=folders)
    await columnar.execute("INSERT INTO demo__trades VALUES ('2026-03-01 12:00:00', 5), ('2026-03-01 13:00:00', 7)")
    path, changes = steps.make(changed, "demo", folders=folders)
    assert path is not None
    assert path.name.startswith("0002_")
    assert sorted(change.title.split(" demo__")[0] for change in changes) == [
        "change columns of", "change indexes of", "create view", "drop view", "keep rows of",
    ]  # fmt: skip
    assert len(await steps.verify(columnar, changed, ["demo"])) == 5
    await steps.up(columnar, changed, folders=folders)
    assert await steps.verify(columnar, changed, ["demo"]) == []
    assert await columnar.fetch_value("SELECT units FROM demo__totals") == 7
    await steps.down(columnar, changed, "1", folders=folders, yes=True)
    assert await steps.verify(columnar, first, ["demo"]) == []
    assert await columnar.fetch_value("SELECT units FROM demo__totals") == 12
    with pytest.raises(UsageError, match="order_by is fixed"):
        steps.make(catalog_of(replace(TRADES, order_by=["units"])), "demo", folders=folders)


async def test_what_was_interrupted_goes_on(columnar: Columnar, folders: dict[str, Path]) -> None:
    catalog = catalog_of(TRADES, TOTALS)
    steps.make(catalog, "demo", folders=folders)
    # A table that somebody made stands where ours is to be, and the view cannot read it.
    await columnar.execute("CREATE TABLE demo__trades (other UInt8) ENGINE = Memory")
    with pytest.raises(MigrationFailed):
        await steps.up(columnar, catalog, folders=folders)
    [state] = await steps.status(columnar, catalog, folders=folders)
    assert state.status is Status.FAILED
    assert state.error
    await columnar.execute("DROP TABLE demo__trades SYNC")
    await steps.up(columnar, catalog, folders=folders)
    assert await steps.verify(columnar, catalog, ["demo"]) == []


async def test_an_edited_or_missing_revision_is_refused(columnar: Columnar, folders: dict[str, Path]) -> None:
    catalog = catalog_of(TRADES)
    path, _ = steps.make(catalog, "demo", folders=folders)
    assert path is not None
    await steps.up(columnar, catalog, folders=folders)
    text = path.read_text()
    path.write_text(text.replace("How many.", "How much."))
    assert [one.described for one in await steps.status(columnar, catalog, folders=folders)] == ["applied, edited since"]
    with pytest.raises(MigrationEdited):
        await steps.up(columnar, catalog, folders=folders)
    path.unlink()
    assert [one.status for one in await steps.status(columnar, catalog, folders=folders)] == [Status.MISSING]
    with pytest.raises(HistoryUnusable):
        await steps.down(columnar, catalog, "1", folders=folders, yes=True)


async def test_verify_names_what_is_not_as_declared(columnar: Columnar, folders: dict[str, Path]) -> None:
    catalog = catalog_of(TRADES, TOTALS)
    steps.make(catalog, "demo", folders=folders)
    await steps.up(columnar, catalog, folders=folders)
    await columnar.execute("CREATE TABLE demo__stray (x Int32) ENGINE = MergeTree ORDER BY x")
    await columnar.execute("ALTER TABLE demo__trades MODIFY COLUMN units UInt64 CODEC(ZSTD(9)), ADD COLUMN more Int32")
    await columnar.execute("DROP VIEW demo__totals")
    found = {(one.deviation.value, one.kind, one.name) for one in await steps.verify(columnar, catalog, ["demo"])}
    assert found == {
        ("extra", "columnar table", "demo__stray"), ("extra", "columnar column", "demo__stray.x"), ("extra", "columnar column", "demo__trades.more"),
        ("different", "columnar column", "demo__trades.units"), ("missing", "columnar view", "demo__totals"),
    }  # fmt: skip
