"""What a real chain reported of a packet fits the tables, to the last digit. Set CHAINSTRATA_REAL_DATA to where the recordings are."""

import base64
import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chainstrata.engines.postgres.connection import Connection
from chainstrata.packs.relay.model import PacketEvent
from tests.fixtures.relay_pack import START, add, hex_hash
from tools.tree import ROOT

REAL = Path(os.environ.get("CHAINSTRATA_REAL_DATA", ROOT.parent / "shared" / "data"), "ibc")  # noqa: TID251
KINDS = {event.value for event in PacketEvent}
ATTRIBUTES = {
    "packet_src_port": "src_port",
    "packet_src_channel": "src_channel",
    "packet_dst_port": "dst_port",
    "packet_dst_channel": "dst_channel",
    "packet_sequence": "sequence",
    "packet_timeout_timestamp": "timeout_timestamp",
}


def plain(text: str) -> str:
    """Return an attribute as text; older nodes give keys and values in base 64."""
    if text.startswith("packet_") or not text:
        return text
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except ValueError:
        return text
    return decoded if decoded.startswith("packet_") else text


def recorded() -> list[tuple[str, dict[str, str]]]:
    """Return the packet events of all recordings: name and attributes."""
    if not REAL.is_dir():
        pytest.skip(f"no recorded events: {REAL} is not there")
    found = []
    for path in sorted(REAL.glob("*.json")):
        for event in json.loads(path.read_text(encoding="utf-8")):
            if event["type"] in KINDS:
                found.append((event["type"], {plain(each["key"]): each["value"] for each in event["attributes"]}))
    return found


def row(kind: str, attributes: dict[str, str], place: int) -> dict[str, Any]:
    """Return an event of a recording as a row; block and transaction are not part of it."""
    revision, _, height = attributes["packet_timeout_height"].partition("-")
    source = "juno-1"
    return {
        "chain_id": source,
        "tx_hash": hex_hash(1),
        "event_index": place,
        "block_time": START + timedelta(seconds=place),
        "block_height": 4_000_000,
        "event_type": kind,
        "src_chain_id": source,
        **{column: attributes[name] for name, column in ATTRIBUTES.items()},
        "timeout_revision": int(revision),
        "timeout_height": int(height),
        "ordering": attributes["packet_channel_ordering"].removeprefix("ORDER_").lower(),
        "packet_data": bytes.fromhex(attributes["packet_data_hex"]) if "packet_data_hex" in attributes else None,
    }


@pytest.mark.conforms("S2-18", "S2-22")
async def test_a_recorded_packet_is_followed(rows: Connection) -> None:
    events = recorded()
    assert events
    for place, (kind, attributes) in enumerate(events):
        await add(rows, "packet_events", row(kind, attributes, place))
        found = await rows.fetch_one(
            "SELECT f.*, e.packet_data FROM relay.packet_flow AS f JOIN relay.packet_events AS e "
            "USING (src_chain_id, src_port, src_channel, sequence) WHERE e.event_index = %(place)s",
            {"place": place},
        )
        for name, column in ATTRIBUTES.items():
            assert str(getattr(found, column)) == attributes[name]
        assert f"{found.timeout_revision}-{found.timeout_height}" == attributes["packet_timeout_height"]
        if attributes["packet_timeout_timestamp"] != "0":
            nanoseconds = int(attributes["packet_timeout_timestamp"])
            assert abs(found.timeout_at - datetime.fromtimestamp(nanoseconds // 10**9, found.timeout_at.tzinfo)) < timedelta(seconds=1)
        assert found.packet_data.hex() == attributes["packet_data_hex"]
