"""A directory of this machine. A new directory is written under another name, made durable, and renamed in one step."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from chainstrata.engines.storage.errors import StorageError, translated

_UNFINISHED = ".unfinished-"


class _DurableFile:
    """A file that is on disk when it is closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    @property
    def closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> "_DurableFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Directory:
    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self, name: str) -> _DurableFile:
        with translated(str(self._path / name)):
            return _DurableFile(self._path / name)


class LocalStorage:
    """Files below one directory, made when it is first written to."""

    HIDES_PARTIAL: ClassVar[bool] = True

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self.url = str(self._root)

    @contextmanager
    def stage(self, directory: str) -> Iterator[_Directory]:
        final = self._root / directory
        unfinished = final.with_name(_UNFINISHED + final.name)
        with translated(str(final)):
            if final.exists():
                raise StorageError(f"{final} exists already", hint="Nothing was written. A directory is written once.")
            shutil.rmtree(unfinished, ignore_errors=True)
            _make_durably(unfinished)
        try:
            yield _Directory(unfinished)
            with translated(str(final)):
                _sync(unfinished)
                unfinished.rename(final)
                _sync(final.parent)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise

    def open(self, path: str) -> Any:
        with translated(str(self._root / path)):
            return (self._root / path).open("rb")

    def read(self, path: str) -> bytes:
        with translated(str(self._root / path)):
            return (self._root / path).read_bytes()

    def list(self, directory: str = "") -> list[str]:
        top = self._root / directory
        found = (path.relative_to(self._root) for path in top.rglob("*") if path.is_file())
        return sorted(path.as_posix() for path in found if not any(part.startswith(_UNFINISHED) for part in path.parts))

    def delete(self, directory: str) -> None:
        final = self._root / directory
        with translated(str(final)):
            shutil.rmtree(final.with_name(_UNFINISHED + final.name), ignore_errors=True)
            if not final.exists():
                return
            # Out of sight first, so that a deletion that is cut short leaves no half of a directory under its name.
            going = final.with_name(_UNFINISHED + final.name)
            final.rename(going)
            shutil.rmtree(going)
            _sync(final.parent)


def _make_durably(path: Path) -> None:
    """Make a directory and those above it, each on disk before the next."""
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
