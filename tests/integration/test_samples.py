"""Sample data: every pack's fits its tables, folds to what its rows give, and cannot be doubled."""

from datetime import UTC, datetime, timedelta

import pytest
from psycopg import sql

from chainstrata import partitions
from chainstrata.engines.postgres import Database
from chainstrata.errors import UnknownName
from chainstrata.ingest import SampleRefused, Samples, list_samples, packs_with_samples
from chainstrata.model import Catalog
from chainstrata.packs import load_catalog
from chainstrata.rollups import Rollups

ANCHOR = datetime(2026, 3, 10, 12, 34, 56, tzinfo=UTC)


class Loader:
    """Samples wired as the platform wires them."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self.database = database
        self.catalog = catalog
        self.rollups = Rollups(database, catalog, self.ensure)
        self.samples = Samples(database, catalog, self.ensure, self.rollups)
        self.load = self.samples.load

    async def ensure(self, name: str, lo: datetime, hi: datetime) -> None:
        await partitions.ensure_named(self.database, self.catalog, name, lo, hi)

    async def count(self, pack: str) -> int:
        total = 0
        for dataset in self.catalog.pack(pack).datasets:
            for table in (dataset.table, *(self.catalog.pack(pack).rollup_table(dataset, rollup) for rollup in dataset.rollups)):
                total += await self.database.fetch_value(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(pack, table.name)))
        return total


@pytest.fixture
def loader(packs: Database, catalog: Catalog) -> Loader:
    return Loader(packs, catalog)


@pytest.mark.parametrize("pack", packs_with_samples(load_catalog()))
async def test_every_table_gets_rows_and_every_bucket_is_what_they_give(loader: Loader, pack: str) -> None:
    seen: dict[str, int] = {}

    def note(dataset: str, rows: int) -> None:
        seen[dataset] = seen.get(dataset, 0) + rows

    done = await loader.load(pack, "small", 7, ANCHOR, progress=note)
    assert (done.rows, done.now, done.complete) == (sum(seen.values()), sum(seen.values()), True)
    names = [dataset.full_name for dataset in loader.catalog.pack(pack).datasets]
    assert [name for name in names if not seen.get(name)] == []
    folded = [dataset.full_name for dataset in loader.catalog.pack(pack).datasets if dataset.rollups]
    assert await loader.rollups.verify(folded) == []
    assert all(status.marks == 0 for status in await loader.rollups.status(folded))
    for dataset in loader.catalog.pack(pack).datasets:
        for rollup in dataset.rollups:
            table = loader.catalog.pack(pack).rollup_table(dataset, rollup)
            assert await loader.database.fetch_value(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(pack, table.name)))


async def test_the_same_sample_again_changes_nothing_and_another_is_refused(loader: Loader) -> None:
    first = await loader.load("prices", "small", 7, ANCHOR)
    rows = await loader.count("prices")
    for again in (await loader.load("prices", "small", 7, ANCHOR), await loader.load("prices", "small", 7)):
        assert (again.rows, again.now, again.anchor) == (first.rows, 0, ANCHOR)
    for scale, seed, anchor in (("medium", 7, ANCHOR), ("small", 8, ANCHOR), ("small", 7, ANCHOR + timedelta(days=1))):
        with pytest.raises(SampleRefused) as caught:
            await loader.load("prices", scale, seed, anchor)
        assert caught.value.message == "prices holds the small sample of seed 7 up to 2026-03-10 12:34 UTC"
    assert await loader.count("prices") == rows
    assert [item.pack for item in await list_samples(loader.database)] == ["prices"]
    highest = await loader.database.fetch_value("SELECT max(id) FROM prices.collection_status")
    await loader.database.execute("INSERT INTO prices.collection_status (collection_type, start_time) VALUES ('manual', now())")
    assert await loader.database.fetch_value("SELECT max(id) FROM prices.collection_status") == highest + 1


async def test_rows_of_another_origin_are_not_mixed_with_a_sample(loader: Loader) -> None:
    await loader.database.execute("INSERT INTO prices.coin_priorities (coin_id) VALUES ('mine')")
    with pytest.raises(SampleRefused) as caught:
        await loader.load("prices")
    assert caught.value.message == "prices.coin_priorities holds rows already"
    assert await list_samples(loader.database) == []
    with pytest.raises(SampleRefused, match="prices holds no sample data"):
        await loader.samples.clear("prices")
    assert await loader.database.fetch_value("SELECT coin_id FROM prices.coin_priorities") == "mine"


async def test_names_nobody_knows_are_named(loader: Loader) -> None:
    with pytest.raises(UnknownName, match="unknown pack 'price'"):
        await loader.load("price")
    with pytest.raises(UnknownName, match="unknown scale 'huge'"):
        await loader.load("prices", "huge")
    with pytest.raises(UnknownName, match="unknown pack with sample data 'strata'"):
        await loader.load("strata")


async def test_a_cleared_pack_takes_another_sample(loader: Loader) -> None:
    await loader.load("prices", "small", 7, ANCHOR)
    await loader.samples.clear("prices")
    assert await loader.count("prices") == 0
    await loader.load("prices", "small", 8, ANCHOR + timedelta(days=40))
    assert await loader.rollups.verify(["prices.minute"]) == []


class CutShort(Exception):
    """The process went away."""


async def test_a_load_that_was_cut_short_goes_on_where_it_stopped(loader: Loader) -> None:
    whole = Loader(loader.database, loader.catalog)
    parts = 0

    async def cut(name: str, lo: datetime, hi: datetime) -> None:
        nonlocal parts
        parts += 1
        if parts == 3:
            raise CutShort
        await loader.ensure(name, lo, hi)

    broken = Samples(loader.database, loader.catalog, cut, loader.rollups)
    with pytest.raises(CutShort):
        await broken.load("prices", "small", 7, ANCHOR)
    [noted] = await list_samples(loader.database)
    assert not noted.complete
    rest = await whole.load("prices", "small", 7)
    assert rest.complete
    assert (rest.rows - rest.now, rest.anchor) == (noted.rows, ANCHOR)
    assert await loader.rollups.verify(["prices.minute"]) == []


class Meddler:
    """Somebody who loads or clears at the same time."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    async def ensure(self, name: str, lo: datetime, hi: datetime) -> None:
        await self.loader.ensure(name, lo, hi)
        await self.loader.database.execute("UPDATE strata.sample_load SET parts = parts + 1")


async def test_two_loads_at_once_do_not_double_a_part(loader: Loader) -> None:
    meddled = Samples(loader.database, loader.catalog, Meddler(loader).ensure, loader.rollups)
    with pytest.raises(SampleRefused, match="somebody else is loading or clearing the sample of prices"):
        await meddled.load("prices", "small", 7, ANCHOR)
    assert await loader.database.fetch_value("SELECT count(*) FROM prices.minute_close") == 0
