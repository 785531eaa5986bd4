"""Whatever is sent to a running node, the answer is rows, rows set aside, or a clear error, and the node lives."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.fixtures.bad_payloads import CORPUS, MB
from tests.fixtures.node import COMMAND, NodeProcess, run_command, running_node
from tests.fixtures.postgres import make_home

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
TYPES = {
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
}
NOW = datetime.now(UTC).isoformat()
PATH = "/api/v1/ingest/insights.metrics"
EXTRA: dict[str, tuple[bytes, str]] = {
    "a number of a million digits": (b'{"service_name": "s", "metric_value": ' + b"9" * 1_000_000 + b"}", "ndjson"),
    "a number beyond every type": (b'{"service_name": "s", "metric_type": "cpu", "metric_value": 1e999999999}', "ndjson"),
    "NaN for a time": (b'{"service_name": "s", "metric_type": "cpu", "timestamp": NaN, "metric_value": 1}', "ndjson"),
    "wrong types everywhere": (b'{"service_name": [1], "metric_type": {}, "timestamp": true, "metric_value": "much"}', "ndjson"),
    "not UTF-8": (b'{"service_name": "\xff\xfe"}\n{"service_name": "\xc3\x28"}', "ndjson"),
    "deep": (b'{"metric_metadata": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}", "ndjson"),
    "no rows but a list": (b"[1, 2, 3]", "ndjson"),
}


@dataclass(frozen=True)
class Given:
    """A node that runs, and a key that may write."""

    node: NodeProcess
    key: str


@pytest.fixture(scope="module")
def node() -> Iterator[Given]:
    """Give a node whose limits are those that the payloads are made for."""
    flags = ("--ingest-payload-bytes", str(8 * MB), "--ingest-payload-unpacked", str(32 * MB), "--ingest-payload-rows", "1000000")
    home = make_home()
    with running_node(home, *flags) as running:
        made = run_command(home, "create", "collector", "--role", "write", "--json", command=[*COMMAND, "keys"])
        yield Given(running, json.loads(made.stdout)["secret"])
    shutil.rmtree(home.parent, ignore_errors=True)


def send(given: Given, body: bytes, kind: str, encoding: str = "") -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {given.key}", "Content-Type": TYPES[kind], **({"Content-Encoding": encoding} if encoding else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(given.node.address + PATH, body, headers), timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def is_clear(status: int, told: dict[str, Any]) -> bool:
    """Whether an answer says what is wrong and what to do, or counts every row as held."""
    if status == 200:
        return told["quarantined"] > 0 and told["accepted"] == 0
    error = told["error"]
    return 400 <= status < 500 and all(isinstance(error[name], str) and error[name] for name in ("code", "message", "hint"))


@pytest.mark.parametrize("name", [*CORPUS, *EXTRA])
def test_a_bad_payload_gets_a_clear_answer_and_the_node_lives(node: Given, name: str) -> None:
    if name in CORPUS:
        make, kind, encoding, _ = CORPUS[name]
        body = make()
    else:
        (body, kind), encoding = EXTRA[name], ""
    status, told = send(node, body, kind, encoding)
    assert is_clear(status, told), (status, told)
    assert node.node.process.poll() is None
    # It takes what is good as if nothing had been.
    good = {"service_name": "s", "metric_type": "cpu", "timestamp": NOW, "instance": name, "metric_value": 1, "unit": "percent"}
    status, told = send(node, json.dumps(good).encode(), "ndjson")
    assert status == 200, told
    assert told["quarantined"] == 0, told


def test_the_node_did_not_grow_by_what_was_sent(node: Given) -> None:
    text = Path(f"/proc/{node.node.process.pid}/status").read_text()
    peak = int(text.split("VmHWM:")[1].split()[0]) * 1024
    assert peak < 1024**3
