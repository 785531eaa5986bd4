"""`chainstrata status`: how everything is, from the running node, or from the database where no node runs here."""

import asyncio
import json
from typing import Any

from chainstrata.cli.invocation import open_platform, output, settings
from chainstrata.cli.output import to_plain
from chainstrata.cli.show import show_bytes, show_count, show_duration
from chainstrata.config import POSTGRES_URL
from chainstrata.errors import ChainStrataError

_PATIENCE = 10.0
_NOT_HEALTHY = 1


class NodeDown(ChainStrataError):
    """No node runs on this home."""

    code = "node_down"
    http_status = 503

    def __init__(self, home: object) -> None:
        super().__init__(f"no node runs on {home}", hint="Start it with `chainstrata up`.")


async def show_status() -> int:
    """Show engines, packs, schema, datasets with rows and sizes, and what is not as it should be."""
    from chainstrata.engines.postgres import NodeRecord

    config = settings()
    node = NodeRecord.read(config.home)
    status = await asyncio.to_thread(_ask, node.address) if node is not None and node.address else None
    if status is None:
        if node is None and not config[POSTGRES_URL]:
            raise NodeDown(config.home)
        from chainstrata.node.watch import Watch

        async with open_platform() as platform:
            await Watch(platform).look()
            status = to_plain(await platform.status())
    output().show(status, lambda: _render(status))
    return 0 if status["healthy"] else _NOT_HEALTHY


def _ask(address: str) -> dict[str, Any] | None:
    """Return the status as the node gives it, or None if it does not answer."""
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        with urlopen(f"{address}/api/v1/status", timeout=_PATIENCE) as answer:  # noqa: S310  # the node wrote it
            found: dict[str, Any] = json.load(answer)
    except (OSError, HTTPException, ValueError):
        return None
    return found


def _render(status: dict[str, Any]) -> None:
    out = output()
    for finding in status["findings"]:
        out.line(f"{finding['severity']}: {finding['object']}: {finding['message']}. {finding['hint']}".rstrip())
    if status["findings"]:
        out.line()
    _render_node(status["node"])
    _render_engines(status["engines"])
    _render_packs(status["packs"])
    _render_datasets(status["datasets"])


def _render_node(node: dict[str, Any] | None) -> None:
    if node is None:
        return
    out = output()
    out.heading(
        f"Node {node['version']} at {node['address']}, up {show_duration(node['uptime_seconds'])}, {node['mode']}, pid {node['pid']}"
    )
    services = [[service["name"], service["state"], service["restarts"] or "", service["error"]] for service in node["services"]]
    out.table(["service", "state", "restarts", "last error"], services, right=["restarts"])
    pool = node["pool"]
    if pool is not None:
        out.line(
            f"pool: {pool['used']} of {pool['size']} connections used (at most {pool['max_size']}), {pool['waiting']} waiting, "
            f"wait p95 {pool['wait_p95'] * 1000:.1f} ms, {pool['queries']} queries, {pool['slow_queries']} slow"
        )
    out.line()


def _render_engines(engines: list[dict[str, Any]]) -> None:
    rows = []
    for engine in engines:
        connections = f"{engine['connections']} of {engine['max_connections']}" if engine["connections"] is not None else ""
        rows.append([engine["name"], engine["state"], engine["version"], engine["kind"], connections, engine["detail"]])
    output().table(["engine", "state", "version", "from", "connections", ""], rows)
    output().line()


def _render_packs(packs: list[dict[str, Any]]) -> None:
    rows = []
    for pack in packs:
        schema = pack["schema"]
        version = "" if schema is None else schema["applied"] or "none"
        pending = f"{schema['pending']} to apply" if schema is not None and schema["pending"] else ""
        rows.append(
            [
                pack["name"],
                version,
                pending,
                pack["datasets"],
                show_count(pack["rows"], exact=pack["rows_exact"]),
                show_bytes(pack["size_bytes"]),
            ]
        )
    output().table(["pack", "schema", "", "datasets", "rows", "size"], rows, right=["datasets", "rows", "size"])
    output().line()


def _render_datasets(datasets: list[dict[str, Any]]) -> None:
    rows = []
    for dataset in datasets:
        if not dataset["exists"]:
            rows.append([dataset["name"], "missing", "", ""])
            continue
        count = show_count(dataset["rows"], exact=dataset["rows_exact"])
        size = ("" if dataset["size_exact"] else "~") + show_bytes(dataset["size_bytes"])
        rows.append([dataset["name"], count, dataset["partitions"] or "", size])
    output().table(["dataset", "rows", "partitions", "size"], rows, right=["rows", "partitions", "size"])
