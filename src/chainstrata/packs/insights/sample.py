"""Sample data of the insights pack, up to an anchor in time: services through their days, feedback, backfill jobs, blocks with a fork."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.packs.insights.model import FlagType, JobStatus, RangeStatus
from chainstrata.packs.insights.sample_blocks import block_rows, make_chain, reorg_rows, transaction_tables
from chainstrata.packs.sampling import Numbers, Rows, chosen, constant, generator, instants, microseconds, of_scale, uuids

SECOND, MINUTE, DAY = 1_000_000, 60_000_000, 86_400_000_000
FIRST_BLOCK = datetime(2009, 1, 3, 18, 15, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Size:
    minutes: int
    feedback: int
    jobs: int
    blocks: int
    transactions: int


SIZES = {
    "small": Size(minutes=1_440, feedback=3_000, jobs=14, blocks=288, transactions=40),
    "medium": Size(minutes=14 * 1_440, feedback=60_000, jobs=60, blocks=1_008, transactions=400),
    "large": Size(minutes=45 * 1_440, feedback=1_000_000, jobs=400, blocks=1_008, transactions=2_500),
}


def make(scale: str, seed: int, anchor: datetime) -> Iterator[tuple[str, Any]]:
    """Yield (dataset, table), parents first; equal arguments, equal rows. Nothing is later than `anchor`."""
    size = of_scale(SIZES, scale)
    rng = generator("insights", scale, seed)
    now = microseconds(anchor)
    tip = (now - microseconds(FIRST_BLOCK)) // (600 * SECOND)
    jobs = _make_jobs(rng, size.jobs, now, tip)
    yield "insights.jobs", _job_rows(jobs)
    yield "insights.ranges", _range_rows(rng, jobs, now)
    yield from _feedback(rng, size.feedback, now)
    yield from _metrics(rng, size.minutes, now)
    chain = make_chain(rng, now, tip, size.blocks, size.transactions)
    yield "insights.blocks", block_rows(rng, chain)
    yield "insights.reorgs", reorg_rows(chain)
    yield from transaction_tables(rng, chain)


# Metrics -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Service:
    """How busy a service is: its load at night and how much the day adds, in percent of a processor."""

    name: str
    instances: int
    night: float
    day: float
    latency: float


SERVICES = (
    Service("web-api", 3, 12, 38, 45),
    Service("feature-engine", 2, 70, 18, 900),
    Service("insight-generator", 1, 25, 30, 2_500),
    Service("data-ingestion", 2, 40, 4, 120),
    Service("chart-renderer", 1, 5, 25, 300),
)
GIB = 2**30


def _metrics(rng: np.random.Generator, minutes: int, now: int) -> Iterator[tuple[str, Any]]:
    """Yield a value a minute for every instance: load with the rhythm of the day, latency with the load, memory until a restart."""
    ticks = now // MINUTE * MINUTE - MINUTE * np.arange(minutes - 1, -1, -1, dtype="i8")
    busy = rhythm(ticks)
    rows = Rows("insights.metrics")
    for service in SERVICES:
        for number in range(service.instances):
            seen = np.flatnonzero(rng.random(minutes) > 0.001)
            name = constant(f"{service.name}-{number}", len(seen))
            age = np.arange(minutes) + rng.integers(0, RESTART_EVERY)
            load = np.clip(service.night + service.day * busy + _walk(rng, minutes), 0.5, 100)
            services = constant(service.name, len(seen))
            for piece in metric_columns(rng, services, name, ticks[seen], load[seen], np.full(len(seen), service.latency), age[seen]):
                rows.add(piece)
                yield from rows.full()
    yield from rows.rest()


RESTART_EVERY = 4_000
"""Minutes from one restart of an instance to the next."""


def rhythm(ticks: Numbers) -> Numbers:
    """Return how busy it is at some instants, from 0 to 1: most in the afternoon of a working day."""
    hour = ticks % DAY / 3_600_000_000
    weekend = (ticks // DAY + 3) % 7 >= 5
    found: Numbers = (1 + np.cos((hour - 16) / 24 * 2 * np.pi)) / 2 * np.where(weekend, 0.6, 1)
    return found


def metric_columns(
    rng: np.random.Generator, services: Any, names: Any, ticks: Numbers, load: Numbers, latency: Numbers, age: Numbers
) -> Iterator[dict[str, Any]]:
    """Yield every metric that follows from a load; `age` counts the minutes that decide how much memory is in use."""
    rows, since_restart = len(load), age % RESTART_EVERY
    figures = (
        ("cpu", "percent", load),
        ("latency", "ms", latency * np.exp(rng.normal(0, 0.25, rows)) / np.maximum(0.15, 1 - load / 110)),
        ("memory", "bytes", np.rint(GIB * (0.6 + since_restart / RESTART_EVERY)) + rng.integers(0, 2**24, rows)),
        ("requests", "per_minute", rng.poisson(10 + load * 12).astype("f8")),
    )
    for kind, unit, values in figures:
        yield {
            "service_name": services,
            "metric_type": constant(kind, rows),
            "timestamp": instants(ticks),
            "instance": names,
            "metric_value": values,
            "unit": constant(unit, rows),
            "metric_metadata": constant('{"region": "us-central1"}' if kind == "cpu" else None, rows, pa.string()),
        }


def _walk(rng: np.random.Generator, steps: int) -> Numbers:
    """Return a walk that is drawn back to zero: what is busy stays busy for a while."""
    shocks = rng.normal(0, 1.2, steps)
    kernel = 0.95 ** np.arange(120)
    walk: Numbers = np.convolve(shocks, kernel)[:steps]
    return walk


# Feedback ------------------------------------------------------------------------------------------------------------
COMMENTS = (
    "Matches what I saw in the mempool.",
    "Useful, but the time window should be stated.",
    "The fee spike was already over.",
    "Which exchange is this?",
    "Good catch.",
    "The chart does not load on my phone.",
)
REASONS = ("The address belongs to somebody else.", "The figure is ten times too high.", "It is an advertisement.")
THREE_YEARS = 3 * 365 * DAY


def _feedback(rng: np.random.Generator, rows: int, now: int) -> Iterator[tuple[str, Any]]:
    """Yield feedback: few insights get most of it, ratings are mostly good, some of it is old enough to be archived."""
    insight = np.minimum(rng.zipf(1.3, 4 * rows), rows // 10) - 1
    user = rng.integers(0, max(50, rows // 4), 4 * rows)
    _, first = np.unique(insight * 10_000_000 + user, return_index=True)
    kept = rng.permutation(np.sort(first))[:rows]
    insight, user = insight[kept], user[kept]
    for start in range(0, len(kept), 200_000):
        part = slice(start, start + 200_000)
        yield "insights.feedback", _feedback_rows(rng, insight[part], user[part], now)


def _feedback_rows(rng: np.random.Generator, insight: Numbers, user: Numbers, now: int) -> Any:
    rows = len(insight)
    insights = chosen(insight, [f"insight-{number:06d}" for number in range(int(insight.max()) + 1)])
    users = chosen(user, [f"user-{number:06d}" for number in range(int(user.max()) + 1)])
    created = now - (rng.random(rows) ** 2 * THREE_YEARS).astype("i8")
    changed = np.minimum(now, created + np.where(rng.random(rows) < 0.1, rng.integers(0, 30 * DAY, rows), 0))
    return pa.table(feedback_columns(rng, insight, (insights, users), (created, changed)))


def feedback_columns(rng: np.random.Generator, insight: Numbers, names: tuple[Any, Any], times: tuple[Numbers, Numbers]) -> dict[str, Any]:
    """Return what users say of insights; `names` are those of the insights and the users, `times` when it was said and changed."""
    rows = len(insight)
    flagged = rng.random(rows) < np.where(insight % 17 == 3, 0.35, 0.02)
    rated = (rng.random(rows) < 0.85) | ~flagged
    commented = rng.random(rows) < 0.25
    reasoned = flagged & (rng.random(rows) < 0.6)
    rating = rng.choice(np.array([1, 2, 3, 4, 5], dtype="i2"), rows, p=(0.08, 0.04, 0.1, 0.28, 0.5))
    return {
        "id": uuids(rng, rows),
        "insight_id": names[0],
        "user_id": names[1],
        "rating": pa.array(rating, mask=~rated),
        "comment": chosen(rng.integers(0, len(COMMENTS), rows), COMMENTS, ~commented),
        "flag_type": chosen(rng.choice(len(FlagType), rows, p=(0.55, 0.3, 0.15)), FlagType, ~flagged),
        "flag_reason": chosen(rng.integers(0, len(REASONS), rows), REASONS, ~reasoned),
        "created_at": instants(times[0]),
        "updated_at": instants(times[1]),
    }


# Backfill jobs -------------------------------------------------------------------------------------------------------
CHUNK = 500


@dataclass(frozen=True, slots=True)
class _Job:
    id: str
    kind: str
    status: JobStatus
    start: int
    end: int
    current: int
    started: int
    completed: int | None


def _make_jobs(rng: np.random.Generator, count: int, now: int, tip: int) -> list[_Job]:
    """Return jobs in every state: some old enough to be archived, and one as old that still runs."""
    states = list(JobStatus)
    jobs = []
    for number, identity in enumerate(uuids(rng, count).to_pylist()):
        status = states[number % len(states)] if number < 2 * len(states) else JobStatus.COMPLETED
        start = int(rng.integers(0, tip - 20_000)) // CHUNK * CHUNK
        end = start + CHUNK * int(rng.integers(4, 20))
        done = {JobStatus.PENDING: 0.0, JobStatus.COMPLETED: 1.0}.get(status, float(rng.uniform(0.1, 0.9)))
        old = number == len(states) + states.index(JobStatus.RUNNING) or (status.ended and number >= len(states))
        started = now - int(rng.integers(190, 400) if old else rng.integers(1, 20)) * DAY // (1 if old else 10)
        completed = min(now, started + int(rng.integers(1, 48)) * 60 * MINUTE) if status.ended else None
        current = start + int((end - start) * done) // CHUNK * CHUNK
        jobs.append(_Job(identity, ("blocks", "transactions")[number % 2], status, start, end, current, started, completed))
    return jobs


def _job_rows(jobs: list[_Job]) -> Any:
    states = list(JobStatus)
    failed = [None if job.status is not JobStatus.FAILED else "the node answered 503 three times" for job in jobs]
    expected = [None if job.status is not JobStatus.RUNNING else job.started + 30 * DAY for job in jobs]
    return pa.table(
        {
            "id": [job.id for job in jobs],
            "job_type": [job.kind for job in jobs],
            "start_block": [job.start for job in jobs],
            "end_block": [job.end for job in jobs],
            "current_block": [job.current for job in jobs],
            "status": chosen([states.index(job.status) for job in jobs], JobStatus),
            "estimated_completion": pa.array(expected, pa.timestamp("us", tz="UTC")),
            "error_message": pa.array(failed, pa.string()),
            "started_at": instants([job.started for job in jobs]),
            "completed_at": pa.array([job.completed for job in jobs], pa.timestamp("us", tz="UTC")),
            "created_by": ["scheduler" if number % 3 else "dana" for number in range(len(jobs))],
            "updated_at": instants([job.completed or job.started for job in jobs]),
        }
    )


def _range_rows(rng: np.random.Generator, jobs: list[_Job], now: int) -> Any:
    """Return the chunks of all jobs: done up to where the job is, the next one in hand or failed, the rest waiting."""
    owner = np.repeat(np.arange(len(jobs)), [(job.end - job.start) // CHUNK for job in jobs])
    first = np.concatenate([np.arange(job.start, job.end, CHUNK, dtype="i8") for job in jobs])
    current = np.array([job.current for job in jobs])[owner]
    begun = np.array([job.started for job in jobs])[owner]
    running = np.array([job.status is JobStatus.RUNNING for job in jobs])[owner] & (first == current)
    failed = np.array([job.status is JobStatus.FAILED for job in jobs])[owner] & (first == current)
    done = first < current
    states = list(RangeStatus)
    state = np.select(
        [done, running, failed],
        [states.index(RangeStatus.DONE), states.index(RangeStatus.RUNNING), states.index(RangeStatus.FAILED)],
        states.index(RangeStatus.PENDING),
    )
    started = np.minimum(now, begun + rng.integers(1, 60, len(first)) * MINUTE)
    return pa.table(
        {
            "job_id": chosen(owner, [job.id for job in jobs]),
            "from_block": first,
            "to_block": first + CHUNK,
            "status": chosen(state, RangeStatus),
            "attempts": np.select([done, running, failed], [1, 2, 3], 0).astype("i4"),
            "leased_by": chosen(np.zeros(len(first)), ["worker-1"], ~running),
            "leased_until": instants(np.full(len(first), now + MINUTE), ~running),
            "heartbeat_at": instants(np.full(len(first), now - 5 * SECOND), ~running),
            "rows_written": np.where(done, rng.integers(400, 600, len(first)) * 2_000, 0),
            "last_error": chosen(np.zeros(len(first)), ["the node answered 503 three times"], ~failed),
            "started_at": instants(started, ~(done | running | failed)),
            "completed_at": instants(np.minimum(now, started + MINUTE), ~done),
        }
    )
