"""What a dataset's declaration says beyond its table, as canonical JSON: lifecycle, roll-ups, mirror, cache, topic.

Only what differs from the default is written, so that a new option of a later release changes no recorded policy.
"""

from collections.abc import Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

import sqlalchemy as sa

from chainstrata.migrate.text import DIALECT
from chainstrata.model import Dataset, Interval
from chainstrata.model.rollup import condition_text

# Part of the schema, and compared there.
_IN_THE_SCHEMA = frozenset({"table", "indexes", "checks", "type"})


def policy(dataset: Dataset) -> dict[str, Any]:
    """Return what should happen to a dataset, as plain JSON values."""
    return {"table": dataset.table.fullname} | {name: value for name, value in _plain_fields(dataset).items() if name != "name"}


def _plain_fields(value: Any) -> dict[str, Any]:
    found = {}
    for field in fields(value):
        if is_dataclass(value) and field.name in _IN_THE_SCHEMA and not isinstance(getattr(value, field.name), str):
            continue
        current = getattr(value, field.name)
        if not _is_default(field, current):
            found[field.name] = _plain(current)
    return found


def _is_default(field: Field[Any], value: Any) -> bool:
    if field.default is not MISSING:
        return value is field.default or (not isinstance(value, sa.ClauseElement) and bool(value == field.default))
    return False


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return str(value)
    if isinstance(value, sa.ColumnElement):
        return condition_text(value)
    if isinstance(value, sa.types.TypeEngine):
        return value.compile(dialect=DIALECT)
    if is_dataclass(value):
        return _plain_fields(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)
