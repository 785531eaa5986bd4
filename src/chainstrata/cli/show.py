"""Figures as people read them. The page uses the same."""

from datetime import timedelta

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_COUNTS = ("", " k", " M", " G", " T")


def show_bytes(size: float) -> str:
    """Return a size with its unit, as 14.2 MiB."""
    for unit in _BYTES:
        if abs(size) < 1024 or unit == _BYTES[-1]:
            return f"{size:.0f} {unit}" if unit == "B" or abs(size) >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("the last unit takes everything")


def show_count(count: float, *, exact: bool = True) -> str:
    """Return a count with its digits grouped; an estimate rounded and marked with ~."""
    if exact:
        return f"{count:,.0f}".replace(",", "\u2009")
    for unit in _COUNTS:
        if abs(count) < 1000 or unit == _COUNTS[-1]:
            return f"~{count:.3g}{unit}"
        count /= 1000
    raise AssertionError("the last unit takes everything")


def show_duration(seconds: float) -> str:
    """Return a duration in its two largest units, as 3 h 12 min."""
    left = timedelta(seconds=round(seconds))
    parts = [
        (left.days, "d"),
        (left.seconds // 3600, "h"),
        (left.seconds // 60 % 60, "min"),
        (left.seconds % 60, "s"),
    ]
    first = next((index for index, (amount, _) in enumerate(parts) if amount), len(parts) - 1)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[first : first + 2] if amount or first == len(parts) - 1)
