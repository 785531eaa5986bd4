"""Partitions, quarantine, retention and the archive from the command line, on the prices pack with its roll-ups."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from chainstrata import partitions
from chainstrata.cli.tree import run
from chainstrata.engines.postgres import Database
from chainstrata.model import Catalog
from chainstrata.packs.strata.quarantine import Reason, Refused, add_rows

Run = Callable[..., Any]
HOUR = timedelta(hours=1)


@pytest.fixture
def command(packs: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs the command line on this test's database and returns exit code and what it printed."""

    async def call(*words: str, as_json: bool = True) -> tuple[int, Any]:
        arguments = [*words, "--set", f"postgres.url={packs.conninfo}", "--home", str(tmp_path / "home"), *(["--json"] if as_json else [])]
        code = await asyncio.to_thread(run, arguments)
        printed = capsys.readouterr()
        text = printed.out or printed.err
        return code, json.loads(text) if as_json and text else text

    return call


@pytest.fixture
async def minutes(packs: Database, catalog: Catalog) -> datetime:
    """Give the start of three hours of minutes that are due to leave; what they are folded into is not made yet."""
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
    await partitions.ensure(packs, catalog.dataset("prices.minute"), start, start + 3 * HOUR)
    await packs.execute(
        "INSERT INTO prices.coin_priorities (coin_id, symbol, name) VALUES ('bitcoin', 'btc', 'Bitcoin'), ('ether', 'eth', 'Ether')"
    )
    await packs.execute(
        "INSERT INTO prices.minute_close (coin_id, minute_ts, price_usd) SELECT coin_id, ts, 1 + extract(minute FROM ts)"
        " FROM prices.coin_priorities, generate_series(%(start)s, %(end)s, interval '1 minute') ts",
        {"start": start, "end": start + 3 * HOUR - timedelta(minutes=1)},
    )
    return start


@pytest.mark.conforms("S2-70")
async def test_partitions_are_planned_made_and_checked(command: Run, packs: Database) -> None:
    # What the turn of an hour asks for, if one came since the database was made.
    await command("partitions", "apply")
    assert await command("partitions", "apply") == (0, [])
    _, listed = await command("partitions", "list", "prices.minute")
    assert {"dataset", "partition", "from", "to", "state", "size_bytes"} <= listed[0].keys()
    code, problems = await command("partitions", "verify")
    assert (code, [problem for problem in problems if problem["urgent"]]) == (0, [])
    last = [one for one in listed if one["dataset"] == "prices.minute"][-1]["partition"]
    await packs.execute(f"ALTER TABLE prices.minute_close DETACH PARTITION {last}")  # type: ignore[arg-type]  # a name of the server
    _, planned = await command("partitions", "plan", "prices.minute")
    assert [step["action"] for step in planned] == ["create"]
    _, script = await command("partitions", "apply", "--sql", "prices.minute")
    assert "ATTACH PARTITION" in script["sql"][0]
    _, text = await command("partitions", "apply", "prices.minute", as_json=False)
    assert text.startswith("create prices.minute_close_y")
    code, error = await command("partitions", "ensure", "prices.minute")
    assert (code, error["error"]["code"]) == (2, "usage")
    _, made = await command("partitions", "ensure", "prices.minute", "--from", "2021-05-01", "--to", "2021-05-01T02:00")
    assert made[0]["from"] == "2021-05-01T00:00:00Z"


@pytest.mark.conforms("S2-70")
async def test_a_plain_table_is_adopted(command: Run, packs: Database, minutes: datetime) -> None:
    for statement in (
        "CREATE TABLE prices.plain (LIKE prices.minute_close INCLUDING ALL)",
        "INSERT INTO prices.plain SELECT * FROM prices.minute_close",
        "DROP TABLE prices.minute_close CASCADE",
        "ALTER TABLE prices.plain RENAME TO minute_close",
    ):
        await packs.execute(statement)
    code, error = await command("partitions", "apply", "prices.minute")
    assert (code, error["error"]["code"]) == (1, "not_partitioned")
    assert "partitions adopt" in error["error"]["hint"]
    _, text = await command("partitions", "adopt", "prices.minute", "--dry-run", as_json=False)
    assert "make an empty copy of prices.minute_close with partitions of 1 hour by minute_ts" in text
    assert text.splitlines()[-1].endswith("bytes")
    assert (await command("partitions", "adopt", "prices.minute", "--cancel"))[1] == {"cancelled": False}
    code, done = await command("partitions", "adopt", "prices.minute", "--batch-rows", "100")
    assert (code, done["copied"], done["followed"]) == (0, 360, 0)
    assert await packs.fetch_value("SELECT count(*) FROM prices.minute_close") == 360
    assert (await command("partitions", "verify", "prices.minute"))[0] == 0
    _, text = await command("partitions", "adopt", "prices.minute", as_json=False)
    assert text == "nothing to do, it has partitions\n"
    code, error = await command("partitions", "adopt", "prices.coins")
    assert code == 2


async def test_rows_in_quarantine_are_counted_replayed_and_dropped(command: Run, packs: Database, minutes: datetime) -> None:
    old = datetime(2021, 5, 1, 1, 30, tzinfo=UTC)
    async with packs.transaction() as connection:
        prices = {"bitcoin": 1, "unlisted": 1, "wrong": -1}
        rows = [f'{{"coin_id": "{coin}", "minute_ts": "{old.isoformat()}", "price_usd": {price}}}' for coin, price in prices.items()]
        await add_rows(connection, "prices.minute", [Refused(Reason.NO_PARTITION, "no partition", row, None, old) for row in rows])
    _, counts = await command("quarantine", "count")
    assert [(one["dataset"], one["reason"], one["rows"]) for one in counts] == [("prices.minute", "no_partition", 3)]
    _, listed = await command("quarantine", "list", "prices.minute")
    assert len(listed) == 3
    _, done = await command("quarantine", "replay", "prices.minute", "--make-partitions")
    assert done == {"replayed": 2, "held": {"constraint": 1}}
    coins = await packs.fetch_all("SELECT coin_id FROM prices.coin_priorities WHERE coin_id IN ('unlisted', 'wrong')")
    assert [row.coin_id for row in coins] == ["unlisted"], "what a row refers to is added with it, as ingest does, and only with it"
    _, text = await command("quarantine", "list", as_json=False)
    assert "chk_price_positive" in text
    assert await command("quarantine", "drop", "prices.minute", "--yes") == (0, {"dropped": 1})
    code, error = await command("quarantine", "list", "prices.nothing")
    assert (code, error["error"]["code"]) == (2, "unknown_name")


@pytest.mark.conforms("S3-06", "S3-58", "S2-55")
async def test_minutes_leave_once_their_hours_have_them(command: Run, packs: Database, minutes: datetime, tmp_path: Path) -> None:
    _, planned = await command("retention", "plan", "prices.minute")
    end = (minutes + 3 * HOUR).isoformat().replace("+00:00", "Z")
    due = [one for one in planned["partitions"] if one["dataset"] == "prices.minute" and one["verdict"] != "kept" and one["from"] < end]
    assert len(due) == 3
    assert all(one["blockers"][0]["who"] == "roll-ups" for one in due), "nothing is folded yet"
    _, text = await command("retention", "run", "--dry-run", as_json=False)
    assert "changes are not folded yet" in text
    _, outcome = await command("retention", "run", "prices.minute")
    assert sum(one["rows"] for one in outcome["departed"]) == 360
    assert await packs.fetch_value("SELECT count(*) FROM prices.minute_close") == 0
    hours = await packs.fetch_all("SELECT coin_id, hour_ts, samples FROM prices.hourly_close ORDER BY 1, 2")
    assert [row.samples for row in hours] == [60] * 6
    code, verified = await command("archive", "verify")
    assert (code, [one["differences"] for one in verified["checked"]]) == (0, [[]] * len(verified["checked"]))
    assert verified["checked"]
    await asks_the_archive(command, minutes, tmp_path)
    await puts_an_hour_back(command, packs, minutes)


async def asks_the_archive(command: Run, start: datetime, path: Path) -> None:
    span = ("--from", start.isoformat(), "--to", (start + HOUR).isoformat())
    _, rows = await command("archive", "query", "prices.minute", *span, "--where", "coin_id=ether", "--column", "price_usd", "--most", "5")
    assert [float(row["price_usd"]) for row in rows] == [1, 2, 3, 4, 5]
    _, text = await command("archive", "query", "prices.minute", *span, "--format", "csv", "--most", "1", as_json=False)
    assert text.startswith('"coin_id"')
    for name in ("out.parquet", "out.csv"):
        _, written = await command("archive", "query", "prices.minute", *span, "--output", str(path / name))
        assert written["rows"] == 120
    assert pq.read_table(path / "out.parquet").num_rows == 120
    assert len((path / "out.csv").read_text().splitlines()) == 121
    _, archives = await command("archive", "list", "prices.minute", *span)
    _, manifest = await command("archive", "show", str(archives[0]["id"]))
    assert manifest["dataset"] == "prices.minute"
    _, text = await command("archive", "show", str(archives[0]["id"]), as_json=False)
    assert "sorted by coin_id, minute_ts" in text
    code, error = await command("archive", "show", "999999")
    assert (code, error["error"]["code"]) == (2, "unknown_name")


async def puts_an_hour_back(command: Run, packs: Database, start: datetime) -> None:
    span = ("--from", start.isoformat(), "--to", (start + HOUR).isoformat())
    _, restored = await command("archive", "restore", "prices.minute", *span, "--for", "2h")
    rows = await packs.fetch_value("SELECT count(*) FROM prices.minute_close WHERE minute_ts < %(end)s", {"end": start + HOUR})
    assert (len(restored) > 0, rows) == (True, 120)
    assert await packs.fetch_value("SELECT array_agg(samples ORDER BY samples) FROM prices.hourly_close") == [60] * 6
    _, planned = await command("retention", "plan", "prices.minute")
    assert any("put back from archive" in one["blockers"][0]["reason"] for one in planned["partitions"] if one["blockers"])
    _, holds = await command("retention", "holds")
    for hold in holds:
        await command("retention", "lift", str(hold["id"]))
    _, outcome = await command("retention", "run", "prices.minute")
    assert sum(one["rows"] for one in outcome["departed"]) == rows
    assert await packs.fetch_value("SELECT array_agg(samples ORDER BY samples) FROM prices.hourly_close") == [60] * 6


async def test_a_hold_keeps_rows(command: Run, minutes: datetime) -> None:
    _, placed = await command(
        "retention", "hold", "prices.minute", "--reason", "an inquiry", "--from", minutes.isoformat(), "--until", "2099-01-01"
    )
    _, text = await command("retention", "run", "prices.minute", as_json=False)
    assert "an inquiry until 2099-01-01" in text
    assert (await command("retention", "lift", str(placed["id"])))[0] == 0
    code, error = await command("retention", "lift", str(placed["id"]))
    assert (code, error["error"]["code"]) == (2, "unknown_name")
