"""Where a packet is follows from its events, in whatever order they come; what a reorg takes back is taken back."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.errors import BadValue, CheckViolation, UniqueViolation
from chainstrata.model import Catalog, days
from chainstrata.packs.relay.model import ENDED_PACKETS, OPEN_PACKETS, PacketEvent, PacketStatus
from tests.fixtures.relay_pack import HUB, OSMOSIS, RELAYERS, START, add, add_all, event, expected_packets, found_packets, hex_hash

SEND, RECEIVE, WRITE_ACK, ACKNOWLEDGE, TIMEOUT = PacketEvent
LIFE = [
    event(SEND, 0, denom="uosmo", amount=2**256 - 1, sender="osmo1a", receiver="cosmos1b", memo="hi", timeout_timestamp=1_900_000_000_123_456_789),
    event(RECEIVE, 12.5, sent_at=START),
    event(WRITE_ACK, 12.5, success=True, tx_hash=hex_hash(2), event_index=1),
    event(RECEIVE, 14, redundant=True, relayer=RELAYERS[1], tx_hash=hex_hash(9)),
    event(ACKNOWLEDGE, 31.25, success=True),
]  # fmt: skip


async def packet(connection: Connection) -> Any:
    return await connection.fetch_one("SELECT *, status::text AS where_it_is FROM relay.packet_flow")


@pytest.mark.conforms("S2-18", "S2-22")
async def test_a_packet_is_followed_from_sending_to_its_end(rows: Connection) -> None:
    seen = []
    for one in LIFE:
        await add(rows, "packet_events", one)
        row = await packet(rows)
        seen.append((row.where_it_is, row.clear_time))
    assert seen == [("pending", None), ("received", None), ("received", None), ("received", None), ("acknowledged", Decimal("31.25"))]
    assert (row.src_chain_id, row.src_port, row.src_channel, row.channel, row.sequence) == (
        OSMOSIS,
        "transfer",
        "channel-0",
        "channel-0",
        7,
    )
    assert (row.dst_chain_id, row.dst_port, row.dst_channel) == (HUB, "transfer", "channel-141")
    assert (row.created_at, row.sent_at, row.received_at) == (START, START, START + timedelta(seconds=12.5))
    assert row.cleared_at == row.acknowledged_at == START + timedelta(seconds=31.25)
    assert (row.relayer, row.received_tx_hash, row.redundant_relays, row.success) == (RELAYERS[0], hex_hash(2), 1, True)
    assert (row.denom, row.amount, row.sender, row.receiver, row.memo) == ("uosmo", 2**256 - 1, "osmo1a", "cosmos1b", "hi")
    assert row.timeout_timestamp == 1_900_000_000_123_456_789
    assert row.timeout_at.microsecond == 123457


@pytest.mark.conforms("S2-18")
async def test_a_packet_ends_in_one_of_three_ways(rows: Connection) -> None:
    refused, expired = [*LIFE[:2], event(ACKNOWLEDGE, 30, success=False)], [LIFE[0], event(TIMEOUT, 700)]
    for number, (life, status) in enumerate([(LIFE, "acknowledged"), (refused, "failed"), (expired, "timed_out")], 1):
        await add_all(
            rows, "packet_events", [one | {"sequence": number, "tx_hash": hex_hash(number * 16 + place)} for place, one in enumerate(life)]
        )
        row = await rows.fetch_one("SELECT *, status::text AS word FROM relay.packet_flow WHERE sequence = %(n)s", {"n": number})
        assert (row.word, row.word in set(ENDED_PACKETS), row.clear_time is not None) == (status, True, True)
    assert set(PacketStatus) == {*ENDED_PACKETS, *OPEN_PACKETS}


EVENTS = st.builds(
    lambda kind, seconds, sequence, number, redundant, success, relayer, known: event(
        kind,
        seconds,
        sequence=sequence,
        tx_hash=hex_hash(number),
        relayer="" if kind is SEND else relayer,
        redundant=redundant and kind in (RECEIVE, ACKNOWLEDGE, TIMEOUT),
        success=success if kind in (WRITE_ACK, ACKNOWLEDGE) else None,
        sent_at=START + timedelta(seconds=seconds // 2) if known and kind is not SEND else None,
    ),
    st.sampled_from(PacketEvent),
    st.integers(0, 30),
    st.integers(1, 3),
    st.integers(1, 10**9),
    st.booleans(),
    st.none() | st.booleans(),
    st.sampled_from(RELAYERS),
    st.booleans(),
)
LIVES = st.lists(EVENTS, min_size=1, max_size=14, unique_by=lambda one: (one["chain_id"], one["tx_hash"], one["block_time"]))


@pytest.mark.conforms("S2-18", "S2-19")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), events=LIVES)
async def test_packets_are_what_their_events_tell_in_whatever_order(
    rows: Connection, data: st.DataObject, events: list[dict[str, Any]]
) -> None:
    """Written in random order and random batches, then some taken back, then some corrected."""
    async with rows.savepoint():
        await rows.execute("TRUNCATE relay.packet_events")
        pending = data.draw(st.permutations(events))
        while pending:
            size = data.draw(st.integers(1, len(pending)))
            batch, pending = pending[:size], pending[size:]
            await add_all(rows, "packet_events", batch)
        assert await found_packets(rows) == expected_packets(events)
        gone = data.draw(st.lists(st.sampled_from(events), unique_by=lambda one: (one["chain_id"], one["tx_hash"], one["block_time"])))
        await rows.execute("DELETE FROM relay.packet_events WHERE tx_hash = ANY(%(gone)s)", {"gone": [one["tx_hash"] for one in gone]})
        left = [one for one in events if one["tx_hash"] not in {each["tx_hash"] for each in gone}]
        assert await found_packets(rows) == expected_packets(left)
        await rows.execute("UPDATE relay.packet_events SET block_time = block_time + interval '1 minute', sequence = sequence + 1")
        moved = [one | {"block_time": one["block_time"] + timedelta(minutes=1), "sequence": one["sequence"] + 1} for one in left]
        assert await found_packets(rows) == expected_packets(moved)


@pytest.mark.conforms("S2-18")
async def test_an_event_delivered_twice_counts_once(rows: Connection) -> None:
    await add_all(rows, "packet_events", LIFE)
    before = await packet(rows)
    with pytest.raises(UniqueViolation):
        async with rows.savepoint():
            await add(rows, "packet_events", LIFE[3])
    await rows.execute(
        "INSERT INTO relay.packet_events (chain_id, tx_hash, event_index, block_time, block_height, event_type, src_chain_id, src_port, "
        "src_channel, sequence, dst_chain_id, relayer, redundant) SELECT chain_id, tx_hash, event_index, block_time, block_height, event_type, "
        "src_chain_id, src_port, src_channel, sequence, dst_chain_id, relayer, redundant FROM relay.packet_events ON CONFLICT DO NOTHING"
    )
    assert (await packet(rows)).redundant_relays == before.redundant_relays == 1


@pytest.mark.conforms("S2-18")
async def test_events_copied_in_and_events_emptied_out_take_their_packets_along(packs: Database) -> None:
    columns = list(LIFE[1])
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    async with (
        packs.transaction() as connection,
        connection.copy(sql.SQL("COPY relay.packet_events ({}) FROM STDIN").format(names)) as copy,
    ):
        for number in range(1, 40):
            await copy.write_row([(LIFE[1] | {"sequence": number, "tx_hash": hex_hash(number)})[name] for name in columns])
    assert await packs.fetch_value("SELECT count(*) FROM relay.packet_flow WHERE status = 'received'") == 39
    async with packs.transaction() as connection:
        await connection.execute("TRUNCATE relay.packet_events")
    assert await packs.fetch_value("SELECT count(*) FROM relay.packet_flow") == 0
    async with packs.transaction() as connection:
        await add(connection, "packet_events", LIFE[0])
        await connection.execute("TRUNCATE relay.packet_events, relay.packet_flow")


@pytest.mark.conforms("S2-19")
async def test_the_stream_is_partitioned_by_day_and_the_packets_are_one_table(packs: Database, catalog: Catalog) -> None:
    lifecycle = catalog.dataset("relay.packet_events").lifecycle
    assert (lifecycle.partition, lifecycle.premake, lifecycle.keep) == (days(1), 7, days(90))
    kinds = await packs.fetch_all("SELECT oid::regclass::text AS name, relkind::text, pg_get_partkeydef(oid) AS by FROM pg_class "
        "WHERE oid IN ('relay.packet_events'::regclass, 'relay.packet_flow'::regclass) ORDER BY 1")  # fmt: skip
    assert [tuple(row) for row in kinds] == [("relay.packet_events", "p", "RANGE (block_time)"), ("relay.packet_flow", "r", None)]
    for ahead in range(7):
        day = START + timedelta(days=ahead)
        assert await packs.fetch_value("SELECT to_regclass(%(name)s)", {"name": f"relay.packet_events_y{day:%Y}m{day:%m}d{day:%d}"})


@pytest.mark.conforms("S2-28")
async def test_a_packet_has_one_identity(rows: Connection) -> None:
    """Channel and sequence alone are none: they start anew in every channel, on every port, on every chain."""
    await add(
        rows,
        "packet_flow",
        {"src_chain_id": OSMOSIS, "src_port": "transfer", "src_channel": "channel-0", "sequence": 7, "created_at": START},
    )
    for other in ({"src_chain_id": HUB}, {"src_port": "wasm.osmo1abc"}, {"src_channel": "channel-1"}, {"sequence": 8}):
        await add(
            rows,
            "packet_flow",
            {"src_chain_id": OSMOSIS, "src_port": "transfer", "src_channel": "channel-0", "sequence": 7, "created_at": START} | other,
        )
    with pytest.raises(UniqueViolation) as caught:
        await add(
            rows,
            "packet_flow",
            {
                "src_chain_id": OSMOSIS,
                "src_port": "transfer",
                "src_channel": "channel-0",
                "sequence": 7,
                "created_at": START + timedelta(days=9),
            },
        )
    assert caught.value.constraint == "packet_flow_pkey"


@pytest.mark.conforms("S2-22")
@pytest.mark.parametrize("column", ["sequence", "timeout_timestamp", "timeout_height", "timeout_revision"])
async def test_numbers_of_64_bits_are_held_to_the_last(rows: Connection, column: str) -> None:
    for wrong in (2**64, -1):
        with pytest.raises(CheckViolation) as caught:
            async with rows.savepoint():
                await add(rows, "packet_events", event(**{column: wrong}))
        assert caught.value.constraint == "uint64_range"
    await add(rows, "packet_events", event(**{column: 2**64 - 1}))
    row = await packet(rows)
    assert getattr(row, column) == 2**64 - 1
    if column == "timeout_timestamp":
        assert row.timeout_at.year == 2554


@pytest.mark.conforms("S2-22")
async def test_an_amount_is_held_to_the_last_unit_of_256_bits(rows: Connection) -> None:
    with pytest.raises(CheckViolation) as caught:
        async with rows.savepoint():
            await add(rows, "packet_events", event(amount=2**256))
    assert caught.value.constraint == "uint256_range"
    await add(rows, "packet_events", event(amount=2**256 - 1))
    assert (await packet(rows)).amount == 2**256 - 1


# Stuck ---------------------------------------------------------------------------------------------------------------
@pytest.mark.conforms("S2-23")
async def test_what_waits_too_long_is_stuck_until_it_moves(rows: Connection) -> None:
    for number, seconds in ((1, 0), (2, 0), (3, 1500)):
        await add(rows, "packet_events", event(SEND, seconds, sequence=number, tx_hash=hex_hash(number)))
    await add(rows, "packet_events", event(RECEIVE, 1700, sequence=2, tx_hash=hex_hash(12)))
    mark = "SELECT relay.mark_stuck_packets('30 minutes', %(at)s)"
    words = "SELECT array_agg(status::text ORDER BY sequence) FROM relay.packet_flow"
    at = START + timedelta(seconds=1801)
    assert await rows.fetch_value(mark, {"at": at}) == 1
    assert await rows.fetch_value(mark, {"at": at}) == 0, "what is marked is not marked again"
    assert await rows.fetch_value(words) == ["stuck", "received", "pending"]
    assert await rows.fetch_value("SELECT stuck_at FROM relay.packet_flow WHERE sequence = 1") == at
    assert await rows.fetch_value(mark, {"at": START + timedelta(hours=2)}) == 2
    assert await rows.fetch_value(words) == ["stuck", "stuck", "stuck"]
    await add(rows, "packet_events", event(RECEIVE, 8000, sequence=1, tx_hash=hex_hash(11)))
    await add(rows, "packet_events", event(RECEIVE, 8000, sequence=2, tx_hash=hex_hash(22), redundant=True))
    await add(rows, "packet_events", event(TIMEOUT, 8000, sequence=3, tx_hash=hex_hash(13)))
    assert await rows.fetch_value(words) == ["received", "stuck", "timed_out"], "a delivery that came too late moves nothing"
    row = await rows.fetch_one("SELECT count(stuck_at) AS stuck FROM relay.packet_flow")
    assert row.stuck == 1


@pytest.mark.conforms("S2-23")
async def test_a_status_cannot_contradict_what_is_known(rows: Connection) -> None:
    base = {"src_chain_id": OSMOSIS, "src_port": "transfer", "src_channel": "channel-0", "created_at": START}
    later = START + timedelta(seconds=9)
    wrong: dict[str, dict[str, Any]] = {
        "packet_flow_status_acknowledged": {"status": "acknowledged"},
        "packet_flow_status_failed": {"status": "acknowledged", "acknowledged_at": later, "success": False},
        "packet_flow_status_timed_out": {"status": "stuck", "timed_out_at": later},
        "packet_flow_status_received": {"status": "received"},
        "packet_flow_status_pending": {"status": "pending", "received_at": later},
        "packet_flow_stuck_since": {"status": "pending", "stuck_at": later},
    }
    for constraint, facts in wrong.items():
        with pytest.raises(CheckViolation) as caught:
            async with rows.savepoint():
                await add(rows, "packet_flow", base | {"sequence": 1} | facts)
        assert caught.value.constraint == constraint
    with pytest.raises(BadValue):
        async with rows.savepoint():
            await add(rows, "packet_flow", base | {"sequence": 1, "status": "lost"})
    for number, status in enumerate(("pending", "stuck")):
        await add(rows, "packet_flow", base | {"sequence": number, "status": status})


async def test_what_needs_a_hand_is_listed_with_a_command(rows: Connection) -> None:
    await add_all(rows, "packet_events", [event(SEND, number, sequence=number, tx_hash=hex_hash(number)) for number in (3, 4, 5)])
    await add(rows, "packet_events", event(RECEIVE, 9, sequence=5))
    await rows.execute("SELECT relay.mark_stuck_packets('1 minute', %(at)s)", {"at": START + timedelta(hours=1)})
    stuck = await rows.fetch_all("SELECT sequence, waits_for, command FROM relay.stuck_packets ORDER BY sequence")
    assert [(row.sequence, row.waits_for) for row in stuck] == [(3, "delivery"), (4, "delivery"), (5, "acknowledgement")]
    assert stuck[0].command == "hermes clear packets --chain osmosis-1 --port transfer --channel channel-0 --packet-sequences 3"
    backlog = await rows.fetch_one("SELECT * FROM relay.channel_backlog")
    assert (backlog.src_chain_id, backlog.src_channel, backlog.backlog_size, backlog.backlog_oldest_sequence, backlog.stuck) == (
        OSMOSIS, "channel-0", 3, 3, 3,
    )  # fmt: skip


# What is refused -----------------------------------------------------------------------------------------------------
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a chain with a space": (event(src_chain_id="osmosis 1", chain_id="osmosis 1"), "packet_events_chain_id_form"),
    "a port too short": (event(src_port="t"), "packet_events_src_port_form"),
    "a channel too short": (event(src_channel="chan-0"), "packet_events_src_channel_form"),
    "a channel with a slash": (event(dst_channel="a/channel-0"), "packet_events_dst_channel_form"),
    "a hash in lower case": (event(tx_hash="ab" * 32), "packet_events_tx_hash_form"),
    "a hash too short": (event(tx_hash="AB"), "packet_events_tx_hash_form"),
    "a relayer in capitals": (event(RECEIVE, relayer=RELAYERS[0].upper()), "packet_events_relayer_form"),
    "a position below zero": (event(event_index=-1), "packet_events_position"),
    "no height": (event(block_height=0), "packet_events_position"),
    "a sending by a relayer": (event(relayer=RELAYERS[0]), "packet_events_sent_by_sender"),
    "a delivery at the source": (event(RECEIVE, chain_id=OSMOSIS), "packet_events_on_its_chain"),
    "a sending at the destination": (event(chain_id=HUB), "packet_events_on_its_chain"),
    "a sending that was too late": (event(redundant=True), "packet_events_redundant_message"),
    "a delivery that was accepted": (event(RECEIVE, success=True), "packet_events_success_of_acknowledgement"),
    "gas below zero": (event(RECEIVE, gas_used=-1), "packet_events_gas_used_range"),
}


@pytest.mark.parametrize(("values", "constraint"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_the_protocol_does_not_allow_is_refused(rows: Connection, values: dict[str, Any], constraint: str) -> None:
    with pytest.raises(CheckViolation) as caught:
        await add(rows, "packet_events", values)
    assert caught.value.constraint == constraint


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(event(src_port="wasm.juno1v4887y83d6g28puzvt8cl0f3cdhd3y6y9mpysnsp3k8krdm7l6jqgm0rkn"), id="a port of a contract"),
        pytest.param(event(src_channel="07-tendermint-12", dst_channel="08-wasm-4"), id="clients of IBC v2"),
        pytest.param(event(tx_hash="0x" + "ab" * 32, src_chain_id="ethereum"), id="a transaction of Ethereum"),
        pytest.param(event(dst_chain_id=None, dst_port=None, dst_channel=None), id="a destination nobody looked up"),
        pytest.param(event(RECEIVE, 0, dst_chain_id=None, chain_id=HUB, relayer=""), id="a delivery by the chain itself"),
    ],
)
async def test_what_is_unusual_and_true_is_taken(rows: Connection, values: dict[str, Any]) -> None:
    await add(rows, "packet_events", values)
    assert (await packet(rows)).src_channel == values["src_channel"]


async def test_clocks_of_two_chains_may_disagree(rows: Connection) -> None:
    """Delivered a second before it was sent, by the destination's clock."""
    await add_all(rows, "packet_events", [event(SEND, 10), event(RECEIVE, 9, sent_at=START + timedelta(seconds=10))])
    row = await packet(rows)
    assert (row.created_at, row.received_at) == (START + timedelta(seconds=10), START + timedelta(seconds=9))
    assert await rows.fetch_value("SELECT elapsed_seconds FROM relay.packet_events WHERE event_type = 'recv_packet'") == 0
    assert await rows.fetch_value("SELECT elapsed_seconds FROM relay.packet_events WHERE event_type = 'send_packet'") is None
