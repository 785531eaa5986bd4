"""Batches on disk, for as long as PostgreSQL is away: each one file, whole and synced before anybody is told of it.

<directory>/
lock                     taken for a moment by whoever adds a batch; holds the number given last
<dataset>/<number>.batch the batches of a dataset in the order in which they came
<dataset>/replay         held by the one process that writes them to PostgreSQL
damaged/                 files that are not what was written: kept, counted, and in nobody's way

A file is a header, the rows as an Arrow stream, and a checksum over both. Several processes may share one directory.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc

from chainstrata.config import INGEST_RETRY_AFTER, INGEST_SPOOL_BYTES, Config
from chainstrata.ingest.errors import TryLater
from chainstrata.ingest.python_rows import Taken

MAGIC: Final = b"STRATA01"
SUFFIX: Final = ".batch"
DAMAGED: Final = "damaged"
_LENGTHS: Final = struct.Struct("<QQ")
_DIGEST: Final = 32
_COUNTED_FOR: Final = 1.0
_PATIENCE: Final = 10.0


class Damaged(ValueError):
    """A file that is not as it was written."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is to become of the rows. By the name of their `batch` the server knows whether they are written already."""

    dataset: str
    batch: str
    rows: int
    strict: bool = False
    origin: str = ""
    malformed: Sequence[Sequence[str]] = ()
    spooled_at: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A batch that waits. `since` is when it was spooled."""

    path: Path
    dataset: str
    size_bytes: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch as it was read back."""

    header: Header
    rows: Any

    @property
    def taken(self) -> Taken:
        return Taken(self.rows, [(text, problem) for text, problem in self.header.malformed])


def open_spool(config: Config) -> "Spool":
    """Return the spool of a home. Works while PostgreSQL is away."""
    return Spool(config.home / "spool", config[INGEST_SPOOL_BYTES], retry_after=config[INGEST_RETRY_AFTER].total_seconds())


class Spool:
    """The batches in one directory, at most `limit_bytes` of them; nothing is made before the first batch is."""

    def __init__(self, directory: Path, limit_bytes: int, *, retry_after: float = 5.0) -> None:
        self.directory = directory
        self.limit_bytes = limit_bytes
        self._retry_after = retry_after
        self._used = 0
        self._counted_at = -_COUNTED_FOR
        self._last = -1

    def add(self, header: Header, rows: Any) -> Path:
        """Write a batch so that it is there whatever happens next; raise `TryLater` when there is no room for it.

        Blocks on the disk, so it is called in a thread.
        """
        content = _encode(header, rows)
        if self.used_bytes() + len(content) > self.limit_bytes:
            raise TryLater(
                f"PostgreSQL is away and the spool is full: {self._used} of {self.limit_bytes} bytes are used", after=self._retry_after
            )
        folder = self.directory / header.dataset
        try:
            self._make(folder)
            with self._locked() as lock:
                path = folder / f"{self._next(lock):020d}{SUFFIX}"
                _write(path, content)
        except OSError as error:
            # A full disk most of all; whatever it is, nothing was kept and nobody was told so.
            raise TryLater(
                f"PostgreSQL is away and {folder} cannot be written: {error.strerror or error}", after=self._retry_after
            ) from error
        self._used += len(content)
        return path

    def list_waiting(self, dataset: str = "") -> list[Waiting]:
        """Return what waits, of one dataset or of all, in the order in which it goes."""
        names = [dataset] if dataset else self.list_datasets()
        return [one for name in names for one in self._list(name)]

    def list_datasets(self) -> list[str]:
        """Return the datasets of which something waits."""
        try:
            folders = sorted(entry.name for entry in os.scandir(self.directory) if entry.is_dir() and entry.name != DAMAGED)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [name for name in folders if self.waits(name)]

    def waits(self, dataset: str) -> bool:
        """Return whether a batch of the dataset waits. Cheap: it is asked before every write."""
        try:
            with os.scandir(self.directory / dataset) as entries:
                return any(entry.name.endswith(SUFFIX) for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def list_damaged(self) -> list[Path]:
        """Return the files that were set aside."""
        folder = self.directory / DAMAGED
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def read(self, path: Path) -> Entry:
        """Return a batch; raise `Damaged` if it is not what was written, FileNotFoundError if it is gone."""
        return _decode(path.read_bytes())

    def remove(self, path: Path) -> None:
        """Let a batch go that is in PostgreSQL, or that somebody gives up."""
        size = path.stat().st_size if path.exists() else 0
        # Not synced: a file that is there again after a power cut is a batch whose name is taken.
        path.unlink(missing_ok=True)
        self._used = max(0, self._used - size)

    def set_aside(self, path: Path) -> Path:
        """Move a damaged file out of the way; what comes after it goes on."""
        folder = self.directory / DAMAGED
        self._make(folder)
        place = folder / f"{path.parent.name}-{path.name}"
        path.rename(place)
        _sync(path.parent)
        _sync(folder)
        return place

    def used_bytes(self) -> int:
        """Return how large everything is that waits, as counted a moment ago."""
        if monotonic() - self._counted_at > _COUNTED_FOR:
            self._used = sum(one.size_bytes for one in self.list_waiting())
            self._counted_at = monotonic()
        return self._used

    @contextmanager
    def replaying(self, dataset: str) -> Iterator[bool]:
        """Hold the right to replay a dataset for the block; False if another process has it. The kernel frees it."""
        try:
            handle = os.open(self.directory / dataset / "replay", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            yield False
            return
        try:
            yield _try_lock(handle)
        finally:
            os.close(handle)

    def _list(self, dataset: str) -> Iterator[Waiting]:
        try:
            names = sorted(entry.name for entry in os.scandir(self.directory / dataset) if entry.name.endswith(SUFFIX))
        except FileNotFoundError:
            return
        for name in names:
            path = self.directory / dataset / name
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                yield Waiting(path, dataset, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _sync(folder.parent)
            _sync(folder.parent.parent)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        handle = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = monotonic() + _PATIENCE
            # Without a wait in the kernel, which would have no deadline. Held only as long as one file takes to write.
            while not _try_lock(handle):
                if monotonic() > deadline:
                    raise TryLater(f"{self.directory} is locked by another process", after=self._retry_after)
                os.sched_yield()
            yield handle
        finally:
            os.close(handle)

    def _next(self, lock: int) -> int:
        """Return the next number, larger than any that waits. What was noted may be older than what waits, after a power cut."""
        text = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        noted = int(text) if text.isdigit() else -1
        if self._last < 0:
            waiting = [int(one.path.stem) for one in self.list_waiting() if one.path.stem.isdigit()]
            self._last = max(waiting, default=0)
            for stale in self.directory.glob("*/.*.part"):
                stale.unlink(missing_ok=True)
        self._last = max(noted, self._last) + 1
        os.pwrite(lock, f"{self._last:020d}\n".encode(), 0)
        return self._last


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        _sync(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _encode(header: Header, rows: Any) -> bytes:
    described = json.dumps({**asdict(header), "spooled_at": datetime.now(UTC).isoformat()}).encode()
    sink = pa.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    body = sink.getvalue()
    content = b"".join((MAGIC, _LENGTHS.pack(len(described), body.size), described, body))
    return content + hashlib.sha256(content).digest()


def _decode(content: bytes) -> Entry:
    start = len(MAGIC) + _LENGTHS.size
    if len(content) < start + _DIGEST or content[: len(MAGIC)] != MAGIC:
        raise Damaged("it does not begin as such a file does")
    described, body = _LENGTHS.unpack_from(content, len(MAGIC))
    if len(content) != start + described + body + _DIGEST:
        raise Damaged(f"it has {len(content)} bytes, and should have {start + described + body + _DIGEST}")
    if hashlib.sha256(memoryview(content)[:-_DIGEST]).digest() != content[-_DIGEST:]:
        raise Damaged("its checksum is not that of its content")
    header = Header(**json.loads(content[start : start + described]))
    with pyarrow.ipc.open_stream(pa.py_buffer(content).slice(start + described, body)) as reader:
        return Entry(header, reader.read_all())
