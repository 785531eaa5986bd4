"""What the machine gives a server: memory, cores and disk, control groups respected."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Disk = Literal["solid state", "rotating", "unknown"]
MB: Final = 1024 * 1024
GB: Final = 1024 * MB
# A control group without a limit says so with a number near the largest one.
_UNLIMITED: Final = 1 << 60
# Virtual disks say "rotating" whatever lies under them.
_VIRTUAL: Final = re.compile(r"^(vd|xvd|nbd|rbd|loop|dm-|md)")


@dataclass(frozen=True, slots=True)
class Host:
    """The machine as the tuner sees it. Texts say where a number comes from."""

    memory_bytes: int
    memory_from: str
    cores: int
    disk: Disk
    disk_free_bytes: int
    disk_total_bytes: int


def inspect_host(directory: Path, *, memory_mb: int = 0, root: Path = Path("/")) -> Host:
    """Return what the machine gives a server whose data is below `directory`. `memory_mb` above zero is taken as said."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    usage = shutil.disk_usage(there)
    memory, origin = (memory_mb * MB, "postgres.memory_mb") if memory_mb else read_memory(root)
    return Host(memory, origin, count_cores(root), disk_kind(there, root), usage.free, usage.total)


def read_memory(root: Path = Path("/")) -> tuple[int, str]:
    """Return the memory this process may use, and whether the host or its control group says so."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [limit for group in _groups(root, "memory", "memory.max", "memory.limit_in_bytes") if (limit := _number(group)) < _UNLIMITED]
    lowest = min(limits, default=total)
    return (lowest, "the control group's limit") if lowest < total else (total, "the host's memory")


def count_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use at once."""
    allowed = len(os.sched_getaffinity(0))
    for file in _groups(root, "cpu", "cpu.max", "cpu.cfs_quota_us"):
        quota, period = _quota(file)
        if quota > 0:
            allowed = min(allowed, max(1, -(-quota // period)))
    return allowed


def disk_kind(path: Path, root: Path = Path("/")) -> Disk:
    """Return what kind of disk holds the path. A virtual disk does not know."""
    device = path.stat().st_dev
    entry = root / "sys/dev/block" / f"{os.major(device)}:{os.minor(device)}"
    if not entry.exists():
        return "unknown"
    real = entry.resolve()
    for place in (real, real.parent):
        flag = place / "queue/rotational"
        if flag.is_file():
            if _VIRTUAL.match(place.name):
                return "unknown"
            return "rotating" if flag.read_text(encoding="ascii").strip() == "1" else "solid state"
    return "unknown"


def _groups(root: Path, controller: str, new: str, old: str) -> Iterator[Path]:
    """Yield the limit files that bind this process: of its own group and of every group above."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        unified = number == "0" and not controllers
        if not unified and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" if unified else _controller_mount(root, controller)
        group = mount / path.lstrip("/")
        # In a container the path is the host's, while the mount shows the group itself at its top.
        for place in (group, *group.parents):
            if place.is_relative_to(mount):
                file = place / (new if unified else old)
                if file.is_file():
                    yield file


def _controller_mount(root: Path, controller: str) -> Path:
    base = root / "sys/fs/cgroup"
    return next((base / name for name in (controller, "cpu,cpuacct") if (base / name).is_dir()), base / controller)


def _number(file: Path) -> int:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return _UNLIMITED
    return int(text) if text.isdigit() else _UNLIMITED


def _quota(file: Path) -> tuple[int, int]:
    """Return quota and period in microseconds; a quota of 0 is none."""
    try:
        words = file.read_text(encoding="ascii").split()
        if len(words) == 2:
            return (0 if words[0] == "max" else int(words[0])), int(words[1])
        period = int((file.parent / "cpu.cfs_period_us").read_text(encoding="ascii"))
        return max(0, int(words[0])), period
    except (OSError, ValueError, IndexError):
        return 0, 1
