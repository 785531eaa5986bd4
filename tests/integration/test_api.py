"""The API on a real database: health, status, one shape of errors, request IDs, the page."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from chainstrata import monitor, partitions
from chainstrata.api import build_api
from chainstrata.api.examples import STATUS
from chainstrata.api.requests import RequestIds
from chainstrata.cli.output import to_plain
from chainstrata.config import load_config
from chainstrata.engines.postgres import Database, Target
from chainstrata.errors import UnknownName
from chainstrata.node import Platform
from tests.fixtures.api import list_routes
from tests.fixtures.demo import create_demo, demo_catalog

NODE = monitor.NodeStatus(1, "0.1.0", "3.11", "development", "/home", "http://127.0.0.1:1", datetime.now(UTC), 5.0)


@pytest.fixture
async def app(database: Database, conninfo: str, tmp_path: Path) -> FastAPI:
    """Give the application on a pack whose tables exist."""
    catalog = demo_catalog()
    await create_demo(database, catalog)
    await partitions.apply(database, catalog)
    platform = Platform(load_config({"home": tmp_path}, environment={}), catalog, database, Target(conninfo, "url"))
    return build_api(platform, lambda: NODE)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(RequestIds(app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as one:
        yield one


async def test_health_is_ok_while_the_database_answers(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "reason": "", "version": "0.1.0", "uptime_seconds": 5.0})
    assert answer.headers["Cache-Control"] == "no-store"
    assert (await client.head("/health")).status_code == 200


async def test_health_is_503_with_the_reason_when_it_does_not(client: httpx.AsyncClient, database: Database) -> None:
    await database.close()
    answer = await client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["status"] == "unavailable"
    assert answer.json()["reason"].startswith("postgres: ")


async def test_status_is_what_the_public_function_returns(client: httpx.AsyncClient, app: FastAPI) -> None:
    answer: Any = None
    direct: Any = None
    for _ in range(5):
        answer = (await client.get("/api/v1/status")).json()
        direct = to_plain(await app.state.platform.status(NODE))
        if answer["datasets"] == direct["datasets"]:
            # The server's statistics of what was written before may come in between the two.
            break
    assert answer["node"] == direct["node"]
    assert answer["datasets"] == direct["datasets"]
    assert answer.keys() == direct.keys()


def shape(value: object) -> object:
    """Return the names in a value, however deep, without its figures."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else None


async def test_the_example_has_the_shape_of_an_answer(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/api/v1/status")).json()
    for part in ("engines", "datasets"):
        assert shape(answer[part]) == shape(STATUS[part])
    assert answer.keys() == STATUS.keys()
    assert answer["packs"][0].keys() == STATUS["packs"][0].keys()
    assert answer["node"].keys() == STATUS["node"].keys()


async def test_every_route_is_described_with_an_example(client: httpx.AsyncClient, app: FastAPI) -> None:
    description = (await client.get("/api/v1/openapi.json")).json()
    served = {path for _, path in list_routes(app) if path.startswith(("/api/", "/health", "/metrics"))} - {"/api/v1/openapi.json"}
    assert set(description["paths"]) == served
    for path, methods in description["paths"].items():
        for method, route in methods.items():
            assert route["summary"], path
            assert route["description"], path
            good = [answer for status, answer in route["responses"].items() if status.startswith("2")]
            for content in (content for answer in good for content in answer["content"].values()):
                name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                assert {"example", "examples"} & content.keys() or "example" in description["components"]["schemas"][name], (
                    f"{method} {path}"
                )


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/api/v1/nowhere", 404, "not_found"),
        ("GET", "/static/page.html", 404, "not_found"),
        ("GET", "/static/other.css", 404, "not_found"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("GET", "/broken", 500, "internal"),
        ("GET", "/ours", 404, "unknown_name"),
        ("GET", "/typed?limit=many", 422, "invalid_request"),
    ],
)
async def test_every_error_has_the_same_shape(
    client: httpx.AsyncClient, app: FastAPI, method: str, path: str, status: int, code: str
) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("secret detail")

    @app.get("/ours")
    async def ours() -> None:
        raise UnknownName("dataset", "demo.price", ["demo.prices"])

    @app.get("/typed")
    async def typed(limit: int) -> int:
        return limit

    answer = await client.request(method, path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert set(error) >= {"code", "message", "hint"}
    assert "secret" not in answer.text
    assert not error["message"][0].isupper()
    assert answer.headers["X-Request-ID"]


async def test_a_request_keeps_its_id_if_it_is_a_decent_one(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health", headers={"X-Request-ID": "order-4711"})).headers["X-Request-ID"] == "order-4711"
    for bad in ("a" * 65, "new line", ""):
        assert re.fullmatch(r"[0-9a-f]{16}", (await client.get("/health", headers={"X-Request-ID": bad})).headers["X-Request-ID"])


async def test_the_page_shows_what_status_says_and_needs_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for shown in ("ChainStrata", "healthy", "PostgreSQL", "demo", "prices", "hourly", "development"):
        assert shown in page.text
    linked = set(re.findall(r'(?:href|src)="([^"]+)"', page.text))
    assert all(link.startswith("/") for link in linked)
    for link in linked:
        assert (await client.get(link)).status_code == 200, link
    for name in ("page.css", "page.js"):
        assert "http" not in (await client.get(f"/static/{name}")).text


async def test_the_page_escapes_what_it_shows(client: httpx.AsyncClient, app: FastAPI) -> None:
    service = monitor.ServiceStatus("x", monitor.ServiceState.RESTARTING, datetime.now(UTC), 1, error='"><script>alert(1)</script>')
    app.state.node = lambda: monitor.NodeStatus(
        1, "0.1.0", "3.11", "development", "/home", "http://127.0.0.1:1", datetime.now(UTC), 5.0, services=(service,)
    )
    page = await client.get("/")
    assert "<script>alert" not in page.text


async def test_the_page_is_there_while_the_database_is_away(client: httpx.AsyncClient, database: Database) -> None:
    await database.close()
    page = await client.get("/")
    assert page.status_code == 200
    assert "not healthy" in page.text


@pytest.mark.parametrize("path", ["datasets?limt=5", "datasets/demo.prices/rows?limit=5&form=json", "status?x"])
async def test_a_parameter_that_a_route_does_not_have_is_refused(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/api/v1/{path}")
    assert answer.status_code == 422
    assert "no such parameter" in answer.json()["error"]["message"]


@pytest.mark.parametrize("moment", ["1767225600", "-1.5e9", "1767225600000"])
async def test_a_time_is_written_out(client: httpx.AsyncClient, moment: str) -> None:
    answer = await client.get("/api/v1/datasets/demo.prices/rows", params={"from": moment})
    assert answer.status_code == 422
    assert "has to be written out" in answer.json()["error"]["message"]
