"""The embedded server's log file, bounded in size.

The server writes to the open file itself, so it never waits for the node and its last words survive the node. The file is
opened for appending, which lets it be copied aside and cut while the server goes on writing.
"""

import os
import shutil
from pathlib import Path
from typing import Final

_LARGEST: Final = 10 * 1024 * 1024
_KEPT: Final = 3
_TAIL: Final = 16 * 1024


class ServerLog:
    """`<home>/logs/postgres.log` and its older parts, `.1` the newest."""

    def __init__(self, path: Path, *, largest: int = _LARGEST, kept: int = _KEPT) -> None:
        self.path = path
        self._largest = largest
        self._kept = kept
        self._handle: int | None = None
        self._mark = 0

    def open(self) -> int:
        """Return the file's descriptor for the server to write to."""
        if self._handle is None:
            self._handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.rotate()
        self._mark = os.fstat(self._handle).st_size
        return self._handle

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def rotate(self) -> bool:
        """Put the file aside if it has grown too large, and return whether it was done."""
        if self._handle is None or os.fstat(self._handle).st_size < self._largest:
            return False
        for number in range(self._kept, 1, -1):
            older = self._part(number - 1)
            if older.exists():
                older.replace(self._part(number))
        try:
            shutil.copyfile(self.path, self._part(1))
            self._part(1).chmod(0o600)
        except OSError:
            # Perhaps for want of space, which a log must not use up: better a part less.
            self._part(1).unlink(missing_ok=True)
        os.ftruncate(self._handle, 0)
        self._mark = 0
        return True

    def tail(self, lines: int = 12) -> str:
        """Return the last lines written since the server was last started."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(self._mark, file.seek(0, os.SEEK_END) - _TAIL))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])

    def _part(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
