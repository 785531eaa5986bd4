"""What the last row of every entity held, as numbers in flat arrays: a million entities in tens of megabytes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from chainstrata.ingest.comparing import UNKNOWN, VALUE, Lexicon, Numbered
from chainstrata.ingest.record import Array
from chainstrata.ingest.state import NEVER
from chainstrata.ingest.wire import WireColumn
from chainstrata.model.latest import BLOCK, BLOCK_BITS

MOST_BLOCKS: Final = 4096
"""Blocks kept in memory; beyond that it is begun anew, and what is needed is read again."""


@dataclass(slots=True)
class Memory:
    """Last rows by entity. The entities of a block have their places side by side.

    `known` says of an entity that the rest is true of it, `versions` of a block as of which version.
    """

    columns: Sequence[WireColumn]
    blocks: dict[int, int] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)
    at: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    seen: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    known: Array = field(default_factory=lambda: np.empty(0, dtype=bool))
    kinds: dict[str, Array] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    lexicons: dict[str, Lexicon] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for column in self.columns:
            self.kinds[column.name] = np.empty(0, dtype=np.uint8)
            self.values[column.name] = np.empty(0, dtype=np.int64)
            self.lexicons[column.name] = Lexicon()

    @property
    def is_full(self) -> bool:
        return len(self.blocks) > MOST_BLOCKS or any(lexicon.is_full for lexicon in self.lexicons.values())

    def make_room(self, blocks: Array) -> None:
        """Give blocks their places; nothing is known of the entities of a new one."""
        for block in blocks.tolist():
            self.blocks.setdefault(block, len(self.blocks))
        size = len(self.blocks) * BLOCK
        if size <= len(self.at):
            return
        room = max(size, len(self.at) * 5 // 4)
        self.at, self.seen = _grown(self.at, room, NEVER), _grown(self.seen, room, NEVER)
        self.known = _grown(self.known, room, False)
        for name, kinds in self.kinds.items():
            self.kinds[name] = _grown(kinds, room, UNKNOWN)
            if len(self.values[name]):
                self.values[name] = _grown(self.values[name], room, 0)

    def starts(self, blocks: Array) -> Array:
        """Return the first places of blocks."""
        return np.array([self.blocks[block] for block in blocks.tolist()], dtype=np.int64) * BLOCK

    def spans(self, blocks: Array) -> Array:
        """Return all places of blocks, block after block."""
        return np.asarray((self.starts(blocks)[:, None] + np.arange(BLOCK)).reshape(-1))

    def places(self, numbers: Array) -> Array:
        """Return the places of entities whose blocks have theirs."""
        blocks, which = blocks_of(numbers)
        return np.asarray(self.starts(blocks)[which] + (numbers & (BLOCK - 1)))

    def forget(self, blocks: Array) -> None:
        """Know nothing of the entities of blocks any more."""
        for block in blocks.tolist():
            self.versions.pop(block, None)
        self.known[self.spans(blocks)] = False

    def keep(self, places: Array, columns: dict[str, Numbered], rows: Array | slice) -> None:
        """Keep the values of rows at places; of several for one place the last stands."""
        for name, numbered in columns.items():
            kinds = numbered.kinds[rows]
            self.kinds[name][places] = kinds
            if not len(self.values[name]):
                # Many columns never hold anything, and need no room.
                if not (kinds == VALUE).any():
                    continue
                self.values[name] = np.zeros(len(self.at), dtype=np.int64)
            self.values[name][places] = numbered.numbers[rows]

    def differs(self, places: Array, columns: dict[str, Numbered], rows: Array) -> Array:
        """Return which rows are not what is kept at the places."""
        different = np.zeros(len(rows), dtype=bool)
        for name, numbered in columns.items():
            given = numbered.kinds[rows]
            different |= (self.kinds[name][places] != given) | (given == UNKNOWN)
            if len(self.values[name]):
                different |= (given == VALUE) & (self.values[name][places] != numbered.numbers[rows])
        return different


def differ(columns: dict[str, Numbered], one: Array, other: Array) -> Array:
    """Return which rows differ from which others."""
    different = np.zeros(len(one), dtype=bool)
    for numbered in columns.values():
        kinds = numbered.kinds[one]
        different |= (kinds != numbered.kinds[other]) | (kinds == UNKNOWN)
        different |= (kinds == VALUE) & (numbered.numbers[one] != numbered.numbers[other])
    return different


def blocks_of(numbers: Array) -> tuple[Array, Array]:
    """Return the blocks of entities, in order, and which of them each entity is in."""
    blocks = numbers >> BLOCK_BITS
    if len(blocks) < 2 or (blocks[1:] < blocks[:-1]).any():
        found, which = np.unique(blocks, return_inverse=True)
        return found, which
    begins = np.ones(len(blocks), dtype=bool)
    begins[1:] = blocks[1:] != blocks[:-1]
    return blocks[begins], np.cumsum(begins) - 1


def _grown(values: Array, room: int, fill: Any) -> Array:
    grown = np.full(room, fill, dtype=values.dtype)
    grown[: len(values)] = values
    return grown
