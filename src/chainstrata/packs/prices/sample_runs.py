"""Sample runs of the collector, and what they cost at the price source."""

import json
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata.model import days
from chainstrata.packs.prices.model import CollectionState, CollectionType
from chainstrata.packs.sampling import Numbers, chosen, instants, microseconds

SECOND = 1_000_000
RUN_DAYS = 30
USAGE_DAYS = 90
COINS_PER_CALL = 250
LEADING = 1_000
MESSAGES = ("429 Too Many Requests: the limit of calls per minute is used up", "503 Service Unavailable", "timed out after 30 s")
KINDS = list(CollectionType)
STATES = list(CollectionState)
KIND = {kind: place for place, kind in enumerate(KINDS)}
STATE = {state: place for place, state in enumerate(STATES)}


def make_runs(rng: np.random.Generator, coins: int, every: timedelta, anchor: datetime) -> Any:
    """Return the runs of the last 30 days; the newest is under way."""
    end = microseconds(anchor)
    begin = end - RUN_DAYS * 86_400 * SECOND
    start, kind = _starts(rng, begin, end, every // timedelta(microseconds=1))
    wanted = np.where(kind == KIND[CollectionType.COMPLETE], coins, min(coins, LEADING))
    state = np.full(len(start), STATE[CollectionState.COMPLETED])
    fate = rng.random(len(start))
    state[fate < 0.01] = STATE[CollectionState.FAILED]
    state[(fate >= 0.01) & (fate < 0.013)] = STATE[CollectionState.CANCELLED]
    state[len(start) // 2], state[len(start) // 3] = STATE[CollectionState.FAILED], STATE[CollectionState.CANCELLED]
    state[-1] = STATE[CollectionState.RUNNING]
    done = np.where(state == STATE[CollectionState.COMPLETED], wanted, (wanted * rng.random(len(start))).astype("i8"))
    failed = rng.binomial(done, 0.002)
    calls = -(-done // COINS_PER_CALL) + rng.poisson(0.05, len(start))
    took = (calls * rng.uniform(0.25, 0.6, len(start)) * SECOND).astype("i8") + SECOND
    running = state == STATE[CollectionState.RUNNING]
    stop = np.minimum(start + took, end)
    return pa.table(
        {
            "collection_type": chosen(kind, CollectionType),
            "start_time": instants(start),
            "end_time": instants(stop, running),
            "coins_processed": done - failed,
            "coins_failed": failed,
            "api_calls_made": calls,
            "status": chosen(state, CollectionState),
            "error_message": chosen(rng.integers(0, len(MESSAGES), len(start)), MESSAGES, state != STATE[CollectionState.FAILED]),
            "batch_details": _details(calls, done),
            "created_at": instants(start),
            "updated_at": instants(np.where(running, start, stop)),
        }
    )


def _starts(rng: np.random.Generator, begin: int, end: int, every: int) -> tuple[Numbers, Numbers]:
    """Return when runs began, and of what kind they were: leading coins all the time, ranks by the hour, all coins by the day."""
    hour, day = 3_600 * SECOND, 86_400 * SECOND
    schedule = {
        CollectionType.CONTINUOUS: np.arange(end - 20 * SECOND, begin, -every)[::-1],
        CollectionType.PRIORITY_REFRESH: np.arange(begin - begin % hour + hour, end - hour, hour),
        CollectionType.COMPLETE: np.arange(begin - begin % day + day + 5 * hour, end - hour, day),
        CollectionType.MANUAL: np.sort(rng.integers(begin, end - hour, 5)),
    }
    start = np.concatenate(list(schedule.values()))
    kind = np.concatenate([np.full(len(times), KIND[name]) for name, times in schedule.items()])
    order = np.argsort(start, kind="stable")
    return start[order], kind[order]


def _details(calls: Numbers, done: Numbers) -> Any:
    """Return what the batches of each run did; runs of the same size share a text."""
    sizes = list(zip(np.minimum(calls, -(-done // COINS_PER_CALL)).tolist(), done.tolist(), strict=True))
    texts = {(made, coins): json.dumps({"batches": _batches(made, coins)}) for made, coins in set(sizes)}
    return pa.array([texts[size] for size in sizes], pa.string())


def _batches(made: int, coins: int) -> list[dict[str, int]]:
    return [{"page": page + 1, "coins": min(COINS_PER_CALL, coins - page * COINS_PER_CALL)} for page in range(made)]


def make_usage(rng: np.random.Generator, coins: int, anchor: datetime) -> Any:
    """Return what the source was asked in each of the last 90 days."""
    today = days(1).floor(anchor).date()
    dates = [today - timedelta(days=back) for back in range(USAGE_DAYS - 1, -1, -1)]
    total = rng.poisson(max(coins // COINS_PER_CALL, 1) * 288, USAGE_DAYS)
    limited = rng.binomial(total, 0.004)
    failed = rng.binomial(total - limited, 0.003)
    answered = total - limited - failed
    mean = rng.uniform(220, 480, USAGE_DAYS)
    peak = np.minimum(rng.integers(12, 60, USAGE_DAYS), total)
    written = np.array([microseconds(anchor) - back * 86_400 * SECOND for back in range(USAGE_DAYS - 1, -1, -1)])
    return pa.table(
        {
            "date": pa.array(dates, pa.date32()),
            "total_calls": total,
            "successful_calls": answered,
            "failed_calls": failed,
            "rate_limited_calls": limited,
            "response_time_ms_sum": np.rint(answered * mean).astype("i8"),
            "response_time_count": answered,
            "peak_calls_per_minute": peak,
            "created_at": instants(written),
            "updated_at": instants(written),
        }
    )
