"""The columnar engine's disk full: the source writes on, people are told, and the mirror has everything once there is space again."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from chainstrata.engines.clickhouse import Columnar, ColumnarOptions, EmbeddedClickHouse, is_installed
from chainstrata.engines.clickhouse.errors import ColumnarDiskFull
from chainstrata.engines.postgres import Database
from tests.fixtures.disks import fill_disk
from tests.fixtures.mirrored import following, mirrored, show
from tests.fixtures.postgres import make_test_config

pytestmark = pytest.mark.skipif(not is_installed(), reason="chdb is not installed")


async def test_a_mirror_outlives_a_full_disk(database: Database, make_disk: Callable[[int], Path]) -> None:
    disk = make_disk(600)
    config = make_test_config(disk / "home", clickhouse__memory_mb=1000)
    options = ColumnarOptions(timeout=timedelta(seconds=30), retry_deadline=timedelta(milliseconds=100))
    async with EmbeddedClickHouse(config) as engine, Columnar(engine.url, options) as columnar, mirrored(database, columnar) as mirrors:
        async with following(mirrors):
            await database.execute("INSERT INTO demo.account VALUES ('before', 1)")
            await mirrors.wait()
        filler = fill_disk(disk)
        for number in range(5):
            await database.execute(f"INSERT INTO demo.account SELECT 'full-{number}-' || n, n FROM generate_series(1, 500) n")
        await database.execute("UPDATE demo.account SET limit_units = 2 WHERE name = 'before'")
        with pytest.raises(ColumnarDiskFull):
            await mirrors.capture().run(asyncio.Event())
        [told] = {mirror.error for mirror in (await mirrors.status()).mirrors}
        assert "not enough space" in told
        filler.unlink()
        async with following(mirrors):
            await mirrors.wait()
            assert {mirror.error for mirror in (await mirrors.status()).mirrors} == {""}
        accounts = {row["name"]: row["limit_units"] for row in await show(columnar, "demo__accounts")}
        assert accounts == {"before": 2, **{f"full-{number}-{n}": n for number in range(5) for n in range(1, 501)}}
