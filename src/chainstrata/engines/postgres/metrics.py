"""What a pool did and what its statements cost. Counters only grow; a reader takes differences."""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

# Upper bounds of the wait-time buckets, in seconds; the last bucket has none.
WAIT_BUCKETS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
_RECENT: Final = 2048


@dataclass(frozen=True, slots=True)
class PoolStats:
    """One look at a pool. Percentiles are over the most recent waits, the buckets over all."""

    name: str
    min_size: int
    max_size: int
    size: int
    used: int
    waiting: int
    acquired: int
    acquire_timeouts: int
    wait_seconds: float
    wait_p50: float
    wait_p95: float
    wait_p99: float
    wait_max: float
    wait_buckets: Mapping[float, int]
    connections_opened: int
    connections_lost: int
    queries: int
    query_seconds: float
    slow_queries: int
    transactions: int
    retries: int
    errors: Mapping[str, int]

    @property
    def idle(self) -> int:
        return self.size - self.used

    @property
    def utilisation(self) -> float:
        """The part of all connections the pool may open that is in use, from 0 to 1."""
        return self.used / self.max_size


class PoolMetrics:
    """The counters behind `PoolStats`. One per pool, used from its event loop only."""

    __slots__ = (
        "acquire_timeouts",
        "acquired",
        "buckets",
        "errors",
        "lost",
        "opened",
        "queries",
        "query_seconds",
        "recent",
        "retries",
        "slow_queries",
        "transactions",
        "wait_max",
        "wait_seconds",
    )

    def __init__(self) -> None:
        self.acquired = 0
        self.acquire_timeouts = 0
        self.wait_seconds = 0.0
        self.wait_max = 0.0
        self.recent: deque[float] = deque(maxlen=_RECENT)
        self.buckets = [0] * (len(WAIT_BUCKETS) + 1)
        self.opened = 0
        self.lost = 0
        self.queries = 0
        self.query_seconds = 0.0
        self.slow_queries = 0
        self.transactions = 0
        self.retries = 0
        self.errors: Counter[str] = Counter()

    def waited(self, seconds: float) -> None:
        self.acquired += 1
        self.wait_seconds += seconds
        self.wait_max = max(self.wait_max, seconds)
        self.recent.append(seconds)
        self.buckets[bisect_left(WAIT_BUCKETS, seconds)] += 1

    def stats(self, *, name: str, min_size: int, max_size: int, size: int, used: int, waiting: int) -> PoolStats:
        recent = sorted(self.recent)
        bounds = (*WAIT_BUCKETS, float("inf"))
        return PoolStats(
            name=name,
            min_size=min_size,
            max_size=max_size,
            size=size,
            used=used,
            waiting=waiting,
            acquired=self.acquired,
            acquire_timeouts=self.acquire_timeouts,
            wait_seconds=self.wait_seconds,
            wait_p50=percentile(recent, 0.50),
            wait_p95=percentile(recent, 0.95),
            wait_p99=percentile(recent, 0.99),
            wait_max=self.wait_max,
            wait_buckets=MappingProxyType(dict(zip(bounds, self.buckets, strict=True))),
            connections_opened=self.opened,
            connections_lost=self.lost,
            queries=self.queries,
            query_seconds=self.query_seconds,
            slow_queries=self.slow_queries,
            transactions=self.transactions,
            retries=self.retries,
            errors=MappingProxyType(dict(self.errors)),
        )


def percentile(ordered: list[float], part: float) -> float:
    """Return the nearest-rank percentile of a sorted list, 0 for none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -(-int(part * 1000) * len(ordered) // 1000) - 1))]
