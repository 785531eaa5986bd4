"""Backfills by the command line and over HTTP, of an installed pack that knows a kind."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chainstrata.access import Role
from chainstrata.cli.tree import run
from chainstrata.engines.postgres import Database
from chainstrata.packs import load_catalog
from tests.fixtures.api import LOCAL, make_keys, make_platform, open_client
from tests.fixtures.demo import create_demo

Run = Callable[..., Any]
PACKS = ["insights", "past"]


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the pack, as pip would."""
    place = tmp_path / "site" / "past-1.0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: past\nVersion: 1.0\n")
    (place / "entry_points.txt").write_text("[chainstrata.packs]\npast = tests.fixtures.backfill_pack:pack\n")
    monkeypatch.syspath_prepend(str(place.parent))


@pytest.fixture
async def past(database: Database) -> Database:
    await create_demo(database, load_catalog(PACKS))
    return database


@pytest.fixture
def command(past: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs `chainstrata jobs backfill` and returns exit code and what it printed."""

    async def call(*words: str, as_json: bool = True) -> tuple[int, Any]:
        settings = ["--set", f"postgres.url={past.conninfo}", "--set", f"packs={','.join(PACKS)}", "--home", str(tmp_path / "home")]
        code = await asyncio.to_thread(run, ["jobs", "backfill", *words, *settings, *(["--json"] if as_json else [])])
        printed = capsys.readouterr()
        text = printed.out or printed.err
        return code, json.loads(text) if as_json and text else text

    return call


@pytest.mark.conforms("S4-24")
async def test_a_backfill_by_command_from_its_start_to_its_end(command: Run, past: Database) -> None:
    _, kinds = await command("kinds")
    assert [kind["kind"] for kind in kinds] == ["heights", "hours"]
    code, done = await command("start", "heights", "--from", "5", "--to", "45", "--workers", "3")
    assert (code, done["status"], done["rows"], done["chunks"]["done"]) == (0, "completed", 40, 5)
    assert await past.fetch_value("SELECT count(*) FROM past.heights") == 40
    _, text = await command("list", as_json=False)
    assert "completed" in text
    assert "100.0 %" in text
    code, error = await command("start", "heights", "--from", "x", "--to", "45")
    assert (code, error["error"]["code"]) == (2, "usage")
    code, error = await command("start", "hights", "--from", "1", "--to", "45")
    assert (code, error["error"]["hint"]) == (2, "Did you mean heights?")
    code, error = await command("list", "--status", "dead")
    assert code == 2
    code, error = await command("show", "00000000-0000-0000-0000-000000000000")
    assert (code, error["error"]["code"]) == (2, "unknown_backfill")


async def test_a_backfill_is_left_to_nodes_paused_resumed_and_cancelled_by_command(command: Run) -> None:
    _, begun = await command("start", "hours", "--from", "2026-01-31", "--to", "2026-02-01T00:00", "--detach")
    assert (begun["status"], begun["chunks"]["pending"], begun["end"] - begun["start"]) == ("pending", 24, 86400)
    job = begun["job"]
    assert (await command("pause", job))[1]["status"] == "paused"
    assert (await command("resume", job, "--detach"))[1]["status"] == "running"
    assert (await command("cancel", job))[1]["status"] == "cancelled"
    code, error = await command("retry", job)
    assert (code, error["error"]["code"]) == (2, "backfill_refused")
    _, shown = await command("show", job)
    assert (shown["backfill"]["status"], shown["failures"]) == ("cancelled", [])
    _, text = await command("show", job, as_json=False)
    assert "cancelled" in text


async def test_backfills_over_http(past: Database, tmp_path: Path) -> None:
    platform = make_platform(past, past.conninfo, load_catalog(PACKS), tmp_path / "home")
    keys = await make_keys(platform)
    async with open_client(platform, keys[Role.WRITE], base=f"{LOCAL}/api/v1") as client:
        begun = await client.post("/backfills", json={"kind": "heights", "start": 0, "end": 100})
        assert (begun.status_code, begun.json()["status"], begun.json()["created_by"]) == (201, "pending", "write")
        job = begun.json()["job"]
        again = await client.post("/backfills", json={"kind": "heights", "start": 99, "end": 100})
        assert (again.status_code, again.json()["error"]["code"]) == (409, "backfill_refused")
        assert [one["job"] for one in (await client.get("/backfills?status=pending")).json()] == [job]
        assert (await client.post(f"/backfills/{job}/pause")).json()["status"] == "paused"
        assert (await client.post(f"/backfills/{job}/resume")).json()["status"] == "running"
        await platform.backfill_workers().work((await platform.backfills.list())[0].job)
        found = (await client.get(f"/backfills/{job}")).json()
        assert (found["backfill"]["status"], found["backfill"]["rows"], found["failures"]) == ("completed", 100, [])
        refused = await client.post(f"/backfills/{job}/cancel")
        assert (refused.status_code, refused.json()["error"]["message"]) == (409, f"backfill {job} is completed, it cannot be cancelled")
        assert (await client.post(f"/backfills/{job}/retry")).status_code == 409
        assert (await client.get("/backfills/00000000-0000-0000-0000-000000000000")).status_code == 404
        wrong = await client.post("/backfills", json={"kind": "heights", "start": -1, "end": 100})
        assert wrong.status_code == 422
    async with open_client(platform, keys[Role.READ], base=f"{LOCAL}/api/v1") as client:
        assert (await client.post("/backfills", json={"kind": "heights", "start": 200, "end": 300})).status_code == 403
