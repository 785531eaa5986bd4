"""Exact numbers as PostgreSQL's NUMERIC travels: base-10000 digits, first digit's weight, sign and display scale.

Vectorised over a column: from whole numbers, from Arrow decimals, and from text of any length, exponents included. Nothing here
passes through a float, and nothing rounds: what does not fit the column's scale is refused.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from chainstrata.ingest.arrow import pc

BASE = 10000
POSITIVE, NEGATIVE, NAN, PLUS_INFINITY, MINUS_INFINITY = 0x0000, 0x4000, 0xC000, 0xD000, 0xF000
LARGEST_SCALE = 16383
LARGEST_WIDTH = 131072
"""Digits PostgreSQL takes after and before the point."""

Array = npt.NDArray[Any]
_SPECIAL = {
    "nan": NAN,
    "inf": PLUS_INFINITY,
    "infinity": PLUS_INFINITY,
    "+inf": PLUS_INFINITY,
    "+infinity": PLUS_INFINITY,
    "-inf": MINUS_INFINITY,
    "-infinity": MINUS_INFINITY,
}


LARGEST_GRID = 32 * 1024 * 1024


class TooWide(ValueError):
    """So many rows share a grid with a number of so many digits that it would not fit memory: fewer rows at a time."""


class Inexact(ValueError):
    """A value that is no number, or not one the column can hold exactly. The message says which."""


@dataclass(frozen=True, slots=True)
class Digits:
    """A column of numbers. `groups` is (rows, width), most significant first; the first group counts BASE ** `weight`."""

    groups: Array
    weight: int
    sign: Array
    scale: Array | int

    def trimmed(self) -> "Digits":
        """Return the same without leading and trailing groups that are zero in every row."""
        used = np.flatnonzero(self.groups.any(axis=0))
        first, last = (used[0], used[-1] + 1) if len(used) else (0, 0)
        return Digits(self.groups[:, first:last], self.weight - int(first), self.sign, self.scale)

    def refuse_finer_than(self, scale: int) -> None:
        """Raise `Inexact` if a value has digits after the point that a column of this scale would round away."""
        whole = (self.weight + 1) * 4
        width = self.groups.shape[1] * 4
        kept = whole + scale
        if kept >= width:
            return
        finer = np.zeros(len(self.groups), dtype=bool)
        if kept < 0:
            finer |= self.groups.any(axis=1)
        else:
            group, inside = divmod(kept, 4)
            finer |= (self.groups[:, group] % 10 ** (4 - inside)) != 0
            finer |= self.groups[:, group + 1 :].any(axis=1)
        if finer.any():
            raise Inexact(f"row {int(np.argmax(finer))} has more than {scale} digits after the point, and they would be rounded away")


def from_integers(values: Array) -> Digits:
    """Return whole numbers of 64 bits or fewer."""
    if values.dtype.kind == "u":
        negative, magnitude = np.zeros(len(values), dtype=bool), values.astype(np.uint64)
    else:
        signed = values.astype(np.int64)
        negative = signed < 0
        # Two's complement by hand: the smallest number has no positive counterpart.
        magnitude = np.where(negative, ~signed.view(np.uint64) + np.uint64(1), signed.view(np.uint64))
    groups = _split(magnitude)
    return Digits(groups, groups.shape[1] - 1, np.where(negative, NEGATIVE, POSITIVE), 0)


def _split(magnitude: Array) -> Array:
    """Return unsigned 64-bit numbers as groups, as many as the largest needs."""
    width = max(1, -(-len(str(int(magnitude.max(initial=0)))) // 4))
    groups = np.empty((len(magnitude), width), dtype=np.uint16)
    base = np.uint64(BASE)
    for column in range(width - 1, -1, -1):
        quotient = magnitude // base
        groups[:, column] = magnitude - quotient * base
        magnitude = quotient
    return groups


def from_decimals(values: Any) -> Digits:
    """Return an Arrow decimal array (without nulls) of 128 or 256 bits."""
    scale = values.type.scale
    if scale < 0:
        values, scale = pc.cast(values, pa.decimal256(76, 0)), 0
    limbs, negative = _magnitudes(values)
    # The point has to stand between two groups.
    limbs = _multiply(limbs, 10 ** (-scale % 4))
    groups = _split(limbs[:, 0] | limbs[:, 1] << np.uint64(32)) if not limbs[:, 2:].any() else _divide(limbs)
    after = -(-scale // 4)
    if groups.shape[1] < after:
        groups = np.hstack([np.zeros((len(groups), after - groups.shape[1]), dtype=np.uint16), groups])
    return Digits(groups, groups.shape[1] - after - 1, np.where(negative, NEGATIVE, POSITIVE), scale)


def _magnitudes(values: Any) -> tuple[Array, Array]:
    """Return the absolute values as limbs of 32 bits in 64, least significant first, and which were negative."""
    width = values.type.bit_width // 32
    raw = np.frombuffer(values.buffers()[1], dtype="<u4").reshape(-1, width)[values.offset : values.offset + len(values)]
    negative = (raw[:, -1] >> 31).astype(bool)
    limbs = raw.astype(np.uint64)
    if negative.any():
        carry = negative.astype(np.uint64)
        flip = np.where(negative, np.uint64(0xFFFFFFFF), np.uint64(0))
        for index in range(width):
            total = (limbs[:, index] ^ flip) + carry
            limbs[:, index], carry = total & np.uint64(0xFFFFFFFF), total >> np.uint64(32)
    return limbs, negative


def _multiply(limbs: Array, factor: int) -> Array:
    """Return the numbers times a small factor, one limb wider."""
    wider = np.zeros((limbs.shape[0], limbs.shape[1] + 1), dtype=np.uint64)
    carry = np.zeros(len(limbs), dtype=np.uint64)
    for index in range(limbs.shape[1]):
        total = limbs[:, index] * np.uint64(factor) + carry
        wider[:, index], carry = total & np.uint64(0xFFFFFFFF), total >> np.uint64(32)
    wider[:, -1] = carry
    return wider


def _divide(limbs: Array) -> Array:
    """Return the numbers as groups, by long division by 10 ** 8: two groups at a time."""
    step = np.uint64(BASE * BASE)
    pairs: list[Array] = []
    limbs = limbs.copy()
    while (used := np.flatnonzero(limbs.any(axis=0))).size:
        rest: Array = np.zeros(len(limbs), dtype=np.uint64)
        for index in range(int(used[-1]), -1, -1):
            current = rest << np.uint64(32) | limbs[:, index]
            limbs[:, index] = current // step
            rest = current - limbs[:, index] * step
        pairs += [rest % np.uint64(BASE), rest // np.uint64(BASE)]
    return np.stack(pairs[::-1], axis=1).astype(np.uint16)


def from_text(values: Any) -> Digits:
    """Return numbers from an Arrow string array without nulls: `-12.50`, `1.23e-9`, `NaN`, `Infinity`."""
    special = np.zeros(len(values), dtype=np.uint16)
    flat = _flat(values)
    if ((flat | 0x20) == ord("n")).any():  # every special word has one, no number does
        special = _special(values)
        values = pc.if_else(pa.array(special != 0), pa.scalar("0", values.type), values)
        flat = _flat(values)
    exponent: Array | int = 0
    mantissa = values
    if ((flat | 0x20) == ord("e")).any():
        mantissa, exponent = _split_exponent(values)
        flat = _flat(mantissa)
    digits = _place(mantissa, flat, exponent)
    return Digits(digits.groups, digits.weight, np.where(special != 0, special, digits.sign), np.where(special != 0, 0, digits.scale))


def _special(values: Any) -> Array:
    words = pa.array(list(_SPECIAL))
    found = pc.index_in(pc.utf8_lower(values), value_set=words).fill_null(len(_SPECIAL)).to_numpy(zero_copy_only=False)
    codes: Array = np.take(np.array([*_SPECIAL.values(), 0], dtype=np.uint16), found)
    return codes


def _split_exponent(values: Any) -> tuple[Any, Array]:
    parts = pc.extract_regex(values, r"^(?P<mantissa>[^eE]*)(?:[eE][+]?(?P<exponent>-?[0-9]{1,6}))?$")
    _refuse(values, parts.is_null().to_numpy(zero_copy_only=False))
    exponent = parts.field("exponent")
    return parts.field("mantissa"), pc.cast(pc.if_else(pc.equal(exponent, ""), "0", exponent), pa.int64()).to_numpy()


def _offsets(values: Any) -> Array:
    return np.frombuffer(values.buffers()[1], dtype=np.int32)[values.offset : values.offset + len(values) + 1]


def _flat(values: Any) -> Array:
    """Return the bytes of all strings, one after the other."""
    data = values.buffers()[2]
    if data is None or not len(values):
        return np.empty(0, dtype=np.uint8)
    offsets = _offsets(values)
    return np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]]


def _place(values: Any, flat: Array, exponent: Array | int) -> Digits:
    """Write every digit of plain decimal text into its place of a common grid whose point stands between two groups."""
    offsets = _offsets(values).astype(np.int64)
    offsets = offsets - offsets[0]
    starts, lengths = offsets[:-1], np.diff(offsets)
    row = np.repeat(np.arange(len(values)), lengths)
    signed, negative = _leading_signs(flat, starts, lengths)
    is_digit = (flat - np.uint8(48)) < 10
    dots = np.flatnonzero(flat == ord("."))
    point_at = offsets[1:].copy()
    point_at[row[dots]] = dots
    digits = np.flatnonzero(is_digit)
    counts = np.bincount(row[digits], minlength=len(values))
    dotted = np.bincount(row[dots], minlength=len(values))
    _refuse(values, (counts == 0) | (dotted > 1) | (counts + dotted + signed != lengths))
    whole = point_at - starts - signed + exponent
    scale = np.maximum(counts - whole, 0)
    if scale.max(initial=0) > LARGEST_SCALE or whole.max(initial=0) > LARGEST_WIDTH:
        raise Inexact(f"row {int(np.argmax(np.maximum(scale, whole)))} has more digits than PostgreSQL keeps")
    owner = row[digits]
    # How far right of the point a digit stands; those left of it are negative.
    place = digits - starts[owner] - signed[owner] - (digits > point_at[owner]) - whole[owner]
    left = -(-max(int(whole.max(initial=0)), 0) // 4) * 4
    right = -(-int(scale.max(initial=0)) // 4) * 4
    if len(values) > 1 and len(values) * (left + right) > LARGEST_GRID:
        raise TooWide
    grid = np.zeros((len(values), left + right), dtype=np.uint8)
    grid[owner, place + left] = flat[digits] - 48
    groups = grid[:, 3::4] + grid[:, 2::4] * np.uint16(10) + grid[:, 1::4] * np.uint16(100) + grid[:, 0::4] * np.uint16(1000)
    return Digits(groups, left // 4 - 1, np.where(negative, NEGATIVE, POSITIVE), scale)


def _leading_signs(flat: Array, starts: Array, lengths: Array) -> tuple[Array, Array]:
    signed = np.zeros(len(starts), dtype=np.int64)
    negative = np.zeros(len(starts), dtype=bool)
    some = lengths > 0
    first = flat[starts[some]]
    signed[some] = (first == ord("-")) | (first == ord("+"))
    negative[some] = first == ord("-")
    return signed, negative


def _refuse(values: Any, wrong: Array) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise Inexact(f"row {row} is not a number: {values[row].as_py()[:60]!r}")
