"""Operations that clear packets: what they hold and refuse, how deleting marks, what is added up of them; and a chain's health."""

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from statistics import mean
from typing import Any
from uuid import UUID

import pytest
from psycopg import sql

from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.errors import BadValue, CheckViolation, ConstraintViolation, LockNotAvailable, UniqueViolation
from chainstrata.packs.relay.model import ENDED_OPERATIONS, OperationStatus
from tests.fixtures.relay_pack import OSMOSIS, START, WALLET, add, hex_hash, operation

PAID = hex_hash(1)


@pytest.fixture
async def chains(rows: Connection) -> Connection:
    await add(rows, "chains", {"chain_id": OSMOSIS, "name": "Osmosis", "account_prefix": "osmo"})
    return rows


# Clearing operations -------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S2-01")
async def test_an_operation_is_asked_for_paid_and_done(chains: Connection) -> None:
    mine = UUID(int=7)
    await add(chains, "clearing_operations", operation(operation_id=mine))
    for change in (
        {"status": "queued", "payment_tx_hash": PAID, "fee_denom": "uosmo", "service_fee": 2**256 - 1},
        {"status": "running", "started_at": START},
        {"status": "partial", "packets_cleared": 2, "packets_failed": 1, "completed_at": START + timedelta(seconds=90), "gas_fee": 4200},
    ):
        assignments = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in change)
        await chains.execute(sql.SQL("UPDATE relay.clearing_operations SET {}").format(assignments), change)
    row = await chains.fetch_one("SELECT *, status::text AS word FROM relay.live_clearing_operations")
    assert (row.operation_id, row.wallet_address, row.chain_id, row.channel, row.port) == (mine, WALLET, OSMOSIS, "channel-0", "transfer")
    assert (row.word, row.duration, row.service_fee, row.gas_fee) == ("partial", timedelta(seconds=90), 2**256 - 1, 4200)
    with pytest.raises(UniqueViolation) as caught:
        await add(chains, "clearing_operations", operation(operation_id=mine))
    assert caught.value.constraint == "clearing_operations_pkey"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no account": (operation(wallet_address="cosmos"), "clearing_operations_wallet_address_form"),
    "more cleared than targeted": (operation(packets_cleared=2, packets_failed=2), "clearing_operations_packet_counts"),
    "less than nothing cleared": (operation(packets_cleared=-1), "clearing_operations_packet_counts"),
    "a fee in nothing": (operation(service_fee=1), "clearing_operations_fee_in_something"),
    "a fee below zero": (operation(service_fee=-1, fee_denom="uosmo"), "uint256_range"),
    "a fee beyond 256 bits": (operation(gas_fee=2**256, fee_denom="uosmo"), "uint256_range"),
    "done without an end": (operation(status="succeeded"), "clearing_operations_ended_when"),
    "an end without being done": (operation(completed_at=START), "clearing_operations_ended_when"),
    "an end before the start": (
        operation(status="failed", started_at=START, completed_at=START - timedelta(seconds=1)),
        "clearing_operations_ended_order",
    ),
    "a payment that is no hash": (operation(payment_tx_hash="paid"), "clearing_operations_payment_tx_hash_form"),
    "a list of notes": (operation(metadata="[]"), "clearing_operations_metadata_object"),
}


@pytest.mark.conforms("S2-01")
@pytest.mark.parametrize(("values", "constraint"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_makes_no_sense_is_refused(chains: Connection, values: dict[str, Any], constraint: str) -> None:
    with pytest.raises(CheckViolation) as caught:
        await add(chains, "clearing_operations", values)
    assert caught.value.constraint == constraint


@pytest.mark.conforms("S2-01")
async def test_states_are_those_of_the_code_and_chains_must_be_known(chains: Connection) -> None:
    assert await chains.fetch_value("SELECT enum_range(NULL::relay.operation_status)::text[]") == [
        status.value for status in OperationStatus
    ]
    for status in OperationStatus:
        ended = {"started_at": START, "completed_at": START} if status in ENDED_OPERATIONS else {}
        assert status.ended == bool(ended)
        await add(chains, "clearing_operations", operation(status=status.value, **ended))
    with pytest.raises(BadValue):
        async with chains.savepoint():
            await add(chains, "clearing_operations", operation(status="lost"))
    for statement in ("DELETE FROM relay.chains", "UPDATE relay.clearing_operations SET chain_id = 'nowhere-1'"):
        with pytest.raises(ConstraintViolation) as caught:
            async with chains.savepoint():
                await chains.execute(statement)  # type: ignore[arg-type]
        assert caught.value.constraint == "fk_clearing_operations_chain"


@pytest.mark.conforms("S2-03")
async def test_a_deleted_operation_is_marked_and_left_out(chains: Connection) -> None:
    await add(chains, "clearing_operations", operation(status="queued", payment_tx_hash=PAID))
    await add(chains, "clearing_operations", operation())
    assert await chains.execute("DELETE FROM relay.live_clearing_operations WHERE payment_tx_hash IS NOT NULL") == 1
    assert await chains.execute("DELETE FROM relay.live_clearing_operations WHERE payment_tx_hash IS NOT NULL") == 0
    assert await chains.fetch_value("SELECT count(*) FROM relay.live_clearing_operations") == 1
    kept = await chains.fetch_all("SELECT deleted_at, status::text AS word FROM relay.clearing_operations ORDER BY deleted_at NULLS LAST")
    assert [(row.word, row.deleted_at is None) for row in kept] == [("queued", False), ("awaiting_payment", True)]
    with pytest.raises(UniqueViolation) as caught:
        async with chains.savepoint():
            await add(chains, "clearing_operations", operation(status="queued", payment_tx_hash=PAID))
    assert caught.value.constraint == "idx_clearing_operations_payment", "a payment pays once, even for what was deleted"
    await chains.execute("REFRESH MATERIALIZED VIEW relay.mv_user_statistics")
    assert await chains.fetch_value("SELECT operations FROM relay.mv_user_statistics") == 1


@pytest.mark.conforms("S2-03")
async def test_live_operations_are_written_through_their_view(chains: Connection) -> None:
    await chains.execute("INSERT INTO relay.live_clearing_operations (wallet_address, chain_id) VALUES (%(w)s, 'osmosis-1')", {"w": WALLET})
    await chains.execute("UPDATE relay.live_clearing_operations SET packets_targeted = 4")
    assert await chains.fetch_value("SELECT packets_targeted FROM relay.clearing_operations") == 4


@pytest.mark.conforms("S2-04")
async def test_an_operation_knows_when_it_was_made_and_changed(chains: Connection) -> None:
    await add(chains, "clearing_operations", operation())
    made = await chains.fetch_one("SELECT created_at, updated_at FROM relay.clearing_operations")
    assert made.created_at == made.updated_at
    assert abs(made.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    await chains.execute("UPDATE relay.clearing_operations SET packets_targeted = 9, created_at = '2001-01-01', updated_at = '2001-01-01'")
    changed = await chains.fetch_one("SELECT created_at, updated_at FROM relay.clearing_operations")
    assert changed.created_at == made.created_at, "whoever tries"
    assert changed.updated_at > made.updated_at


# Statistics of wallets -----------------------------------------------------------------------------------------------
@pytest.mark.conforms("S2-50")
async def test_wallets_are_added_up(samples: Connection) -> None:
    await samples.execute("REFRESH MATERIALIZED VIEW relay.mv_user_statistics")
    operations = await samples.fetch_all("SELECT *, status::text AS word FROM relay.clearing_operations WHERE deleted_at IS NULL")
    found = await samples.fetch_all("SELECT * FROM relay.mv_user_statistics")
    assert {row.wallet_address for row in found} == {one.wallet_address for one in operations}
    for row in found:
        own = [one for one in operations if one.wallet_address == row.wallet_address]
        cleared, failed = sum(one.packets_cleared for one in own), sum(one.packets_failed for one in own)
        fees: dict[str, int] = {}
        for one in own:
            fees[one.fee_denom] = fees.get(one.fee_denom, 0) + int(one.service_fee + one.gas_fee)
        took = [one.duration for one in own if one.duration is not None]
        assert (row.operations, row.packets_cleared) == (len(own), cleared)
        assert row.succeeded == sum(one.word in {"succeeded", "partial"} for one in own)
        assert (row.failed, row.open) == (sum(one.word == "failed" for one in own), sum(one.completed_at is None for one in own))
        assert row.success_rate == (pytest.approx(Decimal(cleared) / (cleared + failed)) if cleared + failed else None)
        assert (row.mean_seconds and float(row.mean_seconds)) == (
            pytest.approx(mean(one.total_seconds() for one in took)) if took else None
        )
        assert {denom: int(units) for denom, units in row.fees.items()} == fees
        assert (row.first_at, row.last_at) == (min(one.created_at for one in own), max(one.created_at for one in own))


@pytest.mark.conforms("S2-50")
async def test_the_view_of_wallets_is_refreshed_while_it_is_read(packs: Database) -> None:
    impatient = PoolOptions(min_size=1, max_size=1)
    async with packs.transaction() as reader, Database(packs.conninfo, options=impatient) as other, other.connection() as writer:
        await reader.fetch_all("SELECT * FROM relay.mv_user_statistics")
        await writer.execute("SET lock_timeout = '200ms'")
        await writer.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY relay.mv_user_statistics")
        with pytest.raises(LockNotAvailable):
            await writer.execute("REFRESH MATERIALIZED VIEW relay.mv_user_statistics")


# Health --------------------------------------------------------------------------------------------------------------
def packet(number: int, hours_ago: float, status: str, seconds: float | None = None) -> dict[str, Any]:
    sent = START - timedelta(hours=hours_ago)
    ended = sent + timedelta(seconds=seconds) if seconds is not None else None
    facts: dict[str, Any] = {"acknowledged": {"acknowledged_at": ended}, "failed": {"acknowledged_at": ended, "success": False},
        "timed_out": {"timed_out_at": ended}}.get(status, {})  # fmt: skip
    return {
        "src_chain_id": OSMOSIS, "src_port": "transfer", "src_channel": "channel-0", "sequence": number, "created_at": sent, "status": status,
    } | facts  # fmt: skip


def health(packets: list[tuple[float, str, float | None]]) -> Decimal | None:
    """Return the score by its definition: of packets as (hours ago, status, seconds until closed)."""
    recent = [one for one in packets if one[0] < 24]
    considered = recent + [one for one in packets if one[0] >= 24 and one[1] in {"pending", "stuck"}]
    if not considered:
        return None
    closed = [Decimal(one[2]) for one in recent if one[2] is not None]
    flow = 1 - Decimal(sum(one[1] == "stuck" for one in considered)) / len(considered)
    if not closed:
        return (100 * flow).quantize(Decimal("0.01"), ROUND_HALF_UP)
    success = Decimal(sum(one[1] == "acknowledged" for one in recent)) / len(closed)
    speed = 60 / max(sum(closed) / len(closed), Decimal(60))
    score = Decimal("0.5") * success + Decimal("0.3") * flow + Decimal("0.2") * speed
    return (100 * score).quantize(Decimal("0.01"), ROUND_HALF_UP)


CHAINS: dict[str, list[tuple[float, str, float | None]]] = {
    "nothing": [],
    "long ago": [(30, "acknowledged", 20)],
    "perfect": [(hour, "acknowledged", 30) for hour in range(1, 9)],
    "slow": [(hour, "acknowledged", 240) for hour in range(1, 9)],
    "refused and expired": [(1, "acknowledged", 30), (2, "failed", 30), (3, "timed_out", 700)],
    "waiting": [(0.001, "pending", None), (2, "stuck", None), (90, "stuck", None), (48, "pending", None)],
    "mixed": [
        (1, "acknowledged", 10),
        (1, "acknowledged", 95),
        (5, "failed", 45),
        (8, "stuck", None),
        (31, "stuck", None),
        (26, "acknowledged", 9),
    ],
}


@pytest.mark.conforms("S2-59")
@pytest.mark.parametrize("packets", CHAINS.values(), ids=CHAINS.keys())
async def test_health_follows_its_formula(rows: Connection, packets: list[tuple[float, str, float | None]]) -> None:
    for number, (hours_ago, status, seconds) in enumerate(packets):
        await add(rows, "packet_flow", packet(number, hours_ago, status, seconds))
    score = await rows.fetch_value("SELECT relay.calculate_network_health_score('osmosis-1', %(at)s)", {"at": START})
    assert score == health(packets)


@pytest.mark.conforms("S2-57", "S2-58", "S2-59")
async def test_the_functions_are_called_by_their_names_alone(rows: Connection) -> None:
    await rows.execute("SET LOCAL search_path = public, strata, relay")
    await rows.fetch_all("SELECT * FROM check_index_effectiveness()")
    await rows.fetch_all("SELECT * FROM analyze_query_performance('%clearing%')")
    assert await rows.fetch_value("SELECT calculate_network_health_score('osmosis-1')") is None
