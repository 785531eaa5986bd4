"""What a question amounts to: which columns, in which order, from where on. Pure."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from chainstrata.errors import UnknownName
from chainstrata.model import Dataset, OnConflict
from chainstrata.packs.repository import Filling
from chainstrata.query.errors import AsOfNotKept, CursorInvalid, EntityNeeded, FilterUnknown, TooManyBuckets
from chainstrata.query.model import Order, Wanted

EXACT: Final = 2**53 - 1
"""Beyond this a double no longer tells whole numbers apart."""
MOST_BUCKETS: Final = 10_000
Shape = Literal["plain", "text", "texts", "whole"]


def shape_of(kind: Any) -> Shape:
    """Return how a column of this type becomes JSON: as it is, as text, as a list of texts, or as a number if that is exact."""
    if isinstance(kind, pg.DOMAIN):
        return shape_of(kind.data_type)
    if isinstance(kind, sa.ARRAY):
        return "plain" if shape_of(kind.item_type) == "plain" else "texts"
    if isinstance(kind, sa.Float):
        return "plain"
    if isinstance(kind, sa.Numeric):
        return "text"
    return "whole" if isinstance(kind, sa.BigInteger) else "plain"


_KINDS: Final[Mapping[Shape, str]] = {"text": "text", "texts": "list of texts", "whole": "number, text beyond 2^53"}


def json_kind(kind: Any) -> str:
    """Return what JSON holds for a column of this type, for people."""
    shape = shape_of(kind)
    if shape != "plain":
        return _KINDS[shape]
    if isinstance(kind, pg.JSON | sa.JSON):
        return "any"
    if isinstance(kind, sa.Boolean):
        return "boolean"
    if isinstance(kind, sa.Integer | sa.Float):
        return "number"
    return "list" if isinstance(kind, sa.ARRAY) else "text"


def chosen_columns(name: str, table: sa.Table, key: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the columns to read, in the order of the declaration; the key is always among them. Raises `UnknownName`."""
    known = list(table.c.keys())
    for column in wanted:
        if column not in known:
            raise UnknownName(f"column of {name}", column, known)
    return tuple(column for column in known if not wanted or column in wanted or column in key)


def looked_up_by(dataset: Dataset) -> set[str]:
    """Return the columns by which rows may be looked up: those of the key, the entity, and those an index begins with."""
    leading = {_first(index) for index in dataset.table.indexes}
    return {name for name in {*dataset.key, *dataset.entity, *leading} if name}


def _first(index: sa.Index) -> str:
    expression = next(iter(index.expressions), None)
    return str(getattr(expression, "name", "") or "")


def check(dataset: Dataset, wanted: Wanted) -> None:
    """Raise what is wrong with a question: `FilterUnknown` or `AsOfNotKept`."""
    known = looked_up_by(dataset)
    for column in wanted.filters:
        if column not in known:
            raise FilterUnknown(dataset.full_name, column, known)
    if wanted.as_of is not None and (why := why_no_history(dataset)):
        raise AsOfNotKept(dataset.full_name, why)


def check_filling(filling: Filling, wanted: Wanted) -> None:
    """Raise what is wrong with a question for a filled series: `FilterUnknown`, `EntityNeeded` or `TooManyBuckets`."""
    dataset = filling.dataset
    for column in wanted.filters:
        if column not in dataset.entity:
            raise FilterUnknown(dataset.full_name, column, dataset.entity)
    if missing := [column for column in dataset.entity if column not in wanted.filters]:
        raise EntityNeeded(dataset.full_name, missing)
    if wanted.start is None or wanted.end is None or wanted.start >= wanted.end:
        return
    each = -((wanted.start - wanted.end) // filling.every.mean_length)
    count = each * prod(len(set(values)) for values in wanted.filters.values())
    if count > MOST_BUCKETS:
        raise TooManyBuckets(count, MOST_BUCKETS)


def why_no_history(dataset: Dataset) -> str:
    """Return why nobody can tell what was so at a time, or nothing where it can be told.

    In a series the time is part of the key, so a row is about its time for good. Where it is not, rows that are only ever added tell
    it too; rows that are written over do not.
    """
    if not dataset.time:
        return "its rows have no time that they are about"
    if dataset.time in dataset.key or dataset.conflict.policy is OnConflict.IGNORE:
        return ""
    return "its rows may be written over, and none tells what it was before"


def write_cursor(name: str, order: Order, key: Sequence[str], row: Mapping[str, Any]) -> str:
    """Return where a page ended, for whoever asks for the next."""
    return base64.urlsafe_b64encode(json.dumps([name, order.value, [_text(row[column]) for column in key]]).encode()).decode().rstrip("=")


def read_cursor(cursor: str, name: str, order: Order, key: Sequence[str]) -> list[str]:
    """Return the key a cursor stands for; raise `CursorInvalid`."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        whose, how, values = found
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise CursorInvalid from None
    fits = whose == name and how == order.value and isinstance(values, list) and len(values) == len(key)
    if not fits or not all(isinstance(value, str) and "\0" not in value for value in values):
        raise CursorInvalid
    return [str(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
