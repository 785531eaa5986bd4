"""What every storage promises."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chainstrata.engines.storage import LocalStorage, Storage, StorageError, StorageMissing, StorageUnavailable, open_storage
from chainstrata.errors import ConfigError


def write(storage: Storage, directory: str, **files: bytes) -> None:
    with storage.stage(directory) as staged:
        for name, content in files.items():
            with staged.create(name) as file:
                file.write(content)


def test_what_was_written_is_read(storage: Storage) -> None:
    assert storage.list() == []
    write(storage, "a/one", x=b"12", y=b"")
    write(storage, "a/two", x=b"3" * 100_000)
    assert storage.list() == ["a/one/x", "a/one/y", "a/two/x"]
    assert storage.list("a/one") == ["a/one/x", "a/one/y"]
    assert storage.list("b") == []
    assert storage.read("a/one/x") == b"12"
    assert storage.read("a/one/y") == b""
    with storage.open("a/two/x") as file:
        file.seek(99_999)
        assert file.read() == b"3"


def test_a_directory_that_fails_half_way_is_not_there(storage: Storage) -> None:
    def fail() -> None:
        with storage.stage("a/half") as staged:
            with staged.create("x") as file:
                file.write(b"1")
            raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        fail()
    assert storage.list() == []
    write(storage, "a/half", x=b"2")
    assert storage.read("a/half/x") == b"2"


def test_a_directory_is_written_once(storage: Storage) -> None:
    write(storage, "a", x=b"1")
    with pytest.raises(StorageError, match="exists already"):
        write(storage, "a", x=b"2")
    assert storage.read("a/x") == b"1"


def test_what_is_deleted_is_gone(storage: Storage) -> None:
    write(storage, "a/one", x=b"1")
    write(storage, "a/two", x=b"1")
    storage.delete("a/one")
    storage.delete("a/one")
    storage.delete("never/there")
    assert storage.list() == ["a/two/x"]
    with pytest.raises(StorageMissing, match="a/one/x does not exist"):
        storage.read("a/one/x")
    with pytest.raises(StorageMissing):
        storage.open("a/one/x")


def test_parquet_is_written_and_read_in_place(storage: Storage) -> None:
    table = pa.table({"n": list(range(1000))})
    with storage.stage("a") as staged, staged.create("n.parquet") as file:
        pq.write_table(table, file)
    with storage.open("a/n.parquet") as file:
        assert pq.read_table(file).equals(table)


def test_names_with_odd_characters(storage: Storage) -> None:
    write(storage, "prices.minute/20260301T000000Z-x y", ä=b"1")
    assert storage.list() == ["prices.minute/20260301T000000Z-x y/ä"]
    assert storage.read("prices.minute/20260301T000000Z-x y/ä") == b"1"


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    local = LocalStorage(tmp_path / "file")
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(StorageUnavailable, match="file"):
        write(local, "a", x=b"1")
    with pytest.raises(ConfigError, match=r"archive\.url"):
        open_storage("gopher://x/y")
    with pytest.raises(StorageUnavailable):
        open_storage("s3://bucket/x?endpoint_override=127.0.0.1%3A9&scheme=http&region=us-east-1").list()


def test_keys_do_not_stand_in_the_url(s3_url: str) -> None:
    assert open_storage(s3_url).url.endswith("/some/prefix")
    with pytest.raises(ConfigError, match="must not hold keys") as caught:
        open_storage(s3_url.replace("s3://", "s3://key:secret@"))
    assert "secret@" not in str(caught.value)
