"""What can be measured, declared once: the page of metrics, the answer of `/metrics` and whoever fills it in go by this.

A metric without labels has one figure, others one for each thing that is there. What could not be looked at is left out, never zero.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

PREFIX: Final = "chainstrata_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Kind(StrEnum):
    """A `COUNTER` only grows, until its process or mirror begins anew."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Counters end in `_total`; seconds and bytes say so in the name."""

    name: str
    kind: Kind
    doc: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


def _gauge(name: str, doc: str, *labels: str) -> Metric:
    return Metric(name, Kind.GAUGE, doc, labels)


def _counter(name: str, doc: str, *labels: str) -> Metric:
    return Metric(name, Kind.COUNTER, doc, labels)


_LISTED: Final = (
    _gauge("node_info", "1, with what runs.", "version", "mode"),
    _gauge("node_uptime_seconds", "How long the node runs."),
    _gauge("service_running", "Whether a service of the node runs: 1 or 0.", "service"),
    _counter("service_restarts_total", "How often a service was started again after it had failed.", "service"),
    _gauge("postgres_up", "Whether PostgreSQL answered this look: 1, or 0, and then all that it knows is left out."),
    _gauge("findings", "What is not as it should be, by severity and code; the runbook has the codes.", "severity", "code"),
    _gauge("pool_connections", "Connections of this process that are open.", "state"),
    _gauge("pool_max_connections", "Connections this process may open."),
    _gauge("pool_waiting", "Callers that wait for a connection now."),
    Metric("pool_wait_seconds", Kind.HISTOGRAM, "How long callers waited for a connection."),
    _counter("pool_acquire_timeouts_total", "Callers that waited in vain."),
    _counter("pool_connections_opened_total", "Connections opened."),
    _counter("pool_connections_lost_total", "Connections that broke."),
    _counter("pool_queries_total", "Statements."),
    _counter("pool_query_seconds_total", "Time statements took, summed up."),
    _counter("pool_slow_queries_total", "Statements that took longer than `pool.slow_query`."),
    _counter("pool_transactions_total", "Transactions."),
    _counter("pool_retries_total", "Transactions that were begun anew."),
    _counter("pool_errors_total", "Statements that failed, by SQLSTATE.", "code"),
    _counter("ingest_rows_total", "Rows that this process took in, by what became of them; spooled ones count as that.", "dataset", "outcome"),
    _counter("ingest_refused_total", "Batches that this process refused as a whole, by the error's code.", "dataset", "code"),
    _gauge("spool_batches", "Batches that wait on disk for PostgreSQL.", "dataset"),
    _gauge("spool_bytes", "Bytes of the spool in use."),
    _gauge("capture_running", "Whether some process follows the log: 1 or 0."),
    _gauge("capture_kept_bytes", "Log that the server keeps for mirrors; only where there is a slot."),
    _gauge("mirror_state", "1 for the state a mirror is in.", "dataset", "state"),
    _gauge("mirror_behind_bytes", "Log that a mirror has not got, as it last told; only of mirrors that are followed.", "dataset"),
    _gauge("mirror_lag_seconds", "From commit to visible: what half, 95 and 99 of 100 transactions do not exceed.", "dataset", "quantile"),
    _counter("mirror_changes_total", "Changes carried into a mirror since its copy.", "dataset"),
    _gauge("mirror_copied_rows", "Rows of the copy a mirror began with.", "dataset"),
    _counter("mirror_put_aside_total", "Changes a mirror could not take since its copy.", "dataset"),
    _gauge("job_running", "Whether a job runs now: 1 or 0.", "job"),
    _gauge("job_failures", "How many runs of a job in a row did not end well.", "job"),
    _gauge("job_due_timestamp_seconds", "When a job is due next.", "job"),
    _gauge("job_last_start_timestamp_seconds", "When a job ran last.", "job"),
    _gauge("job_last_seconds", "How long its last run took.", "job"),
    _gauge("rollup_marks", "Touched ranges that are not folded into a roll-up yet.", "rollup"),
    _gauge("rollup_lag_seconds", "Age of the oldest of them; 0 where there is none.", "rollup"),
)  # fmt: skip
METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in _LISTED}


class Figures:
    """Figures of one look, by metric."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[list[str], Any]]] = {}

    def add(self, name: str, value: float, *labels: str) -> None:
        """Note a figure; labels in the order of the declaration."""
        if len(labels) != len(METRICS[name].labels):
            raise ValueError(f"{name} has the labels {METRICS[name].labels}")
        self._found.setdefault(name, []).append((list(labels), value))

    def add_histogram(self, name: str, buckets: Mapping[float, int], total: float) -> None:
        """Note how often values were up to each bound and above the one before it, and their sum."""
        self._found[name] = [([], (buckets, total))]

    def collect(self) -> Iterable[Any]:
        """Yield the families, as the client library takes them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for name, figures in self._found.items():
            metric = METRICS[name]
            if metric.kind is Kind.HISTOGRAM:
                [(_, (buckets, total))] = figures
                reached, bounds = 0, []
                for bound, count in buckets.items():
                    reached += count
                    bounds.append(("+Inf" if bound == float("inf") else str(bound), reached))
                yield HistogramMetricFamily(metric.full_name, metric.doc, buckets=bounds, sum_value=total)
                continue
            family = (CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily)(
                metric.full_name, metric.doc, labels=metric.labels
            )
            for labels, value in figures:
                family.add_metric(labels, value)
            yield family

    def render(self) -> bytes:
        """Return the text that Prometheus reads."""
        from prometheus_client.exposition import generate_latest

        return bytes(generate_latest(self))
