"""Exact numbers from PostgreSQL's NUMERIC as it travels, a column at a time: to decimals, to whole numbers, or to text.

A value is base-10000 digits, the first one's weight, a sign and a display scale. Nothing passes through a float and nothing
rounds: a value that does not fit what is asked for is reported, row by row, so that the others go on.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from chainstrata.engines.postgres.arrow.decode import Array, Column, Decoder, Field, built
from chainstrata.engines.postgres.arrow.errors import Malformed

BASE: Final = 10_000
NEGATIVE: Final = 0x4000
_SPECIAL: Final = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}
_HEAD: Final = 8
_NARROW: Final = 38
_MASK: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of numbers: for each row digit count, weight, sign, and where its digits are."""

    field: Field
    there: Array
    count: Array
    weight: Array
    sign: Array

    @property
    def special(self) -> Array:
        return np.asarray(self.there & (self.sign != 0) & (self.sign != NEGATIVE))

    def digits(self, row: int) -> list[int]:
        places = int(self.field.at[row]) + _HEAD + 2 * np.arange(int(self.count[row]))
        return [int(digit) for digit in self.field.block.take(">u2", places)]


def read_numbers(field: Field) -> Numbers:
    """Return a column of NUMERIC; raise `Malformed` if its bytes are none."""
    there = np.ones(len(field.at), dtype=bool) if field.null is None else ~field.null
    count, weight, sign = (
        field.block.take(kind, field.at + place).astype(np.int64) for kind, place in ((">u2", 0), (">i2", 2), (">u2", 4))
    )
    if (there & (field.length != _HEAD + 2 * count)).any():
        raise Malformed("a number has not the digits it says")
    return Numbers(field, there, count, weight, sign)


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
    digit = numbers.field.block.take(">u2", numbers.field.at[chosen][row] + _HEAD + 2 * nth)
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


def decimal_type(precision: int, scale: int) -> Any:
    """Return the narrower decimal type of that many digits."""
    return pa.decimal128(precision, scale) if precision <= _NARROW else pa.decimal256(precision, scale)


def decimal(kind: Any) -> Decoder:
    """Return the decoder into a decimal type. What it cannot hold is reported, never rounded."""

    def decode(field: Field) -> Column:
        numbers = read_numbers(field)
        limbs, unfit = to_limbs(numbers, kind.scale, kind.bit_width)
        unfit |= _exceeds(limbs, 10**kind.precision)
        raw = np.ascontiguousarray(signed(limbs, numbers.sign == NEGATIVE))
        return built(kind, raw, field, unfit, f"a number that {kind} does not")

    return decode


def whole(kind: Any) -> Decoder:
    """Return the decoder into whole numbers without a sign: a type of Arrow, or little-endian bytes where it has none so wide."""

    def decode(field: Field) -> Column:
        numbers = read_numbers(field)
        limbs, unfit = to_limbs(numbers, 0, kind.bit_width)
        unfit |= (numbers.sign == NEGATIVE) & limbs.any(axis=1)
        return built(kind, np.ascontiguousarray(limbs.astype("<u4")), field, unfit, "no whole number, negative or too large")

    return decode


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


def text(field: Field) -> Column:
    """Every value as its shortest exact text: no exponent, no zeros at the end of what comes after the point."""
    numbers = read_numbers(field)
    return Column(pa.array([_text(numbers, row) if numbers.there[row] else None for row in range(len(numbers.there))], pa.string()))


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
