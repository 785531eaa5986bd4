"""Metrics of services as their monitor sends them, minute by minute and without end: as many instances as the rate asks for."""

from collections.abc import Iterator
from datetime import datetime
from itertools import count

import numpy as np
import pyarrow as pa

from chainstrata.packs.insights.sample import MINUTE, RESTART_EVERY, SERVICES, metric_columns, rhythm
from chainstrata.packs.sampling import Rows, Tick, chosen, floor_to, generator, microseconds

METRICS = 4
DRAWN_BACK = 0.95
"""How much of what a load is off its usual remains after a minute."""


def stream(seed: int, start: datetime, rate: float) -> Iterator[Tick]:
    """Yield the metrics from `start` on, of as many instances as give about `rate` rows a second; equal arguments, equal rows."""
    rng = generator("insights", "stream", seed)
    first = floor_to(microseconds(start), MINUTE)
    instances = max(len(SERVICES), round(rate * 60 / METRICS))
    service = np.arange(instances) % len(SERVICES)
    names = pa.array([f"{SERVICES[place].name}-{number // len(SERVICES)}" for number, place in enumerate(service.tolist())])
    night, day, latency = (np.array([getattr(each, name) for each in SERVICES])[service] for name in ("night", "day", "latency"))
    restarted, walk = rng.integers(0, RESTART_EVERY, instances), rng.normal(0, 3.8, instances)
    for minute in count(first, MINUTE):
        walk = walk * DRAWN_BACK + rng.normal(0, 1.2, instances)
        seen = np.flatnonzero(rng.random(instances) > 0.001)
        load = np.clip(night + day * rhythm(np.full(instances, minute)) + walk, 0.5, 100)[seen]
        age = (restarted + minute // MINUTE)[seen]
        rows = Rows("insights.metrics")
        services = chosen(service[seen], [each.name for each in SERVICES])
        ticks = np.full(len(seen), minute)
        for piece in metric_columns(rng, services, names.take(pa.array(seen)), ticks, load, latency[seen], age):
            rows.add(piece)
        yield Tick(minute, minute + MINUTE, list(rows.rest()))
