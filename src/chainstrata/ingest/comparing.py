"""Values as numbers that are equal exactly when the values are, so that whole columns can be compared with what was kept of them."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from chainstrata.ingest.arrow import pc
from chainstrata.ingest.fields import encode_field
from chainstrata.ingest.record import Array, Fixed
from chainstrata.ingest.wire import WireType

UNKNOWN, VALUE, NULL = 0, 1, 2
"""What is known of a value: nothing, so that it equals none; its number; that there is none."""
MOST_WORDS: Final = 2_000_000
_COUNTED: Final = frozenset({"bool", "int2", "int4", "int8", "oid", "float4", "float8", "timestamptz", "timestamp", "date", "time"})
_WORDS: Final = frozenset({"numeric", "uuid", "text", "varchar", "bpchar", "citext", "enum", "json", "jsonb"})


@dataclass(slots=True)
class Numbered:
    """A column of values as numbers, and what is known of each."""

    numbers: Array
    kinds: Array


@dataclass(slots=True)
class Lexicon:
    """Gives every different word of a column a number. Words are never forgotten; `is_full` says that it is time for another one."""

    words: Any = field(default_factory=lambda: pa.array([], pa.binary()))

    @property
    def is_full(self) -> bool:
        return len(self.words) > MOST_WORDS

    def number(self, values: Any) -> Array:
        """Return the numbers of binary values without nulls."""
        found = pc.index_in(values, value_set=self.words)
        if found.null_count:
            fresh = pc.unique(values.filter(found.is_null()))
            self.words = pa.concat_arrays([self.words, fresh])
            found = pc.index_in(values, value_set=self.words)
        numbers: Array = found.to_numpy(zero_copy_only=False)
        return numbers.astype(np.int64)


def is_comparable(kind: WireType) -> bool:
    """Whether values of a type can be compared; others are taken for changed whenever they are given."""
    return kind.name in _COUNTED or kind.name in _WORDS


def number_column(values: Any, kind: WireType, lexicon: Lexicon) -> Numbered:
    """Return the values of a column as numbers. Raises what encoding raises for values that the column cannot hold."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], whole.type)
    kinds = np.full(len(whole), VALUE, dtype=np.uint8)
    if whole.null_count:
        kinds[whole.is_null().to_numpy(zero_copy_only=False)] = NULL
    if whole.null_count == len(whole):
        return Numbered(np.zeros(len(whole), dtype=np.int64), kinds)
    if kind.name in _COUNTED:
        return Numbered(_counted(whole, kind), kinds)
    if pa.types.is_dictionary(whole.type) and not whole.dictionary.null_count:
        # The few words there are, and then which of them each is.
        words = lexicon.number(_words(whole.dictionary, kind))
        return Numbered(words[pc.fill_null(whole.indices, 0).to_numpy(zero_copy_only=False)], kinds)
    return Numbered(lexicon.number(_words(whole, kind)), kinds)


def _counted(values: Any, kind: WireType) -> Array:
    field = encode_field(values, kind)
    assert isinstance(field, Fixed)  # noqa: S101  # so are all types of one width
    native = field.values.astype(field.values.dtype.newbyteorder("="))
    if native.dtype.kind == "f":
        # By their bits: what is not a number equals itself.
        return native.astype(np.float64).view(np.int64)
    return native.astype(np.int64)


def _words(values: Any, kind: WireType) -> Any:
    """Return values as text that is the same for the same value, as far as that is cheap: what differs is only stored once more."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if kind.name == "numeric":
        text = pc.cast(values, pa.string())
        text = pc.replace_substring_regex(text, r"^\+?(-?[0-9]+\.[0-9]*?)0+$", r"\1")
        text = pc.replace_substring_regex(text, r"\.$", "")
    elif pa.types.is_binary(values.type) or pa.types.is_fixed_size_binary(values.type):
        text = pc.binary_join_element_wise(pa.scalar(b"raw:"), pc.cast(values, pa.binary()), b"")
    elif kind.name == "uuid":
        text = pc.utf8_lower(pc.cast(values, pa.string()))
    else:
        text = pc.cast(values, pa.string())
    return pc.fill_null(pc.cast(text, pa.binary()), b"")
