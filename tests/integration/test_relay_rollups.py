"""Figures of chains, channels and relayers: counts are what the events give, and every rate and score follows its written formula."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from statistics import mean
from typing import Any

import psycopg
import pytest
from psycopg import sql

from chainstrata import partitions
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.errors import StatementFailed
from chainstrata.model import Catalog, days, hours
from chainstrata.packs.relay.model import PacketEvent
from chainstrata.packs.relay.repository import Relay
from chainstrata.rollups import Rollups
from tests.fixtures.packs import OPTIONS
from tests.fixtures.postgres import Server
from tests.fixtures.relay_pack import HUB, OSMOSIS, START, add, event, hex_hash
from tests.fixtures.samples import load

ANCHOR = datetime(2026, 11, 20, 17, 31, 7, tzinfo=UTC)
Figures = dict[tuple[Any, ...], dict[str, Any]]


@pytest.fixture(scope="module")
def folded(server: Server, pack_template: str, catalog: Catalog) -> Iterator[str]:
    """Give a database with the small sample of the pack, folded."""
    name = f"chainstrata_relay_{os.getpid()}"
    tables = dict(catalog.pack("relay").module("sample").make("small", 5, ANCHOR))

    async def fill() -> None:
        await load(server.connect_to(name), catalog, tables)
        async with Database(server.connect_to(name), options=OPTIONS) as database:
            await _rollups(database, catalog).refresh(["relay.packet_flow", "relay.packet_events"])

    with psycopg.connect(server.connect_to("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(pack_template)))
        asyncio.run(fill())
        yield server.connect_to(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _rollups(database: Database, catalog: Catalog) -> Rollups:
    async def ensure(name: str, lo: datetime, hi: datetime) -> None:
        await partitions.ensure_named(database, catalog, name, lo, hi)

    return Rollups(database, catalog, ensure)


async def test_as_of_a_time_only_hours_and_days_are_told_that_had_ended(folded: str, catalog: Catalog) -> None:
    async with Database(folded, options=OPTIONS) as database:
        relay = Relay(catalog.pack("relay"), database)
        hour = await database.fetch_value("SELECT max(hour) FROM relay.channel_performance")
        day = await database.fetch_value("SELECT max(date) FROM relay.relayer_performance")
        for ask, start, length in ((relay.congested_channels, hour, hours(1)), (relay.top_relayers, day, days(1))):
            ended = length.shift(start)
            whole = await ask(start + timedelta(minutes=7))
            assert whole
            assert await ask(start + timedelta(minutes=7), as_of=ended) == whole
            assert await ask(start, as_of=ended - timedelta(microseconds=1)) == []


@pytest.fixture
async def figures(folded: str) -> AsyncIterator[Connection]:
    async with Database(folded, options=OPTIONS) as database, database.connection() as connection:
        yield connection


async def _events(connection: Connection) -> list[Any]:
    return await connection.fetch_all("SELECT *, event_type::text AS kind FROM relay.packet_events")


def _rate(part: int, whole: int) -> Decimal | None:
    return Decimal(part) / Decimal(whole) if whole else None


def _score(value: Decimal) -> Decimal:
    return (100 * value).quantize(Decimal("0.01"), ROUND_HALF_UP)


def _outcome(events: list[Any]) -> dict[str, Any]:
    """Return what happened to packets, counted by hand."""
    of = {kind: [one for one in events if one.kind == kind.value] for kind in PacketEvent}
    acknowledged = [one for one in of[PacketEvent.ACKNOWLEDGE] if not one.redundant]
    expired = [one for one in of[PacketEvent.TIMEOUT] if not one.redundant]
    refused = sum(one.success is False for one in acknowledged)
    closed = len(acknowledged) + len(expired)
    times = [one.elapsed_seconds for one in (*acknowledged, *expired) if one.elapsed_seconds is not None]
    return {
        "sent": len(of[PacketEvent.SEND]),
        "received_packets": sum(not one.redundant for one in of[PacketEvent.RECEIVE]),
        "acknowledged_packets": len(acknowledged) - refused,
        "failed_packets": refused,
        "timed_out_packets": len(expired),
        "redundant_relays": sum(one.redundant for one in events),
        "clear_time_count": len(times),
        "clear_time_sum": sum(times) if times else None,
        "success_rate": _rate(len(acknowledged) - refused, closed),
    }


def _congestion(outcome: dict[str, Any]) -> Decimal:
    sent, count = outcome["sent"], outcome["clear_time_count"]
    ended = outcome["acknowledged_packets"] + outcome["failed_packets"] + outcome["timed_out_packets"]
    backlog = Decimal(max(sent - ended, 0)) / sent if sent else Decimal(0)
    slowness = 1 - 60 / max(outcome["clear_time_sum"] / count, Decimal(60)) if count else Decimal(ended == 0 and sent > 0)
    timeouts = Decimal(outcome["timed_out_packets"]) / ended if ended else Decimal(0)
    return _score(Decimal("0.5") * backlog + Decimal("0.3") * slowness + Decimal("0.2") * timeouts)


def _reputation(events: list[Any]) -> Decimal:
    effective = sum(not one.redundant for one in events)
    times = [one.elapsed_seconds for one in events if one.kind == PacketEvent.RECEIVE and not one.redundant]
    speed = 60 / max(mean(times), Decimal(60)) if times else Decimal("0.5")
    return _score(Decimal("0.7") * (effective + 5) / (len(events) + 10) + Decimal("0.3") * speed)


def _same(found: Any, expected: Any) -> bool:
    return found == expected or (isinstance(found, Decimal) and isinstance(expected, Decimal) and abs(found - expected) < Decimal("1e-15"))


def _check(rows: list[Any], expected: Figures, keys: tuple[str, ...]) -> None:
    assert {tuple(getattr(row, key) for key in keys) for row in rows} == set(expected)
    for row in rows:
        for name, value in expected[tuple(getattr(row, key) for key in keys)].items():
            assert _same(getattr(row, name), value), (row, name, value)


@pytest.mark.conforms("S2-05", "S2-06", "S2-07", "S2-08", "S2-09")
@pytest.mark.oldest
async def test_a_day_of_a_chain(figures: Connection, catalog: Catalog) -> None:
    by_day: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for one in await _events(figures):
        by_day[one.chain_id, one.block_time.replace(hour=0, minute=0, second=0, microsecond=0)].append(one)
    expected = {}
    for key, events in by_day.items():
        outcome = _outcome(events)
        expected[key] = outcome | {"total_packets": outcome.pop("sent"), "gas_used_total": sum(one.gas_used or 0 for one in events)}
    rows = await figures.fetch_all("SELECT * FROM relay.network_stats")
    _check(rows, expected, ("chain_id", "date"))
    assert catalog.rollup("relay.packet_events.network_stats")[1].every == days(1)
    assert sum(row.total_packets for row in rows) > 2000
    assert any(0 < row.success_rate < 1 for row in rows if row.success_rate is not None)


@pytest.mark.conforms("S2-10", "S2-11", "S2-12", "S2-13")
async def test_an_hour_of_a_channel(figures: Connection, catalog: Catalog) -> None:
    by_hour: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for one in await _events(figures):
        by_hour[one.src_chain_id, one.src_channel, one.block_time.replace(minute=0, second=0, microsecond=0)].append(one)
    expected = {}
    for key, events in by_hour.items():
        outcome = _outcome(events)
        congestion = _congestion(outcome)
        expected[key] = outcome | {"sent_packets": outcome.pop("sent"), "congestion_score": congestion}
    rows = await figures.fetch_all("SELECT * FROM relay.channel_performance")
    _check(rows, expected, ("src_chain_id", "src_channel", "hour"))
    assert catalog.rollup("relay.packet_events.channel_performance")[1].every == hours(1)
    scores = sorted(row.congestion_score for row in rows)
    assert scores[0] == 0
    assert scores[-1] >= 80, "one lane of the sample has an outage"
    assert all(row.clear_time_p50 <= row.clear_time_p95 for row in rows if row.clear_time_count)


@pytest.mark.conforms("S2-14", "S2-15", "S2-16", "S2-17")
async def test_a_day_of_a_relayer(figures: Connection, catalog: Catalog) -> None:
    brought: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for one in await _events(figures):
        if one.relayer and one.kind in {PacketEvent.RECEIVE.value, PacketEvent.ACKNOWLEDGE.value, PacketEvent.TIMEOUT.value}:
            brought[one.chain_id, one.relayer, one.block_time.replace(hour=0, minute=0, second=0, microsecond=0)].append(one)
    expected = {
        key: {
            "relayed_packets": len(events),
            "effective_packets": sum(not one.redundant for one in events),
            "frontrun_count": sum(one.redundant for one in events),
            "gas_wasted": sum(one.gas_used for one in events if one.redundant) or None,
            "effective_rate": _rate(sum(not one.redundant for one in events), len(events)),
            "reputation_score": _reputation(events),
        }
        for key, events in brought.items()
    }
    rows = await figures.fetch_all("SELECT * FROM relay.relayer_performance")
    _check(rows, expected, ("chain_id", "relayer", "date"))
    assert catalog.rollup("relay.packet_events.relayer_performance")[1].every == days(1)
    busy = [row for row in rows if row.relayed_packets > 100]
    best, worst = max(busy, key=lambda row: row.reputation_score), min(busy, key=lambda row: row.reputation_score)
    assert best.frontrun_count / best.relayed_packets < 0.15 < 0.4 < worst.frontrun_count / worst.relayed_packets
    assert all(0 <= row.reputation_score <= 100 for row in rows)


@pytest.mark.conforms("S2-22", "S2-51")
async def test_an_hour_of_packets_is_the_plain_query(figures: Connection) -> None:
    """The roll-up against the query it stands for, over the packets themselves."""
    plain = await figures.fetch_all(
        "SELECT date_trunc('hour', created_at, 'UTC') AS hour, src_chain_id, count(*) AS packet_count, avg(clear_time) AS avg_clear_time "
        "FROM relay.packet_flow GROUP BY 1, 2"
    )
    expected = {
        (row.hour, row.src_chain_id): {
            "packet_count": row.packet_count,
            "avg_clear_time": row.avg_clear_time and round(row.avg_clear_time, 12),
        }
        for row in plain
    }
    rows = await figures.fetch_all(
        "SELECT hour, src_chain_id, packet_count, round(avg_clear_time, 12) AS avg_clear_time FROM relay.hourly_packet_stats"
    )
    _check(rows, expected, ("hour", "src_chain_id"))
    assert any(row.avg_clear_time is None for row in rows) or len(rows) > 300


@pytest.mark.conforms("S2-51", "S2-52")
async def test_an_hour_of_packets_is_read_up_to_the_present_instant(packs: Database, catalog: Catalog) -> None:
    rollups = _rollups(packs, catalog)

    async def counted(*, live: bool) -> list[int]:
        rows = await rollups.read("relay.packet_flow.hourly_stats", START - hours(1).longest, START + hours(2).longest, live=live)
        return [row.packet_count for row in rows]

    await packs.execute("TRUNCATE relay.packet_flow")
    for sequence in (1, 2):
        async with packs.transaction() as connection:
            await add(connection, "packet_events", event(sequence=sequence, tx_hash=hex_hash(sequence)))
        assert (await counted(live=True), await counted(live=False)) == ([sequence], [])
    await rollups.refresh(["relay.packet_flow"])
    assert (await counted(live=True), await counted(live=False)) == ([2], [2])


# Rates and scores by themselves --------------------------------------------------------------------------------------
async def _channel(connection: Connection, **counts: Any) -> Any:
    names = sql.SQL(", ").join(map(sql.Identifier, counts))
    values = sql.SQL(", ").join(map(sql.Placeholder, counts))
    return await connection.fetch_one(
        sql.SQL(
            "INSERT INTO relay.channel_performance (src_chain_id, src_port, src_channel, hour, samples, {}) "
            "VALUES ('a-1', 'transfer', 'channel-' || %(sent_packets)s, date_trunc('hour', now(), 'UTC'), 1, {}) "
            "RETURNING congestion_score, success_rate"
        ).format(names, values),
        counts,
    )


CONGESTED: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "nothing": ({"sent_packets": 0}, None, "0"),
    "all within a minute": ({"sent_packets": 10, "acknowledged_packets": 10, "clear_time_sum": 300, "clear_time_count": 10}, "1", "0"),
    "all in two minutes": ({"sent_packets": 10, "acknowledged_packets": 10, "clear_time_sum": 1200, "clear_time_count": 10}, "1", "15"),
    "all in ten minutes": ({"sent_packets": 10, "acknowledged_packets": 10, "clear_time_sum": 6000, "clear_time_count": 10}, "1", "27"),
    "half of it left": ({"sent_packets": 10, "acknowledged_packets": 5, "clear_time_sum": 100, "clear_time_count": 5}, "1", "25"),
    "nothing gets through": ({"sent_packets": 10}, None, "80"),
    "everything expires": ({"sent_packets": 4, "timed_out_packets": 4, "clear_time_sum": 2400, "clear_time_count": 4}, "0", "47"),
    "older ones come in": ({"sent_packets": 1, "acknowledged_packets": 5, "clear_time_sum": 50, "clear_time_count": 5}, "1", "0"),
    "one is refused": ({"sent_packets": 2, "acknowledged_packets": 1, "failed_packets": 1, "clear_time_sum": 40, "clear_time_count": 2}, "0.5", "0"),
}  # fmt: skip


@pytest.mark.conforms("S2-08", "S2-12", "S2-13")
@pytest.mark.parametrize(("counts", "rate", "score"), CONGESTED.values(), ids=CONGESTED.keys())
async def test_congestion_follows_its_formula(rows: Connection, counts: dict[str, Any], rate: str | None, score: str) -> None:
    found = await _channel(rows, **counts)
    assert found.congestion_score == Decimal(score)
    assert found.success_rate == (None if rate is None else Decimal(rate))


@pytest.mark.conforms("S2-08", "S2-13", "S2-16")
@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("network_stats", "success_rate"),
        ("channel_performance", "success_rate"),
        ("channel_performance", "congestion_score"),
        ("relayer_performance", "reputation_score"),
    ],
)
async def test_a_rate_cannot_be_written_only_its_counts(rows: Connection, table: str, column: str) -> None:
    change = sql.SQL("UPDATE relay.{} SET {} = 1").format(sql.Identifier(table), sql.Identifier(column))
    with pytest.raises(StatementFailed, match="can only be updated to DEFAULT"):
        await rows.execute(change)


@pytest.mark.conforms("S2-16")
@pytest.mark.parametrize(
    ("relayed", "effective", "seconds", "score"),
    [(1, 1, 30, "68.18"), (1000, 1000, 30, "99.65"), (1000, 0, None, "15.35"), (100, 50, 120, "50.00"), (40, 40, 600, "66.00")],
)
async def test_reputation_follows_its_formula(rows: Connection, relayed: int, effective: int, seconds: int | None, score: str) -> None:
    found = await rows.fetch_value(
        "INSERT INTO relay.relayer_performance (chain_id, relayer, date, samples, relayed_packets, effective_packets, relay_time_sum, "
        "relay_time_count) VALUES ('a-1', 'osmo1a', now(), 1, %(relayed)s, %(effective)s, %(sum)s, %(count)s) RETURNING reputation_score",
        {"relayed": relayed, "effective": effective, "sum": seconds and seconds * effective, "count": effective if seconds else 0},
    )
    assert found == Decimal(score)


@pytest.mark.conforms("S2-07")
async def test_a_chain_has_one_row_per_day(rows: Connection) -> None:
    key = await rows.fetch_one(
        "SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint "
        "WHERE conrelid = 'relay.network_stats'::regclass AND contype = 'p'"
    )
    assert tuple(key) == ("network_stats_pkey", "PRIMARY KEY (chain_id, date)")
    upsert = (
        "INSERT INTO relay.network_stats (chain_id, date, samples, total_packets) VALUES ('osmosis-1', %(day)s, 0, %(total)s) "
        "ON CONFLICT (chain_id, date) DO UPDATE SET total_packets = excluded.total_packets"
    )
    for total in (1000, 500):
        await rows.execute(upsert, {"day": START, "total": total})
    assert await rows.fetch_value("SELECT total_packets FROM relay.network_stats") == 500


@pytest.mark.conforms("S2-09", "S2-17")
async def test_late_corrected_and_deleted_events_reach_the_figures(packs: Database, catalog: Catalog) -> None:
    rollups = _rollups(packs, catalog)
    columns = "total_packets, received_packets, redundant_relays, acknowledged_packets, failed_packets, success_rate"

    async def write(*rows: dict[str, Any]) -> None:
        async with packs.transaction() as connection:
            for row in rows:
                names = sql.SQL(", ").join(map(sql.Identifier, row))
                values = sql.SQL(", ").join(map(sql.Placeholder, row))
                await connection.execute(sql.SQL("INSERT INTO relay.packet_events ({}) VALUES ({})").format(names, values), row)

    async def day(chain: str) -> tuple[Any, ...]:
        await rollups.refresh(["relay.packet_events"])
        row = await packs.fetch_one(sql.SQL(f"SELECT {columns} FROM relay.network_stats WHERE chain_id = %(chain)s"), {"chain": chain})
        return tuple(row) if row else ()

    receive, acknowledge = PacketEvent.RECEIVE, PacketEvent.ACKNOWLEDGE
    await write(event(), event(receive, 9), event(receive, 12, redundant=True, tx_hash=hex_hash(90)))
    assert await day(HUB) == (0, 1, 1, 0, 0, None)
    await write(event(acknowledge, 20, success=True), event(sequence=6, tx_hash=hex_hash(50), seconds=3))
    assert await day(OSMOSIS) == (2, 0, 0, 1, 0, 1)
    await packs.execute("UPDATE relay.packet_events SET success = false WHERE event_type = 'acknowledge_packet'")
    assert await day(OSMOSIS) == (2, 0, 0, 0, 1, 0)
    await packs.execute("DELETE FROM relay.packet_events WHERE chain_id = 'osmosis-1' AND event_type <> 'send_packet'")
    assert await day(OSMOSIS) == (2, 0, 0, 0, 0, None)
    await packs.execute("DELETE FROM relay.packet_events WHERE chain_id = 'osmosis-1'")
    assert await day(OSMOSIS) == ()
    assert await day(HUB) == (0, 1, 1, 0, 0, None)
    yesterday = START - timedelta(hours=1)
    assert await packs.fetch_value("SELECT count(*) FROM relay.network_stats WHERE date < %(day)s", {"day": yesterday}) == 0
