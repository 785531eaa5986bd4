"""A long batch of the spool goes into PostgreSQL piece by piece: taken up where it was cut short, every row once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.ingest import Ingest, Spool
from chainstrata.ingest.model import Piece
from chainstrata.ingest.python_rows import Taken
from chainstrata.ingest.replay import Replayer
from chainstrata.ingest.spool import Header
from tests.fixtures.entries import DATASET, count_entries, create_entries, entry_catalog
from tests.fixtures.lethal import LethalProxy
from tests.fixtures.postgres import NewDatabase

CATALOG = entry_catalog()
POOL = PoolOptions(min_size=1, max_size=4, acquire_timeout=5)
AT_ONCE = 4
ROWS = 10


@pytest.fixture
async def entries(new_database: NewDatabase) -> AsyncIterator[Database]:
    conninfo = await new_database()
    await create_entries(conninfo, CATALOG)
    async with Database(conninfo, options=POOL) as database:
        yield database


def spool_rows(spool: Spool, first: int, *, batch: str = "", bad: int | None = None, strict: bool = False) -> Header:
    """Leave a batch in the spool, perhaps with a row that fits nowhere and a line that is none."""
    numbers = [str(first + n) if n != bad else "many" for n in range(ROWS)]
    lines = [("{", "no row")] if bad is not None else []
    header = Header(DATASET, batch or f"spool/{first}", ROWS + len(lines), strict=strict, malformed=lines)
    spool.add(header, pa.table({"number": numbers}))
    return header


def replayer(database: Database, spool: Spool, at_once: int = AT_ONCE) -> Replayer:
    return Replayer(Ingest(database, CATALOG), database, spool, at_once)


@asynccontextmanager
async def cut_at(entries: Database, at: int, *, answered: bool) -> AsyncIterator[tuple[LethalProxy, Database]]:
    async def strike() -> None:
        """Nothing but the connection breaks."""

    async with LethalProxy(entries.conninfo, at, strike, answered=answered) as proxy, Database(proxy.conninfo, options=POOL) as database:
        yield proxy, database


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
async def test_a_replay_cut_at_any_statement_goes_on_where_it_was(entries: Database, tmp_path: Path, answered: bool) -> None:
    spool = Spool(tmp_path / "spool", 2**30)
    expected: set[int] = set()
    midway = 0
    for at in range(1, 200):
        spool_rows(spool, at * 100, bad=7)
        expected |= {at * 100 + n for n in range(ROWS) if n != 7}
        async with cut_at(entries, at, answered=answered) as (proxy, database):
            await replayer(database, spool).replay()
            struck = proxy.struck
        left = {number for number in await count_entries(entries) if number >= at * 100}
        midway += 0 < len(left) < ROWS - 1
        # Another process goes on, which knows nothing but what the spool and the server hold.
        await replayer(entries, spool).replay()
        assert spool.list_waiting() == []
        if not struck:
            break
    assert await count_entries(entries) == dict.fromkeys(expected, 1)
    assert await entries.fetch_value("SELECT sum(times) FROM strata.quarantine") == 2 * at
    assert midway >= 3


async def test_each_piece_is_a_transaction_of_its_own(entries: Database, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 2**30)
    spool_rows(spool, 0)
    spool_rows(spool, 100, strict=True)
    assert (await replayer(entries, spool).replay()).rows == 2 * ROWS
    sizes = await entries.fetch_all("SELECT min(number) AS first, count(*) AS rows FROM entries.entry GROUP BY xmin::text ORDER BY 1")
    # A strict batch is whole or not.
    assert [(row.first, row.rows) for row in sizes] == [(0, 4), (4, 4), (8, 2), (100, ROWS)]
    [note] = await entries.fetch_all("SELECT answer FROM strata.ingest_batch WHERE batch = 'spool/0'")
    assert (note.answer["accepted"], note.answer["spooled"], "taken" in note.answer) == (ROWS, 0, False)


async def test_whoever_sends_it_again_meanwhile_doubles_nothing(entries: Database, tmp_path: Path) -> None:
    """By two homes at once, in pieces of other sizes, and straight."""
    rows = [{"number": n} for n in range(ROWS)]
    spools = [Spool(tmp_path / name, 2**30) for name in ("one", "two")]
    for spool in spools:
        spool_rows(spool, 0, batch="named")
    one = replayer(entries, spools[0])
    entry = spools[0].read(spools[0].list_waiting()[0].path)
    ingest = Ingest(entries, CATALOG)
    # The first has written one piece when others come.
    await ingest.take_one(DATASET, Taken(entry.rows.slice(0, 4)), batch="named", piece=Piece(0, 4, ROWS))
    again = await ingest.ingest(DATASET, rows, batch="named")
    assert (again.repeated, again.accepted, again.spooled) == (True, 4, ROWS - 4)
    await asyncio.gather(one.replay(), replayer(entries, spools[1], 3).replay())
    again = await ingest.ingest(DATASET, rows, batch="named")
    assert (again.repeated, again.accepted, again.spooled) == (True, ROWS, 0)
    # Written whole by its sender first: nothing is left for the spool.
    spool_rows(spools[0], 100, batch="straight")
    await ingest.ingest(DATASET, [{"number": 100 + n} for n in range(ROWS)], batch="straight")
    await one.replay()
    assert await count_entries(entries) == dict.fromkeys([*range(ROWS), *range(100, 100 + ROWS)], 1)
    assert [spool.list_waiting() for spool in spools] == [[], []]


@pytest.mark.conforms("S1-85")
async def test_a_source_of_any_length_is_taken_by_pieces_and_sent_again_changes_nothing(entries: Database) -> None:
    """Rows come one by one and are never all in memory; the source breaks off, and is sent again from its start."""
    rows, taken = 150_000, []

    def make(breaks_at: int | None = None) -> Iterator[dict[str, int]]:
        for number in range(rows):
            if number == breaks_at:
                raise OSError("the source is gone")
            yield {"number": number}

    ingest = Ingest(entries, CATALOG)
    with pytest.raises(OSError, match="gone"):
        await ingest.ingest(DATASET, make(140_000), batch="long", progress=lambda answer: taken.append(answer.rows))
    assert taken == [65_536, 131_072]
    answer = await ingest.ingest(DATASET, make(), batch="long")
    assert (answer.accepted, answer.rows) == (rows, rows)
    assert await entries.fetch_value("SELECT count(DISTINCT xmin::text) FROM entries.entry") == 3
    found = await entries.fetch_one("SELECT count(*) AS rows, count(DISTINCT number) AS numbers FROM entries.entry")
    assert (found.rows, found.numbers) == (rows, rows)
