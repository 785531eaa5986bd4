"""Batches on disk: whole or not there, in order, bounded, and of one mind with other processes."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from chainstrata.ingest import Spool, TryLater
from chainstrata.ingest.queueing import Queue
from chainstrata.ingest.spool import Damaged, Header
from tools.tree import ROOT

ROWS = pa.table({"n": [1, 2, 3], "text": ["a", None, "ü"]})


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 1024 * 1024)


def header(batch: str, dataset: str = "demo.row") -> Header:
    return Header(dataset, batch, 3, strict=True, origin="here", malformed=[("{broken", "not JSON")])


def names(spool: Spool, dataset: str = "") -> list[str]:
    return [spool.read(one.path).header.batch for one in spool.list_waiting(dataset)]


def test_a_batch_is_read_back_as_it_was(spool: Spool) -> None:
    entry = spool.read(spool.add(header("one"), ROWS))
    assert entry.rows.equals(ROWS)
    assert entry.taken.malformed == [("{broken", "not JSON")]
    assert (entry.header.batch, entry.header.strict, entry.header.origin) == ("one", True, "here")


def test_batches_wait_in_the_order_in_which_they_came(spool: Spool) -> None:
    for number in range(12):
        spool.add(header(str(number), f"demo.{number % 2}"), ROWS)
    assert names(spool, "demo.1") == ["1", "3", "5", "7", "9", "11"]
    assert spool.list_datasets() == ["demo.0", "demo.1"]
    for one in spool.list_waiting("demo.0"):
        spool.remove(one.path)
    assert (spool.waits("demo.0"), spool.waits("demo.1"), spool.waits("demo.2")) == (False, True, False)


def test_the_order_holds_after_a_start_and_after_the_note_of_it_is_lost(spool: Spool, tmp_path: Path) -> None:
    spool.add(header("0"), ROWS)
    spool.add(header("1"), ROWS)
    (tmp_path / "spool" / "lock").unlink()
    Spool(tmp_path / "spool", 1024 * 1024).add(header("2"), ROWS)
    assert names(spool) == ["0", "1", "2"]


def test_a_file_is_not_there_until_it_is_whole(spool: Spool, tmp_path: Path) -> None:
    spool.add(header("0"), ROWS)
    stale = tmp_path / "spool" / "demo.row" / ".00000000000000000009.batch.part"
    stale.write_bytes(b"half")
    assert names(spool) == ["0"]
    Spool(tmp_path / "spool", 1024 * 1024).add(header("1"), ROWS)
    assert not stale.exists()


@pytest.mark.parametrize("harm", ["cut", "empty", "longer", "a bit", "the header"])
def test_a_damaged_file_is_told_and_set_aside(spool: Spool, harm: str) -> None:
    path = spool.add(header("0"), ROWS)
    content = bytearray(path.read_bytes())
    if harm == "a bit":
        content[len(content) // 2] ^= 1
    elif harm == "the header":
        content[9] ^= 255
    path.write_bytes({"cut": content[:-100], "empty": b"", "longer": content + b"x"}.get(harm, bytes(content)))
    with pytest.raises(Damaged):
        spool.read(path)
    place = spool.set_aside(path)
    assert spool.list_damaged() == [place]
    assert spool.list_waiting() == []


def test_beyond_its_limit_the_writer_is_told_when_to_come_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 3000, retry_after=7)
    size = spool.add(header("0"), ROWS).stat().st_size
    for number in range(1, 3000 // size):
        spool.add(header(str(number)), ROWS)
    with pytest.raises(TryLater, match="the spool is full") as caught:
        spool.add(header("too much"), ROWS)
    assert caught.value.retryable
    assert caught.value.retry_after == 7
    assert spool.used_bytes() <= 3000


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file stands in the way")
    with pytest.raises(TryLater, match="cannot be written"):
        Spool(tmp_path / "spool", 3000).add(header("0"), ROWS)


_ADD = """
import sys
import pyarrow as pa
from pathlib import Path
from chainstrata.ingest import Spool
from chainstrata.ingest.spool import Header
spool = Spool(Path(sys.argv[1]), 1024 * 1024)
for number in range(20):
    spool.add(Header("demo.row", f"{sys.argv[2]}/{number}", 1), pa.table({"n": [number]}))
"""


def test_processes_that_share_it_keep_their_order(spool: Spool, tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", _ADD, str(tmp_path / "spool"), name] for name in ("a", "b")]
    with ThreadPoolExecutor() as threads:
        for done in threads.map(lambda command: subprocess.run(command, check=True, cwd=ROOT, timeout=60), commands):
            assert done.returncode == 0
    found = names(spool)
    assert [name for name in found if name.startswith("a")] == [f"a/{n}" for n in range(20)]
    assert [name for name in found if name.startswith("b")] == [f"b/{n}" for n in range(20)]


def test_one_process_at_a_time_replays_a_dataset(spool: Spool) -> None:
    spool.add(header("0"), ROWS)
    with spool.replaying("demo.row") as first, spool.replaying("demo.row") as second:
        assert (first, second) == (True, False)
    with spool.replaying("demo.row") as again, spool.replaying("demo.other") as nothing:
        assert (again, nothing) == (True, False)
    assert spool.waits("demo.row")


async def test_the_queue_is_bounded_by_bytes_and_by_batches() -> None:
    queue = Queue(100, 2)
    async with queue.place(60, 1) as first, queue.place(60, 0.01) as too_much, queue.place(40, 1) as second, queue.place(0, 0.01) as third:
        assert (first, too_much, second, third) == (True, False, True, False)
    async with queue.place(1000, 1) as alone, queue.place(1, 0.01) as other:
        assert (alone, other) == (True, False)
    assert (queue.used_bytes, queue.used_batches) == (0, 0)
