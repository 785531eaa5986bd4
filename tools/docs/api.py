"""The page of the HTTP API, from the description it gives of itself."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from chainstrata.api import build_api
from chainstrata.config import load_config
from chainstrata.engines.postgres import Database, Target
from chainstrata.monitor import NodeStatus
from chainstrata.node import Platform
from chainstrata.packs import load_catalog
from tools.docs.page import Page, table
from tools.tree import ROOT

INTRODUCTION = """# HTTP API

The node serves it below `/api/v1`; `/api/v1/openapi.json` describes it for programs. [How to use it](../howto/http-api.md) has commands to
try, [Who may read and write](../explanation/access.md) the rules of keys.

Every error answers `{"error": {"code", "message", "hint"}}`; [Errors](errors.md) lists the codes. Every answer carries `X-Request-ID`.
Answers with rows are `{"data", "page", "freshness"}`. In JSON, numbers that a double does not hold exactly are text: NUMERIC, uint64 and
uint256 always, other whole numbers beyond 2^53. Answers are packed with zstd or gzip where `Accept-Encoding` allows it."""
_SECTIONS = {"status": "Health and status", "data": "Reading", "ingest": "Writing rows", "access": "Keys and the record of writes"}


def pages() -> Iterable[Page]:
    """Yield the page."""
    description = describe()
    parts = [INTRODUCTION]
    routes = [(path, method, route) for path, methods in description["paths"].items() for method, route in methods.items()]
    tags = list(dict.fromkeys(route["tags"][0] for _, _, route in routes))
    for tag in sorted(tags, key=lambda name: (name not in _SECTIONS, list(_SECTIONS).index(name) if name in _SECTIONS else 0, name)):
        parts.append(f"## {_SECTIONS.get(tag, tag.capitalize())}")
        for path, method, route in routes:
            if route["tags"][0] == tag:
                parts += _route(description, path, method, route)
    yield Page("reference/api.md", "\n\n".join(parts))


def describe() -> dict[str, Any]:
    """Return the description as a node with the packs that come along gives it. Nothing is connected to."""
    config = load_config(environment={}, directory=ROOT)
    platform = Platform(config, load_catalog(), Database(""), Target("", "url"))
    node = NodeStatus(1, "", "", "development", "", "", datetime(2026, 1, 1, tzinfo=UTC), 0.0)
    return build_api(platform, lambda: node).openapi()


def _route(description: dict[str, Any], path: str, method: str, route: dict[str, Any]) -> Iterator[str]:
    yield f"### {method.upper()} {path}"
    yield f"{route['summary']}. {route.get('description', '')}"
    if route.get("parameters"):
        rows = [(f"`{one['name']}`", one["in"], _kind(one["schema"]), one.get("description", "")) for one in route["parameters"]]
        yield table(("parameter", "in", "type", "meaning"), rows)
    body = route.get("requestBody")
    if body:
        yield f"Body: {', '.join(f'`{kind}`' for kind in body['content'])}. {body.get('description', '')}".strip()
    good = next(answer for status, answer in route["responses"].items() if status.startswith("2"))
    for kind, content in good.get("content", {}).items():
        example = content.get("example") or _schema(description, content.get("schema", {})).get("example")
        if isinstance(example, str):
            yield f"```text\n{example.strip()}\n```"
        elif example is not None and kind == "application/json":
            yield f"```json\n{json.dumps(example, indent=1)}\n```"
    errors = [status for status in route["responses"] if not status.startswith("2")]
    if errors:
        yield f"Else: {', '.join(errors)}."


def _schema(description: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = description["components"]["schemas"].get(name, schema)
    return found


def _kind(schema: dict[str, Any]) -> str:
    options = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    one = options[0]
    kind = one.get("format") or one.get("type") or "text"
    words = " or ".join(f"`{word}`" for word in one["enum"]) if "enum" in one else kind
    default = schema.get("default")
    return f"{words}, default {default}" if default is not None else words
