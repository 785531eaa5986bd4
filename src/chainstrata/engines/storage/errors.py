"""What can go wrong with storage.

StorageError (an EngineError)
├── StorageMissing          there is no such file
└── StorageUnavailable      the place cannot be reached, read or written
"""

from collections.abc import Iterator
from contextlib import contextmanager

from chainstrata.errors import EngineError


class StorageError(EngineError):
    """Base of everything about storage."""

    code = "storage"


class StorageMissing(StorageError):
    """There is no such file."""

    code = "storage_missing"
    http_status = 404


class StorageUnavailable(StorageError):
    """The place cannot be reached, read or written. What was begun has no effect."""

    code = "storage_unavailable"
    retryable = True


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn what the file system raises into ours; Arrow raises OSError for S3 as well."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageMissing(
            f"{path} does not exist", hint="Run `chainstrata archive verify`: it names every file that is missing."
        ) from error
    except OSError as error:
        raise StorageUnavailable(
            f"{path}: {error.strerror or str(error).splitlines()[0]}", hint="Check archive.url, its permissions and the space left."
        ) from error
