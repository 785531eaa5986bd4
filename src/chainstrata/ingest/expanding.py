"""Columns that say a value once and mean it many times, made into plain ones if what they mean fits."""

from typing import Any, Final

import numpy as np
import pyarrow as pa

from chainstrata.ingest.arrow import pc
from chainstrata.ingest.errors import FormNotTaken, PayloadTooLarge

_OVERLAPPING: Final = ("list_view", "large_list_view")


def expand(table: Any, most: int) -> Any:
    """Return the table with plain columns; raise `PayloadTooLarge` if one would take more than `most` bytes, `FormNotTaken` for a list view."""
    for number, field in enumerate(table.schema):
        kind = field.type
        if overlapping := _overlapping(kind):
            raise FormNotTaken(field.name, overlapping)
        if _folded(kind):
            whole = table.column(number)
            size = sum(_size(chunk) for chunk in whole.chunks)
            if size > most:
                raise PayloadTooLarge(f"{field.name}: {size} bytes unpacked, at most {most} are taken")
            table = table.set_column(number, field.name, pa.chunked_array([plain(chunk) for chunk in whole.chunks], _meant(kind)))
        elif pa.types.is_nested(kind) and _nested_folded(kind):
            size = sum(_nested_size(chunk) for chunk in table.column(number).chunks)
            if size > most:
                raise PayloadTooLarge(f"{field.name}: {size} bytes unpacked, at most {most} are taken")
    return table


def _overlapping(kind: Any) -> str:
    """Return the form, of the type or of a part of it, whose values may lie over each other; nothing if there is none."""
    parts = [kind.field(number).type for number in range(kind.num_fields)]
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        parts.append(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        parts.append(kind.storage_type)
    own = next((name for name in _OVERLAPPING if getattr(pa.types, f"is_{name}")(kind)), "")
    return own or next(filter(None, map(_overlapping, parts)), "")


def _folded(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_dictionary(kind) or types.is_run_end_encoded(kind) or types.is_string_view(kind) or types.is_binary_view(kind))


def _nested_folded(kind: Any) -> bool:
    return any(_folded(kind.field(number).type) or _nested_folded(kind.field(number).type) for number in range(kind.num_fields))


def _meant(kind: Any) -> Any:
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _meant(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_binary_view(kind) else kind


def plain(values: Any) -> Any:
    """Return an array without dictionary, runs, views or extension around it, however they are stacked."""
    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        return plain(values.storage)
    if pa.types.is_dictionary(kind):
        return plain(values.dictionary).take(values.indices)
    if pa.types.is_run_end_encoded(kind):
        runs = pa.RunEndEncodedArray.from_arrays(values.run_ends, plain(values.values))
        return pc.run_end_decode(runs.slice(values.offset, len(values)))
    return values.cast(_meant(kind)) if _folded(kind) else values


def _size(values: Any) -> int:
    """Return what the values take once each is written out."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return len(values) * 8 if not _lengthy(kind.value_type) else _sum_of(values.indices, _told(values.dictionary))
    if pa.types.is_run_end_encoded(kind):
        longest = _size(values.values) if _folded(kind.value_type) else values.values.nbytes
        return int(len(values) * max(8, longest))
    views = np.frombuffer(values.buffers()[1], dtype="<i4").reshape(-1, 4)[values.offset : values.offset + len(values), 0]
    return int(views.sum(dtype=np.int64))


def _nested_size(values: Any) -> int:
    """Return at most what the values take: as if each were as long as all that is said once."""
    return int(len(values.flatten()) * max(8, values.nbytes)) if hasattr(values, "flatten") else int(len(values) * max(8, values.nbytes))


def _told(dictionary: Any) -> Any:
    """Return the values of a dictionary, views as what they mean: those take no more than they say."""
    return plain(dictionary) if pa.types.is_string_view(dictionary.type) or pa.types.is_binary_view(dictionary.type) else dictionary


def _lengthy(kind: Any) -> bool:
    return not pa.types.is_primitive(kind)


def _sum_of(indices: Any, dictionary: Any) -> int:
    if pa.types.is_string(dictionary.type) or pa.types.is_large_string(dictionary.type) or pa.types.is_binary(dictionary.type):
        lengths = pc.binary_length(dictionary)
        return int(pc.sum(pc.cast(pc.take(lengths, indices), pa.int64())).as_py() or 0)
    return int(len(indices) * max(8, dictionary.nbytes))
