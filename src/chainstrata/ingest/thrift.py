"""Thrift's compact protocol, as far as Parquet describes itself in it. Reads structs into plain values, and trusts nothing."""

from typing import Any, Final

DEEPEST: Final = 12
Fields = dict[int, Any]
"""The fields of a struct by number: whole numbers, bytes, lists, and structs again."""


class Malformed(ValueError):
    """What does not describe itself as it should."""


class Compact:
    """Reads structs from a place of a buffer on. `place` is where the next one begins."""

    def __init__(self, data: memoryview, place: int) -> None:
        self._data = data
        self.place = place

    def read_struct(self, depth: int = 0) -> Fields:
        if depth > DEEPEST:
            raise Malformed("it describes itself too deeply")
        fields: Fields = {}
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._signed()
            kind &= 15
            # A field that is true or false has no other value.
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 8:
            return self._take(self._unsigned())
        if kind == 12:
            return self.read_struct(depth + 1)
        if kind in (9, 10):
            return self._list(depth + 1)
        if kind in (1, 2, 3):
            return self._byte()
        if kind == 7:
            return self._take(8)
        raise Malformed("it describes itself with what Parquet does not have")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 != 15 else self._unsigned()
        if count > len(self._data) - self.place:
            raise Malformed("it has a list without an end")
        return [self._value(head & 15, depth) for _ in range(count)]

    def _take(self, length: int) -> bytes:
        if length > len(self._data) - self.place:
            raise Malformed("it ends before it has described itself")
        self.place += length
        return bytes(self._data[self.place - length : self.place])

    def _byte(self) -> int:
        if not 0 <= self.place < len(self._data):
            raise Malformed("it ends before it has described itself")
        value = self._data[self.place]
        self.place += 1
        return value

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) >= 128:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise Malformed("it has a number without an end")
        return value | byte << shift

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)
