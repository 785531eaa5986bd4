"""Files in a directory of this machine, or objects in an S3-compatible store, behind one small Protocol."""

from chainstrata.engines.storage.errors import StorageError, StorageMissing, StorageUnavailable
from chainstrata.engines.storage.local import LocalStorage
from chainstrata.engines.storage.objects import ObjectStorage
from chainstrata.engines.storage.protocol import Staged, Storage, open_storage

__all__ = [
    "LocalStorage",
    "ObjectStorage",
    "Staged",
    "Storage",
    "StorageError",
    "StorageMissing",
    "StorageUnavailable",
    "open_storage",
]
