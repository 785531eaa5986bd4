"""The node's home directory: who holds it, its secrets, what is remembered in it.

<home>/
node.lock            held by the one process that runs this home
node.json            pid, ports and start time of a running node
postgres.json        where the data is, its system identifier, the port
postgres/<major>/    data of the embedded server, unless its user cannot reach it here
secrets/             0700; files 0600
run/                 unix sockets
logs/
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import tempfile
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from chainstrata.engines.postgres.errors import DiskFull, HomeInUse, HomeUnusable, PostgresError
from chainstrata.engines.postgres.processes import describe, read_process

_LOCK: Final = "node.lock"
_NODE: Final = "node.json"
_CLUSTER: Final = "postgres.json"
_PASSWORD: Final = "postgres_password"  # noqa: S105
_SECRET_BYTES: Final = 32
_INHERITED: Final = 3.0
_LOOK: Final = 0.01


def prepare_home(home: Path) -> None:
    """Make the home and what is always in it; raise `HomeUnusable`."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        for name, mode in (("secrets", 0o700), ("logs", 0o700)):
            (home / name).mkdir(mode=mode, exist_ok=True)
        ignored = home / ".gitignore"
        if not ignored.exists():
            # It often lies in somebody's repository, and holds secrets.
            write_whole(ignored, "*\n", mode=0o644)
    except OSError as error:
        raise unusable(home, error) from error


def unusable(path: Path, error: OSError) -> PostgresError:
    """Return what it means that something below the home cannot be made or written."""
    if error.errno == errno.ENOSPC:
        return DiskFull(f"no space left for {path}")
    return HomeUnusable(
        f"{path} cannot be made or written: {error.strerror}",
        hint="Set home to a directory that you and the server's user can both reach and write.",
    )


def write_whole(path: Path, text: str, *, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Write a file so that it is there whole or not at all, also after a crash. Never follows a link at `path`."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames in a directory survive a power loss."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class HomeLock:
    """Held by the one process that runs a home. The kernel frees it when the process ends, however it ends."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise `HomeInUse` naming who has it."""
        if self._handle is not None:
            return
        try:
            handle = os.open(self.home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise HomeUnusable(
                f"{self.home} cannot be locked: {error.strerror}", hint="Run as the user that started the node first."
            ) from error
        deadline = time.monotonic() + _INHERITED
        while not _try_lock(handle):
            text = os.pread(handle, 32, 0).decode(errors="replace").strip()
            pid = int(text) if text.isdigit() else None
            holder = read_process(pid) if pid else None
            # A process killed while it began another leaves that one with the lock, until it has become its program.
            if (holder is not None and holder.alive) or time.monotonic() > deadline:
                os.close(handle)
                raise HomeInUse(self.home, pid=pid, command=describe(pid) if pid else "")
            time.sleep(_LOOK)  # noqa: TID251  # the kernel tells nobody when a lock is free
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle

    def release(self) -> None:
        # The file stays: removing it would let two processes lock two different files of one name.
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    @property
    def held(self) -> bool:
        return self._handle is not None

    def __enter__(self) -> "HomeLock":
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """What a running node tells other commands of the same home. `ports` by service: `postgres`, `http`.

    `address` is where it serves HTTP, `versions` what it runs, by name.
    """

    pid: int
    born: int
    ports: dict[str, int]
    started: datetime
    address: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_this_process(cls, ports: dict[str, int], *, address: str = "", versions: dict[str, str] | None = None) -> "NodeRecord":
        me = read_process(os.getpid())
        return cls(os.getpid(), me.born if me else 0, dict(ports), datetime.now(UTC), address, dict(versions or {}))

    @classmethod
    def read(cls, home: Path) -> "NodeRecord | None":
        """Return the record of the node that runs now, or None. What a dead node left behind counts as none."""
        known = _read_json(home / _NODE)
        if known is None:
            return None
        started = datetime.fromisoformat(known["started"])
        record = cls(known["pid"], known["born"], known["ports"], started, known.get("address", ""), known.get("versions", {}))
        process = read_process(record.pid)
        return record if process is not None and process.alive and process.born == record.born else None

    def write(self, home: Path) -> None:
        write_whole(home / _NODE, json.dumps({**asdict(self), "started": self.started.isoformat()}) + "\n", mode=0o644)

    @staticmethod
    def remove(home: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            (home / _NODE).unlink()


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """What the home remembers of its embedded server.

    `ready` turns true when the first start is through; until then the data directory may be missing or half made.
    """

    data: str = ""
    system_identifier: str = ""
    ready: bool = False
    port: int = 0

    @classmethod
    def read(cls, home: Path) -> "ClusterRecord":
        known = _read_json(home / _CLUSTER) or {}
        return cls(**{name: known[name] for name in ("data", "system_identifier", "ready", "port") if name in known})

    def write(self, home: Path) -> None:
        write_whole(home / _CLUSTER, json.dumps(asdict(self), indent=2) + "\n", mode=0o644)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise HomeUnusable(
            f"{path} cannot be read: {error}", hint="Put the right file back, or remove it if the data it speaks of is gone."
        ) from error
    return known if isinstance(known, dict) else None


def password_path(home: Path) -> Path:
    """Return where the password of the embedded server is kept."""
    return home / "secrets" / _PASSWORD


def read_password(home: Path) -> str | None:
    """Return the password of the embedded server, or None if it was never made. Tightens its mode if others may read it."""
    path = password_path(home)
    try:
        text = path.read_text(encoding="ascii").strip()
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise HomeUnusable(f"password file {path} cannot be read: {error}", hint="Run as the user that started the node first.") from error
    return text or None


def make_password(home: Path) -> str:
    """Make a new password, keep it in a file only its owner can read, and return it."""
    password = secrets.token_urlsafe(_SECRET_BYTES)
    write_whole(password_path(home), password + "\n", mode=0o600)
    return password
