"""One slot of a million validators: rows in, current state and hourly roll-up up to date, slot after slot.

The table is that of the validators pack, with its checks, generated columns, primary key and roll-ups, stored change-only. A slot
lasts twelve seconds, and all of them have to be done in that time. The figure is the mean over the slots of a round, the
slowest is told beside, and so is the most memory that our process had, the rows it made up included.
"""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa

from bench.harness import Benchmark, Prepared
from bench.postgres import describe_server, fresh_server
from chainstrata import partitions
from chainstrata.engines.postgres import Database
from chainstrata.ingest import Answer, Ingest
from chainstrata.migrate import create_declared
from chainstrata.model.latest import BLOCK
from chainstrata.packs import load_catalog
from chainstrata.rollups import Rollups

VALIDATORS, QUICK_VALIDATORS = 1_000_000, 20_000
SLOTS, QUICK_SLOTS, WARM_SLOTS = 20, 2, 2
BATCHES = 4
SLOT = timedelta(seconds=12)
DATASET = "validators.snapshots"
ROLLUP = "validators.snapshots.hourly"
GENESIS_BALANCE = 32_000_000_000


class Chain:
    """The validators' balances, and the rows of slot after slot."""

    def __init__(self, validators: int) -> None:
        self.dice = np.random.default_rng(11)
        self.validators = np.arange(validators)
        self.balances = GENESIS_BALANCE + self.dice.integers(0, 10**8, validators)
        self.slot = 0
        self.genesis = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

    def next_slot(self, share: float) -> Any:
        """Let so many balances change, and return what the beacon node says of the next slot."""
        count = len(self.validators)
        self.slot += 1
        moved = self.dice.choice(count, int(count * share), replace=False) if share < 1 else slice(None)
        self.balances[moved] += 1 + self.dice.integers(0, 20_000, count)[moved]
        same = np.zeros(count, dtype=np.int8)
        moment = np.datetime64((self.genesis + SLOT * self.slot).replace(tzinfo=None), "us")
        return pa.table(
            {
                "validator_index": self.validators,
                "ts": pa.array(np.full(count, moment)).cast(pa.timestamp("us", tz="UTC")),
                "slot": np.full(count, self.slot),
                "epoch": np.full(count, self.slot // 32),
                "balance": self.balances.copy(),
                "effective_balance": np.full(count, GENESIS_BALANCE),
                "status": pa.DictionaryArray.from_arrays(same, ["active_ongoing"]),
                "block_root": pa.DictionaryArray.from_arrays(same, [f"0x{self.slot:064x}"]),
                "execution_optimistic": pa.array(np.zeros(count, dtype=bool)),
                "finalized": pa.array(np.zeros(count, dtype=bool)),
            }
        )


class Slots:
    """A chain that is followed."""

    def __init__(self, database: Database, validators: int, slots: int, told: dict[str, str]) -> None:
        catalog = load_catalog(["strata", "validators"])
        self.database = database
        self.rollups = Rollups(database, catalog)
        self.ingest = Ingest(database, catalog, self.rollups)
        self.chain = Chain(validators)
        self.slots = slots
        self.told = told
        self.warm: set[str] = set()

    async def take(self, rows: Any) -> Answer:
        """Take in a slot in a few batches, two at a time, cut so that no two have entities of one block: they would wait for it."""
        each = -(-rows.num_rows // BATCHES // BLOCK) * BLOCK
        batches = [rows.slice(start, each) for start in range(0, rows.num_rows, each)]
        answers = []

        async def write() -> None:
            while batches:
                answers.append(await self.ingest.ingest(DATASET, batches.pop(0)))

        await asyncio.gather(write(), write())
        return sum(answers[1:], answers[0])

    async def follow(self, case: str, share: float) -> float:
        """Take in some slots and return how long one of them took."""
        count = self.slots if case in self.warm else WARM_SLOTS
        self.warm.add(case)
        took = []
        for _ in range(count):
            rows = self.chain.next_slot(share)
            began = time.perf_counter()
            answer = await self.take(rows)
            await self.rollups.refresh([ROLLUP])
            took.append(time.perf_counter() - began)
            if answer.rows != len(self.chain.validators) or answer.quarantined:
                raise LookupError(f"the slot was not taken: {answer}")
        self.told[f"slowest slot of {case}"] = f"{max(took):.2f} s"
        self.told["peak memory of the process"] = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB"
        return sum(took) / len(took)


@asynccontextmanager
async def prepare(quick: bool) -> AsyncIterator[Prepared]:
    """Make the pack's tables, and take in a slot, by which everything is known."""
    async with fresh_server() as (server, config), Database(server.conninfo, config) as database:
        catalog = load_catalog(["strata", "validators"])
        async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as connection:
            await create_declared(connection, catalog)
        await partitions.apply(database, catalog)
        told = describe_server(database)
        slots = Slots(database, QUICK_VALIDATORS if quick else VALIDATORS, QUICK_SLOTS if quick else SLOTS, told)
        await slots.take(slots.chain.next_slot(1))
        await slots.rollups.refresh([ROLLUP])

        def case(name: str, share: float) -> Callable[[], Awaitable[float]]:
            return lambda: slots.follow(name, share)

        yield Prepared({"all_changed": case("all_changed", 1), "one_percent": case("one_percent", 0.01)}, {}, told)


BENCHMARK = Benchmark(
    doc="A slot of a million validators into the validators pack, current state and hourly roll-up up to date: seconds per slot.",
    unit="s",
    better="lower",
    reference="all_changed",
    prepare=prepare,
    rounds=1,
    quick_rounds=1,
)
