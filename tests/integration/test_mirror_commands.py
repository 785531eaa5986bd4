"""`chainstrata cdc` and `reconcile`, and the same over HTTP, on the prices pack: states, dead letters, comparison, repair, jobs."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import psycopg
import pytest

from chainstrata import partitions
from chainstrata.access import Role
from chainstrata.cdc import Mirrors
from chainstrata.cli.tree import run
from chainstrata.engines.clickhouse import Columnar
from chainstrata.engines.postgres import Database
from chainstrata.engines.postgres.waiting import happened
from chainstrata.jobs import RunState
from chainstrata.model import Catalog
from chainstrata.node import Platform
from chainstrata.packs import load_catalog
from tests.fixtures.api import aclosing_platform, make_keys, make_platform, open_client
from tests.fixtures.capture import drop_slot
from tests.fixtures.clickhouse import ColumnarServer
from tests.fixtures.mirrored import QUICK, following

COINS, MINUTES = "prices.coins", "prices.minute"
INSERT = "INSERT INTO prices.minute_close (coin_id, minute_ts, price_usd) VALUES ('bitcoin', %(at)s, %(price)s)"
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
MINUTE = timedelta(minutes=1)
Command = Callable[..., Awaitable[tuple[int, Any]]]


@dataclass
class Place:
    """The platform of this test with its mirrors, followed or not."""

    platform: Platform
    mirrors: Mirrors
    client: httpx.AsyncClient
    key: str

    async def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = await self.client.post(f"/api/v1{path}", json=body, headers={"Authorization": f"Bearer {self.key}"})
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
async def place(packs: Database, columnar: Columnar, columnar_server: ColumnarServer, tmp_path: Path) -> AsyncIterator[Place]:
    """Give the platform of the prices pack, reading and writing this test's own databases."""
    catalog: Catalog = load_catalog(["prices"])
    settings = {"clickhouse__url": columnar_server.url, "clickhouse__database": columnar.database, "packs": "prices"}
    await partitions.ensure(packs, catalog.dataset(MINUTES), NOW - 5 * MINUTE, NOW)
    await packs.execute("INSERT INTO prices.coin_priorities (coin_id, symbol, name) VALUES ('bitcoin', 'btc', 'Bitcoin')")
    async with aclosing_platform(make_platform(packs, packs.conninfo, catalog, tmp_path, **settings)) as platform:
        key = (await make_keys(platform))[Role.ADMIN]
        async with open_client(platform) as client:
            yield Place(platform, Mirrors(packs, catalog, columnar, QUICK), client, key)
    async with await psycopg.AsyncConnection.connect(packs.conninfo, autocommit=True) as connection:
        rows = await (await connection.execute("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()")).fetchall()
        for (name,) in rows:
            await drop_slot(connection, name)


@pytest.fixture
def command(packs: Database, columnar: Columnar, columnar_server: ColumnarServer, tmp_path: Path, capsys: Any) -> Command:
    """Give a function that runs the command line on this test's databases and returns exit code and what it printed."""
    settings = [f"postgres.url={packs.conninfo}", f"clickhouse.url={columnar_server.url}", f"clickhouse.database={columnar.database}"]

    async def call(*words: str, as_json: bool = True) -> tuple[int, Any]:
        arguments = [*words, "--home", str(tmp_path / "home"), *(["--json"] if as_json else [])]
        for setting in [*settings, "packs=prices"]:
            arguments += ["--set", setting]
        code = await asyncio.to_thread(run, arguments)
        printed = capsys.readouterr()
        text = printed.out or printed.err
        return code, json.loads(text) if as_json and text else text

    return call


@asynccontextmanager
async def followed(place: Place) -> AsyncIterator[None]:
    async with following(place.mirrors):
        await place.mirrors.wait()
        yield


async def still(place: Place, name: str, state: str) -> None:
    """Wait until the follower has taken notice."""
    deadline = monotonic() + 20
    others = [other for other in place.mirrors.names if other != name]
    while True:
        reached = await place.mirrors.wait(others)
        position = await place.mirrors.position(name)
        if position is not None and position.lsn < reached:
            break
        assert monotonic() < deadline
        await happened(asyncio.Event(), 0.02)
    [found] = (await place.mirrors.status([name])).mirrors
    assert found.state == state


@pytest.mark.conforms("S1-147", "S1-153", "S1-154", "S1-156", "S1-163")
async def test_mirrors_are_looked_at_and_steered_by_command_and_over_http(place: Place, command: Command) -> None:
    database = place.platform.database
    async with followed(place):
        code, status = await command("cdc", "status")
        assert code == 0
        assert (status["running"], {one["dataset"]: one["state"] for one in status["mirrors"]}) == (
            True,
            {COINS: "streaming", MINUTES: "streaming"},
        )
        answer = await place.client.get("/api/v1/cdc", params={"name": MINUTES})
        assert [one["dataset"] for one in answer.json()["mirrors"]] == [MINUTES]
        assert (await command("cdc", "pause", MINUTES))[1] == [MINUTES]
        await still(place, MINUTES, "paused")
        assert (await command("cdc", "pause", MINUTES))[1] == []
        await database.execute(INSERT, {"at": NOW, "price": 1})
        code, problem = await command("cdc", "wait", MINUTES, "--within", "0.2")
        assert (code, problem["error"]["code"]) == (1, "cdc_not_applied")
        assert (await place.post("/cdc/resume", {"names": [MINUTES]})) == {"names": [MINUTES]}
        assert "/" in (await place.post("/cdc/wait", {"names": [MINUTES], "within": 20}))["lsn"]
        assert (await command("cdc", "wait"))[0] == 0
        assert (await place.post("/cdc/pause"))["names"] == [COINS, MINUTES]
        assert (await command("cdc", "resume"))[1] == [COINS, MINUTES]
        assert (await command("cdc", "resync", COINS))[1] == [COINS]
        assert (await place.post("/cdc/resync", {"names": [MINUTES]}, status=202)) == {"names": [MINUTES]}
        await place.mirrors.wait()
        assert [one.source_rows for one in await place.mirrors.reconcile()] == [1, 1]
    code, shown = await command("cdc", "status", as_json=False)
    assert code == 0
    assert "not followed by anybody now" in shown
    # What has to be named is; what is unknown is said.
    await place.post("/cdc/resync", {"names": []}, status=422)
    assert (await place.post("/cdc/pause", {"names": ["prices.nothing"]}, status=404))["error"]["code"] == "unknown_name"
    code, problem = await command("cdc", "resync", "prices.minutes")
    assert (code, problem["error"]["hint"].startswith("Did you mean prices.minute")) == (2, True)


async def test_mirrors_are_ended_by_command_and_over_http(place: Place, command: Command) -> None:
    database = place.platform.database
    async with followed(place):
        planned = await place.post("/cdc/end", {"names": [COINS], "dry_run": True})
        assert (planned["done"], planned["slot_dropped"], planned["mirrors"][0]["rows"]) == (False, False, 1)
        code, shown = await command("cdc", "end", COINS, "--dry-run", as_json=False)
        assert (code, "Nothing was done" in shown, "stays, for the others" in shown) == (0, True, True)
        code, done = await command("cdc", "end", COINS, "--yes")
        assert (code, done["done"], done["mirrors"][0]["table"]) == (0, True, "kept")
        assert [one["state"] for one in (await command("cdc", "status"))[1]["mirrors"]] == ["ended", "streaming"]
        await database.execute(INSERT, {"at": NOW, "price": 1})
        await place.mirrors.wait()
        await database.execute(f"DROP TABLE {await database.fetch_value('SELECT tableoid::regclass::text FROM prices.minute_close')}")
        refused = await place.post("/cdc/end", {"names": [MINUTES], "drop_table": True}, status=409)
        assert (refused["error"]["code"], "1 of prices.minute" in refused["error"]["message"]) == ("cdc_history_at_risk", True)
        done = await place.post("/cdc/end", {"names": [MINUTES], "drop_table": True, "lose_history": True})
        assert (done["slot_dropped"], done["mirrors"][0]["only_there"]) == (True, 1)
    code, problem = await command("cdc", "end", "prices.minutes", "--yes")
    assert (code, problem["error"]["code"]) == (2, "unknown_name")
    entries = await database.fetch_all("SELECT action FROM strata.audit WHERE action = 'cdc.end'")
    assert len(entries) == 2


@pytest.mark.conforms("S1-148")
async def test_dead_letters_are_listed_replayed_and_dropped_by_command_and_over_http(place: Place, command: Command) -> None:
    database = place.platform.database
    async with followed(place):
        for number in range(3):
            await database.execute(INSERT, {"at": NOW - number * MINUTE, "price": f"1e-{70 + number}"})
        await place.mirrors.wait()
        listed = (await command("cdc", "dead-letters", "list"))[1]
        assert [(one["dataset"], one["reason"], one["state"]) for one in listed] == [(MINUTES, "bad_value", "held")] * 3
        assert listed[0]["id"] > listed[1]["id"]
        assert (await place.client.get("/api/v1/cdc/dead-letters", params={"limit": 1})).json() == listed[:1]
        older = (await place.client.get("/api/v1/cdc/dead-letters", params={"before": listed[0]["id"]})).json()
        assert older == listed[1:]
        # Not mended yet.
        assert (await command("cdc", "dead-letters", "replay"))[1] == {"replayed": 0, "held": 3}
        await database.execute("UPDATE prices.minute_close SET price_usd = 2")
        await place.mirrors.wait()
        assert (await place.post("/cdc/dead-letters/replay", {"ids": [listed[0]["id"]]})) == {"replayed": 1, "held": 0}
        assert (await command("cdc", "dead-letters", "drop", "--id", str(listed[1]["id"]), "--yes"))[1] == {"dropped": 1}
        assert (await place.post("/cdc/dead-letters/drop", {"names": [MINUTES]})) == {"dropped": 1}
        assert (await command("cdc", "dead-letters", "list"))[1] == []
        settled = (await command("cdc", "dead-letters", "list", "--state", "replayed", "--state", "dropped"))[1]
        assert [one["state"] for one in settled] == ["replayed", "dropped", "dropped"]
        assert [one for one in await place.mirrors.reconcile() if not one.agrees] == []


@pytest.mark.conforms("S1-159")
async def test_reconcile_is_a_command_a_route_and_a_job(place: Place, command: Command, columnar: Columnar) -> None:
    database, jobs = place.platform.database, place.platform.jobs
    assert (await jobs.run("reconcile")).result == "no mirror is followed"
    async with followed(place):
        await database.execute(INSERT, {"at": NOW, "price": 1})
        await place.mirrors.wait()
        assert (await command("reconcile"))[0] == 0
        assert (await jobs.run("reconcile")).result == "2 mirrors agree with their sources"
        await columnar.execute("ALTER TABLE prices__minute__rows UPDATE price_usd = 3 WHERE true SETTINGS mutations_sync = 2")
        code, [coins, minutes] = await command("reconcile")
        assert (code, coins["different"], minutes["different"]) == (1, 0, 1)
        failed = await jobs.run("reconcile")
        assert failed.state == RunState.FAILED
        assert "prices.minute: the mirror is not what its source is" in str(failed.error)
        [found] = await place.post("/reconcile", {"names": [MINUTES], "repair": True})
        assert (found["different"], found["repaired"]) == (1, 1)
        assert (await command("reconcile", "--repair"))[0] == 0
        assert (await jobs.run("reconcile")).result == "2 mirrors agree with their sources"
