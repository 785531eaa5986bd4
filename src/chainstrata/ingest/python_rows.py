"""Rows of Python values as Arrow tables: every value becomes the text that says all of it, or its row is set aside.

Numbers become their digits, so nothing is rounded; what the digits mean is settled by the column they go to.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa

from chainstrata.errors import UsageError
from chainstrata.ingest.errors import no_such_column
from chainstrata.ingest.wire import WireTable

_JSON: Final = ("json", "jsonb")
_HEX: Final = re.compile(r"(?:\\x|0[xX])((?:[0-9a-fA-F]{2})*)")


@dataclass(frozen=True, slots=True)
class Taken:
    """Rows that could be read, and lines that could not: the text of each and what is wrong with it."""

    rows: Any
    malformed: Sequence[tuple[str, str]] = field(default=())


Maker = Callable[[Any], Any]


class Misshapen(ValueError):
    """A value of a shape its column has no place for."""


def as_mapping(row: Any) -> Mapping[str, Any]:
    if isinstance(row, Mapping):
        return row
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return {one.name: getattr(row, one.name) for one in dataclasses.fields(row)}
    raise UsageError(f"a row is {type(row).__name__}, not a mapping or a dataclass", hint="Give each row its columns by name.")


class Number(str):
    """A number of JSON, as the digits it was written with."""

    __slots__ = ()


class JsonText(str):
    """A text of JSON, which is no JSON itself."""

    __slots__ = ()


def take_rows(rows: Sequence[Mapping[str, Any]], table: WireTable) -> Taken:
    """Return rows as an Arrow table, one column for each name any of them has; misshapen ones are set aside.

    Raises `UnfitColumn` for a name that the table does not have.
    """
    kinds = {column.name: column.type.name for column in table.columns}
    names = dict.fromkeys(name for row in rows for name in row)
    for name in names:
        if name not in kinds:
            raise no_such_column(table.full_name, str(name), list(kinds))
    if rows and not names:
        # They would be rows of nothing but defaults, of which nobody said how many there are to be.
        return Taken(pa.table({}), [(_shown(row), "a row without any value") for row in rows])
    makers = {name: _maker(kinds[name]) for name in names}
    try:
        return Taken(_make_table(rows, kinds, makers))
    except (ValueError, RecursionError):
        return _take_apart(rows, kinds, makers)


def _make_table(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], makers: Mapping[str, Maker]) -> Any:
    columns = {}
    for name, make in makers.items():
        given = (row.get(name) for row in rows)
        columns[name] = pa.array([None if value is None else make(value) for value in given], _arrow_type(kinds[name]))
    return pa.table(columns) if columns else pa.table({})


def _take_apart(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], makers: Mapping[str, Maker]) -> Taken:
    """Take row by row, because one of them is misshapen."""
    good, malformed = [], []
    for row in rows:
        problem = next(filter(None, (_problem(name, makers[name], kinds[name], row[name]) for name in row)), "")
        if problem:
            malformed.append((_shown(row), problem))
        else:
            good.append(row)
    return Taken(_make_table(good, kinds, makers), malformed)


def _problem(name: str, make: Maker, kind: str, value: Any) -> str:
    try:
        pa.array([None if value is None else make(value)], _arrow_type(kind))
    except UnicodeEncodeError:
        return f"{name}: is not text that UTF-8 can hold"
    except (ValueError, RecursionError) as error:
        return f"{name}: {error}"
    return ""


def _arrow_type(kind: str) -> Any:
    if kind == "array":
        return pa.list_(pa.string())
    return {"bytea": pa.binary(), "interval": pa.month_day_nano_interval()}.get(kind, pa.string())


def _maker(kind: str) -> Maker:
    if kind == "array":
        return _list
    if kind in _JSON:
        return _json
    return {"bytea": _bytes, "interval": _interval}.get(kind, text_of)


def _list(value: Any) -> list[str | None]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise Misshapen(f"{type(value).__name__} is not a list")
    return [None if item is None else text_of(item) for item in value]


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    found = _HEX.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise Misshapen("is neither bytes nor hex digits behind 0x or \\x")
    return bytes.fromhex(found[1])


def _interval(value: Any) -> Any:
    if isinstance(value, timedelta):
        return pa.MonthDayNano((0, value.days, (value - timedelta(days=value.days)) // timedelta(microseconds=1) * 1000))
    if isinstance(value, pa.MonthDayNano):
        return value
    raise Misshapen(f"{type(value).__name__} is not a duration")


def text_of(value: Any) -> str:
    """Return a value as the text that says all of it."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return value
    if isinstance(value, Enum):
        return text_of(value.value)
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, int | Decimal | float | UUID | np.number):
        return str(value)
    raise Misshapen(f"{type(value).__name__} has no place in a column of single values")


def _json(value: Any) -> str:
    """Return JSON. Text that looks like JSON is taken for it, save where it came as JSON itself: there a text is a text."""
    if isinstance(value, str) and not isinstance(value, Number | JsonText) and value[:1] in ("{", "[", '"'):
        return value
    return "".join(_write_json(value))


def _write_json(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield "{"
        for number, (name, item) in enumerate(value.items()):
            yield f"{', ' if number else ''}{json.dumps(str(name))}: "
            yield from _write_json(item)
        yield "}"
    elif isinstance(value, list | tuple | np.ndarray):
        yield "["
        for number, item in enumerate(value):
            yield ", " if number else ""
            yield from _write_json(item)
        yield "]"
    elif value is None or isinstance(value, bool):
        yield json.dumps(value)
    else:
        yield _write_single(value)


def _write_single(value: Any) -> str:
    if isinstance(value, Number) or (isinstance(value, int | float | Decimal) and not isinstance(value, Enum)):
        text = str(value)
        if text[-1:] in "yfNns":
            raise Misshapen(f"{text} is not JSON")
        return text
    return json.dumps(text_of(value))


def _shown(row: Mapping[str, Any]) -> str:
    """Return a row as text to keep, whatever is in it."""
    try:
        return json.dumps({str(name): value for name, value in row.items()}, default=repr, ensure_ascii=True)
    except (ValueError, TypeError, RecursionError):
        return json.dumps({str(name): _shown_value(value) for name, value in row.items()}, ensure_ascii=True)


def _shown_value(value: Any) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):
        # Python writes no integer of thousands of digits, and no nest of thousands of lists.
        return f"{type(value).__name__} of {value.bit_length()} bits" if isinstance(value, int) else type(value).__name__
