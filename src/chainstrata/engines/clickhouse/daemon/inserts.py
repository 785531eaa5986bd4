"""The rows of an insert on their way to the engine: kept until all are here, then handed over as a file without a name."""

import errno
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from chainstrata.engines.clickhouse.daemon.request import Request

_IN_MEMORY: Final = 64 << 20
_SETTINGS: Final = re.compile(r"\s+SETTINGS\s+\w+\s*=", re.IGNORECASE)


class NoRoom(Exception):
    """There is no room to keep the rows until they are written."""


@contextmanager
def received(data: Iterable[bytes]) -> Iterator[str]:
    """Receive all rows, a few in memory, many on disk, and yield the path of what holds them."""
    handle = os.memfd_create("insert")
    try:
        size = 0
        for part in data:
            _write(handle, part)
            size += len(part)
            if size > _IN_MEMORY >= size - len(part):
                handle = _moved(handle)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def from_file(request: Request, path: str) -> str:
    """Return an insert that takes its rows from a file. Its own settings stay in their place, behind it."""
    found = _SETTINGS.search(request.text)
    at = found.start() if found else len(request.text)
    return f"{request.text[:at]} FROM INFILE '{path}'{request.text[at:]} FORMAT {request.format}"


def _moved(handle: int) -> int:
    """Move what was received so far from memory to the disk, and return what the rest goes to."""
    with tempfile.TemporaryFile() as file:
        target = os.dup(file.fileno())
    try:
        length = os.lseek(handle, 0, os.SEEK_CUR)
        offset = 0
        while offset < length:
            offset += os.sendfile(target, handle, offset, length - offset)
    except OSError as error:
        os.close(target)
        raise _no_room(error) from error
    os.close(handle)
    return target


def _write(handle: int, part: bytes) -> None:
    view = memoryview(part)
    while view:
        try:
            view = view[os.write(handle, view) :]
        except OSError as error:
            raise _no_room(error) from error


def _no_room(error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM):
        return NoRoom(f"the rows of an insert cannot be kept until they are written: {error.strerror}")
    return error
