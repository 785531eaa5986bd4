"""How much a caller may ask: a bucket of tokens for each, in this process. Several processes each allow the rate."""

from collections import OrderedDict
from time import monotonic
from typing import Final

from chainstrata.access.errors import TooManyRequests

KEPT: Final = 10_000
"""Callers remembered; beyond them the one unheard of for longest starts afresh."""


class Limiter:
    """Tokens come in at `rate` a second, up to `burst`; every request takes one. A rate of 0 lets everything through."""

    def __init__(self, rate: float, burst: float | None = None) -> None:
        self.rate = rate
        self.burst = burst if burst is not None else 2 * rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, *, now: float | None = None) -> None:
        """Let a request through, or raise `TooManyRequests` with how long to wait."""
        if not self.rate:
            return
        moment = monotonic() if now is None else now
        tokens, seen = self._buckets.pop(name, (self.burst, moment))
        tokens = min(self.burst, tokens + (moment - seen) * self.rate)
        passes = tokens >= 1
        self._buckets[name] = (tokens - 1 if passes else tokens, moment)
        if len(self._buckets) > KEPT:
            self._buckets.popitem(last=False)
        if not passes:
            raise TooManyRequests(name, self.rate, (1 - tokens) / self.rate)
