"""Who is let in, what they may do, how fast; and that every write is on record."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from chainstrata.access import Audit, Caller, Entry, Keys, Outcome, Role
from chainstrata.access.audit import JOURNAL
from chainstrata.api import build_api
from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.errors import UnknownName, UsageError
from chainstrata.model import Catalog, days
from chainstrata.node import Platform
from tests.fixtures.api import LOCAL, NODE, TESTER, aclosing_platform, list_routes, make_keys, make_platform, open_client
from tests.fixtures.demo import create_demo, demo_catalog


@pytest.fixture
async def platform(database: Database, conninfo: str, tmp_path: Path) -> Platform:
    catalog = demo_catalog()
    await create_demo(database, catalog)
    return make_platform(database, conninfo, catalog, tmp_path)


@pytest.fixture
async def stranger(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client from elsewhere, without a key."""
    async with open_client(platform, base="http://data.example", peer="192.0.2.7") as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def record(platform: Platform) -> list[tuple[str, str, str, str]]:
    """Return the record, oldest first: actor, action, object, outcome."""
    return [(one.actor, one.action, one.object, one.outcome) for one in reversed(await platform.audit.list_entries())]


async def test_a_key_is_kept_as_a_hash_and_works_until_it_is_taken_back(platform: Platform, stranger: httpx.AsyncClient) -> None:
    issued = await platform.keys.create("reader", Role.READ, by=TESTER)
    assert issued.secret not in repr(issued)
    stored = await platform.database.fetch_value("SELECT jsonb_agg(k)::text FROM strata.api_key k")
    assert issued.secret.removeprefix(f"{issued.key.prefix}_") not in stored
    assert (await stranger.get("/api/v1/status", headers=bearer(issued.secret))).status_code == 200
    assert (await stranger.get("/api/v1/status", headers={"X-API-Key": issued.secret})).status_code == 200
    await platform.keys.revoke(issued.secret, by=TESTER)
    with pytest.raises(UnknownName) as caught:
        await platform.keys.revoke(issued.secret, by=TESTER)
    assert issued.secret not in f"{caught.value} {await record(platform)}"
    refused = await stranger.get("/api/v1/status", headers=bearer(issued.secret))
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "key_unknown")
    assert refused.headers["WWW-Authenticate"] == "Bearer"


# What the routes that write take; the others take nothing.
BODIES: dict[str, dict[str, object]] = {
    "/api/v1/keys": {"name": "another"},
    "/api/v1/backfills": {"kind": "blocks", "start": 0, "end": 10},
    "/api/v1/cdc/resync": {"names": ["demo.prices"]},
    "/api/v1/cdc/end": {"names": ["demo.prices"]},
}
# Asked by POST, because it takes a body.
READS = {"/api/v1/cdc/wait"}


async def test_every_route_that_writes_leaves_an_entry_also_where_it_fails(database: Database, conninfo: str, tmp_path: Path) -> None:
    catalog = demo_catalog()
    await create_demo(database, catalog)
    platform = make_platform(database, conninfo, catalog, tmp_path, clickhouse__embedded=False)
    admin = (await make_keys(platform))[Role.ADMIN]
    names = {"dataset": "demo.nothing", "job": "00000000-0000-0000-0000-000000000000", "key": "nobody", "name": "nothing"}
    writes = [(method, path) for method, path in list_routes(build_api(platform, lambda: NODE)) if method not in ("GET", "HEAD")]
    async with aclosing_platform(platform), open_client(platform, admin) as client:
        for number, (method, path) in enumerate(writes):
            if path in READS:
                continue
            name = f"write.{number}"
            answer = await client.request(method, path.format(**names), json=BODIES.get(path), headers={"X-Request-ID": name})
            assert answer.status_code != 422, f"{method} {path}: {answer.text}"
            found = [one for one in await platform.audit.list_entries() if one.request == name]
            assert found, f"{method} {path}: {answer.text}"
            assert {one.actor for one in found} == {"admin"}
            assert (answer.status_code < 400) == (found[0].outcome == "done"), f"{method} {path}: {found}"
    assert len(writes) > 15


WRONG_KEYS: list[dict[str, object]] = [
    {"name": "x" * 101},
    {"name": ""},
    {"name": "a\nb"},
    {"name": "no\u200bspace"},
    {"name": "brief", "expires_days": 0},
    {"name": "long", "expires_days": 99999},
    {"name": "odd", "role": "emperor"},
]


async def test_a_key_refused_for_its_name_or_duration_is_on_record(platform: Platform) -> None:
    keys = await make_keys(platform)
    async with open_client(platform, keys[Role.ADMIN]) as client:
        for number, wish in enumerate(WRONG_KEYS):
            answer = await client.post("/api/v1/keys", json=wish, headers={"X-Request-ID": f"wish.{number}"})
            assert 400 <= answer.status_code < 500, answer.text
            [entry] = [one for one in await platform.audit.list_entries() if one.request == f"wish.{number}"]
            assert (entry.actor, entry.outcome, entry.detail["code"]) == ("admin", "refused", answer.json()["error"]["code"])
        before = len(await platform.audit.list_entries())
        await client.get("/api/v1/keys?x=1")
        await client.get("/api/v1/audit?limit=0")
        await client.post("/api/v1/keys", json={"name": ""}, headers={"Authorization": "Bearer none"})
        assert len(await platform.audit.list_entries()) == before, "reads, and those whom nobody knows, leave none"
    for name, expires in (("", None), ("x" * 1000, None), ("a\0b", None), ("brief", timedelta(0)), ("long", timedelta(days=99999))):
        with pytest.raises(UsageError):
            await platform.keys.create(name, expires=expires, by=TESTER)
        [entry, *_] = await platform.audit.list_entries()
        assert (entry.actor, entry.action, entry.object, entry.outcome) == (
            "tester",
            "keys.create",
            name[:100].replace("\0", ""),
            "refused",
        )
    assert len(await platform.keys.list_keys()) == len(Role)


async def test_a_key_ends_when_it_should(platform: Platform, stranger: httpx.AsyncClient) -> None:
    issued = await platform.keys.create("brief", expires=timedelta(days=1), by=TESTER)
    await platform.database.execute("UPDATE strata.api_key SET expires_at = now() - interval '1 second'")
    refused = await stranger.get("/api/v1/status", headers=bearer(issued.secret))
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "key_expired")
    assert [key.state for key in await platform.keys.list_keys()] == ["expired"]
    # Its name is free again.
    await platform.keys.create("brief", by=TESTER)


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer x", "Bearer cs_0123456789ab_" + "x" * 43, "Digest x", "Basic !", "Basic eA=="])
async def test_a_wrong_key_is_refused(stranger: httpx.AsyncClient, given: str) -> None:
    refused = await stranger.get("/api/v1/status", headers={"Authorization": given})
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] in ("key_missing", "key_unknown")


async def test_a_key_with_another_end_is_refused(platform: Platform, stranger: httpx.AsyncClient) -> None:
    secret = (await make_keys(platform))[Role.ADMIN]
    other = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    assert (await stranger.get("/api/v1/keys", headers=bearer(other))).status_code == 401
    assert (await stranger.get("/api/v1/keys", headers=bearer(secret))).status_code == 200


async def test_without_a_key_only_health_and_the_description_answer(stranger: httpx.AsyncClient) -> None:
    description = (await stranger.get("/api/v1/openapi.json")).json()
    for path, methods in description["paths"].items():
        for method, route in methods.items():
            answer = await stranger.request(method, path)
            assert answer.status_code == (200 if path == "/health" else 401), (method, path)
            assert ("security" in route) == (path != "/health"), (method, path)
    page = await stranger.get("/")
    assert page.status_code == 401
    assert page.headers["WWW-Authenticate"].startswith("Basic ")


async def test_a_browser_sends_the_key_as_a_password_and_only_reads_with_it(platform: Platform, stranger: httpx.AsyncClient) -> None:
    secret = (await make_keys(platform))[Role.ADMIN]
    given = {"Authorization": "Basic " + base64.b64encode(f"me:{secret}".encode()).decode()}
    assert (await stranger.get("/", headers=given)).status_code == 200
    assert (await stranger.post("/api/v1/keys", headers=given, json={"name": "x"})).status_code == 401


@pytest.mark.parametrize(
    ("base", "peer", "headers", "settings", "status"),
    [
        pytest.param("http://127.0.0.1:8640", "127.0.0.1", {}, {}, 200, id="by address"),
        pytest.param("http://localhost:8640", "127.0.0.1", {}, {}, 200, id="by name"),
        pytest.param("http://[::1]:8640", "::1", {}, {}, 200, id="by address of version 6"),
        pytest.param("http://rebound.example", "127.0.0.1", {}, {}, 401, id="a name that points here"),
        pytest.param(LOCAL, "192.0.2.7", {}, {}, 401, id="from elsewhere"),
        pytest.param(LOCAL, "127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, {}, 401, id="for somebody else"),
        pytest.param(LOCAL, "127.0.0.1", {}, {"node__host": "0.0.0.0"}, 401, id="served to the world"),
        pytest.param(LOCAL, "127.0.0.1", {}, {"mode": "production"}, 401, id="in production"),
        pytest.param(LOCAL, "127.0.0.1", {}, {"api__local_reads": False}, 401, id="switched off"),
    ],
)
async def test_on_the_machine_itself_reading_takes_no_key_and_writing_does(
    platform: Platform, tmp_path: Path, base: str, peer: str, headers: dict[str, str], settings: dict[str, object], status: int
) -> None:
    here = make_platform(platform.database, "", platform.catalog, tmp_path, **settings)
    async with open_client(here, base=base, peer=peer) as client:
        assert (await client.get("/api/v1/status", headers=headers)).status_code == status
        assert (await client.get("/", headers=headers)).status_code == status
        assert (await client.post("/api/v1/keys", headers=headers, json={"name": "x"})).status_code == 401
        assert (await client.get("/api/v1/keys", headers=headers)).status_code == 401


@pytest.mark.conforms("S4-130")
async def test_keys_are_made_and_taken_back_over_http_by_those_who_may(platform: Platform, stranger: httpx.AsyncClient) -> None:
    keys = await make_keys(platform)
    wish = {"name": "collector", "role": "write", "expires_days": 90}
    for role in (Role.READ, Role.WRITE):
        refused = await stranger.post("/api/v1/keys", json=wish, headers=bearer(keys[role]))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_allowed")
    made = await stranger.post("/api/v1/keys", json=wish, headers=bearer(keys[Role.ADMIN]) | {"X-Request-ID": "order-1"})
    assert made.status_code == 201
    assert (await stranger.get("/api/v1/status", headers=bearer(made.json()["secret"]))).status_code == 200
    twice = await stranger.post("/api/v1/keys", json=wish, headers=bearer(keys[Role.ADMIN]))
    assert (twice.status_code, twice.json()["error"]["code"]) == (409, "key_name_taken")
    listed = (await stranger.get("/api/v1/keys", headers=bearer(keys[Role.ADMIN]))).json()["keys"]
    assert [key["name"] for key in listed] == ["collector", "admin", "write", "read"]
    assert made.json()["secret"] not in json.dumps(listed)
    taken = await stranger.delete(f"/api/v1/keys/{made.json()['key']['prefix']}", headers=bearer(keys[Role.ADMIN]))
    assert taken.json()["state"] == "revoked"
    again = await stranger.delete("/api/v1/keys/collector", headers=bearer(keys[Role.ADMIN]))
    assert (again.status_code, again.json()["error"]["code"]) == (404, "unknown_name")
    found = await record(platform)
    assert ("read", "POST /api/v1/keys", "", "refused") in found
    assert ("admin", "keys.create", "collector", "done") in found
    assert ("admin", "keys.revoke", "collector", "done") in found
    entries = (await stranger.get("/api/v1/audit?actor=admin", headers=bearer(keys[Role.ADMIN]))).json()["entries"]
    assert entries[-1]["request"] == "order-1"


async def test_each_key_has_its_rate(platform: Platform, tmp_path: Path) -> None:
    slow = make_platform(platform.database, "", platform.catalog, tmp_path, api__rate=1)
    keys = await make_keys(slow)
    async with open_client(slow, base="http://data.example") as client:
        answers = [await client.get("/api/v1/keys", headers=bearer(keys[Role.ADMIN])) for _ in range(4)]
        assert [answer.status_code for answer in answers[:2]] == [200, 200]
        last = answers[-1]
        assert (last.status_code, last.json()["error"]["code"]) == (429, "too_many_requests")
        assert int(last.headers["Retry-After"]) >= 1
        assert (await client.get("/api/v1/status", headers=bearer(keys[Role.READ]))).status_code == 200


async def test_guessing_is_slowed_down(stranger: httpx.AsyncClient) -> None:
    codes = [(await stranger.get("/api/v1/status", headers=bearer("x"))).status_code for _ in range(30)]
    assert codes[0] == 401
    assert codes[-1] == 429


async def test_of_many_who_start_at_once_one_makes_the_first_key(platform: Platform) -> None:
    made = await asyncio.gather(*(platform.keys.create_first() for _ in range(4)))
    assert sum(one is not None for one in made) == 1
    assert await platform.keys.create_first() is None
    assert await record(platform) == [("node", "keys.create", "first", "done")]


async def test_what_cannot_be_a_key_is_refused(platform: Platform) -> None:
    for name, expires in (("", None), ("a\nb", None), ("x" * 101, None), ("x", timedelta(0)), ("x", timedelta(days=10**6))):
        with pytest.raises(UsageError):
            await platform.keys.create(name, expires=expires, by=TESTER)


async def test_a_key_that_was_good_lately_is_good_while_the_server_is_away(platform: Platform, conninfo: str, tmp_path: Path) -> None:
    secret = (await platform.keys.create("sensor", Role.WRITE, by=TESTER)).secret
    async with Database(conninfo, options=PoolOptions(min_size=1, max_size=1)) as other:
        keys = Keys(other, Audit(other, tmp_path))
        assert (await keys.authenticate(secret)).name == "sensor"
        [known] = keys._known.values()
        keys._known[next(iter(keys._known))] = replace(known, seen=known.seen - 60)
    assert (await keys.authenticate(secret)).name == "sensor"


@pytest.mark.conforms("S4-131")
def test_the_record_is_kept_400_days(catalog: Catalog) -> None:
    lifecycle = catalog.dataset("strata.audit").lifecycle
    assert (lifecycle.keep, lifecycle.archive) == (days(400), True)


@pytest.mark.conforms("S4-130")
async def test_a_write_of_several_steps_is_on_record_from_its_begin(platform: Platform) -> None:
    entry = Entry(TESTER, "partitions.apply", "demo.prices")
    async with platform.audit.witness(entry) as detail:
        assert (await record(platform))[-1] == ("tester", "partitions.apply", "demo.prices", "begun")
        detail["steps"] = 3
    assert (await platform.audit.list_entries())[0].detail == {"steps": 3}
    with pytest.raises(UsageError):
        async with platform.audit.witness(Entry(TESTER, "one")):
            raise UsageError("no")
    with pytest.raises(ValueError, match="bug"):
        async with platform.audit.witness(Entry(TESTER, "two")):
            raise ValueError("bug")
    assert [outcome for _, _, _, outcome in await record(platform)] == ["done", "refused", "failed"]


async def test_what_cannot_be_recorded_waits_in_a_file_and_is_recorded_once(platform: Platform, tmp_path: Path) -> None:
    async with Database(platform.target.conninfo, options=PoolOptions(min_size=1, max_size=1)) as other:
        audit = Audit(other, tmp_path)
        done = Entry(Caller("sensor", Role.WRITE, 7), "ingest", "demo.prices", "r-1", Outcome.DONE, {"accepted": 3})
        await audit.add(done)
    begun = Entry(Caller("sensor", Role.WRITE, 7), "retention.run", "", "r-2")
    await audit.add(begun)
    await audit.add(replace(begun, outcome=Outcome.DONE))
    await audit.add(done)
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"half')
    assert len(await record(platform)) == 1
    assert await platform.audit.catch_up() == 3
    assert sorted(await record(platform)) == [("sensor", "ingest", "demo.prices", "done"), ("sensor", "retention.run", "", "done")]
    assert await platform.audit.catch_up() == 0
    assert not list(tmp_path.glob("audit*"))


async def test_the_rules_of_access_do_not_hang_on_a_route(platform: Platform) -> None:
    """Every route of the application asks who comes, but health, the description and the page's own files."""
    app = build_api(platform, lambda: NODE)
    open_ones = {"/health", "/api/v1/openapi.json"}
    async with open_client(platform, base="http://data.example", peer="192.0.2.7") as client:
        asked = [(method, path) for method, path in list_routes(app) if method in ("GET", "POST", "PUT", "DELETE")]
        assert len(asked) > 8
        for method, path in asked:
            answer = await client.request(method, path)
            assert answer.status_code == (200 if path in open_ones else 401), (method, path)
