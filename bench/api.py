"""Common reads over HTTP: one at a time while nothing else happens, and by fifty clients while fifty thousand rows a second are taken in.

A node serves as it does for a user, on a database with all packs, their samples and fifty thousand validators besides. The reference,
`bare`, answers the same reads by the framework and the driver alone. Clients, whoever takes the rows in, the server and what answers are
processes of their own that share the machine, and only one of the two is asked at a time.

`paced` is what fifty clients are in practice: each asks four times a second, two hundred together, at times that scatter; a time counts
from when the question was due, so what had to wait in a queue counts in full. `closed` is fifty clients who ask again as soon as they are
answered: that fills every core, so its times are those of a queue of fifty, and what it tells is the answers a second. `idle` is one client
that asks for the last row of one validator.

The figure is the time within which 99 of 100 answers came. It counts only if rows came in at the pace meanwhile: a run in which they fell
behind by more than a tenth while fifty clients asked at theirs ends as failed. Without pause nothing is left for rows, so there it is told alone.
"""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from bench.harness import Benchmark, Prepared
from bench.http_feed import DATASET, make_rows
from bench.postgres import describe_server, fresh_server
from chainstrata import Platform, connect

VALIDATORS, QUICK_VALIDATORS = 50_000, 5_000
HISTORY = 6
CLIENTS = 50
EACH_SECOND = 4.0
RATE, BEHIND = 50_000, 0.1
SECONDS, QUICK_SECONDS = 12.0, 2.0
WARM = 2.0
CHOICES = 40
PACKS = ("validators", "portfolio", "prices", "relay", "insights")
Figures = dict[str, dict[str, float]]
Made = Callable[[int], list[tuple[str, Any]]]


@dataclass(frozen=True, slots=True)
class Read:
    """One of the reads: what it is called, and where it is, ours and the other's."""

    name: str
    path: str
    ours: Made
    bare_path: str
    bare: Made


def list_reads(validators: list[int], user: str, now: datetime) -> list[Read]:
    """Return ten common reads."""
    day, hour = (now - timedelta(days=1)).isoformat(), (now - timedelta(hours=1)).isoformat()
    datasets, rollups = f"/api/v1/datasets/{DATASET}", f"/api/v1/rollups/{DATASET}"

    def one(number: int) -> tuple[str, str]:
        return ("filter", f"validator_index:{validators[number % CHOICES]}")

    def same(name: str, path: str, bare_path: str, made: Made) -> Read:
        return Read(name, path, made, bare_path, made)

    return [
        Read("latest of one", f"{datasets}/latest", lambda n: [one(n)], "/latest", lambda n: [("validators", validators[n])]),
        Read(
            "latest of twenty",
            f"{datasets}/latest",
            lambda n: [one(n + more) for more in range(20)],
            "/latest",
            lambda n: [("validators", validators[(n + more) % CHOICES]) for more in range(20)],
        ),
        Read(
            "rows of one",
            f"{datasets}/rows",
            lambda n: [one(n), ("order", "desc"), ("limit", 50), ("from", hour)],
            "/rows",
            lambda n: [("validator", validators[n]), ("since", hour), ("limit", 50)],
        ),
        Read(
            "hours of one",
            f"{rollups}.hourly",
            lambda n: [one(n), ("from", day)],
            "/hours",
            lambda n: [("validator", validators[n]), ("since", day)],
        ),
        same("a validator", "/api/v1/validators/validator", "/validator", lambda n: [("validator_index", 100_000 + n)]),
        same("open alerts", "/api/v1/validators/unresolved_alerts", "/alerts", lambda _: [("severity", "warning"), ("limit", 20)]),
        same("latest prices", "/api/v1/prices/latest_prices", "/prices", lambda _: [("coins", "bitcoin"), ("coins", "ethereum")]),
        Read(
            "prices of a day",
            "/api/v1/prices/price_history",
            lambda _: [("coin_id", "bitcoin"), ("since", day), ("timeframe", "hourly")],
            "/price_hours",
            lambda _: [("coin_id", "bitcoin"), ("since", day)],
        ),
        same("top coins", "/api/v1/prices/top_coins", "/top_coins", lambda _: [("limit", 50)]),
        same("a portfolio", "/api/v1/portfolio/holdings_of", "/holdings", lambda _: [("user_id", user), ("limit", 50)]),
    ]


def addresses(reads: list[Read], *, bare: bool) -> dict[str, list[str]]:
    """Return for each read some addresses to ask."""
    made = [(one.name, one.bare_path, one.bare) if bare else (one.name, one.path, one.ours) for one in reads]
    return {name: [f"{path}?{urlencode(make(number))}" for number in range(CHOICES)] for name, path, make in made}


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[Process]:
    """Run a program as long as the block does."""
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def read_port(process: Process) -> int:
    """Wait until a program says where it serves."""
    assert process.stdout is not None
    async with asyncio.timeout(120):
        async for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                return int(event["address"].rpartition(":")[2])
    raise LookupError("what is to be asked did not start")


async def fill(platform: Platform, validators: int) -> tuple[list[int], str]:
    """Write samples and some snapshots of each validator; return some of these, and a user."""
    for pack in PACKS:
        await platform.samples.load(pack, "small")
    dice = np.random.default_rng(3)
    now = datetime.now(UTC)
    for number in range(HISTORY):
        moment = now - timedelta(minutes=10) * (HISTORY - number)
        await platform.ingest(DATASET, make_rows(np.arange(validators), moment, 9_000_000 + number, dice))
    await platform.refresh_rollups()
    await platform.database.execute("VACUUM ANALYZE")
    user = await platform.database.fetch_value("SELECT user_id FROM portfolio.portfolio_holdings GROUP BY 1 ORDER BY count(*) DESC LIMIT 1")
    return [int(one) for one in dice.choice(validators, CHOICES, replace=False)], str(user)


@dataclass(slots=True)
class Stand:
    """What answers, what feeds, and who asks."""

    conninfo: str
    home: Path
    ports: dict[str, int]
    reads: list[Read]
    validators: int
    seconds: float
    faults: list[str]
    warm: set[str]

    async def ask(self, who: str, reads: list[Read], clients: int, each_second: float, seconds: float) -> Figures:
        """Let so many clients ask for so long; return what they say."""
        plan = {
            "host": "127.0.0.1",
            "port": self.ports[who],
            "clients": clients,
            "each_second": each_second,
            "seconds": seconds,
            "warm": WARM,
            "requests": addresses(reads, bare=who == "bare"),
        }
        async with started("-I", str(Path(__file__).with_name("http_clients.py"))) as process:
            said, _ = await process.communicate(json.dumps(plan).encode())
            if process.returncode:
                raise LookupError("the clients were not answered")
            found: Figures = json.loads(said)
            return found

    async def run(self, who: str) -> dict[str, float]:
        """Ask one of the two in every way, and return all figures."""
        first = who not in self.warm
        self.warm.add(who)
        length = min(self.seconds, 3.0) if first else self.seconds
        idle = await self.ask(who, self.reads[:1], 1, 0, length / 2)
        paced, taken = await self.busy(who, EACH_SECOND, length)
        closed, taken_closed = await self.busy(who, 0, length / 2)
        if not first and taken < (1 - BEHIND) * RATE:
            self.faults.append(f"{who}: {taken:,.0f} rows a second came in while clients asked at their pace, not {RATE:,}")
        own, rows = paced[""], {name: figures["p99"] for name, figures in paced.items() if name}
        return {
            "": own["p99"],
            "p95": own["p95"],
            "p50": own["p50"],
            "rows/s taken in": taken,
            **{f"{name}, p99": figure for name, figure in rows.items()},
            "closed, answers/s": closed[""]["a_second"],
            "closed, p99": closed[""]["p99"],
            "closed, rows/s taken in": taken_closed,
            "idle, p99": idle[""]["p99"],
            "idle, p50": idle[""]["p50"],
        }

    async def busy(self, who: str, each_second: float, seconds: float) -> tuple[Figures, float]:
        """Let all clients ask while rows come in; return what they say, and how many rows a second came."""
        feed = ("-m", "bench.http_feed", self.conninfo, str(self.home / "feeding"), str(self.validators), str(RATE))
        async with started(*feed) as feeder:
            assert feeder.stdout is not None
            # Rows come in before the first question is asked, so that all of its time is measured with both.
            async with asyncio.timeout(120):
                await feeder.stdout.readline()
            found = await self.ask(who, self.reads, CLIENTS, each_second, seconds)
            # It goes on until its input ends.
            said, _ = await feeder.communicate(b"")
            if feeder.returncode:
                raise LookupError("rows were not taken in")
        return found, float(said)


@asynccontextmanager
async def prepare(quick: bool) -> AsyncIterator[Prepared]:
    """Start the server, fill it, start what answers, and give what is asked."""
    count, seconds = (QUICK_VALIDATORS, QUICK_SECONDS) if quick else (VALIDATORS, SECONDS)
    async with AsyncExitStack() as stack:
        server, config = await stack.enter_async_context(fresh_server())
        home = config.home.parent
        given = ("--postgres-url", server.conninfo, "--clickhouse-embedded", "false", "--api-rate", "0", "--pool-slow-query", "60s")
        node = await stack.enter_async_context(started("-m", "chainstrata", "up", "--json", "--home", str(home / "node"), *given))
        ports = {"ours": await read_port(node)}
        async with connect(settings={"postgres.url": server.conninfo, "home": str(home / "filling")}) as platform:
            validators, user = await fill(platform, count)
            versions = describe_server(platform.database)
        bare = await stack.enter_async_context(started("-m", "bench.http_bare", server.conninfo))
        ports["bare"] = await read_port(bare)
        reads = list_reads(validators, user, datetime.now(UTC))
        faults: list[str] = []
        stand = Stand(server.conninfo, home, ports, reads, count, seconds, faults, set())
        # What is due once after a start is not part of it.
        os.sync()

        # Two seconds say nothing about a pace.
        yield Prepared({"bare": lambda: stand.run("bare"), "ours": lambda: stand.run("ours")}, {}, versions, [] if quick else faults)


BENCHMARK = Benchmark(
    doc="Ten common reads over HTTP by 50 clients while 50,000 rows a second come in, at a pace (200 a second) and without pause; idle, the last"
    " row of one validator by one client: p99.",
    unit="ms",
    better="lower",
    reference="bare",
    prepare=prepare,
    rounds=2,
    quick_rounds=1,
)
