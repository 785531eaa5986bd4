"""An S3-compatible store, through Arrow. An object appears whole when it is closed; there is no rename.

Credentials come from where S3 clients look for them: the environment, the shared files, or the machine's role.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

from chainstrata.engines.storage.errors import StorageError, translated
from chainstrata.errors import ConfigError


class _Prefix:
    def __init__(self, filesystem: Any, path: str) -> None:
        self._filesystem = filesystem
        self._path = path

    def create(self, name: str) -> Any:
        with translated(f"{self._path}/{name}"):
            return self._filesystem.open_output_stream(f"{self._path}/{name}")


class ObjectStorage:
    """Objects below the prefix of a URL such as `s3://bucket/archive?region=eu-central-1&endpoint_override=host:9000`."""

    HIDES_PARTIAL: ClassVar[bool] = False

    def __init__(self, url: str) -> None:
        from pyarrow import ArrowInvalid
        from pyarrow.fs import FileSystem

        self.url = url.partition("?")[0].rstrip("/")
        if "@" in urlsplit(url).netloc:
            raise ConfigError(
                ["archive.url: must not hold keys, it is shown in places"],
                hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use the role of the machine.",
            )
        try:
            self._filesystem, path = FileSystem.from_uri(url)
        except ArrowInvalid as error:
            raise ConfigError([f"archive.url: {error} (got {self.url!r})"]) from error
        self._root = path.rstrip("/")

    @contextmanager
    def stage(self, directory: str) -> Iterator[_Prefix]:
        path = f"{self._root}/{directory}"
        if self.list(directory):
            raise StorageError(f"{self.url}/{directory} exists already", hint="Nothing was written. A directory is written once.")
        try:
            yield _Prefix(self._filesystem, path)
        except BaseException:
            self.delete(directory)
            raise

    def open(self, path: str) -> Any:
        with translated(f"{self.url}/{path}"):
            return self._filesystem.open_input_file(f"{self._root}/{path}")

    def read(self, path: str) -> bytes:
        with translated(f"{self.url}/{path}"), self._filesystem.open_input_stream(f"{self._root}/{path}") as file:
            content: bytes = file.read()
            return content

    def list(self, directory: str = "") -> list[str]:
        from pyarrow.fs import FileSelector, FileType

        top = f"{self._root}/{directory}".rstrip("/")
        with translated(f"{self.url}/{directory}"):
            found = self._filesystem.get_file_info(FileSelector(top, allow_not_found=True, recursive=True))
        return sorted(info.path.removeprefix(f"{self._root}/") for info in found if info.type is FileType.File)

    def delete(self, directory: str) -> None:
        path = f"{self._root}/{directory}"
        with translated(f"{self.url}/{directory}"):
            for file in self.list(directory):
                self._filesystem.delete_file(f"{self._root}/{file}")
            self._filesystem.delete_dir_contents(path, missing_dir_ok=True)
