"""The server's log stays within its bounds while the server goes on writing to it."""

import os
from pathlib import Path

from chainstrata.engines.postgres.serverlog import ServerLog


def test_it_is_cut_and_a_few_parts_are_kept(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "postgres.log", largest=1000, kept=2)
    handle = log.open()
    for number in range(8):
        os.write(handle, f"round {number} {'x' * 600}\n".encode())
        log.rotate()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["postgres.log", "postgres.log.1", "postgres.log.2"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 * 2000
    assert "round 7" in (tmp_path / "postgres.log.1").read_text(encoding="ascii")
    assert (tmp_path / "postgres.log").stat().st_size == 0
    log.close()


def test_its_tail_is_of_this_start_only(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "postgres.log")
    os.write(log.open(), b"of the first start\n")
    handle = log.open()
    assert log.tail() == ""
    os.write(handle, b"".join(b"line %d\n" % number for number in range(20)))
    assert log.tail(3) == "line 17\nline 18\nline 19"
    log.close()
    assert (tmp_path / "postgres.log").stat().st_mode & 0o777 == 0o600


def test_when_the_part_cannot_be_kept_the_log_is_still_cut(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "postgres.log", largest=10, kept=1)
    os.write(log.open(), b"x" * 100)
    # Its place leads nowhere, so no copy can be made.
    (tmp_path / "postgres.log.1").symlink_to(tmp_path / "no" / "such" / "place")
    assert log.rotate()
    assert (tmp_path / "postgres.log").stat().st_size == 0
    log.close()
