"""Exact numbers from PostgreSQL's NUMERIC as it travels, a column at a time: to decimals, to whole numbers, or to text.

A value is base-10000 digits, the first one's weight, a sign and a display scale. Nothing passes through a float and nothing
rounds: a value that does not fit what is asked for is reported, row by row, so that the others go on.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from chainstrata.cdc.errors import StreamBroken
from chainstrata.cdc.tuples import Array, Field

BASE: Final = 10_000
NEGATIVE: Final = 0x4000
_SPECIAL: Final = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}
_HEAD: Final = 8
_MASK: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)
_SLICE: Final = 8_000_000
"""Digits a grid may hold; a column with a very long number in it is taken in slices."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of numbers: for each row digit count, weight, sign, display scale, and where its digits are."""

    field: Field
    there: Array
    count: Array
    weight: Array
    sign: Array
    scale: Array

    @property
    def special(self) -> Array:
        return np.asarray(self.there & (self.sign != 0) & (self.sign != NEGATIVE))

    def digits(self, row: int) -> list[int]:
        start = int(self.field.start[row]) + _HEAD
        raw = self.field.buffer[start : start + 2 * int(self.count[row])]
        return [int(high) << 8 | int(low) for high, low in zip(raw[::2], raw[1::2], strict=True)]


def read_numbers(field: Field) -> Numbers:
    """Return a column of NUMERIC; raise `StreamBroken` if its bytes are none."""
    there = field.length > 0
    head = np.zeros((len(there), _HEAD), dtype=np.uint8)
    if (field.length[there] < _HEAD).any():
        raise StreamBroken("a number is shorter than its head")
    head[there] = field.buffer[field.start[there][:, None] + np.arange(_HEAD)]
    parts = head.view(">i2")
    count = parts[:, 0].astype(np.int64)
    if not np.array_equal(field.length[there], _HEAD + 2 * count[there]):
        raise StreamBroken("a number has not the digits it says")
    return Numbers(field, there, count, parts[:, 1].astype(np.int64), parts[:, 2].astype(np.int64) & 0xFFFF, parts[:, 3].astype(np.int64))


def to_limbs(numbers: Numbers, scale: int, bits: int) -> tuple[Array, Array]:
    """Return the values times 10 ** scale as limbs of 32 bits, least significant first and without sign, and which do not fit.

    A value does not fit that is no number, has more digits after the point than `scale`, or needs more than `bits` bits.
    """
    rows, width = len(numbers.there), bits // 32
    limbs = np.zeros((rows, width), dtype=np.uint64)
    unfit = numbers.special.copy()
    after = -(-scale // 4)
    used = numbers.there & ~unfit & (numbers.count > 0)
    # What is larger than all limbs together needs no arithmetic to be refused, and what is finer than the scale by a group neither.
    unfit |= used & ((numbers.weight > bits // 13) | (numbers.count - numbers.weight - 1 > after))
    used &= ~unfit
    if not used.any():
        return limbs, unfit
    top = int(numbers.weight[used].max())
    chosen = np.flatnonzero(used)
    grid = _grid(numbers, chosen, top, after)
    value = np.zeros((len(chosen), width), dtype=np.uint64)
    over = np.zeros(len(chosen), dtype=bool)
    spare = 10 ** (4 * after - scale)
    for column in range(grid.shape[1]):
        digit = grid[:, column].astype(np.uint64)
        factor = BASE
        if spare > 1 and column == grid.shape[1] - 1:
            over |= digit % np.uint64(spare) != 0
            digit //= np.uint64(spare)
            factor = BASE // spare
        over |= _multiply_add(value, factor, digit)
    limbs[chosen] = value
    unfit[chosen] |= over
    return limbs, unfit


def _grid(numbers: Numbers, chosen: Array, top: int, after: int) -> Array:
    """Return the digits of the chosen rows, each in the column of its weight, from `top` down to the last group after the point."""
    columns = max(top, 0) + 1 + after
    grid = np.zeros((len(chosen), columns), dtype=np.uint16)
    counts = numbers.count[chosen]
    total = int(counts.sum())
    row = np.repeat(np.arange(len(chosen)), counts)
    nth = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    at = numbers.field.start[chosen][row] + _HEAD + 2 * nth
    digit = numbers.field.buffer[at].astype(np.uint16) << 8 | numbers.field.buffer[at + 1]
    grid[row, max(top, 0) - numbers.weight[chosen][row] + nth] = digit
    return grid


def _multiply_add(value: Array, factor: int, digit: Array) -> Array:
    """Make the numbers `factor` times what they were, plus a digit; return which of them grew too large."""
    carry = digit
    times = np.uint64(factor)
    for index in range(value.shape[1]):
        total = value[:, index] * times + carry
        value[:, index] = total & _MASK
        carry = total >> _HALF
    return np.asarray(carry != 0)


def decimals(numbers: Numbers, precision: int, scale: int) -> tuple[Any, Array]:
    """Return an Arrow array of decimals, null where there is no value or none that fits, and which did not fit."""
    bits = 128 if precision <= 38 else 256
    limbs, unfit = to_limbs(numbers, scale, bits)
    unfit |= _exceeds(limbs, 10**precision)
    raw = signed(limbs, numbers.sign == NEGATIVE)
    kind = pa.decimal128(precision, scale) if bits == 128 else pa.decimal256(precision, scale)
    valid = np.packbits(numbers.there & ~unfit, bitorder="little")
    array = pa.Array.from_buffers(kind, len(raw), [pa.py_buffer(valid), pa.py_buffer(np.ascontiguousarray(raw))])
    return array, unfit


def whole(numbers: Numbers, bits: int, *, negative: bool) -> tuple[Array, Array]:
    """Return whole numbers as little-endian bytes, a row each, and which did not fit. `negative` leaves a bit for the sign."""
    limbs, unfit = to_limbs(numbers, 0, max(bits, 64))
    minus = (numbers.sign == NEGATIVE) & limbs.any(axis=1)
    if negative:
        unfit |= _exceeds(limbs, 2 ** (bits - 1)) & ~(minus & ~_exceeds(limbs, 2 ** (bits - 1) + 1))
    else:
        unfit |= minus | _exceeds(limbs, 2**bits)
    raw = signed(limbs, minus)
    raw[unfit] = 0
    return np.ascontiguousarray(raw).view(np.uint8)[:, : bits // 8], unfit


def signed(limbs: Array, minus: Array) -> Array:
    """Return limbs as little-endian two's complement, 32 bits each."""
    found = limbs.copy()
    if minus.any():
        carry = minus.astype(np.uint64)
        flip = np.where(minus, _MASK, np.uint64(0))
        for index in range(limbs.shape[1]):
            total = (found[:, index] ^ flip) + carry
            found[:, index], carry = total & _MASK, total >> _HALF
    return found.astype("<u4")


def _exceeds(limbs: Array, limit: int) -> Array:
    """Return which numbers are `limit` or more."""
    width = limbs.shape[1]
    if limit >= 1 << 32 * width:
        return np.zeros(len(limbs), dtype=bool)
    more = np.ones(len(limbs), dtype=bool)
    for index in range(width):
        part = np.uint64(limit >> 32 * index & 0xFFFFFFFF)
        more = np.where(limbs[:, index] == part, more, limbs[:, index] > part)
    return more


def texts(numbers: Numbers) -> list[str | None]:
    """Return every value as its shortest exact text: no exponent, no zeros at the end of what comes after the point."""
    return [_text(numbers, row) if numbers.there[row] else None for row in range(len(numbers.there))]


def _text(numbers: Numbers, row: int) -> str:
    sign = int(numbers.sign[row])
    if sign in _SPECIAL:
        return _SPECIAL[sign]
    digits, weight = numbers.digits(row), int(numbers.weight[row])
    if not digits:
        return "0"
    shown = "".join(f"{digit:04d}" for digit in digits)
    point = 4 * (weight + 1)
    before = shown[:point].ljust(point, "0") if point > 0 else ""
    after = shown[point:] if point > 0 else "0" * -point + shown
    after = after.rstrip("0")
    return ("-" if sign == NEGATIVE else "") + (before.lstrip("0") or "0") + (f".{after}" if after else "")
