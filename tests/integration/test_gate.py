"""The way in: small batches share transactions, and while PostgreSQL is away all are kept on disk, each written exactly once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from chainstrata.engines.postgres import Connection, Database, PoolOptions
from chainstrata.engines.postgres.waiting import happened
from chainstrata.ingest import Answer, BatchRefused, Gate, GateOptions, Ingest, Spool, TryLater, UnfitColumn, Witness
from chainstrata.model import Catalog
from chainstrata.monitor import Severity
from chainstrata.node.spool import judge_spool
from tests.fixtures.cutting import Wire
from tests.fixtures.lethal import LethalProxy

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
OPTIONS = GateOptions(patience=1.0)
POOL = PoolOptions(min_size=1, max_size=6, acquire_timeout=5)


def minute(coin: str, at: datetime = NOW, price: Any = "1.5", **more: Any) -> dict[str, Any]:
    return {"coin_id": coin, "minute_ts": at, "price_usd": price, **more}


@pytest.fixture
async def open_gate(catalog: Catalog, tmp_path: Path) -> AsyncIterator[Callable[..., Gate]]:
    gates: list[Gate] = []

    def make(database: Database, limit: int = 1024 * 1024, options: GateOptions = OPTIONS) -> Gate:
        gates.append(Gate(Ingest(database, catalog), database, catalog, Spool(tmp_path / "spool", limit), options))
        return gates[-1]

    yield make
    for gate in gates:
        await gate.close()


@pytest.fixture
def gate(packs: Database, open_gate: Callable[..., Gate]) -> Gate:
    return open_gate(packs)


@asynccontextmanager
async def cut_off(packs: Database) -> AsyncIterator[tuple[Wire, Database]]:
    async with Wire(packs.conninfo) as wire, Database(wire.conninfo, options=POOL) as database:
        yield wire, database


async def until(holds: Callable[[], Awaitable[bool]], within: float = 20.0) -> None:
    deadline = monotonic() + within
    while not await holds():
        assert monotonic() < deadline
        await happened(asyncio.Event(), 0.02)


async def coins(database: Database) -> dict[str, int]:
    rows = await database.fetch_all("SELECT coin_id, count(*) AS n FROM prices.minute_close GROUP BY coin_id")
    return {row.coin_id: row.n for row in rows}


# Sharing transactions -----------------------------------------------------------------------------------------------


@pytest.mark.conforms("S2-63")
async def test_callers_at_the_same_time_share_a_transaction(packs: Database, gate: Gate) -> None:
    for _ in range(2):
        answers = await asyncio.gather(*(gate.ingest("prices.minute", [minute(f"coin-{n}", source_ts=NOW)]) for n in range(40)))
    assert all((answer.unchanged, answer.rows) == (1, 1) for answer in answers)
    assert all(answer.lsn for answer in answers)
    transactions = await packs.fetch_value("SELECT count(DISTINCT xmin::text) FROM prices.minute_close")
    assert transactions <= 3
    assert len(await coins(packs)) == 40


async def test_names_are_forgotten_once_the_outcome_is_known(packs: Database, gate: Gate) -> None:
    for number in range(10):
        batches = [[minute(f"coin-{number}")], [minute(f"other-{number}")], [minute(f"many-{number}-{n}") for n in range(1_100)]]
        await asyncio.gather(*(gate.ingest("prices.minute", batch, origin=f"from {len(batch)}") for batch in batches))
    names = await packs.fetch_all("SELECT batch FROM strata.ingest_batch WHERE dataset = 'prices.minute'")
    assert 1 <= len(names) <= 4
    assert len(await coins(packs)) == 10 * 1_102


async def test_a_bad_row_is_its_callers_alone(packs: Database, gate: Gate) -> None:
    prices = {"text": "dear", "negative": "-1", "late": "1.5"}
    batches = [[minute(f"coin-{n}")] for n in range(20)] + [[minute(coin, price=price)] for coin, price in prices.items()]
    batches[-1][0]["minute_ts"] = NOW + timedelta(days=4000)
    batches.append([minute("two"), minute("halves", price="-2")])
    answers = await asyncio.gather(*(gate.ingest("prices.minute", batch, origin=f"from {n}") for n, batch in enumerate(batches)))
    assert [(answer.accepted, answer.quarantined) for answer in answers] == [*[(1, 0)] * 20, *[(0, 1)] * 3, (1, 1)]
    held = await packs.fetch_all("SELECT reason, source FROM strata.quarantine ORDER BY source")
    assert [tuple(row) for row in held] == [
        ("bad_value", "from 20"),
        ("constraint", "from 21"),
        ("no_partition", "from 22"),
        ("constraint", "from 23"),
    ]


async def test_rows_without_their_key_get_it_from_the_server_or_are_told_so(packs: Database, gate: Gate) -> None:
    said = [{"insight_id": "one", "user_id": f"user-{n}", "rating": n} for n in (1, 2)]
    assert (await gate.ingest("insights.feedback", said)).accepted == 2
    assert await packs.fetch_value("SELECT count(DISTINCT id) FROM insights.insight_feedback") == 2
    nameless = [{"minute_ts": NOW, "price_usd": n} for n in (1, 2)]
    with pytest.raises(UnfitColumn, match="coin_id: is missing") as caught:
        await gate.ingest("prices.minute", nameless)
    assert caught.value.hint


async def test_every_caller_is_told_its_own_fate(packs: Database, gate: Gate) -> None:
    await gate.ingest("prices.minute", [minute("old", source_ts=NOW), minute("same", source_ts=NOW)])
    answers = await asyncio.gather(
        gate.ingest("prices.minute", [minute("new", source_ts=NOW)]),
        gate.ingest("prices.minute", [minute("old", price="2", source_ts=NOW + timedelta(seconds=1))]),
        gate.ingest("prices.minute", [minute("same", source_ts=NOW)]),
        gate.ingest("prices.minute", [minute("new", source_ts=NOW)]),
    )
    fates = [(answer.accepted, answer.updated, answer.unchanged) for answer in answers]
    assert fates == [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 1)]


async def test_strict_and_named_batches_keep_their_meaning(packs: Database, gate: Gate) -> None:
    strict = gate.ingest("prices.minute", [minute("good"), minute("text", price="dear")], strict=True)
    wrong = gate.ingest("prices.minute", [minute("a", prize=1)])
    named = [gate.ingest("prices.minute", [minute("named")], batch="b") for _ in range(3)]
    plain = [gate.ingest("prices.minute", [minute(f"plain-{n}")]) for n in range(5)]
    answers = await asyncio.gather(strict, wrong, *named, *plain, return_exceptions=True)
    assert isinstance(answers[0], BatchRefused)
    assert isinstance(answers[1], UnfitColumn)
    assert sorted(answer.repeated for answer in answers[2:5] if isinstance(answer, Answer)) == [False, True, True]
    assert sorted(await coins(packs)) == ["named", *(f"plain-{n}" for n in range(5))]


async def test_a_witness_sees_its_own_answer_in_the_transaction_that_writes(packs: Database, gate: Gate) -> None:
    await packs.execute("CREATE TABLE prices.record (number int, accepted int, held int)")

    def witness(number: int) -> Witness:
        async def record(connection: Connection, answer: Answer) -> None:
            values = (number, answer.accepted, answer.quarantined)
            await connection.execute("INSERT INTO prices.record VALUES (%s, %s, %s)", values)

        return record

    batches = [[minute(f"coin-{n}", price="-1" if n % 4 == 3 else "1")] for n in range(12)]
    await asyncio.gather(*(gate.ingest("prices.minute", batch, witness=witness(n)) for n, batch in enumerate(batches)))
    await gate.ingest("prices.minute", [minute("named")], batch="b", witness=witness(12))
    rows = await packs.fetch_all("SELECT number, accepted, held FROM prices.record ORDER BY number")
    assert [tuple(row) for row in rows] == [(n, int(n % 4 != 3), int(n % 4 == 3)) for n in range(13)]


async def test_a_caller_that_comes_alone_does_not_wait(gate: Gate) -> None:
    await gate.ingest("prices.minute", [minute("first")])
    slow = Gate(gate._ingest, gate._database, gate._catalog, gate.spool, GateOptions(gather_delay=60.0))
    async with asyncio.timeout(10):
        for number in range(3):
            await slow.ingest("prices.minute", [minute(f"coin-{number}")])


# While PostgreSQL is away -------------------------------------------------------------------------------------------


async def test_batches_are_kept_on_disk_and_written_in_order_when_it_is_back(packs: Database, open_gate: Callable[..., Gate]) -> None:
    async with cut_off(packs) as (wire, database):
        gate = open_gate(database)
        await gate.ingest("prices.minute", [minute("before")])
        wire.cut()
        answers = [await gate.ingest("prices.minute", [minute("a", price=n, source_ts=NOW)]) for n in range(1, 6)]
        answers.append(await gate.ingest("prices.minute", [minute("strict"), minute("bad", price="-1")], strict=True))
        answers.append(await gate.ingest("prices.minute", [minute("named")], batch="b"))
        assert [answer.spooled for answer in answers] == [1] * 5 + [2, 1]
        assert {finding.code for finding in judge_spool(gate.spool, {})} == {"spool_waiting"}
        wire.mend()
        await until(lambda: _empty(gate))
        later = await gate.ingest("prices.minute", [minute("after")])
        assert (later.accepted, later.spooled) == (1, 0)
        again = await gate.ingest("prices.minute", [minute("named")], batch="b")
        assert again.repeated
    assert await coins(packs) == {"before": 1, "a": 1, "named": 1, "after": 1}
    assert await packs.fetch_value("SELECT price_usd FROM prices.minute_close WHERE coin_id = 'a'") == 5
    # Nobody is there any more to be refused, so the strict batch is held as a whole.
    assert await packs.fetch_value("SELECT count(*) FROM strata.quarantine") == 2


async def _empty(gate: Gate) -> bool:
    return not gate.spool.list_waiting()


async def test_no_later_batch_goes_past_one_that_waits(packs: Database, open_gate: Callable[..., Gate]) -> None:
    async with cut_off(packs) as (wire, database):
        gate = open_gate(database)
        await gate.ingest("prices.minute", [minute("a", price="1", source_ts=NOW)])
        wire.cut()
        assert (await gate.ingest("prices.minute", [minute("a", price="2", source_ts=NOW)])).spooled == 1
        wire.mend()
        for price in range(3, 30):
            await gate.ingest("prices.minute", [minute("a", price=price, source_ts=NOW)])
        await until(lambda: _empty(gate))
    assert await packs.fetch_value("SELECT price_usd FROM prices.minute_close WHERE coin_id = 'a'") == 29


async def test_without_room_the_writer_is_told_to_come_back(packs: Database, open_gate: Callable[..., Gate]) -> None:
    async with cut_off(packs) as (wire, database):
        gate = open_gate(database, limit=4000)
        await gate.ingest("prices.minute", [minute("before")])
        wire.cut()
        answers = await asyncio.gather(
            *(gate.ingest("prices.minute", [minute(f"coin-{number}")], batch=f"b{number}") for number in range(20)), return_exceptions=True
        )
        spooled = sum(answer.spooled for answer in answers if isinstance(answer, Answer))
        refusals = [answer for answer in answers if isinstance(answer, TryLater)]
        assert spooled + len(refusals) == 20
        assert all(refusal.retry_after > 0 for refusal in refusals)
        assert refusals
        assert "spool_nearly_full" in {finding.code for finding in judge_spool(gate.spool, {})}
        wire.mend()
        await until(lambda: _empty(gate))
    assert len(await coins(packs)) == spooled + 1


async def test_a_damaged_batch_is_set_aside_and_the_rest_goes_on(packs: Database, open_gate: Callable[..., Gate]) -> None:
    async with cut_off(packs) as (wire, database):
        gate = open_gate(database)
        await gate.ingest("prices.minute", [minute("before")])
        wire.cut()
        for coin in "abc":
            await gate.ingest("prices.minute", [minute(coin)])
        second = gate.spool.list_waiting()[1].path
        second.write_bytes(second.read_bytes()[:-50])
        wire.mend()
        await until(lambda: _empty(gate))
        (finding,) = judge_spool(gate.spool, gate.replayer.stuck)
        assert (finding.code, finding.severity) == ("spool_damaged", Severity.ERROR)
    assert sorted(await coins(packs)) == ["a", "before", "c"]


async def test_what_cannot_be_written_stays_and_is_told(packs: Database, open_gate: Callable[..., Gate]) -> None:
    async with cut_off(packs) as (wire, database):
        gate = open_gate(database)
        await gate.ingest("prices.minute", [minute("before")])
        wire.cut()
        await gate.ingest("prices.minute", [minute("a")])
        await packs.execute("CREATE FUNCTION prices.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not now''; END'")
        await packs.execute("CREATE TRIGGER no BEFORE INSERT ON prices.coin_priorities EXECUTE FUNCTION prices.no()")
        wire.mend()
        await until(lambda: _stuck(gate))
        assert {finding.code for finding in judge_spool(gate.spool, gate.replayer.stuck)} == {"spool_waiting", "spool_stuck"}
        await packs.execute("DROP TRIGGER no ON prices.coin_priorities")
        await until(lambda: _empty(gate))
    assert sorted(await coins(packs)) == ["a", "before"]


async def _stuck(gate: Gate) -> bool:
    return "prices.minute" in gate.replayer.stuck


async def test_what_waits_too_long_for_its_turn_is_kept_on_disk(packs: Database, open_gate: Callable[..., Gate]) -> None:
    gate = open_gate(packs, options=GateOptions(patience=0.3, writers=1, gather_rows=0))
    await gate.ingest("prices.minute", [minute("before")])
    async with packs.connection() as connection:
        await connection.execute("BEGIN")
        await connection.execute("LOCK TABLE prices.coin_priorities IN ACCESS EXCLUSIVE MODE")
        first = asyncio.create_task(gate.ingest("prices.minute", [minute("blocked")]))
        await until(lambda: _blocked(connection))
        second = await gate.ingest("prices.minute", [minute("waits")])
        assert second.spooled == 1
        await connection.execute("COMMIT")
    assert (await first).accepted == 1
    await until(lambda: _empty(gate))
    assert sorted(await coins(packs)) == ["before", "blocked", "waits"]


async def _blocked(connection: Connection) -> bool:
    return bool(await connection.fetch_value("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"))


# Cut at every statement ---------------------------------------------------------------------------------------------


async def _ingest_through(
    packs: Database, open_gate: Callable[..., Gate], at: int, *, answered: bool, batch: str, rows: int
) -> tuple[int, Any]:
    """Take rows in over a connection that breaks at a statement, and return how many statements came by, and the answer."""

    async def strike() -> None:
        """Nothing but the connection breaks."""

    async with LethalProxy(packs.conninfo, 10**9, strike, answered=answered) as proxy:
        async with Database(proxy.conninfo, options=POOL) as database:
            gate = open_gate(database)
            await gate.ingest("insights.metrics", [])
            before = proxy.seen
            proxy._at = before + at
            answer: Any = None
            given = [{"coin_id": f"{at}-{answered}-{n}", "minute_ts": NOW, "price_usd": "1"} for n in range(rows)]
            with contextlib.suppress(TryLater):
                answer = await gate.ingest("prices.minute", given, batch=batch)
            seen = proxy.seen - before
            await until(lambda: _empty(gate))
            await gate.close()
        return seen, answer


@pytest.mark.parametrize("batch", ["", "named"])
@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
async def test_a_connection_lost_at_any_statement_doubles_and_loses_nothing(
    packs: Database, open_gate: Callable[..., Gate], answered: bool, batch: str
) -> None:
    await packs.execute("CREATE TABLE prices.seen (coin_id text)")
    await packs.execute(
        "CREATE FUNCTION prices.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO prices.seen VALUES (NEW.coin_id); RETURN NEW; END'"
    )
    for part in await packs.fetch_all(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'prices.minute_close'::regclass"
    ):
        await packs.execute(f"CREATE TRIGGER note AFTER INSERT ON {part.name} FOR EACH ROW EXECUTE FUNCTION prices.note()")
    seen, _ = await _ingest_through(packs, open_gate, 10**8, answered=answered, batch=f"{batch}-none" if batch else "", rows=2)
    for at in range(1, seen + 1):
        _, answer = await _ingest_through(packs, open_gate, at, answered=answered, batch=f"{batch}-{at}" if batch else "", rows=2)
        assert answer.rows == 2
    counts = await packs.fetch_all("SELECT coin_id, count(*) AS n FROM prices.seen GROUP BY coin_id")
    assert {row.n for row in counts} == {1}
    assert len(counts) == 2 * (seen + 1)
