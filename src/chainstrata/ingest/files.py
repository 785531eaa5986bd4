"""Which files of rows are meant: those named, those of a directory that is named, and standard input."""

import io
import os
import select
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import IO, Any, Final

from chainstrata.errors import UsageError
from chainstrata.ingest.intake import SUFFIXES
from chainstrata.ingest.payload import Format

STDIN: Final = Path("-")
_LOOK_SECONDS: Final = 0.1
_BUFFER: Final = 1024 * 1024


@contextmanager
def until_left(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """Give a stream that ends when the block is left, also for a thread that waits for more of it: nothing else would wake that."""
    try:
        number = stream.fileno()
    except OSError:
        yield stream
        return
    ending = _Ending(number)
    try:
        yield io.BufferedReader(ending, _BUFFER)
    finally:
        ending.end()


class _Ending(io.RawIOBase):
    """What comes from a file or pipe, until it is said that no more is wanted."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._ended = Event()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ended.is_set():
            if select.select([self._number], [], [], _LOOK_SECONDS)[0]:
                data = os.read(self._number, len(buffer))
                buffer[: len(data)] = data
                return len(data)
        return 0

    def end(self) -> None:
        self._ended.set()


def find_files(paths: Sequence[Path], *, format: Format | None = None, named: bool = False) -> list[Path]:  # noqa: A002  # as everybody calls it
    """Return the files to read, in order; of a directory those whose names tell what they hold, sorted.

    Raises `UsageError` if any cannot be read, before anything is. `named`: each is to have a name of its own.
    """
    files: list[Path] = []
    for path in paths:
        if path == STDIN:
            if format is None:
                raise UsageError("standard input does not tell what format it is", hint="Name it: --format ndjson.")
            files.append(path)
        elif path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.is_file() and one.suffix.lower() in SUFFIXES)
            if not inside:
                raise UsageError(f"{path}: no file of rows in this directory", hint=f"Their names end in {', '.join(SUFFIXES)}.")
            files += inside
        else:
            _check(path, format)
            files.append(path)
    twice = [name for name, count in Counter(path.name for path in files).items() if count > 1]
    if named and twice:
        raise UsageError(f"two files are called {twice[0]}", hint="In a load with a name a file is known by its own: load them one by one.")
    return files


def _check(path: Path, format: Format | None) -> None:  # noqa: A002  # as everybody calls it
    if format is None and path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: cannot tell what format it is", hint=f"Name it with --format, or end the name in {', '.join(SUFFIXES)}.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror or error}", hint="Nothing was read. Name files and directories that are there."
        ) from error
