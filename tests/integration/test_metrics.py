"""`/metrics`: what it answers is what Prometheus reads, declared and documented, and there while PostgreSQL is away."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql

from chainstrata import partitions
from chainstrata.access import Role
from chainstrata.engines.postgres import Database, PoolOptions
from chainstrata.errors import ChainStrataError
from chainstrata.model import Catalog
from chainstrata.monitor.metrics import METRICS, Figures, Kind
from chainstrata.node import Platform
from tests.fixtures.api import NODE, aclosing_platform, make_keys, make_platform, open_client
from tools.tree import ROOT

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
Found = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Found:
    """Return every figure by name and labels, as a reader of ours has it that is not of our making."""
    found: Found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, "told twice"
            found[key] = sample.value
    return found


def figure(found: Found, name: str, **labels: str) -> float:
    return found[f"chainstrata_{name}", frozenset(labels.items())]


@asynccontextmanager
async def opened(database: Database, catalog: Catalog, home: Path) -> AsyncIterator[tuple[Platform, httpx.AsyncClient]]:
    async with aclosing_platform(make_platform(database, database.conninfo, catalog, home)) as platform, open_client(platform) as client:
        yield platform, client


@pytest.mark.conforms("S1-154")
async def test_figures_of_everything_are_told_as_prometheus_reads_them(packs: Database, catalog: Catalog, tmp_path: Path) -> None:
    minute = catalog.dataset("prices.minute")
    await partitions.ensure(packs, minute, NOW - timedelta(minutes=5), NOW)
    await packs.execute("INSERT INTO prices.coin_priorities (coin_id, symbol, name) VALUES ('bitcoin', 'btc', 'Bitcoin')")
    await packs.execute(
        "INSERT INTO strata.cdc_dataset (dataset, state, copied_rows, rows, dead_letters, applied_lsn, lag_p50, lag_p95, lag_p99)"
        " VALUES ('prices.minute', 'streaming', 100, 7, 2, '0/1', 0.25, 0.5, 0.75)"
    )
    async with opened(packs, catalog, tmp_path) as (platform, client):
        rows = [{"coin_id": "bitcoin", "minute_ts": NOW, "price_usd": "1"}, {"coin_id": "bitcoin", "minute_ts": "never", "price_usd": "1"}]
        await platform.ingest("prices.minute", rows)
        with pytest.raises(ChainStrataError):
            await platform.ingest("prices.minute", rows, strict=True)
        await platform.jobs.run("statistics")
        assert (await client.get("/metrics", headers={"x-forwarded-for": "192.0.2.1"})).status_code == 401
        key = (await make_keys(platform))[Role.READ]
        answer = await client.get("/metrics", headers={"Authorization": f"Bearer {key}", "x-forwarded-for": "192.0.2.1"})
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = read(answer.text)
    assert figure(found, "postgres_up") == 1
    assert figure(found, "node_info", version=NODE.version, mode=NODE.mode) == 1
    assert figure(found, "ingest_rows_total", dataset="prices.minute", outcome="accepted") == 1
    assert figure(found, "ingest_rows_total", dataset="prices.minute", outcome="quarantined") == 1
    assert figure(found, "ingest_refused_total", dataset="prices.minute", code="batch_refused") == 1
    assert figure(found, "mirror_state", dataset="prices.minute", state="streaming") == 1
    assert figure(found, "mirror_lag_seconds", dataset="prices.minute", quantile="0.95") == 0.5
    assert figure(found, "mirror_behind_bytes", dataset="prices.minute") > 1_000_000
    assert (figure(found, "mirror_changes_total", dataset="prices.minute"), figure(found, "capture_running")) == (7, 0)
    assert (figure(found, "mirror_put_aside_total", dataset="prices.minute"), figure(found, "job_failures", job="statistics")) == (2, 0)
    assert figure(found, "job_last_start_timestamp_seconds", job="statistics") > NOW.timestamp() - 60
    assert figure(found, "rollup_marks", rollup="prices.minute.hourly") >= 1
    assert 0 <= figure(found, "rollup_lag_seconds", rollup="prices.minute.hourly") < 600
    assert figure(found, "pool_queries_total") > 0
    assert figure(found, "pool_wait_seconds_bucket", le="+Inf") == figure(found, "pool_wait_seconds_count") > 0
    kinds = {family.name: family.type for family in text_string_to_metric_families(answer.text)}
    declared = {
        one.full_name.removesuffix("_total") if one.kind is Kind.COUNTER else one.full_name: one.kind.value for one in METRICS.values()
    }
    assert kinds.items() <= declared.items()


async def test_figures_of_the_process_are_told_while_postgresql_is_away(packs: Database, catalog: Catalog, tmp_path: Path) -> None:
    options = PoolOptions(min_size=1, max_size=2, acquire_timeout=0.3)
    async with Database(packs.conninfo, options=options) as database, opened(database, catalog, tmp_path) as (platform, client):
        name = psycopg.conninfo.conninfo_to_dict(packs.conninfo)["dbname"]
        server = psycopg.conninfo.make_conninfo(packs.conninfo, dbname="postgres")
        async with await psycopg.AsyncConnection.connect(server, autocommit=True) as connection:
            await connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(str(name))))
            await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            answer = await client.get("/metrics")
            await connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(str(name))))
        found = read(answer.text)
        assert (answer.status_code, figure(found, "postgres_up")) == (200, 0)
        assert figure(found, "pool_max_connections") == 2
        assert not [one for one, _ in found if one.startswith("chainstrata_job")]
        await platform.jobs.status()


def test_labels_are_those_declared_and_may_hold_anything() -> None:
    figures = Figures()
    with pytest.raises(ValueError, match="has the labels"):
        figures.add("spool_batches", 1)
    figures.add("spool_batches", 1, 'a "quoted"\nname\\')
    assert figure(read(figures.render().decode()), "spool_batches", dataset='a "quoted"\nname\\') == 1


def test_the_runbook_watches_metrics_there_are() -> None:
    text = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    named = set(re.findall(r"chainstrata_([a-z0-9_]+)[{ ]", text.partition("## Figures over time")[2]))
    assert len(named) > 5
    assert named <= METRICS.keys()
