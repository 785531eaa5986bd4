"""Pieces that sample data and streams are made of: columns of Arrow from numpy, the same for the same generator.

Every column is made as a whole; nothing here goes row by row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from chainstrata.errors import UnknownName

T = TypeVar("T")
pc: Any = pyarrow.compute
Numbers = npt.NDArray[Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BATCH_ROWS = 200_000
"""About how many rows a table of a large sample has, so that none fills the memory."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What a stream tells of one span of its clock, in microseconds since 1970. One without length is what the others stand on."""

    start: int
    end: int
    tables: Sequence[tuple[str, Any]]


def of_scale(sizes: Mapping[str, T], scale: str) -> T:
    """Return what belongs to a scale; raise `UnknownName` for one there is not."""
    if scale not in sizes:
        raise UnknownName("scale", scale, list(sizes))
    return sizes[scale]


def generator(pack: str, scale: str, seed: int) -> np.random.Generator:
    """Return the source of randomness of one sample: another for each pack and scale, the same every time."""
    return np.random.default_rng([seed, *pack.encode(), *scale.encode()])


def microseconds(instant: datetime) -> int:
    """Return an instant as whole microseconds since 1970."""
    return (instant - EPOCH) // timedelta(microseconds=1)


def instants(micros: Any, null: Any = None) -> Any:
    """Return microseconds since 1970 as a column of instants; `null` marks those that are not there."""
    return pa.array(np.asarray(micros, dtype="i8"), pa.timestamp("us", tz="UTC"), mask=null)


def chosen(codes: Any, values: type[StrEnum] | Sequence[str], null: Any = None) -> Any:
    """Return a column of texts by their places in a list; an enum is a list of its values."""
    texts = [member.value for member in values] if isinstance(values, type) else list(values)
    return pa.DictionaryArray.from_arrays(pa.array(np.asarray(codes, dtype="i4"), mask=null), pa.array(texts)).dictionary_decode()


def floor_to(micros: int, period: int, origin: int = 0) -> int:
    """Return the start of the period that an instant is in."""
    return micros - (micros - origin) % period


def constant(value: Any, rows: int, kind: Any = None) -> Any:
    """Return a column that holds one value everywhere."""
    return pa.repeat(pa.scalar(value, kind), rows)


def hex_texts(rng: np.random.Generator, rows: int, size: int, prefix: str = "0x") -> Any:
    """Return random values of `size` bytes as hex behind a prefix."""
    return _texts_of_width(np.frombuffer(rng.bytes(rows * size).hex().encode(), dtype="u1").reshape(rows, 2 * size), prefix)


def spread(keys: Any, size: int) -> Numbers:
    """Return `size` bytes that follow from each key and look random: equal keys, equal bytes. One row for each key."""
    seeds = np.asarray(keys).astype("u8")
    words = []
    for word in range(-(-size // 8)):
        mixed = seeds + np.uint64((word + 1) * 0x9E3779B97F4A7C15 % 2**64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ mixed >> np.uint64(shift)) * np.uint64(factor)
        words.append(mixed ^ mixed >> np.uint64(31))
    table: Numbers = np.ascontiguousarray(np.stack(words, axis=1)).view("u1")[:, :size]
    return table


def spread_texts(keys: Any, size: int, prefix: str = "0x", *, upper: bool = False) -> Any:
    """Return what `spread` gives as hex behind a prefix, such as hashes of blocks by their numbers."""
    raw = spread(keys, size)
    digits = np.frombuffer(b"0123456789ABCDEF" if upper else b"0123456789abcdef", dtype="u1")
    nibbles = np.stack([raw >> 4, raw & 15], axis=2).reshape(len(raw), 2 * size)
    return _texts_of_width(digits[nibbles], prefix)


def spread_letters(keys: Any, count: int, letters: str, prefix: str = "") -> Any:
    """Return what `spread` gives as letters of an alphabet, as addresses and hashes are written that are not hex."""
    alphabet = np.frombuffer(letters.encode(), dtype="u1")
    return _texts_of_width(alphabet[spread(keys, count) % len(alphabet)], prefix)


def _texts_of_width(characters: Numbers, prefix: str) -> Any:
    """Return texts of one width from their characters, one row of bytes for each."""
    rows, width = len(characters), len(prefix) + characters.shape[1]
    text = np.empty((rows, width), dtype="u1")
    text[:, : len(prefix)] = np.frombuffer(prefix.encode(), dtype="u1")
    text[:, len(prefix) :] = characters
    offsets = np.arange(0, (rows + 1) * width, width, dtype="i8")
    return pa.Array.from_buffers(pa.large_string(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(text)]).cast(pa.string())


def decimals(units: Any, scale: int, null: Any = None) -> Any:
    """Return whole numbers of the smallest unit as exact decimals of that scale."""
    whole = pa.array(np.asarray(units, dtype="i8"), mask=null).cast(pa.decimal128(19, 0))
    return pc.multiply(whole, pa.scalar(Decimal(1).scaleb(-scale), pa.decimal128(scale + 1, scale)))


def uuids(rng: np.random.Generator, rows: int) -> Any:
    """Return random UUIDs of version 4 as text."""
    raw = np.frombuffer(rng.bytes(rows * 16), dtype="u1").reshape(rows, 16).copy()
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    text = raw.tobytes().hex()
    parts = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
    return pa.array(["-".join(text[start + a : start + b] for a, b in parts) for start in range(0, 32 * rows, 32)], pa.string())


class Rows:
    """Columns that grow piece by piece and leave as tables of about `BATCH_ROWS` rows."""

    def __init__(self, name: str, batch: int = BATCH_ROWS) -> None:
        self.name = name
        self._batch = batch
        self._pieces: list[Any] = []
        self._rows = 0

    def add(self, columns: Mapping[str, Any]) -> None:
        """Add a piece: columns of equal length, numpy or Arrow."""
        piece = pa.table({name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in columns.items()})
        if piece.num_rows:
            self._pieces.append(piece)
            self._rows += piece.num_rows

    def full(self) -> Iterator[tuple[str, Any]]:
        """Yield what has come together, if it is enough for a table."""
        if self._rows >= self._batch:
            yield from self.rest()

    def rest(self) -> Iterator[tuple[str, Any]]:
        """Yield what has come together."""
        if self._pieces:
            yield self.name, pa.concat_tables(self._pieces).combine_chunks()
        self._pieces, self._rows = [], 0
