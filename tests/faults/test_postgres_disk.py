"""A file system that is full: said clearly, nothing acknowledged lost, and over as soon as there is space again."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from chainstrata.engines.postgres import Database, EmbeddedPostgres, PoolOptions, ServerState, errors
from tests.fixtures.disks import fill_disk
from tests.fixtures.postgres import URL, copy_home, make_test_config

pytestmark = pytest.mark.skipif(bool(URL), reason="a server was given: nothing embedded is tested")


async def test_a_first_start_without_space_says_how_much_it_needs(make_disk: Callable[[int], Path]) -> None:
    disk = make_disk(100)
    with pytest.raises(errors.DiskFull) as caught:
        await EmbeddedPostgres(make_test_config(disk / "home")).start()
    assert "a first start needs" in caught.value.message
    assert list((disk / "home" / "postgres").iterdir()) == []


async def test_a_start_on_a_full_disk_says_so_and_works_once_there_is_space(pristine: Path, make_disk: Callable[[int], Path]) -> None:
    disk = make_disk(400)
    config = make_test_config(copy_home(pristine, disk / "home"))
    filler = fill_disk(disk)
    with pytest.raises(errors.DiskFull):
        await EmbeddedPostgres(config).start()
    filler.unlink()
    async with EmbeddedPostgres(config) as server:
        assert server.state is ServerState.RUNNING


async def test_a_disk_that_fills_up_while_writing(pristine: Path, make_disk: Callable[[int], Path]) -> None:
    disk = make_disk(400)
    config = make_test_config(copy_home(pristine, disk / "home"))
    acknowledged: list[int] = []
    refused: list[errors.PostgresError] = []

    async def write(db: Database, number: int) -> None:
        try:
            await db.execute("INSERT INTO written SELECT %(n)s, repeat('x', 1000) FROM generate_series(1, 500)", {"n": number})
            acknowledged.append(number)
        except (errors.DiskFull, errors.ConnectionLost, errors.CannotConnect, errors.PoolTimeout) as error:
            refused.append(error)

    async with (
        EmbeddedPostgres(config) as server,
        Database(server.conninfo, options=PoolOptions(min_size=1, max_size=1, acquire_timeout=2)) as db,
    ):
        await db.execute("CREATE TABLE written (n int, filling text)")
        await write(db, 0)
        filler = fill_disk(disk)
        number = 1
        while len(refused) < 3:
            await write(db, number)
            number += 1
        assert any(isinstance(error, errors.DiskFull) for error in refused) or isinstance(server.error, errors.DiskFull)
        filler.unlink()
        accepted, deadline = len(acknowledged), monotonic() + 60
        while len(acknowledged) < accepted + 3:
            assert monotonic() < deadline
            await write(db, number)
            number += 1
            await asyncio.gather()
        rows = await db.fetch_all("SELECT n, count(*) AS count FROM written GROUP BY n")
        found = {row.n: row.count for row in rows}
        assert all(found.get(n) == 500 for n in acknowledged)
        assert server.state is ServerState.RUNNING
