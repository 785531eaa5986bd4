"""What a place to store files can do. The methods block; callers on the event loop run them in a thread."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol


class Staged(Protocol):
    """A directory that nobody sees until it is whole."""

    def create(self, name: str) -> Any:
        """Return a binary file to write, to be closed by the caller. Closing it makes it durable."""
        ...


class Storage(Protocol):
    """Directories of files that are written once, read, and deleted; paths are relative and use slashes.

    `HIDES_PARTIAL` says that a directory cut short is never seen under its name; without it the last file written is the
    sign that it is whole.
    """

    HIDES_PARTIAL: ClassVar[bool]
    url: str

    def stage(self, directory: str) -> AbstractContextManager[Staged]:
        """Write a new directory: it is there, durably, when the block ends, and not at all when it raises.

        Raises `StorageError` if the directory exists.
        """
        ...

    def open(self, path: str) -> Any:
        """Return a file to read from anywhere; raise `StorageMissing`."""
        ...

    def read(self, path: str) -> bytes:
        """Return a whole file; raise `StorageMissing`."""
        ...

    def list(self, directory: str = "") -> list[str]:
        """Return the paths of all files below a directory, in order; none when it does not exist."""
        ...

    def delete(self, directory: str) -> None:
        """Delete a directory with all in it, and what a write of it left that was cut short. Gone already: nothing."""
        ...


def open_storage(url: str) -> Storage:
    """Return the storage of a URL: a path or `file://…` is a directory here, `s3://bucket/prefix?…` an object store."""
    from chainstrata.engines.storage.local import LocalStorage
    from chainstrata.engines.storage.objects import ObjectStorage

    if url.startswith("file://"):
        return LocalStorage(Path(url.removeprefix("file://")))
    if "://" in url:
        return ObjectStorage(url)
    return LocalStorage(Path(url))
