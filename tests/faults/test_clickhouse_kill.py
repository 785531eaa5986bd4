"""The embedded columnar engine killed, locked, left behind: what was acknowledged is there, once."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pyarrow as pa
import pytest

from chainstrata.engines.clickhouse import Columnar, ColumnarOptions, EmbeddedClickHouse
from chainstrata.engines.clickhouse.configuration import plan_settings
from chainstrata.engines.clickhouse.errors import ColumnarInUse, ColumnarPortTaken, ColumnarStartFailed
from chainstrata.engines.postgres.child import ServerState
from tests.fixtures.postgres import MakeConfig

# Every kill is followed by a recovery, which takes seconds: minutes for all of them.
pytestmark = pytest.mark.long

TABLE = "CREATE TABLE IF NOT EXISTS kept (batch UInt32, row UInt32) ENGINE = MergeTree ORDER BY (batch, row)"
SUMS = "SELECT batch, count() AS n, uniqExact(row) AS rows FROM kept GROUP BY batch"
BATCH = 500


async def test_nothing_acknowledged_is_lost_or_doubled_over_kills(make_config: MakeConfig) -> None:
    acknowledged: list[int] = []
    async with EmbeddedClickHouse(make_config(clickhouse__memory_mb=1000)) as engine, Columnar(engine.url) as columnar:
        await columnar.execute(TABLE)
        enough = asyncio.Event()

        async def write() -> None:
            batch = 0
            while not enough.is_set():
                rows = pa.table({"batch": pa.array([batch] * BATCH, pa.uint32()), "row": pa.array(range(BATCH), pa.uint32())})
                # The connection breaks under it; the call itself repeats the batch until the engine is back.
                await columnar.insert_arrow("kept", rows)
                acknowledged.append(batch)
                batch += 1

        task = asyncio.create_task(write())
        for round_number in range(2):
            wanted = len(acknowledged) + 5 + round_number
            deadline = monotonic() + 60
            while len(acknowledged) < wanted:
                assert monotonic() < deadline
                await columnar.ping()
            assert engine.pid
            os.kill(engine.pid, signal.SIGKILL)
        enough.set()
        await task
        assert engine.restarts == 2
        assert engine.state is ServerState.RUNNING
        found = {row.batch: (row.n, row.rows) for row in await columnar.query_rows(SUMS)}
        assert found == dict.fromkeys(acknowledged, (BATCH, BATCH))
        assert await columnar.fetch_value("SELECT count() FROM system.detached_parts") == 0


async def test_a_second_one_on_the_same_home_is_refused_and_a_stop_keeps_everything(make_config: MakeConfig) -> None:
    config = make_config(clickhouse__memory_mb=1000)
    async with EmbeddedClickHouse(config) as engine, Columnar(engine.url) as columnar:
        await columnar.execute(TABLE)
        await columnar.execute("INSERT INTO kept VALUES (1, 1)")
        with pytest.raises(ColumnarInUse) as refused:
            await EmbeddedClickHouse(config).start()
        assert str(os.getpid()) in refused.value.message
        port = engine.port
    assert engine.pid is None
    # A foreign process on the data, which knows nothing of our lock.
    foreign = subprocess.Popen(  # noqa: ASYNC220  # it answers at once
        [sys.executable, "-c", f"import chdb, sys; c = chdb.connect({str(engine.data)!r}); print('open', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert foreign.stdout is not None
        assert foreign.stdout.readline() == b"open\n"
        with pytest.raises(ColumnarInUse) as refused:
            await EmbeddedClickHouse(config).start()
        assert refused.value.pid == foreign.pid
    finally:
        foreign.kill()
        foreign.communicate()
    async with EmbeddedClickHouse(config) as engine, Columnar(engine.url) as columnar:
        assert engine.port == port
        assert await columnar.fetch_value("SELECT count() FROM kept") == 1


async def test_an_engine_left_behind_is_ended_first(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(clickhouse__memory_mb=1000)
    first = EmbeddedClickHouse(config)
    await first.start()
    left = first.pid
    assert left
    # As after a kill of the node whose child did not notice: nobody holds the lock, the process lives on.
    assert first._watcher is not None
    first._watcher.cancel()
    first._lock.release()
    assert first._listener is not None
    first._listener.close()
    async with EmbeddedClickHouse(config) as second, Columnar(second.url) as columnar:
        assert second.pid != left
        assert await columnar.fetch_value("SELECT 1") == 1
    assert first._process is not None
    assert await first._process.wait() == 0


async def test_what_keeps_it_from_starting_is_said(make_config: MakeConfig, home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ColumnarPortTaken) as refused:
            await EmbeddedClickHouse(make_config(clickhouse__port=taken.getsockname()[1])).start()
    assert str(os.getpid()) in refused.value.message
    data = home / "clickhouse" / "data"
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_text("not a directory")
    with pytest.raises(ColumnarStartFailed) as failed:
        await EmbeddedClickHouse(make_config()).start()
    assert "clickhouse.log" in failed.value.hint


@pytest.mark.conforms("S1-75", "S1-76", "S1-77")
async def test_inserts_are_brought_to_the_disk_unless_that_is_switched_off(make_config: MakeConfig) -> None:
    async with EmbeddedClickHouse(make_config(clickhouse__memory_mb=1000)) as engine, Columnar(engine.url, ColumnarOptions()) as columnar:
        asked = "SELECT value FROM system.merge_tree_settings WHERE name IN ('fsync_after_insert', 'fsync_part_directory')"
        assert [row[0] for row in await columnar.query_rows(asked)] == ["1", "1"]
        assert await columnar.fetch_value("SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'") == str(
            1000 << 20
        )
        sizes = {
            one.name: int(one.value)
            for one in plan_settings(make_config(clickhouse__memory_mb=1000), engine.backups)
            if one.value.isdigit()
        }
        asked = "SELECT value FROM system.server_settings WHERE name = {name:String}"
        for name in ("mark_cache_size", "uncompressed_cache_size", "background_pool_size"):
            assert int(await columnar.fetch_value(asked, {"name": name})) == sizes[name]
        assert sizes["mark_cache_size"] == 1000 * 1024 * 1024 // 8
        assert (engine.data.parent.stat().st_mode & 0o777) == 0o700
        secret = engine.url.split(":")[2].split("@")[0]
        assert secret not in Path(f"/proc/{engine.pid}/cmdline").read_text()
        assert secret not in Path(f"/proc/{engine.pid}/environ").read_text()
