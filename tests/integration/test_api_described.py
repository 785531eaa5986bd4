"""The API keeps to its description: made-up requests, fitting and not, are answered as it says, and none breaks it."""

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from chainstrata.api.questions import list_questions
from chainstrata.model import Catalog
from tests.fixtures.postgres import Server
from tests.fixtures.samples import Sampled
from tests.fixtures.served import Served, serve

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


@pytest.fixture(scope="module")
def served(server: Server, sampled: Sampled, catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give the API on a database of its own with samples in it, served from a thread."""
    template = str(psycopg.conninfo.conninfo_to_dict(sampled.conninfo)["dbname"])
    settings: dict[str, Any] = {"api__rate": 0, "api__local_reads": False, "clickhouse__embedded": False}
    with serve(server, catalog, tmp_path_factory.mktemp("home"), template=template, **settings) as found:
        yield found


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
