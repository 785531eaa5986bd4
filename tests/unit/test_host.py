"""What the machine gives: limits of control groups of both kinds, and disks that know or do not know what they are."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chainstrata.engines.postgres.host import GB, MB, count_cores, disk_kind, inspect_host, read_memory

TOTAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
CORES = len(os.sched_getaffinity(0))
LIMIT = TOTAL // 2 // MB * MB
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Give a function that lays out a system's files below a directory and returns it."""

    def lay_out(**files: str) -> Path:
        for path, text in files.items():
            place = tmp_path / path.replace("__", "/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="ascii")
        return tmp_path

    return lay_out


CGROUP = "proc__self__cgroup"
TOP = "sys__fs__cgroup__"


def test_without_a_limit_the_hosts_memory_counts(write: Write) -> None:
    for root in (write(), write(**{CGROUP: "0::/app\n", f"{TOP}app__memory.max": "max\n"})):
        assert read_memory(root) == (TOTAL, "the host's memory")


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("0::/app\n", {"app__memory.max": LIMIT}),
        ("0::/slice/app\n", {"slice__app__memory.max": "max", "slice__memory.max": LIMIT}),
        ("0::/on/the/host\n", {"memory.max": LIMIT}),
        ("4:memory:/app\n0::/\n", {"memory__app__memory.limit_in_bytes": LIMIT}),
        ("4:memory:/on/the/host\n", {"memory__memory.limit_in_bytes": LIMIT}),
    ],
    ids=["unified", "of a group above", "seen from inside a container", "of the first kind", "of the first kind, inside"],
)
def test_a_limit_of_memory(write: Write, cgroup: str, files: dict[str, object]) -> None:
    root = write(**{CGROUP: cgroup}, **{TOP + path: f"{text}\n" for path, text in files.items()})
    assert read_memory(root) == (LIMIT, "the control group's limit")


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, CORES),
        ({"app__cpu.max": "max 100000"}, CORES),
        ({"app__cpu.max": "50000 100000"}, 1),
        ({"app__cpu.max": "100000 100000"}, 1),
        ({"app__cpu.max": "nonsense"}, CORES),
    ],
)
def test_a_limit_of_cores(write: Write, files: dict[str, str], cores: int) -> None:
    root = write(**{CGROUP: "0::/app\n"}, **{TOP + path: text for path, text in files.items()})
    assert count_cores(root) == cores


def test_a_limit_of_cores_of_the_first_kind(write: Write) -> None:
    files = {f"{TOP}cpu__app__cpu.cfs_quota_us": "100000\n", f"{TOP}cpu__app__cpu.cfs_period_us": "100000\n"}
    assert count_cores(write(**{CGROUP: "3:cpu,cpuacct:/app\n"}, **files)) == 1
    files[f"{TOP}cpu__app__cpu.cfs_quota_us"] = "-1\n"
    assert count_cores(write(**files)) == CORES


@pytest.mark.parametrize(
    ("device", "flag", "kind"),
    [
        ("sda", "1", "rotating"),
        ("nvme0n1", "0", "solid state"),
        ("vda", "1", "unknown"),
        ("dm-0", "1", "unknown"),
        ("sda/sda1", "1", "rotating"),
    ],
)
def test_kinds_of_disk(write: Write, tmp_path: Path, device: str, flag: str, kind: str) -> None:
    whole = device.split("/", maxsplit=1)[0]
    root = write(**{f"sys__devices__{whole}__queue__rotational": f"{flag}\n"})
    place = root / "sys/devices" / device
    place.mkdir(parents=True, exist_ok=True)
    number = tmp_path.stat().st_dev
    entry = root / "sys/dev/block" / f"{os.major(number)}:{os.minor(number)}"
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.symlink_to(place)
    assert disk_kind(tmp_path, root) == kind


def test_the_machine_itself(tmp_path: Path) -> None:
    host = inspect_host(tmp_path / "not" / "there" / "yet")
    assert 0 < host.memory_bytes <= TOTAL
    assert 1 <= host.cores <= CORES
    assert 0 < host.disk_free_bytes <= host.disk_total_bytes
    given = inspect_host(tmp_path, memory_mb=2048)
    assert (given.memory_bytes, given.memory_from) == (2 * GB, "postgres.memory_mb")
