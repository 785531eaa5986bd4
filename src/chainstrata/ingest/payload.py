"""Rows as bytes from somebody who may mean ill, and what they may cost.

A `Payload` is a source like any other, read under `Limits`. Sizes that it declares are added up before anything is unpacked, and
what is unpacked is counted on the way, so that memory stays bounded whatever it holds.
"""

import io
import mmap
from dataclasses import dataclass, field
from typing import IO, Any, Final, Literal, get_args

import pyarrow as pa

from chainstrata.config import INGEST_PAYLOAD_BYTES, INGEST_PAYLOAD_ROWS, INGEST_PAYLOAD_UNPACKED, Config
from chainstrata.errors import UsageError
from chainstrata.ingest.errors import PayloadTooLarge

Format = Literal["parquet", "csv", "ndjson", "arrow"]
Encoding = Literal["", "gzip", "zstd"]
_PIECE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a payload may cost. `bytes` as it comes, `unpacked` what it holds: decompressed, and decoded into values.

    `line` bounds one line of NDJSON or CSV, `depth` how deep its JSON nests.
    """

    bytes: int = 64 * 1024 * 1024
    unpacked: int = 256 * 1024 * 1024
    rows: int = 5_000_000
    columns: int = 1_000
    line: int = 4 * 1024 * 1024
    depth: int = 64

    @classmethod
    def from_config(cls, config: Config) -> "Limits":
        return cls(bytes=config[INGEST_PAYLOAD_BYTES], unpacked=config[INGEST_PAYLOAD_UNPACKED], rows=config[INGEST_PAYLOAD_ROWS])


UNBOUNDED: Final = Limits(bytes=2**62, unpacked=2**62, rows=2**62)
"""For what somebody chose on this machine. A line, the columns and the depth of JSON have their limits all the same."""


@dataclass(frozen=True, slots=True)
class Payload:
    """Rows as they came over a network: all bytes of one format, as they are or compressed as a whole."""

    data: "bytes | bytearray | memoryview | IO[bytes]" = field(repr=False)
    format: Format
    encoding: Encoding = ""
    limits: Limits = field(default_factory=Limits)

    def open(self) -> IO[bytes]:
        """Return what it unpacks to, read under the limits; raises `PayloadTooLarge` now or when the limit is met."""
        if self.encoding not in get_args(Encoding):
            raise UsageError(f"unknown encoding {self.encoding!r}", hint="Known: gzip, zstd, or none.")
        raw: IO[bytes]
        if isinstance(self.data, bytes | bytearray | memoryview):
            size = len(self.data) if not isinstance(self.data, memoryview) else self.data.nbytes
            if size > self.limits.bytes:
                raise PayloadTooLarge(f"{size} bytes, at most {self.limits.bytes} are taken")
            raw = io.BytesIO(self.data)
        else:
            raw = io.BufferedReader(_Counted(self.data, self.limits.bytes, "bytes"))
        if not self.encoding:
            return raw
        unpacked = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), self.encoding)
        return io.BufferedReader(_Counted(unpacked, self.limits.unpacked, "bytes unpacked"), _PIECE)


class _Counted(io.RawIOBase):
    """A file that ends with an error once more was read from it than may be."""

    def __init__(self, file: Any, limit: int, what: str) -> None:
        self._file = file
        self._left = limit
        self._limit = limit
        self._what = what

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._file.read(min(len(buffer), _PIECE))
        self._left -= len(piece)
        if self._left < 0:
            raise PayloadTooLarge(f"more than {self._limit} {self._what}")
        buffer[: len(piece)] = piece
        return len(piece)


def read_whole(file: IO[bytes], limits: Limits) -> Any:
    """Return all of a file as one Arrow buffer, at most what may be unpacked. A file on disk is mapped, not read."""
    if isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO) and file.tell() == 0:
        return pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if isinstance(file, io.BytesIO):
        buffer = file.getbuffer()
        if buffer.nbytes > limits.unpacked:
            raise PayloadTooLarge(f"{buffer.nbytes} bytes, at most {limits.unpacked} are taken")
        return pa.py_buffer(buffer)
    pieces, size = [], 0
    while piece := file.read(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > limits.unpacked:
            raise PayloadTooLarge(f"more than {limits.unpacked} bytes unpacked")
    return pa.py_buffer(b"".join(pieces))
