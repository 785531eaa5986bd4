"""`chainstrata ingest`: files of rows from the command line."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chainstrata.cli.tree import run
from chainstrata.engines.postgres import Database
from tests.fixtures.node import COMMAND, clean_environment
from tests.fixtures.postgres import NewDatabase

Run = Callable[..., Any]
NOW = datetime.now(UTC).replace(second=0, microsecond=0).isoformat()


@pytest.fixture
def command(packs: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a function that loads files from the command line and returns exit code, answer and what was said beside it."""

    async def call(*words: object, url: str = packs.conninfo, as_json: bool = True) -> tuple[int, Any, str]:
        given = ["ingest", "prices.minute", *map(str, words), "--set", f"postgres.url={url}", "--home", str(tmp_path / "home")]
        code = await asyncio.to_thread(run, [*given, *(["--json"] if as_json else [])])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if as_json else printed.out, printed.err

    return call


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Give a directory with a good file, one with bad rows, one that cannot be read, and one that is none."""
    directory = tmp_path / "files"
    directory.mkdir()
    (directory / "a.ndjson").write_text(
        "".join(json.dumps({"coin_id": f"c{n}", "minute_ts": NOW, "price_usd": "1.5"}) + "\n" for n in range(5))
    )
    (directory / "b.csv").write_text(f"coin_id,minute_ts,price_usd\nx,{NOW},5\ny,yesterday,6\n")
    (directory / "c.csv").write_text(f"coin_id;minute_ts;price_usd\nz;{NOW};5\n")
    (directory / "notes.txt").write_text("nothing of ours")
    return directory


async def count(database: Database) -> tuple[int, int]:
    rows = await database.fetch_value("SELECT count(*) FROM prices.minute_close")
    return rows, await database.fetch_value("SELECT count(*) FROM strata.quarantine")


async def test_a_directory_is_loaded_whatever_one_of_its_files_is(command: Run, files: Path, packs: Database) -> None:
    code, answers, _ = await command(files)
    assert code == 1
    assert [(Path(one["file"]).name, one["answer"]["accepted"], one["answer"]["quarantined"]) for one in answers] == [
        ("a.ndjson", 5, 0),
        ("b.csv", 1, 1),
        ("c.csv", 0, 0),
    ]
    assert answers[2]["error"]["code"] == "payload_unreadable"
    assert await count(packs) == (6, 1)
    code, text, said = await command(files, as_json=False)
    assert text.splitlines()[-1] == "3 files, 1 of them with an error: 7 rows"
    assert "c.csv: not readable as csv" in said
    assert "chainstrata quarantine list prices.minute" in said


async def test_a_dry_run_says_what_would_become_of_the_rows(command: Run, files: Path, packs: Database) -> None:
    code, answers, _ = await command(files / "a.ndjson", files / "b.csv", "--dry-run")
    assert (code, [one["answer"]["accepted"] for one in answers], answers[1]["answer"]["quarantined"]) == (0, [5, 1], 1)
    assert await count(packs) == (0, 0)
    assert await packs.fetch_value("SELECT count(*) FROM prices.coin_priorities") == 0
    code, _, said = await command(files / "b.csv", "--dry-run", "--strict", as_json=False)
    assert code == 1
    assert "yesterday" in said


async def test_history_is_told_how_to_get_in(command: Run, tmp_path: Path, packs: Database) -> None:
    old = tmp_path / "old.csv"
    old.write_text("coin_id,minute_ts,price_usd\n" + "".join(f"x,2019-05-0{day}T00:00:00Z,5\n" for day in range(1, 4)))
    _, text, said = await command(old, "--dry-run", as_json=False)
    assert "3 not taken" in text
    assert "chainstrata partitions ensure prices.minute --from" in said
    code, _, said = await command(old, as_json=False)
    assert (code, await count(packs)) == (0, (0, 3))
    [hinted] = [line for line in said.splitlines() if "--make-partitions" in line]
    told = hinted.partition("`")[2].partition("`")[0].split()
    assert told[:4] == ["chainstrata", "quarantine", "replay", "prices.minute"]
    assert await asyncio.to_thread(run, [*told[1:], "--set", f"postgres.url={packs.conninfo}", "--home", str(tmp_path / "home")]) == 0
    assert (await count(packs))[0] == 3


async def test_nothing_is_read_where_a_file_is_missing(command: Run, files: Path, packs: Database) -> None:
    for wrong in (files / "missing.csv", files / "notes.txt", files.parent / "home", "-"):
        (files.parent / "home").mkdir(exist_ok=True)
        code, answer, _ = await command(files / "a.ndjson", wrong)
        assert (code, bool(answer["error"]["hint"])) == (2, True)
    assert await count(packs) == (0, 0)


async def test_a_load_with_a_name_is_taken_once(command: Run, files: Path, packs: Database) -> None:
    for repeated in (False, True):
        code, answers, _ = await command(files / "a.ndjson", files / "b.csv", "--batch", "load-1")
        assert (code, [one["answer"]["repeated"] for one in answers]) == (0, [repeated] * 2)
    assert await count(packs) == (6, 1)
    other = files / "other"
    other.mkdir()
    (other / "a.ndjson").write_text("")
    code, answer, _ = await command(files / "a.ndjson", other / "a.ndjson", "--batch", "load-2")
    assert (code, answer["error"]["message"]) == (2, "two files are called a.ndjson")


async def test_rows_come_through_a_pipe(home: Path, packs: Database) -> None:
    row = json.dumps({"coin_id": "c", "minute_ts": NOW, "price_usd": 1})
    command = [*COMMAND, "ingest", "prices.minute", "-", "--format", "ndjson", "--json"]
    environment = clean_environment(CHAINSTRATA_POSTGRES_URL=packs.conninfo, CHAINSTRATA_HOME=str(home))
    done = await asyncio.to_thread(
        subprocess.run, command, input=row, capture_output=True, text=True, env=environment, cwd="/", timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    [answer] = json.loads(done.stdout)
    assert (answer["file"], answer["answer"]["accepted"]) == ("standard input", 1)
    assert await count(packs) == (1, 0)


async def test_a_database_without_the_tables_says_how_it_gets_them(command: Run, files: Path, new_database: NewDatabase) -> None:
    code, answer, _ = await command(files / "a.ndjson", url=await new_database())
    assert (code, answer["error"]["code"]) == (2, "table_missing")
    assert "chainstrata migrate up" in answer["error"]["hint"]
