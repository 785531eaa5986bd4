"""Messages of the stream, many of them in one buffer, so that what concerns all is worked out for all at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from chainstrata.engines.postgres.arrow.decode import PADDING, Array, Block

_PADDING: Final = np.frombuffer(PADDING, dtype=np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Messages:
    """Where each message begins in the buffer and how long it is. Between them there may be bytes of no concern."""

    data: Array
    start: Array
    length: Array

    @classmethod
    def of(cls, pieces: Sequence[Any], sizes: Sequence[int]) -> "Messages":
        """Return pieces of known sizes."""
        length = np.array(sizes, dtype=np.int64)
        return cls(np.frombuffer(b"".join(pieces), dtype=np.uint8), np.cumsum(length) - length, length)

    def __len__(self) -> int:
        return len(self.start)

    @property
    def kinds(self) -> Array:
        """The first byte of each."""
        return np.asarray(self.data[self.start])

    def numbers(self, at: int) -> Array:
        """Return the whole number that stands at a place of each."""
        return Block(self.data).take(">u4", self.start + at).astype(np.int64)

    def one(self, place: int) -> bytes:
        start = int(self.start[place])
        return self.data[start : start + int(self.length[place])].tobytes()

    def take(self, places: Array | slice) -> "Messages":
        """Return some of them, by ascending number or by mask."""
        return Messages(self.data, self.start[places], self.length[places])

    def skip(self, size: int) -> "Messages":
        """Return the same without their first bytes."""
        return Messages(self.data, self.start + size, self.length - size)


NONE: Final = Messages(_PADDING, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
Part = tuple[Messages, int, int]
"""Messages of which those from one number up to before another are meant."""


def join(parts: Iterable[Part]) -> Messages:
    """Return parts behind each other in one buffer, which may be read a little beyond its end. Parts of one buffer share its copy."""
    offsets: dict[int, int] = {}
    buffers, starts, lengths, size = [], [], [], 0
    for messages, first, end in parts:
        offset = offsets.get(id(messages.data))
        if offset is None:
            offset = offsets[id(messages.data)] = size
            buffers.append(messages.data)
            size += len(messages.data)
        starts.append(messages.start[first:end] + offset)
        lengths.append(messages.length[first:end])
    if not starts:
        return NONE
    return Messages(np.concatenate([*buffers, _PADDING]), np.concatenate(starts), np.concatenate(lengths))
