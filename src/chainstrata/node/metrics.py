"""Figures of the platform: of this process, and, as far as it answers, of what PostgreSQL knows of all of them."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from chainstrata import monitor
from chainstrata.config import CDC_SLOT
from chainstrata.errors import ChainStrataError
from chainstrata.jobs import JobState
from chainstrata.monitor.metrics import Figures

if TYPE_CHECKING:
    from chainstrata.ingest import Answer
    from chainstrata.node.platform import Platform

_PATIENCE: Final = 5.0
_OUTCOMES: Final = ("accepted", "updated", "unchanged", "merged", "quarantined", "spooled")


class Tally:
    """What this process took in since it began."""

    def __init__(self) -> None:
        self.rows: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()

    def took(self, answer: "Answer") -> None:
        if not answer.repeated:
            self.rows.update({(answer.dataset, outcome): getattr(answer, outcome) for outcome in _OUTCOMES})

    def refuse(self, dataset: str, error: ChainStrataError) -> None:
        self.refused[dataset, error.code] += 1


async def measure(platform: "Platform", node: monitor.NodeStatus | None = None) -> Figures:
    """Look at everything that is cheap to look at."""
    figures = Figures()
    if node is not None:
        _add_node(figures, node)
    _add_pool(figures, platform)
    _add_ingest(figures, platform)
    for (severity, code), count in Counter((one.severity.value, one.code) for one in platform.findings).items():
        figures.add("findings", count, severity, code)
    try:
        # Whoever scrapes waits some ten seconds.
        async with asyncio.timeout(_PATIENCE):
            await _add_mirrors(figures, platform)
            await _add_jobs(figures, platform)
            await _add_rollups(figures, platform)
    except (ChainStrataError, TimeoutError):
        # Most likely it is away, and that is worth telling too.
        figures.add("postgres_up", 0)
    else:
        figures.add("postgres_up", 1)
    return figures


def _add_node(figures: Figures, node: monitor.NodeStatus) -> None:
    figures.add("node_info", 1, node.version, node.mode)
    figures.add("node_uptime_seconds", node.uptime_seconds)
    for service in node.services:
        figures.add("service_running", service.state is monitor.ServiceState.RUNNING, service.name)
        figures.add("service_restarts_total", service.restarts, service.name)


def _add_pool(figures: Figures, platform: "Platform") -> None:
    stats = platform.database.stats()
    figures.add("pool_connections", stats.used, "used")
    figures.add("pool_connections", stats.idle, "idle")
    figures.add("pool_max_connections", stats.max_size)
    figures.add("pool_waiting", stats.waiting)
    figures.add_histogram("pool_wait_seconds", stats.wait_buckets, stats.wait_seconds)
    figures.add("pool_acquire_timeouts_total", stats.acquire_timeouts)
    figures.add("pool_connections_opened_total", stats.connections_opened)
    figures.add("pool_connections_lost_total", stats.connections_lost)
    figures.add("pool_queries_total", stats.queries)
    figures.add("pool_query_seconds_total", stats.query_seconds)
    figures.add("pool_slow_queries_total", stats.slow_queries)
    figures.add("pool_transactions_total", stats.transactions)
    figures.add("pool_retries_total", stats.retries)
    for code, count in stats.errors.items():
        figures.add("pool_errors_total", count, code)


def _add_ingest(figures: Figures, platform: "Platform") -> None:
    for (dataset, outcome), count in platform.tally.rows.items():
        figures.add("ingest_rows_total", count, dataset, outcome)
    for (dataset, code), count in platform.tally.refused.items():
        figures.add("ingest_refused_total", count, dataset, code)
    if not (platform.config.home / "spool").is_dir():
        return
    spool = platform.gate.spool
    for dataset in spool.list_datasets():
        figures.add("spool_batches", len(spool.list_waiting(dataset)), dataset)
    figures.add("spool_bytes", spool.used_bytes())


async def _add_mirrors(figures: Figures, platform: "Platform") -> None:
    """Figures of mirrors, from what is on record: the columnar engine need not answer for it."""
    from chainstrata.cdc.model import parse_lsn
    from chainstrata.cdc.slot import QUERIES, find_slot, slot_name
    from chainstrata.cdc.store import State, Store

    async with platform.database.connection() as connection:
        slot = await find_slot(connection, platform.config[CDC_SLOT] or await slot_name(connection))
        end = int(await connection.fetch_value(QUERIES.log_end))
        figures.add("capture_running", bool(await connection.fetch_value(QUERIES.is_captured)))
    if slot is not None:
        figures.add("capture_kept_bytes", slot.kept_bytes)
    for row in await Store(platform.database).list_mirrors():
        figures.add("mirror_state", 1, row.dataset, row.state)
        if row.applied_lsn and row.state == State.STREAMING:
            figures.add("mirror_behind_bytes", max(0, end - parse_lsn(row.applied_lsn)), row.dataset)
        for quantile, lag in (("0.5", row.lag_p50), ("0.95", row.lag_p95), ("0.99", row.lag_p99)):
            if lag is not None:
                figures.add("mirror_lag_seconds", lag, row.dataset, quantile)
        figures.add("mirror_changes_total", row.rows, row.dataset)
        figures.add("mirror_copied_rows", row.copied_rows, row.dataset)
        figures.add("mirror_put_aside_total", row.dead_letters, row.dataset)


async def _add_jobs(figures: Figures, platform: "Platform") -> None:
    for job in await platform.jobs.status():
        figures.add("job_running", job.state is JobState.RUNNING, job.name)
        figures.add("job_failures", job.failures, job.name)
        if job.due_at is not None:
            figures.add("job_due_timestamp_seconds", job.due_at.timestamp(), job.name)
        if job.last is not None:
            figures.add("job_last_start_timestamp_seconds", job.last.started_at.timestamp(), job.name)
            figures.add("job_last_seconds", job.last.seconds, job.name)


async def _add_rollups(figures: Figures, platform: "Platform") -> None:
    now = datetime.now(UTC)
    for rollup in await platform.rollups.status():
        lag = (now - rollup.oldest_mark).total_seconds() if rollup.oldest_mark else 0.0
        figures.add("rollup_marks", rollup.marks, rollup.rollup)
        figures.add("rollup_lag_seconds", max(0.0, lag), rollup.rollup)
