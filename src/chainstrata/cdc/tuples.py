"""Rows of a batch, from bytes to columns, a whole column at a time.

All messages of a relation lie behind each other in one buffer. For each column the positions of its values in all rows are
computed at once, which costs a few array operations a column instead of a few dozen Python operations a value. Nothing is copied
until a column is asked for.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from chainstrata.cdc.errors import StreamBroken
from chainstrata.cdc.model import DELETE, Changes
from chainstrata.engines.postgres.arrow.decode import PADDING, Array, Block, Field

NULL, UNCHANGED, TEXT, BINARY = b"nutb"
_KEY, _OLD, _NEW = b"KON"
_TAG: Final = 5


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a relation, column by column. `at` are their numbers among all changes.

    `unchanged` says which values kept out of line an update did not touch: the server does not send them again, and they are null.
    """

    at: Array
    columns: tuple[Field, ...]
    unchanged: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Decoded:
    """The changes of a relation. `new` has a row for each insert and update, `old` for each change that tells what was."""

    operation: Array
    new: Rows
    old: Rows
    old_whole: Array
    """For each row of `old`: whether it is the whole row; else only its key has values."""


def decode(changes: Changes) -> Decoded:
    """Return inserts, updates and deletes of one relation as columns. Truncates must not be among them."""
    count = len(changes.relation.columns)
    buffer, first, lengths = changes.messages.data, changes.messages.start, changes.messages.length
    block = Block(buffer)
    operation = buffer[first]
    tag = buffer[first + _TAG]
    at = first + _TAG + 1
    has_old = tag != _NEW
    old_rows = np.flatnonzero(has_old)
    old_columns, ends = split(block, at[old_rows], count)
    keeps = operation[old_rows] != DELETE
    if (buffer[ends[keeps]] != _NEW).any():
        raise StreamBroken(f"an update of {changes.relation.qualified} has no new row where it should")
    at[old_rows] = ends + 1
    new_rows = np.flatnonzero(operation != DELETE)
    new_columns, ends = split(block, at[new_rows], count)
    wanted = (first + lengths)[new_rows]
    if not np.array_equal(ends, wanted):
        raise StreamBroken(f"a row of {changes.relation.qualified} is longer or shorter than its message")
    whole = tag[old_rows] == _OLD
    return Decoded(operation, Rows(new_rows, *new_columns), Rows(old_rows, *old_columns), whole)


Columns = tuple[tuple[Field, ...], tuple[Array, ...]]


def split(block: Block, at: Array, count: int) -> tuple[Columns, Array]:
    """Return the columns of the rows that begin at these positions, which values were not sent, and where each row ends."""
    fields, unsent = [], []
    if (block.take(">i2", at) != count).any():
        raise StreamBroken(f"a row has not the {count} columns that were announced")
    at = at + 2
    for _ in range(count):
        field, unchanged = _split_one(block, at)
        fields.append(field)
        unsent.append(unchanged)
        at = field.at + field.length
    return (tuple(fields), tuple(unsent)), at


def _split_one(block: Block, at: Array) -> tuple[Field, Array]:
    kind = block.take("u1", at)
    unchanged = kind == UNCHANGED
    length = block.take(">i4", at + 1).astype(np.int64)
    start, null, printed = at + 5, None, False
    if not (kind == BINARY).all():
        null = unchanged | (kind == NULL)
        printed = bool((kind == TEXT).any())
        if not (null | (kind == BINARY) | (kind == TEXT)).all():
            raise StreamBroken("a value is of a kind that does not exist")
        length[null] = 0
        start[null] -= 4
    if length.size and (length.min() < 0 or (start + length).max() > len(block.data) - len(PADDING)):
        raise StreamBroken("a value ends beyond its message")
    return Field(block, start, length, null, printed), unchanged
