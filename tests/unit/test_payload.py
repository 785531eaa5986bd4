"""Bytes from the network: whatever they are, the answer is rows, rows set aside, or a clear error, in bounded memory."""

import gzip
import io
import json
import pickle
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest

from chainstrata.ingest import Limits, Payload, PayloadTooLarge
from chainstrata.ingest.errors import FormNotTaken
from chainstrata.ingest.intake import take
from tests.fixtures import bad_payloads
from tests.fixtures.bad_payloads import CORPUS, LIMITS, MB, TABLE, arrow, lines, parquet, read, rows, zstd
from tools.tree import ROOT


@pytest.fixture(scope="module")
def judged() -> dict[str, Any]:
    """Give what a process of its own found, so that one that dies or takes all memory fails the tests and nothing else."""
    given = {name: (make(), kind, encoding) for name, (make, kind, encoding, _) in CORPUS.items()}
    command = [sys.executable, "-m", bad_payloads.__name__]
    done = subprocess.run(command, input=pickle.dumps(given), capture_output=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", CORPUS)
def test_a_bad_payload_is_told_apart(judged: dict[str, Any], name: str) -> None:
    code, message, hint = judged["found"][name]
    assert code == CORPUS[name][3], message
    assert message
    assert hint


def test_bad_payloads_take_a_bounded_amount_of_memory(judged: dict[str, Any]) -> None:
    assert judged["grown"] < 8 * LIMITS.unpacked


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
@pytest.mark.parametrize("kind", ["arrow", "arrow file", "parquet", "ndjson", "csv"])
def test_good_payloads_are_read_whole(kind: str, encoding: str) -> None:
    table = rows(3000)
    file = io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    data = {
        "arrow": lambda: arrow(table, compression="zstd"),
        "arrow file": file.getvalue,
        "parquet": lambda: parquet(table, compression="zstd"),
        "ndjson": lambda: lines(*map(json.dumps, table.to_pylist())),
        "csv": lambda: lines("name,count", *(f"{row['name']},{row['count']}" for row in table.to_pylist())),
    }[kind]()
    packed = {"": bytes, "gzip": gzip.compress, "zstd": zstd}[encoding](data)
    taken = list(read(packed, kind.split(maxsplit=1)[0], encoding))
    found = pa.concat_tables([part.rows.select(["name", "count"]).cast(pa.schema({"name": "string", "count": "int64"})) for part in taken])
    assert found.equals(table.cast(found.schema))
    assert not any(part.malformed for part in taken)


def test_a_payload_may_be_a_stream() -> None:
    data = arrow(rows())
    assert sum(part.rows.num_rows for part in take(Payload(io.BytesIO(data), "arrow"), TABLE)) == 1000
    with pytest.raises(PayloadTooLarge):
        list(take(Payload(io.BytesIO(data), "arrow", limits=Limits(bytes=1000)), TABLE))


def test_numbers_of_json_keep_every_digit() -> None:
    digits = "12345678901234567890.123456789012345678901234567890"
    line = f'{{"name": "a", "amount": {digits}, "raw": {{"deep": [{digits}, 1e400, -0.10]}}}}'
    (taken,) = read(line.encode(), "ndjson", "")
    assert taken.rows.to_pylist() == [{"name": "a", "amount": digits, "raw": f'{{"deep": [{digits}, 1e400, -0.10]}}'}]


def test_json_stays_the_json_it_is() -> None:
    (taken,) = read(b'{"name": "a", "raw": "[1"}\n{"name": "b", "raw": {"a": "\\u0041\\"", "b": [true, null]}}', "ndjson", "")
    assert taken.rows.column("raw").to_pylist() == ['"[1"', '{"a": "A\\"", "b": [true, null]}']


def test_bytes_come_as_hex_digits() -> None:
    (taken,) = read(b'{"name": "a", "data": "0x00fF"}\n{"name": "b", "data": "\\\\x01"}', "ndjson", "")
    assert taken.rows.column("data").to_pylist() == [b"\x00\xff", b"\x01"]


def test_a_long_text_that_is_shared_may_come_as_a_dictionary() -> None:
    table = bad_payloads.repeated(1000, 10_000)
    for data, kind in ((arrow(table), "arrow"), (parquet(table), "parquet")):
        assert {value for part in read(data, kind, "") for value in part.rows.column("name").to_pylist()} == {"x" * 1000}


def test_texts_of_views_are_taken() -> None:
    table = pa.table({"name": pa.array(["short", "a text that is too long for the view itself"], pa.string_view())})
    (taken,) = read(arrow(table), "arrow", "")
    assert taken.rows.column("name").to_pylist() == table.column("name").to_pylist()
    with pytest.raises(PayloadTooLarge):
        list(read(arrow(table), "arrow", "", Limits(unpacked=40)))


@pytest.mark.parametrize("form", ["list_view", "large_list_view"])
@pytest.mark.parametrize("inside", [False, True])
def test_views_of_lists_are_refused_for_what_they_are(form: str, inside: bool) -> None:
    """Not for their size, which is small."""
    tags: Any = pa.array([["x"], None], getattr(pa, form)(pa.string()))
    table = pa.table({"name": ["a", "b"], "tags": pa.StructArray.from_arrays([tags], ["inner"]) if inside else tags})
    for read_it in (lambda: read(arrow(table), "arrow", ""), lambda: take(table, TABLE)):
        with pytest.raises(FormNotTaken, match=f"column 'tags' is a {form}") as refused:
            list(read_it())
        assert (refused.value.http_status, "plain list" in refused.value.hint) == (422, True)


def test_the_largest_body_is_taken() -> None:
    data = lines(*('{"name": "%s"}' % ("x" * 1000) for _ in range(8000)))
    assert 7 * MB < len(data) <= LIMITS.bytes
    assert sum(part.rows.num_rows for part in read(data, "ndjson", "")) == 8000
