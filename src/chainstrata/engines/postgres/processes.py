"""Processes as the kernel shows them: who runs in a data directory, who listens on a port, and waiting for their end.

A number alone never proves anything: numbers are used again, and a dead process keeps its own until it is reaped. A server
of ours is a live process called postgres whose working directory is the data directory.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LISTEN: Final = "0A"
_DEAD: Final = frozenset("ZX")


@dataclass(frozen=True, slots=True)
class Process:
    """A process at one moment. `born` counts clock ticks since the machine started: with the number it is unmistakable."""

    pid: int
    name: str
    state: str
    born: int

    @property
    def alive(self) -> bool:
        """A zombie is dead: it only waits to be reaped."""
        return self.state not in _DEAD


def read_process(pid: int) -> Process | None:
    """Return the process with that number, or None if there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return Process(pid, name, fields[0], int(fields[19]))


def list_servers(data: Path) -> list[int]:
    """Return the live postgres processes, postmaster and others, that work in this data directory."""
    return [pid for pid, here in _list_working("postgres") if here == data.resolve()]


def list_makers(directory: Path) -> list[int]:
    """Return the live processes of an initdb that work in or below this directory."""
    return [pid for pid, here in _list_working("initdb", "postgres", "sh") if here.is_relative_to(directory.resolve())]


def _list_working(*names: str) -> Iterator[tuple[int, Path]]:
    """Yield the live processes with one of the names, and where each works."""
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            here = str((entry / "cwd").readlink())
        except OSError:
            continue
        process = read_process(int(entry.name))
        if process is not None and process.alive and process.name in names:
            yield process.pid, Path(here.removesuffix(" (deleted)"))


def describe(pid: int) -> str:
    """Return the command line of a process, shortened, or an empty string."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace").strip()[:120]


def die_with_parent(number: signal.Signals) -> Callable[[], None]:
    """Return what a child runs before it becomes its program, so that it gets the signal when its parent dies.

    The kernel sends it when the thread that started the child ends, so start children from a thread that stays: the
    event loop's. It must come after the change of user, which clears it; `subprocess` does it in this order.
    """
    parent = os.getpid()

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


async def wait_gone(pids: Iterable[int], within: float) -> list[int]:
    """Wait until these processes, ours or not, have ended; return those that have not after `within` seconds."""
    waits = {pid: asyncio.ensure_future(_wait_end(pid)) for pid in pids}
    if waits:
        _, pending = await asyncio.wait(waits.values(), timeout=within)
        for wait in pending:
            wait.cancel()
        await asyncio.gather(*waits.values(), return_exceptions=True)
    return [pid for pid, wait in waits.items() if wait.cancelled()]


async def _wait_end(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal processes, those that are gone already left out."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def who_listens(port: int) -> str:
    """Return who listens on a TCP port of this machine, as far as /proc tells, or an empty string."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    if not sockets:
        return ""
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and _holds(entry, sockets):
            return f"process {entry.name} ({describe(int(entry.name)) or 'unknown'})"
    return ""


def _listening(port: int) -> list[str]:
    found: list[str] = []
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port:
                found.append(fields[9])
    return found


def _holds(entry: Path, sockets: set[str]) -> bool:
    try:
        return any(str(handle.readlink()) in sockets for handle in (entry / "fd").iterdir())
    except OSError:
        return False
