"""What a row of a table looks like in Python: exact types, and which columns a new row is given.

The same for the dataclasses that `make rows` writes and for those made on the fly for packs that have none.
"""

import keyword
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, make_dataclass
from dataclasses import field as dataclass_field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib import import_module
from inspect import getmembers, isclass
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

_SIMPLE: Final[tuple[tuple[type[Any], type[Any]], ...]] = (
    (sa.Boolean, bool),
    (sa.Integer, int),
    (sa.Float, float),
    (sa.Numeric, Decimal),
    (sa.Uuid, UUID),
    (sa.DateTime, datetime),
    (sa.Date, date),
    (sa.Time, time),
    (sa.Interval, timedelta),
    (sa.LargeBinary, bytes),
    (sa.String, str),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A column: its Python type, whether it may be missing, whether a new row gives it, and whether it must."""

    name: str
    kind: Any
    nullable: bool
    writable: bool
    required: bool
    doc: str

    @property
    def hint(self) -> Any:
        return self.kind | None if self.nullable else self.kind


def shapes(table: sa.Table, package: str) -> list[Shape]:
    """Return the columns of a table; `package` is the pack's, whose `model` has its enums."""
    return [_shape(column, package) for column in table.c]


def _shape(column: sa.Column[Any], package: str) -> Shape:
    writable = column.computed is None and not (column.identity is not None and column.identity.always)
    writable = writable and not column.info.get("stamp")
    given = column.server_default is not None or column.identity is not None or column.nullable
    kind = python_type(column.type, package)
    return Shape(column.name, kind, bool(column.nullable), writable, writable and not given, column.comment or "")


def python_type(kind: Any, package: str) -> Any:
    """Return the exact Python type of a column's values."""
    if isinstance(kind, pg.ENUM):
        return _enums(package).get(tuple(kind.enums), str)
    if isinstance(kind, pg.DOMAIN):
        base = kind.data_type
        # Whole numbers that only NUMERIC holds.
        return int if isinstance(base, sa.Numeric) and base.scale == 0 else python_type(base, package)
    if isinstance(kind, sa.ARRAY):
        return list[python_type(kind.item_type, package)]  # type: ignore[misc]  # a type made at run time
    if isinstance(kind, sa.JSON):
        return Any
    return next((python for sql, python in _SIMPLE if isinstance(kind, sql)), Any)


@cache
def _enums(package: str) -> Mapping[tuple[str, ...], type[StrEnum]]:
    """Return the enums of a pack's `model` by their values."""
    try:
        module = import_module(f"{package}.model")
    except ModuleNotFoundError:
        return {}
    found = (kind for _, kind in getmembers(module, isclass) if issubclass(kind, StrEnum) and kind is not StrEnum)
    return {tuple(member.value for member in kind): kind for kind in found}


def attribute(name: str) -> str:
    """Return a column's name as Python can have it."""
    return f"{name}_" if keyword.iskeyword(name) else name


def class_name(table: str) -> str:
    """Return the name of one row of a table: `attestation_duties` gives AttestationDuty."""
    *words, last = table.split("_")
    return "".join(word.capitalize() for word in (*words, _singular(last)))


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "stats")) else word


def make_row_classes(table: sa.Table, package: str) -> tuple[type[Any], type[Any]]:
    """Return dataclasses for the rows of a table, read and new, made on the fly."""
    columns = shapes(table, package)
    name = class_name(table.name)
    whole = make_dataclass(name, [(attribute(one.name), one.hint) for one in columns], frozen=True, slots=True)
    new = make_dataclass(f"New{name}", list(_new_fields(columns)), frozen=True, slots=True, kw_only=True)
    return whole, new


def _new_fields(columns: list[Shape]) -> Iterator[Any]:
    for one in columns:
        if one.writable:
            yield (attribute(one.name), one.kind) if one.required else (attribute(one.name), one.kind | None, dataclass_field(default=None))
