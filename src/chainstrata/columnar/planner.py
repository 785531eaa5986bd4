"""Which codecs are worth a try for a type, and whether one saves enough to be changed. Pure."""

from collections.abc import Mapping

NONE = ""
WORTH = 0.1
"""Part of a column's bytes that another codec must save to be suggested."""


def list_candidates(kind: str) -> tuple[str, ...]:
    """Return the codecs that may suit a type."""
    inner = kind
    for outer in ("LowCardinality(", "Nullable("):
        inner = inner[len(outer) : -1] if inner.startswith(outer) else inner
    if inner.startswith(("DateTime", "Date")):
        return ("DoubleDelta, ZSTD(1)", "Delta, ZSTD(1)", "T64, ZSTD(1)", "ZSTD(1)")
    if inner in ("Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64"):
        return ("T64, ZSTD(1)", "Delta, ZSTD(1)", "DoubleDelta, ZSTD(1)", "ZSTD(1)", "ZSTD(3)")
    if inner.startswith("Float"):
        return ("Gorilla, ZSTD(1)", "ZSTD(1)", "ZSTD(3)")
    return ("ZSTD(1)", "ZSTD(3)", "ZSTD(9)")


def choose(codec: str, measured: Mapping[str, int]) -> str:
    """Return the codec that saves enough to change to, or an empty text. `measured` are bytes of one sample by codec."""
    best = min(measured, key=lambda name: (measured[name], name))
    return best if best != codec and measured[best] <= measured[codec] * (1 - WORTH) else NONE
