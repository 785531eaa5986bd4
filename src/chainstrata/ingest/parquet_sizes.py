"""What a Parquet file says it holds, added up page by page before any of it is decoded.

The figures in the footer may lie; pages say themselves how large they become, and those are the sizes that the reader goes by. The
footer is read here too: what Arrow offers for that ends the process when a footer is damaged in certain ways.
"""

import struct
from collections.abc import Iterator
from typing import Any, Final

from chainstrata.ingest.errors import PayloadTooLarge
from chainstrata.ingest.payload import Limits
from chainstrata.ingest.thrift import Compact, Fields, Malformed

MAGIC: Final = b"PAR1"
LARGEST_FOOTER: Final = 4 * 1024 * 1024
DELTA_BYTE_ARRAY: Final = 7
"""Every value says how much it takes over from the one before, so a short page may stand for any amount of text."""
_VALUE_BYTES: Final = 8
_BYTE_ARRAY: Final = 6
_DECIMAL_LOGICAL, _DECIMAL_CONVERTED = 5, 5
_ENDLESS: Final = 2**62


def check_file(data: memoryview, limits: Limits) -> list[str]:
    """Raise `PayloadTooLarge` if reading the file would unpack more than may be; return the paths of columns of text."""
    footer = _read_footer(data)
    rows = _whole(footer, 3)
    if rows > limits.rows:
        raise PayloadTooLarge(f"{rows} rows, at most {limits.rows} are taken at once")
    leaves = _leaves(_structs(footer, 2))
    if len(leaves) > limits.columns:
        raise PayloadTooLarge(f"{len(leaves)} columns, at most {limits.columns} are taken")
    size = 0
    for group in _structs(footer, 4):
        for leaf, chunk in zip(leaves.values(), _structs(group, 1), strict=True):
            for unpacked, values in _pages(_struct(chunk, 3), data):
                size += max(unpacked, values * max(_VALUE_BYTES, _whole(leaf, 2)))
                if size > limits.unpacked:
                    raise PayloadTooLarge(f"more than {limits.unpacked} bytes unpacked")
    return [path for path, leaf in leaves.items() if _is_text(leaf)]


def _read_footer(data: memoryview) -> Fields:
    if len(data) < 12 or bytes(data[-4:]) != MAGIC:
        raise Malformed("it does not end as such a file does")
    length = struct.unpack_from("<I", data, len(data) - 8)[0]
    if length > LARGEST_FOOTER:
        raise PayloadTooLarge(f"a description of {length} bytes, at most {LARGEST_FOOTER} are taken")
    return Compact(data[: len(data) - 8], len(data) - 8 - length).read_struct()


def _leaves(schema: list[Fields]) -> dict[str, Fields]:
    """Return the columns that hold values, by their paths. The schema lists a tree, every group before what is in it."""
    leaves: dict[str, Fields] = {}
    open_groups: list[tuple[str, int]] = []
    for element in schema[1:]:
        name = element.get(4)
        path = ".".join([*(name for name, _ in open_groups), name.decode() if isinstance(name, bytes) else ""])
        children = _whole(element, 5)
        open_groups = [(group, left - (number == len(open_groups) - 1)) for number, (group, left) in enumerate(open_groups)]
        if children:
            open_groups.append((path.rpartition(".")[2], children))
        elif path in leaves:
            raise Malformed(f"it has two columns {path!r}")
        else:
            leaves[path] = element
        while open_groups and not open_groups[-1][1]:
            open_groups.pop()
    return leaves


def _is_text(leaf: Fields) -> bool:
    logical = leaf.get(10)
    is_decimal = leaf.get(6) == _DECIMAL_CONVERTED or (isinstance(logical, dict) and _DECIMAL_LOGICAL in logical)
    return leaf.get(1) == _BYTE_ARRAY and not is_decimal


def _pages(column: Fields, data: memoryview) -> Iterator[tuple[int, int]]:
    """Yield of every page of a column what it unpacks to, and how many values it has."""
    place = _whole(column, 9)
    if 0 < _whole(column, 11) < place:
        place = _whole(column, 11)
    end = min(len(data), place + _whole(column, 7) + 100)
    seen, wanted = 0, _whole(column, 5)
    while seen < wanted and place < end:
        reader = Compact(data, place)
        header = reader.read_struct()
        page = header.get(5) or header.get(8) or header.get(7) or {}
        if not isinstance(page, dict):
            raise Malformed("a page does not describe itself")
        if page.get(4 if 8 in header else 2) == DELTA_BYTE_ARRAY:
            raise PayloadTooLarge("a column is encoded as DELTA_BYTE_ARRAY, whose size nobody can tell", hint="Write it with another one.")
        values = _whole(page, 1)
        yield _whole(header, 2), values
        seen += 0 if 7 in header else values
        place = reader.place + _whole(header, 3)


def _whole(fields: Fields, number: int) -> int:
    value = fields.get(number) or 0
    if not isinstance(value, int) or not 0 <= value < _ENDLESS:
        raise Malformed("it has a size that is none")
    return value


def _struct(fields: Fields, number: int) -> Fields:
    value = fields.get(number)
    if not isinstance(value, dict):
        raise Malformed("it does not describe its columns")
    return value


def _structs(fields: Fields, number: int) -> list[Any]:
    value = fields.get(number) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Malformed("it does not describe its columns")
    return value
