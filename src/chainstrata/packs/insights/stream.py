"""Metrics of services as their monitor sends them, and what users say of insights, minute by minute and without end.

There are as many instances as the rate asks for. Users come with the stream, and each says something once.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.packs.insights.sample import MINUTE, RESTART_EVERY, SERVICES, feedback_columns, metric_columns, rhythm
from chainstrata.packs.sampling import Rows, Tick, chosen, floor_to, generator, microseconds, pc

METRICS = 4
FEEDBACK = 0.01
"""Feedback for each row of metrics: 0.6 a minute at a row a second."""
INSIGHTS = 400
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
    said = 0
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
        users = int(rng.poisson(len(seen) * METRICS * FEEDBACK))
        feedback = [("insights.feedback", _feedback(rng, first, said, users, minute))] if users else []
        said += users
        yield Tick(minute, minute + MINUTE, [*rows.rest(), *feedback])


def _feedback(rng: np.random.Generator, first: int, said: int, users: int, minute: int) -> Any:
    """Return what some users say of insights in a minute: few insights get most of it. Users are told apart by when the stream began."""
    insight = np.minimum(rng.zipf(1.3, users), INSIGHTS) - 1
    names = chosen(insight, [f"insight-{number:06d}" for number in range(INSIGHTS)])
    numbers = pa.array(np.arange(said, said + users)).cast(pa.string())
    people = pc.binary_join_element_wise(f"user-{first // MINUTE:x}", numbers, "-")
    at = minute + rng.integers(0, MINUTE, users)
    return pa.table(feedback_columns(rng, insight, (names, people), (at, at)))
