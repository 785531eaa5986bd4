"""Rows of a result as dataclasses, each value in the type the field declares."""

import types
from collections.abc import Callable, Sequence
from dataclasses import fields
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import psycopg
from psycopg.rows import AsyncRowFactory

from chainstrata.engines.postgres.errors import StatementError

R = TypeVar("R")
Convert = Callable[[Any], Any]


def into(kind: type[R]) -> AsyncRowFactory[R]:
    """Return a row factory that makes `kind` of the columns of the same names; columns it has no field for are left out."""

    def factory(cursor: psycopg.AsyncCursor[Any]) -> Callable[[Sequence[Any]], R]:
        names = [column.name for column in cursor.description or ()]
        made: Any = kind
        return _maker(made, tuple(names))

    return factory


def make_rows(kind: type[R], rows: Sequence[Any]) -> list[R]:
    """Return named tuples as `kind`, by the names of their fields."""
    if not rows:
        return []
    wanted: Any = kind
    make = _maker(wanted, tuple(rows[0]._fields))
    return [make(row) for row in rows]


@cache
def _maker(kind: Any, names: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
    places = {name: place for place, name in enumerate(names)}
    hints = get_type_hints(kind)
    wanted: list[tuple[int, Convert | None]] = []
    for field in fields(kind):
        column = field.name if field.name in places else field.name.removesuffix("_")
        if column not in places:
            raise StatementError(f"the result has no column {column!r} for {kind.__name__}", hint="Select what the dataclass declares.")
        wanted.append((places[column], _conversion(hints[field.name])))

    def make(values: Sequence[Any]) -> Any:
        return kind(*[_converted(values[place], convert) for place, convert in wanted])

    return make


def _converted(value: Any, convert: Convert | None) -> Any:
    return value if convert is None or value is None else convert(value)


def _conversion(hint: Any) -> Convert | None:
    """Return what makes a field's type of what the driver gives, or None where they are the same."""
    if get_origin(hint) in {Union, types.UnionType}:
        [hint] = [one for one in get_args(hint) if one is not type(None)] or [hint]
    if get_origin(hint) is list:
        item = _conversion(get_args(hint)[0])
        return None if item is None else lambda values: [None if one is None else item(one) for one in values]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    # Whole numbers beyond 64 bits come as Decimal; both are exact.
    return _whole if hint is int else None


def _whole(value: int | Decimal) -> int:
    return int(value)
