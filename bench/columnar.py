"""Five questions over twenty million snapshots of validators, asked of the columnar mirror and of PostgreSQL, and what either stores.

Both hold the same rows: five thousand validators over four thousand epochs, and two million prices of a minute, in the tables and
with the indexes that the packs declare, PostgreSQL's as one plain table each. Both are settled first (VACUUM ANALYZE; OPTIMIZE FINAL)
and warm. The mirror is asked through its view, which shows the newest version of each row, so it pays for that. PostgreSQL's tables are
unlogged and filled by two sessions, so that filling them takes minutes and not longer; they are the same on disk. The rows are made up: what
differs between them is scrambled, but real ones differ more, so what is stored of them shrinks less.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, LiteralString

from psycopg import sql

from bench.harness import Benchmark, Prepared
from bench.postgres import describe_server, fresh_server
from chainstrata.config import HOME, load_config
from chainstrata.engines.clickhouse import Columnar, ColumnarOptions, EmbeddedClickHouse
from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.migrate import create_declared
from chainstrata.model.columnar import mirror_table
from chainstrata.packs import load_catalog

VALIDATORS, EPOCHS, QUICK_EPOCHS = 5000, 4000, 100
WRITERS = 2
COINS = 200
START = 1_767_225_600  # 2026-01-01
EPOCH_SECONDS = 384

# {j}: what differs from row to row; {miss}: whether the attestation was missed. The same arithmetic on both sides.
_J = "((v * 7919 + e * 104729) * (v * 31 + e * 131 + 7)) % 12007"
_MISS = "(v * 31 + e * 17) % 997 = 0"
SNAPSHOT = {
    "validator_index": "v",
    "ts": "{ts}",
    "slot": "e * 32",
    "epoch": "e",
    "balance": "32000000000 + e * 10900 + {j}",
    "effective_balance": "32000000000",
    "status": "'active_ongoing'",
    "execution_optimistic": "false",
    "finalized": "true",
    "rewards_epoch": "e",
    "reward_head": "CASE WHEN {miss} THEN 0 ELSE 2800 + {j} % 40 END",
    "reward_target": "CASE WHEN {miss} THEN -5200 ELSE 5200 + {j} % 50 END",
    "reward_source": "CASE WHEN {miss} THEN -2800 ELSE 2800 + {j} % 30 END",
    "reward_inactivity": "0",
    "ideal_head": "2850",
    "ideal_target": "5260",
    "ideal_source": "2840",
    "due_attestations": "1",
    "missed_attestations": "CASE WHEN {miss} THEN 1 ELSE 0 END",
    "proposer_reward": "CASE WHEN {j} = 0 THEN 45000000 ELSE 0 END",
    "proposed_blocks": "CASE WHEN {j} = 0 THEN 1 ELSE 0 END",
    "missed_blocks": "0",
    "sync_reward": "0",
}
EARNED = "reward_head + reward_target + reward_source + reward_inactivity"
GENERATED = {"earned_reward": EARNED, "ideal_reward": "10950", "effectiveness": f"({EARNED}) / 10950"}
PRICE = {
    "coin_id": "{coin}",
    "minute_ts": "{ts}",
    "price_usd": "{price}",
    "market_cap_usd": "{price} * 19000000",
    "volume_24h_usd": "1000000 + {j}",
    "coin_rank": "v + 1",
    "source_ts": "{ts}",
    "created_at": "{ts}",
    "updated_at": "{ts}",
}
QUESTIONS: Mapping[str, tuple[LiteralString, str]] = {
    "by day": (
        "SELECT date_trunc('day', ts, 'UTC') AS day, avg(effectiveness), sum(missed_attestations) FROM {table} GROUP BY day ORDER BY day",
        "SELECT toStartOfDay(ts) AS day, avg(effectiveness), sum(missed_attestations) FROM {table} GROUP BY day ORDER BY day",
    ),
    "worst twenty": (
        "SELECT validator_index, sum(missed_attestations) AS missed FROM {table} GROUP BY 1 ORDER BY missed DESC, 1 LIMIT 20",
        "SELECT validator_index, sum(missed_attestations) AS missed FROM {table} GROUP BY 1 ORDER BY missed DESC, 1 LIMIT 20",
    ),
    "one validator": (
        "SELECT date_trunc('day', ts, 'UTC') AS day, max(balance) FROM {table} WHERE validator_index = 77 GROUP BY day ORDER BY day",
        "SELECT toStartOfDay(ts) AS day, max(balance) FROM {table} WHERE validator_index = 77 GROUP BY day ORDER BY day",
    ),
    "newest of each": (
        "SELECT sum(balance) FROM (SELECT DISTINCT ON (validator_index) balance FROM {table} ORDER BY validator_index, ts DESC) AS newest",
        "SELECT sum(newest) FROM (SELECT argMax(balance, ts) AS newest FROM {table} GROUP BY validator_index)",
    ),
    "percentiles": (
        "SELECT percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY earned_reward) FROM {table}",
        "SELECT quantilesExact(0.5, 0.95)(earned_reward) FROM {table}",
    ),
}


def fill(columns: Mapping[str, str], **words: str) -> str:
    """Return the select list of generated rows."""
    return ", ".join(text.format(**words) for text in columns.values())


class Postgres:
    """The rows in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, epochs: int) -> None:
        """Make the tables and fill them."""
        words = {"j": f"({_J})", "miss": _MISS, "ts": f"to_timestamp({START} + e * {EPOCH_SECONDS})"}
        words |= {"coin": "'coin-' || v", "price": f"((1000 + v) + ({_J})::numeric / 1000000)"}
        for table, source, columns, rows in (
            ("snapshot", "validators.validator_snapshots", SNAPSHOT, VALIDATORS),
            ("price", "prices.minute_close", PRICE, COINS),
        ):
            like = sql.SQL("CREATE UNLOGGED TABLE bench.{} (LIKE {} INCLUDING ALL)")
            await self._run(like.format(sql.Identifier(table), sql.Identifier(*source.split("."))).as_string())
            chosen = fill(columns, **words).replace("'active_ongoing'", "'active_ongoing'::validators.validator_status")
            turns = epochs if table == "snapshot" else epochs * 5 // 2
            bounds = [turns * part // WRITERS for part in range(WRITERS + 1)]
            async with asyncio.TaskGroup() as group:
                for first, end in pairwise(bounds):
                    source_rows = f"generate_series({first}::bigint, {end - 1}) AS e, generate_series(0::bigint, {rows - 1}) AS v"
                    group.create_task(self._run(f"INSERT INTO bench.{table} ({', '.join(columns)}) SELECT {chosen} FROM {source_rows}"))
            await self._run(f"VACUUM (ANALYZE) bench.{table}")

    async def _run(self, statement: str) -> None:
        async with self._database.session() as connection:
            await connection.execute("SET statement_timeout = 0")
            await connection.driver.execute(statement.encode())

    async def stored(self) -> dict[str, float]:
        query = "SELECT pg_total_relation_size('bench.snapshot') / 1e6 AS snapshots, pg_total_relation_size('bench.price') / 1e6 AS prices"
        async with self._database.connection() as connection:
            row = await connection.fetch_one(query)
        return {"snapshots stored, MB": float(row[0]), "prices stored, MB": float(row[1])}

    async def ask(self, question: str) -> list[Any]:
        async with self._database.connection() as connection:
            asked = sql.SQL(QUESTIONS[question][0]).format(table=sql.Identifier("bench", "snapshot"))
            return list(await connection.fetch_all(asked))


class Mirror:
    """The same rows in the columnar mirrors."""

    def __init__(self, columnar: Columnar) -> None:
        self._columnar = columnar
        catalog = load_catalog(["validators", "prices"])
        self._snapshots = mirror_table(catalog.dataset("validators.snapshots"))
        self._prices = mirror_table(catalog.dataset("prices.minute"))

    async def load(self, epochs: int) -> None:
        """Make the mirrors and fill them."""
        words = {"j": f"({_J})", "miss": _MISS, "ts": f"toDateTime64({START} + e * {EPOCH_SECONDS}, 6, 'UTC')"}
        words |= {"coin": "concat('coin-', toString(v))", "price": f"toDecimal256(1000 + v, 38) + toDecimal256({_J}, 38) / 1000000"}
        for mirror, columns, rows, turns in (
            (self._snapshots, {**SNAPSHOT, **GENERATED}, VALIDATORS, epochs),
            (self._prices, PRICE, COINS, epochs * 5 // 2),
        ):
            for statement in mirror.create(self._columnar.database):
                await self._columnar.execute(statement)
            names = ", ".join([*columns, "_version"])
            chosen = ", ".join(f"{text.format(**words)} AS {name}" for name, text in columns.items())
            rows_of = f"SELECT toInt64(intDiv(number, {rows})) AS e, toInt64(number % {rows}) AS v FROM numbers({rows * turns})"
            insert = f"INSERT INTO {mirror.table.name} ({names}) SELECT {chosen}, e + 1 FROM ({rows_of})"
            await self._columnar.execute(insert, timeout=600)
            await self._columnar.execute(f"OPTIMIZE TABLE {mirror.table.name} FINAL", timeout=600)

    async def stored(self) -> dict[str, float]:
        query = "SELECT sum(bytes_on_disk) / 1e6 FROM system.parts WHERE active AND database = currentDatabase() AND table = {table:String}"
        tables = {"snapshots": self._snapshots.table.name, "prices": self._prices.table.name}
        return {f"{name} stored, MB": float(await self._columnar.fetch_value(query, {"table": table})) for name, table in tables.items()}

    async def ask(self, question: str) -> list[Any]:
        return await self._columnar.query_rows(QUESTIONS[question][1].format(table=self._snapshots.view.name))


async def time_questions(side: Postgres | Mirror, stored: Mapping[str, float]) -> dict[str, float]:
    """Ask every question; return milliseconds of each and of all, and what is stored."""
    taken: dict[str, float] = {}
    for question in QUESTIONS:
        began = time.perf_counter()
        await side.ask(question)
        taken[question] = (time.perf_counter() - began) * 1000
    return {"": sum(taken.values()), **taken, **stored}


async def check_equal(postgres: Postgres, mirror: Mirror) -> None:
    """Make sure that both sides were asked about the same rows."""
    for question in ("worst twenty", "newest of each", "percentiles"):
        ours, theirs = plain(await mirror.ask(question)), plain(await postgres.ask(question))
        if ours != theirs:
            raise AssertionError(f"{question}: {ours} is not {theirs}")


def plain(rows: list[Any]) -> list[list[Any]]:
    """Return rows of whole numbers as such, whatever type they came as."""
    return [[[int(one) for one in value] if isinstance(value, list) else int(value) for value in row] for row in rows]


@asynccontextmanager
async def prepare(quick: bool) -> AsyncIterator[Prepared]:
    epochs = QUICK_EPOCHS if quick else EPOCHS
    with tempfile.TemporaryDirectory(prefix="chainstrata-bench-", ignore_cleanup_errors=True) as directory:
        config = load_config({HOME.key: Path(directory, "home")}, environment={}, directory=Path(directory))
        options = ColumnarOptions("bench", timeout=timedelta(minutes=10))
        pool = PoolOptions(min_size=1, max_size=4, statement_timeout=600)
        async with (
            fresh_server() as (server, _),
            Database(server.conninfo, options=pool) as database,
            EmbeddedClickHouse(config) as engine,
            Columnar(engine.url, options) as columnar,
        ):
            async with database.session() as connection:
                await create_declared(connection.driver, load_catalog(["validators", "prices"]))
                await connection.execute("CREATE SCHEMA bench")
            postgres, mirror = Postgres(database), Mirror(columnar)
            sides: dict[str, Postgres | Mirror] = {"postgres": postgres, "columnar": mirror}
            stored = {}
            for name, side in sides.items():
                await side.load(epochs)
                stored[name] = await side.stored()
            await check_equal(postgres, mirror)
            cases = {name: (lambda side=side, name=name: time_questions(side, stored[name])) for name, side in sides.items()}
            yield Prepared(cases, versions={**describe_server(database), "ClickHouse": columnar.version})


BENCHMARK = Benchmark(
    "Five analytic questions over twenty million snapshots of validators, and what two datasets take on disk.",
    "ms",
    "lower",
    "postgres",
    prepare,
    rounds=3,
    quick_rounds=2,
)
