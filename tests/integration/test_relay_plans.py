"""How questions to the relay pack are answered: each by the index made for it, without a second one on the same columns."""

from collections.abc import AsyncIterator, Iterator
from typing import LiteralString

import pytest

from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.connection import Connection
from tests.fixtures.packs import OPTIONS
from tests.fixtures.plans import explain, filled_copy
from tests.fixtures.postgres import Server

# Packets through 50 channels of 25 chains over 40 days, one in a hundred of them still on its way.
FILL: tuple[LiteralString, ...] = (
    "INSERT INTO relay.chains (chain_id) SELECT 'chain-' || n FROM generate_series(0, 24) AS n",
    """
    INSERT INTO relay.channels (chain_id, port, channel, counterparty_chain_id, counterparty_port, counterparty_channel)
    SELECT 'chain-' || n % 25, 'transfer', 'channel-' || n, 'chain-' || (n + 1) % 25, 'transfer', 'channel-' || n + 1000
    FROM generate_series(0, 4000) AS n
    """,
    """
    INSERT INTO relay.clearing_operations (wallet_address, chain_id, status, started_at, completed_at, payment_tx_hash, created_at, deleted_at)
    SELECT 'cosmos1' || lpad(n % 500 || '', 38, 'q'), 'chain-1', CASE WHEN n % 50 = 0 THEN 'queued' ELSE 'succeeded' END::relay.operation_status,
        now(), CASE WHEN n % 50 <> 0 THEN now() END, upper(encode(sha256(n::text::bytea), 'hex')), now() - n * interval '1 minute',
        CASE WHEN n % 7 = 0 THEN now() END
    FROM generate_series(1, 20000) AS n
    """,
    """
    INSERT INTO relay.packet_flow (src_chain_id, src_port, src_channel, sequence, dst_chain_id, dst_port, dst_channel, created_at, status,
        acknowledged_at, timeout_timestamp, sender, receiver)
    SELECT 'chain-' || n % 25, 'transfer', 'channel-' || n % 50, n, 'chain-' || (n + 1) % 25, 'transfer', 'channel-' || n % 50 + 1000,
        now() - n * interval '1 minute', CASE WHEN n % 100 = 0 THEN 'stuck' ELSE 'acknowledged' END::relay.packet_status,
        CASE WHEN n % 100 <> 0 THEN now() END, 1900000000000000000 + n, 'sender' || n % 3000, 'receiver' || n % 3000
    FROM generate_series(1, 60000) AS n
    """,
    """
    INSERT INTO relay.packet_events (chain_id, tx_hash, event_index, block_time, block_height, event_type, src_chain_id, src_port,
        src_channel, sequence, dst_chain_id, relayer, final)
    SELECT 'chain-' || n % 25, upper(encode(sha256(n::text::bytea), 'hex')), 0,
        date_trunc('day', now(), 'UTC') + n % 86400 * interval '1 second', n, 'acknowledge_packet', 'chain-' || n % 25, 'transfer',
        'channel-' || n % 50, n, 'chain-' || (n + 1) % 25, 'osmo1' || lpad(translate(n % 400 || '', '1', 'q'), 38, 'q'), n % 500 <> 0
    FROM generate_series(1, 30000) AS n
    """,
    """
    INSERT INTO relay.relayer_performance (chain_id, relayer, date, samples, relayed_packets, effective_packets)
    SELECT 'chain-' || n % 25, 'osmo1' || n, date_trunc('day', now(), 'UTC') - day * interval '1 day', 1, 100, n % 100
    FROM generate_series(1, 300) AS n, generate_series(0, 90) AS day
    """,
    """
    INSERT INTO relay.network_stats (chain_id, date, samples, total_packets)
    SELECT 'chain-' || n, date_trunc('day', now(), 'UTC') - day * interval '1 day', 1, 5
    FROM generate_series(1, 60) AS n, generate_series(0, 400) AS day
    """,
    """
    INSERT INTO relay.channel_performance (src_chain_id, src_port, src_channel, hour, samples, sent_packets)
    SELECT 'chain-' || n % 25, 'transfer', 'channel-' || n, date_trunc('month', now(), 'UTC') + at * interval '1 hour', 1, 5
    FROM generate_series(1, 60) AS n, generate_series(0, 600) AS at
    """,
    """
    INSERT INTO relay.hourly_packet_stats (src_chain_id, hour, samples, packet_count)
    SELECT 'chain-' || n, date_trunc('month', now(), 'UTC') + at * interval '1 hour', 1, 5
    FROM generate_series(1, 25) AS n, generate_series(0, 900) AS at
    """,
)


@pytest.fixture(scope="module")
def conninfo(server: Server, pack_template: str) -> Iterator[str]:
    """Give a database with so many rows that reading everything costs more than looking something up."""
    with filled_copy(server, pack_template, FILL) as conninfo:
        yield conninfo


@pytest.fixture
async def filled(conninfo: str) -> AsyncIterator[Connection]:
    async with Database(conninfo, options=OPTIONS) as database, database.connection() as connection:
        yield connection


WALLET: LiteralString = f"'cosmos1{'q' * 36}77'"
OPERATIONS: LiteralString = "FROM relay.live_clearing_operations WHERE"
PACKETS: LiteralString = "FROM relay.packet_flow WHERE"
OPEN: LiteralString = "status IN ('pending', 'received', 'stuck')"
TODAY: LiteralString = "date_trunc('day', now(), 'UTC')"

BY_WALLET: dict[LiteralString, str] = {
    f"SELECT operation_id, status, packets_cleared, created_at {OPERATIONS} wallet_address = {WALLET} ORDER BY created_at DESC LIMIT 20": (
        "idx_clearing_operations_wallet_created"
    ),
    f"SELECT * {OPERATIONS} wallet_address = {WALLET} AND status = 'queued' ORDER BY created_at DESC": "idx_clearing_operations_wallet_status",
}
BY_STATE: dict[LiteralString, str] = {
    f"SELECT * {OPERATIONS} status = 'queued' ORDER BY created_at LIMIT 10": "idx_clearing_operations_open",
    f"SELECT * FROM relay.clearing_operations WHERE chain_id = 'chain-1' AND payment_tx_hash = '{'A' * 64}'": "idx_clearing_operations_payment",
    f"SELECT * {PACKETS} status = 'stuck' AND created_at > now() - interval '24 hours' ORDER BY created_at DESC LIMIT 100": (
        "idx_packet_flow_status_created"
    ),
    f"SELECT src_chain_id, src_channel, sequence, created_at, timeout_at {PACKETS} {OPEN} AND src_chain_id = 'chain-0' AND "
    "src_port = 'transfer' AND src_channel = 'channel-0' ORDER BY sequence": "idx_packet_flow_open",
    "SELECT * FROM relay.channel_backlog": "idx_packet_flow_open",
    f"SELECT * {PACKETS} {OPEN} AND timeout_at IS NOT NULL ORDER BY timeout_at LIMIT 20": "idx_packet_flow_timeout",
}
BY_NAME: dict[LiteralString, str] = {
    f"SELECT * {PACKETS} src_chain_id = 'chain-7' AND src_port = 'transfer' AND src_channel = 'channel-7' AND sequence = 7": "packet_flow_pkey",
    f"SELECT * {PACKETS} channel = 'channel-7' AND sequence = 7": "idx_packet_flow_channel_sequence",
    f"SELECT * {PACKETS} dst_chain_id = 'chain-8' AND dst_port = 'transfer' AND dst_channel = 'channel-1007' AND sequence = 7": (
        "idx_packet_flow_destination"
    ),
    f"SELECT * {PACKETS} sender = 'sender7' ORDER BY created_at DESC LIMIT 10": "idx_packet_flow_sender",
    f"SELECT * {PACKETS} receiver = 'receiver7' ORDER BY created_at DESC LIMIT 10": "idx_packet_flow_receiver",
    f"SELECT status, count(*), avg(clear_time) {PACKETS} src_chain_id = 'chain-7' AND created_at > now() - interval '24 hours' "
    "GROUP BY status": "idx_packet_flow_chain_created",
    "SELECT * FROM relay.channels WHERE counterparty_chain_id = 'chain-8' AND counterparty_port = 'transfer' "
    "AND counterparty_channel = 'channel-1007'": "idx_channels_counterparty",
}
BY_TIME: dict[LiteralString, str] = {
    "SELECT * FROM relay.packet_events WHERE src_chain_id = 'chain-7' AND src_port = 'transfer' AND src_channel = 'channel-7' "
    "AND sequence = 7": "idx_packet_events_packet",
    f"SELECT * FROM relay.packet_events WHERE chain_id = 'chain-7' AND block_time >= {TODAY} + interval '1 hour' "
    f"AND block_time < {TODAY} + interval '2 hours'": "idx_packet_events_chain_time",
    f"SELECT * FROM relay.packet_events WHERE relayer = 'osmo1{'q' * 36}77' AND relayer <> '' AND block_time >= {TODAY}": (
        "idx_packet_events_relayer"
    ),
    "SELECT * FROM relay.packet_events WHERE chain_id = 'chain-0' AND block_height >= 29000 AND NOT final": "idx_packet_events_unfinal",
    f"SELECT * FROM relay.network_stats WHERE chain_id = 'chain-7' AND date >= {TODAY} - interval '30 days'": "network_stats_pkey",
    f"SELECT * FROM relay.network_stats WHERE date = {TODAY}": "idx_network_stats_date",
    f"SELECT chain_id, relayer, reputation_score, relayed_packets FROM relay.relayer_performance WHERE date = {TODAY} "
    "ORDER BY reputation_score DESC LIMIT 10": "idx_relayer_performance_reputation",
    "SELECT * FROM relay.relayer_performance WHERE relayer = 'osmo177' ORDER BY date DESC": "idx_relayer_performance_relayer",
    "SELECT * FROM relay.channel_performance WHERE hour = date_trunc('month', now(), 'UTC') ORDER BY congestion_score DESC LIMIT 10": (
        "idx_channel_performance_congestion"
    ),
    "SELECT * FROM relay.hourly_packet_stats WHERE hour = date_trunc('month', now(), 'UTC')": "idx_hourly_packet_stats_hour",
}


async def _answered(connection: Connection, questions: dict[LiteralString, str]) -> dict[LiteralString, set[str]]:
    return {query: (await explain(connection, query)).indexes for query in questions}


@pytest.mark.conforms("S2-02", "S2-24", "S2-25")
async def test_operations_of_a_wallet(filled: Connection) -> None:
    assert await _answered(filled, BY_WALLET) == {query: {index} for query, index in BY_WALLET.items()}
    plan = await explain(filled, next(iter(BY_WALLET)))
    assert not {"Sort", "Seq Scan"} & set(plan.nodes)


@pytest.mark.conforms("S2-20", "S2-26", "S2-32")
async def test_what_needs_attention_is_found_by_status(filled: Connection) -> None:
    assert await _answered(filled, BY_STATE) == {query: {index} for query, index in BY_STATE.items()}


@pytest.mark.conforms("S2-21", "S2-28", "S2-30")
async def test_packets_are_found_by_each_of_their_names(filled: Connection) -> None:
    assert await _answered(filled, BY_NAME) == {query: {index} for query, index in BY_NAME.items()}


@pytest.mark.conforms("S2-27", "S2-29", "S2-30")
async def test_figures_and_events_by_time(filled: Connection) -> None:
    assert await _answered(filled, BY_TIME) == {query: {index} for query, index in BY_TIME.items()}


@pytest.mark.conforms("S2-31")
async def test_covering_indexes_answer_without_the_table(filled: Connection) -> None:
    covered = {
        "idx_clearing_operations_wallet_created": f"SELECT operation_id, status, packets_cleared FROM relay.clearing_operations "
        f"WHERE wallet_address = {WALLET} AND deleted_at IS NULL ORDER BY created_at DESC LIMIT 20",
        "idx_packet_flow_open": next(query for query, index in BY_STATE.items() if index == "idx_packet_flow_open"),
        "idx_packet_flow_chain_created": next(query for query, index in BY_NAME.items() if index == "idx_packet_flow_chain_created"),
        "idx_relayer_performance_reputation": next(
            query for query, index in BY_TIME.items() if index == "idx_relayer_performance_reputation"
        ),
    }
    for index, query in covered.items():
        plan = await explain(filled, query)
        assert (plan.indexes, "Index Only Scan" in plan.nodes) == ({index}, True), index


@pytest.mark.conforms("S2-20", "S2-32")
async def test_a_partial_index_holds_its_part_only(filled: Connection) -> None:
    sizes = await filled.fetch_one(
        "SELECT pg_relation_size('relay.idx_packet_flow_open') AS open, pg_relation_size('relay.packet_flow_pkey') AS whole, "
        "pg_relation_size('relay.idx_clearing_operations_open') AS waiting, pg_relation_size('relay.clearing_operations_pkey') AS operations"
    )
    assert sizes.open * 20 < sizes.whole
    assert sizes.waiting * 10 < sizes.operations


@pytest.mark.conforms("S2-27")
async def test_no_index_repeats_another(filled: Connection) -> None:
    """The unique constraint on chain and day serves what an index on the same columns would."""
    found = await filled.fetch_all(
        "SELECT index_name, reason FROM strata.check_index_effectiveness('relay') WHERE verdict IN ('duplicate', 'invalid')"
    )
    assert found == []
    assert await filled.fetch_value("SELECT to_regclass('relay.idx_network_stats_chain_date')") is None
    await filled.execute("CREATE INDEX idx_network_stats_chain_date ON relay.network_stats (chain_id, date)")
    try:
        [row] = await filled.fetch_all("SELECT * FROM strata.check_index_effectiveness('relay') WHERE verdict = 'duplicate'")
    finally:
        await filled.execute("DROP INDEX relay.idx_network_stats_chain_date")
    assert (row.index_name, row.reason) == ("idx_network_stats_chain_date", "network_stats_pkey begins with the same columns")
