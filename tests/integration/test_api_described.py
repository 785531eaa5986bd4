"""The API keeps to its description: made-up requests, fitting and not, are answered as it says, and none breaks it."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.errors import Unsatisfiable
from psycopg import sql
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from chainstrata.access import Role
from chainstrata.api import create_app
from chainstrata.api.questions import list_questions
from chainstrata.engines.postgres import Database
from chainstrata.model import Catalog
from chainstrata.node.http import HttpService, address_of, bind
from tests.fixtures.api import NODE, aclosing_platform, make_keys, make_platform
from tests.fixtures.packs import OPTIONS
from tests.fixtures.postgres import Server
from tests.fixtures.samples import Sampled
from tests.fixtures.threads import kept_open

# A tail has no end; `test_api_reads.py` has it. The columnar engine is not here; `test_portfolio_market.py` has its questions.
_LEFT_OUT = ("/api/v1/datasets/{name}/tail", "/api/v1/cdc", "/api/v1/reconcile")
_EXAMPLES = 6
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.missing_required_header,
    checks.unsupported_method,
]


@dataclass(frozen=True)
class Served:
    address: str
    key: str


@pytest.fixture(scope="module")
def served(server: Server, sampled: Sampled, catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give the API on a database of its own with samples in it, served from a thread."""
    name, source = f"chainstrata_described_{os.getpid()}", sql.Identifier(psycopg.conninfo.conninfo_to_dict(sampled.conninfo)["dbname"])
    with psycopg.connect(server.connect_to("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), source))

    @asynccontextmanager
    async def serving() -> AsyncIterator[Served]:
        stop = asyncio.Event()
        conninfo = server.connect_to(name)
        async with Database(conninfo, options=OPTIONS) as database:
            settings = {"api__rate": 0, "api__local_reads": False, "clickhouse__embedded": False}
            async with aclosing_platform(
                make_platform(database, conninfo, catalog, tmp_path_factory.mktemp("home"), **settings)
            ) as platform:
                key = (await make_keys(platform))[Role.ADMIN]
                with bind("127.0.0.1", 0) as listener:
                    running = asyncio.create_task(HttpService(create_app(platform, lambda: NODE), listener).run(stop))
                    yield Served(address_of(listener), key)
                    stop.set()
                    await running

    with kept_open(serving) as found:
        yield found
    with psycopg.connect(server.connect_to("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def description(served: Served, catalog: Catalog) -> dict[str, Any]:
    """Give the description, with names narrowed to those there are, so that what is made up gets somewhere."""
    found: dict[str, Any] = httpx.get(f"{served.address}/api/v1/openapi.json").json()
    datasets = [dataset.full_name for dataset in catalog]
    rollups = [f"{dataset.full_name}.{rollup.name}" for dataset in catalog for rollup in dataset.rollups]
    names = {"datasets": datasets, "ingest": datasets, "rollups": rollups, "jobs": ["retention", "rollups", "partitions"]}
    columnar = {f"/api/v1/{one.pack}/{one.question.name}" for one in list_questions(catalog) if one.columnar}
    for path in [path for path in found["paths"] if path in columnar or path.startswith(_LEFT_OUT)]:
        del found["paths"][path]
    for path, methods in found["paths"].items():
        for route in methods.values():
            # Every request bears a key; `test_access.py` has those that do not.
            route.pop("security", None)
        known = names.get(path.split("/")[3] if path.startswith("/api/") else "")
        for one in (one for route in methods.values() for one in route.get("parameters", ())):
            if one["in"] == "path" and known:
                one["schema"] = {"type": "string", "enum": known}
    return found


# The server runs in a thread beside, and its pool draws numbers too: hypothesis takes those for draws of its own strategies.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_made_up_requests_are_answered_as_described(served: Served, description: dict[str, Any], mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(description)
    problems: list[str] = []
    asked = 0
    with requests.Session() as session:
        for result in schema.get_all_operations():
            operation = result.ok()
            if mode is GenerationMode.NEGATIVE and not any([*operation.iter_parameters(), *operation.body]):
                continue

            @seed(11)
            @settings(max_examples=_EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                nonlocal asked
                asked += 1
                answer = case.call(base_url=served.address, session=session, headers={"Authorization": f"Bearer {served.key}"}, timeout=60)
                case.validate_response(answer, checks=CHECKS)

            try:
                check()
            except Unsatisfiable:
                # Whatever stands in a path is text, so nothing is of the wrong type.
                continue
            except FailureGroup as error:
                problems.append(f"{operation.label}: {error}")
    assert asked > 200
    assert not problems, "\n".join(problems)
