"""Times and spans as flags take them."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from chainstrata.config import parse_value
from chainstrata.errors import UsageError

if TYPE_CHECKING:
    from chainstrata.engines.postgres.partitioning import Span

From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Start, as 2026-03-01 or 2026-03-01T12:00Z (UTC unless it says otherwise).")
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="End, exclusive.")]


def parse_time(text: str | None) -> datetime | None:
    """Return the instant a flag names, in UTC unless it says otherwise."""
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a time", hint="Write it as 2026-03-01 or 2026-03-01T12:00Z.") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def parse_span(start: str | None, end: str | None) -> "Span":
    """Return the span that --from and --to name; without one of them it has no end on that side."""
    from chainstrata.engines.postgres.partitioning import BEGINNING, END, Span

    span = Span(parse_time(start) or BEGINNING, parse_time(end) or END)
    if span.start >= span.end:
        raise UsageError(f"--from {start} is not before --to {end}")
    return span


def parse_age(text: str, flag: str) -> timedelta:
    """Return the duration a flag names."""
    try:
        age = parse_value(timedelta, text)
    except ValueError as error:
        raise UsageError(f"{flag} {text!r}: {error}") from None
    if not isinstance(age, timedelta) or age <= timedelta(0):
        raise UsageError(f"{flag} must be positive (got {text!r})")
    return age


def show_time(instant: datetime | None, empty: str = "") -> str:
    """Return an instant to the minute, UTC."""
    return f"{instant:%Y-%m-%d %H:%M}" if instant else empty
