"""A collector beside the node: snapshots of validators at a steady rate, `python -m bench.http_feed CONNINFO HOME VALIDATORS RATE`.

It prints a line when the first rows are in, goes on until its standard input ends, and then prints the rate it held.
"""

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from chainstrata import connect

BATCH = 25_000
"""Largest batch; snapshots of all validators come together, once a slot."""
DATASET = "validators.snapshots"


def make_rows(numbers: Any, moment: datetime, slot: int, dice: Any) -> Any:
    """Return a snapshot of each of these validators."""
    count = len(numbers)
    same = np.zeros(count, dtype=np.int8)
    return pa.table(
        {
            "validator_index": numbers,
            "ts": pa.array(np.full(count, np.datetime64(moment.replace(tzinfo=None), "us"))).cast(pa.timestamp("us", tz="UTC")),
            "slot": np.full(count, slot),
            "epoch": np.full(count, slot // 32),
            "balance": 32_000_000_000 + dice.integers(0, 10**9, count),
            "effective_balance": np.full(count, 32_000_000_000),
            "status": pa.DictionaryArray.from_arrays(same, ["active_ongoing"]),
            "block_root": pa.DictionaryArray.from_arrays(same, [f"0x{slot:064x}"]),
            "execution_optimistic": pa.array(np.zeros(count, dtype=bool)),
            "finalized": pa.array(np.zeros(count, dtype=bool)),
        }
    )


async def feed(conninfo: str, home: str, validators: int, rate: float) -> float:
    """Take rows in until nobody wants more; return how many a second, from the second batch on."""
    # Other figures each time it is started, because rows that change nothing are not stored.
    dice = np.random.default_rng()
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    size = min(BATCH, validators)
    began, taken, sent, slot, moment = 0.0, 0, 0, 10_000_000, datetime.now(UTC)
    settings = {"postgres.url": conninfo, "home": home, "pool.min_size": 2, "pool.max_size": 4, "pool.slow_query": "60s"}
    async with connect(settings=settings) as platform:
        while not ended.done():
            first = sent % validators
            if not first:
                slot, moment = slot + 1, max(datetime.now(UTC), moment + timedelta(milliseconds=1))
            answer = await platform.ingest(DATASET, make_rows(np.arange(first, first + size), moment, slot, dice))
            if answer.accepted != size or answer.spooled:
                raise SystemExit(f"not all rows were taken: {answer}")
            sent += size
            if not began:
                # From here on, because the first batch opens connections and reads what is declared.
                began = time.perf_counter()
                print("feeding", flush=True)
                continue
            taken += size
            ahead = began + taken / rate - time.perf_counter()
            if ahead > 0:
                await asyncio.wait({ended}, timeout=ahead)
    return taken / (time.perf_counter() - began)


if __name__ == "__main__":
    conninfo, home, validators, rate = sys.argv[1:]
    print(asyncio.run(feed(conninfo, home, int(validators), float(rate))))
