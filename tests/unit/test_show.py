"""Figures as people read them."""

import pytest

from chainstrata.cli.show import show_bytes, show_count, show_duration


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (8192 * 19, "152 KiB"), (5 * 1024**3, "5.0 GiB"), (2**70, "1048576 PiB")],
)
def test_bytes(size: int, shown: str) -> None:
    assert show_bytes(size) == shown


@pytest.mark.parametrize(
    ("count", "exact", "shown"),
    [(0, True, "0"), (1234567, True, "1\u2009234\u2009567"), (999, False, "~999"), (1234567, False, "~1.23 M"), (50_000, False, "~50 k")],
)
def test_counts(count: int, exact: bool, shown: str) -> None:
    assert show_count(count, exact=exact) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "0 s"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "1 d 1 h"), (86400 * 3, "3 d"), (3605, "1 h")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown
