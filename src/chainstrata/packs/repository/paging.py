"""Pages by key: a page says where the next one starts, so that no page is slower than the first and none repeats a row."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Generic, TypeVar
from uuid import UUID

from chainstrata.packs.repository.errors import BadCursor

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows of an answer. `next` is where to go on, None on the last page."""

    rows: list[Row]
    next: str | None


def encode(values: Sequence[Any]) -> str:
    """Return a place as one word that can stand in an address."""
    return base64.urlsafe_b64encode(json.dumps([_text(value) for value in values]).encode()).decode().rstrip("=")


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def decode(cursor: str, kinds: Sequence[Any]) -> list[Any]:
    """Return the values of a place; raise `BadCursor` for what `encode` did not give."""
    try:
        texts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return [_value(text, kind) for text, kind in zip(texts, kinds, strict=True)]
    except (binascii.Error, UnicodeDecodeError, ValueError, TypeError, InvalidOperation) as error:
        raise BadCursor(cursor) from error


def _value(text: str, kind: Any) -> Any:
    if kind in {datetime, date}:
        return kind.fromisoformat(text)
    if kind is bool:
        return {"True": True, "False": False}[text] if text in {"True", "False"} else int(text)
    return kind(text) if kind in {int, float, Decimal, UUID} else str(text)
