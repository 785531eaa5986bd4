"""What is asked of a dataset, and what a page of it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Order(StrEnum):
    """By the key, as it counts up or down."""

    ASC = "asc"
    DESC = "desc"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows are wanted. `filters` limits columns to values, given as text; times from `start` up to, not including, `end`.

    `as_of` asks for the state of a series at that time: nothing that is about later.
    """

    columns: Sequence[str] = ()
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    start: datetime | None = None
    end: datetime | None = None
    as_of: datetime | None = None
    order: Order = Order.ASC
    limit: int = 100
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows as JSON, each the text of one object. `next` goes on from here; `final` and `open` say so where it is known."""

    rows: Sequence[str]
    next: str | None = None
    final: bool | None = None
    open: bool | None = None
