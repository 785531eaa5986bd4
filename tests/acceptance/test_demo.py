"""`chainstrata up --node-demo true`: every pack has something to show, and nothing is held but what was broken on purpose."""

import subprocess
import threading
import time
from datetime import UTC, datetime
from importlib import import_module
from itertools import islice
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from chainstrata.model import Dataset
from chainstrata.packs import load_catalog
from chainstrata.simulate import packs_with_streams
from tests.fixtures.node import connect, running_node
from tools.tree import ROOT

CATALOG = load_catalog()
WITHIN = 180.0
PAUSE = threading.Event()


def shown_at_once() -> set[str]:
    """Return the series that streams tell of in their first moments; a block of the chain may take two slots to come."""
    found: set[str] = set()
    for pack in packs_with_streams(CATALOG):
        ticks = import_module(f"chainstrata.packs.{pack}.stream").stream(1, datetime.now(UTC), 200)
        found |= {name for tick in islice(ticks, 2) for name, _ in tick.tables}
    return {name for name in found if CATALOG.dataset(name).partitioned}


def has_rows(connection: psycopg.Connection[tuple[object, ...]], dataset: Dataset) -> bool:
    table = sql.Identifier(dataset.schema, dataset.table.name)
    found = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table)).fetchone()
    return found == (True,)


def is_broken_on_purpose(dataset: Dataset, content: dict[str, object]) -> bool:
    """Whether a row lacks what it is about, or is of a time for which there is no room."""
    return content.get(dataset.key[0]) is None or str(content.get(dataset.time)).startswith("2200-01-")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.conforms("S1-188")
def test_every_pack_has_something_to_show_and_nothing_is_held_by_mistake(home: Path) -> None:
    waiting = shown_at_once()
    assert {name.split(".")[0] for name in waiting} == set(packs_with_streams(CATALOG))
    with running_node(home, "--node-demo", "true", "--node-demo-rate", "1000") as node, connect(home) as connection:
        deadline = time.monotonic() + WITHIN
        held: list[tuple[str, str, dict[str, object]]] = []
        while waiting or len(held) < 3:
            assert time.monotonic() < deadline, (waiting, held)
            waiting -= {name for name in waiting if has_rows(connection, CATALOG.dataset(name))}
            held = connection.execute("SELECT dataset, source, content FROM strata.quarantine").fetchall()  # type: ignore[assignment]
            PAUSE.wait(0.2)
        for name, source, content in held:
            assert source == f"simulate {name.split('.')[0]}"
            assert is_broken_on_purpose(CATALOG.dataset(name), content), (name, content)
        status, told = node.get("/api/v1/status")
        assert status == 200
        assert told["healthy"], told["findings"]


def test_make_up_demo_starts_a_node_so() -> None:
    done = subprocess.run(["make", "--no-print-directory", "-n", "up", "DEMO=1"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "chainstrata up --node-demo true" in done.stdout
    plain = subprocess.run(["make", "--no-print-directory", "-n", "up"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "chainstrata up" in plain.stdout
    assert "--node-demo" not in plain.stdout
